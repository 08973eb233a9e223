/* Finite differences in f32: every backward against the slope of its own forward.
 *
 * The loss is sum_i c_i y_i in double. A central difference of step h = 1/64 has an error of h²/6 of the
 * third derivative, 4e-5 of it here, and amplifies the f32 rounding of y (some 1e-6 of rms(y)·sqrt(outputs))
 * by 1/(2h) = 32; both stay below 2e-3 of the gradients' size, which is what is allowed. A wrong factor or a
 * missing term is far larger. */
#include "ops_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double STEP = 1.0 / 64, ALLOWED = 2e-3;

/* What a problem differentiates. `loss` computes the outputs from `inputs`; gradients[i] has counts[i]
 * values. */
typedef struct problem {
    const char *name;
    tdm_ops *ops;
    int inputs;
    float *input[6];
    float *gradient[6];
    int64_t count[6];
    double (*loss)(struct problem *p);
    int64_t outputs;
    float *weights; /* c_i */
    float *output;
    /* sizes and variants of the operation */
    int64_t t, in, out, n_seq, heads, head_dim;
    const int64_t *seq, *place;
    bool flag;
    const tdm_attention_dropout *dropout;
    tdm_activation kind;
} problem;

static float *zeros(int64_t n)
{
    return random_f32(n, 1, 0.0);
}

static void add_input(problem *p, int64_t count, double scale)
{
    p->input[p->inputs] = random_f32(count, 100 + (uint64_t)p->inputs, scale);
    p->gradient[p->inputs] = zeros(count);
    p->count[p->inputs++] = count;
}

static void set_outputs(problem *p, int64_t count)
{
    p->outputs = count;
    p->weights = random_f32(count, 99, 1.0);
    p->output = zeros(count);
}

static double weighted_sum(const problem *p)
{
    double sum = 0.0;
    for (int64_t i = 0; i < p->outputs; i++) sum += (double)p->weights[i] * p->output[i];
    return sum;
}

/* Compares up to 60 elements of every gradient, then frees the problem. */
static void check_gradients(problem *p)
{
    double worst = 0.0;
    for (int k = 0; k < p->inputs; k++) {
        double squares = 0.0;
        for (int64_t i = 0; i < p->count[k]; i++) squares += (double)p->gradient[k][i] * p->gradient[k][i];
        double rms = sqrt(squares / (double)p->count[k]);
        CHECK_GT(rms, 1e-3); /* otherwise the comparison would say nothing */
        int64_t stride = p->count[k] / 60 + 1;
        for (int64_t i = 0; i < p->count[k]; i += stride) {
            float kept = p->input[k][i];
            p->input[k][i] = kept + (float)STEP;
            double above = p->loss(p);
            p->input[k][i] = kept - (float)STEP;
            double below = p->loss(p);
            double width = ((double)(kept + (float)STEP) - (double)(kept - (float)STEP));
            p->input[k][i] = kept;
            double slope = (above - below) / width;
            double error = fabs(slope - p->gradient[k][i]) / (fabs(slope) + rms);
            if (error > worst) worst = error;
            if (!(error <= ALLOWED))
                fail_msg("%s: input %d, element %lld: gradient %.7g, finite difference %.7g", p->name, k,
                         (long long)i, (double)p->gradient[k][i], slope);
        }
    }
    for (int k = 0; k < p->inputs; k++) free(p->input[k]), free(p->gradient[k]);
    if (getenv("OPS_TEST_VERBOSE")) print_message("%-30s worst %.2e\n", p->name, worst);
    free(p->weights), free(p->output);
}

/* ---- Linear: x, weight, bias ---- */
static double linear_loss(problem *p)
{
    tdm_linear *linear;
    CHECK_OK(tdm_linear_create(p->ops, p->in, p->out, true, p->flag, &linear));
    CHECK_OK(tdm_linear_load(linear, p->input[1], p->input[2], false));
    CHECK_OK(tdm_linear_forward(linear, p->t, p->input[0], p->output));
    tdm_linear_destroy(&linear);
    return weighted_sum(p);
}

