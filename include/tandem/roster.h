/* What a run is made of: every rank says it of itself once, and rank 0 tells what they have in common and what not.
 *
 *     tdm_member mine;
 *     tdm_roster roster;
 *     tdm_member_describe(comm, threads, "avx512+amx", "bf16", &mine);
 *     TDM_TRY(tdm_roster_gather(comm, &mine, &roster));
 *     TDM_TRY(tdm_roster_summary(&roster, &line));   "2 nodes x 2 ranks x 16 threads, avx512+amx, bf16, Open MPI 4.1.4, …"
 *     TDM_TRY(tdm_roster_warnings(&roster, &lines)); "" when all is alike
 *     tdm_roster_free(&roster);
 */
#ifndef TANDEM_ROSTER_H
#define TANDEM_ROSTER_H

#include "tandem/comm.h"
#include "tandem/cpu.h"

/* One rank. Plain data, sent as it is: all ranks run the same build (tdm_comm_same_program). */
typedef struct tdm_member {
    char host[64];
    char isa[24];      /* what its kernels use, as tdm_ops_isa names it */
    char precision[8]; /* "f32", "bf16"; "": it computes nothing */
    char mpi[56];      /* "Open MPI 4.1.4" */
    char cpu[52];      /* tdm_cpu_model */
    char pages[12];    /* transparent huge pages: "always", "madvise", "never"; "": unknown */
    uint64_t boot;     /* of the host: two may have one name */
    int32_t threads;
    int32_t allowed_isa;          /* tdm_isa: what this CPU has and TANDEM_ISA allows */
    uint8_t core[TDM_CORE_BYTES]; /* tdm_allowed_cores */
} tdm_member;

/* Of one host, in the order of its first rank. */
typedef struct tdm_roster_node {
    int first;                 /* rank; the name is its name */
    int ranks, threads, cores; /* of all its ranks together; cores 0: unknown */
} tdm_roster_node;

typedef struct tdm_roster {
    int ranks, nodes;      /* 0 on other ranks than 0 */
    tdm_member *member;    /* [ranks], owned */
    int32_t *node_of;      /* [ranks], owned: an index of node */
    tdm_roster_node *node; /* [nodes], owned */
} tdm_roster;

/* threads: of this rank. isa, precision: borrowed, as above. Not collective. */
void tdm_member_describe(const tdm_comm *comm, int threads, const char *isa, const char *precision,
                         tdm_member *member);
/* Fills *roster on rank 0, elsewhere with nothing. Collective. */
TDM_CHECKED tdm_status tdm_roster_gather(tdm_comm *comm, const tdm_member *mine, tdm_roster *roster);
/* The same of given members (copied). Not collective. */
TDM_CHECKED tdm_status tdm_roster_make(const tdm_member *member, int ranks, tdm_roster *roster);
void tdm_roster_free(tdm_roster *roster);

/* Least and most ranks of a node, threads of a rank. */
void tdm_roster_ranges(const tdm_roster *roster, int ranks[2], int threads[2]);
/* One line for people, appended. */
TDM_CHECKED tdm_status tdm_roster_summary(const tdm_roster *roster, tdm_text *line);
/* What of it is slow, or gives other results than equal hosts: a line each, ended by '\n', appended. */
TDM_CHECKED tdm_status tdm_roster_warnings(const tdm_roster *roster, tdm_text *lines);

/* "avx512 on cn01, cn02 (4 ranks); avx2 on cn03 (rank 4)": which members have which value, appended. *values: how
 * many different ones. value_of: a text of `room` bytes for member i, "" to leave it out. */
typedef void tdm_member_value(const tdm_roster *roster, int i, char *out, size_t room);
TDM_CHECKED tdm_status tdm_roster_groups(const tdm_roster *roster, tdm_member_value *value_of, tdm_text *text,
                                         int *values);

/* An error on every rank where they run different builds of the program, whose calls may not fit each other; a warning
 * if TANDEM_MIXED_BUILDS is 1 in the environment of rank 0. Collective. */
TDM_CHECKED tdm_status tdm_comm_same_program(tdm_comm *comm);

/* How ranks reach each other, for people. */
typedef struct tdm_comm_facts {
    char library[160]; /* MPI_Get_library_version, its first line */
    char threads[16];  /* what MPI allows: "multiple" …, "not started" */
    char transport
        [160]; /* as far as the mapped libraries tell: "pml ob1, btl tcp, btl vader"; else "unknown" */
    char settings[512]; /* variables that choose it */
    char peers[80];     /* ranks of one host: "read each other's memory", or why not */
} tdm_comm_facts;
/* Not collective. Without MPI (tdm_comm_create_alone) two children try whether they can read each other. */
void tdm_comm_describe(const tdm_comm *comm, tdm_comm_facts *facts);

#endif
