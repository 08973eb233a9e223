/* The demo set that fetch_emoji.sh makes: SOURCE/emoji.json and one folder of PNGs per artist. A concept is
 * an identity, its subgroup a class, an artist a split of its own, the label a picture's caption. */
#include "pack_impl.h"

#include <string.h>

static tdm_status add_image(const char *source, const char *index_path, size_t i, const json_t *image,
                            const json_t *concepts, tdm_pack_list *list)
{
    char path[TDM_PATH_BYTES];
    const char *file = json_string_value(json_object_get(image, "file"));
    const char *artist = json_string_value(json_object_get(image, "artist"));
    const json_int_t number = json_integer_value(json_object_get(image, "concept"));
    const json_t *concept = number >= 0 ? json_array_get(concepts, (size_t)number) : NULL;
    const char *label = json_string_value(json_object_get(concept, "label"));
    const char *subgroup = json_string_value(json_object_get(concept, "subgroup"));
    TDM_REQUIRE(file && file[0] && artist && label && subgroup, TDM_E_FORMAT, "%s: images[%zu] is incomplete",
                index_path, i);

    tdm_pack_item *item;
    TDM_TRY(tdm_path_join(path, sizeof(path), source, file));
    TDM_TRY(pack_list_add(list, file, path, 0, -1, artist, &item));
    item->identity = number;
    TDM_TRY(pack_item_class(list, item, subgroup));
    return pack_item_caption(item, label, strlen(label));
}

static tdm_status emoji_list(const char *source, tdm_pack_list *list)
{
    char index_path[TDM_PATH_BYTES];
    json_t *document;
    TDM_TRY(tdm_path_join(index_path, sizeof(index_path), source, "emoji.json"));
    TDM_TRY(pack_read_json(index_path, &document));
    const json_t *concepts = json_object_get(document, "concepts"),
                 *images = json_object_get(document, "images");
    tdm_status status = TDM_OK;
    if (!json_is_array(concepts) || !json_is_array(images))
        status = TDM_ERROR(TDM_E_FORMAT, "%s: has no \"concepts\" or no \"images\"", index_path);
    for (size_t i = 0; status == TDM_OK && i < json_array_size(images); i++)
        status = add_image(source, index_path, i, json_array_get(images, i), concepts, list);
    json_decref(document);
    return status;
}

const tdm_pack_format pack_format_emoji = {
    .name = "emoji",
    .help =
        "the demo set made by data_prep/fetch_emoji.sh; its splits are the artists google, twitter, openmoji, fluent",
    .split = "train=google+twitter+openmoji,test=fluent",
    .list = emoji_list,
};
