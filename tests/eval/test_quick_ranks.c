/* Metrics and the k best by integers against those by f32: the same bits, whatever the data and the ranks. */
#include "check.h"
#include "tandem/comm.h"
#include "tandem/eval.h"
#include "tandem/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static tdm_comm *comm;

/* Enough queries that integers are chosen without being asked for. */
enum { QUERIES = 301, GALLERY = 703, D = 48, K = 5, BLOCK = 128 };
static const char *const isas[] = {"avx2", "avx512"};
static const char *const wishes[] = {"auto", "int16", "int8"};

typedef enum data { SPREAD, NARROW, COPIES, EQUAL, ZEROS, TINY, HUGE_ROWS, DATA } data;

/* This rank's part of a side, of which row i is made alike on any rank. */
static tdm_eval_side make_side(data kind, int64_t rows, int64_t identities, uint64_t sample, int64_t **id,
                               float **feature)
{
    const int ranks = tdm_comm_size(comm), rank = tdm_comm_rank(comm);
    const int64_t begin = tdm_part_begin(rows, ranks, rank),
                  n = tdm_part_begin(rows, ranks, rank + 1) - begin;
    CHECK_OK(TDM_ALLOC(n, id));
    CHECK_OK(TDM_ALLOC(n * D, feature));
    for (int64_t i = 0; i < n; i++) {
        const int64_t vector = kind == COPIES ? (begin + i) % 7 : kind == EQUAL ? 0 : begin + i;
        tdm_rng rng = tdm_rng_at(5, kind == EQUAL ? 0 : sample, (uint64_t)vector, TDM_RNG_TEST);
        (*id)[i] = (begin + i) * 7919 % identities;
        tdm_rng shared = tdm_rng_at(6, 0, (uint64_t)(*id)[i], TDM_RNG_TEST);
        for (int64_t k = 0; k < D; k++) {
            float *x = &(*feature)[i * D + k];
            *x = (float)tdm_rng_normal(&rng);
            if (kind == SPREAD) *x += 0.7F * (float)tdm_rng_normal(&shared);
            if (kind == NARROW) *x = 1.0F + 1e-5F * *x;
            if (kind == ZEROS && vector % 3 == 0) *x = 0;
            if (kind == TINY) *x *= vector % 2 == 0 ? 1e-30F : 1e-18F;
            if (kind == HUGE_ROWS) *x *= vector % 2 == 0 ? 1e18F : 1e17F;
        }
    }
    return (tdm_eval_side){.n = n, .d = D, .feature = *feature, .id = *id};
}

typedef struct answer {
    tdm_metrics metrics[3]; /* one direction; both in one pass */
    double *value[3];       /* of every query */
    int64_t *row;
    float *score;
    tdm_eval_work work;
} answer;

static void ask(const char *wish, const tdm_eval_side side[2], answer *a)
{
    size_t count = 0;
    tdm_eval_detail detail[3] = {{0}};
    (void)tdm_metric_table(&count);
    setenv("TANDEM_SCORES", wish, 1);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(TDM_ALLOC((int64_t)count * side[i == 2].n, &a->value[i]));
        detail[i].value = a->value[i];
    }
    CHECK_OK(TDM_ALLOC(side[0].n * K, &a->row));
    CHECK_OK(TDM_ALLOC(side[0].n * K, &a->score));
    CHECK_OK(
        tdm_eval_metrics_in_detail(comm, NULL, &side[0], &side[1], false, BLOCK, &a->metrics[0], &detail[0]));
    CHECK_OK(tdm_eval_both_ways(comm, NULL, side, BLOCK, INT64_MAX, &a->metrics[1], &detail[1]));
    CHECK_OK(tdm_eval_top_k(comm, NULL, &side[0], &side[1], K, BLOCK, a->row, a->score));
    a->work = detail[0].work;
    unsetenv("TANDEM_SCORES");
}

static void forget(answer *a)
{
    for (int i = 0; i < 3; i++) tdm_free(a->value[i]);
    tdm_free(a->row);
    tdm_free(a->score);
}

static void check_answers(const answer *got, const answer *want, const tdm_eval_side side[2])
{
    size_t count = 0;
    (void)tdm_metric_table(&count);
    for (int i = 0; i < 3; i++) {
        CHECK_MEM_EQ(got->metrics[i].value, want->metrics[i].value, count * sizeof(double));
        CHECK_MEM_EQ(got->value[i], want->value[i], count * (size_t)side[i == 2].n * sizeof(double));
    }
    CHECK_MEM_EQ(got->row, want->row, (size_t)(side[0].n * K) * sizeof *got->row);
    CHECK_MEM_EQ(got->score, want->score, (size_t)(side[0].n * K) * sizeof *got->score);
}

static void check_data(data kind, int64_t identities)
{
    int64_t *id[2];
    float *feature[2];
    const tdm_eval_side side[2] = {make_side(kind, QUERIES, identities, 1, &id[0], &feature[0]),
                                   make_side(kind, GALLERY, identities, 2, &id[1], &feature[1])};
    answer want = {0};
    ask("f32", side, &want);
    CHECK_EQ(want.work.pairs, QUERIES * GALLERY);
    CHECK_EQ(want.work.int8 + want.work.int16, 0);
    for (size_t w = 0; w < sizeof wishes / sizeof wishes[0]; w++) {
        answer got = {0};
        ask(wishes[w], side, &got);
        check_answers(&got, &want, side);
        if (kind == SPREAD && w == 1 && got.work.int16 > 0) CHECK_EQ(got.work.int16, QUERIES * GALLERY);
        forget(&got);
    }
    forget(&want);
    for (int i = 0; i < 2; i++) {
        tdm_free(id[i]);
        tdm_free(feature[i]);
    }
}

static void test_data(void **state)
{
    setenv("TANDEM_ISA", *state, 1);
    for (int kind = 0; kind < DATA; kind++) check_data((data)kind, GALLERY); /* one positive, or none */
    check_data(SPREAD, 60);                                                  /* about 12 */
    check_data(SPREAD, 20); /* about 35: found through bins */
    check_data(COPIES, 20);
    check_data(SPREAD, 2); /* half of all: f32 from the beginning */
    unsetenv("TANDEM_ISA");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        {"test_data avx2", test_data, NULL, NULL, (void *)(uintptr_t)isas[0]},
        {"test_data avx512", test_data, NULL, NULL, (void *)(uintptr_t)isas[1]},
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    return failed;
}
