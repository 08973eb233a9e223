/* The demo set that fetch_emoji.sh makes: SOURCE/emoji.json and one folder of PNGs per artist. A concept is
 * an identity, its subgroup a class, an artist a split of its own, the label a picture's caption. */
#include "pack_impl.h"
#include "read_json.h"

#include <string.h>

typedef struct picture {
    const char *file, *artist, *label, *subgroup;
    int64_t concept;
} picture;

static tdm_status read_picture(const json_node *image, const json_node *concepts, picture *p)
{
    TDM_TRY(json_node_string(image, "file", &p->file));
    TDM_TRY(json_node_string(image, "artist", &p->artist));
    TDM_TRY(json_node_int(image, "concept", &p->concept));
    TDM_REQUIRE(p->concept >= 0 && (size_t)p->concept < json_node_count(concepts), TDM_E_FORMAT,
                "%s: there is no concept %lld", json_node_where(image), (long long)p->concept);
    const json_node concept = json_node_item(concepts, (size_t)p->concept);
    TDM_TRY(json_node_string(&concept, "label", &p->label));
    TDM_TRY(json_node_string(&concept, "subgroup", &p->subgroup));
    TDM_REQUIRE(p->file[0], TDM_E_FORMAT, "%s: \"file\" is empty", json_node_where(image));
    return pack_check_split(json_node_where(image), p->artist);
}

static tdm_status add_image(const char *source, const json_node *image, const json_node *concepts,
                            tdm_pack_list *list)
{
    char path[TDM_PATH_BYTES], where[TDM_PATH_BYTES + 256];
    picture p;
    tdm_pack_item *item;
    tdm_status status = read_picture(image, concepts, &p);
    if (status == TDM_OK) status = tdm_path_join(path, sizeof(path), source, p.file);
    snprintf(where, sizeof(where), "%s", json_node_where(image));
    if (status != TDM_OK) return pack_list_fault(list, where, status);
    TDM_TRY(pack_list_add(list, p.file, path, p.artist, &item));
    item->identity = p.concept;
    TDM_TRY(pack_item_fault(item, pack_item_class(list, item, p.subgroup, strlen(p.subgroup))));
    return pack_item_caption(item, NULL, p.label, strlen(p.label));
}

static tdm_status emoji_list(const char *source, const void *options, tdm_pack_list *list)
{
    (void)options;
    char index_path[TDM_PATH_BYTES];
    json_node document, concepts, images;
    TDM_TRY(tdm_path_join(index_path, sizeof(index_path), source, "emoji.json"));
    tdm_status status = read_json_file(index_path, "utf-8", &document);
    if (status == TDM_OK) status = json_node_array(&document, "concepts", &concepts);
    if (status == TDM_OK) status = json_node_array(&document, "images", &images);
    for (size_t i = 0; status == TDM_OK && i < json_node_count(&images); i++) {
        const json_node image = json_node_item(&images, i);
        status = add_image(source, &image, &concepts, list);
    }
    read_json_free(&document);
    return status;
}

const tdm_pack_format pack_format_emoji = {
    .name = "emoji",
    .takes_folder = true,
    .help =
        "the demo set made by data_prep/fetch_emoji.sh; its splits are the artists google, twitter, openmoji, fluent",
    .split = "train=google+twitter+openmoji,test=fluent",
    .list = emoji_list,
};
