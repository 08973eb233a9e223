/* Batches: the same samples and bytes for any number of ranks and threads; errors carried out of threads. */
#include <sched.h>

#include "check.h"
#include "tandem/loader.h"

#include <math.h>
#include "toy.h"

enum { BATCH = 10, PX = 20, IMAGE_BYTES = PX * PX * 3, CONTEXT = 24 };

typedef struct fixture {
    char dir[64];
    tdm_dataset *dataset;
    tdm_tokenizer *tokenizer, *with_mask;
    tdm_config config;
} fixture;

static const char MERGES[] = "#version: 0.2\ni m\nim a\nima g\nimag e</w>\nt h\nth e</w>\n";

/* What base_config() asks for. */
static const char *const AUGMENT[] = {"augment.crop.min_scale=0.4",  "augment.flip.p=0.5",
                                      "augment.jitter.p=0.8",        "augment.jitter.brightness=0.4",
                                      "augment.jitter.contrast=0.4", "augment.jitter.saturation=0.4",
                                      "augment.jitter.hue=0.1",      "augment.gray.p=0.2"};

static int setup(void **state)
{
    fixture *made = calloc(1, sizeof(*made));
    CHECK_OK(tdm_image_augment_register());
    CHECK_OK(tdm_text_augment_register());
    CHECK_OK(tdm_config_init(&made->config));
    for (size_t i = 0; i < sizeof(AUGMENT) / sizeof(AUGMENT[0]); i++)
        CHECK_OK(tdm_config_set(&made->config, AUGMENT[i]));
    char wordnet[512];
    const char *source = getenv("TANDEM_SOURCE_DIR");
    snprintf(wordnet, sizeof(wordnet), "augment.wordnet=%s/tests/golden/augment/wordnet",
             source ? source : ".");
    CHECK_OK(tdm_config_set(&made->config, wordnet));
    toy_dir(made->dir);
    CHECK_OK(toy_write(made->dir, "train", true));
    CHECK_OK(tdm_dataset_open(made->dir, "train", &made->dataset));
    CHECK_OK(tdm_tokenizer_open_memory("merges", MERGES, sizeof(MERGES) - 1, &made->tokenizer));
    char path[256];
    CHECK_OK(tdm_path_join(path, sizeof(path), made->dir, "merges.txt"));
    CHECK_OK(tdm_write_file_atomic(path, MERGES, sizeof(MERGES) - 1));
    CHECK_OK(tdm_tokenizer_open_variant(path, true, &made->with_mask));
    *state = made;
    return 0;
}

static int teardown(void **state)
{
    fixture *it = *state;
    tdm_dataset_close(&it->dataset);
    tdm_tokenizer_destroy(&it->tokenizer);
    tdm_tokenizer_destroy(&it->with_mask);
    tdm_config_destroy(&it->config);
    CHECK_OK(tdm_remove_tree(it->dir));
    free(it);
    return 0;
}

static tdm_loader_config base_config(const fixture *it)
{
    return (tdm_loader_config){.global_batch = BATCH,
                               .rank = 0,
                               .size = 1,
                               .seed = 42,
                               .views = 1u << TDM_VIEW_IMAGE_PLAIN | 1u << TDM_VIEW_IMAGE_AUG_1 |
                                        1u << TDM_VIEW_IMAGE_AUG_2 | 1u << TDM_VIEW_TEXT_PLAIN,
                               .height = PX,
                               .width = PX,
                               .context_length = CONTEXT,
                               .workers = 2,
                               .prefetch = 2,
                               .config = &it->config};
}

/* A whole global batch, put together from the ranks' pieces. */
typedef struct gathered {
    int64_t n, epoch, sample[BATCH], image_row[BATCH], identity[BATCH];
    uint8_t image[TDM_VIEWS][BATCH * IMAGE_BYTES];
    int64_t tokens;
    int32_t token[BATCH * CONTEXT];
} gathered;

static void gather(const tdm_batch *batch, gathered *to)
{
    size_t n = (size_t)batch->n;
    memcpy(to->sample + to->n, batch->sample, n * sizeof(int64_t));
    memcpy(to->image_row + to->n, batch->image_row, n * sizeof(int64_t));
    memcpy(to->identity + to->n, batch->identity, n * sizeof(int64_t));
    for (int view = 0; view < TDM_VIEWS; view++)
        if (batch->view[view].image)
            memcpy(to->image[view] + to->n * IMAGE_BYTES, batch->view[view].image, n * IMAGE_BYTES);
    const tdm_text_batch *text = &batch->view[TDM_VIEW_TEXT_PLAIN].text;
    CHECK_EQ(text->seq[0], 0);
    memcpy(to->token + to->tokens, text->token, (size_t)text->seq[n] * sizeof(int32_t));
    to->tokens += text->seq[n];
    to->n += batch->n;
    to->epoch = batch->epoch;
}

/* Steps [first, first + steps) as `size` ranks give them. */
static gathered *run(const fixture *it, tdm_loader_config config, int size, int64_t first, int64_t steps)
{
    gathered *all = calloc((size_t)steps, sizeof(*all));
    config.size = size;
    for (int rank = 0; rank < size; rank++) {
        tdm_loader *loader;
        config.rank = rank;
        CHECK_OK(tdm_loader_create(it->dataset, it->tokenizer, &config, first, &loader));
        for (int64_t k = 0; k < steps; k++) {
            const tdm_batch *batch;
            double wait_s = -1;
            CHECK_OK(tdm_loader_next(loader, &batch, &wait_s));
            CHECK_GE(wait_s, 0);
            gather(batch, &all[k]);
        }
        tdm_loader_destroy(&loader);
        CHECK_NULL(loader);
    }
    return all;
}

static void assert_equal_runs(const gathered *a, const gathered *b, int64_t steps)
{
    for (int64_t k = 0; k < steps; k++) {
        CHECK_EQ(a[k].n, BATCH);
        CHECK_EQ(b[k].n, BATCH);
        CHECK_MEM_EQ(&a[k], &b[k], sizeof(a[k]));
    }
}

