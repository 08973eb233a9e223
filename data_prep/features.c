/* Features that were computed elsewhere, for towers that read features. SOURCE is
 *
 * - an HDF5 file: /image [n][d] and /text [m][e], floats, either may be missing. Optional, whole numbers:
 *   /text_image [m]  the image that each text belongs to, -1: none; without it, text i belongs to image i where
 *                    there are as many of both, else every text stands alone
 *   /identity [n], /label [n] (one class, -1: none), /class [n][classes] (0 or 1)
 *   /text_identity [m], /text_label [m], /text_class [m][classes]   the same of texts without an image
 * - or a file of NumPy, MATLAB or Python's pickle with such arrays, or a folder of them (features_arrays.c);
 * - or a folder of embeddings that `tandem embed` wrote (layout: tandem/eval.h), whose splits stay.
 *
 * Classes are called by their numbers, those of embeddings by their names where the files say them. */
#include "feature_set.h"
#include "read_matrix.h"

#include "tandem/arrays.h"
#include "tandem/h5.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

static void side_free(feature_side *s)
{
    tdm_free(s->identity);
    tdm_free(s->label);
    tdm_free(s->bit);
}

void feature_set_free(feature_set *s)
{
    side_free(&s->image);
    side_free(&s->text);
    tdm_free(s->image_of_text);
    tdm_h5_strings_free(&s->class_name);
}

/* ---- Samples out of a set ---- */

static tdm_status add_labels(const feature_set *set, const feature_side *s, int64_t row, tdm_pack_item *item)
{
    if (s->identity) item->identity = s->identity[row];
    if (s->label && s->label[row] >= 0) TDM_TRY(pack_item_class_index(item, s->label[row]));
    for (int64_t c = 0; s->bit && c < s->classes; c++)
        if (s->bit[row * s->classes + c]) TDM_TRY(pack_item_class_index(item, c));
    TDM_REQUIRE(!s->identity || item->identity >= 0, TDM_E_FORMAT,
                "%s: identity %lld of row %lld is negative", set->name, (long long)item->identity,
                (long long)row);
    return TDM_OK;
}

static tdm_status add_item(const feature_set *set, const char *kind, int64_t row, tdm_pack_list *list,
                           tdm_pack_item **item)
{
    tdm_text name = {0};
    const bool named = set->id && (kind[0] == 'i' || !set->image.features);
    tdm_status status = named ? tdm_array_text(set->id, row, &name)
                              : tdm_text_printf(&name, "%s %s %lld", set->name, kind, (long long)row);
    if (status == TDM_OK && named && !name.length)
        status = TDM_ERROR(TDM_E_DATA, "%s: the id of row %lld is empty", set->name, (long long)row);
    if (status == TDM_OK) status = pack_list_add(list, name.data, NULL, set->split, item);
    tdm_text_free(&name);
    return status;
}

/* text[first[i] … first[i + 1]) are those of image i, in their order. */
static void sort_by_image(const feature_set *set, int64_t *first, int64_t *text)
{
    const int64_t n = set->image.n;
    for (int64_t k = 0; k < set->text.n; k++)
        if (set->image_of_text[k] >= 0) first[set->image_of_text[k] + 1]++;
    for (int64_t i = 0; i < n; i++) first[i + 1] += first[i];
    for (int64_t k = 0; k < set->text.n; k++)
        if (set->image_of_text[k] >= 0) text[first[set->image_of_text[k]]++] = k;
    for (int64_t i = n; i > 0; i--) first[i] = first[i - 1]; /* each has moved to its end */
    first[0] = 0;
}

static tdm_status add_images(const feature_set *set, const int64_t *first, const int64_t *text,
                             tdm_pack_list *list)
{
    for (int64_t i = 0; i < set->image.n; i++) {
        tdm_pack_item *item;
        TDM_TRY(add_item(set, "image", i, list, &item));
        pack_item_image_feature(item, set->image.features, i);
        TDM_TRY(add_labels(set, &set->image, i, item));
        for (int64_t k = first[i]; k < first[i + 1]; k++)
            TDM_TRY(pack_item_text_feature(item, set->text.features, text[k]));
    }
    return TDM_OK;
}

