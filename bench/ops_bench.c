/* Speed of every operation at the shapes of CLIP's ViT-B/32 (or others): the best of some runs, as GFLOP/s
 * for matmuls and as GB/s of the memory that must move for the rest.
 *
 *   ops_bench [batch] [threads] [f32|bf16] [image|text|both|b16|attention [NAME]]     defaults: 32 1 auto both
 *
 * `attention` runs attention alone, at the lengths and widths of heads of CLIP's models, and prints which part of the
 * peak loop's arithmetic it reaches; with NAME only the shapes whose names contain it. `batch` does not count there.
 */
#include "tandem/base.h"
#include "tandem/ops.h"
#include "tandem/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(TANDEM_PROXY_BF16)
#include <immintrin.h>
#endif

typedef struct tower {
    const char *name;
    int64_t batch, length, width, heads, mlp;
    bool causal;
} tower;

typedef struct bench {
    tdm_ops *ops;
    tower tower;
    int64_t t, *seq; /* rows, offsets */
    /* act [t][mlp] or smaller */
    void *act_a, *act_b, *act_c, *act_d;
    float *f32_a, *f32_b;   /* [t][width] */
    float *row_a, *row_b;   /* [t·heads] */
    float *vector, *weight; /* [mlp], [mlp][width] */
    float *gradient;        /* [mlp][width] and two vectors */
    float *first, *second;  /* moments, [mlp][width] */
    tdm_linear *linear;
    int64_t in, out;
} bench;

enum { RUNS = 7 };

static void fail_if(tdm_status status)
{
    if (status == TDM_OK) return;
    fprintf(stderr, "ops_bench: %s\n", tdm_error_last()->message);
    exit(1);
}

