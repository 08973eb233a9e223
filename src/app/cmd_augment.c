/* tandem augment: what augmentations do, as a sheet of a configuration's views or applied to one picture or text. */
#include "augment_sheet.h"

#include <stdlib.h>
#include <string.h>

typedef struct augment_options {
    augment_sheet_options sheet;
    tdm_strings op;
    const char *image, *text, *out, *size;
    int64_t seed;
} augment_options;

/* ---- operations of the command line ---- */

static const tdm_operation *operation_at(size_t index, tdm_modality *modality)
{
    size_t images = 0;
    while (tdm_image_augment_row(images)) images++;
    *modality = index < images ? TDM_IMAGE : TDM_TEXT;
    return index < images ? tdm_image_augment_row(index) : tdm_text_augment_row(index - images);
}

static tdm_status unknown_operation(const char *op, const char *name)
{
    enum { MOST = 256 };
    const char *known[MOST];
    size_t count = 0;
    tdm_modality modality;
    const tdm_operation *row;
    while (count < MOST && (row = operation_at(count, &modality)) != NULL) known[count++] = row->name;
    const char *near = tdm_nearest_name(name, known, count);
    TDM_FAIL(TDM_E_USAGE, "augment: --op %.80s: there is no operation \"%.40s\"%s%s%s", op, name,
             near ? "; did you mean " : "; see tandem augment --help", near ? near : "", near ? "?" : "");
}

static bool has_option(const tdm_operation *row, const char *key)
{
    for (size_t i = 0; i < row->option_count; i++)
        if (!strcmp(row->options[i].key, key)) return true;
    return false;
}

/* Is p among the arguments "a=1,p=0.5"? */
static bool says_p(const char *arguments)
{
    for (const char *at = arguments; at; at = strchr(at, ','), at = at ? at + 1 : NULL) {
        at += strspn(at, " ");
        if (at[0] == 'p' && at[1 + strspn(at + 1, " ")] == '=') return true;
    }
    return false;
}

/* NAME:key=value,key=value as the entry NAME(key=value,key=value) of a list. Of a picture's operation p is 1 unless it
 * says another: one that is asked for happens. */
static tdm_status entry_of(const char *op, tdm_modality wanted, tdm_text *entry)
{
    const size_t length = strcspn(op, ":(");
    const char *arguments = op[length] ? op + length + 1 : "";
    char name[64];
    tdm_modality modality = TDM_IMAGE;
    const tdm_operation *row = NULL;
    TDM_REQUIRE(length > 0 && length < sizeof name && op[length] != '(', TDM_E_USAGE,
                "augment: --op %.80s: expected NAME or NAME:key=value,key=value", op);
    memcpy(name, op, length);
    name[length] = '\0';
    for (size_t i = 0; (row = operation_at(i, &modality)) != NULL && strcmp(row->name, name) != 0;) i++;
    if (!row) return unknown_operation(op, name);
    TDM_REQUIRE(modality == wanted, TDM_E_USAGE, "augment: --op %.80s: %s works on %ss", op, name,
                tdm_modality_name(modality));
    const bool happens = wanted == TDM_IMAGE && has_option(row, "p") && !says_p(arguments);
    return tdm_text_printf(entry, "%s(%s%s%s)", name, happens ? "p=1" : "",
                           happens && arguments[0] ? "," : "", arguments);
}

/* The list of all --op; free_list. */
static tdm_status make_list(const tdm_strings *op, tdm_modality modality, tdm_strings *list)
{
    TDM_TRY(TDM_ALLOC(op->count, &list->item));
    list->count = op->count;
    for (int64_t i = 0; i < op->count; i++) {
        tdm_text entry = {0};
        const tdm_status status = entry_of(op->item[i], modality, &entry);
        list->item[i] = entry.data; /* its own now */
        if (status != TDM_OK) return status;
    }
    return TDM_OK;
}

static void free_list(tdm_strings *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        tdm_text entry = {.data = (char *)(uintptr_t)list->item[i]};
        tdm_text_free(&entry);
    }
    tdm_free(list->item);
}

/* ---- a picture ---- */

