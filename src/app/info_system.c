/* tandem info --system: what a run is made of, without one.
 *
 * Every rank describes its host and the directories as JSON; rank 0 takes that of the first rank of each host, and says
 * the file systems that all hosts see alike once. */
#include "info_system.h"

#include "result_json.h"
#include "roster_log.h"

#include "tandem/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20 };

static tdm_status out_of_memory(void)
{
    TDM_FAIL(TDM_E_NOMEM, "tandem info: out of memory");
}

/* ---- One rank ---- */

static const char *tiles_of(tdm_cpu native)
{
    tdm_cpu asked = native;
    if (!native.amx_bf16) return "not of this CPU";
    tdm_cpu_request_tiles(&asked);
    return asked.amx_bf16 ? "granted" : "refused by the operating system";
}

/* The instruction sets of the CPU, before TANDEM_ISA. */
static void name_native(tdm_cpu native, char out[32])
{
    snprintf(out, 32, "%s%s%s", tdm_isa_name(native.isa), native.avx512_bf16 ? "+bf16" : "",
             native.amx_bf16 ? "+amx" : "");
}

static json_t *describe_host(const tdm_comm *comm, const tdm_member *mine)
{
    const char *cap = getenv("TANDEM_ISA");
    const tdm_cpu native = tdm_cpu_native();
    char found[32];
    tdm_machine m;
    tdm_comm_facts facts;
    tdm_machine_describe(&m);
    tdm_comm_describe(comm, &facts);
    name_native(native, found);
    json_t *host = json_object();
    json_object_set_new(host, "host", tdm_json_text(mine->host));
    json_object_set_new(host, "cpu",
                        json_pack("{s:o, s:s, s:s, s:s, s:s, s:s}", "model", tdm_json_text(mine->cpu),
                                  "caches", m.caches, "detected", found, "TANDEM_ISA",
                                  cap != NULL && *cap ? cap : "unset", "used", mine->isa, "amx",
                                  tiles_of(native)));
    json_object_set_new(host, "cores",
                        json_pack("{s:i, s:i, s:i, s:i}", "online", m.online_cores, "allowed_to_a_rank",
                                  m.allowed_cores, "numa_nodes", m.numa_nodes, "numa_of_a_rank",
                                  m.own_numa_nodes));
    json_object_set_new(
        host, "memory",
        json_pack("{s:I, s:I, s:o, s:I, s:s}", "total_mib", (json_int_t)(m.memory_bytes / MIB),
                  "available_mib", (json_int_t)(m.available_bytes / MIB), "group_limit_mib",
                  m.limit_bytes ? json_integer(m.limit_bytes / MIB) : json_null(), "shm_free_mib",
                  (json_int_t)(m.shm_bytes / MIB), "huge_pages", m.huge_pages));
    json_object_set_new(host, "mpi",
                        json_pack("{s:o, s:s, s:s, s:o, s:s}", "library", tdm_json_text(facts.library),
                                  "threads", facts.threads, "transport", facts.transport, "settings",
                                  tdm_json_text(facts.settings[0] ? facts.settings : "none"),
                                  "ranks_of_a_host", facts.peers));
    return host;
}

static json_t *describe_dirs(const tdm_strings *dirs)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < dirs->count; i++) {
        tdm_file_system s;
        tdm_file_system_describe(dirs->item[i], &s);
        json_array_append_new(list, json_pack("{s:o, s:s, s:b, s:I, s:s}", "directory",
                                              tdm_json_text(dirs->item[i]), "type", s.type, "network",
                                              s.is_network, "free_mib", (json_int_t)(s.free_bytes / MIB),
                                              "hard_links", s.hard_links));
    }
    return list;
}

/* As a run with train.precision = "auto" would be. */
static tdm_status describe_member(const tdm_comm *comm, tdm_member *mine)
{
    tdm_dtype dtype;
    tdm_ops *ops = NULL;
    TDM_TRY(tdm_ops_resolve_precision("auto", &dtype));
    tdm_status status = tdm_ops_create(dtype, tdm_default_threads(), &ops);
    if (status == TDM_OK) roster_member(comm, ops, mine);
    tdm_ops_destroy(&ops);
    return status;
}

