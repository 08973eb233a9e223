/* WebDataset: tar files whose members share a key up to the first dot of the file's name, what follows is the field:
 * KEY.jpg with KEY.txt, or with KEY.json that holds "caption". Images are read by their place in the tar, which must
 * not be compressed. The members of a key need not stand together. A key with an image or a text only is listed too.
 *
 * JSON is read only where the caption is not there already, or where an option asks for one of its fields. */
#include "json_captions.h"
#include "pack_impl.h"
#include "read_json.h"
#include "read_tar.h"
#include "read_text.h"

#include "tandem/image.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <strings.h>

enum { LONGEST_TEXT = 16 << 20, LONGEST_JSON = 64 << 20, LONGEST_LABEL = 1 << 16 };

typedef struct web_options {
    const char *image_field, *caption_field, *identity_field, *class_field, *class_separator, *split_field;
    const char *encoding;
} web_options;

static const tdm_option web_rows[] = {
    TDM_STRING_OPTION(
        web_options, image_field, "",
        "field of the image where a key has several, such as jpg or left.png; several, in the order of "
        "preference, by commas"),
    TDM_STRING_OPTION(
        web_options, caption_field, "",
        "member or key of the JSON that holds the captions (default: txt, caption, else caption, text, "
        "captions, sentences of the JSON)"),
    TDM_STRING_OPTION(web_options, identity_field, "", "member or key of the JSON that holds the identity"),
    TDM_STRING_OPTION(web_options, class_field, "",
                      "member or key of the JSON that holds the class, or several (default: the member cls)"),
    TDM_STRING_OPTION(web_options, class_separator, "|", "characters between the classes of a text"),
    TDM_STRING_OPTION(web_options, split_field, "", "key of the JSON that holds the split"),
    TEXT_ENCODING_OPTION(web_options),
};

/* ---- Members by key ---- */

/* The members of one key: the n-th member of one name belongs to its n-th sample. */
typedef struct web_sample {
    int64_t first, last; /* members, chained by `next` */
    bool again;
} web_sample;

typedef struct web_tar {
    tar_index tar;
    const web_options *options;
    web_sample *sample; /* [keys.count] in the order of their first members */
    int64_t *next;      /* [tar.count] of members of the sample; -1: the last one */
    tdm_pack_names keys, names;
    int64_t *seen; /* [tar.count] how often each name has been met */
    bool class_found;
} web_tar;

static void web_free(web_tar *w)
{
    tar_close(&w->tar);
    pack_names_free(&w->keys);
    pack_names_free(&w->names);
    tdm_free(w->sample);
    tdm_free(w->next);
    tdm_free(w->seen);
}

/* The key is the path up to the first dot of the file's name; 0 for a file that is no part of a sample:
 * without an ending, or hidden (".DS_Store", "._cat.jpg"). */
static size_t key_length(const char *name)
{
    const char *base = pack_base_name(name);
    const size_t stem = strcspn(base, ".");
    return stem && base[stem] ? (size_t)(base - name) + stem : 0;
}

static tdm_status leave_out(const web_tar *w, const char *kind, const tar_member *member, tdm_pack_list *list)
{
    char where[TDM_PATH_BYTES];
    snprintf(where, sizeof(where), "%.2000s: %.2000s", w->tar.path, member->name);
    return pack_list_leave_out(list, kind, where, NULL);
}

static tdm_status place_member(web_tar *w, int64_t i, tdm_text *key)
{
    const char *name = w->tar.member[i].name;
    int64_t at;
    TDM_TRY(pack_names_index(&w->names, name, strlen(name), &at));
    key->length = 0;
    TDM_TRY(tdm_text_printf(key, "%lld:%.*s", (long long)w->seen[at]++, (int)key_length(name), name));
    const int64_t before = w->keys.count;
    TDM_TRY(pack_names_index(&w->keys, key->data, key->length, &at));
    web_sample *sample = &w->sample[at];
    w->next[i] = -1;
    if (at == before)
        *sample = (web_sample){.first = i, .again = key->data[0] != '0'};
    else
        w->next[sample->last] = i;
    sample->last = i;
    return TDM_OK;
}

static tdm_status group_members(web_tar *w, tdm_pack_list *list)
{
    tdm_text key = {0};
    TDM_TRY(TDM_ALLOC(w->tar.count + 1, &w->sample));
    TDM_TRY(TDM_ALLOC(w->tar.count + 1, &w->next));
    TDM_TRY(TDM_ALLOC(w->tar.count + 1, &w->seen));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; status == TDM_OK && i < w->tar.count; i++) {
        const tar_member *member = &w->tar.member[i];
        if (key_length(member->name))
            status = place_member(w, i, &key);
        else
            status = leave_out(
                w, pack_base_name(member->name)[0] == '.' ? "hidden files" : "members without a key", member,
                list);
    }
    tdm_text_free(&key);
    return status;
}

