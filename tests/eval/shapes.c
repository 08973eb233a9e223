#include "shapes.h"

#include "tandem/image.h"
#include "tandem/rng.h"
#include "tandem/shard.h"

#include <math.h>
#include <string.h>

enum { PX = 32, COLOURS = 8, SHAPES = 4 };

static const char *const colour_name[COLOURS] = {"red",   "green", "blue",   "yellow",
                                                 "white", "black", "purple", "orange"};
static const uint8_t colour[COLOURS][3] = {{220, 30, 30},   {30, 180, 60}, {40, 60, 220},  {240, 220, 40},
                                           {250, 250, 250}, {10, 10, 10},  {140, 40, 160}, {250, 140, 20}};
static const char *const shape_name[SHAPES] = {"square", "disc", "cross", "ring"};

static bool is_inside(int shape, double dx, double dy, double radius)
{
    const double square = dx * dx + dy * dy, limit = radius * radius;
    switch (shape) {
    case 0: return fmax(fabs(dx), fabs(dy)) < 0.8 * radius;
    case 1: return square < limit;
    case 2: return fmin(fabs(dx), fabs(dy)) < 2.5 && square < 1.3 * limit;
    default: return square < limit && square > 0.4 * limit;
    }
}

/* Grey noise with the shape somewhere near the middle. */
static void draw(tdm_rng rng, int shape, int kind, uint8_t pixel[PX][PX][3])
{
    const double x0 = tdm_rng_range(&rng, 12, 20), y0 = tdm_rng_range(&rng, 12, 20);
    const double radius = tdm_rng_range(&rng, 7, 11);
    for (int y = 0; y < PX; y++)
        for (int x = 0; x < PX; x++)
            for (int c = 0; c < 3; c++)
                pixel[y][x][c] = is_inside(shape, x - x0, y - y0, radius)
                                     ? colour[kind][c]
                                     : (uint8_t)tdm_rng_range(&rng, 108, 148);
}

int mixed_classes(int64_t image, int64_t index[2])
{
    index[0] = image / COLOURS % SHAPES;
    index[1] = (index[0] + 1) % SHAPES;
    return image % 8 == 7 ? 0 : image % 5 == 4 ? 2 : 1;
}

static tdm_status add_image(tdm_shard_writer *writer, const char *split, bool mixed, int64_t i)
{
    const int kind = (int)(i % COLOURS), shape = (int)(i / COLOURS % SHAPES);
    uint8_t pixel[PX][PX][3];
    tdm_text png = {0};
    char name[64], first[64], second[64];
    draw(tdm_rng_at(5, strlen(split), (uint64_t)i, TDM_RNG_TEST), shape, kind, pixel);
    snprintf(name, sizeof name, "%s/%lld.png", split, (long long)i);
    snprintf(first, sizeof first, "a %s %s", colour_name[kind], shape_name[shape]);
    snprintf(second, sizeof second, "%s of colour %s", shape_name[shape], colour_name[kind]);
    const char *const captions[] = {first, second};
    int64_t class_index[2];
    const int classes = mixed_classes(i, class_index);
    tdm_status status = tdm_image_encode_png(&pixel[0][0][0], PX, PX, &png);
    const tdm_shard_sample sample = {.image = png.data,
                                     .image_bytes = (int64_t)png.length,
                                     .name = name,
                                     .identity = i % (COLOURS * SHAPES),
                                     .class_index = class_index,
                                     .class_n = mixed ? classes : 1,
                                     .caption = captions,
                                     .caption_n = 2};
    if (status == TDM_OK) status = tdm_shard_writer_add(writer, &sample);
    tdm_text_free(&png);
    return status;
}

/* Pictures [first, first + images) of a split, as its shard number `number`. */
static tdm_status write_shard(const char *dir, const char *split, bool mixed, int number, int64_t first,
                              int64_t images, tdm_index_row *row)
{
    char path[4096];
    tdm_shard_writer *writer = NULL;
    const tdm_shard_info info = {.dataset = "shapes",
                                 .split = split,
                                 .image_policy = "original",
                                 .source_digest = "",
                                 .tokenizer_digest = "",
                                 .class_count = SHAPES,
                                 .class_name = shape_name};
    snprintf(row->split, sizeof row->split, "%s", split);
    snprintf(row->file, sizeof row->file, "%.31s-%05d.h5", split, number);
    TDM_TRY(tdm_path_join(path, sizeof path, dir, row->file));
    TDM_TRY(tdm_shard_writer_create(path, &info, &writer));
    tdm_status status = TDM_OK;
    for (int64_t i = first; i < first + images && status == TDM_OK; i++)
        status = add_image(writer, split, mixed, i);
    if (status == TDM_OK)
        status = tdm_shard_writer_finish(&writer, &row->images, &row->captions, row->digest);
    tdm_shard_writer_destroy(&writer);
    return status;
}

tdm_status make_shapes(const char *dir)
{
    tdm_index_row row[2];
    memset(row, 0, sizeof row);
    TDM_TRY(tdm_make_dirs(dir));
    TDM_TRY(write_shard(dir, "train", false, 0, 0, 320, &row[0]));
    TDM_TRY(write_shard(dir, "test", false, 0, 0, 64, &row[1]));
    return tdm_index_write(dir, "shapes", row, 2);
}

tdm_status make_mixed_shapes(const char *dir)
{
    enum { SHARDS = 3 };
    tdm_index_row row[SHARDS];
    memset(row, 0, sizeof row);
    TDM_TRY(tdm_make_dirs(dir));
    for (int i = 0; i < SHARDS; i++) {
        const int64_t first = tdm_part_begin(MIXED_IMAGES, SHARDS, i);
        const int64_t images = tdm_part_begin(MIXED_IMAGES, SHARDS, i + 1) - first;
        TDM_TRY(write_shard(dir, "mixed", true, i, first, images, &row[i]));
    }
    return tdm_index_write(dir, "shapes", row, SHARDS);
}
