#include "query_file.h"

#include "tandem/h5.h"
#include "tandem/plain_text.h"

#include <math.h>
#include <stdlib.h>

static const char query_column[] = "query", cluster_column[] = "cluster";

/* ---- Names that come one by one ---- */

typedef struct name_list {
    row_names names; /* its bytes are there, the rest is made at the end */
    int64_t count;
} name_list;

static tdm_status add_name(name_list *list, const char *name, size_t length)
{
    list->count++;
    TDM_TRY(tdm_text_append(&list->names.bytes, name, length));
    return tdm_text_append(&list->names.bytes, "", 1);
}

static tdm_status take_names(name_list *list, row_names *names)
{
    const tdm_status status = row_names_index(list->count, &list->names);
    *names = list->names;
    *list = (name_list){0};
    return status;
}

/* ---- CSV ---- */

typedef struct csv {
    const row_file *file;
    char *at;
    int64_t line, record;   /* of `at`, of the present record's beginning; from 1 */
    int64_t columns;        /* of the header */
    int64_t query, cluster; /* columns of names; -1: none */
    name_list header, queries, clusters, metrics;
    tdm_text value; /* f64 [queries][metrics] */
} csv;

/* One field, unescaped in place. *end: the comma or line feed behind it, or the NUL. */
static tdm_status next_field(csv *c, char **field, size_t *length, char *end)
{
    char *out = c->at;
    *field = out;
    if (*c->at != '"') {
        c->at += strcspn(c->at, ",\n");
        out = c->at;
        if (*c->at != ',' && out > *field && out[-1] == '\r') out--;
    } else {
        for (c->at++; *c->at != '"' || c->at[1] == '"'; c->at++) {
            TDM_REQUIRE(*c->at != '\0', TDM_E_DATA, "%s: %s: line %lld: a quote is not closed",
                        c->file->option, c->file->given, (long long)c->record);
            c->line += *c->at == '\n';
            c->at += *c->at == '"';
            *out++ = *c->at;
        }
        c->at++;
        c->at += *c->at == '\r' && c->at[1] == '\n';
        TDM_REQUIRE(*c->at == ',' || *c->at == '\n' || *c->at == '\0', TDM_E_DATA,
                    "%s: %s: line %lld: text behind a closing quote", c->file->option, c->file->given,
                    (long long)c->record);
    }
    *end = *c->at;
    *length = (size_t)(out - *field);
    c->line += *end == '\n';
    if (*end != '\0') c->at++;
    *out = '\0';
    return TDM_OK;
}

static tdm_status read_header(csv *c)
{
    char *field, end = ',';
    size_t length;
    c->query = c->cluster = -1;
    while (end == ',') {
        TDM_TRY(next_field(c, &field, &length, &end));
        TDM_TRY(add_name(&c->header, field, length));
        if (strcmp(field, query_column) == 0 && c->query < 0)
            c->query = c->columns;
        else if (strcmp(field, cluster_column) == 0 && c->cluster < 0)
            c->cluster = c->columns;
        else
            TDM_TRY(add_name(&c->metrics, field, length));
        c->columns++;
    }
    TDM_TRY(row_names_index(c->header.count, &c->header.names));
    TDM_REQUIRE(c->query >= 0, TDM_E_DATA,
                "%s: %s: has no column \"query\" in its first line; --per-query writes such files",
                c->file->option, c->file->given);
    return TDM_OK;
}

static tdm_status add_value(csv *c, const char *field, int64_t column)
{
    char *end;
    const double value = field[0] == '\0' ? NAN : strtod(field, &end);
    TDM_REQUIRE(field[0] == '\0' || (*end == '\0' && !isinf(value)), TDM_E_DATA,
                "%s: %s: line %lld, column %.60s: \"%.40s\" is not a finite number", c->file->option,
                c->file->given, (long long)c->record, row_names_at(&c->header.names, column), field);
    return tdm_text_append(&c->value, &value, sizeof value);
}