static void test_linear(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 1);
    for (int transposed = 0; transposed < 2; transposed++) {
        problem p = {.name = "linear",
                     .ops = ops,
                     .loss = linear_loss,
                     .t = 9,
                     .in = 11,
                     .out = 7,
                     .flag = transposed};
        add_input(&p, p.t * p.in, 1.0);
        add_input(&p, p.in * p.out, 1.0);
        add_input(&p, p.out, 1.0);
        set_outputs(&p, p.t * p.out);
        tdm_linear *linear;
        CHECK_OK(tdm_linear_create(ops, p.in, p.out, true, p.flag, &linear));
        CHECK_OK(tdm_linear_load(linear, p.input[1], p.input[2], true));
        CHECK_OK(tdm_linear_backward_data(linear, p.t, p.weights, p.gradient[0]));
        CHECK_OK(
            tdm_linear_backward_weight(linear, p.t, p.input[0], p.weights, p.gradient[1], p.gradient[2]));
        tdm_linear_destroy(&linear);
        check_gradients(&p);
    }
    tdm_ops_destroy(&ops);
}

/* ---- LayerNorm of x + branch: x, branch, gamma, beta ---- */
static double layernorm_loss(problem *p)
{
    float *sum = zeros(p->t * p->in), *mean = zeros(p->t), *rstd = zeros(p->t);
    tdm_layernorm_forward(p->ops, p->t, p->in, p->input[0], p->input[1], sum, p->input[2], p->input[3],
                          p->output, mean, rstd);
    free(sum), free(mean), free(rstd);
    return weighted_sum(p);
}

static void test_layernorm(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 2);
    problem p = {.name = "layernorm", .ops = ops, .loss = layernorm_loss, .t = 5, .in = 33};
    add_input(&p, p.t * p.in, 1.0);
    add_input(&p, p.t * p.in, 1.0);
    add_input(&p, p.in, 1.0);
    add_input(&p, p.in, 1.0);
    set_outputs(&p, p.t * p.in);
    float *sum = zeros(p.t * p.in), *mean = zeros(p.t), *rstd = zeros(p.t);
    tdm_layernorm_forward(ops, p.t, p.in, p.input[0], p.input[1], sum, p.input[2], p.input[3], p.output, mean,
                          rstd);
    tdm_layernorm_backward(ops, p.t, p.in, p.weights, sum, mean, rstd, p.input[2], true, p.gradient[0],
                           p.gradient[1], p.gradient[2], p.gradient[3]);
    free(sum), free(mean), free(rstd);
    check_gradients(&p);
    tdm_ops_destroy(&ops);
}

/* ---- Activation ---- */
static double activation_loss(problem *p)
{
    tdm_activation_forward(p->ops, p->kind, p->t, p->input[0], p->output);
    return weighted_sum(p);
}

static void test_activation(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 1);
    for (int kind = TDM_QUICKGELU; kind <= TDM_GELU; kind++) {
        problem p = {
            .name = "activation", .ops = ops, .loss = activation_loss, .t = 60, .kind = (tdm_activation)kind};
        add_input(&p, p.t, 2.0);
        set_outputs(&p, p.t);
        tdm_activation_backward(ops, p.kind, p.t, p.input[0], p.weights, p.gradient[0], NULL);
        check_gradients(&p);
    }
    tdm_ops_destroy(&ops);
}

/* ---- Attention: qkv ---- */
static double attention_loss(problem *p)
{
    float *lse = zeros(p->t * p->heads);
    tdm_attention_forward(p->ops, p->n_seq, p->seq, p->heads, p->head_dim, p->flag, p->dropout, p->input[0],
                          p->output, lse);
    free(lse);
    return weighted_sum(p);
}

static void test_attention(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 2);
    const int64_t seq[] = {0, 13, 13, 14, 20};
    const int64_t sample[] = {4, 2, 9, 1};
    const tdm_attention_dropout dropout = {.p = 0.3, .seed = 1, .step = 2, .site = 3, .sample = sample};
    for (int kind = 0; kind < 4; kind++) {
        const bool causal = kind % 2;
        problem p = {.name = causal ? "causal attention" : "attention",
                     .ops = ops,
                     .loss = attention_loss,
                     .t = 20,
                     .n_seq = 4,
                     .heads = 2,
                     .head_dim = 5,
                     .seq = seq,
                     .flag = causal,
                     .dropout = kind < 2 ? NULL : &dropout};
        add_input(&p, p.t * 3 * p.heads * p.head_dim, 1.0);
        set_outputs(&p, p.t * p.heads * p.head_dim);
        float *lse = zeros(p.t * p.heads);
        tdm_attention_forward(ops, p.n_seq, seq, p.heads, p.head_dim, causal, p.dropout, p.input[0], p.output,
                              lse);
        tdm_attention_backward(ops, p.n_seq, seq, p.heads, p.head_dim, causal, p.dropout, p.input[0],
                               p.output, lse, p.weights, p.gradient[0]);
        free(lse);
        check_gradients(&p);
    }
    tdm_ops_destroy(&ops);
}

