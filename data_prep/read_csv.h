/* Private to data_prep: CSV as RFC 4180 and spreadsheets write it. The first record is the header. Quoted
 * fields may hold separators and line ends, "" in them is one quote; a byte order mark and Windows line ends
 * are taken away, empty lines passed over. Errors name file and line.
 *
 *     csv_reader csv;
 *     tdm_status status = csv_open("pairs.csv", &(csv_dialect){0}, &csv);
 *     if (status == TDM_OK) status = csv_need_column(&csv, "title", "", &title);
 *     while (status == TDM_OK && (status = csv_next(&csv, &found)) == TDM_OK && found) use(csv.field[title].data);
 *     csv_close(&csv);
 */
#ifndef TANDEM_READ_CSV_H
#define TANDEM_READ_CSV_H

#include "read_text.h"

typedef struct csv_dialect {
    char separator;       /* ',', ';' …; 0: a tab where the header holds one, else a comma */
    bool plain_quotes;    /* a quote is a character like others */
    const char *encoding; /* NULL: UTF-8 */
} csv_dialect;

/* Where a field stands in the file, with its quotes. */
typedef struct csv_span {
    const char *begin, *end;
} csv_span;

typedef struct csv_reader {
    const char *path; /* borrowed */
    csv_dialect dialect;
    int columns;      /* of the header, and so of every record */
    tdm_text *header; /* [columns] */
    tdm_text *field;  /* [columns] of the present record; valid until the next one */
    int64_t line;     /* on which the present record begins, from 1 */
    /* -1, or the column that names an image: a line within a quoted field that is a whole record and does so
     * shows that the quote is one too many. */
    int image_column;
    const char *suggest; /* NULL, or what a message about a missing column says of how to name another one */
    /* the reader's own */
    text_file file;
    const char *at;
    int64_t next_line;
    csv_span *span; /* [columns] of the present record */
} csv_reader;

/* Reads the header. A file without one has no columns. Pair with csv_close, after a failure too. */
TDM_CHECKED tdm_status csv_open(const char *path, const csv_dialect *dialect, csv_reader *csv);
/* The next record into csv->field; *found is false behind the last one. TDM_E_DATA is an error of one record,
 * with *found true: the reader stands behind it, one may go on. Where a quote is one too many, that is at the
 * next line that can be a record. */
TDM_CHECKED tdm_status csv_next(csv_reader *csv, bool *found);
/* -1 when there is no such column. */
int csv_column(const csv_reader *csv, const char *name);
/* It must be there; `option` is "--caption-column" or the like, or "". */
TDM_CHECKED tdm_status csv_need_column(const csv_reader *csv, const char *name, const char *option,
                                       int *column);
/* Fails with TDM_E_DATA where the field is not UTF-8 or holds a NUL: names line, column and offset. */
TDM_CHECKED tdm_status csv_check_text(const csv_reader *csv, int column);
void csv_close(csv_reader *csv);

#endif
