/* Intervals from integers: the score that the f32 chain gives is never outside, and what is settled is the score. */
#include "check.h"
#include "tandem/cpu.h"
#include "tandem/eval.h"
#include "tandem/rng.h"

#include "../../src/eval/quick_impl.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const isas[] = {"generic", "avx2", "avx512"};
static const char *const wishes[] = {"int16", "int8"};

static const eval_quick_plan plan = {.queries = 1000, .most = EVAL_PRECISIONS - 1};

/* Rows of one kind of data: filled with normal numbers first. */
typedef struct row_kind {
    const char *name;
    void (*change)(int64_t i, int64_t d, float *row, const float *first);
} row_kind;

static void scale_by(int64_t d, float *row, double factor)
{
    for (int64_t k = 0; k < d; k++) row[k] = (float)(row[k] * factor);
}

static void to_unit(int64_t i, int64_t d, float *row, const float *first)
{
    double square = 0;
    (void)i;
    (void)first;
    for (int64_t k = 0; k < d; k++) square += (double)row[k] * row[k];
    scale_by(d, row, 1 / sqrt(square));
}

static void to_cone(int64_t i, int64_t d, float *row, const float *first)
{
    for (int64_t k = 0; k < d; k++) row[k] = 0.05F * row[k] + (k % 7 == 0 ? 3.0F : 0.2F);
    to_unit(i, d, row, first);
}

static void to_clusters(int64_t i, int64_t d, float *row, const float *first)
{
    for (int64_t k = 0; k < d; k++) row[k] = 1e-4F * row[k] + first[k] * (i % 2 == 0 ? 1.0F : -1.0F);
}

static void to_copies(int64_t i, int64_t d, float *row, const float *first)
{
    if (i % 3 != 0) memcpy(row, first, (size_t)d * sizeof *row);
}

static void to_wholes(int64_t i, int64_t d, float *row, const float *first)
{
    (void)i;
    (void)first;
    for (int64_t k = 0; k < d; k++) row[k] = roundf(3 * row[k]);
}

static void to_outlier(int64_t i, int64_t d, float *row, const float *first)
{
    (void)first;
    row[i % d] = 1000;
}

static void to_zeros(int64_t i, int64_t d, float *row, const float *first)
{
    (void)first;
    if (i % 2 == 0) memset(row, 0, (size_t)d * sizeof *row);
}

static void to_scales(int64_t i, int64_t d, float *row, const float *first)
{
    (void)first;
    scale_by(d, row, pow(10, (double)(i % 13) - 6));
}

static void to_subnormal(int64_t i, int64_t d, float *row, const float *first)
{
    (void)first;
    scale_by(d, row, i % 2 == 0 ? 1e-40 : 1e-20);
}

static void to_huge(int64_t i, int64_t d, float *row, const float *first)
{
    (void)first;
    scale_by(d, row, i % 3 == 0 ? 1e17 : i % 3 == 1 ? 1e25 : 1);
}

/* Chains of these overflow, and some become NaN. */
static void to_overflow(int64_t i, int64_t d, float *row, const float *first)
{
    (void)i;
    (void)first;
    for (int64_t k = 0; k < d; k++) row[k] = row[k] < 0 ? -3e38F : 3e38F;
}

/* Every product has the same sign, and all are rounded the same way for a while. */
static void to_one_sign(int64_t i, int64_t d, float *row, const float *first)
{
    (void)first;
    for (int64_t k = 0; k < d; k++) row[k] = 1.0F + 0x1p-23F * (float)((k * 37 + i) % 5);
}

static const row_kind kinds[] = {
    {"unit", to_unit},     {"cone", to_cone},         {"clusters", to_clusters},
    {"copies", to_copies}, {"wholes", to_wholes},     {"outlier", to_outlier},
    {"zeros", to_zeros},   {"scales", to_scales},     {"subnormal", to_subnormal},
    {"huge", to_huge},     {"overflow", to_overflow}, {"one sign", to_one_sign}};

static float *make_rows(const row_kind *kind, int64_t n, int64_t d, uint64_t sample)
{
    float *x = NULL;
    CHECK_OK(TDM_ALLOC(n * d, &x));
    tdm_rng rng = tdm_rng_at(11, 0, sample, TDM_RNG_TEST);
    for (int64_t i = 0; i < n * d; i++) x[i] = (float)tdm_rng_normal(&rng);
    for (int64_t i = 0; i < n; i++) kind->change(i, d, x + i * d, x);
    return x;
}

static float score_of(int64_t d, const float *x, const float *y)
{
    float sum = 0;
    for (int64_t k = 0; k < d; k++) sum = fmaf(x[k], y[k], sum);
    return sum;
}

/* Nothing that the interval says is false: it is above t, it is below t. */
static void check_interval(float low, float high, float score)
{
    if (isnan(score)) {
        CHECK_FALSE(low > -FLT_MAX); /* what is above nothing is above nothing here, either */
        return;
    }
    CHECK_FALSE(low > score);
    CHECK_FALSE(high < score);
}

