/* The points of an embedding in the plane, for tandem eval's page. */
#ifndef TANDEM_APP_EVAL_PICTURE_H
#define TANDEM_APP_EVAL_PICTURE_H

#include "tandem/image.h"
#include "tandem/inference.h"
#include "tandem/projection.h"
#include "tandem/report.h"

typedef struct eval_picture_options {
    const char *projections; /* names with commas between them; "": no picture */
    int64_t points;          /* at most; of more a random sample */
    double perplexity;
} eval_picture_options;

typedef struct eval_picture { /* owned; eval_picture_free */
    tdm_picture picture;      /* points into what follows */
    tdm_embedding_sample sample;
    tdm_picture_view *view; /* [views] */
    tdm_picture_point *point;
    tdm_text *text, *name, *image; /* [n] of the points */
    double **place;                /* [views][n][2] */
    tdm_text *note;                /* [views] */
    const char **group;            /* [groups] */
    tdm_text group_name, subtitle;
    int64_t *identity; /* [groups], where they are the groups */
} eval_picture;

/* TDM_E_USAGE when there is no projection of one of the names. */
TDM_CHECKED tdm_status eval_picture_check(const eval_picture_options *options);
/* Filled on rank 0. Collective. */
TDM_CHECKED tdm_status eval_picture_make(tdm_comm *comm, const tdm_inference *inference, tdm_dataset *dataset,
                                         const tdm_embeddings *embeddings,
                                         const eval_picture_options *options, eval_picture *picture);
void eval_picture_free(eval_picture *picture);
/* For --help. */
void eval_picture_explain(void);

#endif
