/* PyTorch's archives: what PyTorch wrote, and everything that can be wrong with the zip and the pickle. */
#include "tensors_case.h"
#include "zip_case.h"

#include <fcntl.h>
#include <unistd.h>

static bool is_torch(const char *file)
{
    const size_t length = strlen(file);
    return strcmp(file + length - 3, ".pt") == 0 || strcmp(file + length - 4, ".pth") == 0;
}

static void test_golden(void **state)
{
    (void)state;
    CHECK_EQ(check_golden(is_torch), 11);
}

static void test_golden_refused(void **state)
{
    (void)state;
    assert_refused(golden_path("old.pt"), TDM_E_FORMAT, "from before version 1.6");
    assert_refused(golden_path("float8.pt"), TDM_E_FORMAT,
                   "tensor inner.w8: type float8_e4m3fn is not supported");
    assert_refused(golden_path("complex.pt"), TDM_E_FORMAT,
                   "tensor z: type ComplexFloatStorage is not supported");
    assert_refused(golden_path("quantized.pt"), TDM_E_FORMAT, "tensor q: is made by _rebuild_qtensor");
    assert_refused(golden_path("sparse.pt"), TDM_E_FORMAT, "tensor s: is made by _rebuild_sparse_tensor");
    assert_refused(golden_path("big_endian.pt"), TDM_E_FORMAT, "big-endian");
    assert_refused(golden_path("deflated.pt"), TDM_E_FORMAT, "is compressed");
}

static void test_truncated(void **state)
{
    (void)state;
    tdm_text good = {0};
    CHECK_OK(tdm_read_file(golden_path("state.pt"), &good));
    for (size_t length = 0; length < good.length; length += 13) {
        tdm_tensor_file *file;
        write_case("cut.pt", good.data, length);
        CHECK_FAILS(tdm_tensor_file_open(case_path("cut.pt"), &file), TDM_E_FORMAT, "");
    }
    tdm_text_free(&good);
}

/* ---- Pickles ---- */

#define KEY(length, text)          "X" length "\0\0\0" text
#define STORAGE(class, key, numel) "(" KEY("\7", "storage") class KEY("\1", key) KEY("\3", "cpu") numel "tQ"
#define FLOATS                     STORAGE("ctorch\nFloatStorage\n", "0", "K\4")
#define TENSOR(storage, offset, sizes, strides)                                                              \
    "ctorch._utils\n_rebuild_tensor_v2\n(" storage offset sizes strides "\x89"                               \
    "ccollections\nOrderedDict\n)RtR"
#define GOOD          TENSOR(FLOATS, "K\0", "K\2K\2\x86", "K\2K\1\x86")
#define NAMED(value)  "\x80\2}" KEY("\1", "w") value "s."
#define LITERAL(text) (text), sizeof(text) - 1

static void write_pickle(const char *name, const char *pickle, size_t bytes)
{
    tdm_text file = {0};
    zip_make_torch(&file, pickle, bytes);
    write_case(name, file.data, file.length);
    tdm_text_free(&file);
}

