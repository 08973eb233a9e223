/* Forward, backward and optimiser against PyTorch's values (tests/golden/make_ops_golden.py). */
#include "ops_test.h"
#include "golden/ops_golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The generator's formula: multiples of 1/64 between -2 and 2, exact in bf16 too. */
static float *golden_input(uint64_t seed, int64_t n)
{
    float *x = malloc(sizeof(float) * (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)((uint64_t)i * 2654435761u + seed * 97568741u);
        x[i] = (float)((int)((u >> 16) % 257) - 128) / 64.0f;
    }
    return x;
}

static void *golden_act(tdm_dtype dtype, uint64_t seed, int64_t n)
{
    float *x = golden_input(seed, n);
    void *act = malloc(tdm_dtype_bytes(dtype) * (size_t)n);
    for (int64_t i = 0; i < n; i++) act_set_ref(dtype, act, i, x[i]);
    free(x);
    return act;
}

static void *new_act(tdm_dtype dtype, int64_t n)
{
    return calloc((size_t)n, tdm_dtype_bytes(dtype));
}

static float *new_f32(int64_t n)
{
    return calloc((size_t)n, sizeof(float));
}

/* Compares an activation with PyTorch's f32 values. */
static void check_golden_act(const char *what, tdm_dtype dtype, int64_t n, const void *got, const float *want)
{
    float *values = new_f32(n);
    for (int64_t i = 0; i < n; i++) values[i] = act_get_ref(dtype, got, i);
    check_f32(what, TOL_CHAIN, dtype, n, values, want);
    free(values);
}

#define CHECK_ACT(got, want) check_golden_act(#want, dtype, sizeof(want) / sizeof(float), got, want)
#define CHECK_F32(got, want) check_f32(#want, TOL_CHAIN, dtype, sizeof(want) / sizeof(float), got, want)

static void linear(tdm_ops *ops)
{
    enum { T = 6, IN = 10, OUT = 8 };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    void *x = golden_act(dtype, 1, T * IN), *dy = golden_act(dtype, 4, T * OUT);
    void *y = new_act(dtype, T * OUT), *dx = new_act(dtype, T * IN);
    float *w = golden_input(2, OUT * IN), *b = golden_input(3, OUT), *dw = new_f32(OUT * IN),
          *db = new_f32(OUT);
    tdm_linear *l;
    CHECK_OK(tdm_linear_create(ops, IN, OUT, true, false, &l));
    CHECK_OK(tdm_linear_load(l, w, b, true));
    CHECK_OK(tdm_linear_forward(l, T, x, y));
    CHECK_OK(tdm_linear_backward_data(l, T, dy, dx));
    CHECK_OK(tdm_linear_backward_weight(l, T, x, dy, dw, db));
    CHECK_ACT(y, golden_linear);
    CHECK_ACT(dx, golden_linear_dx);
    CHECK_F32(dw, golden_linear_dw);
    CHECK_F32(db, golden_linear_db);
    tdm_linear_destroy(&l);
    free(x), free(dy), free(y), free(dx), free(w), free(b), free(dw), free(db);
}

static void layernorm(tdm_ops *ops)
{
    enum { T = 5, WIDTH = 24 };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    float *x = golden_input(5, T * WIDTH), *g = golden_input(6, WIDTH), *b = golden_input(7, WIDTH);
    void *y = new_act(dtype, T * WIDTH), *dy = golden_act(dtype, 8, T * WIDTH);
    float *dx = new_f32(T * WIDTH), *dg = new_f32(WIDTH), *db = new_f32(WIDTH), mean[T], rstd[T];
    tdm_layernorm_forward(ops, T, WIDTH, x, NULL, NULL, g, b, y, mean, rstd);
    tdm_layernorm_backward(ops, T, WIDTH, dy, x, mean, rstd, g, false, dx, NULL, dg, db);
    CHECK_ACT(y, golden_layernorm);
    CHECK_F32(dx, golden_layernorm_dx);
    CHECK_F32(dg, golden_layernorm_dg);
    CHECK_F32(db, golden_layernorm_db);
    free(x), free(g), free(b), free(y), free(dy), free(dx), free(dg), free(db);
}

