/* Features in files of NumPy (.npy, .npz), MATLAB and Python's pickle: --format features. SOURCE is a file, or a folder
 * whose .npy and .mat files together hold the arrays, and whose .npz and .pkl files stand each for themselves. A file whose
 * name says train, val or test is of that split; options like --image-key train=I_tr,test=I_te take several splits from
 * one file. */
#include "feature_set.h"

#include "tandem/arrays.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* ---- Rows as the packer reads them ---- */

typedef struct shared_arrays { /* by the matrices made of them */
    tdm_arrays *arrays;
    int64_t users;
} shared_arrays;

static void release(shared_arrays **shared)
{
    if (*shared && --(*shared)->users == 0) {
        tdm_arrays_destroy(&(*shared)->arrays);
        tdm_free(*shared);
    }
    *shared = NULL;
}

typedef struct array_rows {
    tdm_pack_features features; /* must be the first */
    const tdm_array *array;
    shared_arrays *shared;
} array_rows;

static tdm_status rows_read(tdm_pack_features *features, int64_t row, float *out)
{
    const tdm_array *a = ((array_rows *)features)->array;
    TDM_TRY(tdm_array_row(a, row, out));
    for (int64_t i = 0; i < a->width; i++)
        TDM_REQUIRE(isfinite(out[i]), TDM_E_DATA, "%s: row %lld of %s is not finite", a->file, (long long)row,
                    a->name);
    return TDM_OK;
}

static void rows_destroy(tdm_pack_features *features)
{
    array_rows *r = (array_rows *)features;
    release(&r->shared);
    tdm_free(r);
}

static tdm_status rows_create(shared_arrays *shared, const tdm_array *array, tdm_pack_features **out)
{
    array_rows *r;
    TDM_TRY(TDM_ALLOC(1, &r));
    *r = (array_rows){
        .features = {array->rows, array->width, rows_read, rows_destroy}, .array = array, .shared = shared};
    shared->users++;
    *out = &r->features;
    return TDM_OK;
}

/* ---- Variables by option and split ---- */

typedef struct reader {
    const feature_options *options;
    shared_arrays *shared;
    tdm_pack_list *list;
    feature_set set;
} reader;

/* "A" is of every split, "train=A,test=B" of those two. False: the split has none. */
static bool key_of_split(const char *keys, const char *split, char *key, size_t room)
{
    if (!strchr(keys, '=')) return snprintf(key, room, "%s", keys) > 0;
    const size_t length = strlen(split);
    for (const char *at = keys; *at;) {
        const size_t n = strcspn(at, ",");
        if (length && n > length && !memcmp(at, split, length) && at[length] == '=') {
            snprintf(key, room, "%.*s", (int)(n - length - 1), at + length + 1);
            return true;
        }
        at += n + (at[n] == ',');
    }
    return false;
}

/* NULL: there is none, and none was asked for by name. */
static tdm_status find(const reader *r, const char *option, const char *keys, const char *usual,
                       const tdm_array **array)
{
    char key[256];
    *array = NULL;
    if (keys[0] && !key_of_split(keys, r->set.split, key, sizeof key)) return TDM_OK;
    *array = tdm_arrays_find(r->shared->arrays, keys[0] ? key : usual);
    if (*array && (*array)->fault)
        TDM_FAIL(TDM_E_FORMAT, "%s: %s %s", (*array)->file, (*array)->name, (*array)->fault);
    if (*array || !keys[0]) return TDM_OK;
    tdm_text held = {0};
    tdm_status status = tdm_arrays_describe(r->shared->arrays, &held);
    if (status == TDM_OK)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: holds no %s, which --%s asks for; it holds %s", r->set.name,
                           key, option, held.data);
    tdm_text_free(&held);
    return status;
}

/* Entry i of a vector: [n], [n][1], or MATLAB's [1][n]. */
static tdm_status number_at(const tdm_array *a, int64_t i, int64_t *value)
{
    return a->rows == 1 ? tdm_array_whole(a, 0, i, value) : tdm_array_whole(a, i, 0, value);
}

static bool is_vector(const tdm_array *a, int64_t n)
{
    return (a->rows == n && a->width == 1) || (a->rows == 1 && a->width == n);
}

static tdm_status read_vector(const tdm_array *a, int64_t n, int64_t **out)
{
    TDM_REQUIRE(is_vector(a, n), TDM_E_SHAPE, "%s: %s is [%lld][%lld], and there are %lld rows of features",
                a->file, a->name, (long long)a->rows, (long long)a->width, (long long)n);
    TDM_TRY(TDM_ALLOC(n + 1, out));
    for (int64_t i = 0; i < n; i++) TDM_TRY(number_at(a, i, &(*out)[i]));
    return TDM_OK;
}

