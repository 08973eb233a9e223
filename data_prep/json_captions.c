#include "json_captions.h"

static json_node first_member(const json_node *object, const char *const *key, size_t keys)
{
    json_node found = {0};
    for (size_t i = 0; i < keys && !found.value; i++) found = json_node_get(object, key[i]);
    return found;
}

json_node json_captions_member(const json_node *object)
{
    static const char *const key[] = {"captions", "sentences", "caption", "text"};
    return first_member(object, key, sizeof(key) / sizeof(key[0]));
}

/* The entry itself, or the member that is its wording. */
static tdm_status find_wording(const json_node *entry, json_node *wording)
{
    static const char *const key[] = {"raw", "caption", "text"};
    *wording = *entry;
    if (!json_is_object(entry->value)) return TDM_OK;
    *wording = first_member(entry, key, sizeof(key) / sizeof(key[0]));
    TDM_REQUIRE(wording->value, TDM_E_FORMAT, "%s has no \"raw\"", json_node_where(entry));
    return TDM_OK;
}

static tdm_status add_caption(const json_node *entry, tdm_pack_item *item)
{
    char where[TDM_PATH_BYTES + 512];
    json_node wording;
    const char *text;
    size_t length;
    tdm_status status = find_wording(entry, &wording);
    if (status == TDM_OK) status = json_node_text(&wording, &text, &length);
    if (status != TDM_OK) return pack_item_caption_fault(item, status);
    snprintf(where, sizeof(where), "%s (%s, caption %lld)", json_node_where(&wording), item->name,
             (long long)item->caption_given + 1);
    return pack_item_caption(item, where, text, length);
}

tdm_status json_captions(const json_node *value, tdm_pack_item *item)
{
    if (!value->value) return TDM_OK;
    if (json_is_string(value->value)) return add_caption(value, item);
    if (!json_is_array(value->value))
        return pack_item_fault(item, TDM_ERROR(TDM_E_FORMAT, "%s is neither a caption nor a list of captions",
                                               json_node_where(value)));
    for (size_t k = 0; k < json_node_count(value); k++) {
        const json_node entry = json_node_item(value, k);
        TDM_TRY(add_caption(&entry, item));
    }
    return TDM_OK;
}
