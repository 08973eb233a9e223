/* Private to data_prep: text files of one entry a line (captions, class names, file lists). Each line comes
 * without surrounding white space; lines of white space only are passed over, but counted. A byte order mark
 * is taken away. Errors name the file. What an entry holds is not judged: see text_check.
 *
 *     list_reader list;
 *     tdm_status status = list_open("classes.txt", "utf-8", &list);
 *     while (status == TDM_OK && list_next(&list)) use(list.entry, list.length);
 *     list_close(&list);
 */
#ifndef TANDEM_READ_LIST_H
#define TANDEM_READ_LIST_H

#include "read_text.h"

typedef struct list_reader {
    const char *path;  /* borrowed */
    const char *entry; /* [length] of the present line, not NUL-terminated; valid until list_close */
    size_t length;
    int64_t line; /* its number, from 1 */
    /* the reader's own */
    text_file file;
} list_reader;

/* Pair with list_close, after a failure too. */
TDM_CHECKED tdm_status list_open(const char *path, const char *encoding, list_reader *list);
/* False behind the last line. */
bool list_next(list_reader *list);
void list_close(list_reader *list);

#endif