/* ---- What the members of a sample are ---- */

enum { NONE = -1 };

/* Chosen members of a sample, NONE: there is none. */
typedef struct web_parts {
    int64_t image, text, json, class_member, identity;
    char image_fault[512], text_fault[512]; /* why none was chosen; "": there is none */
    tdm_text json_text;
    json_node root;
    bool wants_json;
    char *json_fault; /* why it cannot be read */
    char split[256];
} web_parts;

static void parts_free(web_parts *parts)
{
    read_json_free(&parts->root);
    tdm_text_free(&parts->json_text);
    free(parts->json_fault);
}

/* What follows the first dot. */
static const char *field_of(const tar_member *member)
{
    return member->name + key_length(member->name) + 1;
}

/* The member whose field is the first `length` characters of `field`, in any case. */
static int64_t find_field(const web_tar *w, const web_sample *sample, const char *field, size_t length)
{
    for (int64_t i = sample->first; i >= 0; i = w->next[i]) {
        const char *own = field_of(&w->tar.member[i]);
        if (strlen(own) == length && !strncasecmp(own, field, length)) return i;
    }
    return NONE;
}

/* The first of the fields "jpg,png". */
static int64_t find_fields(const web_tar *w, const web_sample *sample, const char *fields)
{
    for (const char *at = fields; *at;) {
        const size_t length = strcspn(at, ",;");
        const int64_t found = find_field(w, sample, at, length);
        if (found != NONE) return found;
        at += length + (at[length] != '\0');
    }
    return NONE;
}

/* Judges a member: 0: it is not of the kind; else the more, the better. */
typedef int (*judge)(web_tar *w, const tar_member *member);

/* The best one; of several that are equally good none, and *fault says so. */
static int64_t find_best(web_tar *w, const web_sample *sample, judge of, const char *kind, const char *option,
                         char *fault, size_t fault_bytes)
{
    int64_t found = NONE, rival = NONE;
    int best = 0;
    for (int64_t i = sample->first; i >= 0; i = w->next[i]) {
        const int worth = of(w, &w->tar.member[i]);
        if (worth > best) {
            best = worth;
            found = i;
            rival = NONE;
        } else if (worth && worth == best)
            rival = i;
    }
    if (rival == NONE) return found;
    const tar_member *member = w->tar.member;
    snprintf(fault, fault_bytes, "%.120s: %.120s and %.120s are both its %s: %s %.60s picks one", w->tar.path,
             member[found].name, member[rival].name, kind, option, field_of(&member[found]));
    return NONE;
}

static bool is_plain(const tar_member *member)
{
    return !strchr(field_of(member), '.');
}

/* Plain before composed ("seg.png"), what decodes before what does not. */
static int image_worth(web_tar *w, const tar_member *member)
{
    (void)w;
    const pack_picture picture = pack_picture_of(member->name);
    return picture == PACK_NO_PICTURE ? 0 : (is_plain(member) ? 2 : 0) + (picture == PACK_PICTURE ? 2 : 1);
}

static const tdm_image_type *content_type(web_tar *w, const tar_member *member)
{
    tdm_text head = {0};
    const tdm_image_type *type = NULL;
    if (tar_read_head(&w->tar, member, TDM_IMAGE_TYPE_BYTES, &head) == TDM_OK)
        type = tdm_image_type_of(head.data, head.length);
    tdm_text_free(&head);
    return type;
}

static int content_worth(web_tar *w, const tar_member *member)
{
    const tdm_image_type *type = content_type(w, member);
    return !type ? 0 : (is_plain(member) ? 2 : 0) + (type->decodes ? 2 : 1);
}

/* Where there is no caption, "LICENSE.pdf" is no image. */
static int decoded_worth(web_tar *w, const tar_member *member)
{
    const tdm_image_type *type = content_type(w, member);
    return !type || !type->decodes ? 0 : is_plain(member) ? 2 : 1;
}

static int text_worth(web_tar *w, const tar_member *member)
{
    (void)w;
    static const char *const ending[] = {".txt", ".caption", ".text", ".captions"};
    const char *own = strrchr(member->name, '.');
    for (int i = 0; i < 4; i++)
        if (!strcasecmp(own, ending[i])) return is_plain(member) ? 8 - i : 4 - i;
    return 0;
}

