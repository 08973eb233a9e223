#include "dnnl_compat.h"

tdm_status ops_dnnl_check(dnnl_status_t status, const char *what)
{
    TDM_REQUIRE(status == dnnl_success, status == dnnl_out_of_memory ? TDM_E_NOMEM : TDM_E_LIBRARY,
                "oneDNN: %s: status %d", what, (int)status);
    return TDM_OK;
}

/* Later calls and CPUs without a choice are refused by oneDNN, which is fine: the first call counts. */
void ops_dnnl_cap_isa(const tdm_cpu *cpu)
{
#if defined(__x86_64__)
    if (cpu->amx_bf16) return;
    dnnl_cpu_isa_t isa = dnnl_cpu_isa_sse41;
    if (cpu->isa == TDM_ISA_AVX2) isa = dnnl_cpu_isa_avx2;
    if (cpu->isa == TDM_ISA_AVX512)
        isa = cpu->avx512_bf16 ? dnnl_cpu_isa_avx512_core_bf16 : dnnl_cpu_isa_avx512_core;
    (void)dnnl_set_max_cpu_isa(isa);
#else
    (void)cpu;
#endif
}

#if DNNL_VERSION_MAJOR >= 3

tdm_status ops_md_strided(ops_md *md, int64_t rows, int64_t columns, int64_t row_stride,
                          int64_t column_stride, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};
    TDM_TRY(ops_dnnl_check(dnnl_memory_desc_create_with_strides(&md->md, 2, dims, type, strides), "layout"));
    md->set = true;
    return TDM_OK;
}

tdm_status ops_md_any(ops_md *md, int64_t rows, int64_t columns, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {rows, columns};
    TDM_TRY(ops_dnnl_check(dnnl_memory_desc_create_with_tag(&md->md, 2, dims, type, dnnl_format_tag_any),
                           "layout"));
    md->set = true;
    return TDM_OK;
}

static tdm_status md_tagged(ops_md *md, const dnnl_dims_t dims, dnnl_format_tag_t tag, dnnl_data_type_t type)
{
    TDM_TRY(ops_dnnl_check(dnnl_memory_desc_create_with_tag(&md->md, 4, dims, type, tag), "layout"));
    md->set = true;
    return TDM_OK;
}

size_t ops_md_bytes(const ops_md *md)
{
    return dnnl_memory_desc_get_size(md->md);
}

void ops_md_destroy(ops_md *md)
{
    if (md->set) dnnl_memory_desc_destroy(md->md);
    md->set = false;
}

tdm_status ops_dnnl_memory(dnnl_engine_t engine, const ops_md *md, void *handle, dnnl_memory_t *memory)
{
    return ops_dnnl_check(dnnl_memory_create(memory, md->md, engine, handle), "memory");
}

static dnnl_status_t matmul_desc(dnnl_engine_t engine, const ops_md *src, const ops_md *weights,
                                 const ops_md *bias, const ops_md *dst, const_dnnl_primitive_attr_t attr,
                                 dnnl_primitive_desc_t *desc)
{
    return dnnl_matmul_primitive_desc_create(desc, engine, src->md, weights->md, bias ? bias->md : NULL,
                                             dst->md, attr);
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}

static tdm_status copy_weights_layout(const_dnnl_primitive_desc_t desc, dnnl_query_t query, ops_md *to)
{
    const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(desc, query, 0);
    TDM_TRY(ops_dnnl_check(dnnl_memory_desc_clone(&to->md, md), "layout of the weights"));
    to->set = true;
    return TDM_OK;
}

