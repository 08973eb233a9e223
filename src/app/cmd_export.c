/* tandem export: a checkpoint as a folder that open_clip or Hugging Face's Transformers loads. */
#include "command.h"

#include <stdlib.h>

static tdm_status export_run(tdm_comm *comm, int argc, char **argv)
{
    (void)comm;
    tdm_export_options options = {.model = "", .to = "", .naming = "open_clip", .dtype = "f32"};
    const tdm_flag flags[] = {
        FLAG_STRING("--model", &options.model, "CKPT", NULL,
                    "checkpoint, model.h5, or a run directory (its best checkpoint, else its latest)"),
        FLAG_STRING(
            "--to", &options.to, "FILE|DIR", NULL,
            "FILE.safetensors, or a directory for model.safetensors; configuration and tokenizer files are written beside it"),
        FLAG_STRING("--naming", &options.naming, "open_clip|huggingface", "open_clip",
                    "of the tensors, and of the files beside them"),
        FLAG_STRING("--dtype", &options.dtype, "f32|bf16|f16", "f32", "of the tensors"),
        FLAG_SWITCH("--force", &options.force, "replace files that are there"),
        FLAG_STEAL_LOCK(&options.steal_lock),
    };
    tdm_strings positional = {0};
    bool help = false;
    TDM_TRY(tdm_parse_flags(
        "export",
        "--model CKPT --to model.safetensors [--naming open_clip|huggingface] [--dtype f32|bf16|f16]", flags,
        sizeof flags / sizeof flags[0], argc, argv, &positional, &help));
    const int64_t extra = positional.count;
    free((void *)positional.item);
    if (help) return TDM_OK;
    TDM_REQUIRE(extra == 0, TDM_E_USAGE, "export: takes options only");
    return tdm_export(&options);
}

const tdm_command tdm_command_export = {.name = "export",
                                        .summary = "a checkpoint for open_clip or Hugging Face",
                                        .mpi = false,
                                        .run = export_run};
