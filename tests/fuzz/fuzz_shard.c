/* Damaged shards. The first byte of the input chooses: the rest is the shard file itself (HDF5's own
 * checksums then stop most of it), or a list of edits of a good shard, made through HDF5 so that its
 * checksums fit and our own checks must find what is wrong. Whatever happens, opening, reading and verifying
 * return. */
#include "fuzz.h"
#include "tandem/shard.h"

#include <hdf5.h>
#include <string.h>

static char dir[64], shard_path[128];
static tdm_text good; /* the file's bytes */
static tdm_index_row row = {.file = "fuzz-00000.h5", .split = "fuzz"};

static void remove_dir(void)
{
    if (tdm_remove_tree(dir) != TDM_OK) fprintf(stderr, "%s\n", tdm_error_last()->message);
    tdm_text_free(&good);
}

static tdm_status make_good(void)
{
    static const char *const class_name[2] = {"a", "b"};
    static const char *const caption[2] = {"one", "two two"};
    static const float feature[6] = {1, 2, 3, 4, 5, 6};
    static const tdm_shard_strings alternative[2] = {{caption, 2}, {caption, 0}};
    const tdm_shard_info info = {.dataset = "fuzz",
                                 .split = "fuzz",
                                 .class_count = 2,
                                 .class_name = class_name,
                                 .feature_width = {3, 2}};
    tdm_shard_writer *writer;
    TDM_TRY(tdm_shard_writer_create(shard_path, &info, &writer));
    for (int64_t i = 0; i < 5; i++) {
        /* rows: image only, both, both, feature only, text only */
        const tdm_shard_sample sample = {.image = "encoded image",
                                         .image_bytes = i < 3 ? 3 + i : 0,
                                         .image_feature = i < 4 ? feature : NULL,
                                         .caption_feature = feature,
                                         .alternative = alternative,
                                         .name = "a.png",
                                         .identity = i / 2,
                                         .class_index = &(const int64_t){i % 2},
                                         .class_n = 1,
                                         .caption = caption,
                                         .caption_n = i % 3};
        tdm_status status = tdm_shard_writer_add(writer, &sample);
        if (status != TDM_OK) {
            tdm_shard_writer_destroy(&writer);
            return status;
        }
    }
    TDM_TRY(tdm_shard_writer_finish(&writer, &row.images, &row.captions, row.digest));
    return tdm_read_file(shard_path, &good);
}