static dnnl_status_t conv_desc(dnnl_engine_t engine, conv_way way, const ops_md *src, const ops_md *weights,
                               const ops_md *dst, int64_t padding, const_dnnl_primitive_desc_t hint,
                               dnnl_primitive_desc_t *desc)
{
    const dnnl_dims_t strides = {1, 1}, dilates = {0, 0}, pad = {padding, padding};
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    if (way == CONV_FORWARD)
        return dnnl_convolution_forward_primitive_desc_create(desc, engine, dnnl_forward_training, direct,
                                                              src->md, weights->md, NULL, dst->md, strides,
                                                              dilates, pad, pad, NULL);
    if (way == CONV_DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(
            desc, engine, direct, src->md, weights->md, dst->md, strides, dilates, pad, pad, hint, NULL);
    return dnnl_convolution_backward_weights_primitive_desc_create(
        desc, engine, direct, src->md, weights->md, NULL, dst->md, strides, dilates, pad, pad, hint, NULL);
}

static dnnl_status_t reorder_desc(dnnl_engine_t engine, const ops_md *from, const ops_md *to,
                                  const_dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *desc)
{
    return dnnl_reorder_primitive_desc_create(desc, from->md, engine, to->md, engine, attr);
}

#else

tdm_status ops_md_strided(ops_md *md, int64_t rows, int64_t columns, int64_t row_stride,
                          int64_t column_stride, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};
    TDM_TRY(ops_dnnl_check(dnnl_memory_desc_init_by_strides(&md->md, 2, dims, type, strides), "layout"));
    md->set = true;
    return TDM_OK;
}

tdm_status ops_md_any(ops_md *md, int64_t rows, int64_t columns, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {rows, columns};
    TDM_TRY(
        ops_dnnl_check(dnnl_memory_desc_init_by_tag(&md->md, 2, dims, type, dnnl_format_tag_any), "layout"));
    md->set = true;
    return TDM_OK;
}

static tdm_status md_tagged(ops_md *md, const dnnl_dims_t dims, dnnl_format_tag_t tag, dnnl_data_type_t type)
{
    TDM_TRY(ops_dnnl_check(dnnl_memory_desc_init_by_tag(&md->md, 4, dims, type, tag), "layout"));
    md->set = true;
    return TDM_OK;
}

size_t ops_md_bytes(const ops_md *md)
{
    return dnnl_memory_desc_get_size(&md->md);
}

void ops_md_destroy(ops_md *md)
{
    md->set = false;
}

tdm_status ops_dnnl_memory(dnnl_engine_t engine, const ops_md *md, void *handle, dnnl_memory_t *memory)
{
    return ops_dnnl_check(dnnl_memory_create(memory, &md->md, engine, handle), "memory");
}

static dnnl_status_t matmul_desc(dnnl_engine_t engine, const ops_md *src, const ops_md *weights,
                                 const ops_md *bias, const ops_md *dst, const_dnnl_primitive_attr_t attr,
                                 dnnl_primitive_desc_t *desc)
{
    dnnl_matmul_desc_t op;
    dnnl_status_t status =
        dnnl_matmul_desc_init(&op, &src->md, &weights->md, bias ? &bias->md : NULL, &dst->md);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(desc, &op, attr, engine, NULL);
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f);
}

static tdm_status copy_weights_layout(const_dnnl_primitive_desc_t desc, dnnl_query_t query, ops_md *to)
{
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(desc, query, 0);
    TDM_REQUIRE(md, TDM_E_LIBRARY, "oneDNN: a primitive does not tell the layout of its weights");
    to->md = *md;
    to->set = true;
    return TDM_OK;
}

static dnnl_status_t conv_desc(dnnl_engine_t engine, conv_way way, const ops_md *src, const ops_md *weights,
                               const ops_md *dst, int64_t padding, const_dnnl_primitive_desc_t hint,
                               dnnl_primitive_desc_t *desc)
{
    const dnnl_dims_t strides = {1, 1}, pad = {padding, padding};
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    dnnl_convolution_desc_t op;
    dnnl_status_t status;
    if (way == CONV_FORWARD)
        status = dnnl_convolution_forward_desc_init(&op, dnnl_forward_training, direct, &src->md,
                                                    &weights->md, NULL, &dst->md, strides, pad, pad);
    else if (way == CONV_DATA)
        status = dnnl_convolution_backward_data_desc_init(&op, direct, &src->md, &weights->md, &dst->md,
                                                          strides, pad, pad);
    else
        status = dnnl_convolution_backward_weights_desc_init(&op, direct, &src->md, &weights->md, NULL,
                                                             &dst->md, strides, pad, pad);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(desc, &op, NULL, engine, hint);
}

