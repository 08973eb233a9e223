#include "inference_flags.h"
#include "roster_log.h"

tdm_status inference_show(tdm_comm *comm, const tdm_inference *inference)
{
    const tdm_config *c = &inference->config;
    const tdm_selection *chosen = &inference->selection;
    if (chosen->is_best && chosen->epoch > 0.0)
        tdm_log(TDM_LOG_INFO, "checkpoint: the best of its run, %s = %.4f of epoch %.4g, chosen on split %s",
                c->checkpoint.best_metric, chosen->value, chosen->epoch, c->eval.split);
    else if (chosen->is_best)
        tdm_log(TDM_LOG_INFO, "checkpoint: the best of its run, %s = %.4f, chosen on split %s",
                c->checkpoint.best_metric, chosen->value, c->eval.split);
    tdm_log(TDM_LOG_INFO, "model: %s, step %lld", inference->dir, (long long)inference->step);
    return roster_log(comm, inference->ops, NULL);
}
