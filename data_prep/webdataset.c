/* WebDataset: tar files whose members share a key up to the first dot of the file's name: KEY.jpg with
 * KEY.txt, or with KEY.json that holds "caption" or "text". Images are read by their place in the tar, which
 * must not be compressed. */
#include "pack_impl.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_TEXT = 1 << 20 };

typedef struct sample {
    tdm_text key;
    bool has_image, has_text;
    tdm_text image_name, caption;
    int64_t offset, bytes;
} sample;

static void sample_clear(sample *s)
{
    s->has_image = s->has_text = false;
    s->key.length = s->image_name.length = s->caption.length = 0;
}

static tdm_status finish_sample(const char *tar, sample *s, tdm_pack_list *list)
{
    if (s->has_image) {
        tdm_pack_item *item;
        TDM_TRY(pack_list_add(list, s->image_name.data, tar, s->offset, s->bytes, "", &item));
        if (s->has_text) TDM_TRY(pack_item_caption(item, s->caption.data, s->caption.length));
    }
    sample_clear(s);
    return TDM_OK;
}

static tdm_status read_member(struct archive *archive, const char *tar, const char *name, int64_t bytes,
                              tdm_text *out)
{
    TDM_REQUIRE(bytes <= LONGEST_TEXT, TDM_E_FORMAT, "%s: %s: %lld bytes are no caption", tar, name,
                (long long)bytes);
    char block[16384];
    la_ssize_t n;
    out->length = 0;
    TDM_TRY(tdm_text_append(out, "", 0));
    while ((n = archive_read_data(archive, block, sizeof(block))) > 0)
        TDM_TRY(tdm_text_append(out, block, (size_t)n));
    TDM_REQUIRE(n == 0, TDM_E_FORMAT, "%s: %s: %s", tar, name, archive_error_string(archive));
    return TDM_OK;
}

static tdm_status caption_from_json(const char *tar, const char *name, const tdm_text *text, sample *s)
{
    json_error_t error;
    json_t *object = json_loadb(text->data, text->length, 0, &error);
    TDM_REQUIRE(object, TDM_E_FORMAT, "%s: %s: line %d: %s", tar, name, error.line, error.text);
    const json_t *caption = json_object_get(object, "caption");
    if (!caption) caption = json_object_get(object, "text");
    tdm_status status = TDM_OK;
    if (json_is_string(caption)) {
        s->caption.length = 0;
        status = tdm_text_append(&s->caption, json_string_value(caption), json_string_length(caption));
        s->has_text = true;
    }
    json_decref(object);
    return status;
}

static tdm_status take_member(struct archive *archive, const char *tar, const char *name, int64_t bytes,
                              sample *s)
{
    const char *ending = strrchr(name, '.');
    if (pack_is_image(name)) {
        TDM_REQUIRE(!s->has_image, TDM_E_FORMAT, "%s: %s: a second image of key \"%s\"", tar, name,
                    s->key.data);
        s->has_image = true;
        s->bytes = bytes;
        s->image_name.length = 0;
        TDM_TRY(tdm_text_append(&s->image_name, name, strlen(name)));
        s->offset =
            archive_filter_bytes(archive, 0); /* all headers of the member are consumed, none of its data */
    } else if (!strcmp(ending, ".txt")) {
        TDM_TRY(read_member(archive, tar, name, bytes, &s->caption));
        s->has_text = true;
    } else if (!strcmp(ending, ".json") && !s->has_text) {
        tdm_text text = {0};
        tdm_status status = read_member(archive, tar, name, bytes, &text);
        if (status == TDM_OK) status = caption_from_json(tar, name, &text, s);
        tdm_text_free(&text);
        return status;
    }
    return TDM_OK;
}

/* The key is the path up to the first dot of the file's name; 0 for a file that is no part of a sample:
 * without an ending, or hidden (".DS_Store", "._cat.jpg"). */
static size_t key_length(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;
    const size_t stem = strcspn(base, ".");
    return stem && base[stem] ? (size_t)(base - name) + stem : 0;
}

static tdm_status not_a_tar(struct archive *archive, const char *tar)
{
    const char *why = archive_error_string(archive);
    TDM_FAIL(TDM_E_FORMAT, "%s: not an uncompressed tar file, or damaged: %s", tar, why ? why : "unreadable");
}

static tdm_status list_members(struct archive *archive, const char *tar, sample *s, tdm_pack_list *list)
{
    struct archive_entry *entry;
    for (;;) {
        const int code = archive_read_next_header(archive, &entry);
        if (code == ARCHIVE_EOF) return finish_sample(tar, s, list);
        if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return not_a_tar(archive, tar);
        const char *name = archive_entry_pathname(entry);
        TDM_REQUIRE(name, TDM_E_FORMAT, "%s: a member's name cannot be read", tar);
        if (archive_entry_filetype(entry) != AE_IFREG) continue;
        const size_t length = key_length(name);
        if (!length) continue;
        if (s->key.length != length || memcmp(s->key.data, name, length)) {
            TDM_TRY(finish_sample(tar, s, list));
            TDM_TRY(tdm_text_append(&s->key, name, length));
        }
        TDM_TRY(take_member(archive, tar, name, archive_entry_size(entry), s));
    }
}

static tdm_status webdataset_list(const char *source, tdm_pack_list *list)
{
    FILE *file = fopen(source, "rb"); /* libarchive does not tell a missing file from a damaged one */
    TDM_REQUIRE(file, TDM_E_IO, "%s: cannot open: %s", source, strerror(errno));
    fclose(file);
    struct archive *archive = archive_read_new();
    TDM_REQUIRE(archive, TDM_E_NOMEM, "%s: no memory to read it", source);
    archive_read_support_format_tar(archive);
    sample s = {0};
    tdm_status status;
    if (archive_read_open_filename(archive, source, 1 << 16) != ARCHIVE_OK)
        status = not_a_tar(archive, source);
    else
        status = list_members(archive, source, &s, list);
    archive_read_free(archive);
    tdm_text_free(&s.key);
    tdm_text_free(&s.image_name);
    tdm_text_free(&s.caption);
    return status;
}

const tdm_pack_format pack_format_webdataset = {
    .name = "webdataset",
    .help =
        "an uncompressed tar file of KEY.jpg (.png, .webp) with KEY.txt, or KEY.json with \"caption\" or \"text\"",
    .list = webdataset_list,
};