/* ---- Image tokens: patch rows, class token, position. Text tokens: table, position. ---- */
static double image_tokens_loss(problem *p)
{
    tdm_image_tokens_forward(p->ops, p->t, p->in, p->place, p->out, p->input[0], p->input[1], p->input[2],
                             p->output);
    return weighted_sum(p);
}

/* Of all patches, and of 4 of 7. */
static void test_image_tokens(void **state)
{
    (void)state;
    const int64_t place[] = {0, 1, 2, 6, 1, 3, 4, 5, 0, 2, 5, 6};
    for (int dropped = 0; dropped < 2; dropped++) {
        tdm_ops *ops = make_ops(TDM_F32, 2);
        problem p = {
            .name = "image tokens", .ops = ops, .loss = image_tokens_loss, .t = 3, .in = 4, .out = 6};
        p.place = dropped ? place : NULL;
        add_input(&p, p.t * p.in * p.out, 1.0);
        add_input(&p, p.out, 1.0);
        add_input(&p, (dropped ? 8 : 5) * p.out, 1.0);
        set_outputs(&p, p.t * (1 + p.in) * p.out);
        tdm_image_tokens_backward(ops, p.t, p.in, p.place, p.out, p.weights, p.gradient[0], p.gradient[1],
                                  p.gradient[2]);
        check_gradients(&p);
        tdm_ops_destroy(&ops);
    }
}

static const int32_t tokens[] = {4, -1, 1, 2, 4, 0, -2, -1, 4}; /* below 0: of the context */

static double text_tokens_loss(problem *p)
{
    tdm_text_tokens_forward(p->ops, p->n_seq, p->seq, p->in, tokens, p->input[0], p->input[2], p->input[1],
                            p->output);
    return weighted_sum(p);
}

static void test_text_tokens(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 2);
    const int64_t seq[] = {0, 5, 5, 9};
    problem p = {
        .name = "text tokens", .ops = ops, .loss = text_tokens_loss, .n_seq = 3, .seq = seq, .in = 7};
    add_input(&p, 5 * p.in, 1.0);
    add_input(&p, 5 * p.in, 1.0);
    add_input(&p, 2 * p.in, 1.0);
    set_outputs(&p, 9 * p.in);
    tdm_text_tokens_backward(ops, p.n_seq, seq, p.in, tokens, p.weights, p.gradient[0], p.gradient[2],
                             p.gradient[1]);
    check_gradients(&p);
    tdm_ops_destroy(&ops);
}

/* ---- L2 norm, softmax cross-entropy ---- */
static double l2norm_loss(problem *p)
{
    float *norm = zeros(p->t);
    tdm_l2norm_forward(p->ops, p->t, p->in, p->input[0], p->output, norm);
    free(norm);
    return weighted_sum(p);
}

static void test_l2norm(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 1);
    problem p = {.name = "l2norm", .ops = ops, .loss = l2norm_loss, .t = 4, .in = 19};
    add_input(&p, p.t * p.in, 1.0);
    set_outputs(&p, p.t * p.in);
    float *norm = zeros(p.t);
    tdm_l2norm_forward(ops, p.t, p.in, p.input[0], p.output, norm);
    tdm_l2norm_backward(ops, p.t, p.in, p.output, norm, p.weights, p.gradient[0]);
    free(norm);
    check_gradients(&p);
    tdm_ops_destroy(&ops);
}

static float soft_targets[5][9];

static double softmax_loss(problem *p)
{
    float *logits = copy_f32(p->input[0], p->t * p->in);
    tdm_softmax_cross_entropy(p->ops, p->t, p->in, logits, soft_targets[0], p->output);
    free(logits);
    return weighted_sum(p);
}

