/* Damaged embedding files: bytes of a good one overwritten, or the good one edited through HDF5, so that its
 * checksums fit and our own checks must find what is wrong. Reading returns, and what it returns is
 * consistent. */
#include "fuzz.h"
#include "../scratch.h"

#include "../../src/eval/embedding_file_impl.h"

#include <hdf5.h>
#include <math.h>
#include <string.h>

enum { IMAGES = 3, CAPTIONS = 5, D = 2, CLASSES = 3 };

static char dir[64], path[128];
static tdm_text good; /* the file's bytes */

static void free_good(void)
{
    tdm_text_free(&good);
}

static void prepare(void)
{
    float image[IMAGES * D] = {1, 0, 0, 1, 0.5F, 0.5F}, text[CAPTIONS * D] = {1, 1, 1};
    int64_t image_of[CAPTIONS] = {0, 0, 1, 2, 2}, identity[CAPTIONS] = {4, 5, 6, 7, 8};
    uint64_t labels[IMAGES] = {1, 2, 6};
    const tdm_embeddings e = {.d = D,
                              .images = IMAGES,
                              .captions = CAPTIONS,
                              .image = image,
                              .text = text,
                              .image_row_of_caption = image_of,
                              .image_identity = identity,
                              .caption_identity = identity,
                              .class_count = CLASSES,
                              .label_words = 1,
                              .image_labels = labels};
    const part_info part = {.info = {.source = "data", .split = "val", .model = "m", .model_digest = "d"},
                            .dtype = TDM_BF16,
                            .d = D,
                            .parts = 1,
                            .images_total = IMAGES,
                            .captions_total = CAPTIONS,
                            .classes = CLASSES};
    FUZZ_REQUIRE(scratch_dir(dir, sizeof dir) == 0);
    atexit(free_good);
    snprintf(path, sizeof path, "%s/val-00000.h5", dir);
    FUZZ_REQUIRE(embedding_write_part(path, &part, &e) == TDM_OK);
    FUZZ_REQUIRE(tdm_read_file(path, &good) == TDM_OK);
}

/* ---- What the input says is done to the good file ---- */

typedef struct input {
    const uint8_t *data;
    size_t left;
} input;

static uint8_t take(input *in)
{
    if (in->left == 0) return 0;
    in->left--;
    return *in->data++;
}

static int64_t take_number(input *in)
{
    static const int64_t telling[] = {0,  1,       -1,        2,         3,         5,
                                      64, 1 << 24, INT32_MAX, INT64_MAX, INT64_MIN, INT64_C(1) << 40};
    const int64_t base = telling[take(in) % (sizeof telling / sizeof telling[0])];
    return (int64_t)((uint64_t)base + (uint64_t)(int8_t)take(in));
}

static const char *take_dataset(input *in)
{
    static const char *const names[] = {"image/embedding", "image/row", "image/identity", "image/class",
                                        "text/embedding",  "text/row",  "text/image",     "text/identity"};
    return names[take(in) % (sizeof names / sizeof names[0])];
}

static const char *take_attribute(input *in)
{
    static const char *const names[] = {
        "format", "version",        "dtype",       "embed_dim",     "parts",   "part",  "images_total",
        "source", "captions_total", "image_first", "caption_first", "classes", "split", "model_digest"};
    return names[take(in) % (sizeof names / sizeof names[0])];
}

/* Another number, a text, an array where one value is expected, or nothing. */
static void set_attribute(hid_t file, input *in)
{
    const char *name = take_attribute(in);
    const uint8_t kind = take(in) % 4;
    const int64_t number[3] = {take_number(in), take_number(in), 1};
    const char text[8] = {(char)take(in), (char)take(in), (char)take(in)};
    const hsize_t three = 3;
    H5Adelete(file, name);
    if (kind == 3) return;
    const hid_t type = H5Tcopy(kind == 1 ? H5T_C_S1 : H5T_NATIVE_INT64);
    if (kind == 1) H5Tset_size(type, sizeof text);
    const hid_t space = kind == 2 ? H5Screate_simple(1, &three, NULL) : H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) {
        H5Awrite(attribute, type, kind == 1 ? (const void *)text : (const void *)number);
        H5Aclose(attribute);
    }
    H5Sclose(space);
    H5Tclose(type);
}

