/* safetensors: what the reference implementation wrote, what we write, and everything that can be wrong. */
#include "tensors_case.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_safetensors(const char *file)
{
    const size_t length = strlen(file);
    return strncmp(file, "sharded", 7) == 0 ||
           (length > 12 && strcmp(file + length - 12, ".safetensors") == 0);
}

static void test_golden(void **state)
{
    (void)state;
    CHECK_EQ(check_golden(is_safetensors), 5);
}

/* ---- Malformed files ---- */

static void write_safetensors(const char *name, const char *json, size_t data_bytes)
{
    tdm_text file = {0};
    const uint64_t length = strlen(json);
    char zeros[4096] = {0};
    CHECK_OK(tdm_text_append(&file, &length, sizeof length));
    CHECK_OK(tdm_text_append(&file, json, length));
    CHECK_OK(tdm_text_append(&file, zeros, data_bytes));
    write_case(name, file.data, file.length);
    tdm_text_free(&file);
}

#define ROW(type, shape, offsets) "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        size_t data_bytes;
        const char *message;
    } cases[] = {
        {"{\"w\":" ROW("F32", "[2]", "[0,8]"), 8, "not JSON"},
        {"[1]", 0, "not a JSON object"},
        {"{\"w\":" ROW("F32", "[1]", "[0,4]") ",\"w\":" ROW("F32", "[1]", "[4,8]") "}", 8, "duplicate"},
        {"{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "duplicate"},
        {"{\"\":" ROW("F32", "[1]", "[0,4]") "}", 4, "no name"},
        {"{\"a\\u001b[2J\":" ROW("F32", "[1]", "[0,4]") "}", 4, "control character"},
        {"{\"a\\u0000b\":" ROW("F32", "[1]", "[0,4]") "}", 4, "not JSON"},
        {"{\"w\":5}", 4, "tensor w: has no dtype"},
        {"{\"w\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor w: has no dtype"},
        {"{\"w\":" ROW("F8_E4M3", "[4]", "[0,4]") "}", 4, "tensor w: type F8_E4M3 is not supported"},
        {"{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor w: shape is missing"},
        {"{\"w\":" ROW("F32", "[1.5]", "[0,4]") "}", 4, "tensor w: shape[0] is not an integer"},
        {"{\"w\":" ROW("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "tensor w: has 9 dimensions"},
        {"{\"w\":" ROW("F32", "[-1]", "[0,4]") "}", 4, "tensor w: dimension 0 of its shape is -1"},
        {"{\"w\":" ROW("F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "tensor w: dimension 1"},
        {"{\"w\":" ROW("F32", "[4611686018427387904]", "[0,0]") "}", 0, "absurdly large"},
        {"{\"w\":" ROW("F32", "[18446744073709551617]", "[0,4]") "}", 4, "not JSON"},
        {"{\"w\":" ROW("F32", "[1]", "[0]") "}", 4, "tensor w: data_offsets is missing or not two integers"},
        {"{\"w\":" ROW("F32", "[1]", "[4,0]") "}", 4, "tensor w: data_offsets are 4 and 0"},
        {"{\"w\":" ROW("F32", "[1]", "[-4,0]") "}", 4, "tensor w: data_offsets are -4 and 0"},
        {"{\"w\":" ROW("F32", "[2]", "[0,8]") "}", 4,
         "tensor w: ends at byte 8 of the data, of which there are 4"},
        {"{\"w\":" ROW("F32", "[1]", "[9223372036854775803,9223372036854775807]") "}", 4, "truncated"},
        {"{\"w\":" ROW("F32", "[2]", "[0,4]") "}", 4,
         "tensor w: data_offsets give it 4 bytes, type and shape 8"},
        {"{\"a\":" ROW("F32", "[2]", "[0,8]") ",\"b\":" ROW("F32", "[1]", "[4,8]") "}", 8,
         "b overlaps tensor a"},
        {"{\"a\":" ROW("F32", "[1]", "[0,4]") ",\"b\":" ROW("F32", "[1]", "[0,4]") "}", 4, "overlaps tensor"},
        {"{\"a\":" ROW("F32", "[1]", "[0,4]") ",\"b\":" ROW("F32", "[1]", "[8,12]") "}", 12,
         "4 bytes before tensor b belong to no tensor"},
        {"{\"a\":" ROW("F32", "[1]", "[0,4]") "}", 9, "5 bytes at its end belong to no tensor"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not"},
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        write_safetensors("bad.safetensors", cases[i].json, cases[i].data_bytes);
        assert_refused(case_path("bad.safetensors"), TDM_E_FORMAT, cases[i].message);
    }
}

static void test_not_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        const char *message;
    } cases[] = {
        {"", 0, "has 0 bytes"},
        {"\x10\0\0\0\0\0\0", 7, "has 7 bytes"},
        {"\x10\0\0\0\0\0\0\0{", 9, "its header would have 16 bytes, the file has 9"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "its header would have 18446744073709551615 bytes"},
        {"\x01\xe1\xf5\x05\0\0\0\0{}", 10, "at most 100000000"},
        {"\0\0\0\0\0\0\0\0", 8, "not JSON"},
        {"version https://git-lfs.github.com/spec/v1\noid", 46, "Git LFS pointer"},
        {"\x89HDF\r\n\x1a\n        ", 16, "HDF5"},
        {"\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", 15, "from before version 1.6"},
        {"hello there, reader", 19, "is text (\"hello there, reader\")"},
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        write_case("bad.bin", cases[i].bytes, cases[i].length);
        assert_refused(case_path("bad.bin"), TDM_E_FORMAT, cases[i].message);
    }
    assert_refused("/nowhere/model.safetensors", TDM_E_IO, "cannot open");
    assert_refused("/dev/null", TDM_E_IO, "not a regular file");
    assert_refused(golden_path(""), TDM_E_IO, "has no model.safetensors");
    CHECK_EQ(mkfifo(case_path("fifo"), 0600), 0);
    assert_refused(case_path("fifo"), TDM_E_IO, "not a regular file");
    assert_refused(golden_path("float8.safetensors"), TDM_E_FORMAT,
                   "tensor w8: type F8_E4M3 is not supported");
}

/* What people hand over for weights is told by its first bytes, or its name. */
static void test_foreign_files(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t length;
        const char *message;
    } cases[] = {
        {"model.safetensors", "\n\n<!DOCTYPE html><html lang=en>", 30, "is a web page, not the file itself"},
        {"model.safetensors", "\xef\xbb\xbf<html><body>", 15, "is a web page"},
        {"model.bin", "<?xml version='1.0'?><Error><Code>AccessDenied", 46, "is a web page"},
        {"model.bin", "Entry not found", 15, "is text (\"Entry not found\"), no safetensors file"},
        {"model.pt", "{\"error\": \"Repository not found\"}", 33, "has no weight_map that names shards"},
        {"tf_model.h5", "\x89HDF\r\n\x1a\n        ", 16, "is an HDF5 file of TensorFlow"},
        {"model.gguf", "GGUF\3\0\0\0\0\0\0\0", 12, "is a GGUF file"},
        {"model.onnx", "\x08\x07\x12\x07pytorch", 11, "is an ONNX model"},
        {"flax_model.msgpack", "\x83\xaatext_model\x82", 13, "is a Flax file"},
        {"saved_model.pb", "\x08\x01\x12\xffxxxxxxx", 11, "is a TensorFlow graph"},
        {"model.pt.gz", "\x1f\x8b\x08\0\0\0\0\0\0\0", 10, "is compressed with gzip"},
        {"weights.npy", "\x93NUMPY\1\0v\0", 10, "is a NumPy array"},
        {"old.tar", "\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe", 9, "is neither a safetensors file nor"},
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        write_case(cases[i].name, cases[i].bytes, cases[i].length);
        assert_refused(case_path(cases[i].name), TDM_E_FORMAT, cases[i].message);
        CHECK_EQ(unlink(case_path(cases[i].name)), 0);
    }
    char tar[512];
    memset(tar, 0xfe, sizeof tar);
    memcpy(tar + 257, "ustar", 5);
    write_case("weights.tar", tar, sizeof tar);
    assert_refused(case_path("weights.tar"), TDM_E_FORMAT, "is a tar archive");
}

/* A folder is named by what lies in it, an adapter before the weights of others. */
static void test_foreign_folders(void **state)
{
    (void)state;
    static const struct {
        const char *files[3];
        const char *message;
    } cases[] = {
        {{"README.md"}, "has no model.safetensors, model.safetensors.index.json or pytorch_model.bin"},
        {{"adapter_config.json", "adapter_model.safetensors"}, "is a LoRA adapter (PEFT)"},
        {{"adapter_model.bin"}, "is a LoRA adapter (PEFT)"},
        {{".metadata", "__0_0.distcp"}, "is a distributed checkpoint of PyTorch (FSDP): python3 -m torch"},
        {{"__0_0.distcp"}, "without its .metadata"},
        {{"latest", "zero_to_fp32.py", "global_step10"}, "is a checkpoint of DeepSpeed: its zero_to_fp32.py"},
        {{"mp_rank_00_model_states.pt"}, "is a part of a checkpoint of DeepSpeed"},
        {{"pytorch_model-00001-of-00002.bin"}, "is shards without their pytorch_model.bin.index.json"},
        {{"model-00001-of-00002.safetensors"}, "is shards without their model.safetensors.index.json"},
        {{"flax_model.msgpack", "config.json"}, "is a model of Flax"},
        {{"tf_model.h5"}, "is a model of TensorFlow"},
        {{"saved_model.pb", "variables"}, "is a model of TensorFlow"},
        {{"model.onnx"}, "is an ONNX model"},
        {{"q4.gguf"}, "is a GGUF model"},
        {{"model_index.json", "text_encoder"}, "is a pipeline of Diffusers"},
        {{"model.h5"}, "is a checkpoint of Tandem's own"},
        {{"config.cfg", "checkpoints", "metrics.jsonl"}, "is a run of Tandem's own"},
        {{"latest", "step-00000020"}, "is a folder of Tandem's own checkpoints"},
        {{"checkpoints", "params.txt"}, "is a run: name one of the files"},
        {{"epoch_10.pt", "out.log"}, "name one of its files: epoch_10.pt"},
    };
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        CHECK_OK(tdm_make_dirs(case_path("folder")));
        for (int k = 0; k < 3 && cases[i].files[k] != NULL; k++) {
            char name[128];
            snprintf(name, sizeof name, "folder/%s", cases[i].files[k]);
            write_case(name, "x", 1);
        }
        assert_refused(case_path("folder"), i == 0 || i == COUNT_OF(cases) - 1 ? TDM_E_IO : TDM_E_FORMAT,
                       cases[i].message);
        CHECK_OK(tdm_remove_tree(case_path("folder")));
    }
}

/* The length of a header may spell how another format begins: 19280 is "PK", 640 a pickle's, 123 JSON's. */
static void test_telling_lengths(void **state)
{
    (void)state;
    static const int lengths[] = {19280, 640, 123, 8827};
    for (int64_t i = 0; i < COUNT_OF(lengths); i++) {
        tdm_text json = {0};
        tdm_tensor_file *file;
        CHECK_OK(tdm_text_printf(&json, "%-*s", lengths[i], "{\"w\":" ROW("F32", "[1]", "[0,4]") "}"));
        write_safetensors("telling.safetensors", json.data, 4);
        CHECK_OK(tdm_tensor_file_open(case_path("telling.safetensors"), &file));
        tdm_tensor_file_close(&file);
        tdm_text_free(&json);
    }
}

/* Cut anywhere, a good file is refused. */
static void test_truncated(void **state)
{
    (void)state;
    tdm_text good = {0};
    CHECK_OK(tdm_read_file(golden_path("types.safetensors"), &good));
    for (size_t length = 0; length < good.length; length += 7) {
        tdm_tensor_file *file;
        write_case("cut.safetensors", good.data, length);
        CHECK_FAILS(tdm_tensor_file_open(case_path("cut.safetensors"), &file), TDM_E_FORMAT, "");
    }
    tdm_text_free(&good);
}

static void test_cut_after_opening(void **state)
{
    (void)state;
    tdm_tensor_file *file;
    float value[2];
    write_safetensors("late.safetensors", "{\"w\":" ROW("F32", "[2]", "[0,8]") "}", 8);
    CHECK_OK(tdm_tensor_file_open(case_path("late.safetensors"), &file));
    CHECK_EQ(truncate(case_path("late.safetensors"), 66), 0);
    CHECK_FAILS(tdm_tensor_file_read_f32(file, tdm_tensor_file_at(file, 0), value), TDM_E_IO, "tensor w");
    tdm_tensor_file_close(&file);
    tdm_tensor_file_close(&file);
}

static void test_bad_index(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
        tdm_status code;
    } cases[] = {
        {"{\"weight_map\": {\"a\": \"x.safe", "not JSON", TDM_E_FORMAT},
        {"{\"metadata\": {}, \"weight\": {}}", "no weight_map", TDM_E_FORMAT},
        {"{\"weight_map\": {}}", "no weight_map", TDM_E_FORMAT},
        {"{\"weight_map\": {\"a\": 5}}", "weight_map[\"a\"] is not a file name", TDM_E_FORMAT},
        {"{\"weight_map\": {\"a\": \"../one.safetensors\"}}", "not the name of a file beside it",
         TDM_E_FORMAT},
        {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "not the name of a file beside it", TDM_E_FORMAT},
        {"{\"weight_map\": {\"a\": \"..\"}}", "not the name of a file beside it", TDM_E_FORMAT},
        {"{\"weight_map\": {\"a\": \"sub/one.safetensors\"}}", "not the name of a file beside it",
         TDM_E_FORMAT},
        {"{\"weight_map\": {\"b\": \"one.safetensors\"}}", "tensor b is not in one.safetensors",
         TDM_E_FORMAT},
        {"{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": \"two.safetensors\"}}",
         "two tensors are named a", TDM_E_FORMAT},
        {"{\"weight_map\": {\"a\": \"gone.safetensors\"}}", "cannot open", TDM_E_IO},
        {"{\"weight_map\": {\"a\": \"again.index.json\"}}", "again.index.json: is text", TDM_E_FORMAT},
    };
    write_safetensors("one.safetensors", "{\"a\":" ROW("F32", "[1]", "[0,4]") "}", 4);
    write_safetensors("two.safetensors",
                      "{\"a\":" ROW("F32", "[1]", "[0,4]") ",\"b\":" ROW("F32", "[1]", "[4,8]") "}", 8);
    write_case("again.index.json", cases[1].json, strlen(cases[1].json));
    for (int64_t i = 0; i < COUNT_OF(cases); i++) {
        tdm_tensor_file *file;
        write_case("model.safetensors.index.json", cases[i].json, strlen(cases[i].json));
        CHECK_FAILS(tdm_tensor_file_open(case_dir, &file), cases[i].code, cases[i].message);
    }
    CHECK_EQ(unlink(case_path("model.safetensors.index.json")), 0);
}

