/* Private to data_prep: building the list of samples. The readers of file kinds are in read_*.h. */
#ifndef TANDEM_PACK_IMPL_H
#define TANDEM_PACK_IMPL_H

#include "tandem/base.h"
#include "tandem/pack.h"

/* Appends an item without captions; strings are copied. path NULL: there is no image. *item is valid until
 * the next append. */
TDM_CHECKED tdm_status pack_list_add(tdm_pack_list *list, const char *name, const char *path,
                                     const char *split, tdm_pack_item **item);
/* The image is this piece of the item's file. */
static inline void pack_item_piece(tdm_pack_item *item, int64_t offset, int64_t bytes)
{
    item->offset = offset;
    item->bytes = bytes;
}
/* Appends a caption of `length` bytes without surrounding white space; one that is empty is kept, to be
 * reported. */
TDM_CHECKED tdm_status pack_item_caption(tdm_pack_item *item, const char *caption, size_t length);
/* A further wording of the last caption; one that is empty is left out. */
TDM_CHECKED tdm_status pack_item_alternative(tdm_pack_item *item, const char *wording, size_t length);
/* Hands `features` over to the list, on failure too (it is destroyed then). */
TDM_CHECKED tdm_status pack_list_features(tdm_pack_list *list, tdm_pack_features *features);
/* The image is this row of features of the list. */
static inline void pack_item_image_feature(tdm_pack_item *item, tdm_pack_features *features, int64_t row)
{
    item->image_feature = features;
    item->image_feature_row = row;
}
/* Appends a caption that is this row of features and has no text. */
TDM_CHECKED tdm_status pack_item_text_feature(tdm_pack_item *item, tdm_pack_features *features, int64_t row);
/* Index of the class of that name, which is added to the list's names if need be. */
TDM_CHECKED tdm_status pack_list_class(tdm_pack_list *list, const char *class_name, int64_t *index);
TDM_CHECKED tdm_status pack_item_class_index(tdm_pack_item *item, int64_t index);
/* Adds the class of that name to the list's names if need be, and to the item. */
TDM_CHECKED tdm_status pack_item_class(tdm_pack_list *list, tdm_pack_item *item, const char *class_name);
/* What went wrong with this one sample, if anything: the packer then calls it bad, and listing goes on.
 * Errors that are not the sample's own (no memory) are passed up. */
TDM_CHECKED tdm_status pack_item_fault(tdm_pack_item *item, tdm_status status);
/* Is the error the data's own, so that one may go on without that sample? */
bool pack_is_fault(tdm_status status);

/* .jpg .jpeg .png .webp .gif .bmp, in any case */
bool pack_is_image(const char *name);
/* The folder of a path, "." when it has none. */
TDM_CHECKED tdm_status pack_folder_of(const char *path, char *out, size_t bytes);
/* What follows the last slash. */
const char *pack_base_name(const char *path);
/* Moves both ends over white space. */
void pack_trim(const char **text, size_t *length);
/* Bytes of a UTF-8 byte order mark at the start: 3 or 0. */
size_t pack_byte_order_mark(const char *text, size_t length);
/* A whole text file; *start is behind a byte order mark. A zero byte is an error: UTF-16 has them, text in
 * UTF-8 has none. Free `text` with tdm_text_free, after a failure too. */
TDM_CHECKED tdm_status pack_read_text(const char *path, tdm_text *text, const char **start);

#endif