static void check_settled(const eval_quick *quick, int64_t i, const float *x, int64_t column, float score,
                          float low, float high)
{
    const float near[] = {score, nextafterf(score, INFINITY), score + 1e-4F * fabsf(score),
                          0.5F * (low + high)};
    for (size_t n = 0; n < sizeof near / sizeof near[0]; n++) {
        float l = low, h = high;
        const float t = near[n];
        eval_quick_work work = {0};
        if (isnan(t)) continue;
        eval_quick_settle(quick, i, x, column, t, &l, &h, &work);
        check_interval(l, h, score);
        CHECK_EQ(l > t, score > t);
        CHECK_EQ(l == t, score == t);
        CHECK_LE(work.looked, 1);
        CHECK_LE(work.exact, 1);
    }
}

/* Returns the largest share of its error that an interval used. */
static double check_pairs(const eval_gallery *gallery, const eval_quick *quick, int64_t nq,
                          const float *query)
{
    const int64_t d = quick->d, columns = gallery->kernel->columns;
    float low[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS], high[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    double used = 0;
    for (int64_t i = 0; i < nq; i++)
        for (int64_t c = 0; c < gallery->panels * columns; c++) {
            if (c % columns == 0) eval_quick_tile(quick, i / EVAL_TILE_ROWS, c / columns, columns, low, high);
            const float l = low[i % EVAL_TILE_ROWS * columns + c % columns];
            const float h = high[i % EVAL_TILE_ROWS * columns + c % columns];
            if (c >= gallery->n) {
                CHECK_FALSE(l > -INFINITY);
                continue;
            }
            const float *x = query + i * d, *y = gallery->feature + gallery->row[c] * d;
            const float score = score_of(d, x, y);
            check_interval(l, h, score);
            check_settled(quick, i, x, c, score, l, h);
            if (h > l && isfinite(h - l))
                used = fmax(used, fabs((double)score - 0.5 * ((double)l + h)) / (0.5 * ((double)h - l)));
        }
    return used;
}

static double check_rows(int64_t nq, const float *query, int64_t ng, const float *item, int64_t d)
{
    const tdm_eval_side queries = {.n = nq, .d = d, .feature = query};
    const tdm_eval_side items = {.n = ng, .d = d, .feature = item};
    eval_gallery gallery = {0};
    eval_quick quick;
    CHECK_OK(eval_gallery_pack(&items, 0, false, 1, &gallery));
    CHECK_OK(eval_quick_choose(d, &plan, &quick));
    CHECK_EQ(quick.kernel->columns, gallery.kernel->columns);
    CHECK_OK(eval_quick_pack(&gallery, &queries, 1, &quick));
    CHECK_OK(eval_quick_load(&quick, nq, query, 1));
    const double used = check_pairs(&gallery, &quick, nq, query);
    CHECK_LE(used, 1);
    eval_quick_empty(&quick);
    eval_gallery_free(&gallery);
    return used;
}

static void check_kind(const row_kind *kind, int64_t d)
{
    enum { NQ = 13, NG = 37 };
    float *query = make_rows(kind, NQ, d, 1), *item = make_rows(kind, NG, d, 2);
    const double used = check_rows(NQ, query, NG, item, d);
    if (d == 512 && kind == &kinds[0])
        print_message("%s: at most %.2f of the bound is used\n", kind->name, used);
    tdm_free(query);
    tdm_free(item);
}

/* From now on the kernels of this instruction set, or the test is skipped. */
static void use_isa(const char *isa)
{
    const eval_kernel *kernel = NULL;
    eval_quick quick;
    setenv("TANDEM_ISA", isa, 1);
    setenv("TANDEM_SCORES", "int8", 1);
    CHECK_OK(eval_kernel_choose(&kernel));
    CHECK_OK(eval_quick_choose(1, &plan, &quick));
    if (strcmp(kernel->name, isa) != 0 || quick.kernel == NULL)
        SKIP("this CPU has no %s with a quick kernel", isa);
}

static int any_isa(void **state)
{
    (void)state;
    unsetenv("TANDEM_SCORES");
    return unsetenv("TANDEM_ISA");
}

/* What int8 leaves over of `row`, whose centre is 0. */
static void leave_over(int64_t d, const float *row, float *out)
{
    float largest = 0;
    for (int64_t k = 0; k < d; k++) largest = fmaxf(largest, fabsf(row[k]));
    const float scale = (float)((double)largest / 127 * (1 + 0x1p-20));
    for (int64_t k = 0; k < d; k++) out[k] = row[k] - scale * nearbyintf(row[k] / scale);
}

/* Items that point where the rounding of the queries points: half of the bound is the truth. */
static void test_adversary(void **state)
{
    enum { N = 12, D = 512 };
    use_isa(*state);
    float *query = make_rows(&kinds[0], N, D, 1), *item = make_rows(&kinds[0], N, D, 2);
    for (int i = 0; i < N; i += 2) { /* in pairs, so that the centres are 0 */
        leave_over(D, query + i * D, item + i * D);
        to_unit(i, D, item + i * D, NULL);
        for (int k = 0; k < D; k++) {
            query[(i + 1) * D + k] = -query[i * D + k];
            item[(i + 1) * D + k] = -item[i * D + k];
        }
    }
    const double used = check_rows(N, query, N, item, D);
    print_message("at most %.2f of the bound is used\n", used);
    CHECK_GT(used, 0.4);
    tdm_free(query);
    tdm_free(item);
}

static void test_intervals(void **state)
{
    static const int64_t widths[] = {1, 3, 32, 67, 512, 1000};
    use_isa(*state);
    for (size_t w = 0; w < sizeof wishes / sizeof wishes[0]; w++) {
        setenv("TANDEM_SCORES", wishes[w], 1);
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
            for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) check_kind(&kinds[k], widths[i]);
    }
}