static tdm_status read_bits(const tdm_array *a, feature_side *s)
{
    s->classes = a->width;
    TDM_TRY(feature_set_check_classes(a->file, s->classes));
    TDM_TRY(TDM_ALLOC(s->n * s->classes + 1, &s->bit));
    for (int64_t i = 0; i < s->n * s->classes; i++) {
        int64_t bit;
        TDM_TRY(tdm_array_whole(a, i / s->classes, i % s->classes, &bit));
        TDM_REQUIRE(bit == 0 || bit == 1, TDM_E_DATA,
                    "%s: row %lld of %s holds %lld; a matrix of classes is of 0 and 1", a->file,
                    (long long)(i / s->classes), a->name, (long long)bit);
        s->bit[i] = (uint8_t)bit;
    }
    return TDM_OK;
}

/* Numbers from 0 up: those of a source that counts from 1 lose one. */
static tdm_status shift_labels(const reader *r, const tdm_array *a, int64_t n, int64_t *label)
{
    enum { FROM_0, FROM_1, AUTO };
    int64_t least = INT64_MAX;
    for (int64_t i = 0; i < n; i++)
        if (label[i] != -1) least = tdm_min_i64(least, label[i]);
    const int64_t base = r->options->label_base == AUTO ? least == 1 : r->options->label_base == FROM_1;
    if (base && r->options->label_base == AUTO)
        tdm_log(TDM_LOG_INFO, "%s: %s counts classes from 1, the shards from 0", a->file, a->name);
    for (int64_t i = 0; i < n; i++) {
        TDM_REQUIRE(label[i] == -1 || label[i] >= base, TDM_E_DATA,
                    "%s: row %lld of %s is class %lld, the first is %lld (--label-base)", a->file,
                    (long long)i, a->name, (long long)label[i], (long long)base);
        if (label[i] != -1) label[i] -= base;
    }
    return TDM_OK;
}

static tdm_status read_labels(const reader *r, const tdm_array *a, feature_side *s)
{
    if (!a || !s->features) return TDM_OK;
    if (a->ndim == 2 && a->rows == s->n && a->width > 1) return read_bits(a, s);
    TDM_TRY(read_vector(a, s->n, &s->label));
    return shift_labels(r, a, s->n, s->label);
}

static tdm_status read_features(const reader *r, const tdm_array *a, feature_side *s)
{
    if (!a) return TDM_OK;
    TDM_REQUIRE(!a->is_text && a->ndim == 2 && a->width > 0, TDM_E_SHAPE,
                "%s: %s is no matrix of numbers, one row of features each", a->file, a->name);
    TDM_TRY(rows_create(r->shared, a, &s->features));
    s->n = a->rows;
    return pack_list_features(r->list, s->features);
}

static tdm_status refuse_empty(const reader *r)
{
    tdm_text held = {0};
    tdm_status status = tdm_arrays_describe(r->shared->arrays, &held);
    if (status == TDM_OK)
        status = TDM_ERROR(
            TDM_E_FORMAT,
            "%s: holds neither image nor text features (--image-key and --text-key name them); it holds %s",
            r->set.name, held.data);
    tdm_text_free(&held);
    return status;
}

static tdm_status read_set(reader *r)
{
    const feature_options *o = r->options;
    feature_set *set = &r->set;
    const tdm_array *image, *text, *label, *text_label, *text_image, *identity;
    TDM_TRY(find(r, "image-key", o->image_key, "image", &image));
    TDM_TRY(find(r, "text-key", o->text_key, "text", &text));
    TDM_TRY(find(r, "label-key", o->label_key, "label", &label));
    TDM_TRY(find(r, "text-label-key", o->text_label_key, "text_label", &text_label));
    TDM_TRY(find(r, "text-image-key", o->text_image_key, "text_image", &text_image));
    TDM_TRY(find(r, "identity-key", o->identity_key, "identity", &identity));
    TDM_TRY(find(r, "ids-key", o->ids_key, "ids", &set->id));
    if (!image && !text) return refuse_empty(r);
    TDM_TRY(read_features(r, image, &set->image));
    TDM_TRY(read_features(r, text, &set->text));
    const int64_t n = image ? set->image.n : set->text.n;
    const bool ids_fit = !set->id || (set->id->rows == n && set->id->width == 1);
    TDM_REQUIRE(ids_fit, TDM_E_SHAPE, "%s: %s has %lld rows, the features %lld", set->id->file, set->id->name,
                (long long)set->id->rows, (long long)n);
    TDM_TRY(read_labels(r, label, image ? &set->image : &set->text));
    if (image) TDM_TRY(read_labels(r, text_label, &set->text));
    if (identity) TDM_TRY(read_vector(identity, n, image ? &set->image.identity : &set->text.identity));
    if (text_image) TDM_TRY(read_vector(text_image, set->text.n, &set->image_of_text));
    if (!text_image) TDM_TRY(feature_set_pair(set));
    return feature_set_check(set);
}

