/* tandem pack: raw data sets into shards. */
#include "command.h"

#include <stdlib.h>
#include <string.h>

static tdm_status print_formats(void)
{
    size_t count;
    const tdm_pack_format *const *formats = tdm_pack_formats(&count);
    puts("\nFormats:");
    for (size_t i = 0; i < count; i++) printf("  %-12s SOURCE is %s\n", formats[i]->name, formats[i]->help);
    return TDM_OK;
}

static tdm_status pack_run(tdm_comm *comm, int argc, char **argv)
{
    tdm_pack_options o = {.format = "",
                          .out_dir = "",
                          .dataset_name = "",
                          .split = "",
                          .context_length = 77,
                          .shard_size = 10000,
                          .seed = 1};
    const char *tokenizer = "";
    int64_t seed = 1;
    const tdm_flag flags[] = {
        {"--format", TDM_FLAG_STRING, &o.format, "NAME", NULL, "", "format of SOURCE, see below", 0, 0},
        {"--out", TDM_FLAG_STRING, &o.out_dir, "DIR", NULL, "", "data directory to write", 0, 0},
        {"--split", TDM_FLAG_STRING, &o.split, "SPEC", "", "",
         "train; or fractions, train=0.9,val=0.1; or the format's own splits, train=train+restval,test "
         "(default: the "
         "format's own splits, else all in train)",
         0, 0},
        {"--image-size", TDM_FLAG_INT, &o.image_px, "PX", "0", "px",
         "shrink images whose shorter side is longer; 0 keeps the original bytes", 0, TDM_IMAGE_MAX_PX},
        {"--shard-size", TDM_FLAG_INT, &o.shard_size, "N", "10000", "images", "per shard", 1, 1e9},
        {"--skip-bad", TDM_FLAG_SWITCH, &o.skip_bad, NULL, "", "",
         "leave out images that cannot be used and list them in DIR/pack-report.json; otherwise the first "
         "one is an error",
         0, 0},
        {"--tokenizer", TDM_FLAG_STRING, &tokenizer, "FILE", "", "",
         "record this tokenizer in the shards and count the captions that it would cut", 0, 0},
        {"--mask-token", TDM_FLAG_SWITCH, &o.tokenizer_mask, NULL, "", "",
         "the tokenizer's variant with <|mask|>, see model.tokenizer_mask", 0, 0},
        {"--context", TDM_FLAG_INT, &o.context_length, "N", "77", "tokens", "context length for that count",
         2, 65536},
        {"--name", TDM_FLAG_STRING, &o.dataset_name, "NAME", "", "",
         "name of the data set (default: the format's)", 0, 0},
        {"--seed", TDM_FLAG_INT, &seed, "N", "1", "", "of splits by fractions", 0, 9e15},
    };
    tdm_strings positional = {0};
    bool help = false;
    tdm_status status =
        tdm_parse_flags("pack", "--format NAME --out DIR [--split SPEC] [--image-size PX] SOURCE…", flags,
                        sizeof(flags) / sizeof(flags[0]), argc, argv, &positional, &help);
    if (status == TDM_OK && help) status = print_formats();
    if (status == TDM_OK && !help) {
        tdm_pack_result result;
        o.seed = (uint64_t)seed;
        o.tokenizer = tokenizer[0] ? tokenizer : NULL;
        if (!o.dataset_name[0]) o.dataset_name = o.format;
        o.source = positional.item;
        o.source_count = positional.count;
        status = tdm_pack(comm, &o, &result);
        if (status == TDM_OK) {
            tdm_log(TDM_LOG_INFO, "packed %lld images with %lld captions into %lld shards in %s",
                    (long long)result.images, (long long)result.captions, (long long)result.shards,
                    o.out_dir);
            if (result.bad)
                tdm_log(TDM_LOG_WARN, "%lld bad images were left out; see %s/pack-report.json",
                        (long long)result.bad, o.out_dir);
            if (result.truncated_captions)
                tdm_log(TDM_LOG_WARN, "%lld captions are longer than %lld tokens and will be cut",
                        (long long)result.truncated_captions, (long long)o.context_length);
        }
    }
    free(positional.item);
    return status;
}

const tdm_command tdm_command_pack = {
    .name = "pack",
    .summary = "pack a raw data set into shards",
    .mpi = true,
    .run = pack_run,
};