static void test_bad_pickles(void **state)
{
    (void)state;
    static const struct {
        const char *pickle;
        size_t bytes;
        const char *message;
    } cases[] = {
        {LITERAL(""), "pickle: ends without a result"},
        {LITERAL("\x80\2}"), "pickle: ends without a result"},
        {LITERAL("\x80\2\xff."), "pickle: unknown opcode 0xff (before byte 3)"},
        {LITERAL("I1\n."), "unknown opcode 0x49"},
        {LITERAL("\x80\7N."), "has protocol 7, 2 to 5 are read"},
        {LITERAL("\x80"), "ends in the middle of a number"},
        {LITERAL("G\0\0."), "ends in the middle of a number"},
        {LITERAL("X\xff\xff\xff\x7f"
                 "abc."),
         "a text of 2147483647 bytes goes beyond its end"},
        {LITERAL("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                 "abc."),
         "goes beyond its end"},
        {LITERAL("\x8b\xff\xff\xff\xff."), "goes beyond its end"},
        {LITERAL("\x95\xff\0\0\0\0\0\0\0N."), "a frame of 255 bytes goes beyond its end"},
        {LITERAL("ctorch"), "a name has no end"},
        {LITERAL("."), "takes a value from an empty stack"},
        {LITERAL("\x86."), "takes a value from an empty stack"},
        {LITERAL("N(Q."), "takes a value from an empty stack"},
        {LITERAL("2."), "takes a value from an empty stack"},
        {LITERAL("]a."), "takes a value from an empty stack"},
        {LITERAL("}K\1s."), "takes a value from an empty stack"},
        {LITERAL("}u."), "ends a list that has not begun"},
        {LITERAL("h\5."), "recalls value 5, which was not remembered"},
        {LITERAL("}r\xff\xff\xff\xff."), "remembers a value as number 4294967295"},
        {LITERAL("}(K\1u."), "sets a dictionary's item without a value"},
        {LITERAL("]K\1K\2s."), "sets an item of what is not a dictionary"},
        {LITERAL("}K\1a."), "appends to what is not a list"},
        {LITERAL("ca\nb\n}R."), "calls with what is not a tuple"},
        {LITERAL("K\1K\2\x93."), "names a class by what is not a name"},
        {LITERAL("\x80\2}q\0" KEY("\1", "a") "h\0s."), "a contains itself"},
        {LITERAL("\x80\2]q\0](h\0eah\0a."), "contains itself"},
        {LITERAL("\x80\2}" KEY("\3", "a.b") GOOD "s" KEY("\1", "a") "}" KEY("\1", "b") GOOD "ss."),
         "two tensors are named a.b"},
        {LITERAL("\x80\2}" KEY("\2", "a\x1b") GOOD "s."), "control character"},
        {LITERAL("\x80\2}" KEY("\2", "a\0") GOOD "s."), "control character"},
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        write_pickle("bad.pt", cases[i].pickle, cases[i].bytes);
        assert_refused(case_path("bad.pt"), TDM_E_FORMAT, cases[i].message);
    }
}

static void test_bad_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *pickle;
        size_t bytes;
        const char *message;
    } cases[] = {
        {LITERAL(NAMED(TENSOR(STORAGE("ctorch\nFloatStorage\n", "9", "K\4"), "K\0", "K\4\x85", "K\1\x85"))),
         "tensor w: its storage archive/data/9 is not in the archive"},
        {LITERAL(NAMED(TENSOR(STORAGE("ctorch\nFloatStorage\n", "0", "K\5"), "K\0", "K\4\x85", "K\1\x85"))),
         "tensor w: its storage archive/data/0 has 16 bytes, too few for 5 elements of F32"},
        {LITERAL(
             NAMED(TENSOR(STORAGE("ctorch\nFloatStorage\n", "0", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"),
                          "K\0", "K\4\x85", "K\1\x85"))),
         "too few for 9223372036854775807 elements"},
        {LITERAL(NAMED(TENSOR(STORAGE("ctorch\nFloatStorage\n", "0", "J\xff\xff\xff\xff"), "K\0", "K\4\x85",
                              "K\1\x85"))),
         "tensor w: its storage has no size"},
        {LITERAL(NAMED(TENSOR(STORAGE("ctorch\nFloatStorage\n", "0", "N"), "K\0", "K\4\x85", "K\1\x85"))),
         "tensor w: its storage has no size"},
        {LITERAL(NAMED(TENSOR(STORAGE("cnumpy\nndarray\n", "0", "K\4"), "K\0", "K\4\x85", "K\1\x85"))),
         "tensor w: type ndarray is not supported"},
        {LITERAL(NAMED(TENSOR(STORAGE("N", "0", "K\4"), "K\0", "K\4\x85", "K\1\x85"))),
         "tensor w: its storage is no class of PyTorch"},
        {LITERAL(NAMED(
             TENSOR("(" KEY("\7", "storage") "ctorch\nFloatStorage\nNNK\4tQ", "K\0", "K\4\x85", "K\1\x85"))),
         "tensor w: its storage has no name"},
        {LITERAL(NAMED(TENSOR("N", "K\0", "K\4\x85", "K\1\x85"))), "tensor w: has no storage"},
        {LITERAL(NAMED(TENSOR("NQ", "K\0", "K\4\x85", "K\1\x85"))), "tensor w: has no storage"},
        {LITERAL(NAMED(TENSOR(FLOATS, "N", "K\4\x85", "K\1\x85"))), "tensor w: has no offset"},
        {LITERAL(NAMED(TENSOR(FLOATS, "J\xff\xff\xff\xff", "K\4\x85", "K\1\x85"))),
         "tensor w: its shape and strides go"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\1", "K\4\x85", "K\1\x85"))),
         "tensor w: its shape and strides go beyond its"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\0", "K\2K\2\x86", "K\3K\1\x86"))),
         "go beyond its storage of 4 elements"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\0", "K\4\x85", "J\xff\xff\xff\xff\x85"))),
         "tensor w: stride 0 is not"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\0", "K\4\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"))),
         "tensor w: its shape and strides go beyond"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\0", "N\x85", "K\1\x85"))),
         "tensor w: dimension 0 of its shape is not"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\0", "J\xff\xff\xff\xff\x85", "K\1\x85"))),
         "dimension 0 of its shape is -1"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\0", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "K\1\x85"))),
         "absurdly large"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\0", "\x8a\x04\0\0\0\x40\x85", "K\0\x85"))),
         "tensor w: repeats the 4 elements of its storage to 1073741824"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\0", "K\4\x85", "K\2K\1\x86"))),
         "tensor w: has no shape or no strides"},
        {LITERAL(NAMED(TENSOR(FLOATS, "K\0", "N", "N"))), "tensor w: has no shape or no strides"},
        {LITERAL(
             NAMED(TENSOR(FLOATS, "K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t"))),
         "tensor w: has 9 dimensions, at most 8 are read"},
        {LITERAL(NAMED("ctorch._utils\n_rebuild_tensor_v2\n)R")), "tensor w: has no storage"},
        {LITERAL(NAMED("ctorch._utils\n_rebuild_future_tensor\n)R")),
         "tensor w: is made by _rebuild_future_tensor"},
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        write_pickle("bad.pt", cases[i].pickle, cases[i].bytes);
        assert_refused(case_path("bad.pt"), TDM_E_FORMAT, cases[i].message);
    }
}

