/* Views of a sample: a loss names those it needs, the loader makes only those, each passes its tower once. */
#ifndef TANDEM_VIEWS_H
#define TANDEM_VIEWS_H

typedef enum tdm_modality { TDM_IMAGE, TDM_TEXT, TDM_MODALITIES } tdm_modality;

typedef enum tdm_image_view {
    TDM_VIEW_IMAGE_PLAIN, /* resized and cropped as for evaluation */
    TDM_VIEW_IMAGE_AUG_1, /* augmented as `augment` says */
    TDM_VIEW_IMAGE_AUG_2, /* the same with other random numbers */
    TDM_IMAGE_VIEWS
} tdm_image_view;

typedef enum tdm_text_view {
    TDM_VIEW_TEXT_PLAIN, /* the caption as it is */
    TDM_TEXT_VIEWS
} tdm_text_view;

#endif
