/* open_clip's CSV: a header, a column of image paths and one of captions, separated by tabs or commas. Paths
 * are relative to the file's folder. Rows of one path are captions of one image; a row with an empty path is a
 * caption without an image. Further columns may hold identities, classes and splits. */
#include "json_captions.h"
#include "pack_impl.h"
#include "read_csv.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>

typedef struct csv_options {
    const char *image_column, *caption_column, *identity_column, *class_column, *class_separator,
        *split_column;
    const char *delimiter, *encoding;
    int quotes;
} csv_options;

enum { QUOTES_DOUBLE, QUOTES_PLAIN };

static const tdm_option csv_rows[] = {
    TDM_STRING_OPTION(csv_options, image_column, "filepath", "column of the images' paths"),
    TDM_STRING_OPTION(
        csv_options, caption_column, "title",
        "column of the captions, or several: \"first,second\"; a cell may hold a JSON list of captions"),
    TDM_STRING_OPTION(csv_options, identity_column, "", "column of the identities, numbers or names"),
    TDM_STRING_OPTION(csv_options, class_column, "", "column of the classes"),
    TDM_STRING_OPTION(csv_options, class_separator, "|",
                      "character between several classes of a cell; \"\": a cell is one class"),
    TDM_STRING_OPTION(csv_options, split_column, "", "column that says which split a row belongs to"),
    TDM_STRING_OPTION(
        csv_options, delimiter, "",
        "character between columns, or \"tab\" (default: a tab where the header has one, else a comma)"),
    TDM_CHOICE_OPTION(csv_options, quotes, "double", "double|plain",
                      "fields may stand in double quotes, or quotes are characters like others"),
    TEXT_ENCODING_OPTION(csv_options),
};

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
    for (int64_t i = 0; i < list->count; i++)
        if (list->item[i].path) *path_slot(table, list, list->item[i].path) = i + 1;
    return TDM_OK;
}

/* ---- Columns ---- */

enum { MOST_CAPTION_COLUMNS = 64 };

typedef struct columns {
    int image, identity, class, split; /* -1: not asked for */
    int caption[MOST_CAPTION_COLUMNS];
    int captions;
} columns;

static tdm_status optional_column(const csv_reader *csv, const char *name, const char *option, int *column)
{
    *column = -1;
    return name[0] ? csv_need_column(csv, name, option, column) : TDM_OK;
}

/* A column of that name, be there a comma in it or not; else the columns between the commas. */
static tdm_status caption_columns(const csv_reader *csv, const char *names, columns *found)
{
    char name[1024];
    const bool one = csv_column(csv, names) >= 0 || !strchr(names, ',');
    for (const char *at = names;;) {
        const size_t length = one ? strlen(at) : strcspn(at, ",");
        TDM_REQUIRE(length < sizeof(name) && found->captions < MOST_CAPTION_COLUMNS, TDM_E_USAGE,
                    "--caption-column %.100s…: too many columns", names);
        snprintf(name, sizeof(name), "%.*s", (int)length, at);
        TDM_TRY(csv_need_column(csv, name, "--caption-column", &found->caption[found->captions++]));
        if (!at[length]) return TDM_OK;
        at += length + 1;
    }
}

static tdm_status find_columns(csv_reader *csv, const csv_options *o, columns *found)
{
    csv->suggest = "--image-column and --caption-column name others, --delimiter what separates them";
    found->captions = 0;
    TDM_TRY(csv_need_column(csv, o->image_column, "--image-column", &found->image));
    TDM_TRY(caption_columns(csv, o->caption_column, found));
    TDM_TRY(optional_column(csv, o->identity_column, "--identity-column", &found->identity));
    TDM_TRY(optional_column(csv, o->class_column, "--class-column", &found->class));
    TDM_TRY(optional_column(csv, o->split_column, "--split-column", &found->split));
    csv->image_column = found->image;
    return TDM_OK;
}

static bool is_used(const columns *used, int column)
{
    bool is =
        column == used->image || column == used->identity || column == used->class || column == used->split;
    for (int k = 0; k < used->captions; k++) is |= column == used->caption[k];
    return is;
}

