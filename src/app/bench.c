/* tandem bench: the real training step on synthetic pairs, against the peak measured in the same process. */
#include "bench_comm.h"
#include "command.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

typedef struct bench_options {
    const char *model, *precision, *json;
    int64_t batch, chunk, tokens, steps, warmup, threads;
    tdm_strings set;
    bool comm;
} bench_options;

typedef struct bench {
    tdm_comm *comm;
    const bench_options *options;
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
    tdm_optim optim;
    tdm_trainer *trainer;
    tdm_batch batch;
    double *step_s; /* [steps] */
    double flop, peak_gflops, tokens;
    tdm_comm_time time; /* per step, of the rank that spent most */
    double exposed_s;   /* both, of the rank that spent most */
} bench;

static void bench_destroy(bench *b)
{
    tdm_trainer_destroy(&b->trainer);
    tdm_optim_destroy(&b->optim);
    tdm_model_destroy(&b->model);
    tdm_params_destroy(&b->params);
    tdm_ops_destroy(&b->ops);
    tdm_config_destroy(&b->config);
    for (int k = 0; k < TDM_IMAGE_VIEWS; k++) tdm_free(b->batch.image[k]);
    for (int k = 0; k < TDM_TEXT_VIEWS; k++) {
        tdm_free(b->batch.text[k].token);
        tdm_free(b->batch.text[k].seq);
    }
    tdm_free(b->batch.sample);
    tdm_free(b->batch.image_row);
    tdm_free(b->batch.identity);
    tdm_free(b->step_s);
}

static tdm_status bench_configure(bench *b)
{
    const bench_options *o = b->options;
    TDM_TRY(tdm_config_init(&b->config));
    TDM_TRY(tdm_config_load_model(&b->config, o->model));
    for (int64_t i = 0; i < o->set.count; i++) TDM_TRY(tdm_config_set(&b->config, o->set.item[i]));
    b->config.train.batch = o->batch * tdm_comm_size(b->comm);
    b->config.train.chunk = o->chunk;
    b->config.optim.lr = 1e-5; /* random labels: keep the weights where they are, nearly */
    TDM_TRY(tdm_config_check(&b->config));
    TDM_REQUIRE(o->tokens >= 2 && o->tokens <= b->config.model.text.context_length, TDM_E_USAGE,
                "bench: --tokens-per-caption %lld does not fit a context of %lld", (long long)o->tokens,
                (long long)b->config.model.text.context_length);

    tdm_dtype dtype;
    TDM_TRY(tdm_ops_resolve_precision(o->precision, &dtype));
    TDM_TRY(tdm_ops_create(dtype, o->threads > 0 ? (int)o->threads : tdm_default_threads(), &b->ops));
    TDM_TRY(tdm_model_create(&b->config, b->ops, true, tdm_trainer_rows(&b->config, tdm_comm_size(b->comm)),
                             &b->params, &b->model));
    TDM_TRY(tdm_optim_groups(&b->config, &b->params));
    TDM_TRY(tdm_params_allocate(&b->params, true));
    tdm_params_init(&b->params, (uint64_t)b->config.seed);
    TDM_TRY(tdm_trainer_optim(b->comm, &b->config, &b->params, &b->optim));
    TDM_TRY(tdm_model_load(b->model));
    TDM_TRY(TDM_ALLOC(o->steps, &b->step_s));
    return tdm_trainer_create(b->comm, b->ops, &b->config, &b->params, b->model, &b->optim,
                              o->warmup + o->steps, &b->trainer);
}

