/* NUS-WIDE (Chua et al., CIVR 2009), as it is given out: ImageList/Imagelist.txt names an image a line ("actor\0001_1.jpg",
 * below Flickr/). Line by line with it go Groundtruth/AllLabels/Labels_CLASS.txt (0 or 1) and NUS_WID_Tags/All_Tags.txt
 * (the image's number and its tags). ImageList/TrainImagelist.txt and TestImagelist.txt name the images of the splits. The
 * classes are those of --class-list, since papers take 10, 21, 24 or all 81 of them. The labels of the splits in
 * Groundtruth/TrainTestLabels are not read: they are the same, but for a damaged line. */
#include "cmr_sample.h"
#include "read_list.h"

#include <stdlib.h>

enum { LABELS_SINGLE, LABELS_SEVERAL };
static const char *const split_name[] = {"train", "test"};
static const char *const split_list[] = {"TrainImagelist.txt", "TestImagelist.txt"};
enum { SPLITS = 2, NO_SPLIT = SPLITS };

typedef struct nus_options {
    cmr_options cmr; /* first */
    int labels;
    const char *tag_list;
} nus_options;

static const tdm_option rows[] = {
    TEXT_ENCODING_OPTION(cmr_options),
    CAPTION_CLEAN_OPTIONS_OF(cmr_options, "50"),
    TDM_STRING_OPTION(cmr_options, class_list, "",
                      "File with the names of the classes, one a line; unset: all 81 of Concepts81.txt."),
    TDM_STRING_OPTION(cmr_options, image_folder, "Flickr", "Of the images, below SOURCE."),
    TDM_CHOICE_OPTION(nus_options, labels, "single", "single|several",
                      "Images with exactly one of the classes, or with one or more."),
    TDM_STRING_OPTION(nus_options, tag_list, "",
                      "File with the tags that count, one a line (TagList1k.txt); unset: all tags."),
};

typedef struct nus_reader {
    const nus_options *options;
    cmr_reader *cmr;
    tdm_pack_names images; /* of Imagelist.txt, with / for \ */
    int64_t lines;
    int64_t *image;  /* [lines] of its names; -1: it has been on a line before */
    uint8_t *split;  /* [images] */
    uint8_t *labels; /* [lines][classes] */
    tdm_pack_names tags;
    tdm_text text;
} nus_reader;

/* A file of the set, which has come with a folder of its own or without; names differ in their case. */
static tdm_status find_file(const nus_reader *r, const char *const *names, char path[TDM_PATH_BYTES])
{
    for (size_t i = 0; names[i]; i++) {
        TDM_TRY(cmr_path(r->cmr, "", names[i], "", path));
        if (tdm_path_exists(path)) return TDM_OK;
    }
    TDM_FAIL(TDM_E_IO, "%s: has no %s", r->cmr->root, names[0]);
}

/* The name on a line, with slashes. */
static tdm_status slashed(nus_reader *r, const list_reader *list)
{
    r->text.length = 0;
    TDM_TRY(tdm_text_append(&r->text, list->entry, list->length));
    for (size_t i = 0; i < r->text.length; i++)
        if (r->text.data[i] == '\\') r->text.data[i] = '/';
    return TDM_OK;
}

/* ---- Images and splits ---- */

static tdm_status add_image(nus_reader *r, const list_reader *list)
{
    char where[TDM_PATH_BYTES + 32];
    const int64_t known = r->images.count;
    int64_t index;
    if (r->lines % 4096 == 0) {
        int64_t *grown = realloc(r->image, sizeof *grown * (size_t)(r->lines + 4096));
        TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for its lines", list->path);
        r->image = grown;
    }
    TDM_TRY(slashed(r, list));
    TDM_TRY(pack_names_index(&r->images, r->text.data, r->text.length, &index));
    r->image[r->lines++] = index == known ? index : -1;
    if (index == known) return TDM_OK;
    snprintf(where, sizeof where, "%s: line %lld", list->path, (long long)list->line);
    return pack_list_fault(r->cmr->list, where,
                           TDM_ERROR(TDM_E_DATA, "%s: %s is on a line before", where, r->text.data));
}

static tdm_status read_images(nus_reader *r)
{
    static const char *const names[] = {"ImageList/Imagelist.txt", "ImageList/ImageList.txt", NULL};
    char path[TDM_PATH_BYTES];
    list_reader list;
    TDM_TRY(find_file(r, names, path));
    tdm_status status = list_open(path, r->options->cmr.encoding, &list);
    while (status == TDM_OK && list_next(&list)) status = add_image(r, &list);
    list_close(&list);
    TDM_TRY(status);
    TDM_REQUIRE(r->lines > 0, TDM_E_FORMAT, "%s: names no image", path);
    return TDM_OK;
}

