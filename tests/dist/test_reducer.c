/* The bucketed reducer on 1-4 ranks, which form one node, even or uneven nodes, or a node each, with every way between
 * them: sums, overlap with other collectives, reuse over steps, bf16 between nodes, sharded sums and gathered weights,
 * the choice of a way. */
#include "check.h"
#include "tandem/base.h"
#include "tandem/comm.h"
#include "tandem/rng.h"

#include "../../src/dist/reducer_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static tdm_comm *comm;
static int rank, size;

static tdm_reduce reduce; /* that reducers are created with */

/* Runs `body` with every division into nodes, NULL the true one, and every way between these. */
static void with_nodes(void (*body)(void))
{
    static const char *const layout[5][6] = {
        [1] = {NULL}, [2] = {"1", NULL}, [3] = {"1", "2", NULL}, [4] = {"1", "2", "3,1", NULL}};
    for (int i = 0; i == 0 || layout[size][i - 1]; i++) {
        CHECK_OK(comm_find_nodes(comm, layout[size][i]));
        if (layout[size][i] && strcmp(layout[size][i], "1") == 0) CHECK_EQ(tdm_comm_nodes(comm), size);
        for (reduce = TDM_REDUCE_EXCHANGE; reduce <= TDM_REDUCE_MPI; reduce++)
            if (reduce == TDM_REDUCE_EXCHANGE || tdm_comm_nodes(comm) > 1) body();
        reduce = TDM_REDUCE_EXCHANGE;
    }
}

static tdm_reducer *create(float *grad, const tdm_span *span, int64_t spans, int64_t bucket_bytes)
{
    const tdm_reducer_options options = {.bucket_bytes = bucket_bytes, .reduce = reduce, .threads = 2};
    tdm_reducer *reducer;
    CHECK_OK(tdm_reducer_create(comm, grad, NULL, span, spans, &options, &reducer));
    return reducer;
}

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
        CHECK_EQ(ranks[size - 1], size - 1);
    }
    tdm_comm_time time = {0};
    tdm_reducer_finish(reducer, &time);
    CHECK_GE(time.wait_s, 0);
    CHECK_GE(time.transfer_s, 0);
    if (size == 1) {
        CHECK_EQ(time.wait_s, 0);
        CHECK_EQ(time.transfer_s, 0);
    }
    for (int64_t i = 0; i < count; i++) {
        const float want = (float)(size * (i % 1000 + round) + size * (size - 1) / 2);
        if (grad[i] != want) fail_msg("element %lld is %g, not %g", (long long)i, grad[i], want);
    }
}

static void check_reducer(int64_t count, int64_t bucket_bytes, int64_t step)
{
    float *grad;
    CHECK_OK(TDM_ALLOC(count, &grad));
    tdm_reducer *reducer = create(grad, &(tdm_span){0, count}, 1, bucket_bytes);
    const int rounds = reduce == TDM_REDUCE_EXCHANGE ? 3 : 2;
    for (int round = 0; round < rounds; round++) run_step(reducer, grad, count, step, round);
    tdm_reducer_destroy(&reducer);
    CHECK_NULL(reducer);
    tdm_reducer_destroy(&reducer);
    tdm_free(grad);
}

static void check_buckets(void)
{
    check_reducer(1000, 400, 70);   /* ten whole buckets */
    check_reducer(1001, 400, 333);  /* a short last one */
    check_reducer(64, 1 << 20, 16); /* one bucket larger than the arena */
    check_reducer(1, 4, 1);
    check_reducer(300000, 1 << 18, 40000); /* several blocks of several threads */
}

static void test_buckets(void **state)
{
    (void)state;
    with_nodes(check_buckets);
}

/* Ranks may report progress at different places of the same step. */
static void check_uneven_progress(void)
{
    enum { N = 400 };
    float grad[N];
    tdm_reducer *reducer = create(grad, &(tdm_span){0, N}, 1, 200);
    for (int i = 0; i < N; i++) grad[i] = (float)(i + rank);
    if (rank % 2 == 0) tdm_reducer_ready(reducer, 120);
    tdm_comm_barrier(comm);
    tdm_comm_time time = {0};
    tdm_reducer_finish(reducer, &time);
    for (int i = 0; i < N; i++) CHECK_EQ(grad[i], (float)(size * i + size * (size - 1) / 2));
    tdm_reducer_destroy(&reducer);
}

static void test_uneven_progress(void **state)
{
    (void)state;
    with_nodes(check_uneven_progress);
}

