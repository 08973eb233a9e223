/* Few-shot subsets of a split. Each row (or identity) has a number of its own, the beginning of
 * SHA-256("data.share SEED NAME"): the lowest are taken. So a smaller share is part of a larger one, and neither ranks
 * nor shards nor their order have a say. */
#include "tandem/loader.h"

#include "dataset_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum share_by { SHARE_BY_IMAGE, SHARE_BY_IDENTITY } share_by;

typedef struct share_options {
    double share;
    int share_by; /* a share_by */
    int64_t share_seed;
} share_options;

static const tdm_option share_rows[] = {
    TDM_FLOAT_OPTION(share_options, share, "1.0", 0, 1, "",
                     "Share of the split's images that is trained on, each with all its captions: few-shot."),
    TDM_CHOICE_OPTION(share_options, share_by, "image", "image|identity",
                      "What data.share is a share of: images; or identities, each with all its images."),
    TDM_INT_OPTION(
        share_options, share_seed, "-1", -1, 9007199254740992.0, "",
        "Seed of the choice; -1 = the run's. A smaller share of the same seed is part of a larger one."),
};

tdm_status tdm_share_register(void)
{
    static const tdm_option_group group = {.prefix = "data",
                                           .rows = share_rows,
                                           .count = sizeof(share_rows) / sizeof(share_rows[0]),
                                           .bytes = sizeof(share_options),
                                           .change = TDM_CHANGE_RUN};
    return tdm_config_register(&group);
}

/* ---- The order in which rows or identities are taken ---- */

typedef struct candidate {
    uint64_t key;
    int64_t row; /* or the identity */
} candidate;

static int compare_candidates(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

tdm_status dataset_order_key(const char *what, int64_t seed, const char *name, int64_t length, uint64_t *key)
{
    char hex[65];
    tdm_text text = {0};
    tdm_status status = tdm_text_printf(&text, "%s %lld ", what, (long long)seed);
    if (status == TDM_OK) status = tdm_text_append(&text, name, (size_t)length);
    if (status == TDM_OK) status = tdm_sha256_buffer(text.data, text.length, hex);
    tdm_text_free(&text);
    TDM_TRY(status);
    hex[16] = '\0';
    *key = strtoull(hex, NULL, 16);
    return TDM_OK;
}

tdm_status dataset_shard_names(tdm_dataset *dataset, shard *it, tdm_h5_strings *names)
{
    TDM_TRY(dataset_use_shard(dataset, it));
    TDM_TRY(tdm_h5_get_strings(it->file, "image/name_", SHARD_NAME_BYTES, names));
    TDM_REQUIRE(names->count == it->images, TDM_E_FORMAT, "%s: names %lld images of %lld", it->path,
                (long long)names->count, (long long)it->images);
    return TDM_OK;
}

/* The rows of one shard, by the names of the files that they came from. */
static tdm_status list_shard(tdm_dataset *dataset, shard *it, int64_t seed, candidate *list)
{
    tdm_h5_strings names = {0};
    tdm_status status = dataset_shard_names(dataset, it, &names);
    for (int64_t i = 0; status == TDM_OK && i < names.count; i++) {
        int64_t bytes;
        const char *name = tdm_h5_strings_at(&names, i, &bytes);
        list[i].row = it->first_image + i;
        status = dataset_order_key("data.share", seed, name, bytes, &list[i].key);
    }
    tdm_h5_strings_free(&names);
    return status;
}

static tdm_status list_images(tdm_dataset *dataset, int64_t seed, candidate *list, int64_t *count)
{
    *count = dataset->images;
    for (int64_t i = 0; i < dataset->shard_count; i++)
        TDM_TRY(list_shard(dataset, &dataset->shard[i], seed, list + dataset->shard[i].first_image));
    return TDM_OK;
}

static tdm_status list_identities(const tdm_dataset *dataset, int64_t seed, candidate *list, int64_t *count)
{
    int64_t *identity;
    *count = 0;
    TDM_REQUIRE(dataset->has_identity, TDM_E_CONFIG,
                "data.share_by is identity, but %s, split %s, has no identities", dataset->dir,
                dataset->split);
    TDM_TRY(TDM_ALLOC(dataset->images, &identity));
    for (int64_t i = 0; i < dataset->images; i++) identity[i] = tdm_dataset_identity(dataset, i);
    qsort(identity, (size_t)dataset->images, sizeof *identity, tdm_compare_i64);
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < dataset->images && status == TDM_OK; i++) {
        char name[32];
        if (i && identity[i] == identity[i - 1]) continue;
        const int n = snprintf(name, sizeof name, "%lld", (long long)identity[i]);
        list[*count].row = identity[i];
        status = dataset_order_key("data.share", seed, name, n, &list[(*count)++].key);
    }
    tdm_free(identity);
    return status;
}

/* ---- What is taken ---- */