static tdm_status add_texts_alone(const feature_set *set, tdm_pack_list *list)
{
    for (int64_t k = 0; k < set->text.n; k++) {
        tdm_pack_item *item;
        if (set->image_of_text[k] >= 0) continue;
        TDM_TRY(add_item(set, "text", k, list, &item));
        TDM_TRY(add_labels(set, &set->text, k, item));
        TDM_TRY(pack_item_text_feature(item, set->text.features, k));
    }
    return TDM_OK;
}

tdm_status feature_set_check_classes(const char *where, int64_t count)
{
    TDM_REQUIRE(count >= 0 && count <= MOST_CLASSES, TDM_E_FORMAT,
                "%s: %lld classes, at most %d are possible", where, (long long)count, MOST_CLASSES);
    return TDM_OK;
}

static tdm_status name_class(const feature_set *set, int64_t c, tdm_pack_list *list)
{
    int64_t length = 0, index;
    const char *given = set->class_name.count ? tdm_h5_strings_at(&set->class_name, c, &length) : NULL;
    tdm_text name = {0};
    tdm_status status = given ? tdm_text_printf(&name, "%.*s", (int)length, given)
                              : tdm_text_printf(&name, "%lld", (long long)c);
    if (status == TDM_OK) status = pack_list_class(list, name.data, &index);
    if (status == TDM_OK && index != c)
        status = TDM_ERROR(TDM_E_FORMAT,
                           "%s: class %lld is \"%s\", which is class %lld of the splits before: they are of "
                           "different data sets",
                           set->name, (long long)c, name.data, (long long)index);
    tdm_text_free(&name);
    return status;
}

/* Classes 0, 1, … of both sides, so that an index is a label. */
static tdm_status name_classes(const feature_set *set, tdm_pack_list *list)
{
    const feature_side *sides[2] = {&set->image, &set->text};
    int64_t count = 0;
    for (int s = 0; s < 2; s++) {
        count = tdm_max_i64(count, sides[s]->bit ? sides[s]->classes : 0);
        for (int64_t i = 0; sides[s]->label && i < sides[s]->n; i++)
            count = tdm_max_i64(count, tdm_min_i64(sides[s]->label[i], MOST_CLASSES) + 1);
    }
    TDM_TRY(feature_set_check_classes(set->name, count));
    for (int64_t c = 0; c < count; c++) TDM_TRY(name_class(set, c, list));
    return TDM_OK;
}

tdm_status feature_set_add(const feature_set *set, tdm_pack_list *list)
{
    int64_t *first = NULL, *text = NULL;
    TDM_TRY(name_classes(set, list));
    tdm_status status = TDM_ALLOC(set->image.n + 2, &first);
    if (status == TDM_OK) status = TDM_ALLOC(set->text.n + 1, &text);
    if (status == TDM_OK) sort_by_image(set, first, text);
    if (status == TDM_OK) status = add_images(set, first, text, list);
    if (status == TDM_OK) status = add_texts_alone(set, list);
    tdm_free(first);
    tdm_free(text);
    return status;
}

/* ---- Sides out of files ---- */

tdm_status feature_set_check(const feature_set *set)
{
    for (int64_t k = 0; k < set->text.n; k++)
        TDM_REQUIRE(set->image_of_text[k] >= -1 && set->image_of_text[k] < set->image.n, TDM_E_FORMAT,
                    "%s: text %lld belongs to image %lld of %lld", set->name, (long long)k,
                    (long long)set->image_of_text[k], (long long)set->image.n);
    return TDM_OK;
}

tdm_status feature_set_pair(feature_set *set)
{
    const bool paired = set->text.n == set->image.n;
    TDM_TRY(TDM_ALLOC(set->text.n + 1, &set->image_of_text));
    for (int64_t k = 0; k < set->text.n; k++) set->image_of_text[k] = paired ? k : -1;
    return TDM_OK;
}

