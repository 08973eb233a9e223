/* Products in int8 against plain loops over the same integers: every kernel that this CPU has, AMX's with emulated tiles,
 * gives the same bits. And what rounding to int8 promises. */
#include "int8.h"
#include "linear_impl.h"
#include "ops_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A CPU that takes the kernel, and whether this one can run it. */
typedef struct implementation {
    const char *name;
    tdm_cpu cpu;
} implementation;

static const implementation implementations[] = {
    {"generic", {.isa = TDM_ISA_GENERIC}},
    {"avx2", {.isa = TDM_ISA_AVX2}},
    {"vnni", {.isa = TDM_ISA_AVX512, .avx512_vnni = true}},
#if defined(TANDEM_HAVE_AMX)
    {"amx", {.isa = TDM_ISA_AVX512, .avx512_vnni = true, .amx_int8 = true}},
#endif
};
enum { IMPLEMENTATIONS = sizeof implementations / sizeof *implementations };

static bool runs_here(const implementation *impl)
{
    const tdm_cpu cpu = tdm_cpu_native();
    return cpu.isa >= impl->cpu.isa && cpu.avx512_vnni >= impl->cpu.avx512_vnni;
}

static tdm_ops *ops_of(const implementation *impl, int threads)
{
    tdm_ops *ops;
    CHECK_OK(tdm_ops_create(TDM_F32, threads, &ops));
    ops->cpu = impl->cpu;
    CHECK_STR_EQ(tdm_ops_int8(ops), impl->name);
    return ops;
}

/* ---- What is promised of a row ---- */

/* By its definition; middle NULL: that is 0. */
static int32_t quantise_ref(tdm_dtype dtype, int64_t k, const void *x, int8_t *out, float *scale,
                            float *middle)
{
    float low = INFINITY, high = -INFINITY, centre = 0.0F;
    int32_t sum = 0;
    for (int64_t i = 0; i < k; i++) {
        low = fminf(low, act_get_ref(dtype, x, i));
        high = fmaxf(high, act_get_ref(dtype, x, i));
    }
    if (middle) *middle = centre = low + (high - low) * 0.5F;
    const float half = fmaxf(high - centre, centre - low);
    const float inverse = half > 0.0F ? 127.0F / half : 0.0F;
    *scale = half / 127.0F;
    for (int64_t i = 0; i < k; i++) {
        out[i] = (int8_t)rintf((act_get_ref(dtype, x, i) - centre) * inverse);
        sum += out[i];
    }
    return sum;
}

/* y[t][out] from integers */
static void forward_ref(const linear_shape *shape, int64_t t, const float *weight, const float *bias,
                        const void *x, void *y)
{
    const int64_t in = shape->in, out = shape->out;
    int8_t *whole = malloc((size_t)((t + out) * in));
    float *scale = malloc(sizeof(float) * (size_t)(t + out)),
          *middle = malloc(sizeof(float) * (size_t)(t + out));
    int32_t *channel = malloc(sizeof(int32_t) * (size_t)out);
    for (int64_t i = 0; i < t; i++)
        quantise_ref(shape->dtype, in, act_at(shape->dtype, x, i * in), whole + i * in, &scale[i],
                     &middle[i]);
    for (int64_t n = 0; n < out; n++)
        channel[n] = quantise_ref(TDM_F32, in, weight + n * in, whole + (t + n) * in, &scale[t + n], NULL);
    for (int64_t i = 0; i < t; i++)
        for (int64_t n = 0; n < out; n++) {
            int64_t sum = 0;
            for (int64_t k = 0; k < in; k++) sum += whole[i * in + k] * whole[(t + n) * in + k];
            CHECK_LT(llabs(sum), (int64_t)1 << 31);
            const float scaled = (float)(int32_t)sum * scale[i] * scale[t + n];
            const float shift = middle[i] * ((float)channel[n] * scale[t + n]) + (bias ? bias[n] : 0.0F);
            const float value = scaled + shift;
            if (shape->dtype == TDM_F32)
                ((float *)y)[i * out + n] = value;
            else
                ((uint16_t *)y)[i * out + n] = bf16_round_ref(value);
        }
    free(whole), free(scale), free(middle), free(channel);
}

/* Every number is off by half a step at most, and the ends by nothing: of rows, of a weight's channels. */
static void check_rounding(const int8_kernel *kernel)
{
    enum { K = 133, PADDED = 192 };
    float *x = random_f32(K, 5, 3.0), scale, middle;
    int8_t out[PADDED];
    for (int turn = 0; turn < 6; turn++) {
        const bool is_weight = turn % 2 == 1;
        x[7] = turn < 2   ? 1e30F
               : turn < 4 ? 100.0F
                          : 0.0F; /* beside which all others are one number, or few */
        const int32_t sum = kernel->quantise(TDM_F32, K, PADDED, x, out, &scale, is_weight ? NULL : &middle);
        int32_t total = 0, largest = 0;
        if (is_weight) middle = 0.0F;
        for (int i = 0; i < PADDED; i++) {
            /* half a step, and the roundings of a difference, a division and a product of up to 127: 2^-15 of a step */
            const double off = i < K ? (double)x[i] - middle - (double)scale * out[i] : 0.0;
            CHECK_LE(fabs(off), (0.5 + 0x1p-15) * (double)scale);
            total += out[i];
            largest = abs(out[i]) > largest ? abs(out[i]) : largest;
            if (i >= K) CHECK_EQ(out[i], 0);
        }
        CHECK_EQ(sum, total);
        CHECK_EQ(largest, 127);
    }
    free(x);
}

