/* f32 layers of few rows: values against plain f64 sums that stand here, gradients of every input and parameter
 * against central differences. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tandem/nn.h"
#include "tandem/rng.h"

enum { MOST = 2048 };

static tdm_ops *ops;
static tdm_params params;
static tdm_scratch scratch;
static tdm_nn nn;
static const tdm_pass pass = {.train = true, .seed = 1, .step = 2};
static const int64_t sample[8] = {3, 1, 4, 15, 9, 2, 6, 5};

static void fill(uint32_t key, int64_t n, float *x)
{
    tdm_rng rng = tdm_rng_at(key, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < n; i++) x[i] = (float)tdm_rng_normal(&rng);
}

/* After the declarations. */
static void start(void)
{
    CHECK_OK(tdm_params_allocate(&params, true));
    fill(7, params.total, params.weight);
    for (int64_t i = 0; i < params.total; i++) params.weight[i] *= 0.5f;
}

static void finish(void)
{
    tdm_params_destroy(&params);
    tdm_scratch_rewind(&scratch, 0);
}

/* One layer: forward fills y from up to two inputs, backward adds and writes gradients. */
typedef struct layer {
    int64_t in[2], out; /* elements */
    tdm_status (*run)(const float *const x[2], float *y, const float *dy,
                      float *const dx[2]); /* dy NULL: forward */
} layer;

static double value_of(const layer *l, const float *const x[2], const float *c)
{
    float y[MOST];
    CHECK_OK(l->run(x, y, NULL, NULL));
    double value = 0;
    for (int64_t i = 0; i < l->out; i++) value += (double)c[i] * y[i];
    return value;
}

static double difference(const layer *l, const float *const x[2], const float *c, float *w)
{
    const float before = *w, step = 1e-2f;
    *w = before + step;
    const double above = value_of(l, x, c);
    *w = before - step;
    const double below = value_of(l, x, c);
    *w = before;
    return (above - below) / (2 * (double)step);
}

/* f32 values of a few units differ by 1e-6; over 2e-2 that is 1e-4; the third derivative gives as much. */
static void check_gradients(const layer *l)
{
    float x[2][MOST], dx[2][MOST], y[MOST], c[MOST];
    const float *const in[2] = {x[0], x[1]};
    float *const din[2] = {dx[0], dx[1]};
    fill(11, l->out, c);
    for (int i = 0; i < 2; i++) fill(12 + (uint32_t)i, l->in[i], x[i]);
    memset(params.grad, 0, sizeof(float) * (size_t)params.total);
    CHECK_OK(l->run(in, y, c, din));
    for (int64_t r = 0; r < params.count; r++) {
        const tdm_param *row = &params.row[r];
        for (int64_t k = 0; k < row->size; k++)
            CHECK_NEAR(params.grad[row->offset + k], difference(l, in, c, &params.weight[row->offset + k]),
                       5e-3);
    }
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < l->in[i]; k++) CHECK_NEAR(dx[i][k], difference(l, in, c, &x[i][k]), 5e-3);
}

/* ---- Linear, MLP, LayerNorm ---- */
static tdm_nn_linear linear;
static tdm_nn_mlp mlp;
static tdm_nn_norm norm;

static tdm_status run_linear(const float *const x[2], float *y, const float *dy, float *const dx[2])
{
    return dy ? tdm_nn_linear_backward(&nn, &linear, 3, x[0], dy, dx[0])
              : tdm_nn_linear_forward(&nn, &linear, 3, x[0], y);
}

static void test_linear(void **state)
{
    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        CHECK_OK(tdm_nn_linear_declare(&params, "a", 5, 4, bias, &linear));
        start();
        CHECK_EQ(params.count, 1 + bias);
        check_gradients(&(layer){.in = {3 * 5}, .out = 3 * 4, .run = run_linear});
        finish();
    }
}

static tdm_status run_mlp(const float *const x[2], float *y, const float *dy, float *const dx[2])
{
    tdm_nn_mlp_kept kept;
    tdm_scratch_rewind(&scratch, 0);
    TDM_TRY(tdm_nn_mlp_take(&mlp, &scratch, 4, &kept));
    TDM_TRY(tdm_nn_mlp_forward(&nn, &mlp, &pass, 4, sample, x[0], &kept, y));
    return dy ? tdm_nn_mlp_backward(&nn, &mlp, &pass, 4, sample, x[0], &kept, dy, dx[0]) : TDM_OK;
}

