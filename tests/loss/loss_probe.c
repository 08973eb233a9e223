/* loss_probe --config FILE --case CASE.h5 --out OUT.h5: runs the objectives that a configuration switches on over the
 * features of one global batch and writes values and gradients, so that any other program can check them; the form
 * of both files stands in loss_case.h. Under mpirun with any number of ranks, to the same result. */
#include "loss_case.h"

#include <string.h>

static tdm_status run(tdm_comm *comm, int argc, char **argv)
{
    const char *config = "", *path = "", *out = "";
    loss_case c = {0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--config")) config = argv[i + 1];
        if (!strcmp(argv[i], "--case")) path = argv[i + 1];
        if (!strcmp(argv[i], "--out")) out = argv[i + 1];
    }
    TDM_REQUIRE(path[0] && out[0], TDM_E_USAGE,
                "usage: loss_probe [--config FILE] --case CASE.h5 --out OUT.h5");
    tdm_status status = tdm_config_init(&c.config);
    if (status == TDM_OK && config[0]) status = tdm_config_load(&c.config, config);
    if (status == TDM_OK) status = loss_case_read(path, &c);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = loss_case_run(comm, &c);
    if (status == TDM_OK)
        status = tdm_comm_agree(comm, tdm_comm_rank(comm) == 0 ? loss_case_write(out, &c) : TDM_OK);
    const tdm_error kept = *tdm_error_last();
    loss_case_free(&c);
    return status == TDM_OK ? TDM_OK : tdm_error_adopt(&kept);
}

int main(int argc, char **argv)
{
    tdm_comm *comm = NULL;
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    tdm_status status = tdm_register_options();
    if (status == TDM_OK) status = run(comm, argc, argv);
    status = tdm_comm_agree(comm, status);
    if (status != TDM_OK) tdm_comm_report(comm);
    tdm_comm_destroy(&comm);
    return status == TDM_OK ? 0 : status == TDM_E_USAGE ? 2 : 1;
}
