/* data.imbalance: how many images and texts are kept, of which classes, what a step draws of them, and that neither
 * shards nor ranks decide. */
#include "../../src/data/dataset_impl.h"
#include "check.h"
#include "scratch.h"
#include "tandem/image.h"
#include "tandem/loader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows with features: 40 of class a, 15 of class b, 5 of class c, those of b also of class d. Every fifth row has two
 * texts. The first number of a feature says whose it is. */
enum { ROWS = 60, TEXTS = 72, WIDTH = 2, CLASSES = 67, CLASS_C = 66, CLASS_D = 3, BATCH = 20 };

typedef struct fixture {
    char dir[64];
    tdm_config config;
    bool kept[TDM_MODALITIES][TEXTS]; /* by the numbers below, whatever the order of the rows on disk */
} fixture;

static int class_of(int number)
{
    return number < 40 ? 0 : number < 55 ? 1 : 2;
}

static int first_text(int number)
{
    return number + (number + 4) / 5;
}

static int row_of_text(int text)
{
    int number = 0;
    while (number + 1 < ROWS && first_text(number + 1) <= text) number++;
    return number;
}

static tdm_status add_row(tdm_shard_writer *writer, int number)
{
    char name[16];
    const char *const caption[2] = {"", ""};
    const int64_t classes[2] = {class_of(number) == 2 ? CLASS_C : class_of(number), CLASS_D};
    const float image[WIDTH] = {(float)number, 1.0f};
    const int text = first_text(number);
    const float texts[2 * WIDTH] = {(float)text, 2.0f, (float)(text + 1), 2.0f};
    snprintf(name, sizeof name, "row %d", number);
    const tdm_shard_sample sample = {.name = name,
                                     .identity = -1,
                                     .class_index = classes,
                                     .class_n = class_of(number) == 1 ? 2 : 1,
                                     .caption = caption,
                                     .caption_n = number % 5 ? 1 : 2,
                                     .image_feature = image,
                                     .caption_feature = texts};
    return tdm_shard_writer_add(writer, &sample);
}

