/* Helpers of the tokenizer's tests. */
#ifndef TANDEM_TESTS_TOKENIZER_CASE_H
#define TANDEM_TESTS_TOKENIZER_CASE_H

#include "check.h"
#include "tandem/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { LONG_CONTEXT = 4096 };

static inline const char *source_path(const char *relative, char path[512])
{
    const char *root = getenv("TANDEM_SOURCE_DIR");
    snprintf(path, 512, "%s/%s", root ? root : ".", relative);
    return path;
}

static inline tdm_text read_source(const char *relative)
{
    char path[512];
    tdm_text text = {0};
    CHECK_OK(tdm_read_file(source_path(relative, path), &text));
    return text;
}

/* Cuts the next line off `*at`, in place; NULL at the end. */
static inline char *next_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');
    if (!end) return NULL;
    *end = '\0';
    *at = end + 1;
    return line;
}

/* The ids of `text` as "1 2 3". */
static inline void ids_of(const tdm_tokenizer *t, const char *text, int64_t context, tdm_text *ids)
{
    int32_t token[LONG_CONTEXT];
    int64_t count = 0;
    CHECK_LE(context, LONG_CONTEXT);
    CHECK_OK(tdm_tokenizer_encode(t, text, context, token, &count, NULL));
    ids->length = 0;
    for (int64_t i = 0; i < count; i++) CHECK_OK(tdm_text_printf(ids, i ? " %d" : "%d", token[i]));
}

static inline void assert_ids(const tdm_tokenizer *t, const char *text, int64_t context, const char *want)
{
    tdm_text ids = {0};
    ids_of(t, text, context, &ids);
    CHECK_STR_EQ(ids.data, want);
    tdm_text_free(&ids);
}

#endif