static tdm_status add_to_split(nus_reader *r, const list_reader *list, int split)
{
    char where[TDM_PATH_BYTES + 32];
    int64_t index;
    TDM_TRY(slashed(r, list));
    snprintf(where, sizeof where, "%s: line %lld", list->path, (long long)list->line);
    if (!pack_names_find(&r->images, r->text.data, r->text.length, &index))
        return pack_list_fault(r->cmr->list, where,
                               TDM_ERROR(TDM_E_DATA, "%s: Imagelist.txt has no %s", where, r->text.data));
    if (r->split[index] != NO_SPLIT && r->split[index] != split)
        return pack_list_fault(r->cmr->list, where,
                               TDM_ERROR(TDM_E_DATA, "%s: %s is of split %s already", where, r->text.data,
                                         split_name[r->split[index]]));
    r->split[index] = (uint8_t)split;
    return TDM_OK;
}

static tdm_status read_splits(nus_reader *r)
{
    TDM_TRY(TDM_ALLOC(r->images.count, &r->split));
    memset(r->split, NO_SPLIT, (size_t)r->images.count);
    for (int s = 0; s < SPLITS; s++) {
        char path[TDM_PATH_BYTES];
        list_reader list;
        TDM_TRY(cmr_path(r->cmr, "ImageList", split_list[s], "", path));
        tdm_status status = list_open(path, r->options->cmr.encoding, &list);
        while (status == TDM_OK && list_next(&list)) status = add_to_split(r, &list, s);
        list_close(&list);
        TDM_TRY(status);
    }
    return TDM_OK;
}

/* ---- Labels and tags ---- */

static tdm_status read_labels(nus_reader *r, int64_t class)
{
    char name[NAME_BYTES + 16], path[TDM_PATH_BYTES];
    list_reader list;
    int64_t n = 0;
    snprintf(name, sizeof name, "Labels_%s", r->cmr->names[class]);
    TDM_TRY(cmr_path(r->cmr, "Groundtruth/AllLabels", name, ".txt", path));
    tdm_status status = list_open(path, r->options->cmr.encoding, &list);
    for (; status == TDM_OK && list_next(&list); n++) {
        const char bit = list.entry[0];
        if (list.length != 1 || (bit != '0' && bit != '1'))
            status = TDM_ERROR(TDM_E_FORMAT, "%s: line %lld is neither 0 nor 1", path, (long long)list.line);
        else if (n < r->lines)
            r->labels[n * r->cmr->classes + class] = bit == '1';
    }
    list_close(&list);
    TDM_TRY(status);
    TDM_REQUIRE(n == r->lines, TDM_E_FORMAT, "%s: has %lld lines, Imagelist.txt has %lld", path, (long long)n,
                (long long)r->lines);
    return TDM_OK;
}

static tdm_status read_tag_list(nus_reader *r)
{
    list_reader list;
    int64_t index;
    if (!r->options->tag_list[0]) return TDM_OK;
    tdm_status status = list_open(r->options->tag_list, r->options->cmr.encoding, &list);
    while (status == TDM_OK && list_next(&list))
        status = pack_names_index(&r->tags, list.entry, list.length, &index);
    list_close(&list);
    TDM_TRY(status);
    TDM_REQUIRE(r->tags.count > 0, TDM_E_FORMAT, "%s: names no tag", r->options->tag_list);
    return TDM_OK;
}

/* The next word of a line; false behind the last. */
static bool next_word(const char **at, const char *end, const char **word, size_t *length)
{
    while (*at < end && strchr(" \t\r", **at)) ++*at;
    *word = *at;
    while (*at < end && !strchr(" \t\r", **at)) ++*at;
    *length = (size_t)(*at - *word);
    return *length > 0;
}

/* "actor/0001_2124494179.jpg" has the tags of "2124494179". */
static bool is_of_image(const char *name, const char *number, size_t length)
{
    const char *at = strrchr(name, '_');
    return at && !strncmp(at + 1, number, length) && at[1 + length] == '.';
}

