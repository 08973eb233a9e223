#include "comm_impl.h"

#include "tandem/roster.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_BYTES = 96, MOST_VALUES = 8, MOST_NAMES = 4 };

/* ---- One rank ---- */

/* "always [madvise] never": the word in brackets. */
static void read_pages(char out[12])
{
    char line[64];
    tdm_read_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line);
    const char *begin = strchr(line, '[');
    if (begin != NULL)
        snprintf(out, 12, "%.*s", (int)tdm_min_i64(11, (int64_t)strcspn(begin + 1, "]")), begin + 1);
}

static bool says_nothing(const char *word)
{
    static const char *const words[] = {"Version", "Version:", ":", "Library"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(word, words[i]) == 0) return true;
    return false;
}

void comm_short_library(const char *text, char *out, size_t room)
{
    char line[256], *rest = NULL;
    size_t n = 0;
    out[0] = '\0';
    snprintf(line, sizeof line, "%.*s", (int)strcspn(text, ",\n"), text);
    for (char *word = strtok_r(line, " \t", &rest); word != NULL; word = strtok_r(NULL, " \t", &rest)) {
        if (says_nothing(word)) continue;
        if (word[0] == 'v' && isdigit((unsigned char)word[1])) word++;
        if (n + strlen(word) + 2 > room) return;
        n += (size_t)snprintf(out + n, room - n, "%s%s", n > 0 ? " " : "", word);
    }
}

void tdm_member_describe(const tdm_comm *comm, int threads, const char *isa, const char *precision,
                         tdm_member *member)
{
    char boot[64], library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    tdm_cpu cpu;
    memset(member, 0, sizeof *member);
    memcpy(member->host, comm->host, sizeof member->host);
    snprintf(member->isa, sizeof member->isa, "%s", isa);
    snprintf(member->precision, sizeof member->precision, "%s", precision);
    tdm_cpu_model(member->cpu, sizeof member->cpu);
    if (comm->mpi != MPI_COMM_NULL) MPI_Get_library_version(library, &length);
    comm_short_library(library, member->mpi, sizeof member->mpi);
    read_pages(member->pages);
    tdm_read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    member->boot = tdm_xxh64(boot, strlen(boot));
    member->threads = threads;
    member->allowed_isa = tdm_cpu_detect(&cpu) == TDM_OK ? (int32_t)cpu.isa : TDM_ISA_GENERIC;
    (void)tdm_allowed_cores(member->core);
}

/* ---- All ranks ---- */

typedef struct place {
    const tdm_member *member;
    int rank;
} place;

/* By host, then by rank. */
static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    const int names = strcmp(x->member->host, y->member->host);
    if (names != 0) return names;
    if (x->member->boot != y->member->boot) return x->member->boot < y->member->boot ? -1 : 1;
    return x->rank - y->rank;
}

/* node_of[rank] <- the first rank of its host. */
static tdm_status find_first(const tdm_roster *roster)
{
    place *list = NULL;
    TDM_TRY(TDM_ALLOC(roster->ranks, &list));
    for (int i = 0; i < roster->ranks; i++) list[i] = (place){&roster->member[i], i};
    qsort(list, (size_t)roster->ranks, sizeof *list, compare_places);
    for (int i = 0, first = 0; i < roster->ranks; i++) {
        const tdm_member *m = list[i].member, *before = i > 0 ? list[i - 1].member : NULL;
        if (before == NULL || strcmp(m->host, before->host) != 0 || m->boot != before->boot)
            first = list[i].rank;
        roster->node_of[list[i].rank] = first;
    }
    tdm_free(list);
    return TDM_OK;
}

static void count_nodes(tdm_roster *roster)
{
    for (int i = 0; i < roster->ranks; i++) {
        const int first = roster->node_of[i];
        roster->node_of[i] = first == i ? roster->nodes++ : roster->node_of[first];
        tdm_roster_node *node = &roster->node[roster->node_of[i]];
        if (first == i) node->first = i;
        node->ranks++;
        node->threads += roster->member[i].threads;
    }
}

/* The cores of all ranks of each node together. */
static tdm_status count_cores(tdm_roster *roster)
{
    uint8_t *core = NULL;
    TDM_TRY(TDM_ALLOC((int64_t)roster->nodes * TDM_CORE_BYTES, &core));
    for (int i = 0; i < roster->ranks; i++)
        for (int k = 0; k < TDM_CORE_BYTES; k++)
            core[(int64_t)roster->node_of[i] * TDM_CORE_BYTES + k] |= roster->member[i].core[k];
    for (int n = 0; n < roster->nodes; n++)
        for (int k = 0; k < TDM_CORE_BYTES; k++)
            roster->node[n].cores += __builtin_popcount(core[(int64_t)n * TDM_CORE_BYTES + k]);
    tdm_free(core);
    return TDM_OK;
}

