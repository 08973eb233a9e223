/* What a run is made of, of made-up members: the line about them, and each warning, word for word. */
#include "check.h"

#include "../../src/dist/comm_impl.h"
#include "tandem/roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS = 24 };
static tdm_member member[RANKS];

static void set_cores(int i, int begin, int end)
{
    memset(member[i].core, 0, sizeof member[i].core);
    for (int core = begin; core < end; core++) member[i].core[core / 8] |= (uint8_t)(1 << core % 8);
}

/* Every host has `each` ranks of 16 threads, each on cores of its own, all alike. */
static void equal_hosts(int ranks, int each)
{
    memset(member, 0, sizeof member);
    for (int i = 0; i < ranks; i++) {
        tdm_member *m = &member[i];
        snprintf(m->host, sizeof m->host, "cn%02d", i / each + 1);
        strcpy(m->isa, "avx512+amx");
        strcpy(m->precision, "bf16");
        strcpy(m->mpi, "Open MPI 4.1.4");
        strcpy(m->cpu, "Xeon 8480");
        strcpy(m->pages, "madvise");
        m->boot = 1;
        m->threads = 16;
        m->allowed_isa = TDM_ISA_AVX512;
        set_cores(i, i % each * 16, i % each * 16 + 16);
    }
}

static void check_roster(int ranks, const char *summary, const char *warnings)
{
    tdm_roster roster;
    tdm_text line = {0}, lines = {0};
    CHECK_OK(tdm_roster_make(member, ranks, &roster));
    CHECK_OK(tdm_roster_summary(&roster, &line));
    CHECK_OK(tdm_roster_warnings(&roster, &lines));
    CHECK_STR_EQ(line.data, summary);
    CHECK_STR_EQ(lines.data ? lines.data : "", warnings);
    tdm_text_free(&line);
    tdm_text_free(&lines);
    tdm_roster_free(&roster);
    tdm_roster_free(&roster); /* tolerated */
}

static void test_uniform(void **state)
{
    (void)state;
    equal_hosts(4, 2);
    check_roster(4, "2 nodes x 2 ranks x 16 threads, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480", "");
    equal_hosts(1, 1);
    member[0].threads = 1;
    member[0].precision[0] = '\0';
    check_roster(1, "1 node x 1 rank x 1 thread, avx512+amx, Open MPI 4.1.4, Xeon 8480", "");
}

/* One name, two hosts; and ranks dealt out to the hosts in turn. */
static void test_hosts(void **state)
{
    (void)state;
    equal_hosts(2, 1);
    strcpy(member[1].host, member[0].host);
    member[1].boot = 2;
    check_roster(2, "2 nodes x 1 rank x 16 threads, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480", "");
    equal_hosts(4, 2);
    for (int i = 0; i < 4; i++) snprintf(member[i].host, sizeof member[i].host, "cn%02d", 7 - i % 2);
    set_cores(1, 0, 16);
    set_cores(2, 16, 32);
    tdm_roster roster;
    CHECK_OK(tdm_roster_make(member, 4, &roster));
    CHECK_EQ(roster.nodes, 2);
    for (int n = 0; n < 2; n++) {
        CHECK_EQ(roster.node[n].first, n);
        CHECK_EQ(roster.node[n].ranks, 2);
        CHECK_EQ(roster.node[n].threads, 32);
        CHECK_EQ(roster.node[n].cores, 32);
    }
    for (int i = 0; i < 4; i++) CHECK_EQ(roster.node_of[i], i % 2);
    tdm_roster_free(&roster);
}

static void test_uneven(void **state)
{
    (void)state;
    equal_hosts(4, 3);
    check_roster(
        4, "2 nodes x 1 to 3 ranks x 16 threads, 4 ranks in all, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480",
        "ranks per node differ: 3 on cn01; 1 on cn02. Every rank has the same share of a batch, so hosts with "
        "more ranks need as many more cores\n");
}

