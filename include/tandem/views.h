/* Views of a sample. An objective names those it needs, the loader makes only these, each passes its tower once.
 *
 * A view has a name (`plain`, `aug_1` …) and a modality; the pair of both is a row of the table below. What is done
 * to a view says its list of augmentations in the configuration, in that order:
 *
 *     views: { aug_1: { augment = ["crop", "flip", "jitter(p=0.8)"]; }; };
 *
 * Rows of a view may be a part of the batch: samples can have an image only or a text only. */
#ifndef TANDEM_VIEWS_H
#define TANDEM_VIEWS_H

#include <stdint.h>

typedef enum tdm_modality { TDM_IMAGE, TDM_TEXT, TDM_MODALITIES } tdm_modality;

/* Names of views: VIEW_NAME(enumerator, "name", default list of augmentations). The list of a name serves its image
 * and its text view: of each only the augmentations of its modality. */
#define TDM_VIEW_NAME_TABLE(ROW)                                                                                                 \
    ROW(PLAIN, plain, "[]")                                                                                                      \
    ROW(AUG_1, aug_1, "[crop, flip, jitter, gray]")                                                                              \
    ROW(AUG_2, aug_2, "[crop, flip, jitter, gray]")                                                                              \
    ROW(SS_1, ss_1,                                                                                                              \
        "[crop(min_scale=0.2), jitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1), gray(p=0.2), flip(p=0.5)]") \
    ROW(SS_2, ss_2,                                                                                                              \
        "[crop(min_scale=0.2), jitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1), gray(p=0.2), flip(p=0.5)]") \
    ROW(MASKED, masked, "[mask]")

/* Views: VIEW(modality twice, name twice). Never reorder those of a modality: random numbers are keyed by their number in it. */
#define TDM_VIEW_TABLE(ROW)                                                                                  \
    ROW(IMAGE, image, PLAIN, plain) /* resized and cropped as for evaluation, unless its list says more */   \
    ROW(IMAGE, image, AUG_1, aug_1)                                                                          \
    ROW(IMAGE, image, AUG_2, aug_2)                                                                          \
    ROW(IMAGE, image, SS_1, ss_1)                                                                            \
    ROW(IMAGE, image, SS_2, ss_2)                                                                            \
    ROW(TEXT, text, PLAIN, plain) /* the caption as it is, unless its list says more */                      \
    ROW(TEXT, text, AUG_1, aug_1)                                                                            \
    ROW(TEXT, text, AUG_2, aug_2)                                                                            \
    ROW(TEXT, text, MASKED, masked) /* with tokens to predict */

typedef enum tdm_view_name {
#define TDM_VIEW_NAME(enumerator, name, augment) TDM_VIEW_NAME_##enumerator,
    TDM_VIEW_NAME_TABLE(TDM_VIEW_NAME)
#undef TDM_VIEW_NAME
        TDM_VIEW_NAMES
} tdm_view_name;

typedef enum tdm_view {
#define TDM_VIEW(M, m, NAME, name) TDM_VIEW_##M##_##NAME,
    TDM_VIEW_TABLE(TDM_VIEW)
#undef TDM_VIEW
        TDM_VIEWS
} tdm_view;

typedef uint32_t tdm_view_set; /* bits 1 << tdm_view */

typedef struct tdm_view_info {
    tdm_modality modality;
    tdm_view_name name;
    const char *text;  /* "aug_1" */
    const char *label; /* "image.aug_1" */
    int number;        /* among the views of its modality, from 0 */
} tdm_view_info;
const tdm_view_info *tdm_view_of(tdm_view view);
/* "aug_1" of a modality; -1 when it has none of that name. */
int tdm_view_find(tdm_modality modality, const char *name);
int tdm_view_count(tdm_view_set views, tdm_modality modality); /* views of the modality */
const char *tdm_modality_name(tdm_modality modality);          /* "image", "text" */

#endif
