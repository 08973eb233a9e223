/* What this host has, as `tandem info --system` says it. Not collective. */
#ifndef TANDEM_MACHINE_H
#define TANDEM_MACHINE_H

#include "tandem/base.h"

typedef struct tdm_machine {
    int online_cores, allowed_cores; /* of the host, of this process */
    int numa_nodes, own_numa_nodes;  /* of the host, of the allowed cores; 0: unknown */
    char caches[96];                 /* of an allowed core: "L1d 32 KiB, L2 1 MiB, L3 32 MiB for 8 cores" */
    int64_t memory_bytes, available_bytes;
    int64_t limit_bytes; /* of the control group, where it is below memory_bytes; else 0 */
    int64_t shm_bytes;   /* free in /dev/shm, through which MPI sends within a host */
    char huge_pages[64]; /* "madvise; 0 reserved of 2 MiB" */
} tdm_machine;
void tdm_machine_describe(tdm_machine *machine);

typedef struct tdm_file_system {
    char type
        [24]; /* "nfs", "lustre", "ext4" …; "0x…": one without a name here; "missing": no such directory */
    bool is_network; /* hosts may share it */
    int64_t free_bytes;
    char hard_links[48]; /* "work", or why not: locks need them (dir_lock.h) */
} tdm_file_system;
/* Writes two small files into `dir` and removes them, to see whether hard links work. */
void tdm_file_system_describe(const char *dir, tdm_file_system *system);

#endif