static void activation(tdm_ops *ops)
{
    enum { N = 64 };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    void *x = golden_act(dtype, 9, N), *y = new_act(dtype, N), *dx = new_act(dtype, N);
    void *dy_quick = golden_act(dtype, 10, N), *dy_gelu = golden_act(dtype, 11, N);
    tdm_activation_forward(ops, TDM_QUICKGELU, N, x, y);
    tdm_activation_backward(ops, TDM_QUICKGELU, N, x, dy_quick, dx, NULL);
    CHECK_ACT(y, golden_quickgelu);
    CHECK_ACT(dx, golden_quickgelu_dx);
    tdm_activation_forward(ops, TDM_GELU, N, x, y);
    tdm_activation_backward(ops, TDM_GELU, N, x, dy_gelu, dx, NULL);
    CHECK_ACT(y, golden_gelu);
    CHECK_ACT(dx, golden_gelu_dx);
    free(x), free(y), free(dx), free(dy_quick), free(dy_gelu);
}

static void attention(tdm_ops *ops)
{
    enum { T = 16, HEADS = 2, HEAD_DIM = 4, WIDTH = HEADS * HEAD_DIM };
    const int64_t seq[] = {0, 5, 6, 16};
    tdm_dtype dtype = tdm_ops_dtype(ops);
    void *qkv = golden_act(dtype, 12, T * 3 * WIDTH), *dqkv = new_act(dtype, T * 3 * WIDTH);
    void *out = new_act(dtype, T * WIDTH);
    float lse[HEADS * T];
    for (int causal = 0; causal < 2; causal++) {
        void *dout = golden_act(dtype, causal ? 14 : 13, T * WIDTH);
        tdm_attention_forward(ops, 3, seq, HEADS, HEAD_DIM, causal, NULL, qkv, out, lse);
        tdm_attention_backward(ops, 3, seq, HEADS, HEAD_DIM, causal, NULL, qkv, out, lse, dout, dqkv);
        if (causal) {
            CHECK_ACT(out, golden_causal_attention);
            CHECK_ACT(dqkv, golden_causal_attention_dqkv);
        } else {
            CHECK_ACT(out, golden_attention);
            CHECK_ACT(dqkv, golden_attention_dqkv);
        }
        free(dout);
    }
    free(qkv), free(dqkv), free(out);
}

/* Dropout of the probabilities; the masks are computed once more in Python. */
static void dropped_attention(tdm_ops *ops)
{
    enum { T = 76, HEADS = 2, HEAD_DIM = 2, WIDTH = HEADS * HEAD_DIM };
    const int64_t seq[] = {0, 70, 76}, sample[] = {9, (int64_t)1 << 40};
    const tdm_attention_dropout dropout = {.p = 0.25, .seed = 3, .step = 11, .site = 6144, .sample = sample};
    tdm_dtype dtype = tdm_ops_dtype(ops);
    void *qkv = golden_act(dtype, 60, T * 3 * WIDTH), *dqkv = new_act(dtype, T * 3 * WIDTH);
    void *out = new_act(dtype, T * WIDTH), *dout = golden_act(dtype, 61, T * WIDTH);
    float lse[HEADS * T];
    tdm_attention_forward(ops, 2, seq, HEADS, HEAD_DIM, true, &dropout, qkv, out, lse);
    tdm_attention_backward(ops, 2, seq, HEADS, HEAD_DIM, true, &dropout, qkv, out, lse, dout, dqkv);
    CHECK_ACT(out, golden_dropped_attention);
    CHECK_ACT(dqkv, golden_dropped_attention_dqkv);
    free(qkv), free(dqkv), free(out), free(dout);
}