static int json_worth(web_tar *w, const tar_member *member)
{
    (void)w;
    if (strcasecmp(strrchr(member->name, '.'), ".json")) return 0;
    return is_plain(member) ? 2 : 1;
}

static void choose_image(web_tar *w, const web_sample *sample, web_parts *parts)
{
    const char *wanted = w->options->image_field;
    const bool caption = parts->text != NONE || parts->text_fault[0] || parts->json != NONE;
    parts->image = find_fields(w, sample, wanted);
    if (parts->image != NONE || wanted[0]) return;
    parts->image = find_best(w, sample, image_worth, "image", "--image-field", parts->image_fault,
                             sizeof(parts->image_fault));
    if (parts->image != NONE || parts->image_fault[0]) return;
    parts->image = find_best(w, sample, caption ? content_worth : decoded_worth, "image", "--image-field",
                             parts->image_fault, sizeof(parts->image_fault));
}

static int64_t find_option(const web_tar *w, const web_sample *sample, const char *field)
{
    return field[0] ? find_field(w, sample, field, strlen(field)) : NONE;
}

static void choose_parts(web_tar *w, const web_sample *sample, web_parts *parts)
{
    char ignored[512];
    const web_options *o = w->options;
    parts->text = find_option(w, sample, o->caption_field);
    if (!o->caption_field[0])
        parts->text = find_best(w, sample, text_worth, "caption", "--caption-field", parts->text_fault,
                                sizeof(parts->text_fault));
    parts->class_member = find_option(w, sample, o->class_field[0] ? o->class_field : "cls");
    parts->identity = find_option(w, sample, o->identity_field);
    parts->json = find_best(w, sample, json_worth, "JSON", "", ignored, sizeof(ignored));
    choose_image(w, sample, parts);
    parts->wants_json =
        parts->json != NONE && ((parts->text == NONE && !parts->text_fault[0]) || o->split_field[0] ||
                                (o->identity_field[0] && parts->identity == NONE) ||
                                (o->class_field[0] && parts->class_member == NONE));
}

/* "TAR: MEMBER", static per thread. */
static const char *where_is(const web_tar *w, int64_t member)
{
    static _Thread_local char where[TDM_PATH_BYTES];
    snprintf(where, sizeof(where), "%.2000s: %.2000s", w->tar.path, w->tar.member[member].name);
    return where;
}

/* ---- JSON ---- */

static tdm_status parse_json(web_tar *w, web_parts *parts)
{
    TDM_TRY(tar_read(&w->tar, &w->tar.member[parts->json], LONGEST_JSON, &parts->json_text));
    return read_json_text(where_is(w, parts->json), parts->json_text.data, parts->json_text.length,
                          &parts->root);
}

static tdm_status read_json(web_tar *w, web_parts *parts)
{
    if (!parts->wants_json) return TDM_OK;
    const tdm_status status = parse_json(w, parts);
    if (status == TDM_OK) {
        const json_node split = json_node_get(&parts->root, w->options->split_field);
        snprintf(parts->split, sizeof(parts->split), "%s",
                 json_is_string(split.value) ? json_string_value(split.value) : "");
        return TDM_OK;
    }
    if (!pack_is_fault(status)) return status;
    parts->json_fault = strdup(tdm_error_last()->message);
    TDM_REQUIRE(parts->json_fault, TDM_E_NOMEM, "%s: no memory for a message", w->tar.path);
    return TDM_OK;
}

/* The node that holds the captions; value NULL: none does. */
static json_node find_captions(const web_tar *w, const json_node *root)
{
    if (w->options->caption_field[0]) return json_node_get(root, w->options->caption_field);
    return json_is_object(root->value) ? json_captions_member(root) : *root; /* a list, or a text */
}

static bool has_json_captions(const web_tar *w, const web_parts *parts)
{
    return parts->wants_json && parts->text == NONE && !parts->text_fault[0] && !parts->json_fault &&
           find_captions(w, &parts->root).value;
}

/* Is the text or the whole number `node` a label? Into text. */
static tdm_status read_json_label(const json_node *node, tdm_text *text)
{
    const char *string;
    size_t length;
    text->length = 0;
    if (json_is_integer(node->value))
        return tdm_text_printf(text, "%lld", (long long)json_integer_value(node->value));
    TDM_REQUIRE(json_is_string(node->value), TDM_E_DATA, "%s: is neither a text nor a whole number",
                json_node_where(node));
    TDM_TRY(json_node_text(node, &string, &length));
    return tdm_text_append(text, string, length);
}

/* ---- Samples ---- */