int64_t dataset_taken_samples(const tdm_dataset *dataset, tdm_sample kind, int64_t *sample)
{
    int64_t n = 0, captionless = 0, number = 0;
    for (int64_t c = 0; c < dataset->captions && kind != TDM_SAMPLE_IMAGE; c++) {
        if (!tdm_dataset_is_taken(dataset, tdm_dataset_caption_image(dataset, c))) continue;
        if (!dataset_is_kept(dataset, TDM_TEXT, c)) continue;
        if (sample) sample[n] = c;
        n++;
    }
    for (int64_t row = 0; row < dataset->images && kind != TDM_SAMPLE_CAPTION; row++) {
        int64_t first, count, index;
        tdm_dataset_image_captions(dataset, row, &first, &count);
        if (kind == TDM_SAMPLE_ALL) {
            if (count) continue;
            index = dataset->captions + captionless++;
        } else {
            if (!tdm_dataset_has_image(dataset, row)) continue;
            index = number++;
        }
        if (!tdm_dataset_is_taken(dataset, row)) continue;
        if (sample) sample[n] = index;
        n++;
    }
    return n;
}

void dataset_count_taken(tdm_dataset *dataset)
{
    dataset->taken_rows = 0;
    for (int64_t i = 0; i < dataset->images; i++) dataset->taken_rows += dataset->taken[i];
    for (int kind = 0; kind <= TDM_SAMPLE_ALL; kind++)
        dataset->taken_samples[kind] = dataset_taken_samples(dataset, (tdm_sample)kind, NULL);
}

static void take_rows(tdm_dataset *dataset, share_by by, const candidate *list, int64_t take)
{
    if (by == SHARE_BY_IMAGE) {
        for (int64_t i = 0; i < take; i++) dataset->taken[list[i].row] = 1;
        return;
    }
    for (int64_t row = 0; row < dataset->images; row++) {
        const int64_t identity = tdm_dataset_identity(dataset, row);
        int64_t low = 0, high = take; /* list[take] is in the order of identities by now */
        while (low < high) {
            const int64_t middle = low + (high - low) / 2;
            if (list[middle].row < identity)
                low = middle + 1;
            else
                high = middle;
        }
        dataset->taken[row] = low < take && list[low].row == identity;
    }
}

static int compare_rows(const void *a, const void *b)
{
    return tdm_compare_i64(&((const candidate *)a)->row, &((const candidate *)b)->row);
}

static tdm_status choose(tdm_dataset *dataset, const share_options *o, int64_t seed, candidate *list)
{
    int64_t count;
    const share_by by = (share_by)o->share_by;
    const char *what = by == SHARE_BY_IMAGE ? "images" : "identities";
    if (by == SHARE_BY_IMAGE)
        TDM_TRY(list_images(dataset, seed, list, &count));
    else
        TDM_TRY(list_identities(dataset, seed, list, &count));
    /* floor(share · count), where 0.29 · 100 is 29 and not a rounding below it */
    const int64_t take = (int64_t)floor(o->share * (double)count * (1.0 + 1e-12));
    TDM_REQUIRE(take > 0, TDM_E_CONFIG, "data.share = %g takes none of the %lld %s of %s, split %s", o->share,
                (long long)count, what, dataset->dir, dataset->split);
    qsort(list, (size_t)count, sizeof *list, compare_candidates);
    if (by == SHARE_BY_IDENTITY) qsort(list, (size_t)take, sizeof *list, compare_rows);
    TDM_TRY(TDM_ALLOC(dataset->images, &dataset->taken));
    take_rows(dataset, by, list, take);
    dataset_count_taken(dataset);
    tdm_log(TDM_LOG_INFO, "data.share: %lld of %lld %s by seed %lld: %lld images with %lld captions",
            (long long)take, (long long)count, what, (long long)seed, (long long)dataset->taken_rows,
            (long long)dataset->taken_samples[TDM_SAMPLE_CAPTION]);
    return TDM_OK;
}

int64_t dataset_share_seed(const tdm_config *config)
{
    const share_options *o = tdm_config_rows(config, "data", share_rows);
    return !o || o->share_seed < 0 ? config->seed : o->share_seed;
}

static tdm_status take_share(tdm_dataset *dataset, const tdm_config *config)
{
    const share_options *o = tdm_config_rows(config, "data", share_rows);
    candidate *list;
    if (!o || o->share >= 1.0 || dataset->taken) return TDM_OK;
    TDM_TRY(TDM_ALLOC(dataset->images, &list));
    const tdm_status status = choose(dataset, o, dataset_share_seed(config), list);
    tdm_free(list);
    return status;
}

tdm_status tdm_dataset_take_share(tdm_dataset *dataset, const tdm_config *config)
{
    if (dataset->is_chosen) return TDM_OK;
    TDM_TRY(take_share(dataset, config));
    TDM_TRY(dataset_take_imbalance(dataset, config));
    dataset->is_chosen = true;
    return TDM_OK;
}

bool tdm_dataset_is_taken(const tdm_dataset *dataset, int64_t image)
{
    return !dataset->taken || dataset->taken[image];
}
