/* Exact retrieval metrics over galleries sharded across the ranks: no Q×G matrix, no sort. Zero-shot
 * classification. */
#ifndef TANDEM_EVAL_H
#define TANDEM_EVAL_H

#include "tandem/comm.h"
#include "tandem/base.h"
#include "tandem/metric.h"
#include "tandem/ops.h"
#include "tandem/views.h"

/* Which gallery rows answer which queries, and how well, where neither ids nor labels say it. All of it on every rank. */
typedef struct tdm_judgements { /* owned; tdm_judgements_free */
    int64_t queries;
    int64_t *offset; /* [queries + 1] where each global query's answers begin */
    int64_t *row;    /* global gallery rows, ascending and distinct within a query */
    int32_t *grade;  /* at least 1; what nDCG gains */
} tdm_judgements;
void tdm_judgements_free(tdm_judgements *judged);

/* Rows that are read piece by piece: of a gallery that is larger than memory. */
typedef struct tdm_eval_source {
    int64_t piece_rows; /* that are in memory at once, in two copies */
    /* Local rows [first, first + n) into feature [n][d]; each piece twice for every few thousand queries. Not collective;
     * the ranks agree on its status. */
    tdm_status (*read)(void *context, int64_t first, int64_t n, float *feature);
    void *context;
} tdm_eval_source;

/* One side of a retrieval: this rank's rows of a list that is cut contiguously over the ranks. */
typedef struct tdm_eval_side {
    int64_t n; /* local rows */
    int64_t d;
    const float *feature; /* [n][d], unit norm by convention; borrowed */
    const int64_t *id;    /* [n] rows match when their ids are equal (pair: the image row; identity; class) */
    const uint64_t
        *labels; /* [n][label_words] multi-label bits: rows match when they share a bit; NULL = use id */
    int64_t label_words;
    const tdm_eval_source *source; /* of a gallery, instead of feature; NULL: all are in memory. Borrowed */
    /* [n] gallery rows of the query's id and camera are junk for it: neither positives nor in its way, as if they were not
     * there; NULL on both sides: none is. Where ids say what matches. */
    const int64_t *camera;
    const tdm_judgements *judged; /* of queries: instead of id and labels; NULL: those say it. Borrowed */
} tdm_eval_side;

/* score(q, g) = sum over k of q_k·g_k in f32, one fused multiply-add chain in the order of k: the same bits
 * for any number of ranks, block size and thread count. Ties: the lower global gallery row ranks first.
 * rank(q, p) = 1 + #{g : score(q,g) > score(q,p), or equal and g < p}.
 * Collective; every rank gets the same metrics. exclude_self: row i of the gallery is not an answer to query
 * i (single-modality retrieval). query_block: queries that travel at once. */
TDM_CHECKED tdm_status tdm_eval_metrics(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                        const tdm_eval_side *gallery, bool exclude_self, int64_t query_block,
                                        tdm_metrics *metrics);
/* Queries of a block: it keeps every thread busy for a while and is small beside the gallery. Not collective. */
int64_t tdm_eval_block_rows(const tdm_ops *ops);
/* What one may ask for beside the metrics. The same bits for any number of ranks. */
enum { TDM_RECALL_STEPS = 20, TDM_CURVE_POINTS = 64 };
/* How the pairs of a query and an item were compared, on all ranks. What came out is that of f32, bit for bit. */
typedef struct tdm_eval_work {
    int64_t pairs;
    int64_t int8, int16;   /* whose product was made in integers first */
    int64_t looked, exact; /* of those, computed again: by a plain sum in f32; by the chain */
} tdm_eval_work;
/* "100.0 % of the pairs by int8 first, 0.012 % of them again" */
void tdm_eval_work_print(const tdm_eval_work *work, char *out, size_t room);
typedef struct tdm_eval_detail { /* zero-initialise, say what is wanted; tdm_eval_detail_free */
    int64_t classes;             /* of the table by class; 0: none */
    const uint64_t *query_class; /* [local queries][class_words] bits; borrowed */
    int64_t class_words;
    bool curves;
    const tdm_metric_rows *rows; /* that are made; NULL: the table. Borrowed by the metrics, too */
    double *
        value; /* [metrics][local queries] of each query, NaN where it has no positive; borrowed room, or NULL */
    /* File of what is finished, or NULL: written once a minute and when the evaluation fails or is stopped, it lets the
     * same one go on, on any number of ranks. TDM_E_DATA when it is of another. Not with curves. */
    const char *keep;
    /* filled */
    tdm_eval_work work;
    tdm_class_metrics *per_class; /* [classes] */
    int points;                   /* the first rank at which the recall reaches 0.05, 0.10 … 1 */
    tdm_curve_point precision_recall[TDM_RECALL_STEPS];
    int scopes; /* at ranks 1, 2, 5, 10, 20 … and at the whole gallery */
    tdm_curve_point scope[TDM_CURVE_POINTS];
} tdm_eval_detail;
void tdm_eval_detail_free(tdm_eval_detail *detail);
/* detail may be NULL. Collective: all ranks want the same. */
TDM_CHECKED tdm_status tdm_eval_metrics_in_detail(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                                  const tdm_eval_side *gallery, bool exclude_self,
                                                  int64_t query_block, tdm_metrics *metrics,
                                                  tdm_eval_detail *detail);
