/* The watchdog's threads. One looks at the pulse and judges; it never touches a file, so that a file system that hangs
 * cannot silence it. The other one, which starts when ranks do not meet for the first time, reads and writes the files
 * of RUN/.tandem-stall. */
#include "watch_impl.h"

#include "tandem/base.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STALL_DIR   ".tandem-stall"
#define STALL_NOTE  "stalled.txt"
#define THREAD_NAME "tandem-watch"

enum { MOST_GRACE_S = 120, MOST_TICK_S = 5, ABORT_S = 5, JOIN_S = 10, LINE = 1024 };

struct tdm_watch {
    tdm_comm *comm; /* borrowed */
    bool end;
    /* quiet for ask_s: wants to know about the others; no answer for grace_s: silent; no meeting for look_s: looks
     * whether somebody asks, and writes anew in the same rhythm */
    double stall_s, ask_s, grace_s, look_s, tick_s;
    char note[TDM_PATH_BYTES];
    stall_process *process; /* [size] */

    pthread_t judge, poster;
    bool judge_runs, poster_runs;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool stop, apart; /* apart: no meeting for look_s */
    stall_state own;
    stall_peer *peer; /* [size] as of the last round */
    double round_s;   /* when it ended; < 0: there was none since this rank is apart */
    double apart_s;   /* when that began */
    bool end_told;

    stall_files files; /* the poster's */

    /* the judge's */
    double last_s, unmet_s; /* unmet_s: without a meeting */
    double woken_s;         /* when this process last went on after it was stopped */
    stall_verdict verdict, said;
    bool has_said, is_ending;
};

/* ---- The end of the job ---- */

static void sleep_s(double s)
{
    const struct timespec time = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};
    nanosleep(&time, NULL);
}

/* MPI_Abort and writing may hang. */
static void *end_anyway(void *unused)
{
    (void)unused;
    sleep_s(ABORT_S);
    _Exit(TDM_EXIT_STALLED);
}

static void write_note(const tdm_watch *w, const char *reason)
{
    tdm_text text = {0};
    char when[64] = "";
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL) (void)strftime(when, sizeof when, "%F %T UTC", &utc);
    if (tdm_text_printf(&text, "%s\nended with exit code %d at %s (train.stall_end)\n", reason,
                        TDM_EXIT_STALLED, when) != TDM_OK ||
        tdm_write_file_atomic(w->note, text.data, text.length) != TDM_OK)
        tdm_log_always("tandem: %s", tdm_error_last()->message);
    tdm_text_free(&text);
}

/* reason: NULL where another rank ends the job; then this one waits to be ended. */
static void end_job(tdm_watch *w, const char *reason)
{
    pthread_t thread;
    if (w->is_ending) return;
    w->is_ending = true;
    if (pthread_create(&thread, NULL, end_anyway, NULL) != 0) _Exit(TDM_EXIT_STALLED);
    pthread_detach(thread);
    if (reason == NULL) return;
    write_note(w, reason);
    stall_files_tell_end(&w->files);
    sleep_s(0.3); /* as in tdm_comm_abort */
    if (w->comm->size > 1) MPI_Abort(w->comm->mpi, TDM_EXIT_STALLED);
    _Exit(TDM_EXIT_STALLED);
}

/* ---- What is going on here ---- */

static void note_name(char to[NAME_BYTES], const char *name)
{
    snprintf(to, NAME_BYTES, "%s", name == NULL ? "" : name);
}

/* Seconds since the last tick, as far as this thread ran: not those in which the process was stopped. */
static double awake_s(tdm_watch *w)
{
    const double now_s = tdm_now_s(), passed_s = now_s - w->last_s, most_s = 2.0 * w->tick_s;
    w->last_s = now_s;
    if (passed_s > w->grace_s / 2.0) w->woken_s = now_s;
    return passed_s < most_s ? passed_s : most_s;
}

