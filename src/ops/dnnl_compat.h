/* What differs between oneDNN 2.6 and 3.x, in one place: memory descriptors are structs in 2.x and handles in
 * 3.x; primitive descriptors are made from operation descriptors in 2.x and directly in 3.x.
 * Sources: the headers oneapi/dnnl/dnnl.h of 2.6.3 and 3.7, and oneDNN's "Transition from v2.x to v3.x". */
#ifndef TANDEM_OPS_DNNL_COMPAT_H
#define TANDEM_OPS_DNNL_COMPAT_H

#include "ops_impl.h"

#include <oneapi/dnnl/dnnl.h>

/* Layout of a tensor. Zero-initialise; tdm_md_destroy accepts that. */
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
/* n images of height x width, channels last. */
TDM_CHECKED tdm_status tdm_md_images(tdm_md *md, int64_t n, int64_t channels, int64_t height, int64_t width,
                                     dnnl_data_type_t type);
/* Weights [out][in][kernel][kernel] of a convolution; or `any`. */
TDM_CHECKED tdm_status tdm_md_kernel(tdm_md *md, int64_t out, int64_t in, int64_t kernel, bool any,
                                     dnnl_data_type_t type);
size_t tdm_md_bytes(const tdm_md *md);
void tdm_md_destroy(tdm_md *md);

TDM_CHECKED tdm_status tdm_dnnl_memory(dnnl_engine_t engine, const tdm_md *md, void *handle,
                                       dnnl_memory_t *memory);

/* dst = src · weights (+ bias, unless NULL) (+ dst, if accumulate). `chosen`, unless NULL, receives the
 * layout of the weights that the primitive wants. */
TDM_CHECKED tdm_status tdm_dnnl_matmul(dnnl_engine_t engine, const tdm_md *src, const tdm_md *weights,
                                       const tdm_md *bias, const tdm_md *dst, bool accumulate,
                                       dnnl_primitive_t *primitive, tdm_md *chosen);
/* Convolution of stride 1 with zero padding of `padding` on all sides: dst from src and weights, src (the
 * data gradient) from dst and weights, or weights (the weight gradient) from src and dst. forward_weights:
 * the forward convolution's. `chosen` receives the layout of the weights. */
typedef enum tdm_conv_way { TDM_CONV_FORWARD, TDM_CONV_DATA, TDM_CONV_WEIGHT, TDM_CONV_WAYS } tdm_conv_way;
TDM_CHECKED tdm_status tdm_dnnl_conv(dnnl_engine_t engine, tdm_conv_way way, const tdm_md *src,
                                     const tdm_md *weights, const tdm_md *forward_weights, const tdm_md *dst,
                                     int64_t padding, dnnl_primitive_t *primitive, tdm_md *chosen);
/* to = from (+ to, if accumulate) */
TDM_CHECKED tdm_status tdm_dnnl_reorder(dnnl_engine_t engine, const tdm_md *from, const tdm_md *to,
                                        bool accumulate, dnnl_primitive_t *primitive);

#endif