/* Both directions of two lists, side[0] asking for side[1] and the other way round, in about the time of one: the same
 * bits as tdm_eval_metrics_in_detail of each. detail NULL or one for each. positive_bytes: memory of a rank for the
 * positives of all of its rows; where they need more, each direction is made alone and holds those of a block.
 * side[1] is packed, side[0] travels. Collective. */
TDM_CHECKED tdm_status tdm_eval_both_ways(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side side[2],
                                          int64_t query_block, int64_t positive_bytes, tdm_metrics metrics[2],
                                          tdm_eval_detail detail[2]);
/* The k best gallery rows of every local query, best first: row[n][k] global gallery rows, score[n][k]; -1
 * and 0 where the gallery is smaller than k. Same order and ties as above. Collective. */
TDM_CHECKED tdm_status tdm_eval_top_k(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                      const tdm_eval_side *gallery, int64_t k, int64_t query_block,
                                      int64_t *row, float *score);
/* The same in a gallery that is kept: packed and checked once. passes [gallery rows of this rank]: those that are not 0
 * are looked through; NULL: all. The features are copied. Collective. */
typedef struct tdm_eval_gallery tdm_eval_gallery;
TDM_CHECKED tdm_status tdm_eval_gallery_create(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *side,
                                               tdm_eval_gallery **gallery);
void tdm_eval_gallery_destroy(tdm_eval_gallery **gallery);
TDM_CHECKED tdm_status tdm_eval_gallery_top_k(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                              const tdm_eval_gallery *gallery, const uint8_t *passes,
                                              int64_t k, int64_t query_block, int64_t *row, float *score);
/* The blocked score kernel, for benchmarks and tests: out[nq][ng]. Not collective. */
TDM_CHECKED tdm_status tdm_eval_scores(int64_t nq, int64_t ng, int64_t d, const float *query,
                                       const float *gallery, float *out);

/* ---- Embedding a split with a model, and embedding files ---- */
struct tdm_model;
struct tdm_dataset;
struct tdm_tokenizer;
struct tdm_config;
typedef struct tdm_embeddings { /* this rank's contiguous piece of each list; owned, tdm_embeddings_free */
    int64_t d;
    int64_t images,
        image_first; /* local count and first place in the gallery, which holds the images that exist */
    int64_t captions, caption_first;
    float *image;       /* [images][d] unit norm */
    float *text;        /* [captions][d] unit norm */
    int64_t *image_row; /* [images] row in the split; NULL: the place in the gallery, all rows have images */
    int64_t *image_row_of_caption; /* [captions] place of its image in the gallery; -1: its row has none */
    int64_t *image_identity;       /* [images] */
    int64_t *caption_identity;     /* [captions] identity of its image */
    const char **class_name;       /* [class_count] names of the open data set; NULL: read from files */
    int64_t class_count;           /* 0: the data have no classes, the two below are NULL */
    int64_t label_words;           /* 64-bit words that hold class_count bits */
    uint64_t *image_labels;        /* [images][label_words] class bits */
    uint64_t *caption_labels;      /* [captions][label_words] of its image */
} tdm_embeddings;
/* Room for the images, captions and label words that are set, zeroed: features, rows, identities and labels. */
TDM_CHECKED tdm_status tdm_embeddings_reserve(tdm_embeddings *embeddings);
void tdm_embeddings_free(tdm_embeddings *embeddings);
/* Collective in partition only (each rank embeds its piece). batch: rows at once, at most the model's
 * max_rows. tokenizer NULL: images only, captions = 0. TDM_E_NUMERIC counts the rows of this rank that are not
 * finite and names the first sample. */
