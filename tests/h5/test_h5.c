/* The layer over HDF5: what is written comes back, and every kind of damage has its message. Odd files are
 * made with HDF5 itself. */
#include "check.h"
#include "scratch.h"
#include "tandem/h5.h"
#include "variable_text.h"

#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[128];

/* The status, and a message that begins with the path and holds `part`. */
#define FAILS(status, code, part)                                                                            \
    do {                                                                                                     \
        CHECK_FAILS(status, code, part);                                                                     \
        CHECK_EQ(strncmp(tdm_error_last()->message, path, strlen(path)), 0);                                 \
    } while (0)

static int setup(void **state)
{
    (void)state;
    if (scratch_dir(dir, sizeof dir) != 0) return 1;
    snprintf(path, sizeof path, "%s/file.h5", dir);
    return 0;
}

/* Nothing of a file may stay open, whatever has failed. */
static int teardown(void **state)
{
    (void)state;
    CHECK_EQ(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    return tdm_remove_tree(dir) != TDM_OK;
}

static tdm_h5 *create(void)
{
    tdm_h5 *file;
    CHECK_OK(tdm_h5_create(path, "tandem.test", 3, &file));
    return file;
}

static tdm_h5 *open_good(void)
{
    tdm_h5 *file;
    CHECK_OK(tdm_h5_open(path, "tandem.test", 3, &file));
    return file;
}

static const int64_t shape[3] = {5, 3, 2};

static void fill(tdm_h5 *file)
{
    float value[30];
    const int64_t number[4] = {INT64_MIN, -1, 7, INT64_MAX}, four = 4, none = 0;
    for (int i = 0; i < 30; i++) value[i] = (float)i / 8;
    CHECK_OK(tdm_h5_put_text(file, "name", "caf\xc3\xa9"));
    CHECK_OK(tdm_h5_put_text(file, "nothing", ""));
    CHECK_OK(tdm_h5_put_i64(file, "count", INT64_MIN));
    CHECK_OK(tdm_h5_put_f64(file, "best", 0.1));
    CHECK_OK(tdm_h5_put_group(file, "group"));
    CHECK_OK(
        tdm_h5_put_array(file, "group/cube", TDM_H5_F32, 3, shape, 16, value)); /* cut along two dimensions */
    CHECK_OK(tdm_h5_put_array(file, "group/scalar", TDM_H5_F32, 0, NULL, 1 << 20, value + 9));
    CHECK_OK(tdm_h5_put_array(file, "precise", TDM_H5_F64, 0, NULL, 1 << 20, &(double){0.1}));
    CHECK_OK(tdm_h5_put_array(file, "group/number", TDM_H5_I64, 1, &four, 16, number));
    CHECK_OK(tdm_h5_put_array(file, "group/empty", TDM_H5_U8, 1, &none, 16, NULL));
}

static void write_good(void)
{
    tdm_h5 *file = create();
    fill(file);
    CHECK_OK(tdm_h5_finish(&file));
    CHECK_NULL(file);
}

/* ---- What is written comes back ---- */

static void attributes_come_back(void **state)
{
    (void)state;
    tdm_text text = {0};
    int64_t count;
    double best;
    char cut[4];
    write_good();
    tdm_h5 *file = open_good();
    CHECK_STR_EQ(tdm_h5_path(file), path);
    CHECK_OK(tdm_h5_get_text(file, "name", &text));
    CHECK_STR_EQ(text.data, "caf\xc3\xa9");
    CHECK_OK(tdm_h5_get_text(file, "tool_version", &text)); /* appends */
    CHECK_STR_EQ(text.data, "caf\xc3\xa9" TDM_VERSION);
    CHECK_OK(tdm_h5_get_chars(file, "name", cut, sizeof cut));
    CHECK_STR_EQ(cut, "caf");
    CHECK_OK(tdm_h5_get_chars(file, "nothing", cut, sizeof cut));
    CHECK_STR_EQ(cut, "");
    CHECK_OK(tdm_h5_get_i64(file, "count", &count));
    CHECK_EQ(count, INT64_MIN);
    CHECK_OK(tdm_h5_get_f64(file, "best", &best));
    CHECK_EQ(best, 0.1);
    FAILS(tdm_h5_get_i64(file, "absent", &count), TDM_E_FORMAT, "attribute absent is missing");
    FAILS(tdm_h5_get_i64(file, "name", &count), TDM_E_FORMAT, "attribute name is not an integer");
    FAILS(tdm_h5_get_f64(file, "count", &best), TDM_E_FORMAT, "attribute count is not a number");
    FAILS(tdm_h5_get_text(file, "count", &text), TDM_E_FORMAT, "attribute count is not a string");
    tdm_text_free(&text);
    tdm_h5_discard(&file);
    tdm_h5_discard(&file); /* NULL is fine */
}

static void arrays_come_back(void **state)
{
    (void)state;
    float value[30], scalar;
    int64_t found[3], count = 4, *number;
    tdm_h5_array *array;
    tdm_text bytes = {0};
    write_good();
    tdm_h5 *file = open_good();
    CHECK_OK(tdm_h5_get_array(file, "group/cube", TDM_H5_F32, 3, shape, value));
    for (int i = 0; i < 30; i++) CHECK_EQ(value[i], (float)i / 8);
    CHECK_OK(tdm_h5_get_array(file, "group/scalar", TDM_H5_F32, 0, NULL, &scalar));
    CHECK_EQ(scalar, 9.0F / 8);
    double full;
    CHECK_OK(tdm_h5_get_array(file, "precise", TDM_H5_F64, 0, NULL, &full));
    CHECK_EQ(full, 0.1);
    CHECK_OK(tdm_h5_get_array(file, "precise", TDM_H5_F32, 0, NULL, &scalar));
    CHECK_EQ(scalar, 0.1F);
    CHECK_OK(tdm_h5_get_array(file, "group/scalar", TDM_H5_F64, 0, NULL, &full));
    CHECK_EQ(full, 9.0 / 8);
    CHECK_OK(tdm_h5_open_array(file, "group/cube", TDM_H5_F32, 3, found, &array));
    for (int i = 0; i < 3; i++) CHECK_EQ(found[i], shape[i]);
    CHECK_OK(tdm_h5_read(array, 3, 2, value));
    for (int i = 0; i < 12; i++) CHECK_EQ(value[i], (float)(18 + i) / 8);
    CHECK_OK(tdm_h5_read(array, 5, 0, NULL));
    FAILS(tdm_h5_read(array, 4, 2, value), TDM_E_FORMAT, "/group/cube has 5 rows, not those from 4 to 6");
    FAILS(tdm_h5_read(array, -1, 1, value), TDM_E_FORMAT, "not those from -1");
    tdm_h5_close_array(&array);
    CHECK_NULL(array);
    tdm_h5_close_array(&array);
    CHECK_OK(tdm_h5_open_array_again(file, "group/cube", TDM_H5_F32, 3, 1 << 16, found, &array));
    CHECK_OK(tdm_h5_read(array, 0, 1, value)); /* the file closes this one */
    CHECK_OK(tdm_h5_get_i64s(file, "group/number", &count, &number));
    CHECK_EQ(number[0], INT64_MIN);
    CHECK_EQ(number[3], INT64_MAX);
    tdm_free(number);
    CHECK_OK(tdm_h5_get_bytes(file, "group/empty", &bytes));
    CHECK_EQ(bytes.length, 0);
    tdm_text_free(&bytes);
    tdm_h5_discard(&file);
}

/* Chunks of 48 bytes hold 3 rows of 4 values: pieces begin and end inside of chunks. */
static void arrays_grow(void **state)
{
    (void)state;
    float value[40], found[40];
    int64_t rows[2];
    tdm_h5_array *array;
    for (int i = 0; i < 40; i++) value[i] = sinf((float)i);
    tdm_h5 *file = create();
    CHECK_OK(tdm_h5_grow(file, "rows", TDM_H5_F32, 4, 48, &array));
    CHECK_OK(tdm_h5_append(array, 1, value));
    CHECK_OK(tdm_h5_append(array, 0, value));
    CHECK_OK(tdm_h5_append(array, 7, value + 4));
    CHECK_OK(tdm_h5_append(array, 2, value + 32));
    CHECK_OK(tdm_h5_grow(file, "none", TDM_H5_U8, 0, 48, &array));
    CHECK_OK(tdm_h5_finish(&file));
    file = open_good();
    CHECK_OK(tdm_h5_open_array(file, "rows", TDM_H5_F32, 2, rows, &array));
    CHECK_EQ(rows[0], 10);
    CHECK_EQ(rows[1], 4);
    CHECK_OK(tdm_h5_read(array, 0, 10, found));
    CHECK_MEM_EQ(found, value, sizeof value);
    CHECK_OK(tdm_h5_open_array(file, "none", TDM_H5_U8, 1, rows, &array));
    CHECK_EQ(rows[0], 0);
    tdm_h5_discard(&file);
}

static void strings_come_back(void **state)
{
    (void)state;
    static const char *const word[4] = {"one", "", "caf\xc3\xa9", "four"};
    tdm_h5_strings list = {0}, found = {0};
    int64_t bytes, count = -1, *offset;
    for (int i = 0; i < 4; i++) CHECK_OK(tdm_h5_strings_add(&list, word[i], strlen(word[i])));
    tdm_h5 *file = create();
    CHECK_OK(tdm_h5_put_group(file, "a"));
    CHECK_OK(tdm_h5_put_strings(file, "a/name_", &list));
    CHECK_OK(tdm_h5_put_strings(file, "a/", &(tdm_h5_strings){0}));
    CHECK_OK(tdm_h5_finish(&file));
    file = open_good();
    CHECK_TRUE(tdm_h5_has(file, "a/name_bytes"));
    CHECK_TRUE(tdm_h5_has(file, "a/offset"));
    CHECK_OK(tdm_h5_get_strings(file, "a/name_", 5, &found));
    CHECK_EQ(found.count, 4);
    for (int i = 0; i < 4; i++) {
        const char *at = tdm_h5_strings_at(&found, i, &bytes);
        CHECK_EQ(bytes, strlen(word[i]));
        CHECK_MEM_EQ(at, word[i], (size_t)bytes);
    }
    FAILS(tdm_h5_get_strings(file, "a/name_", 4, &found), TDM_E_FORMAT, "/a/name_offset is wrong at row 2");
    CHECK_EQ(found.count, 0);
    FAILS(tdm_h5_get_offsets(file, "a/name_", 1, 5, &count, &offset), TDM_E_FORMAT, "wrong at row 1");
    count = 3;
    FAILS(tdm_h5_get_offsets(file, "a/name_", 0, 5, &count, &offset), TDM_E_FORMAT,
          "/a/name_offset holds 5 rows, expected 4");
    CHECK_NULL(offset);
    CHECK_OK(tdm_h5_get_strings(file, "a/", 5, &found));
    CHECK_EQ(found.count, 0);
    tdm_h5_discard(&file);
    tdm_h5_strings_free(&list);
    tdm_h5_strings_free(&found);
}

/* Offsets that do not fit the bytes, one fault each. */
static void wrong_offsets_are_refused(void **state)
{
    (void)state;
    static const struct {
        int64_t offset[3];
        const char *message;
    } bad[] = {{{1, 2, 4}, "does not begin with 0"},
               {{0, 3, 2}, "wrong at row 1"},
               {{0, 2, 5}, "/bytes holds 4 bytes, /offset says 5"},
               {{0, INT64_MIN, 4}, "wrong at row 0"},
               {{0, 2, INT64_MAX}, "wrong at row 1"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const int64_t three = 3, four = 4;
        int64_t count = 2, *offset;
        tdm_h5 *file = create();
        CHECK_OK(tdm_h5_put_array(file, "bytes", TDM_H5_U8, 1, &four, 64, "text"));
        CHECK_OK(tdm_h5_put_array(file, "offset", TDM_H5_I64, 1, &three, 64, bad[i].offset));
        CHECK_OK(tdm_h5_finish(&file));
        file = open_good();
        FAILS(tdm_h5_get_offsets(file, "", 0, 1 << 20, &count, &offset), TDM_E_FORMAT, bad[i].message);
        tdm_h5_discard(&file);
    }
}

static void columns_come_back(void **state)
{
    (void)state;
    static const char cells[3][8] = {"a", "seven77", ""};
    char *found;
    int64_t count = -1;
    tdm_h5 *file = create();
    CHECK_OK(tdm_h5_put_cells(file, "cell", 8, 3, 1 << 16, cells[0]));
    CHECK_OK(tdm_h5_finish(&file));
    file = open_good();
    CHECK_OK(tdm_h5_get_cells(file, "cell", 8, &count, &found));
    CHECK_EQ(count, 3);
    CHECK_MEM_EQ(found, cells, sizeof cells);
    tdm_free(found);
    CHECK_OK(tdm_h5_get_cells(file, "cell", 4, &count, &found)); /* cut */
    CHECK_MEM_EQ(found + 4, "sev", 4);
    tdm_free(found);
    count = 2;
    FAILS(tdm_h5_get_cells(file, "cell", 8, &count, &found), TDM_E_FORMAT, "/cell holds 3 rows, expected 2");
    CHECK_NULL(found);
    tdm_h5_discard(&file);
}

static void equal_content_gives_equal_bytes(void **state)
{
    (void)state;
    tdm_text first = {0}, second = {0};
    write_good();
    CHECK_OK(tdm_read_file(path, &first));
    sleep(1); /* a time in the file would differ now */
    write_good();
    CHECK_OK(tdm_read_file(path, &second));
    CHECK_EQ(first.length, second.length);
    CHECK_MEM_EQ(first.data, second.data, first.length);
    tdm_text_free(&first);
    tdm_text_free(&second);
}

static void files_are_listed(void **state)
{
    (void)state;
    tdm_h5_items items;
    int64_t count;
    char name[64];
    write_good();
    CHECK_OK(tdm_h5_list(path, &items));
    CHECK_STR_EQ(tdm_h5_items_find(&items, "format")->value, "tandem.test");
    CHECK_STR_EQ(tdm_h5_items_find(&items, "count")->value, "-9223372036854775808");
    const tdm_h5_item *cube = tdm_h5_items_find(&items, "/group/cube");
    CHECK_STR_EQ(cube->type, "f32");
    CHECK_EQ(cube->ndim, 3);
    CHECK_EQ(cube->elements, 30);
    CHECK_NULL(tdm_h5_items_find(&items, "/group"));
    tdm_h5_items_free(&items);
    CHECK_OK(tdm_h5_verify(path));
    tdm_h5 *file = open_good();
    CHECK_OK(tdm_h5_group_size(file, "", &count));
    CHECK_EQ(count, 2);
    CHECK_OK(tdm_h5_link_name(file, "", 1, name, sizeof name));
    CHECK_STR_EQ(name, "precise");
    CHECK_OK(tdm_h5_group_size(file, "group", &count));
    CHECK_EQ(count, 4);
    CHECK_OK(tdm_h5_link_name(file, "group", 2, name, sizeof name));
    CHECK_STR_EQ(name, "number");
    FAILS(tdm_h5_link_name(file, "group", 2, name, 4), TDM_E_FORMAT, "is too long");
    FAILS(tdm_h5_group_size(file, "absent", &count), TDM_E_FORMAT, "group /absent is missing");
    CHECK_FALSE(tdm_h5_has(file, "absent/deep/cube"));
    CHECK_TRUE(tdm_h5_has(file, "group/cube"));
    tdm_h5_discard(&file);
}

/* ---- Damage ---- */

static void wrong_files_are_told(void **state)
{
    (void)state;
    tdm_h5 *file;
    FAILS(tdm_h5_open(path, NULL, 0, &file), TDM_E_IO, "cannot open: No such file or directory");
    CHECK_NULL(file);
    write_good();
    struct stat info;
    CHECK_EQ(stat(path, &info), 0);
    CHECK_EQ(truncate(path, info.st_size / 2), 0);
    FAILS(tdm_h5_open(path, NULL, 0, &file), TDM_E_FORMAT, "truncated");
    CHECK_EQ(truncate(path, 0), 0);
    FAILS(tdm_h5_open(path, NULL, 0, &file), TDM_E_FORMAT, "is empty");
    CHECK_OK(tdm_write_file_atomic(path, "hello", 5));
    FAILS(tdm_h5_open(path, NULL, 0, &file), TDM_E_FORMAT, "is not an HDF5 file");
    unlink(path);
    CHECK_EQ(mkdir(path, 0700), 0);
    FAILS(tdm_h5_open(path, NULL, 0, &file), TDM_E_IO, "is not a file");
    FAILS(tdm_h5_create(path, "tandem.test", 1, &file), TDM_E_IO, "cannot create");
    CHECK_NULL(file);
    CHECK_EQ(rmdir(path), 0);
    write_good();
    FAILS(tdm_h5_open(path, "tandem.other", 3, &file), TDM_E_FORMAT,
          "format attribute is \"tandem.test\", expected \"tandem.other\"");
    FAILS(tdm_h5_open(path, "tandem.test", 4, &file), TDM_E_FORMAT,
          "tandem.test version 3, this program reads version 4");
    const hid_t bare = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(bare);
    FAILS(tdm_h5_open(path, "tandem.test", 3, &file), TDM_E_FORMAT, "has no format attribute");
}

static void wrong_arrays_are_told(void **state)
{
    (void)state;
    float value[30];
    int64_t found[4], count = 3, *number;
    tdm_h5_array *array;
    tdm_text bytes = {0};
    write_good();
    tdm_h5 *file = open_good();
    FAILS(tdm_h5_open_array(file, "group/absent", TDM_H5_F32, 1, found, &array), TDM_E_FORMAT,
          "/group/absent is missing");
    FAILS(tdm_h5_get_array(file, "nowhere/absent", TDM_H5_F32, 3, shape, value), TDM_E_FORMAT,
          "/nowhere/absent is missing");
    FAILS(tdm_h5_open_array(file, "group", TDM_H5_F32, 1, found, &array), TDM_E_FORMAT, "/group");
    FAILS(tdm_h5_open_array(file, "group/cube", TDM_H5_F32, 2, found, &array), TDM_E_FORMAT,
          "/group/cube is not an array of floats with 2 dimensions");
    CHECK_NULL(array);
    FAILS(tdm_h5_open_array(file, "group/cube", TDM_H5_I64, 3, found, &array), TDM_E_FORMAT,
          "/group/cube is not an array of integers with 3 dimensions");
    FAILS(tdm_h5_get_array(file, "group/cube", TDM_H5_F32, 2, shape, value), TDM_E_SHAPE,
          "/group/cube is [5, 3, 2], expected [5, 3]");
    FAILS(tdm_h5_get_array(file, "group/number", TDM_H5_F32, 1, &(int64_t){4}, value), TDM_E_FORMAT,
          "/group/number is not an array of floats");
    FAILS(tdm_h5_get_i64s(file, "group/number", &count, &number), TDM_E_FORMAT,
          "/group/number holds 4 rows, expected 3");
    FAILS(tdm_h5_get_bytes(file, "group/cube", &bytes), TDM_E_FORMAT, "/group/cube is not an array");
    tdm_h5_discard(&file);
}

/* A byte of the array's data, wherever it stands. */
static void a_flipped_byte_is_a_checksum_error(void **state)
{
    (void)state;
    float value[30];
    const float wanted[3] = {6.0F / 8, 7.0F / 8, 1};
    tdm_text whole = {0};
    tdm_h5_array *array;
    int64_t found[3];
    write_good();
    CHECK_OK(tdm_read_file(path, &whole));
    char *at = memmem(whole.data, whole.length, wanted, sizeof *wanted * 2);
    CHECK_NOT_NULL(at);
    at[5] ^= 0x20;
    CHECK_OK(tdm_write_file_atomic(path, whole.data, whole.length));
    tdm_text_free(&whole);
    tdm_h5 *file = open_good();
    FAILS(tdm_h5_get_array(file, "group/cube", TDM_H5_F32, 3, shape, value), TDM_E_FORMAT,
          "cannot read /group/cube: checksum error");
    CHECK_OK(tdm_h5_open_array(file, "group/cube", TDM_H5_F32, 3, found, &array));
    CHECK_OK(tdm_h5_read(array, 0, 1, value)); /* other chunks are whole */
    FAILS(tdm_h5_read(array, 1, 1, value), TDM_E_FORMAT, "cannot read /group/cube: checksum error");
    tdm_h5_discard(&file);
    FAILS(tdm_h5_verify(path), TDM_E_FORMAT, "is damaged: bytes 0 to ");
    CHECK_MESSAGE("/group/cube");
}

/* Adds to the good file through HDF5 itself. */
static hid_t edit(void)
{
    write_good();
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    CHECK_TRUE(file >= 0);
    return file;
}

static void put_odd_set(hid_t file, const char *name, hid_t type, int ndim, const hsize_t *dims)
{
    const hsize_t chunk[2] = {4, 2};
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(ndim, dims, NULL);
    if (ndim <= 2) H5Pset_chunk(list, ndim, chunk);
    const hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK_TRUE(set >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(list);
}

static void variable_length_is_refused(void **state)
{
    (void)state;
    const hid_t edited = edit(), type = H5Tcopy(H5T_C_S1);
    const hsize_t eight = 8;
    tdm_text text = {0};
    char *cells, out[8];
    int64_t count = -1;
    tdm_h5_items items;
    H5Tset_size(type, H5T_VARIABLE);
    put_odd_set(edited, "words", type, 1, &eight);
    H5Tclose(type);
    H5Fclose(edited);
    CHECK_TRUE(put_variable_text(path, "odd", "long"));
    tdm_h5 *file = open_good();
    FAILS(tdm_h5_get_text(file, "odd", &text), TDM_E_FORMAT, "attribute odd is a string of variable length");
    FAILS(tdm_h5_get_chars(file, "odd", out, sizeof out), TDM_E_FORMAT, "variable length");
    FAILS(tdm_h5_get_cells(file, "words", 8, &count, &cells), TDM_E_FORMAT,
          "/words is not an array of strings of a fixed length");
    FAILS(tdm_h5_verify(path), TDM_E_FORMAT, "/words is of variable length");
    tdm_h5_discard(&file);
    CHECK_OK(tdm_h5_list(path, &items)); /* any file can be listed, without the value */
    CHECK_STR_EQ(tdm_h5_items_find(&items, "odd")->value, "");
    tdm_h5_items_free(&items);
    tdm_text_free(&text);
}

/* A set that claims rows without chunks; one that claims all there is; one of too many dimensions. */
static void what_was_not_written_is_refused(void **state)
{
    (void)state;
    const hid_t edited = edit();
    const hsize_t eight = 8, huge = INT64_MAX, five[5] = {1, 1, 1, 1, 1};
    int64_t found[4], count = -1, *number;
    tdm_h5_array *array;
    int ndim;
    put_odd_set(edited, "claimed", H5T_NATIVE_INT64, 1, &eight);
    put_odd_set(edited, "huge", H5T_NATIVE_INT64, 1, &huge);
    put_odd_set(edited, "deep", H5T_NATIVE_INT64, 5, five);
    const hid_t set = H5Dopen2(edited, "claimed", H5P_DEFAULT), space = H5Dget_space(set);
    const hsize_t four = 4, start = 0;
    const int64_t value[4] = {1, 2, 3, 4};
    const hid_t memory = H5Screate_simple(1, &four, NULL); /* the first of two chunks */
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &four, NULL);
    CHECK_TRUE(H5Dwrite(set, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, value) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(edited);
    tdm_h5 *file = open_good();
    FAILS(tdm_h5_get_i64s(file, "claimed", &count, &number), TDM_E_FORMAT,
          "/claimed was not written completely");
    FAILS(tdm_h5_open_array(file, "huge", TDM_H5_I64, 1, found, &array), TDM_E_FORMAT, "/huge is too large");
    FAILS(tdm_h5_find_shape(file, "deep", &ndim, found), TDM_E_FORMAT, "/deep is not an array");
    FAILS(tdm_h5_get_array(file, "deep", TDM_H5_I64, 3, shape, found), TDM_E_FORMAT, "/deep is not an array");
    FAILS(tdm_h5_verify(path), TDM_E_FORMAT, "was not written completely");
    tdm_h5_discard(&file);
}

/* Other programs write contiguous sets and integers of other widths. */
static void sets_of_other_programs_are_converted(void **state)
{
    (void)state;
    const hid_t edited = edit(), space = H5Screate_simple(1, &(hsize_t){3}, NULL);
    const int32_t value[3] = {-1, 2, INT32_MAX};
    int64_t count = 3, *number;
    const hid_t set =
        H5Dcreate2(edited, "narrow", H5T_STD_I32BE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK_TRUE(H5Dwrite(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(edited);
    tdm_h5 *file = open_good();
    CHECK_OK(tdm_h5_get_i64s(file, "narrow", &count, &number));
    for (int i = 0; i < 3; i++) CHECK_EQ(number[i], value[i]);
    tdm_free(number);
    CHECK_OK(tdm_h5_verify(path));
    tdm_h5_discard(&file);
}

/* The file-size limit stands for a full disk. */
static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    enum { BYTES = 4 << 20 };
    struct rlimit before, small;
    unsigned char *data = calloc(1, BYTES);
    const int64_t bytes = BYTES;
    CHECK_NOT_NULL(data);
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 1 << 20;
    signal(SIGXFSZ, SIG_IGN);
    for (int piecewise = 0; piecewise < 2; piecewise++) {
        tdm_h5_array *array;
        tdm_h5 *file = create();
        setrlimit(RLIMIT_FSIZE, &small);
        tdm_status status;
        if (piecewise) {
            status = tdm_h5_grow(file, "big", TDM_H5_U8, 0, 1 << 16, &array);
            if (status == TDM_OK) status = tdm_h5_append(array, BYTES, data);
            if (status == TDM_OK) status = tdm_h5_finish(&file);
        } else {
            status = tdm_h5_put_array(file, "big", TDM_H5_U8, 1, &bytes, 1 << 16, data);
        }
        setrlimit(RLIMIT_FSIZE, &before);
        FAILS(status, TDM_E_IO, "File too large");
        CHECK_NOT_NULL(file);
        tdm_h5_discard(&file);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(attributes_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(arrays_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(arrays_grow, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_offsets_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(columns_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(equal_content_gives_equal_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_listed, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_files_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_arrays_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flipped_byte_is_a_checksum_error, setup, teardown),
        cmocka_unit_test_setup_teardown(variable_length_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_written_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(sets_of_other_programs_are_converted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
