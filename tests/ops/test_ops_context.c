/* The context: precision, instruction set cap, conversions, bookkeeping, peak. */
#include "ops_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void test_precision(void **state)
{
    (void)state;
    tdm_dtype dtype = TDM_BF16, best;
    CHECK_OK(tdm_ops_resolve_precision("f32", &dtype));
    CHECK_EQ(dtype, TDM_F32);
    CHECK_OK(tdm_ops_resolve_precision("auto", &best));
    tdm_status status = tdm_ops_resolve_precision("bf16", &dtype);
    const double gain = tdm_ops_bf16_gain();
    CHECK_TRUE(gain == 0.0 || (gain > 0.1 && gain < 10.0)); /* emulated: slow */
    const bool has_bf16 = best == TDM_BF16 || gain > 0.0;
    CHECK_EQ(status, has_bf16 ? TDM_OK : TDM_E_CONFIG);
    CHECK_FAILS(tdm_ops_resolve_precision("f16", &dtype), TDM_E_CONFIG, "f16");
    tdm_ops *ops;
    status = tdm_ops_create(TDM_BF16, 1, &ops);
    CHECK_EQ(status, has_bf16 ? TDM_OK : TDM_E_CONFIG);
    tdm_ops_destroy(&ops);
    CHECK_FAILS(tdm_ops_create(TDM_F32, 0, &ops), TDM_E_CONFIG, "");
    tdm_ops_destroy(&ops);
}

static void test_isa(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 1);
    const char *cap = getenv("TANDEM_ISA");
    if (cap && !strcmp(cap, "generic")) CHECK_STR_EQ(tdm_ops_isa(ops), "generic");
    if (cap) CHECK_LACKS(tdm_ops_isa(ops), "amx");
    tdm_ops_destroy(&ops);
    char saved[32] = "";
    if (cap) strncpy(saved, cap, sizeof(saved) - 1);
    setenv("TANDEM_ISA", "sse9", 1);
    CHECK_FAILS(tdm_ops_create(TDM_F32, 1, &ops), TDM_E_CONFIG, "sse9");
    if (cap)
        setenv("TANDEM_ISA", saved, 1);
    else
        unsetenv("TANDEM_ISA");
}

/* Every bf16 value survives; halves go to even; specials stay special. */
static void test_bf16(void **state)
{
    (void)state;
    enum { ALL = 65536 };
    uint16_t *x = malloc(sizeof(uint16_t) * ALL), *y = malloc(sizeof(uint16_t) * ALL);
    float *f = malloc(sizeof(float) * ALL);
    for (int i = 0; i < ALL; i++) x[i] = (uint16_t)i;
    tdm_bf16_to_f32(ALL, x, f);
    tdm_f32_to_bf16(ALL, f, y);
    for (int i = 0; i < ALL; i++) {
        if (isnan(f[i]))
            CHECK_GT(y[i] & 0x7fff, 0x7f80);
        else
            CHECK_EQ(x[i], y[i]);
    }
    for (uint32_t low = 0x7ffe; low <= 0x8002;
         low++) { /* around the half way, on all exponents and parities */
        for (uint32_t high = 0; high < ALL; high++) {
            uint32_t bits = high << 16 | low;
            memcpy(&f[high], &bits, sizeof(bits));
        }
        tdm_f32_to_bf16(ALL, f, y);
        for (int i = 0; i < ALL; i++) CHECK_EQ(y[i], bf16_round_ref(f[i]));
    }
    free(x), free(y), free(f);
}

static void conversions(tdm_ops *ops)
{
    tdm_dtype dtype = tdm_ops_dtype(ops);
    const int64_t counts[] = {0, 1, 7, 63, 64, 65, 127, 100003};
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        int64_t n = counts[i];
        float *x = random_f32(n, 1, 1.0);
        void *act = random_act(dtype, n, 3, 1.0);
        tdm_to_act(ops, n, x, act);
        for (int64_t k = 0; k < n; k++) {
            float want = dtype == TDM_BF16 ? bf16_value_ref(bf16_round_ref(x[k])) : x[k];
            CHECK_EQ(act_get_ref(dtype, act, k), want);
        }
        free(x), free(act);
    }
}

static void test_conversions(void **state)
{
    (void)state;
    for_each_context(conversions);
}

static void test_stats(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 2);
    for (int kind = 0; kind < TDM_OP_KINDS; kind++) CHECK_GT(strlen(tdm_op_kind_name((tdm_op_kind)kind)), 3);
    float x[64] = {0}, y[64], lse[4];
    const int64_t seq[2] = {0, 4};
    tdm_attention_forward(ops, 1, seq, 1, 4, false, NULL, x, y, lse);
    const tdm_op_stats *stats = tdm_ops_stats(ops);
    CHECK_EQ(stats->flop[TDM_OP_ATTENTION_FORWARD], 4.0 * 4 * 4 * 4);
    CHECK_GT(stats->seconds[TDM_OP_ATTENTION_FORWARD], 0.0);
    tdm_attention_forward(ops, 1, seq, 1, 4, true, NULL, x, y, lse);
    CHECK_EQ(stats->flop[TDM_OP_ATTENTION_FORWARD], 4.0 * 4 * (16 + 10));
    CHECK_EQ(tdm_ops_threads(ops), 2);
    tdm_ops_destroy(&ops);
}

static void peak(tdm_ops *ops)
{
    double gflops = tdm_ops_measure_peak_gflops(ops, 5);
    CHECK_GT(gflops, 0.1);
    CHECK_TRUE(isfinite(gflops));
    const char *name = tdm_ops_peak_name(ops), *isa = tdm_ops_isa(ops);
    if (tdm_ops_dtype(ops) == TDM_BF16)
        CHECK_STR_EQ(name, strstr(isa, "amx") ? "AMX tiles" : "VDPBF16PS");
    else /* of the instructions that are allowed, not of those that the CPU has */
        CHECK_STR_EQ(name, !strncmp(isa, "avx512", 6) ? "FMA on 512 bits"
                           : !strcmp(isa, "avx2")     ? "FMA on 256 bits"
                                                      : "generic code");
}

/* Under each cap on the instructions, so on every kind of CPU. */
static void test_peak_is_capped(void **state)
{
    (void)state;
    static const char *const caps[] = {"generic", "avx2", "avx512"};
    char saved[32] = "";
    const char *cap = getenv("TANDEM_ISA");
    if (cap) strncpy(saved, cap, sizeof(saved) - 1);
    for (size_t i = 0; i < sizeof(caps) / sizeof(*caps); i++) {
        setenv("TANDEM_ISA", caps[i], 1);
        tdm_ops *ops = make_ops(TDM_F32, 1);
        peak(ops);
        tdm_ops_destroy(&ops);
    }
    if (cap)
        setenv("TANDEM_ISA", saved, 1);
    else
        unsetenv("TANDEM_ISA");
}

static void test_peak(void **state)
{
    (void)state;
    for_each_context(peak);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_precision),      cmocka_unit_test(test_isa),   cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_conversions),    cmocka_unit_test(test_stats), cmocka_unit_test(test_peak),
        cmocka_unit_test(test_peak_is_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
