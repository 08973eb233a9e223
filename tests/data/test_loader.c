/* Batches: the same samples and bytes for any number of ranks and threads; errors carried out of threads. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tandem/loader.h"
#include "toy.h"

enum { BATCH = 10, PX = 16, IMAGE_BYTES = PX * PX * 3, CONTEXT = 24 };

typedef struct fixture {
    char dir[64];
    tdm_dataset *dataset;
    tdm_tokenizer *tokenizer;
} fixture;

static const char MERGES[] = "#version: 0.2\ni m\nim a\nima g\nimag e</w>\nt h\nth e</w>\n";

static int setup(void **state)
{
    fixture *made = calloc(1, sizeof(*made));
    toy_dir(made->dir);
    assert_ok(toy_write(made->dir, "train", true));
    assert_ok(tdm_dataset_open(made->dir, "train", &made->dataset));
    assert_ok(tdm_tokenizer_open_memory("merges", MERGES, sizeof(MERGES) - 1, &made->tokenizer));
    *state = made;
    return 0;
}

static int teardown(void **state)
{
    fixture *it = *state;
    tdm_dataset_close(&it->dataset);
    tdm_tokenizer_destroy(&it->tokenizer);
    assert_ok(tdm_remove_tree(it->dir));
    free(it);
    return 0;
}

static tdm_loader_config base_config(void)
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
                               .augment = {.crop_min_scale = 0.4,
                                           .crop_max_scale = 1.0,
                                           .crop_min_ratio = 0.75,
                                           .crop_max_ratio = 4.0 / 3.0,
                                           .flip = 0.5,
                                           .jitter = 0.8,
                                           .brightness = 0.4,
                                           .contrast = 0.4,
                                           .saturation = 0.4,
                                           .hue = 0.1,
                                           .gray = 0.2}};
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
    assert_int_equal(text->seq[0], 0);
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
        assert_ok(tdm_loader_create(it->dataset, it->tokenizer, &config, first, &loader));
        for (int64_t k = 0; k < steps; k++) {
            const tdm_batch *batch;
            double wait_s = -1;
            assert_ok(tdm_loader_next(loader, &batch, &wait_s));
            assert_true(wait_s >= 0);
            gather(batch, &all[k]);
        }
        tdm_loader_destroy(&loader);
        assert_null(loader);
    }
    return all;
}

static void assert_equal_runs(const gathered *a, const gathered *b, int64_t steps)
{
    for (int64_t k = 0; k < steps; k++) {
        assert_int_equal(a[k].n, BATCH);
        assert_int_equal(b[k].n, BATCH);
        assert_memory_equal(&a[k], &b[k], sizeof(a[k]));
    }
}

static void ranks_and_workers_do_not_matter(void **state)
{
    const fixture *it = *state;
    enum { STEPS = 9 }; /* over two epochs' ends */
    for (int by_image = 0; by_image < 2; by_image++) {
        tdm_loader_config config = base_config();
        config.sample_images = by_image;
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
    gathered *whole = run(it, base_config(), 1, 0, 12), *rest = run(it, base_config(), 2, 5, 7);
    assert_equal_runs(whole + 5, rest, 7);
    free(whole);
    free(rest);
}

static void an_epoch_holds_every_sample_once(void **state)
{
    const fixture *it = *state;
    tdm_loader_config config = base_config();
    config.global_batch = 2; /* 46 captions: no remainder */
    tdm_loader *loader;
    assert_ok(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
    int64_t steps = tdm_loader_steps_per_epoch(loader);
    assert_int_equal(steps, TOY_CAPTIONS / 2);
    int64_t order[3][TOY_CAPTIONS];
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        bool seen[TOY_CAPTIONS] = {false};
        for (int64_t k = 0; k < steps; k++) {
            const tdm_batch *batch;
            assert_ok(tdm_loader_next(loader, &batch, NULL));
            assert_int_equal(batch->epoch, epoch);
            for (int64_t i = 0; i < batch->n; i++) {
                int64_t sample = batch->sample[i];
                assert_true(sample >= 0 && sample < TOY_CAPTIONS && !seen[sample]);
                seen[sample] = true;
                order[epoch][k * 2 + i] = sample;
                assert_int_equal(batch->image_row[i], sample / 2);
                assert_int_equal(batch->identity[i], 1000 + sample / 4);
            }
        }
    }
    assert_memory_not_equal(order[0], order[1], sizeof(order[0]));
    assert_memory_not_equal(order[1], order[2], sizeof(order[0]));
    tdm_loader_destroy(&loader);
}