/* ---- Writing ---- */

static float bits_to_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void assert_same(const float *a, const float *b, int64_t n)
{
    CHECK_MEM_EQ(a, b, (size_t)n * sizeof *a);
}

static void test_round_trip(void **state)
{
    (void)state;
    enum { N = 200001 }; /* more than one block */
    float *value = malloc(N * sizeof *value), *back = malloc(N * sizeof *back);
    CHECK_NOT_NULL(value);
    CHECK_NOT_NULL(back);
    for (int64_t i = 0; i < N; i++) value[i] = bits_to_f32((uint32_t)i * 2654435761U);
    const float small[6] = {0, -1, 2, 300, 0.5F, -1.5F}, rounded[6] = {0, -1, 2, 300, 0, -2};
    const tdm_tensor_out tensor[] = {
        {"half \"é\"", TDM_TENSOR_F16, 1, {3}, small}, {"visual.proj", TDM_TENSOR_F32, 2, {3, N / 3}, value},
        {"ids", TDM_TENSOR_I64, 2, {1, 6}, small},     {"scale", TDM_TENSOR_BF16, 0, {0}, small + 3},
        {"nothing", TDM_TENSOR_F32, 2, {5, 0}, NULL},
    };
    tdm_tensor_file *file;
    CHECK_OK(tdm_safetensors_write(case_path("out.safetensors"), tensor, COUNT_OF(tensor)));
    CHECK_FALSE(tdm_path_exists(case_path("out.safetensors.tmp")));
    CHECK_OK(tdm_tensor_file_open(case_path("out.safetensors"), &file));
    CHECK_EQ(tdm_tensor_file_count(file), COUNT_OF(tensor));
    for (int64_t i = 0; i < COUNT_OF(tensor); i++) {
        const tdm_tensor *t = tdm_tensor_file_at(file, i);
        CHECK_STR_EQ(t->name, tensor[i].name);
        CHECK_EQ(t->type, tensor[i].type);
        CHECK_EQ(t->ndim, tensor[i].ndim);
        for (int k = 0; k < t->ndim; k++) CHECK_EQ(t->shape[k], tensor[i].shape[k]);
        CHECK_OK(tdm_tensor_file_read_f32(file, t, back));
        assert_same(back, t->type == TDM_TENSOR_I64 ? rounded : tensor[i].data, t->elements);
    }
    tdm_tensor_file_close(&file);
    free(value);
    free(back);
}

