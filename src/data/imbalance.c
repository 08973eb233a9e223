/* Modality imbalance: shares of the images and of the texts of a training split, as CLIP4CMR studies it (arXiv
 * 2201.02772). Each row has a place in an order of its modality, and the first are kept. The order is stratified by
 * class: of a class with n rows the r-th one, by the numbers that data.share goes by, stands at (r + u) / n, where u is
 * the class's own number between 0 and 1. So every beginning of the order has the same share of each class, to within
 * one row, and a smaller share is part of a larger one. Neither ranks nor shards nor their order have a say. */
#include "dataset_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMBALANCE_NONE, IMBALANCE_INDEPENDENT, IMBALANCE_PAIRED, IMBALANCE_PER_BATCH };
#define IMBALANCE_CHOICES "none|independent|paired|per_batch"

typedef struct imbalance_options {
    int imbalance;
    double image_share, text_share;
} imbalance_options;

static const tdm_option imbalance_rows_of_options[] = {
    TDM_CHOICE_OPTION(
        imbalance_options, imbalance, "none", IMBALANCE_CHOICES,
        "Shares of images and texts: kept and drawn independently; of what is kept only the pairs; or the first ones of each batch."),
    TDM_FLOAT_OPTION(imbalance_options, image_share, "1.0", 0, 1, "",
                     "With data.imbalance: share of the images, of each class alike."),
    TDM_FLOAT_OPTION(imbalance_options, text_share, "1.0", 0, 1, "",
                     "With data.imbalance: share of the texts, of each class alike."),
};

tdm_status tdm_imbalance_register(void)
{
    static const tdm_option_group group = {.prefix = "data",
                                           .rows = imbalance_rows_of_options,
                                           .count = sizeof(imbalance_rows_of_options) /
                                                    sizeof(imbalance_rows_of_options[0]),
                                           .bytes = sizeof(imbalance_options),
                                           .change = TDM_CHANGE_RUN};
    return tdm_config_register(&group);
}

static const imbalance_options *options_of(const tdm_config *config)
{
    static const imbalance_options none = {IMBALANCE_NONE, 1.0, 1.0};
    const imbalance_options *o = config ? tdm_config_rows(config, "data", imbalance_rows_of_options) : NULL;
    return o ? o : &none;
}

static double share_of(const imbalance_options *o, tdm_modality m)
{
    return m == TDM_IMAGE ? o->image_share : o->text_share;
}

/* ---- A step ---- */

/* CLIP4CMR's program counts in tenths of a batch, rounded down. */
static int64_t rows_of_batch(const imbalance_options *o, tdm_modality m, int64_t batch)
{
    const double share = share_of(o, m), tenths = (double)(batch / 10 * 10);
    if (share >= 1.0) return batch;
    if (o->imbalance == IMBALANCE_INDEPENDENT) return llround(share * (double)batch);
    if (o->imbalance == IMBALANCE_PER_BATCH) return (int64_t)floor(share * tenths * (1.0 + 1e-12));
    return batch;
}

tdm_draw imbalance_draw(const tdm_config *config, int64_t batch)
{
    const imbalance_options *o = options_of(config);
    tdm_draw draw = {.unpaired = o->imbalance == IMBALANCE_INDEPENDENT, .samples = batch};
    for (int m = 0; m < TDM_MODALITIES; m++) draw.rows[m] = rows_of_batch(o, (tdm_modality)m, batch);
    if (draw.unpaired) draw.samples = draw.rows[TDM_IMAGE] + draw.rows[TDM_TEXT];
    return draw;
}

tdm_draw tdm_step_draw(const tdm_config *config)
{
    return imbalance_draw(config, config->train.batch);
}

int64_t imbalance_samples(const int64_t kept[TDM_MODALITIES], const tdm_draw *draw, int64_t batch)
{
    int64_t samples = INT64_MAX;
    for (int m = 0; m < TDM_MODALITIES; m++)
        samples = tdm_min_i64(samples, draw->rows[m] ? kept[m] * batch / draw->rows[m] : 0);
    return samples;
}

