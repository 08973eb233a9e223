/* Easy data augmentation (EDA: Wei and Zou, arXiv 1901.11196) as TBPS-CLIP's ablation has it: one of the four, any, for
 * each caption. */
#include "augment_impl.h"

enum { REPLACE, INSERT, SWAP, DELETE, CHOICES };

typedef struct eda_options {
    double p, alpha;
} eda_options;

static const tdm_option options[] = {
    TDM_FLOAT_OPTION(eda_options, p, "1", 0, 1, "", "Probability that the caption is changed."),
    TDM_FLOAT_OPTION(eda_options, alpha, "0.05", 0, 1, "",
                     "alpha of replace_synonyms, insert_synonyms and swap_words, p of delete_words."),
};

static tdm_status eda(const void *with, const text_call *call)
{
    const eda_options *o = with;
    if (tdm_rng_uniform(call->rng) >= o->p) return TDM_OK;
    const int64_t chosen = tdm_rng_below(call->rng, CHOICES);
    if (chosen == DELETE) return text_delete_words(call, o->alpha, false);
    TDM_TRY(text_take_apart(call->text, &call->lists->words));
    const int64_t n = text_amount_of(&(text_amount){.alpha = o->alpha}, call->lists->words.count);
    if (chosen == REPLACE) TDM_TRY(text_replace_synonyms(call, n));
    if (chosen == INSERT) TDM_TRY(text_insert_synonyms(call, n));
    if (chosen == SWAP) text_swap_words(call, n);
    return text_put_together(&call->lists->words, call->text);
}

const text_augment_row text_augment_eda = {
    .operation = {.name = "eda", TDM_OPERATION_OPTIONS(eda_options, options)},
    .words = eda,
    .wordnet = true,
};
