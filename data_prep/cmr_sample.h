/* Private to data_prep: what the sets of supervised cross-modal retrieval share: an image, texts and classes each. */
#ifndef TANDEM_CMR_SAMPLE_H
#define TANDEM_CMR_SAMPLE_H

#include "caption_clean.h"
#include "pack_impl.h"
#include "read_text.h"

typedef struct cmr_options {
    const char *encoding;
    int clean;
    int64_t max_words;
    int label_base; /* of CMR_LABEL_BASES */
    const char *class_list;
    const char *image_folder, *text_folder; /* below SOURCE; "": as the set has them */
} cmr_options;

#define CMR_LABEL_BASES "0|1"
#define CMR_CLASS_LIST_OPTION                                                                                \
    TDM_STRING_OPTION(cmr_options, class_list, "",                                                           \
                      "File with the names of the classes in their order, one a line.")
#define CMR_OPTIONS(base)                                                                                    \
    TEXT_ENCODING_OPTION(cmr_options), CAPTION_CLEAN_OPTIONS_OF(cmr_options, "50"),                          \
        TDM_CHOICE_OPTION(cmr_options, label_base, base, CMR_LABEL_BASES, "The number of the first class."), \
        CMR_CLASS_LIST_OPTION,                                                                               \
        TDM_STRING_OPTION(cmr_options, image_folder, "", "Of the images, below SOURCE."),                    \
        TDM_STRING_OPTION(cmr_options, text_folder, "", "Of the texts, below SOURCE.")

typedef struct cmr_reader {
    const cmr_options *options;
    tdm_pack_list *list;
    const char *root;
    const char *const *names; /* [classes] of the set, NULL: they are called by their numbers */
    int64_t classes;          /* 0: not known */
    char **listed;            /* [classes] of --class-list, owned */
    tdm_text text, cleaned;
} cmr_reader;

/* names[classes]: the set's own, or NULL and 0. --class-list takes their place. Pair with cmr_close, after a failure,
 * too. */
TDM_CHECKED tdm_status cmr_open(const char *root, const cmr_options *options, const char *const *names,
                                int64_t classes, tdm_pack_list *list, cmr_reader *reader);
void cmr_close(cmr_reader *reader);
/* A path below the root: "" parts are left out. */
TDM_CHECKED tdm_status cmr_path(const cmr_reader *reader, const char *folder, const char *name,
                                const char *ending, char path[TDM_PATH_BYTES]);
/* Appends a sample; an image that is not there is its fault. */
TDM_CHECKED tdm_status cmr_add(cmr_reader *reader, const char *name, const char *path, const char *split,
                               tdm_pack_item **item);
/* The class of that number, counted as the option says. What is wrong is a fault of the item. */
TDM_CHECKED tdm_status cmr_class(cmr_reader *reader, tdm_pack_item *item, const char *where, int64_t label);
/* A caption, cleaned. */
TDM_CHECKED tdm_status cmr_caption(cmr_reader *reader, tdm_pack_item *item, const char *where,
                                   const char *text, size_t length);
/* Each line of a list of samples, for `add`, which may change it; `where` names it. A line of more than 1,000 bytes is a
 * fault of its own. */
TDM_CHECKED tdm_status cmr_each_line(cmr_reader *reader, const char *path, const char *split,
                                     tdm_status (*add)(cmr_reader *reader, const char *where,
                                                       const char *split, char *line));
/* "name 17" or "name:17" at the end of a line of a list: cuts the label off. */
TDM_CHECKED tdm_status cmr_split_label(const char *where, const char *separators, char *line, int64_t *label);

#endif
