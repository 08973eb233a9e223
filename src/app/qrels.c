#include "qrels.h"

#include "text_lines.h"

#include <errno.h>
#include <stdlib.h>

enum { FIELDS = 4, MOST_SHOWN = 5 };

typedef struct judgement {
    int64_t query, row, line;
    int32_t grade;
} judgement;

typedef struct reading {
    const char *path;
    const row_names *query, *gallery;
    qrels *out;
    tdm_text list;          /* judgement[count] of what is there */
    tdm_text shown[2];      /* the first few unknown queries and documents */
    tdm_text last_shown[2]; /* so that neighbouring lines do not name one twice */
    int shown_count[2];
} reading;

static int compare_judgements(const void *a, const void *b)
{
    const judgement *x = a, *y = b;
    if (x->query != y->query) return x->query < y->query ? -1 : 1;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

/* ---- Lines ---- */

/* kind: 0 a query, 1 a document */
static tdm_status show_unknown(reading *r, int kind, const char *name)
{
    if (r->last_shown[kind].data != NULL && strcmp(r->last_shown[kind].data, name) == 0) return TDM_OK;
    if (r->shown_count[kind] == MOST_SHOWN) return TDM_OK;
    r->last_shown[kind].length = 0;
    TDM_TRY(tdm_text_printf(&r->last_shown[kind], "%s", name));
    return tdm_text_printf(&r->shown[kind], "%s%.60s", r->shown_count[kind]++ > 0 ? ", " : "", name);
}

static tdm_status take_line(void *context, const text_lines *lines)
{
    reading *r = context;
    char *field[FIELDS + 1], *rest = lines->line, *end;
    int fields = 0;
    while (fields <= FIELDS && (field[fields] = strtok_r(rest, " \t\r\v\f", &rest)) != NULL) fields++;
    if (fields == 0) return TDM_OK; /* a blank line */
    TDM_REQUIRE(fields == FIELDS, TDM_E_DATA,
                "--qrels: %s: line %lld has %s%d fields, not the four query, iteration, document, grade",
                r->path, (long long)lines->number, fields > FIELDS ? "more than " : "",
                fields > FIELDS ? FIELDS : fields);
    errno = 0;
    const long long grade = strtoll(field[3], &end, 10);
    TDM_REQUIRE(*end == '\0' && errno == 0 && grade >= -INT32_MAX && grade <= INT32_MAX, TDM_E_DATA,
                "--qrels: %s: line %lld: the grade \"%.40s\" is not a whole number of 32 bits", r->path,
                (long long)lines->number, field[3]);
    const judgement found = {.query = row_names_find(r->query, field[0]),
                             .row = row_names_find(r->gallery, field[2]),
                             .line = lines->number,
                             .grade = (int32_t)grade};
    r->out->judgements++;
    if (found.query < 0) {
        r->out->unknown_query++;
        return show_unknown(r, 0, field[0]);
    }
    if (found.row < 0) {
        r->out->unknown_document++;
        TDM_TRY(show_unknown(r, 1, field[2]));
    }
    return tdm_text_append(&r->list, &found, sizeof found);
}

/* ---- From lines to judgements ---- */

static tdm_status check_pairs(const reading *r, const judgement *list, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        const judgement *a = &list[i - 1], *b = &list[i];
        TDM_REQUIRE(a->query != b->query || a->row != b->row || a->row < 0, TDM_E_DATA,
                    "--qrels: %s: lines %lld and %lld judge the same pair, query %.60s and document %.60s",
                    r->path, (long long)a->line, (long long)b->line, row_names_at(r->query, a->query),
                    row_names_at(r->gallery, a->row));
    }
    return TDM_OK;
}

/* Lines of unknown documents are in the list with row -1, so that their queries count as judged. */
static tdm_status make_judgements(const reading *r, const judgement *list, int64_t count)
{
    tdm_judgements *j = &r->out->judged;
    int64_t here = 0, at = 0, answers = 0;
    j->queries = r->query->count;
    TDM_TRY(TDM_ALLOC(j->queries + 1, &j->offset));
    TDM_TRY(TDM_ALLOC(count, &j->row));
    TDM_TRY(TDM_ALLOC(count, &j->grade));
    for (int64_t q = 0; q < j->queries; q++) {
        const int64_t first = at;
        for (; at < count && list[at].query == q; at++) {
            here += list[at].row >= 0;
            if (list[at].row < 0 || list[at].grade < 1) continue;
            j->row[answers] = list[at].row;
            j->grade[answers++] = list[at].grade;
        }
        r->out->unjudged += at == first;
        j->offset[q + 1] = answers;
    }
    TDM_REQUIRE(here > 0, TDM_E_DATA,
                "--qrels: %s: none of its %lld judgements is about a query and a document that are there "
                "(queries not there: %s; documents not there: %s)",
                r->path, (long long)r->out->judgements, r->shown[0].data ? r->shown[0].data : "none",
                r->shown[1].data ? r->shown[1].data : "none");
    return TDM_OK;
}

static void log_unknown(const reading *r)
{
    const qrels *q = r->out;
    if (q->unknown_query > 0)
        tdm_log(TDM_LOG_WARN, "--qrels: %s: %lld judgements are of queries that are not there, first %s",
                r->path, (long long)q->unknown_query, r->shown[0].data);
    if (q->unknown_document > 0)
        tdm_log(TDM_LOG_WARN,
                "--qrels: %s: %lld judgements are of documents that are not in the gallery, first %s; they "
                "count neither as found nor as missed",
                r->path, (long long)q->unknown_document, r->shown[1].data);
    if (q->unjudged > 0)
        tdm_log(TDM_LOG_WARN, "--qrels: %s: %lld of %lld queries have no judgement", r->path,
                (long long)q->unjudged, (long long)r->query->count);
}

tdm_status qrels_read(const char *path, const row_names *query, const row_names *gallery, qrels *out)
{
    reading r = {.path = path, .query = query, .gallery = gallery, .out = out};
    tdm_status status = text_lines_each("--qrels", path, take_line, &r);
    if (status == TDM_OK) {
        judgement *list = (judgement *)(void *)r.list.data;
        const int64_t count = (int64_t)(r.list.length / sizeof *list);
        if (count > 0) qsort(list, (size_t)count, sizeof *list, compare_judgements);
        status = check_pairs(&r, list, count);
        if (status == TDM_OK) status = make_judgements(&r, list, count);
    }
    if (status == TDM_OK) log_unknown(&r);
    tdm_text_free(&r.list);
    for (int kind = 0; kind < 2; kind++) {
        tdm_text_free(&r.shown[kind]);
        tdm_text_free(&r.last_shown[kind]);
    }
    return status;
}

void qrels_free(qrels *read)
{
    tdm_judgements_free(&read->judged);
}

json_t *qrels_json(const char *path, const qrels *read)
{
    json_t *judged = json_object();
    json_object_set_new(judged, "file", tdm_json_text(path));
    json_object_set_new(judged, "judgements", json_integer(read->judgements));
    json_object_set_new(judged, "of_unknown_queries", json_integer(read->unknown_query));
    json_object_set_new(judged, "of_documents_not_in_gallery", json_integer(read->unknown_document));
    json_object_set_new(judged, "queries_without_judgement", json_integer(read->unjudged));
    return judged;
}
