/* Wikipedia's featured articles (Rasiwasia et al., 2010; svcl.ucsd.edu/projects/crossmodal): trainset_txt_img_cat.list and
 * testset_txt_img_cat.list with "text TAB image TAB category", texts/TEXT.xml, images/CATEGORY/IMAGE.jpg. */
#include "cmr_sample.h"

static const tdm_option rows[] = {CMR_OPTIONS("1")};

/* In the order of the categories' numbers. */
static const char *const classes[] = {"art",   "biology", "geography", "history", "literature",
                                      "media", "music",   "royalty",   "sport",   "warfare"};
enum { CLASSES = sizeof classes / sizeof classes[0] };

/* Appends what stands between tags, entities resolved; `length` of `xml`. */
static tdm_status append_plain(const char *xml, size_t length, tdm_text *out)
{
    static const char *const entity[][2] = {
        {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}};
    const char *end = xml + length;
    for (const char *at = xml; at < end;) {
        const char *close = *at == '<' ? memchr(at, '>', (size_t)(end - at)) : NULL;
        size_t used = 1, e = 0;
        const size_t kinds = sizeof entity / sizeof entity[0];
        if (close) {
            at = close + 1;
            continue;
        }
        while (e < kinds &&
               ((size_t)(end - at) < strlen(entity[e][0]) || memcmp(at, entity[e][0], strlen(entity[e][0]))))
            e++;
        if (*at == '&' && e < kinds) used = strlen(entity[e][0]);
        TDM_TRY(tdm_text_append(out, *at == '&' && e < kinds ? entity[e][1] : at, 1));
        at += used;
    }
    return TDM_OK;
}

/* The element <text>, or all where there is none. Line feeds become blanks: cleaning counts words between those. */
static tdm_status add_text(cmr_reader *r, const char *id, tdm_pack_item *item)
{
    char path[TDM_PATH_BYTES];
    text_file file;
    TDM_TRY(cmr_path(r, r->options->text_folder[0] ? r->options->text_folder : "texts", id, ".xml", path));
    tdm_status status = text_open(path, r->options->encoding, &file);
    if (status != TDM_OK) {
        text_close(&file);
        return pack_item_caption_fault(item, status);
    }
    const char *begin = memmem(file.at, (size_t)(file.end - file.at), "<text>", 6), *end = file.end;
    if (begin) {
        begin += 6;
        const char *close = memmem(begin, (size_t)(file.end - begin), "</text>", 7);
        if (close) end = close;
    }
    if (!begin) begin = file.at;
    r->text.length = 0;
    status = append_plain(begin, (size_t)(end - begin), &r->text);
    for (size_t i = 0; i < r->text.length; i++)
        if (strchr("\n\r\t", r->text.data[i]) && r->text.data[i]) r->text.data[i] = ' ';
    const char *text = r->text.length ? r->text.data : "";
    size_t length = r->text.length;
    pack_trim(&text, &length);
    if (status == TDM_OK) status = cmr_caption(r, item, path, text, length);
    text_close(&file);
    return status;
}

static tdm_status add_line(cmr_reader *r, const char *where, const char *split, char *line)
{
    char path[TDM_PATH_BYTES], folder[TDM_PATH_BYTES];
    tdm_pack_item *item;
    int64_t label = 0;
    tdm_status status = cmr_split_label(where, "\t ", line, &label);
    char *image = line + strcspn(line, "\t ");
    if (status == TDM_OK && !*image)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: is not text, image and category", where);
    if (status != TDM_OK) return pack_list_fault(r->list, where, status);
    *image++ = '\0';
    image += strspn(image, "\t ");
    const int64_t class = label - r->options->label_base;
    const bool known = class >= 0 && class < r->classes;
    snprintf(folder, sizeof folder, "%.1000s/%.1000s",
             r->options->image_folder[0] ? r->options->image_folder : "images", known ? r->names[class] : "");
    TDM_TRY(cmr_path(r, folder, image, ".jpg", path));
    TDM_TRY(cmr_add(r, image, path, split, &item));
    TDM_TRY(cmr_class(r, item, where, label));
    return add_text(r, line, item);
}

static tdm_status list_split(cmr_reader *r, const char *split)
{
    char name[64], path[TDM_PATH_BYTES];
    snprintf(name, sizeof name, "%sset_txt_img_cat", split);
    TDM_TRY(cmr_path(r, "", name, ".list", path));
    return cmr_each_line(r, path, split, add_line);
}

static tdm_status list_source(const char *source, const void *options, tdm_pack_list *list)
{
    cmr_reader r;
    tdm_status status = cmr_open(source, options, classes, CLASSES, list, &r);
    if (status == TDM_OK) status = list_split(&r, "train");
    if (status == TDM_OK) status = list_split(&r, "test");
    cmr_close(&r);
    return status;
}

const tdm_pack_format pack_format_wikipedia = {
    .name = "wikipedia",
    .takes_folder = true,
    .help =
        "Wikipedia's featured articles: a folder with trainset_txt_img_cat.list, testset_txt_img_cat.list, texts/ and images/",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .option_bytes = sizeof(cmr_options),
    .list = list_source,
};
