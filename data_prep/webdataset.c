/* WebDataset: tar files whose members share a key up to the first dot of the file's name: KEY.jpg with
 * KEY.txt, or with KEY.json that holds "caption" or "text". Images are read by their place in the tar, which
 * must not be compressed. A key with an image or a text only is listed too. */
#include "pack_impl.h"
#include "read_json.h"
#include "read_tar.h"

enum { LONGEST_TEXT = 1 << 20 };

typedef struct sample {
    tdm_text key;
    bool has_image, has_text;
    tdm_text name, caption; /* name: of the image's member, else of the text's */
    int64_t offset, bytes;
} sample;

static tdm_status set_text(tdm_text *text, const char *data, size_t length)
{
    text->length = 0;
    return tdm_text_append(text, data, length);
}

static tdm_status finish_sample(const char *tar_path, sample *s, tdm_pack_list *list)
{
    if (s->has_image || s->has_text) {
        tdm_pack_item *item;
        TDM_TRY(pack_list_add(list, s->name.data, s->has_image ? tar_path : NULL, "", &item));
        if (s->has_image) pack_item_piece(item, s->offset, s->bytes);
        if (s->has_text) TDM_TRY(pack_item_caption(item, NULL, s->caption.data, s->caption.length));
    }
    s->has_image = s->has_text = false;
    s->key.length = 0;
    return TDM_OK;
}

static tdm_status take_image(const tar_reader *tar, sample *s)
{
    TDM_REQUIRE(!s->has_image, TDM_E_FORMAT, "%s: %s: a second image of key \"%s\"", tar->path, tar->name,
                s->key.data);
    s->has_image = true;
    s->offset = tar->offset;
    s->bytes = tar->bytes;
    return set_text(&s->name, tar->name, strlen(tar->name));
}

static tdm_status take_caption(const tar_reader *tar, sample *s, const char *caption, size_t length)
{
    s->has_text = true;
    if (!s->has_image) TDM_TRY(set_text(&s->name, tar->name, strlen(tar->name)));
    return set_text(&s->caption, caption, length);
}

static tdm_status take_txt(tar_reader *tar, sample *s)
{
    tdm_text text = {0};
    tdm_status status = tar_read(tar, LONGEST_TEXT, &text);
    if (status == TDM_OK) status = take_caption(tar, s, text.data, text.length);
    tdm_text_free(&text);
    return status;
}

static tdm_status take_json(tar_reader *tar, sample *s)
{
    char where[TDM_PATH_BYTES];
    tdm_text text = {0};
    json_node root = {0};
    snprintf(where, sizeof(where), "%s: %s", tar->path, tar->name);
    tdm_status status = tar_read(tar, LONGEST_TEXT, &text);
    if (status == TDM_OK) status = read_json_text(where, text.data, text.length, &root);
    json_node caption = json_node_get(&root, "caption");
    if (!caption.value) caption = json_node_get(&root, "text");
    if (status == TDM_OK && json_is_string(caption.value))
        status = take_caption(tar, s, json_string_value(caption.value), json_string_length(caption.value));
    read_json_free(&root);
    tdm_text_free(&text);
    return status;
}

static tdm_status take_member(tar_reader *tar, sample *s)
{
    const char *ending = strrchr(tar->name, '.');
    if (pack_is_image(tar->name)) return take_image(tar, s);
    if (!strcmp(ending, ".txt")) return take_txt(tar, s);
    if (!strcmp(ending, ".json") && !s->has_text) return take_json(tar, s);
    return TDM_OK;
}

/* The key is the path up to the first dot of the file's name; 0 for a file that is no part of a sample:
 * without an ending, or hidden (".DS_Store", "._cat.jpg"). */
static size_t key_length(const char *name)
{
    const char *base = pack_base_name(name);
    const size_t stem = strcspn(base, ".");
    return stem && base[stem] ? (size_t)(base - name) + stem : 0;
}

static tdm_status list_members(tar_reader *tar, sample *s, tdm_pack_list *list)
{
    for (;;) {
        bool found;
        TDM_TRY(tar_next(tar, &found));
        if (!found) return finish_sample(tar->path, s, list);
        const size_t length = key_length(tar->name);
        if (!length) continue;
        if (s->key.length != length || memcmp(s->key.data, tar->name, length)) {
            TDM_TRY(finish_sample(tar->path, s, list));
            TDM_TRY(set_text(&s->key, tar->name, length));
        }
        TDM_TRY(take_member(tar, s));
    }
}

static tdm_status webdataset_list(const char *source, const void *options, tdm_pack_list *list)
{
    (void)options;
    tar_reader tar;
    sample s = {0};
    tdm_status status = tar_open(source, &tar);
    if (status == TDM_OK) status = list_members(&tar, &s, list);
    tar_close(&tar);
    tdm_text_free(&s.key);
    tdm_text_free(&s.name);
    tdm_text_free(&s.caption);
    return status;
}

const tdm_pack_format pack_format_webdataset = {
    .name = "webdataset",
    .help =
        "an uncompressed tar file of KEY.jpg (.png, .webp) with KEY.txt, or KEY.json with \"caption\" or \"text\"",
    .list = webdataset_list,
};