static tdm_status add_text(web_tar *w, int64_t member, tdm_pack_item *item)
{
    tdm_text raw = {0};
    text_file text = {0};
    tdm_status status = tar_read(&w->tar, &w->tar.member[member], LONGEST_TEXT, &raw);
    if (status == TDM_OK)
        status = text_open_memory(where_is(w, member), w->options->encoding, raw.data, raw.length, &text);
    if (status == TDM_OK)
        status = pack_item_caption(item, where_is(w, member), text.at, (size_t)(text.end - text.at));
    else
        status = pack_item_caption_fault(item, status);
    text_close(&text);
    tdm_text_free(&raw);
    return status;
}

static tdm_status add_captions(web_tar *w, const web_parts *parts, tdm_pack_item *item)
{
    if (parts->text_fault[0])
        return pack_item_caption_fault(item, TDM_ERROR(TDM_E_DATA, "%s", parts->text_fault));
    if (parts->text != NONE) return add_text(w, parts->text, item);
    if (parts->wants_json && parts->json_fault)
        return pack_item_caption_fault(item, TDM_ERROR(TDM_E_FORMAT, "%s", parts->json_fault));
    if (!has_json_captions(w, parts)) return TDM_OK;
    const json_node node = find_captions(w, &parts->root);
    return json_captions(&node, item);
}

static tdm_status add_label(const web_tar *w, bool identity, const char *text, size_t length,
                            tdm_pack_list *list, tdm_pack_item *item)
{
    return identity ? pack_item_identity(list, item, text, length)
                    : pack_item_classes(list, item, text, length, w->options->class_separator);
}

static tdm_status add_member_label(web_tar *w, bool identity, int64_t member, tdm_pack_list *list,
                                   tdm_pack_item *item)
{
    tdm_text raw = {0};
    text_file text = {0};
    tdm_status status = tar_read(&w->tar, &w->tar.member[member], LONGEST_LABEL, &raw);
    if (status == TDM_OK)
        status = text_open_memory(where_is(w, member), w->options->encoding, raw.data, raw.length, &text);
    if (status == TDM_OK) status = add_label(w, identity, text.at, (size_t)(text.end - text.at), list, item);
    text_close(&text);
    tdm_text_free(&raw);
    return status;
}

static tdm_status add_json_labels(const web_tar *w, bool identity, const json_node *node, tdm_pack_list *list,
                                  tdm_pack_item *item)
{
    tdm_text text = {0};
    tdm_status status = TDM_OK;
    const bool several = json_is_array(node->value) && !identity;
    for (size_t i = 0; status == TDM_OK && i < (several ? json_node_count(node) : 1); i++) {
        const json_node one = several ? json_node_item(node, i) : *node;
        status = read_json_label(&one, &text);
        if (status == TDM_OK) status = add_label(w, identity, text.data, text.length, list, item);
    }
    tdm_text_free(&text);
    return status;
}

/* The identity, or the classes, from the member or the key of the JSON called `field`. */
static tdm_status add_labels(web_tar *w, bool identity, const char *field, int64_t member,
                             const web_parts *parts, tdm_pack_list *list, tdm_pack_item *item)
{
    w->class_found |= member != NONE && !identity;
    if (member != NONE) return add_member_label(w, identity, member, list, item);
    if (!field[0]) return TDM_OK;
    TDM_REQUIRE(!parts->json_fault, TDM_E_FORMAT, "%s", parts->json_fault);
    const json_node node = json_node_get(&parts->root, field);
    TDM_REQUIRE(node.value || !identity, TDM_E_DATA, "%s: %s: has no \"%s\" (--identity-field)", w->tar.path,
                item->name, field);
    w->class_found |= node.value && !identity;
    return node.value ? add_json_labels(w, identity, &node, list, item) : TDM_OK;
}

static tdm_status check_split(const web_tar *w, const web_parts *parts, const tdm_pack_item *item)
{
    const char *field = w->options->split_field;
    TDM_REQUIRE(!field[0] || !parts->json_fault, TDM_E_FORMAT, "%s", parts->json_fault);
    TDM_REQUIRE(!field[0] || parts->split[0], TDM_E_DATA,
                "%s: %s: its JSON has no text \"%s\" (--split-field)", w->tar.path, item->name, field);
    return field[0] ? pack_check_split(item->name, parts->split) : TDM_OK;
}

/* The image's place, or why there is none. */
static tdm_status set_image(const web_tar *w, const web_parts *parts, tdm_pack_item *item)
{
    TDM_REQUIRE(!parts->image_fault[0], TDM_E_DATA, "%s", parts->image_fault);
    if (parts->image == NONE) return TDM_OK;
    const tar_member *member = &w->tar.member[parts->image];
    TDM_REQUIRE(!member->fault, TDM_E_FORMAT, "%s", member->fault);
    pack_item_piece(item, member->offset, member->bytes);
    return TDM_OK;
}

