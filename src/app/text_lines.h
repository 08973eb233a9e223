/* Lines of text from a file or standard input. */
#ifndef TANDEM_TEXT_LINES_H
#define TANDEM_TEXT_LINES_H

#include "tandem/base.h"

#include <stdio.h>

typedef struct text_lines {
    FILE *file;       /* borrowed */
    const char *name; /* for messages; borrowed */
    char *line;       /* [length] the present one without its line feed, NUL-terminated */
    size_t length;
    int64_t number; /* from 1 */
    int64_t offset; /* of the line in the file */
    /* its own */
    size_t capacity;
    int64_t next;
} text_lines;

/* The next line; a byte order mark before the first one is taken away. *found is false behind the last one. Errors
 * name line and offset: a NUL, which no text has and which would end the line. Bytes that are not UTF-8 stay. */
TDM_CHECKED tdm_status text_lines_next(text_lines *lines, bool *found);
void text_lines_free(text_lines *lines);
/* Gives every line of the file `path` to `take`, until one fails. What cannot be opened is reported behind `where`. */
TDM_CHECKED tdm_status text_lines_each(const char *where, const char *path,
                                       tdm_status (*take)(void *context, const text_lines *lines),
                                       void *context);

#endif
