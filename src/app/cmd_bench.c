/* tandem bench: the real training step, on synthetic pairs or a packed data set, against the peak measured in
 * the same process. */
#include "bench_comm.h"
#include "bench_report.h"
#include "command.h"
#include "roster_log.h"

#include <stdlib.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>

enum { SYNTHETIC_CLASSES = 16 };

typedef struct bench_options {
    const char *config, *model, *precision, *data, *split, *tokenizer, *recompute, *json;
    int64_t batch, chunk, tokens, steps, warmup, threads;
    tdm_strings set;
    bool comm;
    int64_t max_mib;
} bench_options;

typedef struct bench {
    tdm_comm *comm;
    const bench_options *options;
    tdm_session session; /* without a loader: synthetic pairs */
    tdm_batch batch;     /* of these */
    bench_result result;
} bench;

static void bench_destroy(bench *b)
{
    for (int k = 0; k < TDM_VIEWS; k++) {
        tdm_free(b->batch.view[k].image);
        tdm_free(b->batch.view[k].feature);
        tdm_free(b->batch.view[k].text.token);
        tdm_free(b->batch.view[k].text.seq);
        tdm_free(b->batch.view[k].target);
    }
    tdm_free(b->batch.sample);
    tdm_free(b->batch.image_row);
    tdm_free(b->batch.identity);
    tdm_free(b->batch.class_bits);
    tdm_free(b->result.step_s);
    tdm_session_destroy(&b->session);
}

static tdm_status set_key(tdm_config *config, const char *key, const char *value)
{
    char assignment[128];
    snprintf(assignment, sizeof(assignment), "%s=%s", key, value);
    return tdm_config_set(config, assignment);
}

/* Defaults, the configuration file, the model, then --set, then the other options. */
static tdm_status bench_configure(bench *b)
{
    const bench_options *o = b->options;
    tdm_config *c = &b->session.config;
    TDM_TRY(tdm_config_init(c));
    if (o->config[0])
        TDM_TRY(tdm_config_load(c, o->config));
    else
        c->train.batch = 64 * tdm_comm_size(b->comm);
    if (o->model[0] || !o->config[0]) TDM_TRY(tdm_config_load_model(c, o->model[0] ? o->model : "vit_b_32"));
    for (int64_t i = 0; i < o->set.count; i++) TDM_TRY(tdm_config_set(c, o->set.item[i]));
    if (o->batch > 0) c->train.batch = o->batch * tdm_comm_size(b->comm);
    if (o->chunk >= 0) c->train.chunk = o->chunk;
    if (o->recompute[0]) TDM_TRY(set_key(c, "train.recompute", o->recompute));
    if (o->precision[0]) TDM_TRY(set_key(c, "train.precision", o->precision));
    if (o->threads > 0) c->train.threads = o->threads;
    if (o->data[0]) c->data.dir = o->data;
    if (o->split[0]) c->data.split = o->split;
    if (o->tokenizer[0]) c->model.tokenizer = o->tokenizer;
    if (!c->data.dir[0]) c->optim.lr = 1e-5; /* random labels: keep the weights where they are, nearly */
    TDM_TRY(tdm_config_check(c));
    TDM_TRY(tdm_model_check(c));
    TDM_REQUIRE(c->train.batch % tdm_comm_size(b->comm) == 0, TDM_E_CONFIG,
                "bench: train.batch = %lld is not divisible by the %d ranks", (long long)c->train.batch,
                tdm_comm_size(b->comm));
    tdm_tower_reads reads;
    int64_t width;
    TDM_TRY(tdm_model_reads(c, TDM_TEXT, &reads, &width));
    TDM_REQUIRE(!c->data.dir[0] || c->model.tokenizer[0] || reads != TDM_READS_TOKENS, TDM_E_USAGE,
                "bench: captions of %s need a tokenizer: --tokenizer FILE", c->data.dir);
    TDM_REQUIRE(c->data.dir[0] || (o->tokens >= 2 && o->tokens <= tdm_caption_tokens(c)), TDM_E_USAGE,
                "bench: --tokens-per-caption %lld does not fit a context of %lld", (long long)o->tokens,
                (long long)tdm_caption_tokens(c));
    return TDM_OK;
}

