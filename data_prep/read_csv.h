/* Private to data_prep: CSV as RFC 4180 and spreadsheets write it. The first record is the header. Quoted
 * fields may hold separators and line ends, "" in them is one quote; a byte order mark and Windows line ends
 * are taken away, empty lines passed over. Errors name file and line.
 *
 *     csv_reader csv;
 *     tdm_status status = csv_open("pairs.csv", 0, &csv);
 *     if (status == TDM_OK) status = csv_need_column(&csv, "title", "", &title);
 *     while (status == TDM_OK && (status = csv_next(&csv, &found)) == TDM_OK && found) use(csv.field[title].data);
 *     csv_close(&csv);
 */
#ifndef TANDEM_READ_CSV_H
#define TANDEM_READ_CSV_H

#include "tandem/base.h"

typedef struct csv_reader {
    const char *path; /* borrowed */
    char separator;
    int columns;      /* of the header, and so of every record */
    tdm_text *header; /* [columns] */
    tdm_text *field;  /* [columns] of the present record; valid until the next one */
    int64_t line;     /* on which the present record begins, from 1 */
    /* the reader's own */
    tdm_text text; /* the whole file */
    const char *at, *end;
    int64_t next_line;
} csv_reader;

/* Reads the header. separator: ',', ';' …; 0: a tab where the header holds one, else a comma. A file without
 * a header has no columns. Pair with csv_close, after a failure too. */
TDM_CHECKED tdm_status csv_open(const char *path, char separator, csv_reader *csv);
/* The next record into csv->field; *found is false behind the last one. */
TDM_CHECKED tdm_status csv_next(csv_reader *csv, bool *found);
/* -1 when there is no such column. */
int csv_column(const csv_reader *csv, const char *name);
/* It must be there; `option` ("--caption-column", or "") says in the message how another one is named. */
TDM_CHECKED tdm_status csv_need_column(const csv_reader *csv, const char *name, const char *option,
                                       int *column);
void csv_close(csv_reader *csv);

#endif
