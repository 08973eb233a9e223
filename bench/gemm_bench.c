/* Linear layers on our own matrix products against oneDNN, interleaved in short runs: GFLOP/s, best and
 * median, and the best and the median of a loop that multiplies in registers between them. On shared hardware
 * the best is what the code can do and the median what it got.
 *
 *   gemm_bench f32|bf16|int8 [threads] [seconds per shape] [part of a shape's name]        defaults: 1 4 (all)
 *
 * int8: forward alone, of layers that round, against the products in the dtype that activations have here.
 *
 * Activations rotate through 128 MB, so that they come from memory as in a training step. */
#include "linear_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct shape {
    const char *name;
    int64_t t, in, out;
} shape;

/* tokens of a batch of 16 images or 64 captions: short runs see quiet moments of a shared machine */
static const shape shapes[] = {
    {"ViT-B/32 qkv", 800, 768, 2304},     {"ViT-B/32 out", 800, 768, 768},
    {"ViT-B/32 fc", 800, 768, 3072},      {"ViT-B/32 proj", 800, 3072, 768},
    {"text qkv", 1216, 512, 1536},        {"text fc", 1216, 512, 2048},
    {"text proj", 1216, 2048, 512},       {"demo image qkv", 1088, 256, 768},
    {"demo image out", 1088, 256, 256},   {"demo image fc", 1088, 256, 1024},
    {"demo image proj", 1088, 1024, 256}, {"demo text qkv", 1174, 192, 576},
    {"demo text fc", 1174, 192, 768},     {"demo text proj", 1174, 768, 192},
    {"ViT-L/14 fc", 1024, 1024, 4096},    {"ViT-L/14 proj", 1024, 4096, 1024},
};

#if defined(TANDEM_PROXY_BF16) || defined(TANDEM_EMULATE_BF16)
enum { BACKENDS = 1 }; /* oneDNN computes without AVX512_BF16 and is slow */
#else
enum { BACKENDS = 2 };
#endif
enum { WAYS = 3, ROTATE_BYTES = 128 << 20 };
static const char *const way_names[WAYS] = {"forward", "data", "weight"};
static const linear_backend *backends[2] = {&linear_gemm, &linear_dnnl};
static int ways = WAYS;

static void fail_if(tdm_status status)
{
    if (status == TDM_OK) return;
    fprintf(stderr, "gemm_bench: %s\n", tdm_error_last()->message);
    exit(1);
}

/* numbers of magnitude 2^-7 to 2^-5, both signs */
static unsigned char *random_act(tdm_dtype dtype, int64_t n)
{
    unsigned char *x = NULL;
    uint32_t state = 1;
    fail_if(TDM_ALLOC(n * (int64_t)tdm_dtype_bytes(dtype), &x));
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        uint32_t bits = 0x3c000000u | (state >> 31 << 31) | (state & 0xff0000u);
        float value;
        memcpy(&value, &bits, sizeof(value));
        if (dtype == TDM_F32)
            ((float *)x)[i] = value;
        else
            ((uint16_t *)x)[i] = tdm_bf16_round(value);
    }
    return x;
}

static tdm_status run(const linear_backend *backend, void *state, int way, int64_t t, void *x, void *y,
                      float *dw, float *db)
{
    if (way == 0) return backend->forward(state, t, x, y);
    if (way == 1) return backend->backward_data(state, t, y, x);
    return backend->backward_weight(state, t, x, y, true, dw, db);
}