/* Time until a late rank comes is waiting. It sleeps for 300 ms; 200 of them are left for a busy machine. */
static void test_waiting(void **state)
{
    (void)state;
    float grad[100] = {0};
    tdm_reducer *reducer = create(grad, &(tdm_span){0, 100}, 1, 200);
    tdm_comm_time time = {0};
    tdm_comm_barrier(comm);
    if (rank == size - 1) nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    tdm_reducer_finish(reducer, &time);
    if (rank < size - 1) CHECK_GT(time.wait_s, 0.1);
    tdm_reducer_destroy(&reducer);
}

/* Only what the spans cover is summed; buckets (of 50 elements) begin anew at each span's end. */
static void check_spans(void)
{
    enum { N = 1000 };
    static const tdm_span span[] = {{3, 120}, {200, 201}, {460, 910}};
    float grad[N];
    tdm_reducer *reducer = create(grad, span, 3, 200);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) grad[i] = (float)(i + rank + round);
        for (int64_t begin = N; begin >= 0; begin -= 90) tdm_reducer_ready(reducer, begin);
        tdm_comm_time time = {0};
        tdm_reducer_finish(reducer, &time);
        for (int i = 0; i < N; i++) {
            bool inside = false;
            for (int s = 0; s < 3; s++) inside |= i >= span[s].begin && i < span[s].end;
            CHECK_EQ(grad[i],
                     (float)(inside ? size * (i + round) + size * (size - 1) / 2 : i + rank + round));
        }
    }
    tdm_reducer_destroy(&reducer);
    reducer = create(grad, NULL, 0, 200); /* nothing to sum */
    tdm_comm_time time = {0};
    tdm_reducer_ready(reducer, 0);
    tdm_reducer_finish(reducer, &time);
    tdm_reducer_destroy(&reducer);
}

static void test_spans(void **state)
{
    (void)state;
    with_nodes(check_spans);
}

/* The same inputs give the same bits, step after step. */
static void check_deterministic(void)
{
    enum { N = 5000 };
    static float grad[N], first[N];
    tdm_reducer *reducer = create(grad, &(tdm_span){0, N}, 1, 4096);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < N; i++) grad[i] = 1.0F / (float)(1 + i * 7 + rank * 13);
        for (int64_t begin = N; begin > 0; begin -= 500) {
            tdm_reducer_ready(reducer, begin);
            if ((round + rank) % 2) tdm_reducer_poll(reducer);
        }
        tdm_comm_time time = {0};
        tdm_reducer_finish(reducer, &time);
        if (round == 0) memcpy(first, grad, sizeof first);
        if (reduce == TDM_REDUCE_EXCHANGE) CHECK_MEM_EQ(first, grad, sizeof first);
    }
    tdm_reducer_destroy(&reducer);
}

static void test_deterministic(void **state)
{
    (void)state;
    with_nodes(check_deterministic);
    float grad[1];
    tdm_reducer *reducer;
    const tdm_reducer_options options = {.bucket_bytes = 3};
    CHECK_FAILS(tdm_reducer_create(comm, grad, NULL, &(tdm_span){0, 1}, 1, &options, &reducer), TDM_E_CONFIG,
                "");
    CHECK_NULL(reducer);
}

/* What every rank has at element i. */
static float addend(int of, int64_t i)
{
    tdm_rng rng = tdm_rng_at(3, (uint64_t)of, (uint64_t)i, TDM_RNG_TEST);
    return (float)tdm_rng_normal(&rng);
}

enum { COUNT = 20000, BUCKET_BYTES = 16384 };
static const tdm_span spans[] = {{16, 9000}, {9104, COUNT}};

static bool inside(int64_t i)
{
    return (i >= spans[0].begin && i < spans[0].end) || (i >= spans[1].begin && i < spans[1].end);
}

static void run_sums(float *grad, float *weight, tdm_wire wire, bool shard)
{
    const tdm_reducer_options options = {
        .bucket_bytes = BUCKET_BYTES, .wire = wire, .reduce = reduce, .shard = shard, .threads = 1};
    tdm_reducer *reducer;
    tdm_comm_time time = {0};
    CHECK_OK(tdm_reducer_create(comm, grad, weight, spans, 2, &options, &reducer));
    for (int round = 0; round < 2; round++) {
        for (int64_t i = 0; i < COUNT; i++) grad[i] = addend(rank, i);
        for (int64_t begin = COUNT; begin > 0; begin -= 700) tdm_reducer_ready(reducer, begin);
        tdm_reducer_finish(reducer, &time);
        if (shard) tdm_reducer_gather(reducer, &time);
    }
    tdm_reducer_destroy(&reducer);
}