/* An optional list of whole numbers, one a row. */
static tdm_status read_numbers(tdm_h5 *file, const char *prefix, const char *name, int64_t n, int64_t **out)
{
    char full[64];
    snprintf(full, sizeof(full), "%s%s", prefix, name);
    return tdm_h5_has(file, full) ? tdm_h5_get_i64s(file, full, &n, out) : TDM_OK;
}

static tdm_status read_bits(tdm_h5 *file, const char *prefix, feature_side *s)
{
    char name[64];
    int ndim;
    int64_t shape[TDM_H5_MAX_DIMS];
    snprintf(name, sizeof(name), "%sclass", prefix);
    if (!tdm_h5_has(file, name)) return TDM_OK;
    TDM_TRY(tdm_h5_find_shape(file, name, &ndim, shape));
    TDM_REQUIRE(ndim == 2 && shape[0] == s->n, TDM_E_FORMAT, "%s: /%s is not a matrix of %lld rows",
                tdm_h5_path(file), name, (long long)s->n);
    s->classes = shape[1];
    TDM_TRY(feature_set_check_classes(tdm_h5_path(file), s->classes));
    TDM_TRY(TDM_ALLOC(s->n * s->classes + 1, &s->bit));
    return tdm_h5_get_array(file, name, TDM_H5_U8, 2, shape, s->bit);
}

static tdm_status read_side(tdm_h5 *file, const char *name, const char *prefix, tdm_pack_list *list,
                            feature_side *s)
{
    if (!tdm_h5_has(file, name)) return TDM_OK;
    TDM_TRY(matrix_create(&s->features));
    TDM_TRY(pack_list_features(list, s->features));
    TDM_TRY(matrix_append(s->features, tdm_h5_path(file), name, false));
    s->n = s->features->rows;
    TDM_TRY(read_numbers(file, prefix, "identity", s->n, &s->identity));
    TDM_TRY(read_numbers(file, prefix, "label", s->n, &s->label));
    return read_bits(file, prefix, s);
}

static tdm_status read_file(tdm_h5 *file, tdm_pack_list *list, feature_set *set)
{
    TDM_TRY(read_side(file, "image", "", list, &set->image));
    TDM_TRY(read_side(file, "text", "text_", list, &set->text));
    TDM_REQUIRE(set->image.features || set->text.features, TDM_E_FORMAT,
                "%s: has neither /image nor /text, matrices of features", tdm_h5_path(file));
    if (tdm_h5_has(file, "text_image"))
        TDM_TRY(tdm_h5_get_i64s(file, "text_image", &set->text.n, &set->image_of_text));
    else
        TDM_TRY(feature_set_pair(set));
    return feature_set_check(set);
}

static tdm_status list_file(const char *source, tdm_pack_list *list)
{
    tdm_h5 *file;
    feature_set set = {.name = pack_base_name(source), .split = ""};
    TDM_TRY(tdm_h5_open(source, NULL, 0, &file));
    tdm_status status = read_file(file, list, &set);
    tdm_h5_discard(&file);
    if (status == TDM_OK) status = feature_set_add(&set, list);
    feature_set_free(&set);
    return status;
}

/* ---- Folders of embeddings ---- */

/* `n` numbers of the part behind those that are there. */
static tdm_status append_numbers(tdm_h5 *file, const char *name, int64_t n, int64_t before, int64_t **all)
{
    int64_t *more = NULL, *grown = NULL;
    TDM_TRY(tdm_h5_get_i64s(file, name, &n, &more));
    tdm_status status = TDM_ALLOC(before + n + 1, &grown);
    if (status == TDM_OK) {
        if (before) memcpy(grown, *all, sizeof(*grown) * (size_t)before);
        memcpy(grown + before, more, sizeof(*grown) * (size_t)n);
        tdm_free(*all);
        *all = grown;
    }
    tdm_free(more);
    return status;
}

