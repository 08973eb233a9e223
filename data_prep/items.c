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

/* The value that a row's default_text says; the test of the table checks that each can be read. */
static void set_default(const tdm_option *row, void *at)
{
    switch (row->type) {
    case TDM_OPTION_BOOL: *(bool *)at = !strcmp(row->default_text, "true"); break;
    case TDM_OPTION_INT: *(int64_t *)at = strtoll(row->default_text, NULL, 10); break;
    case TDM_OPTION_FLOAT: *(double *)at = strtod(row->default_text, NULL); break;
    case TDM_OPTION_STRING: *(const char **)at = row->default_text; break;
    case TDM_OPTION_CHOICE: *(int *)at = tdm_option_choice(row->choices, row->default_text); break;
    case TDM_OPTION_STRINGS: *(tdm_strings *)at = (tdm_strings){0}; break;
    case TDM_OPTION_INT4:
    case TDM_OPTION_FLOAT3: break;
    }
}

void tdm_pack_format_defaults(const tdm_pack_format *format, void *values)
{
    for (size_t i = 0; i < format->option_count; i++)
        set_default(&format->options[i], (char *)values + format->options[i].offset);
}

tdm_status tdm_pack_list_source(const tdm_pack_format *format, const void *options, const char *source,
                                tdm_pack_list *list)
{
    TDM_TRY(pack_check_source(format, source));
    if (options || !format->option_count) return format->list(source, options, list);
    void *defaults;
    TDM_TRY(tdm_alloc(format->option_bytes, "options of the format", &defaults));
    tdm_pack_format_defaults(format, defaults);
    const tdm_status status = format->list(source, defaults, list);
    tdm_free(defaults);
    return status;
}

static void free_strings(char **string, int64_t n)
{
    for (int64_t i = 0; i < n; i++) free(string[i]);
    free(string);
}

static void free_item(tdm_pack_item *item)
{
    free_strings(item->caption, item->caption_n);
    for (int64_t k = 0; k < item->caption_fault_n; k++) free(item->caption_fault[k].why);
    free(item->caption_fault);
    free_strings(item->alternative, item->alternative_n);
    free(item->alternative_of);
    free(item->text_feature_row);
    free(item->class_index);
    free(item->name);
    free(item->path);
    free(item->split);
    free(item->fault);
}

static void free_left_out(tdm_pack_left_out *group)
{
    free(group->kind);
    free_strings(group->where, group->listed);
    free_strings(group->why, group->listed);
}

void tdm_pack_list_free(tdm_pack_list *list)
{
    for (int64_t i = 0; i < list->count; i++) free_item(&list->item[i]);
    for (int64_t i = 0; i < list->left_out_key.count; i++) free_left_out(&list->left_out[i]);
    for (int64_t i = 0; i < list->features_n; i++) list->features[i]->destroy(list->features[i]);
    pack_names_free(&list->classes);
    pack_names_free(&list->identities);
    pack_names_free(&list->left_out_key);
    free_strings(list->fault_where, list->fault_n);
    free_strings(list->fault, list->fault_n);
    free(list->left_out);
    free(list->features);
    free(list->item);
    memset(list, 0, sizeof(*list));
}

tdm_status pack_list_add(tdm_pack_list *list, const char *name, const char *path, const char *split,
                         tdm_pack_item **item)
{
    TDM_TRY(tdm_stop_point("while listing the samples"));
    if (list->count == list->capacity) {
        const int64_t capacity = list->capacity ? 2 * list->capacity : 256;
        tdm_pack_item *grown = realloc(list->item, sizeof(*grown) * (size_t)capacity);
        TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for %lld items", name, (long long)capacity);
        list->item = grown;
        list->capacity = capacity;
    }
    tdm_pack_item *at = &list->item[list->count];
    *at = (tdm_pack_item){.name = strdup(name),
                          .path = path ? strdup(path) : NULL,
                          .split = strdup(split),
                          .bytes = -1,
                          .identity = -1};
    list->count++;
    TDM_REQUIRE(at->name && (at->path || !path) && at->split, TDM_E_NOMEM, "%s: no memory for its name",
                name);
    *item = at;
    return TDM_OK;
}

tdm_status pack_list_features(tdm_pack_list *list, tdm_pack_features *features)
{
    tdm_pack_features **grown = realloc(list->features, sizeof(*grown) * (size_t)(list->features_n + 1));
    if (!grown) features->destroy(features);
    TDM_REQUIRE(grown, TDM_E_NOMEM, "no memory for a list of features");
    list->features = grown;
    grown[list->features_n++] = features;
    return TDM_OK;
}

pack_picture pack_picture_of(const char *name)
{
    static const char *const decoded[] = {".jpg",  ".jpeg", ".jpe", ".jfif", ".png",
                                          ".webp", ".gif",  ".bmp", ".dib"};
    static const char *const known[] = {".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".j2k",
                                        ".jpx", ".psd",  ".ppm",  ".pgm",  ".pbm",  ".pnm", ".svg", ".ico",
                                        ".tga", ".exr",  ".hdr",  ".dng",  ".cr2",  ".nef", ".arw", ".apng"};
    const char *dot = strrchr(pack_base_name(name), '.');
    for (size_t i = 0; dot && i < sizeof(decoded) / sizeof(decoded[0]); i++)
        if (!strcasecmp(dot, decoded[i])) return PACK_PICTURE;
    for (size_t i = 0; dot && i < sizeof(known) / sizeof(known[0]); i++)
        if (!strcasecmp(dot, known[i])) return PACK_OTHER_PICTURE;
    return PACK_NO_PICTURE;
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

const char *pack_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void pack_trim(const char **text, size_t *length)
{
    while (*length && isspace((unsigned char)(*text)[0])) ++*text, --*length;
    while (*length && isspace((unsigned char)(*text)[*length - 1])) --*length;
}
