#include "info_files.h"

#include "result_json.h"

#include "tandem/tandem.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static tdm_status out_of_memory(void)
{
    TDM_FAIL(TDM_E_NOMEM, "tandem info: out of memory");
}

/* Takes `value`; a NULL value (out of memory) is an error. */
static tdm_status put(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0 ? TDM_OK : out_of_memory();
}

static tdm_status append(json_t *array, json_t *value)
{
    return json_array_append_new(array, value) == 0 ? TDM_OK : out_of_memory();
}

static bool is_directory_with(const char *dir, const char *name)
{
    char path[TDM_PATH_BYTES];
    return tdm_path_join(path, sizeof path, dir, name) == TDM_OK && tdm_path_exists(path);
}

/* ---- One HDF5 file ---- */

/* "tandem.shard" -> "shard"; anything else is plain "hdf5". */
static const char *kind_of(const tdm_h5_items *items)
{
    const tdm_h5_item *format = tdm_h5_items_find(items, "format");
    if (format == NULL || format->value == NULL || strncmp(format->value, "tandem.", 7) != 0) return "hdf5";
    return format->value + 7;
}

static json_t *attribute_value(const tdm_h5_item *item)
{
    if (item->type[0] == 'i' || item->type[0] == 'u') return json_integer(strtoll(item->value, NULL, 10));
    if (item->type[0] == 'f') {
        json_t *number = json_real(strtod(item->value, NULL));
        return number ? number : json_null(); /* JSON has no NaN */
    }
    return tdm_json_text(item->value);
}

/* All but the configuration, which is a page of text. */
static tdm_status put_attributes(json_t *object, const tdm_h5_items *items)
{
    for (int64_t i = 0; i < items->count; i++) {
        const tdm_h5_item *item = &items->item[i];
        if (item->value == NULL || strcmp(item->name, "config") == 0) continue;
        TDM_TRY(put(object, item->name, attribute_value(item)));
    }
    return TDM_OK;
}

static json_t *shape_value(const tdm_h5_item *item)
{
    json_t *shape = json_array();
    for (int i = 0; shape != NULL && i < item->ndim; i++) {
        (void)json_array_append_new(shape, json_integer(item->shape[i]));
    }
    return shape;
}

static tdm_status append_dataset(json_t *array, const tdm_h5_item *item, const char *name)
{
    json_t *row = json_object();
    TDM_TRY(append(array, row));
    TDM_TRY(put(row, "name", tdm_json_text(name)));
    TDM_TRY(put(row, "type", json_string(item->type)));
    return put(row, "shape", shape_value(item));
}

/* Data sets whose path begins with `prefix`, which is left out of their names. */
static tdm_status put_datasets(json_t *object, const char *key, const tdm_h5_items *items, const char *prefix)
{
    json_t *array = json_array();
    TDM_TRY(put(object, key, array));
    for (int64_t i = 0; i < items->count; i++) {
        const tdm_h5_item *item = &items->item[i];
        if (item->value != NULL || strncmp(item->name, prefix, strlen(prefix)) != 0) continue;
        TDM_TRY(append_dataset(array, item, item->name + strlen(prefix)));
    }
    return TDM_OK;
}

static tdm_status put_model(json_t *object, const tdm_h5_items *items, const info_options *options)
{
    int64_t tensors = 0, elements = 0;
    for (int64_t i = 0; i < items->count; i++) {
        const tdm_h5_item *item = &items->item[i];
        if (item->value != NULL || strncmp(item->name, "/param/", 7) != 0) continue;
        tensors++;
        elements += item->elements;
    }
    const tdm_h5_item *tokenizer = tdm_h5_items_find(items, "/tokenizer");
    TDM_TRY(put(object, "parameters", json_integer(elements)));
    TDM_TRY(put(object, "tensors", json_integer(tensors)));
    TDM_TRY(put(object, "tokenizer_bytes", json_integer(tokenizer ? tokenizer->elements : 0)));
    const tdm_h5_item *context = tdm_h5_items_find(items, "/param/" TDM_CONTEXT_ROW);
    if (context != NULL) TDM_TRY(put(object, "context_tokens", json_integer(context->shape[0])));
    if (options->params) TDM_TRY(put_datasets(object, "param", items, "/param/"));
    const tdm_h5_item *config = tdm_h5_items_find(items, "config");
    if (!options->config || config == NULL || config->value == NULL) return TDM_OK;
    return put(object, "config", tdm_json_text(config->value));
}

static tdm_status fill_file(json_t *object, const char *path, const tdm_h5_items *items,
                            const info_options *options)
{
    const char *kind = kind_of(items);
    TDM_TRY(put(object, "path", tdm_json_text(path)));
    TDM_TRY(put(object, "kind", tdm_json_text(kind)));
    TDM_TRY(put_attributes(object, items));
    if (strcmp(kind, "model") == 0) return put_model(object, items, options);
    if (strcmp(kind, "state") == 0) return TDM_OK; /* its tensors are the model's, twice */
    return put_datasets(object, "datasets", items, "");
}