static tdm_status add_sample(web_tar *w, const web_sample *sample, const web_parts *parts,
                             tdm_pack_list *list)
{
    const web_options *o = w->options;
    const bool image = parts->image != NONE || parts->image_fault[0];
    const int64_t named = parts->image != NONE  ? parts->image
                          : image               ? sample->first
                          : parts->text != NONE ? parts->text
                          : parts->json != NONE ? parts->json
                                                : sample->first;
    tdm_pack_item *item;
    TDM_TRY(pack_list_add(list, w->tar.member[named].name, image ? w->tar.path : NULL, parts->split, &item));
    if (sample->again)
        return pack_item_fault(item, TDM_ERROR(TDM_E_DATA, "%s: a second sample of key \"%.*s\"",
                                               where_is(w, named), (int)key_length(w->tar.member[named].name),
                                               w->tar.member[named].name));
    TDM_TRY(pack_item_fault(item, set_image(w, parts, item)));
    TDM_TRY(pack_item_fault(item, check_split(w, parts, item)));
    TDM_TRY(add_captions(w, parts, item));
    TDM_TRY(
        pack_item_fault(item, add_labels(w, true, o->identity_field, parts->identity, parts, list, item)));
    const tdm_status status = add_labels(w, false, o->class_field, parts->class_member, parts, list, item);
    if (!o->class_field[0] && pack_is_fault(status)) /* nobody has said that it is a class */
        return leave_out(w, "members called .cls that are no class", &w->tar.member[parts->class_member],
                         list);
    return pack_item_fault(item, status);
}

static tdm_status leave_out_unused(const web_tar *w, const web_sample *sample, const web_parts *parts,
                                   bool listed, tdm_pack_list *list)
{
    for (int64_t i = sample->first; i >= 0; i = w->next[i]) {
        const bool used = i == parts->image || i == parts->text || (i == parts->json && parts->wants_json) ||
                          i == parts->class_member || i == parts->identity;
        if (used && listed) continue;
        TDM_TRY(leave_out(w, "members that are not used", &w->tar.member[i], list));
    }
    return TDM_OK;
}

static tdm_status list_sample(web_tar *w, const web_sample *sample, tdm_pack_list *list)
{
    web_parts parts = {.root = {0}};
    choose_parts(w, sample, &parts);
    tdm_status status = read_json(w, &parts);
    const bool listed = parts.image != NONE || parts.image_fault[0] || parts.text != NONE ||
                        parts.text_fault[0] || has_json_captions(w, &parts) || parts.json_fault;
    if (status == TDM_OK && listed) status = add_sample(w, sample, &parts, list);
    if (status == TDM_OK && !sample->again) status = leave_out_unused(w, sample, &parts, listed, list);
    parts_free(&parts);
    return status;
}

/* What is wrong with the tar, not with one of its samples. */
static tdm_status note_damage(const tar_index *tar, tdm_pack_list *list)
{
    if (tar->damage) return pack_list_fault(list, tar->path, TDM_ERROR(TDM_E_FORMAT, "%s", tar->damage));
    for (int64_t i = 0; i < tar->foreign; i++)
        TDM_TRY(pack_list_leave_out(list, "devices and the like in tar files", tar->path, NULL));
    if (tar->unended && tar->count)
        return pack_list_leave_out(list, "tar files that end without a mark, and may have been cut there",
                                   tar->path, "has no mark at its end");
    return TDM_OK;
}

static tdm_status webdataset_list(const char *source, const void *options, tdm_pack_list *list)
{
    web_tar w = {.options = options};
    tdm_status status = tar_open(source, &w.tar);
    if (status == TDM_OK) status = group_members(&w, list);
    for (int64_t s = 0; status == TDM_OK && s < w.keys.count; s++)
        status = list_sample(&w, &w.sample[s], list);
    if (status == TDM_OK) status = note_damage(&w.tar, list);
    if (status == TDM_OK && w.options->class_field[0] && w.keys.count && !w.class_found)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: no sample has \"%s\" (--class-field)", source,
                           w.options->class_field);
    web_free(&w);
    return status;
}

const tdm_pack_format pack_format_webdataset = {
    .name = "webdataset",
    .takes_file = true,
    .help = "an uncompressed tar file of KEY.jpg (.png, .webp …) with KEY.txt, or KEY.json with \"caption\"",
    .options = web_rows,
    .option_count = sizeof(web_rows) / sizeof(web_rows[0]),
    .option_bytes = sizeof(web_options),
    .list = webdataset_list,
};
