/* Every table whose rows bring options. */
#include "tandem/session.h"

tdm_status tdm_register_options(void)
{
    TDM_TRY(tdm_model_register());
    return tdm_loss_register();
}
