/* Random numbers: Philox against the published vectors, streams by name, moments, permutations. */
#include "check.h"
#include "tandem/rng.h"

#include <stdlib.h>

/* kat_vectors of Random123 (Salmon et al.): philox4x32, 10 rounds. */
static void test_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } vector[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vector / sizeof vector[0]; i++) {
        uint32_t out[4];
        tdm_philox(vector[i].counter, vector[i].key, out);
        for (int k = 0; k < 4; k++) CHECK_EQ(out[k], vector[i].want[k]);
    }
}

/* Old runs resume: what a name gives may never change. */
static void test_streams_stay(void **state)
{
    (void)state;
    tdm_rng rng = tdm_rng_at(1, 2, 3, TDM_RNG_AUGMENT);
    static const uint32_t want[6] = {0xd5700b92, 0x5fcfac5c, 0x04af2fd9, 0x3519fa82, 0xabe091f5, 0x0008a47f};
    for (int i = 0; i < 6; i++) CHECK_EQ(tdm_rng_u32(&rng), want[i]);
    static const int64_t order[10] = {3, 1, 7, 0, 2, 5, 9, 4, 8, 6};
    for (int64_t i = 0; i < 10; i++) CHECK_EQ(tdm_permute(10, 42, 3, i), order[i]);
}

/* A stream depends on its name only, not on what else was drawn before or between. */
static void test_streams_are_independent(void **state)
{
    (void)state;
    enum { STREAMS = 5, N = 37 };
    uint32_t alone[STREAMS][N];
    for (uint64_t s = 0; s < STREAMS; s++) {
        tdm_rng rng = tdm_rng_at(7, 1, s, TDM_RNG_TEST);
        for (int i = 0; i < N; i++) alone[s][i] = tdm_rng_u32(&rng);
    }
    tdm_rng rng[STREAMS];
    for (uint64_t s = STREAMS; s-- > 0;) rng[s] = tdm_rng_at(7, 1, s, TDM_RNG_TEST);
    for (int i = 0; i < N; i++)
        for (int s = STREAMS; s-- > 0;) CHECK_EQ(tdm_rng_u32(&rng[s]), alone[s][i]);
}

/* Each part of the name counts, its high half too. */
static void test_names_differ(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed, step, sample;
        uint32_t purpose;
    } name[] = {{1, 1, 1, 1},
                {2, 1, 1, 1},
                {1, 2, 1, 1},
                {1, 1, 2, 1},
                {1, 1, 1, 2},
                {1, 1, 1, 257},
                {1 | 1ull << 40, 1, 1, 1},
                {1, 1 | 1ull << 40, 1, 1},
                {1, 1, 1 | 1ull << 40, 1}};
    enum { NAMES = sizeof name / sizeof name[0] };
    uint64_t first[NAMES];
    for (int i = 0; i < NAMES; i++) {
        tdm_rng rng = tdm_rng_at(name[i].seed, name[i].step, name[i].sample, name[i].purpose);
        first[i] = (uint64_t)tdm_rng_u32(&rng) << 32;
        first[i] |= tdm_rng_u32(&rng);
        for (int k = 0; k < i; k++) CHECK_NE(first[i], first[k]);
    }
}

/* Bounds are five standard errors of each estimate with N draws; the draws are always the same. */
static void test_uniform(void **state)
{
    (void)state;
    enum { N = 200000, BINS = 16 };
    tdm_rng rng = tdm_rng_at(3, 0, 0, TDM_RNG_TEST);
    double sum = 0, squares = 0, neighbours = 0, before = 0.5;
    int64_t bin[BINS] = {0};
    for (int i = 0; i < N; i++) {
        const double u = tdm_rng_uniform(&rng);
        if (!(u >= 0 && u < 1)) fail_msg("draw %d is %.17g", i, u);
        sum += u;
        squares += u * u;
        neighbours += (u - 0.5) * (before - 0.5);
        bin[(int)(u * BINS)]++;
        before = u;
    }
    CHECK_NEAR(sum / N, 0.5, 5 * sqrt(1.0 / 12 / N));
    CHECK_NEAR(squares / N, 1.0 / 3, 5 * sqrt(4.0 / 45 / N));
    CHECK_NEAR(neighbours / N, 0, 5 * (1.0 / 12) / sqrt(N));
    double chi = 0;
    for (int i = 0; i < BINS; i++) chi += pow((double)bin[i] - (double)N / BINS, 2) / ((double)N / BINS);
    CHECK_LT(chi, 37.7); /* 15 degrees of freedom: exceeded once in a thousand seeds */
}

static void test_range(void **state)
{
    (void)state;
    enum { N = 10000 };
    tdm_rng rng = tdm_rng_at(4, 0, 0, TDM_RNG_TEST), twin = rng;
    double least = 5, most = -3;
    for (int i = 0; i < N; i++) {
        const double x = tdm_rng_range(&rng, -3, 5);
        CHECK_EQ(x, -3 + 8 * tdm_rng_uniform(&twin));
        least = fmin(least, x);
        most = fmax(most, x);
    }
    CHECK_GE(least, -3);
    CHECK_LT(least, -2.98);
    CHECK_LT(most, 5);
    CHECK_GT(most, 4.98);
}