/* The parts of a kernel against plain loops. */
static void test_parts(void **state)
{
    enum { N = 2 * EVAL_MAX_COLUMNS, D = 133 };
    use_isa(*state);
    eval_quick quick;
    CHECK_OK(eval_quick_choose(D, &plan, &quick));
    const eval_quick_kernel *kernel = quick.kernel;
    float low[N], high[N], threshold[EVAL_MAX_COLUMNS];
    int32_t place[N];
    for (int j = 0; j < N; j++) {
        low[j] = (float)(j * 5 % 16);
        high[j] = low[j] + (float)(j % 3);
    }
    low[7] = high[9] = NAN;
    int64_t want = 0;
    const int64_t got = kernel->open(N, low, high, 8.0F, place);
    for (int j = 0; j < N; j++)
        if (!(low[j] > 8) && !(high[j] < 8)) CHECK_EQ(place[want++], j);
    CHECK_EQ(got, want);
    CHECK_EQ(kernel->open(N, low, high, NAN, place), 0);
    for (int j = 0; j < kernel->columns; j++) threshold[j] = j % 4 == 3 ? NAN : (float)(j % 16);
    const int64_t rows = N / kernel->columns, columns = kernel->columns;
    const int64_t open = kernel->open_columns(rows, columns, low, high, threshold, place);
    want = 0;
    for (int64_t at = 0; at < rows * columns; at++) {
        const float t = threshold[at % columns];
        bool seen = false;
        for (int64_t i = 0; i < open; i++) seen |= place[i] == at;
        CHECK_EQ(seen, !isnan(t) && !(low[at] > t) && !(high[at] < t));
        want += seen;
    }
    CHECK_EQ(open, want);

    float *x = make_rows(&kinds[0], 7, D, 3), *y = make_rows(&kinds[0], 7, D, 4), score[7];
    const float *of[7], *with[7];
    for (int i = 0; i < 7; i++) {
        of[i] = x + i * D;
        with[i] = y + i * D;
    }
    kernel->chains(D, 7, of, with, score);
    for (int i = 0; i < 7; i++) {
        CHECK_EQ(score[i], score_of(D, of[i], with[i]));
        CHECK_NEAR(kernel->dot(D, of[i], with[i]), score[i], 1e-6);
    }
    tdm_free(x);
    tdm_free(y);
}

static void test_choice(void **state)
{
    (void)state;
    const eval_quick_plan one = {.queries = 1, .most = EVAL_PRECISIONS - 1};
    eval_quick quick;
    setenv("TANDEM_SCORES", "f32", 1);
    CHECK_OK(eval_quick_choose(512, &plan, &quick));
    CHECK_NULL(quick.kernel);
    setenv("TANDEM_SCORES", "auto", 1);
    CHECK_OK(eval_quick_choose(512, &one, &quick)); /* one query does not pay */
    CHECK_NULL(quick.kernel);
    setenv("TANDEM_SCORES", "int4", 1);
    CHECK_FAILS(eval_quick_choose(512, &plan, &quick), TDM_E_CONFIG, "TANDEM_SCORES is \"int4\"");
    unsetenv("TANDEM_SCORES");
    tdm_cpu cpu;
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        static const char *const first[] = {"f32", "int16", "int8"};
        setenv("TANDEM_ISA", isas[i], 1);
        CHECK_OK(tdm_cpu_detect(&cpu));
        CHECK_OK(eval_quick_choose(512, &plan, &quick));
        CHECK_STR_EQ(eval_quick_name(&quick),
                     cpu.isa == TDM_ISA_AVX512 && !cpu.avx512_vnni ? "f32" : first[cpu.isa]);
    }
    unsetenv("TANDEM_ISA");
}

/* A test once per instruction set. */
#define ON(test, isa)                                                                                        \
    {                                                                                                        \
#test " " isa, test, NULL, any_isa, isa                                                              \
    }
#define EACH(test) ON(test, "generic"), ON(test, "avx2"), ON(test, "avx512")

int main(void)
{
    const struct CMUnitTest tests[] = {EACH(test_intervals), EACH(test_adversary), EACH(test_parts),
                                       cmocka_unit_test(test_choice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
