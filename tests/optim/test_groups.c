/* optim.freeze, optim.lr_scale and optim.layer_decay: which rows they name, what they make of them, what they
 * refuse; and parameter groups of torch.optim.AdamW. */
#include "check.h"
#include "optim_update.h"
#include "tandem/loss.h"
#include "tandem/model.h"
#include "tandem/optim.h"

#include "../golden/groups_golden.h"

#include <math.h>
#include <string.h>

/* ---- Names ---- */

enum { IMAGE_LAYERS = 3, TEXT_LAYERS = 2 };

typedef struct setup {
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
} setup;

static void set_up(setup *s)
{
    static const char *const assignments[] = {
        "model.embed_dim=8",      "model.image.height_px=8",  "model.image.width_px=8",
        "model.image.patch_px=4", "model.image.width=8",      "model.image.layers=3",
        "model.image.heads=1",    "model.text.width=8",       "model.text.layers=2",
        "model.text.heads=1",     "model.text.vocab_size=10", "model.text.context_length=4",
    };
    memset(s, 0, sizeof *s);
    CHECK_OK(tdm_config_init(&s->config));
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++)
        CHECK_OK(tdm_config_set(&s->config, assignments[i]));
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &s->ops));
    CHECK_OK(tdm_model_create(&s->config, s->ops, true, 1, &s->params, &s->model));
}

static void tear_down(setup *s)
{
    tdm_model_destroy(&s->model);
    tdm_params_destroy(&s->params);
    tdm_ops_destroy(&s->ops);
    tdm_config_destroy(&s->config);
}

/* Resolves anew with the given lists. */
static tdm_status resolve(setup *s, const char *freeze, const char *lr_scale)
{
    char assignment[512];
    for (int64_t i = 0; i < s->params.count; i++) s->params.row[i].lr_scale = 1.0;
    snprintf(assignment, sizeof assignment, "optim.freeze=%s", freeze);
    CHECK_OK(tdm_config_set(&s->config, assignment));
    snprintf(assignment, sizeof assignment, "optim.lr_scale=%s", lr_scale);
    CHECK_OK(tdm_config_set(&s->config, assignment));
    return tdm_optim_groups(&s->config, &s->params);
}

static double scale_of(const setup *s, const char *name)
{
    const tdm_param *row = tdm_params_find(&s->params, name);
    if (!row) fail_msg("no parameter %s", name);
    return row->lr_scale;
}

static int64_t frozen_rows(const setup *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->params.count; i++) n += !tdm_param_trained(&s->params.row[i]);
    return n;
}

static void test_layers(void **state)
{
    (void)state;
    setup s;
    set_up(&s);
    static const struct {
        const char *name;
        int tower, layer;
    } want[] = {
        {"visual.class_embedding", 0, 0},
        {"visual.conv1.weight", 0, 0},
        {"visual.ln_pre.bias", 0, 0},
        {"visual.transformer.resblocks.0.ln_1.weight", 0, 1},
        {"visual.transformer.resblocks.2.mlp.c_proj.bias", 0, 3},
        {"visual.ln_post.weight", 0, 4},
        {"visual.proj", 0, 4},
        {"token_embedding.weight", 1, 0},
        {"positional_embedding", 1, 0},
        {"transformer.resblocks.1.attn.in_proj_weight", 1, 2},
        {"ln_final.weight", 1, 3},
        {"text_projection", 1, 3},
        {"logit_scale", -1, 0},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const tdm_param *row = tdm_params_find(&s.params, want[i].name);
        CHECK_EQ(row->tower, want[i].tower);
        CHECK_EQ(row->layer, want[i].layer);
    }
    tear_down(&s);
}