static tdm_status append_bits(tdm_h5 *file, int64_t n, int64_t before, feature_side *s)
{
    uint8_t *grown;
    const int64_t shape[2] = {n, s->classes};
    if (!s->classes) return TDM_OK;
    TDM_TRY(TDM_ALLOC((before + n) * s->classes + 1, &grown));
    if (before) memcpy(grown, s->bit, (size_t)(before * s->classes));
    const tdm_status status =
        tdm_h5_get_array(file, "image/class", TDM_H5_U8, 2, shape, grown + before * s->classes);
    tdm_free(s->bit);
    s->bit = grown;
    return status;
}

/* One part behind the parts before it. */
static tdm_status append_part(tdm_h5 *file, feature_set *set)
{
    char dtype[8];
    int64_t first, before[2] = {set->image.n, set->text.n};
    TDM_TRY(tdm_h5_get_chars(file, "dtype", dtype, sizeof(dtype)));
    TDM_TRY(tdm_h5_get_i64(file, "image_first", &first));
    TDM_REQUIRE(first == before[0], TDM_E_FORMAT, "%s: begins with image %lld, not %lld", tdm_h5_path(file),
                (long long)first, (long long)before[0]);
    const bool bf16 = !strcmp(dtype, "bf16");
    TDM_TRY(matrix_append(set->image.features, tdm_h5_path(file), "image/embedding", bf16));
    TDM_TRY(matrix_append(set->text.features, tdm_h5_path(file), "text/embedding", bf16));
    set->image.n = set->image.features->rows;
    set->text.n = set->text.features->rows;
    const int64_t images = set->image.n - before[0], texts = set->text.n - before[1];
    TDM_TRY(append_numbers(file, "image/identity", images, before[0], &set->image.identity));
    TDM_TRY(append_numbers(file, "text/image", texts, before[1], &set->image_of_text));
    return append_bits(file, images, before[0], &set->image);
}

static tdm_status open_part(const char *dir, const char *split, int64_t part, tdm_h5 **file)
{
    char name[64], path[TDM_PATH_BYTES];
    snprintf(name, sizeof(name), "%.31s-%05lld.h5", split, (long long)part);
    TDM_TRY(tdm_path_join(path, sizeof(path), dir, name));
    return tdm_h5_open(path, "tandem.embedding", 1, file);
}

/* Of part 0. */
static tdm_status read_class_names(tdm_h5 *file, int64_t classes, tdm_h5_strings *names)
{
    enum { LONGEST = 1 << 16 };
    if (!classes || !tdm_h5_has(file, "class_name_offset")) return TDM_OK;
    TDM_TRY(tdm_h5_get_strings(file, "class_name_", LONGEST, names));
    TDM_REQUIRE(names->count == classes, TDM_E_FORMAT, "%s: has %lld names of %lld classes",
                tdm_h5_path(file), (long long)names->count, (long long)classes);
    return TDM_OK;
}

/* Of part 0; the others must agree. */
static tdm_status read_class_count(tdm_h5 *file, int64_t part, int64_t *classes)
{
    int64_t count;
    TDM_TRY(tdm_h5_get_i64(file, "classes", &count));
    TDM_REQUIRE(part == 0 || count == *classes, TDM_E_FORMAT, "%s: %lld classes, the parts before have %lld",
                tdm_h5_path(file), (long long)count, (long long)*classes);
    *classes = count;
    return feature_set_check_classes(tdm_h5_path(file), count);
}

static tdm_status read_parts(const char *dir, const char *split, feature_set *set)
{
    int64_t parts = 1;
    for (int64_t part = 0; part < parts; part++) {
        tdm_h5 *file;
        TDM_TRY(open_part(dir, split, part, &file));
        tdm_status status = tdm_h5_get_i64(file, "parts", &parts);
        if (status == TDM_OK) status = read_class_count(file, part, &set->image.classes);
        if (status == TDM_OK && part == 0)
            status = read_class_names(file, set->image.classes, &set->class_name);
        if (status == TDM_OK) status = append_part(file, set);
        tdm_h5_discard(&file);
        TDM_TRY(status);
    }
    return feature_set_check(set);
}