TDM_CHECKED tdm_status tdm_embed_dataset(tdm_comm *comm, struct tdm_model *model, tdm_ops *ops,
                                         const struct tdm_config *config, struct tdm_dataset *dataset,
                                         const struct tdm_tokenizer *tokenizer, int64_t batch,
                                         int64_t workers, tdm_embeddings *embeddings);

/* Fills the features of one modality again, of a model that has changed since. Not collective. */
TDM_CHECKED tdm_status tdm_embed_again(struct tdm_model *model, tdm_ops *ops, const struct tdm_config *config,
                                       struct tdm_dataset *dataset, const struct tdm_tokenizer *tokenizer,
                                       int64_t batch, int64_t workers, tdm_modality modality,
                                       tdm_embeddings *embeddings);

/* What makes a caption and an image positives of each other. One file and one row of src/eval/match_table.h
 * each. */
typedef struct tdm_match {
    const char *name; /* value of eval.positives */
    const char *help;
    /* Ids or labels of both sides of a retrieval; image_row[images] is room for ids made on the way. */
    tdm_status (*set_keys)(const tdm_embeddings *embeddings, int64_t *image_row, tdm_eval_side *image,
                           tdm_eval_side *text);
    /* The same of two images of a data set; a caption counts as its image. */
    tdm_status (*is_positive)(struct tdm_dataset *dataset, int64_t a, int64_t b, bool *positive);
} tdm_match;
const tdm_match *const *tdm_match_table(size_t *count);
/* Otherwise an error `code` that begins with `where` and lists the known names. */
TDM_CHECKED tdm_status tdm_match_find(const char *where, tdm_status code, const char *name,
                                      const tdm_match **match);

/* What is near. Of unit vectors, which these are, all give one order, but for the last bits of their norms. */
typedef enum tdm_distance { TDM_COSINE, TDM_EUCLIDEAN, TDM_DOT } tdm_distance;
#define TDM_DISTANCES "cosine|euclidean|dot"
/* |q - g|² = |q|² + |g|² - 2 q·g, and |q|² does not change a query's order: one more column makes the inner product
 * q·g - |g|²/2, which orders the gallery by rising distance. *out [side->n][side->d + 1]: tdm_free. Not collective. */
TDM_CHECKED tdm_status tdm_eval_euclidean_rows(const tdm_eval_side *side, bool of_gallery, float **out);

/* Both directions. Collective. */
TDM_CHECKED tdm_status tdm_eval_embeddings(tdm_comm *comm, tdm_ops *ops, const tdm_embeddings *embeddings,
                                           const tdm_match *match, tdm_metrics metrics[TDM_DIRECTIONS]);
/* detail: NULL, or what is wanted of each direction (classes and curves alone are looked at); fills the rest. */
TDM_CHECKED tdm_status tdm_eval_embeddings_in_detail(tdm_comm *comm, tdm_ops *ops,
                                                     const tdm_embeddings *embeddings, const tdm_match *match,
                                                     tdm_distance distance,
                                                     tdm_metrics metrics[TDM_DIRECTIONS],
                                                     tdm_eval_detail detail[TDM_DIRECTIONS]);

/* ---- Zero-shot classification ----
 * As in CLIP (Radford et al., arXiv 2103.00020, section 3.1.4; github openai/CLIP,
 * notebooks/Prompt_Engineering_for_ImageNet.ipynb): a class's feature is the normalised mean of the
 * normalised features of its prompts, one prompt per template; an image is given the classes of highest
 * cosine. */

/* Lines of a text file without blanks at both ends; blank lines, and lines that begin with #, are left out.
 */
typedef struct tdm_line_list {
    int64_t count;
    const char **line;
    int64_t *number; /* [count] in the file, from 1 */
    tdm_text text;   /* what they point into */
} tdm_line_list;
void tdm_line_list_free(tdm_line_list *list);
/* One template a line, with {} wherever the class name goes. TDM_E_FORMAT names the file and the line. */
TDM_CHECKED tdm_status tdm_templates_read(const char *path, tdm_line_list *list);
/* One name a line, as many as the data set has classes, in their order. */
TDM_CHECKED tdm_status tdm_class_names_read(const char *path, int64_t classes, tdm_line_list *list);

