/* The one detection of the CPU and the one reading of TANDEM_ISA. */
#include "check.h"
#include "tandem/base.h"
#include "tandem/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const char *const isas[] = {"generic", "avx2", "avx512"};

static tdm_cpu detect(const char *isa)
{
    tdm_cpu cpu;
    if (isa)
        setenv("TANDEM_ISA", isa, 1);
    else
        unsetenv("TANDEM_ISA");
    CHECK_OK(tdm_cpu_detect(&cpu));
    unsetenv("TANDEM_ISA");
    return cpu;
}

/* A word of the flags that the kernel lists for the first CPU. */
static bool kernel_lists(const char *flag)
{
    char line[8192], *word, *rest;
    FILE *file = fopen("/proc/cpuinfo", "r");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        if (strncmp(line, "flags", 5) != 0) continue;
        for (word = strtok_r(line, " \t\n", &rest); word && !found; word = strtok_r(NULL, " \t\n", &rest))
            found = strcmp(word, flag) == 0;
        break;
    }
    if (file) fclose(file);
    return found;
}

static bool all_listed(const char *const *flag)
{
    while (*flag && kernel_lists(*flag)) flag++;
    return !*flag;
}

/* Against what the kernel found out by itself. */
static void test_native(void **state)
{
    (void)state;
    static const char *const v3[] = {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm", NULL};
    static const char *const v4[] = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", NULL};
    const tdm_cpu cpu = detect(NULL);
    tdm_isa want = TDM_ISA_GENERIC;
    if (all_listed(v3)) want = all_listed(v4) ? TDM_ISA_AVX512 : TDM_ISA_AVX2;
#if !defined(__x86_64__)
    want = TDM_ISA_GENERIC;
#endif
    print_message("%s%s%s\n", tdm_isa_name(cpu.isa), cpu.avx512_bf16 ? " avx512_bf16" : "",
                  cpu.amx_bf16 ? " amx_bf16" : "");
    CHECK_EQ(cpu.isa, want);
    CHECK_EQ(cpu.avx512_bf16, want == TDM_ISA_AVX512 && kernel_lists("avx512_bf16"));
    CHECK_EQ(cpu.avx512_vnni, want == TDM_ISA_AVX512 && kernel_lists("avx512_vnni"));
    CHECK_EQ(cpu.amx_bf16, want == TDM_ISA_AVX512 && kernel_lists("amx_bf16") && kernel_lists("amx_tile"));
}

static void test_cap(void **state)
{
    (void)state;
    const tdm_cpu native = detect(NULL), unset = detect("");
    CHECK_EQ(unset.isa, native.isa); /* empty is unset */
    CHECK_EQ(unset.avx512_bf16, native.avx512_bf16);
    CHECK_EQ(unset.avx512_vnni, native.avx512_vnni);
    CHECK_EQ(unset.amx_bf16, native.amx_bf16);
    for (int i = 0; i < 3; i++) {
        const tdm_cpu cpu = detect(isas[i]);
        CHECK_EQ(cpu.isa, tdm_min_i64(i, native.isa));
        CHECK_STR_EQ(tdm_isa_name((tdm_isa)i), isas[i]);
        CHECK_EQ(cpu.avx512_bf16, cpu.isa == TDM_ISA_AVX512 && native.avx512_bf16);
        CHECK_EQ(cpu.avx512_vnni, cpu.isa == TDM_ISA_AVX512 && native.avx512_vnni);
        CHECK_FALSE(cpu.amx_bf16);
        CHECK_FALSE(cpu.names_bf16);
    }
    const tdm_cpu named = detect("avx512_bf16"); /* no more than the CPU has */
    CHECK_EQ(named.isa, native.isa);
    CHECK_EQ(named.avx512_bf16, native.avx512_bf16);
    CHECK_EQ(named.names_bf16, native.avx512_bf16);
    CHECK_EQ(named.avx512_vnni, native.avx512_vnni);
    CHECK_FALSE(named.amx_bf16 || native.names_bf16);
}

static void test_unknown(void **state)
{
    (void)state;
    static const char *const bad[] = {"sse9", "avx512_bf", "AVX2", "avx", "avx512 ", "generic,avx2", " "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tdm_cpu cpu;
        char want[128];
        snprintf(want, sizeof want,
                 "environment: TANDEM_ISA is \"%s\", not one of generic, avx2, avx512, avx512_bf16", bad[i]);
        setenv("TANDEM_ISA", bad[i], 1);
        CHECK_FAILS(tdm_cpu_detect(&cpu), TDM_E_CONFIG, "");
        CHECK_STR_EQ(tdm_error_last()->message, want);
    }
    unsetenv("TANDEM_ISA");
}

/* Linux gives tiles on request only (arch_prctl, ARCH_GET_XCOMP_PERM): detecting them is no request. */
static void test_tiles(void **state)
{
    (void)state;
    tdm_cpu cpu = detect(NULL);
#if defined(__x86_64__) && defined(SYS_arch_prctl)
    enum { ARCH_GET_XCOMP_PERM = 0x1022, TILES = 1 << 18 };
    uint64_t permitted = 0;
    if (syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &permitted) != 0)
        SKIP("this kernel does not say which states are permitted");
    CHECK_FALSE(permitted & TILES);
    tdm_cpu_request_tiles(&cpu);
    CHECK_EQ(syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &permitted), 0);
    CHECK_EQ((permitted & TILES) != 0, cpu.amx_bf16);
#else
    tdm_cpu_request_tiles(&cpu);
    CHECK_FALSE(cpu.amx_bf16);
#endif
    tdm_cpu capped = detect("generic");
    tdm_cpu_request_tiles(&capped);
    CHECK_FALSE(capped.amx_bf16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles), /* first: permission is not given back */
        cmocka_unit_test(test_native),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
