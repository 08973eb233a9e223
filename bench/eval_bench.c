/* Retrieval metrics and top-10 lists over random unit vectors, cut over the ranks.
 *
 *   mpirun -n RANKS eval_bench [rows] [dim] [repeats] [metrics|both|top_k] [json file] [random|copies|equal]
 *   defaults:                    20000 512 3 metrics (standard output) random
 *
 * metrics: one direction; both: both directions in one pass. Every query has one positive. copies: every row is there
 * 100 times; equal: all rows are the same. TANDEM_SCORES=f32|int16|int8 chooses the first product.
 * Writes {"queries_per_s": [one per repetition], "recall_at_1", "work": {"pairs", "int8", "int16", "looked", "exact"}}. */
#include "tandem/base.h"
#include "tandem/comm.h"
#include "tandem/eval.h"
#include "tandem/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOP = 10, QUERY_BLOCK = 512 };

typedef struct bench {
    tdm_comm *comm;
    int64_t rows, d, first, n; /* of all ranks; of this one */
    int repeats;
    const char *what, *data;
    float *query, *gallery;
    int64_t *id, *best; /* [n], [n][TOP] */
    float *score;       /* [n][TOP] */
    double *rate;       /* [repeats] */
    tdm_metrics metrics[2];
    tdm_eval_detail detail[2];
} bench;

/* Which vector a row is. */
static uint64_t vector_of(const bench *b, int64_t row)
{
    return strcmp(b->data, "equal") == 0 ? 0 : (uint64_t)(strcmp(b->data, "copies") == 0 ? row / 100 : row);
}

/* Unit rows: 0.6 of what a query and its positive share, and noise of their own. */
static void fill(const bench *b, float *feature, uint64_t own)
{
    for (int64_t i = 0; i < b->n; i++) {
        const uint64_t vector = vector_of(b, b->first + i);
        tdm_rng shared = tdm_rng_at(1, 2, vector, 0);
        tdm_rng noise = tdm_rng_at(1, own, vector, 0);
        double squares = 0.0;
        float *row = feature + i * b->d;
        for (int64_t k = 0; k < b->d; k++) {
            row[k] = (float)(0.6 * (tdm_rng_uniform(&shared) - 0.5) + tdm_rng_uniform(&noise) - 0.5);
            squares += (double)row[k] * row[k];
        }
        for (int64_t k = 0; k < b->d; k++) row[k] *= (float)(1.0 / sqrt(squares));
    }
}

static tdm_status prepare(bench *b)
{
    const int rank = tdm_comm_rank(b->comm), size = tdm_comm_size(b->comm);
    b->first = tdm_part_begin(b->rows, size, rank);
    b->n = tdm_part_begin(b->rows, size, rank + 1) - b->first;
    TDM_TRY(TDM_ALLOC(b->n * b->d, &b->query));
    TDM_TRY(TDM_ALLOC(b->n * b->d, &b->gallery));
    TDM_TRY(TDM_ALLOC(b->n, &b->id));
    TDM_TRY(TDM_ALLOC(b->n * TOP, &b->best));
    TDM_TRY(TDM_ALLOC(b->n * TOP, &b->score));
    TDM_TRY(TDM_ALLOC(b->repeats, &b->rate));
    for (int64_t i = 0; i < b->n; i++) b->id[i] = b->first + i;
    fill(b, b->query, 3);
    fill(b, b->gallery, 4);
    return TDM_OK;
}

static tdm_status evaluate(bench *b)
{
    const tdm_eval_side side[2] = {{.n = b->n, .d = b->d, .feature = b->query, .id = b->id},
                                   {.n = b->n, .d = b->d, .feature = b->gallery, .id = b->id}};
    if (strcmp(b->what, "top_k") == 0)
        return tdm_eval_top_k(b->comm, NULL, &side[0], &side[1], TOP, QUERY_BLOCK, b->best, b->score);
    if (strcmp(b->what, "both") == 0)
        return tdm_eval_both_ways(b->comm, NULL, side, QUERY_BLOCK, INT64_MAX, b->metrics, b->detail);
    return tdm_eval_metrics_in_detail(b->comm, NULL, &side[0], &side[1], false, QUERY_BLOCK, b->metrics,
                                      b->detail);
}

static tdm_status run(bench *b)
{
    for (int i = 0; i < b->repeats; i++) {
        tdm_comm_barrier(b->comm);
        const double start_s = tdm_now_s();
        TDM_TRY(evaluate(b));
        tdm_comm_barrier(b->comm);
        b->rate[i] = (double)b->rows / (tdm_now_s() - start_s);
    }
    return TDM_OK;
}

static void write_result(const bench *b, FILE *file)
{
    fprintf(file, "{\"rows\": %lld, \"dim\": %lld, \"ranks\": %d, \"what\": \"%s\", \"recall_at_1\": %g, ",
            (long long)b->rows, (long long)b->d, tdm_comm_size(b->comm), b->what,
            tdm_metrics_value(&b->metrics[0], "recall_at_1"));
    const tdm_eval_work *work = &b->detail[0].work;
    fprintf(
        file,
        "\"work\": {\"pairs\": %lld, \"int8\": %lld, \"int16\": %lld, \"looked\": %lld, \"exact\": %lld}, ",
        (long long)work->pairs, (long long)work->int8, (long long)work->int16, (long long)work->looked,
        (long long)work->exact);
    fprintf(file, "\"queries_per_s\": [");
    for (int i = 0; i < b->repeats; i++) fprintf(file, "%s%.1f", i > 0 ? ", " : "", b->rate[i]);
    fprintf(file, "]}\n");
}

static void destroy(bench *b)
{
    void *const list[] = {b->query, b->gallery, b->id, b->best, b->score, b->rate};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) tdm_free(list[i]);
    tdm_comm_destroy(&b->comm);
}

int main(int argc, char **argv)
{
    bench b = {.rows = argc > 1 ? atoll(argv[1]) : 20000,
               .d = argc > 2 ? atoll(argv[2]) : 512,
               .repeats = argc > 3 ? atoi(argv[3]) : 3,
               .what = argc > 4 ? argv[4] : "metrics",
               .data = argc > 6 ? argv[6] : "random"};
    const char *path = argc > 5 ? argv[5] : NULL;
    tdm_status status = tdm_comm_create(&argc, &argv, &b.comm);
    if (status == TDM_OK) status = tdm_comm_agree(b.comm, prepare(&b));
    if (status == TDM_OK) status = run(&b);
    if (status != TDM_OK) tdm_comm_abort(b.comm);
    FILE *file = path != NULL && tdm_comm_rank(b.comm) == 0 ? fopen(path, "w") : NULL;
    if (tdm_comm_rank(b.comm) == 0) write_result(&b, file != NULL ? file : stdout);
    if (file != NULL) fclose(file);
    destroy(&b);
    return 0;
}
