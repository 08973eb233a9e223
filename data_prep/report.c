#include "report.h"

#include "pack_impl.h"

#include "tandem/json_text.h"

#include <stdlib.h>
#include <string.h>

enum { KEY = 32, EXTENSIONS_TOLD = 8 }; /* KEY: place and caption, 16 hexadecimal digits each, begin a line */

static tdm_status no_memory(void)
{
    TDM_FAIL(TDM_E_NOMEM, "no memory for pack-report.json");
}

static json_t *describe(const char *name, const char *path, int64_t caption, const char *message)
{
    json_t *object = json_pack("{s:o, s:o}", "name", tdm_json_text(name), "path", tdm_json_text(path));
    if (object && caption) json_object_set_new(object, "caption", json_integer(caption));
    if (object) json_object_set_new(object, "error", tdm_json_text(message));
    return object;
}

tdm_status report_note(tdm_text *lines, int64_t place, int64_t caption, const tdm_pack_item *item,
                       const char *message)
{
    json_t *object = describe(item->name, item->path, caption, message);
    char *line = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (!line) return no_memory();
    const tdm_status status = tdm_text_printf(lines, "%016llx%016llx %s\n", (unsigned long long)place,
                                              (unsigned long long)caption, line);
    free(line);
    return status;
}

static int compare_lines(const void *a, const void *b)
{
    return memcmp(*(const char *const *)a, *(const char *const *)b, KEY);
}

static int64_t number_at(const char *digits)
{
    char text[17];
    snprintf(text, sizeof(text), "%.16s", digits);
    return (int64_t)strtoull(text, NULL, 16);
}

static tdm_status take_line(const char *line, size_t length, report_notes *notes)
{
    json_t *object = json_loadb(line + KEY + 1, length - KEY - 1, 0, NULL);
    const bool whole = number_at(line + KEY / 2) == 0;
    if (json_array_append_new(whole ? notes->bad : notes->bad_captions, object)) return no_memory();
    if (whole) notes->bad_place[notes->bad_n++] = number_at(line);
    return TDM_OK;
}

tdm_status report_sort(const tdm_pack_list *list, const char *lines, size_t bytes, report_notes *notes)
{
    const char *const end = lines + bytes;
    const char **line = NULL;
    int64_t n = 0, count = 0;
    for (size_t i = 0; i < bytes; i++) count += lines[i] == '\n';
    *notes = (report_notes){.bad = json_array(), .bad_captions = json_array()};
    for (int64_t i = 0; i < list->fault_n; i++)
        json_array_append_new(notes->bad, describe(list->fault_where[i], NULL, 0, list->fault[i]));
    tdm_status status = TDM_ALLOC(count + 1, &notes->bad_place);
    if (status == TDM_OK)
        status = tdm_alloc(tdm_array_bytes(count + 1, sizeof(*line)), "lines", (void **)&line);
    for (const char *at = lines; status == TDM_OK && at < end;
         at = memchr(at, '\n', (size_t)(end - at)), at++)
        line[n++] = at;
    if (status == TDM_OK) qsort(line, (size_t)n, sizeof(*line), compare_lines);
    for (int64_t i = 0; status == TDM_OK && i < n; i++)
        status = take_line(
            line[i], (size_t)((const char *)memchr(line[i], '\n', (size_t)(end - line[i])) - line[i]), notes);
    tdm_free((void *)line);
    return status;
}

void report_notes_free(report_notes *notes)
{
    json_decref(notes->bad);
    json_decref(notes->bad_captions);
    tdm_free(notes->bad_place);
    *notes = (report_notes){0};
}

/* ---- The file ---- */

static json_t *left_out_json(const tdm_pack_list *list)
{
    json_t *all = json_array();
    for (int64_t g = 0; g < list->left_out_key.count; g++) {
        const tdm_pack_left_out *group = &list->left_out[g];
        json_t *listed = json_array();
        for (int64_t i = 0; i < group->listed; i++) {
            json_t *entry = json_pack("{s:o}", "where", tdm_json_text(group->where[i]));
            if (group->why[i]) json_object_set_new(entry, "why", tdm_json_text(group->why[i]));
            json_array_append_new(listed, entry);
        }
        json_array_append_new(all, json_pack("{s:o, s:o, s:I, s:o}", "kind", tdm_json_text(group->kind),
                                             "extension", tdm_json_text(group->extension), "count",
                                             (json_int_t)group->count, "listed", listed));
    }
    return all;
}