static bool is_view_of(tdm_view_set views, int v, tdm_modality modality)
{
    return (views >> v & 1) && tdm_view_of((tdm_view)v)->modality == modality;
}

/* Pixels or cached features: rows of `width`. */
static tdm_status fill_rows(tdm_tower_reads reads, int64_t n, int64_t width, tdm_rng *rng,
                            tdm_batch_view *view)
{
    view->n = n;
    if (reads == TDM_READS_PIXELS) {
        TDM_TRY(TDM_ALLOC(n * width, &view->image));
        for (int64_t i = 0; i < n * width; i++) view->image[i] = (uint8_t)tdm_rng_u32(rng);
        return TDM_OK;
    }
    TDM_TRY(TDM_ALLOC(n * width, &view->feature));
    for (int64_t i = 0; i < n * width; i++) view->feature[i] = (float)tdm_rng_uniform(rng) - 0.5f;
    return TDM_OK;
}

/* Captions whose lengths spread evenly over half to one and a half times the mean. */
static tdm_status fill_text(const tdm_config *config, int64_t mean, int64_t n, tdm_rng *rng,
                            tdm_batch_view *view)
{
    const int64_t most = tdm_caption_tokens(config);
    const int64_t spread = tdm_min_i64(mean / 2, tdm_min_i64(mean - 2, most - mean));
    tdm_text_batch *made = &view->text;
    view->n = n;
    TDM_TRY(TDM_ALLOC(n + 1, &made->seq));
    TDM_TRY(TDM_ALLOC(n * most, &made->token));
    for (int64_t i = 0; i < n; i++) {
        const int64_t length = spread > 0 ? mean - spread + i % (2 * spread + 1) : mean;
        int32_t *token = made->token + made->seq[i];
        for (int64_t j = 0; j < length; j++)
            token[j] = (int32_t)tdm_rng_below(rng, config->model.text.vocab_size);
        made->seq[i + 1] = made->seq[i] + length;
    }
    return TDM_OK;
}

static tdm_status fill_view(const bench *b, tdm_modality m, tdm_rng *rng, tdm_batch_view *view)
{
    const tdm_config *c = &b->session.config;
    tdm_tower_reads reads;
    int64_t width;
    TDM_TRY(tdm_model_reads(c, m, &reads, &width));
    if (reads == TDM_READS_TOKENS) return fill_text(c, b->options->tokens, b->result.batch, rng, view);
    return fill_rows(reads, b->result.batch, width, rng, view);
}

/* One token in seven is to be predicted, as about as many as masking hides. */
static tdm_status hide_tokens(tdm_batch_view *view)
{
    const int64_t tokens = view->text.seq[view->n];
    TDM_TRY(TDM_ALLOC(tokens, &view->target));
    for (int64_t i = 0; i < tokens; i++) view->target[i] = i % 7 == 1 ? view->text.token[i] : -1;
    return TDM_OK;
}

/* Every view that an objective needs, at random; every sample is an identity. */
static tdm_status bench_fill(bench *b)
{
    const int64_t n = b->result.batch;
    tdm_view_set views;
    tdm_batch *batch = &b->batch;
    TDM_TRY(tdm_trainer_views(&b->session.config, &views));
    batch->n = n;
    batch->class_words = 1;
    TDM_TRY(TDM_ALLOC(n, &batch->sample));
    TDM_TRY(TDM_ALLOC(n, &batch->image_row));
    TDM_TRY(TDM_ALLOC(n, &batch->identity));
    TDM_TRY(TDM_ALLOC(n, &batch->class_bits));
    tdm_rng rng =
        tdm_rng_at((uint64_t)b->session.config.seed, 0, (uint64_t)tdm_comm_rank(b->comm), TDM_RNG_TEST);
    for (int64_t i = 0; i < n; i++) {
        batch->sample[i] = batch->image_row[i] = batch->identity[i] = tdm_comm_rank(b->comm) * n + i;
        batch->class_bits[i] = UINT64_C(1) << (batch->sample[i] % SYNTHETIC_CLASSES);
    }
    for (int m = 0; m < TDM_MODALITIES; m++)
        for (int v = 0; v < TDM_VIEWS; v++)
            if (is_view_of(views, v, (tdm_modality)m))
                TDM_TRY(fill_view(b, (tdm_modality)m, &rng, &batch->view[v]));
    return views >> TDM_VIEW_TEXT_MASKED & 1 ? hide_tokens(&batch->view[TDM_VIEW_TEXT_MASKED]) : TDM_OK;
}

