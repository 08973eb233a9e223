/* What a contact sheet or a table shows of found rows: captions, names and thumbnails from the source shards.
 */
#ifndef TANDEM_APP_SHEET_ITEMS_H
#define TANDEM_APP_SHEET_ITEMS_H

#include "command.h"

typedef struct found_item { /* owned; found_items_free */
    int64_t row;            /* global image row */
    double score;
    bool is_positive;
    tdm_text caption; /* all captions of the image, or the found one */
    tdm_text name, image;
} found_item;

/* Fills caption, name and, with_image, image of an image row; caption_row >= 0: only that caption. */
TDM_CHECKED tdm_status found_item_read(tdm_dataset *dataset, int64_t caption_row, bool with_image,
                                       found_item *item);
void found_items_free(found_item *items, int64_t count);
/* The sheet's view of items; borrowed. */
void found_items_show(const found_item *items, int64_t count, tdm_sheet_item *out);

#endif
