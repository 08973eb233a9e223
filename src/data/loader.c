/* Batches made ahead on threads. One thread reads encoded images and captions from the shards (HDF5 is used
 * by one thread at a time), `workers` threads decode, resize, augment and tokenise.
 *
 *   ring of prefetch + 1 slots, slot = batch number mod slots
 *   consumer --free--> reader --sample by sample--> workers --all samples done--> ready --> consumer
 *
 * The samples that the reader has filled but no worker has taken are a single counter: samples are filled and
 * taken in one order, batch after batch. One mutex guards every counter and state; the bytes and pixels of a
 * sample belong to the thread that works on it. */
#include "shard_impl.h"
#include "tandem/loader.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { MAX_WORKERS = 256, MAX_PREFETCH = 1024 };

/* What the reader leaves for a worker. */
typedef struct sample_input {
    tdm_text image, caption;
    tdm_error error; /* of the reader: nothing to decode */
} sample_input;

typedef struct slot {
    tdm_batch batch;
    sample_input *input;   /* [n] */
    int32_t *token;        /* [n][context_length], before packing */
    int64_t *token_count;  /* [n] */
    int64_t left;          /* samples that are not done */
    int64_t ready_batch;   /* the batch whose samples are all done, counted from the loader's first, from 1 */
    int64_t failed_sample; /* lowest local sample that failed, n when none */
    tdm_error error;       /* of that sample */
} slot;