static double plain_activation(tdm_nn_activation kind, double x)
{
    if (kind == TDM_NN_RELU) return x > 0 ? x : 0;
    return kind == TDM_NN_GELU ? x / 2 * (1 + erf(x / sqrt(2))) : x / (1 + exp(-1.702 * x));
}

static void check_mlp_values(const float *x)
{
    float y[4 * 3];
    CHECK_OK(run_mlp((const float *[]){x, NULL}, y, NULL, NULL));
    int dropped = 0;
    for (int i = 0; i < 4; i++)
        for (int o = 0; o < 3; o++) {
            double sum = tdm_weight_of(&params, mlp.second.bias)[o];
            for (int h = 0; h < 6; h++) {
                double hidden = tdm_weight_of(&params, mlp.first.bias)[h];
                for (int k = 0; k < 5; k++)
                    hidden += (double)tdm_weight_of(&params, mlp.first.weight)[h * 5 + k] * x[i * 5 + k];
                sum += tdm_weight_of(&params, mlp.second.weight)[o * 6 + h] *
                       plain_activation(mlp.activation, hidden);
            }
            dropped += y[i * 3 + o] == 0.0f;
            if (y[i * 3 + o] != 0.0f) CHECK_NEAR(y[i * 3 + o], sum / (1 - 0.25), 1e-5);
        }
    CHECK_GT(dropped, 0);
    CHECK_LT(dropped, 12);
}

static void test_mlp(void **state)
{
    (void)state;
    float x[4 * 5];
    fill(3, 20, x);
    for (int kind = TDM_NN_RELU; kind <= TDM_NN_QUICKGELU; kind++) {
        const tdm_nn_mlp_setup setup = {.prefix = "m",
                                        .in = 5,
                                        .hidden = 6,
                                        .out = 3,
                                        .has_bias = true,
                                        .activation = (tdm_nn_activation)kind,
                                        .dropout = 0.25,
                                        .site = 9};
        CHECK_OK(tdm_nn_mlp_declare(&params, &setup, &mlp));
        CHECK_NOT_NULL(tdm_params_find(&params, "m.fc2.bias"));
        start();
        check_mlp_values(x);
        if (kind != TDM_NN_RELU) check_gradients(&(layer){.in = {4 * 5}, .out = 4 * 3, .run = run_mlp});
        finish();
    }
}

/* Differences across the kink of relu say nothing: only far from it. */
static void test_relu(void **state)
{
    (void)state;
    float x[4] = {-2, -0.5f, 0.5f, 3}, dx[4];
    tdm_nn_activation_backward(TDM_NN_RELU, 4, x, (float[]){1, 2, 3, 4}, dx);
    CHECK_MEM_EQ(dx, ((float[]){0, 0, 3, 4}), sizeof dx);
}

static tdm_status run_norm(const float *const x[2], float *y, const float *dy, float *const dx[2])
{
    float mean[4], rstd[4];
    tdm_nn_norm_forward(&nn, &norm, 4, x[0], y, mean, rstd);
    if (dy) tdm_nn_norm_backward(&nn, &norm, 4, x[0], mean, rstd, dy, dx[0]);
    return TDM_OK;
}

static void test_norm(void **state)
{
    (void)state;
    CHECK_OK(tdm_nn_norm_declare(&params, "ln", 16, &norm));
    start();
    check_gradients(&(layer){.in = {4 * 16}, .out = 4 * 16, .run = run_norm});
    finish();
}

/* A row's mask depends on its sample, not on where it stands; without training there is none. */
static void test_dropout(void **state)
{
    (void)state;
    float all[8 * 100], alone[100];
    start();
    for (int i = 0; i < 800; i++) all[i] = 1;
    for (int i = 0; i < 100; i++) alone[i] = 1;
    tdm_nn_dropout(&nn, &pass, 0.5, 3, 8, sample, 100, all, all);
    tdm_nn_dropout(&nn, &pass, 0.5, 3, 1, sample + 4, 100, alone, alone);
    CHECK_MEM_EQ(all + 400, alone, sizeof alone);
    double sum = 0;
    for (int i = 0; i < 800; i++) sum += all[i];
    CHECK_NEAR(sum / 800, 1, 0.12); /* 3.4 deviations of a mean of 800 */
    tdm_nn_dropout(&nn, &(tdm_pass){0}, 0.5, 3, 1, sample, 100, alone, alone);
    CHECK_MEM_EQ(all + 400, alone, sizeof alone);
    finish();
}

