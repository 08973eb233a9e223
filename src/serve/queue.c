/* Searches on their way from the threads of the connections to the compute thread, and back. */
#include "serve_impl.h"

#include <errno.h>

/* ---- A job ---- */

tdm_status serve_job_create(serve_job **job)
{
    TDM_TRY(TDM_ALLOC(1, job));
    tdm_condition_init(&(*job)->answered);
    (*job)->query.row = -1;
    return TDM_OK;
}

void serve_job_free(serve_job **job)
{
    if (*job == NULL) return;
    serve_query_free(&(*job)->query);
    tdm_free((*job)->pixel);
    tdm_free((*job)->feature);
    tdm_found_items_free((*job)->found, (*job)->items);
    tdm_found_items_free((*job)->asked_found, 1);
    tdm_free((*job)->item);
    tdm_free((void *)(*job)->label);
    pthread_cond_destroy(&(*job)->answered);
    tdm_free(*job);
    *job = NULL;
}

/* ---- The queue ---- */

void serve_queue_init(serve_queue *queue, int64_t most)
{
    *queue = (serve_queue){.most = most};
    pthread_mutex_init(&queue->lock, NULL);
    tdm_condition_init(&queue->waiting);
}

void serve_queue_destroy(serve_queue *queue)
{
    pthread_cond_destroy(&queue->waiting);
    pthread_mutex_destroy(&queue->lock);
}

/* The lock is held. */
static void append(serve_queue *queue, serve_job *job)
{
    job->next = NULL;
    if (queue->last != NULL)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
    queue->length++;
    pthread_cond_signal(&queue->waiting);
}

/* The lock is held. Whether it was still there. */
static bool take_out(serve_queue *queue, serve_job *job)
{
    serve_job *before = NULL;
    for (serve_job *at = queue->first; at != NULL; before = at, at = at->next) {
        if (at != job) continue;
        if (before != NULL)
            before->next = at->next;
        else
            queue->first = at->next;
        if (queue->last == at) queue->last = before;
        queue->length--;
        return true;
    }
    return false;
}

static bool refuse_stop(serve_fault *fault)
{
    return serve_refuse(fault, 503, "stopping", "the server is being stopped");
}

/* The lock is held. */
static bool wait_for_answer(serve_queue *queue, serve_job *job, double limit_s)
{
    const struct timespec until = tdm_after(limit_s);
    int code = 0;
    while (!job->done && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&job->answered, &queue->lock, &until);
    return job->done;
}

bool serve_queue_ask(serve_queue *queue, serve_job **job, double limit_s, serve_fault *fault)
{
    serve_job *own = *job;
    bool fine = true;
    pthread_mutex_lock(&queue->lock);
    if (queue->closed)
        fine = refuse_stop(fault);
    else if (queue->length >= queue->most)
        fine = serve_refuse(fault, 503, "busy", "%lld searches wait already: try again soon",
                            (long long)queue->length);
    bool is_mine = true; /* else the compute thread has it, and frees it */
    if (fine) {
        append(queue, own);
        fine = wait_for_answer(queue, own, limit_s) ||
               serve_refuse(fault, 503, "timeout", "no answer within %.3g seconds", limit_s);
        is_mine = fine || take_out(queue, own);
        own->abandoned = !is_mine;
    }
    pthread_mutex_unlock(&queue->lock);
    if (fine && own->fault.status != 0) {
        *fault = own->fault;
        fine = false;
    }
    if (fine) return true;
    *job = NULL;
    if (is_mine) serve_job_free(&own);
    return false;
}

int64_t serve_queue_take(serve_queue *queue, serve_job **job, int64_t most, double wait_s)
{
    const struct timespec until = tdm_after(wait_s);
    int64_t n = 0;
    int code = 0;
    pthread_mutex_lock(&queue->lock);
    while (queue->first == NULL && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&queue->waiting, &queue->lock, &until);
    while (queue->first != NULL && n < most) {
        job[n] = queue->first;
        take_out(queue, job[n++]);
    }
    pthread_mutex_unlock(&queue->lock);
    return n;
}

void serve_queue_answer(serve_queue *queue, serve_job *job)
{
    pthread_mutex_lock(&queue->lock);
    const bool abandoned = job->abandoned;
    job->done = true;
    if (!abandoned) pthread_cond_signal(&job->answered);
    pthread_mutex_unlock(&queue->lock);
    if (abandoned) serve_job_free(&job);
}

void serve_queue_close(serve_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    for (serve_job *job = queue->first; job != NULL; job = queue->first) {
        take_out(queue, job);
        refuse_stop(&job->fault);
        job->done = true;
        pthread_cond_signal(&job->answered);
    }
    pthread_mutex_unlock(&queue->lock);
}

int64_t serve_queue_length(serve_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    const int64_t length = queue->length;
    pthread_mutex_unlock(&queue->lock);
    return length;
}