struct tdm_loader {
    tdm_dataset *dataset;
    const tdm_tokenizer *tokenizer;
    tdm_loader_config config;
    int64_t samples, steps_per_epoch; /* N of an epoch; floor(N / B) */
    int64_t begin, n;                 /* this rank's piece of a global batch */
    int64_t first_step;               /* batch number of step 0 here */
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

/* Is any view of this modality asked for? */
static bool wants(const tdm_loader_config *config, tdm_modality modality)
{
    for (int v = 0; v < TDM_VIEWS; v++)
        if (config->views >> v & 1 && tdm_view_of((tdm_view)v)->modality == modality) return true;
    return false;
}

static bool wants_view(const tdm_loader_config *config, int view, tdm_modality modality)
{
    return config->views >> view & 1 && tdm_view_of((tdm_view)view)->modality == modality;
}

/* ---- one sample ---- */

/* The caption of a sample: itself, or a random one of the image. */
static int64_t choose_caption(const tdm_loader *loader, int64_t epoch, int64_t sample)
{
    int64_t first, count;
    if (!loader->config.sample_images) return sample;
    tdm_dataset_image_captions(loader->dataset, sample, &first, &count);
    if (count == 0) return -1;
    tdm_rng rng = tdm_rng_at(loader->config.seed, (uint64_t)epoch, (uint64_t)sample, TDM_RNG_CAPTION);
    return first + tdm_rng_below(&rng, count);
}

/* Reader: fills input and the batch's row `i`. */
static tdm_status read_sample(tdm_loader *loader, slot *to, int64_t i)
{
    const tdm_loader_config *config = &loader->config;
    tdm_batch *batch = &to->batch;
    int64_t sample = batch->sample[i];
    int64_t image = config->sample_images ? sample : tdm_dataset_caption_image(loader->dataset, sample);
    batch->image_row[i] = image;
    batch->identity[i] = tdm_dataset_identity(loader->dataset, image);
    if (wants(config, TDM_TEXT)) {
        int64_t caption = choose_caption(loader, batch->epoch, sample);
        TDM_REQUIRE(caption >= 0, TDM_E_DATA, "%s: the image has no caption",
                    tdm_dataset_where(loader->dataset, image));
        TDM_TRY(tdm_dataset_read_caption(loader->dataset, caption, &to->input[i].caption));
    }
    if (wants(config, TDM_IMAGE))
        TDM_TRY(tdm_dataset_read_image(loader->dataset, image, &to->input[i].image));
    return TDM_OK;
}

/* The image of sample `i`, in every view that is asked for. */
static tdm_status make_views(const tdm_loader *loader, tdm_image_work *work, slot *to, int64_t i)
{
    const tdm_loader_config *config = &loader->config;
    const tdm_batch *batch = &to->batch;
    tdm_image_request want[TDM_VIEWS];
    int count = 0;
    for (int v = 0; v < TDM_VIEWS; v++) {
        if (!wants_view(config, v, TDM_IMAGE)) continue;
        tdm_image_request *next = &want[count++];
        next->augment = v == TDM_VIEW_IMAGE_PLAIN ? NULL : &config->augment;
        next->rng = tdm_rng_at(config->seed, (uint64_t)batch->epoch, (uint64_t)batch->sample[i],
                               TDM_RNG_AUGMENT + (uint32_t)tdm_view_of((tdm_view)v)->number * 256);
        next->out = batch->view[v].image + i * config->height * config->width * 3;
    }
    return tdm_image_make(work, tdm_dataset_where(loader->dataset, batch->image_row[i]),
                          to->input[i].image.data, to->input[i].image.length, config->image_policy,
                          config->height, config->width, count, want);
}

/* Worker: decodes, augments and tokenises what the reader left. */
static tdm_status make_sample(const tdm_loader *loader, tdm_image_work **work, slot *to, int64_t i)
{
    const tdm_loader_config *config = &loader->config;
    const sample_input *input = &to->input[i];
    if (input->error.code != TDM_OK) return tdm_error_adopt(&input->error);
    if (wants(config, TDM_TEXT))
        TDM_TRY(tdm_tokenizer_encode(loader->tokenizer, input->caption.data, config->context_length,
                                     to->token + i * config->context_length, &to->token_count[i], NULL));
    if (!wants(config, TDM_IMAGE)) return TDM_OK;
    if (!*work) TDM_TRY(tdm_image_work_create(work));
    return make_views(loader, *work, to, i);
}

/* The last worker of a batch: captions end to end. Text views share the plain caption's tokens. */
static void pack_tokens(const tdm_loader *loader, slot *to)
{
    int64_t context = loader->config.context_length;
    for (int view = 0; view < TDM_VIEWS; view++) {
        if (!wants_view(&loader->config, view, TDM_TEXT)) continue;
        tdm_text_batch *text = &to->batch.view[view].text;
        text->seq[0] = 0;
        for (int64_t i = 0; i < to->batch.n; i++) {
            memcpy(text->token + text->seq[i], to->token + i * context,
                   (size_t)to->token_count[i] * sizeof(int32_t));
            text->seq[i + 1] = text->seq[i] + to->token_count[i];
        }
    }
}

/* ---- threads ---- */

/* Which samples batch `number` of the run holds. */
static void name_samples(const tdm_loader *loader, slot *to, int64_t number)
{
    tdm_batch *batch = &to->batch;
    batch->epoch = number / loader->steps_per_epoch;
    int64_t first = number % loader->steps_per_epoch * loader->config.global_batch + loader->begin;
    for (int64_t i = 0; i < loader->n; i++)
        batch->sample[i] =
            tdm_permute(loader->samples, loader->config.seed, (uint64_t)batch->epoch, first + i);
}

/* Waits for the slot of batch `k` (counted from this loader's first). False: stop. */
static bool wait_free(tdm_loader *loader, int64_t k)
{
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop && k - loader->batches_freed >= loader->slot_count)
        pthread_cond_wait(&loader->freed, &loader->lock);
    bool stop = loader->stop;
    if (!stop) {
        slot *to = &loader->slot[k % loader->slot_count];
        to->left = loader->n;
        to->failed_sample = loader->n;
    }
    pthread_mutex_unlock(&loader->lock);
    return !stop;
}