/* Every rank has the same bits where something was summed. */
static void check_agreed(const float *grad)
{
    uint64_t digest = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        uint32_t bits;
        memcpy(&bits, &grad[i], sizeof bits);
        if (inside(i)) digest = digest * 31 + bits;
    }
    CHECK_TRUE(tdm_comm_all_equal_u64(comm, digest));
}

/* Beside plain sums in double. off: of an addend, and again of the sum, relative to them; f32 adds 1e-6. */
static void check_sum(float sum, int64_t i, double off)
{
    double want = 0, size_sum = 0;
    for (int r = 0; r < size; r++) {
        want += addend(r, i);
        size_sum += fabs(addend(r, i));
    }
    if (!(fabs(sum - want) <= (size_sum + fabs(want)) * off + 1e-6 * size_sum))
        fail_msg("element %lld is %g, not %g, on %d nodes", (long long)i, sum, want, tdm_comm_nodes(comm));
}

static void check_whole(void)
{
    static float grad[COUNT];
    run_sums(grad, NULL, TDM_WIRE_F32, false);
    for (int64_t i = 0; i < COUNT; i++)
        if (inside(i))
            check_sum(grad[i], i, 0);
        else
            CHECK_EQ(grad[i], addend(rank, i));
    check_agreed(grad);
}

static void test_whole(void **state)
{
    (void)state;
    with_nodes(check_whole);
}

/* Addends are added in the order of the ranks: where only the first node has several, the bits are those of one node. */
static void test_same_bits(void **state)
{
    (void)state;
    static const char *const sizes[] = {"1", "2,1", "3,1"};
    static float one[COUNT], many[COUNT];
    CHECK_OK(comm_find_nodes(comm, NULL));
    run_sums(one, NULL, TDM_WIRE_F32, false);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK_OK(comm_find_nodes(comm, sizes[i]));
        run_sums(many, NULL, TDM_WIRE_F32, false);
        for (int64_t k = 0; k < COUNT; k++)
            if (inside(k)) CHECK_MEM_EQ(&many[k], &one[k], sizeof *one);
    }
}

/* Each addend is off by 2^-8 of itself at most, the sum by 2^-8 again. */
static void check_bf16(void)
{
    static float grad[COUNT];
    if (reduce == TDM_REDUCE_MPI) {
        tdm_reducer *reducer;
        const tdm_reducer_options options = {.bucket_bytes = 64, .wire = TDM_WIRE_BF16, .reduce = reduce};
        CHECK_FAILS(tdm_reducer_create(comm, grad, NULL, spans, 2, &options, &reducer), TDM_E_CONFIG, "bf16");
        return;
    }
    run_sums(grad, NULL, TDM_WIRE_BF16, false);
    for (int64_t i = 0; i < COUNT; i++)
        if (inside(i))
            check_sum(grad[i], i, tdm_comm_nodes(comm) > 1 ? 1.01 / 256 : 0);
        else
            CHECK_EQ(grad[i], addend(rank, i));
    check_agreed(grad);
}

static void test_bf16(void **state)
{
    (void)state;
    with_nodes(check_bf16);
}

/* A rank's part is the whole sum's (by exchange, its bits); the parts cover the spans once; gathered weights are
 * everywhere what their owner has. */
static void check_shard(void)
{
    static float whole[COUNT], grad[COUNT], weight[COUNT];
    static int64_t owners[COUNT];
    tdm_span *part;
    int64_t parts;
    CHECK_OK(tdm_comm_part(comm, spans, 2, BUCKET_BYTES, &part, &parts));
    memset(owners, 0, sizeof owners);
    for (int64_t i = 0; i < COUNT; i++) weight[i] = inside(i) ? (float)NAN : -1;
    for (int64_t p = 0; p < parts; p++) {
        CHECK_LT(part[p].begin, part[p].end);
        CHECK_TRUE(p == 0 || part[p - 1].end < part[p].begin);
        for (int64_t i = part[p].begin; i < part[p].end; i++) {
            owners[i]++;
            weight[i] = addend(100, i);
        }
    }
    run_sums(whole, NULL, TDM_WIRE_F32, false);
    run_sums(grad, weight, TDM_WIRE_F32, true);
    for (int64_t p = 0; p < parts; p++) {
        for (int64_t i = part[p].begin; i < part[p].end; i++) check_sum(grad[i], i, 0);
        if (reduce == TDM_REDUCE_EXCHANGE)
            CHECK_MEM_EQ(grad + part[p].begin, whole + part[p].begin,
                         (size_t)(part[p].end - part[p].begin) * sizeof *grad);
    }
    tdm_free(part);
    tdm_comm_sum_i64(comm, owners, COUNT);
    for (int64_t i = 0; i < COUNT; i++) {
        CHECK_EQ(owners[i], inside(i));
        CHECK_EQ(weight[i], inside(i) ? addend(100, i) : -1);
    }
}

