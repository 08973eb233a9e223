/* The same bytes summed over the ranks in several ways, in turn, so that all see the same machine:
 *
 *   MPI_Allreduce   one call, in place
 *   f32             the trainer's sums in buckets, by exchange between nodes
 *   bf16            the same, bf16 between nodes
 *   shard           sums of this rank's part, then all parts gathered, as with optim.shard
 *   mpi             f32 by MPI's collectives between nodes, in the same buckets (train.reduce = "mpi")
 *   mpi shard       the same with optim.shard
 *
 * The last two only where there are several nodes. The largest sum is measured with other buckets, too.
 *
 * Nothing overlaps with anything: a sum begins when all ranks are there. Bus bandwidth is
 * 2·(p-1)/p·bytes/time, what a rank must send at least: the same for all. CPU time tells what it takes
 * from the cores that compute. */
#include "bench_comm.h"
#include "result_json.h"

#include "tandem/base.h"

#include <jansson.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>

enum { LEAST_BYTES = 64 << 10, MOST_BUCKET_MIB = 64 };
static const double LEAST_TIME_S = 0.01; /* of one measurement */

typedef struct way {
    const char *name;
    bool buckets, shard;
    tdm_wire wire;
    tdm_reduce reduce;
} way;

static const way ways[] = {
    {"MPI_Allreduce", .buckets = false},
    {"f32", .buckets = true},
    {"bf16", .buckets = true, .wire = TDM_WIRE_BF16},
    {"shard", .buckets = true, .shard = true},
    {"mpi", .buckets = true, .reduce = TDM_REDUCE_MPI},
    {"mpi shard", .buckets = true, .shard = true, .reduce = TDM_REDUCE_MPI},
};
enum { WAYS = sizeof ways / sizeof *ways };

typedef struct sums {
    tdm_comm *comm;
    const bench_comm_options *options;
    int64_t bucket_mib;
    float *data; /* zeros, which stay zeros however often they are summed */
    json_t *results;
    int64_t repeats[WAYS];
    double *time_s[WAYS]; /* [rounds], of the slowest rank */
    double *cpu_s[WAYS];  /* [rounds], mean over the ranks */
} sums;