/* What is not a tensor does no harm, and nothing is run. */
static void test_ignored(void **state)
{
    (void)state;
    static const struct {
        const char *pickle;
        size_t bytes;
        int64_t count;
    } cases[] = {
        {LITERAL("\x80\2N."), 0},
        {LITERAL(NAMED("cos\nsystem\n" KEY("\4", "true") "\x85R")), 0},
        {LITERAL(NAMED("cbuiltins\neval\n(" KEY("\3", "1/0") "tR")), 0},
        {LITERAL(NAMED("cargparse\nNamespace\n)\x81}" KEY("\1", "t") GOOD "sb")), 1},
        {LITERAL(NAMED("ca\nB\n)\x81q\0}" KEY("\1", "p") "h\0"
                                                         "sb")),
         0},                                                         /* knows itself */
        {LITERAL(NAMED("ca\nB\n)}\x92")), 0},                        /* NEWOBJ_EX */
        {LITERAL(NAMED("ca\nB\n)\x81(" GOOD GOOD "e")), 2},          /* a list's subclass */
        {LITERAL(NAMED("ca\nB\n)\x81" KEY("\1", "k") GOOD "s")), 1}, /* a dictionary's */
        {LITERAL(NAMED("ca\nB\n)\x81N}" KEY("\1", "k") GOOD "s\x86"
                                                            "b")),
         1}, /* with slots */
        {LITERAL(NAMED("(" GOOD GOOD GOOD "t")), 3},
        {LITERAL(NAMED("\x8f(K\1K\2\x90(K\1\x91"
                       "0")),
         0},
        {LITERAL(NAMED("(K\1K\2"
                       "1(0"
                       "N2"
                       "0")),
         0},
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        tdm_tensor_file *file;
        write_pickle("odd.pt", cases[i].pickle, cases[i].bytes);
        CHECK_OK(tdm_tensor_file_open(case_path("odd.pt"), &file));
        CHECK_EQ(tdm_tensor_file_count(file), cases[i].count);
        tdm_tensor_file_close(&file);
    }
}

static void append(tdm_text *text, const void *bytes, size_t length)
{
    CHECK_OK(tdm_text_append(text, bytes, length));
}

/* A list that holds twice the list before, and so on: 2^60 paths to the innermost. */
static void write_wide(const char *name, const char *innermost, size_t bytes)
{
    tdm_text pickle = {0};
    append(&pickle, innermost, bytes);
    append(&pickle, "q\0", 2);
    for (char i = 1; i < 60; i++)
        append(&pickle, (const char[]){']', 'q', i, 'h', (char)(i - 1), 'a', 'h', (char)(i - 1), 'a'}, 9);
    append(&pickle, ".", 1);
    write_pickle(name, pickle.data, pickle.length);
    tdm_text_free(&pickle);
}