static void test_softmax(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 1);
    problem p = {.name = "softmax cross-entropy", .ops = ops, .loss = softmax_loss, .t = 5, .in = 9};
    for (int row = 0; row < 5; row++)
        for (int i = 0; i < 9; i++) soft_targets[row][i] = (float)(i + row + 1) / (float)(45 + 9 * row);
    add_input(&p, p.t * p.in, 2.0);
    set_outputs(&p, p.t);
    memcpy(p.gradient[0], p.input[0], sizeof(float) * 45);
    tdm_softmax_cross_entropy(ops, p.t, p.in, p.gradient[0], soft_targets[0], p.output);
    for (int64_t i = 0; i < 45; i++) p.gradient[0][i] *= p.weights[i / 9];
    check_gradients(&p);
    tdm_ops_destroy(&ops);
}

/* ---- Convolution: x, weight ---- */
enum { CONV_N = 2, CONV_H = 4, CONV_W = 3, CONV_T = CONV_N * CONV_H * CONV_W };

static double conv_loss(problem *p)
{
    tdm_conv *conv;
    CHECK_OK(tdm_conv_create(p->ops, p->in, p->out, 3, CONV_H, CONV_W, &conv));
    CHECK_OK(tdm_conv_load(conv, p->input[1], false));
    CHECK_OK(tdm_conv_forward(conv, CONV_N, p->input[0], p->output));
    tdm_conv_destroy(&conv);
    return weighted_sum(p);
}

static void test_conv(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 2);
    problem p = {.name = "convolution", .ops = ops, .loss = conv_loss, .in = 5, .out = 6};
    add_input(&p, CONV_T * p.in, 1.0);
    add_input(&p, p.in * p.out * 9, 0.5);
    set_outputs(&p, CONV_T * p.out);
    tdm_conv *conv;
    CHECK_OK(tdm_conv_create(ops, p.in, p.out, 3, CONV_H, CONV_W, &conv));
    CHECK_OK(tdm_conv_load(conv, p.input[1], true));
    CHECK_OK(tdm_conv_backward_data(conv, CONV_N, p.weights, p.gradient[0]));
    CHECK_OK(tdm_conv_backward_weight(conv, CONV_N, p.input[0], p.weights, p.gradient[1]));
    tdm_conv_destroy(&conv);
    check_gradients(&p);
    tdm_ops_destroy(&ops);
}

/* ---- Batch normalisation: x, gamma, beta. flag: by the batch's own statistics, else by fixed ones. No ReLU,
 * which has no slope at its corner. ---- */
typedef struct norm_arrays {
    float mean[8], variance[8], mean_copy[8], rstd[8], scale[8], shift[8];
    tdm_batchnorm norm;
} norm_arrays;

static void prepare_norm(problem *p, norm_arrays *a)
{
    a->norm = (tdm_batchnorm){a->mean_copy, a->rstd, a->scale, a->shift};
    double sum[16];
    tdm_batchnorm_sums(p->ops, p->t, p->in, p->input[0], sum);
    for (int64_t i = 0; i < p->in; i++) {
        const double mean = sum[i] / (double)p->t;
        a->mean[i] = p->flag ? (float)mean : 0.3f;
        a->variance[i] = p->flag ? (float)(sum[p->in + i] / (double)p->t - mean * mean) : 2.0f;
    }
    tdm_batchnorm_prepare(p->in, a->mean, a->variance, p->input[1], p->input[2], &a->norm);
}

static double batchnorm_loss(problem *p)
{
    norm_arrays a;
    prepare_norm(p, &a);
    tdm_batchnorm_forward(p->ops, p->t, p->in, p->input[0], &a.norm, NULL, false, p->output);
    return weighted_sum(p);
}

static void test_batchnorm(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 2);
    for (int batch = 0; batch < 2; batch++) {
        problem p = {.name = batch ? "batch normalisation" : "fixed normalisation",
                     .ops = ops,
                     .loss = batchnorm_loss,
                     .t = 40,
                     .in = 7,
                     .flag = batch};
        add_input(&p, p.t * p.in, 1.5);
        add_input(&p, p.in, 1.0);
        add_input(&p, p.in, 1.0);
        set_outputs(&p, p.t * p.in);
        norm_arrays a;
        double sum[16];
        prepare_norm(&p, &a);
        if (batch) {
            tdm_batchnorm_backward_sums(ops, p.t, p.in, p.input[0], p.weights, &a.norm, false, sum);
            tdm_batchnorm_backward_data(ops, p.t, p.in, p.input[0], p.weights, &a.norm, false, sum,
                                        (double)p.t, p.gradient[0]);
        } else {
            tdm_batchnorm_backward_fixed(ops, p.t, p.in, p.input[0], p.weights, &a.norm, false, sum,
                                         p.gradient[0]);
        }
        for (int64_t i = 0; i < p.in; i++) {
            p.gradient[1][i] = (float)sum[p.in + i];
            p.gradient[2][i] = (float)sum[i];
        }
        check_gradients(&p);
    }
    tdm_ops_destroy(&ops);
}