/* Into so many shards, from the last row to the first where `backwards`. */
static tdm_status write_rows(const char *dir, const char *split, int shards, bool backwards)
{
    char names[CLASSES][8];
    const char *class_name[CLASSES]; /* of which four occur, the last in another word of the bits */
    for (int c = 0; c < CLASSES; c++) {
        snprintf(names[c], sizeof names[c], "no %d", c);
        class_name[c] = names[c];
    }
    class_name[0] = "a";
    class_name[1] = "b";
    class_name[CLASS_C] = "c";
    class_name[CLASS_D] = "d";
    const tdm_shard_info info = {.dataset = "rows",
                                 .split = split,
                                 .image_policy = "none",
                                 .source_digest = "none",
                                 .tokenizer_digest = "",
                                 .class_count = CLASSES,
                                 .class_name = class_name,
                                 .feature_width = {WIDTH, WIDTH}};
    tdm_index_row row[8];
    memset(row, 0, sizeof row);
    for (int s = 0; s < shards; s++) {
        char path[256];
        tdm_shard_writer *writer;
        snprintf(row[s].file, sizeof row[s].file, "%.31s-%05d.h5", split, s);
        snprintf(row[s].split, sizeof row[s].split, "%s", split);
        TDM_TRY(tdm_path_join(path, sizeof path, dir, row[s].file));
        TDM_TRY(tdm_shard_writer_create(path, &info, &writer));
        for (int64_t i = tdm_part_begin(ROWS, shards, s); i < tdm_part_begin(ROWS, shards, s + 1); i++)
            TDM_TRY(add_row(writer, (int)(backwards ? ROWS - 1 - i : i)));
        TDM_TRY(tdm_shard_writer_finish(&writer, &row[s].images, &row[s].captions, row[s].digest));
    }
    return tdm_index_write(dir, "rows", row, shards);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    CHECK_OK(tdm_config_init(&f->config));
    CHECK_EQ(scratch_dir(f->dir, sizeof f->dir), 0);
    CHECK_OK(write_rows(f->dir, "train", 1, false));
    CHECK_OK(write_rows(f->dir, "other", 4, true));
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

static void set(fixture *f, const char *imbalance, const char *image_share, const char *text_share)
{
    char text[64];
    snprintf(text, sizeof text, "data.imbalance=%s", imbalance);
    CHECK_OK(tdm_config_set(&f->config, text));
    snprintf(text, sizeof text, "data.image_share=%s", image_share);
    CHECK_OK(tdm_config_set(&f->config, text));
    snprintf(text, sizeof text, "data.text_share=%s", text_share);
    CHECK_OK(tdm_config_set(&f->config, text));
    f->config.train.batch = BATCH;
}

/* The number in the first feature of a row or text. */
static int number_of(tdm_dataset *dataset, tdm_modality m, int64_t row)
{
    float feature[WIDTH];
    CHECK_OK(tdm_dataset_read_feature(dataset, m, row, feature));
    return (int)feature[0];
}

/* Chooses; what is kept, by number. */
static void keep(fixture *f, const char *split, tdm_dataset **kept)
{
    tdm_dataset *dataset;
    CHECK_OK(tdm_dataset_open(f->dir, split, &dataset));
    CHECK_OK(tdm_dataset_take_share(dataset, &f->config));
    for (int64_t i = 0; i < ROWS; i++)
        f->kept[TDM_IMAGE][number_of(dataset, TDM_IMAGE, i)] = dataset_is_kept(dataset, TDM_IMAGE, i);
    for (int64_t i = 0; i < TEXTS; i++)
        f->kept[TDM_TEXT][number_of(dataset, TDM_TEXT, i)] = dataset_is_kept(dataset, TDM_TEXT, i);
    if (kept)
        *kept = dataset;
    else
        tdm_dataset_close(&dataset);
}

static int class_of_kept(tdm_modality m, int number)
{
    return class_of(m == TDM_IMAGE ? number : row_of_text(number));
}

static void each_class_has_its_share(void **state)
{
    fixture *f = *state;
    static const char *const share[] = {"1", "0.9", "0.5", "0.33", "0.2", "0.1"};
    static const int count[TDM_MODALITIES] = {ROWS, TEXTS};
    bool before[TDM_MODALITIES][TEXTS];
    memset(before, 1, sizeof before);
    for (size_t i = 0; i < sizeof share / sizeof share[0]; i++) {
        set(f, "independent", share[i], share[i]);
        keep(f, "train", NULL);
        for (int m = 0; m < TDM_MODALITIES; m++) {
            int kept = 0, of_class[3] = {0}, all[3] = {0};
            for (int n = 0; n < count[m]; n++) {
                const int c = class_of_kept((tdm_modality)m, n);
                kept += f->kept[m][n];
                of_class[c] += f->kept[m][n];
                all[c]++;
                CHECK_TRUE(before[m][n] || !f->kept[m][n]); /* a smaller share is part of a larger one */
                before[m][n] = f->kept[m][n];
            }
            CHECK_EQ(kept, lround(atof(share[i]) * count[m]));
            for (int c = 0; c < 3; c++) CHECK_LE(fabs(of_class[c] - atof(share[i]) * all[c]), 1.0 + 1e-9);
        }
    }
}

static void images_and_texts_are_chosen_by_themselves(void **state)
{
    fixture *f = *state;
    int both = 0, image = 0;
    set(f, "independent", "0.5", "0.5");
    keep(f, "train", NULL);
    for (int n = 0; n < ROWS; n++) {
        image += f->kept[TDM_IMAGE][n];
        both += f->kept[TDM_IMAGE][n] && f->kept[TDM_TEXT][first_text(n)];
    }
    /* about a half of the 30: within three standard deviations of sampling 30 of 60 */
    CHECK_EQ(image, 30);
    CHECK_TRUE(both > 15 - 6 && both < 15 + 6);
}

static void the_seed_alone_decides(void **state)
{
    fixture *f = *state;
    bool first[sizeof f->kept];
    set(f, "independent", "0.4", "0.3");
    keep(f, "train", NULL);
    memcpy(first, f->kept, sizeof first);
    keep(f, "other", NULL); /* other shards, another order */
    CHECK_EQ(memcmp(first, f->kept, sizeof first), 0);
    CHECK_OK(tdm_config_set(&f->config, "seed=2"));
    keep(f, "train", NULL);
    CHECK_TRUE(memcmp(first, f->kept, sizeof first) != 0);
    CHECK_OK(tdm_config_set(&f->config, "data.share_seed=1"));
    keep(f, "train", NULL);
    CHECK_EQ(memcmp(first, f->kept, sizeof first), 0);
}

static void paired_keeps_what_has_both(void **state)
{
    fixture *f = *state;
    bool all[TDM_MODALITIES][TEXTS];
    tdm_dataset *dataset;
    int pairs = 0;
    set(f, "independent", "0.7", "0.6");
    keep(f, "train", NULL);
    memcpy(all, f->kept, sizeof all);
    set(f, "paired", "0.7", "0.6");
    keep(f, "train", &dataset);
    for (int n = 0; n < ROWS; n++) {
        const int end = n + 1 < ROWS ? first_text(n + 1) : TEXTS;
        bool any = false;
        for (int t = first_text(n); t < end; t++) {
            CHECK_EQ(f->kept[TDM_TEXT][t], all[TDM_IMAGE][n] && all[TDM_TEXT][t]);
            any |= f->kept[TDM_TEXT][t];
            pairs += f->kept[TDM_TEXT][t];
        }
        CHECK_EQ(f->kept[TDM_IMAGE][n], any);
        CHECK_EQ(tdm_dataset_is_taken(dataset, n), any);
    }
    CHECK_EQ(tdm_dataset_samples(dataset, TDM_SAMPLE_CAPTION), pairs);
    tdm_dataset_close(&dataset);
}

/* ---- Batches ---- */

static tdm_loader_config wanted(const fixture *f, int rank, int size, tdm_place from)
{
    return (tdm_loader_config){.global_batch = BATCH,
                               .from = from,
                               .rank = rank,
                               .size = size,
                               .seed = 9,
                               .views = 1u << TDM_VIEW_IMAGE_PLAIN | 1u << TDM_VIEW_TEXT_PLAIN,
                               .feature_width = {WIDTH, WIDTH},
                               .workers = 2,
                               .prefetch = 1,
                               .config = &f->config};
}

enum { MOST = 64 };
typedef struct drawn { /* of a step on all ranks, in the order of the batch */
    int rows[TDM_MODALITIES], row[TDM_MODALITIES][MOST];
    int sample[2 * MOST], samples;
} drawn;

/* In this split rows and texts are in the order of their numbers. */
static void gather_batch(const tdm_batch *batch, drawn *step)
{
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const tdm_batch_view *view =
            &batch->view[m == TDM_IMAGE ? TDM_VIEW_IMAGE_PLAIN : TDM_VIEW_TEXT_PLAIN];
        for (int64_t i = 0; i < view->n; i++) {
            const int64_t member = view->member ? view->member[i] : i;
            const int number = (int)view->feature[i * WIDTH];
            const int row = m == TDM_IMAGE ? number : row_of_text(number);
            CHECK_EQ(view->feature[i * WIDTH + 1], 1 + m);
            CHECK_EQ(batch->image_row[member], row);
            CHECK_EQ(batch->identity[member], row);
            const uint64_t first[3] = {1, 2 | 1 << CLASS_D, 0};
            CHECK_EQ(batch->class_bits[2 * member], first[class_of(row)]);
            CHECK_EQ(batch->class_bits[2 * member + 1], class_of(row) == 2 ? 1 << (CLASS_C - 64) : 0);
            step->row[m][step->rows[m]++] = number;
        }
    }
    for (int64_t i = 0; i < batch->n; i++) step->sample[step->samples++] = (int)batch->sample[i];
}

