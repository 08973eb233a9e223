/* The layout that CLIP4CMR's load_original_data reads, whatever the set: split/train.txt, split/valid.txt and
 * split/test.txt with a line "id:label" for each sample, text/ID.json (one JSON string), wiki_image/ID.jpg. */
#include "cmr_sample.h"
#include "read_json.h"

static const tdm_option rows[] = {CMR_OPTIONS("0")};

static tdm_status add_text(cmr_reader *r, const char *id, tdm_pack_item *item)
{
    char path[TDM_PATH_BYTES];
    json_node root;
    const char *text;
    size_t length;
    TDM_TRY(cmr_path(r, r->options->text_folder[0] ? r->options->text_folder : "text", id, ".json", path));
    tdm_status status = read_json_file(path, r->options->encoding, &root);
    if (status == TDM_OK) status = json_node_text(&root, &text, &length);
    if (status != TDM_OK)
        status = pack_item_caption_fault(item, status);
    else
        status = cmr_caption(r, item, path, text, length);
    read_json_free(&root);
    return status;
}

static tdm_status add_line(cmr_reader *r, const char *where, const char *split, char *line)
{
    char path[TDM_PATH_BYTES];
    tdm_pack_item *item;
    int64_t label;
    const tdm_status status = cmr_split_label(where, ":", line, &label);
    if (status != TDM_OK) return pack_list_fault(r->list, where, status);
    TDM_TRY(cmr_path(r, r->options->image_folder[0] ? r->options->image_folder : "wiki_image", line, ".jpg",
                     path));
    TDM_TRY(cmr_add(r, line, path, split, &item));
    TDM_TRY(cmr_class(r, item, where, label));
    return add_text(r, line, item);
}

static tdm_status list_split(cmr_reader *r, const char *file, const char *split)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(cmr_path(r, "split", file, ".txt", path));
    if (!tdm_path_exists(path) && strcmp(split, "train")) return TDM_OK;
    return cmr_each_line(r, path, split, add_line);
}

static tdm_status list_source(const char *source, const void *options, tdm_pack_list *list)
{
    cmr_reader r;
    tdm_status status = cmr_open(source, options, NULL, 0, list, &r);
    if (status == TDM_OK) status = list_split(&r, "train", "train");
    if (status == TDM_OK) status = list_split(&r, "valid", "val");
    if (status == TDM_OK) status = list_split(&r, "test", "test");
    cmr_close(&r);
    return status;
}

const tdm_pack_format pack_format_cmr_split = {
    .name = "cmr_split",
    .takes_folder = true,
    .help =
        "CLIP4CMR's layout: a folder with split/train.txt … (\"id:label\"), text/ID.json and wiki_image/ID.jpg",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .option_bytes = sizeof(cmr_options),
    .list = list_source,
};
