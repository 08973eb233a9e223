/* What differs between oneDNN 2.6 and 3.x, in one place: memory descriptors are structs in 2.x and handles in
 * 3.x; primitive descriptors are made from operation descriptors in 2.x and directly in 3.x.
 * Sources: the headers oneapi/dnnl/dnnl.h of 2.6.3 and 3.7, and oneDNN's "Transition from v2.x to v3.x". */
#ifndef TANDEM_OPS_DNNL_COMPAT_H
#define TANDEM_OPS_DNNL_COMPAT_H

#include "ops_impl.h"

#include <oneapi/dnnl/dnnl.h>

/* Layout of a tensor. Zero-initialise; ops_md_destroy accepts that. */
typedef struct ops_md {
    bool set;
    dnnl_memory_desc_t md;
} ops_md;

TDM_CHECKED tdm_status ops_dnnl_check(dnnl_status_t status, const char *what);

/* Once per process, before any primitive: the instruction sets that oneDNN may generate code for. */
void ops_dnnl_cap_isa(const tdm_cpu *cpu);

/* rows x columns; a stride pair in elements, or `any`: oneDNN chooses when a primitive is made. */
TDM_CHECKED tdm_status ops_md_strided(ops_md *md, int64_t rows, int64_t columns, int64_t row_stride,
                                      int64_t column_stride, dnnl_data_type_t type);
TDM_CHECKED tdm_status ops_md_any(ops_md *md, int64_t rows, int64_t columns, dnnl_data_type_t type);
/* n images of height x width, channels last. */
TDM_CHECKED tdm_status ops_md_images(ops_md *md, int64_t n, int64_t channels, int64_t height, int64_t width,
                                     dnnl_data_type_t type);
/* Weights [out][in][kernel][kernel] of a convolution; or `any`. */
TDM_CHECKED tdm_status ops_md_kernel(ops_md *md, int64_t out, int64_t in, int64_t kernel, bool any,
                                     dnnl_data_type_t type);
size_t ops_md_bytes(const ops_md *md);
void ops_md_destroy(ops_md *md);

TDM_CHECKED tdm_status ops_dnnl_memory(dnnl_engine_t engine, const ops_md *md, void *handle,
                                       dnnl_memory_t *memory);

/* dst = src · weights (+ bias, unless NULL) (+ dst, if accumulate). `chosen`, unless NULL, receives the
 * layout of the weights that the primitive wants. */
TDM_CHECKED tdm_status ops_dnnl_matmul(dnnl_engine_t engine, const ops_md *src, const ops_md *weights,
                                       const ops_md *bias, const ops_md *dst, bool accumulate,
                                       dnnl_primitive_t *primitive, ops_md *chosen);
/* Convolution of stride 1 with zero padding of `padding` on all sides: dst from src and weights, src (the
 * data gradient) from dst and weights, or weights (the weight gradient) from src and dst. forward_weights:
 * the forward convolution's. `chosen` receives the layout of the weights. */
typedef enum conv_way { CONV_FORWARD, CONV_DATA, CONV_WEIGHT, CONV_WAYS } conv_way;
TDM_CHECKED tdm_status ops_dnnl_conv(dnnl_engine_t engine, conv_way way, const ops_md *src,
                                     const ops_md *weights, const ops_md *forward_weights, const ops_md *dst,
                                     int64_t padding, dnnl_primitive_t *primitive, ops_md *chosen);
/* to = from (+ to, if accumulate) */
TDM_CHECKED tdm_status ops_dnnl_reorder(dnnl_engine_t engine, const ops_md *from, const ops_md *to,
                                        bool accumulate, dnnl_primitive_t *primitive);

#endif
