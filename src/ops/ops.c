/* The context: instruction set, threads, scratch, bookkeeping, conversions. */
#include "ops_dnnl.h"

#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Address space reserved per thread; only what is touched becomes resident. */
#define THREAD_SCRATCH_BYTES ((size_t)256 << 20)

static bool has_bf16(const tdm_cpu *cpu)
{
    return cpu->avx512_bf16; /* what has AMX-BF16 has it, too */
}

static void name_isa(tdm_ops *ops)
{
    const char *matmul = ops->cpu.amx_bf16 ? "+amx" : ops->cpu.avx512_bf16 ? "+bf16" : "";
    snprintf(ops->isa_name, sizeof(ops->isa_name), "%s%s", tdm_isa_name(ops->cpu.isa), matmul);
}

static const ops_kernels *kernels_for(const tdm_cpu *cpu)
{
#if defined(__x86_64__)
    if (cpu->isa == TDM_ISA_AVX512) return &ops_kernels_avx512;
    if (cpu->isa == TDM_ISA_AVX2) return &ops_kernels_avx2;
#else
    (void)cpu;
#endif
    return &ops_kernels_generic;
}

tdm_status tdm_ops_create(tdm_dtype dtype, int threads, tdm_ops **out)
{
    *out = NULL;
    tdm_cpu cpu;
    TDM_TRY(tdm_cpu_detect(&cpu));
    TDM_REQUIRE(threads >= 1, TDM_E_CONFIG, "threads is %d, must be at least 1", threads);
    TDM_REQUIRE(dtype == TDM_F32 || has_bf16(&cpu), TDM_E_CONFIG,
                "precision: this CPU has neither AVX512_BF16 nor AMX-BF16, use f32 or auto");
    TDM_TRY(TDM_ALLOC(1, out));
    tdm_ops *ops = *out;
    ops->dtype = dtype;
    ops->threads = threads;
    tdm_cpu_request_tiles(&cpu);
    ops->cpu = cpu;
    ops->kernels = kernels_for(&cpu);
    name_isa(ops);
    TDM_TRY(TDM_ALLOC(threads, &ops->scratch));
    for (int thread = 0; thread < threads; thread++)
        TDM_TRY(tdm_scratch_create(THREAD_SCRATCH_BYTES, &ops->scratch[thread]));
    return ops_dnnl_create(&cpu, &ops->dnnl);
}

void tdm_ops_destroy(tdm_ops **ops)
{
    if (!*ops) return;
    ops_dnnl_destroy(&(*ops)->dnnl);
    if ((*ops)->scratch)
        for (int thread = 0; thread < (*ops)->threads; thread++)
            tdm_scratch_destroy(&(*ops)->scratch[thread]);
    tdm_free((*ops)->scratch);
    tdm_free(*ops);
    *ops = NULL;
}

tdm_dtype tdm_ops_dtype(const tdm_ops *ops)
{
    return ops->dtype;
}

int tdm_ops_threads(const tdm_ops *ops)
{
    return ops->threads;
}

void tdm_ops_set_poll(tdm_ops *ops, void (*poll)(void *context), void *context)
{
    ops->poll = poll;
    ops->poll_context = context;
}

void tdm_ops_round_linears(tdm_ops *ops, bool round)
{
    ops->round_linears = round;
}

const char *tdm_ops_isa(const tdm_ops *ops)
{
    return ops->isa_name;
}

tdm_op_stats *tdm_ops_stats(tdm_ops *ops)
{
    return &ops->stats;
}

static double bf16_gain;
static void measure_bf16_gain(void)
{
    tdm_cpu cpu;
    if (tdm_cpu_detect(&cpu) != TDM_OK || !cpu.avx512_bf16) return;
    tdm_cpu_request_tiles(&cpu);
    if (!cpu.amx_bf16) bf16_gain = ops_measure_bf16_gain();
}

double tdm_ops_bf16_gain(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, measure_bf16_gain);
    return bf16_gain;
}

/* VDPBF16PS runs at twice the speed of f32's multiplication (Zen 4, Zen 5, Cooper Lake) or at its own (Sapphire Rapids
 * where the operating system refuses tiles): 1.4 is far from both. */
static bool gains_from_bf16(void)
{
    const double gain = tdm_ops_bf16_gain();
    return gain == 0.0 || gain >= 1.4;
}

