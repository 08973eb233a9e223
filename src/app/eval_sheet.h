/* Captions with the images that they found, on the page of tandem eval: an even sample, the worst failures, and what has
 * changed most since another run. */
#ifndef TANDEM_APP_EVAL_SHEET_H
#define TANDEM_APP_EVAL_SHEET_H

#include "command.h"
#include "query_file.h"
#include "query_values.h"

typedef struct eval_sheet_options {
    int64_t sample, failures, changed; /* captions of each section */
    int64_t top;                       /* images of each caption */
    const char *compare_with;          /* what --per-query wrote of another run; "": nothing */
    const char *changed_by;            /* metric; "": map */
} eval_sheet_options;

typedef struct eval_sheet_input { /* everything borrowed */
    tdm_comm *comm;
    const eval_sheet_options *options;
    const tdm_inference *inference;
    tdm_dataset *dataset;
    const tdm_embeddings *embeddings;
    const tdm_match *match;
    const query_values
        *each; /* of the captions, gathered; value NULL: neither failures nor changes are asked for */
} eval_sheet_input;

enum { EVAL_SHEET_SECTIONS = 4 };
typedef struct sheet_section sheet_section;
typedef struct eval_sheet { /* zero-initialise; eval_sheet_free */
    query_file other;       /* of another run, from `path`; of no query: none is compared with */
    tdm_text path;
    sheet_section *section; /* [EVAL_SHEET_SECTIONS] what was chosen; the same on every rank */
    int64_t *caption;       /* [captions] all of them, once each, ascending */
    int64_t captions;
    tdm_found found;
    /* on rank 0 */
    tdm_found_item *item;   /* [captions][found.k] */
    tdm_sheet_item *shown;  /* [captions][found.k] */
    tdm_found_item *own;    /* [captions] the caption itself and its image */
    tdm_sheet_query *query; /* of all sections, one behind the other */
    tdm_eval_section part[EVAL_SHEET_SECTIONS];
    int64_t parts; /* those that show something; the first is the even sample */
} eval_sheet;

/* Do failures or changes need every metric of every query? */
bool eval_sheet_needs_each(const eval_sheet_options *options);
/* Reads the other run's file, before all that takes time. Collective. */
TDM_CHECKED tdm_status eval_sheet_open(tdm_comm *comm, const eval_sheet_options *options, eval_sheet *sheet);
/* Collective. */
TDM_CHECKED tdm_status eval_sheet_make(const eval_sheet_input *input, eval_sheet *sheet);
void eval_sheet_free(eval_sheet *sheet);

#endif