/* Says which columns are not packed. */
static tdm_status mention_unused(const csv_reader *csv, const columns *used, tdm_pack_list *list)
{
    char where[TDM_PATH_BYTES + 512];
    tdm_text names = {0};
    tdm_status status = TDM_OK;
    int unused = 0;
    for (int k = 0; status == TDM_OK && k < csv->columns; k++) {
        if (is_used(used, k)) continue;
        status = tdm_text_printf(&names, "%s%s", unused++ ? ", " : "", csv->header[k].data);
        snprintf(where, sizeof(where), "%s: %s", csv->path, csv->header[k].data);
        if (status == TDM_OK) status = pack_list_leave_out(list, "columns that are not used", where, NULL);
    }
    if (status == TDM_OK && unused)
        tdm_log(TDM_LOG_INFO,
                "%s: %d column%s not used: %s (see --identity-column, --class-column, --split-column)",
                csv->path, unused, unused == 1 ? " is" : "s are", names.data);
    tdm_text_free(&names);
    return status;
}

/* ---- Rows ---- */

typedef struct table {
    csv_reader csv;
    columns column;
    const csv_options *options;
    char folder[TDM_PATH_BYTES]; /* that paths begin at */
    path_table paths;
    tdm_pack_list *list;
    bool warned;
} table;

/* "pairs.csv: line 17" */
static void row_where(const table *t, char where[TDM_PATH_BYTES + 64])
{
    snprintf(where, TDM_PATH_BYTES + 64, "%.*s: line %lld", TDM_PATH_BYTES, t->csv.path,
             (long long)t->csv.line);
}

/* An error that names the sample names the row, too. */
static tdm_status with_row(const table *t, tdm_status status)
{
    char where[TDM_PATH_BYTES + 64];
    if (!pack_is_fault(status)) return status;
    row_where(t, where);
    return TDM_ERROR(status, "%s: %s", where, tdm_error_last()->message);
}

/* What a row that names no image is called: "pairs.csv:17". */
static tdm_status add_text(const table *t, const char *split, tdm_pack_item **item)
{
    char name[TDM_PATH_BYTES];
    snprintf(name, sizeof(name), "%s:%lld", pack_base_name(t->csv.path), (long long)t->csv.line);
    return pack_list_add(t->list, name, NULL, split, item);
}

/* The item of that image: the one there is, or a new one. */
static tdm_status find_image(table *t, const char *name, const char *split, tdm_pack_item **item)
{
    char path[TDM_PATH_BYTES];
    const int length = name[0] == '/' ? snprintf(path, sizeof(path), "%s", name)
                                      : snprintf(path, sizeof(path), "%s/%s", t->folder, name);
    TDM_REQUIRE(length >= 0 && length < TDM_PATH_BYTES, TDM_E_DATA, "%s: line %lld: path is too long",
                t->csv.path, (long long)t->csv.line);
    TDM_TRY(path_table_grow(&t->paths, t->list));
    int64_t *slot = path_slot(&t->paths, t->list, path);
    if (*slot) {
        *item = &t->list->item[*slot - 1];
        return TDM_OK;
    }
    TDM_TRY(pack_list_add(t->list, name, path, split, item));
    *slot = t->list->count;
    return TDM_OK;
}

/* "https://…" */
static bool is_address(const char *name)
{
    size_t n = 0;
    while (isalnum((unsigned char)name[n]) || (n && name[n] && strchr("+.-", name[n]))) n++;
    return n > 1 && !strncmp(name + n, "://", 3);
}