static tdm_status make_nodes(tdm_roster *roster)
{
    TDM_TRY(TDM_ALLOC(roster->ranks, &roster->node_of));
    TDM_TRY(TDM_ALLOC(roster->ranks, &roster->node));
    TDM_TRY(find_first(roster));
    count_nodes(roster);
    return count_cores(roster);
}

tdm_status tdm_roster_make(const tdm_member *member, int ranks, tdm_roster *roster)
{
    *roster = (tdm_roster){.ranks = ranks};
    TDM_TRY(TDM_ALLOC(ranks, &roster->member));
    memcpy(roster->member, member, (size_t)ranks * sizeof *member);
    return make_nodes(roster);
}

tdm_status tdm_roster_gather(tdm_comm *comm, const tdm_member *mine, tdm_roster *roster)
{
    *roster = (tdm_roster){0};
    if (comm->size == 1) return tdm_roster_make(mine, 1, roster);
    const bool keeps = comm->rank == 0;
    const int ranks = comm->size;
    TDM_TRY(tdm_comm_agree(comm, keeps ? TDM_ALLOC(ranks, &roster->member) : TDM_OK));
    MPI_Gather(mine, (int)sizeof *mine, MPI_BYTE, roster->member, (int)sizeof *mine, MPI_BYTE, 0, comm->mpi);
    roster->ranks = keeps ? ranks : 0;
    return tdm_comm_agree(comm, keeps ? make_nodes(roster) : TDM_OK);
}

void tdm_roster_free(tdm_roster *roster)
{
    tdm_free(roster->member);
    tdm_free(roster->node_of);
    tdm_free(roster->node);
    *roster = (tdm_roster){0};
}

/* ---- Which have what ---- */

/* The values that ranks have, in the order of the first of each. Those beyond MOST_VALUES are of none. */
typedef struct values {
    char text[MOST_VALUES][VALUE_BYTES];
    int members[MOST_VALUES], first[MOST_VALUES]; /* how many ranks, the first of them */
    int count, beyond;
    int32_t *of; /* [ranks], owned: an index, -1: none */
    bool *seen;  /* [nodes], owned */
} values;

static int find_value(values *v, const char *text, int rank)
{
    int i = 0;
    if (!text[0]) return -1;
    while (i < v->count && strcmp(v->text[i], text) != 0) i++;
    if (i == MOST_VALUES) {
        v->beyond++;
        return -1;
    }
    if (i == v->count) {
        memcpy(v->text[i], text, VALUE_BYTES);
        v->first[i] = rank;
        v->count++;
    }
    v->members[i]++;
    return i;
}

static tdm_status find_values(const tdm_roster *roster, tdm_member_value *value_of, values *v)
{
    *v = (values){.count = 0};
    TDM_TRY(TDM_ALLOC(roster->ranks, &v->of));
    TDM_TRY(TDM_ALLOC(roster->nodes, &v->seen));
    for (int i = 0; i < roster->ranks; i++) {
        char text[VALUE_BYTES] = "";
        value_of(roster, i, text, sizeof text);
        v->of[i] = find_value(v, text, i);
    }
    return TDM_OK;
}

static void free_values(values *v)
{
    tdm_free(v->of);
    tdm_free(v->seen);
}

/* Whether a host of these ranks has ranks with another value, too: then its name does not tell which are meant. */
static bool shares_hosts(const tdm_roster *roster, const values *v, int value)
{
    for (int i = 0; i < roster->ranks; i++)
        if (v->of[i] != value && v->seen[roster->node_of[i]]) return true;
    return false;
}

/* " on cn01, cn02 and 6 more": the hosts of the ranks with this value; they become v->seen. */
static tdm_status print_hosts(const tdm_roster *roster, values *v, int value, tdm_text *text)
{
    int names = 0;
    memset(v->seen, 0, (size_t)roster->nodes * sizeof *v->seen);
    for (int i = 0; i < roster->ranks; i++) {
        const int node = roster->node_of[i];
        if (v->of[i] != value || v->seen[node]) continue;
        v->seen[node] = true;
        if (names++ < MOST_NAMES)
            TDM_TRY(tdm_text_printf(text, "%s%s", names == 1 ? " on " : ", ", roster->member[i].host));
    }
    return names > MOST_NAMES ? tdm_text_printf(text, " and %d more", names - MOST_NAMES) : TDM_OK;
}