static json_t *splits_json(const tdm_pack_result *result)
{
    json_t *all = json_array();
    for (int s = 0; s < result->split_n; s++) {
        const tdm_pack_split *split = &result->split[s];
        json_array_append_new(
            all, json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "name", tdm_json_text(split->name), "samples",
                           (json_int_t)split->samples, "images", (json_int_t)split->images, "captions",
                           (json_int_t)split->captions, "identities", (json_int_t)split->identities,
                           "classes", (json_int_t)split->classes));
    }
    return all;
}

static json_t *strings_json(const char *const *string, int64_t n)
{
    json_t *all = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(all, tdm_json_text(string[i]));
    return all;
}

tdm_status report_write(const char *path, const report_head *head, const report_notes *notes)
{
    const tdm_pack_result *r = head->result;
    const tdm_pack_list *list = head->list;
    const struct {
        const char *key;
        int64_t value;
    } count[] = {
        {"images", r->images},
        {"captions", r->captions},
        {"alternatives", r->alternatives},
        {"images_only", r->images_only},
        {"texts_only", r->texts_only},
        {"shards", r->shards},
        {"truncated_captions", r->truncated_captions},
    };
    json_t *report = json_pack("{s:o, s:s}", "dataset", tdm_json_text(head->dataset), "format", head->format);
    for (size_t i = 0; i < sizeof(count) / sizeof(count[0]); i++)
        json_object_set_new(report, count[i].key, json_integer(count[i].value));
    json_object_set_new(report, "splits", splits_json(r));
    json_object_set(report, "bad", notes->bad);
    json_object_set(report, "bad_captions", notes->bad_captions);
    json_object_set_new(report, "empty_sources", strings_json(head->empty_source, head->empty_sources));
    json_object_set_new(report, "left_out", left_out_json(list));
    if (head->named_identities)
        json_object_set_new(report, "identity_names",
                            strings_json((const char *const *)list->identities.name, list->identities.count));
    char *text = report ? json_dumps(report, JSON_INDENT(2)) : NULL;
    json_decref(report);
    if (!text) return no_memory();
    tdm_text safe = {0};
    tdm_status status = tdm_text_json(&safe, text);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, safe.data, safe.length);
    tdm_text_free(&safe);
    free(text);
    return status;
}

/* ---- The console ---- */

/* "12 files that are …: 10 .json, 2 .md" of the kind of group `first`, the first one of its kind. */
static tdm_status tell_kind(const tdm_pack_list *list, int64_t first, tdm_text *out)
{
    const tdm_pack_left_out *group = list->left_out;
    int64_t all = 0, told = 0, others = 0;
    for (int64_t g = first; g < list->left_out_key.count; g++)
        if (!strcmp(group[g].kind, group[first].kind)) all += group[g].count;
    TDM_TRY(tdm_text_printf(out, "%lld %s", (long long)all, group[first].kind));
    for (int64_t g = first; g < list->left_out_key.count; g++) {
        if (strcmp(group[g].kind, group[first].kind)) continue;
        if (all == group[g].count && !group[g].extension[0]) return TDM_OK;
        if (told == EXTENSIONS_TOLD)
            others += group[g].count;
        else
            TDM_TRY(tdm_text_printf(out, "%s%lld %s", told++ ? ", " : ": ", (long long)group[g].count,
                                    group[g].extension[0] ? group[g].extension : "without an extension"));
    }
    return others ? tdm_text_printf(out, ", %lld others", (long long)others) : TDM_OK;
}

/* Is the group the first one of its kind? */
static bool is_first(const tdm_pack_list *list, int64_t group)
{
    for (int64_t g = 0; g < group; g++)
        if (!strcmp(list->left_out[g].kind, list->left_out[group].kind)) return false;
    return true;
}

tdm_status report_tell_left_out(const tdm_pack_list *list, tdm_text *out)
{
    for (int64_t g = 0; g < list->left_out_key.count; g++) {
        if (!is_first(list, g)) continue;
        if (g) TDM_TRY(tdm_text_append(out, "; ", 2));
        TDM_TRY(tell_kind(list, g, out));
    }
    return TDM_OK;
}

tdm_status report_log_left_out(const tdm_pack_list *list)
{
    tdm_text line = {0};
    tdm_status status = TDM_OK;
    for (int64_t g = 0; status == TDM_OK && g < list->left_out_key.count; g++) {
        if (!is_first(list, g)) continue;
        line.length = 0;
        status = tell_kind(list, g, &line);
        if (status == TDM_OK) tdm_log(TDM_LOG_INFO, "left out: %s", line.data);
    }
    tdm_text_free(&line);
    return status;
}
