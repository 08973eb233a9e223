/* A Karpathy split file, as made for Flickr30k and COCO (Karpathy and Fei-Fei, CVPR 2015):
 * {"images": [{"filepath": folder, "filename": name, "split": "train|restval|val|test", "sentences": [{"raw":
 * …}]}]}. SOURCE is the JSON file, or JSON:IMAGE_ROOT; without a root images are looked for in `images`
 * beside the file, else in its folder. */
#include "pack_impl.h"
#include "read_json.h"

#include <string.h>

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

static tdm_status add_image(const char *root, const json_node *image, tdm_pack_list *list)
{
    const char *filename, *split;
    const json_node folder = json_node_get(image, "filepath"), sentences = json_node_get(image, "sentences");
    TDM_TRY(json_node_string(image, "filename", &filename));
    TDM_TRY(json_node_string(image, "split", &split));
    TDM_REQUIRE(filename[0], TDM_E_FORMAT, "%s: \"filename\" is empty", json_node_where(image));
    TDM_REQUIRE(split[0], TDM_E_FORMAT, "%s: \"split\" is empty", json_node_where(image));
    TDM_REQUIRE(!sentences.value || json_is_array(sentences.value), TDM_E_FORMAT,
                "%s: \"sentences\" is not an array", json_node_where(image));

    char name[TDM_PATH_BYTES], path[TDM_PATH_BYTES];
    tdm_pack_item *item;
    if (json_string_length(folder.value))
        TDM_TRY(tdm_path_join(name, sizeof(name), json_string_value(folder.value), filename));
    else
        TDM_REQUIRE(snprintf(name, sizeof(name), "%s", filename) < TDM_PATH_BYTES, TDM_E_IO,
                    "%s: path is too long", filename);
    TDM_TRY(tdm_path_join(path, sizeof(path), root, name));
    TDM_TRY(pack_list_add(list, name, path, split, &item));
    for (size_t k = 0; k < json_node_count(&sentences); k++) {
        const json_node sentence = json_node_item(&sentences, k);
        const char *raw;
        TDM_TRY(json_node_string(&sentence, "raw", &raw));
        TDM_TRY(pack_item_caption(item, json_node_where(&sentence), raw, strlen(raw)));
    }
    return TDM_OK;
}

static tdm_status karpathy_list(const char *source, const void *options, tdm_pack_list *list)
{
    (void)options;
    char json_path[TDM_PATH_BYTES], root[TDM_PATH_BYTES];
    json_node document, images;
    TDM_TRY(split_source(source, json_path, root));
    tdm_status status = read_json_file(json_path, "utf-8", &document);
    if (status == TDM_OK) status = json_node_array(&document, "images", &images);
    for (size_t i = 0; status == TDM_OK && i < json_node_count(&images); i++) {
        const json_node image = json_node_item(&images, i);
        status = add_image(root, &image, list);
    }
    read_json_free(&document);
    return status;
}

const tdm_pack_format pack_format_karpathy = {
    .name = "karpathy",
    .help = "a Karpathy split file (Flickr30k, COCO), FILE.json or FILE.json:IMAGE_ROOT",
    .list = karpathy_list,
};