static void prepare(void)
{
    const char *memory = tdm_path_is_dir("/dev/shm") ? "/dev/shm" : "/tmp";
    snprintf(dir, sizeof(dir), "%s/tandem-fuzz-XXXXXX", memory);
    FUZZ_REQUIRE(mkdtemp(dir));
    snprintf(shard_path, sizeof(shard_path), "%s/fuzz-00000.h5", dir);
    FUZZ_REQUIRE(make_good() == TDM_OK);
    atexit(remove_dir);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* ---- edits ---- */

typedef struct input {
    const uint8_t *data;
    size_t left;
} input;

static uint8_t take(input *in)
{
    if (!in->left) return 0;
    in->left--;
    return *in->data++;
}

/* A number near something that matters, or any. */
static int64_t take_number(input *in)
{
    static const int64_t telling[] = {0, -1, 1, 5, 6, 64, 65536, INT32_MAX, INT64_MAX, INT64_MIN, 1LL << 40};
    uint8_t kind = take(in);
    if (kind < 128)
        return (int64_t)((uint64_t)telling[kind % (sizeof(telling) / sizeof(telling[0]))] +
                         (uint64_t)(int8_t)take(in));
    int64_t value = 0;
    for (int i = 0; i < 8; i++) value = (int64_t)((uint64_t)value << 8 | take(in));
    return value;
}

static const char *take_dataset(input *in)
{
    static const char *const name[] = {"image/bytes",
                                       "image/offset",
                                       "image/identity",
                                       "image/name_bytes",
                                       "image/name_offset",
                                       "image/class",
                                       "class/name_bytes",
                                       "class/name_offset",
                                       "caption/bytes",
                                       "caption/offset",
                                       "caption/image",
                                       "caption/alternative_bytes",
                                       "caption/alternative_offset",
                                       "caption/alternative_caption",
                                       "image/feature",
                                       "image/has_feature",
                                       "caption/feature"};
    return name[take(in) % (sizeof(name) / sizeof(name[0]))];
}

static const char *take_attribute(input *in)
{
    static const char *const name[] = {"format", "version",  "dataset",         "split",
                                       "images", "captions", "tokenizer_digest"};
    return name[take(in) % (sizeof(name) / sizeof(name[0]))];
}

static void poke(hid_t file, input *in)
{
    hid_t dataset = H5Dopen2(file, take_dataset(in), H5P_DEFAULT);
    hsize_t start = take(in) % 8, count = 1;
    int64_t value = take_number(in);
    if (dataset < 0) return;
    hid_t space = H5Dget_space(dataset), one = H5Screate(H5S_SCALAR);
    if (H5Sget_simple_extent_ndims(space) == 1 &&
        H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0)
        H5Dwrite(dataset, H5T_NATIVE_INT64, one, space, H5P_DEFAULT, &value);
    H5Sclose(one);
    H5Sclose(space);
    H5Dclose(dataset);
}

static void replace(hid_t file, input *in)
{
    const char *name = take_dataset(in);
    const hid_t types[4] = {H5T_NATIVE_INT64, H5T_NATIVE_UINT8, H5T_NATIVE_DOUBLE, H5T_C_S1};
    hid_t type = types[take(in) % 4];
    int rank = take(in) % 3;
    hsize_t dims[2] = {take(in) % 12, take(in) % 4}, huge = (hsize_t)take_number(in);
    if (take(in) % 4 == 0) dims[0] = huge;
    H5Ldelete(file, name, H5P_DEFAULT);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(rank, dims, NULL);
    const hsize_t chunk[2] = {4, 2};
    if (rank) H5Pset_chunk(list, rank, chunk);
    hid_t dataset =
        space >= 0 ? H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT) : H5I_INVALID_HID;
    if (dataset >= 0) H5Dclose(dataset);
    if (space >= 0) H5Sclose(space);
    H5Pclose(list);
}

static void set_attribute(hid_t file, input *in)
{
    const char *name = take_attribute(in);
    uint8_t kind = take(in) % 4;
    int64_t number = take_number(in);
    char text[8] = {(char)take(in), (char)take(in), (char)take(in)};
    const char *pointer = text;
    H5Adelete(file, name);
    if (kind == 3) return;
    hid_t type = H5Tcopy(kind == 0 ? H5T_NATIVE_INT64 : H5T_C_S1), space = H5Screate(H5S_SCALAR);
    if (kind) H5Tset_size(type, kind == 1 ? sizeof(text) : H5T_VARIABLE);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const void *value = kind == 0 ? (const void *)&number : kind == 1 ? (const void *)text : &pointer;
    if (attribute >= 0) {
        H5Awrite(attribute, type, value);
        H5Aclose(attribute);
    }
    H5Sclose(space);
    H5Tclose(type);
}

static void edit_good(input *in)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    hid_t file = H5Fopen(shard_path, H5F_ACC_RDWR, access);
    H5Pclose(access);
    FUZZ_REQUIRE(file >= 0);
    for (int i = 0; i < 8 && in->left; i++) {
        switch (take(in) % 4) {
        case 0: H5Ldelete(file, take_dataset(in), H5P_DEFAULT); break;
        case 1: replace(file, in); break;
        case 2: set_attribute(file, in); break;
        default: poke(file, in); break;
        }
    }
    H5Fclose(file);
}