static tdm_status parse_size(const char *text, int64_t *height, int64_t *width)
{
    long long h = 0, w = 0;
    int used = 0;
    if (!text[0]) return TDM_OK;
    TDM_REQUIRE(sscanf(text, "%lldx%lld%n", &h, &w, &used) == 2 && !text[used] && h >= 1 && w >= 1 &&
                    h <= TDM_IMAGE_MAX_PX && w <= TDM_IMAGE_MAX_PX,
                TDM_E_USAGE, "augment: --size %.40s: must be HxW in pixels, such as 384x128, each up to %d",
                text, TDM_IMAGE_MAX_PX);
    *height = h;
    *width = w;
    return TDM_OK;
}

static tdm_status write_view(const augment_options *o, const tdm_image *image,
                             const tdm_image_pipeline *pipeline)
{
    int64_t height = image->height, width = image->width;
    uint8_t *pixel;
    tdm_text png = {0};
    TDM_TRY(parse_size(o->size, &height, &width));
    TDM_TRY(TDM_ALLOC(height * width * 3, &pixel));
    const tdm_rng rng = tdm_rng_at((uint64_t)o->seed, 0, 0, TDM_RNG_AUGMENT);
    tdm_status status = tdm_image_augment(image, pipeline, TDM_FIT_SQUASH, rng, height, width, pixel);
    if (status == TDM_OK) status = tdm_image_encode_png(pixel, height, width, &png);
    if (status == TDM_OK) status = tdm_write_file_atomic(o->out, png.data, png.length);
    tdm_text_free(&png);
    tdm_free(pixel);
    return status;
}

static tdm_status augment_image(const augment_options *o, const tdm_config *config, const tdm_strings *list)
{
    tdm_image_pipeline *pipeline = NULL;
    tdm_image image = {0};
    tdm_text file = {0};
    tdm_status status = tdm_image_pipeline_create(config, "augment: --op", list, &pipeline);
    if (status == TDM_OK) status = tdm_read_file(o->image, &file);
    if (status == TDM_OK) status = tdm_image_decode(o->image, file.data, file.length, TDM_ALPHA_DROP, &image);
    if (status == TDM_OK) status = write_view(o, &image, pipeline);
    tdm_image_free(&image);
    tdm_text_free(&file);
    tdm_image_pipeline_destroy(&pipeline);
    return status;
}

/* ---- words ---- */

static tdm_status augment_text(const augment_options *o, const tdm_config *config, const tdm_strings *list)
{
    tdm_text_pipeline *pipeline = NULL;
    tdm_text_work work = {0};
    const char *words = NULL;
    const tdm_caption caption = {.text = o->text};
    const tdm_rng rng = tdm_rng_at((uint64_t)o->seed, 0, 0, TDM_RNG_TEXT);
    tdm_status status = tdm_text_pipeline_create(config, "augment: --op", list, NULL, &pipeline);
    if (status == TDM_OK && tdm_text_pipeline_has_tokens(pipeline))
        status = TDM_ERROR(TDM_E_USAGE, "augment: --text shows words, but an operation works on tokens");
    if (status == TDM_OK) status = tdm_text_words(&work, pipeline, &caption, rng, &words);
    if (status == TDM_OK && (puts(words) == EOF || fflush(stdout) != 0))
        status = TDM_ERROR(TDM_E_IO, "standard output: cannot write");
    tdm_text_work_free(&work);
    tdm_text_pipeline_destroy(&pipeline);
    return status;
}

static tdm_status apply_operations(const augment_options *o)
{
    const tdm_modality modality = o->text[0] ? TDM_TEXT : TDM_IMAGE;
    tdm_config config;
    tdm_strings list = {0};
    TDM_TRY(tdm_config_init(&config));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < o->sheet.set.count && status == TDM_OK; i++)
        status = tdm_config_set(&config, o->sheet.set.item[i]);
    if (status == TDM_OK) status = make_list(&o->op, modality, &list);
    if (status == TDM_OK)
        status = modality == TDM_TEXT ? augment_text(o, &config, &list) : augment_image(o, &config, &list);
    free_list(&list);
    tdm_config_destroy(&config);
    return status;
}

/* ---- the command ---- */

