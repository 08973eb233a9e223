/* The checksums at a file's end: every byte counts, and every kind of damage is called damage. */
#include "check.h"
#include "tandem/h5.h"

#include "../../src/h5/h5_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 30000 };

static char dir[64], path[128];
static tdm_text whole; /* the good file's bytes */

static tdm_status fill(tdm_h5 *file)
{
    static int64_t value[ROWS];
    static const unsigned char zeros[100];
    const int64_t rows = ROWS, few = 100;
    for (int64_t i = 0; i < ROWS; i++) value[i] = i * i + 1;
    TDM_TRY(tdm_h5_put_text(file, "config", "width = 768;"));
    TDM_TRY(tdm_h5_put_group(file, "param"));
    TDM_TRY(tdm_h5_put_array(file, "param/long", TDM_H5_I64, 1, &rows, 1 << 16, value));
    TDM_TRY(tdm_h5_put_array(file, "param/few", TDM_H5_I64, 1, &few, 1 << 16, value));
    return tdm_h5_put_array(file, "zeros", TDM_H5_U8, 1, &few, 1 << 16, zeros);
}

static int setup(void **state)
{
    (void)state;
    tdm_h5 *file;
    snprintf(dir, sizeof dir, "/tmp/tandem-seal-XXXXXX");
    if (mkdtemp(dir) == NULL) return 1;
    snprintf(path, sizeof path, "%s/file.h5", dir);
    tdm_status status = tdm_h5_create(path, "tandem.test", 1, &file);
    if (status == TDM_OK) status = fill(file);
    if (status == TDM_OK) status = tdm_h5_finish(&file);
    tdm_h5_discard(&file);
    if (status == TDM_OK) status = tdm_read_file(path, &whole);
    return status != TDM_OK;
}

static int teardown(void **state)
{
    (void)state;
    tdm_text_free(&whole);
    return tdm_remove_tree(dir) != TDM_OK;
}

static void put(const char *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    CHECK_NOT_NULL(file);
    CHECK_EQ(fwrite(data, 1, bytes, file), bytes);
    CHECK_EQ(fclose(file), 0);
}

/* The good file with `bytes` bytes at `at` XORed with `flip`, or set to zero. False: that changes nothing. */
static bool damage(size_t at, size_t bytes, unsigned char flip)
{
    tdm_text copy = {0};
    CHECK_OK(tdm_text_append(&copy, whole.data, whole.length));
    for (size_t i = at; i < at + bytes && i < whole.length; i++)
        copy.data[i] = flip ? (char)(copy.data[i] ^ flip) : '\0';
    const bool changed = memcmp(copy.data, whole.data, whole.length) != 0;
    put(copy.data, copy.length);
    tdm_text_free(&copy);
    return changed;
}

/* Where HDF5 says that the file ends: its superblock. */
static size_t end_of_hdf5(void)
{
    uint64_t end;
    memcpy(&end, whole.data + 28, sizeof end);
    return (size_t)end;
}

/* Against the reference implementation, xxhash 3 of PyPI. */
static void the_hash_is_xxh64(void **state)
{
    (void)state;
    static const char ishmael[] = "Call me Ishmael. Some years ago--never mind how long precisely-";
    unsigned char bytes[1003];
    for (int i = 0; i < 1003; i++) bytes[i] = (unsigned char)(i * 7);
    CHECK_EQ(tdm_xxh64("", 0), 0xef46db3751d8e999U);
    CHECK_EQ(tdm_xxh64("a", 1), 0xd24ec4f1a98c6e5bU);
    CHECK_EQ(tdm_xxh64("asdf", 4), 0x415872f599cea71eU);
    CHECK_EQ(tdm_xxh64(ishmael, 63), 0x02a2e85470d6fd96U);
    CHECK_EQ(tdm_xxh64(bytes, 1003), 0x7c109bc7a719efbaU);
}

static void every_byte_counts(void **state)
{
    (void)state;
    bool sealed;
    put(whole.data, whole.length);
    CHECK_OK(tdm_h5_verify_part(path, 0, 1, &sealed));
    CHECK_TRUE(sealed);
    for (size_t at = 0; at < whole.length; at += at < 4096 || at > end_of_hdf5() ? 97 : 1009) {
        CHECK_TRUE(damage(at, 1, 0x01));
        CHECK_FAILS(tdm_h5_verify(path), TDM_E_FORMAT, "file.h5: is damaged: ");
    }
}

