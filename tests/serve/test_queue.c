/* Searches that wait: several threads ask, one answers. */
#include "check.h"

#include "../../src/serve/serve_impl.h"

#include <unistd.h>

enum { ASKERS = 8, ROUNDS = 50 };

static serve_queue queue;

static void *ask_often(void *argument)
{
    const int64_t who = *(const int *)argument;
    int64_t *wrong = NULL;
    static int64_t wrongs[ASKERS];
    wrong = &wrongs[who];
    for (int64_t i = 0; i < ROUNDS; i++) {
        serve_job *job = NULL;
        serve_fault fault = {0};
        if (serve_job_create(&job) != TDM_OK) return NULL;
        job->query.row = who * ROUNDS + i;
        const bool fine = serve_queue_ask(&queue, &job, 60, &fault);
        /* every third is refused by the one who answers */
        if (job != NULL && (!fine || job->total != job->query.row + 1)) (*wrong)++;
        if (job == NULL && (fine || fault.status != 418 || (who * ROUNDS + i) % 3 != 0)) (*wrong)++;
        serve_job_free(&job);
    }
    return wrong;
}

static void test_many(void **state)
{
    (void)state;
    pthread_t thread[ASKERS];
    int who[ASKERS];
    serve_job *job[3];
    serve_queue_init(&queue, ASKERS);
    for (int i = 0; i < ASKERS; i++) {
        who[i] = i;
        CHECK_EQ(pthread_create(&thread[i], NULL, ask_often, &who[i]), 0);
    }
    for (int64_t answered = 0; answered < ASKERS * ROUNDS;) {
        const int64_t n = serve_queue_take(&queue, job, 3, 10);
        CHECK_LE(n, 3);
        CHECK_GT(n, 0);
        for (int64_t i = 0; i < n; i++) {
            job[i]->total = job[i]->query.row + 1;
            if (job[i]->query.row % 3 == 0) serve_refuse(&job[i]->fault, 418, "teapot", "no");
            serve_queue_answer(&queue, job[i]);
        }
        answered += n;
    }
    for (int i = 0; i < ASKERS; i++) {
        void *wrong = NULL;
        pthread_join(thread[i], &wrong);
        CHECK_NOT_NULL(wrong);
        CHECK_EQ(*(const int64_t *)wrong, 0);
    }
    CHECK_EQ(serve_queue_take(&queue, job, 3, 0.01), 0);
    serve_queue_destroy(&queue);
}

/* In a thread of its own, so that the queue fills. */
typedef struct waiter {
    pthread_t thread;
    double limit_s;
    serve_fault fault;
    bool fine;
} waiter;

static void *ask_once(void *argument)
{
    waiter *w = argument;
    serve_job *job = NULL;
    if (serve_job_create(&job) != TDM_OK) return NULL;
    w->fine = serve_queue_ask(&queue, &job, w->limit_s, &w->fault);
    serve_job_free(&job);
    return NULL;
}

static void start(waiter *w, double limit_s, int64_t length)
{
    *w = (waiter){.limit_s = limit_s};
    CHECK_EQ(pthread_create(&w->thread, NULL, ask_once, w), 0);
    while (serve_queue_length(&queue) < length) usleep(1000);
}

static void test_limits(void **state)
{
    (void)state;
    waiter first, second, third;
    serve_job *taken = NULL;
    serve_queue_init(&queue, 1);
    start(&first, 0.05, 0); /* its time ends in the queue */
    pthread_join(first.thread, NULL);
    CHECK_STR_EQ(first.fault.code, "timeout");
    CHECK_EQ(serve_queue_length(&queue), 0);
    start(&first, 0.05, 1); /* its time ends while it is answered */
    CHECK_EQ(serve_queue_take(&queue, &taken, 1, 10), 1);
    pthread_join(first.thread, NULL);
    CHECK_STR_EQ(first.fault.code, "timeout");
    serve_queue_answer(&queue, taken); /* nobody waits for it: it is freed */
    start(&first, 60, 1);
    start(&second, 60, 0);
    pthread_join(second.thread, NULL);
    CHECK_STR_EQ(second.fault.code, "busy");
    CHECK_EQ(second.fault.status, 503);
    serve_queue_close(&queue);
    pthread_join(first.thread, NULL);
    CHECK_STR_EQ(first.fault.code, "stopping");
    start(&third, 60, 0);
    pthread_join(third.thread, NULL);
    CHECK_STR_EQ(third.fault.code, "stopping");
    serve_queue_destroy(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