static void test_deep_and_wide(void **state)
{
    (void)state;
    tdm_text pickle = {0};
    for (int i = 0; i < 5000; i++) append(&pickle, LITERAL("}" KEY("\1", "a")));
    append(&pickle, "N", 1);
    for (int i = 0; i < 5000; i++) append(&pickle, "s", 1);
    append(&pickle, ".", 1);
    write_pickle("deep.pt", pickle.data, pickle.length);
    assert_refused(case_path("deep.pt"), TDM_E_FORMAT, "lies deeper than 100 levels");
    tdm_text_free(&pickle);

    tdm_tensor_file *file;
    write_wide("bare.pt", LITERAL("]"));
    CHECK_OK(tdm_tensor_file_open(case_path("bare.pt"), &file));
    CHECK_EQ(tdm_tensor_file_count(file), 0);
    tdm_tensor_file_close(&file);
    write_wide("wide.pt", LITERAL(GOOD));
    assert_refused(case_path("wide.pt"), TDM_E_FORMAT, "more than 65536 tensors");
}

static void append_key(tdm_text *pickle, size_t length)
{
    char key[2000];
    memset(key, 'k', sizeof key);
    append(pickle, "X", 1);
    append(pickle, &(uint32_t){(uint32_t)length}, 4);
    append(pickle, key, length);
}

static void test_long_names(void **state)
{
    (void)state;
    tdm_text pickle = {0};
    append(&pickle, "}", 1);
    append_key(&pickle, 1030);
    append(&pickle, LITERAL(GOOD "s."));
    write_pickle("long.pt", pickle.data, pickle.length);
    assert_refused(case_path("long.pt"), TDM_E_FORMAT, "a tensor's name has more than 1024 bytes: kkk");
    tdm_text_free(&pickle);

    for (int i = 0; i < 20; i++) {
        append(&pickle, "}", 1);
        append_key(&pickle, 100);
    }
    append(&pickle, LITERAL(GOOD));
    for (int i = 0; i < 20; i++) append(&pickle, "s", 1);
    append(&pickle, ".", 1);
    write_pickle("long.pt", pickle.data, pickle.length);
    assert_refused(case_path("long.pt"), TDM_E_FORMAT, "names in its pickle are joined to 1109 bytes");
    tdm_text_free(&pickle);

    append(&pickle, LITERAL("}" KEY("\1", "w") "ctorch._utils\n_rebuild_tensor\n((" KEY(
                        "\7", "storage") "ctorch\nFloatStorage\n"));
    append_key(&pickle, 600);
    append(&pickle, LITERAL("NK\4tQK\0K\4\x85K\1\x85tRs."));
    write_pickle("long.pt", pickle.data, pickle.length);
    assert_refused(case_path("long.pt"), TDM_E_FORMAT, "tensor w: its storage has a name of 600 bytes");
    tdm_text_free(&pickle);
}

/* ---- The zip ---- */

