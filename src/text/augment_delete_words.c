/* Random deletion of words (EDA: Wei and Zou, arXiv 1901.11196), as TBPS-CLIP does it: words lie between white space;
 * where none would be left, one of them is. */
#include "augment_impl.h"

typedef struct delete_options {
    double p;
    enum { ALL_WORDS, CONTENT_WORDS } words;
} delete_options;

static const tdm_option options[] = {
    TDM_FLOAT_OPTION(delete_options, p, "0.05", 0, 1, "",
                     "Probability of deleting a word, of each for itself."),
    TDM_CHOICE_OPTION(
        delete_options, words, "all", "all|content",
        "Which may be deleted: all, as the released TBPS-CLIP does; or content, all but stop words, as "
        "a draft of its paper says."),
};

/* Word number `index` alone. */
static tdm_status keep_one(const char *at, int64_t index, tdm_text *out)
{
    const char *begin;
    size_t bytes;
    for (int64_t i = 0; text_next_piece(&at, &begin, &bytes); i++)
        if (i == index) return tdm_text_append(out, begin, bytes);
    return TDM_OK;
}

tdm_status text_delete_words(const text_call *call, double p, bool content_only)
{
    const char *at = call->text->data, *begin;
    size_t bytes;
    int64_t words = 0, kept = 0;
    tdm_text *left = call->spare;
    left->length = 0;
    for (; text_next_piece(&at, &begin, &bytes); words++) {
        const bool stays = content_only && text_is_stop_word(begin, bytes);
        if (!stays && tdm_rng_uniform(call->rng) < p) continue;
        if (kept++) TDM_TRY(tdm_text_append(left, " ", 1));
        TDM_TRY(tdm_text_append(left, begin, bytes));
    }
    if (kept == words) return TDM_OK; /* the text stays as it is, white space too */
    if (kept == 0) TDM_TRY(keep_one(call->text->data, tdm_rng_below(call->rng, words), left));
    const tdm_text changed = *left;
    *left = *call->text;
    *call->text = changed;
    return TDM_OK;
}

static tdm_status delete_words(const void *with, const text_call *call)
{
    const delete_options *o = with;
    return text_delete_words(call, o->p, o->words == CONTENT_WORDS);
}

const text_augment_row text_augment_delete_words = {
    .operation = {.name = "delete_words", TDM_OPERATION_OPTIONS(delete_options, options)},
    .words = delete_words,
};