/* Two bytes of position, counted from the file's begin or (odd third byte) its end, and the new value. */
static void overwrite_good(input *in)
{
    tdm_text file = {0};
    FUZZ_REQUIRE(tdm_text_append(&file, good.data, good.length) == TDM_OK);
    while (in->left >= 4) {
        size_t at = (size_t)take(in) << 8;
        at = (at | take(in)) % file.length;
        if (take(in) & 1) at = file.length - 1 - at;
        file.data[at] = (char)take(in);
    }
    FUZZ_REQUIRE(tdm_write_file_atomic(shard_path, file.data, file.length) == TDM_OK);
    tdm_text_free(&file);
}

/* ---- reading ---- */

static void read_all(tdm_dataset *dataset)
{
    tdm_text text = {0};
    uint8_t bit[64];
    float feature[64];
    int64_t first, n, imageless = 0;
    /* what fails returns a status; what is counted must be consistent */
    for (int64_t i = 0; i < tdm_dataset_images(dataset); i++) {
        if (tdm_dataset_read_image(dataset, i, &text) == TDM_OK) FUZZ_REQUIRE(text.length > 0);
        if (tdm_dataset_read_name(dataset, i, &text) == TDM_OK) FUZZ_REQUIRE(text.length <= 4096);
        if (tdm_dataset_class_count(dataset) <= 64) (void)!tdm_dataset_classes(dataset, i, bit);
        tdm_dataset_image_captions(dataset, i, &first, &n);
        for (int64_t c = first; c < first + n; c++) FUZZ_REQUIRE(tdm_dataset_caption_image(dataset, c) == i);
        (void)tdm_dataset_identity(dataset, i);
        imageless += !tdm_dataset_has_image(dataset, i);
        FUZZ_REQUIRE(tdm_dataset_has_image(dataset, i) || n > 0);
        if (tdm_dataset_feature_width(dataset, TDM_IMAGE) <= 64)
            (void)!tdm_dataset_read_feature(dataset, TDM_IMAGE, i, feature);
    }
    FUZZ_REQUIRE(imageless == tdm_dataset_imageless(dataset));
    for (int64_t i = 0; i < tdm_dataset_alternatives(dataset); i++)
        if (tdm_dataset_read_alternative(dataset, i, &text) == TDM_OK) FUZZ_REQUIRE(text.length > 0);
    const int64_t caption_width = tdm_dataset_feature_width(dataset, TDM_TEXT);
    for (int64_t i = 0; i < tdm_dataset_captions(dataset); i++) {
        if (tdm_dataset_read_caption(dataset, i, &text) == TDM_OK)
            FUZZ_REQUIRE(text.length > 0 || caption_width > 0);
        if (caption_width <= 64) (void)!tdm_dataset_read_feature(dataset, TDM_TEXT, i, feature);
        tdm_dataset_caption_alternatives(dataset, i, &first, &n);
        FUZZ_REQUIRE(first >= 0 && n >= 0 && first + n <= tdm_dataset_alternatives(dataset));
    }
    (void)!tdm_dataset_verify(dataset);
    tdm_text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (!dir[0]) prepare();
    if (!bytes) return 0;
    input in = {.data = data + 1, .left = bytes - 1};
    if (data[0] % 4 == 0) {
        FUZZ_REQUIRE(tdm_write_file_atomic(shard_path, in.data, in.left) == TDM_OK);
    } else if (data[0] % 4 == 1) {
        overwrite_good(&in);
    } else {
        FUZZ_REQUIRE(tdm_write_file_atomic(shard_path, good.data, good.length) == TDM_OK);
        edit_good(&in);
    }
    FUZZ_REQUIRE(tdm_index_write(dir, "fuzz", &row, 1) == TDM_OK);
    tdm_dataset *dataset;
    if (tdm_dataset_open(dir, "fuzz", &dataset) == TDM_OK) {
        read_all(dataset);
        tdm_dataset_close(&dataset);
    } else {
        FUZZ_REQUIRE(dataset == NULL && tdm_error_last()->message[0]);
    }
    FUZZ_REQUIRE(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL) == 0); /* nothing is left open */
    return 0;
}