static tdm_status print_values(const tdm_roster *roster, values *v, tdm_text *text)
{
    for (int i = 0; i < v->count; i++) {
        TDM_TRY(tdm_text_printf(text, "%s%s", i > 0 ? "; " : "", v->text[i]));
        TDM_TRY(print_hosts(roster, v, i, text));
        if (!shares_hosts(roster, v, i)) continue;
        if (v->members[i] == 1)
            TDM_TRY(tdm_text_printf(text, " (rank %d)", v->first[i]));
        else
            TDM_TRY(tdm_text_printf(text, " (%d ranks)", v->members[i]));
    }
    if (v->beyond == 0) return TDM_OK;
    return tdm_text_printf(text, "; others on %d rank%s", v->beyond, v->beyond == 1 ? "" : "s");
}

tdm_status tdm_roster_groups(const tdm_roster *roster, tdm_member_value *value_of, tdm_text *text, int *count)
{
    values v;
    tdm_status status = find_values(roster, value_of, &v);
    if (status == TDM_OK) status = print_values(roster, &v, text);
    *count = v.count;
    free_values(&v);
    return status;
}

#define VALUE_OF_TEXT(name)                                                                                  \
    static void name##_of(const tdm_roster *roster, int i, char *out, size_t room)                           \
    {                                                                                                        \
        snprintf(out, room, "%s", roster->member[i].name);                                                   \
    }
VALUE_OF_TEXT(isa)
VALUE_OF_TEXT(precision)
VALUE_OF_TEXT(mpi)
VALUE_OF_TEXT(cpu)
VALUE_OF_TEXT(pages)

static void threads_of(const tdm_roster *roster, int i, char *out, size_t room)
{
    snprintf(out, room, "%d", (int)roster->member[i].threads);
}

static void ranks_beside(const tdm_roster *roster, int i, char *out, size_t room)
{
    snprintf(out, room, "%d", roster->node[roster->node_of[i]].ranks);
}

/* In f32 what multiplies bf16 is not used. */
static void used_isa_of(const tdm_roster *roster, int i, char *out, size_t room)
{
    const tdm_member *m = &roster->member[i];
    const bool wide = strcmp(m->precision, "bf16") == 0;
    snprintf(out, room, "%.*s", (int)(wide ? strlen(m->isa) : strcspn(m->isa, "+")), m->isa);
}

/* ---- In one line ---- */

static void widen(int range[2], int value)
{
    range[0] = value < range[0] ? value : range[0];
    range[1] = value > range[1] ? value : range[1];
}

void tdm_roster_ranges(const tdm_roster *roster, int ranks[2], int threads[2])
{
    ranks[0] = ranks[1] = roster->node[0].ranks;
    threads[0] = threads[1] = roster->member[0].threads;
    for (int i = 0; i < roster->nodes; i++) widen(ranks, roster->node[i].ranks);
    for (int i = 0; i < roster->ranks; i++) widen(threads, roster->member[i].threads);
}

static void plural(char out[48], int least, int most, const char *one)
{
    if (least == most)
        snprintf(out, 48, "%d %s%s", least, one, least == 1 ? "" : "s");
    else
        snprintf(out, 48, "%d to %d %ss", least, most, one);
}

/* ", avx512+amx" where all have it; ", avx512+amx or avx2" where some have another. */
static tdm_status print_common(const tdm_roster *roster, tdm_member_value *value_of, tdm_text *line)
{
    values v;
    tdm_status status = find_values(roster, value_of, &v);
    for (int i = 0; i < v.count && status == TDM_OK; i++)
        status = tdm_text_printf(line, "%s%s", i > 0 ? " or " : ", ", v.text[i]);
    free_values(&v);
    return status;
}

tdm_status tdm_roster_summary(const tdm_roster *roster, tdm_text *line)
{
    int ranks[2], threads[2];
    char nodes[48], each[48], inside[48], all[64] = "";
    tdm_roster_ranges(roster, ranks, threads);
    plural(nodes, roster->nodes, roster->nodes, "node");
    plural(each, ranks[0], ranks[1], "rank");
    plural(inside, threads[0], threads[1], "thread");
    if (ranks[0] != ranks[1]) snprintf(all, sizeof all, ", %d ranks in all", roster->ranks);
    TDM_TRY(tdm_text_printf(line, "%s x %s x %s%s", nodes, each, inside, all));
    static tdm_member_value *const common[] = {isa_of, precision_of, mpi_of, cpu_of};
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        TDM_TRY(print_common(roster, common[i], line));
    return TDM_OK;
}

/* ---- Warnings ---- */