/* conv1 as patches and a linear layer, then class token and positions */
static void image_tokens(tdm_ops *ops)
{
    enum { N = 2, HEIGHT = 8, WIDTH = 12, PATCH = 4, PATCHES = 6, OUT = 6, IN = 3 * PATCH * PATCH };
    enum { PIXELS = N * HEIGHT * WIDTH * 3, TOKENS = N * (1 + PATCHES) * OUT };
    const double mean[3] = {0.48145466, 0.4578275, 0.40821073}, std[3] = {0.26862954, 0.26130258, 0.27577711};
    tdm_dtype dtype = tdm_ops_dtype(ops);
    float *shade = golden_input(16, PIXELS), *w = golden_input(15, OUT * IN),
          *class_token = golden_input(17, OUT);
    float *position = golden_input(18, (1 + PATCHES) * OUT), *dx = golden_input(19, TOKENS),
          *x = new_f32(TOKENS);
    float *dw = new_f32(OUT * IN), *dclass = new_f32(OUT), *dposition = new_f32((1 + PATCHES) * OUT);
    uint8_t image[PIXELS];
    for (int64_t i = 0; i < PIXELS; i++) image[i] = (uint8_t)rint((shade[i] + 2.0) * 63.0);
    void *rows = new_act(dtype, N * PATCHES * IN), *embedded = new_act(dtype, N * PATCHES * OUT);
    void *d_embedded = new_act(dtype, N * PATCHES * OUT);
    tdm_linear *l;
    CHECK_OK(tdm_linear_create(ops, IN, OUT, false, false, &l));
    CHECK_OK(tdm_linear_load(l, w, NULL, false));
    tdm_patchify(ops, N, HEIGHT, WIDTH, PATCH, 0, NULL, image, mean, std, rows);
    CHECK_OK(tdm_linear_forward(l, N * PATCHES, rows, embedded));
    tdm_image_tokens_forward(ops, N, PATCHES, NULL, OUT, embedded, class_token, position, x);
    tdm_image_tokens_backward(ops, N, PATCHES, NULL, OUT, dx, d_embedded, dclass, dposition);
    CHECK_OK(tdm_linear_backward_weight(l, N * PATCHES, rows, d_embedded, dw, NULL));
    CHECK_F32(x, golden_image_tokens);
    CHECK_F32(dw, golden_image_tokens_dw);
    CHECK_F32(dclass, golden_image_tokens_dcls);
    CHECK_F32(dposition, golden_image_tokens_dposition);
    tdm_linear_destroy(&l);
    free(shade), free(w), free(class_token), free(position), free(dx), free(x), free(dw), free(dclass);
    free(dposition), free(rows), free(embedded), free(d_embedded);
}

static void text_tokens(tdm_ops *ops)
{
    enum { SEQUENCES = 2, T = 10, WIDTH = 6, VOCABULARY = 9, CONTEXT = 5 };
    const int32_t token[T] = {3, 8, 3, 0, 7, 1, 3, 2, 2, 7};
    const int64_t seq[] = {0, 5, 10};
    tdm_dtype dtype = tdm_ops_dtype(ops);
    float *table = golden_input(20, VOCABULARY * WIDTH), *position = golden_input(21, CONTEXT * WIDTH);
    float *dx = golden_input(22, T * WIDTH), *x = new_f32(T * WIDTH);
    float *dtable = new_f32(VOCABULARY * WIDTH), *dposition = new_f32(CONTEXT * WIDTH);
    tdm_text_tokens_forward(ops, SEQUENCES, seq, WIDTH, token, table, NULL, position, x);
    tdm_text_tokens_backward(ops, SEQUENCES, seq, WIDTH, token, dx, dtable, NULL, dposition);
    CHECK_F32(x, golden_text_tokens);
    CHECK_F32(dtable, golden_text_tokens_dtable);
    CHECK_F32(dposition, golden_text_tokens_dposition);
    free(table), free(position), free(dx), free(x), free(dtable), free(dposition);
}

