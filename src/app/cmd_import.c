/* tandem import: weights of other programs as a checkpoint. */
#include "command.h"

#include <stdlib.h>
#include <string.h>

/* "224", or "384x128": height and width. */
static tdm_status parse_size(const char *text, int64_t *height, int64_t *width)
{
    char *end = NULL;
    if (text[0] == '\0') return TDM_OK;
    const long long h = strtoll(text, &end, 10);
    long long w = h;
    bool good = end != text;
    if (good && *end == 'x') {
        const char *second = end + 1;
        w = strtoll(second, &end, 10);
        good = end != second;
    }
    TDM_REQUIRE(good && !*end && h > 0 && w > 0 && h <= 32768 && w <= 32768, TDM_E_USAGE,
                "import: --image-size %s: expected PX, or HEIGHTxWIDTH, from 1 to 32768", text);
    *height = h;
    *width = w;
    return TDM_OK;
}

static tdm_status import(tdm_import_options *options, const char *size)
{
    TDM_TRY(parse_size(size, &options->height_px, &options->width_px));
    return tdm_import(options);
}

static tdm_status import_run(tdm_comm *comm, int argc, char **argv)
{
    (void)comm;
    const char *size = "";
    tdm_import_options options = {
        .from = "", .prefix = "", .tokenizer = "", .model = "", .out = "", .activation = "", .resize = ""};
    const tdm_flag flags[] = {
        FLAG_STRING(
            "--from", &options.from, "FILE|DIR", NULL,
            "safetensors (one file, or sharded with its index), PyTorch archive (.pt, .pth), or a folder with "
            "either; names as open_clip's, OpenAI's, TBPS-CLIP's or Hugging Face's CLIPModel"),
        FLAG_STRING("--out", &options.out, "CKPT", NULL, "checkpoint directory to write"),
        FLAG_STRING(
            "--tokenizer", &options.tokenizer, "FILE|DIR", "",
            "merges file, vocab.json, tokenizer.json or their folder; unset: what stands beside --from"),
        FLAG_SWITCH(
            "--mask-token", &options.mask_token,
            "the tokenizer's variant with <|mask|>, see model.tokenizer_mask; TBPS-CLIP's checkpoints have it anyway"),
        FLAG_STRING(
            "--model", &options.model, "NAME|FILE.cfg", "",
            "model definition; unset: read from the shapes, and from config.json or open_clip_config.json beside --from"),
        FLAG_STRING("--activation", &options.activation, "quickgelu|gelu", "",
                    "overrides the model's; unset and not said elsewhere: quickgelu, as OpenAI's"),
        FLAG_STRING(
            "--image-size", &size, "PX|HxW", "",
            "image size of the checkpoint; position embeddings are resized when the file's is another"),
        FLAG_INT(
            "--context", &options.context_length, "N", "", "tokens", 0, 65536,
            "context length of the checkpoint; position embeddings are resized when the file's is another"),
        FLAG_STRING(
            "--resize", &options.resize, TDM_POSITION_METHODS, "open_clip",
            "how: bicubic with antialiasing, bicubic without, bilinear; captions linear, tbps_clip keeps the first and the last position"),
        FLAG_STRING(
            "--prefix", &options.prefix, "PREFIX", "",
            "what the names of the model's tensors begin with, where the file holds several models, as "
            "student. or ema.; the message about them lists the choices; . is none"),
        FLAG_LIST("--ignore", &options.ignore, "PREFIX", "",
                  "leave out tensors whose names begin so; may be repeated"),
        FLAG_SWITCH("--force", &options.force, "replace a model.h5 in CKPT"),
        FLAG_STEAL_LOCK(&options.steal_lock),
    };
    tdm_strings positional = {0};
    bool help = false;
    tdm_status status = tdm_parse_flags(
        "import", "--from model.safetensors [--tokenizer FILE] [--model NAME|FILE.cfg] --out CKPT", flags,
        sizeof flags / sizeof flags[0], argc, argv, &positional, &help);
    if (status == TDM_OK && !help && positional.count > 0)
        status = TDM_ERROR(TDM_E_USAGE, "import: unexpected argument \"%s\"", positional.item[0]);
    if (status == TDM_OK && !help) status = import(&options, size);
    free((void *)positional.item);
    free((void *)options.ignore.item);
    return status;
}

const tdm_command tdm_command_import = {
    .name = "import",
    .summary = "weights of open_clip, OpenAI, TBPS-CLIP or Hugging Face as a checkpoint",
    .mpi = false,
    .run = import_run};
