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
        FLAG_STRING("--format", &o.format, "NAME", NULL, "format of SOURCE, see below"),
        FLAG_STRING("--out", &o.out_dir, "DIR", NULL, "data directory to write"),
        FLAG_STRING("--split", &o.split, "SPEC", "",
                    "train; or fractions, train=0.9,val=0.1; or the format's own splits, "
                    "train=train+restval,test (default: the format's own splits, else all in train)"),
        FLAG_INT("--image-size", &o.image_px, "PX", "0", "px", 0, TDM_IMAGE_MAX_PX,
                 "shrink images whose shorter side is longer; 0 keeps the original bytes"),
        FLAG_INT("--shard-size", &o.shard_size, "N", "10000", "images", 1, 1e9, "per shard"),
        FLAG_SWITCH(
            "--skip-bad", &o.skip_bad,
            "leave out images that cannot be used and list them in DIR/pack-report.json; otherwise the first one is an error"),
        FLAG_STRING("--tokenizer", &tokenizer, "FILE", "",
                    "record this tokenizer in the shards and count the captions that it would cut"),
        FLAG_SWITCH("--mask-token", &o.tokenizer_mask,
                    "the tokenizer's variant with <|mask|>, see model.tokenizer_mask"),
        FLAG_INT("--context", &o.context_length, "N", "77", "tokens", 2, 65536,
                 "context length for that count"),
        FLAG_STRING("--name", &o.dataset_name, "NAME", "", "name of the data set (default: the format's)"),
        FLAG_INT("--seed", &seed, "N", "1", "", 0, 9e15, "of splits by fractions"),
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
