/* Images a second of CPU time through the loader, from a shard's bytes to u8 pixels.
 *
 *   loader_bench DIR SPLIT eval|train [px] [seconds] [json file]
 *   defaults:                         224  1         (standard output)
 *
 * eval: resize and centre crop of the whole split, on one thread (tdm_load_images). train: random crop, flip,
 * colour jitter and gray as in conf/quickstart.cfg, by a training loader of one worker whose reader, worker
 * and consumer are all counted. Writes {"images_per_s": of a core, "wall_images_per_s"}. */
#include "tandem/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { BATCH = 16 };

/* bench/peer_pillow.py has the same. */
static const char *const AUGMENT[] = {"augment.crop.min_scale=0.7",  "augment.flip.p=0.5",
                                      "augment.jitter.p=0.5",        "augment.jitter.brightness=0.4",
                                      "augment.jitter.contrast=0.4", "augment.jitter.saturation=0.4",
                                      "augment.jitter.hue=0.05",     "augment.gray.p=0.2"};

typedef struct bench {
    tdm_dataset *dataset;
    tdm_loader *loader;
    tdm_config config;
    uint8_t *pixel; /* of the whole split */
    bool train;
    int64_t px, images; /* of a pass */
} bench;

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static tdm_status prepare(bench *b)
{
    const int64_t images = tdm_dataset_images(b->dataset);
    const int64_t batch = tdm_min_i64(BATCH, images);
    b->images = images / batch * batch;
    if (!b->train) return TDM_ALLOC(b->images * b->px * b->px * 3, &b->pixel);
    TDM_TRY(tdm_image_augment_register());
    TDM_TRY(tdm_config_init(&b->config));
    for (size_t i = 0; i < sizeof(AUGMENT) / sizeof(AUGMENT[0]); i++)
        TDM_TRY(tdm_config_set(&b->config, AUGMENT[i]));
    const tdm_loader_config config = {.global_batch = batch,
                                      .size = 1,
                                      .seed = 1,
                                      .sample = TDM_SAMPLE_IMAGE,
                                      .views = 1u << TDM_VIEW_IMAGE_AUG_1,
                                      .height = b->px,
                                      .width = b->px,
                                      .workers = 1,
                                      .prefetch = 2,
                                      .config = &b->config};
    return tdm_loader_create(b->dataset, NULL, &config, 0, &b->loader);
}

/* The whole split once. */
static tdm_status pass(bench *b)
{
    if (!b->train)
        return tdm_load_images(b->dataset, 0, b->images, b->px, b->px, (tdm_image_policy){0}, 1, b->pixel);
    for (int64_t i = 0; i < tdm_loader_steps_per_epoch(b->loader); i++) {
        const tdm_batch *batch;
        TDM_TRY(tdm_loader_next(b->loader, &batch, NULL));
    }
    return TDM_OK;
}

static tdm_status run(bench *b, double seconds, const char *json)
{
    TDM_TRY(prepare(b));
    TDM_TRY(pass(b)); /* files into the page cache, buffers to their size */
    int64_t images = 0;
    const double cpu_begin_s = cpu_s(), begin_s = tdm_now_s();
    do {
        TDM_TRY(pass(b));
        images += b->images;
    } while (cpu_s() - cpu_begin_s < seconds);
    char text[128];
    snprintf(text, sizeof(text), "{\"images_per_s\": %.4f, \"wall_images_per_s\": %.4f}\n",
             (double)images / (cpu_s() - cpu_begin_s), (double)images / (tdm_now_s() - begin_s));
    if (json) return tdm_write_file_atomic(json, text, strlen(text));
    fputs(text, stdout);
    return TDM_OK;
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 7 || (strcmp(argv[3], "eval") && strcmp(argv[3], "train"))) {
        fprintf(stderr, "usage: loader_bench DIR SPLIT eval|train [px] [seconds] [json file]\n");
        return 2;
    }
    bench b = {.train = !strcmp(argv[3], "train"), .px = argc > 4 ? atoll(argv[4]) : 224};
    tdm_status status = tdm_dataset_open(argv[1], argv[2], &b.dataset);
    if (status == TDM_OK) status = run(&b, argc > 5 ? atof(argv[5]) : 1.0, argc > 6 ? argv[6] : NULL);
    if (status != TDM_OK) fprintf(stderr, "loader_bench: %s\n", tdm_error_last()->message);
    tdm_loader_destroy(&b.loader);
    tdm_dataset_close(&b.dataset);
    tdm_config_destroy(&b.config);
    tdm_free(b.pixel);
    return status != TDM_OK;
}
