/* Files and folders that people hand over for weights, and what to do about each. A further one is a row. */
#include "tensors_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* ---- Files, by their first bytes or their name ---- */

typedef struct file_kind {
    const char *magic; /* bytes at `at`; NULL: by its name alone */
    size_t magic_bytes, at;
    const char *name; /* a pattern of file names, or NULL */
    const char *what, *remedy;
} file_kind;

#define MAGIC(bytes, at) bytes, sizeof bytes - 1, at

#define UNPACK     "unpack it first"
#define BY_PYTORCH "load it where it comes from, and save a PyTorch state_dict"
#define FROM_FLAX  "CLIPModel.from_pretrained(DIR, from_flax=True).save_pretrained(NEW) makes one"
#define FROM_TF    "CLIPModel.from_pretrained(DIR, from_tf=True).save_pretrained(NEW) makes one"

#define OWN "it needs no import, other commands take it with --model"

static const file_kind file_kinds[] = {
    {MAGIC("\x89HDF\r\n\x1a\n", 0), "tf_model.h5", "an HDF5 file of TensorFlow", FROM_TF},
    {MAGIC("\x89HDF\r\n\x1a\n", 0), NULL, "an HDF5 file", "if it is a checkpoint of Tandem's own, " OWN},
    {MAGIC("GGUF", 0), NULL, "a GGUF file", "import the weights that it was made from"},
    {MAGIC("\x1f\x8b", 0), NULL, "compressed with gzip", UNPACK},
    {MAGIC("BZh", 0), NULL, "compressed with bzip2", UNPACK},
    {MAGIC("\xfd"
           "7zXZ",
           0),
     NULL, "compressed with xz", UNPACK},
    {MAGIC("\x28\xb5\x2f\xfd", 0), NULL, "compressed with zstd", UNPACK},
    {MAGIC("7z\xbc\xaf\x27\x1c", 0), NULL, "a 7z archive", UNPACK},
    {MAGIC("ustar", 257), NULL, "a tar archive", UNPACK},
    {MAGIC("\x93NUMPY", 0), NULL, "a NumPy array", BY_PYTORCH},
    {NULL, 0, 0, "*.onnx", "an ONNX model", "import the weights that it was made from"},
    {NULL, 0, 0, "*.msgpack", "a Flax file", FROM_FLAX},
    {NULL, 0, 0, "*.pb", "a TensorFlow graph", FROM_TF},
    {NULL, 0, 0, "*.ckpt.data-*", "a TensorFlow checkpoint", FROM_TF},
    {NULL, 0, 0, "*.ckpt.index", "a TensorFlow checkpoint", FROM_TF},
    {NULL, 0, 0, "*.tflite", "a TensorFlow Lite model", "import the weights that it was made from"},
};

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool is_kind(const file_kind *kind, const char *path, const unsigned char *head, size_t bytes)
{
    if (kind->name != NULL && fnmatch(kind->name, last_part(path), 0) != 0) return false;
    return kind->magic == NULL || (bytes >= kind->at + kind->magic_bytes &&
                                   memcmp(head + kind->at, kind->magic, kind->magic_bytes) == 0);
}

/* What a server answers in place of a file. */
static bool is_web_page(const unsigned char *head, size_t bytes)
{
    static const char *const begins[] = {"<!doctype", "<html", "<head", "<?xml", "<!--", "<error"};
    size_t at = bytes >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < bytes && strchr(" \t\r\n", head[at]) != NULL && head[at] != '\0') at++;
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        const size_t n = strlen(begins[i]);
        if (bytes - at >= n && strncasecmp((const char *)head + at, begins[i], n) == 0) return true;
    }
    return false;
}

static bool is_text(const unsigned char *head, size_t bytes)
{
    const char *at = (const char *)head, *end = at + bytes, *next;
    for (; at < end; at = next) {
        const int32_t point = tdm_utf8_next(at, end, &next);
        const bool is_space = point == '\t' || point == '\r' || point == '\n';
        if (point < 0 ? next < end : tdm_point_is_control(point) && !is_space)
            return false; /* cut at the end */
    }
    return true;
}

tdm_status foreign_known(const char *path, const unsigned char *head, size_t bytes)
{
    TDM_TRY(tdm_refuse_lfs_pointer(path, head, bytes));
    for (size_t i = 0; i < sizeof file_kinds / sizeof file_kinds[0]; i++) {
        TDM_REQUIRE(!is_kind(&file_kinds[i], path, head, bytes), TDM_E_FORMAT,
                    "%s: is %s, no safetensors file or PyTorch archive: %s", path, file_kinds[i].what,
                    file_kinds[i].remedy);
    }
    return TDM_OK;
}