static tdm_status check_options(augment_options *o, const tdm_strings *positional)
{
    const bool sheet = o->sheet.html[0] || o->sheet.config[0];
    if (sheet) {
        TDM_REQUIRE(o->sheet.html[0] && o->sheet.config[0], TDM_E_USAGE,
                    "augment: a sheet needs both --config FILE and --html FILE");
        TDM_REQUIRE(o->op.count == 0 && positional->count == 0 && !o->text[0], TDM_E_USAGE,
                    "augment: --op, --text and IMAGE do not go with --config and --html");
        return TDM_OK;
    }
    TDM_REQUIRE(o->op.count > 0, TDM_E_USAGE,
                "augment: give --config FILE --html FILE for a sheet, or --op NAME");
    TDM_REQUIRE(positional->count == (o->text[0] ? 0 : 1), TDM_E_USAGE,
                "augment: --op needs one IMAGE or --text \"words\"");
    if (o->text[0]) return TDM_OK;
    o->image = positional->item[0];
    TDM_REQUIRE(o->out[0], TDM_E_USAGE, "augment: --out FILE.png is missing");
    return TDM_OK;
}

/* NAME:key=default,key=default, which can be copied. */
static void print_operation(const tdm_operation *row)
{
    printf("  %s", row->name);
    for (size_t i = 0; i < row->option_count; i++) {
        const tdm_option *option = &row->options[i];
        const bool is_list = option->type == TDM_OPTION_STRINGS;
        printf("%s%s=%s", i ? "," : ":", option->key, is_list ? "[OPERATION, …]" : option->default_text);
    }
    puts("");
}

static void print_operations(void)
{
    tdm_modality modality, last = TDM_MODALITIES;
    const tdm_operation *row;
    for (size_t i = 0; (row = operation_at(i, &modality)) != NULL; last = modality, i++) {
        if (modality != last)
            printf("\nOperations on %ss and their options in a configuration (docs/augmentation.md):\n",
                   tdm_modality_name(modality));
        print_operation(row);
    }
}

static tdm_status augment_run(tdm_comm *comm, int argc, char **argv)
{
    augment_options o = {.sheet = {.config = "", .data = "", .split = "", .html = "", .samples = 4},
                         .image = "",
                         .text = "",
                         .out = "",
                         .size = ""};
    const tdm_flag flags[] = {
        FLAG_STRING("--config", &o.sheet.config, "FILE", "", "configuration of a run, for a sheet"),
        FLAG_LIST("--set", &o.sheet.set, "KEY=VALUE", "",
                  "overrides one key of it, or of the defaults for --op; repeatable"),
        FLAG_STRING("--data", &o.sheet.data, "DIR", "", "packed data directory, in place of data.dir"),
        FLAG_STRING("--split", &o.sheet.split, "NAME", "", "its split, in place of data.split"),
        FLAG_STRING(
            "--html", &o.sheet.html, "FILE", "",
            "sheet: of some samples the original and eight draws of each view that the objectives need or that has a "
            "list of its own"),
        FLAG_INT("--samples", &o.sheet.samples, "N", "4", "samples", 1, 1000,
                 "how many, evenly over the split"),
        FLAG_LIST("--op", &o.op, "NAME:KEY=VALUE,…", "",
                  "operation to apply; repeatable, in order. It happens unless it says p"),
        FLAG_STRING("--out", &o.out, "FILE", "", "the picture after the operations, PNG"),
        FLAG_STRING("--size", &o.size, "HxW", "",
                    "pixels of the result; the picture is resized to it, by default to its own size"),
        FLAG_STRING("--text", &o.text, "WORDS", "", "words instead of a picture; the result is printed"),
        FLAG_INT("--seed", &o.seed, "N", "0", "", 0, INT32_MAX, "of the random numbers of --op"),
    };
    tdm_strings positional = {0};
    bool help = false;
    TDM_TRY(tdm_parse_flags("augment",
                            "--config FILE --html FILE [--data DIR --split NAME] | --op NAME:key=value IMAGE "
                            "--out FILE.png | --op NAME:key=value --text \"words\"",
                            flags, sizeof flags / sizeof flags[0], argc, argv, &positional, &help));
    if (help) print_operations();
    const tdm_status usable = help ? TDM_OK : check_options(&o, &positional);
    free((void *)positional.item);
    if (help || usable != TDM_OK) return usable;
    return o.sheet.html[0] ? augment_sheet(comm, &o.sheet) : apply_operations(&o);
}

const tdm_command tdm_command_augment = {.name = "augment",
                                         .summary = "what augmentations do to samples, a picture or words",
                                         .mpi = false,
                                         .run = augment_run};
