/* One writer per directory: who writes into a run, a data set or a checkpoint holds a lock file in it.
 *
 *     tdm_dir_lock *lock = NULL;
 *     TDM_TRY(tdm_dir_lock_take(comm, &(tdm_dir_lock_options){.dir = out, .command = "train"}, &lock));
 *     …
 *     tdm_dir_lock_release(&lock);
 *
 * The file is DIR/.tandem-lock: plain text that names host, process and start. Readers need no lock. */
#ifndef TANDEM_DIR_LOCK_H
#define TANDEM_DIR_LOCK_H

#include "tandem/comm.h"

typedef struct tdm_dir_lock tdm_dir_lock;

typedef struct tdm_dir_lock_options {
    const char *dir;     /* made where it is missing */
    const char *part;    /* locks .tandem-lock.PART instead, of a directory with several writers; NULL: all */
    const char *command; /* who writes, for the messages of others */
    bool steal;          /* take over what a process of another host, or nobody who can be asked, holds */
} tdm_dir_lock_options;

/* Takes the lock on rank 0. Collective; comm may be NULL for this process alone. The lock of a process of this
 * host that no longer lives is taken over, with a line in the log. TDM_E_IO: another one holds it; the message
 * says who; or a rank does not see what rank 0 writes into the directory, which is then on another file system for it.
 * *lock is the caller's on every rank (tdm_dir_lock_release). */
TDM_CHECKED tdm_status tdm_dir_lock_take(tdm_comm *comm, const tdm_dir_lock_options *options,
                                         tdm_dir_lock **lock);
/* TDM_E_IO when somebody has taken the lock over since; then nothing more may be written. Not collective;
 * always TDM_OK on ranks other than 0. NULL is fine. */
TDM_CHECKED tdm_status tdm_dir_lock_check(const tdm_dir_lock *lock);
/* Removes the lock file, if it is still this lock's, and a directory that was made for it and stayed empty. Not
 * collective; keeps the thread's error record. NULL and half-taken locks are fine. */
void tdm_dir_lock_release(tdm_dir_lock **lock);

#endif