static void test_names(void **state)
{
    (void)state;
    setup s;
    set_up(&s);
    CHECK_OK(resolve(&s, "", ""));
    CHECK_EQ(frozen_rows(&s), 0);

    CHECK_OK(resolve(&s, "visual.conv1.weight", ""));
    CHECK_EQ(frozen_rows(&s), 1);
    CHECK_OK(resolve(&s, "visual.transformer.resblocks.[0-1].*", ""));
    CHECK_EQ(frozen_rows(&s), 24);
    CHECK_OK(resolve(&s, "visual.*", ""));
    CHECK_EQ(frozen_rows(&s), 5 + 12 * IMAGE_LAYERS + 3);
    CHECK_OK(resolve(&s, "image", ""));
    CHECK_EQ(frozen_rows(&s), 5 + 12 * IMAGE_LAYERS + 3);
    CHECK_OK(resolve(&s, "text", ""));
    CHECK_EQ(frozen_rows(&s), 2 + 12 * TEXT_LAYERS + 3);
    CHECK_OK(resolve(&s, "[image:0, text:1]", ""));
    CHECK_EQ(frozen_rows(&s), 5 + 2 + 12);
    CHECK_OK(resolve(&s, "[*, !*.ln_?.*]", ""));
    CHECK_EQ(s.params.count - frozen_rows(&s), 4 * (IMAGE_LAYERS + TEXT_LAYERS));
    CHECK_EQ(scale_of(&s, "transformer.resblocks.0.ln_2.bias"), 1.0);
    CHECK_OK(resolve(&s, "[!image, image]", "")); /* the last one counts */
    CHECK_EQ(scale_of(&s, "visual.proj"), 0.0);

    CHECK_OK(resolve(&s, "", "[visual.*=0.1, text_projection=10, visual.proj=3, text:1=0]"));
    CHECK_EQ(scale_of(&s, "visual.conv1.weight"), 0.1);
    CHECK_EQ(scale_of(&s, "visual.proj"), 3.0);
    CHECK_EQ(scale_of(&s, "text_projection"), 10.0);
    CHECK_EQ(scale_of(&s, "token_embedding.weight"), 0.0);
    CHECK_EQ(scale_of(&s, "transformer.resblocks.1.ln_1.weight"), 1.0);
    CHECK_OK(resolve(&s, "visual.proj", "visual.proj=3"));
    CHECK_EQ(scale_of(&s, "visual.proj"), 0.0);

    /* a row that its tower declares as never trained (running statistics) stays so */
    for (int64_t i = 0; i < s.params.count; i++) s.params.row[i].lr_scale = i != 2;
    CHECK_OK(tdm_optim_groups(&s.config, &s.params));
    CHECK_EQ(s.params.row[2].lr_scale, 0.0);
    CHECK_EQ(s.params.row[3].lr_scale, 1.0);
    tear_down(&s);
}

/* What objectives own stands behind the model in the arena: named like all else, in no tower. TBPS-CLIP's factor of heads
 * (ratio_factor) is a factor of such names. */
