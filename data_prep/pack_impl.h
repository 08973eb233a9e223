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
/* Appends a caption of `length` bytes without surrounding white space, and judges it: one that is empty (nothing but
 * white space and invisible characters of Unicode), holds a zero byte or is not UTF-8 becomes a caption_fault of the
 * item instead; that is no failure of the call. Never cut, never dropped in silence. `where` ("pairs.csv: line 17",
 * "set.json: images[3].sentences[1]") begins the message; NULL: the item's name and the caption's number.
 *
 * The packer then decides: without --skip-bad a bad caption is an error. With --skip-bad it costs the caption and is a
 * line of "bad_captions" in the report; the item with its other captions is packed. An item all of whose captions are
 * bad is a bad sample, with --unpaired keep an image alone; where all are just empty, --unpaired keep takes it as an
 * image that was never given a caption. */
TDM_CHECKED tdm_status pack_item_caption(tdm_pack_item *item, const char *where, const char *caption,
                                         size_t length);
/* A caption that could not be read at all (an entry without the field, a file that cannot be opened): the last error's
 * message becomes its caption_fault, and listing goes on. Errors that are not the data's own are passed up.
 *
 *     TDM_TRY(pack_item_caption_fault(item, json_node_string(&sentence, "raw", &raw)));  */
TDM_CHECKED tdm_status pack_item_caption_fault(tdm_pack_item *item, tdm_status status);
/* A further wording of the last caption; one that is empty, or whose caption is bad, is left out. */
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

/* ---- Classes and identities by name ----
 * Names lose surrounding white space; an empty one is none and changes nothing. What is wrong with a name (not UTF-8,
 * longer than NAME_BYTES, a second identity of one item) is TDM_E_DATA, to be passed through pack_item_fault:
 *
 *     TDM_TRY(pack_item_fault(item, pack_item_identity(list, item, text, length)));
 *
 * An item may be given the same class or identity again, as by several rows of one image. */
enum { NAME_BYTES = 1024, MOST_CLASSES = 16384 };
/* Index of the class of that name, which is added to the list's names if need be. */
TDM_CHECKED tdm_status pack_list_class(tdm_pack_list *list, const char *class_name, int64_t *index);
TDM_CHECKED tdm_status pack_item_class_index(tdm_pack_item *item, int64_t index);
/* Adds the class of that name to the list's names if need be, and to the item. */
TDM_CHECKED tdm_status pack_item_class(tdm_pack_list *list, tdm_pack_item *item, const char *class_name,
                                       size_t length);
/* The same of several, separated by any character of `separators` ("|", ",;"; "": there is one). */
TDM_CHECKED tdm_status pack_item_classes(tdm_pack_list *list, tdm_pack_item *item, const char *names,
                                         size_t length, const char *separators);
/* The item's identity by its name. After the last source the packer turns names into numbers: where all are decimal
 * numbers from 0 up, those; else in the order of first appearance, and the report says which is which. A format either
 * uses this or sets item->identity itself. */
TDM_CHECKED tdm_status pack_item_identity(tdm_pack_list *list, tdm_pack_item *item, const char *name,
                                          size_t length);

/* ---- What goes wrong ----
 * Returned errors of a format's `list` mean the whole source (not a tar file, no such column): the run ends, or with
 * --skip-bad the source is left out from there on, what it has listed before stays. Anything smaller is noted and
 * listing goes on: a caption above, a sample by pack_item_fault, and what is a sample but cannot even become an item (a
 * row with too few fields) by pack_list_fault. All are errors without --skip-bad, lines of the report with it. A source
 * without anything needs no error: the packer warns where others have samples, and fails where none has. */

/* What went wrong with this one sample, if anything: the packer then calls it bad, and listing goes on.
 * Errors that are not the sample's own (no memory) are passed up. */
TDM_CHECKED tdm_status pack_item_fault(tdm_pack_item *item, tdm_status status);
/* The same of what has no item; `where` is what the report calls it: "pairs.csv: line 3". */
TDM_CHECKED tdm_status pack_list_fault(tdm_pack_list *list, const char *where, tdm_status status);
/* What the source holds, is no sample, and the shards do not hold (a foreign file, a column that is not used): never
 * an error, but counted on the console by kind and extension, and listed in the report.
 * kind: a plural that follows a count: "files that are neither an image nor captions"; where: names it, and its ending
 * is the extension; why: NULL where the kind says all. */
TDM_CHECKED tdm_status pack_list_leave_out(tdm_pack_list *list, const char *kind, const char *where,
                                           const char *why);
/* What was read of a source whose items begin with first_item and whose features with first_features: the list, and a
 * sample of images and rows of features. */
TDM_CHECKED tdm_status pack_list_reading(const tdm_pack_list *list, int64_t first_item,
                                         int64_t first_features, const char *source, tdm_reading *reading);
/* Is SOURCE what the format reads? Errors name what it is, and what reads it. */
TDM_CHECKED tdm_status pack_check_source(const tdm_pack_format *format, const char *source);
/* Is the error the data's own, so that one may go on without that sample? */
bool pack_is_fault(tdm_status status);

/* Index of `name` [length], added if need be. */
TDM_CHECKED tdm_status pack_names_index(tdm_pack_names *names, const char *name, size_t length,
                                        int64_t *index);
/* False: there is none. */
bool pack_names_find(const tdm_pack_names *names, const char *name, size_t length, int64_t *index);
void pack_names_free(tdm_pack_names *names);

/* The first byte that is not part of UTF-8; `length`: all are. */
size_t pack_utf8_fault(const char *text, size_t length);
/* Is there nothing but white space and what is invisible (no-break and zero-width space, byte order mark)? Of UTF-8. */
bool pack_is_blank(const char *text, size_t length);

/* What a file's name promises, its ending in any case. The content decides in the end. */
typedef enum pack_picture {
    PACK_NO_PICTURE,    /* another ending, or none: its content may be looked at */
    PACK_OTHER_PICTURE, /* a picture of a kind that is not decoded, such as .tif: listed, and so reported */
    PACK_PICTURE        /* .jpg .png .webp … */
} pack_picture;
pack_picture pack_picture_of(const char *name);
/* The folder of a path, "." when it has none. */
TDM_CHECKED tdm_status pack_folder_of(const char *path, char *out, size_t bytes);
/* What follows the last slash. */
const char *pack_base_name(const char *path);
/* Moves both ends over white space. */
void pack_trim(const char **text, size_t *length);
/* Can this be the name of a split, which names files? Errors are TDM_E_DATA and begin with `where`. */
TDM_CHECKED tdm_status pack_check_split(const char *where, const char *split);

#endif