tdm_status tdm_ops_resolve_precision(const char *precision, tdm_dtype *dtype)
{
    tdm_cpu cpu;
    TDM_TRY(tdm_cpu_detect(&cpu));
    *dtype = TDM_F32;
    if (!strcmp(precision, "f32")) return TDM_OK;
    bool automatic = !strcmp(precision, "auto");
    TDM_REQUIRE(automatic || !strcmp(precision, "bf16"), TDM_E_CONFIG,
                "precision is \"%s\", not one of auto, f32, bf16", precision);
    TDM_REQUIRE(automatic || has_bf16(&cpu), TDM_E_CONFIG,
                "precision is bf16, but this CPU has neither AVX512_BF16 nor AMX-BF16; use f32 or auto");
    if (has_bf16(&cpu) && (!automatic || cpu.names_bf16 || gains_from_bf16())) *dtype = TDM_BF16;
    return TDM_OK;
}

const char *tdm_op_kind_name(tdm_op_kind kind)
{
    static const char *const names[TDM_OP_KINDS] = {
        [TDM_OP_LINEAR_FORWARD] = "linear_forward",
        [TDM_OP_LINEAR_DATA] = "linear_data",
        [TDM_OP_LINEAR_WEIGHT] = "linear_weight",
        [TDM_OP_WEIGHT_PACK] = "weight_pack",
        [TDM_OP_ATTENTION_FORWARD] = "attention_forward",
        [TDM_OP_ATTENTION_BACKWARD] = "attention_backward",
        [TDM_OP_CONV_FORWARD] = "conv_forward",
        [TDM_OP_CONV_DATA] = "conv_data",
        [TDM_OP_CONV_WEIGHT] = "conv_weight",
        [TDM_OP_LAYERNORM] = "layernorm",
        [TDM_OP_BATCHNORM] = "batchnorm",
        [TDM_OP_ACTIVATION] = "activation",
        [TDM_OP_EMBEDDING] = "embedding",
        [TDM_OP_LOSS] = "loss",
        [TDM_OP_OPTIMIZER] = "optimizer",
        [TDM_OP_OTHER] = "other",
    };
    return kind >= 0 && kind < TDM_OP_KINDS ? names[kind] : "unknown";
}

void *ops_scratch(const tdm_ops *ops, int thread, size_t bytes)
{
    const tdm_scratch *scratch = &ops->scratch[thread];
    return bytes <= scratch->capacity_bytes ? scratch->base : NULL;
}

int ops_threads_for(const tdm_ops *ops, int64_t items, int64_t item_work)
{
    enum { WORTH_A_THREAD = 32768 }; /* bytes or flop: a fork and join takes some microseconds */
    int64_t wanted = items * item_work / WORTH_A_THREAD;
    int64_t threads = tdm_min_i64(tdm_min_i64(ops->threads, items), wanted);
    return (int)tdm_max_i64(1, threads);
}

/* ---- Conversions ---- */
/* The context-free ones choose their kernels at first use; every thread would choose the same. They cannot refuse an
 * unknown TANDEM_ISA: whoever called them has been refused before, at the start or by tdm_ops_create. */
static const ops_kernels *default_kernels(void)
{
    static const ops_kernels *chosen;
    const ops_kernels *kernels = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
    if (kernels) return kernels;
    tdm_cpu cpu = {.isa = TDM_ISA_GENERIC};
    if (tdm_cpu_detect(&cpu) != TDM_OK) cpu.isa = TDM_ISA_GENERIC;
    kernels = kernels_for(&cpu);
    __atomic_store_n(&chosen, kernels, __ATOMIC_RELEASE);
    return kernels;
}

void tdm_f32_to_bf16(int64_t n, const float *x, uint16_t *y)
{
    default_kernels()->f32_to_bf16(n, x, y);
}

void tdm_bf16_to_f32(int64_t n, const uint16_t *x, float *y)
{
    default_kernels()->bf16_to_f32(n, x, y);
}

static void to_act_part(const tdm_ops *ops, int64_t n, const float *x, void *y)
{
    if (ops->dtype == TDM_BF16)
        ops->kernels->f32_to_bf16(n, x, y);
    else
        memcpy(y, x, sizeof(float) * (size_t)n);
}

void tdm_to_act(tdm_ops *ops, int64_t n, const float *x, void *y)
{
    double start = op_begin();
    int threads = ops_threads_for(ops, n, 6);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; part++) {
        int64_t begin = tdm_part_begin(n, threads, part), end = tdm_part_begin(n, threads, part + 1);
        to_act_part(ops, end - begin, x + begin, act_at_mutable(ops->dtype, y, begin));
    }
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}

void tdm_clear(tdm_ops *ops, int64_t n, float *x)
{
    double start = op_begin();
    int threads = ops_threads_for(ops, n, 4);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; part++) {
        int64_t begin = tdm_part_begin(n, threads, part), end = tdm_part_begin(n, threads, part + 1);
        ops->kernels->clear(end - begin, x + begin);
    }
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}