/* The bytes that this program writes are those that PyTorch makes of the same values. */
static void test_rounding(void **state)
{
    (void)state;
    enum { N = sizeof GOLDEN_ROUNDING / sizeof GOLDEN_ROUNDING[0] };
    float value[N];
    uint16_t half[N];
    tdm_text file = {0};
    for (int i = 0; i < N; i++) value[i] = bits_to_f32(GOLDEN_ROUNDING[i].f32);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const tdm_tensor_out t = {"w", bf16 ? TDM_TENSOR_BF16 : TDM_TENSOR_F16, 1, {N}, value};
        CHECK_OK(tdm_safetensors_write(case_path("half.safetensors"), &t, 1));
        CHECK_OK(tdm_read_file(case_path("half.safetensors"), &file));
        memcpy(half, file.data + file.length - sizeof half, sizeof half);
        for (int i = 0; i < N; i++) {
            const uint16_t wanted = bf16 ? GOLDEN_ROUNDING[i].bf16 : GOLDEN_ROUNDING[i].f16;
            const uint16_t infinity = bf16 ? 0x7f80 : 0x7c00;
            const bool nan = isnan(value[i]) && (half[i] & 0x7fff) > infinity; /* which NaN, nobody says */
            if (half[i] != wanted && !nan)
                fail_msg("0x%08x becomes 0x%04x, not 0x%04x", GOLDEN_ROUNDING[i].f32, half[i], wanted);
        }
        tdm_text_free(&file);
    }
}

