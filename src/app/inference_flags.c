#include "inference_flags.h"

void inference_show(tdm_comm *comm, const tdm_inference *inference)
{
    const tdm_config *c = &inference->config;
    const tdm_selection *chosen = &inference->selection;
    if (chosen->is_best && chosen->epoch > 0.0)
        tdm_log(TDM_LOG_INFO, "checkpoint: the best of its run, %s = %.4f of epoch %.4g, chosen on split %s",
                c->checkpoint.best_metric, chosen->value, chosen->epoch, c->eval.split);
    else if (chosen->is_best)
        tdm_log(TDM_LOG_INFO, "checkpoint: the best of its run, %s = %.4f, chosen on split %s",
                c->checkpoint.best_metric, chosen->value, c->eval.split);
    const int ranks = tdm_comm_size(comm), threads = tdm_ops_threads(inference->ops);
    tdm_log(TDM_LOG_INFO, "model: %s, step %lld, %s; %d rank%s of %d thread%s, %s", inference->dir,
            (long long)inference->step, tdm_ops_dtype(inference->ops) == TDM_BF16 ? "bf16" : "f32", ranks,
            ranks == 1 ? "" : "s", threads, threads == 1 ? "" : "s", tdm_ops_isa(inference->ops));
    tdm_comm_warn_threads(comm, threads);
}
