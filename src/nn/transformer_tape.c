/* Tapes of a transformer, and the rows of them that its last block goes on with. */
#include "transformer_impl.h"

#include <string.h>

tdm_status tape_take(const tdm_transformer *tr, tdm_scratch *s, block_rows rows, tdm_keep from, tdm_keep to,
                     block_tape *k)
{
    const int64_t w = tr->width, t = rows.before;
    if (from < TDM_KEEP_INPUT && to >= TDM_KEEP_INPUT) {
        if (!k->x_in) TDM_TAKE(s, t * w, &k->x_in);
        TDM_TAKE(s, t, &k->mean1);
        TDM_TAKE(s, t, &k->rstd1);
    }
    if (from < TDM_KEEP_ATTENTION && to >= TDM_KEEP_ATTENTION) {
        TDM_TAKE_ACT(s, tr->ops, t * 3 * w, &k->qkv);
        TDM_TAKE_ACT(s, tr->ops, t * w, &k->attention);
        TDM_TAKE(s, t * tr->heads, &k->lse);
        TDM_TAKE_ACT(s, tr->ops, rows.picked * w, &k->picked_attention);
        TDM_TAKE(s, rows.picked * w, &k->picked_x);
        TDM_TAKE(s, rows.behind * w, &k->x_mid);
        TDM_TAKE(s, rows.behind, &k->mean2);
        TDM_TAKE(s, rows.behind, &k->rstd2);
    }
    if (from < TDM_KEEP_ALL && to >= TDM_KEEP_ALL) {
        TDM_TAKE_ACT(s, tr->ops, t * w, &k->n1);
        TDM_TAKE_ACT(s, tr->ops, rows.behind * w, &k->n2);
        TDM_TAKE_ACT(s, tr->ops, rows.behind * tr->mlp_width, &k->hidden);
    }
    return TDM_OK;
}

void tape_share(block_tape *k, tdm_keep level, const block_tape *shared)
{
    const block_tape own = *k;
    *k = *shared;
    if (level >= TDM_KEEP_INPUT) {
        k->x_in = own.x_in;
        k->mean1 = own.mean1;
        k->rstd1 = own.rstd1;
    }
    if (level >= TDM_KEEP_ATTENTION) {
        k->qkv = own.qkv;
        k->attention = own.attention;
        k->lse = own.lse;
        k->picked_attention = own.picked_attention;
        k->picked_x = own.picked_x;
        k->x_mid = own.x_mid;
        k->mean2 = own.mean2;
        k->rstd2 = own.rstd2;
    }
}

size_t tape_bytes(const tdm_transformer *tr, int64_t n)
{
    const size_t bytes = sizeof(tdm_transformer_tape) + sizeof(block_tape) * (size_t)tr->layers +
                         sizeof(int64_t) * (size_t)(2 * tdm_max_i64(n, 0) + 3);
    return (size_t)tdm_round_up((int64_t)bytes, 64);
}

void tape_rows(const tdm_transformer *tr, const tdm_sequences *rows, int64_t n, const int64_t *out_row,
               tdm_transformer_tape *tape)
{
    tape->rows = *rows;
    tape->n = n;
    tape->out_row = out_row;
    if (n == ALL_ROWS) return;
    int64_t *seq = (int64_t *)(tape->block + tr->layers), *place = seq + n + 2;
    for (int64_t i = 0; i <= n; i++) seq[i] = i;
    for (int64_t i = 0; i < n; i++) place[i] = out_row[i] - rows->seq[i];
    seq[n + 1] = picked_rows(n);
    place[n] = 0;
    tape->picked =
        (tdm_sequences){.t = seq[n + 1], .n_seq = n + 1, .seq = seq, .sample = rows->sample, .place = place};
}

tdm_status tapes_keep(const tdm_transformer *tr, tdm_scratch *s, int64_t t, int64_t n, int64_t first,
                      float *x, block_tape *tapes)
{
    for (int64_t i = first; i < tr->layers; i++) {
        const block_rows inner = {t, t, 0}, last = {t, picked_rows(n), picked_rows(n)};
        tapes[i] = (block_tape){.x_in = i == tr->first ? x : NULL};
        if (!runs(tr, i)) continue;
        TDM_TRY(
            tape_take(tr, s, picks(tr, n, i) ? last : inner, TDM_KEEP_NOTHING, tr->scope->level, &tapes[i]));
    }
    return TDM_OK;
}

tdm_status tapes_share(const tdm_transformer *tr, tdm_scratch *s, int64_t t, int64_t n, int64_t first,
                       block_tape *tapes)
{
    block_tape shared = {0};
    const tdm_keep from = first > 0 ? TDM_KEEP_NOTHING : tr->scope->level;
    TDM_TRY(tape_take(tr, s, (block_rows){t, t, picked_rows(n)}, from, TDM_KEEP_ALL, &shared));
    for (int64_t i = first; i < tr->layers && tr->scope->level < TDM_KEEP_ALL; i++)
        tape_share(&tapes[i], tr->scope->level, &shared);
    shared.x_mid = shared.x_in;
    for (int64_t i = 0; i < first; i++) tapes[i] = shared;
    return TDM_OK;
}

static size_t act_row_bytes(const tdm_transformer *tr)
{
    return tdm_dtype_bytes(tdm_ops_dtype(tr->ops)) * (size_t)tr->width;
}

void tape_pick(const tdm_transformer *tr, const tdm_transformer_tape *tape, const float *x, float *y)
{
    const int64_t n = tape->n, w = tr->width;
    tdm_gather_rows(tr->ops, n, w, tape->out_row, x, y);
    memset(y + n * w, 0, sizeof(float) * (size_t)((tape->picked.t - n) * w));
}

void tape_pick_act(const tdm_transformer *tr, const tdm_transformer_tape *tape, const void *x, void *y)
{
    const size_t bytes = act_row_bytes(tr), n = (size_t)tape->n;
    for (size_t i = 0; i < n; i++)
        memcpy((char *)y + i * bytes, (const char *)x + (size_t)tape->out_row[i] * bytes, bytes);
    memset((char *)y + n * bytes, 0, ((size_t)tape->picked.t - n) * bytes);
}

void tape_put_back(const tdm_transformer *tr, const tdm_transformer_tape *tape, const float *dy, float *dx)
{
    memset(dx, 0, sizeof(float) * (size_t)(tape->rows.t * tr->width));
    tdm_scatter_rows(tr->ops, tape->n, tr->width, tape->out_row, dy, dx);
}

void tape_put_back_act(const tdm_transformer *tr, const tdm_transformer_tape *tape, const void *dy, void *dx)
{
    const size_t bytes = act_row_bytes(tr);
    memset(dx, 0, (size_t)tape->rows.t * bytes);
    for (int64_t i = 0; i < tape->n; i++)
        memcpy((char *)dx + (size_t)tape->out_row[i] * bytes, (const char *)dy + (size_t)i * bytes, bytes);
}
