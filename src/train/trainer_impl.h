/* Private to src/train: the trainer's state, and the parts of a step.
 *
 *   trainer.c   making it, the step as named stages, the update
 *   pieces.c    towers forward and backward, piece by piece
 *   features.c  unit features over the ranks, objectives, and their gradients back to this rank's rows */
#ifndef TANDEM_TRAINER_IMPL_H
#define TANDEM_TRAINER_IMPL_H

#include "tandem/pulse.h"
#include "tandem/train.h"

/* Features of one view. b, B: room for the most rows of a step, here and on all ranks. */
typedef struct view_features {
    uint8_t needs;      /* TDM_NEED_…, 0: the view is off */
    float *raw;         /* [b][d] before normalisation */
    float *unit, *norm; /* [b][d] this rank's rows of `all`; [b] */
    float *draw;        /* [b][d] gradient of raw */
    float *dunit;       /* [b][d]; NULL on a single rank without a target: dall is all of it */
    float *all, *dall;  /* [B][d] unit features of the global batch, and their gradient */
    float *target;      /* [B][d] those of the pass without gradient; NULL: there is none, they are `all` */
    float *tokens;      /* dense tokens of the pieces that are kept; see pieces.c */
    float *dtokens;     /* of one piece */
    int64_t *seq;       /* [chunk+1] offsets of its tokens */
} view_features;

struct tdm_trainer {
    tdm_comm *comm;
    tdm_ops *ops;
    const tdm_config *config;
    tdm_params *params;
    tdm_model *model;
    tdm_losses *losses;
    tdm_optim *optim;
    tdm_reducer *reducer;
    tdm_clock clock;
    int64_t d, chunk;
    int64_t B, b, row0; /* samples of the global batch, of this rank, and its first one */
    bool keep_all;      /* activations of all pieces wait for the backward, else those of the last one */
    bool has_tokens;    /* a local objective reads dense tokens, in the backward's loop over pieces */
    tdm_span *span;     /* [spans] of the arena that hold trained rows */
    int64_t spans;
    tdm_span *part; /* [parts] of them that this rank completes the sums of */
    int64_t parts;
    view_features view[TDM_VIEWS];
    tdm_exchange exchange;

    int64_t patches; /* of an image, computed in the last step; 0: there was none */

    /* of the step that runs */
    const tdm_batch *batch;
    int64_t *sample_rows;                  /* [ranks] samples of each */
    int64_t *rows[TDM_MODALITIES];         /* [ranks] rows of each modality */
    tdm_loss_rows side[TDM_MODALITIES];    /* of the whole local batch */
    int64_t *row_key[TDM_MODALITIES];      /* [b] global sample index of this rank's rows */
    int64_t *row_sample[TDM_MODALITIES];   /* [B], behind side.sample */
    int64_t *row_identity[TDM_MODALITIES]; /* [B] */
    uint64_t *row_classes[TDM_MODALITIES]; /* [B][class_words] */
    int64_t class_words;
    int64_t row_width[TDM_MODALITIES];     /* of what a tower reads, see tdm_model_reads */
    int64_t *own_rows;                     /* [b] room */
    int64_t *all_identity;                 /* [B] of samples */
    uint64_t *all_classes;                 /* [B][class_words] of samples */
    double normalizer[TDM_LOSS_MAX_TERMS]; /* of each objective */
    double term[TDM_LOSS_MAX_TERMS], dlogit_scale;
    tdm_comm_time time;
};

/* Does view v of the modality take part? */
static inline bool view_is_on(const tdm_trainer *tr, int v, tdm_modality modality)
{
    return tr->view[v].needs != 0 && tdm_view_of((tdm_view)v)->modality == modality;
}

/* What ramps go by. */
static inline int64_t ramp_step(const tdm_trainer *tr)
{
    return (int64_t)tdm_clock_at(&tr->clock, tr->optim->step);
}

/* ---- pieces.c ---- */
/* Samples [first, first + n) of this rank, and the rows of a view in them. */
typedef struct piece {
    int64_t first, n;
    bool last; /* of the batch */
} piece;
int64_t piece_count(const tdm_trainer *tr);
piece piece_at(const tdm_trainer *tr, int64_t index);
tdm_span piece_rows(const tdm_trainer *tr, const piece *p, int v);
/* The pass of a view in this step: tdm_step_pass, and whether it sees whole images. */
tdm_pass step_pass(const tdm_trainer *tr, int v, bool target);
/* A view's rows as a tower reads them. */
tdm_tower_input piece_input(const tdm_trainer *tr, int v, tdm_span rows);
tdm_status forward_pieces(tdm_trainer *tr);
tdm_status forward_targets(tdm_trainer *tr);
/* Runs the objectives that read dense tokens on its way. */
tdm_status backward_pieces(tdm_trainer *tr);
void piece_tokens(const tdm_trainer *tr, const piece *p, int v, tdm_loss_view *view);

/* ---- features.c ---- */
tdm_status features_create(tdm_trainer *tr);
void features_destroy(tdm_trainer *tr);
/* Which rows this rank has in this step, and their keys. */
tdm_status local_rows(tdm_trainer *tr);
/* And which all ranks have, with identities and classes. Collective. */
void exchange_rows(tdm_trainer *tr);
/* Unit features of the global batch. Collective. */
void exchange_features(tdm_trainer *tr);
/* Sums of what the objectives divide by. Collective. */
tdm_status exchange_normalizers(tdm_trainer *tr);
tdm_status run_global_losses(tdm_trainer *tr);
/* Of a piece: objectives that read features, or those that read dense tokens. */
tdm_status run_local_losses(tdm_trainer *tr, const piece *p, bool tokens);
/* From the gradients of the global features to those of this rank's rows. Collective. */
void scatter_gradients(tdm_trainer *tr);

/* Sums a few values; what it takes is waiting for each other. */
void sum_values(tdm_trainer *tr, double *value, int64_t count);

#endif