/* Pixels, tokens and the chosen caption of every row are those of its sample. */
static void batches_hold_what_they_say(void **state)
{
    const fixture *it = *state;
    tdm_loader_config config = base_config();
    config.sample_images = true;
    config.height = TOY_HEIGHT; /* the plain view is then the image itself */
    config.width = TOY_WIDTH;
    config.views = 1u << TDM_VIEW_IMAGE_PLAIN | 1u << TDM_VIEW_TEXT_PLAIN;
    tdm_loader *loader;
    tdm_text caption = {0};
    int64_t chosen[2] = {0, 0};
    assert_ok(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
    for (int k = 0; k < 6; k++) {
        const tdm_batch *batch;
        assert_ok(tdm_loader_next(loader, &batch, NULL));
        assert_null(batch->view[TDM_VIEW_IMAGE_AUG_1].image);
        for (int64_t i = 0; i < batch->n; i++) {
            uint8_t pixel[TOY_HEIGHT * TOY_WIDTH * 3];
            toy_pixels(batch->image_row[i], pixel);
            assert_memory_equal(batch->view[TDM_VIEW_IMAGE_PLAIN].image + i * (int64_t)sizeof(pixel), pixel,
                                sizeof(pixel));
            const tdm_text_batch *text = &batch->view[TDM_VIEW_TEXT_PLAIN].text;
            int64_t length = text->seq[i + 1] - text->seq[i];
            const int32_t *token = text->token + text->seq[i];
            assert_int_equal(token[0], tdm_tokenizer_start(it->tokenizer));
            assert_int_equal(token[length - 1], tdm_tokenizer_end(it->tokenizer));
            caption.length = 0;
            assert_ok(tdm_tokenizer_decode(it->tokenizer, token, length, &caption));
            bool second = strstr(caption.data, "the caption") != NULL;
            chosen[second]++;
            if (second) assert_int_equal(length, CONTEXT); /* longer than the context: cut */
        }
    }
    assert_true(chosen[0] > 0 && chosen[1] > 0);
    tdm_loader_destroy(&loader);
    tdm_text_free(&caption);
}

static void augmented_views_differ(void **state)
{
    const fixture *it = *state;
    gathered *steps = run(it, base_config(), 1, 0, 2);
    for (int64_t i = 0; i < BATCH; i++) {
        const uint8_t *one = steps[0].image[TDM_VIEW_IMAGE_AUG_1] + i * IMAGE_BYTES;
        const uint8_t *two = steps[0].image[TDM_VIEW_IMAGE_AUG_2] + i * IMAGE_BYTES;
        assert_memory_not_equal(one, two, IMAGE_BYTES);
    }
    free(steps);
}

static void impossible_batches_are_one_message(void **state)
{
    const fixture *it = *state;
    tdm_loader *loader;
    tdm_loader_config config = base_config();
    config.global_batch = TOY_CAPTIONS + 1;
    assert_fails(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_DATA,
                 "split \"train\" has 46 captions", "fewer than one batch of 47");
    assert_null(loader);
    config = base_config();
    config.sample_images = true;
    config.size = 24;
    assert_fails(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_DATA,
                 "split \"train\" has 23 images", "fewer than the 24 ranks");
    config.size = 11;
    assert_fails(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_DATA,
                 "batch of 10 pairs", "11 ranks");
    config = base_config();
    config.workers = 0;
    assert_fails(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader), TDM_E_CONFIG, "workers",
                 "0");
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
    assert_ok(tdm_image_encode_png(pixel, 12, 12, &file));
    assert_ok(tdm_path_join(path, sizeof(path), it->dir, row.file));
    assert_ok(tdm_shard_writer_create(path, &info, &writer));
    for (int i = 0; i < 20; i++) {
        const tdm_shard_sample sample = {.image = file.data,
                                         .image_bytes = i == 13 ? 40 : (int64_t)file.length,
                                         .identity = -1,
                                         .caption = &caption,
                                         .caption_n = with_captions};
        assert_ok(tdm_shard_writer_add(writer, &sample));
    }
    assert_ok(tdm_shard_writer_finish(&writer, &row.images, &row.captions, row.digest));
    assert_ok(tdm_index_write(it->dir, "bad", &row, 1));
    tdm_text_free(&file);
}

