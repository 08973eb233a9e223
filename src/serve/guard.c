/* Under mpirun a rank that is silent would let the others wait for ever. Rank 0 shows its life with every turn of its loop,
 * the others with every call that they get, of which rank 0 makes one a second at least. Whoever has seen no life for the
 * time that is allowed ends the job. Time in which the process was stopped itself does not count. */
#include "serve_impl.h"

#include <unistd.h>

static const double tick_s = 0.5;
enum { ABORT_S = 5 };

static void end_job(serve_guard *guard)
{
    alarm(ABORT_S); /* MPI_Abort may hang */
    (void)TDM_ERROR(TDM_E_LIBRARY, "another rank has not answered for %.0f s (--stall): the job is ended",
                    guard->stall_s);
    tdm_comm_abort(guard->comm);
}

static void *watch(void *argument)
{
    serve_guard *guard = argument;
    int64_t seen = 0;
    double quiet_s = 0;
    pthread_setname_np(pthread_self(), "tandem-guard");
    pthread_mutex_lock(&guard->lock);
    while (!guard->stop) {
        const struct timespec until = tdm_after(tick_s);
        const double begin_s = tdm_now_s();
        pthread_cond_timedwait(&guard->wake, &guard->lock, &until);
        const int64_t beats = atomic_load(&guard->beats);
        const double passed_s = tdm_now_s() - begin_s;
        quiet_s = beats != seen ? 0 : quiet_s + (passed_s < 2 * tick_s ? passed_s : 2 * tick_s);
        seen = beats;
        if (quiet_s > guard->stall_s && !guard->stop) end_job(guard);
    }
    pthread_mutex_unlock(&guard->lock);
    return NULL;
}

tdm_status serve_guard_start(serve_guard *guard, tdm_comm *comm, double stall_s)
{
    guard->comm = comm;
    guard->stall_s = stall_s;
    if (tdm_comm_size(comm) == 1) return TDM_OK;
    pthread_mutex_init(&guard->lock, NULL);
    tdm_condition_init(&guard->wake);
    guard->runs = tdm_thread_create(&guard->thread, watch, guard) == 0;
    TDM_REQUIRE(guard->runs, TDM_E_NOMEM, "cannot start a thread");
    return TDM_OK;
}

void serve_guard_beat(serve_guard *guard)
{
    atomic_fetch_add(&guard->beats, 1);
}

void serve_guard_stop(serve_guard *guard)
{
    if (!guard->runs) return;
    pthread_mutex_lock(&guard->lock);
    guard->stop = true;
    pthread_cond_signal(&guard->wake);
    pthread_mutex_unlock(&guard->lock);
    pthread_join(guard->thread, NULL);
    pthread_cond_destroy(&guard->wake);
    pthread_mutex_destroy(&guard->lock);
    guard->runs = false;
}
