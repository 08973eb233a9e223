/* Another wording of the caption, for instance its translation to French and back (TBPS-CLIP, arXiv 2308.10045). The
 * data set has the wordings. */
#include "augment_impl.h"

typedef struct back_translate_options {
    double p;
} back_translate_options;

static const tdm_option options[] = {
    TDM_FLOAT_OPTION(back_translate_options, p, "0.1", 0, 1, "",
                     "Probability that another wording takes the caption's place, any of those that it has."),
};

static tdm_status back_translate(const void *with, const text_call *call)
{
    const back_translate_options *o = with;
    const tdm_caption *caption = call->caption;
    if (tdm_rng_uniform(call->rng) >= o->p || caption->alternatives == 0) return TDM_OK;
    const char *wording = caption->alternative[tdm_rng_below(call->rng, caption->alternatives)];
    const char *at = wording, *begin;
    size_t bytes;
    if (!text_next_piece(&at, &begin, &bytes)) return TDM_OK; /* an empty one */
    call->text->length = 0;
    return tdm_text_append(call->text, wording, strlen(wording));
}

const text_augment_row text_augment_back_translate = {
    .operation = {.name = "back_translate", TDM_OPERATION_OPTIONS(back_translate_options, options)},
    .words = back_translate,
};
