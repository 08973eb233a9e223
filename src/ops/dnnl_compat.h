/* What differs between oneDNN 2.6 and 3.x, in one place: memory descriptors are structs in 2.x and handles in
 * 3.x; primitive descriptors are made from operation descriptors in 2.x and directly in 3.x.
 * Sources: the headers oneapi/dnnl/dnnl.h of 2.6.3 and 3.7, and oneDNN's "Transition from v2.x to v3.x". */
#ifndef TANDEM_OPS_DNNL_COMPAT_H
#define TANDEM_OPS_DNNL_COMPAT_H

#include "ops_impl.h"

#include <oneapi/dnnl/dnnl.h>

/* Layout of a matrix. Zero-initialise; tdm_md_destroy accepts that. */
typedef struct tdm_md {
    bool set;
    dnnl_memory_desc_t md;
} tdm_md;

TDM_CHECKED tdm_status tdm_dnnl_check(dnnl_status_t status, const char *what);

/* Once per process, before any primitive: the instruction sets that oneDNN may generate code for. */
void tdm_dnnl_cap_isa(const tdm_cpu *cpu);

/* rows x columns; a stride pair in elements, or `any`: oneDNN chooses when a primitive is made. */
TDM_CHECKED tdm_status tdm_md_strided(tdm_md *md, int64_t rows, int64_t columns, int64_t row_stride,
                                      int64_t column_stride, dnnl_data_type_t type);
TDM_CHECKED tdm_status tdm_md_any(tdm_md *md, int64_t rows, int64_t columns, dnnl_data_type_t type);
size_t tdm_md_bytes(const tdm_md *md);
void tdm_md_destroy(tdm_md *md);

TDM_CHECKED tdm_status tdm_dnnl_memory(dnnl_engine_t engine, const tdm_md *md, void *handle,
                                       dnnl_memory_t *memory);

/* dst = src · weights (+ bias, unless NULL) (+ dst, if accumulate). `chosen`, unless NULL, receives the
 * layout of the weights that the primitive wants. */
TDM_CHECKED tdm_status tdm_dnnl_matmul(dnnl_engine_t engine, const tdm_md *src, const tdm_md *weights,
                                       const tdm_md *bias, const tdm_md *dst, bool accumulate,
                                       dnnl_primitive_t *primitive, tdm_md *chosen);
TDM_CHECKED tdm_status tdm_dnnl_reorder(dnnl_engine_t engine, const tdm_md *from, const tdm_md *to,
                                        dnnl_primitive_t *primitive);

#endif
