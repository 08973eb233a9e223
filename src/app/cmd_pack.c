/* tandem pack: raw data sets into shards. */
#include "command.h"
#include "roster_log.h"

#include <stdlib.h>
#include <string.h>

/* A format's options as flags. */
typedef struct format_flags {
    tdm_flag *flag;      /* [count] */
    char (*name)[64];    /* [count] "--image-column" for the key "image_column" */
    const char **choice; /* [count] the word that is chosen, of options that are choices */
    size_t count;
} format_flags;

static void free_format_flags(format_flags *flags)
{
    tdm_free(flags->flag);
    tdm_free(flags->name);
    tdm_free((void *)flags->choice);
}

static tdm_flag_type flag_type(tdm_option_type type)
{
    switch (type) {
    case TDM_OPTION_BOOL: return TDM_FLAG_SWITCH;
    case TDM_OPTION_INT: return TDM_FLAG_INT;
    case TDM_OPTION_FLOAT: return TDM_FLAG_FLOAT;
    case TDM_OPTION_STRINGS: return TDM_FLAG_LIST;
    default: return TDM_FLAG_STRING;
    }
}

/* values: the format's struct, or NULL where the flags are only shown. NULL for a format has no flags. */
static tdm_status make_format_flags(const tdm_pack_format *format, char *values, format_flags *out)
{
    out->count = format ? format->option_count : 0;
    TDM_TRY(TDM_ALLOC(out->count, &out->flag));
    TDM_TRY(TDM_ALLOC(out->count, &out->name));
    TDM_TRY(TDM_ALLOC(out->count, &out->choice));
    for (size_t i = 0; i < out->count; i++) {
        const tdm_option *row = &format->options[i];
        snprintf(out->name[i], sizeof(out->name[i]), "--%s", row->key);
        for (char *c = out->name[i]; *c; c++)
            if (*c == '_') *c = '-';
        const bool choice = row->type == TDM_OPTION_CHOICE;
        out->choice[i] = row->default_text;
        out->flag[i] = (tdm_flag){.name = out->name[i],
                                  .type = flag_type(row->type),
                                  .value = choice   ? (void *)&out->choice[i]
                                           : values ? values + row->offset
                                                    : NULL,
                                  .argument = row->choices,
                                  .default_text = row->default_text,
                                  .unit = row->unit,
                                  .help = row->help,
                                  .min = row->min,
                                  .max = row->max};
    }
    return TDM_OK;
}

/* The words that were chosen into the format's struct. */
static void store_choices(const tdm_pack_format *format, const format_flags *flags, char *values)
{
    for (size_t i = 0; i < flags->count; i++) {
        const tdm_option *row = &format->options[i];
        if (row->type == TDM_OPTION_CHOICE)
            *(int *)(void *)(values + row->offset) = tdm_option_choice(row->choices, flags->choice[i]);
    }
}

static tdm_status print_formats(void)
{
    size_t count;
    const tdm_pack_format *const *formats = tdm_pack_formats(&count);
    if (tdm_log_rank() != 0) return TDM_OK;
    puts("\nFormats, each with its own options:");
    for (size_t i = 0; i < count; i++) {
        char title[80], help[512];
        format_flags own = {0};
        snprintf(title, sizeof(title), "--format %s", formats[i]->name);
        snprintf(help, sizeof(help), "SOURCE is %s", formats[i]->help);
        const tdm_status status = make_format_flags(formats[i], NULL, &own);
        if (status == TDM_OK) tdm_print_flags(title, help, own.flag, own.count);
        free_format_flags(&own);
        TDM_TRY(status);
    }
    return TDM_OK;
}

/* The format that the command line names, before its options can be read; NULL: none that is known. */
static const tdm_pack_format *find_format(int argc, char **argv)
{
    const char *name = "";
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--format") && i + 1 < argc) name = argv[i + 1];
        if (!strncmp(argv[i], "--format=", 9)) name = argv[i] + 9;
    }
    size_t count;
    const tdm_pack_format *const *formats = tdm_pack_formats(&count);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(formats[i]->name, name)) return formats[i];
    return NULL;
}

