/* train.reduce = "auto": the first steps take the ways in turn, and the one that costs less is kept.
 *
 * What a step's sums cost a rank is the time that it spends in them: in polls, and after the last rank has come to the
 * end of backward. What it waits for slower ranks is not counted. Of each step the slowest rank counts, of each way the
 * median step; the first step of a way, which sets up its connections, does not count. */
#include "reducer_impl.h"

#include "tandem/base.h"

#include <stdlib.h>

/* The order of sums, and so their last bits, is MPI's then: that should buy something. */
static const double LEAST_GAIN = 0.05;

bool reducer_is_open(const tdm_reducer *r)
{
    return r->options.reduce == TDM_REDUCE_AUTO && r->options.wire == TDM_WIRE_F32 && r->comm->nodes > 1;
}

/* Steps take the ways in turn: one way's are every REDUCE_WAYS-th. */
static double median_s(const double *tried_s, int way)
{
    double time_s[REDUCE_ROUNDS - 1];
    for (int i = 1; i < REDUCE_ROUNDS; i++) time_s[i - 1] = tried_s[i * REDUCE_WAYS + way];
    qsort(time_s, REDUCE_ROUNDS - 1, sizeof *time_s, tdm_compare_doubles);
    return time_s[(REDUCE_ROUNDS - 1) / 2];
}

static tdm_reduce choose(tdm_reducer *r)
{
    tdm_pulse_wait("maximum of values");
    MPI_Allreduce(MPI_IN_PLACE, r->tried_s, REDUCE_WAYS * REDUCE_ROUNDS, MPI_DOUBLE, MPI_MAX, r->all);
    tdm_pulse_met();
    const double exchange_s = median_s(r->tried_s, TDM_REDUCE_EXCHANGE);
    const double mpi_s = median_s(r->tried_s, TDM_REDUCE_MPI);
    const bool mpi = mpi_s < (1.0 - LEAST_GAIN) * exchange_s;
    tdm_log(
        TDM_LOG_INFO,
        "train.reduce = \"auto\": gradient sums take %.2f ms a step by exchange, %.2f ms by mpi (median of %d "
        "steps, slowest rank, %d nodes): %s from here on",
        1e3 * exchange_s, 1e3 * mpi_s, REDUCE_ROUNDS - 1, r->comm->nodes, mpi ? "mpi" : "exchange");
    return mpi ? TDM_REDUCE_MPI : TDM_REDUCE_EXCHANGE;
}

int reducer_next_way(tdm_reducer *r)
{
    if (r->steps > 0) r->tried_s[r->steps - 1] = r->step_s;
    r->step_s = 0.0;
    if (r->steps < REDUCE_WAYS * REDUCE_ROUNDS) return (int)(r->steps++ % REDUCE_WAYS);
    r->options.reduce = choose(r);
    return (int)r->options.reduce;
}
