/* The context's oneDNN engine and stream. */
#ifndef TANDEM_OPS_DNNL_H
#define TANDEM_OPS_DNNL_H

#include "dnnl_compat.h"

struct tdm_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};
TDM_CHECKED tdm_status tdm_dnnl_create(const tdm_cpu *cpu, struct tdm_dnnl **dnnl);
void tdm_dnnl_destroy(struct tdm_dnnl **dnnl);

/* oneDNN takes its thread count from OpenMP's setting for the calling thread: set ours around a call. */
int tdm_dnnl_enter(const tdm_ops *ops); /* returns the setting to restore */
void tdm_dnnl_leave(int saved_threads);

#endif
