/* A small data set on disk for the tests: images whose pixels tell their number, two captions each. */
#ifndef TESTS_DATA_TOY_H
#define TESTS_DATA_TOY_H

#include "check.h"
#include "scratch.h"
#include "tandem/image.h"
#include "tandem/shard.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOY_SHARDS = 3, TOY_IMAGES = 23, TOY_CAPTIONS = 2 * TOY_IMAGES, TOY_HEIGHT = 20, TOY_WIDTH = 24 };

/* A fresh directory; remove with tdm_remove_tree. */
static inline void toy_dir(char dir[64])
{
    if (scratch_dir(dir, 64) != 0) abort();
}

static inline void toy_pixels(int64_t number, uint8_t pixel[TOY_HEIGHT * TOY_WIDTH * 3])
{
    for (int64_t i = 0; i < TOY_HEIGHT * TOY_WIDTH; i++) {
        pixel[3 * i] = (uint8_t)(number * 11);
        pixel[3 * i + 1] = (uint8_t)(i / TOY_WIDTH * 12);
        pixel[3 * i + 2] =
            (uint8_t)(i % TOY_WIDTH * 10 + i * i % 7); /* not smooth: some augmentations need edges */
    }
}

static inline tdm_status toy_add(tdm_shard_writer *writer, int64_t number, bool identity)
{
    uint8_t pixel[TOY_HEIGHT * TOY_WIDTH * 3];
    char first[64], second[64], other[64], name[64];
    toy_pixels(number, pixel);
    snprintf(first, sizeof(first), "image %lld", (long long)number);
    snprintf(second, sizeof(second), "the caption number two of image %lld, \xc3\xa9", (long long)number);
    snprintf(name, sizeof(name), "raw/%lld.png", (long long)number);
    snprintf(other, sizeof(other), "picture %lld", (long long)number);
    const char *const caption[2] = {first, second}, *const wording[1] = {other};
    const tdm_shard_strings alternative[2] = {{wording, 1}, {NULL, 0}};
    const int64_t class_index[2] = {number % 3, 3};
    tdm_text file = {0};
    tdm_status status = tdm_image_encode_png(pixel, TOY_HEIGHT, TOY_WIDTH, &file);
    const tdm_shard_sample sample = {.image = file.data,
                                     .image_bytes = (int64_t)file.length,
                                     .name = name,
                                     .identity = identity ? 1000 + number / 2 : -1,
                                     .class_index = class_index,
                                     .class_n = number % 2 ? 2 : 1,
                                     .caption = caption,
                                     .caption_n = 2,
                                     .alternative = alternative};
    if (status == TDM_OK) status = tdm_shard_writer_add(writer, &sample);
    tdm_text_free(&file);
    return status;
}

static const char *const TOY_CLASS[4] = {"zero", "one", "two", "odd"};

/* TOY_IMAGES images in TOY_SHARDS shards of the split, numbered through, and the index. */
static inline tdm_status toy_write(const char *dir, const char *split, bool identity)
{
    const tdm_shard_info info = {.dataset = "toy",
                                 .split = split,
                                 .image_policy = "original",
                                 .source_digest = "none",
                                 .tokenizer_digest = "cafe",
                                 .class_count = 4,
                                 .class_name = TOY_CLASS};
    tdm_index_row row[TOY_SHARDS];
    memset(row, 0, sizeof(row));
    for (int64_t s = 0; s < TOY_SHARDS; s++) {
        char path[256];
        tdm_shard_writer *writer;
        snprintf(row[s].file, sizeof(row[s].file), "%.31s-%05lld.h5", split, (long long)s);
        snprintf(row[s].split, sizeof(row[s].split), "%s", split);
        TDM_TRY(tdm_path_join(path, sizeof(path), dir, row[s].file));
        TDM_TRY(tdm_shard_writer_create(path, &info, &writer));
        int64_t end = tdm_part_begin(TOY_IMAGES, TOY_SHARDS, s + 1);
        for (int64_t i = tdm_part_begin(TOY_IMAGES, TOY_SHARDS, s); i < end; i++)
            TDM_TRY(toy_add(writer, i, identity));
        TDM_TRY(tdm_shard_writer_finish(&writer, &row[s].images, &row[s].captions, row[s].digest));
    }
    return tdm_index_write(dir, "toy", row, TOY_SHARDS);
}

#endif
