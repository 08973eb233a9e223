/* Private to src/eval: the packed gallery, the score kernels, the ring on which query blocks travel. */
#ifndef TANDEM_EVAL_IMPL_H
#define TANDEM_EVAL_IMPL_H

#include "tandem/eval.h"

/* ---- Score kernels: one per instruction set, equal bits ---- */
#define EVAL_TILE_ROWS   12 /* queries of one tile */
#define EVAL_MAX_COLUMNS 32 /* the widest panel of all kernels */

/* Groups of EVAL_TILE_ROWS that n queries make, the last one filled up. */
static inline int64_t eval_tile_groups(int64_t n)
{
    return (n + EVAL_TILE_ROWS - 1) / EVAL_TILE_ROWS;
}

typedef struct eval_kernel {
    const char *name;
    int64_t columns; /* gallery items of a panel, at most EVAL_MAX_COLUMNS */
    /* out[EVAL_TILE_ROWS][columns]: for each pair one chain fma(q_k, g_k, sum) from k = 0 on, from sum = 0.
     * query [d][EVAL_TILE_ROWS], panel [d][columns]. */
    void (*tile)(int64_t d, const float *query, const float *panel, float *out);
    /* beaten[i] += how many of score[n] (n a multiple of columns), the items in rows item_row[n], rank before
     * positive i < m: a higher score, or the same and a lower row. */
    void (*count_beating)(int64_t n, const float *score, const int64_t *item_row, int64_t m,
                          const float *positive_score, const int64_t *positive_row, int64_t *beaten);
    /* The same across columns: counter[s][columns] += how many of the rows' scores [rows][stride] are higher than
     * threshold[s][columns], for each s < slots; NaN: none. Returns one bit for each column in which a score equals a
     * threshold. */
    uint32_t (*count_columns)(int64_t rows, int64_t stride, const float *score, int64_t slots,
                              const float *threshold, int32_t *counter);
    /* Places j of score[n] (n a multiple of columns) with score >= threshold, ascending; returns how many. */
    int64_t (*select)(int64_t n, const float *score, float threshold, int32_t *place);
} eval_kernel;

extern const eval_kernel eval_kernel_generic;
#if defined(__x86_64__)
extern const eval_kernel eval_kernel_avx2;
extern const eval_kernel eval_kernel_avx512;
#endif
/* The widest that the CPU has and TANDEM_ISA allows. Errors: as tdm_cpu_detect. */
TDM_CHECKED tdm_status eval_kernel_choose(const eval_kernel **kernel);

/* Rows of [n][d] as groups [groups][d][EVAL_TILE_ROWS], zeros beyond n. out: room for that. */
void eval_pack_queries(int64_t n, int64_t d, const float *feature, float *out);

/* ---- This rank's part of the gallery, packed in panels ---- */
struct eval_quick;
typedef struct eval_gallery {
    const eval_kernel *kernel;
    int64_t n, d, panels;
    int64_t first;            /* global row of local row 0 */
    const float *feature;     /* [n][d] in the rows' order, borrowed */
    float *packed;            /* [panels][d][columns], zeros beyond n; NULL when there is `quick` */
    struct eval_quick *quick; /* packed as integers (quick_impl.h); NULL: as f32 */
    int64_t *row;             /* [panels·columns] global row in each column, -1 beyond n */
    int64_t *sorted_id;       /* [n] ids in column order, ascending; NULL when columns keep the rows' order */
    int64_t *column;          /* [n] column of each local row; NULL when columns keep the rows' order */
    const uint64_t *labels;
    int64_t label_words;
} eval_gallery;
/* Of a local row. */
static inline int64_t eval_gallery_column(const eval_gallery *gallery, int64_t local)
{
    return gallery->column == NULL ? local : gallery->column[local];
}
/* In f32. by_id: columns are ordered by (id, row), so that the positives of a query are neighbours. Not collective.
 * side is borrowed for as long as the gallery lives (labels, features). */
TDM_CHECKED tdm_status eval_gallery_pack(const tdm_eval_side *side, int64_t first, bool by_id, int threads,
                                         eval_gallery *gallery);
