/* CLIP: an image tower, a text tower, logit_scale. Parameters under open_clip's state-dict names. */
#ifndef TANDEM_MODEL_H
#define TANDEM_MODEL_H

#include "tandem/config.h"
#include "tandem/nn.h"
#include "tandem/ops.h"
#include "tandem/params.h"
#include "tandem/views.h"

typedef struct tdm_model tdm_model;

/* ---- Kinds of towers, by the configuration ---- */

/* Lets every tower and head add its own keys to model.image or model.text. Once, before the first tdm_config_init. */
TDM_CHECKED tdm_status tdm_model_register(void);
/* Names of the heads but "none", in table order; NULL beyond the last. */
const char *tdm_model_head_name(size_t index);
/* Rules between the model's keys. Errors: TDM_E_CONFIG names the key; an unknown tower names the nearest. */
TDM_CHECKED tdm_status tdm_model_check(const tdm_config *config);
/* What a tower embeds. */
typedef enum tdm_tower_reads { TDM_READS_PIXELS, TDM_READS_TOKENS, TDM_READS_FEATURES } tdm_tower_reads;
/* width: values of one row: height · width · 3 bytes, or f32 features; 0 for tokens, whose rows differ. */
TDM_CHECKED tdm_status tdm_model_reads(const tdm_config *config, tdm_modality modality,
                                       tdm_tower_reads *reads, int64_t *width);

/* Rows and columns of the places of an image that have positions of their own; 0 where the tower has none. */
void tdm_model_grid(const tdm_config *config, int64_t *rows, int64_t *columns);

/* Patches of an image that a pass of a vit computes: all, or those that patch dropout leaves (tdm_pass). */
int64_t tdm_model_patches(const tdm_config *config, const tdm_pass *pass);
/* Which: fills place[kept] with ascending numbers below `patches`, as (seed, step, sample) of the pass decide. */
void tdm_patches_draw(const tdm_pass *pass, int64_t sample, int64_t patches, int64_t kept, int64_t *place);

/* The row of the learned context [model.text.context_tokens][width], which stands between the start token and the
 * caption of every text. */
#define TDM_CONTEXT_ROW "text.context"

/* ---- A model ---- */

/* Declares the rows in `params` (empty before; owned by the caller and outliving the model): image tower,
 * text tower, logit_scale; each tower's head behind it. config is read during the call only. max_rows: the most
 * samples that one forward call will see. train: room for activations and gradients. The caller then allocates params, fills them, and
 * calls tdm_model_load. Errors: TDM_E_CONFIG names the key. */
TDM_CHECKED tdm_status tdm_model_create(const tdm_config *config, tdm_ops *ops, bool train, int64_t max_rows,
                                        tdm_params *params, tdm_model **model);
void tdm_model_destroy(tdm_model **model);
int64_t tdm_model_embed_dim(const tdm_model *model);

/* What backward makes again inside a transformer's blocks, instead of keeping it. */
typedef enum tdm_recompute { TDM_RECOMPUTE_NOTHING, TDM_RECOMPUTE_MLP, TDM_RECOMPUTE_BLOCK } tdm_recompute;
/* What a training step has at once. It goes through the `batch` samples in chunks of `chunk`: of each chunk
 * first the image views go forward, then the text views, each in one call. Backward goes through the chunks
 * from the last one, and within a chunk in the opposite order. */
typedef struct tdm_model_plan {
    int64_t batch, chunk;
    int64_t views[TDM_MODALITIES];
    bool tokens[TDM_MODALITIES]; /* calls that wait for their backward give dense tokens, too */
    bool keep_all;               /* the calls of all chunks wait for their backward at once; else those of one
                                    chunk: of the last, then of each chunk that is run forward again */
    tdm_recompute blocks;
} tdm_model_plan;
/* Steps from now on are such, and have room for their activations beside that for single calls of max_rows
 * (address space: only what a step touches becomes resident). Before: nothing is made again. After the load;
 * nothing may wait for its backward. Errors: TDM_E_CONFIG when a tower cannot make its blocks again. */
