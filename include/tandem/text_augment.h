/* Augmenting captions. Not collective, thread-safe.
 *
 * Operations on texts are rows of src/text/augment_table.h, each with its options in the group augment.NAME of the
 * configuration. They work on words, before the tokenizer, or on tokens, behind it. A pipeline is the list of a view
 * (views.NAME.augment), compiled once. */
#ifndef TANDEM_TEXT_AUGMENT_H
#define TANDEM_TEXT_AUGMENT_H

#include "tandem/operation.h"
#include "tandem/reading.h"
#include "tandem/rng.h"
#include "tandem/tokenizer.h"

/* Their options join the configuration's schema. */
TDM_CHECKED tdm_status tdm_text_augment_register(void);
/* Row `index` of the table, NULL beyond the last. */
const tdm_operation *tdm_text_augment_row(size_t index);

typedef struct tdm_text_pipeline tdm_text_pipeline;
/* Of the list's entries those that are operations on texts, in their order; one on words cannot stand behind one on
 * tokens. Borrows configuration and tokenizer; without a tokenizer (NULL) the list is only checked, the pipeline
 * cannot be used. `where` ("views.masked.augment") begins messages. */
TDM_CHECKED tdm_status tdm_text_pipeline_create(const tdm_config *config, const char *where,
                                                const tdm_strings *list, const tdm_tokenizer *tokenizer,
                                                tdm_text_pipeline **pipeline);
void tdm_text_pipeline_destroy(tdm_text_pipeline **pipeline);
/* It has no operation: the caption's own tokens come out. */
bool tdm_text_pipeline_is_plain(const tdm_text_pipeline *pipeline);
/* It has operations on tokens. */
bool tdm_text_pipeline_has_tokens(const tdm_text_pipeline *pipeline);
/* It replaces tokens that are to be predicted. */
bool tdm_text_pipeline_has_targets(const tdm_text_pipeline *pipeline);
/* The files that its operations read. */
TDM_CHECKED tdm_status tdm_text_pipeline_reading(const tdm_text_pipeline *pipeline, tdm_reading *reading);

typedef struct tdm_caption { /* borrowed */
    const char *text;
    const char *const *alternative; /* [alternatives] its other wordings, NULL without */
    int64_t alternatives;
} tdm_caption;

/* Memory of one thread, kept from caption to caption. Zero-initialise. */
typedef struct tdm_text_work {
    tdm_text text, spare;
    struct text_lists *lists; /* of operations on words */
} tdm_text_work;
void tdm_text_work_free(tdm_text_work *work);

/* The caption behind the operations on words, which need no tokenizer. *text: borrowed from `work` or the caption. */
TDM_CHECKED tdm_status tdm_text_words(tdm_text_work *work, const tdm_text_pipeline *pipeline,
                                      const tdm_caption *caption, tdm_rng rng, const char **text);
/* The caption's tokens as tdm_tokenizer_encode gives them, augmented. token[context] is the caller's, *count filled
 * (>= 2); target[context] NULL, or filled for *count tokens: the token to predict, -1 where there is none. All draws
 * from `rng`, in the order of the list. */
TDM_CHECKED tdm_status tdm_text_make(tdm_text_work *work, const tdm_text_pipeline *pipeline,
                                     const tdm_caption *caption, tdm_rng rng, int64_t context, int32_t *token,
                                     int64_t *count, int32_t *target);

#endif