/* Rows of two numbers that are a few units in the last place apart: there is hardly a number halfway. */
static void check_narrow_rows(const int8_kernel *kernel)
{
    enum { K = 70, PADDED = 128 };
    float x[K], scale, middle;
    int8_t out[PADDED];
    for (int n = 1; n <= 300; n++) {
        for (int i = 0; i < K; i++) x[i] = i % 3 ? 1.0F : 1.0F + (float)n * 0x1p-23F;
        const int32_t sum = kernel->quantise(TDM_F32, K, PADDED, x, out, &scale, &middle);
        int32_t total = 0;
        for (int i = 0; i < PADDED; i++) {
            CHECK_LE(abs(out[i]), 127);
            if (i < K) CHECK_LE(fabs((double)x[i] - middle - (double)scale * out[i]), 0.501 * (double)scale);
            total += out[i];
        }
        CHECK_EQ(sum, total);
    }
}

/* Rows without a range, numbers so small that they count as zeros, and what is not finite. */
static void check_odd_rows(const int8_kernel *kernel)
{
    enum { K = 70, PADDED = 128 };
    float x[K], scale, middle;
    int8_t out[PADDED];
    const float odd[] = {0.0F, -0.0F, 0x1p-101F, 0x1p-149F, NAN, INFINITY, -INFINITY};
    for (size_t o = 0; o < 2 * (sizeof odd / sizeof *odd); o++) {
        const float it = odd[o / 2];
        for (int i = 0; i < K; i++) x[i] = isfinite(it) ? it : 1.0F;
        x[33] = it;
        memset(out, 1, sizeof out);
        CHECK_EQ(kernel->quantise(TDM_F32, K, PADDED, x, out, &scale, o % 2 ? NULL : &middle), 0);
        for (int i = 0; i < PADDED; i++) CHECK_EQ(out[i], 0);
        if (isfinite(it))
            CHECK_EQ(scale, 0.0F);
        else
            CHECK_TRUE(isnan(scale));
    }
    for (int i = 0; i < K; i++) x[i] = 5.0F; /* a constant row is its middle */
    CHECK_EQ(kernel->quantise(TDM_F32, K, PADDED, x, out, &scale, &middle), 0);
    CHECK_EQ(scale, 0.0F);
    CHECK_EQ(middle, 5.0F);
}

static void test_rows(void **state)
{
    (void)state;
    const int8_kernel *const kernels[] = {
        &int8_kernel_generic,
#if defined(__x86_64__)
        &int8_kernel_avx2,
        &int8_kernel_vnni,
#endif
    };
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        if (!runs_here(&implementations[i])) continue;
        check_rounding(kernels[i]);
        check_narrow_rows(kernels[i]);
        check_odd_rows(kernels[i]);
    }
}

/* ---- Products ---- */

typedef struct product_case {
    int64_t t, in, out;
} product_case;

static const product_case cases[] = {{1, 1, 1},     {7, 5, 3},      {64, 64, 64},   {33, 65, 127},
                                     {29, 192, 96}, {65, 300, 33},  {13, 1024, 32}, {400, 64, 320},
                                     {3, 3072, 40}, {128, 768, 160}};

static void check_product(const implementation *impl, product_case c, tdm_dtype dtype, bool bias, int threads)
{
    const linear_shape shape = {.dtype = dtype, .in = c.in, .out = c.out, .has_bias = bias};
    float *weight = random_f32(c.in * c.out, 1, 1.0), *b = random_f32(c.out, 2, 1.0);
    void *x = random_act(dtype, c.t * c.in, 3, 2.0), *y_ref = random_act(dtype, c.t * c.out, 4, 1.0);
    const size_t bytes = (size_t)(c.t * c.out) * tdm_dtype_bytes(dtype);
    void *y = aligned_alloc(64, (bytes + 63) / 64 * 64),
         *layer = NULL; /* as in use: a large one is streamed */
    memset(y, 1, bytes);
    tdm_ops *ops = ops_of(impl, threads);
    CHECK_OK(linear_int8.create(ops, &shape, &layer));
    CHECK_OK(linear_int8.pack(layer, weight, bias ? b : NULL, false));
    CHECK_OK(linear_int8.forward(layer, c.t, x, y));
    forward_ref(&shape, c.t, weight, bias ? b : NULL, x, y_ref);
    CHECK_MEM_EQ(y, y_ref, bytes);
    linear_int8.destroy(&layer);
    CHECK_NULL(layer);
    tdm_ops_destroy(&ops);
    free(weight), free(b), free(x), free(y), free(y_ref);
}

