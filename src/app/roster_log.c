#include "roster_log.h"

#include "tandem/json_text.h"

#include <string.h>

void roster_warn(const tdm_text *lines)
{
    for (const char *at = lines->data, *end; at != NULL && *at; at = end + 1) {
        end = strchr(at, '\n');
        tdm_log(TDM_LOG_WARN, "%.*s", (int)(end - at), at);
    }
}

static tdm_status show(const tdm_roster *roster)
{
    tdm_text line = {0}, warnings = {0};
    if (roster->ranks == 0) return TDM_OK;
    tdm_status status = tdm_roster_summary(roster, &line);
    if (status == TDM_OK) status = tdm_roster_warnings(roster, &warnings);
    if (status == TDM_OK) tdm_log(TDM_LOG_INFO, "runs on %s", line.data);
    if (status == TDM_OK) roster_warn(&warnings);
    tdm_text_free(&line);
    tdm_text_free(&warnings);
    return status;
}

static tdm_status gather_and_show(tdm_comm *comm, const tdm_member *mine, tdm_roster *roster)
{
    tdm_roster own = {0};
    TDM_TRY(tdm_roster_gather(comm, mine, &own));
    const tdm_status status = tdm_comm_agree(comm, show(&own));
    if (status == TDM_OK && roster != NULL)
        *roster = own;
    else
        tdm_roster_free(&own);
    return status;
}

void roster_member(const tdm_comm *comm, const tdm_ops *ops, tdm_member *mine)
{
    tdm_member_describe(comm, tdm_ops_threads(ops), tdm_ops_isa(ops), tdm_dtype_name(tdm_ops_dtype(ops)),
                        mine);
}

tdm_status roster_log(tdm_comm *comm, const tdm_ops *ops, tdm_roster *roster)
{
    tdm_member mine;
    roster_member(comm, ops, &mine);
    return gather_and_show(comm, &mine, roster);
}

tdm_status roster_log_plain(tdm_comm *comm, int threads)
{
    tdm_member mine;
    tdm_cpu cpu;
    TDM_AGREE(comm, tdm_cpu_detect(&cpu));
    tdm_member_describe(comm, threads, tdm_isa_name(cpu.isa), "", &mine);
    return gather_and_show(comm, &mine, NULL);
}

/* ---- JSON ---- */

/* Adds a text unless the list has it. */
static void add_once(json_t *list, const char *text)
{
    size_t i;
    json_t *item;
    if (!text[0]) return;
    json_array_foreach(list, i, item)
    {
        if (strcmp(json_string_value(item), text) == 0) return;
    }
    json_array_append_new(list, tdm_json_text(text));
}

/* [least, most] */
static json_t *range(int least, int most)
{
    return json_pack("[ii]", least, most);
}

json_t *roster_json(const tdm_roster *roster)
{
    int ranks[2], threads[2];
    json_t *hosts = json_array(), *isa = json_array(), *precision = json_array(), *mpi = json_array(),
           *cpu = json_array();
    char build[TDM_BUILD_BYTES];
    tdm_roster_ranges(roster, ranks, threads);
    for (int i = 0; i < roster->nodes; i++) {
        const int first = roster->node[i].first;
        json_array_append_new(hosts, tdm_json_text(roster->member[first].host));
    }
    for (int i = 0; i < roster->ranks; i++) {
        const tdm_member *m = &roster->member[i];
        add_once(isa, m->isa);
        add_once(precision, m->precision);
        add_once(mpi, m->mpi);
        add_once(cpu, m->cpu);
    }
    tdm_program_build(build);
    return json_pack("{s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s}", "nodes", roster->nodes,
                     "ranks", roster->ranks, "ranks_per_node", range(ranks[0], ranks[1]), "threads_per_rank",
                     range(threads[0], threads[1]), "isa", isa, "precision", precision, "mpi", mpi, "cpu",
                     cpu, "hosts", hosts, "version", TDM_VERSION, "build", build);
}