/* `steps` steps from a place on, on `size` ranks. */
static void draw(const fixture *f, tdm_dataset *dataset, int size, tdm_place from, int steps, drawn *step)
{
    memset(step, 0, sizeof *step * (size_t)steps);
    for (int rank = 0; rank < size; rank++) {
        const tdm_loader_config config = wanted(f, rank, size, from);
        tdm_loader *loader;
        CHECK_OK(tdm_loader_create(dataset, NULL, &config, 0, &loader));
        for (int k = 0; k < steps; k++) {
            const tdm_batch *batch;
            const int before[TDM_MODALITIES] = {step[k].rows[TDM_IMAGE], step[k].rows[TDM_TEXT]};
            CHECK_OK(tdm_loader_next(loader, &batch, NULL));
            gather_batch(batch, &step[k]);
            const tdm_draw of = tdm_step_draw(&f->config);
            for (int m = 0; of.unpaired && m < TDM_MODALITIES; m++) /* the ranks have the same work */
                CHECK_LE(fabs(step[k].rows[m] - before[m] - (double)of.rows[m] / size), 1.0);
        }
        tdm_loader_destroy(&loader);
    }
}

static void a_step_draws_images_and_texts_by_themselves(void **state)
{
    fixture *f = *state;
    tdm_dataset *dataset;
    drawn step[7], other[7];
    set(f, "independent", "0.5", "1"); /* 30 images and 72 texts: 3 steps of 10 and 20 */
    keep(f, "train", &dataset);
    const tdm_draw of = tdm_step_draw(&f->config);
    CHECK_TRUE(of.unpaired);
    CHECK_EQ(of.samples, 30);
    CHECK_EQ(of.rows[TDM_IMAGE], 10);
    CHECK_EQ(of.rows[TDM_TEXT], 20);
    CHECK_EQ(tdm_dataset_samples(dataset, TDM_SAMPLE_CAPTION), 60);
    draw(f, dataset, 1, (tdm_place){0, 0}, 7, step);
    for (int m = 0; m < TDM_MODALITIES; m++)
        for (int epoch = 0; epoch < 2; epoch++) {
            bool seen[TEXTS] = {false};
            for (int k = 3 * epoch; k < 3 * epoch + 3; k++) {
                CHECK_EQ(step[k].rows[m], of.rows[m]);
                for (int i = 0; i < step[k].rows[m]; i++) {
                    CHECK_TRUE(f->kept[m][step[k].row[m][i]]);
                    CHECK_FALSE(seen[step[k].row[m][i]]);
                    seen[step[k].row[m][i]] = true;
                }
            }
        }
    CHECK_MEM_NE(step[0].row, step[3].row, sizeof step[0].row);
    for (int size = 2; size <= 3; size++) {
        draw(f, dataset, size, (tdm_place){0, 0}, 7, other);
        CHECK_EQ(memcmp(step, other, sizeof step), 0);
    }
    /* a run that goes on, within an epoch and over its end */
    for (int k = 1; k < 7; k++) {
        draw(f, dataset, 2, tdm_place_after((tdm_place){0, 0}, 60, BATCH, k), 7 - k, other);
        CHECK_EQ(memcmp(step + k, other, sizeof *step * (size_t)(7 - k)), 0);
    }
    tdm_dataset_close(&dataset);
    /* all of both: still no pairs, or few */
    set(f, "independent", "1", "1");
    keep(f, "train", &dataset);
    draw(f, dataset, 2, (tdm_place){0, 0}, 3, step);
    int pairs = 0;
    for (int k = 0; k < 3; k++) {
        CHECK_EQ(step[k].rows[TDM_IMAGE], BATCH);
        CHECK_EQ(step[k].rows[TDM_TEXT], BATCH);
        for (int i = 0; i < BATCH; i++)
            for (int j = 0; j < BATCH; j++)
                pairs += step[k].row[TDM_IMAGE][i] == row_of_text(step[k].row[TDM_TEXT][j]);
    }
    CHECK_TRUE(pairs < 40); /* of 60 by pairs; about 20 by chance */
    tdm_dataset_close(&dataset);
}

