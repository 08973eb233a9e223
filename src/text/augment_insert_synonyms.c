/* Insertion of words that mean the same as others of the caption (EDA: Wei and Zou, arXiv 1901.11196), as the class
 * that TBPS-CLIP ships does it. */
#include "augment_impl.h"

enum { TRIES = 9 }; /* of a tenth the result is not used there */

static const tdm_option options[] = {TEXT_AMOUNT_OPTIONS};

/* Of the words but stop words any one; -1: there are none. */
static int64_t draw_word(const text_list *words, tdm_rng *rng)
{
    int64_t content = 0, i = 0;
    for (i = 0; i < words->count; i++)
        content += !text_is_stop_word(text_list_at(words, i), words->item[i].bytes);
    if (content == 0) return -1;
    int64_t before = tdm_rng_below(rng, content);
    for (i = 0; text_is_stop_word(text_list_at(words, i), words->item[i].bytes) || before-- > 0;) i++;
    return i;
}

/* Before any word, never behind the last. */
static tdm_status insert_one(const text_call *call)
{
    text_list *words = &call->lists->words, *synonyms = &call->lists->synonyms;
    for (int try = 0; try < TRIES; try++) {
        const int64_t i = draw_word(words, call->rng);
        if (i < 0) return TDM_OK;
        TDM_TRY(wordnet_synonyms(call->wordnet, text_list_at(words, i), words->item[i].bytes, synonyms));
        if (synonyms->count == 0) continue;
        const int64_t chosen = tdm_rng_below(call->rng, synonyms->count);
        const int64_t at = tdm_rng_below(call->rng, words->count);
        return text_list_insert(words, at, text_list_at(synonyms, chosen), synonyms->item[chosen].bytes);
    }
    return TDM_OK;
}

tdm_status text_insert_synonyms(const text_call *call, int64_t n)
{
    for (int64_t i = 0; i < n; i++) TDM_TRY(insert_one(call));
    return TDM_OK;
}

static tdm_status insert_synonyms(const void *with, const text_call *call)
{
    const text_amount *o = with;
    if (tdm_rng_uniform(call->rng) >= o->p) return TDM_OK;
    TDM_TRY(text_take_apart(call->text, &call->lists->words));
    TDM_TRY(text_insert_synonyms(call, text_amount_of(o, call->lists->words.count)));
    return text_put_together(&call->lists->words, call->text);
}

const text_augment_row text_augment_insert_synonyms = {
    .operation = {.name = "insert_synonyms", TDM_OPERATION_OPTIONS(text_amount, options)},
    .words = insert_synonyms,
    .wordnet = true,
};