/* The host whose ranks start the most threads beyond its cores. */
static tdm_status warn_crowded(const tdm_roster *roster, tdm_text *lines)
{
    const tdm_roster_node *worst = NULL;
    int crowded = 0;
    char more[48] = "";
    for (int i = 0; i < roster->nodes; i++) {
        const tdm_roster_node *n = &roster->node[i];
        if (n->cores == 0 || n->threads <= n->cores) continue;
        crowded++;
        if (worst == NULL || n->threads - n->cores > worst->threads - worst->cores) worst = n;
    }
    if (worst == NULL) return TDM_OK;
    if (crowded > 1)
        snprintf(more, sizeof more, " and %d more host%s like it", crowded - 1, crowded == 2 ? "" : "s");
    return tdm_text_printf(
        lines,
        "%s%s: %d threads (%d rank%s) share %d core%s, which is slow; OMP_NUM_THREADS or --threads says how many a "
        "rank starts, and mpirun's binding which cores it has\n",
        roster->member[worst->first].host, more, worst->threads, worst->ranks, worst->ranks == 1 ? "" : "s",
        worst->cores, worst->cores == 1 ? "" : "s");
}

/* The value of TANDEM_ISA that every rank can follow. */
static const char *common_isa(const tdm_roster *roster)
{
    int least = roster->member[0].allowed_isa;
    for (int i = 1; i < roster->ranks; i++) least = (int)tdm_min_i64(least, roster->member[i].allowed_isa);
    return tdm_isa_name((tdm_isa)least);
}

typedef struct warning {
    tdm_member_value *value_of;
    const char *what, *means; /* what differs; a sentence behind the values, in which %s is common_isa */
} warning;

static const warning table[] = {
    {ranks_beside, "ranks per node differ",
     "Every rank has the same share of a batch, so hosts with more ranks need as "
     "many more cores"},
    {threads_of, "threads per rank differ",
     "The others wait for the slowest rank; OMP_NUM_THREADS (mpirun -x OMP_NUM_THREADS) sets it for all"},
    {used_isa_of, "the ranks use different instruction sets",
     "The last bits of a result depend on the rank that computes it; TANDEM_ISA=%s on every rank (mpirun -x TANDEM_ISA) "
     "makes them alike"},
    {precision_of, "the ranks compute in different precision",
     "Results depend on the rank that computes them; train.precision = \"f32\", or --precision f32, makes them alike"},
    {mpi_of, "the ranks use different MPI libraries", "Install the same on every host"},
    {cpu_of, "different CPUs", "The others wait for the slowest rank"},
    {pages_of, "transparent huge pages are set differently", "Where they are never used, memory is slower"},
};

static tdm_status warn_different(const tdm_roster *roster, const warning *w, tdm_text *lines)
{
    tdm_text groups = {0};
    char means[256];
    int count;
    snprintf(means, sizeof means, w->means, common_isa(roster));
    tdm_status status = tdm_roster_groups(roster, w->value_of, &groups, &count);
    if (status == TDM_OK && count > 1)
        status = tdm_text_printf(lines, "%s: %s. %s\n", w->what, groups.data, means);
    tdm_text_free(&groups);
    return status;
}

tdm_status tdm_roster_warnings(const tdm_roster *roster, tdm_text *lines)
{
    TDM_TRY(warn_crowded(roster, lines));
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        TDM_TRY(warn_different(roster, &table[i], lines));
    return TDM_OK;
}

/* ---- One program ---- */

/* A member whose `mpi` is the build. */
static void describe_build(const tdm_comm *comm, const char *build, tdm_member *member)
{
    tdm_member_describe(comm, 1, "", "", member);
    snprintf(member->mpi, sizeof member->mpi, "%s", build);
}

/* On rank 0. */
static tdm_status name_builds(const tdm_roster *roster)
{
    tdm_text groups = {0};
    int count;
    tdm_status status = tdm_roster_groups(roster, mpi_of, &groups, &count);
    const char *mixed = getenv("TANDEM_MIXED_BUILDS");
    if (status == TDM_OK && mixed != NULL && strcmp(mixed, "1") == 0)
        tdm_log(TDM_LOG_WARN, "the ranks run different builds of tandem: %s", groups.data);
    else if (status == TDM_OK)
        status = TDM_ERROR(TDM_E_LIBRARY,
                           "the ranks run different builds of tandem: %s; install the same on every host",
                           groups.data);
    tdm_text_free(&groups);
    return status;
}

tdm_status tdm_comm_same_program(tdm_comm *comm)
{
    char build[TDM_BUILD_BYTES], named[TDM_BUILD_BYTES + 16];
    tdm_program_build(build);
    snprintf(named, sizeof named, "%s %s", TDM_VERSION, build);
    if (tdm_comm_all_equal_u64(comm, tdm_xxh64(named, strlen(named)))) return TDM_OK;
    tdm_member mine;
    tdm_roster roster;
    describe_build(comm, named, &mine);
    TDM_TRY(tdm_roster_gather(comm, &mine, &roster));
    const tdm_status status = tdm_comm_agree(comm, comm->rank == 0 ? name_builds(&roster) : TDM_OK);
    tdm_roster_free(&roster);
    return status;
}
