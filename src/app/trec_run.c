#include "trec_run.h"

#include "text_lines.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS = 6 };

/* ---- Names, numbered as they come ---- */

typedef struct name_index { /* open addressing: number + 1, 0 is free */
    row_names *names;
    int64_t *slot, slots, capacity;
} name_index;

static int64_t *find_slot(const name_index *index, const char *name, size_t length)
{
    uint64_t at = tdm_xxh64(name, length);
    for (;; at++) {
        int64_t *slot = &index->slot[at % (uint64_t)index->slots];
        if (*slot == 0 || strcmp(row_names_at(index->names, *slot - 1), name) == 0) return slot;
    }
}

/* At most half of the slots are taken. */
static tdm_status grow(name_index *index)
{
    const int64_t capacity = tdm_max_i64(1024, 2 * index->capacity);
    int64_t *offset = NULL;
    TDM_TRY(TDM_ALLOC(capacity, &offset));
    if (index->names->count > 0)
        memcpy(offset, index->names->offset, (size_t)index->names->count * sizeof *offset);
    tdm_free(index->names->offset);
    index->names->offset = offset;
    index->capacity = capacity;
    tdm_free(index->slot);
    index->slot = NULL;
    index->slots = 2 * capacity;
    TDM_TRY(TDM_ALLOC(index->slots, &index->slot));
    for (int64_t i = 0; i < index->names->count; i++) {
        const char *name = row_names_at(index->names, i);
        *find_slot(index, name, strlen(name)) = i + 1;
    }
    return TDM_OK;
}

static tdm_status number_of(name_index *index, const char *name, int64_t *number)
{
    const size_t length = strlen(name);
    if (index->names->count == index->capacity) TDM_TRY(grow(index));
    int64_t *slot = find_slot(index, name, length);
    if (*slot == 0) {
        index->names->offset[index->names->count] = (int64_t)index->names->bytes.length;
        TDM_TRY(tdm_text_append(&index->names->bytes, name, length + 1));
        *slot = ++index->names->count;
    }
    *number = *slot - 1;
    return TDM_OK;
}

/* ---- Lines ---- */

typedef struct run_line {
    int64_t query, document, line;
    double score;
} run_line;

typedef struct run_reader {
    const char *where;
    run_set *set;
    name_index index[RUNS_NAMES];
    tdm_text lines[TDM_MAX_RUNS]; /* run_line */
    int64_t run;                  /* whose lines are taken */
} run_reader;

static tdm_status take_line(void *context, const text_lines *lines)
{
    run_reader *reader = context;
    char *field[FIELDS + 1], *rest = lines->line, *end;
    const char *path = reader->set->path[reader->run];
    int fields = 0;
    run_line line = {.line = lines->number};
    while (fields <= FIELDS && (field[fields] = strtok_r(rest, " \t\r\v\f", &rest)) != NULL) fields++;
    if (fields == 0) return TDM_OK; /* a blank line */
    TDM_REQUIRE(
        fields == FIELDS, TDM_E_DATA,
        "%s: %s: line %lld has %s%d fields, not the six query, iteration, document, rank, score, name",
        reader->where, path, (long long)lines->number, fields > FIELDS ? "more than " : "",
        fields > FIELDS ? FIELDS : fields);
    line.score = strtod(field[4], &end);
    TDM_REQUIRE(end != field[4] && *end == '\0' && isfinite(line.score), TDM_E_DATA,
                "%s: %s: line %lld: the score \"%.40s\" is no finite number", reader->where, path,
                (long long)lines->number, field[4]);
    TDM_TRY(number_of(&reader->index[RUNS_QUERY], field[0], &line.query));
    TDM_TRY(number_of(&reader->index[RUNS_DOCUMENT], field[2], &line.document));
    return tdm_text_append(&reader->lines[reader->run], &line, sizeof line);
}

/* Query and document of a judgement; what is no judgement is left to qrels_read to refuse. */
static tdm_status take_names(void *context, const text_lines *lines)
{
    run_reader *reader = context;
    char *rest = lines->line;
    const char *query = strtok_r(rest, " \t\r\v\f", &rest);
    (void)strtok_r(rest, " \t\r\v\f", &rest);
    const char *document = strtok_r(rest, " \t\r\v\f", &rest);
    int64_t number;
    if (query == NULL || document == NULL) return TDM_OK;
    TDM_TRY(number_of(&reader->index[RUNS_QUERY], query, &number));
    return number_of(&reader->index[RUNS_DOCUMENT], document, &number);
}

/* ---- From lines to runs ---- */