static tdm_status describe_rank(const tdm_comm *comm, const tdm_strings *dirs, tdm_member *mine, char **text)
{
    TDM_TRY(describe_member(comm, mine));
    json_t *root =
        json_pack("{s:o, s:o}", "host", describe_host(comm, mine), "file_systems", describe_dirs(dirs));
    *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return *text ? TDM_OK : out_of_memory();
}

/* ---- All of them, on rank 0 ---- */

/* The row of this directory and type, or NULL. */
static json_t *find_row(const json_t *rows, const json_t *wanted)
{
    static const char *const same[] = {"directory", "type", "hard_links"};
    size_t i;
    json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        bool equal = true;
        for (size_t k = 0; k < sizeof same / sizeof same[0]; k++)
            equal = equal && json_equal(json_object_get(row, same[k]), json_object_get(wanted, same[k]));
        if (equal) return row;
    }
    return NULL;
}

/* Hosts that see the same are one row. */
static void add_file_systems(json_t *rows, const json_t *found, const char *host)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)(uintptr_t)found, i, one)
    {
        json_t *row = find_row(rows, one);
        if (row == NULL) {
            json_object_set_new(one, "hosts", tdm_json_text(host));
            json_array_append(rows, one);
            continue;
        }
        const char *before = json_string_value(json_object_get(row, "hosts"));
        json_object_set_new(row, "hosts", json_sprintf("%s, %s", before, host));
    }
}

/* A directory that hosts see each for itself is not the same directory. */
static tdm_status warn_of_dirs(const json_t *rows, int nodes, tdm_text *lines)
{
    size_t i;
    json_t *row;
    for (i = 0; nodes > 1 && i < json_array_size(rows); i++) {
        row = json_array_get(rows, i);
        if (json_is_true(json_object_get(row, "network"))) continue;
        const char *type = json_string_value(json_object_get(row, "type"));
        const bool missing = strcmp(type, "missing") == 0;
        TDM_TRY(tdm_text_printf(lines, "%s: %s on %s: every rank must see the same files\n",
                                json_string_value(json_object_get(row, "directory")),
                                missing ? "there is no such directory" : type,
                                json_string_value(json_object_get(row, "hosts"))));
    }
    return TDM_OK;
}

static json_t *lines_value(const tdm_text *lines)
{
    json_t *list = json_array();
    for (const char *at = lines->data, *end; at != NULL && *at; at = end + 1) {
        end = strchr(at, '\n');
        json_array_append_new(list, json_stringn(at, (size_t)(end - at)));
    }
    return list;
}

/* What the first rank of every host says: descriptions[offset[rank] … offset[rank + 1]). */
static tdm_status add_hosts(json_t *root, const tdm_roster *roster, const char *descriptions,
                            const int64_t *offset)
{
    json_t *hosts = json_array(), *rows = json_array();
    json_object_set_new(root, "hosts", hosts);
    json_object_set_new(root, "file_systems", rows);
    for (int n = 0; n < roster->nodes; n++) {
        const tdm_roster_node *node = &roster->node[n];
        const int64_t begin = offset[node->first];
        json_t *said = json_loadb(descriptions + begin, (size_t)(offset[node->first + 1] - begin), 0, NULL);
        json_t *host = json_object_get(said, "host");
        if (host == NULL) return out_of_memory();
        json_t *cores = json_object_get(host, "cores");
        json_object_set_new(cores, "ranks", json_integer(node->ranks));
        json_object_set_new(cores, "threads", json_integer(node->threads));
        json_object_set_new(cores, "allowed", json_integer(node->cores));
        json_array_append(hosts, host);
        add_file_systems(rows, json_object_get(said, "file_systems"), roster->member[node->first].host);
        json_decref(said);
    }
    return TDM_OK;
}