static void output_end(tdm_ops *ops)
{
    enum { ROWS = 4, WIDTH = 12, PAIRS = 5, CLASSES = 7, WEIGHTS = 20 };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    float *x = golden_input(23, ROWS * WIDTH), *dy = golden_input(24, ROWS * WIDTH);
    float *y = new_f32(ROWS * WIDTH), *dx = new_f32(ROWS * WIDTH), norm[ROWS], loss[PAIRS];
    tdm_l2norm_forward(ops, ROWS, WIDTH, x, y, norm);
    tdm_l2norm_backward(ops, ROWS, WIDTH, y, norm, dy, dx);
    CHECK_F32(y, golden_l2norm);
    CHECK_F32(dx, golden_l2norm_dx);
    float *logits = golden_input(25, PAIRS * CLASSES);
    tdm_softmax_cross_entropy(ops, PAIRS, CLASSES, logits, golden_target, loss);
    CHECK_F32(loss, golden_softmax);
    CHECK_F32(logits, golden_softmax_dlogits);
    float *w = golden_input(27, WEIGHTS), *m = new_f32(WEIGHTS), *v = new_f32(WEIGHTS);
    for (int64_t step = 1; step <= 3; step++) {
        float *g = golden_input(27 + (uint64_t)step, WEIGHTS);
        const tdm_adamw rule = {1.0, 1e-2, 0.9, 0.98, 1e-6, 0.2, step};
        tdm_adamw_update(ops, &rule, WEIGHTS, w, g, m, v);
        free(g);
    }
    CHECK_F32(w, golden_adamw);
    free(x), free(dy), free(y), free(dx), free(logits), free(w), free(m), free(v);
}

static void conv(tdm_ops *ops)
{
    enum { N = 2, HEIGHT = 4, WIDTH = 5, IN = 6, OUT = 8, T = N * HEIGHT * WIDTH };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    void *x = golden_act(dtype, 31, T * IN), *dy = golden_act(dtype, 33, T * OUT);
    void *y = new_act(dtype, T * OUT), *dx = new_act(dtype, T * IN);
    float *w = golden_input(32, OUT * IN * 9), *dw = new_f32(OUT * IN * 9);
    tdm_conv *c;
    CHECK_OK(tdm_conv_create(ops, IN, OUT, 3, HEIGHT, WIDTH, &c));
    CHECK_OK(tdm_conv_load(c, w, true));
    CHECK_OK(tdm_conv_forward(c, N, x, y));
    CHECK_OK(tdm_conv_backward_data(c, N, dy, dx));
    CHECK_OK(tdm_conv_backward_weight(c, N, x, dy, dw));
    CHECK_ACT(y, golden_conv);
    CHECK_ACT(dx, golden_conv_dx);
    CHECK_F32(dw, golden_conv_dw);
    tdm_conv_destroy(&c);
    free(x), free(dy), free(y), free(dx), free(w), free(dw);
}

static void batchnorm(tdm_ops *ops)
{
    enum { T = 2 * 4 * 6, WIDTH = 6 };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    void *x = golden_act(dtype, 34, T * WIDTH), *dy = golden_act(dtype, 37, T * WIDTH);
    void *y = new_act(dtype, T * WIDTH), *dx = new_act(dtype, T * WIDTH);
    float *g = golden_input(35, WIDTH), *b = golden_input(36, WIDTH);
    float mean[WIDTH], variance[WIDTH], kept[4][WIDTH], dg[WIDTH], db[WIDTH];
    tdm_batchnorm norm = {kept[0], kept[1], kept[2], kept[3]};
    double sum[2 * WIDTH];
    tdm_batchnorm_sums(ops, T, WIDTH, x, sum);
    for (int i = 0; i < WIDTH; i++) {
        mean[i] = (float)(sum[i] / T);
        variance[i] = (float)(sum[WIDTH + i] / T - sum[i] / T * (sum[i] / T));
    }
    tdm_batchnorm_prepare(WIDTH, mean, variance, g, b, &norm);
    tdm_batchnorm_forward(ops, T, WIDTH, x, &norm, NULL, true, y);
    tdm_batchnorm_backward_sums(ops, T, WIDTH, x, dy, &norm, true, sum);
    tdm_batchnorm_backward_data(ops, T, WIDTH, x, dy, &norm, true, sum, T, dx);
    for (int i = 0; i < WIDTH; i++) {
        db[i] = (float)sum[i];
        dg[i] = (float)sum[WIDTH + i];
    }
    CHECK_ACT(y, golden_batchnorm);
    CHECK_ACT(dx, golden_batchnorm_dx);
    CHECK_F32(dg, golden_batchnorm_dg);
    CHECK_F32(db, golden_batchnorm_db);
    void *pooled = new_act(dtype, T * WIDTH / 4), *dpooled = golden_act(dtype, 38, T * WIDTH / 4);
    tdm_average_pool_forward(ops, 2, 4, 6, WIDTH, x, pooled);
    tdm_average_pool_backward(ops, 2, 4, 6, WIDTH, dpooled, false, dx);
    CHECK_ACT(pooled, golden_average_pool);
    CHECK_ACT(dx, golden_average_pool_dx);
    free(x), free(dy), free(y), free(dx), free(g), free(b), free(pooled), free(dpooled);
}

