/* Exchange of two words (EDA: Wei and Zou, arXiv 1901.11196), as the class that TBPS-CLIP ships does it. */
#include "augment_impl.h"

enum { TRIES = 3 }; /* of a fourth the result is not used there */

static const tdm_option options[] = {TEXT_AMOUNT_OPTIONS};

void text_swap_words(const text_call *call, int64_t n)
{
    text_list *words = &call->lists->words;
    if (words->count == 0) return;
    for (int64_t k = 0; k < n; k++) {
        const int64_t i = tdm_rng_below(call->rng, words->count);
        int64_t j = i;
        for (int try = 0; try < TRIES && j == i; try++) j = tdm_rng_below(call->rng, words->count);
        const text_piece kept = words->item[i];
        words->item[i] = words->item[j];
        words->item[j] = kept;
    }
}

static tdm_status swap_words(const void *with, const text_call *call)
{
    const text_amount *o = with;
    if (tdm_rng_uniform(call->rng) >= o->p) return TDM_OK;
    TDM_TRY(text_take_apart(call->text, &call->lists->words));
    text_swap_words(call, text_amount_of(o, call->lists->words.count));
    return text_put_together(&call->lists->words, call->text);
}

const text_augment_row text_augment_swap_words = {
    .operation = {.name = "swap_words", TDM_OPERATION_OPTIONS(text_amount, options)},
    .words = swap_words,
};
