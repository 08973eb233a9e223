/* The data set's files, in CUHK-PEDES's own layout:
 *
 *     OUT/imgs/cam_K/NNNNNNN.jpg
 *     OUT/reid_raw.json     [{"split", "captions", "captions_bt", "file_path", "processed_tokens", "id"}, …]
 *     OUT/synthetic.json    how it was made
 */
#include "people.h"
#include "caption.h"
#include "picture.h"
#include "tandem/image.h"

#include <ctype.h>
#include <errno.h>

enum { CAPTIONS = 2 };
static const char *const split_names[PEOPLE_SPLITS] = {"train", "val", "test"};

typedef struct image {
    int64_t identity; /* from 0 */
    int camera, split;
} image;

typedef struct set {
    const people_options *o;
    int64_t begin[PEOPLE_SPLITS + 1]; /* identities of the splits */
    person *people;
    image *images;
    int64_t count;
} set;

/* ---- Who and how many ---- */

/* CUHK-PEDES has 11,003 identities to train, 1,000 to validate, 1,000 to test, one behind the other. */
void people_divide(int64_t identities, int64_t held_out, int64_t begin[PEOPLE_SPLITS + 1])
{
    const int64_t held = held_out ? held_out : tdm_max_i64(1, (identities * 1000 + 6501) / 13003);
    begin[0] = 0;
    begin[1] = identities - 2 * held;
    begin[2] = identities - held;
    begin[3] = identities;
}

/* 2 to 6 images of each identity, 3.1 in the mean as in CUHK-PEDES, each of another camera. */
static tdm_status plan_images(set *s)
{
    static const int weight[] = {35, 33, 20, 8, 4};
    TDM_TRY(TDM_ALLOC(s->o->identities * CAMERAS, &s->images));
    for (int split = 0; split < PEOPLE_SPLITS; split++)
        for (int64_t i = s->begin[split]; i < s->begin[split + 1]; i++) {
            tdm_rng rng = people_rng((uint64_t)s->o->seed, DRAW_IMAGES, i);
            const int n = 2 + people_choose(&rng, weight, sizeof weight / sizeof weight[0]);
            const uint64_t order = tdm_rng_u32(&rng);
            for (int k = 0; k < n; k++)
                s->images[s->count++] = (image){i, (int)tdm_permute(CAMERAS, order, 0, k), split};
        }
    return TDM_OK;
}

/* ---- Pictures ---- */

static void image_name(const set *s, int64_t i, char name[64])
{
    snprintf(name, 64, "cam_%d/%07lld.jpg", s->images[i].camera + 1, (long long)i + 1);
}

static tdm_status make_folders(const set *s)
{
    char path[TDM_PATH_BYTES];
    for (int camera = 1; camera <= CAMERAS; camera++) {
        TDM_REQUIRE(snprintf(path, sizeof path, "%s/imgs/cam_%d", s->o->out, camera) < (int)sizeof path - 64,
                    TDM_E_IO, "%s: path is too long", s->o->out);
        TDM_TRY(tdm_make_dirs(path));
    }
    return TDM_OK;
}

/* One of thousands of small files, so not synced. */
static tdm_status write_plain(const char *path, const tdm_text *data)
{
    FILE *file = fopen(path, "wb");
    TDM_REQUIRE(file, TDM_E_IO, "%s: cannot create: %s", path, strerror(errno));
    const bool written = fwrite(data->data, 1, data->length, file) == data->length;
    const bool closed = fclose(file) == 0;
    TDM_REQUIRE(written && closed, TDM_E_IO, "%s: cannot write: %s", path, strerror(errno));
    return TDM_OK;
}

static tdm_status make_image(const set *s, int64_t i)
{
    const image *of = &s->images[i];
    const uint64_t seed = (uint64_t)s->o->seed;
    char name[64], path[TDM_PATH_BYTES];
    picture taken;
    tdm_text jpeg = {0};
    image_name(s, i, name);
    snprintf(path, sizeof path, "%s/imgs/%s", s->o->out, name);
    tdm_status status =
        picture_take(&s->people[of->identity], of->camera, people_rng(seed, DRAW_SHADE, of->identity),
                     people_rng(seed, DRAW_PICTURE, i), &taken);
    if (status == TDM_OK)
        status = tdm_image_encode_jpeg(taken.pixel, taken.height, taken.width, taken.quality, &jpeg);
    if (status == TDM_OK) status = write_plain(path, &jpeg);
    tdm_free(taken.pixel);
    tdm_text_free(&jpeg);
    return status;
}

static tdm_status make_images(const set *s)
{
    tdm_error first = {.code = TDM_OK};
    int64_t failed = s->count;
#pragma omp parallel for schedule(dynamic, 16) num_threads((int)s->o->threads)
    for (int64_t i = 0; i < s->count; i++) {
        if (make_image(s, i) == TDM_OK) continue;
#pragma omp critical
        if (i < failed) {
            failed = i;
            first = *tdm_error_last();
        }
    }
    return first.code == TDM_OK ? TDM_OK : tdm_error_adopt(&first);
}

/* ---- The list of them ---- */

