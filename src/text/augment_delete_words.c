/* Random deletion of words (EDA: Wei and Zou, arXiv 1901.11196), as TBPS-CLIP does it: words lie between white space;
 * where none would be left, one of them is. */
#include "augment_impl.h"

typedef struct delete_options {
    double p;
} delete_options;

static const tdm_option options[] = {
    TDM_FLOAT_OPTION(delete_options, p, "0.05", 0, 1, "",
                     "Probability of deleting a word, of each for itself."),
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

static tdm_status delete_words(const void *with, const tdm_caption *caption, tdm_rng *rng, tdm_text *text,
                               tdm_text *spare)
{
    (void)caption;
    const delete_options *o = with;
    const char *at = text->data, *begin;
    size_t bytes;
    int64_t words = 0, kept = 0;
    spare->length = 0;
    for (; text_next_piece(&at, &begin, &bytes); words++) {
        if (tdm_rng_uniform(rng) < o->p) continue;
        if (kept++) TDM_TRY(tdm_text_append(spare, " ", 1));
        TDM_TRY(tdm_text_append(spare, begin, bytes));
    }
    if (kept == words) return TDM_OK; /* the text stays as it is, white space too */
    if (kept == 0) TDM_TRY(keep_one(text->data, tdm_rng_below(rng, words), spare));
    const tdm_text changed = *spare;
    *spare = *text;
    *text = changed;
    return TDM_OK;
}

const text_augment_row text_augment_delete_words = {
    .operation = {.name = "delete_words", TDM_OPERATION_OPTIONS(delete_options, options)},
    .words = delete_words,
};