/* On one thread the process's own time, which other processes on the machine do not lengthen. */
static double clock_s(const tdm_ops *ops)
{
    struct timespec time;
    clock_gettime(tdm_ops_threads(ops) == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* One line: name, best milliseconds, GFLOP/s or GB/s. */
static void measure(const char *name, bench *b, double flop, double bytes, void (*run)(bench *b))
{
    double best = 1e30;
    run(b);
    for (int i = 0; i < RUNS; i++) {
        double start = clock_s(b->ops);
        run(b);
        double elapsed = clock_s(b->ops) - start;
        if (elapsed < best) best = elapsed;
    }
    printf("  %-28s %9.3f ms", name, best * 1e3);
    if (flop > 0.0) printf(" %9.1f GFLOP/s", flop / best * 1e-9);
    if (bytes > 0.0) printf(" %9.1f GB/s", bytes / best * 1e-9);
    printf("\n");
}

static void run_load(bench *b)
{
    fail_if(tdm_linear_load(b->linear, b->weight, b->vector, true));
}
static void run_forward(bench *b)
{
    fail_if(tdm_linear_forward(b->linear, b->t, b->act_a, b->act_b));
}
static void run_data(bench *b)
{
    fail_if(tdm_linear_backward_data(b->linear, b->t, b->act_a, b->act_b));
}
static void run_weight(bench *b)
{
    fail_if(tdm_linear_backward_weight(b->linear, b->t, b->act_a, b->act_b, b->gradient, b->vector));
}
static const tdm_adamw rule = {1.0, 1e-9, 0.9, 0.98, 1e-6, 0.1, 10};
static void run_clear(bench *b)
{
    tdm_linear_clear_gradient(b->linear);
    run_weight(b);
}
static void run_update(bench *b)
{
    fail_if(tdm_linear_adamw(b->linear, &rule, b->weight, b->gradient, b->first, b->second));
}
static void run_layernorm(bench *b)
{
    tdm_layernorm_forward(b->ops, b->t, b->tower.width, b->f32_a, b->act_a, b->f32_b, b->vector, b->vector,
                          b->act_b, b->row_a, b->row_b);
}
static void run_layernorm_backward(bench *b)
{
    tdm_layernorm_backward(b->ops, b->t, b->tower.width, b->act_a, b->f32_a, b->row_a, b->row_b, b->vector,
                           true, b->f32_b, b->act_b, b->gradient, b->gradient + b->tower.width);
}
static void run_activation(bench *b)
{
    tdm_activation_forward(b->ops, TDM_QUICKGELU, b->t * b->tower.mlp, b->act_a, b->act_b);
}
static void run_activation_backward(bench *b)
{
    tdm_activation_backward(b->ops, TDM_QUICKGELU, b->t * b->tower.mlp, b->act_a, b->act_b, b->act_b,
                            b->act_c);
}
static void run_gelu(bench *b)
{
    tdm_activation_forward(b->ops, TDM_GELU, b->t * b->tower.mlp, b->act_a, b->act_b);
}
static void run_gelu_backward(bench *b)
{
    tdm_activation_backward(b->ops, TDM_GELU, b->t * b->tower.mlp, b->act_a, b->act_b, b->act_b, b->act_c);
}
static void run_attention(bench *b)
{
    tdm_attention_forward(b->ops, b->tower.batch, b->seq, b->tower.heads, b->tower.width / b->tower.heads,
                          b->tower.causal, NULL, b->act_a, b->act_b, b->row_a);
}
static void run_attention_backward(bench *b)
{
    tdm_attention_backward(b->ops, b->tower.batch, b->seq, b->tower.heads, b->tower.width / b->tower.heads,
                           b->tower.causal, NULL, b->act_a, b->act_b, b->row_a, b->act_c, b->act_d);
}
static void run_dropout(bench *b)
{
    int64_t sample = 1;
    const int64_t one[2] = {0, b->t};
    tdm_dropout(b->ops, 0.1, 1, 2, 3, 1, one, &sample, NULL, b->tower.width, b->act_a);
}
static void run_sum_squares(bench *b)
{
    volatile double sum = tdm_sum_squares(b->ops, b->tower.mlp * b->tower.width, b->weight);
    (void)sum;
}
static void run_adamw(bench *b)
{
    tdm_adamw_update(b->ops, &rule, b->tower.mlp * b->tower.width, b->weight, b->gradient, b->first,
                     b->second);
}
/* What memory gives: reads one array, writes another. */
static void run_copy(bench *b)
{
    memcpy(b->first, b->second, sizeof(float) * (size_t)(b->tower.mlp * b->tower.width));
}
static void run_gemm(bench *b)
{
    int64_t n = b->tower.batch;
    fail_if(tdm_gemm(b->ops, false, true, n, n, b->tower.width, 1.0f, b->f32_a, b->tower.width, b->f32_b,
                     b->tower.width, 0.0f, b->gradient, n));
}

/* Attention alone: `count` sequences of `shortest` to `longest` tokens, evenly: about a millisecond. */
typedef struct attention_shape {
    const char *name;
    int64_t count, shortest, longest, heads, head_dim;
    bool causal;
} attention_shape;

static const attention_shape attention_shapes[] = {
    {"text", 19, 10, 28, 8, 64, true},          {"text, long captions", 8, 77, 77, 8, 64, true},
    {"ViT-B/32", 8, 50, 50, 12, 64, false},     {"ViT-B/16", 1, 197, 197, 12, 64, false},
    {"ViT-L/14", 1, 257, 257, 8, 64, false},    {"ViT-L/14 at 336 px", 1, 577, 577, 4, 64, false},
    {"ViT-H/14", 1, 257, 257, 8, 80, false},    {"ViT-g/14", 1, 257, 257, 8, 88, false},
    {"heads of 96", 1, 197, 197, 8, 96, false}, {"demo, image", 32, 17, 17, 4, 64, false},
    {"demo, text", 36, 6, 14, 3, 64, true},     {"heads of 32", 8, 50, 50, 6, 32, false},
};

static void *allocate_act(bench *b, int64_t n, uint64_t seed)
{
    float *values;
    void *act;
    fail_if(TDM_ALLOC(n, &values));
    fail_if(tdm_alloc((size_t)n * tdm_dtype_bytes(tdm_ops_dtype(b->ops)), "activations", &act));
    tdm_rng rng = tdm_rng_at(seed, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < n; i++) values[i] = (float)tdm_rng_range(&rng, -1.0, 1.0);
    tdm_to_act(b->ops, n, values, act);
    tdm_free(values);
    return act;
}

static float *allocate_f32(int64_t n)
{
    float *values;
    fail_if(TDM_ALLOC(n, &values));
    for (int64_t i = 0; i < n; i++) values[i] = 0.5f + 0.001f * (float)(i % 997);
    return values;
}

static void bench_linear(bench *b, const char *what, int64_t in, int64_t out)
{
    char name[64];
    double flop = 2.0 * (double)b->t * (double)in * (double)out;
    b->in = in;
    b->out = out;
    fail_if(tdm_linear_create(b->ops, in, out, true, false, &b->linear));
    snprintf(name, sizeof(name), "%s pack", what);
    measure(name, b, 0.0, (double)(in * out) * 8.0, run_load);
    snprintf(name, sizeof(name), "%s forward", what);
    measure(name, b, flop, 0.0, run_forward);
    snprintf(name, sizeof(name), "%s data", what);
    measure(name, b, flop, 0.0, run_data);
    snprintf(name, sizeof(name), "%s weight", what);
    measure(name, b, flop, 0.0, run_weight);
    snprintf(name, sizeof(name), "%s weight, written", what);
    measure(name, b, flop, 0.0, run_clear);
    snprintf(name, sizeof(name), "%s adamw + pack", what);
    measure(name, b, 0.0, (double)(in * out) * 32.0, run_update);
    tdm_linear_destroy(&b->linear);
}

static void bench_tower(tdm_ops *ops, tower shape)
{
    bench b = {.ops = ops, .tower = shape, .t = tdm_round_up(shape.batch * shape.length, TDM_ROW_STEP)};
    double act = (double)tdm_dtype_bytes(tdm_ops_dtype(ops));
    double rows = (double)b.t * (double)shape.width, hidden = (double)b.t * (double)shape.mlp;
    double length = (double)shape.length;
    double scores = (double)shape.batch * (shape.causal ? length * (length + 1.0) / 2.0 : length * length);
    fail_if(TDM_ALLOC(shape.batch + 1, &b.seq));
    for (int64_t i = 0; i <= shape.batch; i++) b.seq[i] = i * shape.length;
    b.act_a = allocate_act(&b, b.t * shape.mlp, 1);
    b.act_b = allocate_act(&b, b.t * shape.mlp, 2);
    b.act_c = allocate_act(&b, b.t * shape.mlp, 3);
    b.act_d = allocate_act(&b, b.t * shape.mlp, 4);
    b.f32_a = allocate_f32(b.t * shape.width);
    b.f32_b = allocate_f32(b.t * shape.width);
    b.row_a = allocate_f32(b.t * shape.heads);
    b.row_b = allocate_f32(b.t * shape.heads);
    b.vector = allocate_f32(shape.mlp);
    b.weight = allocate_f32(shape.mlp * shape.width);
    b.gradient = allocate_f32(shape.mlp * shape.width + 2 * shape.width);
    b.first = allocate_f32(shape.mlp * shape.width);
    b.second = allocate_f32(shape.mlp * shape.width);
    printf("%s: %lld sequences of %lld, width %lld\n", shape.name, (long long)shape.batch,
           (long long)shape.length, (long long)shape.width);
    bench_linear(&b, "qkv", shape.width, 3 * shape.width);
    bench_linear(&b, "out", shape.width, shape.width);
    bench_linear(&b, "fc", shape.width, shape.mlp);
    bench_linear(&b, "proj", shape.mlp, shape.width);
    measure("layernorm forward", &b, 0.0, rows * (8.0 + 2.0 * act), run_layernorm);
    measure("layernorm backward", &b, 0.0, rows * (12.0 + 2.0 * act), run_layernorm_backward);
    measure("quickgelu forward", &b, 0.0, hidden * 2.0 * act, run_activation);
    measure("quickgelu backward", &b, 0.0, hidden * 4.0 * act, run_activation_backward);
    measure("gelu forward", &b, 0.0, hidden * 2.0 * act, run_gelu);
    measure("gelu backward", &b, 0.0, hidden * 4.0 * act, run_gelu_backward);
    measure("attention forward", &b, 4.0 * scores * (double)shape.width, 0.0, run_attention);
    measure("attention backward", &b, 8.0 * scores * (double)shape.width, 0.0, run_attention_backward);
    measure("dropout", &b, 0.0, rows * 2.0 * act, run_dropout);
    measure("sum of squares", &b, 0.0, (double)(shape.mlp * shape.width) * 4.0, run_sum_squares);
    measure("adamw", &b, 0.0, (double)(shape.mlp * shape.width) * 28.0, run_adamw);
    measure("memcpy", &b, 0.0, (double)(shape.mlp * shape.width) * 8.0, run_copy);
    measure("gemm f32", &b, 2.0 * (double)(shape.batch * shape.batch * shape.width), 0.0, run_gemm);
    void *buffers[] = {b.seq,   b.act_a, b.act_b,  b.act_c,  b.act_d,    b.f32_a, b.f32_b,
                       b.row_a, b.row_b, b.vector, b.weight, b.gradient, b.first, b.second};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++) tdm_free(buffers[i]);
}

/* Many sets of rows in turn, so that a call's operands are not in L2, as in a step; the mean over the sets of the best
 * of some runs, because a run of a millisecond often goes undisturbed where one of a second does not. */
static double attention_seconds(bench *b, int sets, bool backward)
{
    enum { ROUNDS = 15 };
    const int64_t width = b->tower.width, element = (int64_t)tdm_dtype_bytes(tdm_ops_dtype(b->ops));
    const int64_t head_dim = width / b->tower.heads, row = b->t * width * element;
    double total = 0.0, *best;
    fail_if(TDM_ALLOC(sets, &best));
    for (int i = 0; i < ROUNDS * sets; i++) {
        const int set = i % sets;
        char *qkv = (char *)b->act_a + set * 3 * row, *out = (char *)b->act_b + set * row;
        float *lse = b->row_a + set * b->t * b->tower.heads;
        const double start = clock_s(b->ops);
        if (backward)
            tdm_attention_backward(b->ops, b->tower.batch, b->seq, b->tower.heads, head_dim, b->tower.causal,
                                   NULL, qkv, out, lse, (char *)b->act_c + set * row,
                                   (char *)b->act_d + set * 3 * row);
        else
            tdm_attention_forward(b->ops, b->tower.batch, b->seq, b->tower.heads, head_dim, b->tower.causal,
                                  NULL, qkv, out, lse);
        const double elapsed = clock_s(b->ops) - start;
        if (i < sets || elapsed < best[set]) best[set] = elapsed;
    }
    for (int set = 0; set < sets; set++) total += best[set];
    tdm_free(best);
    return total / sets;
}

static void bench_attention(tdm_ops *ops, const attention_shape *shape, double peak)
{
    enum { TOKENS = 1 << 11 };
    bench b = {.ops = ops,
               .tower = {.batch = shape->count,
                         .width = shape->heads * shape->head_dim,
                         .heads = shape->heads,
                         .causal = shape->causal}};
    double scores = 0.0;
    fail_if(TDM_ALLOC(shape->count + 1, &b.seq));
    b.seq[0] = 0;
    for (int64_t i = 0; i < shape->count; i++) {
        const int64_t length = shape->shortest + i % (shape->longest - shape->shortest + 1);
        const double all = (double)length;
        b.seq[i + 1] = b.seq[i] + length;
        scores += shape->causal ? all * (all + 1.0) / 2.0 : all * all;
    }
    b.t = b.seq[shape->count];
    const int sets = (int)((TOKENS + b.t - 1) / b.t);
    const int64_t elements = sets * b.t * b.tower.width;
    b.act_a = allocate_act(&b, 3 * elements, 1);
    b.act_b = allocate_act(&b, elements, 2);
    b.act_c = allocate_act(&b, elements, 3);
    b.act_d = allocate_act(&b, 3 * elements, 4);
    b.row_a = allocate_f32(sets * b.t * shape->heads);
    const double flop = 4.0 * scores * (double)b.tower.width;
    const double forward = flop / attention_seconds(&b, sets, false) * 1e-9;
    const double backward = 2.0 * flop / attention_seconds(&b, sets, true) * 1e-9;
    printf(
        "  %-20s %4lld to %4lld tokens, heads of %3lld  forward %7.1f (%2.0f %%)  backward %7.1f (%2.0f %%)\n",
        shape->name, (long long)shape->shortest, (long long)shape->longest, (long long)shape->head_dim,
        forward, 100.0 * forward / peak, backward, 100.0 * backward / peak);
    void *buffers[] = {b.seq, b.act_a, b.act_b, b.act_c, b.act_d, b.row_a};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++) tdm_free(buffers[i]);
}

