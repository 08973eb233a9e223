/* An index of shards, as Transformers writes it: {"weight_map": {tensor's name: shard's file name}}. */
#include "tensors_impl.h"

#include <string.h>
#include <jansson.h>

enum { INDEX_BYTES_MAX = 64 << 20, SHARDS_MAX = 512 };

static tdm_status read_index(const tensor_source *source, json_t **root)
{
    json_error_t error;
    char *text = NULL;
    TDM_REQUIRE(source->bytes <= INDEX_BYTES_MAX, TDM_E_FORMAT, "%s: has %lld bytes, an index has at most %d",
                source->path, (long long)source->bytes, INDEX_BYTES_MAX);
    TDM_TRY(TDM_ALLOC(source->bytes, &text));
    const tdm_status status = source_read(source, 0, (size_t)source->bytes, text);
    *root = status == TDM_OK ? json_loadb(text, (size_t)source->bytes, JSON_REJECT_DUPLICATES, &error) : NULL;
    tdm_free(text);
    TDM_TRY(status);
    TDM_REQUIRE(*root != NULL, TDM_E_FORMAT, "%s: is not JSON: %s (line %d)", source->path, error.text,
                error.line);
    return TDM_OK;
}

/* A shard's name is that of a file beside the index. */
static tdm_status check_shard_name(const char *index_path, const char *tensor, const char *shard)
{
    TDM_REQUIRE(shard != NULL, TDM_E_FORMAT, "%s: weight_map[\"%s\"] is not a file name", index_path, tensor);
    TDM_REQUIRE(shard[0] != '\0' && shard[0] != '.' && strchr(shard, '/') == NULL, TDM_E_FORMAT,
                "%s: weight_map[\"%s\"] is \"%.200s\", not the name of a file beside it", index_path, tensor,
                shard);
    return TDM_OK;
}

static tdm_status add_shard(tdm_tensor_file *file, const char *index_path, const char *name)
{
    char path[TDM_PATH_BYTES];
    const char *slash = strrchr(index_path, '/');
    const int dir_bytes = slash != NULL ? (int)(slash - index_path) + 1 : 0;
    const int length = snprintf(path, sizeof path, "%.*s%s", dir_bytes, index_path, name);
    TDM_REQUIRE(length > 0 && (size_t)length < sizeof path, TDM_E_IO, "%s: path is too long", index_path);
    return tensor_file_add_path(file, path, false);
}

/* Adds the shard's tensors; names = {tensor: true} of them. */
static tdm_status list_shard(tdm_tensor_file *file, const char *index_path, const char *shard, json_t *names)
{
    const int64_t before = file->entries;
    TDM_TRY(add_shard(file, index_path, shard));
    for (int64_t i = before; i < file->entries; i++)
        TDM_REQUIRE(json_object_set_new_nocheck(names, file->entry[i].tensor.name, json_true()) == 0,
                    TDM_E_NOMEM, "%s: out of memory", index_path);
    return TDM_OK;
}

/* Each shard once, in the order of the index; seen = {shard: {tensor: true}}. */
static tdm_status add_shards(tdm_tensor_file *file, const char *index_path, json_t *map, json_t *seen)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        const char *shard = json_string_value(value);
        TDM_TRY(check_shard_name(index_path, tensor, shard));
        json_t *names = json_object_get(seen, shard);
        if (names == NULL) {
            TDM_REQUIRE(json_object_size(seen) < SHARDS_MAX, TDM_E_FORMAT, "%s: more than %d shards",
                        index_path, SHARDS_MAX);
            names = json_object();
            TDM_REQUIRE(json_object_set_new(seen, shard, names) == 0, TDM_E_NOMEM, "%s: out of memory",
                        index_path);
            TDM_TRY(list_shard(file, index_path, shard, names));
        }
        TDM_REQUIRE(json_object_get(names, tensor) != NULL, TDM_E_FORMAT,
                    "%s: tensor %s is not in %s, where weight_map has it", index_path, tensor, shard);
    }
    return TDM_OK;
}

tdm_status shards_read(tdm_tensor_file *file)
{
    const char *index_path = file->source[file->sources - 1].path; /* stays when the list of sources grows */
    json_t *root = NULL;
    TDM_TRY(read_index(&file->source[file->sources - 1], &root));
    json_t *map = json_object_get(root, "weight_map"), *seen = json_object();
    tdm_status status =
        json_object_size(map) > 0 && seen != NULL
            ? add_shards(file, index_path, map, seen)
            : TDM_ERROR(
                  TDM_E_FORMAT,
                  "%s: has no weight_map that names shards, so it is no index: name the file of weights, or its folder",
                  index_path);
    json_decref(seen);
    json_decref(root);
    return status;
}