static void test_shard(void **state)
{
    (void)state;
    with_nodes(check_shard);
}

/* In a made-up cluster, every element of a bucket is some rank's and one's only, a rank's elements lie in the part that
 * it adds in its node, and ranks complete about as many: a cut is off by 16 elements, and a piece has three. */
static void check_cluster(const int *ranks, int nodes, int64_t length)
{
    enum { LONGEST = 4000 };
    static int owners[LONGEST];
    int node_begin[8] = {0};
    for (int m = 0; m < nodes; m++) node_begin[m + 1] = node_begin[m] + ranks[m];
    memset(owners, 0, sizeof owners);
    for (int m = 0; m < nodes; m++)
        for (int place = 0; place < ranks[m]; place++) {
            tdm_comm one = {.size = node_begin[nodes],
                            .nodes = nodes,
                            .node_index = m,
                            .node_rank = place,
                            .node_size = ranks[m],
                            .node_begin = node_begin};
            int64_t completed = 0;
            CHECK_OK(comm_cut_cells(&one));
            const tdm_span part = part_of(&one, (tdm_span){0, length});
            for (int c = one.first_cell; c < one.first_cell + one.own_cells; c++) {
                const tdm_span own = piece_of(&one, cell_of(&one, (tdm_span){0, length}, c), m);
                CHECK_TRUE(own.begin == own.end || (own.begin >= part.begin && own.end <= part.end));
                for (int64_t i = own.begin; i < own.end; i++) owners[i]++;
                completed += own.end - own.begin;
            }
            CHECK_LE(llabs(completed - length / one.size), 48 * one.own_cells);
            tdm_free(one.cut);
        }
    for (int64_t i = 0; i < length; i++) CHECK_EQ(owners[i], 1);
}

static void test_clusters(void **state)
{
    (void)state;
    static const int ranks[][4] = {{1},    {4},          {2, 2, 2},    {3, 1},      {1, 3},
                                   {4, 2}, {5, 3, 2, 1}, {8, 7, 8, 8}, {6, 4, 6, 4}};
    static const int64_t length[] = {1, 15, 16, 17, 100, 1000, 3999};
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
        for (size_t k = 0; k < sizeof length / sizeof *length; k++) {
            int nodes = 0;
            while (nodes < 4 && ranks[i][nodes] > 0) nodes++;
            check_cluster(ranks[i], nodes, length[k]);
        }
    static const char *const wrong[] = {"", "0", "-1", "2,", ",2", "2x", "3,1.5"};
    for (size_t i = 0; size > 1 && i < sizeof wrong / sizeof *wrong; i++)
        CHECK_FAILS(comm_find_nodes(comm, wrong[i]), TDM_E_USAGE, "TANDEM_NODE_RANKS");
    CHECK_OK(comm_find_nodes(comm, NULL));
}

/* The first steps take both ways in turn, then all ranks keep the same one; every step's sums are right. */
static void test_choice(void **state)
{
    (void)state;
    enum { N = 500, STEPS = REDUCE_WAYS * REDUCE_ROUNDS };
    float grad[N];
    CHECK_OK(comm_find_nodes(comm, "1"));
    reduce = TDM_REDUCE_AUTO;
    tdm_reducer *reducer = create(grad, &(tdm_span){0, N}, 1, 400);
    for (int round = 0; round < STEPS + 2; round++) {
        run_step(reducer, grad, N, 90, round);
        if (size > 1 && round < STEPS)
            CHECK_TRUE(reducer->way == (round % 2 ? &reduce_mpi : &reduce_exchange));
    }
    if (size > 1) {
        CHECK_TRUE(reducer->options.reduce != TDM_REDUCE_AUTO);
        CHECK_TRUE(tdm_comm_all_equal_u64(comm, reducer->options.reduce));
    }
    tdm_reducer_destroy(&reducer);
    reduce = TDM_REDUCE_EXCHANGE;
}

int main(int argc, char **argv)
{
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets),       cmocka_unit_test(test_uneven_progress),
        cmocka_unit_test(test_waiting),       cmocka_unit_test(test_spans),
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_shard),         cmocka_unit_test(test_whole),
        cmocka_unit_test(test_same_bits),     cmocka_unit_test(test_clusters),
        cmocka_unit_test(test_choice),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    return failed;
}