/* ---- The rows of a modality ---- */

static int64_t all_rows(const tdm_dataset *dataset, tdm_modality m)
{
    return m == TDM_IMAGE ? dataset->images : dataset->captions;
}

static int64_t row_of(const tdm_dataset *dataset, tdm_modality m, int64_t index)
{
    return m == TDM_IMAGE ? index : tdm_dataset_caption_image(dataset, index);
}

/* Is it there, and left by data.share? */
static bool is_candidate(const tdm_dataset *dataset, tdm_modality m, int64_t index)
{
    return tdm_dataset_is_taken(dataset, row_of(dataset, m, index)) &&
           (m == TDM_TEXT || tdm_dataset_has_image(dataset, index));
}

int64_t imbalance_rows(const tdm_dataset *dataset, tdm_modality modality, int64_t *row)
{
    int64_t n = 0;
    for (int64_t i = 0; i < all_rows(dataset, modality); i++) {
        if (!is_candidate(dataset, modality, i) || !dataset_is_kept(dataset, modality, i)) continue;
        if (row) row[n] = i;
        n++;
    }
    return n;
}

/* ---- Classes ---- */

/* The next class of a row from `c` on, -1: there is none. Rows have few of many. */
static int64_t next_class(const tdm_dataset *dataset, const uint64_t *words, int64_t c)
{
    const int64_t count = tdm_dataset_class_words(dataset);
    for (int64_t w = c / 64; w < count; w++, c = 64 * w) {
        const uint64_t left = words[w] >> (c % 64);
        if (left) return c + __builtin_ctzll(left);
    }
    return -1;
}

/* Rows of a modality, all together and by class. */
typedef struct row_counts {
    int64_t rows, *of_class; /* [class_count] */
} row_counts;

/* Of what is left so far. */
static tdm_status count_rows(tdm_dataset *dataset, tdm_modality m, row_counts *counts)
{
    const uint64_t *words;
    const int64_t classes = dataset->class_count;
    counts->rows = imbalance_rows(dataset, m, NULL);
    TDM_TRY(TDM_ALLOC(classes + 1, &counts->of_class));
    for (int64_t i = 0; classes > 0 && i < all_rows(dataset, m); i++) {
        if (!is_candidate(dataset, m, i) || !dataset_is_kept(dataset, m, i)) continue;
        TDM_TRY(tdm_dataset_class_bits(dataset, row_of(dataset, m, i), &words));
        for (int64_t c = 0; (c = next_class(dataset, words, c)) >= 0; c++) counts->of_class[c]++;
    }
    return TDM_OK;
}

/* A row belongs to the stratum of its rarest class, a row without classes to one of its own kind. */
static tdm_status stratum_of(tdm_dataset *dataset, int64_t row, const row_counts *all, int64_t *stratum)
{
    const uint64_t *words;
    *stratum = dataset->class_count;
    if (dataset->class_count == 0) return TDM_OK;
    TDM_TRY(tdm_dataset_class_bits(dataset, row, &words));
    for (int64_t c = 0; (c = next_class(dataset, words, c)) >= 0; c++)
        if (*stratum == dataset->class_count || all->of_class[c] < all->of_class[*stratum]) *stratum = c;
    return TDM_OK;
}

/* ---- The order ---- */

typedef struct member {
    double at;
    uint64_t key;
    int64_t stratum, index;
} member;

