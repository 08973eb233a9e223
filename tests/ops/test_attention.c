/* Attention against plain loops: sequence lengths around the block sizes, causal and not, packed batches. */
#include "ops_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct attention_case {
    int64_t heads, head_dim;
    int64_t n_seq, lengths[8];
} attention_case;

static const attention_case cases[] = {
    {1, 1, 1, {1}},
    {2, 3, 4, {0, 1, 10, 7}},
    {2, 64, 5, {10, 0, 33, 1, 50}},
    {1, 20, 2, {197, 48}},
    {2, 9, 6, {63, 64, 65, 127, 49, 47}},
    {1, 5, 3, {255, 257, 300}},
    {1,
     2,
     8,
     {2, 4, 15, 16, 17, 31, 32, 128}}, /* whole vectors and one more or less, two blocks of queries */
    {1, 4, 3, {129, 192, 256}},
    {2, 33, 3, {18, 3, 34}}, /* widths of all tiles, with rests */
    {1, 80, 2, {18, 6}},
    {1, 88, 1, {21}},
    {1, 96, 1, {20}},
    {1, 130, 1, {9}},
};
/* 600 keys: three blocks. The plain loops take length² head_dim², hence one small head. */
static const attention_case long_case = {1, 3, 2, {600, 5}};

static const int64_t sample[] = {3, 1, (int64_t)1 << 40, 7, 0, 12, 5, 2};
static const tdm_attention_dropout dropped = {.p = 0.3, .seed = 5, .step = 9, .site = 6144, .sample = sample};

/* dropout: NULL, none */
static void check_attention(tdm_ops *ops, const attention_case *c, bool causal,
                            const tdm_attention_dropout *dropout)
{
    tdm_dtype dtype = tdm_ops_dtype(ops);
    int64_t seq[9], t = fill_offsets(c->n_seq, c->lengths, seq), width = c->heads * c->head_dim;
    void *qkv = random_act(dtype, t * 3 * width, 1, 1.0), *dout = random_act(dtype, t * width, 2, 1.0);
    void *out = random_act(dtype, t * width, 3, 1.0), *out_ref = random_act(dtype, t * width, 3, 1.0);
    void *dqkv = random_act(dtype, t * 3 * width, 4, 1.0),
         *dqkv_ref = random_act(dtype, t * 3 * width, 4, 1.0);
    float *lse = random_f32(c->heads * t, 5, 1.0), *lse_ref = random_f32(c->heads * t, 5, 1.0);
    tdm_attention_forward(ops, c->n_seq, seq, c->heads, c->head_dim, causal, dropout, qkv, out, lse);
    attention_forward_ref(dtype, c->n_seq, seq, c->heads, c->head_dim, causal, dropout, qkv, out_ref,
                          lse_ref);
    check_act("attention out", TOL_ATTENTION, dtype, t * width, out, out_ref);
    check_f32("attention lse", TOL_ATTENTION, TDM_F32, c->heads * t, lse, lse_ref);
    /* backward of both from the same stored forward pass */
    tdm_attention_backward(ops, c->n_seq, seq, c->heads, c->head_dim, causal, dropout, qkv, out_ref, lse_ref,
                           dout, dqkv);
    attention_backward_ref(dtype, c->n_seq, seq, c->heads, c->head_dim, causal, dropout, qkv, out_ref,
                           lse_ref, dout, dqkv_ref);
    check_act("attention dqkv", TOL_ATTENTION, dtype, t * 3 * width, dqkv, dqkv_ref);
    free(qkv), free(dout), free(out), free(out_ref), free(dqkv), free(dqkv_ref), free(lse), free(lse_ref);
}

static void all_cases(tdm_ops *ops)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (int causal = 0; causal < 2; causal++) {
            check_attention(ops, &cases[i], causal, NULL);
            check_attention(ops, &cases[i], causal, &dropped);
        }
}

static void test_cases(void **state)
{
    (void)state;
    for_each_context(all_cases);
}

static void long_sequence(tdm_ops *ops)
{
    for (int causal = 0; causal < 2; causal++)
        check_attention(ops, &long_case, causal, causal ? &dropped : NULL);
}

static void test_long_sequence(void **state)
{
    (void)state;
    for_each_context(long_sequence);
}

/* Scores in the hundreds: the maximum must be subtracted, or exp overflows. Causal, the largest is often one that the
 * query does not see. */