/* The row's image and split, whose text is in the reader; what is wrong with them is an error. */
static tdm_status read_place(table *t, const char **name, const char **split)
{
    char where[TDM_PATH_BYTES + 64];
    const csv_reader *csv = &t->csv;
    tdm_text *image = &csv->field[t->column.image];
    const char *trimmed = image->data;
    size_t length = image->length;
    row_where(t, where);
    TDM_TRY(csv_check_text(csv, t->column.image));
    pack_trim(&trimmed, &length);
    image->data[trimmed - image->data + (ptrdiff_t)length] = '\0';
    TDM_REQUIRE(!is_address(trimmed), TDM_E_DATA,
                "%s: \"%.200s\" is an address: images are read from files, not fetched", where, trimmed);
    *name = trimmed;
    *split = "";
    if (t->column.split < 0) return TDM_OK;
    TDM_TRY(csv_check_text(csv, t->column.split));
    *split = csv->field[t->column.split].data;
    return pack_check_split(where, *split);
}

/* The item that the row speaks of; NULL after a fault. */
static tdm_status find_item(table *t, tdm_pack_item **item)
{
    char where[TDM_PATH_BYTES + 64];
    const char *name = "", *split = "";
    *item = NULL;
    row_where(t, where);
    tdm_status status = read_place(t, &name, &split);
    if (status == TDM_OK) status = name[0] ? find_image(t, name, split, item) : add_text(t, split, item);
    if (status != TDM_OK) return pack_list_fault(t->list, where, status);
    if (!strcmp((*item)->split, split)) return TDM_OK;
    return pack_item_fault(*item,
                           TDM_ERROR(TDM_E_DATA, "%s: \"%s\" is in split \"%s\", another row says \"%s\"",
                                     where, name, split, (*item)->split));
}

static tdm_status add_identity(const table *t, tdm_pack_item *item)
{
    const tdm_text *field = &t->csv.field[t->column.identity];
    tdm_status status = csv_check_text(&t->csv, t->column.identity);
    if (status == TDM_OK) status = with_row(t, pack_item_identity(t->list, item, field->data, field->length));
    return pack_item_fault(item, status);
}

/* Rows of one image name the same classes, or some name none. */
static tdm_status add_classes(const table *t, tdm_pack_item *item)
{
    const tdm_text *field = &t->csv.field[t->column.class];
    const int64_t before = item->class_n;
    tdm_status status = csv_check_text(&t->csv, t->column.class);
    if (status == TDM_OK)
        status = with_row(
            t, pack_item_classes(t->list, item, field->data, field->length, t->options->class_separator));
    if (status == TDM_OK && before && item->class_n > before)
        status = TDM_ERROR(TDM_E_DATA,
                           "%s: line %lld: \"%s\" has class \"%s\", which another row of it does not name",
                           t->csv.path, (long long)t->csv.line, item->name,
                           t->list->classes.name[item->class_index[before]]);
    return pack_item_fault(item, status);
}

/* Is the cell a list of captions, as JSON? Then *root owns it. */
static bool is_list(const char *where, const tdm_text *cell, json_node *root)
{
    const char *at = cell->data;
    size_t length = cell->length;
    *root = (json_node){0};
    pack_trim(&at, &length);
    if (length < 2 || at[0] != '[' || at[length - 1] != ']') return false;
    bool list = read_json_text(where, at, length, root) == TDM_OK && json_is_array(root->value);
    for (size_t i = 0; list && i < json_node_count(root); i++)
        list = json_is_string(json_array_get(root->value, i));
    if (!list) read_json_free(root);
    return list;
}

/* A list as Python prints it is no JSON: it is one caption, with its brackets. */
static void warn_of_python(table *t, const tdm_text *cell)
{
    if (t->warned || strncmp(cell->data, "['", 2) || cell->data[cell->length - 1] != ']') return;
    t->warned = true;
    tdm_log(TDM_LOG_WARN,
            "%s: line %lld: a caption looks like a list of Python's and is taken as one caption; "
            "a list of captions is written as in JSON: [\"first\", \"second\"]",
            t->csv.path, (long long)t->csv.line);
}

