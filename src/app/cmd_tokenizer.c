/* tandem tokenizer --train: byte-level BPE merges from captions, in CLIP's file format. */
#include "command.h"
#include "text_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokenizer_options {
    bool train;
    int64_t vocab_size;
    const char *out, *split;
} tokenizer_options;

/* A text file, one caption a line. */
static tdm_status add_text_file(tdm_bpe_trainer *trainer, const char *path, int64_t *captions)
{
    FILE *file = fopen(path, "rb");
    TDM_REQUIRE(file, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    text_lines lines = {.file = file, .name = path};
    bool found = true;
    tdm_status status;
    while ((status = text_lines_next(&lines, &found)) == TDM_OK && found) {
        status = tdm_bpe_trainer_add(trainer, lines.line);
        if (status != TDM_OK) break;
        ++*captions;
    }
    text_lines_free(&lines);
    fclose(file);
    return status;
}

/* The captions of one split of a packed data directory. */
static tdm_status add_dataset(tdm_bpe_trainer *trainer, const char *dir, const char *split, int64_t *captions)
{
    tdm_dataset *dataset = NULL;
    TDM_TRY(tdm_dataset_open(dir, split, &dataset));
    tdm_text caption = {0};
    tdm_status status = TDM_OK;
    for (int64_t i = 0; status == TDM_OK && i < tdm_dataset_captions(dataset); i++) {
        status = tdm_dataset_read_caption(dataset, i, &caption);
        if (status == TDM_OK) status = tdm_bpe_trainer_add(trainer, caption.data);
        ++*captions;
    }
    tdm_text_free(&caption);
    tdm_dataset_close(&dataset);
    return status;
}

static tdm_status train_tokenizer(tdm_bpe_trainer *trainer, const tokenizer_options *options,
                                  const tdm_strings *sources)
{
    int64_t captions = 0;
    for (int64_t i = 0; i < sources->count; i++) {
        if (tdm_path_is_dir(sources->item[i]))
            TDM_TRY(add_dataset(trainer, sources->item[i], options->split, &captions));
        else
            TDM_TRY(add_text_file(trainer, sources->item[i], &captions));
    }
    TDM_REQUIRE(captions > 0, TDM_E_DATA, "%s: no caption to learn from", sources->item[0]);
    TDM_TRY(tdm_bpe_trainer_write(trainer, options->vocab_size, options->out));

    tdm_tokenizer *written = NULL;
    TDM_TRY(tdm_tokenizer_open(options->out, &written));
    tdm_log(TDM_LOG_INFO, "%s: a vocabulary of %lld tokens from %lld captions", options->out,
            (long long)tdm_tokenizer_vocab_size(written), (long long)captions);
    tdm_tokenizer_destroy(&written);
    return TDM_OK;
}

static tdm_status checked_train(const tokenizer_options *options, const tdm_strings *sources)
{
    TDM_REQUIRE(options->train, TDM_E_USAGE, "tokenizer: say --train (the only thing it does)");
    TDM_REQUIRE(sources->count > 0, TDM_E_USAGE,
                "tokenizer: name a SOURCE: text files with one caption a line, or data directories");
    tdm_bpe_trainer *trainer = NULL;
    TDM_TRY(tdm_bpe_trainer_create(&trainer));
    const tdm_status status = train_tokenizer(trainer, options, sources);
    tdm_bpe_trainer_destroy(&trainer);
    return status;
}

static tdm_status tokenizer_run(tdm_comm *comm, int argc, char **argv)
{
    (void)comm;
    tokenizer_options options = {.out = "", .split = "train"};
    const tdm_flag flags[] = {
        FLAG_SWITCH("--train", &options.train, "learn merges from the sources"),
        FLAG_INT("--vocab-size", &options.vocab_size, "N", NULL, "tokens", 514, 1 << 24,
                 "size of the vocabulary: 512 byte symbols, the merges, start and end"),
        FLAG_STRING("--out", &options.out, "FILE", NULL, "merges file to write"),
        FLAG_STRING("--split", &options.split, "NAME", "train",
                    "which captions of a data directory to learn from"),
    };
    tdm_strings sources = {0};
    bool help = false;
    TDM_TRY(tdm_parse_flags("tokenizer", "--train --vocab-size N --out FILE [--split NAME] SOURCE…", flags,
                            sizeof(flags) / sizeof(flags[0]), argc, argv, &sources, &help));
    const tdm_status status = help ? TDM_OK : checked_train(&options, &sources);
    free((void *)sources.item);
    return status;
}

const tdm_command tdm_command_tokenizer = {.name = "tokenizer",
                                           .summary = "train a byte-level BPE tokenizer (--train)",
                                           .mpi = false,
                                           .run = tokenizer_run};