static void ranks_and_workers_do_not_matter(void **state)
{
    const fixture *it = *state;
    enum { STEPS = 9 }; /* over two epochs' ends */
    for (int by_image = 0; by_image < 2; by_image++) {
        tdm_loader_config config = base_config(it);
        config.sample = by_image ? TDM_SAMPLE_IMAGE : TDM_SAMPLE_CAPTION;
        gathered *reference = run(it, config, 1, 0, STEPS);
        for (int size = 1; size <= 4; size++)
            for (int64_t workers = 1; workers <= 3; workers += 2)
                for (int64_t prefetch = 1; prefetch <= 4; prefetch += 3) {
                    config.workers = workers;
                    config.prefetch = prefetch;
                    gathered *other = run(it, config, size, 0, STEPS);
                    assert_equal_runs(reference, other, STEPS);
                    free(other);
                }
        free(reference);
    }
}

static void a_resumed_run_continues(void **state)
{
    const fixture *it = *state;
    gathered *whole = run(it, base_config(it), 1, 0, 12), *rest = run(it, base_config(it), 2, 5, 7);
    assert_equal_runs(whole + 5, rest, 7);
    free(whole);
    free(rest);
}

static void an_epoch_holds_every_sample_once(void **state)
{
    const fixture *it = *state;
    tdm_loader_config config = base_config(it);
    config.global_batch = 2; /* 46 captions: no remainder */
    tdm_loader *loader;
    CHECK_OK(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
    int64_t steps = tdm_loader_steps_per_epoch(loader);
    CHECK_EQ(steps, TOY_CAPTIONS / 2);
    int64_t order[3][TOY_CAPTIONS];
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        bool seen[TOY_CAPTIONS] = {false};
        for (int64_t k = 0; k < steps; k++) {
            const tdm_batch *batch;
            CHECK_OK(tdm_loader_next(loader, &batch, NULL));
            CHECK_EQ(batch->epoch, epoch);
            for (int64_t i = 0; i < batch->n; i++) {
                int64_t sample = batch->sample[i];
                CHECK_GE(sample, 0);
                CHECK_LT(sample, TOY_CAPTIONS);
                CHECK_FALSE(seen[sample]);
                seen[sample] = true;
                order[epoch][k * 2 + i] = sample;
                CHECK_EQ(batch->image_row[i], sample / 2);
                CHECK_EQ(batch->identity[i], 1000 + sample / 4);
            }
        }
    }
    CHECK_MEM_NE(order[0], order[1], sizeof(order[0]));
    CHECK_MEM_NE(order[1], order[2], sizeof(order[0]));
    tdm_loader_destroy(&loader);
}