/* Every f16 and bf16 value comes back as itself. */
static void test_all_halves(void **state)
{
    (void)state;
    enum { N = 65536 };
    static uint16_t half[N];
    static float value[N], back[N];
    tdm_text file = {0};
    tdm_tensor_file *opened;
    for (int i = 0; i < N; i++) half[i] = (uint16_t)i;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const char *json = bf16 ? "{\"w\":" ROW("BF16", "[65536]", "[0,131072]") "}   "
                                : "{\"w\":" ROW("F16", "[65536]", "[0,131072]") "}    ";
        const uint64_t length = strlen(json);
        CHECK_OK(tdm_text_append(&file, &length, sizeof length));
        CHECK_OK(tdm_text_append(&file, json, length));
        CHECK_OK(tdm_text_append(&file, half, sizeof half));
        write_case("halves.safetensors", file.data, file.length);
        tdm_text_free(&file);
        for (int pass = 0; pass < 2; pass++) { /* theirs, then ours */
            float *to = pass ? back : value;
            CHECK_OK(tdm_tensor_file_open(case_path("halves.safetensors"), &opened));
            CHECK_OK(tdm_tensor_file_read_f32(opened, tdm_tensor_file_at(opened, 0), to));
            tdm_tensor_file_close(&opened);
            const tdm_tensor_out t = {"w", bf16 ? TDM_TENSOR_BF16 : TDM_TENSOR_F16, 1, {N}, to};
            CHECK_OK(tdm_safetensors_write(case_path("halves.safetensors"), &t, 1));
        }
        for (int i = 0; i < N; i++)
            CHECK_TRUE(isnan(value[i]) ? isnan(back[i]) : memcmp(&value[i], &back[i], sizeof back[i]) == 0);
    }
    CHECK_EQ(value[0x3f80], 1);
    CHECK_EQ(value[0xc049], -3.140625F); /* bf16 */
}