static tdm_status describe_file(const char *path, const info_options *options, json_t *object)
{
    tdm_h5_items items;
    if (options->verify) TDM_TRY(tdm_h5_verify(path));
    TDM_TRY(tdm_h5_list(path, &items));
    tdm_status status = fill_file(object, path, &items, options);
    tdm_h5_items_free(&items);
    if (status == TDM_OK && options->verify) status = put(object, "verified", json_true());
    return status;
}

/* DIR/NAME, which has been verified if anything is, described under `key`. */
static tdm_status describe_member(const char *dir, const char *name, const info_options *options,
                                  json_t *object, const char *key)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, dir, name));
    json_t *member = json_object();
    const info_options shown = {.params = options->params, .config = options->config};
    TDM_TRY(put(object, key, member));
    TDM_TRY(describe_file(path, &shown, member));
    return options->verify ? put(member, "verified", json_true()) : TDM_OK;
}

/* ---- Tensors of other programs ---- */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* By the name, as these formats are known by. */
static bool is_tensor_file(const char *path)
{
    static const char *const ends[] = {".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (ends_with(path, ends[i])) return true;
    }
    return false;
}

static bool holds_tensors(const char *dir)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                        "open_clip_model.safetensors", "pytorch_model.bin"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (is_directory_with(dir, names[i])) return true;
    }
    return false;
}

static tdm_status append_tensor(json_t *array, const tdm_tensor *tensor)
{
    json_t *row = json_object(), *shape = json_array();
    TDM_TRY(append(array, row));
    TDM_TRY(put(row, "name", tdm_json_text(tensor->name)));
    TDM_TRY(put(row, "type", json_string(tdm_tensor_type_name(tensor->type))));
    TDM_TRY(put(row, "shape", shape));
    for (int i = 0; i < tensor->ndim; i++) TDM_TRY(append(shape, json_integer(tensor->shape[i])));
    return TDM_OK;
}

/* Reads every value once. */
static tdm_status read_tensor(tdm_tensor_file *file, const tdm_tensor *tensor)
{
    float *value = NULL;
    TDM_TRY(TDM_ALLOC(tensor->elements, &value));
    const tdm_status status = tdm_tensor_file_read_f32(file, tensor, value);
    tdm_free(value);
    return status;
}

static tdm_status fill_tensors(tdm_tensor_file *file, const char *path, const info_options *options,
                               json_t *object)
{
    const int64_t count = tdm_tensor_file_count(file);
    int64_t elements = 0;
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++) elements += tdm_tensor_file_at(file, i)->elements;
    TDM_TRY(put(object, "path", tdm_json_text(path)));
    TDM_TRY(put(object, "kind", json_string("tensors")));
    TDM_TRY(put(object, "tensors", json_integer(count)));
    TDM_TRY(put(object, "elements", json_integer(elements)));
    TDM_TRY(put(object, "tensor", array));
    for (int64_t i = 0; i < count; i++) {
        const tdm_tensor *tensor = tdm_tensor_file_at(file, i);
        TDM_TRY(append_tensor(array, tensor));
        if (options->verify) TDM_TRY(read_tensor(file, tensor));
    }
    return options->verify ? put(object, "verified", json_true()) : TDM_OK;
}

static tdm_status describe_tensors(const char *path, const info_options *options, json_t *object)
{
    tdm_tensor_file *file = NULL;
    TDM_TRY(tdm_tensor_file_open(path, &file));
    const tdm_status status = fill_tensors(file, path, options, object);
    tdm_tensor_file_close(&file);
    return status;
}

/* ---- Checkpoint and run ---- */

/* How the evaluations of the run stand, and why it ended. */
static tdm_status describe_progress(const char *dir, json_t *object)
{
    tdm_train_state state;
    /* where it is not legible, --verify says why */
    if (tdm_checkpoint_read_progress(dir, &state) != TDM_OK || state.best_step < 0) return TDM_OK;
    TDM_TRY(put(object, "best_epoch", state.best_epoch > 0.0 ? json_real(state.best_epoch) : json_null()));
    TDM_TRY(put(object, "evaluations_since_best", json_integer(state.evaluations_since_best)));
    return state.end[0] ? put(object, "end", json_string(state.end)) : TDM_OK;
}