static tdm_status bench_data(bench *b)
{
    const tdm_config *c = &b->session.config;
    if (!c->data.dir[0]) return bench_fill(b);
    return tdm_session_create_loader(&b->session);
}

/* What the calling thread has allocated since `before`. */
static double allocated_since(int64_t before)
{
    return (double)(tdm_memory_used().bytes - before);
}

static tdm_status bench_create(bench *b)
{
    const bench_options *o = b->options;
    const tdm_config *c = &b->session.config;
    const int ranks = tdm_comm_size(b->comm);
    double *memory = b->result.memory;
    TDM_TRY(tdm_trainer_plan(c, ranks, &b->result.plan));
    TDM_TRY(tdm_session_create_model(&b->session));
    for (int64_t i = 0; i < b->session.optim.parts; i++)
        memory[BENCH_MOMENTS] += (double)b->session.optim.moments * sizeof(float) *
                                 (double)(b->session.optim.part[i].end - b->session.optim.part[i].begin);
    TDM_TRY(tdm_session_load(&b->session));
    b->session.total_steps = o->warmup + o->steps;
    int64_t before = tdm_memory_used().bytes;
    TDM_TRY(tdm_session_start(&b->session));
    memory[BENCH_FEATURES] = allocated_since(before);
    before = tdm_memory_used().bytes;
    TDM_TRY(bench_data(b));
    memory[BENCH_DATA] = allocated_since(before);
    return TDM_ALLOC(o->steps, &b->result.step_s);
}

/* Of all threads of this process. */
static double cpu_now_s(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage)) return 0.0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* One step with its batch; *step_s and *wait_s are the slowest rank's. */
static tdm_status bench_step(bench *b, tdm_step_report *report, double *step_s, double *wait_s)
{
    const tdm_batch *batch = &b->batch;
    double seconds[2] = {0.0, 0.0};
    tdm_comm_barrier(b->comm);
    const double start_s = tdm_now_s();
    if (b->session.loader) TDM_AGREE(b->comm, tdm_loader_next(b->session.loader, &batch, &seconds[1]));
    const tdm_status status = tdm_trainer_step(b->session.trainer, batch, report);
    if (status != TDM_OK && status != TDM_E_NUMERIC) tdm_comm_abort(b->comm);
    TDM_TRY(status);
    seconds[0] = tdm_now_s() - start_s;
    tdm_comm_max_f64(b->comm, seconds, 2);
    *step_s = seconds[0];
    *wait_s = seconds[1];
    return TDM_OK;
}

/* The peak of all ranks at this moment. A core that it shares with others, or that is throttled, has another
 * one an instant later; hence it is asked for between the steps. */
static void bench_peak(bench *b, int runs)
{
    bench_result *r = &b->result;
    double gflops = tdm_ops_measure_peak_gflops(b->session.ops, runs);
    tdm_comm_sum_f64(b->comm, &gflops, 1);
    if (gflops > r->peak_gflops) r->peak_gflops = gflops;
    r->sustained_gflops += gflops / (double)b->options->steps;
}

