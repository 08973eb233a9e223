/* What the augmentations of texts share. */
#ifndef TANDEM_TEXT_AUGMENT_IMPL_H
#define TANDEM_TEXT_AUGMENT_IMPL_H

#include "tandem/text_augment.h"
#include "wordnet.h"

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

/* What the operations on words keep from caption to caption; each leaves them as they are. */
struct text_lists {
    text_list words, candidates, synonyms;
};

/* One caption before an operation on words. */
typedef struct text_call {
    const tdm_caption *caption; /* as the data set has it */
    tdm_rng *rng;
    tdm_text *
        text; /* the caption as the operations before have left it, at most 16 MiB of UTF-8; changed in place */
    tdm_text *spare; /* room for a second text, its content is of no use */
    struct text_lists *lists;
    const wordnet *wordnet; /* NULL, unless the row asks for it */
} text_call;

/* One augmentation. A row has `words` or `tokens`; what is random draws from `rng`. `options`: of operation.options,
 * NULL without. */
typedef struct text_augment_row {
    tdm_operation operation;
    /* Before the tokenizer. */
    tdm_status (*words)(const void *options, const text_call *call);
    bool wordnet; /* it looks words up */
    /* Behind the tokenizer. */
    void (*tokens)(const void *options, const text_vocabulary *vocabulary, tdm_rng *rng, text_tokens *tokens);
    bool targets; /* sets target */
    /* Whether it works with this vocabulary; `where` begins the message. NULL: with any. */
    tdm_status (*fits)(const char *where, const void *options, const text_vocabulary *vocabulary);
} text_augment_row;

/* The next word between white space in *at; false at the end. */
bool text_next_piece(const char **at, const char **begin, size_t *bytes);
/* The text's words become the items of `words`; and the text becomes those, with one blank between. */
TDM_CHECKED tdm_status text_take_apart(const tdm_text *text, text_list *words);
TDM_CHECKED tdm_status text_put_together(const text_list *words, tdm_text *text);
/* A word that says little by itself ("the"), upper or lower case: src/text/stop_words.inc. */
bool text_is_stop_word(const char *word, size_t bytes);

/* How many words are changed: `n`, or a share of the caption's. */
typedef struct text_amount {
    double p, alpha;
    int64_t n;
} text_amount;
#define TEXT_AMOUNT_OPTIONS                                                                                  \
    TDM_FLOAT_OPTION(text_amount, p, "1", 0, 1, "", "Probability that the caption is changed."),             \
        TDM_FLOAT_OPTION(                                                                                    \
            text_amount, alpha, "0.05", 0, 1, "",                                                            \
            "Number of changes as a share of the caption's words, rounded down, at least 1 (0 = none)."),    \
        TDM_INT_OPTION(text_amount, n, "0", 0, 1000, "changes", "Number of changes; 0 = alpha says it.")
int64_t text_amount_of(const text_amount *amount, int64_t words);

/* The four operations of EDA. Of call->lists->words, which they change, and of the text. */
TDM_CHECKED tdm_status text_replace_synonyms(const text_call *call, int64_t n);
TDM_CHECKED tdm_status text_insert_synonyms(const text_call *call, int64_t n);
void text_swap_words(const text_call *call, int64_t n);
TDM_CHECKED tdm_status text_delete_words(const text_call *call, double p, bool content_only);

#endif
