/* Evaluation's input: plain views of consecutive images of those that exist, and consecutive captions. */
#include "shard_impl.h"
#include "tandem/loader.h"

#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST_THREADS = 256, AHEAD_NICE = 10 };

/* Images [first, first + n), taken one by one by the threads; reading is under the lock, decoding is not. */
typedef struct slice {
    tdm_dataset *dataset;
    int64_t first, n, height, width, next;
    tdm_image_policy policy;
    uint8_t *image;
    pthread_mutex_t lock;
    int64_t failed; /* lowest index that failed, n when none */
    tdm_error error;
} slice;

static int64_t slice_row(const slice *job, int64_t i)
{
    return tdm_dataset_image_row(job->dataset, job->first + i);
}

static tdm_status slice_decode(const slice *job, tdm_image_work *work, int64_t i, const tdm_text *encoded)
{
    const tdm_image_request want = {.out = job->image + i * job->height * job->width * 3};
    return tdm_image_make(work, tdm_dataset_where(job->dataset, slice_row(job, i)), encoded->data,
                          encoded->length, job->policy, job->height, job->width, 1, &want);
}

static void *slice_main(void *argument)
{
    slice *job = argument;
    tdm_image_work *work = NULL;
    tdm_text encoded = {0};
    for (;;) {
        tdm_status status = work ? TDM_OK : tdm_image_work_create(&work);
        pthread_mutex_lock(&job->lock);
        int64_t i = job->failed < job->n ? job->n : job->next;
        if (i < job->n) {
            job->next++;
            if (status == TDM_OK) status = tdm_dataset_read_image(job->dataset, slice_row(job, i), &encoded);
        }
        pthread_mutex_unlock(&job->lock);
        if (i >= job->n) break;
        if (status == TDM_OK) status = slice_decode(job, work, i, &encoded);
        if (status == TDM_OK) continue;
        pthread_mutex_lock(&job->lock);
        if (i < job->failed) {
            job->failed = i;
            job->error = *tdm_error_last();
        }
        pthread_mutex_unlock(&job->lock);
    }
    tdm_image_work_destroy(&work);
    tdm_text_free(&encoded);
    return NULL;
}

static tdm_status slice_make(tdm_dataset *dataset, int64_t first, int64_t n, int64_t height, int64_t width,
                             tdm_image_policy policy, uint8_t *image, slice *job)
{
    const int64_t images = tdm_dataset_images(dataset) - tdm_dataset_imageless(dataset);
    TDM_REQUIRE(first >= 0 && n >= 0 && first <= images - n, TDM_E_SHAPE, "%s: has no images %lld to %lld",
                dataset_dir(dataset), (long long)first, (long long)(first + n));
    *job = (slice){.dataset = dataset,
                   .first = first,
                   .n = n,
                   .height = height,
                   .width = width,
                   .policy = policy,
                   .image = image,
                   .failed = n};
    return TDM_OK;
}

static tdm_status slice_load(slice *job, int64_t workers)
{
    pthread_mutex_init(&job->lock, NULL);
    /* this thread works too; when a further one cannot be started, those that run do all */
    pthread_t thread[MOST_THREADS];
    int64_t more = tdm_min_i64(tdm_min_i64(workers, MOST_THREADS), job->n) - 1, running = 0;
    while (running < more && tdm_thread_create(&thread[running], slice_main, job) == 0) running++;
    slice_main(job);
    for (int64_t i = 0; i < running; i++) pthread_join(thread[i], NULL);
    pthread_mutex_destroy(&job->lock);
    return job->failed < job->n ? tdm_error_adopt(&job->error) : TDM_OK;
}

tdm_status tdm_load_images(tdm_dataset *dataset, int64_t first, int64_t n, int64_t height, int64_t width,
                           tdm_image_policy policy, int64_t workers, uint8_t *image)
{
    slice job;
    TDM_TRY(slice_make(dataset, first, n, height, width, policy, image, &job));
    return slice_load(&job, workers);
}

/* ---- Ahead ---- */

struct tdm_images_ahead {
    slice job;
    int64_t workers;
    pthread_t thread;
    bool runs; /* false: there was no thread to be had, and the caller does the work when it waits */
};

/* Lets the threads that compute go first, as do the threads that it starts: they take cores that stand idle, and hold up no
 * barrier. */
static void *ahead_main(void *argument)
{
    tdm_images_ahead *ahead = argument;
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), AHEAD_NICE); /* of a thread, under Linux */
    (void)slice_load(&ahead->job, ahead->workers);               /* the job keeps the error */
    return NULL;
}

tdm_status tdm_images_begin(tdm_dataset *dataset, int64_t first, int64_t n, int64_t height, int64_t width,
                            tdm_image_policy policy, int64_t workers, uint8_t *image,
                            tdm_images_ahead **ahead)
{
    slice job;
    *ahead = NULL;
    TDM_TRY(slice_make(dataset, first, n, height, width, policy, image, &job));
    TDM_TRY(TDM_ALLOC(1, ahead));
    (*ahead)->job = job;
    (*ahead)->workers = workers;
    (*ahead)->runs = tdm_thread_create(&(*ahead)->thread, ahead_main, *ahead) == 0;
    return TDM_OK;
}

tdm_status tdm_images_wait(tdm_images_ahead **ahead)
{
    tdm_images_ahead *done = *ahead;
    *ahead = NULL;
    if (!done) return TDM_OK;
    tdm_status status = TDM_OK;
    if (done->runs) {
        pthread_join(done->thread, NULL);
        if (done->job.failed < done->job.n) status = tdm_error_adopt(&done->job.error);
    } else {
        status = slice_load(&done->job, done->workers);
    }
    tdm_free(done);
    return status;
}

static tdm_status encode_captions(tdm_dataset *dataset, const tdm_tokenizer *tokenizer, int64_t first,
                                  int64_t n, int64_t context_length, tdm_text *caption, tdm_text_batch *text)
{
    TDM_TRY(TDM_ALLOC(n + 1, &text->seq));
    TDM_TRY(TDM_ALLOC(n * context_length, &text->token));
    for (int64_t i = 0; i < n; i++) {
        int64_t count;
        TDM_TRY(tdm_dataset_read_caption(dataset, first + i, caption));
        TDM_TRY(tdm_tokenizer_encode(tokenizer, caption->data, context_length, text->token + text->seq[i],
                                     &count, NULL));
        text->seq[i + 1] = text->seq[i] + count;
    }
    return TDM_OK;
}

tdm_status tdm_load_captions(tdm_dataset *dataset, const tdm_tokenizer *tokenizer, int64_t first, int64_t n,
                             int64_t context_length, tdm_text_batch *text)
{
    memset(text, 0, sizeof(*text));
    TDM_REQUIRE(first >= 0 && n >= 0 && first <= tdm_dataset_captions(dataset) - n, TDM_E_SHAPE,
                "%s: has no captions %lld to %lld", dataset_dir(dataset), (long long)first,
                (long long)(first + n));
    tdm_text caption = {0};
    tdm_status status = encode_captions(dataset, tokenizer, first, n, context_length, &caption, text);
    tdm_text_free(&caption);
    if (status != TDM_OK) {
        tdm_free(text->token);
        tdm_free(text->seq);
        memset(text, 0, sizeof(*text));
    }
    return status;
}