static int compare_in_stratum(const void *a, const void *b)
{
    const member *x = a, *y = b;
    if (x->stratum != y->stratum) return x->stratum < y->stratum ? -1 : 1;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static int compare_places(const void *a, const void *b)
{
    const member *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return compare_in_stratum(a, b);
}

static const char *purpose_of(tdm_modality m)
{
    return m == TDM_IMAGE ? "data.image_share" : "data.text_share";
}

/* An image by the name of its row; a text by that and by its number among the texts of the row. */
static tdm_status add_row(tdm_dataset *dataset, tdm_modality m, int64_t seed, int64_t row, const char *name,
                          int64_t bytes, int64_t stratum, member *list, int64_t *count)
{
    int64_t first = row, n = 1;
    tdm_text text = {0};
    tdm_status status = TDM_OK;
    if (m == TDM_TEXT) tdm_dataset_image_captions(dataset, row, &first, &n);
    for (int64_t k = 0; k < n && status == TDM_OK; k++) {
        if (!is_candidate(dataset, m, first + k)) continue;
        member *one = &list[(*count)++];
        *one = (member){.stratum = stratum, .index = first + k};
        text.length = 0;
        status = tdm_text_append(&text, name, (size_t)bytes);
        if (status == TDM_OK && m == TDM_TEXT) status = tdm_text_printf(&text, " #%lld", (long long)k);
        if (status == TDM_OK)
            status = dataset_order_key(purpose_of(m), seed, text.data, (int64_t)text.length, &one->key);
    }
    tdm_text_free(&text);
    return status;
}

static tdm_status list_shard(tdm_dataset *dataset, shard *it, tdm_modality m, int64_t seed,
                             const row_counts *all, member *list, int64_t *count)
{
    tdm_h5_strings names = {0};
    tdm_status status = dataset_shard_names(dataset, it, &names);
    for (int64_t i = 0; status == TDM_OK && i < names.count; i++) {
        int64_t bytes, stratum;
        const char *name = tdm_h5_strings_at(&names, i, &bytes);
        status = stratum_of(dataset, it->first_image + i, all, &stratum);
        if (status == TDM_OK)
            status = add_row(dataset, m, seed, it->first_image + i, name, bytes, stratum, list, count);
    }
    tdm_h5_strings_free(&names);
    return status;
}

static tdm_status place_members(const tdm_dataset *dataset, tdm_modality m, int64_t seed, member *list,
                                int64_t count)
{
    qsort(list, (size_t)count, sizeof *list, compare_in_stratum);
    for (int64_t begin = 0, end; begin < count; begin = end) {
        const char *name = tdm_dataset_class_name(dataset, list[begin].stratum);
        uint64_t key;
        for (end = begin; end < count && list[end].stratum == list[begin].stratum;) end++;
        TDM_TRY(dataset_order_key(purpose_of(m), seed, name, (int64_t)strlen(name), &key));
        const double u = (double)(key >> 11) * 0x1p-53;
        for (int64_t i = begin; i < end; i++) list[i].at = ((double)(i - begin) + u) / (double)(end - begin);
    }
    qsort(list, (size_t)count, sizeof *list, compare_places);
    return TDM_OK;
}

/* ---- What is kept ---- */

/* The first members of the order. */
static tdm_status keep_first(tdm_dataset *dataset, tdm_modality m, double share, const member *list,
                             int64_t count)
{
    const int64_t keep = llround(share * (double)count);
    TDM_REQUIRE(keep > 0, TDM_E_CONFIG, "%s = %g keeps none of the %lld %ss of %s, split %s", purpose_of(m),
                share, (long long)count, tdm_modality_name(m), dataset->dir, dataset->split);
    tdm_free(dataset->kept[m]); /* of a choice that failed */
    TDM_TRY(TDM_ALLOC(all_rows(dataset, m), &dataset->kept[m]));
    for (int64_t i = 0; i < keep; i++) dataset->kept[m][list[i].index] = 1;
    return TDM_OK;
}

static tdm_status keep_rows(tdm_dataset *dataset, tdm_modality m, double share, int64_t seed,
                            const row_counts *all)
{
    member *list;
    int64_t count = 0;
    TDM_TRY(TDM_ALLOC(all->rows + 1, &list));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < dataset->shard_count && status == TDM_OK; i++)
        status = list_shard(dataset, &dataset->shard[i], m, seed, all, list, &count);
    if (status == TDM_OK) status = place_members(dataset, m, seed, list, count);
    if (status == TDM_OK) status = keep_first(dataset, m, share, list, count);
    tdm_free(list);
    return status;
}