/* Exactly one part finds a flipped byte of the contents; all find one of the checksums. */
static void parts_cover_the_file(void **state)
{
    (void)state;
    bool sealed;
    for (int64_t parts = 1; parts <= 40; parts += 13)
        for (size_t at = 5; at < whole.length; at += 20011) {
            CHECK_TRUE(damage(at, 1, 0x80));
            int64_t found = 0;
            for (int64_t part = 0; part < parts; part++)
                found += tdm_h5_verify_part(path, part, parts, &sealed) != TDM_OK;
            CHECK_EQ(found, at < end_of_hdf5() ? 1 : parts);
        }
}

/* Why HDF5's checksums do not do: the Fletcher-32 of zeros is zero, so that a zeroed chunk passes for data. */
static void a_zeroed_chunk_is_found(void **state)
{
    (void)state;
    int64_t first[3] = {1, 2, 5}, value[100];
    const char *at = memmem(whole.data, whole.length, first, sizeof first);
    /* the long one's first chunk, then the short one: 100 values and the checksum */
    at = memmem(at + 1, whole.length - (size_t)(at + 1 - whole.data), first, sizeof first);
    CHECK_NOT_NULL(at);
    CHECK_TRUE(damage((size_t)(at - whole.data), 804, 0));
    tdm_h5 *file;
    const int64_t few = 100;
    CHECK_OK(tdm_h5_open(path, "tandem.test", 1, &file));
    CHECK_OK(tdm_h5_get_array(file, "param/few", TDM_H5_I64, 1, &few, value));
    CHECK_EQ(value[1], 0);
    tdm_h5_discard(&file);
    CHECK_FAILS(tdm_h5_verify(path), TDM_E_FORMAT, "have changed since it was written (");
    CHECK_MESSAGE("/param/few");
}

/* Reads all through HDF5; a failure must call it damage and never "missing". */
static void read_all_of_it(void)
{
    tdm_h5 *file;
    static int64_t value[ROWS];
    const int64_t rows = ROWS;
    tdm_text text = {0};
    tdm_status status = tdm_h5_open(path, "tandem.test", 1, &file);
    if (status == TDM_OK) status = tdm_h5_get_text(file, "config", &text);
    if (status == TDM_OK) status = tdm_h5_get_array(file, "param/long", TDM_H5_I64, 1, &rows, value);
    if (status != TDM_OK) {
        CHECK_EQ(status, TDM_E_FORMAT);
        CHECK_MESSAGE("damaged");
    }
    tdm_h5_discard(&file);
    tdm_text_free(&text);
}

/* Blocks of 4 KiB and of 64 bytes: data, object headers, heaps, B-trees, the superblock, the checksums. */
static void zeroed_blocks_are_found(void **state)
{
    (void)state;
    static const size_t sizes[] = {4096, 64};
    for (int k = 0; k < 2; k++)
        for (size_t at = 0; at < whole.length; at += k == 0 ? 4096 : 448) {
            if (!damage(at, sizes[k], 0)) continue;
            CHECK_FAILS(tdm_h5_verify(path), TDM_E_FORMAT, "damaged");
            read_all_of_it();
        }
}

static void truncated_and_longer_files_are_found(void **state)
{
    (void)state;
    bool sealed;
    const size_t end = end_of_hdf5();
    const size_t lengths[] = {whole.length - 1, end + 8, end + 1, end - 1, end / 2, 100, 48, 20, 1, 0};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        put(whole.data, lengths[i]);
        CHECK_FAILS(tdm_h5_verify(path), TDM_E_FORMAT, "damaged");
    }
    put(whole.data, end); /* the file of an older version */
    CHECK_OK(tdm_h5_verify_part(path, 0, 1, &sealed));
    CHECK_FALSE(sealed);
    tdm_text longer = {0};
    CHECK_OK(tdm_text_append(&longer, whole.data, whole.length));
    CHECK_OK(tdm_text_append(&longer, whole.data, 4096));
    put(longer.data, longer.length);
    CHECK_FAILS(tdm_h5_verify(path), TDM_E_FORMAT, "the checksums at its end");
    tdm_text_free(&longer);
}

