/* open_clip's CSV: a header, a column of image paths and one of captions, separated by tabs or commas. Paths
 * are relative to the file's folder. Rows of one path are captions of one image; a row with an empty path is a
 * caption without an image. */
#include "pack_impl.h"
#include "read_csv.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct csv_options {
    const char *image_column, *caption_column;
} csv_options;

static const tdm_option csv_rows[] = {
    TDM_STRING_OPTION(csv_options, image_column, "filepath", "column of the images' paths"),
    TDM_STRING_OPTION(csv_options, caption_column, "title", "column of the captions"),
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

/* What a row that names no image is called: "pairs.csv:17". */
static tdm_status add_text(const csv_reader *csv, tdm_pack_list *list, tdm_pack_item **item)
{
    char name[TDM_PATH_BYTES];
    snprintf(name, sizeof(name), "%s:%lld", pack_base_name(csv->path), (long long)csv->line);
    return pack_list_add(list, name, NULL, "", item);
}

/* The item of that image: the one there is, or a new one. */
static tdm_status find_image(const csv_reader *csv, const char *folder, const char *name, path_table *table,
                             tdm_pack_list *list, tdm_pack_item **item)
{
    char path[TDM_PATH_BYTES];
    const int length = name[0] == '/' ? snprintf(path, sizeof(path), "%s", name)
                                      : snprintf(path, sizeof(path), "%s/%s", folder, name);
    TDM_REQUIRE(length >= 0 && length < TDM_PATH_BYTES, TDM_E_FORMAT, "%s: line %lld: path is too long",
                csv->path, (long long)csv->line);
    TDM_TRY(path_table_grow(table, list));
    int64_t *slot = path_slot(table, list, path);
    if (*slot) {
        *item = &list->item[*slot - 1];
        return TDM_OK;
    }
    TDM_TRY(pack_list_add(list, name, path, "", item));
    *slot = list->count;
    return TDM_OK;
}

static tdm_status list_rows(csv_reader *csv, const csv_options *options, path_table *table,
                            tdm_pack_list *list)
{
    char folder[TDM_PATH_BYTES];
    int image, caption;
    bool found;
    TDM_TRY(pack_folder_of(csv->path, folder, sizeof(folder)));
    TDM_TRY(csv_need_column(csv, options->image_column, "--image-column", &image));
    TDM_TRY(csv_need_column(csv, options->caption_column, "--caption-column", &caption));
    for (;;) {
        tdm_pack_item *item;
        TDM_TRY(csv_next(csv, &found));
        if (!found) return TDM_OK;
        if (csv->field[image].length)
            TDM_TRY(find_image(csv, folder, csv->field[image].data, table, list, &item));
        else
            TDM_TRY(add_text(csv, list, &item));
        TDM_TRY(pack_item_caption(item, NULL, csv->field[caption].data, csv->field[caption].length));
    }
}

static tdm_status csv_list(const char *source, const void *options, tdm_pack_list *list)
{
    csv_reader csv;
    path_table table = {0};
    tdm_status status = csv_open(source, &(csv_dialect){0}, &csv);
    if (status == TDM_OK) status = list_rows(&csv, options, &table, list);
    csv_close(&csv);
    free(table.slot);
    return status;
}

const tdm_pack_format pack_format_csv = {
    .name = "csv",
    .help = "open_clip's CSV: columns filepath and title, tab or comma; paths relative to the file's folder",
    .options = csv_rows,
    .option_count = sizeof(csv_rows) / sizeof(csv_rows[0]),
    .option_bytes = sizeof(csv_options),
    .list = csv_list,
};
