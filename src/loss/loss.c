#include "tandem/loss.h"

#include "tandem/config.h"
#include "loss_table.h"

#include <stdio.h>
#include <string.h>

#define DECLARE_ROW(loss) extern const tdm_loss loss;
TDM_LOSS_TABLE(DECLARE_ROW)
#define TABLE_ROW(loss) &loss,
static const tdm_loss *const losses[] = {TDM_LOSS_TABLE(TABLE_ROW)};

const tdm_loss *const *tdm_loss_table(size_t *count)
{
    *count = sizeof(losses) / sizeof(losses[0]);
    return losses;
}

const tdm_loss *tdm_loss_find(const char *name)
{
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++)
        if (!strcmp(losses[i]->name, name)) return losses[i];
    return NULL;
}

tdm_status tdm_loss_register(void)
{
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
        char prefix[80];
        snprintf(prefix, sizeof(prefix), "loss.%s", losses[i]->name);
        TDM_TRY(tdm_config_register(prefix, losses[i]->options, losses[i]->option_count,
                                    losses[i]->option_bytes));
    }
    return TDM_OK;
}
