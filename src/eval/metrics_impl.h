/* Private to src/eval: the two rounds of a block of queries; see metrics.c. */
#ifndef TANDEM_METRICS_IMPL_H
#define TANDEM_METRICS_IMPL_H

#include "quick_impl.h"

/* ---- Positives (positives.c) ---- */
typedef struct found_positive { /* one record of the first round */
    int64_t row;
    float score;
    int32_t query; /* place in the block */
} found_positive;

typedef struct positives { /* of n queries, as pointers into one buffer */
    int64_t total;
    int64_t *offset; /* [n+1] of each query's positives */
    int64_t *row;    /* [total] best first */
    int64_t *beaten; /* [total] items that beat it */
    float *score;    /* [total] */
} positives;
/* Turns records, which came in any order, into positives in `arranged`, which is empty. TDM_E_NUMERIC names the row of
 * a score that is not finite. */
TDM_CHECKED tdm_status positives_arrange(const eval_buffer *found, int64_t n, int threads,
                                         eval_buffer *arranged);
positives positives_in(const eval_buffer *arranged, int64_t n);

/* ---- Queries with many positives (many.c) ----
 * With few, each positive is compared with every score, in vectors. Beyond, each score is looked up in the query's
 * sorted positives, through equal bins over their range. */
struct score_bins;
typedef struct many_positives { /* zero-initialise; many_free */
    positives positives;
    int64_t n;
    struct score_bins *bins; /* [n] of the queries with many; NULL: none has */
    int32_t *first;          /* their tables */
    int64_t *histogram;      /* m + 1 per query: items by their place among its positives */
} many_positives;
bool many_has(const positives *p, int64_t query);
TDM_CHECKED tdm_status many_open(positives p, int64_t n, int threads, many_positives *many);
/* score[n] of `query` against the items in rows item_row; n is a multiple of the kernel's columns, place[n] is room.
 * shared: other threads add to the same query. */
void many_add(const many_positives *many, const eval_kernel *kernel, int64_t query, int64_t n,
              const float *score, const int64_t *item_row, int32_t *place, bool shared);
/* Whether the place of an item among the positives of `query` depends on where between low and high its score is. */
bool many_between(const many_positives *many, int64_t query, float low, float high, int64_t item_row);
/* Adds what was counted to `beaten`. */
void many_finish(const many_positives *many, int threads);
void many_free(many_positives *many);

/* ---- What one direction's rankings add up to (figures.c, detail.c) ---- */
typedef struct
    eval_tally { /* what the details are made of, from the queries of this rank until they are summed */
    int64_t gallery, queries; /* queries that have a positive */
    int64_t *found,
        *recalled; /* [gallery + 1] by rank: positives, and their shares of their queries' positives */
    uint64_t *query_class; /* [all queries][class_words] */
    double *chosen;        /* [all queries] room */
} eval_tally;
TDM_CHECKED tdm_status detail_create(tdm_eval_detail *detail, int64_t gallery, eval_tally *tally);
void detail_free(eval_tally *tally);
void detail_add(eval_tally *tally, const tdm_ranking *ranking);
/* Collective. */
TDM_CHECKED tdm_status detail_make_curves(tdm_comm *comm, eval_tally *tally, tdm_eval_detail *detail);
/* Collective: the classes of all queries. */
TDM_CHECKED tdm_status detail_open_classes(tdm_comm *comm, const eval_layout *layout, tdm_eval_detail *detail,
                                           eval_tally *tally);
/* value [all queries] of one metric, NaN without a positive. */
void detail_by_class(const eval_tally *tally, const eval_layout *layout, const double *value, int metric,
                     tdm_eval_detail *detail);

typedef struct eval_figures { /* figures_free */
    const eval_layout *layout;
    int64_t n;                   /* queries of this rank */
    tdm_eval_detail *detail;     /* NULL: none is asked for */
    const tdm_metric_rows *rows; /* NULL: the table */
    eval_tally tally;
    double *value; /* [metrics][n], NaN where a query has no positive */
    double *all;   /* [queries of all ranks] room */
} eval_figures;
TDM_CHECKED tdm_status figures_open(const eval_layout *layout, int64_t n, tdm_eval_detail *detail,
                                    eval_figures *figures);
