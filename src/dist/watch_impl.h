/* Private to the watchdog: what ranks know of each other, and what follows from it. */
#ifndef TANDEM_WATCH_IMPL_H
#define TANDEM_WATCH_IMPL_H

#include "comm_impl.h"

#include "tandem/watch.h"

/* How a process looks to those of its host. */
typedef enum look { LOOK_WELL, LOOK_STOPPED, LOOK_TRACED, LOOK_GONE } look;

enum { NAME_BYTES = 64 };

/* Where a rank is, as it says itself. */
typedef struct stall_state {
    int64_t step, beats, meetings;
    double quiet_s;                           /* without progress */
    bool asks;                                /* quiet for so long that it wants to know about the others */
    bool traced;                              /* by a debugger */
    char phase[NAME_BYTES], wait[NAME_BYTES]; /* wait: "" outside of collectives */
} stall_state;

/* What the others know of a rank. */
typedef struct stall_peer {
    stall_state state;
    bool answers; /* its watchdog's file is written anew all the time */
    look look;
} stall_peer;

typedef enum stall_kind {
    STALL_NONE,   /* somebody makes progress */
    STALL_BUSY,   /* all wait for ranks that answer, and are in no collective */
    STALL_SILENT, /* all wait for ranks that do not answer */
    STALL_LOST    /* all answer, and all wait */
} stall_kind;

typedef struct stall_verdict {
    stall_kind kind;
    bool traced; /* a debugger looks at one of the ranks */
    bool apart;  /* LOST: the ranks are in different collectives; those named are behind the others */
    int count;   /* of the ranks that are waited for */
    int *rank;   /* [size] room, ascending; borrowed */
} stall_verdict;

/* ---- watch_verdict.c ---- */
/* Of the ranks as rank `self` knows them; quiet for less than stall_s / 2 counts as progress. Fills all but
 * verdict->rank, whose content it fills. */
void stall_judge(const stall_peer *peer, int size, double stall_s, stall_verdict *verdict);
/* One line for people. host [size]: names. */
void stall_describe(const stall_verdict *verdict, const stall_peer *peer, int size, int self,
                    const char (*host)[64], double quiet_s, char *line, size_t bytes);
/* "10.0 minutes" */
void stall_time(double s, char text[32]);
/* "in step 118, backward: sum of gradients" */
void stall_place(const stall_state *state, char *text, size_t bytes);

/* ---- watch_files.c: RUN/.tandem-stall, one file a rank ---- */
/* A process of a rank, as the others may find it in their /proc. */
typedef struct stall_process {
    int64_t pid, start, pid_space; /* start: ticks since the boot, 0: unknown */
} stall_process;

/* What one rank has read of another. */
typedef struct stall_reading {
    stall_state state;
    int64_t number; /* of the file's writing, which grows */
    double news_s;  /* when the number last changed, < 0: never */
} stall_reading;

typedef struct stall_files {
    char dir[TDM_PATH_BYTES];
    int self, size;
    const char (*host)[64];       /* [size] */
    const stall_process *process; /* [size] */
    double grace_s;               /* how old news may be */
    int64_t number;               /* of this rank's own writing, 0: there is no file */
    stall_reading *reading;       /* [size] */
    look *look;                   /* [size] by this rank and those that it has read */
} stall_files;

void stall_process_here(stall_process *process);
bool stall_is_traced_here(void);
/* Writes this rank's state where it asks or somebody else does, and reads those of the lower ranks until one asks; the
 * lowest rank that asks reads all. *end: the job is to end. Blocks as long as the file system does. */
void stall_files_round(stall_files *files, const stall_state *own, bool *end);
/* That the job is to end, to all who still look. */
void stall_files_tell_end(const stall_files *files);
/* The directory goes away with the last file. */
void stall_files_withdraw(stall_files *files);
bool stall_files_answers(const stall_files *files, int rank, double now_s);

#endif