static void assert_write_refused(const tdm_tensor_out *tensor, int64_t count, tdm_status code,
                                 const char *message)
{
    CHECK_FAILS(tdm_safetensors_write(case_path("refused.safetensors"), tensor, count), code, message);
    CHECK_FALSE(tdm_path_exists(case_path("refused.safetensors")));
    CHECK_FALSE(tdm_path_exists(case_path("refused.safetensors.tmp")));
}

static void test_write_refused(void **state)
{
    (void)state;
    const float one = 1, nan = NAN, large = 1e30F;
    const tdm_tensor_out twice[] = {{"a", TDM_TENSOR_F32, 0, {0}, &one}, {"a", TDM_TENSOR_F16, 0, {0}, &one}};
    const tdm_tensor_out type = {"a", TDM_TENSOR_U8, 0, {0}, &one},
                         name = {"\xff", TDM_TENSOR_F32, 0, {0}, &one};
    const tdm_tensor_out meta = {"__metadata__", TDM_TENSOR_F32, 0, {0}, &one};
    const tdm_tensor_out not_a_number = {"a", TDM_TENSOR_I64, 0, {0}, &nan};
    const tdm_tensor_out too_large = {"a", TDM_TENSOR_I64, 0, {0}, &large};
    const tdm_tensor_out negative = {"a", TDM_TENSOR_F32, 1, {-1}, &one};
    assert_write_refused(twice, 2, TDM_E_FORMAT, "two tensors are named a");
    assert_write_refused(&type, 1, TDM_E_FORMAT, "type U8 cannot be written");
    assert_write_refused(&name, 1, TDM_E_FORMAT, "not UTF-8");
    assert_write_refused(&meta, 1, TDM_E_FORMAT, "may not be named");
    assert_write_refused(&not_a_number, 1, TDM_E_NUMERIC, "tensor a: ");
    assert_write_refused(&too_large, 1, TDM_E_NUMERIC, "no 64-bit integer");
    const tdm_tensor_out many = {"a", TDM_TENSOR_F32, TDM_TENSOR_MAX_DIMS + 1, {0}, &one};
    assert_write_refused(&many, 1, TDM_E_SHAPE, "has 9 dimensions");
    assert_write_refused(&negative, 1, TDM_E_FORMAT, "dimension 0");
    CHECK_FAILS(tdm_safetensors_write("/nowhere/x.safetensors", twice, 1), TDM_E_IO, "");
}