/* Pixels, tokens and the chosen caption of every row are those of its sample. */
static void batches_hold_what_they_say(void **state)
{
    const fixture *it = *state;
    tdm_loader_config config = base_config(it);
    config.sample = TDM_SAMPLE_IMAGE;
    config.height = TOY_HEIGHT; /* the plain view is then the image itself */
    config.width = TOY_WIDTH;
    config.views = 1u << TDM_VIEW_IMAGE_PLAIN | 1u << TDM_VIEW_TEXT_PLAIN;
    tdm_loader *loader;
    tdm_text caption = {0};
    int64_t chosen[2] = {0, 0};
    CHECK_OK(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
    for (int k = 0; k < 6; k++) {
        const tdm_batch *batch;
        CHECK_OK(tdm_loader_next(loader, &batch, NULL));
        CHECK_NULL(batch->view[TDM_VIEW_IMAGE_AUG_1].image);
        for (int64_t i = 0; i < batch->n; i++) {
            uint8_t pixel[TOY_HEIGHT * TOY_WIDTH * 3];
            toy_pixels(batch->image_row[i], pixel);
            CHECK_MEM_EQ(batch->view[TDM_VIEW_IMAGE_PLAIN].image + i * (int64_t)sizeof(pixel), pixel,
                         sizeof(pixel));
            const tdm_text_batch *text = &batch->view[TDM_VIEW_TEXT_PLAIN].text;
            int64_t length = text->seq[i + 1] - text->seq[i];
            const int32_t *token = text->token + text->seq[i];
            CHECK_EQ(token[0], tdm_tokenizer_start(it->tokenizer));
            CHECK_EQ(token[length - 1], tdm_tokenizer_end(it->tokenizer));
            caption.length = 0;
            CHECK_OK(tdm_tokenizer_decode(it->tokenizer, token, length, &caption));
            bool second = strstr(caption.data, "the caption") != NULL;
            chosen[second]++;
            if (second) CHECK_EQ(length, CONTEXT); /* longer than the context: cut */
        }
    }
    CHECK_GT(chosen[0], 0);
    CHECK_GT(chosen[1], 0);
    tdm_loader_destroy(&loader);
    tdm_text_free(&caption);
}

static void augmented_views_differ(void **state)
{
    const fixture *it = *state;
    gathered *steps = run(it, base_config(it), 1, 0, 2);
    for (int64_t i = 0; i < BATCH; i++) {
        const uint8_t *one = steps[0].image[TDM_VIEW_IMAGE_AUG_1] + i * IMAGE_BYTES;
        const uint8_t *two = steps[0].image[TDM_VIEW_IMAGE_AUG_2] + i * IMAGE_BYTES;
        CHECK_MEM_NE(one, two, IMAGE_BYTES);
    }
    free(steps);
}

static void impossible_batches_are_one_message(void **state)
{
    const fixture *it = *state;
    tdm_loader *loader;
    tdm_loader_config config = base_config(it);
    config.global_batch = TOY_CAPTIONS + 1;
    CHECK_FAILS(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_DATA,
                "split \"train\" has 46 captions");
    CHECK_MESSAGE("fewer than one batch of 47");
    CHECK_NULL(loader);
    config = base_config(it);
    config.sample = TDM_SAMPLE_IMAGE;
    config.size = 24;
    CHECK_FAILS(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_DATA,
                "split \"train\" has 23 images");
    CHECK_MESSAGE("fewer than the 24 ranks");
    config.size = 11;
    CHECK_FAILS(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_DATA,
                "batch of 10 pairs");
    CHECK_MESSAGE("11 ranks");
    config = base_config(it);
    config.workers = 0;
    CHECK_FAILS(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_CONFIG, "workers");
    CHECK_MESSAGE("0");
}

/* A shard whose middle image is no image. */
static void write_bad_split(const fixture *it, bool with_captions)
{
    const tdm_shard_info info = {.dataset = "bad", .split = "bad"};
    tdm_index_row row = {.file = "bad-00000.h5", .split = "bad"};
    const char *const caption = "x";
    uint8_t pixel[12 * 12 * 3] = {0};
    tdm_text file = {0};
    char path[256];
    tdm_shard_writer *writer;
    CHECK_OK(tdm_image_encode_png(pixel, 12, 12, &file));
    CHECK_OK(tdm_path_join(path, sizeof(path), it->dir, row.file));
    CHECK_OK(tdm_shard_writer_create(path, &info, &writer));
    for (int i = 0; i < 20; i++) {
        const tdm_shard_sample sample = {.image = file.data,
                                         .image_bytes = i == 13 ? 40 : (int64_t)file.length,
                                         .identity = -1,
                                         .caption = &caption,
                                         .caption_n = with_captions};
        CHECK_OK(tdm_shard_writer_add(writer, &sample));
    }
    CHECK_OK(tdm_shard_writer_finish(&writer, &row.images, &row.captions, row.digest));
    CHECK_OK(tdm_index_write(it->dir, "bad", &row, 1));
    tdm_text_free(&file);
}

static void errors_come_out_of_the_threads(void **state)
{
    const fixture *it = *state;
    write_bad_split(it, true);
    tdm_dataset *dataset;
    CHECK_OK(tdm_dataset_open(it->dir, "bad", &dataset));
    for (int64_t workers = 1; workers <= 3; workers++) {
        tdm_loader_config config = base_config(it);
        config.workers = workers;
        tdm_loader *loader;
        const tdm_batch *batch;
        double wait_s;
        CHECK_OK(tdm_loader_create(dataset, it->tokenizer, &config, 0, &loader));
        tdm_status status = TDM_OK;
        int good = 0; /* an epoch has 2 batches: one of them is good, maybe the first */
        while (status == TDM_OK && (status = tdm_loader_next(loader, &batch, &wait_s)) == TDM_OK) good++;
        CHECK_FAILS(status, TDM_E_DATA, "");
        CHECK_LE(good, 1);
        CHECK_MESSAGE("bad-00000.h5 row 13: image is truncated");
        CHECK_NULL(batch);
        /* and again */
        CHECK_FAILS(tdm_loader_next(loader, &batch, &wait_s), TDM_E_DATA, "bad-00000.h5");
        CHECK_MESSAGE("row 13");
        tdm_loader_destroy(&loader);
    }
    uint8_t *image = malloc((size_t)20 * IMAGE_BYTES);
    for (int64_t workers = 1; workers <= 3; workers++) {
        CHECK_FAILS(tdm_load_images(dataset, 2, 18, PX, PX, (tdm_image_policy){0}, workers, image),
                    TDM_E_DATA, "bad-00000.h5 row 13");
        CHECK_MESSAGE("truncated");
        CHECK_OK(tdm_load_images(dataset, 0, 13, PX, PX, (tdm_image_policy){0}, workers, image));
        tdm_images_ahead *ahead;
        CHECK_OK(tdm_images_begin(dataset, 2, 18, PX, PX, (tdm_image_policy){0}, workers, image, &ahead));
        CHECK_FAILS(tdm_images_wait(&ahead), TDM_E_DATA, "bad-00000.h5 row 13");
    }
    free(image);
    tdm_dataset_close(&dataset);
}

/* ---- rows that are not there ---- */

enum { MIXED = 20 };

/* Captions of image `i` of the mixed split: two, one, none, two … */
static int64_t mixed_captions(int64_t i)
{
    return 2 - i % 3;
}

static void write_mixed_split(const fixture *it)
{
    const tdm_shard_info info = {.dataset = "mixed", .split = "mixed"};
    tdm_index_row row = {.file = "mixed-00000.h5", .split = "mixed"};
    char path[256];
    tdm_shard_writer *writer;
    CHECK_OK(tdm_path_join(path, sizeof(path), it->dir, row.file));
    CHECK_OK(tdm_shard_writer_create(path, &info, &writer));
    for (int64_t i = 0; i < MIXED; i++) {
        uint8_t pixel[TOY_HEIGHT * TOY_WIDTH * 3];
        char first[64], second[64];
        const char *const caption[2] = {first, second};
        tdm_text file = {0};
        toy_pixels(i, pixel);
        snprintf(first, sizeof(first), "image %d", (int)i);
        snprintf(second, sizeof(second), "the image %d again", (int)i);
        CHECK_OK(tdm_image_encode_png(pixel, TOY_HEIGHT, TOY_WIDTH, &file));
        const tdm_shard_sample sample = {.image = file.data,
                                         .image_bytes = (int64_t)file.length,
                                         .identity = -1,
                                         .caption = caption,
                                         .caption_n = mixed_captions(i)};
        CHECK_OK(tdm_shard_writer_add(writer, &sample));
        tdm_text_free(&file);
    }
    CHECK_OK(tdm_shard_writer_finish(&writer, &row.images, &row.captions, row.digest));
    CHECK_OK(tdm_index_write(it->dir, "mixed", &row, 1));
}

static uint64_t fnv(const void *data, size_t bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* The row of sample `i` in a view; -1: it has none. */
static int64_t row_of(const tdm_batch *batch, const tdm_batch_view *view, int64_t i)
{
    if (view->n == batch->n) {
        CHECK_NULL(view->member);
        return i;
    }
    for (int64_t row = 0; row < view->n; row++)
        if (view->member[row] == i) return row;
    return -1;
}

/* What each view of one sample holds, as a number; 0: nothing. */
typedef struct marks {
    int64_t sample, image_row;
    uint64_t view[TDM_VIEWS];
} marks;

static marks look(const tdm_batch *batch, int64_t i)
{
    marks it = {.sample = batch->sample[i], .image_row = batch->image_row[i]};
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_batch_view *view = &batch->view[v];
        const int64_t row = view->n ? row_of(batch, view, i) : -1;
        if (row < 0) continue;
        if (view->image) {
            it.view[v] = fnv(view->image + row * IMAGE_BYTES, IMAGE_BYTES);
        } else {
            const int64_t from = view->text.seq[row], n = view->text.seq[row + 1] - from;
            it.view[v] = fnv(view->text.token + from, (size_t)n * sizeof(int32_t));
            if (view->target) it.view[v] += fnv(view->target + from, (size_t)n * sizeof(int32_t));
        }
    }
    return it;
}

/* Every sample of `steps` global batches, as `size` ranks see them; the caller frees. */
static marks *look_at_run(tdm_dataset *dataset, const tdm_tokenizer *tokenizer, tdm_loader_config config,
                          int size, int64_t steps)
{
    const int64_t B = config.global_batch;
    marks *all = calloc((size_t)(B * steps), sizeof(*all));
    config.size = size;
    for (config.rank = 0; config.rank < size; config.rank++) {
        tdm_loader *loader;
        const int64_t begin = tdm_part_begin(B, size, config.rank);
        CHECK_OK(tdm_loader_create(dataset, tokenizer, &config, 0, &loader));
        for (int64_t k = 0; k < steps; k++) {
            const tdm_batch *batch;
            CHECK_OK(tdm_loader_next(loader, &batch, NULL));
            for (int64_t i = 0; i < batch->n; i++) all[k * B + begin + i] = look(batch, i);
        }
        tdm_loader_destroy(&loader);
    }
    return all;
}

/* Samples that have an image only: their rows are left out of the text views, on any number of ranks. */
static void images_without_captions_are_samples(void **state)
{
    const fixture *it = *state;
    tdm_dataset *dataset;
    write_mixed_split(it);
    CHECK_OK(tdm_dataset_open(it->dir, "mixed", &dataset));
    const int64_t captions = tdm_dataset_captions(dataset), bare = MIXED / 3;
    for (int kind = TDM_SAMPLE_CAPTION; kind <= TDM_SAMPLE_ALL; kind++) {
        tdm_loader_config config = base_config(it);
        tdm_loader *loader;
        config.sample = (tdm_sample)kind;
        config.global_batch = 5;
        const int64_t samples = kind == TDM_SAMPLE_CAPTION ? captions
                                : kind == TDM_SAMPLE_IMAGE ? MIXED
                                                           : captions + bare;
        CHECK_OK(tdm_loader_create(dataset, it->tokenizer, &config, 0, &loader));
        const int64_t steps = tdm_loader_steps_per_epoch(loader);
        const tdm_left_out out = tdm_loader_left_out(loader);
        CHECK_EQ(steps, samples / 5);
        CHECK_EQ(out.images, kind == TDM_SAMPLE_CAPTION ? bare : 0);
        CHECK_EQ(out.captions, 0);
        CHECK_EQ(out.samples, samples % 5);
        tdm_loader_destroy(&loader);
        marks *one = look_at_run(dataset, it->tokenizer, config, 1, steps);
        marks *three = look_at_run(dataset, it->tokenizer, config, 3, steps);
        CHECK_MEM_EQ(one, three, (size_t)(steps * 5) * sizeof(*one));
        int64_t without_text = 0;
        for (int64_t k = 0; k < steps * 5; k++) {
            const bool has_text = one[k].view[TDM_VIEW_TEXT_PLAIN] != 0;
            CHECK_EQ(has_text, mixed_captions(one[k].image_row) > 0);
            CHECK_NE(one[k].view[TDM_VIEW_IMAGE_PLAIN], 0);
            without_text += !has_text;
            for (int64_t j = 0; j < k; j++) CHECK_NE(one[k].sample, one[j].sample);
        }
        if (kind == TDM_SAMPLE_CAPTION) CHECK_EQ(without_text, 0);
        if (kind == TDM_SAMPLE_IMAGE) CHECK_EQ(without_text, bare);
        if (kind == TDM_SAMPLE_ALL) {
            CHECK_GE(without_text, bare - samples % 5);
            CHECK_LE(without_text, bare);
        }
        free(one);
        free(three);
    }
    tdm_dataset_close(&dataset);
}

/* A view without a row shows nothing. */
static void a_view_may_be_empty(void **state)
{
    const fixture *it = *state;
    write_bad_split(it, false);
    tdm_dataset *dataset;
    tdm_loader *loader;
    const tdm_batch *batch;
    tdm_loader_config config = base_config(it);
    config.sample = TDM_SAMPLE_IMAGE;
    config.views = 1u << TDM_VIEW_TEXT_PLAIN;
    CHECK_OK(tdm_dataset_open(it->dir, "bad", &dataset));
    CHECK_OK(tdm_loader_create(dataset, it->tokenizer, &config, 0, &loader));
    CHECK_OK(tdm_loader_next(loader, &batch, NULL));
    CHECK_EQ(batch->n, BATCH);
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_batch_view *view = &batch->view[v];
        CHECK_EQ(view->n, 0);
        CHECK_NULL(view->text.token);
        CHECK_NULL(view->text.seq);
        CHECK_NULL(view->image);
    }
    tdm_loader_destroy(&loader);
    tdm_dataset_close(&dataset);
}

