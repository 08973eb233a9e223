#include "bench_report.h"
#include "result_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const memory_name[BENCH_MEMORY_KINDS] = {
    [BENCH_BASE] = "base",
    [BENCH_WEIGHTS] = "weights",
    [BENCH_GRADIENTS] = "gradients",
    [BENCH_MOMENTS] = "moments",
    [BENCH_PACKED] = "packed_weights",
    [BENCH_ACTIVATIONS] = "activations",
    [BENCH_FEATURES] = "features_and_loss",
    [BENCH_DATA] = "data",
    [BENCH_OTHER] = "other",
    [BENCH_PEAK] = "peak_resident",
};

static void set_integer(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_real(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, json_real(value));
}

static void set_string(json_t *object, const char *key, const char *value)
{
    json_object_set_new(object, key, json_string(value));
}

/* {"linear_forward": seconds a step, …}, and a table for the reader. */
static json_t *report_operations(const tdm_op_stats *stats, int64_t steps, double step_s)
{
    json_t *per_op = json_object();
    fprintf(stderr, "%-20s %10s %7s %10s\n", "operation", "ms/step", "share", "GFLOP/s");
    for (int k = 0; k < TDM_OP_KINDS; k++) {
        const double seconds = stats->seconds[k] / (double)steps;
        set_real(per_op, tdm_op_kind_name((tdm_op_kind)k), seconds);
        fprintf(stderr, "%-20s %10.2f %6.1f%% %10.1f\n", tdm_op_kind_name((tdm_op_kind)k), seconds * 1e3,
                100.0 * seconds / step_s,
                seconds > 0.0 ? stats->flop[k] / (double)steps / seconds * 1e-9 : 0.0);
    }
    return per_op;
}

static json_t *report_memory(const double *memory)
{
    json_t *object = json_object();
    fprintf(stderr, "memory of a rank, MiB:");
    for (int k = 0; k < BENCH_MEMORY_KINDS; k++) {
        set_integer(object, memory_name[k], memory[k]);
        fprintf(stderr, "%s %s %.0f",
                k == 0            ? ""
                : k == BENCH_PEAK ? ";"
                                  : ",",
                memory_name[k], memory[k] / (1 << 20));
    }
    fputc('\n', stderr);
    return object;
}

static void describe_run(json_t *root, const tdm_comm *comm, tdm_ops *ops, const bench_result *r)
{
    const int ranks = tdm_comm_size(comm);
    set_string(root, "model", r->model);
    set_string(root, "precision", tdm_dtype_name(tdm_ops_dtype(ops)));
    set_string(root, "isa", tdm_ops_isa(ops));
    set_integer(root, "ranks", ranks);
    set_integer(root, "threads", tdm_ops_threads(ops));
    set_integer(root, "batch", (double)r->batch);
    set_integer(root, "global_batch", (double)(r->batch * ranks));
    set_integer(root, "chunk", (double)r->plan.chunk);
    set_string(root, "recompute", r->recompute);
    set_string(root, "data", r->data);
    set_integer(root, "steps", (double)r->steps);
}

tdm_status bench_report(const tdm_comm *comm, tdm_ops *ops, const bench_result *r, const char *path)
{
    qsort(r->step_s, (size_t)r->steps, sizeof(double), tdm_compare_doubles);
    const double step_s = r->step_s[r->steps / 2], pairs = (double)(r->batch * tdm_comm_size(comm));
    const double gflops = r->flop / step_s * 1e-9, mfu = gflops / r->peak_gflops;
    json_t *root = json_object();
    describe_run(root, comm, ops, r);
    set_real(root, "tokens_per_caption", r->tokens / pairs);
    set_real(root, "pairs_per_s", pairs / step_s);
    set_real(root, "step_s", step_s);
    set_real(root, "step_min_s", r->step_s[0]);
    set_real(root, "step_max_s", r->step_s[r->steps - 1]);
    set_real(root, "cpu_s", r->cpu_s);
    set_real(root, "gflops", gflops);
    set_real(root, "mfu", mfu);
    set_real(root, "peak_gflops", r->peak_gflops);
    set_string(root, "peak_of", tdm_ops_peak_name(ops));
    set_real(root, "mfu_sustained", gflops / r->sustained_gflops);
    set_real(root, "peak_sustained_gflops", r->sustained_gflops);
    set_real(root, "bf16_gain", tdm_ops_bf16_gain());
    set_integer(root, "rss_bytes", r->memory[BENCH_PEAK]);
    set_real(root, "wait_data_s", r->wait_data_s);
    set_real(root, "exposed_comm_s", r->exposed_s);
    set_real(root, "comm_s", r->time.transfer_s);
    set_real(root, "wait_ranks_s", r->time.wait_s);
    set_integer(root, "blocks_allocated", r->blocks);
    set_integer(root, "primitives_created", r->primitives);
    json_object_set_new(root, "per_op", report_operations(tdm_ops_stats(ops), r->steps, step_s));
    json_object_set_new(root, "memory", report_memory(r->memory));
    fprintf(stderr, "%s %s, %d ranks x %d threads, %lld pairs per rank in chunks of %lld, recompute %s:\n",
            r->model, tdm_dtype_name(tdm_ops_dtype(ops)), tdm_comm_size(comm), tdm_ops_threads(ops),
            (long long)r->batch, (long long)r->plan.chunk, r->recompute);
    fprintf(
        stderr,
        "%.2f pairs/s, step %.1f ms, MFU %.1f %% of %.0f GFLOP/s (%s), %.1f %% of %.0f between the steps\n",
        pairs / step_s, step_s * 1e3, 100.0 * mfu, r->peak_gflops, tdm_ops_peak_name(ops),
        100.0 * gflops / r->sustained_gflops, r->sustained_gflops);
    if (tdm_ops_bf16_gain() > 0.0)
        fprintf(stderr, "AVX512_BF16 multiplies %.2f times as fast as f32\n", tdm_ops_bf16_gain());
    fprintf(stderr,
            "waiting for data %.1f ms, communication %.1f ms (%.1f %%), waiting for the slower rank up to "
            "%.1f ms, peak memory %.0f MiB\n",
            r->wait_data_s * 1e3, r->time.transfer_s * 1e3, 100.0 * r->time.transfer_s / step_s,
            r->time.wait_s * 1e3, r->memory[BENCH_PEAK] / (1 << 20));
    const tdm_status status = result_write(root, 9, path);
    json_decref(root);
    return status;
}