/* Its two halves: the order of the columns, and their features. */
TDM_CHECKED tdm_status eval_gallery_open(const tdm_eval_side *side, int64_t first, bool by_id,
                                         eval_gallery *gallery);
TDM_CHECKED tdm_status eval_gallery_pack_f32(eval_gallery *gallery, int threads);
/* One panel of the packed form: out [d][columns]. */
void eval_gallery_panel(const eval_gallery *gallery, int64_t panel, float *out);
void eval_gallery_free(eval_gallery *gallery);
/* The tile of a panel, with -inf in the columns beyond n. The gallery is packed in f32. */
void eval_gallery_tile(const eval_gallery *gallery, const float *query_group, int64_t panel, float *tile);
/* The same of a panel that the caller has packed. */
void eval_gallery_tile_of(const eval_gallery *gallery, const float *query_group, const float *packed,
                          int64_t panel, float *tile);

/* ---- A block of queries on the ring ---- */
typedef struct eval_buffer {
    unsigned char *data;
    int64_t bytes, capacity;
} eval_buffer;
TDM_CHECKED tdm_status eval_buffer_resize(eval_buffer *buffer, int64_t bytes); /* keeps the content */

typedef struct eval_ring {
    tdm_comm *comm;
    int64_t d, label_words;
    eval_buffer head;  /* the queries; see eval_queries */
    eval_buffer tail;  /* what is found out about them, filled on the way */
    eval_buffer spare; /* receives */
} eval_ring;
typedef struct eval_queries { /* the head, as pointers into it */
    int64_t n;
    int64_t *row;     /* [n] global query rows */
    int64_t *id;      /* [n] */
    uint64_t *labels; /* [n][label_words] */
    float *feature;   /* [n][d] */
} eval_queries;
/* Fills the head with the local queries order[0 … n) (global row = first + local row). */
TDM_CHECKED tdm_status eval_ring_load(eval_ring *ring, const tdm_eval_side *side, int64_t first,
                                      const int64_t *order, int64_t n);
/* The same with the local queries [begin, begin + n) as they stand. */
TDM_CHECKED tdm_status eval_ring_load_rows(eval_ring *ring, const tdm_eval_side *side, int64_t first,
                                           int64_t begin, int64_t n);
eval_queries eval_ring_queries(const eval_ring *ring);
/* Head and tail go to the next rank. After as many shifts as there are ranks they are home again.
 * Collective; `local` is this rank's status so far, on which all agree first. */
TDM_CHECKED tdm_status eval_ring_shift(eval_ring *ring, tdm_status local);
void eval_ring_free(eval_ring *ring);

/* rows[size]: the n of each rank. *first: those of the ranks before this one. Returns all. Collective. */
int64_t eval_count_rows(tdm_comm *comm, int64_t n, int64_t *rows, int64_t *first);

/* Where each rank's rows lie in the global lists. Checks both sides: equal widths everywhere, finite values.
 * Collective. */
typedef struct eval_layout {
    int64_t query_first, gallery_first; /* global row of this rank's row 0 */
    int64_t queries, gallery;           /* global counts */
    int64_t rounds;                     /* blocks of the rank that has the most queries */
    int64_t label_words;                /* 0: rows match by id */
    int64_t *query_rows;                /* [size] owned */
} eval_layout;
TDM_CHECKED tdm_status eval_layout_create(tdm_comm *comm, const tdm_eval_side *query,
                                          const tdm_eval_side *gallery, int64_t query_block,
                                          eval_layout *layout);
/* The layout of the other direction: the gallery, of which this rank has `rows`, asks for the queries. Without rounds.
 * Collective. */
TDM_CHECKED tdm_status eval_layout_turn(tdm_comm *comm, const eval_layout *layout, int64_t rows,
                                        eval_layout *turned);
/* TDM_E_NUMERIC names the first row that is not: "query", "gallery". first: global row of local row 0. */
TDM_CHECKED tdm_status eval_check_finite(const char *what, const tdm_eval_side *side, int64_t first);
void eval_layout_free(eval_layout *layout);

/* ops may be NULL: then OpenMP's default. */
int eval_threads(const tdm_ops *ops);

#endif