typedef struct tdm_prompts { /* borrowed */
    int64_t classes, templates;
    const char *const *class_name;
    const char *const *form; /* the templates */
} tdm_prompts;
/* Features of this rank's contiguous piece of the classes: feature [*n][d], unit norm, tdm_free. *cut: its
 * prompts that were longer than the context and lost their end. Collective in partition only; batch as above.
 * The bits depend on the ranks and the batch as little as those of tdm_ops do. */
TDM_CHECKED tdm_status tdm_zeroshot_classes(tdm_comm *comm, struct tdm_model *model, tdm_ops *ops,
                                            const struct tdm_config *config,
                                            const struct tdm_tokenizer *tokenizer, const tdm_prompts *prompts,
                                            int64_t batch, int64_t *n, float **feature, int64_t *cut);

typedef struct tdm_class_accuracy {
    int64_t images;       /* that belong to it, alone or among others */
    int64_t top_1, top_5; /* how many of them were found */
} tdm_class_accuracy;
typedef struct tdm_accuracy {
    int64_t images, without_class, several_classes;
    int64_t classes, classes_without_images;
    double top_1, top_5;   /* of the images that have a class */
    double mean_per_class; /* of top_1 over the classes that have images */
    tdm_class_accuracy *per_class;
} tdm_accuracy;
/* An image is found at 1 (at 5) when its best class (any of its 5 best) is one of those it belongs to; with
 * several classes that counts for each of them. Ties: the lower class first. Scores as in tdm_eval_metrics.
 * image: features and class bits of this rank's images; classes: features of its piece of the classes.
 * Collective; every rank gets the same, whatever their number. TDM_E_DATA when no image has a class. */
TDM_CHECKED tdm_status tdm_zeroshot_accuracy(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *image,
                                             const tdm_eval_side *classes, tdm_accuracy *accuracy);
void tdm_accuracy_free(tdm_accuracy *accuracy);

/* ---- Embedding files: DIR/SPLIT-00000.h5, one per rank ----
 * Root attributes: format "tandem.embedding", version 1, tool_version, the strings of tdm_embedding_info,
 * dtype ("f32" or "bf16"), embed_dim, parts, part, images_total, captions_total, image_first, caption_first,
 * classes. Data sets, chunked with Fletcher-32; bf16 is stored as the upper half of an f32, u16:
 *
 *     /image/embedding [n][embed_dim]     unit norm
 *     /image/row [n], /image/identity [n] i64, image of the source split and its identity
 *     /image/class [n][classes]           u8, multi-hot, absent without classes
 *     /class_name_bytes, /class_name_offset [classes + 1]   their names; absent in files of earlier versions
 *     /text/embedding [c][embed_dim]
 *     /text/row [c], /text/image [c], /text/identity [c]   i64, caption of the source split and its image's
 *                                       place in the gallery, -1 where its row has none
 *
 * Thumbnails and captions are not copied: the rows lead to them in the source directory. */
typedef struct tdm_embedding_info {
    char source[1024]; /* packed data directory */
    char split[32];
    char model[1024];      /* checkpoint directory */
    char model_digest[65]; /* SHA-256 of its model.h5 */
    char model_seal
        [65]; /* tdm_h5_digest of it, which is quick to compare; "": of an earlier version, no attribute */
} tdm_embedding_info;
/* Each rank writes its piece; files of an earlier, larger group of ranks are removed. Collective. */
TDM_CHECKED tdm_status tdm_embeddings_write(tdm_comm *comm, const char *dir, const tdm_embedding_info *info,
                                            tdm_dtype dtype, const tdm_embeddings *embeddings);
/* This rank's contiguous piece, however many ranks wrote. bf16 rows are widened. Collective. Errors name the
 * file: missing part, wrong format, checksum. */
TDM_CHECKED tdm_status tdm_embeddings_read(tdm_comm *comm, const char *dir, const char *split,
                                           tdm_embedding_info *info, tdm_embeddings *embeddings);
/* Is DIR/SPLIT-00000.h5 there for any split? split[bytes], unless it is set already, receives the only one.
 * TDM_E_USAGE names the splits when there are several, TDM_E_IO when there is none. Not collective. */
TDM_CHECKED tdm_status tdm_embeddings_find_split(const char *dir, char *split, size_t bytes);
/* Names of the classes, each with its NUL, appended to `names`; nothing where the files do not hold them. Not
 * collective. */
TDM_CHECKED tdm_status tdm_embeddings_class_names(const char *dir, const char *split, tdm_text *names);

#endif