/* Another batch size goes on at the same share of both orders, and stays within the epoch. */
static void another_batch_size_goes_on(void **state)
{
    fixture *f = *state;
    tdm_dataset *dataset;
    drawn whole[3], rest[6];
    bool seen[TDM_MODALITIES][TEXTS] = {{false}};
    set(f, "independent", "0.5", "1");
    keep(f, "train", &dataset);
    draw(f, dataset, 1, (tdm_place){0, 0}, 3, whole);
    for (int m = 0; m < TDM_MODALITIES; m++)
        for (int i = 0; i < whole[0].rows[m]; i++) seen[m][whole[0].row[m][i]] = true;
    tdm_loader_config config = wanted(f, 0, 1, (tdm_place){0, BATCH});
    config.global_batch = 6; /* 3 images and 6 texts: 6 more steps */
    tdm_loader *loader;
    const tdm_batch *batch;
    memset(rest, 0, sizeof rest);
    CHECK_OK(tdm_loader_create(dataset, NULL, &config, 0, &loader));
    for (int k = 0; k < 6; k++) {
        CHECK_OK(tdm_loader_next(loader, &batch, NULL));
        CHECK_EQ(batch->epoch, 0);
        gather_batch(batch, &rest[k]);
        for (int m = 0; m < TDM_MODALITIES; m++)
            for (int i = 0; i < rest[k].rows[m]; i++) {
                CHECK_FALSE(seen[m][rest[k].row[m][i]]);
                seen[m][rest[k].row[m][i]] = true;
            }
    }
    CHECK_OK(tdm_loader_next(loader, &batch, NULL));
    CHECK_EQ(batch->epoch, 1);
    tdm_loader_destroy(&loader);
    tdm_dataset_close(&dataset);
}

