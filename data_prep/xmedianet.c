/* XMediaNet (Peng et al., on request from PKU), images and texts: img_train_list.txt and img_test_list.txt with a line "name
 * label" for each sample, and lists of the texts of the same name with "text" for "img", in the same order. */
#include "cmr_sample.h"
#include "read_list.h"

static const tdm_option rows[] = {CMR_OPTIONS("1")};

static tdm_status add_text(cmr_reader *r, const char *name, tdm_pack_item *item)
{
    char path[TDM_PATH_BYTES];
    text_file file;
    TDM_TRY(cmr_path(r, r->options->text_folder, name, "", path));
    tdm_status status = text_open(path, r->options->encoding, &file);
    const char *text = file.at;
    size_t length = status == TDM_OK ? (size_t)(file.end - file.at) : 0;
    if (status != TDM_OK) {
        status = pack_item_caption_fault(item, status);
    } else {
        pack_trim(&text, &length);
        status = cmr_caption(r, item, path, text, length);
    }
    text_close(&file);
    return status;
}

/* One line of each list. */
static tdm_status add_pair(cmr_reader *r, const char *where, const char *split, char *image, char *text)
{
    char path[TDM_PATH_BYTES];
    tdm_pack_item *item;
    int64_t label = 0, of_text = 0;
    tdm_status status = cmr_split_label(where, " \t", image, &label);
    if (status == TDM_OK) status = cmr_split_label(where, " \t", text, &of_text);
    if (status == TDM_OK && label != of_text)
        status = TDM_ERROR(TDM_E_DATA, "%s: image %s is of class %lld, its text %s of %lld", where, image,
                           (long long)label, text, (long long)of_text);
    if (status != TDM_OK) return pack_list_fault(r->list, where, status);
    TDM_TRY(cmr_path(r, r->options->image_folder, image, "", path));
    TDM_TRY(cmr_add(r, image, path, split, &item));
    TDM_TRY(cmr_class(r, item, where, label));
    return add_text(r, text, item);
}

static tdm_status list_split(cmr_reader *r, const char *split)
{
    list_reader image, text = {0};
    char name[64], images[TDM_PATH_BYTES], texts[TDM_PATH_BYTES], where[TDM_PATH_BYTES + 64], line[2][1024];
    snprintf(name, sizeof name, "img_%s_list", split);
    TDM_TRY(cmr_path(r, "", name, ".txt", images));
    snprintf(name, sizeof name, "text_%s_list", split);
    TDM_TRY(cmr_path(r, "", name, ".txt", texts));
    tdm_status status = list_open(images, r->options->encoding, &image);
    if (status == TDM_OK) status = list_open(texts, r->options->encoding, &text);
    while (status == TDM_OK) {
        const bool has_image = list_next(&image), has_text = list_next(&text);
        if (has_image != has_text)
            status = TDM_ERROR(TDM_E_FORMAT, "%s and %s have not as many lines", images, texts);
        if (!has_image || status != TDM_OK) break;
        snprintf(where, sizeof where, "%s: line %lld", images, (long long)image.line);
        snprintf(line[0], sizeof line[0], "%.*s", (int)tdm_min_i64((int64_t)image.length, 1000), image.entry);
        snprintf(line[1], sizeof line[1], "%.*s", (int)tdm_min_i64((int64_t)text.length, 1000), text.entry);
        status = add_pair(r, where, split, line[0], line[1]);
    }
    list_close(&image);
    if (text.path) list_close(&text);
    return status;
}

static tdm_status list_source(const char *source, const void *options, tdm_pack_list *list)
{
    cmr_reader r;
    tdm_status status = cmr_open(source, options, NULL, 0, list, &r);
    if (status == TDM_OK) status = list_split(&r, "train");
    if (status == TDM_OK) status = list_split(&r, "test");
    cmr_close(&r);
    return status;
}

const tdm_pack_format pack_format_xmedianet = {
    .name = "xmedianet",
    .takes_folder = true,
    .help =
        "XMediaNet: a folder with img_train_list.txt, text_train_list.txt and the same of test (\"name label\"), and the files",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .option_bytes = sizeof(cmr_options),
    .list = list_source,
};
