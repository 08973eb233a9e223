/* Samples into which another of the batch is mixed: images and captions, where they lie, and how often. */
#include "check.h"
#include "toy.h"
#include "../../src/data/loader_impl.h"

#include <math.h>
#include <stdlib.h>

enum { BATCH = 10, HEIGHT = 12, WIDTH = 10, BYTES = HEIGHT * WIDTH * 3, CONTEXT = 40, STEPS = 9 };

static const char MERGES[] = "#version: 0.2\ni m\nim a\nima g\nimag e</w>\nt h\nth e</w>\n";

typedef struct fixture {
    char dir[64];
    tdm_dataset *dataset;
    tdm_tokenizer *tokenizer;
    tdm_config config;
} fixture;

static int setup(void **state)
{
    fixture *it = calloc(1, sizeof(*it));
    CHECK_OK(tdm_loader_register());
    CHECK_OK(tdm_image_augment_register());
    CHECK_OK(tdm_text_augment_register());
    CHECK_OK(tdm_config_init(&it->config));
    CHECK_OK(tdm_config_set(&it->config, "views.aug_1.augment=[resize, \"flip(p=0.5)\"]"));
    CHECK_OK(tdm_config_set(&it->config, "views.aug_2.augment=[resize, \"flip(p=0.5)\"]"));
    toy_dir(it->dir);
    CHECK_OK(toy_write(it->dir, "train", true));
    CHECK_OK(tdm_dataset_open(it->dir, "train", &it->dataset));
    CHECK_OK(tdm_tokenizer_open_memory("merges", MERGES, sizeof(MERGES) - 1, &it->tokenizer));
    *state = it;
    return 0;
}

static int teardown(void **state)
{
    fixture *it = *state;
    tdm_dataset_close(&it->dataset);
    tdm_tokenizer_destroy(&it->tokenizer);
    tdm_config_destroy(&it->config);
    CHECK_OK(tdm_remove_tree(it->dir));
    free(it);
    return 0;
}

/* A global batch: two views of each modality. */
typedef struct views {
    int64_t sample[BATCH];
    uint8_t image[2][BATCH][BYTES];
    int64_t tokens[2][BATCH];
    int32_t token[2][BATCH][CONTEXT];
} views;

static void gather(const tdm_batch *batch, int64_t at, views *to)
{
    for (int64_t i = 0; i < batch->n; i++) to->sample[at + i] = batch->sample[i];
    for (int v = 0; v < 2; v++) {
        const tdm_batch_view *image = &batch->view[TDM_VIEW_IMAGE_AUG_1 + v];
        const tdm_text_batch *text = &batch->view[TDM_VIEW_TEXT_AUG_1 + v].text;
        memcpy(to->image[v][at], image->image, (size_t)batch->n * BYTES);
        for (int64_t i = 0; i < batch->n; i++) {
            to->tokens[v][at + i] = text->seq[i + 1] - text->seq[i];
            memcpy(to->token[v][at + i], text->token + text->seq[i],
                   (size_t)to->tokens[v][at + i] * sizeof(int32_t));
        }
    }
}