/* ---- Cross-attention ---- */
enum { WIDTH = 8, HEADS = 2 };
static const int64_t queries[4] = {0, 2, 2, 5}, keys[4] = {0, 3, 4, 8};
static const tdm_nn_pairs pairs = {.n = 3, .query = queries, .key = keys};
static tdm_nn_cross_attention attention;

static tdm_status run_attention(const float *const x[2], float *y, const float *dy, float *const dx[2])
{
    tdm_nn_cross_attention_kept kept;
    tdm_scratch_rewind(&scratch, 0);
    TDM_TRY(tdm_nn_cross_attention_take(&attention, &scratch, &pairs, &kept));
    TDM_TRY(tdm_nn_cross_attention_forward(&nn, &attention, &pairs, x[0], x[1], &kept, y));
    return dy ? tdm_nn_cross_attention_backward(&nn, &attention, &pairs, x[0], x[1], &kept, dy, dx[0], dx[1])
              : TDM_OK;
}

static double projected(const float *x, int64_t row)
{
    double sum = tdm_weight_of(&params, attention.in_bias)[row];
    for (int k = 0; k < WIDTH; k++)
        sum += (double)tdm_weight_of(&params, attention.in_weight)[row * WIDTH + k] * x[k];
    return sum;
}

/* What query row `q` of sequence i attends to. */
static void plain_attention(const float *xq, const float *xk, int i, int64_t q, double out[WIDTH])
{
    enum { D = WIDTH / HEADS };
    memset(out, 0, sizeof(double) * WIDTH);
    for (int h = 0; h < HEADS; h++) {
        double total = 0;
        for (int64_t k = keys[i]; k < keys[i + 1]; k++) {
            double dot = 0;
            for (int c = h * D; c < (h + 1) * D; c++)
                dot += projected(xq + q * WIDTH, c) * projected(xk + k * WIDTH, WIDTH + c);
            const double p = exp(dot / sqrt(D));
            total += p;
            for (int c = h * D; c < (h + 1) * D; c++) out[c] += p * projected(xk + k * WIDTH, 2 * WIDTH + c);
        }
        for (int c = h * D; c < (h + 1) * D; c++) out[c] /= total;
    }
}

static void test_cross_attention(void **state)
{
    (void)state;
    float xq[5 * WIDTH], xk[8 * WIDTH], y[5 * WIDTH], expected[5 * WIDTH];
    CHECK_OK(tdm_nn_cross_attention_declare(&params, "cross", WIDTH, HEADS, 0.1, &attention));
    start();
    fill(5, 5 * WIDTH, xq);
    fill(6, 8 * WIDTH, xk);
    CHECK_OK(run_attention((const float *[]){xq, xk}, y, NULL, NULL));
    for (int i = 0; i < 3; i++)
        for (int64_t q = queries[i]; q < queries[i + 1]; q++) {
            double attended[WIDTH];
            plain_attention(xq, xk, i, q, attended);
            for (int o = 0; o < WIDTH; o++) {
                double sum = tdm_weight_of(&params, attention.out_bias)[o];
                for (int k = 0; k < WIDTH; k++)
                    sum += tdm_weight_of(&params, attention.out_weight)[o * WIDTH + k] * attended[k];
                expected[q * WIDTH + o] = (float)sum;
            }
        }
    CHECK_CLOSE_ARRAY(5 * WIDTH, y, expected, 1e-5);
    check_gradients(&(layer){.in = {5 * WIDTH, 8 * WIDTH}, .out = 5 * WIDTH, .run = run_attention});
    finish();
}

static int create(void **state)
{
    (void)state;
    if (tdm_ops_create(TDM_F32, 1, &ops) != TDM_OK || tdm_scratch_create(1 << 20, &scratch) != TDM_OK)
        return -1;
    nn = (tdm_nn){.ops = ops, .params = &params, .scratch = &scratch, .train = true};
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    tdm_scratch_destroy(&scratch);
    tdm_ops_destroy(&ops);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear), cmocka_unit_test(test_mlp),     cmocka_unit_test(test_relu),
        cmocka_unit_test(test_norm),   cmocka_unit_test(test_dropout), cmocka_unit_test(test_cross_attention),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