static void test_threads(void **state)
{
    (void)state;
    equal_hosts(4, 2);
    member[2].threads = member[3].threads = 8;
    check_roster(4, "2 nodes x 2 ranks x 8 to 16 threads, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480",
                 "threads per rank differ: 16 on cn01; 8 on cn02. The others wait for the slowest rank; "
                 "OMP_NUM_THREADS (mpirun -x OMP_NUM_THREADS) sets it for all\n");
    /* within one host its name says nothing */
    equal_hosts(4, 4);
    member[3].threads = 8;
    check_roster(
        4, "1 node x 4 ranks x 8 to 16 threads, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480",
        "threads per rank differ: 16 on cn01 (3 ranks); 8 on cn01 (rank 3). The others wait for the slowest "
        "rank; OMP_NUM_THREADS (mpirun -x OMP_NUM_THREADS) sets it for all\n");
}

static void test_crowded(void **state)
{
    (void)state;
    equal_hosts(4, 2);
    set_cores(3, 0, 16); /* bound to the cores of rank 2 */
    check_roster(
        4, "2 nodes x 2 ranks x 16 threads, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480",
        "cn02: 32 threads (2 ranks) share 16 cores, which is slow; OMP_NUM_THREADS or --threads says how many "
        "a rank starts, and mpirun's binding which cores it has\n");
    equal_hosts(1, 1);
    set_cores(0, 5, 6);
    check_roster(
        1, "1 node x 1 rank x 16 threads, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480",
        "cn01: 16 threads (1 rank) share 1 core, which is slow; OMP_NUM_THREADS or --threads says how many "
        "a rank starts, and mpirun's binding which cores it has\n");
    set_cores(0, 0, 0); /* unknown */
    check_roster(1, "1 node x 1 rank x 16 threads, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480", "");
    equal_hosts(6, 2);
    set_cores(1, 0, 16);
    set_cores(3, 0, 16);
    set_cores(5, 0, 15);
    set_cores(4, 0, 15);
    check_roster(
        6, "3 nodes x 2 ranks x 16 threads, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480",
        "cn03 and 2 more hosts like it: 32 threads (2 ranks) share 15 cores, which is slow; OMP_NUM_THREADS or "
        "--threads says how many a rank starts, and mpirun's binding which cores it has\n");
}

static void test_isa(void **state)
{
    (void)state;
    equal_hosts(RANKS, 2);
    for (int i = 4; i < RANKS; i++) {
        strcpy(member[i].isa, i < RANKS - 2 ? "avx512+bf16" : "avx2");
        if (i >= RANKS - 2) member[i].allowed_isa = TDM_ISA_AVX2;
    }
    check_roster(
        RANKS,
        "12 nodes x 2 ranks x 16 threads, avx512+amx or avx512+bf16 or avx2, bf16, Open MPI 4.1.4, Xeon 8480",
        "the ranks use different instruction sets: avx512+amx on cn01, cn02; avx512+bf16 on cn03, cn04, cn05, cn06 "
        "and 5 more; avx2 on cn12. The last bits of a result depend on the rank that computes it; TANDEM_ISA=avx2 "
        "on every rank (mpirun -x TANDEM_ISA) makes them alike\n");
    /* tiles or not: without them all are alike */
    equal_hosts(2, 1);
    strcpy(member[1].isa, "avx512+bf16");
    check_roster(
        2, "2 nodes x 1 rank x 16 threads, avx512+amx or avx512+bf16, bf16, Open MPI 4.1.4, Xeon 8480",
        "the ranks use different instruction sets: avx512+amx on cn01; avx512+bf16 on cn02. The last bits of "
        "a result depend on the rank that computes it; TANDEM_ISA=avx512 on every rank (mpirun -x "
        "TANDEM_ISA) makes them alike\n");
    /* in f32 neither is used */
    strcpy(member[0].precision, "f32");
    strcpy(member[1].precision, "f32");
    check_roster(
        2, "2 nodes x 1 rank x 16 threads, avx512+amx or avx512+bf16, f32, Open MPI 4.1.4, Xeon 8480", "");
}