static void *reader_main(void *argument)
{
    tdm_loader *loader = argument;
    bool stop = false;
    pthread_setname_np(pthread_self(), "tandem-reader"); /* for top -H and perf */
    for (int64_t k = 0; !stop && wait_free(loader, k); k++) {
        slot *to = &loader->slot[k % loader->slot_count];
        name_samples(loader, to, loader->first_step + k);
        for (int64_t i = 0; i < loader->n && !stop; i++) {
            to->input[i].error.code = TDM_OK;
            if (read_sample(loader, to, i) != TDM_OK) to->input[i].error = *tdm_error_last();
            pthread_mutex_lock(&loader->lock);
            loader->samples_filled++;
            stop = loader->stop;
            pthread_cond_signal(&loader->filled);
            pthread_mutex_unlock(&loader->lock);
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
    tdm_image_work *work = NULL;
    pthread_setname_np(pthread_self(), "tandem-loader");
    for (;;) {
        int64_t taken = take_sample(loader);
        if (taken < 0) break;
        slot *to = &loader->slot[taken / loader->n % loader->slot_count];
        int64_t i = taken % loader->n;
        if (!finish_sample(loader, to, i, make_sample(loader, &work, to, i))) continue;
        if (to->failed_sample == loader->n) pack_tokens(loader, to);
        pthread_mutex_lock(&loader->lock);
        to->ready_batch = taken / loader->n + 1;
        loader->batches_ready++;
        pthread_cond_signal(&loader->done);
        pthread_mutex_unlock(&loader->lock);
    }
    tdm_image_work_destroy(&work);
    return NULL;
}

/* ---- making and ending ---- */

static tdm_status check_config(const tdm_loader *loader)
{
    const tdm_loader_config *config = &loader->config;
    const char *dir = dataset_dir(loader->dataset), *split = dataset_split(loader->dataset);
    const char *what = config->sample_images ? "images" : "captions";
    TDM_REQUIRE(config->global_batch >= 1, TDM_E_DATA, "the batch must hold at least one pair, not %lld",
                (long long)config->global_batch);
    TDM_REQUIRE(config->size >= 1 && config->rank >= 0 && config->rank < config->size, TDM_E_DATA,
                "rank %d of %d", config->rank, config->size);
    TDM_REQUIRE(loader->samples >= config->size, TDM_E_DATA,
                "%s: split \"%s\" has %lld %s, fewer than the %d ranks", dir, split,
                (long long)loader->samples, what, config->size);
    TDM_REQUIRE(loader->samples >= config->global_batch, TDM_E_DATA,
                "%s: split \"%s\" has %lld %s, fewer than one batch of %lld", dir, split,
                (long long)loader->samples, what, (long long)config->global_batch);
    TDM_REQUIRE(config->global_batch >= config->size, TDM_E_DATA,
                "a batch of %lld pairs cannot be divided over %d ranks", (long long)config->global_batch,
                config->size);
    TDM_REQUIRE(config->workers >= 1 && config->workers <= MAX_WORKERS, TDM_E_CONFIG,
                "the loader needs 1 to %d workers, not %lld", MAX_WORKERS, (long long)config->workers);
    TDM_REQUIRE(config->prefetch >= 1 && config->prefetch <= MAX_PREFETCH, TDM_E_CONFIG,
                "the loader prefetches 1 to %d batches, not %lld", MAX_PREFETCH, (long long)config->prefetch);
    TDM_REQUIRE(!wants(config, TDM_TEXT) || (loader->tokenizer && config->context_length >= 2), TDM_E_CONFIG,
                "text needs a tokenizer and a context of at least 2 tokens, not %lld",
                (long long)config->context_length);
    TDM_REQUIRE(!wants(config, TDM_IMAGE) || (config->height >= 1 && config->height <= TDM_IMAGE_MAX_PX &&
                                              config->width >= 1 && config->width <= TDM_IMAGE_MAX_PX),
                TDM_E_CONFIG, "images cannot be %lld x %lld px", (long long)config->height,
                (long long)config->width);
    return TDM_OK;
}

static tdm_status make_slot(const tdm_loader *loader, slot *made)
{
    const tdm_loader_config *config = &loader->config;
    tdm_batch *batch = &made->batch;
    int64_t n = loader->n;
    batch->n = n;
    TDM_TRY(TDM_ALLOC(n, &batch->sample));
    TDM_TRY(TDM_ALLOC(n, &batch->image_row));
    TDM_TRY(TDM_ALLOC(n, &batch->identity));
    TDM_TRY(TDM_ALLOC(n, &made->input));
    for (int view = 0; view < TDM_VIEWS; view++) batch->view[view].n = config->views >> view & 1 ? n : 0;
    for (int view = 0; view < TDM_VIEWS; view++)
        if (wants_view(config, view, TDM_IMAGE))
            TDM_TRY(TDM_ALLOC(n * config->height * config->width * 3, &batch->view[view].image));
    if (!wants(config, TDM_TEXT)) return TDM_OK;
    TDM_TRY(TDM_ALLOC(n * config->context_length, &made->token));
    TDM_TRY(TDM_ALLOC(n, &made->token_count));
    for (int view = 0; view < TDM_VIEWS; view++) {
        if (!wants_view(config, view, TDM_TEXT)) continue;
        TDM_TRY(TDM_ALLOC(n * config->context_length, &batch->view[view].text.token));
        TDM_TRY(TDM_ALLOC(n + 1, &batch->view[view].text.seq));
    }
    return TDM_OK;
}

static void free_slot(slot *dying, int64_t n)
{
    tdm_batch *batch = &dying->batch;
    for (int64_t i = 0; dying->input && i < n; i++) {
        tdm_text_free(&dying->input[i].image);
        tdm_text_free(&dying->input[i].caption);
    }
    tdm_free(dying->input);
    tdm_free(batch->sample);
    tdm_free(batch->image_row);
    tdm_free(batch->identity);
    for (int view = 0; view < TDM_VIEWS; view++) {
        tdm_free(batch->view[view].image);
        tdm_free(batch->view[view].text.token);
        tdm_free(batch->view[view].text.seq);
    }
    tdm_free(dying->token);
    tdm_free(dying->token_count);
}

static tdm_status start_threads(tdm_loader *loader)
{
    TDM_TRY(TDM_ALLOC(loader->config.workers, &loader->worker));
    int error = tdm_thread_create(&loader->reader, reader_main, loader);
    TDM_REQUIRE(!error, TDM_E_NOMEM, "cannot start the loader's reader: %s", strerror(error));
    loader->reader_runs = true;
    for (int64_t i = 0; i < loader->config.workers; i++) {
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

static tdm_status build(tdm_loader *loader)
{
    const tdm_loader_config *config = &loader->config;
    TDM_TRY(check_config(loader));
    loader->steps_per_epoch = loader->samples / config->global_batch;
    loader->begin = tdm_part_begin(config->global_batch, config->size, config->rank);
    loader->n = tdm_part_begin(config->global_batch, config->size, config->rank + 1) - loader->begin;
    TDM_TRY(TDM_ALLOC(config->prefetch + 1, &loader->slot));
    for (; loader->slot_count < config->prefetch + 1; loader->slot_count++) {
        tdm_status status = make_slot(loader, &loader->slot[loader->slot_count]);
        if (status != TDM_OK) {
            free_slot(&loader->slot[loader->slot_count], loader->n);
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
    made->dataset = dataset;
    made->tokenizer = tokenizer;
    made->config = *config;
    made->samples = config->sample_images ? tdm_dataset_images(dataset) : tdm_dataset_captions(dataset);
    made->first_step = step;
    tdm_status status = build(made);
    if (status != TDM_OK)
        tdm_loader_destroy(&made);
    else
        *loader = made;
    return status;
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
    for (int64_t i = 0; i < dying->slot_count; i++) free_slot(&dying->slot[i], dying->n);
    tdm_free(dying->slot);
    tdm_free(dying->worker);
    tdm_free(dying);
}

int64_t tdm_loader_steps_per_epoch(const tdm_loader *loader)
{
    return loader->steps_per_epoch;
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
    if (next->failed_sample < loader->n) {
        loader->failed = true;
        loader->error = next->error;
        return tdm_error_adopt(&loader->error);
    }
    *batch = &next->batch;
    return TDM_OK;
}