tdm_status foreign_file(const char *path, const unsigned char *head, size_t bytes)
{
    TDM_TRY(foreign_known(path, head, bytes));
    TDM_REQUIRE(
        bytes < 2 || head[0] != 0x80 || head[1] < 2 || head[1] > 5, TDM_E_FORMAT,
        "%s: is a PyTorch file from before version 1.6, or another bare pickle; convert it with python3 -c "
        "\"import torch; torch.save(torch.load('OLD.pt', map_location='cpu'), 'NEW.pt')\"",
        path);
    TDM_REQUIRE(!is_web_page(head, bytes), TDM_E_FORMAT,
                "%s: is a web page, not the file itself: its address leads to a page, or asks for a login",
                path);
    TDM_REQUIRE(!is_text(head, bytes), TDM_E_FORMAT,
                "%s: is text (\"%.*s\"), no safetensors file or PyTorch archive: was the download refused?",
                path, (int)tdm_min_i64((int64_t)strcspn((const char *)head, "\r\n"), 40), (const char *)head);
    TDM_FAIL(TDM_E_FORMAT, "%s: is neither a safetensors file nor a PyTorch archive", path);
}

/* ---- Folders, by what lies in them ---- */

static const struct {
    const char *name; /* pattern of an entry; the first row that fits one counts */
    const char *what, *remedy;
} folder_kinds[] = {
    {"adapter_config.json", "a LoRA adapter (PEFT), not a whole model",
     "merge it into its base model: merge_and_unload(), then save_pretrained()"},
    {"adapter_model.*", "a LoRA adapter (PEFT), not a whole model",
     "merge it into its base model: merge_and_unload(), then save_pretrained()"},
    {".metadata", "a distributed checkpoint of PyTorch (FSDP)",
     "python3 -m torch.distributed.checkpoint.format_utils dcp_to_torch DIR FILE.pt makes one file of it"},
    {"*.distcp", "a distributed checkpoint of PyTorch (FSDP) without its .metadata", "copy that file, too"},
    {"zero_to_fp32.py", "a checkpoint of DeepSpeed", "its zero_to_fp32.py makes one file of it"},
    {"global_step*", "a checkpoint of DeepSpeed", "its zero_to_fp32.py makes one file of it"},
    {"mp_rank_*", "a part of a checkpoint of DeepSpeed", "zero_to_fp32.py above it makes one file of it"},
    {"model-*-of-*.safetensors", "shards without their model.safetensors.index.json", "copy that file, too"},
    {"pytorch_model-*-of-*.bin", "shards without their pytorch_model.bin.index.json", "copy that file, too"},
    {"model_index.json", "a pipeline of Diffusers", "a text encoder in it is one tower only, no whole CLIP"},
    {"model.h5", "a checkpoint of Tandem's own", OWN},
    {"step-[0-9]*", "a folder of Tandem's own checkpoints", OWN},
    {"metrics.jsonl", "a run of Tandem's own", OWN},
    {"checkpoints", "a run", "name one of the files in its checkpoints/"},
    {"*.msgpack", "a model of Flax", FROM_FLAX},
    {"tf_model.h5", "a model of TensorFlow", FROM_TF},
    {"saved_model.pb", "a model of TensorFlow", FROM_TF},
    {"*.ckpt.index", "a checkpoint of TensorFlow", FROM_TF},
    {"*.onnx", "an ONNX model", "import the weights that it was made from"},
    {"*.gguf", "a GGUF model", "import the weights that it was made from"},
};
enum { FOLDER_KINDS = sizeof folder_kinds / sizeof folder_kinds[0] };

static bool may_hold_tensors(const char *name)
{
    static const char *const patterns[] = {"*.safetensors", "*.pt", "*.pth", "*.bin", "*.ckpt"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        if (fnmatch(patterns[i], name, 0) == 0) return true;
    }
    return false;
}

/* The kind of least index, and up to some names of files that may be meant. */
static tdm_status scan_folder(DIR *folder, size_t *kind, tdm_text *names)
{
    enum { SHOWN = 6 };
    int count = 0;
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        for (size_t i = 0; i < *kind; i++) {
            if (fnmatch(folder_kinds[i].name, entry->d_name, 0) == 0) *kind = i;
        }
        if (!may_hold_tensors(entry->d_name) || ++count > SHOWN + 1) continue;
        TDM_TRY(
            tdm_text_printf(names, "%s%.100s", count > 1 ? ", " : "", count > SHOWN ? "…" : entry->d_name));
    }
    return TDM_OK;
}

tdm_status foreign_folder(const char *dir)
{
    size_t kind = FOLDER_KINDS;
    tdm_text names = {0};
    DIR *folder = opendir(dir);
    TDM_REQUIRE(folder != NULL, TDM_E_IO, "%s: cannot open the directory: %s", dir, strerror(errno));
    tdm_status status = scan_folder(folder, &kind, &names);
    closedir(folder);
    if (status == TDM_OK && kind < FOLDER_KINDS)
        status =
            TDM_ERROR(TDM_E_FORMAT, "%s: is %s: %s", dir, folder_kinds[kind].what, folder_kinds[kind].remedy);
    else if (status == TDM_OK && names.length > 0)
        status = TDM_ERROR(TDM_E_IO,
                           "%s: has no model.safetensors or pytorch_model.bin; name one of its files: %s",
                           dir, names.data);
    else if (status == TDM_OK)
        status = TDM_ERROR(
            TDM_E_IO, "%s: has no model.safetensors, model.safetensors.index.json or pytorch_model.bin", dir);
    tdm_text_free(&names);
    return status;
}
