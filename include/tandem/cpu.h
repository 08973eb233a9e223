/* What this CPU offers and the environment allows: the one place that reads TANDEM_ISA. */
#ifndef TANDEM_CPU_H
#define TANDEM_CPU_H

#include "tandem/status.h"

#include <stdbool.h>

/* Every kernel that is compiled for several instruction sets is compiled for these. */
typedef enum tdm_isa {
    TDM_ISA_GENERIC,
    TDM_ISA_AVX2,  /* x86-64-v3: AVX2, FMA, BMI1, BMI2, F16C, LZCNT, MOVBE */
    TDM_ISA_AVX512 /* x86-64-v4: AVX512F, BW, CD, DQ, VL beside them */
} tdm_isa;

typedef struct tdm_cpu {
    tdm_isa isa;
    bool avx512_bf16; /* dot product of bf16 pairs */
    bool names_bf16;  /* TANDEM_ISA asks for it by name: it is used, whether it is the fastest way or not */
    bool avx512_vnni; /* dot products of int8 quadruples and int16 pairs */
    bool amx_bf16;    /* tiles; before their first use see tdm_cpu_request_tiles */
    bool amx_int8;    /* likewise */
} tdm_cpu;

/* "generic", "avx2", "avx512": also values of TANDEM_ISA. */
const char *tdm_isa_name(tdm_isa isa);

/* What this CPU has and TANDEM_ISA allows; unset or empty allows everything, "avx512" and "avx512_bf16" allow
 * AVX512_BF16 and AVX512_VNNI but no tiles. The environment is read at each call. Collective: no.
 * Errors: TDM_E_CONFIG for an unknown value of TANDEM_ISA. */
TDM_CHECKED tdm_status tdm_cpu_detect(tdm_cpu *cpu);

/* What this CPU has, whatever TANDEM_ISA says; tiles as far as the operating system lists them. */
tdm_cpu tdm_cpu_native(void);
/* "AMD EPYC 9654 96-Core Processor": the maker's name of it, cut to fit. */
void tdm_cpu_model(char *out, size_t room);

/* Asks the operating system for the tile registers, which it gives to a process only on request; clears amx_… where
 * it refuses. Only who multiplies with tiles asks: a thread's state to be saved grows by 8 KiB. */
void tdm_cpu_request_tiles(tdm_cpu *cpu);

#endif