static void attention_pool(tdm_ops *ops)
{
    enum { N = 2, PIXELS = 6, HEADS = 2, HEAD_DIM = 4, WIDTH = HEADS * HEAD_DIM, T = N * (1 + PIXELS) };
    tdm_dtype dtype = tdm_ops_dtype(ops);
    const size_t row = WIDTH * tdm_dtype_bytes(dtype);
    void *x = golden_act(dtype, 39, N * PIXELS * WIDTH), *token = new_act(dtype, T * WIDTH);
    void *q = new_act(dtype, N * WIDTH), *dq = new_act(dtype, N * WIDTH),
         *dx = new_act(dtype, N * PIXELS * WIDTH);
    void *dk = new_act(dtype, T * WIDTH), *dv = new_act(dtype, T * WIDTH);
    float *position = golden_input(40, (1 + PIXELS) * WIDTH), *dposition = new_f32((1 + PIXELS) * WIDTH);
    float *out = new_f32(N * WIDTH), *dout = golden_input(41, N * WIDTH), p[N * HEADS * (1 + PIXELS)];
    tdm_pool_tokens_forward(ops, N, PIXELS, WIDTH, x, position, token);
    for (size_t i = 0; i < N; i++) memcpy((char *)q + i * row, (char *)token + i * (1 + PIXELS) * row, row);
    tdm_pool_attention_forward(ops, N, 1 + PIXELS, HEADS, HEAD_DIM, q, token, token, out, p);
    tdm_pool_attention_backward(ops, N, 1 + PIXELS, HEADS, HEAD_DIM, q, token, token, p, dout, dq, dk, dv);
    tdm_pool_tokens_backward(ops, N, PIXELS, WIDTH, dk, dv, dq, dx, dposition);
    CHECK_F32(out, golden_attention_pool);
    CHECK_ACT(dx, golden_attention_pool_dx);
    CHECK_F32(dposition, golden_attention_pool_dposition);
    free(x), free(token), free(q), free(dq), free(dx), free(dk), free(dv), free(position), free(dposition),
        free(out), free(dout);
}

#define GOLDEN_TEST(name)                                                                                    \
    static void test_##name(void **state)                                                                    \
    {                                                                                                        \
        (void)state;                                                                                         \
        for_each_context(name);                                                                              \
    }
GOLDEN_TEST(linear)
GOLDEN_TEST(layernorm)
GOLDEN_TEST(activation)
GOLDEN_TEST(attention)
GOLDEN_TEST(dropped_attention)
GOLDEN_TEST(image_tokens)
GOLDEN_TEST(text_tokens)
GOLDEN_TEST(output_end)
GOLDEN_TEST(conv)
GOLDEN_TEST(batchnorm)
GOLDEN_TEST(attention_pool)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_activation),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_dropped_attention),
        cmocka_unit_test(test_image_tokens),
        cmocka_unit_test(test_text_tokens),
        cmocka_unit_test(test_output_end),
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_batchnorm),
        cmocka_unit_test(test_attention_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