static tdm_status add_tags(nus_reader *r, tdm_pack_item *item, const char *where, const list_reader *list)
{
    const char *at = list->entry, *end = at + list->length, *word;
    size_t length;
    int64_t index;
    if (!next_word(&at, end, &word, &length) || !is_of_image(item->name, word, length))
        return pack_item_caption_fault(item,
                                       TDM_ERROR(TDM_E_DATA, "%s: \"%.*s\" is not the number of %s", where,
                                                 (int)tdm_min_i64((int64_t)length, 80), word, item->name));
    r->text.length = 0;
    TDM_TRY(tdm_text_append(&r->text, "", 0));
    while (next_word(&at, end, &word, &length)) {
        if (r->tags.count && !pack_names_find(&r->tags, word, length, &index)) continue;
        if (r->text.length) TDM_TRY(tdm_text_append(&r->text, " ", 1));
        TDM_TRY(tdm_text_append(&r->text, word, length));
    }
    return cmr_caption(r->cmr, item, where, r->text.data, r->text.length);
}

/* ---- Samples ---- */

/* Why the image of a line is no sample; NULL: it is one. */
static const char *why_not(const nus_reader *r, int64_t line)
{
    int64_t n = 0;
    for (int64_t c = 0; c < r->cmr->classes; c++) n += r->labels[line * r->cmr->classes + c];
    if (n == 0) return "images with none of the classes";
    if (n > 1 && r->options->labels == LABELS_SINGLE) return "images with several of the classes";
    return r->split[r->image[line]] == NO_SPLIT ? "images that are neither of train nor of test" : NULL;
}

static tdm_status add_sample(nus_reader *r, int64_t line, const list_reader *tags)
{
    char path[TDM_PATH_BYTES], where[TDM_PATH_BYTES + 32];
    tdm_pack_item *item;
    if (r->image[line] < 0) return TDM_OK; /* a fault already */
    const char *name = r->images.name[r->image[line]], *why = why_not(r, line);
    if (why) return pack_list_leave_out(r->cmr->list, why, name, NULL);
    TDM_TRY(cmr_path(r->cmr, r->options->cmr.image_folder, name, "", path));
    TDM_TRY(cmr_add(r->cmr, name, path, split_name[r->split[r->image[line]]], &item));
    for (int64_t c = 0; c < r->cmr->classes; c++)
        if (r->labels[line * r->cmr->classes + c]) TDM_TRY(pack_item_class_index(item, c));
    snprintf(where, sizeof where, "%s: line %lld", tags->path, (long long)tags->line);
    return add_tags(r, item, where, tags);
}

static tdm_status add_samples(nus_reader *r)
{
    static const char *const names[] = {"NUS_WID_Tags/All_Tags.txt", "All_Tags.txt", NULL};
    char path[TDM_PATH_BYTES];
    list_reader tags;
    int64_t line = 0;
    TDM_TRY(find_file(r, names, path));
    tdm_status status = list_open(path, r->options->cmr.encoding, &tags);
    for (; status == TDM_OK && list_next(&tags); line++)
        if (line < r->lines) status = add_sample(r, line, &tags);
    list_close(&tags);
    TDM_TRY(status);
    TDM_REQUIRE(line == r->lines, TDM_E_FORMAT, "%s: has %lld lines, Imagelist.txt has %lld", path,
                (long long)line, (long long)r->lines);
    return TDM_OK;
}

static tdm_status read_all(nus_reader *r)
{
    TDM_TRY(read_tag_list(r));
    TDM_TRY(read_images(r));
    TDM_TRY(read_splits(r));
    TDM_TRY(TDM_ALLOC(r->lines * r->cmr->classes, &r->labels));
    for (int64_t c = 0; c < r->cmr->classes; c++) TDM_TRY(read_labels(r, c));
    return add_samples(r);
}

static tdm_status list_source(const char *source, const void *options, tdm_pack_list *list)
{
    static const char *const concepts[] = {"ConceptsList/Concepts81.txt", "Concepts81.txt", NULL};
    char path[TDM_PATH_BYTES];
    cmr_reader cmr = {.root = source};
    nus_options with = *(const nus_options *)options;
    nus_reader r = {.options = &with, .cmr = &cmr};
    if (!with.cmr.class_list[0]) {
        TDM_TRY(find_file(&r, concepts, path));
        with.cmr.class_list = path;
    }
    tdm_status status = cmr_open(source, &with.cmr, NULL, 0, list, &cmr);
    if (status == TDM_OK) status = read_all(&r);
    cmr_close(&cmr);
    pack_names_free(&r.images);
    pack_names_free(&r.tags);
    free(r.image);
    tdm_free(r.split);
    tdm_free(r.labels);
    tdm_text_free(&r.text);
    return status;
}

const tdm_pack_format pack_format_nus_wide = {
    .name = "nus_wide",
    .takes_folder = true,
    .help =
        "NUS-WIDE: a folder with ImageList/, Groundtruth/AllLabels/, NUS_WID_Tags/All_Tags.txt and the images in Flickr/",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .option_bytes = sizeof(nus_options),
    .list = list_source,
};
