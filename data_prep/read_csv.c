#include "read_csv.h"

#include "pack_impl.h"

#include <string.h>
#include <strings.h>

/* ---- Where records and fields are: nothing is copied, so that a line may be tried ---- */

typedef enum csv_flaw { SOUND, NOT_CLOSED, AFTER_QUOTE, HOLDS_RECORD } csv_flaw;

typedef struct csv_record {
    int64_t fields;
    csv_flaw flaw;
    const char *end;   /* behind its last line */
    int64_t lines;     /* that it has */
    int64_t held_line; /* HOLDS_RECORD: how many lines further that record is */
} csv_record;

static const char *end_of_text(const csv_reader *csv)
{
    return csv->file.end;
}

static bool at_line_end(const csv_reader *csv, const char *at)
{
    return at == end_of_text(csv) || *at == '\n' || *at == '\r';
}

static bool at_field_end(const csv_reader *csv, const char *at)
{
    return at_line_end(csv, at) || *at == csv->dialect.separator;
}

/* Behind "\n", "\r\n" or "\r" at `at`. */
static const char *skip_line_end(const csv_reader *csv, const char *at)
{
    if (at < end_of_text(csv) && *at == '\r') {
        at++;
        return at < end_of_text(csv) && *at == '\n' ? at + 1 : at;
    }
    return at < end_of_text(csv) ? at + 1 : at;
}

static const char *next_line_of(const csv_reader *csv, const char *at)
{
    while (!at_line_end(csv, at)) at++;
    return skip_line_end(csv, at);
}

/* The field at `at` in quotes: where it ends, or what is wrong. */
static const char *scan_quoted(const csv_reader *csv, const char *at, csv_flaw *flaw)
{
    for (at++;;) {
        at = memchr(at, '"', (size_t)(end_of_text(csv) - at));
        if (!at) {
            *flaw = NOT_CLOSED;
            return end_of_text(csv);
        }
        at++;
        if (at == end_of_text(csv) || *at != '"') break;
        at++; /* "" is one quote */
    }
    if (!at_field_end(csv, at)) *flaw = AFTER_QUOTE;
    return at;
}

static int64_t lines_between(const csv_reader *csv, const char *at, const char *end)
{
    int64_t lines = 0;
    for (; at < end; lines++) at = next_line_of(csv, at);
    return lines;
}

/* The record at `at`, which is not the text's end. span: [columns], or NULL. */
static csv_record scan_record(const csv_reader *csv, const char *at, csv_span *span)
{
    csv_record record = {.flaw = SOUND};
    const char *const begin = at;
    while (record.flaw == SOUND) {
        const char *const field = at;
        if (at < end_of_text(csv) && *at == '"' && !csv->dialect.plain_quotes)
            at = scan_quoted(csv, at, &record.flaw);
        else
            while (!at_field_end(csv, at)) at++;
        if (span && record.fields < csv->columns) span[record.fields] = (csv_span){field, at};
        record.fields++;
        if (at_line_end(csv, at)) break;
        if (record.flaw == SOUND) at++;
    }
    record.end = next_line_of(csv, at);
    record.lines = lines_between(csv, begin, record.end);
    return record;
}

/* ---- Quotes that are one too many ---- */

static bool names_image(const csv_reader *csv, const char *line)
{
    char name[256];
    int64_t column = 0;
    for (; column < csv->image_column && !at_line_end(csv, line); line++)
        column += *line == csv->dialect.separator;
    const char *const begin = line;
    while (!at_field_end(csv, line) && *line != '"') line++;
    if (line == begin || (size_t)(line - begin) >= sizeof(name)) return false;
    snprintf(name, sizeof(name), "%.*s", (int)(line - begin), begin);
    return pack_picture_of(name) != PACK_NO_PICTURE;
}

/* Does a quoted field of this sound record hold a line that is a whole record with an image of its own? */
static void look_for_held(const csv_reader *csv, const char *begin, csv_record *record)
{
    if (csv->image_column < 0 || record->lines < 2) return;
    const char *line = begin;
    for (int64_t n = 1; n < record->lines; n++) {
        line = next_line_of(csv, line);
        if (at_line_end(csv, line) || !names_image(csv, line)) continue;
        const csv_record inner = scan_record(csv, line, NULL);
        if (inner.flaw != SOUND || inner.fields != csv->columns || inner.lines != 1) continue;
        record->flaw = HOLDS_RECORD;
        record->held_line = n;
        return;
    }
}

/* Can a record begin on this line: is it whole, or has it the right number of separators? */
static bool may_begin(const csv_reader *csv, const char *line)
{
    const csv_record record = scan_record(csv, line, NULL);
    if (record.flaw == SOUND && record.fields == csv->columns) return true;
    int64_t fields = 1;
    for (; !at_line_end(csv, line); line++) fields += *line == csv->dialect.separator;
    return fields == csv->columns;
}