/* Rows of features: image rows 0, 1, 2 … of width 3 but for every fourth, captions of width 2, texts empty. */
static void write_feature_split(const fixture *it)
{
    const tdm_shard_info info = {.dataset = "feature", .split = "feature", .feature_width = {3, 2}};
    tdm_index_row row = {.file = "feature-00000.h5", .split = "feature"};
    char path[256];
    tdm_shard_writer *writer;
    CHECK_OK(tdm_path_join(path, sizeof(path), it->dir, row.file));
    CHECK_OK(tdm_shard_writer_create(path, &info, &writer));
    for (int i = 0; i < MIXED; i++) {
        const float image[3] = {(float)i, 0.5f, -1.0f}, caption[2] = {(float)(100 + i), 0.25f};
        const char *const text = "";
        const tdm_shard_sample sample = {.identity = -1,
                                         .image_feature = i % 4 ? image : NULL,
                                         .caption = &text,
                                         .caption_n = 1,
                                         .caption_feature = caption};
        CHECK_OK(tdm_shard_writer_add(writer, &sample));
    }
    CHECK_OK(tdm_shard_writer_finish(&writer, &row.images, &row.captions, row.digest));
    CHECK_OK(tdm_index_write(it->dir, "feature", &row, 1));
}

/* What the loader has read at once and holds is what the file says row by row. */
static void same_features(const fixture *it, tdm_dataset *held)
{
    tdm_dataset *fresh;
    CHECK_OK(tdm_dataset_open(it->dir, "feature", &fresh));
    for (int64_t i = 0; i < MIXED; i++)
        for (int m = 0; m < TDM_MODALITIES; m++) {
            float a[3] = {0}, b[3] = {0};
            if (m == TDM_IMAGE && i % 4 == 0) {
                CHECK_FAILS(tdm_dataset_read_feature(held, TDM_IMAGE, i, a), TDM_E_DATA, "has no image");
                continue;
            }
            CHECK_OK(tdm_dataset_read_feature(held, (tdm_modality)m, i, a));
            CHECK_OK(tdm_dataset_read_feature(fresh, (tdm_modality)m, i, b));
            for (int k = 0; k < 3; k++) CHECK_EQ(a[k], b[k]);
        }
    tdm_dataset_close(&fresh);
}

