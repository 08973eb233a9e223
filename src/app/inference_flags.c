#include "inference_flags.h"

void inference_show(tdm_comm *comm, const tdm_inference *inference)
{
    const int ranks = tdm_comm_size(comm), threads = tdm_ops_threads(inference->ops);
    tdm_log(TDM_LOG_INFO, "model: %s, step %lld, %s; %d rank%s of %d thread%s, %s", inference->dir,
            (long long)inference->step, tdm_ops_dtype(inference->ops) == TDM_BF16 ? "bf16" : "f32", ranks,
            ranks == 1 ? "" : "s", threads, threads == 1 ? "" : "s", tdm_ops_isa(inference->ops));
    tdm_comm_warn_threads(comm, threads);
}