static views *run(const fixture *it, int ranks)
{
    views *all = calloc(STEPS, sizeof(*all));
    int64_t at = 0;
    for (int rank = 0; rank < ranks; rank++) {
        const tdm_loader_config config = {.global_batch = BATCH,
                                          .rank = rank,
                                          .size = ranks,
                                          .seed = 42,
                                          .views = 1u << TDM_VIEW_IMAGE_AUG_1 | 1u << TDM_VIEW_IMAGE_AUG_2 |
                                                   1u << TDM_VIEW_TEXT_AUG_1 | 1u << TDM_VIEW_TEXT_AUG_2,
                                          .height = HEIGHT,
                                          .width = WIDTH,
                                          .image_policy = {.fit = TDM_FIT_SQUASH},
                                          .context_length = CONTEXT,
                                          .workers = ranks == 1 ? 1 : 3,
                                          .prefetch = 2,
                                          .config = &it->config};
        tdm_loader *loader;
        const tdm_batch *batch = NULL;
        CHECK_OK(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
        for (int k = 0; k < STEPS; k++) {
            CHECK_OK(tdm_loader_next(loader, &batch, NULL));
            gather(batch, at, &all[k]);
        }
        at += batch->n;
        tdm_loader_destroy(&loader);
    }
    return all;
}

static void configure(fixture *it, const char *p, const char *kind)
{
    char text[64];
    snprintf(text, sizeof text, "mix.p=%s", p);
    CHECK_OK(tdm_config_set(&it->config, text));
    snprintf(text, sizeof text, "mix.kind=%s", kind);
    CHECK_OK(tdm_config_set(&it->config, text));
    CHECK_OK(tdm_config_set(&it->config, "mix.share=0.5"));
}

static void check_caption(const fixture *it, const views *got, int i, int64_t partner)
{
    tdm_text own = {0}, other = {0};
    int32_t want[CONTEXT];
    int64_t count;
    CHECK_OK(tdm_dataset_read_caption(it->dataset, got->sample[i], &own));
    if (partner >= 0) {
        CHECK_OK(tdm_dataset_read_caption(it->dataset, got->sample[partner], &other));
        CHECK_OK(tdm_text_printf(&own, " %s", other.data));
    }
    CHECK_OK(tdm_tokenizer_encode(it->tokenizer, own.data, CONTEXT, want, &count, NULL));
    CHECK_EQ(got->tokens[0][i], count);
    CHECK_MEM_EQ(got->token[0][i], want, (size_t)count * sizeof(int32_t));
    tdm_text_free(&own);
    tdm_text_free(&other);
}

/* Every second sample has the next one in it; the views that are not named and all other samples are as without. */
static void samples_have_their_neighbour_in_them(void **state)
{
    fixture *it = *state;
    static const char *const kind[] = {"average", "side_by_side"};
    tdm_image_work *work;
    CHECK_OK(tdm_image_work_create(&work));
    for (int c = 0; c < 2; c++) {
        configure(it, "0", kind[c]);
        views *plain = run(it, 1);
        configure(it, "1", kind[c]);
        views *mixed = run(it, 1), *ranks = run(it, 4);
        CHECK_MEM_EQ(mixed, ranks, STEPS * sizeof(*mixed));
        for (int k = 0; k < STEPS; k++)
            for (int i = 0; i < BATCH; i++) {
                const int64_t partner = i % 2 ? (i + 1) % BATCH : -1;
                uint8_t want[BYTES];
                memcpy(want, plain[k].image[0][i], BYTES);
                if (partner >= 0)
                    CHECK_OK(tdm_image_mix(work, (tdm_image_mix_kind)c, HEIGHT, WIDTH,
                                           plain[k].image[0][partner], want));
                CHECK_MEM_EQ(mixed[k].image[0][i], want, BYTES);
                CHECK_MEM_EQ(mixed[k].image[1][i], plain[k].image[1][i], BYTES);
                CHECK_EQ(mixed[k].tokens[1][i], plain[k].tokens[1][i]);
                check_caption(it, &mixed[k], i, partner);
                check_caption(it, &plain[k], i, -1);
            }
        free(plain);
        free(mixed);
        free(ranks);
    }
    tdm_image_work_destroy(&work);
}

static void two_pictures_become_one(void **state)
{
    (void)state;
    tdm_image_work *work;
    uint8_t a[4 * 3 * 3], b[4 * 3 * 3];
    CHECK_OK(tdm_image_work_create(&work));
    for (int i = 0; i < 36; i++) a[i] = (uint8_t)(7 * i), b[i] = (uint8_t)(255 - i);
    CHECK_OK(tdm_image_mix(work, TDM_MIX_AVERAGE, 4, 3, b, a));
    for (int i = 0; i < 36; i++) CHECK_EQ(a[i], (int)nearbyint(0.5 * (7 * i) + 0.5 * (255 - i)));
    /* the left one of these columns has one colour, the two right ones the other */
    memset(a, 10, sizeof a);
    memset(b, 200, sizeof b);
    CHECK_OK(tdm_image_mix(work, TDM_MIX_SIDE_BY_SIDE, 4, 3, b, a));
    for (int i = 0; i < 36; i++) CHECK_EQ(a[i], i % 9 < 3 ? 10 : 200);
    CHECK_OK(tdm_image_mix(work, TDM_MIX_SIDE_BY_SIDE, 12, 1, b, a)); /* one column cannot be halved */
    for (int i = 0; i < 36; i++) CHECK_EQ(a[i], i % 9 < 3 ? 10 : 200);
    tdm_image_work_destroy(&work);
}

/* Over 10,000 batches of 320, four standard deviations. */
static void a_share_of_the_batches_is_mixed(void **state)
{
    fixture *it = *state;
    enum { DRAWS = 10000, B = 320 };
    loader_mix mix;
    configure(it, "0.1", "average");
    CHECK_OK(tdm_config_set(&it->config, "mix.share=0.1"));
    CHECK_OK(loader_mix_create(&it->config, &mix));
    int batches = 0;
    for (int k = 0; k < DRAWS; k++) {
        int mixed = 0, first = 0;
        for (int at = 0; at < B; at++) {
            const int64_t partner = loader_mix_partner(&mix, 1, 3, (int64_t)k * B, B, at);
            if (partner < 0) continue;
            CHECK_EQ(partner, (at + 1) % B);
            mixed++;
            first += at < B / 4;
        }
        if (mixed) CHECK_EQ(mixed, B / 10);
        if (mixed) CHECK_EQ(first, B / 40); /* evenly over four ranks */
        batches += mixed > 0;
    }
    if (fabs(batches / (double)DRAWS - 0.1) > 4 * sqrt(0.1 * 0.9 / DRAWS))
        fail_msg("%d of %d batches have mixed samples", batches, DRAWS);
    CHECK_OK(tdm_config_set(&it->config, "mix.views=[aug1]"));
    CHECK_FAILS(loader_mix_create(&it->config, &mix), TDM_E_CONFIG,
                "mix.views: there is no view \"aug1\" (did you mean aug_1?)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(samples_have_their_neighbour_in_them, setup, teardown),
        cmocka_unit_test(two_pictures_become_one),
        cmocka_unit_test_setup_teardown(a_share_of_the_batches_is_mixed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
