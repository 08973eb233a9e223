#include "read_csv.h"

#include "pack_impl.h"

enum { MOST_COLUMNS = 256 };

static bool at_field_end(const csv_reader *csv)
{
    return csv->at == csv->end || *csv->at == csv->separator || *csv->at == '\n' || *csv->at == '\r';
}

/* One field into `out`; the cursor stands behind it, on the separator, a line's end or the end. */
static tdm_status read_field(csv_reader *csv, tdm_text *out)
{
    out->length = 0;
    TDM_TRY(tdm_text_append(out, "", 0));
    if (csv->at == csv->end || *csv->at != '"') {
        const char *start = csv->at;
        while (!at_field_end(csv)) csv->at++;
        return tdm_text_append(out, start, (size_t)(csv->at - start));
    }
    for (csv->at++; csv->at < csv->end; csv->at++) {
        if (*csv->at == '"') {
            if (csv->at + 1 == csv->end || csv->at[1] != '"') {
                csv->at++;
                TDM_REQUIRE(at_field_end(csv), TDM_E_FORMAT, "%s: line %lld: text after a closing quote",
                            csv->path, (long long)csv->line);
                return TDM_OK;
            }
            csv->at++; /* "" is one quote */
        }
        if (*csv->at == '\n') csv->next_line++;
        TDM_TRY(tdm_text_append(out, csv->at, 1));
    }
    TDM_FAIL(TDM_E_FORMAT, "%s: line %lld: a quoted field is not closed", csv->path, (long long)csv->line);
}

/* One record into field[MOST_COLUMNS]; *count = 0 at the end of the file. */
static tdm_status read_record(csv_reader *csv, tdm_text *field, int *count)
{
    *count = 0;
    while (csv->at < csv->end && (*csv->at == '\n' || *csv->at == '\r')) csv->next_line += *csv->at++ == '\n';
    csv->line = csv->next_line;
    if (csv->at == csv->end) return TDM_OK;
    for (;;) {
        TDM_REQUIRE(*count < MOST_COLUMNS, TDM_E_FORMAT, "%s: line %lld: more than %d columns", csv->path,
                    (long long)csv->line, MOST_COLUMNS);
        TDM_TRY(read_field(csv, &field[(*count)++]));
        if (csv->at == csv->end || *csv->at != csv->separator) return TDM_OK;
        csv->at++;
    }
}

tdm_status csv_open(const char *path, char separator, csv_reader *csv)
{
    *csv = (csv_reader){.path = path, .next_line = 1};
    TDM_TRY(pack_read_text(path, &csv->text, &csv->at));
    csv->end = csv->text.data + csv->text.length;
    TDM_TRY(TDM_ALLOC(MOST_COLUMNS, &csv->header));
    TDM_TRY(TDM_ALLOC(MOST_COLUMNS, &csv->field));
    csv->separator = separator ? separator : memchr(csv->at, '\t', strcspn(csv->at, "\n")) ? '\t' : ',';
    return read_record(csv, csv->header, &csv->columns);
}

tdm_status csv_next(csv_reader *csv, bool *found)
{
    int count;
    TDM_TRY(read_record(csv, csv->field, &count));
    *found = count > 0;
    TDM_REQUIRE(!*found || count == csv->columns, TDM_E_FORMAT, "%s: line %lld has %d fields, the header %d",
                csv->path, (long long)csv->line, count, csv->columns);
    return TDM_OK;
}

int csv_column(const csv_reader *csv, const char *name)
{
    for (int i = 0; i < csv->columns; i++)
        if (!strcmp(csv->header[i].data, name)) return i;
    return -1;
}

tdm_status csv_need_column(const csv_reader *csv, const char *name, const char *option, int *column)
{
    *column = csv_column(csv, name);
    if (*column >= 0) return TDM_OK;
    char known[512] = "";
    for (int i = 0; i < csv->columns; i++)
        snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s\"%s\"", i ? ", " : "",
                 csv->header[i].data);
    TDM_FAIL(TDM_E_FORMAT, "%s: the header has no column \"%s\"%s%s; it has %s, separated by %s", csv->path,
             name, option[0] ? ", see " : "", option, known[0] ? known : "none",
             csv->separator == '\t' ? "tabs" : "commas");
}

void csv_close(csv_reader *csv)
{
    for (int i = 0; csv->header && i < MOST_COLUMNS; i++) tdm_text_free(&csv->header[i]);
    for (int i = 0; csv->field && i < MOST_COLUMNS; i++) tdm_text_free(&csv->field[i]);
    tdm_free(csv->header);
    tdm_free(csv->field);
    tdm_text_free(&csv->text);
    *csv = (csv_reader){0};
}