static tdm_status add_cell(table *t, int column, tdm_pack_item *item)
{
    char where[2 * TDM_PATH_BYTES];
    const csv_reader *csv = &t->csv;
    const tdm_text *cell = &csv->field[column];
    json_node root;
    const tdm_status sound = csv_check_text(csv, column);
    if (sound != TDM_OK) return pack_item_caption_fault(item, sound);
    snprintf(where, sizeof(where), "%s: line %lld, column \"%.100s\"", csv->path, (long long)csv->line,
             csv->header[column].data);
    if (is_list(where, cell, &root)) {
        const tdm_status status = json_captions(&root, item);
        read_json_free(&root);
        return status;
    }
    if (cell->length) warn_of_python(t, cell);
    snprintf(where, sizeof(where), "%s: line %lld (%s, caption %lld)", csv->path, (long long)csv->line,
             item->name, (long long)item->caption_given + 1);
    return pack_item_caption(item, where, cell->data, cell->length);
}

/* Of several columns some may be empty; a row that says nothing at all has an empty caption. */
static tdm_status add_captions(table *t, tdm_pack_item *item)
{
    const columns *c = &t->column;
    int given = 0;
    for (int k = 0; k < c->captions; k++) {
        const tdm_text *cell = &t->csv.field[c->caption[k]];
        if (c->captions > 1 && pack_is_blank(cell->data, cell->length)) continue;
        TDM_TRY(add_cell(t, c->caption[k], item));
        given++;
    }
    return given ? TDM_OK : add_cell(t, c->caption[0], item);
}

static tdm_status list_rows(table *t)
{
    for (;;) {
        char where[TDM_PATH_BYTES + 64];
        tdm_pack_item *item;
        bool found;
        const tdm_status status = csv_next(&t->csv, &found);
        if (!found) return status;
        row_where(t, where);
        if (status != TDM_OK) {
            TDM_TRY(pack_list_fault(t->list, where, status));
            continue;
        }
        TDM_TRY(find_item(t, &item));
        if (!item) continue;
        if (t->column.identity >= 0) TDM_TRY(add_identity(t, item));
        if (t->column.class >= 0) TDM_TRY(add_classes(t, item));
        TDM_TRY(add_captions(t, item));
    }
}

/* The character of --delimiter; 0: to be found out. */
static tdm_status read_delimiter(const char *text, char *separator)
{
    *separator = !strcmp(text, "tab") || !strcmp(text, "\\t") ? '\t' : text[0];
    TDM_REQUIRE((!text[0] || !text[1] || *separator == '\t') && (unsigned char)*separator < 0x80 &&
                    !strchr("\"\r\n", *separator ? *separator : 'x'),
                TDM_E_USAGE, "--delimiter %s: is one character, or \"tab\"", text);
    return TDM_OK;
}

static tdm_status list_table(const char *source, table *t)
{
    csv_dialect dialect = {.plain_quotes = t->options->quotes == QUOTES_PLAIN,
                           .encoding = t->options->encoding};
    TDM_TRY(read_delimiter(t->options->delimiter, &dialect.separator));
    TDM_TRY(csv_open(source, &dialect, &t->csv));
    if (t->csv.file.marked)
        tdm_log(TDM_LOG_INFO, "%s: read as %s, as its byte order mark says", source, t->csv.file.marked);
    TDM_TRY(pack_folder_of(source, t->folder, sizeof(t->folder)));
    TDM_TRY(find_columns(&t->csv, t->options, &t->column));
    TDM_TRY(mention_unused(&t->csv, &t->column, t->list));
    return list_rows(t);
}

static tdm_status csv_list(const char *source, const void *options, tdm_pack_list *list)
{
    table *t;
    TDM_TRY(TDM_ALLOC(1, &t));
    t->options = options;
    t->list = list;
    const tdm_status status = list_table(source, t);
    csv_close(&t->csv);
    free(t->paths.slot);
    tdm_free(t);
    return status;
}

const tdm_pack_format pack_format_csv = {
    .name = "csv",
    .takes_file = true,
    .help = "open_clip's CSV: columns filepath and title, tab or comma; paths relative to the file's folder",
    .options = csv_rows,
    .option_count = sizeof(csv_rows) / sizeof(csv_rows[0]),
    .option_bytes = sizeof(csv_options),
    .list = csv_list,
};
