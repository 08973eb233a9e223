/* Whom all wait for, and how that is said. */
#include "watch_impl.h"

#include "tandem/base.h"

#include <stdarg.h>
#include <string.h>

enum { SHOWN = 4 }; /* ranks that a line names */

static bool waits(const stall_peer *p)
{
    return p->state.wait[0] != '\0';
}

/* Takes the ranks for which `is` says so; of those that have met less often than others only, if `behind`. */
static void take(const stall_peer *peer, int size, bool (*is)(const stall_peer *peer), bool behind,
                 stall_verdict *v)
{
    int64_t least = INT64_MAX;
    for (int r = 0; r < size; r++)
        if (is(&peer[r])) least = tdm_min_i64(least, peer[r].state.meetings);
    v->count = 0;
    for (int r = 0; r < size; r++)
        if (is(&peer[r]) && (!behind || peer[r].state.meetings == least)) v->rank[v->count++] = r;
}

static bool is_silent(const stall_peer *p)
{
    return !p->answers;
}

static bool is_busy(const stall_peer *p)
{
    return p->answers && !waits(p);
}

static bool is_any(const stall_peer *p)
{
    (void)p;
    return true;
}

void stall_judge(const stall_peer *peer, int size, double stall_s, stall_verdict *v)
{
    bool moves = false;
    v->traced = v->apart = false;
    for (int r = 0; r < size; r++) {
        v->traced |= peer[r].state.traced || peer[r].look == LOOK_TRACED;
        moves |= peer[r].answers && waits(&peer[r]) && peer[r].state.quiet_s < stall_s / 2.0;
    }
    v->kind = STALL_SILENT;
    take(peer, size, is_silent, false, v);
    if (v->count > 0) return;
    v->kind = STALL_BUSY;
    take(peer, size, is_busy, true, v);
    if (v->count > 0) return;
    v->kind = moves ? STALL_NONE : STALL_LOST;
    take(peer, size, is_any, true, v);
    v->apart = v->count < size;
}

/* ---- In words ---- */

typedef struct words {
    char *text;
    size_t bytes, length;
} words;

TDM_PRINTF(2, 3) static void say(words *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(w->text + w->length, w->bytes - w->length, fmt, args);
    va_end(args);
    w->length = (size_t)tdm_min_i64((int64_t)w->bytes - 1, (int64_t)w->length + (n > 0 ? n : 0));
}

static void say_place(words *w, const stall_state *s)
{
    if (s->step > 0)
        say(w, "in step %lld, ", (long long)s->step);
    else
        say(w, "before the first step, ");
    say(w, "%s%s%s", s->phase, s->wait[0] ? ": " : "", s->wait);
}

void stall_time(double s, char text[32])
{
    snprintf(text, 32, s < 60.0 ? "%.1f seconds" : "%.1f minutes", s < 60.0 ? s : s / 60.0);
}

void stall_place(const stall_state *state, char *text, size_t bytes)
{
    words w = {text, bytes, 0};
    say_place(&w, state);
}

/* "rank 2 of 4 on cn03", "rank 2 on cn03 and rank 3 on cn03, of 8" */
static void say_ranks(words *w, const stall_verdict *v, int size, const char (*host)[64])
{
    if (v->count == 1) {
        say(w, "rank %d of %d on %s", v->rank[0], size, host[v->rank[0]]);
        return;
    }
    const int shown = v->count <= SHOWN ? v->count : SHOWN - 1;
    for (int i = 0; i < shown; i++)
        say(w, "%srank %d on %s",
            i == 0              ? ""
            : i == v->count - 1 ? " and "
                                : ", ",
            v->rank[i], host[v->rank[i]]);
    if (shown < v->count) say(w, " and %d more", v->count - shown);
    say(w, ", of %d", size);
}

/* "cn01, cn02 and 7 more" */
static void say_hosts(words *w, int size, const char (*host)[64])
{
    int hosts = 0;
    for (int r = 0; r < size; r++) {
        bool known = false;
        for (int i = 0; i < r && !known; i++) known = strcmp(host[i], host[r]) == 0;
        if (!known && hosts++ < SHOWN) say(w, "%s%s", hosts > 1 ? ", " : "", host[r]);
    }
    if (hosts > SHOWN) say(w, " and %d more", hosts - SHOWN);
}

static void say_silent(words *w, const stall_verdict *v, const stall_peer *peer)
{
    const look seen = peer[v->rank[0]].look;
    bool same = true;
    for (int i = 1; i < v->count; i++) same &= peer[v->rank[i]].look == seen;
    const char *it = v->count == 1 ? "it is" : "they are";
    if (same && seen == LOOK_STOPPED)
        say(w, "; %s stopped, by SIGSTOP or the like", it);
    else if (same && seen == LOOK_GONE)
        say(w, v->count == 1 ? "; its process is gone" : "; their processes are gone");
    else if (same && seen == LOOK_TRACED)
        say(w, "; %s under a debugger", it);
    else
        say(w, v->count == 1 ? "; it does not answer: stopped, or its host cannot be reached"
                             : "; they do not answer: stopped, or their hosts cannot be reached");
}

void stall_describe(const stall_verdict *v, const stall_peer *peer, int size, int self,
                    const char (*host)[64], double quiet_s, char *line, size_t bytes)
{
    words w = {line, bytes, 0};
    const stall_state *own = &peer[self].state;
    const stall_state *first = v->count > 0 ? &peer[v->rank[0]].state : own;
    char time[32];
    stall_time(quiet_s, time);
    say(&w, "no progress for %s", time);
    if (v->kind == STALL_LOST && !v->apart) {
        say(&w, ": all %d ranks, on ", size);
        say_hosts(&w, size, host);
        say(&w, ", wait for each other ");
        say_place(&w, own);
        say(&w, "; all answer, so a message between them is lost or does not get through");
        return;
    }
    if (size > 1) {
        say(&w, ": all wait for ");
        say_ranks(&w, v, size, host);
    }
    switch (v->kind) {
    case STALL_SILENT:
        say(&w, " ");
        say_place(&w, own);
        say_silent(&w, v, peer);
        break;
    case STALL_LOST:
        say(&w, " ");
        say_place(&w, own);
        say(&w, v->count == 1 ? "; it is behind the others, " : "; they are behind the others, ");
        say_place(&w, first);
        say(&w, "; all answer, so a message may be lost or not get through");
        break;
    default:
        say(&w, size == 1 ? " " : v->count == 1 ? ", which is at work " : ", which are at work ");
        say_place(&w, first);
        if (v->traced) say(&w, ", under a debugger");
    }
}
