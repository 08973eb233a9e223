/* Training that starts from a checkpoint of another image size, context length or set of heads. */
#include "check.h"
#include "convert_case.h"

static const float *value_of(const weights *w, const char *name)
{
    const tdm_param *row = tdm_params_find(&w->params, name);
    CHECK_NOT_NULL(row);
    return w->params.weight + row->offset;
}

static void test_same_model(void **state)
{
    (void)state;
    weights old, new;
    checkpoint_make("", "tiny");
    checkpoint_load("tiny", &old);
    weights_create("", &new);
    memset(new.params.weight, 0, sizeof(float) * (size_t) new.params.total);
    CHECK_OK(tdm_pretrained_read(at("tiny"), &new.config, &new.params));
    CHECK_MEM_EQ(old.params.weight, new.params.weight, sizeof(float) * (size_t)old.params.total);
    weights_free(&old);
    weights_free(&new);
}

static void test_other_size(void **state)
{
    (void)state;
    weights old, new;
    checkpoint_make("model.image.height_px=64 model.image.width_px=16", "oblong");
    checkpoint_load("oblong", &old);
    weights_create("model.text.context_length=9", &new); /* 4 x 4 patches: as many as 8 x 2 */
    CHECK_OK(tdm_pretrained_read(at("oblong"), &new.config, &new.params));
    float image[17 * 64], text[9 * 64];
    CHECK_OK(tdm_resize_image_positions("open_clip", 8, 2, 4, 4, 64,
                                        value_of(&old, "visual.positional_embedding"), image));
    CHECK_OK(tdm_resize_text_positions("open_clip", 16, 9, 64, value_of(&old, "positional_embedding"), text));
    CHECK_MEM_EQ(value_of(&new, "visual.positional_embedding"), image, sizeof image);
    CHECK_MEM_EQ(value_of(&new, "positional_embedding"), text, sizeof text);
    CHECK_MEM_EQ(value_of(&new, "visual.proj"), value_of(&old, "visual.proj"), 64 * 24 * sizeof(float));
    weights_free(&old);
    weights_free(&new);
}

/* Keys that the user leaves out are the checkpoint's, but for the tokenizer's path. */
static void test_configuration(void **state)
{
    (void)state;
    tdm_config config = {0};
    checkpoint_make("model.activation=gelu model.tokenizer=/gone model.pretrained=/gone train.batch=7",
                    "tiny");
    CHECK_OK(tdm_config_init(&config));
    CHECK_OK(tdm_pretrained_config(at("tiny"), &config));
    CHECK_EQ(config.model.activation, tdm_option_choice(TDM_ACTIVATION_CHOICES, "gelu"));
    CHECK_STR_EQ(config.model.tokenizer, "");
    CHECK_STR_EQ(config.model.pretrained, "");
    CHECK_EQ(config.model.image.width, 64);
    CHECK_EQ(config.train.batch, 256); /* not of the model */
    tdm_config_destroy(&config);
}

/* A head that the checkpoint lacks keeps what it has; one that the model lacks is left out. */
static void test_heads(void **state)
{
    (void)state;
    weights old, new;
    weights_create("", &old);
    tdm_params with = {0};
    for (int64_t i = 0; i < old.params.count; i++) {
        const tdm_param *row = &old.params.row[i];
        CHECK_OK(tdm_params_add(&with, row->name, row->ndim, row->shape, TDM_INIT_ZERO, 0, false, NULL));
    }
    CHECK_OK(tdm_params_add(&with, "head.weight", 1, (int64_t[]){5}, TDM_INIT_ONE, 0, false, NULL));
    CHECK_OK(tdm_params_allocate(&with, false));
    tdm_params_init(&with, 1);

    checkpoint_make("", "tiny");
    CHECK_OK(tdm_pretrained_read(at("tiny"), &old.config, &with));
    const tdm_param *head = tdm_params_find(&with, "head.weight");
    for (int i = 0; i < 5; i++) CHECK_EQ(with.weight[head->offset + i], 1.0f);
    const tdm_param *row = tdm_params_find(&with, "visual.proj");
    CHECK_MEM_EQ(with.weight + row->offset, value_of(&old, "visual.proj"), sizeof(float) * 64 * 24);

    CHECK_OK(tdm_checkpoint_write_model(at("headed"), &old.config, &with, NULL, 0));
    weights_create("", &new);
    memset(new.params.weight, 0, sizeof(float) * (size_t) new.params.total);
    CHECK_OK(tdm_pretrained_read(at("headed"), &new.config, &new.params));
    CHECK_MEM_EQ(new.params.weight, old.params.weight, sizeof(float) * (size_t)old.params.total);
    tdm_params_destroy(&with);
    weights_free(&old);
    weights_free(&new);
}

/* The model's own head starts at random where the checkpoint has none. */
static void test_own_head(void **state)
{
    (void)state;
    weights w;
    checkpoint_make("", "tiny");
    weights_create("model.text.head=adapter", &w);
    tdm_params_init(&w.params, 5);
    const tdm_param *row = tdm_params_find(&w.params, "text_head.fc2.weight");
    const float before = w.params.weight[row->offset];
    CHECK_OK(tdm_pretrained_read(at("tiny"), &w.config, &w.params));
    CHECK_EQ(w.params.weight[row->offset], before);
    CHECK_NE(before, 0.0f);
    weights_free(&w);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *settings, *message;
    } cases[] = {
        {"model.text.layers=4", "holds no transformer.resblocks.3.ln_1.weight"},
        {"model.text.layers=2", "holds transformer.resblocks.2."},
        {"model.embed_dim=32", "visual.proj is [64, 24], the model's is [64, 32]"},
        {"model.image.width=128", "visual.class_embedding is [64], the model's is [128]"},
        {"model.image.patch_px=16", "visual.conv1.weight is [64, 3, 8, 8], the model's is [64, 3, 16, 16]"},
    };
    checkpoint_make("", "tiny");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weights w;
        weights_create(cases[i].settings, &w);
        CHECK_FAILS(tdm_pretrained_read(at("tiny"), &w.config, &w.params), TDM_E_SHAPE, cases[i].message);
        weights_free(&w);
    }
}

int main(void)
{
    if (tdm_model_register() != TDM_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_model),    cmocka_unit_test(test_other_size),
        cmocka_unit_test(test_configuration), cmocka_unit_test(test_heads),
        cmocka_unit_test(test_own_head),      cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, convert_setup, convert_teardown);
}
