/* Every table whose rows bring options. */
#include "tandem/session.h"

tdm_status tdm_register_options(void)
{
    TDM_TRY(tdm_model_register());
    TDM_TRY(tdm_optim_register());
    TDM_TRY(tdm_loss_register());
    TDM_TRY(tdm_loader_register());
    TDM_TRY(tdm_share_register());
    TDM_TRY(tdm_imbalance_register());
    TDM_TRY(tdm_image_augment_register());
    return tdm_text_augment_register();
}