static void test_bad_zips(void **state)
{
    (void)state;
    static const char pickle[] = NAMED(GOOD);
    enum { STORAGE_LOCAL = 30 + 16 + sizeof pickle - 1 + 30 + 17 + 6 };
    tdm_text good = {0};
    zip_make_torch(&good, pickle, sizeof pickle - 1);
    const size_t end = good.length - 22, central = end - 4 * 46 - 16 - 17 - 14 - 14;
    const size_t storage_central = central + 2 * 46 + 16 + 17;
    const struct {
        size_t at;
        const char *bytes;
        size_t count;
        const char *message;
    } cases[] = {
        {end, "XX", 2, "is a zip archive without its end"},
        {end + 20, "\1", 1, "is a zip archive without its end"},
        {end + 4, "\1", 1, "several disks"},
        {end + 10, "\xff\xff", 2, "zip: 65535 entries do not fit"},
        {end + 10, "\5", 1, "zip: entry 4 of its directory is missing"},
        {end + 12, "\xff\xff\xff\x7f", 4, "zip: its directory (2147483647 bytes"},
        {end + 16, "\xff\xff\xff\x7f", 4, "is not within the file"},
        {end + 16, "\x01", 1, "zip: entry 0 of its directory is missing"},
        {central, "XX", 2, "zip: entry 0 of its directory is missing"},
        {central + 28, "\xff\xff", 2, "zip: entry 0 of its directory is cut off"},
        {central + 46 + 8, "X", 1, "is a zip archive without data.pkl"},
        {central + 10, "\x08", 1, "zip: archive/data.pkl is compressed"},
        {central + 8, "\x01", 1, "zip: archive/data.pkl is encrypted"},
        {central + 24, "\xff\xff\xff\xff", 4, "zip: entry 0 of its directory would have 4294967295 bytes"},
        {central + 24, "\xff\xff\xff\x7f", 4, "zip: entry 0 of its directory would have 2147483647 bytes"},
        {central + 24, "\0\x02\0\0", 4, "more than there are before the directory"},
        {central + 42, "\xff\xff\xff\x7f", 4, "zip: entry 0 of its directory would have"},
        {central + 42, "\x01", 1, "zip: archive/data.pkl does not begin at byte 1"},
        {storage_central + 10, "\x08", 1, "zip: archive/data/0 is compressed"},
        {storage_central + 24, "\x0f", 1, "has 15 bytes, too few for 4 elements of F32"},
        {storage_central + 46 + 13, "1", 1, "zip: two entries are named archive/data/1"},
        {storage_central + 46 + 13, "7", 1, "its storage archive/data/0 is not in the archive"},
        {STORAGE_LOCAL, "XX", 2, "zip: archive/data/0 does not begin"},
        {STORAGE_LOCAL + 26, "\xff\xff", 2, "zip: archive/data/0 has 16 bytes at byte"},
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        tdm_text bad = {0};
        append(&bad, good.data, good.length);
        memcpy(bad.data + cases[i].at, cases[i].bytes, cases[i].count);
        write_case("bad.pt", bad.data, bad.length);
        assert_refused(case_path("bad.pt"), TDM_E_FORMAT, cases[i].message);
        tdm_text_free(&bad);
    }
    tdm_text_free(&good);
}

static void assert_good(const char *name)
{
    tdm_tensor_file *file;
    float value[4];
    CHECK_OK(tdm_tensor_file_open(case_path(name), &file));
    CHECK_EQ(tdm_tensor_file_count(file), 1);
    const tdm_tensor *t = tdm_tensor_file_find(file, "w");
    CHECK_NOT_NULL(t);
    CHECK_OK(tdm_tensor_file_read_f32(file, t, value));
    for (int i = 0; i < 16; i++) CHECK_EQ(((const unsigned char *)value)[i], i);
    tdm_tensor_file_close(&file);
}

/* Every function that rebuilds a tensor, also those of which PyTorch no longer makes use for common types. */
static void test_rebuild_functions(void **state)
{
    (void)state;
#define ARGUMENTS                                                                                            \
    FLOATS "K\0"                                                                                             \
           "K\4\x85"                                                                                         \
           "K\1\x85"
    static const struct {
        const char *pickle;
        size_t bytes;
    } cases[] = {
        {LITERAL(NAMED("ctorch._utils\n_rebuild_tensor\n(" ARGUMENTS "tR"))},
        {LITERAL(NAMED("ctorch._utils\n_rebuild_tensor_v2\n(" ARGUMENTS "\x88NtR"))},
        {LITERAL(NAMED("ctorch._utils\n_rebuild_tensor_v2\n(" ARGUMENTS "\x89N}tR"))},
        {LITERAL(NAMED("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE("ctorch.storage\nUntypedStorage\n", "0",
                                                                      "K\x10") "K\0"
                                                                               "K\4\x85"
                                                                               "K\1\x85"
                                                                               "\x89Nctorch\nfloat32\ntR"))},
        {LITERAL(NAMED("ctorch._utils\n_rebuild_parameter\n(" GOOD "\x88NtR"))},
        {LITERAL(NAMED("ctorch._utils\n_rebuild_parameter_with_state\n(" GOOD "\x88N}tR"))},
        {LITERAL(NAMED("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_"
                       "v2\nctorch\nTensor\n(" ARGUMENTS "\x89Nt}tR"))},
        {LITERAL(NAMED("ctorch.jit._pickle\nrestore_type_tag\n(" GOOD "U\6TensortR"))},
        {LITERAL(NAMED("\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93(" ARGUMENTS "\x89NtR"))},
        {LITERAL(NAMED(GOOD "}b"))}, /* with attributes */
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        write_pickle("good.pt", cases[i].pickle, cases[i].bytes);
        assert_good("good.pt");
    }
}