static double cpu_now_s(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

/* Whether it is another way than those before it here. */
static bool is_measured(const sums *s, int w)
{
    return ways[w].reduce == TDM_REDUCE_EXCHANGE || tdm_comm_nodes(s->comm) > 1;
}

static void sum_once(sums *s, int w, tdm_reducer *reducer, int64_t count)
{
    tdm_comm_time time = {0};
    if (!ways[w].buckets) {
        tdm_comm_sum_f32(s->comm, s->data, count);
        return;
    }
    tdm_reducer_ready(reducer, 0);
    tdm_reducer_finish(reducer, &time);
    if (ways[w].shard) tdm_reducer_gather(reducer, &time);
}

/* Seconds of `repeats` sums, of the slowest rank. */
static double time_sums(sums *s, int w, tdm_reducer *reducer, int64_t count, int64_t repeats)
{
    tdm_comm_barrier(s->comm);
    const double start_s = tdm_now_s();
    for (int64_t i = 0; i < repeats; i++) sum_once(s, w, reducer, count);
    double time_s = tdm_now_s() - start_s;
    tdm_comm_max_f64(s->comm, &time_s, 1);
    return time_s;
}

/* Small sums are repeated, for a clock that ticks coarsely. A first time (round -1) finds out how often, and does not
 * count. */
static void measure(sums *s, int w, tdm_reducer *reducer, int64_t count, int64_t round)
{
    if (round < 0) {
        enum { MOST_REPEATS = 200 };
        (void)time_sums(s, w, reducer, count, 1);
        const double one_s = time_sums(s, w, reducer, count, 1);
        s->repeats[w] = (int64_t)fmax(1.0, fmin(MOST_REPEATS, LEAST_TIME_S / one_s));
        return;
    }
    const double cpu_start_s = cpu_now_s();
    s->time_s[w][round] = time_sums(s, w, reducer, count, s->repeats[w]) / (double)s->repeats[w];
    double cpu_s = (cpu_now_s() - cpu_start_s) / (double)s->repeats[w];
    tdm_comm_sum_f64(s->comm, &cpu_s, 1);
    s->cpu_s[w][round] = cpu_s / tdm_comm_size(s->comm);
}

static void report(sums *s, int w, int64_t bytes)
{
    const int64_t rounds = s->options->rounds;
    const int ranks = tdm_comm_size(s->comm);
    const double bus_bytes = 2.0 * (ranks - 1) / ranks * (double)bytes;
    double *time_s = s->time_s[w], *cpu_s = s->cpu_s[w];
    qsort(time_s, (size_t)rounds, sizeof(double), tdm_compare_doubles);
    qsort(cpu_s, (size_t)rounds, sizeof(double), tdm_compare_doubles);
    const double gb = bus_bytes * 1e-9, median = gb / time_s[rounds / 2];
    if (tdm_comm_rank(s->comm) != 0) return;
    fprintf(stderr,
            "%10.0f KiB / %3lld MiB  %-14s %7.2f GB/s (%.2f to %.2f)  %9.3f ms  %9.3f ms CPU per rank\n",
            (double)bytes / 1024, (long long)s->bucket_mib, ways[w].name, median, gb / time_s[rounds - 1],
            gb / time_s[0], time_s[rounds / 2] * 1e3, cpu_s[rounds / 2] * 1e3);
    json_t *row = json_object();
    json_object_set_new(row, "bytes", json_integer(bytes));
    json_object_set_new(row, "bucket_mib", json_integer(s->bucket_mib));
    json_object_set_new(row, "way", json_string(ways[w].name));
    json_object_set_new(row, "bus_gb_per_s", json_real(median));
    json_object_set_new(row, "bus_gb_per_s_min", json_real(gb / time_s[rounds - 1]));
    json_object_set_new(row, "bus_gb_per_s_max", json_real(gb / time_s[0]));
    json_object_set_new(row, "time_s", json_real(time_s[rounds / 2]));
    json_object_set_new(row, "cpu_s", json_real(cpu_s[rounds / 2]));
    json_array_append_new(s->results, row);
}

static tdm_status create_reducers(sums *s, int64_t count, tdm_reducer *reducer[WAYS])
{
    for (int w = 0; w < WAYS; w++) {
        const tdm_reducer_options options = {
            .bucket_bytes = s->bucket_mib << 20,
            .wire = ways[w].wire,
            .reduce = ways[w].reduce,
            .shard = ways[w].shard,
            .threads = s->options->threads,
        };
        if (ways[w].buckets && is_measured(s, w))
            TDM_TRY(tdm_reducer_create(s->comm, s->data, s->data, &(tdm_span){0, count}, 1, &options,
                                       &reducer[w]));
    }
    return TDM_OK;
}

static tdm_status measure_size(sums *s, int64_t bytes, int64_t bucket_mib)
{
    const int64_t count = bytes / (int64_t)sizeof(float);
    tdm_reducer *reducer[WAYS] = {NULL};
    s->bucket_mib = bucket_mib;
    const tdm_status status = create_reducers(s, count, reducer);
    for (int64_t round = -1; status == TDM_OK && round < s->options->rounds; round++)
        for (int w = 0; w < WAYS; w++)
            if (is_measured(s, w)) measure(s, w, reducer[w], count, round);
    for (int w = 0; w < WAYS; w++) {
        tdm_reducer_destroy(&reducer[w]);
        if (status == TDM_OK && is_measured(s, w)) report(s, w, bytes);
    }
    return status;
}

static tdm_status allocate(sums *s)
{
    for (int w = 0; w < WAYS; w++) {
        TDM_TRY(TDM_ALLOC(s->options->rounds, &s->time_s[w]));
        TDM_TRY(TDM_ALLOC(s->options->rounds, &s->cpu_s[w]));
    }
    return TDM_ALLOC((s->options->max_mib << 20) / (int64_t)sizeof(float), &s->data);
}

static tdm_status write_json(sums *s)
{
    if (tdm_comm_rank(s->comm) != 0) return TDM_OK;
    json_t *root = json_object();
    json_object_set_new(root, "ranks", json_integer(tdm_comm_size(s->comm)));
    json_object_set_new(root, "nodes", json_integer(tdm_comm_nodes(s->comm)));
    json_object_set_new(root, "threads", json_integer(s->options->threads));
    json_object_set_new(root, "bucket_mib", json_integer(s->options->bucket_mib));
    json_object_set_new(root, "rounds", json_integer(s->options->rounds));
    json_object_set(root, "results", s->results);
    const tdm_status status = result_write(root, 9, s->options->json);
    json_decref(root);
    return status;
}

static tdm_status measure_all(sums *s)
{
    int64_t largest = 0;
    TDM_AGREE(s->comm, allocate(s));
    for (int64_t bytes = LEAST_BYTES; bytes <= s->options->max_mib << 20; bytes *= 2) {
        TDM_TRY(measure_size(s, bytes, s->options->bucket_mib));
        largest = bytes;
    }
    for (int64_t mib = 1; mib << 20 < largest && mib <= MOST_BUCKET_MIB; mib *= 4)
        if (mib != s->options->bucket_mib) TDM_TRY(measure_size(s, largest, mib));
    return tdm_comm_agree(s->comm, write_json(s));
}

tdm_status bench_comm(tdm_comm *comm, const bench_comm_options *options)
{
    sums s = {.comm = comm, .options = options, .results = json_array()};
    tdm_log(TDM_LOG_INFO, "%d ranks on %d nodes, %d threads, buckets of %lld MiB", tdm_comm_size(comm),
            tdm_comm_nodes(comm), options->threads, (long long)options->bucket_mib);
    const tdm_status status = measure_all(&s);
    json_decref(s.results);
    tdm_free(s.data);
    for (int w = 0; w < WAYS; w++) {
        tdm_free(s.time_s[w]);
        tdm_free(s.cpu_s[w]);
    }
    return status;
}