static tdm_status list_split(const char *dir, const char *split, tdm_pack_list *list)
{
    char name[64];
    snprintf(name, sizeof(name), "%.31s", split);
    feature_set set = {.name = name, .split = name};
    tdm_status status = matrix_create(&set.image.features);
    if (status == TDM_OK) status = pack_list_features(list, set.image.features);
    if (status == TDM_OK) status = matrix_create(&set.text.features);
    if (status == TDM_OK) status = pack_list_features(list, set.text.features);
    if (status == TDM_OK) status = read_parts(dir, split, &set);
    if (status == TDM_OK) status = feature_set_add(&set, list);
    feature_set_free(&set);
    return status;
}

static const char first_part[] = "-00000.h5";

/* For scandir: SPLIT-00000.h5 */
static int is_first_part(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name), end = sizeof(first_part) - 1;
    return length > end && length - end < 32 && !strcmp(entry->d_name + length - end, first_part);
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static tdm_status list_embeddings(const char *dir, tdm_pack_list *list)
{
    struct dirent **entry = NULL;
    const int count = scandir(dir, &entry, is_first_part, by_bytes);
    TDM_REQUIRE(count >= 0, TDM_E_IO, "%s: cannot list: %s", dir, strerror(errno));
    tdm_status status = TDM_OK;
    if (count == 0) status = TDM_ERROR(TDM_E_FORMAT, "%s: holds no embeddings (SPLIT%s)", dir, first_part);
    for (int i = 0; i < count; i++) {
        entry[i]->d_name[strlen(entry[i]->d_name) - (sizeof(first_part) - 1)] = '\0';
        if (status == TDM_OK) status = list_split(dir, entry[i]->d_name, list);
        free(entry[i]);
    }
    free(entry);
    return status;
}

#define KEY(field, what)                                                                                     \
    TDM_STRING_OPTION(feature_options, field, "",                                                            \
                      "NumPy, MATLAB, pickles: the variable with " what                                      \
                      "; or one for each split, as \"train=A,test=B\".")
static const tdm_option feature_rows[] = {
    KEY(image_key, "the features of images [n][d]; unset: image"),
    KEY(text_key, "the features of texts [m][e]; unset: text"),
    KEY(label_key, "classes, one a row or [n][classes] of 0 and 1; unset: label"),
    KEY(text_label_key, "the same of texts without an image; unset: text_label"),
    KEY(text_image_key, "the image that each text belongs to, -1 for none; unset: text_image"),
    KEY(identity_key, "identities; unset: identity"),
    KEY(ids_key, "names of the rows; unset: ids"),
    TDM_CHOICE_OPTION(
        feature_options, label_base, "0", LABEL_BASES,
        "NumPy, MATLAB, pickles: the number of the first class; auto: 1 where no label of the source is 0."),
};

static tdm_status features_list(const char *source, const void *options, tdm_pack_list *list)
{
    if (features_are_arrays(source)) return features_list_arrays(source, options, list);
    return tdm_path_is_dir(source) ? list_embeddings(source, list) : list_file(source, list);
}

const tdm_pack_format pack_format_features = {
    .name = "features",
    .takes_file = true,
    .takes_folder = true,
    .help =
        "a file with features of images [n][d] and of texts [m][e] in place of pixels and words, and perhaps "
        "text_image, identity, label, class: HDF5, NumPy (.npz, .npy), MATLAB or a pickle of arrays; a folder of such "
        "files but HDF5; or a folder that tandem embed wrote",
    .options = feature_rows,
    .option_count = sizeof(feature_rows) / sizeof(feature_rows[0]),
    .option_bytes = sizeof(feature_options),
    .list = features_list,
};
