/* Files that hold a row for each item of a list, as other programs write them: a matrix of embeddings, or names. */
#ifndef TANDEM_APP_ROW_FILE_H
#define TANDEM_APP_ROW_FILE_H

#include "tandem/arrays.h"
#include "tandem/comm.h"

/* A place in a file: "FILE", "FILE:NAME" or "DIR:NAME", of which the part before the colon exists. */
typedef enum row_file_kind { ROW_TEXT, ROW_ARRAYS, ROW_H5, ROW_EMBEDDINGS } row_file_kind;
typedef struct row_file {
    const char *option; /* "--query"; for messages */
    const char *given;  /* as it stands there */
    char path[TDM_PATH_BYTES];
    const char *name; /* behind the colon, without a slash in front; "": none */
    row_file_kind kind;
} row_file;
/* Finds the kind by the content. Collective: the ranks agree on path, kind and content. */
TDM_CHECKED tdm_status row_file_find(tdm_comm *comm, const char *option, const char *given, row_file *file);
/* Of the arrays in the file the one that the place names, or the only one there is; NULL: neither. */
const tdm_array *row_file_array(const row_file *file, const tdm_arrays *arrays);

/* ---- A matrix, of which this rank has a contiguous part ---- */
typedef struct row_matrix {        /* owned; row_matrix_free */
    int64_t rows, first, n, width; /* of all, this rank's part, f32 of a row */
    float *value;                  /* [n][width] */
    bool in_file;                  /* of all ranks: value is NULL, row_matrix_rows reads the rows */
    bool is_unit;                  /* Tandem's own embeddings: of norm 1 up to rounding */
    int64_t *image;                /* [rows] the image each row belongs to, of Tandem's own; else NULL */
} row_matrix;
/* split: of a directory of embeddings, "" where it has only one. most_bytes: a rank's rows that take more stay in the
 * file, unless they are Tandem's own. Errors name the file and what is wrong with its
 * shape or type, or the row that is not finite. Collective. */
TDM_CHECKED tdm_status row_matrix_read(tdm_comm *comm, const row_file *file, const char *split,
                                       int64_t most_bytes, row_matrix *matrix);
/* Rows [first, first + n) of the whole into value [n][width], all of which the caller has set. Not collective. */
TDM_CHECKED tdm_status row_matrix_rows(const row_file *file, row_matrix *part);
/* Only the rows whose keep[row] is true stay, in their order; keep [matrix->rows]. The same of names and of labels. They
 * are in memory. */
void row_matrix_keep(row_matrix *matrix, const bool *keep);
/* Divides rows by their norms, which are f64; Tandem's own embeddings have been. TDM_E_NUMERIC names a row of zeros. */
TDM_CHECKED tdm_status row_matrix_normalise(const char *option, const char *given, row_matrix *matrix);
void row_matrix_free(row_matrix *matrix);

/* ---- Names, all of them on every rank ---- */
typedef struct row_names { /* zero-initialise; row_names_free */
    int64_t count;
    tdm_text bytes;  /* each with its NUL */
    int64_t *offset; /* [count] */
    int64_t *sorted; /* [count] rows in the order of their names; equal ones in that of the rows */
} row_names;
/* One line each, or the rows of an array of whole numbers or texts; as many as `rows`, which `of` has. */
TDM_CHECKED tdm_status row_names_read(const row_file *file, const char *of, int64_t rows, row_names *names);
/* number[rows]; NULL: 0, 1, 2 … */
TDM_CHECKED tdm_status row_names_number(int64_t rows, const int64_t *number, row_names *names);
/* Of names whose bytes are there, `count` of them. */
TDM_CHECKED tdm_status row_names_index(int64_t count, row_names *names);
const char *row_names_at(const row_names *names, int64_t row);
/* The first row of this name; -1: none. */
int64_t row_names_find(const row_names *names, const char *name);
/* Of rows [first, first + n) of `names` the first row of `known` that has the name, -1: none. *row [n]: tdm_free */
TDM_CHECKED tdm_status row_names_match(const row_names *names, int64_t first, int64_t n,
                                       const row_names *known, int64_t **row);
/* No two rows have the same name, and none has white space in it or is empty. `what` begins the message. */
TDM_CHECKED tdm_status row_names_check_ids(const char *what, const row_names *names);
void row_names_keep(row_names *names, const bool *keep);
void row_names_free(row_names *names);

/* ---- Several labels of each row, all of them on every rank ---- */
typedef struct row_sets { /* zero-initialise; row_sets_free */
    int64_t rows;
    int64_t *first;  /* [rows + 1] where each row's labels begin */
    int64_t *label;  /* [first[rows]] numbers of distinct ones, in the order of their names */
    row_names names; /* the distinct ones, sorted */
    int64_t columns; /* of a matrix; 0: no matrix */
} row_sets;
/* Are there several labels of a row: a matrix of numbers, or lines that are divided by `separators` ("": they are not)? */
TDM_CHECKED tdm_status row_sets_are_in(const row_file *file, const char *separators, bool *are);
/* Of a matrix of 0 and 1 they are the numbers of the columns that hold 1. Of any other file they are names, one or, where
 * lines are divided, several of a row. */
TDM_CHECKED tdm_status row_sets_read(const row_file *file, const char *separators, const char *of,
                                     int64_t rows, row_sets *sets);
/* One label of each row. */
TDM_CHECKED tdm_status row_sets_of_names(const row_names *names, row_sets *sets);
/* The distinct labels of all `count` sets, in the order of their names. */
TDM_CHECKED tdm_status row_sets_names(const row_sets *sets, int count, row_names *names);
/* Bits [n][*words] of the rows from `first` on: bit k is label k of `names`, which has all of them. tdm_free */
TDM_CHECKED tdm_status row_sets_bits(const row_sets *sets, const row_names *names, int64_t first, int64_t n,
                                     uint64_t **bits, int64_t *words);
/* Number of the label of this name, -1: no row has it. */
int64_t row_sets_find(const row_sets *sets, const char *name);
bool row_sets_has(const row_sets *sets, int64_t row, int64_t label);
void row_sets_keep(row_sets *sets, const bool *keep);
void row_sets_free(row_sets *sets);

#endif