/* A full disk leaves the old file as it was and no other. */
static void test_disk_full(void **state)
{
    (void)state;
    enum { N = 100000 };
    float *value = calloc(N, sizeof *value), old = 5;
    CHECK_NOT_NULL(value);
    const tdm_tensor_out small = {"w", TDM_TENSOR_F32, 0, {0}, &old};
    const tdm_tensor_out large = {"w", TDM_TENSOR_F32, 1, {N}, value};
    struct rlimit before, little;
    tdm_text first = {0}, second = {0};
    CHECK_OK(tdm_safetensors_write(case_path("full.safetensors"), &small, 1));
    CHECK_OK(tdm_read_file(case_path("full.safetensors"), &first));
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = before;
    little.rlim_cur = 1000;
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &little), 0);
    const tdm_status status = tdm_safetensors_write(case_path("full.safetensors"), &large, 1);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    CHECK_FAILS(status, TDM_E_IO, "cannot write: File too large");
    CHECK_FALSE(tdm_path_exists(case_path("full.safetensors.tmp")));
    CHECK_OK(tdm_read_file(case_path("full.safetensors"), &second));
    CHECK_EQ(first.length, second.length);
    CHECK_MEM_EQ(first.data, second.data, first.length);
    tdm_text_free(&first);
    tdm_text_free(&second);
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_not_tensors),
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_foreign_folders),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_cut_after_opening),
        cmocka_unit_test(test_bad_index),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_all_halves),
        cmocka_unit_test(test_write_refused),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_telling_lengths),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