/* ---- Pooling: average of x; tokens and attention of x, position, with q, k and v the tokens themselves ----
 */
static double average_pool_loss(problem *p)
{
    tdm_average_pool_forward(p->ops, 2, 4, 6, p->in, p->input[0], p->output);
    return weighted_sum(p);
}

static void test_average_pool(void **state)
{
    (void)state;
    tdm_ops *ops = make_ops(TDM_F32, 1);
    problem p = {.name = "average pooling", .ops = ops, .loss = average_pool_loss, .in = 5};
    add_input(&p, 2 * 4 * 6 * p.in, 1.0);
    set_outputs(&p, 2 * 2 * 3 * p.in);
    tdm_average_pool_backward(ops, 2, 4, 6, p.in, p.weights, false, p.gradient[0]);
    check_gradients(&p);
    tdm_ops_destroy(&ops);
}

enum { POOL_N = 2, POOL_PIXELS = 5, POOL_HEADS = 2, POOL_DIM = 6, POOL_WIDTH = POOL_HEADS * POOL_DIM };

static void pool_forward(problem *p, float *token, float *first, float *share)
{
    tdm_pool_tokens_forward(p->ops, POOL_N, POOL_PIXELS, POOL_WIDTH, p->input[0], p->input[1], token);
    for (int64_t i = 0; i < POOL_N; i++)
        memcpy(first + i * POOL_WIDTH, token + i * (1 + POOL_PIXELS) * POOL_WIDTH,
               sizeof(float) * POOL_WIDTH);
    tdm_pool_attention_forward(p->ops, POOL_N, 1 + POOL_PIXELS, POOL_HEADS, POOL_DIM, first, token, token,
                               p->output, share);
}

static double pool_loss(problem *p)
{
    static float token[POOL_N * (1 + POOL_PIXELS) * POOL_WIDTH], first[POOL_N * POOL_WIDTH],
        share[POOL_N * POOL_HEADS * (1 + POOL_PIXELS)];
    pool_forward(p, token, first, share);
    return weighted_sum(p);
}

static void test_attention_pool(void **state)
{
    (void)state;
    static float token[POOL_N * (1 + POOL_PIXELS) * POOL_WIDTH], first[POOL_N * POOL_WIDTH],
        share[POOL_N * POOL_HEADS * (1 + POOL_PIXELS)], dq[POOL_N * POOL_WIDTH],
        dk[POOL_N * (1 + POOL_PIXELS) * POOL_WIDTH], dv[POOL_N * (1 + POOL_PIXELS) * POOL_WIDTH];
    tdm_ops *ops = make_ops(TDM_F32, 2);
    problem p = {.name = "attention pooling", .ops = ops, .loss = pool_loss};
    add_input(&p, POOL_N * POOL_PIXELS * POOL_WIDTH, 1.0);
    add_input(&p, (1 + POOL_PIXELS) * POOL_WIDTH, 1.0);
    set_outputs(&p, POOL_N * POOL_WIDTH);
    pool_forward(&p, token, first, share);
    tdm_pool_attention_backward(ops, POOL_N, 1 + POOL_PIXELS, POOL_HEADS, POOL_DIM, first, token, token,
                                share, p.weights, dq, dk, dv);
    tdm_pool_tokens_backward(ops, POOL_N, POOL_PIXELS, POOL_WIDTH, dk, dv, dq, p.gradient[0], p.gradient[1]);
    check_gradients(&p);
    tdm_ops_destroy(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),       cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_activation),   cmocka_unit_test(test_attention),
        cmocka_unit_test(test_image_tokens), cmocka_unit_test(test_text_tokens),
        cmocka_unit_test(test_l2norm),       cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_conv),         cmocka_unit_test(test_batchnorm),
        cmocka_unit_test(test_average_pool), cmocka_unit_test(test_attention_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
