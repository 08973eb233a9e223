/* RUN/.tandem-stall: how ranks tell each other where they are when MPI no longer can. One small file a rank, written
 * whole by a rename, again and again with a growing number: who is stopped or cut off writes no more. No clock of
 * another host is believed. */
#include "process.h"
#include "watch_impl.h"

#include "tandem/base.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define END_NAME "end"
enum { FILE_BYTES = 8192 };

/* ---- Processes of this host ---- */

static bool is_traced(int64_t pid)
{
    char path[64], line[256];
    long long tracer = 0;
    snprintf(path, sizeof path, "/proc/%lld/status", (long long)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "TracerPid: %lld", &tracer) == 1) break;
    fclose(file);
    return tracer != 0;
}

void stall_process_here(stall_process *process)
{
    char state;
    long long start = 0;
    struct stat space;
    *process = (stall_process){.pid = getpid()};
    if (process_read(process->pid, &state, &start)) process->start = start;
    if (stat("/proc/self/ns/pid", &space) == 0) process->pid_space = (int64_t)space.st_ino;
}

bool stall_is_traced_here(void)
{
    return is_traced(getpid());
}

static look look_at(const stall_process *process)
{
    char state = '?';
    long long start = 0;
    if (is_traced(process->pid)) return LOOK_TRACED;
    if (!process_read(process->pid, &state, &start) || start != process->start || state == 'Z')
        return LOOK_GONE;
    return state == 'T' ? LOOK_STOPPED : LOOK_WELL;
}

/* What this rank sees of the others of its host. */
static void look_around(stall_files *f)
{
    const stall_process *self = &f->process[f->self];
    for (int r = 0; r < f->size; r++) {
        const bool visible = r != f->self && strcmp(f->host[r], f->host[f->self]) == 0 && self->start > 0 &&
                             f->process[r].pid_space == self->pid_space;
        f->look[r] = visible ? look_at(&f->process[r]) : LOOK_WELL;
    }
}

/* ---- Files ---- */

static bool file_of(const stall_files *f, int rank, char path[TDM_PATH_BYTES])
{
    char name[32];
    snprintf(name, sizeof name, "%d", rank);
    return tdm_path_join(path, TDM_PATH_BYTES, f->dir, name) == TDM_OK;
}

static void write_own(stall_files *f, const stall_state *s)
{
    char path[TDM_PATH_BYTES];
    tdm_text text = {0};
    tdm_status status = tdm_text_printf(
        &text,
        "number %lld\nstep %lld\nbeats %lld\nmeetings %lld\nquiet %.3f\nasks %d\ntraced %d\nphase %s\nwait %s\n",
        (long long)++f->number, (long long)s->step, (long long)s->beats, (long long)s->meetings, s->quiet_s,
        s->asks, s->traced, s->phase, s->wait);
    for (int r = 0; r < f->size && status == TDM_OK && text.length < FILE_BYTES / 2; r++)
        if (f->look[r] != LOOK_WELL) status = tdm_text_printf(&text, "look %d %d\n", r, (int)f->look[r]);
    if (status == TDM_OK && file_of(f, f->self, path))
        status = tdm_write_file_atomic(path, text.data, text.length); /* fails: this rank does not answer */
    tdm_text_free(&text);
    (void)status;
}

static double find_number(const char *text, const char *key)
{
    char value[NAME_BYTES];
    double number = 0.0;
    process_value(text, key, value, sizeof value);
    return sscanf(value, "%lf", &number) == 1 ? number : 0.0;
}

static void take_looks(stall_files *f, const char *text)
{
    for (const char *at = strstr(text, "\nlook "); at != NULL; at = strstr(at + 1, "\nlook ")) {
        int rank, seen;
        if (sscanf(at, "\nlook %d %d", &rank, &seen) == 2 && rank >= 0 && rank < f->size &&
            seen > LOOK_WELL && seen <= LOOK_GONE)
            f->look[rank] = (look)seen;
    }
}

static void read_rank(stall_files *f, int rank)
{
    char path[TDM_PATH_BYTES], text[FILE_BYTES];
    stall_reading *r = &f->reading[rank];
    if (!file_of(f, rank, path)) return;
    FILE *file = fopen(path, "r");
    if (file == NULL) return;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    take_looks(f, text);
    const int64_t number = (int64_t)find_number(text, "number");
    if (number == r->number) return;
    if (r->number > 0) r->news_s = tdm_now_s(); /* who has written twice is not stopped */
    r->number = number;
    r->state = (stall_state){.step = (int64_t)find_number(text, "step"),
                             .beats = (int64_t)find_number(text, "beats"),
                             .meetings = (int64_t)find_number(text, "meetings"),
                             .quiet_s = find_number(text, "quiet"),
                             .asks = find_number(text, "asks") > 0.0,
                             .traced = find_number(text, "traced") > 0.0};
    process_value(text, "phase", r->state.phase, sizeof r->state.phase);
    process_value(text, "wait", r->state.wait, sizeof r->state.wait);
}

bool stall_files_answers(const stall_files *f, int rank, double now_s)
{
    const stall_reading *r = &f->reading[rank];
    return r->news_s >= 0.0 && now_s - r->news_s < f->grace_s;
}

void stall_files_round(stall_files *f, const stall_state *own, bool *end)
{
    char path[TDM_PATH_BYTES];
    *end = tdm_path_join(path, sizeof path, f->dir, END_NAME) == TDM_OK && tdm_path_exists(path);
    if (own->asks && mkdir(f->dir, 0777) != 0 && errno != EEXIST) return;
    if (!own->asks && !tdm_path_is_dir(f->dir)) return;
    look_around(f);
    write_own(f, own);
    if (!own->asks) return;
    for (int r = 0; r < f->size; r++) {
        if (r == f->self) continue;
        read_rank(f, r);
        if (r < f->self && stall_files_answers(f, r, tdm_now_s()) && f->reading[r].state.asks) return;
    }
}

void stall_files_tell_end(const stall_files *f)
{
    char path[TDM_PATH_BYTES];
    if (tdm_path_join(path, sizeof path, f->dir, END_NAME) == TDM_OK)
        (void)!tdm_write_file_atomic(path, "", 0);
}

void stall_files_withdraw(stall_files *f)
{
    char path[TDM_PATH_BYTES];
    if (f->number == 0) return;
    if (file_of(f, f->self, path)) unlink(path);
    rmdir(f->dir);
    f->number = 0;
    for (int r = 0; r < f->size; r++) f->reading[r] = (stall_reading){.news_s = -1.0};
}