static tdm_status fill(json_t *root, const tdm_roster *roster, const char *descriptions,
                       const int64_t *offset, tdm_text *warnings)
{
    tdm_text line = {0};
    char hdf5[24], onednn[24], build[TDM_BUILD_BYTES];
    tdm_h5_library(hdf5);
    tdm_ops_library(onednn);
    tdm_program_build(build);
    TDM_TRY(tdm_roster_summary(roster, &line));
    json_object_set_new(root, "kind", json_string("system"));
    json_object_set_new(root, "runs_on", tdm_json_text(line.data));
    json_object_set_new(root, "launcher", json_string(tdm_comm_launcher()));
    json_object_set_new(root, "tandem", json_sprintf("%s, build %s", TDM_VERSION, build));
    json_object_set_new(root, "hdf5", json_string(hdf5));
    json_object_set_new(root, "onednn", json_string(onednn));
    tdm_text_free(&line);
    TDM_TRY(add_hosts(root, roster, descriptions, offset));
    TDM_TRY(tdm_roster_warnings(roster, warnings));
    TDM_TRY(warn_of_dirs(json_object_get(root, "file_systems"), roster->nodes, warnings));
    json_object_set_new(root, "warnings", lines_value(warnings));
    return TDM_OK;
}

/* ---- For people ---- */

/* All but the name and what changes from one moment to the next. */
static json_t *lasting_part(const json_t *host)
{
    json_t *copy = json_deep_copy(host), *memory = json_object_get(copy, "memory");
    json_object_del(copy, "host");
    json_object_del(memory, "available_mib");
    json_object_del(memory, "shm_free_mib");
    return copy;
}

/* Hosts that are alike become one, with all their names and the first one's figures. */
static json_t *merge_hosts(const json_t *hosts)
{
    json_t *merged = json_array(), *lasting = json_array(), *host;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)hosts, i, host)
    {
        size_t k = 0;
        json_t *part = lasting_part(host), *row;
        while (k < json_array_size(lasting) && !json_equal(json_array_get(lasting, k), part)) k++;
        if (k == json_array_size(lasting)) {
            json_array_append(lasting, part);
            json_array_append(merged, host);
        } else {
            row = json_array_get(merged, k);
            json_object_set_new(row, "host",
                                json_sprintf("%s, %s", json_string_value(json_object_get(row, "host")),
                                             json_string_value(json_object_get(host, "host"))));
        }
        json_decref(part);
    }
    json_decref(lasting);
    return merged;
}

static tdm_status print_all(json_t *root, const tdm_text *warnings)
{
    json_object_del(root, "warnings"); /* they are log lines */
    json_object_set_new(root, "hosts", merge_hosts(json_object_get(root, "hosts")));
    result_show(root);
    TDM_REQUIRE(fflush(stdout) == 0 && !ferror(stdout), TDM_E_IO, "standard output: cannot write: %s",
                strerror(errno));
    roster_warn(warnings);
    return TDM_OK;
}

static tdm_status show(const tdm_roster *roster, const char *descriptions, const int64_t *offset,
                       const char *json)
{
    json_t *root = json_object();
    tdm_text warnings = {0};
    tdm_status status = fill(root, roster, descriptions, offset, &warnings);
    if (status == TDM_OK && json[0]) status = result_write(root, 17, json);
    if (status == TDM_OK) status = print_all(root, &warnings);
    tdm_text_free(&warnings);
    json_decref(root);
    return status;
}

static tdm_status gather_and_show(tdm_comm *comm, const tdm_member *mine, const char *text, const char *json)
{
    unsigned char *all = NULL;
    int64_t *offset = NULL;
    tdm_roster roster = {0};
    TDM_AGREE(comm, TDM_ALLOC(tdm_comm_size(comm) + 1, &offset));
    tdm_status status = tdm_comm_collect(comm, text, (int64_t)strlen(text), &all, offset);
    if (status == TDM_OK) status = tdm_roster_gather(comm, mine, &roster);
    if (status == TDM_OK)
        status = tdm_comm_agree(comm,
                                tdm_comm_rank(comm) == 0 ? show(&roster, (char *)all, offset, json) : TDM_OK);
    tdm_roster_free(&roster);
    tdm_free(all);
    tdm_free(offset);
    return status;
}

tdm_status info_system(tdm_comm *comm, const tdm_strings *dirs, const char *json)
{
    const char *here[] = {"."};
    const tdm_strings current = {.item = here, .count = 1};
    tdm_member mine;
    char *text = NULL;
    tdm_status status =
        tdm_comm_agree(comm, describe_rank(comm, dirs->count > 0 ? dirs : &current, &mine, &text));
    if (status == TDM_OK) status = gather_and_show(comm, &mine, text, json);
    free(text);
    return status;
}
