/* Private to src/eval: a product in integers that decides most comparisons of scores, and proves that it may.
 *
 * The score s(x, y) of a query x and an item y is one chain of d fused multiply-adds in f32, and every rank is made of
 * comparisons s > t and s = t. An interval that holds s and not t decides both. Intervals come from rounded rows:
 *
 *     x = v + c·X + r      v: a centre of the queries, c: a scale of this row, X: integers, r: what is left over
 *     y = m + k·Y + q      m: a centre of the items
 *
 * Any centres, scales and integers are right, since the norms |r| and |q| are measured. Then
 *
 *     x·y = x·m + v·(y - m) + c·k·(X·Y)  +  c·X·q + r·(y - m),          of which the last two are not computed:
 *     |c·X·q + r·(y - m)| <= |c·X| |q| + |r| |y - m|                      (Cauchy-Schwarz)
 *
 * X·Y is a sum of integers, the same on every CPU in any order. It fits into 32 bits, and so does every part of it: of
 * int8 since d·127·255 < 2^31, of int16 since the scale keeps |X|, |Y| <= 46340. The chain rounds d times: with
 * u = 2^-24 and g(d) = d·u / (1 - d·u),
 *
 *     |s - x·y| <= g(d)·sum |x_k y_k| + what underflows <= g(d) |x| |y| + d·2^-149
 *
 * (Higham, Accuracy and Stability of Numerical Algorithms, chapter 3). All else is arithmetic in f32 on the way: the
 * shifts x·m and v·(y - m), rounded once each; their sum; float(X·Y) times k; times c, added; less and plus the error.
 * Each rounds by u of its value, and no value is larger than W = (|x| + |v| + |c·X|)·F, where F is the largest of |y|,
 * |y - m|, |k·Y|, |m| over the items. Together that is less than 8·u·W, and one more u of the error. Hence
 *
 *     error = |r| |y - m| + |c·X| |q| + slack,     slack = (g(d) |x| + 8·u·(|x| + |v| + |c·X|))·F + tiny
 *
 * with all norms 2^-18 too large, which covers the roundings of the error itself. Norms are sums in double of
 * differences in double (x - v - c·X is off by a few 2^-53 of its parts, which is added). `tiny` is far above what
 * underflow can do. A row of norm 2^60 or more, of which a chain might overflow, has an infinite residual: nothing
 * about it is decided. Comparisons with NaN are false, so that what is not proven stays open.
 *
 * What stays open is computed again by a plain sum in f32 with several accumulators, of path length p < d: that one is
 * off by (g(p) + g(d)) |x| |y|. What is open after that is computed by the chain itself. */
#ifndef TANDEM_QUICK_IMPL_H
#define TANDEM_QUICK_IMPL_H

#include "eval_impl.h"

typedef enum eval_precision { EVAL_F32, EVAL_INT16, EVAL_INT8, EVAL_PRECISIONS } eval_precision;

/* Numbers of a row. Of queries SLACK and NEAR (the error of the second look) beside the four that items have, too. */
enum { QUICK_SCALE, QUICK_SHIFT, QUICK_NORM, QUICK_RESIDUAL, QUICK_COLUMN_TERMS };
enum { QUICK_SLACK = QUICK_COLUMN_TERMS, QUICK_NEAR, QUICK_ROW_TERMS };

typedef struct eval_quick_rows { /* one group of queries */
    const int32_t *word;         /* [words][EVAL_TILE_ROWS] */
    const int32_t *start;        /* [EVAL_TILE_ROWS] what the sums begin with */
    const float *term;           /* [QUICK_ROW_TERMS][EVAL_TILE_ROWS] */
} eval_quick_rows;

typedef struct
    eval_quick_norms { /* squares: |x|², |x - centre|²; x·other, (x - centre)·other; the largest |x - centre| */
    double plain, centred, with_other, centred_with_other;
    float largest;
} eval_quick_norms;

typedef struct eval_quick_sums { /* |x - centre - scale·X|², |X|², the sum of X */
    double residual;
    int64_t square;
    int32_t sum;
} eval_quick_sums;

/* One per instruction set. The integers, and hence the intervals, may differ in nothing but the last bits of what is
 * measured in f32 and double. */
typedef struct eval_quick_kernel {
    const char *name;
    int64_t columns;      /* as of the score kernel */
    eval_precision first; /* that pays here; EVAL_F32: none does */
    int offset;           /* of the items' int8 */
    int64_t width;        /* `dot` has 4·width accumulators */
    /* low, high [EVAL_TILE_ROWS] rows of `columns`, `stride` apart: low <= the score <= high. A word holds two int16 or
     * four int8. panel [words][columns], column [QUICK_COLUMN_TERMS][columns]. */
    void (*tile[EVAL_PRECISIONS])(int64_t words, const eval_quick_rows *rows, const int32_t *panel,
                                  const float *column, int64_t stride, float *low, float *high);
    /* Places j < n (n a multiple of columns), ascending, whose interval holds the score or is no interval. None for a
     * score that is NaN, with which every comparison is false. Returns how many. */
    int64_t (*open)(int64_t n, const float *low, const float *high, float score, int32_t *place);
    /* The same across columns: places r·columns + j whose interval holds score[j]. */
    int64_t (*open_columns)(int64_t rows, int64_t stride, const float *low, const float *high,
                            const float *score, int32_t *place);
    float (*dot)(int64_t d, const float *x, const float *y);
    /* The scores of n pairs of rows. */
    void (*chains)(int64_t d, int64_t n, const float *const *x, const float *const *y, float *score);
    eval_quick_norms (*measure)(int64_t d, const float *x, const float *centre, const float *other);
    /* out[d] = (x - centre) / scale, rounded, within ±limit. */
    eval_quick_sums (*quantise)(int64_t d, const float *x, const float *centre, float scale, float limit,
                                int16_t *out);
} eval_quick_kernel;