/* The bits of the plain loops, and hence the same of all kernels, on one thread and on three. */
static void test_products(void **state)
{
    (void)state;
    for (int i = 0; i < IMPLEMENTATIONS; i++)
        for (size_t c = 0; runs_here(&implementations[i]) && c < sizeof cases / sizeof *cases; c++) {
            check_product(&implementations[i], cases[c], TDM_F32, true, 1);
            check_product(&implementations[i], cases[c], TDM_F32, false, 3);
            check_product(&implementations[i], cases[c], TDM_BF16, true, 1);
        }
}

/* The largest sums that there can be, of both signs: nothing overflows or saturates on the way. */
static void test_extremes(void **state)
{
    enum { IN = INT8_WIDEST, OUT = 2 };
    (void)state;
    const linear_shape shape = {.dtype = TDM_F32, .in = IN, .out = OUT};
    float *weight = malloc(sizeof(float) * IN * OUT), *x = malloc(sizeof(float) * IN), y[OUT];
    for (int64_t k = 0; k < IN; k++) {
        x[k] = k == 0 ? 127.0F : -127.0F;
        weight[k] = 127.0F;
        weight[IN + k] = -127.0F;
    }
    for (int i = 0; i < IMPLEMENTATIONS; i++) {
        if (!runs_here(&implementations[i])) continue;
        void *layer = NULL;
        tdm_ops *ops = ops_of(&implementations[i], 1);
        CHECK_OK(linear_int8.create(ops, &shape, &layer));
        CHECK_OK(linear_int8.pack(layer, weight, NULL, false));
        CHECK_OK(linear_int8.forward(layer, 1, x, y));
        CHECK_EQ(y[0], -127.0F * 127.0F * (IN - 2));
        CHECK_EQ(y[1], 127.0F * 127.0F * (IN - 2));
        linear_int8.destroy(&layer);
        tdm_ops_destroy(&ops);
    }
    free(weight), free(x);
}

/* ---- Layers that may round ---- */

/* Told to round, and back; rows cut into calls in any way; and refused for training. */
static void test_layer(void **state)
{
    enum { IN = 160, OUT = 96, ROWS = 150, CUT = 47 };
    (void)state;
    tdm_ops *ops;
    tdm_linear *layer, *plain;
    float *weight = random_f32(IN * OUT, 1, 1.0), *bias = random_f32(OUT, 2, 1.0),
          *x = random_f32(ROWS * IN, 3, 1.0);
    float *exact = random_f32(ROWS * OUT, 4, 1.0), *rounded = copy_f32(exact, ROWS * OUT);
    float *again = copy_f32(exact, ROWS * OUT);
    CHECK_OK(tdm_ops_create(TDM_F32, 2, &ops));
    CHECK_OK(tdm_linear_create(ops, IN, OUT, true, false, &layer));
    CHECK_OK(tdm_linear_create(ops, IN, OUT, true, false, &plain));
    tdm_linear_may_round(layer);
    CHECK_OK(tdm_linear_load(layer, weight, bias, false));
    CHECK_OK(tdm_linear_forward(layer, ROWS, x, exact));

    tdm_ops_round_linears(ops, true);
    CHECK_FAILS(tdm_linear_load(layer, weight, bias, true), TDM_E_CONFIG, "int8 is for inference");
    CHECK_OK(tdm_linear_load(layer, weight, bias, false));
    CHECK_OK(tdm_linear_load(plain, weight, bias, false));
    CHECK_OK(tdm_linear_forward(layer, ROWS, x, rounded));
    CHECK_OK(tdm_linear_forward(plain, ROWS, x, again));
    CHECK_MEM_EQ(again, exact, sizeof(float) * ROWS * OUT);
    CHECK_MEM_NE(rounded, exact, sizeof(float) * ROWS * OUT);
    /* Normal numbers of variance 1, those of a row within 4: each is off by at most half a step of 4/127, evenly.
     * Each product is off by that of both sides, a sum of IN of them by sqrt(IN) times it; six times is far outside. */
    const double off = 4.0 / 127.0 / sqrt(12.0) * sqrt(2.0 * IN);
    for (int64_t i = 0; i < ROWS * OUT; i++) CHECK_NEAR(rounded[i], exact[i], 6.0 * off);
    for (int64_t row = 0; row < ROWS; row += CUT)
        CHECK_OK(tdm_linear_forward(layer, tdm_min_i64(CUT, ROWS - row), x + row * IN, again + row * OUT));
    CHECK_MEM_EQ(again, rounded, sizeof(float) * ROWS * OUT);

    tdm_ops_round_linears(ops, false);
    CHECK_OK(tdm_linear_load(layer, weight, bias, true));
    CHECK_OK(tdm_linear_forward(layer, ROWS, x, again));
    CHECK_MEM_EQ(again, exact, sizeof(float) * ROWS * OUT);
    tdm_linear_destroy(&layer);
    tdm_linear_destroy(&plain);
    tdm_ops_destroy(&ops);
    free(weight), free(bias), free(x), free(exact), free(rounded), free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