static void features_are_read_as_they_are(void **state)
{
    const fixture *it = *state;
    tdm_dataset *dataset;
    tdm_loader *loader;
    const tdm_batch *batch;
    write_feature_split(it);
    CHECK_OK(tdm_dataset_open(it->dir, "feature", &dataset));
    tdm_loader_config config = base_config(it);
    config.views = 1u << TDM_VIEW_IMAGE_PLAIN | 1u << TDM_VIEW_TEXT_PLAIN;
    config.feature_width[TDM_IMAGE] = 3;
    config.feature_width[TDM_TEXT] = 2;
    CHECK_OK(tdm_loader_create(dataset, NULL, &config, 0, &loader));
    for (int k = 0; k < 4; k++) {
        CHECK_OK(tdm_loader_next(loader, &batch, NULL));
        const tdm_batch_view *image = &batch->view[TDM_VIEW_IMAGE_PLAIN],
                             *text = &batch->view[TDM_VIEW_TEXT_PLAIN];
        CHECK_NULL(image->image);
        CHECK_NULL(text->text.token);
        CHECK_EQ(text->n, BATCH);
        int64_t images = 0;
        for (int64_t i = 0; i < BATCH; i++) {
            const int64_t at = batch->image_row[i], row = row_of(batch, image, i);
            CHECK_EQ(text->feature[2 * i], (float)(100 + at));
            CHECK_EQ(row >= 0, at % 4 != 0); /* a text only */
            if (row < 0) continue;
            images++;
            CHECK_EQ(image->feature[3 * row], (float)at);
            CHECK_EQ(image->feature[3 * row + 2], -1.0f);
        }
        CHECK_EQ(images, image->n);
    }
    tdm_loader_destroy(&loader);
    same_features(it, dataset);

    config.sample = TDM_SAMPLE_IMAGE; /* rows without an image are left out */
    CHECK_OK(tdm_loader_create(dataset, NULL, &config, 0, &loader));
    CHECK_EQ(tdm_loader_left_out(loader).captions, MIXED / 4);
    CHECK_EQ(tdm_loader_left_out(loader).samples, MIXED * 3 / 4 - BATCH);
    for (int k = 0; k < 3; k++) {
        CHECK_OK(tdm_loader_next(loader, &batch, NULL));
        for (int64_t i = 0; i < BATCH; i++) CHECK_NE(batch->image_row[i] % 4, 0);
        CHECK_EQ(batch->view[TDM_VIEW_IMAGE_PLAIN].n, BATCH);
    }
    tdm_loader_destroy(&loader);

    config.feature_width[TDM_IMAGE] = 4;
    CHECK_FAILS(tdm_loader_create(dataset, NULL, &config, 0, &loader), TDM_E_DATA,
                "image features of width 3");
    CHECK_MESSAGE("reads 4");
    config.feature_width[TDM_IMAGE] = 3;
    config.views |= 1u << TDM_VIEW_IMAGE_AUG_1;
    CHECK_FAILS(tdm_loader_create(dataset, NULL, &config, 0, &loader), TDM_E_CONFIG,
                "image.aug_1: the image tower");
    CHECK_MESSAGE("only image.plain");
    tdm_dataset_close(&dataset);
}