extern const eval_quick_kernel eval_quick_kernel_generic;
#if defined(__x86_64__)
extern const eval_quick_kernel eval_quick_kernel_avx2;
extern const eval_quick_kernel eval_quick_kernel_avx512; /* with VNNI */
#endif

typedef struct eval_quick_work { /* pairs, and those that were looked at a second and a third time */
    int64_t pairs, looked, exact;
    double spent; /* on these, in the time that the kernel of f32 takes for a pair */
} eval_quick_work;

/* Integers of a gallery's panels, and of the block of queries that is here. */
typedef struct eval_quick {
    const eval_quick_kernel *kernel; /* NULL: scores are f32, and the rest is empty */
    eval_precision precision;
    bool forced; /* by TANDEM_SCORES: it does not fall back */
    int64_t d, words;
    const eval_gallery *gallery;       /* borrowed; its features, too, stay where they are */
    float *item_centre, *query_centre; /* [d] */
    double item_centre_norm, query_centre_norm, item_largest; /* |m|, |v|, F above */
    int32_t *panel;                                           /* [panels][words][columns] */
    float *column;                                            /* [panels][QUICK_COLUMN_TERMS][columns] */
    eval_buffer block;    /* of queries: for each group what eval_quick_rows has */
    eval_quick_work work; /* of this precision so far */
    eval_quick_work *account;
} eval_quick;

/* What a gallery will be asked. */
typedef struct eval_quick_plan {
    const tdm_eval_side *query; /* a sample, for its centre */
    int64_t queries;            /* of all ranks: few do not pay */
    eval_precision most;        /* what was cheaper did not pay before */
    eval_quick_work *account;   /* [EVAL_PRECISIONS] to which the work is added; NULL: to none. Borrowed */
} eval_quick_plan;

/* The cheapest precision that pays, or what TANDEM_SCORES asks for.
 * Errors: TDM_E_CONFIG for an unknown value; as tdm_cpu_detect. */
TDM_CHECKED tdm_status eval_quick_choose(int64_t d, const eval_quick_plan *plan, eval_quick *quick);
/* "int8" */
const char *eval_quick_name(const eval_quick *quick);
/* Packs the gallery in quick->precision. */
TDM_CHECKED tdm_status eval_quick_pack(const eval_gallery *gallery, const tdm_eval_side *query, int threads,
                                       eval_quick *quick);
/* Frees all but the choice. */
void eval_quick_empty(eval_quick *quick);

/* As eval_gallery_pack, in the cheapest precision: gallery->quick, or f32. plan NULL: f32. */
TDM_CHECKED tdm_status eval_gallery_pack_quick(const tdm_eval_side *side, int64_t first, bool by_id,
                                               int threads, const eval_quick_plan *plan,
                                               eval_gallery *gallery);
/* Packs the gallery in the next precision: from int8 over int16 to f32. */
TDM_CHECKED tdm_status eval_quick_fall(eval_gallery *gallery, const tdm_eval_side *query, int threads);
void eval_quick_free(eval_gallery *gallery);

/* The block of queries feature[n][d]. */
TDM_CHECKED tdm_status eval_quick_load(eval_quick *quick, int64_t n, const float *feature, int threads);
/* Intervals of group `group` against panel `panel`; -inf beyond the gallery. */
void eval_quick_tile(const eval_quick *quick, int64_t group, int64_t panel, int64_t stride, float *low,
                     float *high);
/* Narrows the interval of query i (its features x) and the item in `column`; the second time, at the latest, it is the
 * score. False: it was that already. */
bool eval_quick_narrow(const eval_quick *quick, int64_t i, const float *x, int64_t column, float *low,
                       float *high, eval_quick_work *work);
/* Narrows it until it does not hold t, or is the score. */
void eval_quick_settle(const eval_quick *quick, int64_t i, const float *x, int64_t column, float t,
                       float *low, float *high, eval_quick_work *work);
/* Scores of n pairs. */
void eval_quick_chains(const eval_quick *quick, int64_t n, const float *const *x, const float *const *y,
                       float *score, eval_quick_work *work);
/* Adds a thread's work to the whole and clears it; false when f32 would have been faster so far. */
bool eval_quick_pays(eval_quick *quick, eval_quick_work *work);

/* ---- Scores of a quick gallery as f32, packed on the way: for what is left of a block that gives up ---- */
typedef struct eval_plain { /* one thread's */
    float *room;            /* [eval_plain_floats] a group of queries and a chunk of panels */
    int64_t packed;         /* first panel that it holds; -1: none */
} eval_plain;
int64_t eval_plain_floats(const eval_gallery *gallery, int64_t panels);
/* score [EVAL_TILE_ROWS][panels·columns] of queries feature [rows][d] against panels [panel, panel + panels). */
void eval_plain_scores(const eval_gallery *gallery, int64_t rows, const float *feature, int64_t panel,
                       int64_t panels, eval_plain *plain, float *score);

#endif