TDM_CHECKED tdm_status tdm_model_reserve(tdm_model *model, const tdm_model_plan *plan);

/* Adds value[count] over the ranks, in place, the same bits everywhere. */
typedef void tdm_rank_sum(void *context, double *value, int64_t count);
/* Why the tower needs all of the local batch in one call while training ("model.image.batch_stats is …"); NULL:
 * it does not. */
const char *tdm_model_whole_batch(const tdm_model *model, tdm_modality modality);
/* Can the towers make blocks again (tdm_recompute)? */
bool tdm_model_recomputes(const tdm_model *model);
/* For towers that normalise by the statistics of the global batch (tdm_model_whole_batch): training forward and backward calls then sum over the ranks, so that every rank must make the same calls in
 * the same order, each with its whole share of the batch. NULL (the start): the batch is this rank's. */
void tdm_model_set_rank_sum(tdm_model *model, tdm_rank_sum *sum, void *context);
/* Training calls of tdm_model_forward (not of tdm_model_embed) note how they would move the running
 * statistics (as torch.nn.BatchNorm2d with momentum 0.1, call by call). apply: move them, after the
 * optimiser's update; else forget what was noted, before a step. */
void tdm_model_update_statistics(tdm_model *model, bool apply);

/* Packs the arena's weights for the matmuls, and reads which rows are trained (lr_scale); after every change
 * of either. */
TDM_CHECKED tdm_status tdm_model_load(tdm_model *model);
/* The same of one tower, where the other one is not used. */
TDM_CHECKED tdm_status tdm_model_load_tower(tdm_model *model, tdm_modality modality);
/* The same when only the weights of trained rows have changed since the last load: after an optimiser step.
 */
TDM_CHECKED tdm_status tdm_model_load_trained(tdm_model *model);

/* Is any row of the tower or its head trained? If not, forward keeps no activations and backward does nothing. */
bool tdm_model_trains(const tdm_model *model, tdm_modality modality);

/* Do two training passes of one input differ, because the tower or its head draws random numbers? */
bool tdm_model_is_random(const tdm_model *model, tdm_modality modality);

/* Does the tower give dense tokens? */
bool tdm_model_has_tokens(const tdm_model *model, tdm_modality modality);
/* What a tower embeds: n images, n captions packed by seq, or n rows of features. */
typedef struct tdm_tower_input {
    int64_t n;
    const uint8_t *image;  /* [n][height][width][3] u8, or NULL */
    const int32_t *token;  /* packed */
    const int64_t *seq;    /* [n+1]; seq[0] may be > 0 (a slice of a batch): token is indexed by it */
    const float *feature;  /* [n][width] */
    const int64_t *sample; /* [n] keys of dropout, also of patches; may be NULL without dropout */
} tdm_tower_input;
/* What a tower gives, before normalisation; the same struct carries the gradients back. Dense tokens are those
 * of all images or captions one behind the other: of an image its class token and its patches row by row, as far as
 * the pass computes them; of a caption its tokens. */
typedef struct tdm_tower_output {
    float *pooled; /* f32 [n][embed_dim] */
    /* f32 [tdm_model_token_rows][tdm_model_token_dim], projected like the pooled ones, but no head sees them.
     * NULL: not wanted, of a gradient zero. */
    float *tokens;
} tdm_tower_output;
/* Width of dense tokens: embed_dim, unless model.image.feature_dim or model.text.feature_dim says otherwise. */
int64_t tdm_model_token_dim(const tdm_model *model, tdm_modality modality);
/* Rows of dense tokens; 0 when the tower has none. */
int64_t tdm_model_token_rows(const tdm_model *model, tdm_modality modality, const tdm_tower_input *input,
                             const tdm_pass *pass);
/* The most that one row has. */
int64_t tdm_model_most_tokens(const tdm_model *model, tdm_modality modality);
/* Fills output; keeps no activations. */
TDM_CHECKED tdm_status tdm_model_embed(tdm_model *model, tdm_modality modality, const tdm_tower_input *input,
                                       const tdm_pass *mode, const tdm_tower_output *output);
