#include "read_json.h"

#include "pack_impl.h"

tdm_status read_json_text(const char *file, const char *text, size_t length, json_node *root)
{
    json_error_t error;
    const size_t mark = pack_byte_order_mark(text, length);
    *root = (json_node){.file = file};
    root->value = json_loadb(text + mark, length - mark, 0, &error);
    TDM_REQUIRE(root->value, TDM_E_FORMAT, "%s: line %d, column %d: %s", file, error.line, error.column,
                error.text);
    return TDM_OK;
}

tdm_status read_json_file(const char *path, json_node *root)
{
    tdm_text text = {0};
    *root = (json_node){.file = path};
    tdm_status status = tdm_read_file(path, &text);
    if (status == TDM_OK) status = read_json_text(path, text.data, text.length, root);
    tdm_text_free(&text);
    return status;
}

void read_json_free(json_node *root)
{
    json_decref(root->value);
    root->value = NULL;
}

static void append_way(const json_node *node, char *text, size_t bytes)
{
    if (!node->parent) return;
    append_way(node->parent, text, bytes);
    const size_t used = strlen(text);
    const bool first = !node->parent->parent;
    if (node->key)
        snprintf(text + used, bytes - used, "%s%s", first ? "" : ".", node->key);
    else
        snprintf(text + used, bytes - used, "[%zu]", node->index);
}

const char *json_node_where(const json_node *node)
{
    static _Thread_local char where[TDM_PATH_BYTES + 256];
    snprintf(where, sizeof(where), "%s%s", node->file, node->parent ? ": " : "");
    append_way(node, where, sizeof(where));
    return where;
}

json_node json_node_get(const json_node *node, const char *key)
{
    json_t *value = json_object_get(node->value, key);
    return (json_node){
        .value = json_is_null(value) ? NULL : value, .file = node->file, .parent = node, .key = key};
}

json_node json_node_item(const json_node *array, size_t index)
{
    return (json_node){
        .value = json_array_get(array->value, index), .file = array->file, .parent = array, .index = index};
}

size_t json_node_count(const json_node *array)
{
    return json_array_size(array->value);
}

/* The member `key`, which must be of that type. */
static tdm_status typed(const json_node *node, const char *key, json_type type, const char *type_name,
                        json_node *value)
{
    const json_node found = json_node_get(node, key);
    TDM_REQUIRE(found.value, TDM_E_FORMAT, "%s has no \"%s\"", json_node_where(node), key);
    TDM_REQUIRE(json_typeof(found.value) == type, TDM_E_FORMAT, "%s: \"%s\" is not %s", json_node_where(node),
                key, type_name);
    *value = found;
    return TDM_OK;
}

tdm_status json_node_string(const json_node *node, const char *key, const char **value)
{
    json_node found;
    TDM_TRY(typed(node, key, JSON_STRING, "a string", &found));
    *value = json_string_value(found.value);
    return TDM_OK;
}

tdm_status json_node_int(const json_node *node, const char *key, int64_t *value)
{
    json_node found;
    TDM_TRY(typed(node, key, JSON_INTEGER, "an integer", &found));
    *value = json_integer_value(found.value);
    return TDM_OK;
}

tdm_status json_node_array(const json_node *node, const char *key, json_node *value)
{
    return typed(node, key, JSON_ARRAY, "an array", value);
}