static tdm_status bench_steps(bench *b)
{
    const bench_options *o = b->options;
    bench_result *r = &b->result;
    int64_t blocks = 0, primitives = 0;
    bench_peak(b, 5);
    r->sustained_gflops = 0.0;
    for (int64_t i = 0; i < o->warmup + o->steps; i++) {
        tdm_step_report report;
        double step_s, wait_s;
        if (i == o->warmup) {
            memset(tdm_ops_stats(b->session.ops), 0, sizeof(tdm_op_stats));
            blocks = tdm_memory_used().blocks;
            primitives = tdm_ops_primitives();
        }
        const double cpu_start_s = cpu_now_s();
        TDM_TRY(bench_step(b, &report, &step_s, &wait_s));
        if (i < o->warmup) continue;
        r->cpu_s += (cpu_now_s() - cpu_start_s) / (double)o->steps;
        bench_peak(b, 1);
        r->step_s[i - o->warmup] = step_s;
        r->wait_data_s += wait_s / (double)o->steps;
        r->time.wait_s += report.comm.wait_s / (double)o->steps;
        r->time.transfer_s += report.comm.transfer_s / (double)o->steps;
        r->flop += report.flop / (double)o->steps;
        r->tokens += (double)report.tokens / (double)o->steps;
    }
    r->blocks = (double)(tdm_memory_used().blocks - blocks);
    r->primitives = (double)(tdm_ops_primitives() - primitives);
    tdm_comm_sum_f64(b->comm, &r->cpu_s, 1);
    tdm_comm_sum_f64(b->comm, &r->flop, 1);
    tdm_comm_sum_f64(b->comm, &r->tokens, 1);
    r->exposed_s = r->time.wait_s + r->time.transfer_s;
    tdm_comm_max_f64(b->comm, &r->exposed_s, 1);
    tdm_comm_max_f64(b->comm, &r->time.wait_s, 1);
    tdm_comm_max_f64(b->comm, &r->time.transfer_s, 1);
    return TDM_OK;
}

static tdm_status bench_memory_split(bench *b)
{
    double *m = b->result.memory;
    tdm_model_memory model;
    TDM_TRY(tdm_model_memory_estimate(b->session.model, &b->result.plan,
                                      tdm_caption_tokens(&b->session.config), &model));
    m[BENCH_WEIGHTS] = (double)model.weights;
    m[BENCH_GRADIENTS] = (double)model.gradients;
    m[BENCH_PACKED] = (double)model.packed;
    m[BENCH_MOMENTS] = fmin(m[BENCH_MOMENTS], (double)(b->session.optim.moments * model.gradients));
    m[BENCH_ACTIVATIONS] = (double)tdm_model_activation_bytes(b->session.model);
    m[BENCH_FEATURES] += (double)tdm_trainer_scratch_bytes(b->session.trainer);
    m[BENCH_PEAK] = (double)tdm_peak_resident_bytes();
    m[BENCH_OTHER] = m[BENCH_PEAK];
    for (int k = 0; k < BENCH_OTHER; k++) m[BENCH_OTHER] -= m[k];
    if (m[BENCH_OTHER] < 0.0) m[BENCH_OTHER] = 0.0;
    return TDM_OK;
}

static tdm_status bench_open(bench *b)
{
    TDM_AGREE(b->comm, bench_configure(b));
    TDM_TRY(tdm_session_agree_config(&b->session, b->options->config));
    if (!b->session.config.data.dir[0]) return TDM_OK;
    TDM_AGREE(b->comm, tdm_session_open_data(&b->session));
    return tdm_session_agree_data(&b->session, NULL);
}

static tdm_status bench_all(bench *b)
{
    bench_result *r = &b->result;
    r->memory[BENCH_BASE] = (double)tdm_resident_bytes();
    TDM_TRY(bench_open(b));
    r->model = b->options->model[0] ? b->options->model : b->session.config.model.name;
    r->data = b->session.config.data.dir[0] ? b->session.config.data.dir : "synthetic";
    tdm_option_choice_text(TDM_RECOMPUTE_CHOICES, b->session.config.train.recompute, r->recompute);
    r->batch = b->session.config.train.batch / tdm_comm_size(b->comm);
    r->steps = b->options->steps;
    TDM_AGREE(b->comm, bench_create(b));
    TDM_TRY(roster_log(b->comm, b->session.ops, NULL));
    TDM_TRY(bench_steps(b));
    TDM_AGREE(b->comm, bench_memory_split(b));
    tdm_comm_max_f64(b->comm, r->memory, BENCH_MEMORY_KINDS);
    return tdm_comm_agree(b->comm, tdm_comm_rank(b->comm) == 0
                                       ? bench_report(b->comm, b->session.ops, r, b->options->json)
                                       : TDM_OK);
}