/* On one thread the process's own time, which other processes on the machine do not lengthen. */
static double clock_s(const tdm_ops *ops)
{
    struct timespec time;
    clock_gettime(tdm_ops_threads(ops) == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Of the instruction that multiplies. */
static double measure_peak(const tdm_ops *ops)
{
    return tdm_ops_threads(ops) == 1 ? ops_thread_peak_gflops(ops, 1) : tdm_ops_measure_peak_gflops(ops, 1);
}

/* GFLOP/s of short runs */
typedef struct series {
    double value[4096];
    int count;
} series;

static void add(series *s, double value)
{
    if (s->count < (int)(sizeof(s->value) / sizeof(s->value[0]))) s->value[s->count++] = value;
}

static void print_series(series *s)
{
    qsort(s->value, (size_t)s->count, sizeof(double), tdm_compare_doubles);
    printf(" %5.0f %5.0f", s->value[s->count - 1], s->value[s->count / 2]);
}

/* Of a series that has been printed. */
static double best(const series *s)
{
    return s->value[s->count - 1];
}
static double median(const series *s)
{
    return s->value[s->count / 2];
}

static void bench_shape(tdm_ops *ops, shape s, double seconds)
{
    static series rate[BACKENDS][WAYS], peak;
    const tdm_dtype dtype = tdm_ops_dtype(ops);
    const int64_t size = (int64_t)tdm_dtype_bytes(dtype);
    int64_t rotate = tdm_max_i64(2, ROTATE_BYTES / ((s.in + s.out) * s.t * size));
    unsigned char *x = random_act(dtype, s.t * s.in * rotate), *y = random_act(dtype, s.t * s.out * rotate);
    float *w = NULL, *dw = NULL, *bias = NULL;
    fail_if(TDM_ALLOC(s.in * s.out, &w));
    fail_if(TDM_ALLOC(s.in * s.out, &dw));
    fail_if(TDM_ALLOC(s.out, &bias));
    for (int64_t i = 0; i < s.in * s.out; i++) w[i] = (float)(i % 61 - 30) * 1e-3f;
    const linear_shape linear = {.dtype = dtype, .in = s.in, .out = s.out, .has_bias = true};
    const double flop = 2e-9 * (double)(s.t * s.in * s.out);
    void *state[BACKENDS];
    peak.count = 0;
    for (int b = 0; b < BACKENDS; b++) {
        fail_if(backends[b]->create(ops, &linear, &state[b]));
        fail_if(backends[b]->pack(state[b], w, bias, ways == WAYS));
        for (int way = 0; way < ways; way++) rate[b][way].count = 0;
    }
    const double end_s = tdm_now_s() + seconds;
    for (int64_t turn = 0; tdm_now_s() < end_s; turn = (turn + 1) % rotate) {
        for (int way = 0; way < ways; way++)
            for (int b = 0; b < BACKENDS; b++) {
                const double start_s = clock_s(ops);
                fail_if(run(backends[b], state[b], way, s.t, x + turn * s.t * s.in * size,
                            y + turn * s.t * s.out * size, dw, bias));
                add(&rate[b][way], flop / (clock_s(ops) - start_s));
            }
        if (turn % 8 == 0) add(&peak, measure_peak(ops));
    }
    printf("%-14s %5lld %5lld %5lld ", s.name, (long long)s.t, (long long)s.in, (long long)s.out);
    for (int way = 0; way < ways; way++) {
        printf(" | %s", way_names[way]);
        for (int b = 0; b < BACKENDS; b++) print_series(&rate[b][way]);
    }
    printf(" | peak");
    print_series(&peak);
    printf(" | share of peak, best runs and medians:");
    for (int way = 0; way < ways; way++)
        printf("  %.2f %.2f", best(&rate[0][way]) / best(&peak), median(&rate[0][way]) / median(&peak));
    printf("\n");
    fflush(stdout);
    for (int b = 0; b < BACKENDS; b++) backends[b]->destroy(&state[b]);
    tdm_free(x), tdm_free(y), tdm_free(w), tdm_free(dw), tdm_free(bias);
}

int main(int argc, char **argv)
{
    const char *precision = argc > 1 ? argv[1] : "";
    int threads = argc > 2 ? atoi(argv[2]) : 1;
    double seconds = argc > 3 ? atof(argv[3]) : 4.0;
    tdm_dtype dtype;
    tdm_ops *ops = NULL;
    const bool rounds = !strcmp(precision, "int8");
    fail_if(tdm_ops_resolve_precision(rounds ? "auto" : precision, &dtype));
    fail_if(tdm_ops_create(dtype, threads, &ops));
    if (rounds) {
        backends[1] = &linear_int8;
        ways = 1;
    }
    const linear_shape any = {.dtype = dtype, .in = 64, .out = 64};
    if (!linear_gemm.supports(ops, &any)) {
        fprintf(stderr, "gemm_bench: no products of our own for %s here, or TANDEM_ISA forbids them\n",
                precision);
        return 1;
    }
    printf("GFLOP/s on %d threads: own products best, median, %s best, median; columns t in out\n", threads,
           rounds ? tdm_ops_int8(ops) : "oneDNN");
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        if (argc <= 4 || strstr(shapes[i].name, argv[4])) bench_shape(ops, shapes[i], seconds);
    tdm_ops_destroy(&ops);
    return 0;
}
