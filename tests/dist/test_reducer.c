/* The bucketed reducer on 1-4 ranks: sums, overlap with other collectives, reuse over steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tandem/base.h"
#include "tandem/comm.h"

#include <math.h>
#include <string.h>

static tdm_comm *comm;
static int rank, size;

/* Backward in pieces of `step` elements from the end; what is not final yet holds NaN until it is written. */
static void run_step(tdm_reducer *reducer, float *grad, int64_t count, int64_t step, int round)
{
    for (int64_t i = 0; i < count; i++) grad[i] = (float)NAN;
    for (int64_t begin = count; begin > 0;) {
        const int64_t next = tdm_max_i64(0, begin - step);
        for (int64_t i = next; i < begin; i++) grad[i] = (float)(i % 1000 + rank + round);
        begin = next;
        if (begin > count / 3) tdm_reducer_ready(reducer, begin); /* the rest is left to finish */
        tdm_reducer_poll(reducer);
        int64_t ranks[8];
        tdm_comm_gather_i64(comm, rank, ranks); /* another collective in between, on another communicator */
        assert_int_equal(ranks[size - 1], size - 1);
    }
    double exposed_s = -1;
    tdm_reducer_finish(reducer, &exposed_s);
    assert_true(exposed_s >= 0);
    for (int64_t i = 0; i < count; i++) {
        const float want = (float)(size * (i % 1000 + round) + size * (size - 1) / 2);
        if (grad[i] != want) fail_msg("element %lld is %g, not %g", (long long)i, grad[i], want);
    }
}

static void check_reducer(int64_t count, int64_t bucket_bytes, int64_t step)
{
    float *grad;
    assert_int_equal(TDM_ALLOC(count, &grad), TDM_OK);
    tdm_reducer *reducer;
    assert_int_equal(tdm_reducer_create(comm, grad, &(tdm_span){0, count}, 1, bucket_bytes, &reducer),
                     TDM_OK);
    for (int round = 0; round < 3; round++) run_step(reducer, grad, count, step, round);
    tdm_reducer_destroy(&reducer);
    assert_null(reducer);
    tdm_reducer_destroy(&reducer);
    tdm_free(grad);
}

static void test_buckets(void **state)
{
    (void)state;
    check_reducer(1000, 400, 70);   /* ten whole buckets */
    check_reducer(1001, 400, 333);  /* a short last one */
    check_reducer(64, 1 << 20, 16); /* one bucket larger than the arena */
    check_reducer(1, 4, 1);
    check_reducer(300000, 1 << 18, 40000); /* large enough for the ring algorithm */
}

/* Ranks may report progress at different places of the same step. */
static void test_uneven_progress(void **state)
{
    (void)state;
    enum { N = 400 };
    float grad[N];
    tdm_reducer *reducer;
    assert_int_equal(tdm_reducer_create(comm, grad, &(tdm_span){0, N}, 1, 200, &reducer), TDM_OK);
    for (int i = 0; i < N; i++) grad[i] = (float)(i + rank);
    if (rank % 2 == 0) tdm_reducer_ready(reducer, 120);
    tdm_comm_barrier(comm);
    double exposed_s;
    tdm_reducer_finish(reducer, &exposed_s);
    for (int i = 0; i < N; i++) assert_true(grad[i] == (float)(size * i + size * (size - 1) / 2));
    tdm_reducer_destroy(&reducer);
}

/* Only what the spans cover is summed; buckets (of 50 elements) begin anew at each span's end. */
static void test_spans(void **state)
{
    (void)state;
    enum { N = 1000 };
    static const tdm_span span[] = {{3, 120}, {200, 201}, {460, 910}};
    float grad[N];
    tdm_reducer *reducer;
    assert_int_equal(tdm_reducer_create(comm, grad, span, 3, 200, &reducer), TDM_OK);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) grad[i] = (float)(i + rank + round);
        for (int64_t begin = N; begin >= 0; begin -= 90) tdm_reducer_ready(reducer, begin);
        double exposed_s;
        tdm_reducer_finish(reducer, &exposed_s);
        for (int i = 0; i < N; i++) {
            bool inside = false;
            for (int s = 0; s < 3; s++) inside |= i >= span[s].begin && i < span[s].end;
            assert_true(grad[i] ==
                        (float)(inside ? size * (i + round) + size * (size - 1) / 2 : i + rank + round));
        }
    }
    tdm_reducer_destroy(&reducer);
    assert_int_equal(tdm_reducer_create(comm, grad, NULL, 0, 200, &reducer), TDM_OK); /* nothing to sum */
    double exposed_s;
    tdm_reducer_ready(reducer, 0);
    tdm_reducer_finish(reducer, &exposed_s);
    tdm_reducer_destroy(&reducer);
}

/* The same inputs give the same bits, step after step. */
static void test_deterministic(void **state)
{
    (void)state;
    enum { N = 5000 };
    static float grad[N], first[N];
    tdm_reducer *reducer;
    assert_int_equal(tdm_reducer_create(comm, grad, &(tdm_span){0, N}, 1, 4096, &reducer), TDM_OK);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < N; i++) grad[i] = 1.0F / (float)(1 + i * 7 + rank * 13);
        for (int64_t begin = N; begin > 0; begin -= 500) {
            tdm_reducer_ready(reducer, begin);
            if ((round + rank) % 2) tdm_reducer_poll(reducer);
        }
        double exposed_s;
        tdm_reducer_finish(reducer, &exposed_s);
        if (round == 0) memcpy(first, grad, sizeof first);
        assert_memory_equal(first, grad, sizeof first);
    }
    tdm_reducer_destroy(&reducer);
    assert_int_equal(tdm_reducer_create(comm, grad, &(tdm_span){0, N}, 1, 3, &reducer), TDM_E_CONFIG);
    assert_null(reducer);
}

int main(int argc, char **argv)
{
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_uneven_progress),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_deterministic),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    return failed;
}
