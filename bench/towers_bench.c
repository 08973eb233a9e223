/* Images and captions a second through the two towers of a checkpoint, on pixels that are ready: `tandem embed` without
 * its files.
 *
 *   mpirun -n RANKS towers_bench CKPT PRECISION CAPTIONS [batch] [seconds] [json file]
 *   defaults:                                            32      4         (standard output)
 *
 * CAPTIONS: a text file, a caption a line. They are tokenized each time, which takes a thousandth of the tower's time.
 * One thread a rank, a batch of its own on each. Writes the medians {"images_per_s", "captions_per_s"}, and
 * {"images_per_cpu_s", "captions_per_cpu_s"} by CPU time. */
#include "tandem/inference.h"
#include "tandem/rng.h"
#include "tandem/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_ROUNDS = 1000 };

typedef struct bench {
    tdm_comm *comm;
    tdm_inference inference;
    int64_t batch;
    double seconds;       /* each tower */
    tdm_text text;        /* the file */
    const char **caption; /* [batch], into text */
    uint8_t *pixel;       /* [batch][height][width][3] */
    float *feature;       /* [batch][d] */
} bench;

/* The first lines of the file, again from its begin where it has fewer than a batch. */
static tdm_status read_captions(bench *b, const char *path)
{
    TDM_TRY(tdm_read_file(path, &b->text));
    TDM_TRY(TDM_ALLOC(b->batch, &b->caption));
    int64_t lines = 0;
    for (char *line = strtok(b->text.data, "\n"); line != NULL && lines < b->batch; line = strtok(NULL, "\n"))
        b->caption[lines++] = line;
    TDM_REQUIRE(lines > 0, TDM_E_DATA, "%s: no caption there", path);
    for (int64_t i = lines; i < b->batch; i++) b->caption[i] = b->caption[i - lines];
    return TDM_OK;
}

static tdm_status prepare(bench *b, const char *captions)
{
    const int64_t bytes = b->batch * tdm_inference_pixel_bytes(&b->inference);
    tdm_rng rng = tdm_rng_at(1, 1, 1, 1);
    TDM_TRY(read_captions(b, captions));
    TDM_TRY(TDM_ALLOC(bytes, &b->pixel));
    TDM_TRY(TDM_ALLOC(b->batch * tdm_model_embed_dim(b->inference.model), &b->feature));
    for (int64_t i = 0; i < bytes; i++) b->pixel[i] = (uint8_t)(255.0 * tdm_rng_uniform(&rng));
    return TDM_OK;
}

static tdm_status embed(bench *b, tdm_modality modality)
{
    if (modality == TDM_IMAGE)
        return tdm_inference_embed_pixels(&b->inference, b->batch, b->pixel, b->feature);
    return tdm_inference_embed_texts(&b->inference, b->batch, b->caption, b->feature, NULL);
}

typedef struct rates {
    double per_s, per_cpu_s;
} rates;

static double cpu_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Of all ranks together: medians of rounds, in which every rank embeds one batch. */
static tdm_status measure(bench *b, tdm_modality modality, rates *result)
{
    double rate[MOST_ROUNDS], cpu_rate[MOST_ROUNDS], took_s[2];
    const double rows = (double)(b->batch * tdm_comm_size(b->comm));
    int rounds = 0;
    TDM_TRY(embed(b, modality));
    for (double left_s = b->seconds; left_s > 0.0 && rounds < MOST_ROUNDS; left_s -= took_s[0]) {
        tdm_comm_barrier(b->comm);
        const double begin_s = tdm_now_s(), cpu_begin_s = cpu_s();
        TDM_TRY(embed(b, modality));
        took_s[0] = tdm_now_s() - begin_s;
        took_s[1] = cpu_s() - cpu_begin_s;
        tdm_comm_max_f64(b->comm, took_s, 2);
        rate[rounds] = rows / took_s[0];
        cpu_rate[rounds++] = rows / took_s[1];
    }
    qsort(rate, (size_t)rounds, sizeof rate[0], tdm_compare_doubles);
    qsort(cpu_rate, (size_t)rounds, sizeof cpu_rate[0], tdm_compare_doubles);
    *result = (rates){.per_s = rate[rounds / 2], .per_cpu_s = cpu_rate[rounds / 2]};
    return TDM_OK;
}

static tdm_status run(bench *b, char **argv, const char *json)
{
    const tdm_inference_options options = {
        .model = argv[1], .precision = argv[2], .threads = 1, .batch = b->batch, .workers = 1};
    rates images, captions;
    char text[256];
    TDM_AGREE(b->comm, tdm_register_options());
    TDM_TRY(tdm_inference_open(b->comm, &options, &b->inference));
    TDM_AGREE(b->comm, prepare(b, argv[3]));
    TDM_TRY(measure(b, TDM_IMAGE, &images));
    TDM_TRY(measure(b, TDM_TEXT, &captions));
    if (tdm_comm_rank(b->comm) != 0) return TDM_OK;
    snprintf(text, sizeof text,
             "{\"images_per_s\": %.3f, \"images_per_cpu_s\": %.3f, \"captions_per_s\": %.3f, "
             "\"captions_per_cpu_s\": %.3f, \"isa\": \"%s\"}\n",
             images.per_s, images.per_cpu_s, captions.per_s, captions.per_cpu_s,
             tdm_ops_isa(b->inference.ops));
    if (json != NULL) return tdm_write_file_atomic(json, text, strlen(text));
    fputs(text, stdout);
    return TDM_OK;
}

int main(int argc, char **argv)
{
    bench b = {.batch = argc > 4 ? atoll(argv[4]) : 32, .seconds = argc > 5 ? atof(argv[5]) : 4.0};
    tdm_status status = tdm_comm_create(&argc, &argv, &b.comm);
    if (argc < 4 || argc > 7 || b.batch < 1) {
        fprintf(stderr, "usage: towers_bench CKPT PRECISION CAPTIONS [batch] [seconds] [json file]\n");
        return 2;
    }
    if (status == TDM_OK) status = run(&b, argv, argc > 6 ? argv[6] : NULL);
    if (status != TDM_OK) tdm_comm_abort(b.comm);
    tdm_inference_close(&b.inference);
    void *const list[] = {b.caption, b.pixel, b.feature};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) tdm_free(list[i]);
    tdm_text_free(&b.text);
    tdm_comm_destroy(&b.comm);
    return 0;
}