/* ranking->m = 0: the query has no positive. Each local query once, in any order. */
void figures_add(eval_figures *figures, int64_t query, const tdm_ranking *ranking);
/* Collective. */
TDM_CHECKED tdm_status figures_finish(tdm_comm *comm, eval_figures *figures, tdm_metrics *metrics);
void figures_free(eval_figures *figures);

/* ---- The gallery's rows as queries of the other direction (columns.c) ---- */
typedef struct eval_columns { /* zero-initialise; columns_free. A "query" is a column of the packed gallery */
    eval_buffer found;        /* first round: records, .row is of the side that travels */
    eval_buffer arranged;     /* afterwards: the positives of each column */
    positives positives;
    many_positives many;
    int64_t *slot; /* [panels + 1] vectors of thresholds before each panel */
    float *
        threshold; /* [slots][columns] scores of the columns' positives; NaN: it has no further one, or many */
    uint32_t *lanes; /* [panels] one bit for each column with many positives */
} eval_columns;

/* ---- The gallery, whole or piece by piece (pieces.c) ---- */
typedef struct eval_pieces { /* zero-initialise; eval_pieces_close */
    const tdm_eval_side *side;
    int64_t count;  /* the same on every rank; 1 when the gallery is in memory */
    int64_t loaded; /* the piece that is packed, -1: none */
    float *feature; /* [rows of a piece][d] of what is read */
} eval_pieces;
/* Collective. The side is borrowed. */
TDM_CHECKED tdm_status eval_pieces_open(tdm_comm *comm, const tdm_eval_side *gallery, eval_pieces *pieces);
/* Rows of a piece, valid until the next; *first: local row of the first of them. */
TDM_CHECKED tdm_status eval_pieces_rows(eval_pieces *pieces, int64_t piece, int64_t *first,
                                        tdm_eval_side *rows);
/* Packs a piece in place of what is in `gallery`, unless it is there. gallery_first: global row of local row 0. */
TDM_CHECKED tdm_status eval_pieces_load(eval_pieces *pieces, int64_t piece, int64_t gallery_first, bool by_id,
                                        int threads, const eval_quick_plan *plan, eval_gallery *gallery);
void eval_pieces_close(eval_pieces *pieces);
/* tdm_eval_top_k of a gallery with a source. Collective. */
TDM_CHECKED tdm_status eval_top_k_in_pieces(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                            const tdm_eval_side *gallery, int64_t k, int64_t query_block,
                                            int64_t *row, float *score);

/* ---- Rows that are cut evenly (even.c) ---- */
typedef struct eval_even {  /* even_free */
    tdm_eval_side side;     /* as it was given, or cut anew */
    tdm_eval_detail detail; /* the same of what belongs to its rows */
    bool moved;
    int64_t *rows, *want; /* [size] as given, and cut evenly */
    float *feature;       /* owned, of the rows that were moved */
    int64_t *id, *camera;
    uint64_t *labels, *query_class;
    double *value;
} eval_even;
/* detail: of the side's rows as queries, or NULL. Collective. */
TDM_CHECKED tdm_status even_open(tdm_comm *comm, const tdm_eval_side *side, const tdm_eval_detail *detail,
                                 eval_even *even);
/* What was filled goes to the caller's detail, values to the ranks that have the queries, if it is done. Collective. */
void even_give_back(tdm_comm *comm, bool done, const eval_even *even, tdm_eval_detail *detail);
void even_free(eval_even *even);

/* ---- How far it is (progress.c) ---- */
typedef struct eval_progress {
    int64_t done, steps;
    double begin_s, told_s, line_s; /* a line at most every line_s seconds */
} eval_progress;
void eval_progress_begin(int64_t steps, eval_progress *progress);
void eval_progress_step(eval_progress *progress);

/* ---- What is finished, in a file (keep.c) ---- */
typedef struct eval_keep { /* zero-initialise; eval_keep_close */
    const char *path;      /* NULL: nothing is kept */
    char digest[65];       /* of what is evaluated, and how */
    uint8_t *done;         /* [queries of this rank] */
    int64_t finished;      /* queries of all ranks that are in the file */
    double written_s;
} eval_keep;
/* Reads what is there into `figures` and done. TDM_E_DATA: the file is of another evaluation. Collective, as all. */
TDM_CHECKED tdm_status eval_keep_open(tdm_comm *comm, const char *path, eval_figures *figures,
                                      const tdm_eval_side *query, const tdm_eval_side *gallery,
                                      bool exclude_self, int threads, eval_keep *keep);
