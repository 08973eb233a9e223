#include "image_kernels.h"

#include "tandem/base.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const image_kernels *chosen = &image_kernels_generic;

static void choose(void)
{
#if defined(__x86_64__)
    const char *cap = getenv("TANDEM_ISA");
    const bool generic = cap && !strcmp(cap, "generic"), only_avx2 = cap && !strcmp(cap, "avx2");
    if (generic || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2")) return;
    chosen = &image_kernels_avx2;
    if (!only_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))
        chosen = &image_kernels_avx512;
#endif
}

const image_kernels *image_kernels_choose(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return chosen;
}

int64_t image_across_bytes(const image_taps *x, int64_t n, int channels)
{
    int64_t widest = 0;
    for (int64_t i = 0; i < n; i += IMAGE_TILE) {
        const int64_t last = tdm_min_i64(n, i + IMAGE_TILE) - 1;
        widest = tdm_max_i64(widest, x->first[last] + x->count[last] - x->first[i]);
    }
    return widest * channels * IMAGE_ROWS;
}