/* Sizes are powers of two from 64 KiB: up to 512 MiB, 14 of them. */
static tdm_status bench_sums(tdm_comm *comm, const bench_options *o)
{
    tdm_config config;
    tdm_status status = tdm_config_init(&config);
    for (int64_t i = 0; i < o->set.count && status == TDM_OK; i++)
        status = tdm_config_set(&config, o->set.item[i]);
    status = tdm_comm_agree(comm, status);
    const bench_comm_options options = {.rounds = o->steps,
                                        .max_mib = o->max_mib,
                                        .bucket_mib = status == TDM_OK ? config.train.bucket_mib : 0,
                                        .threads = o->threads > 0 ? (int)o->threads : tdm_default_threads(),
                                        .json = o->json};
    if (status == TDM_OK) status = roster_log_plain(comm, options.threads);
    if (status == TDM_OK) status = bench_comm(comm, &options);
    tdm_config_destroy(&config);
    return status;
}

static tdm_status bench_run(tdm_comm *comm, int argc, char **argv)
{
    bench_options o = {.config = "",
                       .model = "",
                       .precision = "",
                       .data = "",
                       .split = "",
                       .tokenizer = "",
                       .recompute = "",
                       .json = "",
                       .chunk = -1,
                       .tokens = 19,
                       .max_mib = 512,
                       .steps = 5,
                       .warmup = 2};
    const tdm_flag flags[] = {
        FLAG_STRING(
            "--config", &o.config, "FILE", "",
            "a run's libconfig file: its model, batch, data and all else, where no option says otherwise"),
        FLAG_STRING("--model", &o.model, "NAME|FILE.cfg", "vit_b_32", "model definition"),
        FLAG_STRING("--precision", &o.precision, "f32|bf16|auto", "auto", "of activations and matmuls"),
        FLAG_INT("--batch", &o.batch, "N", "64", "pairs", 1, 1 << 24, "per rank and step"),
        FLAG_INT("--chunk", &o.chunk, "N", "0", "pairs", 0, 1 << 24, "embedded at once; 0 = the whole batch"),
        FLAG_STRING("--recompute", &o.recompute, TDM_RECOMPUTE_CHOICES, "chunk",
                    "what backward computes again instead of keeping it (train.recompute)"),
        FLAG_INT("--tokens-per-caption", &o.tokens, "N", "19", "tokens", 2, 1 << 20,
                 "mean length of synthetic captions"),
        FLAG_STRING("--data", &o.data, "DIR", "",
                    "a packed data set in place of synthetic pairs: the loader's time counts"),
        FLAG_STRING("--split", &o.split, "NAME", "train", "of the data set"),
        FLAG_STRING("--tokenizer", &o.tokenizer, "FILE", "", "for its captions"),
        FLAG_INT("--steps", &o.steps, "N", "5", "steps", 1, 100000, "measured; the median counts"),
        FLAG_INT("--warmup", &o.warmup, "N", "2", "steps", 0, 100000, "before them"),
        FLAG_INT("--threads", &o.threads, "N", "0", "threads", 0, 4096, "per rank; 0 = the cores it may use"),
        FLAG_LIST("--set", &o.set, "GROUP.KEY=VALUE", "", "overrides one configuration key"),
        FLAG_SWITCH(
            "--comm", &o.comm,
            "time gradient sums alone instead, from 64 KiB up, beside MPI_Allreduce, in --steps rounds"),
        FLAG_INT("--max-mib", &o.max_mib, "N", "512", "MiB", 1, 1 << 20, "with --comm: the largest sum"),
        FLAG_STRING("--json", &o.json, "FILE", "", "result as JSON; without it JSON goes to stdout"),
    };
    tdm_strings positional = {0};
    bool help = false;
    tdm_status status =
        tdm_parse_flags("bench", "[--model NAME] [--precision f32|bf16] [--batch N] [--json FILE]", flags,
                        sizeof(flags) / sizeof(flags[0]), argc, argv, &positional, &help);
    if (status == TDM_OK && !help && positional.count)
        status = TDM_ERROR(TDM_E_USAGE, "bench: unexpected argument \"%s\"", positional.item[0]);
    free(positional.item);
    if (status == TDM_OK && !help && o.comm) {
        status = bench_sums(comm, &o);
    } else if (status == TDM_OK && !help) {
        bench b = {.comm = comm, .options = &o, .session = {.comm = comm, .classes = SYNTHETIC_CLASSES}};
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
