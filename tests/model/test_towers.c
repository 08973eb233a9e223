/* The table of towers: rules between a model's keys, keys of one tower, the delivered definitions. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tandem/model.h"

static void test_rules(void **state)
{
    (void)state;
    static const char *const broken[][2] = {
        {"model.image.patch_px=33", "model.image.patch_px = 33 does not divide 224 x 224 px"},
        {"model.image.heads=7", "model.image.width = 768 is not divisible by model.image.heads = 7"},
        {"model.text.heads=7", "model.text.width = 512 is not divisible by model.text.heads = 7"},
        {"model.text.mlp_ratio=0.333", "not a whole number"},
        {"model.logit_scale_init=5", "model.logit_scale_init = 5 is larger than model.logit_scale_max"},
        {"model.image.tower=resnet\nmodel.image.height_px=240", "does not divide 240 x 224 px"},
        {"model.image.tower=resnet\nmodel.image.width=63", "model.image.width = 63 is odd"},
        {"model.image.tower=resnet\nmodel.image.heads=7", "model.image.heads = 7 does not divide"},
        {"model.image.tower=resnt",
         "model.image.tower: \"resnt\" is unknown (did you mean resnet?); known: vit"},
        {"model.text.tower=vit", "model.text.tower: \"vit\" is unknown"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        tdm_config config;
        CHECK_OK(tdm_config_init(&config));
        char text[256], *rest = text;
        snprintf(text, sizeof text, "%s", broken[i][0]);
        for (char *line; (line = strsep(&rest, "\n")) != NULL;) CHECK_OK(tdm_config_set(&config, line));
        CHECK_FAILS(tdm_model_check(&config), TDM_E_CONFIG, broken[i][1]);
        tdm_config_destroy(&config);
    }
}

/* The delivered model definitions, found by name. */
static void test_definitions(void **state)
{
    (void)state;
    static const char *const names[] = {"vit_b_32", "vit_b_16", "vit_l_14", "emoji_vit",
                                        "rn50",     "rn101",    "rn50x4",   "rn50x16"};
    char conf[512];
    snprintf(conf, sizeof conf, "%s/conf", getenv("TANDEM_SOURCE_DIR"));
    setenv("TANDEM_CONF", conf, 1);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tdm_config config;
        CHECK_OK(tdm_config_init(&config));
        CHECK_OK(tdm_config_load_model(&config, names[i]));
        CHECK_STR_EQ(config.model.name, names[i]);
        CHECK_OK(tdm_config_check(&config));
        CHECK_OK(tdm_model_check(&config));
        if (i == 2) CHECK_EQ(config.model.image.layers, 24);
        if (i == 5) CHECK_EQ(config.model.image.stage_layers[2], 23);
        tdm_config_destroy(&config);
    }
    tdm_config config, defaults; /* the schema's defaults are ViT-B/32 */
    tdm_text text[2] = {{0}, {0}};
    CHECK_OK(tdm_config_init(&config));
    CHECK_OK(tdm_config_init(&defaults));
    CHECK_OK(tdm_config_load_model(&config, "vit_b_32"));
    CHECK_OK(tdm_config_print(&config, NULL, &text[0]));
    CHECK_OK(tdm_config_print(&defaults, NULL, &text[1]));
    CHECK_STR_EQ(text[0].data, text[1].data);
    for (int i = 0; i < 2; i++) tdm_text_free(&text[i]);
    tdm_config_destroy(&config);
    tdm_config_destroy(&defaults);
}

static void test_reads(void **state)
{
    (void)state;
    tdm_config config;
    tdm_tower_reads reads;
    int64_t width;
    CHECK_OK(tdm_config_init(&config));
    CHECK_OK(tdm_model_reads(&config, TDM_IMAGE, &reads, &width));
    CHECK_EQ(reads, TDM_READS_PIXELS);
    CHECK_EQ(width, 224 * 224 * 3);
    CHECK_OK(tdm_model_reads(&config, TDM_TEXT, &reads, &width));
    CHECK_EQ(reads, TDM_READS_TOKENS);
    CHECK_EQ(width, 0);
    tdm_config_destroy(&config);
}

int main(void)
{
    if (tdm_model_register() != TDM_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_definitions),
        cmocka_unit_test(test_reads),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_config_unregister_all();
    return failed;
}