/* Another type or shape, also one that claims more than is written. */
static void replace_dataset(hid_t file, input *in)
{
    const char *name = take_dataset(in);
    const hid_t types[4] = {H5T_NATIVE_INT64, H5T_NATIVE_UINT8, H5T_NATIVE_FLOAT, H5T_C_S1};
    const hid_t type = types[take(in) % 4];
    const int ndim = take(in) % 3;
    hsize_t dims[2] = {take(in) % 8, take(in) % 4};
    if (take(in) % 4 == 0) dims[0] = (hsize_t)take_number(in);
    const hsize_t chunk[2] = {4, 2};
    H5Ldelete(file, name, H5P_DEFAULT);
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(ndim, dims, NULL);
    if (ndim > 0) H5Pset_chunk(list, ndim, chunk);
    const hid_t set =
        space >= 0 ? H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT) : H5I_INVALID_HID;
    if (set >= 0) H5Dclose(set);
    if (space >= 0) H5Sclose(space);
    H5Pclose(list);
}

static void poke(hid_t file, input *in)
{
    const hid_t set = H5Dopen2(file, take_dataset(in), H5P_DEFAULT);
    const hsize_t start = take(in) % 6, count = 1;
    const int64_t value = take_number(in);
    if (set < 0) return;
    const hid_t space = H5Dget_space(set), one = H5Screate(H5S_SCALAR);
    if (H5Sget_simple_extent_ndims(space) == 1 &&
        H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0)
        H5Dwrite(set, H5T_NATIVE_INT64, one, space, H5P_DEFAULT, &value);
    H5Sclose(one);
    H5Sclose(space);
    H5Dclose(set);
}

static void edit_good(input *in)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110); /* keeps the checksums of the metadata */
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, access);
    H5Pclose(access);
    FUZZ_REQUIRE(file >= 0);
    for (int i = 0; i < 8 && in->left > 0; i++) {
        switch (take(in) % 4) {
        case 0: H5Ldelete(file, take_dataset(in), H5P_DEFAULT); break;
        case 1: replace_dataset(file, in); break;
        case 2: set_attribute(file, in); break;
        default: poke(file, in); break;
        }
    }
    H5Fclose(file);
}

static void overwrite(tdm_text *file, input *in)
{
    while (in->left >= 3) {
        const size_t at = (size_t)take(in) << 8 | take(in);
        file->data[at % file->length] = (char)take(in);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (dir[0] == '\0') prepare();
    if (bytes == 0) return 0;
    input in = {.data = data + 1, .left = bytes - 1};
    tdm_text file = {0};
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    FUZZ_REQUIRE(tdm_text_append(&file, good.data, good.length) == TDM_OK);
    if (data[0] % 2 == 0) overwrite(&file, &in);
    FUZZ_REQUIRE(tdm_write_file_atomic(path, file.data, file.length) == TDM_OK);
    tdm_text_free(&file);
    if (data[0] % 2 == 1) edit_good(&in);

    part_info first;
    for (int rank = 0; rank < 2; rank++) {
        tdm_embeddings e = {0};
        if (embedding_read_piece(rank, 2, dir, "val", &first, &e) == TDM_OK) {
            FUZZ_REQUIRE(e.d >= 1 && e.images <= IMAGES + 8 && e.captions <= CAPTIONS + 8);
            for (int64_t c = 0; c < e.captions; c++)
                FUZZ_REQUIRE(e.image_row_of_caption[c] >= 0 &&
                             e.image_row_of_caption[c] < first.images_total);
        }
        tdm_embeddings_free(&e);
    }
    FUZZ_REQUIRE(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
    return 0;
}