static void test_rows_of_objectives(void **state)
{
    (void)state;
    setup s;
    set_up(&s);
    static const char *const own[] = {"loss.mlm.cross.in_proj_weight", "loss.mlm.ln_post.weight",
                                      "loss.identity.classifier.weight"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        CHECK_OK(tdm_params_add(&s.params, own[i], 1, (int64_t[]){4}, TDM_INIT_CONSTANT, 1.0, true, NULL));
    s.config.optim.layer_decay = 0.5;
    CHECK_OK(resolve(&s, "", "[loss.mlm.cross*=5, loss.identity.classifier.*=5]"));
    CHECK_EQ(scale_of(&s, own[0]), 5.0);
    CHECK_EQ(scale_of(&s, own[1]), 1.0);
    CHECK_EQ(scale_of(&s, own[2]), 5.0);
    CHECK_OK(resolve(&s, "loss.*", ""));
    CHECK_EQ(frozen_rows(&s), 3);
    tear_down(&s);
}

/* BEiT's exponents: n + 1 - id with id 0 for the input end, 1 … n for the blocks, n + 1 for the output end.
 */
static void test_layer_decay(void **state)
{
    (void)state;
    setup s;
    set_up(&s);
    s.config.optim.layer_decay = 0.5;
    CHECK_OK(resolve(&s, "visual.ln_pre.*", "[*.mlp.*=2]"));
    CHECK_EQ(scale_of(&s, "visual.conv1.weight"), 0.0625);
    CHECK_EQ(scale_of(&s, "visual.ln_pre.bias"), 0.0);
    CHECK_EQ(scale_of(&s, "visual.transformer.resblocks.0.attn.in_proj_weight"), 0.125);
    CHECK_EQ(scale_of(&s, "visual.transformer.resblocks.2.attn.in_proj_weight"), 0.5);
    CHECK_EQ(scale_of(&s, "visual.transformer.resblocks.2.mlp.c_fc.weight"), 1.0);
    CHECK_EQ(scale_of(&s, "visual.proj"), 1.0);
    CHECK_EQ(scale_of(&s, "token_embedding.weight"), 0.125);
    CHECK_EQ(scale_of(&s, "transformer.resblocks.1.ln_1.bias"), 0.5);
    CHECK_EQ(scale_of(&s, "logit_scale"), 1.0);

    tdm_text text = {0};
    CHECK_OK(tdm_optim_describe(&s.params, &text));
    CHECK_CONTAINS(text.data, "learning rate x 1: ");
    CHECK_CONTAINS(text.data, "\nlearning rate x 0.0625: 3 of 74 parameters");
    CHECK_CONTAINS(text.data, "\nfrozen: 2 of 74 parameters, 16 values");
    CHECK_TRUE(strstr(text.data, "x 0.5") < strstr(text.data, "x 0.25"));
    tdm_text_free(&text);
    tear_down(&s);
}

static void refuse(setup *s, const char *freeze, const char *lr_scale, const char *message)
{
    CHECK_FAILS(resolve(s, freeze, lr_scale), TDM_E_CONFIG, message);
}

static void test_refusals(void **state)
{
    (void)state;
    setup s;
    set_up(&s);
    refuse(&s, "visual.conv.weight", "",
           "optim.freeze: \"visual.conv.weight\" matches no parameter; the nearest is visual.conv1.weight");
    refuse(&s, "visual.transformer.resblocks.7.*", "", "the nearest is visual.transformer.resblocks.");
    refuse(&s, "!nothing", "", "\"nothing\" matches no parameter");
    refuse(&s, "", "vision.proj=2",
           "optim.lr_scale: \"vision.proj\" matches no parameter; the nearest is visual.proj");
    refuse(&s, "", "visual.proj", "expected NAMES=FACTOR");
    refuse(&s, "", "visual.proj=fast", "expected NAMES=FACTOR");
    refuse(&s, "", "visual.proj=-1", "expected NAMES=FACTOR");
    refuse(&s, "", "visual.proj=nan", "expected NAMES=FACTOR");
    refuse(&s, "", "=2", "names no parameter");
    refuse(&s, "image:4", "", "the image tower has blocks 0 to 3");
    refuse(&s, "text:many", "", "the text tower has blocks 0 to 2");
    refuse(&s, "*", "", "no parameter is left to train");
    refuse(&s, "", "*=0", "no parameter is left to train");
    tear_down(&s);
}

/* ---- AdamW ---- */

/* Five steps: rounding of a few f32 operations each. */
static void test_adamw_groups(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int ndim;
        int64_t shape[2];
        bool decay;
        double lr_scale;
        const float *want;
    } rows[] = {
        {"matrix", 2, {2, 3}, true, 1.0, groups_matrix},
        {"head", 2, {4, 2}, true, 10.0, groups_head},
        {"bias", 1, {3}, false, 0.25, groups_bias},
        {"frozen", 1, {5}, true, 0.0, groups_frozen},
    };
    enum { ROWS = 4, STEPS = 5 };
    tdm_config config;
    tdm_ops *ops;
    tdm_params params = {0};
    tdm_optim optim;
    CHECK_OK(tdm_config_init(&config));
    config.optim.weight_decay = 0.2;
    config.optim.clip_norm = 0.5;
    CHECK_OK(tdm_config_set(&config, "optim.beta2=0.98"));
    CHECK_OK(tdm_config_set(&config, "optim.eps=1e-6"));
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &ops));
    for (int i = 0; i < ROWS; i++) {
        CHECK_OK(tdm_params_add(&params, rows[i].name, rows[i].ndim, rows[i].shape, TDM_INIT_ZERO, 0,
                                rows[i].decay, NULL));
        params.row[i].lr_scale = rows[i].lr_scale;
    }
    CHECK_OK(tdm_params_allocate(&params, true));
    CHECK_OK(tdm_optim_create(&config, &params, &optim));
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < params.row[i].size; k++)
            params.weight[params.row[i].offset + k] =
                (float)((5 * k + (int)strlen(rows[i].name)) % 11 - 5) / 8.0F;
    for (int step = 1; step <= STEPS; step++) {
        double norm;
        int at = 0;
        for (int i = 0; i < ROWS; i++)
            for (int k = 0; k < params.row[i].size; k++, at++)
                params.grad[params.row[i].offset + k] =
                    i == ROWS - 1 ? NAN : (float)(at * step % 7 - 3) / 4.0F; /* nobody reads a frozen row's */
        CHECK_OK(optim_update(&optim, &config, ops, &params, 0.01, &norm));
        CHECK_NEAR(norm, (double)groups_norm[step - 1], 1e-6);
    }
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < params.row[i].size; k++) {
            const float got = params.weight[params.row[i].offset + k];
            if (!(fabs((double)got - (double)rows[i].want[k]) <= (i == ROWS - 1 ? 0.0 : 1e-6)))
                fail_msg("%s[%d] is %.9g, torch says %.9g", rows[i].name, k, got, rows[i].want[k]);
        }
    tdm_optim_destroy(&optim);
    tdm_params_destroy(&params);
    tdm_ops_destroy(&ops);
    tdm_config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_rows_of_objectives),
        cmocka_unit_test(test_layer_decay),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_adamw_groups),
    };
    if (tdm_optim_register() != TDM_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