/* The file is the old or the new one. */
TDM_CHECKED tdm_status eval_keep_write(tdm_comm *comm, eval_keep *keep, const eval_figures *figures);
/* The same when it is time. */
TDM_CHECKED tdm_status eval_keep_step(tdm_comm *comm, eval_keep *keep, const eval_figures *figures);
void eval_keep_close(eval_keep *keep);

/* ---- One evaluation ---- */
typedef struct evaluation {
    tdm_comm *comm;
    int threads;
    bool exclude_self;
    const tdm_judgements *judged;            /* NULL: ids or labels say what matches */
    int64_t *gallery_camera;                 /* [all gallery rows]; NULL: no rule of cameras. Owned */
    const struct tdm_reordering *reordering; /* NULL: the plain order */
    eval_pieces pieces;
    eval_quick_plan plan;
    eval_quick_work work[EVAL_PRECISIONS]; /* of this rank */
    eval_gallery gallery;                  /* the piece that is here */
    int64_t gallery_first;                 /* global row of this rank's row 0 */
    bool by_id;                            /* the gallery's columns are in the order of the ids */
    eval_progress progress;
    eval_ring ring;
    float *packed_query;   /* [groups][d][EVAL_TILE_ROWS] of the block that is here */
    eval_columns *columns; /* NULL: the gallery's rows are no queries. Then neither exclude_self nor judged */
} evaluation;

/* First round: appends this rank's positives of the block to the tail, and to the columns. */
TDM_CHECKED tdm_status metrics_collect(evaluation *eval);
/* Second round: adds to `beaten` the items of this rank's part of the gallery, and to the columns' the queries of the
 * block. The tail holds positives. */
TDM_CHECKED tdm_status metrics_count(evaluation *eval);

/* Scores of one group of queries of the block against a chunk of panels: what is between the product and the
 * counting. */
typedef struct score_chunk {
    int64_t first, rows;   /* queries [first, first + rows) of the block, rows <= EVAL_TILE_ROWS */
    int64_t panel, panels; /* panels [panel, panel + panels) of the gallery */
    int64_t n;             /* their columns; -inf beyond the gallery */
    float *score;          /* [EVAL_TILE_ROWS][n] */
} score_chunk;

/* ---- With a quick gallery (quick_chunk.c) ---- */
typedef struct quick_scorer { /* one thread's, while a block is here */
    eval_quick_work work;
    float *high;    /* [EVAL_TILE_ROWS][n] beside the chunk's scores, which are the lower ends */
    int32_t *place; /* [n or EVAL_TILE_ROWS * EVAL_MAX_COLUMNS] room */
    eval_plain plain;
} quick_scorer;
/* Fills the chunk with numbers that compare with every positive as the scores do. False: f32 would be faster. */
bool quick_score(const evaluation *eval, const eval_queries *queries, const positives *p,
                 const many_positives *many, const score_chunk *chunk, quick_scorer *scorer);
/* This piece of the gallery and those to come in the next precision. */
TDM_CHECKED tdm_status metrics_fall(evaluation *eval, const tdm_eval_side *sample);
/* Fills the scores of records whose rows are here. */
void quick_score_found(const evaluation *eval, const eval_queries *queries, found_positive *found,
                       int64_t count);

/* The records of the visiting block that this rank has just found. */
TDM_CHECKED tdm_status columns_take(evaluation *eval, const eval_queries *queries,
                                    const found_positive *found, int64_t count);
/* Between the rounds. */
TDM_CHECKED tdm_status columns_arrange(evaluation *eval);
/* Whether any of these panels' columns has a positive. */
bool columns_have(const evaluation *eval, int64_t panel, int64_t panels);
/* Vectors of counters that panels [panel, panel + panels) need. */
int64_t columns_slots(const eval_columns *columns, int64_t panel, int64_t panels);
/* The chunk's rows as items of the columns. counter [columns_slots][columns]: how many beat each threshold. */
void columns_count(const evaluation *eval, const eval_queries *queries, const score_chunk *chunk,
                   int32_t *counter);
/* Adds the counters of these panels to `beaten` and clears them. Threads may do so at once. */
void columns_add(const evaluation *eval, int64_t panel, int64_t panels, int32_t *counter);
/* Behind the second round. */
void columns_figures(const evaluation *eval, eval_figures *figures);
void columns_free(eval_columns *columns);

#endif
