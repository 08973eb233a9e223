/* One direction of a comparison of images with texts over the global batch, in blocks of a rank's own rows. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

static int64_t width_of(const direction *dir)
{
    return dir->seen.end - dir->seen.begin;
}

/* Places [*begin, *end) of the answers' index: those of this query's key that are seen. Rows ascend within a key. */
static void find_answers(const direction *dir, int64_t query, int64_t *begin, int64_t *end)
{
    const key_index *index = dir->answers;
    key_index_find(index, dir->key[query], begin, end);
    while (*begin < *end && index->pair[*begin][1] < dir->seen.begin) ++*begin;
    while (*begin < *end && index->pair[*end - 1][1] >= dir->seen.end) --*end;
}

int64_t direction_positives(const direction *dir, int64_t query)
{
    int64_t begin, end;
    find_answers(dir, query, &begin, &end);
    return end - begin;
}

int64_t direction_count(const direction *dir, int64_t first, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = first; i < first + n; i++) count += direction_positives(dir, i) > 0;
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
    dir.seen = dir.trained = (tdm_span){0, dir.answer_rows->B};
    dir.with_positive = direction_count(&dir, 0, dir.query_rows->B);
    return dir;
}

tdm_status direction_logits(const tdm_loss_call *call, const direction *dir, int64_t first, int64_t n,
                            float *logits)
{
    const int64_t d = call->d, W = width_of(dir);
    return tdm_gemm(call->nn->ops, false, true, n, W, d, expf(call->logit_scale), dir->query->all + first * d,
                    d, dir->answer->all + dir->seen.begin * d, d, 0.0f, logits, W);
}

void direction_targets(const direction *dir, int64_t first, int64_t n, float *q)
{
    const int64_t W = width_of(dir);
    memset(q, 0, sizeof(float) * (size_t)(n * W));
    for (int64_t i = 0; i < n; i++) {
        int64_t begin, end;
        find_answers(dir, first + i, &begin, &end);
        const float share = 1.0f / (float)(end - begin);
        for (int64_t k = begin; k < end; k++) q[i * W + dir->answers->pair[k][1] - dir->seen.begin] = share;
    }
}

/* dL/d(query row) = s·dlogits·answer;  dL/d(logit_scale) = sum dlogits·logit = sum query·dquery */
tdm_status direction_backward(const tdm_loss_call *call, const direction *dir, int64_t first, int64_t n,
                              float dscale, const float *dlogits, float *drow)
{
    tdm_ops *ops = call->nn->ops;
    const int64_t d = call->d, W = width_of(dir), trained = dir->trained.end - dir->trained.begin;
    const float scale = expf(call->logit_scale), *query = dir->query->all + first * d;
    float *dquery = dir->query->dall + first * d;
    double dot = 0.0;
    TDM_TRY(tdm_gemm(ops, false, false, n, d, W, scale, dlogits, W, dir->answer->all + dir->seen.begin * d, d,
                     0.0f, drow, d));
    for (int64_t k = 0; k < n * d; k++) {
        dot += (double)drow[k] * query[k];
        dquery[k] += dscale * drow[k];
    }
    *call->dlogit_scale += dscale * dot;
    if (!trained) return TDM_OK;
    return tdm_gemm(ops, true, false, trained, d, n, scale * dscale,
                    dlogits + dir->trained.begin - dir->seen.begin, W, query, d, 1.0f,
                    dir->answer->dall + dir->trained.begin * d, d);
}
