/* Batches made ahead on threads. One thread reads encoded images and captions from the shards (HDF5 is used
 * by one thread at a time), `workers` threads decode, resize, augment and tokenise. Where both modalities are cached
 * features, the reader alone makes the batches.
 *
 *   ring of prefetch + 1 slots, slot = batch number mod slots
 *   consumer --free--> reader --sample by sample--> workers --all samples done--> ready --> consumer
 *
 * The samples that the reader has filled but no worker has taken are a single counter: samples are filled and
 * taken in one order, batch after batch. One mutex guards every counter and state; the bytes and pixels of a
 * sample belong to the thread that works on it. */
#include "dataset_impl.h"
#include "loader_impl.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { MAX_WORKERS = 256, MAX_PREFETCH = 1024 };
#define HELD_BYTES (INT64_C(1) << 30) /* of cached features, in memory */

struct tdm_loader {
    loader_plan plan;
    int64_t first_step; /* batch number of step 0 here */
    slot *slot;
    int64_t slot_count;

    pthread_mutex_t lock;
    pthread_cond_t freed, filled, done; /* a slot is free; a sample is filled; a slot is ready */
    bool lock_made;
    int64_t batches_given;  /* to the consumer, the one it holds included */
    int64_t batches_freed;  /* handed back */
    int64_t batches_ready;  /* all samples done, given or not */
    int64_t samples_filled; /* by the reader, over all batches */
    int64_t samples_taken;  /* by workers */
    bool stop;
    bool failed;
    tdm_error error; /* given again on every later call */

    pthread_t reader, *worker;
    bool reader_runs;
    int64_t workers_run;
};

bool loader_wants_view(const tdm_loader_config *config, int view, tdm_modality modality)
{
    return config->views >> view & 1 && tdm_view_of((tdm_view)view)->modality == modality;
}

bool loader_wants(const tdm_loader_config *config, tdm_modality modality)
{
    return tdm_view_count(config->views, modality) > 0;
}

bool loader_makes(const tdm_loader_config *config, tdm_modality modality)
{
    return loader_wants(config, modality) && config->feature_width[modality] == 0;
}

/* ---- threads ---- */

/* Waits for the slot of batch `k` (counted from this loader's first). False: stop. */
static bool wait_free(tdm_loader *loader, int64_t k)
{
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop && k - loader->batches_freed >= loader->slot_count)
        pthread_cond_wait(&loader->freed, &loader->lock);
    bool stop = loader->stop;
    if (!stop) {
        slot *to = &loader->slot[k % loader->slot_count];
        to->left = loader->plan.n;
        to->failed_sample = loader->plan.n;
    }
    pthread_mutex_unlock(&loader->lock);
    return !stop;
}

/* Are the batch's rows what the reader reads, so that workers have nothing to do? */
static bool only_reads(const loader_plan *plan)
{
    return !loader_makes(&plan->config, TDM_IMAGE) && !loader_makes(&plan->config, TDM_TEXT);
}

static void show_batch(tdm_loader *loader, int64_t k)
{
    pthread_mutex_lock(&loader->lock);
    loader->slot[k % loader->slot_count].ready_batch = k + 1;
    loader->batches_ready++;
    pthread_cond_signal(&loader->done);
    pthread_mutex_unlock(&loader->lock);
}

/* A whole batch that needs no worker. Nobody else touches the slot meanwhile. */
static void read_batch(const loader_plan *plan, slot *to)
{
    for (int64_t i = 0; i < plan->n && to->failed_sample == plan->n; i++) {
        if (loader_read_sample(plan, to, i) == TDM_OK) continue;
        to->failed_sample = i;
        to->error = *tdm_error_last();
    }
}

/* The samples of a batch, one by one to the workers. True: stop. */
static bool feed_workers(tdm_loader *loader, slot *to)
{
    bool stop = false;
    for (int64_t i = 0; i < loader->plan.n && !stop; i++) {
        to->input[i].error.code = TDM_OK;
        if (loader_read_sample(&loader->plan, to, i) != TDM_OK) to->input[i].error = *tdm_error_last();
        pthread_mutex_lock(&loader->lock);
        loader->samples_filled++;
        stop = loader->stop;
        pthread_cond_signal(&loader->filled);
        pthread_mutex_unlock(&loader->lock);
    }
    return stop;
}

