/* A Karpathy split file, as made for Flickr30k and COCO (Karpathy and Fei-Fei, CVPR 2015):
 * {"images": [{"filepath": folder, "filename": name, "split": "train|restval|val|test", "sentences": [{"raw":
 * …}]}]}. SOURCE is the JSON file, or JSON:IMAGE_ROOT; without a root images are looked for in `images`
 * beside the file, else in its folder. */
#include "pack_impl.h"

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

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static tdm_status add_image(const char *json_path, const char *root, size_t index, const json_t *image,
                            tdm_pack_list *list)
{
    const char *filename = text_of(image, "filename"), *filepath = text_of(image, "filepath");
    TDM_REQUIRE(filename[0], TDM_E_FORMAT, "%s: images[%zu] has no \"filename\"", json_path, index);
    TDM_REQUIRE(text_of(image, "split")[0], TDM_E_FORMAT, "%s: images[%zu] has no \"split\"", json_path,
                index);
    const json_t *sentences = json_object_get(image, "sentences");
    TDM_REQUIRE(json_is_array(sentences), TDM_E_FORMAT, "%s: images[%zu] has no \"sentences\"", json_path,
                index);

    char name[TDM_PATH_BYTES], path[TDM_PATH_BYTES];
    if (filepath[0])
        TDM_TRY(tdm_path_join(name, sizeof(name), filepath, filename));
    else
        TDM_REQUIRE(snprintf(name, sizeof(name), "%s", filename) < TDM_PATH_BYTES, TDM_E_IO,
                    "%s: path is too long", filename);
    TDM_TRY(tdm_path_join(path, sizeof(path), root, name));
    tdm_pack_item *item;
    TDM_TRY(pack_list_add(list, name, path, 0, -1, text_of(image, "split"), &item));
    size_t k;
    json_t *sentence;
    json_array_foreach(sentences, k, sentence)
    {
        const json_t *raw = json_object_get(sentence, "raw");
        TDM_REQUIRE(json_is_string(raw), TDM_E_FORMAT, "%s: images[%zu].sentences[%zu] has no \"raw\"",
                    json_path, index, k);
        TDM_TRY(pack_item_caption(item, json_string_value(raw), json_string_length(raw)));
    }
    return TDM_OK;
}

static tdm_status karpathy_list(const char *source, tdm_pack_list *list)
{
    char json_path[TDM_PATH_BYTES], root[TDM_PATH_BYTES];
    json_t *document;
    TDM_TRY(split_source(source, json_path, root));
    TDM_TRY(pack_read_json(json_path, &document));
    const json_t *images = json_object_get(document, "images");
    tdm_status status = TDM_OK;
    if (!json_is_array(images)) status = TDM_ERROR(TDM_E_FORMAT, "%s: has no array \"images\"", json_path);
    for (size_t i = 0; status == TDM_OK && i < json_array_size(images); i++)
        status = add_image(json_path, root, i, json_array_get(images, i), list);
    json_decref(document);
    return status;
}

const tdm_pack_format pack_format_karpathy = {
    .name = "karpathy",
    .help = "a Karpathy split file (Flickr30k, COCO), FILE.json or FILE.json:IMAGE_ROOT",
    .list = karpathy_list,
};