/* The lock is held. Returns for how long there was no progress that is over now, 0: none or it is not. */
static double observe(tdm_watch *w)
{
    tdm_pulse *p = &tdm_pulse_here;
    stall_state *own = &w->own;
    const double passed_s = awake_s(w), quiet_s = own->quiet_s;
    const int64_t beats = atomic_load_explicit(&p->beats, memory_order_relaxed);
    const int64_t meetings = atomic_load_explicit(&p->meetings, memory_order_relaxed);
    const bool moved = beats != own->beats, met = meetings != own->meetings;
    own->quiet_s = moved ? 0.0 : own->quiet_s + passed_s;
    w->unmet_s = met ? 0.0 : w->unmet_s + passed_s;
    own->beats = beats;
    own->meetings = meetings;
    own->step = atomic_load_explicit(&p->step, memory_order_relaxed);
    own->asks = own->quiet_s >= w->ask_s;
    note_name(own->phase, atomic_load_explicit(&p->phase, memory_order_relaxed));
    note_name(own->wait, atomic_load_explicit(&p->wait, memory_order_relaxed));
    const bool apart = w->comm->size > 1 && w->unmet_s >= w->look_s;
    if (apart && !w->apart) {
        w->apart_s = w->last_s;
        w->round_s = -1.0;
    }
    if (apart != w->apart) pthread_cond_broadcast(&w->wake);
    w->apart = apart;
    return moved ? quiet_s : 0.0;
}

/* ---- The files ---- */

/* The lock is held. Until `s` seconds have passed, or something has changed. */
static void wait_s(tdm_watch *w, double s)
{
    const struct timespec until = tdm_after(s);
    pthread_cond_timedwait(&w->wake, &w->lock, &until);
}

/* The lock is held. */
static void keep_round(tdm_watch *w, bool end)
{
    w->round_s = tdm_now_s();
    w->end_told |= end;
    for (int r = 0; r < w->comm->size; r++)
        w->peer[r] = (stall_peer){.state = w->files.reading[r].state,
                                  .answers = stall_files_answers(&w->files, r, w->round_s),
                                  .look = w->files.look[r]};
}

static void *post(void *argument)
{
    tdm_watch *w = argument;
    pthread_setname_np(pthread_self(), THREAD_NAME);
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        bool end = false;
        const bool apart = w->apart;
        stall_state own = w->own;
        pthread_mutex_unlock(&w->lock);
        if (apart) {
            own.traced = stall_is_traced_here();
            stall_files_round(&w->files, &own, &end);
        } else {
            stall_files_withdraw(&w->files);
        }
        pthread_mutex_lock(&w->lock);
        if (apart) keep_round(w, end);
        if (!w->stop && (apart || !w->apart)) wait_s(w, apart ? w->look_s : 3600.0);
    }
    pthread_mutex_unlock(&w->lock);
    stall_files_withdraw(&w->files);
    return NULL;
}

/* ---- The judge ---- */