static void errors_come_out_of_the_threads(void **state)
{
    const fixture *it = *state;
    write_bad_split(it, true);
    tdm_dataset *dataset;
    assert_ok(tdm_dataset_open(it->dir, "bad", &dataset));
    for (int64_t workers = 1; workers <= 3; workers++) {
        tdm_loader_config config = base_config();
        config.workers = workers;
        tdm_loader *loader;
        const tdm_batch *batch;
        double wait_s;
        assert_ok(tdm_loader_create(dataset, it->tokenizer, &config, 0, &loader));
        tdm_status status = TDM_OK;
        int good = 0; /* an epoch has 2 batches: one of them is good, maybe the first */
        while (status == TDM_OK && (status = tdm_loader_next(loader, &batch, &wait_s)) == TDM_OK) good++;
        assert_int_equal(status, TDM_E_DATA);
        assert_true(good <= 1);
        assert_non_null(strstr(tdm_error_last()->message, "bad-00000.h5 row 13: image is truncated"));
        assert_null(batch);
        /* and again */
        assert_fails(tdm_loader_next(loader, &batch, &wait_s), TDM_E_DATA, "bad-00000.h5", "row 13");
        tdm_loader_destroy(&loader);
    }
    uint8_t *image = malloc((size_t)20 * IMAGE_BYTES);
    for (int64_t workers = 1; workers <= 3; workers++) {
        assert_fails(tdm_load_images(dataset, 2, 18, PX, PX, (tdm_image_policy){0}, workers, image),
                     TDM_E_DATA, "bad-00000.h5 row 13", "truncated");
        assert_ok(tdm_load_images(dataset, 0, 13, PX, PX, (tdm_image_policy){0}, workers, image));
    }
    free(image);
    tdm_dataset_close(&dataset);
}

static void images_without_captions_are_one_message(void **state)
{
    const fixture *it = *state;
    write_bad_split(it, false);
    tdm_dataset *dataset;
    tdm_loader *loader;
    const tdm_batch *batch;
    tdm_loader_config config = base_config();
    config.sample_images = true;
    config.views = 1u << TDM_VIEW_TEXT_PLAIN;
    assert_ok(tdm_dataset_open(it->dir, "bad", &dataset));
    assert_ok(tdm_loader_create(dataset, it->tokenizer, &config, 0, &loader));
    assert_fails(tdm_loader_next(loader, &batch, NULL), TDM_E_DATA, "bad-00000.h5 row", "has no caption");
    tdm_loader_destroy(&loader);
    tdm_dataset_close(&dataset);
}

/* At any moment, whatever the threads are at. */
static void destroying_never_hangs(void **state)
{
    const fixture *it = *state;
    for (int i = 0; i < 60; i++) {
        tdm_loader_config config = base_config();
        config.workers = 1 + i % 3;
        config.prefetch = 1 + i % 5;
        tdm_loader *loader;
        const tdm_batch *batch;
        assert_ok(tdm_loader_create(it->dataset, it->tokenizer, &config, 0, &loader));
        for (int k = 0; k < i % 4; k++) assert_ok(tdm_loader_next(loader, &batch, NULL));
        if (i % 2) usleep((useconds_t)(i * 50));
        tdm_loader_destroy(&loader);
    }
}

/* A consumer that takes its time finds the next batch ready, over the ends of epochs too; and the loader
 * works ahead as far as it may, not farther. */