static dnnl_status_t reorder_desc(dnnl_engine_t engine, const ops_md *from, const ops_md *to,
                                  const_dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *desc)
{
    return dnnl_reorder_primitive_desc_create(desc, &from->md, engine, &to->md, engine, attr);
}

#endif

static _Thread_local int64_t primitives;

int64_t tdm_ops_primitives(void)
{
    return primitives;
}

static dnnl_status_t make_primitive(dnnl_primitive_t *primitive, const_dnnl_primitive_desc_t desc)
{
    primitives++;
    return dnnl_primitive_create(primitive, desc);
}

static dnnl_status_t accumulating_attr(dnnl_primitive_attr_t *attr)
{
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    if (status != dnnl_success) return status;
    dnnl_post_ops_t ops = NULL;
    status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success) status = append_sum(ops);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    return status;
}

tdm_status ops_dnnl_matmul(dnnl_engine_t engine, const ops_md *src, const ops_md *weights, const ops_md *bias,
                           const ops_md *dst, bool accumulate, dnnl_primitive_t *primitive, ops_md *chosen)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status = accumulate ? accumulating_attr(&attr) : dnnl_success;
    if (status == dnnl_success) status = matmul_desc(engine, src, weights, bias, dst, attr, &desc);
    if (status == dnnl_success) status = make_primitive(primitive, desc);
    tdm_status result = ops_dnnl_check(status, "matmul");
    if (result == TDM_OK && chosen) result = copy_weights_layout(desc, dnnl_query_weights_md, chosen);
    if (desc) dnnl_primitive_desc_destroy(desc);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return result;
}

tdm_status ops_md_images(ops_md *md, int64_t n, int64_t channels, int64_t height, int64_t width,
                         dnnl_data_type_t type)
{
    return md_tagged(md, (const dnnl_dims_t){n, channels, height, width}, dnnl_nhwc, type);
}

tdm_status ops_md_kernel(ops_md *md, int64_t out, int64_t in, int64_t kernel, bool any, dnnl_data_type_t type)
{
    return md_tagged(md, (const dnnl_dims_t){out, in, kernel, kernel}, any ? dnnl_format_tag_any : dnnl_oihw,
                     type);
}

tdm_status ops_dnnl_conv(dnnl_engine_t engine, conv_way way, const ops_md *src, const ops_md *weights,
                         const ops_md *forward_weights, const ops_md *dst, int64_t padding,
                         dnnl_primitive_t *primitive, ops_md *chosen)
{
    dnnl_primitive_desc_t hint = NULL, desc = NULL;
    dnnl_status_t status = dnnl_success;
    if (way != CONV_FORWARD) /* the gradients' descriptors ask for the forward one */
        status = conv_desc(engine, CONV_FORWARD, src, forward_weights, dst, padding, NULL, &hint);
    if (status == dnnl_success) status = conv_desc(engine, way, src, weights, dst, padding, hint, &desc);
    if (status == dnnl_success) status = make_primitive(primitive, desc);
    tdm_status result = ops_dnnl_check(status, "convolution");
    if (result == TDM_OK)
        result = copy_weights_layout(
            desc, way == CONV_WEIGHT ? dnnl_query_diff_weights_md : dnnl_query_weights_md, chosen);
    if (desc) dnnl_primitive_desc_destroy(desc);
    if (hint) dnnl_primitive_desc_destroy(hint);
    return result;
}

tdm_status ops_dnnl_reorder(dnnl_engine_t engine, const ops_md *from, const ops_md *to, bool accumulate,
                            dnnl_primitive_t *primitive)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status = accumulate ? accumulating_attr(&attr) : dnnl_success;
    if (status == dnnl_success) status = reorder_desc(engine, from, to, attr, &desc);
    if (status == dnnl_success) status = make_primitive(primitive, desc);
    if (desc) dnnl_primitive_desc_destroy(desc);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return ops_dnnl_check(status, "reorder");
}
