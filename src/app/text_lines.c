#include "text_lines.h"

#include "tandem/plain_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

tdm_status text_lines_next(text_lines *lines, bool *found)
{
    const ssize_t length = getline(&lines->line, &lines->capacity, lines->file);
    *found = length >= 0;
    if (length < 0) {
        TDM_REQUIRE(!ferror(lines->file), TDM_E_IO, "%s: cannot read: %s", lines->name, strerror(errno));
        return TDM_OK;
    }
    lines->number++;
    lines->offset = lines->next;
    lines->next += length;
    lines->length = (size_t)length;
    const char *zero = memchr(lines->line, '\0', lines->length);
    TDM_REQUIRE(!zero, TDM_E_DATA, "%s: line %lld: %s (offset %lld)", lines->name, (long long)lines->number,
                lines->number == 1 ? tdm_why_no_text(lines->line, lines->length)
                                   : "holds a NUL, which text does not",
                (long long)(lines->offset + (zero - lines->line)));
    if (lines->length && lines->line[lines->length - 1] == '\n') lines->line[--lines->length] = '\0';
    const size_t mark = lines->number == 1 ? tdm_byte_order_mark(lines->line, lines->length) : 0;
    if (!mark) return TDM_OK;
    memmove(lines->line, lines->line + mark, lines->length - mark + 1);
    lines->length -= mark;
    return TDM_OK;
}

void text_lines_free(text_lines *lines)
{
    free(lines->line);
    lines->line = NULL;
}

tdm_status text_lines_each(const char *where, const char *path,
                           tdm_status (*take)(void *context, const text_lines *lines), void *context)
{
    text_lines lines = {.file = fopen(path, "r"), .name = path};
    TDM_REQUIRE(lines.file != NULL, TDM_E_IO, "%s: %s: cannot open: %s", where, path, strerror(errno));
    bool found = true;
    tdm_status status = text_lines_next(&lines, &found);
    while (status == TDM_OK && found) {
        status = take(context, &lines);
        if (status == TDM_OK) status = text_lines_next(&lines, &found);
    }
    text_lines_free(&lines);
    fclose(lines.file);
    return status;
}
