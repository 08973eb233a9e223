#include "cmr_sample.h"

#include "read_list.h"

#include <stdlib.h>

static tdm_status read_class_list(cmr_reader *r)
{
    list_reader list;
    tdm_status status = list_open(r->options->class_list, r->options->encoding, &list);
    r->classes = 0;
    while (status == TDM_OK && list_next(&list)) {
        char **grown = realloc(r->listed, sizeof *grown * (size_t)(r->classes + 1));
        if (grown) r->listed = grown;
        if (grown) grown[r->classes] = strndup(list.entry, list.length);
        if (!grown || !grown[r->classes++])
            status = TDM_ERROR(TDM_E_NOMEM, "%s: no memory for its classes", list.path);
    }
    list_close(&list);
    TDM_TRY(status);
    TDM_REQUIRE(r->classes > 0, TDM_E_FORMAT, "%s: names no class", r->options->class_list);
    r->names = (const char *const *)r->listed;
    return TDM_OK;
}

tdm_status cmr_open(const char *root, const cmr_options *options, const char *const *names, int64_t classes,
                    tdm_pack_list *list, cmr_reader *reader)
{
    *reader =
        (cmr_reader){.options = options, .list = list, .root = root, .names = names, .classes = classes};
    if (options->class_list[0]) TDM_TRY(read_class_list(reader));
    for (int64_t c = 0; c < reader->classes; c++) { /* all of them, in their order, so that numbers stay */
        int64_t index;
        TDM_TRY(pack_list_class(list, reader->names[c], &index));
    }
    return TDM_OK;
}

void cmr_close(cmr_reader *reader)
{
    for (int64_t c = 0; reader->listed && c < reader->classes; c++) free(reader->listed[c]);
    free(reader->listed);
    tdm_text_free(&reader->text);
    tdm_text_free(&reader->cleaned);
}

tdm_status cmr_path(const cmr_reader *reader, const char *folder, const char *name, const char *ending,
                    char path[TDM_PATH_BYTES])
{
    const int n = snprintf(path, TDM_PATH_BYTES, "%s/%s%s%s%s", reader->root, folder, folder[0] ? "/" : "",
                           name, ending);
    TDM_REQUIRE(n < TDM_PATH_BYTES, TDM_E_IO, "%s: the path of %s is too long", reader->root, name);
    return TDM_OK;
}

tdm_status cmr_add(cmr_reader *reader, const char *name, const char *path, const char *split,
                   tdm_pack_item **item)
{
    TDM_TRY(pack_list_add(reader->list, name, path, split, item));
    if (tdm_path_exists(path)) return TDM_OK;
    return pack_item_fault(*item, TDM_ERROR(TDM_E_IO, "%s: there is no image %s", name, path));
}

tdm_status cmr_class(cmr_reader *reader, tdm_pack_item *item, const char *where, int64_t label)
{
    const int64_t class = label - reader->options->label_base;
    char name[32];
    if (class < 0 || class >= (reader->classes ? reader->classes : MOST_CLASSES))
        return pack_item_fault(
            item, TDM_ERROR(TDM_E_DATA, "%s: class %lld is not from %d to %lld (--label-base, --class-list)",
                            where, (long long)label, reader->options->label_base,
                            (long long)((reader->classes ? reader->classes : MOST_CLASSES) - 1 +
                                        reader->options->label_base)));
    if (reader->classes) return pack_item_class_index(item, class);
    for (int64_t c = 0; c <= class; c++) { /* an index is a label */
        int64_t index;
        snprintf(name, sizeof name, "%lld", (long long)(c + reader->options->label_base));
        if (c < class && c < reader->list->classes.count) continue;
        TDM_TRY(pack_list_class(reader->list, name, &index));
    }
    return pack_item_class_index(item, class);
}

tdm_status cmr_caption(cmr_reader *reader, tdm_pack_item *item, const char *where, const char *text,
                       size_t length)
{
    const cmr_options *o = reader->options;
    TDM_TRY(caption_clean((caption_cleaning)o->clean, o->max_words, text, length, &reader->cleaned));
    return pack_item_caption(item, where, reader->cleaned.length ? reader->cleaned.data : "",
                             reader->cleaned.length);
}

tdm_status cmr_split_label(const char *where, const char *separators, char *line, int64_t *label)
{
    const size_t length = strlen(line);
    size_t at = length;
    char *end;
    while (at > 0 && !strchr(separators, line[at - 1])) at--;
    *label = strtoll(line + at, &end, 10);
    TDM_REQUIRE(at > 1 && end != line + at && !*end, TDM_E_FORMAT,
                "%s: \"%.80s\" is no name with the number of a class behind it", where, line);
    while (at > 0 && strchr(separators, line[at - 1])) at--;
    line[at] = '\0';
    return TDM_OK;
}

tdm_status cmr_each_line(cmr_reader *reader, const char *path, const char *split,
                         tdm_status (*add)(cmr_reader *reader, const char *where, const char *split,
                                           char *line))
{
    enum { LONGEST = 1000 };
    list_reader list;
    char where[TDM_PATH_BYTES + 64], line[LONGEST + 1];
    tdm_status status = list_open(path, reader->options->encoding, &list);
    while (status == TDM_OK && list_next(&list)) {
        snprintf(where, sizeof where, "%s: line %lld", path, (long long)list.line);
        if (list.length > LONGEST) {
            status = pack_list_fault(reader->list, where,
                                     TDM_ERROR(TDM_E_FORMAT, "%s: is longer than %d bytes", where, LONGEST));
            continue;
        }
        snprintf(line, sizeof line, "%.*s", (int)list.length, list.entry);
        status = add(reader, where, split, line);
    }
    list_close(&list);
    return status;
}