/* What an older version wrote: HDF5's checksums are compared, by parts, too. */
static void files_without_a_seal_are_read(void **state)
{
    (void)state;
    bool sealed;
    int found = 0;
    CHECK_TRUE(damage(end_of_hdf5() / 2, 1, 0x04)); /* amid /param/long */
    CHECK_EQ(truncate(path, (off_t)end_of_hdf5()), 0);
    CHECK_FAILS(tdm_h5_verify(path), TDM_E_FORMAT, "is damaged: cannot read /param/long: checksum error");
    for (int part = 0; part < 3; part++) found += tdm_h5_verify_part(path, part, 3, &sealed) != TDM_OK;
    CHECK_EQ(found, 1);
    CHECK_OK(tdm_h5_compare_seal(path, 0, 1, &sealed));
    CHECK_FALSE(sealed);
}

static void edits_of_other_programs_take_the_seal_off(void **state)
{
    (void)state;
    bool sealed;
    put(whole.data, whole.length);
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file, "note", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK_GE(H5Awrite(attribute, H5T_NATIVE_INT, &(int){1}), 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Fclose(file);
    CHECK_OK(tdm_h5_verify_part(path, 0, 1, &sealed));
    CHECK_FALSE(sealed);
}

static void a_file_that_may_not_be_read_is_not_damaged(void **state)
{
    (void)state;
    tdm_h5 *file;
    put(whole.data, whole.length);
    CHECK_EQ(chmod(path, 0), 0);
    CHECK_EQ(chmod(dir, 0711), 0);
    const bool root = geteuid() == 0;
    if (root) CHECK_EQ(seteuid(65534), 0);
    const tdm_status verified = tdm_h5_verify(path), opened = tdm_h5_open(path, NULL, 0, &file);
    if (root) CHECK_EQ(seteuid(0), 0);
    CHECK_EQ(chmod(path, 0600), 0);
    CHECK_EQ(verified, TDM_E_IO);
    CHECK_EQ(opened, TDM_E_IO);
    CHECK_MESSAGE("cannot open: Permission denied");
}

static void a_digest_is_that_of_the_content(void **state)
{
    (void)state;
    char good[65], again[65], other[65];
    tdm_h5 *file;
    put(whole.data, whole.length);
    CHECK_OK(tdm_h5_digest(path, good));
    CHECK_OK(tdm_h5_create(path, "tandem.test", 1, &file));
    CHECK_OK(fill(file));
    CHECK_OK(tdm_h5_finish(&file));
    CHECK_OK(tdm_h5_digest(path, again));
    CHECK_STR_EQ(again, good);
    CHECK_OK(tdm_h5_create(path, "tandem.test", 2, &file)); /* of the same size */
    CHECK_OK(fill(file));
    CHECK_OK(tdm_h5_finish(&file));
    CHECK_OK(tdm_h5_digest(path, other));
    CHECK_TRUE(strcmp(other, good) != 0);
    /* without a seal, the bytes count */
    put(whole.data, end_of_hdf5());
    CHECK_OK(tdm_h5_digest(path, again));
    CHECK_TRUE(damage(end_of_hdf5() / 2, 1, 0x04));
    CHECK_EQ(truncate(path, (off_t)end_of_hdf5()), 0);
    CHECK_OK(tdm_h5_digest(path, other));
    CHECK_TRUE(strcmp(again, good) != 0);
    CHECK_TRUE(strcmp(again, other) != 0);
    CHECK_FAILS(tdm_h5_digest("/nowhere/file.h5", other), TDM_E_IO, "/nowhere/file.h5: cannot open");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_xxh64),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(parts_cover_the_file),
        cmocka_unit_test(a_zeroed_chunk_is_found),
        cmocka_unit_test(zeroed_blocks_are_found),
        cmocka_unit_test(truncated_and_longer_files_are_found),
        cmocka_unit_test(files_without_a_seal_are_read),
        cmocka_unit_test(edits_of_other_programs_take_the_seal_off),
        cmocka_unit_test(a_digest_is_that_of_the_content),
        cmocka_unit_test(a_file_that_may_not_be_read_is_not_damaged),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