static void *reader_main(void *argument)
{
    tdm_loader *loader = argument;
    const bool alone = only_reads(&loader->plan);
    bool stop = false;
    pthread_setname_np(pthread_self(), "tandem-reader"); /* for top -H and perf */
    for (int64_t k = 0; !stop && wait_free(loader, k); k++) {
        slot *to = &loader->slot[k % loader->slot_count];
        loader_name_samples(&loader->plan, to, loader->first_step + k);
        if (alone) {
            read_batch(&loader->plan, to);
            show_batch(loader, k);
        } else {
            stop = feed_workers(loader, to);
        }
    }
    return NULL;
}

/* The next filled sample, counted over all batches; -1: stop. */
static int64_t take_sample(tdm_loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop && loader->samples_taken == loader->samples_filled)
        pthread_cond_wait(&loader->filled, &loader->lock);
    int64_t taken = loader->stop ? -1 : loader->samples_taken++;
    pthread_mutex_unlock(&loader->lock);
    return taken;
}

/* Marks sample `i` done; true when it was the batch's last. */
static bool finish_sample(tdm_loader *loader, slot *to, int64_t i, tdm_status status)
{
    pthread_mutex_lock(&loader->lock);
    if (status != TDM_OK && i < to->failed_sample) {
        to->failed_sample = i;
        to->error = *tdm_error_last();
    }
    bool last = --to->left == 0;
    pthread_mutex_unlock(&loader->lock);
    return last;
}

static void *worker_main(void *argument)
{
    tdm_loader *loader = argument;
    const loader_plan *plan = &loader->plan;
    sample_work work = {0};
    pthread_setname_np(pthread_self(), "tandem-loader");
    for (;;) {
        int64_t taken = take_sample(loader);
        if (taken < 0) break;
        slot *to = &loader->slot[taken / plan->n % loader->slot_count];
        int64_t i = taken % plan->n;
        if (!finish_sample(loader, to, i, loader_make_sample(plan, &work, to, i))) continue;
        if (to->failed_sample == plan->n) loader_pack(plan, to);
        show_batch(loader, taken / plan->n);
    }
    sample_work_free(&work);
    return NULL;
}

/* ---- making and ending ---- */

static tdm_status check_samples(const loader_plan *plan)
{
    const tdm_loader_config *config = &plan->config;
    static const char *const unit[] = {"captions", "images", "captions and images"};
    const char *dir = dataset_dir(plan->dataset), *split = dataset_split(plan->dataset);
    TDM_REQUIRE(config->global_batch >= 1, TDM_E_DATA, "the batch must hold at least one pair, not %lld",
                (long long)config->global_batch);
    TDM_REQUIRE(config->size >= 1 && config->rank >= 0 && config->rank < config->size, TDM_E_DATA,
                "rank %d of %d", config->rank, config->size);
    TDM_REQUIRE(plan->list.samples >= config->size, TDM_E_DATA,
                "%s: split \"%s\" has %lld %s, fewer than the %d ranks", dir, split,
                (long long)plan->list.samples, unit[config->sample], config->size);
    TDM_REQUIRE(plan->list.samples >= config->global_batch, TDM_E_DATA,
                "%s: split \"%s\" has %lld %s, fewer than one batch of %lld", dir, split,
                (long long)plan->list.samples, unit[config->sample], (long long)config->global_batch);
    TDM_REQUIRE(config->global_batch >= config->size, TDM_E_DATA,
                "a batch of %lld pairs cannot be divided over %d ranks", (long long)config->global_batch,
                config->size);
    return TDM_OK;
}

static tdm_status check_views(const tdm_loader_config *config, const tdm_tokenizer *tokenizer)
{
    TDM_REQUIRE(config->workers >= 1 && config->workers <= MAX_WORKERS, TDM_E_CONFIG,
                "the loader needs 1 to %d workers, not %lld", MAX_WORKERS, (long long)config->workers);
    TDM_REQUIRE(config->prefetch >= 1 && config->prefetch <= MAX_PREFETCH, TDM_E_CONFIG,
                "the loader prefetches 1 to %d batches, not %lld", MAX_PREFETCH, (long long)config->prefetch);
    TDM_REQUIRE(!loader_makes(config, TDM_TEXT) || (tokenizer && config->context_length >= 2), TDM_E_CONFIG,
                "text needs a tokenizer and a context of at least 2 tokens, not %lld",
                (long long)config->context_length);
    TDM_REQUIRE(
        !loader_makes(config, TDM_IMAGE) || (config->height >= 1 && config->height <= TDM_IMAGE_MAX_PX &&
                                             config->width >= 1 && config->width <= TDM_IMAGE_MAX_PX),
        TDM_E_CONFIG, "images cannot be %lld x %lld px", (long long)config->height, (long long)config->width);
    return TDM_OK;
}