/* GFLOP/s as tandem bench counts it: backward as twice forward, causal as half. */
static void bench_attentions(tdm_ops *ops, const char *part)
{
    const double peak = tdm_ops_measure_peak_gflops(ops, 20);
    for (size_t i = 0; i < sizeof(attention_shapes) / sizeof(*attention_shapes); i++)
        if (strstr(attention_shapes[i].name, part)) bench_attention(ops, &attention_shapes[i], peak);
}

int main(int argc, char **argv)
{
    int64_t batch = argc > 1 ? atoll(argv[1]) : 32;
    int threads = argc > 2 ? atoi(argv[2]) : 1;
    const char *which = argc > 4 ? argv[4] : "both";
    tdm_dtype dtype;
    tdm_ops *ops;
    fail_if(tdm_ops_resolve_precision(argc > 3 ? argv[3] : "auto", &dtype));
    fail_if(tdm_ops_create(dtype, threads, &ops));
#if defined(TANDEM_PROXY_BF16)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* its results are often denormal numbers, which are slow */
#endif
    printf("%s, %s, %d thread(s), peak %.0f GFLOP/s\n", tdm_ops_isa(ops), tdm_dtype_name(dtype), threads,
           tdm_ops_measure_peak_gflops(ops, 5));
    if (!strcmp(which, "attention")) {
        bench_attentions(ops, argc > 5 ? argv[5] : "");
        tdm_ops_destroy(&ops);
        return 0;
    }
    if (strcmp(which, "text")) bench_tower(ops, (tower){"image ViT-B/32", batch, 50, 768, 12, 3072, false});
    if (strcmp(which, "image")) bench_tower(ops, (tower){"text", batch, 19, 512, 8, 2048, true});
    if (!strcmp(which, "b16")) bench_tower(ops, (tower){"image ViT-B/16", batch, 197, 768, 12, 3072, false});
    tdm_ops_destroy(&ops);
    return 0;
}