static void batches_hold_class_bits(void **state)
{
    const fixture *it = *state;
    tdm_loader_config config = base_config(it);
    tdm_loader *loader;
    const tdm_batch *batch;
    CHECK_OK(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
    for (int k = 0; k < 6; k++) {
        CHECK_OK(tdm_loader_next(loader, &batch, NULL));
        CHECK_EQ(batch->class_words, 1);
        for (int64_t i = 0; i < batch->n; i++) {
            const int64_t image = batch->image_row[i];
            const uint64_t want = UINT64_C(1) << (image % 3) | (uint64_t)(image % 2) << 3;
            CHECK_EQ(batch->class_bits[i], want);
        }
    }
    tdm_loader_destroy(&loader);
}

/* ---- augmentations ---- */

static bool has_probability(const tdm_operation *row)
{
    for (size_t i = 0; i < row->option_count; i++)
        if (!strcmp(row->options[i].key, "p")) return true;
    return false;
}

/* Every operation of both tables: the same views on any number of ranks and threads; two views of one list differ, as
 * do two epochs and two samples. */
static void an_operation_depends_on_sample_and_view(void **state)
{
    fixture *it = *state;
    enum { STEPS = 9 };
    for (size_t i = 0; tdm_image_augment_row(i) || tdm_text_augment_row(i); i++)
        for (int m = 0; m < TDM_MODALITIES; m++) {
            const tdm_operation *row = m == TDM_IMAGE ? tdm_image_augment_row(i) : tdm_text_augment_row(i);
            if (!row) continue;
            tdm_loader_config config = base_config(it);
            for (int v = 1; v <= 2; v++) {
                char assignment[128];
                snprintf(assignment, sizeof(assignment), "views.aug_%d.augment=[%s%s]", v, row->name,
                         has_probability(row) ? "(p=0.5)" : "");
                CHECK_OK(tdm_config_set(&it->config, assignment));
            }
            config.views = 1u << TDM_VIEW_IMAGE_AUG_1 | 1u << TDM_VIEW_IMAGE_AUG_2 |
                           1u << TDM_VIEW_TEXT_AUG_1 | 1u << TDM_VIEW_TEXT_AUG_2;
            marks *one = look_at_run(it->dataset, it->with_mask, config, 1, STEPS);
            config.workers = 3;
            config.prefetch = 4;
            marks *four = look_at_run(it->dataset, it->with_mask, config, 4, STEPS);
            CHECK_MEM_EQ(one, four, STEPS * BATCH * sizeof(*one));
            const int first = m == TDM_IMAGE ? TDM_VIEW_IMAGE_AUG_1 : TDM_VIEW_TEXT_AUG_1;
            int64_t different = 0;
            for (int64_t k = 0; k < STEPS * BATCH; k++)
                different += one[k].view[first] != one[k].view[first + 1];
            if (has_probability(row) && different < STEPS)
                fail_msg("%s: two views are the same in all but %d of %d samples", row->name, (int)different,
                         STEPS * BATCH);
            free(one);
            free(four);
        }
}

/* The masked view is the plain one but for the tokens to predict, which its targets hold. */
static void targets_are_aligned_with_tokens(void **state)
{
    const fixture *it = *state;
    tdm_loader *loader;
    const tdm_batch *batch;
    int64_t targets = 0, tokens = 0, masked_tokens = 0;
    tdm_loader_config config = base_config(it);
    config.views = 1u << TDM_VIEW_TEXT_PLAIN | 1u << TDM_VIEW_TEXT_MASKED;
    CHECK_OK(tdm_loader_create(it->dataset, it->with_mask, &config, 0, &loader));
    for (int k = 0; k < 40; k++) {
        CHECK_OK(tdm_loader_next(loader, &batch, NULL));
        const tdm_batch_view *plain = &batch->view[TDM_VIEW_TEXT_PLAIN],
                             *masked = &batch->view[TDM_VIEW_TEXT_MASKED];
        CHECK_NULL(plain->target);
        CHECK_MEM_EQ(plain->text.seq, masked->text.seq, (BATCH + 1) * sizeof(int64_t));
        for (int64_t i = 0; i < plain->text.seq[BATCH]; i++) {
            const int32_t target = masked->target[i];
            CHECK_EQ(target < 0 ? masked->text.token[i] : target, plain->text.token[i]);
            targets += target >= 0;
            masked_tokens += masked->text.token[i] == tdm_tokenizer_mask(it->with_mask);
        }
        tokens += plain->text.seq[BATCH] - 2 * BATCH; /* without start and end */
    }
    tdm_loader_destroy(&loader);
    const double share = (double)targets / (double)tokens, of_them = (double)masked_tokens / (double)targets;
    if (fabs(share - 0.15) > 0.02)
        fail_msg("%g of the tokens are to be predicted", share);                /* 5 sigma of 6,000 */
    if (fabs(of_them - 0.8) > 0.07) fail_msg("%g of them are masked", of_them); /* 5 sigma of 900 */

    CHECK_FAILS(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_CONFIG,
                "views.masked.augment: mask: the tokenizer has no mask token");
    CHECK_MESSAGE("model.tokenizer_mask");
}

static void a_masked_view_needs_targets(void **state)
{
    fixture *it = *state;
    tdm_loader *loader;
    tdm_loader_config config = base_config(it);
    config.views = 1u << TDM_VIEW_TEXT_MASKED;
    CHECK_OK(tdm_config_set(&it->config, "views.masked.augment=[delete_words]"));
    CHECK_FAILS(tdm_loader_create(it->dataset, it->with_mask, &config, 0, &loader), TDM_E_CONFIG,
                "views.masked.augment: no operation of the list says which tokens");
    CHECK_MESSAGE("predicted");
    CHECK_OK(tdm_config_set(&it->config, "views.masked.augment=[mask, delete_words]"));
    CHECK_FAILS(tdm_loader_create(it->dataset, it->with_mask, &config, 0, &loader), TDM_E_CONFIG,
                "delete_words changes words, it cannot stand behind mask");
    CHECK_MESSAGE("views.masked.augment");
    CHECK_OK(tdm_config_set(&it->config, "views.masked.augment=[delete_words, mask(token=3)]"));
    CHECK_OK(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
    tdm_loader_destroy(&loader);
    CHECK_OK(tdm_config_set(&it->config, "views.masked.augment=[mask(token=100000)]"));
    CHECK_FAILS(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_CONFIG,
                "token = 100000 is outside the tokenizer's vocabulary");
    CHECK_MESSAGE("views.masked.augment");
}

static void bad_lists_are_one_message(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"views.aug_1.augment=[crop, flop]",
         "views.aug_1.augment: unknown augmentation \"flop\" (did you mean flip?)"},
        {"views.masked.augment=[flip]",
         "views.masked.augment: flip works on images, but \"masked\" is a view of texts only"},
        {"views.plain.augment=[qwertyuiop]", "unknown augmentation \"qwertyuiop\"; there are crop, "},
        {"views.ss_2.augment=[flip, crop]", "views.ss_2.augment: crop chooses"},
        {"augment.crop.max_scale=0.5",
         "views.aug_1.augment: crop: min_scale = 0.9 is larger than max_scale = 0.5"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tdm_config config;
        CHECK_OK(tdm_config_init(&config));
        CHECK_OK(tdm_config_set(&config, bad[i][0]));
        CHECK_FAILS(tdm_views_check(&config), TDM_E_CONFIG, bad[i][1]);
        CHECK_MESSAGE("views.");
        tdm_config_destroy(&config);
    }
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    CHECK_OK(tdm_views_check(&config));
    CHECK_OK(tdm_views_warn(&config, (1u << TDM_VIEWS) - 1));
    tdm_config_destroy(&config);
}

/* At any moment, whatever the threads are at. */
static void destroying_never_hangs(void **state)
{
    const fixture *it = *state;
    for (int i = 0; i < 60; i++) {
        tdm_loader_config config = base_config(it);
        config.workers = 1 + i % 3;
        config.prefetch = 1 + i % 5;
        tdm_loader *loader;
        const tdm_batch *batch;
        CHECK_OK(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
        for (int k = 0; k < i % 4; k++) CHECK_OK(tdm_loader_next(loader, &batch, NULL));
        if (i % 2) usleep((useconds_t)(i * 50));
        tdm_loader_destroy(&loader);
    }
}

/* A run that goes on with another batch does so behind the last sample that was seen; only the rest of an epoch that is
 * no batch is left out. */
static void another_batch_goes_on_at_the_sample(void **state)
{
    (void)state;
    static const struct {
        tdm_place from;
        int64_t batch, steps;
        tdm_place want;
    } rows[] = {
        {{0, 0}, 24, 0, {0, 0}},  {{0, 0}, 24, 7, {1, 48}},  {{1, 48}, 24, 3, {2, 0}},
        {{1, 48}, 48, 1, {2, 0}}, {{1, 48}, 48, 2, {2, 48}}, {{1, 48}, 12, 5, {1, 108}},
        {{1, 48}, 12, 6, {2, 0}}, {{1, 48}, 12, 16, {3, 0}}, {{1, 96}, 48, 0, {2, 0}},
        {{1, 95}, 24, 1, {2, 0}}, {{1, 95}, 24, 2, {2, 24}}, {{3, 7}, 50, 3, {4, 50}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const tdm_place place = tdm_place_after(rows[i].from, 120, rows[i].batch, rows[i].steps);
        CHECK_EQ(place.epoch, rows[i].want.epoch);
        CHECK_EQ(place.sample, rows[i].want.sample);
    }
    CHECK_EQ(tdm_place_batches((tdm_place){0, 0}, 120, 24, 4), 20);
    CHECK_EQ(tdm_place_batches((tdm_place){1, 48}, 120, 48, 4), 1 + 2 * 2);
    CHECK_EQ(tdm_place_batches((tdm_place){1, 48}, 120, 12, 4), 6 + 2 * 10);
    CHECK_EQ(tdm_place_batches((tdm_place){4, 0}, 120, 24, 4), 0);
    CHECK_EQ(tdm_place_batches((tdm_place){4, 24}, 120, 24, 4), -1);
    CHECK_EQ(tdm_place_batches((tdm_place){5, 0}, 120, 24, 4), -1);
}

/* The samples of an epoch's order, whoever gives them: two batches of one size and then those of another. */
static void samples_follow_their_order(void **state)
{
    const fixture *it = *state;
    const int64_t samples = tdm_dataset_captions(it->dataset), batch[] = {3, 5};
    tdm_loader_config config = base_config(it);
    tdm_place place = {2, 0};
    int64_t seen = 0;
    for (int part = 0; part < 2; part++) {
        config.global_batch = batch[part];
        config.from = place;
        tdm_loader *loader;
        const tdm_batch *given;
        CHECK_OK(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
        const int64_t steps = part == 0 ? 2 : (samples - seen) / batch[part];
        for (int64_t k = 0; k < steps; k++) {
            CHECK_OK(tdm_loader_next(loader, &given, NULL));
            CHECK_EQ(given->epoch, 2);
            for (int64_t i = 0; i < given->n; i++, seen++)
                CHECK_EQ(given->sample[i], tdm_permute(samples, config.seed, 2, seen));
        }
        CHECK_OK(tdm_loader_next(loader, &given, NULL));
        if (part == 1) {
            CHECK_EQ(given->epoch, 3);
            CHECK_EQ(given->sample[0], tdm_permute(samples, config.seed, 3, 0));
        }
        place = tdm_place_after(place, samples, batch[part], steps);
        tdm_loader_destroy(&loader);
    }
    CHECK_LT(samples - seen, batch[1]);
}

/* A consumer that takes its time finds the next batch ready, over the ends of epochs too; and the loader
 * works ahead as far as it may, not farther. */
static void a_slow_consumer_never_waits(void **state)
{
    const fixture *it = *state;
    for (int64_t prefetch = 1; prefetch <= 4; prefetch++) {
        tdm_loader_config config = base_config(it);
        config.prefetch = prefetch;
        tdm_loader *loader;
        CHECK_OK(tdm_loader_create(it->dataset, it->tokenizer, &config, 3, &loader));
        for (int k = 0; k < 12; k++) {
            const tdm_batch *batch;
            double wait_s;
            CHECK_OK(tdm_loader_next(loader, &batch, &wait_s));
            if (k && wait_s != 0.0)
                fail_msg("prefetch %d: waited %g s for batch %d", (int)prefetch, wait_s, k);
            for (int tries = 0; tdm_loader_ready(loader) < prefetch; tries++) {
                if (tries > 60000) fail_msg("only %d batches ready", (int)tdm_loader_ready(loader));
                usleep(1000);
            }
            CHECK_EQ(tdm_loader_ready(loader), prefetch);
        }
        tdm_loader_destroy(&loader);
    }
}

static void *count_cores(void *argument)
{
    cpu_set_t set;
    *(int *)argument = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
    return NULL;
}

/* As OpenMP binds it. */
static void threads_leave_a_bound_core(void **state)
{
    (void)state;
    cpu_set_t all, one;
    int core[CPU_SETSIZE], count = 0, seen = 0;
    pthread_t thread;
    CHECK_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) core[count++] = i;
    CPU_ZERO(&one);
    CPU_SET(core[0], &one);
    CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    tdm_set_cores(core, count);
    CHECK_EQ(tdm_thread_create(&thread, count_cores, &seen), 0);
    pthread_join(thread, NULL);
    CHECK_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
    CHECK_EQ(seen, count);
}

static void slices_equal_the_plain_view(void **state)
{
    const fixture *it = *state;
    uint8_t *one = malloc((size_t)TOY_IMAGES * IMAGE_BYTES), *many = malloc((size_t)TOY_IMAGES * IMAGE_BYTES);
    CHECK_OK(tdm_load_images(it->dataset, 0, TOY_IMAGES, PX, PX, (tdm_image_policy){0}, 1, one));
    CHECK_OK(tdm_load_images(it->dataset, 0, TOY_IMAGES, PX, PX, (tdm_image_policy){0}, 3, many));
    CHECK_MEM_EQ(one, many, (size_t)TOY_IMAGES * IMAGE_BYTES);
    CHECK_OK(tdm_load_images(it->dataset, 20, 3, PX, PX, (tdm_image_policy){0}, 3, many));
    CHECK_MEM_EQ(one + 20 * IMAGE_BYTES, many, 3 * IMAGE_BYTES);
    CHECK_OK(tdm_load_images(it->dataset, 5, 0, PX, PX, (tdm_image_policy){0}, 3, many));
    CHECK_FAILS(tdm_load_images(it->dataset, 20, 4, PX, PX, (tdm_image_policy){0}, 3, many), TDM_E_SHAPE, "");
    tdm_images_ahead *ahead;
    memset(many, 0, (size_t)TOY_IMAGES * IMAGE_BYTES);
    CHECK_OK(tdm_images_begin(it->dataset, 0, TOY_IMAGES, PX, PX, (tdm_image_policy){0}, 3, many, &ahead));
    CHECK_OK(tdm_images_wait(&ahead));
    CHECK_MEM_EQ(one, many, (size_t)TOY_IMAGES * IMAGE_BYTES);
    CHECK_NULL(ahead);
    CHECK_OK(tdm_images_wait(&ahead));
    CHECK_FAILS(tdm_images_begin(it->dataset, 20, 4, PX, PX, (tdm_image_policy){0}, 3, many, &ahead),
                TDM_E_SHAPE, "");
    CHECK_NULL(ahead);
    tdm_loader_config config = base_config(it);
    config.sample = TDM_SAMPLE_IMAGE;
    gathered *step = run(it, config, 1, 0, 1);
    for (int64_t i = 0; i < BATCH; i++)
        CHECK_MEM_EQ(step->image[TDM_VIEW_IMAGE_PLAIN] + i * IMAGE_BYTES,
                     one + step->image_row[i] * IMAGE_BYTES, IMAGE_BYTES);
    free(step);
    free(one);
    free(many);

    tdm_text_batch text;
    int32_t token[CONTEXT];
    int64_t count;
    tdm_text caption = {0};
    CHECK_OK(tdm_load_captions(it->dataset, it->tokenizer, 3, 7, CONTEXT, &text));
    for (int64_t i = 0; i < 7; i++) {
        CHECK_OK(tdm_dataset_read_caption(it->dataset, 3 + i, &caption));
        CHECK_OK(tdm_tokenizer_encode(it->tokenizer, caption.data, CONTEXT, token, &count, NULL));
        CHECK_EQ(text.seq[i + 1] - text.seq[i], count);
        CHECK_MEM_EQ(text.token + text.seq[i], token, (size_t)count * sizeof(int32_t));
    }
    tdm_free(text.token);
    tdm_free(text.seq);
    tdm_text_free(&caption);
    CHECK_FAILS(tdm_load_captions(it->dataset, it->tokenizer, 40, 7, CONTEXT, &text), TDM_E_SHAPE, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranks_and_workers_do_not_matter, setup, teardown),
        cmocka_unit_test_setup_teardown(a_resumed_run_continues, setup, teardown),
        cmocka_unit_test_setup_teardown(an_epoch_holds_every_sample_once, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_hold_what_they_say, setup, teardown),
        cmocka_unit_test_setup_teardown(augmented_views_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_batches_are_one_message, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_come_out_of_the_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(images_without_captions_are_samples, setup, teardown),
        cmocka_unit_test_setup_teardown(a_view_may_be_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(features_are_read_as_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_hold_class_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(an_operation_depends_on_sample_and_view, setup, teardown),
        cmocka_unit_test_setup_teardown(targets_are_aligned_with_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(a_masked_view_needs_targets, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_lists_are_one_message, setup, teardown),
        cmocka_unit_test_setup_teardown(destroying_never_hangs, setup, teardown),
        cmocka_unit_test(another_batch_goes_on_at_the_sample),
        cmocka_unit_test_setup_teardown(samples_follow_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_consumer_never_waits, setup, teardown),
        cmocka_unit_test(threads_leave_a_bound_core),
        cmocka_unit_test_setup_teardown(slices_equal_the_plain_view, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