TDM_PRINTF(1, 2) static void warn(const char *fmt, ...)
{
    char line[2 * LINE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    tdm_log_always("tandem: warning: %s", line);
}

/* The lock is held. */
static bool can_ask(const tdm_watch *w)
{
    return w->comm->size == 1 || (w->round_s >= 0.0 && w->last_s - w->round_s < w->grace_s);
}

/* The lock is held. The lowest rank that asks speaks for all. */
static bool is_speaker(const tdm_watch *w)
{
    for (int r = 0; r < w->comm->rank; r++)
        if (w->peer[r].answers && w->peer[r].state.asks) return false;
    return true;
}

static bool same_verdict(const stall_verdict *a, const stall_verdict *b)
{
    return a->kind == b->kind && a->traced == b->traced && a->count == b->count &&
           memcmp(a->rank, b->rank, (size_t)a->count * sizeof *a->rank) == 0;
}

static void remember(stall_verdict *to, const stall_verdict *from)
{
    int *room = to->rank;
    memcpy(room, from->rank, (size_t)from->count * sizeof *room);
    *to = *from;
    to->rank = room;
}

static void say_verdict(tdm_watch *w, const char *line)
{
    const stall_verdict *v = &w->verdict;
    const bool is_stall = v->kind == STALL_SILENT || v->kind == STALL_LOST;
    const bool ends = is_stall && w->end && !v->traced;
    if (!w->has_said || !same_verdict(v, &w->said))
        warn("%s%s", line,
             ends                  ? ". The job ends with exit code 4 (train.stall_end)"
             : is_stall && !w->end ? ". It waits; train.stall_end = true would end it"
             : is_stall            ? ". It waits: a debugger looks at a rank"
                                   : "");
    remember(&w->said, v);
    w->has_said = true;
    if (ends) end_job(w, line);
}

/* The file system does not let ask. */
static void say_alone(tdm_watch *w)
{
    char place[LINE], time[32];
    const stall_verdict alone = {.kind = STALL_NONE, .rank = w->verdict.rank};
    stall_time(w->own.quiet_s, time);
    stall_place(&w->own, place, sizeof place);
    if (!w->has_said || !same_verdict(&alone, &w->said))
        warn("rank %d of %d on %s: no progress for %s %s; the run directory does not answer, so that the "
             "other ranks cannot be asked",
             w->comm->rank, w->comm->size, w->comm->host, time, place);
    remember(&w->said, &alone);
    w->has_said = true;
}

/* The lock is held, and given back while something is said: that may block. */
static void judge(tdm_watch *w)
{
    char line[LINE];
    const tdm_comm *comm = w->comm;
    if (w->last_s - w->woken_s < w->grace_s) return; /* what it knows is old */
    if (!can_ask(w)) {
        if (w->last_s - w->apart_s < w->grace_s && comm->size > 1) return; /* not yet */
        pthread_mutex_unlock(&w->lock);
        say_alone(w);
        pthread_mutex_lock(&w->lock);
        return;
    }
    if (!is_speaker(w)) return;
    w->own.traced = stall_is_traced_here();
    w->peer[comm->rank] = (stall_peer){.state = w->own, .answers = true};
    stall_judge(w->peer, comm->size, w->stall_s, &w->verdict);
    if (w->verdict.kind == STALL_NONE) return;
    stall_describe(&w->verdict, w->peer, comm->size, comm->rank, (const char(*)[64])comm->hosts,
                   w->own.quiet_s, line, sizeof line);
    pthread_mutex_unlock(&w->lock);
    say_verdict(w, line);
    pthread_mutex_lock(&w->lock);
}

static void begin_poster(tdm_watch *w)
{
    if (w->poster_runs || !w->apart) return;
    w->poster_runs = tdm_thread_create(&w->poster, post, w) == 0;
}

static void *watch(void *argument)
{
    tdm_watch *w = argument;
    pthread_setname_np(pthread_self(), THREAD_NAME);
    pthread_mutex_lock(&w->lock);
    w->last_s = tdm_now_s();
    w->woken_s = w->last_s - w->stall_s;
    while (!w->stop) {
        wait_s(w, w->tick_s);
        if (w->stop) break;
        const double quiet_s = observe(w);
        begin_poster(w);
        if (w->has_said && quiet_s > 0.0) {
            w->has_said = false;
            char time[32];
            stall_time(quiet_s, time);
            warn("the run goes on after %s", time);
        }
        if (w->end_told) end_job(w, NULL);
        if (w->own.quiet_s >= w->stall_s) judge(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- Life ---- */

static void set_times(tdm_watch *w, double stall_s)
{
    w->stall_s = stall_s;
    w->grace_s = fmin(stall_s / 2.0, MOST_GRACE_S);
    w->ask_s = stall_s - w->grace_s;
    w->look_s = w->grace_s / 4.0;
    w->tick_s = fmin(w->grace_s / 8.0, MOST_TICK_S);
}

static tdm_status create(tdm_comm *comm, const tdm_watch_options *o, tdm_watch **watch)
{
    TDM_TRY(TDM_ALLOC(1, watch));
    tdm_watch *w = *watch;
    stall_files *f = &w->files;
    w->comm = comm;
    w->end = o->end;
    w->round_s = -1.0;
    set_times(w, o->stall_s);
    TDM_TRY(tdm_path_join(f->dir, sizeof f->dir, o->run_dir, STALL_DIR));
    TDM_TRY(tdm_path_join(w->note, sizeof w->note, o->run_dir, STALL_NOTE));
    TDM_TRY(TDM_ALLOC(comm->size, &w->process));
    TDM_TRY(TDM_ALLOC(comm->size, &w->peer));
    TDM_TRY(TDM_ALLOC(comm->size, &w->verdict.rank));
    TDM_TRY(TDM_ALLOC(comm->size, &w->said.rank));
    TDM_TRY(TDM_ALLOC(comm->size, &f->reading));
    TDM_TRY(TDM_ALLOC(comm->size, &f->look));
    f->self = comm->rank;
    f->size = comm->size;
    f->host = (const char(*)[64])comm->hosts;
    f->process = w->process;
    f->grace_s = w->grace_s;
    for (int r = 0; r < comm->size; r++) f->reading[r].news_s = -1.0;
    return TDM_OK;
}

/* What a job left that ended hard. */
static tdm_status clear_run(const tdm_watch *w)
{
    TDM_TRY(tdm_remove_tree(w->files.dir));
    TDM_REQUIRE(unlink(w->note) == 0 || errno == ENOENT, TDM_E_IO, "%s: cannot remove: %s", w->note,
                strerror(errno));
    return TDM_OK;
}

/* Signals are the main thread's; those of a fault stay with the thread that has it. */
static int begin_judge(tdm_watch *w)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t all, kept;
    pthread_mutex_init(&w->lock, NULL);
    tdm_condition_init(&w->wake);
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &kept);
    const int error = tdm_thread_create(&w->judge, watch, w);
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
    w->judge_runs = error == 0;
    return error;
}

tdm_status tdm_watch_start(tdm_comm *comm, const tdm_watch_options *options, tdm_watch **watch)
{
    *watch = NULL;
    if (options->stall_s <= 0.0) return TDM_OK;
    tdm_status status = create(comm, options, watch);
    if (status == TDM_OK && comm->rank == 0) status = clear_run(*watch);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_watch *w = *watch;
        int64_t ones[comm->size];
        for (int r = 0; r < comm->size; r++) ones[r] = 1;
        stall_process here;
        stall_process_here(&here);
        tdm_comm_gather_rows(comm, &here, w->process, ones, sizeof here);
        const int error = begin_judge(w);
        if (error)
            status = TDM_ERROR(TDM_E_LIBRARY, "cannot start the watchdog's thread: %s", strerror(error));
        status = tdm_comm_agree(comm, status);
    }
    if (status != TDM_OK) tdm_watch_stop(watch);
    return status;
}

/* False: it hangs, in a file system that does not answer. */
static bool join(pthread_t thread)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_S;
    return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

void tdm_watch_stop(tdm_watch **watch)
{
    if (watch == NULL || *watch == NULL) return;
    tdm_watch *w = *watch;
    *watch = NULL;
    if (w->judge_runs) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_broadcast(&w->wake);
        pthread_mutex_unlock(&w->lock);
        if (!join(w->judge) || (w->poster_runs && !join(w->poster))) return; /* it keeps what it needs */
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
    }
    tdm_free(w->process);
    tdm_free(w->peer);
    tdm_free(w->verdict.rank);
    tdm_free(w->said.rank);
    tdm_free(w->files.reading);
    tdm_free(w->files.look);
    tdm_free(w);
}
