/* tandem tokenize: lines of text to lines of token ids. */
#include "command.h"
#include "text_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokenize_job {
    tdm_tokenizer *tokenizer;
    int64_t context;
    int32_t *token; /* [context] */
    int64_t lines, cut;
} tokenize_job;

static tdm_status print_ids(const int32_t *token, int64_t count, FILE *out)
{
    int written = 0;
    for (int64_t i = 0; i < count && written >= 0; i++) written = fprintf(out, i ? " %d" : "%d", token[i]);
    TDM_REQUIRE(written >= 0 && putc('\n', out) != EOF, TDM_E_IO, "standard output: cannot write: %s",
                strerror(errno));
    return TDM_OK;
}

static tdm_status tokenize_lines(tokenize_job *job, FILE *in, FILE *out)
{
    text_lines lines = {.file = in, .name = "standard input"};
    bool found = true;
    tdm_status status;
    while ((status = text_lines_next(&lines, &found)) == TDM_OK && found) {
        int64_t count = 0;
        bool cut = false;
        status = tdm_tokenizer_encode(job->tokenizer, lines.line, job->context, job->token, &count, &cut);
        if (status == TDM_OK) status = print_ids(job->token, count, out);
        if (status != TDM_OK) break;
        job->lines++;
        job->cut += cut;
    }
    text_lines_free(&lines);
    TDM_TRY(status);
    TDM_REQUIRE(fflush(out) == 0, TDM_E_IO, "standard output: cannot write: %s", strerror(errno));
    return TDM_OK;
}

static tdm_status tokenize(const char *path, bool mask, tokenize_job *job)
{
    TDM_TRY(tdm_tokenizer_open_variant(path, mask, &job->tokenizer));
    TDM_TRY(TDM_ALLOC(job->context, &job->token));
    TDM_TRY(tokenize_lines(job, stdin, stdout));
    if (job->cut)
        tdm_log(TDM_LOG_WARN, "%lld of %lld lines were cut to %lld tokens", (long long)job->cut,
                (long long)job->lines, (long long)job->context);
    return TDM_OK;
}

static tdm_status tokenize_run(tdm_comm *comm, int argc, char **argv)
{
    (void)comm;
    const char *path = "";
    bool mask = false;
    tokenize_job job = {.context = 77};
    const tdm_flag flags[] = {
        FLAG_STRING("--tokenizer", &path, "FILE", NULL,
                    "merges file in CLIP's format; or Hugging Face's vocab.json (with merges.txt beside it), "
                    "tokenizer.json, or the folder of either; plain or gzip"),
        FLAG_SWITCH("--mask-token", &mask,
                    "the variant whose last merge gives its id to <|mask|>, as in TBPS-CLIP"),
        FLAG_INT("--context", &job.context, "N", "77", "tokens", 2, 1 << 24,
                 "longest line, start and end tokens included; a longer one is cut and keeps its end token"),
    };
    tdm_strings positional = {0};
    bool help = false;
    TDM_TRY(tdm_parse_flags(
        "tokenize", "--tokenizer FILE [--mask-token] [--context N]  < lines of text  > lines of token ids",
        flags, sizeof(flags) / sizeof(flags[0]), argc, argv, &positional, &help));
    const int64_t extra = positional.count;
    free((void *)positional.item);
    if (help) return TDM_OK;
    TDM_REQUIRE(extra == 0, TDM_E_USAGE, "tokenize: takes no arguments; the text comes from standard input");
    const tdm_status status = tokenize(path, mask, &job);
    tdm_free(job.token);
    tdm_tokenizer_destroy(&job.tokenizer);
    return status;
}

const tdm_command tdm_command_tokenize = {
    .name = "tokenize", .summary = "lines of text to lines of token ids", .mpi = false, .run = tokenize_run};