/* Only texts whose image is kept, and images of such texts. */
static void keep_pairs(tdm_dataset *dataset)
{
    for (int64_t row = 0; row < dataset->images; row++) {
        int64_t first, n, texts = 0;
        uint8_t *image = &dataset->kept[TDM_IMAGE][row];
        tdm_dataset_image_captions(dataset, row, &first, &n);
        for (int64_t c = first; c < first + n; c++) texts += dataset->kept[TDM_TEXT][c] &= *image;
        *image = texts > 0;
    }
}

/* A row is taken while any part of it is kept. */
static tdm_status take_rows(tdm_dataset *dataset)
{
    uint8_t *taken;
    TDM_TRY(TDM_ALLOC(dataset->images, &taken));
    for (int64_t row = 0; row < dataset->images; row++) {
        int64_t first, n;
        tdm_dataset_image_captions(dataset, row, &first, &n);
        taken[row] = dataset->kept[TDM_IMAGE][row];
        for (int64_t c = first; c < first + n; c++) taken[row] |= dataset->kept[TDM_TEXT][c];
    }
    tdm_free(dataset->taken);
    dataset->taken = taken;
    dataset_count_taken(dataset);
    return TDM_OK;
}

/* ---- What is said about it ---- */

static void show_modality(const tdm_dataset *dataset, tdm_modality m, const row_counts *was,
                          const row_counts *is)
{
    int64_t fewest = -1, none = 0, first_none = -1;
    char classes[160] = "there are no classes";
    for (int64_t c = 0; c < dataset->class_count; c++) {
        if (was->of_class[c] == 0) continue;
        if (fewest < 0 || is->of_class[c] < is->of_class[fewest]) fewest = c;
        if (is->of_class[c] == 0 && none++ == 0) first_none = c;
    }
    if (fewest >= 0)
        snprintf(classes, sizeof classes, "the fewest of class %.80s, %lld of %lld",
                 tdm_dataset_class_name(dataset, fewest), (long long)is->of_class[fewest],
                 (long long)was->of_class[fewest]);
    tdm_log(TDM_LOG_INFO, "data.imbalance: %lld of %lld %ss are used; %s", (long long)is->rows,
            (long long)was->rows, tdm_modality_name(m), classes);
    if (none)
        tdm_log(TDM_LOG_WARN, "data.imbalance: no %s is left of class %.80s%s", tdm_modality_name(m),
                tdm_dataset_class_name(dataset, first_none), none > 1 ? " and others" : "");
}

static void show_epoch(const tdm_dataset *dataset, const tdm_draw *draw, int64_t batch)
{
    const int64_t steps = dataset->taken_samples[TDM_SAMPLE_CAPTION] / batch;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const int64_t rows = imbalance_rows(dataset, (tdm_modality)m, NULL),
                      out = rows - steps * draw->rows[m];
        tdm_log(TDM_LOG_INFO,
                "data.imbalance: each step draws %lld %ss; an epoch of %lld steps leaves out %lld of them, "
                "others each time",
                (long long)draw->rows[m], tdm_modality_name((tdm_modality)m), (long long)steps,
                (long long)out);
    }
}

static void show_batches(const tdm_draw *draw, int64_t batch)
{
    const int64_t most = tdm_max_i64(draw->rows[TDM_IMAGE], draw->rows[TDM_TEXT]);
    tdm_log(TDM_LOG_INFO,
            "data.imbalance: of each %lld samples the first %lld images and the first %lld texts",
            (long long)batch, (long long)draw->rows[TDM_IMAGE], (long long)draw->rows[TDM_TEXT]);
    if (most < batch)
        tdm_log(TDM_LOG_WARN, "data.imbalance: the last %lld samples of each batch have neither",
                (long long)(batch - most));
}

/* ---- All together ---- */