/* The same and keeps, according to the plan, activations for one tdm_model_backward of the same modality and
 * what that reads of the input: image, token or feature. Several forwards of both modalities may wait for their
 * backwards, which come in the opposite order. */
TDM_CHECKED tdm_status tdm_model_forward(tdm_model *model, tdm_modality modality,
                                         const tdm_tower_input *input, const tdm_pass *mode,
                                         const tdm_tower_output *output);
/* Makes the gradients of the rows that begin in a stretch of the arena count as zero: the next backward of
 * their tower writes what is not cleared, and must come before they are read. */
void tdm_model_clear_gradients(tdm_model *model, tdm_span stretch);
/* Of the last tdm_model_forward that still waits, which was of this modality; a gradient of tokens only where
 * that gave tokens. Adds the gradients of trained rows to params->grad, and computes nothing below the lowest of
 * them. Frozen rows above it may receive something too, which means nothing. final_from may be NULL. */
TDM_CHECKED tdm_status tdm_model_backward(tdm_model *model, tdm_modality modality,
                                          const tdm_tower_output *gradient, tdm_final_from *final_from,
                                          void *context);

/* ---- Layers of transformers: what a probe leaves out or moves ---- */

/* Their number in a tower; 0: it has none. */
int64_t tdm_model_layers(const tdm_model *model, tdm_modality modality);
/* Rows [begin, end) of the arena that belong to parts (TDM_BLOCK_…) of a layer, counted from 0. */
tdm_span tdm_model_part(const tdm_model *model, tdm_modality modality, int64_t layer, unsigned part);
/* Which parts of a layer are left out; at first those of model.*.drop. */
unsigned tdm_model_left_out(const tdm_model *model, tdm_modality modality, int64_t layer);
/* Changes that for calls of tdm_model_embed. What was left out at the last load must stay so. */
void tdm_model_leave_out(tdm_model *model, tdm_modality modality, int64_t layer, unsigned part);
/* Makes branches that model.*.drop leaves out add nothing wherever they are computed, by zeros in the weights and
 * biases of their output layers. Returns how many. For export: params as declared by tdm_model_create, filled. */
int64_t tdm_model_silence(tdm_params *params);

/* Drops what waits for its backward. */
void tdm_model_forget(tdm_model *model);

/* The learned log inverse temperature, as a row of the arena. */
float *tdm_model_logit_scale(tdm_model *model);
float *tdm_model_dlogit_scale(tdm_model *model);
/* Clamps logit_scale to [0, logit_scale_max], unless it is frozen. After each optimiser step. */
void tdm_model_clamp(tdm_model *model);

/* Bytes of a training run, as of the last load, but for the optimiser's. Gradients: where rows are trained, as
 * others never become resident; each of an optimiser's moments takes as much. packed: the weights as the matmuls want them. activations: at most, of such a
 * step. */
typedef struct tdm_model_memory {
    int64_t weights, gradients, packed, activations;
} tdm_model_memory;
TDM_CHECKED tdm_status tdm_model_memory_estimate(const tdm_model *model, const tdm_model_plan *plan,
                                                 int64_t tokens_per_caption, tdm_model_memory *memory);
/* The most that activations have taken since the last tdm_model_reserve. */
int64_t tdm_model_activation_bytes(const tdm_model *model);
/* Matmul FLOP of one forward of n samples in such a pass; of captions that hold `tokens` tokens in total and have
 * `tokens_squared` as the sum of their squared lengths (causal attention counts half). No padding is counted.
 * Backward is twice this, times tdm_model_backward_share. */
double tdm_model_tower_flop(const tdm_config *config, tdm_modality modality, const tdm_pass *pass, int64_t n,
                            int64_t tokens, int64_t tokens_squared);
/* Which share of a tower's backward frozen rows leave to do, 1 when all is trained, 0 when nothing is: by the
 * linear layers or convolutions of its blocks. As of the last load. */
double tdm_model_backward_share(const tdm_model *model, tdm_modality modality);

#endif