static void test_normal(void **state)
{
    (void)state;
    enum { N = 200000 };
    tdm_rng rng = tdm_rng_at(5, 0, 0, TDM_RNG_TEST);
    double moment[5] = {0}, beyond = 0;
    for (int i = 0; i < N; i++) {
        const double x = tdm_rng_normal(&rng);
        if (!isfinite(x)) fail_msg("draw %d is %g", i, x);
        double power = 1;
        for (int k = 1; k <= 4; k++) moment[k] += (power *= x) / N;
        beyond += fabs(x) > 1.959963984540054;
    }
    CHECK_NEAR(moment[1], 0, 5 * sqrt(1.0 / N));
    CHECK_NEAR(moment[2], 1, 5 * sqrt(2.0 / N));
    CHECK_NEAR(moment[3], 0, 5 * sqrt(15.0 / N));
    CHECK_NEAR(moment[4], 3, 5 * sqrt(96.0 / N));
    CHECK_NEAR(beyond / N, 0.05, 5 * sqrt(0.05 * 0.95 / N));
}

static void test_below(void **state)
{
    (void)state;
    enum { N = 60000, SIDES = 6 };
    tdm_rng rng = tdm_rng_at(6, 0, 0, TDM_RNG_TEST);
    int64_t count[SIDES] = {0};
    for (int i = 0; i < N; i++) {
        const int64_t side = tdm_rng_below(&rng, SIDES);
        if (side < 0 || side >= SIDES) fail_msg("draw %d is %lld", i, (long long)side);
        count[side]++;
    }
    for (int i = 0; i < SIDES; i++) CHECK_NEAR(count[i], N / SIDES, 5 * sqrt(N * 5.0 / 36));
    for (int i = 0; i < 100; i++) CHECK_EQ(tdm_rng_below(&rng, 1), 0);
    /* the upper half of the range is reached, too */
    const int64_t huge = INT64_MAX;
    int64_t upper = 0;
    for (int i = 0; i < 1000; i++) {
        const int64_t x = tdm_rng_below(&rng, huge);
        CHECK_TRUE(x >= 0 && x < huge);
        upper += x > huge / 2;
    }
    CHECK_NEAR(upper, 500, 5 * sqrt(250));
}

static void test_permute(void **state)
{
    (void)state;
    enum { MOST = 70000 };
    static const int64_t more[] = {1000, 1023, 1024, 1025, 4095, 4096, 4097, 65535, 65536, 65537, MOST};
    unsigned char *seen = malloc(MOST);
    CHECK_NOT_NULL(seen);
    for (int64_t k = 1; k < 300 + (int64_t)(sizeof more / sizeof more[0]); k++) {
        const int64_t n = k < 300 ? k : more[k - 300];
        memset(seen, 0, (size_t)n);
        for (int64_t i = 0; i < n; i++) {
            const int64_t to = tdm_permute(n, 9, (uint64_t)k, i);
            if (to < 0 || to >= n || seen[to]++)
                fail_msg("of %lld: element %lld is %lld, outside or for the second time", (long long)n,
                         (long long)i, (long long)to);
        }
    }
    free(seen);
    /* of any size that fits: the walk ends, and stays inside */
    for (int64_t n = INT64_C(1) << 33; n <= INT64_C(1) << 61; n = n * 4 + 3) {
        CHECK_GE(tdm_permute(n, 1, 1, n - 1), 0);
        CHECK_TRUE(tdm_permute(n, 1, 1, n - 1) < n);
    }
}

/* Every element goes everywhere about equally often, and epochs and seeds differ. */
static void test_permute_mixes(void **state)
{
    (void)state;
    enum { N = 8, EPOCHS = 8000 };
    int64_t count[N][N] = {{0}};
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++)
        for (int64_t i = 0; i < N; i++) count[i][tdm_permute(N, 11, epoch, i)]++;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++) CHECK_NEAR(count[i][k], EPOCHS / N, 5 * sqrt(EPOCHS * 7.0 / 64));
    int64_t same_epoch = 0, same_seed = 0;
    for (int64_t i = 0; i < 1000; i++) {
        same_epoch += tdm_permute(1000, 1, 0, i) == tdm_permute(1000, 1, 1, i);
        same_seed += tdm_permute(1000, 1, 0, i) == tdm_permute(1000, 2, 0, i);
    }
    CHECK_LT(same_epoch, 8); /* one is expected; 8 of a Poisson variable come once in 100000 */
    CHECK_LT(same_seed, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_streams_stay),
        cmocka_unit_test(test_streams_are_independent),
        cmocka_unit_test(test_names_differ),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_below),
        cmocka_unit_test(test_permute),
        cmocka_unit_test(test_permute_mixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
