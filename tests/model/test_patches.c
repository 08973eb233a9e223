/* Patch dropout: how many patches stay and which, what a tower does with them, and where it is off. That a training
 * pass computes these patches only, with their gradients, is compared with PyTorch in test_clip_golden.c, and with
 * finite differences, over ranks and chunks, in tests/train/test_trainer.c. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "tandem/base.h"
#include "tandem/model.h"
#include "tandem/rng.h"

enum { N = 4, PX = 16, PATCH = 4, PATCHES = 16, KEPT = 8, W = 16, E = 8, PIXELS = PX * PX * 3 };

static uint8_t image[N * PIXELS];
static const int64_t samples[N] = {5, 6, 7, 1000};
static const tdm_pass training = {.train = true, .seed = 3, .step = 4};

typedef struct setup {
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
} setup;

static void configure(tdm_config *config, const char *dropout)
{
    static const char *const assignments[] = {
        "model.embed_dim=8",       "model.image.height_px=16", "model.image.width_px=16",
        "model.image.width=16",    "model.image.patch_px=4",   "model.image.layers=2",
        "model.image.heads=2",     "model.text.width=16",      "model.text.layers=1",
        "model.text.heads=2",      "model.text.vocab_size=20", "model.text.context_length=7",
        "train.unmasked_share=0.1"};
    CHECK_OK(tdm_config_init(config));
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++)
        CHECK_OK(tdm_config_set(config, assignments[i]));
    CHECK_OK(tdm_config_set(config, dropout));
}

static void set_up(setup *s, const char *dropout)
{
    memset(s, 0, sizeof *s);
    configure(&s->config, dropout);
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &s->ops));
    CHECK_OK(tdm_model_create(&s->config, s->ops, true, N, &s->params, &s->model));
    CHECK_OK(tdm_params_allocate(&s->params, true));
    tdm_params_init(&s->params, 1);
    CHECK_OK(tdm_model_load(s->model));
}

static void tear_down(setup *s)
{
    tdm_model_destroy(&s->model);
    tdm_params_destroy(&s->params);
    tdm_ops_destroy(&s->ops);
    tdm_config_destroy(&s->config);
}

/* max(1, int(n (1 - p))), as open_clip's PatchDropout computes it in Python. */
static void test_count(void **state)
{
    (void)state;
    static const struct {
        int64_t px, patch;
        const char *dropout;
        int64_t kept;
    } cases[] = {{224, 16, "0", 196},  {224, 16, "0.5", 98}, {224, 16, "0.75", 49},
                 {224, 32, "0.5", 24}, {160, 16, "0.9", 9},  {96, 16, "0.99", 1},
                 {32, 32, "0.5", 1},   {224, 16, "0.99", 1}, {224, 16, "0.001", 195}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tdm_config config;
        char text[64];
        snprintf(text, sizeof text, "model.image.patch_dropout=%s", cases[i].dropout);
        configure(&config, text);
        config.model.image.height_px = config.model.image.width_px = cases[i].px;
        config.model.image.patch_px = cases[i].patch;
        const int64_t all = cases[i].px / cases[i].patch * (cases[i].px / cases[i].patch);
        CHECK_EQ(tdm_model_patches(&config, &training), cases[i].kept);
        CHECK_EQ(tdm_model_patches(&config, &(tdm_pass){.train = false}), all);
        CHECK_EQ(tdm_model_patches(&config, &(tdm_pass){.train = true, .whole_images = true}), all);
        tdm_config_destroy(&config);
    }
}

/* Over 4,000 draws of 5 of 13: each patch, and each pair of patches, is drawn about as often as the others. A count is
 * binomial; the largest of 91 deviations stays below 4.5 of its standard deviations in all but 1 of 1,600 seeds. */