static int compare_pairs(const void *a, const void *b)
{
    const run_line *x = a, *y = b;
    if (x->query != y->query) return x->query < y->query ? -1 : 1;
    if (x->document != y->document) return x->document < y->document ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

static int compare_scores(const void *a, const void *b)
{
    const run_line *x = a, *y = b;
    if (x->query != y->query) return x->query < y->query ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

static tdm_status make_run(const run_reader *reader, int64_t r)
{
    run_line *line = (run_line *)(void *)reader->lines[r].data;
    const int64_t count = (int64_t)(reader->lines[r].length / sizeof *line);
    tdm_run *run = &reader->set->run[r];
    const row_names *names = reader->set->name;
    qsort(line, (size_t)count, sizeof *line, compare_pairs);
    for (int64_t i = 1; i < count; i++)
        TDM_REQUIRE(line[i].query != line[i - 1].query || line[i].document != line[i - 1].document,
                    TDM_E_DATA, "%s: %s: lines %lld and %lld both have query %.60s and document %.60s",
                    reader->where, reader->set->path[r], (long long)line[i - 1].line, (long long)line[i].line,
                    row_names_at(&names[RUNS_QUERY], line[i].query),
                    row_names_at(&names[RUNS_DOCUMENT], line[i].document));
    qsort(line, (size_t)count, sizeof *line, compare_scores);
    run->queries = names[RUNS_QUERY].count;
    TDM_TRY(TDM_ALLOC(run->queries + 1, &run->offset));
    TDM_TRY(TDM_ALLOC(count, &run->row));
    TDM_TRY(TDM_ALLOC(count, &run->score));
    for (int64_t i = 0; i < count; i++) {
        run->offset[line[i].query + 1]++;
        run->row[i] = line[i].document;
        run->score[i] = line[i].score;
    }
    for (int64_t q = 0; q < run->queries; q++) run->offset[q + 1] += run->offset[q];
    return TDM_OK;
}

static tdm_status split_paths(const char *where, const char *paths, run_set *set)
{
    while (*paths != '\0') {
        const size_t length = strcspn(paths, ",");
        TDM_REQUIRE(set->count < TDM_MAX_RUNS, TDM_E_USAGE, "%s: at most %d", where, TDM_MAX_RUNS);
        TDM_REQUIRE(length > 0 && length < TDM_PATH_BYTES, TDM_E_USAGE,
                    "%s: expected FILE,FILE… with commas between them", where);
        memcpy(set->path[set->count], paths, length);
        set->path[set->count++][length] = '\0';
        paths += length + (paths[length] == ',');
    }
    return TDM_OK;
}

static tdm_status read_all(run_reader *reader, const char *qrels)
{
    for (int64_t r = 0; r < reader->set->count; r++) {
        const char *path = reader->set->path[r];
        reader->run = r;
        TDM_TRY(text_lines_each(reader->where, path, take_line, reader));
        TDM_REQUIRE(reader->lines[r].length > 0, TDM_E_DATA, "%s: %s: has no lines", reader->where, path);
    }
    TDM_TRY(text_lines_each("--qrels", qrels, take_names, reader));
    for (int64_t r = 0; r < reader->set->count; r++) TDM_TRY(make_run(reader, r));
    for (int i = 0; i < RUNS_NAMES; i++) {
        row_names *names = &reader->set->name[i];
        const int64_t count = names->count;
        tdm_free(names->offset); /* it has room for more */
        names->offset = NULL;
        names->count = 0;
        TDM_TRY(row_names_index(count, names));
    }
    return TDM_OK;
}

static tdm_status add_files(const char *where, const run_set *set, const char *qrels, tdm_reading *reading)
{
    for (int64_t r = 0; r < set->count; r++) TDM_TRY(tdm_reading_add_file(reading, where, set->path[r]));
    return tdm_reading_add_file(reading, "--qrels", qrels);
}

tdm_status run_set_read(tdm_comm *comm, const char *where, const char *paths, const char *qrels, run_set *set)
{
    tdm_reading reading = {0};
    run_reader *reader = NULL;
    TDM_TRY(split_paths(where, paths, set));
    TDM_TRY(tdm_comm_agree_on(comm, add_files(where, set, qrels, &reading), &reading));
    TDM_AGREE(comm, TDM_ALLOC(1, &reader));
    *reader = (run_reader){.where = where, .set = set};
    for (int i = 0; i < RUNS_NAMES; i++) reader->index[i].names = &set->name[i];
    const tdm_status status = read_all(reader, qrels);
    for (int i = 0; i < RUNS_NAMES; i++) tdm_free(reader->index[i].slot);
    for (int64_t r = 0; r < set->count; r++) tdm_text_free(&reader->lines[r]);
    tdm_free(reader);
    return tdm_comm_agree(comm, status);
}

void run_set_free(run_set *set)
{
    for (int64_t r = 0; r < set->count; r++) tdm_run_free(&set->run[r]);
    for (int i = 0; i < RUNS_NAMES; i++) row_names_free(&set->name[i]);
    set->count = 0;
}

/* ---- Writing ---- */

tdm_status trec_run_write(const char *path, const tdm_run *run, const row_names *query,
                          const row_names *document)
{
    tdm_text lines = {0};
    tdm_status status = TDM_OK;
    for (int64_t q = 0; q < run->queries; q++)
        for (int64_t p = run->offset[q]; status == TDM_OK && p < run->offset[q + 1]; p++)
            status = tdm_text_printf(&lines, "%s Q0 %s %lld %.17g tandem\n", row_names_at(query, q),
                                     row_names_at(document, run->row[p]), (long long)(p - run->offset[q] + 1),
                                     run->score[p]);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, lines.data, lines.length);
    tdm_text_free(&lines);
    return status;
}
