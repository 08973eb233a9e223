/* Samples into which another of the same batch is mixed: MixGen (arXiv 2206.08358) and ConcatGen. Both images become one,
 * the captions stand one behind the other. Which samples these are depends on their place in the global batch, hence not
 * on the number of ranks; they lie evenly over it. */
#include "loader_impl.h"

#include <string.h>

#define VIEW_NAME_TEXT(NAME, name, list) #name,
static const char *const view_name[TDM_VIEW_NAMES] = {TDM_VIEW_NAME_TABLE(VIEW_NAME_TEXT)};

static const tdm_option options[] = {
    TDM_FLOAT_OPTION(mix_options, p, "0.0", 0, 1, "", "Probability that a batch has mixed samples."),
    TDM_FLOAT_OPTION(mix_options, share, "0.1", 0, 1, "",
                     "Share of the batch into which its next sample is mixed, rounded down."),
    TDM_CHOICE_OPTION(
        mix_options, kind, "average", "average|side_by_side",
        "MixGen's mean of both images, or ConcatGen's two halves; captions one behind the other."),
    TDM_STRINGS_OPTION(
        mix_options, views, "[\"aug_1\"]", NULL,
        "Views in which samples are mixed: of images what the augmentations leave, of texts what they "
        "are given. The others keep their own sample."),
};

tdm_status tdm_loader_register(void)
{
    const tdm_option_group rows = {.prefix = "mix",
                                   .rows = options,
                                   .count = sizeof(options) / sizeof(options[0]),
                                   .bytes = sizeof(mix_options),
                                   .change = TDM_CHANGE_RUN};
    return tdm_config_register(&rows);
}

static tdm_status choose_view(const char *name, loader_mix *mix)
{
    bool known = false;
    for (int v = 0; v < TDM_VIEWS; v++)
        if (!strcmp(tdm_view_of((tdm_view)v)->text, name)) known = mix->view[v] = true;
    if (known) return TDM_OK;
    const char *near = tdm_nearest_name(name, view_name, TDM_VIEW_NAMES);
    TDM_FAIL(TDM_E_CONFIG, "mix.views: there is no view \"%.40s\"%s%s%s", name, near ? " (did you mean " : "",
             near ? near : "", near ? "?)" : "");
}

tdm_status loader_mix_create(const tdm_config *config, loader_mix *mix)
{
    const mix_options *o = config ? tdm_config_rows(config, "mix", options) : NULL;
    *mix = (loader_mix){0};
    for (int64_t i = 0; o && i < o->views.count; i++) TDM_TRY(choose_view(o->views.item[i], mix));
    if (o && o->p > 0.0)
        mix->options = o;
    else
        *mix = (loader_mix){0};
    return TDM_OK;
}

int64_t loader_mix_partner(const loader_mix *mix, uint64_t seed, int64_t epoch, int64_t first, int64_t batch,
                           int64_t at)
{
    if (!mix->options) return -1;
    tdm_rng rng = tdm_rng_at(seed, (uint64_t)epoch, (uint64_t)first, TDM_RNG_MIX);
    if (tdm_rng_uniform(&rng) >= mix->options->p) return -1;
    const int64_t mixed = (int64_t)((double)batch * mix->options->share + 1e-9);
    const bool is_mixed = (at + 1) * mixed / batch > at * mixed / batch;
    return is_mixed ? (at + 1) % batch : -1;
}