static void check_large_scores(tdm_ops *ops, bool causal)
{
    const attention_case c = {2, 16, 2, {90, 20}};
    int64_t seq[3], t = fill_offsets(c.n_seq, c.lengths, seq), width = c.heads * c.head_dim;
    tdm_dtype dtype = tdm_ops_dtype(ops);
    void *qkv = random_act(dtype, t * 3 * width, 1, 12.0), *out = random_act(dtype, t * width, 2, 1.0);
    void *out_ref = random_act(dtype, t * width, 2, 1.0), *dqkv = random_act(dtype, t * 3 * width, 3, 1.0);
    float *lse = random_f32(c.heads * t, 5, 1.0), *lse_ref = random_f32(c.heads * t, 5, 1.0);
    tdm_attention_forward(ops, c.n_seq, seq, c.heads, c.head_dim, causal, NULL, qkv, out, lse);
    attention_forward_ref(dtype, c.n_seq, seq, c.heads, c.head_dim, causal, NULL, qkv, out_ref, lse_ref);
    tdm_attention_backward(ops, c.n_seq, seq, c.heads, c.head_dim, causal, NULL, qkv, out, lse, out_ref,
                           dqkv);
    for (int64_t i = 0; i < t * width; i++) CHECK_TRUE(isfinite(act_get_ref(dtype, out, i)));
    for (int64_t i = 0; i < t * 3 * width; i++) CHECK_TRUE(isfinite(act_get_ref(dtype, dqkv, i)));
    check_f32("large lse", TOL_ATTENTION, TDM_F32, c.heads * t, lse, lse_ref);
    free(qkv), free(out), free(out_ref), free(dqkv), free(lse), free(lse_ref);
}

static void large_scores(tdm_ops *ops)
{
    check_large_scores(ops, false);
    check_large_scores(ops, true);
}

/* What is not a number stays one: in the rows that see it, and not in those before. */
static void not_a_number(tdm_ops *ops)
{
    enum { LENGTH = 70, AT = 66, DIM = 8 };
    const int64_t seq[] = {0, LENGTH};
    const tdm_dtype dtype = tdm_ops_dtype(ops);
    void *qkv = random_act(dtype, LENGTH * 3 * DIM, 1, 1.0), *out = random_act(dtype, LENGTH * DIM, 2, 1.0);
    float *lse = random_f32(LENGTH, 5, 1.0);
    act_set_ref(dtype, qkv, AT * 3 * DIM + DIM, (double)NAN); /* in a key */
    tdm_attention_forward(ops, 1, seq, 1, DIM, true, NULL, qkv, out, lse);
    for (int64_t row = 0; row < LENGTH; row++) {
        CHECK_TRUE(isfinite(act_get_ref(dtype, out, row * DIM)) == (row < AT));
        CHECK_TRUE(isfinite(lse[row]) == (row < AT));
    }
    free(qkv), free(out), free(lse);
}

static void test_not_a_number(void **state)
{
    (void)state;
    for_each_context(not_a_number);
}

static void test_large_scores(void **state)
{
    (void)state;
    for_each_context(large_scores);
}

/* Packed in one call or alone: bit for bit the same, whatever its neighbours, and whether the rows are so many that they
 * are written past the caches. */