/* 64-bit fields, and an archive whose storage and directory lie beyond 4 GiB (a hole in the file). */
static void test_zip64(void **state)
{
    (void)state;
    static const char pickle[] = NAMED(GOOD);
    static const char numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const zip_part part[] = {{"x/data.pkl", pickle, sizeof pickle - 1}, {"x/data/0", numbers, 16}};
    tdm_text file = {0};
    zip_make(&file, part, 2, true);
    write_case("zip64.pt", file.data, file.length);
    assert_good("zip64.pt");
    tdm_text_free(&file);

    const uint64_t far = (UINT64_C(5) << 30) + 3;
    zip_put_local(&file, &part[0]);
    write_case("far.pt", file.data, file.length);
    tdm_text_free(&file);
    zip_put_local(&file, &part[1]);
    const uint64_t directory = file.length;
    zip_put_central(&file, &part[0], 0, true);
    zip_put_central(&file, &part[1], far, true);
    zip_put_end(&file, 2, file.length - directory, far + directory, true);
    const int fd = open(case_path("far.pt"), O_WRONLY);
    CHECK_GE(fd, 0);
    const ssize_t written = pwrite(fd, file.data, file.length, (off_t)far);
    close(fd);
    if (written == (ssize_t)file.length) assert_good("far.pt"); /* where files may be so long */
    CHECK_EQ(unlink(case_path("far.pt")), 0);
    tdm_text_free(&file);
}

static void test_bad_zip64(void **state)
{
    (void)state;
    const zip_part part[] = {{"x/data.pkl", "N.", 2}};
    tdm_text good = {0};
    zip_make(&good, part, 1, true);
    const size_t end = good.length - 22, locator = end - 20, end64 = locator - 56, extra = end64 - 28;
    const struct {
        size_t at;
        const char *bytes;
        size_t count;
        const char *message;
    } cases[] = {
        {locator + 8, "\xff\xff\xff\xff\xff\xff\xff\xff", 8,
         "zip: its 64-bit end record would be at byte 18446744073"},
        {locator + 8, "\1", 1, "zip: has no 64-bit end record at byte 1"},
        {locator, "XX", 2, "is not within the file"},
        {end64 + 32, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "zip: 18446744073709551615 entries do not fit"},
        {end64 + 40, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "is not within the file"},
        {end64 + 48, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "is not within the file"},
        {extra, "\2", 1, "zip: entry 0 of its directory would have 4294967295 bytes at byte 4294967295"},
        {extra + 2, "\x40", 1, "zip: entry 0 of its directory would have 4294967295 bytes"},
        {extra + 2, "\x10", 1, "zip: entry 0 of its directory would have 2 bytes at byte 4294967295"},
        {extra + 4, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "would have 18446744073709551615 bytes"},
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        tdm_text bad = {0};
        append(&bad, good.data, good.length);
        memcpy(bad.data + cases[i].at, cases[i].bytes, cases[i].count);
        write_case("bad.pt", bad.data, bad.length);
        assert_refused(case_path("bad.pt"), TDM_E_FORMAT, cases[i].message);
        tdm_text_free(&bad);
    }
    tdm_text_free(&good);
}

static void test_two_pickles(void **state)
{
    (void)state;
    const zip_part part[] = {{"x/data.pkl", "N.", 2}, {"y/data.pkl", "N.", 2}, {"x/y/data.pkl", "N.", 2}};
    tdm_text file = {0};
    zip_make(&file, part, 2, false);
    write_case("two.pt", file.data, file.length);
    assert_refused(case_path("two.pt"), TDM_E_FORMAT, "two data.pkl");
    tdm_text_free(&file);
    zip_make(&file, part + 2, 1, false);
    write_case("inner.pt", file.data, file.length);
    assert_refused(case_path("inner.pt"), TDM_E_FORMAT, "without data.pkl");
    tdm_text_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_golden_refused),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bad_pickles),
        cmocka_unit_test(test_bad_tensors),
        cmocka_unit_test(test_ignored),
        cmocka_unit_test(test_deep_and_wide),
        cmocka_unit_test(test_bad_zips),
        cmocka_unit_test(test_zip64),
        cmocka_unit_test(test_bad_zip64),
        cmocka_unit_test(test_two_pickles),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_rebuild_functions),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