static void test_draws_are_uniform(void **state)
{
    (void)state;
    enum { DRAWS = 4000, ALL = 13, SOME = 5 };
    const double one = (double)SOME / ALL, both = one * (SOME - 1) / (ALL - 1);
    int64_t pair[ALL][ALL] = {{0}}, place[SOME];
    double worst = 0.0;
    for (int64_t i = 0; i < DRAWS; i++) { /* half of them by sample, half by step */
        tdm_pass pass = training;
        pass.step += (uint64_t)(i / 2000 * i);
        tdm_patches_draw(&pass, i % 2000, ALL, SOME, place);
        for (int a = 0; a < SOME; a++) {
            CHECK_GE(place[a], a == 0 ? 0 : place[a - 1] + 1);
            CHECK_LT(place[a], ALL);
            for (int b = 0; b <= a; b++) pair[place[a]][place[b]]++;
        }
    }
    for (int a = 0; a < ALL; a++)
        for (int b = 0; b <= a; b++) {
            const double p = a == b ? one : both;
            worst = fmax(worst, fabs((double)pair[a][b] - DRAWS * p) / sqrt(DRAWS * p * (1 - p)));
        }
    print_message("the largest of 91 deviations: %.2f\n", worst);
    CHECK_LE(worst, 4.5);
}

/* Other draws by sample, step, seed (a view has its own); the same ones again for the same. Of C(49, 24) = 6e13 choices
 * two are alike by chance never. */
static void test_draws_differ(void **state)
{
    (void)state;
    enum { ALL = 49, SOME = 24 };
    int64_t place[2][SOME];
    const tdm_pass pass[] = {
        training, training, {.train = true, .seed = 3, .step = 5}, {.train = true, .seed = 4, .step = 4}};
    const int64_t sample[] = {7, 8, 7, 7};
    tdm_patches_draw(&training, 7, ALL, SOME, place[0]);
    for (int i = 0; i < 4; i++) {
        tdm_patches_draw(&pass[i], sample[i], ALL, SOME, place[1]);
        CHECK_EQ(memcmp(place[0], place[1], sizeof place[0]) == 0, i == 0);
    }
}

static void embed(const setup *s, const tdm_pass *pass, float *pooled, float *tokens)
{
    const tdm_tower_input input = {.n = N, .image = image, .sample = samples};
    CHECK_OK(tdm_model_embed(s->model, TDM_IMAGE, &input, pass, &(tdm_tower_output){pooled, tokens}));
}

/* An image whose dropped patches are others gives the same, and one whose kept patches are others does not; dense tokens
 * begin with the class token's, which is what is pooled. */
static void test_what_is_computed(void **state)
{
    (void)state;
    setup s;
    set_up(&s, "model.image.patch_dropout=0.5");
    const tdm_tower_input input = {.n = N, .image = image, .sample = samples};
    float pooled[N * E], again[N * E], tokens[N * (1 + KEPT) * E];
    bool kept[N][PATCHES] = {{0}};
    CHECK_EQ(tdm_model_token_rows(s.model, TDM_IMAGE, &input, &training), N * (1 + KEPT));
    CHECK_EQ(tdm_model_token_rows(s.model, TDM_IMAGE, &input, &(tdm_pass){0}), N * (1 + PATCHES));
    CHECK_EQ(tdm_model_most_tokens(s.model, TDM_IMAGE), 1 + PATCHES);
    CHECK_TRUE(tdm_model_is_random(s.model, TDM_IMAGE));
    CHECK_FALSE(tdm_model_is_random(s.model, TDM_TEXT));
    embed(&s, &training, pooled, NULL);
    embed(&s, &training, again, tokens);
    for (int i = 0; i < N; i++) {
        CHECK_CLOSE_ARRAY(E, tokens + i * (1 + KEPT) * E, pooled + i * E, 1e-5);
        int64_t place[KEPT];
        tdm_patches_draw(&training, samples[i], PATCHES, KEPT, place);
        for (int k = 0; k < KEPT; k++) kept[i][place[k]] = true;
    }
    uint8_t saved[sizeof image];
    memcpy(saved, image, sizeof image);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < N * PIXELS; i++) {
            const int pixel = i / 3 % (PX * PX), at = pixel / PX / PATCH * (PX / PATCH) + pixel % PX / PATCH;
            if (kept[i / PIXELS][at] == (turn == 1)) image[i] = (uint8_t)(saved[i] ^ 0x55);
        }
        embed(&s, &training, again, NULL);
        for (int i = 0; i < N; i++)
            CHECK_EQ(memcmp(pooled + i * E, again + i * E, sizeof(float) * E) == 0, turn == 0);
    }
    memcpy(image, saved, sizeof image);
    tear_down(&s);
}

