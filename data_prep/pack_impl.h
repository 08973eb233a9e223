/* Private to data_prep: building the list of samples. */
#ifndef TANDEM_PACK_IMPL_H
#define TANDEM_PACK_IMPL_H

#include "tandem/base.h"
#include "tandem/pack.h"

#include <jansson.h>

/* Appends an item; name and path are copied, bytes = -1 for the whole file. *item is valid until the next
 * append. */
TDM_CHECKED tdm_status pack_list_add(tdm_pack_list *list, const char *name, const char *path, int64_t offset,
                                     int64_t bytes, const char *split, tdm_pack_item **item);
/* Appends a caption of `length` bytes without surrounding white space; one that is empty is kept, to be
 * reported. */
TDM_CHECKED tdm_status pack_item_caption(tdm_pack_item *item, const char *caption, size_t length);
/* Adds the class of that name to the list's names if need be, and to the item. */
TDM_CHECKED tdm_status pack_item_class(tdm_pack_list *list, tdm_pack_item *item, const char *class_name);
/* .jpg .jpeg .png .webp .gif .bmp, in any case */
bool pack_is_image(const char *name);
/* The folder of a path, "." when it has none. */
TDM_CHECKED tdm_status pack_folder_of(const char *path, char *out, size_t bytes);
/* Parses JSON; errors name `path`, line and column. *root is owned by the caller (json_decref). */
TDM_CHECKED tdm_status pack_read_json(const char *path, json_t **root);

#endif