/* Features are read as they are: they can neither be augmented nor have another width. */
static tdm_status check_features(const loader_plan *plan)
{
    const tdm_loader_config *config = &plan->config;
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_info *info = tdm_view_of((tdm_view)v);
        const char *modality = tdm_modality_name(info->modality);
        const int64_t width = config->feature_width[info->modality];
        const int64_t stored = tdm_dataset_feature_width(plan->dataset, info->modality);
        if (!(config->views >> v & 1) || width == 0) continue;
        TDM_REQUIRE(
            info->name == TDM_VIEW_NAME_PLAIN &&
                (!config->config || config->config->views[info->name].augment.count == 0),
            TDM_E_CONFIG,
            "%s: the %s tower reads cached features, which cannot be augmented: only %s.plain can be made, "
            "with an empty views.plain.augment",
            info->label, modality, modality);
        TDM_REQUIRE(stored == width, TDM_E_DATA,
                    "%s: split \"%s\" has %s features of width %lld, the tower reads %lld",
                    dataset_dir(plan->dataset), dataset_split(plan->dataset), modality, (long long)stored,
                    (long long)width);
    }
    return TDM_OK;
}

/* The views' pipelines, and what they must have. */
static tdm_status compile_views(loader_plan *plan)
{
    TDM_TRY(
        view_pipelines_create(plan->config.config, plan->config.views, plan->tokenizer, &plan->pipelines));
    TDM_TRY(loader_mix_create(plan->config.config, &plan->mix));
    const tdm_text_pipeline *const *text = (const tdm_text_pipeline *const *)plan->pipelines.text;
    plan->first_plain = -1;
    for (int v = TDM_VIEWS - 1; v >= 0; v--)
        if (text[v] && tdm_text_pipeline_is_plain(text[v]) && !plan->mix.view[v]) plan->first_plain = v;
    const tdm_text_pipeline *masked = text[TDM_VIEW_TEXT_MASKED];
    TDM_REQUIRE(!masked || tdm_text_pipeline_has_targets(masked), TDM_E_CONFIG,
                "views.masked.augment: no operation of the list says which tokens are to be predicted");
    return TDM_OK;
}

static tdm_status start_threads(tdm_loader *loader)
{
    TDM_TRY(TDM_ALLOC(loader->plan.config.workers, &loader->worker));
    int error = tdm_thread_create(&loader->reader, reader_main, loader);
    TDM_REQUIRE(!error, TDM_E_NOMEM, "cannot start the loader's reader: %s", strerror(error));
    loader->reader_runs = true;
    const int64_t workers = only_reads(&loader->plan) ? 0 : loader->plan.config.workers;
    for (int64_t i = 0; i < workers; i++) {
        error = tdm_thread_create(&loader->worker[i], worker_main, loader);
        TDM_REQUIRE(!error, TDM_E_NOMEM, "cannot start loader thread %lld: %s", (long long)i,
                    strerror(error));
        loader->workers_run++;
    }
    return TDM_OK;
}

/* Signals are the main thread's: its blocking calls are the ones that a stop request should interrupt. */
static tdm_status start_without_signals(tdm_loader *loader)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    tdm_status status = start_threads(loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

static tdm_status make_plan(loader_plan *plan)
{
    const tdm_loader_config *config = &plan->config;
    plan->draw = imbalance_draw(config->config, config->global_batch);
    TDM_TRY(
        sample_list_create(plan->dataset, config->sample, &plan->draw, config->global_batch, &plan->list));
    TDM_TRY(check_samples(plan));
    TDM_TRY(check_views(config, plan->tokenizer));
    TDM_TRY(check_features(plan));
    TDM_TRY(compile_views(plan));
    TDM_REQUIRE(!plan->draw.unpaired || !plan->mix.options, TDM_E_CONFIG,
                "mix.p: pairs are mixed, and data.imbalance = \"independent\" makes none");
    plan->steps_per_epoch = plan->list.samples / config->global_batch;
    plan->begin = tdm_part_begin(plan->draw.samples, config->size, config->rank);
    plan->n = tdm_part_begin(plan->draw.samples, config->size, config->rank + 1) - plan->begin;
    return TDM_OK;
}

static tdm_status build(tdm_loader *loader)
{
    const loader_plan *plan = &loader->plan;
    TDM_TRY(make_plan(&loader->plan));
    const int64_t slots = plan->config.prefetch + 1;
    dataset_hold_features(plan->dataset, HELD_BYTES);
    TDM_TRY(TDM_ALLOC(slots, &loader->slot));
    for (; loader->slot_count < slots; loader->slot_count++) {
        tdm_status status = loader_make_slot(plan, &loader->slot[loader->slot_count]);
        if (status != TDM_OK) {
            loader_free_slot(&loader->slot[loader->slot_count], plan->n);
            return status;
        }
    }
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->freed, NULL);
    pthread_cond_init(&loader->filled, NULL);
    pthread_cond_init(&loader->done, NULL);
    loader->lock_made = true;
    return start_without_signals(loader);
}