/* Each by itself is in the line; together they are a warning each. */
static void test_others(void **state)
{
    (void)state;
    equal_hosts(2, 1);
    strcpy(member[1].isa, "avx512");
    strcpy(member[0].precision, "bf16");
    strcpy(member[1].precision, "f32");
    strcpy(member[1].mpi, "Open MPI 5.0.7");
    strcpy(member[1].cpu, "EPYC 9654");
    strcpy(member[1].pages, "never");
    check_roster(
        2,
        "2 nodes x 1 rank x 16 threads, avx512+amx or avx512, bf16 or f32, Open MPI 4.1.4 or Open MPI 5.0.7, "
        "Xeon 8480 or EPYC 9654",
        "the ranks use different instruction sets: avx512+amx on cn01; avx512 on cn02. The last bits of a "
        "result depend on the rank that computes it; TANDEM_ISA=avx512 on every rank (mpirun -x TANDEM_ISA) "
        "makes them alike\n"
        "the ranks compute in different precision: bf16 on cn01; f32 on cn02. Results depend on the rank that "
        "computes them; train.precision = \"f32\", or --precision f32, makes them alike\n"
        "the ranks use different MPI libraries: Open MPI 4.1.4 on cn01; Open MPI 5.0.7 on cn02. Install the "
        "same on every host\n"
        "different CPUs: Xeon 8480 on cn01; EPYC 9654 on cn02. The others wait for the slowest rank\n"
        "transparent huge pages are set differently: madvise on cn01; never on cn02. Where they are never "
        "used, memory is slower\n");
}

/* More values than are named. */
static void test_many_values(void **state)
{
    (void)state;
    equal_hosts(12, 1);
    for (int i = 0; i < 12; i++) member[i].threads = 16 - i;
    check_roster(
        12, "12 nodes x 1 rank x 5 to 16 threads, avx512+amx, bf16, Open MPI 4.1.4, Xeon 8480",
        "threads per rank differ: 16 on cn01; 15 on cn02; 14 on cn03; 13 on cn04; 12 on cn05; 11 on cn06; 10 "
        "on cn07; 9 on cn08; others on 4 ranks. The others wait for the slowest rank; OMP_NUM_THREADS "
        "(mpirun -x OMP_NUM_THREADS) sets it for all\n");
}

static void test_library(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4", "Open MPI 4.1.4"},
        {"MPICH Version:      4.0.2\nMPICH Release date: Thu Apr  7", "MPICH 4.0.2"},
        {"MVAPICH2 Version      :\t2.3.7\nMVAPICH2 Release date", "MVAPICH2 2.3.7"},
        {"Intel(R) MPI Library 2021.9 for Linux* OS\n", "Intel(R) MPI 2021.9 for Linux* OS"},
        {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[40];
        comm_short_library(cases[i][0], name, sizeof name);
        CHECK_STR_EQ(name, cases[i][1]);
    }
    char name[12];
    comm_short_library("Open MPI v4.1.4", name, sizeof name); /* whole words, as many as fit */
    CHECK_STR_EQ(name, "Open MPI");
}

/* What this process says of itself. */
static void test_here(void **state)
{
    (void)state;
    char build[TDM_BUILD_BYTES];
    tdm_comm *comm = NULL;
    tdm_member mine;
    tdm_roster roster;
    tdm_program_build(build);
    CHECK_EQ(strlen(build), 16);
    CHECK_EQ(strspn(build, "0123456789abcdef"), 16);
    CHECK_OK(tdm_comm_create_alone(&comm));
    CHECK_OK(tdm_comm_same_program(comm));
    tdm_member_describe(comm, 3, "avx2", "f32", &mine);
    CHECK_OK(tdm_roster_gather(comm, &mine, &roster));
    CHECK_EQ(roster.nodes, 1);
    CHECK_EQ(roster.member[0].threads, 3);
    CHECK_STR_EQ(roster.member[0].mpi, ""); /* it was not started */
    CHECK_GT(strlen(roster.member[0].cpu), 0);
    CHECK_GT(strlen(roster.member[0].host), 0);
    tdm_roster_free(&roster);
    tdm_comm_destroy(&comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_uniform), cmocka_unit_test(test_hosts),
                                       cmocka_unit_test(test_uneven),  cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_crowded), cmocka_unit_test(test_isa),
                                       cmocka_unit_test(test_others),  cmocka_unit_test(test_many_values),
                                       cmocka_unit_test(test_library), cmocka_unit_test(test_here)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