static void a_batch_has_its_first_texts_only(void **state)
{
    fixture *f = *state;
    tdm_dataset *dataset;
    drawn plain[3], step[3], other[3];
    set(f, "none", "1", "1");
    keep(f, "train", &dataset);
    draw(f, dataset, 1, (tdm_place){0, 0}, 3, plain);
    tdm_dataset_close(&dataset);
    set(f, "per_batch", "1", "0.3"); /* 3 · floor(20 / 10) */
    keep(f, "train", &dataset);
    draw(f, dataset, 1, (tdm_place){0, 0}, 3, step);
    draw(f, dataset, 3, (tdm_place){0, 0}, 3, other);
    CHECK_EQ(memcmp(step, other, sizeof step), 0);
    for (int k = 0; k < 3; k++) {
        CHECK_EQ(step[k].rows[TDM_IMAGE], BATCH);
        CHECK_EQ(step[k].rows[TDM_TEXT], 6);
        CHECK_EQ(memcmp(step[k].row[TDM_IMAGE], plain[k].row[TDM_IMAGE], sizeof(int) * BATCH), 0);
        CHECK_EQ(memcmp(step[k].row[TDM_TEXT], plain[k].row[TDM_TEXT], sizeof(int) * 6), 0);
    }
    tdm_dataset_close(&dataset);
    set(f, "per_batch", "0.5", "0.25"); /* the last ten have neither */
    keep(f, "train", &dataset);
    draw(f, dataset, 2, (tdm_place){0, 0}, 1, step);
    CHECK_EQ(step[0].rows[TDM_IMAGE], 10);
    CHECK_EQ(step[0].rows[TDM_TEXT], 5);
    CHECK_EQ(step[0].samples, BATCH);
    tdm_dataset_close(&dataset);
    f->config.train.batch = 27; /* two tenths and a rest */
    CHECK_OK(tdm_config_set(&f->config, "data.text_share=0.3"));
    CHECK_EQ(tdm_step_draw(&f->config).rows[TDM_TEXT], 6);
}

static void shares_of_a_share(void **state)
{
    fixture *f = *state;
    tdm_dataset *dataset;
    int images = 0;
    CHECK_OK(tdm_config_set(&f->config, "data.share=0.5"));
    set(f, "independent", "0.5", "1");
    f->config.train.batch = 10;
    keep(f, "train", &dataset);
    for (int n = 0; n < ROWS; n++) images += f->kept[TDM_IMAGE][n];
    CHECK_EQ(images, 15);
    CHECK_TRUE(tdm_dataset_samples(dataset, TDM_SAMPLE_CAPTION) >= 30);
    tdm_dataset_close(&dataset);
}

static void fails(fixture *f, const char *part)
{
    tdm_dataset *dataset;
    CHECK_OK(tdm_dataset_open(f->dir, "train", &dataset));
    CHECK_FAILS(tdm_dataset_take_share(dataset, &f->config), TDM_E_CONFIG, part);
    tdm_dataset_close(&dataset);
}

static void impossible_wishes_are_one_message(void **state)
{
    fixture *f = *state;
    set(f, "none", "1", "0.5");
    fails(f, "data.image_share = 1 and data.text_share = 0.5 need data.imbalance");
    set(f, "independent", "0.02", "1");
    fails(f, "data.image_share = 0.02 of train.batch = 20 is not one image");
    f->config.train.batch = 100;
    CHECK_OK(tdm_config_set(&f->config, "data.image_share=0.008"));
    fails(f, "data.image_share = 0.008 keeps none of the 60 images of");
    set(f, "paired", "0.02", "0.02");
    fails(f, "no text is kept together with its image");
    set(f, "paired", "1", "0.5");
    CHECK_OK(tdm_config_set(&f->config, "data.sample=image"));
    fails(f, "data.imbalance = \"paired\" chooses texts one by one");
    CHECK_OK(tdm_config_set(&f->config, "data.sample=caption"));
    set(f, "independent", "1", "0.5");
    CHECK_OK(tdm_config_set(&f->config, "mix.p=0.5"));
    tdm_dataset *dataset;
    tdm_loader *loader;
    keep(f, "train", &dataset);
    const tdm_loader_config config = wanted(f, 0, 1, (tdm_place){0, 0});
    CHECK_FAILS(tdm_loader_create(dataset, NULL, &config, 0, &loader), TDM_E_CONFIG,
                "mix.p: pairs are mixed");
    tdm_dataset_close(&dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(each_class_has_its_share),
        CASE(images_and_texts_are_chosen_by_themselves),
        CASE(the_seed_alone_decides),
        CASE(paired_keeps_what_has_both),
        CASE(a_step_draws_images_and_texts_by_themselves),
        CASE(another_batch_size_goes_on),
        CASE(a_batch_has_its_first_texts_only),
        CASE(shares_of_a_share),
        CASE(impossible_wishes_are_one_message),
    };
    if (tdm_share_register() != TDM_OK || tdm_imbalance_register() != TDM_OK ||
        tdm_loader_register() != TDM_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