static void check_packing(tdm_ops *ops, const attention_case *c, const tdm_attention_dropout *dropout)
{
    int64_t seq[9], t = fill_offsets(c->n_seq, c->lengths, seq), width = c->heads * c->head_dim;
    tdm_dtype dtype = tdm_ops_dtype(ops);
    void *qkv = random_act(dtype, t * 3 * width, 1, 1.0), *dout = random_act(dtype, t * width, 2, 1.0);
    const size_t bytes = tdm_dtype_bytes(dtype) * (size_t)(t * width);
    void *out = aligned_alloc(64, bytes / 64 * 64 + 64), *dqkv = aligned_alloc(64, bytes / 64 * 192 + 192);
    void *alone = random_act(dtype, t * width, 3, 1.0), *dalone = random_act(dtype, t * 3 * width, 4, 1.0);
    float *lse = random_f32(c->heads * t, 5, 1.0), *lse_alone = random_f32(c->heads * t, 6, 1.0);
    tdm_attention_forward(ops, c->n_seq, seq, c->heads, c->head_dim, true, dropout, qkv, out, lse);
    tdm_attention_backward(ops, c->n_seq, seq, c->heads, c->head_dim, true, dropout, qkv, out, lse, dout,
                           dqkv);
    for (int64_t i = 0; i < c->n_seq; i++) {
        const int64_t one[2] = {0, c->lengths[i]}, at = seq[i] * width;
        tdm_attention_dropout own = dropped;
        const tdm_attention_dropout *its = dropout ? &own : NULL;
        own.sample = sample + i;
        tdm_attention_forward(ops, 1, one, c->heads, c->head_dim, true, its, act_at(dtype, qkv, 3 * at),
                              act_at_mutable(dtype, alone, at), lse_alone);
        tdm_attention_backward(ops, 1, one, c->heads, c->head_dim, true, its, act_at(dtype, qkv, 3 * at),
                               act_at(dtype, alone, at), lse_alone, act_at(dtype, dout, at),
                               act_at_mutable(dtype, dalone, 3 * at));
    }
    CHECK_MEM_EQ(out, alone, bytes);
    CHECK_MEM_EQ(dqkv, dalone, 3 * bytes);
    free(qkv), free(dout), free(out), free(dqkv), free(alone), free(dalone), free(lse), free(lse_alone);
}

static void packing(tdm_ops *ops)
{
    const attention_case few = {3, 24, 4, {19, 77, 5, 33}},
                         many = {8, 64, 8, {60, 77, 81, 19, 64, 96, 70, 77}};
    check_packing(ops, &few, NULL);
    check_packing(ops, &few, &dropped);
    check_packing(ops, &many, NULL);
}

static void test_packing(void **state)
{
    (void)state;
    for_each_context(packing);
}

/* Values of one and scores of zero: an output is the share of a row's keys that stay, times 1/(1-p). */
static double kept_share(tdm_ops *ops, const tdm_attention_dropout *dropout, int64_t length, float *out)
{
    const int64_t seq[] = {0, length};
    float *qkv = random_f32(length * 3 * 2, 1, 0.0), *lse = random_f32(length * 2, 2, 0.0);
    double sum = 0.0;
    for (int64_t row = 0; row < length; row++) qkv[row * 6 + 4] = qkv[row * 6 + 5] = 1.0f;
    tdm_attention_forward(ops, 1, seq, 2, 1, false, dropout, qkv, out, lse);
    for (int64_t i = 0; i < length * 2; i++) sum += out[i];
    free(qkv), free(lse);
    return sum * (1.0 - dropout->p) / (double)(2 * length);
}

static void test_masks(void **state)
{
    (void)state;
    enum { LENGTH = 300 };
    tdm_ops *ops = make_ops(TDM_F32, 2);
    float first[LENGTH * 2], other[LENGTH * 2];
    /* 180,000 draws: five standard deviations are 0.0054 */
    CHECK_NEAR(kept_share(ops, &dropped, LENGTH, first), 0.7, 0.0054);
    CHECK_NEAR(kept_share(ops, &dropped, LENGTH, other), 0.7, 0.0054);
    CHECK_MEM_EQ(first, other, sizeof(first));
    int heads = 0, rows = 0;
    for (int i = 0; i < LENGTH; i++) {
        heads += first[2 * i] == first[2 * i + 1];
        rows += i > 0 && first[2 * i] == first[2 * i - 2];
    }
    CHECK_LT(heads, LENGTH / 4); /* of some 210 keys that stay, the same number of both heads: 1 in 28 */
    CHECK_LT(rows, LENGTH / 4);
    tdm_attention_dropout changed[4] = {dropped, dropped, dropped, dropped};
    changed[0].seed++, changed[1].step++, changed[2].site++, changed[3].sample++;
    for (int k = 0; k < 4; k++) {
        CHECK_NEAR(kept_share(ops, &changed[k], LENGTH, other), 0.7, 0.0054);
        int same = 0;
        for (int i = 0; i < LENGTH * 2; i++) same += first[i] == other[i];
        CHECK_LT(same, LENGTH / 2);
    }
    tdm_ops_destroy(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),        cmocka_unit_test(test_long_sequence),
        cmocka_unit_test(test_large_scores), cmocka_unit_test(test_packing),
        cmocka_unit_test(test_masks),        cmocka_unit_test(test_not_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
