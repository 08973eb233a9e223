/* data.share: how many rows, whose, and that neither shards nor ranks decide. */
#include "check.h"
#include "tandem/loader.h"
#include "toy.h"

#include <math.h>

typedef struct fixture {
    char dir[64];
    tdm_config config;
    bool taken[TOY_IMAGES]; /* by the number in the image's name */
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    CHECK_OK(tdm_config_init(&f->config));
    toy_dir(f->dir);
    CHECK_OK(toy_write(f->dir, "train", true));
    CHECK_OK(toy_write(f->dir, "pairs", false));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    tdm_config_destroy(&f->config);
    CHECK_OK(tdm_remove_tree(f->dir));
    free(f);
    return 0;
}

/* Takes the configured share of the split; how many rows. */
static int64_t take(fixture *f, const char *split, tdm_dataset **kept)
{
    tdm_dataset *dataset;
    tdm_text name = {0};
    int64_t n = 0;
    CHECK_OK(tdm_dataset_open(f->dir, split, &dataset));
    CHECK_OK(tdm_dataset_take_share(dataset, &f->config));
    memset(f->taken, 0, sizeof f->taken);
    for (int64_t i = 0; i < tdm_dataset_images(dataset); i++) {
        int number = -1;
        CHECK_OK(tdm_dataset_read_name(dataset, i, &name));
        CHECK_EQ(sscanf(name.data, "raw/%d.png", &number), 1);
        f->taken[number] = tdm_dataset_is_taken(dataset, i);
        n += f->taken[number];
    }
    CHECK_EQ(tdm_dataset_samples(dataset, TDM_SAMPLE_CAPTION), 2 * n);
    CHECK_EQ(tdm_dataset_samples(dataset, TDM_SAMPLE_IMAGE), n);
    CHECK_EQ(tdm_dataset_samples(dataset, TDM_SAMPLE_ALL), 2 * n);
    tdm_text_free(&name);
    if (kept)
        *kept = dataset;
    else
        tdm_dataset_close(&dataset);
    return n;
}

static void the_share_is_rounded_down(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *set;
        int64_t rows;
    } want[] = {{"data.share=1", TOY_IMAGES},
                {"data.share=0.5", 11},
                {"data.share=0.1", 2},
                {"data.share=0.0869", 1}, /* below 2 / 23 */
                {"data.share=0.08695652173913043", 2}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        CHECK_OK(tdm_config_set(&f->config, want[i].set));
        CHECK_EQ(take(f, "train", NULL), want[i].rows);
    }
}

static void the_seed_alone_decides(void **state)
{
    fixture *f = *state;
    bool first[TOY_IMAGES];
    tdm_index_row *row;
    int64_t count;
    CHECK_OK(tdm_config_set(&f->config, "data.share=0.5"));
    take(f, "train", NULL);
    memcpy(first, f->taken, sizeof first);
    /* the shards in another order: other rows, the same images */
    CHECK_OK(tdm_index_read(f->dir, &row, &count));
    for (int64_t i = 0; i < count / 2; i++) {
        const tdm_index_row other = row[i];
        row[i] = row[count - 1 - i];
        row[count - 1 - i] = other;
    }
    CHECK_OK(tdm_index_write(f->dir, "toy", row, count));
    tdm_free(row);
    take(f, "train", NULL);
    CHECK_EQ(memcmp(first, f->taken, sizeof first), 0);
    /* a smaller share is part of it */
    CHECK_OK(tdm_config_set(&f->config, "data.share=0.2"));
    CHECK_EQ(take(f, "train", NULL), 4);
    for (int i = 0; i < TOY_IMAGES; i++) CHECK_TRUE(first[i] || !f->taken[i]);
    /* another seed: the run's, or its own */
    CHECK_OK(tdm_config_set(&f->config, "data.share=0.5"));
    CHECK_OK(tdm_config_set(&f->config, "seed=2"));
    take(f, "train", NULL);
    CHECK_TRUE(memcmp(first, f->taken, sizeof first) != 0);
    CHECK_OK(tdm_config_set(&f->config, "data.share_seed=1"));
    take(f, "train", NULL);
    CHECK_EQ(memcmp(first, f->taken, sizeof first), 0);
}