static tdm_status read_record(csv *c)
{
    char *field, end = ',';
    size_t length;
    int64_t column = 0;
    c->record = c->line;
    for (; end == ','; column++) {
        TDM_TRY(next_field(c, &field, &length, &end));
        if (column == c->query)
            TDM_TRY(add_name(&c->queries, field, length));
        else if (column == c->cluster)
            TDM_TRY(add_name(&c->clusters, field, length));
        else if (column < c->columns)
            TDM_TRY(add_value(c, field, column));
    }
    TDM_REQUIRE(column == c->columns, TDM_E_DATA,
                "%s: %s: line %lld has %lld fields, the first line has %lld", c->file->option, c->file->given,
                (long long)c->record, (long long)column, (long long)c->columns);
    return TDM_OK;
}

/* [queries][metrics] -> [metrics][queries] */
static tdm_status turn(const csv *c, double **value)
{
    const double *from = (const double *)(const void *)c->value.data;
    const int64_t n = c->queries.count, metrics = c->metrics.count;
    TDM_TRY(TDM_ALLOC(metrics * n, value));
    for (int64_t i = 0; i < n; i++)
        for (int64_t m = 0; m < metrics; m++) (*value)[m * n + i] = from[i * metrics + m];
    return TDM_OK;
}

static tdm_status read_lines(csv *c, query_file *file)
{
    TDM_TRY(read_header(c));
    while (*c->at != '\0') {
        if (*c->at == '\n' || (c->at[0] == '\r' && c->at[1] == '\n')) { /* a blank line */
            c->at += 1 + (*c->at == '\r');
            c->line++;
            continue;
        }
        TDM_TRY(read_record(c));
    }
    TDM_TRY(turn(c, &file->value));
    TDM_TRY(take_names(&c->queries, &file->query));
    TDM_TRY(take_names(&c->metrics, &file->metric));
    return c->cluster < 0 ? TDM_OK : take_names(&c->clusters, &file->cluster);
}

static tdm_status read_csv(const row_file *place, query_file *file)
{
    tdm_text text = {0};
    csv c = {.file = place, .line = 1, .record = 1};
    tdm_status status = tdm_read_file(place->path, &text);
    if (status == TDM_OK && memchr(text.data, '\0', text.length) != NULL)
        status = TDM_ERROR(TDM_E_DATA, "%s: %s: %s", place->option, place->given,
                           tdm_why_no_text(text.data, text.length));
    if (status == TDM_OK) {
        c.at = text.data + tdm_byte_order_mark(text.data, text.length);
        status = read_lines(&c, file);
    }
    row_names_free(&c.header.names);
    row_names_free(&c.queries.names);
    row_names_free(&c.clusters.names);
    row_names_free(&c.metrics.names);
    tdm_text_free(&c.value);
    tdm_text_free(&text);
    return status;
}

/* ---- HDF5 ---- */

static tdm_status get_names(tdm_h5 *h5, const char *prefix, row_names *names)
{
    enum { LONGEST = 1 << 20 };
    tdm_h5_strings strings = {0};
    name_list list = {0};
    tdm_status status = tdm_h5_get_strings(h5, prefix, LONGEST, &strings);
    for (int64_t i = 0; status == TDM_OK && i < strings.count; i++) {
        int64_t bytes;
        const char *name = tdm_h5_strings_at(&strings, i, &bytes);
        status = memchr(name, '\0', (size_t)bytes) == NULL
                     ? add_name(&list, name, (size_t)bytes)
                     : TDM_ERROR(TDM_E_FORMAT, "%s: name %lld of %sbytes holds a NUL", tdm_h5_path(h5),
                                 (long long)i, prefix);
    }
    if (status == TDM_OK) status = take_names(&list, names);
    row_names_free(&list.names);
    tdm_h5_strings_free(&strings);
    return status;
}