static tdm_status describe_checkpoint(const char *dir, const info_options *options, json_t *object)
{
    TDM_TRY(put(object, "path", tdm_json_text(dir)));
    TDM_TRY(put(object, "kind", json_string("checkpoint")));
    if (options->verify) TDM_TRY(tdm_checkpoint_verify(dir));
    TDM_TRY(describe_member(dir, "model.h5", options, object, "model"));
    if (!is_directory_with(dir, "state.h5")) return TDM_OK;
    TDM_TRY(describe_member(dir, "state.h5", options, object, "state"));
    return describe_progress(dir, object);
}

/* The name in a pointer file, or null. */
static json_t *pointer_value(const char *dir, const char *pointer)
{
    char path[TDM_PATH_BYTES];
    tdm_text text = {0};
    json_t *value = NULL;
    if (tdm_path_join(path, sizeof path, dir, pointer) == TDM_OK && tdm_path_exists(path) &&
        tdm_read_file(path, &text) == TDM_OK) {
        text.data[strcspn(text.data, "\n")] = '\0';
        value = tdm_json_text(text.data);
    }
    tdm_text_free(&text);
    return value ? value : json_null();
}

static int is_checkpoint_name(const struct dirent *entry)
{
    return strncmp(entry->d_name, "step-", 5) == 0 && strspn(entry->d_name + 5, "0123456789") >= 8 &&
           strspn(entry->d_name + 5, "0123456789") == strlen(entry->d_name + 5);
}

static int is_h5_name(const struct dirent *entry)
{
    const size_t n = strlen(entry->d_name);
    return n > 3 && strcmp(entry->d_name + n - 3, ".h5") == 0;
}

/* What is done with one entry of a directory. */
typedef tdm_status entry_visitor(const char *dir, const char *name, const info_options *options,
                                 json_t *array);

static tdm_status for_each(const char *dir, int (*wanted)(const struct dirent *), entry_visitor *visit,
                           const info_options *options, json_t *array)
{
    struct dirent **entry;
    const int count = scandir(dir, &entry, wanted, alphasort);
    TDM_REQUIRE(count >= 0, TDM_E_IO, "%s: cannot list: %s", dir, strerror(errno));
    tdm_status status = TDM_OK;
    for (int i = 0; i < count; i++) {
        if (status == TDM_OK) status = visit(dir, entry[i]->d_name, options, array);
        free(entry[i]);
    }
    free(entry);
    return status;
}

static tdm_status visit_checkpoint(const char *dir, const char *name, const info_options *options,
                                   json_t *array)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, dir, name));
    json_t *row = json_object();
    TDM_TRY(append(array, row));
    TDM_TRY(put(row, "name", tdm_json_text(name)));
    if (!options->verify) return TDM_OK;
    const tdm_status status = tdm_checkpoint_verify(path);
    if (status != TDM_E_FORMAT) {
        TDM_TRY(status);
        return put(row, "verified", json_true());
    }
    /* all of them are looked at; the last that is damaged makes the command fail */
    options->damage->damaged++;
    snprintf(options->damage->last, sizeof options->damage->last, "%s", tdm_error_last()->message);
    tdm_log(TDM_LOG_WARN, "%s", tdm_error_last()->message);
    return put(row, "verified", json_false());
}

static tdm_status describe_run(const char *run, const info_options *options, json_t *object)
{
    char dir[TDM_PATH_BYTES], latest[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(dir, sizeof dir, run, "checkpoints"));
    TDM_TRY(put(object, "path", tdm_json_text(run)));
    TDM_TRY(put(object, "kind", json_string("run")));
    TDM_TRY(put(object, "latest", pointer_value(dir, "latest")));
    TDM_TRY(put(object, "best", pointer_value(dir, "best")));
    json_t *array = json_array();
    TDM_TRY(put(object, "checkpoints", array));
    TDM_TRY(for_each(dir, is_checkpoint_name, visit_checkpoint, options, array));
    bool any;
    TDM_TRY(tdm_checkpoint_any(run, &any));
    if (!any) return TDM_OK;
    if (options->damage->damaged > 0) return TDM_OK; /* it may not be legible */
    TDM_TRY(tdm_checkpoint_find(run, false, latest, sizeof latest));
    const info_options shown = {.params = options->params, .config = options->config};
    json_t *member = json_object();
    TDM_TRY(put(object, "latest_checkpoint", member));
    return describe_checkpoint(latest, &shown, member);
}

/* ---- Data directory ---- */

static json_t *find_split(json_t *splits, const char *name)
{
    size_t i;
    json_t *split;
    json_array_foreach(splits, i, split)
    {
        if (strcmp(json_string_value(json_object_get(split, "split")), name) == 0) return split;
    }
    return NULL;
}

static tdm_status add_count(json_t *object, const char *key, int64_t count)
{
    return put(object, key, json_integer(json_integer_value(json_object_get(object, key)) + count));
}

