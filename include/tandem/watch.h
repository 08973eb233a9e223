/* A watchdog for jobs in which a rank falls silent: stopped, cut off, its host lost. MPI waits for it for ever.
 *
 * A thread on each rank looks at the pulse (pulse.h) every few seconds, and at nothing else as long as ranks meet. When
 * they do not, the ranks tell each other through small files in RUN/.tandem-stall where they are. Who writes none does
 * not answer. After `stall_s` without progress the lowest rank that waits says whom all wait for.
 *
 * `end`: then the job ends with exit code 4 on every rank that can, and RUN/stalled.txt says why. Only a rank that does
 * not answer ends it, or a collective in which all wait: not a rank that computes, reads, writes a checkpoint, evaluates
 * or is under a debugger, and not a run directory that does not answer. Time in which this process was stopped itself
 * does not count. */
#ifndef TANDEM_WATCH_H
#define TANDEM_WATCH_H

#include "tandem/comm.h"
#include "tandem/pulse.h"

enum { TDM_EXIT_STALLED = 4 };

typedef struct tdm_watch tdm_watch;

typedef struct tdm_watch_options {
    const char *run_dir;
    double stall_s; /* 0: no watchdog */
    bool end;
} tdm_watch_options;

/* Collective. *watch borrows the communicator. What a job before left in run_dir goes away. */
TDM_CHECKED tdm_status tdm_watch_start(tdm_comm *comm, const tdm_watch_options *options, tdm_watch **watch);
/* Not collective. NULL is fine. */
void tdm_watch_stop(tdm_watch **watch);

#endif
