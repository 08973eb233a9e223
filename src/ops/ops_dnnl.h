/* The context's oneDNN engine and stream. */
#ifndef TANDEM_OPS_DNNL_H
#define TANDEM_OPS_DNNL_H

#include "dnnl_compat.h"

struct ops_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};
TDM_CHECKED tdm_status ops_dnnl_create(const tdm_cpu *cpu, struct ops_dnnl **dnnl);
void ops_dnnl_destroy(struct ops_dnnl **dnnl);

/* oneDNN takes its thread count from OpenMP's setting for the calling thread: set ours around a call. */
int ops_dnnl_enter(const tdm_ops *ops); /* returns the setting to restore */
void ops_dnnl_leave(int saved_threads);

#endif