/* Random images; captions whose lengths spread evenly over half to one and a half times the mean. */
static tdm_status bench_fill(bench *b)
{
    const tdm_tower_config *image = &b->config.model.image, *text = &b->config.model.text;
    const int64_t n = b->options->batch, bytes = n * image->height_px * image->width_px * 3;
    uint32_t views[2];
    tdm_batch *batch = &b->batch;
    TDM_TRY(tdm_trainer_views(&b->config, &views[0], &views[1]));
    batch->n = n;
    TDM_TRY(TDM_ALLOC(n, &batch->sample));
    TDM_TRY(TDM_ALLOC(n, &batch->image_row));
    TDM_TRY(TDM_ALLOC(n, &batch->identity));
    tdm_rng rng = tdm_rng_at((uint64_t)b->config.seed, 0, (uint64_t)tdm_comm_rank(b->comm), TDM_RNG_TEST);
    for (int64_t i = 0; i < n; i++)
        batch->sample[i] = batch->image_row[i] = batch->identity[i] = tdm_comm_rank(b->comm) * n + i;
    for (int k = 0; k < TDM_IMAGE_VIEWS; k++) {
        if (!(views[0] >> k & 1)) continue;
        TDM_TRY(TDM_ALLOC(bytes, &batch->image[k]));
        for (int64_t i = 0; i < bytes; i++) batch->image[k][i] = (uint8_t)tdm_rng_u32(&rng);
    }
    for (int k = 0; k < TDM_TEXT_VIEWS; k++) {
        if (!(views[1] >> k & 1)) continue;
        TDM_TRY(TDM_ALLOC(n + 1, &batch->text[k].seq));
        TDM_TRY(TDM_ALLOC(n * text->context_length, &batch->text[k].token));
        const int64_t mean = b->options->tokens;
        const int64_t spread = tdm_min_i64(mean / 2, tdm_min_i64(mean - 2, text->context_length - mean));
        for (int64_t i = 0; i < n; i++) {
            const int64_t length = spread > 0 ? mean - spread + i % (2 * spread + 1) : mean;
            int32_t *token = batch->text[k].token + batch->text[k].seq[i];
            for (int64_t j = 0; j < length; j++) token[j] = (int32_t)tdm_rng_below(&rng, text->vocab_size);
            batch->text[k].seq[i + 1] = batch->text[k].seq[i] + length;
        }
    }
    return TDM_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static tdm_status bench_steps(bench *b)
{
    const bench_options *o = b->options;
    b->peak_gflops = tdm_ops_measure_peak_gflops(b->ops);
    tdm_comm_sum_f64(b->comm, &b->peak_gflops, 1);
    for (int64_t i = 0; i < o->warmup + o->steps; i++) {
        tdm_step_report report;
        if (i == o->warmup) memset(tdm_ops_stats(b->ops), 0, sizeof(tdm_op_stats));
        tdm_comm_barrier(b->comm);
        const double start_s = tdm_now_s();
        TDM_TRY(tdm_trainer_step(b->trainer, &b->batch, &report));
        double step_s = tdm_now_s() - start_s;
        tdm_comm_max_f64(b->comm, &step_s, 1);
        if (i < o->warmup) continue;
        b->step_s[i - o->warmup] = step_s;
        b->time.wait_s += report.comm.wait_s / (double)o->steps;
        b->time.transfer_s += report.comm.transfer_s / (double)o->steps;
        b->flop = report.flop;
        b->tokens = (double)report.tokens;
    }
    tdm_comm_sum_f64(b->comm, &b->flop, 1);
    tdm_comm_sum_f64(b->comm, &b->tokens, 1);
    b->exposed_s = b->time.wait_s + b->time.transfer_s;
    tdm_comm_max_f64(b->comm, &b->exposed_s, 1);
    tdm_comm_max_f64(b->comm, &b->time.wait_s, 1);
    tdm_comm_max_f64(b->comm, &b->time.transfer_s, 1);
    qsort(b->step_s, (size_t)o->steps, sizeof(double), compare_doubles);
    return TDM_OK;
}

static tdm_status bench_report(bench *b)
{
    const bench_options *o = b->options;
    const int ranks = tdm_comm_size(b->comm);
    const double median_s = b->step_s[o->steps / 2];
    double rss = (double)tdm_peak_resident_bytes();
    tdm_comm_max_f64(b->comm, &rss, 1);
    if (tdm_comm_rank(b->comm) != 0) return TDM_OK;

    const double pairs = (double)(o->batch * ranks);
    const double mfu = b->flop / median_s / (b->peak_gflops * 1e9);
    json_t *root = json_object(), *per_op = json_object();
    json_object_set_new(root, "model", json_string(o->model));
    json_object_set_new(root, "precision", json_string(tdm_ops_dtype(b->ops) == TDM_BF16 ? "bf16" : "f32"));
    json_object_set_new(root, "isa", json_string(tdm_ops_isa(b->ops)));
    json_object_set_new(root, "ranks", json_integer(ranks));
    json_object_set_new(root, "threads", json_integer(tdm_ops_threads(b->ops)));
    json_object_set_new(root, "batch", json_integer(o->batch));
    json_object_set_new(root, "global_batch", json_integer(o->batch * ranks));
    json_object_set_new(root, "chunk", json_integer(o->chunk));
    json_object_set_new(root, "tokens_per_caption", json_real(b->tokens / pairs));
    json_object_set_new(root, "steps", json_integer(o->steps));
    json_object_set_new(root, "pairs_per_s", json_real(pairs / median_s));
    json_object_set_new(root, "step_s", json_real(median_s));
    json_object_set_new(root, "step_min_s", json_real(b->step_s[0]));
    json_object_set_new(root, "step_max_s", json_real(b->step_s[o->steps - 1]));
    json_object_set_new(root, "gflops", json_real(b->flop / median_s * 1e-9));
    json_object_set_new(root, "mfu", json_real(mfu));
    json_object_set_new(root, "peak_gflops", json_real(b->peak_gflops));
    json_object_set_new(root, "rss_bytes", json_integer((json_int_t)rss));
    json_object_set_new(root, "wait_data_s", json_real(0.0)); /* the batch is in memory */
    json_object_set_new(root, "exposed_comm_s", json_real(b->exposed_s));
    json_object_set_new(root, "comm_s", json_real(b->time.transfer_s));
    json_object_set_new(root, "wait_ranks_s", json_real(b->time.wait_s));
    const tdm_op_stats *stats = tdm_ops_stats(b->ops);
    fprintf(stderr, "%-20s %10s %7s %10s\n", "operation", "ms/step", "share", "GFLOP/s");
    for (int k = 0; k < TDM_OP_KINDS; k++) {
        const double seconds = stats->seconds[k] / (double)o->steps;
        json_object_set_new(per_op, tdm_op_kind_name((tdm_op_kind)k), json_real(seconds));
        fprintf(stderr, "%-20s %10.2f %6.1f%% %10.1f\n", tdm_op_kind_name((tdm_op_kind)k), seconds * 1e3,
                100.0 * seconds / median_s,
                seconds > 0.0 ? stats->flop[k] / (double)o->steps / seconds * 1e-9 : 0.0);
    }
    json_object_set_new(root, "per_op", per_op);
    fprintf(stderr,
            "%s %s, %d ranks x %d threads, %lld pairs per rank: %.2f pairs/s, step %.1f ms, MFU %.1f %% of "
            "%.0f GFLOP/s, "
            "communication %.1f ms (%.1f %%), waiting for the slower rank up to %.1f ms, peak memory %.0f "
            "MiB\n",
            o->model, tdm_ops_dtype(b->ops) == TDM_BF16 ? "bf16" : "f32", ranks, tdm_ops_threads(b->ops),
            (long long)o->batch, pairs / median_s, median_s * 1e3, 100.0 * mfu, b->peak_gflops,
            b->time.transfer_s * 1e3, 100.0 * b->time.transfer_s / median_s, b->time.wait_s * 1e3,
            rss / (1 << 20));

    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(root);
    TDM_REQUIRE(text, TDM_E_NOMEM, "bench: cannot build the JSON");
    tdm_status status = TDM_OK;
    if (o->json[0])
        status = tdm_write_file_atomic(o->json, text, strlen(text));
    else
        puts(text);
    free(text);
    return status;
}

static tdm_status bench_all(bench *b)
{
    TDM_AGREE(b->comm, bench_configure(b));
    TDM_AGREE(b->comm, bench_fill(b));
    const tdm_status status = bench_steps(b);
    if (status != TDM_OK && status != TDM_E_NUMERIC) tdm_comm_abort(b->comm);
    TDM_TRY(status);
    return tdm_comm_agree(b->comm, bench_report(b));
}

/* Sizes are powers of two: 64 KiB to 512 MiB take 14 times the rounds. */
static tdm_status bench_sums(tdm_comm *comm, const bench_options *o)
{
    tdm_config config;
    tdm_status status = tdm_config_init(&config);
    for (int64_t i = 0; i < o->set.count && status == TDM_OK; i++)
        status = tdm_config_set(&config, o->set.item[i]);
    status = tdm_comm_agree(comm, status);
    const bench_comm_options options = {.rounds = o->steps,
                                        .max_mib = 512,
                                        .bucket_mib = status == TDM_OK ? config.train.bucket_mib : 0,
                                        .threads = o->threads > 0 ? (int)o->threads : tdm_default_threads(),
                                        .json = o->json};
    if (status == TDM_OK) status = bench_comm(comm, &options);
    tdm_config_destroy(&config);
    return status;
}

static tdm_status bench_run(tdm_comm *comm, int argc, char **argv)
{
    bench_options o = {.model = "vit_b_32",
                       .precision = "auto",
                       .json = "",
                       .batch = 64,
                       .tokens = 19,
                       .steps = 5,
                       .warmup = 2};
    const tdm_flag flags[] = {
        {"--model", TDM_FLAG_STRING, &o.model, "NAME|FILE.cfg", "vit_b_32", "", "model definition", 0, 0},
        {"--precision", TDM_FLAG_STRING, &o.precision, "f32|bf16|auto", "auto", "",
         "of activations and matmuls", 0, 0},
        {"--batch", TDM_FLAG_INT, &o.batch, "N", "64", "pairs", "per rank and step", 1, 1 << 24},
        {"--chunk", TDM_FLAG_INT, &o.chunk, "N", "0", "pairs", "embedded at once; 0 = the whole batch", 0,
         1 << 24},
        {"--tokens-per-caption", TDM_FLAG_INT, &o.tokens, "N", "19", "tokens", "mean length of the captions",
         2, 1 << 20},
        {"--steps", TDM_FLAG_INT, &o.steps, "N", "5", "steps", "measured; the median counts", 1, 100000},
        {"--warmup", TDM_FLAG_INT, &o.warmup, "N", "2", "steps", "before them", 0, 100000},
        {"--threads", TDM_FLAG_INT, &o.threads, "N", "0", "threads", "per rank; 0 = the cores it may use", 0,
         4096},
        {"--set", TDM_FLAG_LIST, &o.set, "GROUP.KEY=VALUE", "", "", "overrides one configuration key", 0, 0},
        {"--comm", TDM_FLAG_SWITCH, &o.comm, NULL, "", "",
         "time gradient sums alone instead, of 64 KiB to 512 MiB, beside MPI_Allreduce (--steps rounds)", 0,
         0},
        {"--json", TDM_FLAG_STRING, &o.json, "FILE", "", "", "result as JSON; without it JSON goes to stdout",
         0, 0},
    };
    tdm_strings positional = {0};
    bool help = false;
    tdm_status status =
        tdm_parse_flags("bench", "[--model NAME] [--precision f32|bf16] [--batch N] [--json FILE]", flags,
                        sizeof(flags) / sizeof(flags[0]), argc, argv, &positional, &help);
    if (status == TDM_OK && !help && positional.count)
        status = tdm_error_set(TDM_E_USAGE, __FILE__, __LINE__, "bench: unexpected argument \"%s\"",
                               positional.item[0]);
    free(positional.item);
    if (status == TDM_OK && !help && o.comm) {
        status = bench_sums(comm, &o);
    } else if (status == TDM_OK && !help) {
        bench b = {.comm = comm, .options = &o};
        status = bench_all(&b);
        const tdm_error kept = *tdm_error_last();
        bench_destroy(&b);
        if (status != TDM_OK) status = tdm_error_adopt(&kept);
    }
    free(o.set.item);
    return status;
}

const tdm_command tdm_command_bench = {
    .name = "bench",
    .summary = "time the training step: pairs/s, MFU, memory, seconds by kind of operation",
    .mpi = true,
    .run = bench_run,
};