/* Moves behind a record that is wrong: to its second line or a later one, where that can begin a record, else
 * to its end. */
static void recover(csv_reader *csv, const char *begin, const csv_record *record)
{
    csv->at = begin;
    for (int64_t n = 0; n < record->lines; n++) {
        csv->at = next_line_of(csv, csv->at);
        csv->next_line++;
        if (csv->at < record->end && !at_line_end(csv, csv->at) && may_begin(csv, csv->at)) return;
    }
}

/* ---- Reading ---- */

/* The text of a field, without its quotes. */
static tdm_status copy_field(const csv_reader *csv, csv_span span, tdm_text *out)
{
    out->length = 0;
    if (span.begin == span.end || *span.begin != '"' || csv->dialect.plain_quotes)
        return tdm_text_append(out, span.begin, (size_t)(span.end - span.begin));
    TDM_TRY(tdm_text_append(out, "", 0));
    const char *at = span.begin + 1, *end = span.end - 1;
    while (at < end) {
        const char *quote = memchr(at, '"', (size_t)(end - at));
        const char *stop = quote ? quote + 1 : end; /* of "" the first is kept */
        TDM_TRY(tdm_text_append(out, at, (size_t)(stop - at)));
        at = quote ? quote + 2 : end;
    }
    return TDM_OK;
}

static tdm_status copy_fields(const csv_reader *csv, tdm_text *out)
{
    for (int k = 0; k < csv->columns; k++) TDM_TRY(copy_field(csv, csv->span[k], &out[k]));
    return TDM_OK;
}

static bool skip_empty_lines(csv_reader *csv)
{
    while (csv->at < end_of_text(csv) && at_line_end(csv, csv->at)) {
        csv->at = skip_line_end(csv, csv->at);
        csv->next_line++;
    }
    csv->line = csv->next_line;
    return csv->at < end_of_text(csv);
}

/* The error about a record, when the reader stands behind it. */
static tdm_status record_error(const csv_reader *csv, const csv_record *record)
{
    char lost[64] = "";
    const char *quotes = "; --quotes plain takes quotes as they are";
    const int64_t last = csv->next_line - 1;
    if (last > csv->line)
        snprintf(lost, sizeof(lost), "; left out with it: up to line %lld", (long long)last);
    switch (record->flaw) {
    case NOT_CLOSED:
        TDM_FAIL(TDM_E_DATA, "%s: line %lld: a quoted field is not closed%s%s", csv->path,
                 (long long)csv->line, quotes, lost);
    case AFTER_QUOTE:
        TDM_FAIL(TDM_E_DATA,
                 "%s: line %lld: text after a closing quote (a quote within quotes is written twice)%s%s",
                 csv->path, (long long)csv->line, quotes, lost);
    case HOLDS_RECORD:
        TDM_FAIL(TDM_E_DATA, "%s: line %lld: its quoted field would hold line %lld, a record of its own%s%s",
                 csv->path, (long long)csv->line, (long long)(csv->line + record->held_line), quotes, lost);
    case SOUND: break;
    }
    TDM_FAIL(TDM_E_DATA, "%s: line %lld has %lld field%s, the header %d%s%s", csv->path, (long long)csv->line,
             (long long)record->fields, record->fields == 1 ? "" : "s", csv->columns,
             record->fields > csv->columns ? " (a field that holds the separator needs quotes)" : "", lost);
}

tdm_status csv_next(csv_reader *csv, bool *found)
{
    *found = skip_empty_lines(csv);
    if (!*found) return TDM_OK;
    const char *const begin = csv->at;
    csv_record record = scan_record(csv, begin, csv->span);
    if (record.flaw == SOUND && record.fields == csv->columns) look_for_held(csv, begin, &record);
    if (record.flaw != SOUND || record.fields != csv->columns) {
        recover(csv, begin, &record);
        return record_error(csv, &record);
    }
    csv->at = record.end;
    csv->next_line += record.lines;
    return copy_fields(csv, csv->field);
}

static tdm_status read_header(csv_reader *csv)
{
    if (!skip_empty_lines(csv)) return TDM_OK;
    const csv_record record = scan_record(csv, csv->at, NULL);
    TDM_REQUIRE(record.flaw == SOUND, TDM_E_FORMAT, "%s: line %lld: %s in the header", csv->path,
                (long long)csv->line,
                record.flaw == NOT_CLOSED ? "a quoted field is not closed" : "text after a closing quote");
    TDM_REQUIRE(record.fields < 1 << 20, TDM_E_FORMAT, "%s: line %lld: %lld columns", csv->path,
                (long long)csv->line, (long long)record.fields);
    TDM_TRY(TDM_ALLOC(record.fields, &csv->header));
    TDM_TRY(TDM_ALLOC(record.fields, &csv->field));
    TDM_TRY(TDM_ALLOC(record.fields, &csv->span));
    csv->columns = (int)record.fields;
    (void)scan_record(csv, csv->at, csv->span);
    TDM_TRY(copy_fields(csv, csv->header));
    for (int k = 0; k < csv->columns; k++) TDM_TRY(csv_check_text(csv, k));
    csv->at = record.end;
    csv->next_line += record.lines;
    return TDM_OK;
}

