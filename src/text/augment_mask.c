/* Masking of tokens that are to be predicted (BERT: Devlin et al., arXiv 1810.04805): of those that are chosen 80 % become
 * the mask token, 10 % any token, 10 % stay. */
#include "augment_impl.h"

typedef struct mask_options {
    double p, mask_share, random_share;
    int64_t token;
} mask_options;

static const tdm_option options[] = {
    TDM_FLOAT_OPTION(mask_options, p, "0.15", 0, 1, "", "Probability that a token is to be predicted."),
    TDM_FLOAT_OPTION(mask_options, mask_share, "0.8", 0, 1, "", "Share of these that become the mask token."),
    TDM_FLOAT_OPTION(mask_options, random_share, "0.1", 0, 1, "",
                     "Share of these that become a random token of the vocabulary; the rest stay."),
    TDM_INT_OPTION(mask_options, token, "-1", -1, 10000000, "",
                   "Id of the mask token; -1 = the tokenizer's <|mask|>."),
};

static tdm_status check(const char *where, const void *with)
{
    const mask_options *o = with;
    TDM_REQUIRE(o->mask_share + o->random_share <= 1.0, TDM_E_CONFIG,
                "%s: mask: mask_share = %g and random_share = %g are more than 1", where, o->mask_share,
                o->random_share);
    return TDM_OK;
}

static int32_t mask_of(const mask_options *o, const text_vocabulary *vocabulary)
{
    return o->token >= 0 ? (int32_t)o->token : vocabulary->mask;
}

static tdm_status fits(const char *where, const void *with, const text_vocabulary *vocabulary)
{
    const mask_options *o = with;
    TDM_REQUIRE(o->token < vocabulary->size, TDM_E_CONFIG,
                "%s: mask: token = %lld is outside the tokenizer's vocabulary of %lld", where,
                (long long)o->token, (long long)vocabulary->size);
    TDM_REQUIRE(
        mask_of(o, vocabulary) >= 0, TDM_E_CONFIG,
        "%s: mask: the tokenizer has no mask token; set model.tokenizer_mask = true, or choose an id: mask(token=ID)",
        where);
    return TDM_OK;
}

static void mask(const void *with, const text_vocabulary *vocabulary, tdm_rng *rng, text_tokens *tokens)
{
    const mask_options *o = with;
    const int32_t masked = mask_of(o, vocabulary);
    for (int64_t i = 0; i < tokens->count; i++) {
        const int32_t token = tokens->token[i];
        if (token == vocabulary->start || token == vocabulary->end || token == masked) continue;
        const double u = tdm_rng_uniform(rng);
        if (u >= o->p) continue;
        if (tokens->target) tokens->target[i] = token;
        if (u < o->p * o->mask_share)
            tokens->token[i] = masked;
        else if (u < o->p * (o->mask_share + o->random_share))
            tokens->token[i] = (int32_t)tdm_rng_below(rng, vocabulary->size);
    }
}

const text_augment_row text_augment_mask = {
    .operation = {.name = "mask", .check = check, TDM_OPERATION_OPTIONS(mask_options, options)},
    .tokens = mask,
    .targets = true,
    .fits = fits,
};