/* Texts alone have the images' ids where there are as many of both; else they are called by their numbers. */
static tdm_status add_set(reader *r)
{
    tdm_status status = read_set(r);
    if (status == TDM_OK) status = feature_set_add(&r->set, r->list);
    feature_set_free(&r->set);
    return status;
}

/* ---- Splits ---- */

/* Does the name hold the word, between characters that are no letters? */
static bool has_word(const char *name, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = name; (at = strstr(at, word)); at++)
        if ((at == name || !isalpha((unsigned char)at[-1])) && !isalpha((unsigned char)at[length]))
            return true;
    return false;
}

/* "": the name does not say. */
static const char *split_of_name(const char *name)
{
    static const char *const words[][2] = {{"train", "train"},    {"val", "val"}, {"valid", "val"},
                                           {"validation", "val"}, {"dev", "val"}, {"test", "test"}};
    const char *split = "";
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (!has_word(name, words[i][0])) continue;
        if (split[0] && strcmp(split, words[i][1])) return ""; /* train_test.mat */
        split = words[i][1];
    }
    return split;
}

/* One set, or one for each split that --image-key or --text-key names. */
static tdm_status add_sets(shared_arrays *shared, const char *name, const feature_options *options,
                           tdm_pack_list *list)
{
    const char *keys = strchr(options->image_key, '=') ? options->image_key : options->text_key;
    reader r = {.options = options, .shared = shared, .list = list};
    if (!strchr(keys, '=')) {
        r.set = (feature_set){.name = name, .split = split_of_name(name)};
        return add_set(&r);
    }
    for (const char *at = keys; *at;) {
        char split[32];
        const size_t n = strcspn(at, ","), length = strcspn(at, "=");
        TDM_REQUIRE(length < n && length && length < sizeof split, TDM_E_USAGE,
                    "%s: cannot be read as SPLIT=VARIABLE,…", keys);
        snprintf(split, sizeof split, "%.*s", (int)length, at);
        r.set = (feature_set){.name = name, .split = split};
        TDM_TRY(add_set(&r));
        at += n + (at[n] == ',');
    }
    return TDM_OK;
}

/* ---- Sources ---- */

static bool has_ending(const char *name, const char *ending)
{
    const size_t n = strlen(name), e = strlen(ending);
    return n > e && !strcasecmp(name + n - e, ending);
}

static bool is_alone(const char *name)
{
    return has_ending(name, ".npz") || has_ending(name, ".pkl") || has_ending(name, ".pickle");
}

static int is_array_file(const struct dirent *entry)
{
    const char *name = entry->d_name;
    return name[0] != '.' && (is_alone(name) || has_ending(name, ".npy") || has_ending(name, ".mat"));
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

bool features_are_arrays(const char *source)
{
    struct dirent **entry = NULL;
    if (!tdm_path_is_dir(source)) return tdm_arrays_are_in(source);
    const int count = scandir(source, &entry, is_array_file, NULL);
    for (int i = 0; i < count; i++) free(entry[i]);
    free(entry);
    return count > 0;
}

static tdm_status share(shared_arrays **shared)
{
    TDM_TRY(TDM_ALLOC(1, shared));
    (*shared)->users = 1;
    return tdm_arrays_create(&(*shared)->arrays);
}

static tdm_status list_one(const char *path, const feature_options *options, tdm_pack_list *list)
{
    shared_arrays *shared = NULL;
    tdm_status status = share(&shared);
    if (status == TDM_OK) status = tdm_arrays_add(shared->arrays, path);
    if (status == TDM_OK) status = add_sets(shared, pack_base_name(path), options, list);
    release(&shared);
    return status;
}

static tdm_status list_entries(const char *dir, struct dirent *const *entry, int count,
                               const feature_options *options, tdm_pack_list *list)
{
    char path[TDM_PATH_BYTES];
    shared_arrays *shared = NULL;
    tdm_status status = share(&shared);
    for (int i = 0; status == TDM_OK && i < count; i++) {
        status = tdm_path_join(path, sizeof path, dir, entry[i]->d_name);
        if (status != TDM_OK) break;
        status =
            is_alone(entry[i]->d_name) ? list_one(path, options, list) : tdm_arrays_add(shared->arrays, path);
    }
    if (status == TDM_OK && tdm_arrays_count(shared->arrays))
        status = add_sets(shared, pack_base_name(dir), options, list);
    release(&shared);
    return status;
}

tdm_status features_list_arrays(const char *source, const feature_options *options, tdm_pack_list *list)
{
    struct dirent **entry = NULL;
    if (!tdm_path_is_dir(source)) return list_one(source, options, list);
    const int count = scandir(source, &entry, is_array_file, by_bytes);
    TDM_REQUIRE(count >= 0, TDM_E_IO, "%s: cannot list: %s", source, strerror(errno));
    const tdm_status status = list_entries(source, entry, count, options, list);
    for (int i = 0; i < count; i++) free(entry[i]);
    free(entry);
    return status;
}