/* Is "--image-column" or "--image-column=x" an option of the format? */
static bool format_has(const tdm_pack_format *format, const char *word)
{
    for (size_t i = 0; i < format->option_count; i++) {
        const char *key = format->options[i].key, *at = word + 2;
        while (*key && (*key == *at || (*key == '_' && *at == '-'))) key++, at++;
        if (!*key && (!*at || *at == '=')) return true;
    }
    return false;
}

/* Options of formats other than the one that is asked for. */
static tdm_status refuse_foreign(const tdm_pack_format *own, int argc, char **argv)
{
    size_t count;
    const tdm_pack_format *const *formats = tdm_pack_formats(&count);
    for (int i = 1; own && i < argc && strcmp(argv[i], "--"); i++) {
        if (strncmp(argv[i], "--", 2) || format_has(own, argv[i])) continue;
        for (size_t f = 0; f < count; f++)
            TDM_REQUIRE(!format_has(formats[f], argv[i]), TDM_E_USAGE,
                        "pack: %.*s is an option of --format %s, not of %s", (int)strcspn(argv[i], "="),
                        argv[i], formats[f]->name, own->name);
    }
    return TDM_OK;
}

/* ---- The call ---- */

typedef struct call {
    tdm_pack_options options;
    const char *tokenizer, *unpaired, *overlong;
    int64_t seed;
    const tdm_pack_format *format;
    void *values; /* the format's options */
    format_flags own;
    tdm_strings source;
} call;

static void call_free(call *c)
{
    free((void *)c->source.item);
    free_format_flags(&c->own);
    tdm_free(c->values);
}

static tdm_status parse(call *c, int argc, char **argv, bool *help)
{
    tdm_pack_options *o = &c->options;
    const tdm_flag common[] = {
        FLAG_STRING("--format", &o->format, "NAME", NULL, "format of SOURCE, see below"),
        FLAG_STRING("--out", &o->out_dir, "DIR", NULL, "data directory to write"),
        FLAG_STRING(
            "--split", &o->split, "SPEC", "",
            "train; or fractions, train=0.9,val=0.1; or the format's own splits, "
            "train=train+restval,test; or parts of them, train=train*0.9,val=train*0.1 (default: the format's own splits, else all in train)"),
        FLAG_INT("--image-size", &o->image_px, "PX", "0", "px", 0, TDM_IMAGE_MAX_PX,
                 "shrink images whose shorter side is longer; 0 keeps the original bytes"),
        FLAG_INT("--shard-size", &o->shard_size, "N", "10000", "samples", 1, 1e9, "per shard"),
        FLAG_STRING(
            "--unpaired", &c->unpaired, "refuse|keep", "refuse",
            "an image without a caption, or a caption without an image, is a bad sample, or is packed alone"),
        FLAG_SWITCH(
            "--skip-bad", &o->skip_bad,
            "leave out samples that cannot be used and list them in DIR/pack-report.json; otherwise the first one is an error"),
        FLAG_STRING("--tokenizer", &c->tokenizer, "FILE", "",
                    "record this tokenizer in the shards and count the captions that it would cut"),
        FLAG_SWITCH("--mask-token", &o->tokenizer_mask,
                    "the tokenizer's variant with <|mask|>, see model.tokenizer_mask"),
        FLAG_INT("--context", &o->context_length, "N", "77", "tokens", 2, 65536,
                 "context length for that count"),
        FLAG_STRING(
            "--overlong", &c->overlong, "cut|refuse", "cut",
            "with --tokenizer: captions beyond the context length are counted, and cut in training; or a sample with "
            "one is bad"),
        FLAG_STRING("--name", &o->dataset_name, "NAME", "", "name of the data set (default: the format's)"),
        FLAG_INT("--seed", &c->seed, "N", "1", "", 0, 9e15, "of splits by fractions"),
        FLAG_STEAL_LOCK(&o->steal_lock),
    };
    enum { COMMON = sizeof(common) / sizeof(common[0]) };
    tdm_flag *all;
    TDM_TRY(TDM_ALLOC(COMMON + c->own.count, &all));
    memcpy(all, common, sizeof(common));
    memcpy(all + COMMON, c->own.flag, sizeof(*all) * c->own.count);
    const tdm_status status =
        tdm_parse_flags("pack", "--format NAME --out DIR [--split SPEC] [--image-size PX] SOURCE…", all,
                        COMMON + c->own.count, argc, argv, &c->source, help);
    tdm_free(all);
    return status;
}

