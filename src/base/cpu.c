/* Which instruction sets this process may use. */
#include "tandem/base.h"
#include "tandem/cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static bool bit(unsigned word, int place)
{
    return (word >> place & 1u) != 0;
}

/* What the kernels' flag -march=x86-64-v3 lets the compiler use. GCC and Clang report AVX2 and its like only if the
 * operating system saves the registers; not every release knows the names of the last three. */
static bool has_avx2(void)
{
    unsigned eax = 0, ebx = 0, leaf_1 = 0, extended_1 = 0, edx = 0;
    /* Intel SDM vol. 2A: CPUID leaf 1 ECX bits 22 MOVBE, 29 F16C; leaf 80000001H ECX bit 5 LZCNT */
    if (!__get_cpuid(1, &eax, &ebx, &leaf_1, &edx)) return false;
    if (!__get_cpuid(0x80000001u, &eax, &ebx, &extended_1, &edx)) return false;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && bit(leaf_1, 22) && bit(leaf_1, 29) && bit(extended_1, 5);
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

/* Intel SDM vol. 2A, CPUID leaves 80000002H to 80000004H: 48 characters, padded with spaces at either end. */
static void ask_model(char text[64])
{
    unsigned part[12] = {0};
    for (unsigned i = 0; i < 3; i++) {
        unsigned *to = part + (size_t)4 * i;
        if (!__get_cpuid(0x80000002u + i, &to[0], &to[1], &to[2], &to[3])) return;
    }
    memcpy(text, part, sizeof part);
}

static tdm_cpu ask_cpu(void)
{
    __builtin_cpu_init();
    tdm_cpu cpu = {.isa = has_avx512() ? TDM_ISA_AVX512 : has_avx2() ? TDM_ISA_AVX2 : TDM_ISA_GENERIC};
    if (cpu.isa != TDM_ISA_AVX512) return cpu;
    /* Intel SDM vol. 2A, CPUID leaf 7: sub-leaf 1 EAX bit 5 AVX512_BF16; sub-leaf 0 ECX bit 11 AVX512_VNNI, EDX bits 22
     * AMX-BF16, 24 AMX-TILE, 25 AMX-INT8 */
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) cpu.avx512_bf16 = bit(eax, 5);
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        cpu.avx512_vnni = bit(ecx, 11);
        cpu.amx_bf16 = bit(edx, 22) && bit(edx, 24);
        cpu.amx_int8 = bit(edx, 25) && bit(edx, 24);
    }
#if defined(TANDEM_EMULATE_BF16) /* built of others, see bf16_dot.h and amx_emulated.h in src/ops */
    cpu.avx512_bf16 = cpu.amx_bf16 = cpu.amx_int8 = true;
#elif defined(TANDEM_PROXY_BF16)
    cpu.avx512_bf16 = true;
    cpu.amx_bf16 = cpu.amx_int8 = false;
#endif
    return cpu;
}
#else
/* Elsewhere Linux shows the register that names the core, where it shows anything. */
static void ask_model(char text[64])
{
    FILE *file = fopen("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "r");
    char value[32] = "";
    struct utsname machine;
    if (file != NULL) {
        if (fgets(value, sizeof value, file) == NULL) value[0] = '\0';
        fclose(file);
    }
    value[strcspn(value, "\n")] = '\0';
    if (uname(&machine) == 0)
        snprintf(text, 64, "%.20s%s%s", machine.machine, value[0] ? " MIDR " : "", value);
}

static tdm_cpu ask_cpu(void)
{
    return (tdm_cpu){.isa = TDM_ISA_GENERIC};
}
#endif

void tdm_cpu_model(char *out, size_t room)
{
    char text[64] = "";
    ask_model(text);
    const char *begin = text + strspn(text, " ");
    size_t length = strlen(begin);
    while (length > 0 && begin[length - 1] == ' ') length--;
    if (length > 0)
        snprintf(out, room, "%.*s", (int)length, begin);
    else
        snprintf(out, room, "unknown");
}

/* Asked once: under a hypervisor each CPUID costs microseconds, and pictures ask often. */
static tdm_cpu native;
static void ask_once(void)
{
    native = ask_cpu();
}

/* Linux: Documentation/arch/x86/xstate.rst, ARCH_REQ_XCOMP_PERM, feature 18. */
void tdm_cpu_request_tiles(tdm_cpu *cpu)
{
#if defined(TANDEM_EMULATE_BF16)
    (void)cpu; /* emulated ones need no permission */
    return;
#endif
#if defined(__x86_64__) && defined(__linux__) && defined(SYS_arch_prctl)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    const bool wanted = cpu->amx_bf16 || cpu->amx_int8;
    if (wanted && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0) return;
#endif
    cpu->amx_bf16 = cpu->amx_int8 = false;
}

/* The values of TANDEM_ISA, the narrowest first; the first ones are the names of the instruction sets. */
static const struct cap {
    const char *name;
    tdm_isa isa;
    bool names_bf16;
} caps[] = {
    [TDM_ISA_GENERIC] = {"generic", TDM_ISA_GENERIC, false},
    [TDM_ISA_AVX2] = {"avx2", TDM_ISA_AVX2, false},
    [TDM_ISA_AVX512] = {"avx512", TDM_ISA_AVX512, false},
    {"avx512_bf16", TDM_ISA_AVX512, true},
};
enum { CAPS = sizeof caps / sizeof caps[0] };

const char *tdm_isa_name(tdm_isa isa)
{
    return caps[isa].name;
}

tdm_cpu tdm_cpu_native(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ask_once);
    return native;
}

tdm_status tdm_cpu_detect(tdm_cpu *cpu)
{
    *cpu = tdm_cpu_native();
    const char *cap = getenv("TANDEM_ISA");
    if (!cap || !*cap) return TDM_OK;
    int i = 0;
    while (i < CAPS && strcmp(cap, caps[i].name) != 0) i++;
    TDM_REQUIRE(i < CAPS, TDM_E_CONFIG,
                "environment: TANDEM_ISA is \"%s\", not one of generic, avx2, avx512, avx512_bf16", cap);
    if (caps[i].isa < cpu->isa) cpu->isa = caps[i].isa;
    cpu->avx512_bf16 = cpu->avx512_bf16 && cpu->isa == TDM_ISA_AVX512;
    cpu->names_bf16 = caps[i].names_bf16 && cpu->avx512_bf16;
    cpu->avx512_vnni = cpu->avx512_vnni && cpu->isa == TDM_ISA_AVX512;
    cpu->amx_bf16 = cpu->amx_int8 = false;
    return TDM_OK;
}