static void a_slow_consumer_never_waits(void **state)
{
    const fixture *it = *state;
    for (int64_t prefetch = 1; prefetch <= 4; prefetch++) {
        tdm_loader_config config = base_config();
        config.prefetch = prefetch;
        tdm_loader *loader;
        assert_ok(tdm_loader_create(it->dataset, it->tokenizer, &config, 3, &loader));
        for (int k = 0; k < 12; k++) {
            const tdm_batch *batch;
            double wait_s;
            assert_ok(tdm_loader_next(loader, &batch, &wait_s));
            if (k && wait_s != 0.0)
                fail_msg("prefetch %d: waited %g s for batch %d", (int)prefetch, wait_s, k);
            for (int tries = 0; tdm_loader_ready(loader) < prefetch; tries++) {
                if (tries > 60000) fail_msg("only %d batches ready", (int)tdm_loader_ready(loader));
                usleep(1000);
            }
            assert_int_equal(tdm_loader_ready(loader), prefetch);
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
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) core[count++] = i;
    CPU_ZERO(&one);
    CPU_SET(core[0], &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    tdm_set_cores(core, count);
    assert_int_equal(tdm_thread_create(&thread, count_cores, &seen), 0);
    pthread_join(thread, NULL);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
    assert_int_equal(seen, count);
}

static void slices_equal_the_plain_view(void **state)
{
    const fixture *it = *state;
    uint8_t *one = malloc((size_t)TOY_IMAGES * IMAGE_BYTES), *many = malloc((size_t)TOY_IMAGES * IMAGE_BYTES);
    assert_ok(tdm_load_images(it->dataset, 0, TOY_IMAGES, PX, PX, (tdm_image_policy){0}, 1, one));
    assert_ok(tdm_load_images(it->dataset, 0, TOY_IMAGES, PX, PX, (tdm_image_policy){0}, 3, many));
    assert_memory_equal(one, many, (size_t)TOY_IMAGES * IMAGE_BYTES);
    assert_ok(tdm_load_images(it->dataset, 20, 3, PX, PX, (tdm_image_policy){0}, 3, many));
    assert_memory_equal(one + 20 * IMAGE_BYTES, many, 3 * IMAGE_BYTES);
    assert_ok(tdm_load_images(it->dataset, 5, 0, PX, PX, (tdm_image_policy){0}, 3, many));
    assert_int_equal(tdm_load_images(it->dataset, 20, 4, PX, PX, (tdm_image_policy){0}, 3, many),
                     TDM_E_SHAPE);
    tdm_loader_config config = base_config();
    config.sample_images = true;
    gathered *step = run(it, config, 1, 0, 1);
    for (int64_t i = 0; i < BATCH; i++)
        assert_memory_equal(step->image[TDM_VIEW_IMAGE_PLAIN] + i * IMAGE_BYTES,
                            one + step->image_row[i] * IMAGE_BYTES, IMAGE_BYTES);
    free(step);
    free(one);
    free(many);

    tdm_text_batch text;
    int32_t token[CONTEXT];
    int64_t count;
    tdm_text caption = {0};
    assert_ok(tdm_load_captions(it->dataset, it->tokenizer, 3, 7, CONTEXT, &text));
    for (int64_t i = 0; i < 7; i++) {
        assert_ok(tdm_dataset_read_caption(it->dataset, 3 + i, &caption));
        assert_ok(tdm_tokenizer_encode(it->tokenizer, caption.data, CONTEXT, token, &count, NULL));
        assert_int_equal(text.seq[i + 1] - text.seq[i], count);
        assert_memory_equal(text.token + text.seq[i], token, (size_t)count * sizeof(int32_t));
    }
    tdm_free(text.token);
    tdm_free(text.seq);
    tdm_text_free(&caption);
    assert_int_equal(tdm_load_captions(it->dataset, it->tokenizer, 40, 7, CONTEXT, &text), TDM_E_SHAPE);
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
        cmocka_unit_test_setup_teardown(images_without_captions_are_one_message, setup, teardown),
        cmocka_unit_test_setup_teardown(destroying_never_hangs, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_consumer_never_waits, setup, teardown),
        cmocka_unit_test(threads_leave_a_bound_core),
        cmocka_unit_test_setup_teardown(slices_equal_the_plain_view, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
