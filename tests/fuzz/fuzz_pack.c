/* Any file as a raw data set: CSV, Karpathy JSON, tar, emoji.json. The first byte of the input chooses the
 * reader ('c', 'k', 'w', 'e'; 'd' is CSV with all of its columns), the rest is the file. What is listed must be usable, what is refused must name the
 * file. */
#include "fuzz.h"
#include "tandem/pack.h"

#include <string.h>
#include <unistd.h>

static char folder[64];

static void remove_folder(void)
{
    if (tdm_remove_tree(folder) != TDM_OK) fprintf(stderr, "%s: cannot be removed\n", folder);
}

static void make_folder(void)
{
    if (folder[0]) return;
    snprintf(folder, sizeof(folder), "%s/tandem-fuzz-pack-%ld",
             tdm_path_is_dir("/dev/shm") ? "/dev/shm" : "/tmp", (long)getpid());
    FUZZ_REQUIRE(tdm_make_dirs(folder) == TDM_OK);
    atexit(remove_folder);
}

static void check_list(const tdm_pack_list *list, const char *path, int64_t file_bytes)
{
    for (int64_t i = 0; i < list->count; i++) {
        const tdm_pack_item *item = &list->item[i];
        FUZZ_REQUIRE(item->name && item->name[0] && item->split && (!item->path || item->path[0]));
        FUZZ_REQUIRE(item->bytes >= -1 && item->identity >= -1);
        for (int64_t k = 0; k < item->caption_n; k++)
            FUZZ_REQUIRE(item->caption[k] && (item->text_feature || item->caption[k][0]));
        for (int64_t k = 0; k < item->class_n; k++)
            FUZZ_REQUIRE(item->class_index[k] >= 0 && item->class_index[k] < list->classes.count);
        if (item->bytes >= 0) /* a piece of the archive */
            FUZZ_REQUIRE(item->path && !strcmp(item->path, path) && item->offset > 0 &&
                         item->offset + item->bytes <= file_bytes);
    }
}

static const tdm_pack_format *format_of(uint8_t letter)
{
    const char *name = letter == 'c' || letter == 'd' ? "csv"
                       : letter == 'k'                ? "karpathy"
                       : letter == 'w'                ? "webdataset"
                       : letter == 'e'                ? "emoji"
                                                      : NULL;
    size_t count;
    const tdm_pack_format *const *formats = tdm_pack_formats(&count);
    for (size_t i = 0; name && i < count; i++)
        if (!strcmp(formats[i]->name, name)) return formats[i];
    return NULL;
}

/* The options that name columns, where the letter asks for them: owned by the caller. */
static void *options_of(const tdm_pack_format *format, uint8_t letter)
{
    static const char *const column[][2] = {{"caption_column", "title,more"},
                                            {"identity_column", "identity"},
                                            {"class_column", "class"},
                                            {"split_column", "split"}};
    void *values = NULL;
    if (letter != 'd') return NULL;
    FUZZ_REQUIRE(tdm_alloc(format->option_bytes, "options", &values) == TDM_OK);
    tdm_pack_format_defaults(format, values);
    for (size_t i = 0; i < format->option_count; i++)
        for (size_t k = 0; k < sizeof(column) / sizeof(column[0]); k++)
            if (!strcmp(format->options[i].key, column[k][0]))
                *(const char **)(void *)((char *)values + format->options[i].offset) = column[k][1];
    return values;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const tdm_pack_format *format = bytes ? format_of(data[0]) : NULL;
    if (!format) return 0;
    make_folder();
    char path[128];
    snprintf(path, sizeof(path), "%s/emoji.json", folder); /* the emoji reader is given the folder */
    FILE *file = fopen(path, "wb");
    FUZZ_REQUIRE(file && fwrite(data + 1, 1, bytes - 1, file) == bytes - 1 && fclose(file) == 0);

    tdm_pack_list list = {0};
    void *options = options_of(format, data[0]);
    if (tdm_pack_list_source(format, options, data[0] == 'e' ? folder : path, &list) == TDM_OK)
        check_list(&list, path, (int64_t)bytes - 1);
    else
        FUZZ_REQUIRE(strstr(tdm_error_last()->message, "emoji.json"));
    tdm_pack_list_free(&list);
    tdm_free(options);
    return 0;
}
