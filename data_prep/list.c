#include "pack_impl.h"
#include "format_table.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DECLARE_ROW(row) extern const tdm_pack_format row;
TDM_PACK_FORMAT_TABLE(DECLARE_ROW)
#define TABLE_ROW(row) &row,
static const tdm_pack_format *const formats[] = {TDM_PACK_FORMAT_TABLE(TABLE_ROW)};

const tdm_pack_format *const *tdm_pack_formats(size_t *count)
{
    *count = sizeof(formats) / sizeof(formats[0]);
    return formats;
}

void tdm_pack_list_free(tdm_pack_list *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        tdm_pack_item *item = &list->item[i];
        for (int64_t k = 0; k < item->caption_n; k++) free(item->caption[k]);
        free(item->caption);
        free(item->class_index);
        free(item->name);
        free(item->path);
        free(item->split);
    }
    for (int64_t i = 0; i < list->class_count; i++) free(list->class_name[i]);
    free(list->class_name);
    free(list->item);
    memset(list, 0, sizeof(*list));
}

tdm_status pack_list_add(tdm_pack_list *list, const char *name, const char *path, int64_t offset,
                         int64_t bytes, const char *split, tdm_pack_item **item)
{
    if (list->count == list->capacity) {
        const int64_t capacity = list->capacity ? 2 * list->capacity : 256;
        tdm_pack_item *grown = realloc(list->item, sizeof(*grown) * (size_t)capacity);
        TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for %lld items", path, (long long)capacity);
        list->item = grown;
        list->capacity = capacity;
    }
    tdm_pack_item *at = &list->item[list->count];
    *at = (tdm_pack_item){.name = strdup(name),
                          .path = strdup(path),
                          .split = strdup(split),
                          .offset = offset,
                          .bytes = bytes,
                          .identity = -1};
    list->count++;
    TDM_REQUIRE(at->name && at->path && at->split, TDM_E_NOMEM, "%s: no memory for its name", path);
    *item = at;
    return TDM_OK;
}

tdm_status pack_item_caption(tdm_pack_item *item, const char *caption, size_t length)
{
    while (length && isspace((unsigned char)caption[0])) caption++, length--;
    while (length && isspace((unsigned char)caption[length - 1])) length--;
    char **grown = realloc(item->caption, sizeof(*grown) * (size_t)(item->caption_n + 1));
    TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for its captions", item->name);
    item->caption = grown;
    char *copy = strndup(caption, length); /* a NUL inside ends the caption */
    TDM_REQUIRE(copy, TDM_E_NOMEM, "%s: no memory for its captions", item->name);
    grown[item->caption_n++] = copy;
    return TDM_OK;
}

static tdm_status class_index(tdm_pack_list *list, const char *class_name, int64_t *index)
{
    for (*index = 0; *index < list->class_count; ++*index)
        if (!strcmp(list->class_name[*index], class_name)) return TDM_OK;
    char **grown = realloc(list->class_name, sizeof(*grown) * (size_t)(list->class_count + 1));
    TDM_REQUIRE(grown, TDM_E_NOMEM, "no memory for class names");
    list->class_name = grown;
    grown[list->class_count] = strdup(class_name);
    TDM_REQUIRE(grown[list->class_count], TDM_E_NOMEM, "no memory for class names");
    list->class_count++;
    return TDM_OK;
}

tdm_status pack_item_class(tdm_pack_list *list, tdm_pack_item *item, const char *class_name)
{
    int64_t index;
    TDM_TRY(class_index(list, class_name, &index));
    int64_t *grown = realloc(item->class_index, sizeof(*grown) * (size_t)(item->class_n + 1));
    TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for its classes", item->name);
    item->class_index = grown;
    grown[item->class_n++] = index;
    return TDM_OK;
}

bool pack_is_image(const char *name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof(endings) / sizeof(endings[0]); i++)
        if (!strcasecmp(dot, endings[i])) return true;
    return false;
}

tdm_status pack_folder_of(const char *path, char *out, size_t bytes)
{
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) : 0;
    const int written =
        !slash ? snprintf(out, bytes, ".") : snprintf(out, bytes, "%.*s", (int)length, length ? path : "/");
    TDM_REQUIRE(written >= 0 && (size_t)written < bytes, TDM_E_IO, "%s: path is too long", path);
    if (slash && !length) snprintf(out, bytes, "/");
    return TDM_OK;
}

tdm_status pack_read_json(const char *path, json_t **root)
{
    tdm_text text = {0};
    json_error_t error;
    *root = NULL;
    tdm_status status = tdm_read_file(path, &text);
    if (status == TDM_OK) {
        *root = json_loadb(text.data, text.length, 0, &error);
        if (!*root)
            status = TDM_ERROR(TDM_E_FORMAT, "%s: line %d, column %d: %s", path, error.line, error.column,
                               error.text);
    }
    tdm_text_free(&text);
    return status;
}