/* Evaluation, and training at the end of a run, are those of a tower without the key, to the last bit. */
static void test_where_it_is_off(void **state)
{
    (void)state;
    setup with, without;
    float a[N * E], b[N * E];
    set_up(&with, "model.image.patch_dropout=0.5");
    set_up(&without, "model.image.patch_dropout=0");
    const tdm_pass whole = {.train = true, .whole_images = true, .seed = 3, .step = 4};
    const tdm_pass *const passes[] = {&(tdm_pass){0}, &whole, &training};
    for (int i = 0; i < 3; i++) {
        embed(&with, passes[i], a, NULL);
        embed(&without, passes[i], b, NULL);
        CHECK_EQ(memcmp(a, b, sizeof a) == 0, i < 2);
    }
    tear_down(&with);
    tear_down(&without);
}

/* Matmuls of the blocks are by token, of the last block only those of its queries, keys and values; the attention's by
 * the square of tokens; the patch embedding's by patch. */
static void test_flop(void **state)
{
    (void)state;
    tdm_config config;
    configure(&config, "model.image.patch_dropout=0.5");
    const double all = tdm_model_tower_flop(&config, TDM_IMAGE, &(tdm_pass){0}, N, 0, 0);
    const double some = tdm_model_tower_flop(&config, TDM_IMAGE, &training, N, 0, 0);
    const double token = 2.0 * (12 + 3) * W * W, square = 2.0 * 2 * W * 2,
                 patch = 2.0 * 3 * PATCH * PATCH * W;
    const double fewer = PATCHES - KEPT, squares = (1 + PATCHES) * (1 + PATCHES) - (1 + KEPT) * (1 + KEPT);
    CHECK_NEAR(all - some, N * (fewer * (token + patch) + squares * square), 1.0);
    tdm_config_destroy(&config);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const towers[] = {"resnet", "features"};
    for (int i = 0; i < 2; i++) {
        tdm_config config;
        char tower[64], want[128];
        configure(&config, "model.image.patch_dropout=0.5");
        snprintf(tower, sizeof tower, "model.image.tower=%s", towers[i]);
        snprintf(want, sizeof want, "model.image.patch_dropout is about the patches of a vit; a %s has none",
                 towers[i]);
        CHECK_OK(tdm_config_set(&config, tower));
        CHECK_FAILS(tdm_model_check(&config), TDM_E_CONFIG, want);
        CHECK_FAILS(tdm_config_set(&config, "model.image.patch_dropout=1"), TDM_E_CONFIG,
                    "out of range (0 to 0.99)");
        tdm_config_destroy(&config);
    }
}

int main(void)
{
    if (tdm_model_register() != TDM_OK) return 1;
    tdm_rng rng = tdm_rng_at(1, 0, 0, TDM_RNG_TEST);
    for (size_t i = 0; i < sizeof image; i++) image[i] = (uint8_t)tdm_rng_u32(&rng);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count),           cmocka_unit_test(test_draws_are_uniform),
        cmocka_unit_test(test_draws_differ),    cmocka_unit_test(test_what_is_computed),
        cmocka_unit_test(test_where_it_is_off), cmocka_unit_test(test_flop),
        cmocka_unit_test(test_refused),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_config_unregister_all();
    return failed;
}