tdm_status tdm_loader_create(tdm_dataset *dataset, const tdm_tokenizer *tokenizer,
                             const tdm_loader_config *config, int64_t step, tdm_loader **loader)
{
    *loader = NULL;
    TDM_REQUIRE(step >= 0, TDM_E_DATA, "the loader cannot begin at step %lld", (long long)step);
    tdm_loader *made;
    TDM_TRY(TDM_ALLOC(1, &made));
    made->plan = (loader_plan){.dataset = dataset, .tokenizer = tokenizer, .config = *config};
    made->first_step = step;
    tdm_status status = build(made);
    if (status != TDM_OK)
        tdm_loader_destroy(&made);
    else
        *loader = made;
    return status;
}

tdm_status tdm_loader_reading(const tdm_loader *loader, tdm_reading *reading)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_text_pipeline *text = loader->plan.pipelines.text[v];
        if (text) TDM_TRY(tdm_text_pipeline_reading(text, reading));
    }
    return TDM_OK;
}

void tdm_loader_destroy(tdm_loader **loader)
{
    tdm_loader *dying = *loader;
    *loader = NULL;
    if (!dying) return;
    if (dying->lock_made) {
        pthread_mutex_lock(&dying->lock);
        dying->stop = true;
        pthread_cond_broadcast(&dying->freed);
        pthread_cond_broadcast(&dying->filled);
        pthread_mutex_unlock(&dying->lock);
        if (dying->reader_runs) pthread_join(dying->reader, NULL);
        for (int64_t i = 0; i < dying->workers_run; i++) pthread_join(dying->worker[i], NULL);
        pthread_cond_destroy(&dying->freed);
        pthread_cond_destroy(&dying->filled);
        pthread_cond_destroy(&dying->done);
        pthread_mutex_destroy(&dying->lock);
    }
    for (int64_t i = 0; i < dying->slot_count; i++) loader_free_slot(&dying->slot[i], dying->plan.n);
    view_pipelines_free(&dying->plan.pipelines);
    sample_list_free(&dying->plan.list);
    tdm_free(dying->slot);
    tdm_free(dying->worker);
    tdm_free(dying);
}

int64_t tdm_loader_steps_per_epoch(const tdm_loader *loader)
{
    return loader->plan.steps_per_epoch;
}

tdm_left_out tdm_loader_left_out(const tdm_loader *loader)
{
    const sample_list *list = &loader->plan.list;
    return (tdm_left_out){
        .images = list->images_left_out,
        .captions = list->captions_left_out,
        .samples = loader->plan.draw.unpaired ? 0 : list->samples % loader->plan.config.global_batch};
}

int64_t tdm_loader_ready(tdm_loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    const int64_t ready = loader->batches_ready - loader->batches_given;
    pthread_mutex_unlock(&loader->lock);
    return ready;
}

/* Until batch k, counted from the loader's first, is ready. The lock is held. Seconds it took, 0 when it was.
 */
static double wait_ready(tdm_loader *loader, int64_t k)
{
    const slot *next = &loader->slot[k % loader->slot_count];
    if (next->ready_batch == k + 1) return 0.0;
    const double begin_s = tdm_now_s();
    while (next->ready_batch != k + 1) pthread_cond_wait(&loader->done, &loader->lock);
    return tdm_now_s() - begin_s;
}

tdm_status tdm_loader_next(tdm_loader *loader, const tdm_batch **batch, double *wait_s)
{
    *batch = NULL;
    if (wait_s) *wait_s = 0.0;
    if (loader->failed) return tdm_error_adopt(&loader->error);
    pthread_mutex_lock(&loader->lock);
    if (loader->batches_freed < loader->batches_given) { /* the batch of the last call */
        loader->batches_freed++;
        pthread_cond_signal(&loader->freed);
    }
    int64_t k = loader->batches_given;
    slot *next = &loader->slot[k % loader->slot_count];
    const double waited_s = wait_ready(loader, k);
    loader->batches_given++;
    pthread_mutex_unlock(&loader->lock);
    if (wait_s) *wait_s = waited_s;
    if (next->failed_sample < loader->plan.n) {
        loader->failed = true;
        loader->error = next->error;
        return tdm_error_adopt(&loader->error);
    }
    *batch = &next->batch;
    return TDM_OK;
}
