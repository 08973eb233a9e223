/* A Karpathy split file, as made for Flickr30k and COCO (Karpathy and Fei-Fei, CVPR 2015):
 * {"images": [{"filepath": folder, "filename": name, "split": "train|restval|val|test", "sentences": [{"raw":
 * …}]}]}; the sentences may be plain strings, too. SOURCE is the JSON file, or JSON:IMAGE_ROOT; without a root
 * images are looked for in `images` beside the file, else in its folder. */
#include "json_captions.h"
#include "read_text.h"

#include <stddef.h>
#include <string.h>

typedef struct karpathy_options {
    const char *encoding;
} karpathy_options;

static const tdm_option karpathy_rows[] = {
    TEXT_ENCODING_OPTION(karpathy_options),
};

static tdm_status split_source(const char *source, char json_path[TDM_PATH_BYTES], char root[TDM_PATH_BYTES])
{
    const char *colon = strstr(source, ".json:");
    const int length = colon ? (int)(colon - source) + 5 : (int)strlen(source);
    TDM_REQUIRE(snprintf(json_path, TDM_PATH_BYTES, "%.*s", length, source) < TDM_PATH_BYTES, TDM_E_IO,
                "%s: path is too long", source);
    if (colon) {
        TDM_REQUIRE(snprintf(root, TDM_PATH_BYTES, "%s", colon + 6) < TDM_PATH_BYTES, TDM_E_IO,
                    "%s: path is too long", source);
        return TDM_OK;
    }
    char folder[TDM_PATH_BYTES];
    TDM_TRY(pack_folder_of(json_path, folder, sizeof(folder)));
    TDM_TRY(tdm_path_join(root, TDM_PATH_BYTES, folder, "images"));
    if (!tdm_path_is_dir(root)) snprintf(root, TDM_PATH_BYTES, "%s", folder);
    return TDM_OK;
}

/* ---- Other files that are taken for one ---- */

/* ", which --format NAME reads", where the table has that format. */
static const char *format_that_reads(const char *name, char text[128])
{
    size_t count;
    const tdm_pack_format *const *formats = tdm_pack_formats(&count);
    snprintf(text, 128,
             ", which no format reads yet: --format csv with --identity-column and --split-column can");
    for (size_t i = 0; i < count; i++)
        if (!strcmp(formats[i]->name, name)) snprintf(text, 128, ", which --format %s reads", name);
    return text;
}

/* A list of {"file_path" or "img_path", "captions", "id", "split"}. */
static bool is_person_search(const json_node *document)
{
    const json_node first = json_node_item(document, 0);
    return json_node_get(&first, "captions").value &&
           (json_node_get(&first, "file_path").value || json_node_get(&first, "img_path").value);
}

static tdm_status find_images(const json_node *document, json_node *images)
{
    char reads[128];
    TDM_REQUIRE(!is_person_search(document), TDM_E_FORMAT,
                "%s: looks like the list of CUHK-PEDES, ICFG-PEDES or RSTPReid (reid_raw.json)%s",
                json_node_where(document), format_that_reads("cuhk_pedes", reads));
    TDM_REQUIRE(json_is_object(document->value), TDM_E_FORMAT,
                "%s: is no Karpathy split file, which is an object with \"images\"",
                json_node_where(document));
    *images = json_node_get(document, "images");
    const json_node first = json_node_item(images, 0);
    TDM_REQUIRE(
        !json_node_get(document, "annotations").value || json_node_get(&first, "sentences").value,
        TDM_E_FORMAT,
        "%s: looks like an annotation file of COCO (\"annotations\"), not like the split file made of it, "
        "dataset_coco.json, whose images hold their \"sentences\"",
        json_node_where(document));
    return json_node_array(document, "images", images);
}

/* ---- Images ---- */

static tdm_status image_name(const json_node *image, char name[TDM_PATH_BYTES])
{
    const char *filename, *folder = "";
    TDM_TRY(json_node_string(image, "filename", &filename));
    TDM_REQUIRE(filename[0], TDM_E_FORMAT, "%s: \"filename\" is empty", json_node_where(image));
    if (json_node_get(image, "filepath").value) TDM_TRY(json_node_string(image, "filepath", &folder));
    if (folder[0]) return tdm_path_join(name, TDM_PATH_BYTES, folder, filename);
    TDM_REQUIRE(snprintf(name, TDM_PATH_BYTES, "%s", filename) < TDM_PATH_BYTES, TDM_E_IO,
                "%s: path is too long", filename);
    return TDM_OK;
}

/* What an image needs to become an item. */
static tdm_status image_place(const char *root, const json_node *image, char name[TDM_PATH_BYTES],
                              char path[TDM_PATH_BYTES], const char **split)
{
    TDM_TRY(image_name(image, name));
    TDM_TRY(json_node_string(image, "split", split));
    TDM_TRY(pack_check_split(json_node_where(image), *split));
    return tdm_path_join(path, TDM_PATH_BYTES, root, name);
}

static tdm_status add_image(const char *root, const json_node *image, tdm_pack_list *list)
{
    char name[TDM_PATH_BYTES], path[TDM_PATH_BYTES], where[TDM_PATH_BYTES + 512];
    const char *split;
    const tdm_status status = image_place(root, image, name, path, &split);
    snprintf(where, sizeof(where), "%s", json_node_where(image));
    if (status != TDM_OK) return pack_list_fault(list, where, status);
    tdm_pack_item *item;
    TDM_TRY(pack_list_add(list, name, path, split, &item));
    const json_node captions = json_captions_member(image);
    return json_captions(&captions, item);
}

static tdm_status karpathy_list(const char *source, const void *options, tdm_pack_list *list)
{
    const karpathy_options *o = options;
    char json_path[TDM_PATH_BYTES], root[TDM_PATH_BYTES];
    json_node document, images;
    TDM_TRY(split_source(source, json_path, root));
    tdm_status status = read_json_file(json_path, o->encoding, &document);
    if (status == TDM_OK) status = find_images(&document, &images);
    for (size_t i = 0; status == TDM_OK && i < json_node_count(&images); i++) {
        const json_node image = json_node_item(&images, i);
        status = add_image(root, &image, list);
    }
    read_json_free(&document);
    return status;
}

const tdm_pack_format pack_format_karpathy = {
    .name = "karpathy",
    .takes_file = true,
    .help = "a Karpathy split file (Flickr30k, COCO), FILE.json or FILE.json:IMAGE_ROOT",
    .options = karpathy_rows,
    .option_count = sizeof(karpathy_rows) / sizeof(karpathy_rows[0]),
    .option_bytes = sizeof(karpathy_options),
    .list = karpathy_list,
};