tdm_status csv_open(const char *path, const csv_dialect *dialect, csv_reader *csv)
{
    *csv = (csv_reader){.path = path, .dialect = *dialect, .next_line = 1, .image_column = -1};
    TDM_TRY(text_open(path, dialect->encoding ? dialect->encoding : "utf-8", &csv->file));
    csv->at = csv->file.at;
    if (!csv->dialect.separator) {
        (void)skip_empty_lines(csv);
        const size_t length = (size_t)(next_line_of(csv, csv->at) - csv->at);
        csv->dialect.separator = memchr(csv->at, '\t', length) ? '\t' : ',';
    }
    return read_header(csv);
}

void csv_close(csv_reader *csv)
{
    for (int i = 0; csv->header && i < csv->columns; i++) tdm_text_free(&csv->header[i]);
    for (int i = 0; csv->field && i < csv->columns; i++) tdm_text_free(&csv->field[i]);
    tdm_free(csv->header);
    tdm_free(csv->field);
    tdm_free(csv->span);
    text_close(&csv->file);
    *csv = (csv_reader){0};
}

/* ---- Columns ---- */

tdm_status csv_check_text(const csv_reader *csv, int column)
{
    char where[TDM_PATH_BYTES + 256];
    const csv_span span = csv->span[column];
    const size_t length = (size_t)(span.end - span.begin);
    if (text_sound(span.begin, length) == length) return TDM_OK;
    snprintf(where, sizeof(where), "%s: line %lld, column \"%.100s\"", csv->path, (long long)csv->line,
             csv->header[column].data);
    return text_check(where, span.begin, length, span.begin - csv->file.text.data);
}

int csv_column(const csv_reader *csv, const char *name)
{
    for (int i = 0; i < csv->columns; i++)
        if (!strcmp(csv->header[i].data, name)) return i;
    return -1;
}

static tdm_status append_separator(char separator, tdm_text *out)
{
    if (separator == '\t') return tdm_text_printf(out, "tabs");
    if (separator == ',') return tdm_text_printf(out, "commas");
    return tdm_text_printf(out, "\"%c\"", separator);
}

/* What a reader of the message may have meant: " title" or "Title" for "title". */
static tdm_status append_near_miss(const csv_reader *csv, const char *name, const char *option, tdm_text *out)
{
    for (int i = 0; i < csv->columns; i++) {
        const char *other = csv->header[i].data;
        size_t length = csv->header[i].length;
        const char *trimmed = other;
        pack_trim(&trimmed, &length);
        if (length != strlen(name) || strncasecmp(trimmed, name, length)) continue;
        TDM_TRY(tdm_text_printf(out, ". \"%s\" %s", other,
                                length < csv->header[i].length ? "has a blank beside it: take that out"
                                                               : "is another one, since case counts"));
        return option[0] ? tdm_text_printf(out, ", or %s \"%s\"", option, other) : TDM_OK;
    }
    return TDM_OK;
}

static tdm_status describe_columns(const csv_reader *csv, const char *name, const char *option, tdm_text *out)
{
    if (csv->suggest) TDM_TRY(tdm_text_printf(out, " (%s)", csv->suggest));
    TDM_TRY(tdm_text_printf(out, "; %s", csv->columns ? "it has " : "the file is empty"));
    for (int i = 0; i < csv->columns; i++)
        TDM_TRY(tdm_text_printf(out, "%s\"%s\"", i ? ", " : "", csv->header[i].data));
    if (!csv->columns) return TDM_OK;
    TDM_TRY(tdm_text_printf(out, ", separated by "));
    TDM_TRY(append_separator(csv->dialect.separator, out));
    for (int i = 0; i < csv->columns; i++)
        if (pack_picture_of(csv->header[i].data) != PACK_NO_PICTURE)
            return tdm_text_printf(out, ". The first line should name the columns, and seems to be a row");
    return append_near_miss(csv, name, option, out);
}

tdm_status csv_need_column(const csv_reader *csv, const char *name, const char *option, int *column)
{
    *column = csv_column(csv, name);
    if (*column >= 0) return TDM_OK;
    tdm_text known = {0};
    tdm_status status = describe_columns(csv, name, option, &known);
    if (status == TDM_OK)
        status =
            TDM_ERROR(TDM_E_FORMAT, "%s: the header has no column \"%s\"%s", csv->path, name, known.data);
    tdm_text_free(&known);
    return status;
}
