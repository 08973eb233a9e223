/* Embeddings of any origin: the sides that are ranked, by their distance. */
#include "external.h"

#include <math.h>
#include <string.h>

static tdm_status widen(const tdm_eval_side *rows, float *out)
{
    float *wide = NULL;
    TDM_TRY(tdm_eval_euclidean_rows(rows, true, &wide));
    memcpy(out, wide, (size_t)(rows->n * (rows->d + 1)) * sizeof *out);
    tdm_free(wide);
    return TDM_OK;
}

/* A piece of the gallery, as external_make_sides makes all of it. */
static tdm_status read_piece(void *context, int64_t first, int64_t n, float *feature)
{
    const external *x = context;
    const ranked *r = &x->side[GALLERY];
    row_matrix part = {.first = r->matrix.first + first, .n = n, .width = r->matrix.width, .value = feature};
    TDM_TRY(row_matrix_rows(&r->file, &part));
    if (x->distance == TDM_COSINE)
        TDM_TRY(row_matrix_normalise(external_side_option[GALLERY], x->options->side[GALLERY], &part));
    const tdm_eval_side rows = {.n = n, .d = part.width, .feature = feature};
    return x->distance == TDM_EUCLIDEAN ? widen(&rows, feature) : TDM_OK;
}

/* Its rows stay in the file. */
static void set_source(external *x, ranked *r)
{
    r->side.d += x->distance == TDM_EUCLIDEAN;
    const int64_t row_bytes = r->side.d * (int64_t)sizeof(float);
    r->source = (tdm_eval_source){.piece_rows = tdm_max_i64(1, external_most_bytes(x, GALLERY) / row_bytes),
                                  .read = read_piece,
                                  .context = x};
    r->side.source = &r->source;
}

tdm_status external_make_sides(external *x)
{
    for (int s = 0; s < SIDES; s++) {
        ranked *r = &x->side[s];
        if (x->distance == TDM_COSINE && !r->matrix.in_file)
            TDM_TRY(row_matrix_normalise(external_side_option[s], x->options->side[s], &r->matrix));
        r->side = (tdm_eval_side){.n = r->matrix.n,
                                  .d = r->matrix.width,
                                  .feature = r->matrix.value,
                                  .id = r->key,
                                  .labels = r->bits,
                                  .label_words = r->words};
        if (r->matrix.in_file) set_source(x, r);
        if (x->distance != TDM_EUCLIDEAN || r->side.source) continue;
        TDM_TRY(tdm_eval_euclidean_rows(&r->side, s == GALLERY, &r->with_norms));
        r->side.feature = r->with_norms;
        r->side.d++;
    }
    if (x->junk.same_camera) {
        x->side[QUERY].side.camera = x->junk.query_camera;
        x->side[GALLERY].side.camera = x->junk.gallery_camera + x->side[GALLERY].matrix.first;
    }
    if (x->options->qrels[0] != '\0') x->side[QUERY].side.judged = &x->qrels.judged;
    return TDM_OK;
}
