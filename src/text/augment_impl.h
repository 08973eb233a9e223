/* What the augmentations of texts share. */
#ifndef TANDEM_TEXT_AUGMENT_IMPL_H
#define TANDEM_TEXT_AUGMENT_IMPL_H

#include "tandem/text_augment.h"

/* The ids that are no words, and how many there are. */
typedef struct text_vocabulary {
    int32_t start, end, mask; /* mask: -1, none */
    int64_t size;
} text_vocabulary;

/* The tokens of a caption: start, its own, end. */
typedef struct text_tokens {
    int32_t *token;  /* [context], the first `count` are in use */
    int32_t *target; /* [context] or NULL: -1, or the token to predict */
    int64_t count, context;
} text_tokens;

/* One augmentation. A row has one of the two; what is random draws from `rng`. `options`: of operation.options, NULL
 * without. */
typedef struct text_augment_row {
    tdm_operation operation;
    /* Before the tokenizer. text: the caption as the operations before have left it, at most 16 MiB of UTF-8;
     * changed in place. spare: room for a second text, its content is of no use. */
    tdm_status (*words)(const void *options, const tdm_caption *caption, tdm_rng *rng, tdm_text *text,
                        tdm_text *spare);
    /* Behind it. */
    void (*tokens)(const void *options, const text_vocabulary *vocabulary, tdm_rng *rng, text_tokens *tokens);
    bool targets; /* sets target */
    /* Whether it works with this vocabulary; `where` begins the message. NULL: with any. */
    tdm_status (*fits)(const char *where, const void *options, const text_vocabulary *vocabulary);
} text_augment_row;

/* The next word between white space in *at; false at the end. */
bool text_next_piece(const char **at, const char **begin, size_t *bytes);

#endif