static tdm_status add_shard(json_t *splits, json_t *shards, const tdm_index_row *row)
{
    json_t *split = find_split(splits, row->split), *shard = json_object();
    if (split == NULL) {
        split = json_object();
        TDM_TRY(append(splits, split));
        TDM_TRY(put(split, "split", tdm_json_text(row->split)));
    }
    TDM_TRY(add_count(split, "shards", 1));
    TDM_TRY(add_count(split, "images", row->images));
    TDM_TRY(add_count(split, "captions", row->captions));
    TDM_TRY(append(shards, shard));
    TDM_TRY(put(shard, "file", tdm_json_text(row->file)));
    TDM_TRY(put(shard, "images", json_integer(row->images)));
    TDM_TRY(put(shard, "captions", json_integer(row->captions)));
    return put(shard, "sha256", tdm_json_text(row->digest));
}

/* What only some data sets have. */
static tdm_status put_parts(json_t *split, const tdm_dataset *dataset)
{
    const struct {
        const char *key;
        int64_t value;
    } parts[] = {{"rows_without_image", tdm_dataset_imageless(dataset)},
                 {"rows_without_caption", tdm_dataset_captionless(dataset)},
                 {"alternative_captions", tdm_dataset_alternatives(dataset)},
                 {"image_feature_width", tdm_dataset_feature_width(dataset, TDM_IMAGE)},
                 {"caption_feature_width", tdm_dataset_feature_width(dataset, TDM_TEXT)}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].value > 0) TDM_TRY(put(split, parts[i].key, json_integer(parts[i].value)));
    return TDM_OK;
}

/* What the shards themselves say: identities, classes, tokenizer; with --verify every byte is read. */
static tdm_status open_split(const char *dir, json_t *split, const info_options *options)
{
    tdm_dataset *dataset = NULL;
    TDM_TRY(tdm_dataset_open(dir, json_string_value(json_object_get(split, "split")), &dataset));
    tdm_status status = put(split, "identities", json_boolean(tdm_dataset_has_identity(dataset)));
    if (status == TDM_OK) status = put(split, "classes", json_integer(tdm_dataset_class_count(dataset)));
    if (status == TDM_OK) status = put_parts(split, dataset);
    if (status == TDM_OK && options->verify) status = tdm_dataset_verify(dataset);
    if (status == TDM_OK && options->verify) status = put(split, "verified", json_true());
    tdm_dataset_close(&dataset);
    return status;
}

static tdm_status describe_data(const char *dir, const info_options *options, json_t *object)
{
    TDM_TRY(put(object, "path", tdm_json_text(dir)));
    TDM_TRY(put(object, "kind", json_string("data")));
    json_t *splits = json_array(), *shards = json_array();
    TDM_TRY(put(object, "splits", splits));
    TDM_TRY(put(object, "shards", shards));
    tdm_index_row *row = NULL;
    int64_t count;
    TDM_TRY(tdm_index_read(dir, &row, &count));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < count && status == TDM_OK; i++) status = add_shard(splits, shards, &row[i]);
    tdm_free(row);
    for (size_t i = 0; i < json_array_size(splits) && status == TDM_OK; i++) {
        status = open_split(dir, json_array_get(splits, i), options);
    }
    return status;
}

/* ---- Any path ---- */

static tdm_status visit_file(const char *dir, const char *name, const info_options *options, json_t *array)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, dir, name));
    json_t *member = json_object();
    TDM_TRY(append(array, member));
    return describe_file(path, options, member);
}

static tdm_status describe_files(const char *dir, const info_options *options, json_t *object)
{
    TDM_TRY(put(object, "path", tdm_json_text(dir)));
    TDM_TRY(put(object, "kind", json_string("directory")));
    json_t *array = json_array();
    TDM_TRY(put(object, "files", array));
    TDM_TRY(for_each(dir, is_h5_name, visit_file, options, array));
    TDM_REQUIRE(json_array_size(array) > 0, TDM_E_IO,
                "%s: holds neither dataset.h5, model.h5, checkpoints/ nor any other .h5 file", dir);
    return TDM_OK;
}

tdm_status info_files(const char *path, const info_options *options, json_t *object)
{
    TDM_REQUIRE(tdm_path_exists(path), TDM_E_IO, "%s: there is no such file or directory", path);
    if (!tdm_path_is_dir(path) && is_tensor_file(path)) return describe_tensors(path, options, object);
    if (!tdm_path_is_dir(path)) return describe_file(path, options, object);
    if (is_directory_with(path, "dataset.h5")) return describe_data(path, options, object);
    if (is_directory_with(path, "model.h5")) return describe_checkpoint(path, options, object);
    if (is_directory_with(path, "checkpoints")) return describe_run(path, options, object);
    if (holds_tensors(path)) return describe_tensors(path, options, object);
    return describe_files(path, options, object);
}