static void identities_are_taken_whole(void **state)
{
    fixture *f = *state;
    CHECK_OK(tdm_config_set(&f->config, "data.share=0.5"));
    CHECK_OK(tdm_config_set(&f->config, "data.share_by=identity"));
    take(f, "train", NULL);
    int identities = 0; /* of 12: two images each, the last has one */
    for (int i = 0; i < TOY_IMAGES; i += 2) {
        identities += f->taken[i];
        if (i + 1 < TOY_IMAGES) CHECK_EQ(f->taken[i], f->taken[i + 1]);
    }
    CHECK_EQ(identities, 6);
}

static void impossible_shares_are_one_message(void **state)
{
    fixture *f = *state;
    tdm_dataset *dataset;
    CHECK_OK(tdm_dataset_open(f->dir, "pairs", &dataset));
    CHECK_OK(tdm_config_set(&f->config, "data.share=0.04"));
    CHECK_FAILS(tdm_dataset_take_share(dataset, &f->config), TDM_E_CONFIG,
                "data.share = 0.04 takes none of the 23 images of");
    CHECK_OK(tdm_config_set(&f->config, "data.share_by=identity"));
    CHECK_FAILS(tdm_dataset_take_share(dataset, &f->config), TDM_E_CONFIG, "has no identities");
    CHECK_FAILS(tdm_config_set(&f->config, "data.share=1.5"), TDM_E_CONFIG, "data.share");
    tdm_dataset_close(&dataset);
}

/* How often an epoch of rank `rank` of `size` has each sample of the kind, added to seen[row][caption]. */
static void count_samples(const fixture *f, tdm_dataset *dataset, tdm_sample kind, int rank, int size,
                          int64_t batch, int *seen)
{
    const tdm_loader_config wanted = {.global_batch = batch,
                                      .rank = rank,
                                      .size = size,
                                      .seed = 9,
                                      .sample = kind,
                                      .views = 1u << TDM_VIEW_IMAGE_PLAIN,
                                      .height = 8,
                                      .width = 8,
                                      .workers = 2,
                                      .prefetch = 1,
                                      .config = &f->config};
    tdm_loader *loader;
    const tdm_batch *got;
    CHECK_OK(tdm_loader_create(dataset, NULL, &wanted, 0, &loader));
    const int64_t steps = tdm_loader_steps_per_epoch(loader);
    for (int64_t s = 0; s < steps; s++) {
        CHECK_OK(tdm_loader_next(loader, &got, NULL));
        for (int64_t i = 0; i < got->n; i++) {
            CHECK_TRUE(tdm_dataset_is_taken(dataset, got->image_row[i]));
            seen[got->sample[i]]++;
        }
    }
    tdm_loader_destroy(&loader);
}

static void an_epoch_holds_the_share_once(void **state)
{
    fixture *f = *state;
    CHECK_OK(tdm_config_set(&f->config, "data.share=0.5"));
    for (int kind = 0; kind <= TDM_SAMPLE_ALL; kind++)
        for (int size = 1; size <= 3; size += 2) {
            tdm_dataset *dataset;
            int seen[TOY_CAPTIONS] = {0}, distinct = 0;
            const int64_t rows = take(f, "train", &dataset);
            const int64_t samples = kind == TDM_SAMPLE_IMAGE ? rows : 2 * rows;
            for (int rank = 0; rank < size; rank++)
                count_samples(f, dataset, (tdm_sample)kind, rank, size, samples, seen);
            for (int i = 0; i < TOY_CAPTIONS; i++) {
                CHECK_TRUE(seen[i] <= 1);
                distinct += seen[i];
            }
            CHECK_EQ(distinct, samples);
            tdm_dataset_close(&dataset);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(the_share_is_rounded_down),     CASE(the_seed_alone_decides),
        CASE(identities_are_taken_whole),    CASE(impossible_shares_are_one_message),
        CASE(an_epoch_holds_the_share_once),
    };
    if (tdm_share_register() != TDM_OK || tdm_image_augment_register() != TDM_OK ||
        tdm_text_augment_register() != TDM_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