static tdm_status get_metrics(tdm_h5 *h5, row_names *names)
{
    name_list list = {0};
    int64_t links = 0;
    char name[256];
    tdm_status status = tdm_h5_group_size(h5, "", &links);
    for (int64_t i = 0; status == TDM_OK && i < links; i++) {
        status = tdm_h5_link_name(h5, "", i, name, sizeof name);
        if (status == TDM_OK && strncmp(name, "query_", 6) != 0 && strncmp(name, "cluster_", 8) != 0)
            status = add_name(&list, name, strlen(name));
    }
    if (status == TDM_OK) status = take_names(&list, names);
    row_names_free(&list.names);
    return status;
}

static tdm_status get_all(tdm_h5 *h5, query_file *file)
{
    TDM_TRY(get_names(h5, "query_", &file->query));
    if (tdm_h5_has(h5, "cluster_offset")) TDM_TRY(get_names(h5, "cluster_", &file->cluster));
    TDM_REQUIRE(file->cluster.count == 0 || file->cluster.count == file->query.count, TDM_E_FORMAT,
                "%s: has %lld clusters of %lld queries", tdm_h5_path(h5), (long long)file->cluster.count,
                (long long)file->query.count);
    TDM_TRY(get_metrics(h5, &file->metric));
    TDM_TRY(TDM_ALLOC(file->metric.count * file->query.count, &file->value));
    for (int64_t m = 0; m < file->metric.count; m++)
        TDM_TRY(tdm_h5_get_array(h5, row_names_at(&file->metric, m), TDM_H5_F64, 1, &file->query.count,
                                 file->value + m * file->query.count));
    for (int64_t i = 0; i < file->metric.count * file->query.count; i++)
        TDM_REQUIRE(!isinf(file->value[i]), TDM_E_NUMERIC, "%s: /%s holds an infinite value", tdm_h5_path(h5),
                    row_names_at(&file->metric, i / file->query.count));
    return TDM_OK;
}

static tdm_status read_h5(const row_file *place, query_file *file)
{
    tdm_h5 *h5 = NULL;
    TDM_TRY(tdm_h5_open(place->path, "tandem.per_query", 1, &h5));
    const tdm_status status = get_all(h5, file);
    tdm_h5_discard(&h5);
    return status;
}

/* ---- Either ---- */

static tdm_status check_distinct(const row_file *place, const char *what, const row_names *names)
{
    for (int64_t i = 1; i < names->count; i++) {
        const char *name = row_names_at(names, names->sorted[i]);
        TDM_REQUIRE(strcmp(row_names_at(names, names->sorted[i - 1]), name) != 0, TDM_E_DATA,
                    "%s: %s: has the %s \"%.80s\" twice", place->option, place->given, what, name);
    }
    return TDM_OK;
}

static tdm_status read_kind(const row_file *place, query_file *file)
{
    TDM_REQUIRE(place->kind == ROW_TEXT || place->kind == ROW_H5, TDM_E_DATA,
                "%s: %s: is neither a CSV nor HDF5 of what --per-query writes", place->option, place->given);
    TDM_TRY(place->kind == ROW_H5 ? read_h5(place, file) : read_csv(place, file));
    TDM_REQUIRE(file->query.count > 0 && file->metric.count > 0, TDM_E_DATA,
                "%s: %s: holds %lld queries and %lld metrics", place->option, place->given,
                (long long)file->query.count, (long long)file->metric.count);
    TDM_TRY(check_distinct(place, "query", &file->query));
    return check_distinct(place, "column", &file->metric);
}

tdm_status query_file_read(tdm_comm *comm, const char *option, const char *path, query_file *file)
{
    row_file place;
    TDM_TRY(row_file_find(comm, option, path, &place));
    return tdm_comm_agree(comm, read_kind(&place, file));
}

void query_file_free(query_file *file)
{
    row_names_free(&file->query);
    row_names_free(&file->cluster);
    row_names_free(&file->metric);
    tdm_free(file->value);
    file->value = NULL;
}
