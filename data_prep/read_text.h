/* Private to data_prep: files of text. What a reader gets is UTF-8, without a byte order mark; the reader judges
 * the pieces that it uses, since bytes that are not UTF-8 and single NULs are left as they are. */
#ifndef TANDEM_READ_TEXT_H
#define TANDEM_READ_TEXT_H

#include "tandem/base.h"
#include "tandem/option.h"

/* The row of a format that reads text: `encoding`, a const char * of its struct of options. */
#define TEXT_ENCODING_OPTION(type)                                                                           \
    TDM_STRING_OPTION(type, encoding, "utf-8",                                                               \
                      "of the text that is read: utf-8, latin-1, cp1252, utf-16, or what `iconv -l` lists; " \
                      "a byte order mark is understood anyway")

typedef struct text_file {
    tdm_text text; /* the whole file and a NUL */
    const char *at, *end;
    const char *marked; /* "UTF-16LE" …, where a byte order mark said so; else NULL */
} text_file;

/* encoding: a name as above. Errors name the file: one that is compressed or no text at all, UTF-16 without a
 * mark, a byte that the encoding does not have (with its offset). Pair with text_close, after a failure too. */
TDM_CHECKED tdm_status text_open(const char *path, const char *encoding, text_file *file);
/* The same of bytes in memory, which are copied; `name` stands in messages. */
TDM_CHECKED tdm_status text_open_memory(const char *name, const char *encoding, const char *data,
                                        size_t length, text_file *file);
void text_close(text_file *file);

/* How many bytes at the start are UTF-8 without a NUL: `length` when all is well. */
size_t text_sound(const char *text, size_t length);
/* Fails where that is not all of it: "WHERE: byte 0xE9 at offset 23 is not UTF-8 …". offset: of `text`. */
TDM_CHECKED tdm_status text_check(const char *where, const char *text, size_t length, int64_t offset);

#endif
