/* Any configuration. The first byte of the input chooses: 's': one --set assignment a line; 'f': a file,
 * which may include itself and others; else text, as a checkpoint stores it. Whatever is accepted is printed,
 * reads back, and prints the same. */
#include "fuzz.h"
#include "tandem/config.h"

#include <string.h>
#include <unistd.h>

typedef struct demo_options {
    double weight;
    bool soft;
    tdm_strings views;
    int64_t big;
} demo_options;
static const tdm_option demo_rows[] = {
    {"weight", TDM_OPTION_FLOAT, offsetof(demo_options, weight), "1.0", 0, 100, NULL, "", "Weight.", NULL,
     TDM_CHANGE_OF_GROUP},
    {"soft", TDM_OPTION_BOOL, offsetof(demo_options, soft), "true", 0, 0, NULL, "", "Soft targets.", NULL,
     TDM_CHANGE_OF_GROUP},
    {"views", TDM_OPTION_STRINGS, offsetof(demo_options, views), "[plain]", 0, 0, NULL, "", "Views.", NULL,
     TDM_CHANGE_OF_GROUP},
    {"big", TDM_OPTION_INT, offsetof(demo_options, big), "0", 0, 0, NULL, "", "Any integer.", NULL,
     TDM_CHANGE_OF_GROUP},
};

static char file[64];

static void remove_file(void)
{
    unlink(file);
}

static void set_lines(tdm_config *config, char *text)
{
    for (char *line; (line = strsep(&text, "\n")) != NULL;) {
        if (tdm_config_set(config, line) != TDM_OK) FUZZ_REQUIRE(strstr(tdm_error_last()->message, "--set"));
    }
}

static void load_file(tdm_config *config, const char *text)
{
    if (!file[0]) {
        snprintf(file, sizeof file, "%s/tandem-fuzz-config",
                 tdm_path_is_dir("/dev/shm") ? "/dev/shm" : "/tmp");
        snprintf(file + strlen(file), sizeof file - strlen(file), "-%ld", (long)getpid());
        atexit(remove_file);
    }
    FILE *out = fopen(file, "w");
    if (out == NULL) return;
    fputs(text, out);
    fclose(out);
    if (tdm_config_load(config, file) != TDM_OK) FUZZ_REQUIRE(tdm_error_last()->message[0] != '\0');
}

static void check_round_trip(const tdm_config *config)
{
    tdm_config again, copy;
    tdm_text first = {0}, second = {0}, third = {0};
    FUZZ_REQUIRE(tdm_config_print(config, NULL, &first) == TDM_OK);
    FUZZ_REQUIRE(tdm_config_init(&again) == TDM_OK);
    FUZZ_REQUIRE(tdm_config_load_text(&again, "printed", first.data) == TDM_OK);
    FUZZ_REQUIRE(tdm_config_print(&again, NULL, &second) == TDM_OK);
    FUZZ_REQUIRE(strcmp(first.data, second.data) == 0);
    FUZZ_REQUIRE(tdm_config_copy(config, &copy) == TDM_OK);
    FUZZ_REQUIRE(tdm_config_print(&copy, NULL, &third) == TDM_OK);
    FUZZ_REQUIRE(strcmp(first.data, third.data) == 0);
    tdm_text_free(&first);
    tdm_text_free(&second);
    tdm_text_free(&third);
    tdm_config_destroy(&again);
    tdm_config_destroy(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (!bytes) return 0;
    const tdm_option_group demo = {.prefix = "loss.demo",
                                   .rows = demo_rows,
                                   .count = 4,
                                   .bytes = sizeof(demo_options),
                                   .change = TDM_CHANGE_RUN};
    FUZZ_REQUIRE(tdm_config_register(&demo) == TDM_OK); /* once */
    char *text = malloc(bytes);                         /* data[1 …] and a NUL */
    if (!text) return 0;
    memcpy(text, data + 1, bytes - 1);
    text[bytes - 1] = '\0';
    tdm_config config;
    FUZZ_REQUIRE(tdm_config_init(&config) == TDM_OK);
    if (data[0] == 's') {
        set_lines(&config, text);
    } else if (data[0] == 'f') {
        load_file(&config, text);
    } else if (tdm_config_load_text(&config, "fuzz", text) != TDM_OK) {
        FUZZ_REQUIRE(strstr(tdm_error_last()->message, "fuzz") != NULL);
    }
    if (tdm_config_check(&config) != TDM_OK) FUZZ_REQUIRE(tdm_error_last()->code == TDM_E_CONFIG);
    check_round_trip(&config);
    tdm_config_destroy(&config);
    free(text);
    return 0;
}
