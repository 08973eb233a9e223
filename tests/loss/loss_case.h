/* One global batch of features for the objectives, by the trainer's own code: used by loss_probe and by the test that
 * walks the table of objectives.
 *
 * The HDF5 form of a case, B samples, features of width d (specification of loss_probe):
 *
 *     attributes step, total_steps i64; config (text, optional: over the configuration file)
 *     /view/image.NAME, /view/text.NAME [B][d] f32         features before normalisation
 *     /target/image.NAME, /target/text.NAME [B][d] f32     of the pass without gradient, optional
 *     /rows/image, /rows/text                              which samples have this modality, optional: all. Their
 *                                                          numbers, ascending, or [B] of 0 and 1. Views and targets
 *                                                          may then hold only these rows; where they hold all B, the
 *                                                          others are ignored and their gradients are 0
 *     /identity [B] i64, /class [B][C] u8, /logit_scale f32
 *     /param/NAME                                          initial values of parameters of objectives, optional
 *     /tokens/image.NAME [rows][t][d], /tokens/text.NAME [total][d] f32, /seq/text.NAME [rows+1] i64,
 *     /token/text.NAME, /predict/text.NAME [total] i32     dense tokens, for objectives that read them
 *
 * and what comes out: /loss f64, /term/NAME f64, /grad/view/…, /grad/tokens/…, /grad/logit_scale f64, /grad/param/NAME. */
#ifndef TANDEM_TESTS_LOSS_CASE_H
#define TANDEM_TESTS_LOSS_CASE_H

#include "tandem/tandem.h"

typedef struct case_view {
    float *feature;   /* [rows][d], NULL: not given */
    float *target;    /* [rows][d] or NULL */
    float *tokens;    /* [total][d] or NULL */
    int64_t total;    /* dense tokens of all rows */
    int64_t *seq;     /* [rows+1] of a text's tokens */
    int32_t *token;   /* [total] ids, NULL: zeros */
    int32_t *predict; /* [total], -1: none */
    /* results, owned */
    float *dfeature, *dtokens;
} case_view;

typedef struct case_param {
    char name[120];
    int64_t size;
    int ndim;
    int64_t shape[4];
    float *value; /* [size] */
    float *grad;  /* [size], a result */
    bool trained; /* a result */
} case_param;

typedef struct loss_case { /* owned; loss_case_free */
    tdm_config config;
    int64_t B, d, step, total_steps;
    int64_t rows[TDM_MODALITIES];
    int64_t *member[TDM_MODALITIES]; /* [rows] ascending, NULL: all B */
    bool whole[TDM_MODALITIES];      /* the file's views hold all B rows: gradients are written so, too */
    int64_t *identity;               /* [B] */
    int64_t classes;
    uint8_t *bits; /* [B][classes] */
    float logit_scale;
    int64_t image_tokens; /* dense tokens of an image; 0: none are given */
    case_view view[TDM_VIEWS];
    case_param *param; /* [params] of objectives: given values, or after a run all of them */
    int64_t params;
    bool values_stay; /* the given values, even where an objective would project them before a step */
    /* results */
    double loss, dlogit_scale;
    int terms;
    char term_name[TDM_LOSS_MAX_TERMS][64];
    double term[TDM_LOSS_MAX_TERMS];
} loss_case;

/* Reads a case; `config` stays the caller's to fill before, and the file's own text is loaded over it. */
TDM_CHECKED tdm_status loss_case_read(const char *path, loss_case *c);
/* Runs the objectives that c->config switches on, on all ranks of comm; every rank gets the same results. */
TDM_CHECKED tdm_status loss_case_run(tdm_comm *comm, loss_case *c);
TDM_CHECKED tdm_status loss_case_write(const char *path, const loss_case *c);
void loss_case_free(loss_case *c);
case_param *loss_case_param(loss_case *c, const char *name);

#endif
