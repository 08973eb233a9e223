/* tandem info: what a shard, a data directory, a checkpoint, a run, an embedding file or a file of tensors holds;
 * --system: what a run is made of.
 *
 * Everything is gathered as one JSON value, which --json writes and which is printed for people by one
 * generic printer: so both say the same. */
#include "command.h"
#include "info_files.h"
#include "info_system.h"
#include "result_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static tdm_status report_damage(const char *run, const run_damage *damage)
{
    TDM_REQUIRE(damage->damaged < 2, TDM_E_FORMAT, "%s: %d checkpoints are damaged", run, damage->damaged);
    TDM_REQUIRE(damage->damaged == 0, TDM_E_FORMAT, "%s", damage->last);
    return TDM_OK;
}

static tdm_status info(const char *path, const info_options *options)
{
    json_t *object = json_object();
    TDM_REQUIRE(object != NULL, TDM_E_NOMEM, "tandem info: out of memory");
    tdm_status status = info_files(path, options, object);
    if (status == TDM_OK) result_show(object);
    if (status == TDM_OK && (fflush(stdout) != 0 || ferror(stdout))) {
        status = TDM_ERROR(TDM_E_IO, "standard output: cannot write: %s", strerror(errno));
    }
    if (status == TDM_OK && options->json[0] != '\0') status = result_write(object, 17, options->json);
    if (status == TDM_OK) status = report_damage(path, options->damage);
    json_decref(object);
    return status;
}

static tdm_status info_run(tdm_comm *comm, int argc, char **argv)
{
    bool system = false;
    run_damage damage = {0};
    info_options options = {.json = "", .damage = &damage};
    const tdm_flag flags[] = {
        FLAG_SWITCH("--verify", &options.verify, "read every byte and check it against the stored checksums"),
        FLAG_SWITCH("--params", &options.params, "of a checkpoint: list every parameter with its shape"),
        FLAG_SWITCH("--config", &options.config,
                    "of a checkpoint: print the configuration it was trained with"),
        FLAG_SWITCH(
            "--system", &system,
            "what runs of this host, or under mpirun of these, are made of, and the file systems of the "
            "directories (unset: the current one)"),
        FLAG_STRING("--json", &options.json, "FILE", "", "write the same as JSON"),
    };
    tdm_strings positional = {0};
    bool help = false;
    TDM_TRY(tdm_parse_flags("info",
                            "FILE | DIR [--verify] [--params] [--config] [--json FILE] | --system [DIR…]",
                            flags, sizeof flags / sizeof flags[0], argc, argv, &positional, &help));
    tdm_status status = TDM_OK;
    if (!help && system)
        status = info_system(comm, &positional, options.json);
    else if (!help && positional.count == 1)
        status = info(positional.item[0], &options);
    else if (!help)
        status = TDM_ERROR(TDM_E_USAGE, "tandem info: expected one file or directory, got %lld",
                           (long long)positional.count);
    free((void *)positional.item);
    return status;
}

const tdm_command tdm_command_info = {
    .name = "info",
    .summary =
        "what a shard, data set, checkpoint, run, embedding or tensor file holds; --system: this machine",
    .mpi = false,
    .mpi_flag = "--system",
    .run = info_run};