static tdm_status read_call(call *c, int argc, char **argv, bool *help)
{
    c->format = find_format(argc, argv);
    if (c->format) {
        TDM_TRY(tdm_alloc(c->format->option_bytes, "options of the format", &c->values));
        tdm_pack_format_defaults(c->format, c->values);
    }
    TDM_TRY(refuse_foreign(c->format, argc, argv));
    TDM_TRY(make_format_flags(c->format, c->values, &c->own));
    TDM_TRY(parse(c, argc, argv, help));
    if (c->format) store_choices(c->format, &c->own, c->values);
    c->options.format_options = c->values;
    c->options.seed = (uint64_t)c->seed;
    c->options.tokenizer = c->tokenizer[0] ? c->tokenizer : NULL;
    c->options.refuse_overlong = !strcmp(c->overlong, "refuse");
    TDM_REQUIRE(!c->options.refuse_overlong || c->options.tokenizer || *help, TDM_E_USAGE,
                "pack: --overlong refuse needs --tokenizer, which counts the tokens");
    c->options.keep_unpaired = !strcmp(c->unpaired, "keep");
    if (!c->options.dataset_name[0]) c->options.dataset_name = c->options.format;
    c->options.source = c->source.item;
    c->options.source_count = c->source.count;
    return TDM_OK;
}

static void log_split(const tdm_pack_split *split)
{
    char labels[96] = "";
    if (split->identities)
        snprintf(labels, sizeof(labels), ", %lld identities", (long long)split->identities);
    if (split->classes)
        snprintf(labels + strlen(labels), sizeof(labels) - strlen(labels), ", %lld classes",
                 (long long)split->classes);
    tdm_log(TDM_LOG_INFO, "split %s: %lld images, %lld captions%s", split->name, (long long)split->images,
            (long long)split->captions, labels);
}

static void log_result(const tdm_pack_options *o, const tdm_pack_result *result)
{
    tdm_log(TDM_LOG_INFO, "packed %lld images with %lld captions into %lld shards in %s",
            (long long)result->images, (long long)result->captions, (long long)result->shards, o->out_dir);
    for (int i = 0; i < result->split_n; i++) log_split(&result->split[i]);
    if (result->alternatives)
        tdm_log(TDM_LOG_INFO, "%lld further wordings of captions", (long long)result->alternatives);
    if (result->images_only || result->texts_only)
        tdm_log(TDM_LOG_INFO,
                "%lld of the images have no caption; %lld samples are captions without an image",
                (long long)result->images_only, (long long)result->texts_only);
    if (result->bad_captions)
        tdm_log(TDM_LOG_WARN,
                "%lld bad captions were left out of samples that have others; see %s/pack-report.json",
                (long long)result->bad_captions, o->out_dir);
    if (result->bad)
        tdm_log(TDM_LOG_WARN, "%lld bad samples were left out; see %s/pack-report.json",
                (long long)result->bad, o->out_dir);
    if (result->truncated_captions)
        tdm_log(TDM_LOG_WARN, "%lld captions are longer than %lld tokens and will be cut",
                (long long)result->truncated_captions, (long long)o->context_length);
}

static tdm_status pack_run(tdm_comm *comm, int argc, char **argv)
{
    call c = {.options = {.format = "",
                          .out_dir = "",
                          .dataset_name = "",
                          .split = "",
                          .context_length = 77,
                          .shard_size = 10000},
              .tokenizer = "",
              .unpaired = "refuse",
              .overlong = "cut",
              .seed = 1};
    bool help = false;
    tdm_pack_result result;
    tdm_status status = read_call(&c, argc, argv, &help);
    if (status == TDM_OK && help)
        status = print_formats();
    else if (status == TDM_OK && tdm_comm_size(comm) > 1)
        status = roster_log_plain(comm, 1);
    if (status == TDM_OK && !help) status = tdm_pack(comm, &c.options, &result);
    if (status == TDM_OK && !help) log_result(&c.options, &result);
    call_free(&c);
    return status;
}

const tdm_command tdm_command_pack = {
    .name = "pack",
    .summary = "pack a raw data set into shards",
    .mpi = true,
    .stops = true,
    .run = pack_run,
};
