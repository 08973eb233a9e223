/* The score kernels against the definition: one fmaf chain over k, the same bits on every instruction set. */
#include "check.h"
#include "tandem/cpu.h"
#include "tandem/eval.h"
#include "tandem/rng.h"

#include "../../src/eval/eval_impl.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const char *const isas[] = {"generic", "avx2", "avx512"};

static const eval_kernel *chosen(void)
{
    const eval_kernel *kernel = NULL;
    CHECK_OK(eval_kernel_choose(&kernel));
    return kernel;
}

/* From now on the kernels of this instruction set, or the test is skipped. */
static void use_isa(const char *isa)
{
    setenv("TANDEM_ISA", isa, 1);
    if (strcmp(chosen()->name, isa) != 0) SKIP("this CPU has no %s", isa);
}

static int any_isa(void **state)
{
    (void)state;
    return unsetenv("TANDEM_ISA");
}

static float *random_rows(int64_t count, uint64_t sample)
{
    float *x = NULL;
    CHECK_OK(TDM_ALLOC(count, &x));
    tdm_rng rng = tdm_rng_at(7, 0, sample, TDM_RNG_TEST);
    for (int64_t i = 0; i < count; i++) x[i] = (float)tdm_rng_normal(&rng);
    return x;
}

static void check_scores(int64_t nq, int64_t ng, int64_t d)
{
    float *query = random_rows(nq * d, 1), *gallery = random_rows(ng * d, 2), *want = NULL, *got = NULL;
    CHECK_OK(TDM_ALLOC(nq * ng, &want));
    CHECK_OK(TDM_ALLOC(nq * ng, &got));
    for (int64_t q = 0; q < nq; q++)
        for (int64_t g = 0; g < ng; g++) {
            float sum = 0;
            for (int64_t k = 0; k < d; k++) sum = fmaf(query[q * d + k], gallery[g * d + k], sum);
            want[q * ng + g] = sum;
        }
    for (int threads = 1; threads <= 3; threads += 2) {
        omp_set_num_threads(threads);
        memset(got, 0xff, (size_t)(nq * ng) * sizeof *got);
        CHECK_OK(tdm_eval_scores(nq, ng, d, query, gallery, got));
        CHECK_MEM_EQ(got, want, (size_t)(nq * ng) * sizeof *got);
    }
    tdm_free(query);
    tdm_free(gallery);
    tdm_free(want);
    tdm_free(got);
}

static void test_bits(void **state)
{
    use_isa(*state);
    check_scores(1, 1, 1);
    check_scores(6, 64, 32); /* exactly one tile */
    check_scores(7, 65, 33);
    check_scores(23, 200, 19);
    check_scores(5, 15, 512);
    check_scores(0, 10, 4);
    check_scores(10, 0, 4);
}

/* A long chain of one large and many small terms: a pairwise or unfused sum gives other bits. */
static void test_chain_order(void **state)
{
    use_isa(*state);
    enum { D = 64 };
    float q[D], g[D], out;
    for (int k = 0; k < D; k++) {
        q[k] = k == 0 ? 16777216.0F : 1.0F;
        g[k] = 1.0F;
    }
    CHECK_OK(tdm_eval_scores(1, 1, D, q, g, &out));
    CHECK_EQ(out, 16777216.0F); /* each + 1 is rounded away; summed beforehand they would not be */
}

/* TANDEM_ISA caps what this CPU has; an unknown value is refused. */
static void test_choice(void **state)
{
    (void)state;
    tdm_cpu cpu;
    unsetenv("TANDEM_ISA");
    CHECK_OK(tdm_cpu_detect(&cpu));
    CHECK_STR_EQ(chosen()->name, tdm_isa_name(cpu.isa));
    CHECK_LE(chosen()->columns, EVAL_MAX_COLUMNS);
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        setenv("TANDEM_ISA", isas[i], 1);
        const tdm_isa want = (tdm_isa)i < cpu.isa ? (tdm_isa)i : cpu.isa;
        CHECK_STR_EQ(chosen()->name, tdm_isa_name(want));
    }
    setenv("TANDEM_ISA", "sse9", 1);
    float one = 1, score;
    CHECK_FAILS(tdm_eval_scores(1, 1, 1, &one, &one, &score), TDM_E_CONFIG, "TANDEM_ISA is \"sse9\"");
    unsetenv("TANDEM_ISA");
}

/* The comparisons that the kernels make beside the products. */
static void test_counting(void **state)
{
    use_isa(*state);
    enum { N = 2 * EVAL_MAX_COLUMNS };
    const float positive[3] = {14.5F, 7.0F, -1.0F};
    const int64_t positive_row[3] = {5, 30, 9};
    const eval_kernel *kernel = chosen();
    float score[N];
    int64_t row[N], beaten[3] = {100, 0, 0}, want[3] = {100, 0, 0}, n = 0;
    int32_t place[N];
    for (int64_t j = 0; j < N; j++) {
        score[j] = j == 3 ? -INFINITY : (float)((j * 5) % 16);
        row[j] = N - j;
        for (int p = 0; p < 3; p++)
            want[p] += score[j] > positive[p] || (score[j] == positive[p] && row[j] < positive_row[p]);
    }
    kernel->count_beating(N, score, row, 3, positive, positive_row, beaten);
    CHECK_MEM_EQ(beaten, want, sizeof want);
    const int64_t selected = kernel->select(N, score, 7.0F, place);
    for (int64_t j = 0; j < N; j++)
        if (score[j] >= 7.0F) CHECK_EQ(place[n++], j);
    CHECK_EQ(selected, n);
    CHECK_EQ(kernel->select(N, score, 99.0F, place), 0);
}

/* A test once per instruction set. */
#define ON(test, isa)                                                                                        \
    {                                                                                                        \
#test " " isa, test, NULL, any_isa, isa                                                              \
    }
#define EACH(test) ON(test, "generic"), ON(test, "avx2"), ON(test, "avx512")

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_bits),
        EACH(test_chain_order),
        EACH(test_counting),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
