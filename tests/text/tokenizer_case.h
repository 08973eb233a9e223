/* Helpers of the tokenizer's tests. */
#ifndef TANDEM_TESTS_TOKENIZER_CASE_H
#define TANDEM_TESTS_TOKENIZER_CASE_H

#include "check.h"
#include "tandem/tokenizer.h"

#include <stdlib.h>
#include <string.h>

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

#endif