/* Appends ["a", "man", …]: the words, in lower case, as CUHK-PEDES's own "processed_tokens". */
static tdm_status put_words(const char *caption, tdm_text *json)
{
    TDM_TRY(tdm_text_printf(json, "["));
    for (const char *at = caption; *at;) {
        char word[64];
        size_t n = 0;
        for (; isalnum((unsigned char)*at) || *at == '-'; at++)
            if (n + 1 < sizeof word) word[n++] = (char)tolower((unsigned char)*at);
        word[n] = '\0';
        if (n)
            TDM_TRY(tdm_text_printf(json, "%s\"%s\"", json->data[json->length - 1] == '[' ? "" : ", ", word));
        if (*at) at++;
    }
    return tdm_text_printf(json, "]");
}

/* A caption, and what two translations would make of it: the same in other words. */
static tdm_status write_captions(const set *s, int64_t i, tdm_text caption[CAPTIONS], tdm_text back[CAPTIONS])
{
    const person *p = &s->people[s->images[i].identity];
    tdm_rng rng = people_rng((uint64_t)s->o->seed, DRAW_WORDS, i);
    for (int k = 0; k < CAPTIONS; k++) {
        const uint32_t mentions = caption_mentions(p, &rng);
        caption[k].length = back[k].length = 0;
        TDM_TRY(caption_write(p, mentions, &rng, &caption[k]));
        TDM_TRY(caption_write(p, mentions, &rng, &back[k]));
    }
    return TDM_OK;
}

static tdm_status put_entry(const set *s, int64_t i, const tdm_text caption[CAPTIONS],
                            const tdm_text back[CAPTIONS], tdm_text *json)
{
    char name[64];
    image_name(s, i, name);
    TDM_TRY(tdm_text_printf(
        json,
        "%s{\"split\": \"%s\", \"id\": %lld, \"file_path\": \"%s\", \"captions\": [\"%s\", \"%s\"], "
        "\"captions_bt\": [\"%s\", \"%s\"], \"processed_tokens\": [",
        i ? ",\n" : "[\n", split_names[s->images[i].split], (long long)s->images[i].identity + 1, name,
        caption[0].data, caption[1].data, back[0].data, back[1].data));
    TDM_TRY(put_words(caption[0].data, json));
    TDM_TRY(tdm_text_printf(json, ", "));
    TDM_TRY(put_words(caption[1].data, json));
    return tdm_text_printf(json, "]}");
}

static tdm_status write_list(const set *s, const char *path)
{
    tdm_text json = {0}, caption[CAPTIONS] = {{0}}, back[CAPTIONS] = {{0}};
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < s->count && status == TDM_OK; i++) {
        status = write_captions(s, i, caption, back);
        if (status == TDM_OK) status = put_entry(s, i, caption, back, &json);
    }
    if (status == TDM_OK) status = tdm_text_printf(&json, "\n]\n");
    if (status == TDM_OK) status = tdm_write_file_atomic(path, json.data, json.length);
    for (int k = 0; k < CAPTIONS; k++) {
        tdm_text_free(&caption[k]);
        tdm_text_free(&back[k]);
    }
    tdm_text_free(&json);
    return status;
}

static tdm_status write_origin(const people_options *o)
{
    char path[TDM_PATH_BYTES], json[256];
    TDM_TRY(tdm_path_join(path, sizeof path, o->out, "synthetic.json"));
    const int n =
        snprintf(json, sizeof json,
                 "{\"made_by\": \"make_people\", \"identities\": %lld, \"held_out\": %lld, \"seed\": %lld, "
                 "\"twins\": %g}\n",
                 (long long)o->identities, (long long)o->held_out, (long long)o->seed, o->twins);
    return tdm_write_file_atomic(path, json, (size_t)n);
}

/* ---- All of it ---- */

static tdm_status make_set(set *s, const char *list)
{
    people_divide(s->o->identities, s->o->held_out, s->begin);
    TDM_TRY(people_draw((uint64_t)s->o->seed, s->o->twins, s->begin, PEOPLE_SPLITS, &s->people));
    TDM_TRY(plan_images(s));
    TDM_TRY(make_folders(s));
    TDM_TRY(make_images(s));
    TDM_TRY(write_origin(s->o));
    return write_list(s, list); /* last: a folder with it is whole */
}

tdm_status people_make(const people_options *options)
{
    set s = {.o = options};
    char list[TDM_PATH_BYTES];
    TDM_REQUIRE(2 * options->held_out < options->identities, TDM_E_USAGE,
                "--held-out %lld: val and test would take all of %lld identities",
                (long long)options->held_out, (long long)options->identities);
    TDM_TRY(tdm_path_join(list, sizeof list, options->out, "reid_raw.json"));
    TDM_REQUIRE(!tdm_path_exists(list), TDM_E_IO, "%s: holds a data set already", options->out);
    const tdm_status status = make_set(&s, list);
    if (status == TDM_OK)
        tdm_log(TDM_LOG_INFO, "%s: %lld images of %lld identities", options->out, (long long)s.count,
                (long long)options->identities);
    tdm_free(s.people);
    tdm_free(s.images);
    return status;
}
