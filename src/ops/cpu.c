/* Which instruction sets this process may use. */
#include "ops_impl.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Asks Linux for the tile registers (Documentation/arch/x86/xstate.rst: ARCH_REQ_XCOMP_PERM, feature 18). */
static bool request_tiles(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

static tdm_cpu native_cpu(void)
{
    tdm_cpu cpu = {.isa = TDM_ISA_GENERIC};
    __builtin_cpu_init();
    /* GCC and Clang report a feature only if the operating system saves its registers. */
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512cd");
    if (avx2) cpu.isa = avx512 ? TDM_ISA_AVX512 : TDM_ISA_AVX2;
    if (cpu.isa != TDM_ISA_AVX512) return cpu;
    /* Intel SDM vol. 2A, CPUID leaf 7: sub-leaf 1 EAX bit 5 AVX512_BF16; sub-leaf 0 EDX bits 22 AMX-BF16, 24
     * AMX-TILE */
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) cpu.avx512_bf16 = eax >> 5 & 1u;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        cpu.amx_bf16 = (edx >> 22 & 1u) && (edx >> 24 & 1u) && request_tiles();
    return cpu;
}
#else
static tdm_cpu native_cpu(void)
{
    return (tdm_cpu){.isa = TDM_ISA_GENERIC};
}
#endif

tdm_status tdm_cpu_detect(tdm_cpu *cpu)
{
    *cpu = native_cpu();
    const char *cap = getenv("TANDEM_ISA");
    if (!cap || !*cap) return TDM_OK;
    tdm_isa isa;
    if (!strcmp(cap, "generic"))
        isa = TDM_ISA_GENERIC;
    else if (!strcmp(cap, "avx2"))
        isa = TDM_ISA_AVX2;
    else if (!strcmp(cap, "avx512"))
        isa = TDM_ISA_AVX512;
    else
        TDM_FAIL(TDM_E_CONFIG, "environment: TANDEM_ISA is \"%s\", not one of generic, avx2, avx512", cap);
    if (isa < cpu->isa) cpu->isa = isa;
    cpu->avx512_bf16 = cpu->avx512_bf16 && cpu->isa == TDM_ISA_AVX512;
    cpu->amx_bf16 = false;
    return TDM_OK;
}

const tdm_kernels *tdm_kernels_for(const tdm_cpu *cpu)
{
#if defined(__x86_64__)
    if (cpu->isa == TDM_ISA_AVX512) return &tdm_kernels_avx512;
    if (cpu->isa == TDM_ISA_AVX2) return &tdm_kernels_avx2;
#else
    (void)cpu;
#endif
    return &tdm_kernels_generic;
}
