/* Replacement of words by words that mean the same (EDA: Wei and Zou, arXiv 1901.11196), as the class that TBPS-CLIP
 * ships does it: the words but stop words, each once, in random order; of each that has synonyms every occurrence
 * becomes one of them, until n have been replaced. */
#include "augment_impl.h"

static const tdm_option options[] = {TEXT_AMOUNT_OPTIONS};

static void swap(text_list *list, int64_t i, int64_t j)
{
    const text_piece kept = list->item[i];
    list->item[i] = list->item[j];
    list->item[j] = kept;
}

tdm_status text_replace_synonyms(const text_call *call, int64_t n)
{
    text_list *words = &call->lists->words, *candidates = &call->lists->candidates,
              *synonyms = &call->lists->synonyms;
    text_list_clear(candidates);
    for (int64_t i = 0; i < words->count; i++)
        if (!text_is_stop_word(text_list_at(words, i), words->item[i].bytes))
            TDM_TRY(text_list_add_sorted(candidates, text_list_at(words, i), words->item[i].bytes));
    for (int64_t i = 0, replaced = 0; i < candidates->count && replaced < n; i++) {
        swap(candidates, i, i + tdm_rng_below(call->rng, candidates->count - i)); /* a shuffle */
        const char *word = text_list_at(candidates, i);
        const size_t bytes = candidates->item[i].bytes;
        TDM_TRY(wordnet_synonyms(call->wordnet, word, bytes, synonyms));
        if (synonyms->count == 0) continue;
        const int64_t chosen = tdm_rng_below(call->rng, synonyms->count);
        TDM_TRY(text_list_replace(words, word, bytes, text_list_at(synonyms, chosen),
                                  synonyms->item[chosen].bytes));
        replaced++;
    }
    return TDM_OK;
}

static tdm_status replace_synonyms(const void *with, const text_call *call)
{
    const text_amount *o = with;
    if (tdm_rng_uniform(call->rng) >= o->p) return TDM_OK;
    TDM_TRY(text_take_apart(call->text, &call->lists->words));
    TDM_TRY(text_replace_synonyms(call, text_amount_of(o, call->lists->words.count)));
    return text_put_together(&call->lists->words, call->text);
}

const text_augment_row text_augment_replace_synonyms = {
    .operation = {.name = "replace_synonyms", TDM_OPERATION_OPTIONS(text_amount, options)},
    .words = replace_synonyms,
    .wordnet = true,
};
