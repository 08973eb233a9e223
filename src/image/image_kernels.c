#include "image_kernels.h"

#include "tandem/base.h"
#include "tandem/cpu.h"

tdm_status image_kernels_choose(const image_kernels **kernels)
{
    tdm_cpu cpu;
    *kernels = &image_kernels_generic;
    TDM_TRY(tdm_cpu_detect(&cpu));
#if defined(__x86_64__)
    if (cpu.isa == TDM_ISA_AVX512) *kernels = &image_kernels_avx512;
    if (cpu.isa == TDM_ISA_AVX2) *kernels = &image_kernels_avx2;
#endif
    return TDM_OK;
}

const image_kernels *image_kernels_chosen(void)
{
    const image_kernels *kernels;
    return image_kernels_choose(&kernels) == TDM_OK ? kernels : &image_kernels_generic;
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
