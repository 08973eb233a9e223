/* Private to data_prep: features of images and texts with what is known of their rows, on the way into a list. */
#ifndef TANDEM_FEATURE_SET_H
#define TANDEM_FEATURE_SET_H

#include "pack_impl.h"

#include "tandem/h5.h"

struct tdm_array;

/* What is known of the rows of one modality. */
typedef struct feature_side {
    tdm_pack_features *features; /* NULL: there are none; the list's */
    int64_t n;
    int64_t *identity; /* [n] or NULL */
    int64_t *label;    /* [n] or NULL; -1: none */
    uint8_t *bit;      /* [n][classes] or NULL */
    int64_t classes;
} feature_side;

typedef struct feature_set {
    const char *name;  /* what messages call it */
    const char *split; /* of its samples */
    feature_side image, text;
    int64_t *image_of_text; /* [text.n] -1: none */
    const struct tdm_array
        *id; /* of the images, or of texts where there are no images: their names; NULL: none */
    tdm_h5_strings class_name; /* empty: classes are called by their numbers */
} feature_set;

void feature_set_free(feature_set *set);
/* All samples of the set. */
TDM_CHECKED tdm_status feature_set_add(const feature_set *set, tdm_pack_list *list);
/* Do the texts belong to images that exist? */
TDM_CHECKED tdm_status feature_set_check(const feature_set *set);
/* Text i belongs to image i where there are as many of both, else every text stands alone. Fills image_of_text. */
TDM_CHECKED tdm_status feature_set_pair(feature_set *set);
TDM_CHECKED tdm_status feature_set_check_classes(const char *where, int64_t count);

/* ---- Files of named arrays (tandem/arrays.h) and folders of them ---- */
typedef struct feature_options {
    const char *image_key, *text_key, *label_key, *text_label_key, *text_image_key, *identity_key, *ids_key;
    int label_base; /* of LABEL_BASES */
} feature_options;
#define LABEL_BASES "0|1|auto"
bool features_are_arrays(const char *source);
TDM_CHECKED tdm_status features_list_arrays(const char *source, const feature_options *options,
                                            tdm_pack_list *list);

#endif
