#include "ops_dnnl.h"

#include <omp.h>

#include <string.h>

void tdm_ops_library(char out[24])
{
    const dnnl_version_t *version = dnnl_version();
    snprintf(out, 24, "%d.%d.%d", version->major, version->minor, version->patch);
}

tdm_status ops_dnnl_create(const tdm_cpu *cpu, struct ops_dnnl **out)
{
    ops_dnnl_cap_isa(cpu);
    TDM_TRY(TDM_ALLOC(1, out));
    TDM_TRY(ops_dnnl_check(dnnl_engine_create(&(*out)->engine, dnnl_cpu, 0), "engine"));
    return ops_dnnl_check(dnnl_stream_create(&(*out)->stream, (*out)->engine, dnnl_stream_default_flags),
                          "stream");
}

void ops_dnnl_destroy(struct ops_dnnl **dnnl)
{
    if (!*dnnl) return;
    if ((*dnnl)->stream) dnnl_stream_destroy((*dnnl)->stream);
    if ((*dnnl)->engine) dnnl_engine_destroy((*dnnl)->engine);
    tdm_free(*dnnl);
    *dnnl = NULL;
}

int ops_dnnl_enter(const tdm_ops *ops)
{
    int saved = omp_get_max_threads();
    if (saved != ops->threads) omp_set_num_threads(ops->threads);
    return saved;
}

void ops_dnnl_leave(int saved_threads)
{
    if (saved_threads != omp_get_max_threads()) omp_set_num_threads(saved_threads);
}

/* oneDNN multiplies a single row by other code, which sums in another order: an embedding would then have
 * other bits when it is alone. Two equal rows go the common way. False when there is no room for them. */
static bool double_row(tdm_ops *ops, bool transpose_b, int64_t n, int64_t k, float alpha, const float *a,
                       const float *b, int64_t ldb, float beta, float *c, dnnl_status_t *status)
{
    float *rows = ops_scratch(ops, 0, sizeof(float) * (size_t)(2 * (k + n)));
    if (!rows) return false;
    float *product = rows + 2 * k;
    memcpy(rows, a, sizeof(float) * (size_t)k);
    memcpy(rows + k, a, sizeof(float) * (size_t)k);
    *status = dnnl_sgemm('N', transpose_b ? 'T' : 'N', 2, n, k, alpha, rows, k, b, ldb, 0.0f, product, n);
    for (int64_t i = 0; i < n; i++) c[i] = beta == 0.0f ? product[i] : beta * c[i] + product[i];
    return true;
}

tdm_status tdm_gemm(tdm_ops *ops, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                    float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                    float *c, int64_t ldc)
{
    if (m == 0 || n == 0) return TDM_OK;
    double start = op_begin();
    int saved = ops_dnnl_enter(ops);
    dnnl_status_t status;
    if (m > 1 || transpose_a || !double_row(ops, transpose_b, n, k, alpha, a, b, ldb, beta, c, &status))
        status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb,
                            beta, c, ldc);
    ops_dnnl_leave(saved);
    op_end(ops, TDM_OP_LOSS, start, 2.0 * (double)m * (double)n * (double)k);
    return ops_dnnl_check(status, "sgemm");
}
