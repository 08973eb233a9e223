/* One direction of a comparison of images with texts over the global batch, in blocks of a rank's own rows. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

static int64_t count_with_positive(const key_index *answers, int64_t B, const int64_t *key)
{
    int64_t count = 0;
    for (int64_t i = 0; i < B; i++) {
        int64_t begin, end;
        key_index_find(answers, key[i], &begin, &end);
        count += begin < end;
    }
    return count;
}

direction direction_make(const tdm_loss_call *call, tdm_modality query, const int view[TDM_MODALITIES],
                         bool by_identity, const key_index index[TDM_MODALITIES])
{
    const tdm_modality answer = query == TDM_IMAGE ? TDM_TEXT : TDM_IMAGE;
    direction dir = {.query_rows = &call->rows[query],
                     .answer_rows = &call->rows[answer],
                     .query = &call->view[view[query]],
                     .answer = &call->view[view[answer]],
                     .answers = &index[answer]};
    dir.key = by_identity ? dir.query_rows->identity : dir.query_rows->sample;
    dir.with_positive = count_with_positive(dir.answers, dir.query_rows->B, dir.key);
    return dir;
}

tdm_status direction_logits(const tdm_loss_call *call, const direction *dir, int64_t first, int64_t n,
                            float *logits)
{
    const int64_t d = call->d, B = dir->answer_rows->B;
    return tdm_gemm(call->nn->ops, false, true, n, B, d, expf(call->logit_scale), dir->query->all + first * d,
                    d, dir->answer->all, d, 0.0f, logits, B);
}

void direction_targets(const direction *dir, int64_t first, int64_t n, float *q)
{
    const int64_t B = dir->answer_rows->B;
    memset(q, 0, sizeof(float) * (size_t)(n * B));
    for (int64_t i = 0; i < n; i++) {
        int64_t begin, end;
        key_index_find(dir->answers, dir->key[first + i], &begin, &end);
        const float share = 1.0f / (float)(end - begin);
        for (int64_t k = begin; k < end; k++) q[i * B + dir->answers->pair[k][1]] = share;
    }
}

/* dL/d(query row) = s·dlogits·answer;  dL/d(logit_scale) = sum dlogits·logit = sum query·dquery */
tdm_status direction_backward(const tdm_loss_call *call, const direction *dir, int64_t first, int64_t n,
                              float dscale, const float *dlogits, float *drow)
{
    tdm_ops *ops = call->nn->ops;
    const int64_t d = call->d, B = dir->answer_rows->B;
    const float scale = expf(call->logit_scale), *query = dir->query->all + first * d;
    float *dquery = dir->query->dall + first * d;
    double dot = 0.0;
    TDM_TRY(tdm_gemm(ops, false, false, n, d, B, scale, dlogits, B, dir->answer->all, d, 0.0f, drow, d));
    for (int64_t k = 0; k < n * d; k++) {
        dot += (double)drow[k] * query[k];
        dquery[k] += dscale * drow[k];
    }
    *call->dlogit_scale += dscale * dot;
    return tdm_gemm(ops, true, false, B, d, n, scale * dscale, dlogits, B, query, d, 1.0f, dir->answer->dall,
                    d);
}