static tdm_status check(const imbalance_options *o, const tdm_config *config)
{
    char name[64];
    const tdm_draw draw = tdm_step_draw(config);
    TDM_REQUIRE(o->imbalance != IMBALANCE_NONE || (o->image_share >= 1.0 && o->text_share >= 1.0),
                TDM_E_CONFIG,
                "data.image_share = %g and data.text_share = %g need data.imbalance: independent, paired or "
                "per_batch",
                o->image_share, o->text_share);
    for (int m = 0; m < TDM_MODALITIES; m++)
        TDM_REQUIRE(draw.rows[m] > 0, TDM_E_CONFIG, "%s = %g of train.batch = %lld is not one %s",
                    purpose_of((tdm_modality)m), share_of(o, (tdm_modality)m), (long long)config->train.batch,
                    tdm_modality_name((tdm_modality)m));
    TDM_REQUIRE(
        config->data.sample != TDM_SAMPLE_IMAGE || o->imbalance == IMBALANCE_NONE ||
            o->imbalance == IMBALANCE_PER_BATCH,
        TDM_E_CONFIG,
        "data.sample = \"image\": data.imbalance = \"%s\" chooses texts one by one, \"caption\" goes with it",
        tdm_option_choice_text(IMBALANCE_CHOICES, o->imbalance, name));
    return TDM_OK;
}

static tdm_status choose(tdm_dataset *dataset, const imbalance_options *o, const tdm_config *config,
                         row_counts was[TDM_MODALITIES], row_counts is[TDM_MODALITIES])
{
    const int64_t seed = dataset_share_seed(config);
    for (int m = 0; m < TDM_MODALITIES; m++) TDM_TRY(count_rows(dataset, (tdm_modality)m, &was[m]));
    for (int m = 0; m < TDM_MODALITIES; m++)
        TDM_TRY(keep_rows(dataset, (tdm_modality)m, share_of(o, (tdm_modality)m), seed, &was[m]));
    if (o->imbalance == IMBALANCE_PAIRED) {
        tdm_log(
            TDM_LOG_INFO,
            "data.imbalance: %lld images and %lld texts are kept, and those whose other half is not are left out",
            (long long)imbalance_rows(dataset, TDM_IMAGE, NULL),
            (long long)imbalance_rows(dataset, TDM_TEXT, NULL));
        keep_pairs(dataset);
    }
    for (int m = 0; m < TDM_MODALITIES; m++) TDM_TRY(count_rows(dataset, (tdm_modality)m, &is[m]));
    TDM_REQUIRE(is[TDM_TEXT].rows > 0, TDM_E_CONFIG,
                "data.imbalance = \"paired\": no text is kept together with its image; take larger shares");
    for (int m = 0; m < TDM_MODALITIES; m++) show_modality(dataset, (tdm_modality)m, &was[m], &is[m]);
    return take_rows(dataset);
}

tdm_status dataset_take_imbalance(tdm_dataset *dataset, const tdm_config *config)
{
    const imbalance_options *o = options_of(config);
    const tdm_draw draw = tdm_step_draw(config);
    const int64_t batch = config->train.batch;
    row_counts was[TDM_MODALITIES] = {{0}}, is[TDM_MODALITIES] = {{0}};
    TDM_TRY(check(o, config));
    if (o->imbalance == IMBALANCE_NONE) return TDM_OK;
    if (o->imbalance == IMBALANCE_PER_BATCH) {
        show_batches(&draw, batch);
        return TDM_OK;
    }
    const tdm_status status = choose(dataset, o, config, was, is);
    if (status == TDM_OK && draw.unpaired) {
        const int64_t kept[TDM_MODALITIES] = {is[TDM_IMAGE].rows, is[TDM_TEXT].rows};
        for (int kind = 0; kind <= TDM_SAMPLE_ALL; kind++)
            dataset->taken_samples[kind] = imbalance_samples(kept, &draw, batch);
        show_epoch(dataset, &draw, batch);
    }
    for (int m = 0; m < TDM_MODALITIES; m++) {
        tdm_free(was[m].of_class);
        tdm_free(is[m].of_class);
    }
    return status;
}
