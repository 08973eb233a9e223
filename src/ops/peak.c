/* Peak arithmetic of this machine: independent accumulators in registers, nothing from memory. */
#include "ops_impl.h"

#include <math.h>
#include <time.h>

/* Runs `rounds` rounds and returns the flop done; the result is used so that nothing is optimised away. */
typedef double (*peak_loop)(int64_t rounds, float *sink);

#define UNROLLED _Pragma("GCC unroll 32")

static double loop_generic(int64_t rounds, float *sink)
{
    typedef float vec4 __attribute__((vector_size(16)));
    enum { CHAINS = 12 };
    vec4 sum[CHAINS], a = {0.999f, 0.998f, 0.997f, 0.996f}, b = {0.001f, 0.002f, 0.003f, 0.004f};
    UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = a * (float)i;
    for (int64_t round = 0; round < rounds; round++) {
        UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * a + b;
    }
    for (int i = 0; i < CHAINS; i++) *sink += sum[i][0];
    return 2.0 * 4 * CHAINS * (double)rounds;
}

#if defined(__x86_64__)
#include "amx_tiles.h"
#include "bf16_dot.h"

__attribute__((target("avx2,fma"))) static double loop_avx2(int64_t rounds, float *sink)
{
    enum { CHAINS = 12 };
    __m256 sum[CHAINS], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_set1_ps((float)i);
    for (int64_t round = 0; round < rounds; round++) {
        UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_fmadd_ps(sum[i], a, b);
    }
    for (int i = 0; i < CHAINS; i++) *sink += _mm256_cvtss_f32(sum[i]);
    return 2.0 * 8 * CHAINS * (double)rounds;
}

__attribute__((target("avx512f"))) static double loop_avx512(int64_t rounds, float *sink)
{
    enum { CHAINS = 24 };
    __m512 sum[CHAINS], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (int64_t round = 0; round < rounds; round++) {
        UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_fmadd_ps(sum[i], a, b);
    }
    for (int i = 0; i < CHAINS; i++) *sink += _mm512_cvtss_f32(sum[i]);
    return 2.0 * 16 * CHAINS * (double)rounds;
}

__attribute__((target(BF16_TARGET))) static double loop_dpbf16(int64_t rounds, float *sink)
{
    enum { CHAINS = 24 };
    const float two_small = 0x1.3c783cp-7f; /* as a pair of bf16 the same number twice, about 0.009 */
    __m512 sum[CHAINS];
    __m512i a = bf16_repeat_pair(&two_small);
    UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (int64_t round = 0; round < rounds; round++) {
        UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = bf16_dot(sum[i], a, a);
    }
    for (int i = 0; i < CHAINS; i++) *sink += _mm512_cvtss_f32(sum[i]);
    return 2.0 * 32 * CHAINS * (double)rounds;
}

/* Two accumulator tiles of 16 x 16 f32, each round 16 x 16 x 32 multiply-adds per tile. Of numbers, not of
 * zeros, with spaces and with no more tiles than that: see amx_multiply_step. */
__attribute__((target("amx-tile,amx-bf16"))) static double loop_amx(int64_t rounds, float *sink)
{
    amx_configure_tiles(TILE);
    uint16_t operand[16 * 32] __attribute__((aligned(64)));
    for (int i = 0; i < 16 * 32; i++)
        operand[i] = (uint16_t)(0x3c00 + i % 200); /* bf16, 2^-7 and a little more */
    __asm__ volatile("" ::: "memory");
    _tile_loadd(4, operand, 64);
    _tile_loadd(6, operand, 64);
    for (int64_t round = 0; round < rounds; round++) {
        _tile_dpbf16ps(0, 4, 6);
        amx_space();
        _tile_dpbf16ps(1, 4, 6);
        amx_space();
    }
    float result[256];
    _tile_stored(0, result, 64);
    _tile_release();
    *sink += result[0];
    return 2.0 * 2 * 16 * 16 * 32 * (double)rounds;
}
#endif

/* GFLOP/s of `loop` on all threads: the best of `runs` runs of 5 to 10 ms. Each run is as long as the slowest
 * thread. */
static double measure(const tdm_ops *ops, peak_loop loop, int runs)
{
    float sink = 0.0f;
    int64_t rounds = 1000;
    double best = 0.0, elapsed = 0.0;
    do {
        rounds *= 2;
        double start = tdm_now_s();
        (void)loop(rounds, &sink);
        elapsed = tdm_now_s() - start;
    } while (elapsed < 0.005);
    for (int run = 0; run < runs; run++) {
        double flop = 0.0, start = tdm_now_s();
#pragma omp parallel num_threads(ops->threads) reduction(+ : flop, sink)
        flop += loop(rounds, &sink);
        double rate = flop / (tdm_now_s() - start);
        if (rate > best) best = rate;
    }
    volatile float used = sink;
    (void)used;
    return best * 1e-9;
}

static double thread_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* GFLOP per second that this thread has computed, whatever else the machine does: the best of `runs` runs of some
 * tenths of a millisecond. */
static double measure_thread(peak_loop loop, int runs)
{
    float sink = 0.0f;
    double best = 0.0;
    for (int run = 0; run < runs; run++) {
        const double start = thread_s(), flop = loop(30000, &sink);
        best = fmax(best, flop / (thread_s() - start));
    }
    volatile float used = sink;
    (void)used;
    return best * 1e-9;
}

/* The widest multiply-adds that the context's products may use. */
typedef struct peak_kind {
    const char *name;
    peak_loop loop;
} peak_kind;

static peak_kind kind_of(const tdm_ops *ops)
{
#if defined(__x86_64__)
    if (ops->dtype == TDM_BF16)
        return ops->cpu.amx_bf16 ? (peak_kind){"AMX tiles", loop_amx} : (peak_kind){"VDPBF16PS", loop_dpbf16};
    if (ops->cpu.isa == TDM_ISA_AVX512) return (peak_kind){"FMA on 512 bits", loop_avx512};
    if (ops->cpu.isa == TDM_ISA_AVX2) return (peak_kind){"FMA on 256 bits", loop_avx2};
#endif
    (void)ops;
    return (peak_kind){"generic code", loop_generic};
}

const char *tdm_ops_peak_name(const tdm_ops *ops)
{
    return kind_of(ops).name;
}

double ops_thread_peak_gflops(const tdm_ops *ops, int runs)
{
    return measure_thread(kind_of(ops).loop, runs);
}

/* In turn, so that both see the same moments of a busy machine. */
double ops_measure_bf16_gain(void)
{
#if defined(__x86_64__)
    double bf16 = 0.0, f32 = 0.0;
    for (int run = 0; run < 8; run++) {
        bf16 = fmax(bf16, measure_thread(loop_dpbf16, 1));
        f32 = fmax(f32, measure_thread(loop_avx512, 1));
    }
    return bf16 / f32;
#else
    return 0.0;
#endif
}

double tdm_ops_measure_peak_gflops(const tdm_ops *ops, int runs)
{
    return measure(ops, kind_of(ops).loop, runs);
}
