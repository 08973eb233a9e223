/* Exact retrieval metrics over galleries sharded across the ranks: no Q×G matrix, no sort. */
#ifndef TANDEM_EVAL_H
#define TANDEM_EVAL_H

#include "tandem/comm.h"
#include "tandem/base.h"
#include "tandem/ops.h"

/* One side of a retrieval: this rank's rows of a list that is cut contiguously over the ranks. */
typedef struct tdm_eval_side {
    int64_t n; /* local rows */
    int64_t d;
    const float *feature; /* [n][d], unit norm by convention; borrowed */
    const int64_t *id;    /* [n] rows match when their ids are equal (pair: the image row; identity; class) */
    const uint64_t
        *labels; /* [n][label_words] multi-label bits: rows match when they share a bit; NULL = use id */
    int64_t label_words;
} tdm_eval_side;

typedef struct tdm_metrics {
    int64_t queries, gallery, without_positive;
    double recall_at_1, recall_at_5,
        recall_at_10; /* of the queries that have a positive; 0 when there is none */
    double median_rank,
        mean_rank; /* of the first positive; 1 = best. Median of an even count: mean of the two */
    double map, map_at_r, minp; /* map_at_r: AP over the first R = m places (Musgrave et al. 2020) */
} tdm_metrics;

/* score(q, g) = sum over k of q_k·g_k in f32, one fused multiply-add chain in the order of k: the same bits
 * for any number of ranks, block size and thread count. Ties: the lower global gallery row ranks first.
 * rank(q, p) = 1 + #{g : score(q,g) > score(q,p), or equal and g < p}.
 * Collective; every rank gets the same metrics. exclude_self: row i of the gallery is not an answer to query
 * i (single-modality retrieval). query_block: queries that travel at once. */
TDM_CHECKED tdm_status tdm_eval_metrics(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                        const tdm_eval_side *gallery, bool exclude_self, int64_t query_block,
                                        tdm_metrics *metrics);
/* The k best gallery rows of every local query, best first: row[n][k] global gallery rows, score[n][k]; -1
 * and 0 where the gallery is smaller than k. Same order and ties as above. Collective. */
TDM_CHECKED tdm_status tdm_eval_top_k(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                      const tdm_eval_side *gallery, int64_t k, int64_t query_block,
                                      int64_t *row, float *score);
/* The blocked score kernel, for benchmarks and tests: out[nq][ng]. Not collective. */
TDM_CHECKED tdm_status tdm_eval_scores(int64_t nq, int64_t ng, int64_t d, const float *query,
                                       const float *gallery, float *out);

/* The design's JSON object of one direction, appended to `text`. */
TDM_CHECKED tdm_status tdm_metrics_json(const tdm_metrics *metrics, tdm_text *text);

/* ---- Embedding a split with a model, and embedding files ---- */
struct tdm_model;
struct tdm_dataset;
struct tdm_tokenizer;
struct tdm_config;
typedef struct tdm_embeddings { /* this rank's contiguous piece of each list; owned, tdm_embeddings_free */
    int64_t d;
    int64_t images, image_first; /* local count and first global row */
    int64_t captions, caption_first;
    float *image;                  /* [images][d] unit norm */
    float *text;                   /* [captions][d] unit norm */
    int64_t *image_row_of_caption; /* [captions] global image row */
    int64_t *image_identity;       /* [images] */
    int64_t *caption_identity;     /* [captions] identity of its image */
} tdm_embeddings;
void tdm_embeddings_free(tdm_embeddings *embeddings);
/* Collective in partition only (each rank embeds its piece). batch: rows at once, at most the model's
 * max_rows. */
TDM_CHECKED tdm_status tdm_embed_dataset(tdm_comm *comm, struct tdm_model *model, tdm_ops *ops,
                                         const struct tdm_config *config, struct tdm_dataset *dataset,
                                         const struct tdm_tokenizer *tokenizer, int64_t batch,
                                         int64_t workers, tdm_embeddings *embeddings);
/* Both directions with positives "pair" (an image and its own captions) or "identity". Collective. */
TDM_CHECKED tdm_status tdm_eval_embeddings(tdm_comm *comm, tdm_ops *ops, const tdm_embeddings *embeddings,
                                           const char *positives, tdm_metrics *text_to_image,
                                           tdm_metrics *image_to_text);

#endif
