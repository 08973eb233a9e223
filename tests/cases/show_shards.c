/* Prints what a packed directory holds, one JSON object a row: split, name, identity (null: none), classes,
 * captions, alternatives and the SHA-256 of the image's RGB pixels (null: no image).
 *     show_shards DIR */
#include "tandem/image.h"
#include "tandem/shard.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tdm_status pixel_digest(const tdm_text *bytes, json_t *row)
{
    tdm_image image = {0};
    char digest[65];
    tdm_sha256 *sha;
    TDM_TRY(tdm_image_decode("image", bytes->data, bytes->length, TDM_ALPHA_DROP, &image));
    TDM_TRY(tdm_sha256_create(&sha));
    const size_t channels = image.mode == TDM_IMAGE_RGBA ? 4 : 3;
    for (int64_t i = 0; i < image.height * image.width; i++)
        tdm_sha256_update(sha, image.pixel + channels * (size_t)i, 3);
    tdm_sha256_finish(&sha, digest);
    json_object_set_new(row, "pixels", json_string(digest));
    tdm_image_free(&image);
    return TDM_OK;
}

static tdm_status show_classes(tdm_dataset *dataset, int64_t image, json_t *row)
{
    const int64_t count = tdm_dataset_class_count(dataset);
    json_t *list = json_array();
    json_object_set_new(row, "classes", list);
    if (!count) return TDM_OK;
    uint8_t *bit;
    TDM_TRY(TDM_ALLOC(count, &bit));
    const tdm_status status = tdm_dataset_classes(dataset, image, bit);
    for (int64_t c = 0; status == TDM_OK && c < count; c++)
        if (bit[c]) json_array_append_new(list, json_string(tdm_dataset_class_name(dataset, c)));
    tdm_free(bit);
    return status;
}

static tdm_status show_row(tdm_dataset *dataset, int64_t image, const char *split, tdm_text *text)
{
    json_t *row = json_object(), *captions = json_array();
    int64_t first, n;
    json_object_set_new(row, "split", json_string(split));
    TDM_TRY(tdm_dataset_read_name(dataset, image, text));
    json_object_set_new(row, "name", json_stringn(text->data, text->length));
    json_object_set_new(row, "identity",
                        tdm_dataset_has_identity(dataset) ? json_integer(tdm_dataset_identity(dataset, image))
                                                          : json_null());
    json_object_set_new(row, "captions", captions);
    tdm_dataset_image_captions(dataset, image, &first, &n);
    for (int64_t k = first; k < first + n; k++) {
        TDM_TRY(tdm_dataset_read_caption(dataset, k, text));
        json_array_append_new(captions, json_stringn(text->data, text->length));
    }
    TDM_TRY(show_classes(dataset, image, row));
    json_object_set_new(row, "pixels", json_null());
    if (tdm_dataset_has_image(dataset, image)) {
        TDM_TRY(tdm_dataset_read_image(dataset, image, text));
        TDM_TRY(pixel_digest(text, row));
    }
    json_dumpf(row, stdout, JSON_SORT_KEYS);
    putchar('\n');
    json_decref(row);
    return TDM_OK;
}

static tdm_status show_split(const char *dir, const char *split)
{
    tdm_dataset *dataset;
    tdm_text text = {0};
    TDM_TRY(tdm_dataset_open(dir, split, &dataset));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; status == TDM_OK && i < tdm_dataset_images(dataset); i++)
        status = show_row(dataset, i, split, &text);
    tdm_text_free(&text);
    tdm_dataset_close(&dataset);
    return status;
}

static tdm_status show(const char *dir)
{
    tdm_index_row *row;
    int64_t count;
    TDM_TRY(tdm_index_read(dir, &row, &count));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; status == TDM_OK && i < count; i++)
        if (!i || strcmp(row[i].split, row[i - 1].split)) status = show_split(dir, row[i].split);
    tdm_free(row);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    if (show(argv[1]) == TDM_OK) return 0;
    fprintf(stderr, "show_shards: %s\n", tdm_error_last()->message);
    return 1;
}
