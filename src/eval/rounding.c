/* Towers made ready; in int8 the linear layers of blocks and patches are loaded rounded, and some rows are embedded
 * before and after. */
#include "rounding_impl.h"

#include <math.h>
#include <string.h>

const char *tdm_inference_precision(const tdm_inference *inference)
{
    return inference->rounding != NULL ? "int8" : tdm_dtype_name(tdm_ops_dtype(inference->ops));
}

static tdm_status round_tower(const tdm_inference *in, tdm_modality modality)
{
    tdm_ops_round_linears(in->ops, true);
    const tdm_status status = tdm_model_load_tower(in->model, modality);
    tdm_ops_round_linears(in->ops, false);
    in->rounding[modality].is_done = status == TDM_OK;
    in->is_loaded[modality] = status == TDM_OK; /* else a part of it is rounded: it is loaded again */
    return status;
}

/* Of rows of unit norm, each off by its own rounding to f32. */
static void cosines(int64_t n, int64_t d, const float *a, const float *b, double *cosine)
{
    for (int64_t i = 0; i < n; i++) {
        double with = 0, square_a = 0, square_b = 0;
        for (int64_t k = i * d; k < (i + 1) * d; k++) {
            with += (double)a[k] * (double)b[k];
            square_a += (double)a[k] * (double)a[k];
            square_b += (double)b[k] * (double)b[k];
        }
        const double norms = sqrt(square_a * square_b);
        cosine[i] = norms > 0 ? with / norms : 0;
    }
}

static double six_places(double value)
{
    return round(value * 1e6) / 1e6;
}

static void conclude(const tdm_inference *in, tdm_modality modality, int64_t n, const double *cosine)
{
    tdm_rounding *r = &in->rounding[modality];
    double sum = 0, least = 1;
    for (int64_t i = 0; i < n; i++) {
        sum += cosine[i];
        least = fmin(least, cosine[i]);
    }
    r->rows = n;
    r->mean = n > 0 ? six_places(sum / (double)n) : 0;
    r->least = n > 0 ? six_places(least) : 0;
    if (n == 0)
        tdm_log(TDM_LOG_WARN, "int8 (%s): there are no rows to measure the %s tower's error with",
                tdm_ops_int8(in->ops), tdm_modality_name(modality));
    else
        tdm_log(TDM_LOG_INFO,
                "int8 (%s): the first %lld %s embedded in %s, too: cosine mean %.6f, least %.6f",
                tdm_ops_int8(in->ops), (long long)n, modality == TDM_IMAGE ? "images" : "texts",
                tdm_dtype_name(tdm_ops_dtype(in->ops)), r->mean, r->least);
}

/* ---- By rows at hand ---- */

tdm_status rounding_by_rows(const tdm_inference *in, tdm_modality modality, const tdm_tower_input *input)
{
    const int64_t d = tdm_model_embed_dim(in->model);
    tdm_tower_input some = *input;
    float *before = NULL, *after = NULL; /* [some.n][d] */
    double cosine[TDM_ROUNDING_ROWS];
    if (in->rounding == NULL || in->rounding[modality].is_done) return TDM_OK;
    some.n = tdm_min_i64(some.n, TDM_ROUNDING_ROWS);
    tdm_status status = TDM_ALLOC(some.n * d, &before);
    if (status == TDM_OK) status = TDM_ALLOC(some.n * d, &after);
    if (status == TDM_OK) status = inference_embed_rows(in, modality, &some, before);
    if (status == TDM_OK) status = round_tower(in, modality);
    if (status == TDM_OK) status = inference_embed_rows(in, modality, &some, after);
    if (status == TDM_OK) {
        cosines(some.n, d, before, after, cosine);
        conclude(in, modality, some.n, cosine);
    }
    tdm_free(before);
    tdm_free(after);
    return status;
}

/* ---- By a split ---- */

static int64_t rows_of(const tdm_inference *in, const tdm_dataset *dataset, tdm_modality modality)
{
    const bool reads_texts = in->tokenizer != NULL || tdm_dataset_feature_width(dataset, TDM_TEXT) > 0;
    if (modality == TDM_IMAGE) return tdm_dataset_images(dataset) - tdm_dataset_imageless(dataset);
    return reads_texts ? tdm_dataset_captions(dataset) : 0;
}

/* Rows [first, first + n) of the split by the tower as it is. */
static tdm_status embed_part(const tdm_inference *in, tdm_dataset *dataset, tdm_modality modality,
                             int64_t first, int64_t n, float *feature)
{
    tdm_embeddings part = {.d = tdm_model_embed_dim(in->model)};
    if (modality == TDM_IMAGE)
        part.images = n, part.image_first = first, part.image = feature;
    else
        part.captions = n, part.caption_first = first, part.text = feature;
    return tdm_embed_again(in->model, in->ops, &in->config, dataset, in->tokenizer, in->batch, in->workers,
                           modality, &part);
}

/* cosine[n] of the rows [first, first + n) */
static tdm_status round_by_part(const tdm_inference *in, tdm_dataset *dataset, tdm_modality modality,
                                int64_t first, int64_t n, double *cosine)
{
    const int64_t d = tdm_model_embed_dim(in->model);
    float *before = NULL, *after = NULL; /* [n][d] */
    TDM_TRY(tdm_inference_need(in, modality));
    tdm_status status = TDM_ALLOC(n * d, &before);
    if (status == TDM_OK) status = TDM_ALLOC(n * d, &after);
    if (status == TDM_OK && n > 0) status = embed_part(in, dataset, modality, first, n, before);
    if (status == TDM_OK) status = round_tower(in, modality);
    if (status == TDM_OK && n > 0) status = embed_part(in, dataset, modality, first, n, after);
    if (status == TDM_OK) cosines(n, d, before, after, cosine);
    tdm_free(before);
    tdm_free(after);
    return status;
}

static tdm_status round_towers(tdm_comm *comm, const tdm_inference *in, tdm_dataset *dataset)
{
    const int rank = tdm_comm_rank(comm), size = tdm_comm_size(comm);
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const tdm_modality modality = (tdm_modality)m;
        const int64_t n = tdm_min_i64(rows_of(in, dataset, modality), TDM_ROUNDING_ROWS);
        const int64_t first = tdm_part_begin(n, size, rank), end = tdm_part_begin(n, size, rank + 1);
        double cosine[TDM_ROUNDING_ROWS] = {0}; /* of this rank's part, then of all */
        TDM_AGREE(comm, round_by_part(in, dataset, modality, first, end - first, cosine + first));
        tdm_comm_sum_f64(comm, cosine, TDM_ROUNDING_ROWS);
        conclude(in, modality, n, cosine);
    }
    return TDM_OK;
}

tdm_status tdm_inference_prepare(tdm_comm *comm, const tdm_inference *inference, tdm_dataset *dataset,
                                 bool with_captions)
{
    if (inference->rounding != NULL) return round_towers(comm, inference, dataset);
    return tdm_comm_agree(comm, inference_need_for(inference, dataset, with_captions));
}
