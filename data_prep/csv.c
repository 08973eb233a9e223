/* open_clip's CSV: a header with the columns `filepath` and `title`, separated by tabs or commas, fields
 * quoted as in RFC 4180. Paths are relative to the file's folder. Rows of one path are captions of one image.
 */
#include "pack_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 256 };

typedef struct csv {
    const char *path;
    const char *at, *end;
    char separator;
    int64_t line; /* of the record being read, from 1 */
    int64_t next_line;
    tdm_text field[MOST_COLUMNS];
} csv;

/* One field into `out`; the cursor stands behind it, on the separator, a line's end or the end. */
static tdm_status read_field(csv *c, tdm_text *out)
{
    out->length = 0;
    TDM_TRY(tdm_text_append(out, "", 0));
    if (c->at == c->end || *c->at != '"') {
        const char *start = c->at;
        while (c->at < c->end && *c->at != c->separator && *c->at != '\n' && *c->at != '\r') c->at++;
        return tdm_text_append(out, start, (size_t)(c->at - start));
    }
    for (c->at++; c->at < c->end; c->at++) {
        if (*c->at == '"') {
            if (c->at + 1 == c->end || c->at[1] != '"') {
                c->at++;
                TDM_REQUIRE(c->at == c->end || *c->at == c->separator || *c->at == '\n' || *c->at == '\r',
                            TDM_E_FORMAT, "%s: line %lld: text after a closing quote", c->path,
                            (long long)c->line);
                return TDM_OK;
            }
            c->at++; /* "" is one quote */
        }
        if (*c->at == '\n') c->next_line++;
        TDM_TRY(tdm_text_append(out, c->at, 1));
    }
    TDM_FAIL(TDM_E_FORMAT, "%s: line %lld: a quoted field is not closed", c->path, (long long)c->line);
}

/* One record; *count = 0 at the end of the file. Empty lines are passed over. */
static tdm_status read_record(csv *c, int *count)
{
    *count = 0;
    while (c->at < c->end && (*c->at == '\n' || *c->at == '\r')) c->next_line += *c->at++ == '\n';
    c->line = c->next_line;
    if (c->at == c->end) return TDM_OK;
    for (;;) {
        TDM_REQUIRE(*count < MOST_COLUMNS, TDM_E_FORMAT, "%s: line %lld: more than %d columns", c->path,
                    (long long)c->line, MOST_COLUMNS);
        TDM_TRY(read_field(c, &c->field[(*count)++]));
        if (c->at == c->end || *c->at != c->separator) break;
        c->at++;
    }
    return TDM_OK;
}

static int find_column(const csv *c, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(c->field[i].data, name)) return i;
    return -1;
}

/* Items by path, so that further rows of an image find it: open addressing over item indices + 1. It holds
 * the items of earlier sources too. */
typedef struct path_table {
    int64_t *slot;
    size_t size;
} path_table;

static size_t path_hash(const char *path)
{
    uint64_t hash = 1469598103934665603u; /* FNV-1a */
    for (; *path; path++) hash = (hash ^ (unsigned char)*path) * 1099511628211u;
    return (size_t)hash;
}

static int64_t *path_slot(const path_table *table, const tdm_pack_list *list, const char *path)
{
    size_t at = path_hash(path) & (table->size - 1);
    while (table->slot[at] && strcmp(list->item[table->slot[at] - 1].path, path))
        at = (at + 1) & (table->size - 1);
    return &table->slot[at];
}

static tdm_status path_table_grow(path_table *table, const tdm_pack_list *list)
{
    if ((size_t)list->count * 2 < table->size) return TDM_OK;
    free(table->slot);
    table->size = table->size ? table->size * 2 : 1024;
    while (table->size <= (size_t)list->count * 2) table->size *= 2;
    table->slot = calloc(table->size, sizeof(*table->slot));
    TDM_REQUIRE(table->slot, TDM_E_NOMEM, "no memory for %lld paths", (long long)list->count);
    for (int64_t i = 0; i < list->count; i++) *path_slot(table, list, list->item[i].path) = i + 1;
    return TDM_OK;
}

static tdm_status add_row(csv *c, const char *folder, const char *name, const tdm_text *caption,
                          path_table *table, tdm_pack_list *list)
{
    char path[TDM_PATH_BYTES];
    const int length = name[0] == '/' ? snprintf(path, sizeof(path), "%s", name)
                                      : snprintf(path, sizeof(path), "%s/%s", folder, name);
    TDM_REQUIRE(length >= 0 && length < TDM_PATH_BYTES, TDM_E_FORMAT, "%s: line %lld: path is too long",
                c->path, (long long)c->line);
    TDM_TRY(path_table_grow(table, list));
    int64_t *slot = path_slot(table, list, path);
    tdm_pack_item *item;
    if (*slot) {
        item = &list->item[*slot - 1];
    } else {
        TDM_TRY(pack_list_add(list, name, path, 0, -1, "", &item));
        *slot = list->count;
    }
    return pack_item_caption(item, caption->data, caption->length);
}

static tdm_status read_rows(csv *c, path_table *table, tdm_pack_list *list)
{
    char folder[TDM_PATH_BYTES];
    int count;
    TDM_TRY(pack_folder_of(c->path, folder, sizeof(folder)));
    TDM_TRY(read_record(c, &count));
    const int path_column = find_column(c, count, "filepath"), title_column = find_column(c, count, "title");
    TDM_REQUIRE(
        path_column >= 0 && title_column >= 0, TDM_E_FORMAT,
        "%s: the header has no column \"%s\"; it needs filepath and title, separated by tabs or commas",
        c->path, path_column < 0 ? "filepath" : "title");
    const int columns = count;
    for (;;) {
        TDM_TRY(read_record(c, &count));
        if (count == 0) return TDM_OK;
        TDM_REQUIRE(count == columns, TDM_E_FORMAT, "%s: line %lld has %d fields, the header %d", c->path,
                    (long long)c->line, count, columns);
        TDM_REQUIRE(c->field[path_column].length, TDM_E_FORMAT, "%s: line %lld: filepath is empty", c->path,
                    (long long)c->line);
        TDM_TRY(add_row(c, folder, c->field[path_column].data, &c->field[title_column], table, list));
    }
}

static tdm_status csv_list(const char *source, tdm_pack_list *list)
{
    tdm_text text = {0};
    path_table table = {0};
    tdm_status status = tdm_read_file(source, &text);
    if (status == TDM_OK && memchr(text.data, '\0', text.length))
        status =
            TDM_ERROR(TDM_E_FORMAT, "%s: holds a zero byte: not a CSV in UTF-8 (UTF-16, perhaps)", source);
    if (status == TDM_OK) {
        csv c = {.path = source, .at = text.data, .end = text.data + text.length, .next_line = 1};
        if (text.length >= 3 && !memcmp(c.at, "\xef\xbb\xbf", 3)) c.at += 3; /* byte order mark */
        const size_t header = strcspn(c.at, "\n");
        c.separator = memchr(c.at, '\t', header) ? '\t' : ',';
        status = read_rows(&c, &table, list);
        for (int i = 0; i < MOST_COLUMNS; i++) tdm_text_free(&c.field[i]);
    }
    free(table.slot);
    tdm_text_free(&text);
    return status;
}

const tdm_pack_format pack_format_csv = {
    .name = "csv",
    .help = "open_clip's CSV: columns filepath and title, tab or comma; paths relative to the file's folder",
    .list = csv_list,
};
