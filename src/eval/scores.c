/* The score kernels' choice, the packing of both sides, and plain score matrices. */
#include "quick_impl.h"

#include "tandem/cpu.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

tdm_status eval_kernel_choose(const eval_kernel **kernel)
{
    tdm_cpu cpu;
    TDM_TRY(tdm_cpu_detect(&cpu));
    *kernel = &eval_kernel_generic;
#if defined(__x86_64__)
    if (cpu.isa == TDM_ISA_AVX512) *kernel = &eval_kernel_avx512;
    if (cpu.isa == TDM_ISA_AVX2) *kernel = &eval_kernel_avx2;
#endif
    return TDM_OK;
}

int eval_threads(const tdm_ops *ops)
{
    return ops == NULL ? omp_get_max_threads() : tdm_ops_threads(ops);
}

void eval_pack_queries(int64_t n, int64_t d, const float *feature, float *out)
{
    const int64_t groups = eval_tile_groups(n);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < EVAL_TILE_ROWS; r++) {
            const int64_t q = g * EVAL_TILE_ROWS + r;
            float *lane = out + g * d * EVAL_TILE_ROWS + r;
            for (int64_t k = 0; k < d; k++) lane[k * EVAL_TILE_ROWS] = q < n ? feature[q * d + k] : 0.0F;
        }
}

void eval_gallery_panel(const eval_gallery *gallery, int64_t panel, float *out)
{
    const int64_t columns = gallery->kernel->columns, d = gallery->d;
    for (int64_t j = 0; j < columns; j++) {
        const int64_t row = gallery->row[panel * columns + j];
        const float *item = row < 0 ? NULL : gallery->feature + (row - gallery->first) * d;
        for (int64_t k = 0; k < d; k++) out[k * columns + j] = item == NULL ? 0.0F : item[k];
    }
}

/* Fills row, sorted_id and column in the order of (id, row). */
static tdm_status order_by_id(const tdm_eval_side *side, eval_gallery *gallery)
{
    tdm_keyed *order = NULL;
    TDM_TRY(TDM_ALLOC(side->n, &order));
    tdm_status status = TDM_ALLOC(side->n, &gallery->sorted_id);
    if (status == TDM_OK) status = TDM_ALLOC(side->n, &gallery->column);
    if (status == TDM_OK) {
        for (int64_t i = 0; i < side->n; i++) order[i] = (tdm_keyed){side->id[i], i};
        qsort(order, (size_t)side->n, sizeof *order, tdm_compare_keyed);
        for (int64_t c = 0; c < side->n; c++) {
            gallery->sorted_id[c] = order[c].key;
            gallery->row[c] = gallery->first + order[c].place;
            gallery->column[order[c].place] = c;
        }
    }
    tdm_free(order);
    return status;
}

tdm_status eval_gallery_open(const tdm_eval_side *side, int64_t first, bool by_id, eval_gallery *gallery)
{
    const eval_kernel *kernel;
    TDM_TRY(eval_kernel_choose(&kernel));
    const int64_t columns = kernel->columns, panels = (side->n + columns - 1) / columns;
    *gallery = (eval_gallery){.kernel = kernel,
                              .n = side->n,
                              .d = side->d,
                              .panels = panels,
                              .first = first,
                              .feature = side->feature,
                              .labels = side->labels,
                              .label_words = side->label_words};
    TDM_TRY(TDM_ALLOC(panels * columns, &gallery->row));
    for (int64_t c = 0; c < panels * columns; c++) gallery->row[c] = c < side->n ? first + c : -1;
    return by_id ? order_by_id(side, gallery) : TDM_OK;
}

tdm_status eval_gallery_pack_f32(eval_gallery *gallery, int threads)
{
    const int64_t panel = gallery->d * gallery->kernel->columns;
    TDM_TRY(TDM_ALLOC(gallery->panels * panel, &gallery->packed));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t p = 0; p < gallery->panels; p++) eval_gallery_panel(gallery, p, gallery->packed + p * panel);
    return TDM_OK;
}

tdm_status eval_gallery_pack(const tdm_eval_side *side, int64_t first, bool by_id, int threads,
                             eval_gallery *gallery)
{
    TDM_TRY(eval_gallery_open(side, first, by_id, gallery));
    return eval_gallery_pack_f32(gallery, threads);
}

void eval_gallery_free(eval_gallery *gallery)
{
    eval_quick_free(gallery);
    tdm_free(gallery->packed);
    tdm_free(gallery->row);
    tdm_free(gallery->sorted_id);
    tdm_free(gallery->column);
    *gallery = (eval_gallery){0};
}

void eval_gallery_tile_of(const eval_gallery *gallery, const float *query_group, const float *packed,
                          int64_t panel, float *tile)
{
    const int64_t columns = gallery->kernel->columns, valid = gallery->n - panel * columns;
    gallery->kernel->tile(gallery->d, query_group, packed, tile);
    for (int64_t r = 0; valid < columns && r < EVAL_TILE_ROWS; r++)
        for (int64_t j = valid; j < columns; j++) tile[r * columns + j] = -INFINITY;
}

void eval_gallery_tile(const eval_gallery *gallery, const float *query_group, int64_t panel, float *tile)
{
    eval_gallery_tile_of(gallery, query_group,
                         gallery->packed + panel * gallery->d * gallery->kernel->columns, panel, tile);
}

tdm_status tdm_eval_scores(int64_t nq, int64_t ng, int64_t d, const float *query, const float *gallery,
                           float *out)
{
    TDM_REQUIRE(nq >= 0 && ng >= 0 && d >= 1, TDM_E_SHAPE, "scores of %lld queries, %lld items of width %lld",
                (long long)nq, (long long)ng, (long long)d);
    const tdm_eval_side side = {.n = ng, .d = d, .feature = gallery};
    const int64_t groups = eval_tile_groups(nq);
    eval_gallery packed = {0};
    float *packed_query = NULL;
    tdm_status status = eval_gallery_pack(&side, 0, false, omp_get_max_threads(), &packed);
    if (status == TDM_OK) status = TDM_ALLOC(groups * EVAL_TILE_ROWS * d, &packed_query);
    if (status == TDM_OK) {
        const int64_t columns = packed.kernel->columns;
        eval_pack_queries(nq, d, query, packed_query);
#pragma omp parallel for schedule(static)
        for (int64_t g = 0; g < groups; g++) {
            float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
            for (int64_t p = 0; p < packed.panels; p++) {
                eval_gallery_tile(&packed, packed_query + g * EVAL_TILE_ROWS * d, p, tile);
                const int64_t rows = tdm_min_i64(EVAL_TILE_ROWS, nq - g * EVAL_TILE_ROWS);
                const int64_t valid = tdm_min_i64(columns, ng - p * columns);
                for (int64_t r = 0; r < rows; r++)
                    memcpy(out + (g * EVAL_TILE_ROWS + r) * ng + p * columns, tile + r * columns,
                           (size_t)valid * sizeof *tile);
            }
        }
    }
    tdm_free(packed_query);
    eval_gallery_free(&packed);
    return status;
}
