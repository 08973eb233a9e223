/* k of the operations of a list, drawn anew for every view; TBPS-CLIP's augmentation pool. */
#include "image_impl.h"

typedef struct pool_options {
    tdm_strings of;
    int64_t k;
    bool replace;
} pool_options;

static const tdm_option options[] = {
    TDM_STRINGS_OPTION(
        pool_options, of,
        "[\"jitter(p=1, brightness=0.1, contrast=0.1, saturation=0.1)\", \"rotate\", "
        "\"crop(interpolation=bilinear)\", \"gray(p=0.1)\", \"flip(p=0.5)\", \"erase(p=0.5)\"]",
        NULL, "The operations to choose from, each with its options; by default TBPS-CLIP's."),
    TDM_INT_OPTION(pool_options, k, "2", 1, IMAGE_POOL_MOST, "", "How many of them are applied."),
    TDM_BOOL_OPTION(
        pool_options, replace, "true",
        "The same operation may be drawn more than once, as in TBPS-CLIP's released code; false: k different ones."),
};

static tdm_status check(const char *where, const void *with)
{
    const pool_options *o = with;
    TDM_REQUIRE(o->of.count > 0, TDM_E_CONFIG, "%s: pool: augment.pool.of names no operation", where);
    TDM_REQUIRE(o->of.count <= IMAGE_POOL_MOST, TDM_E_CONFIG, "%s: pool: more than %d operations", where,
                IMAGE_POOL_MOST);
    TDM_REQUIRE(o->replace || o->k <= o->of.count, TDM_E_CONFIG,
                "%s: pool: k = %lld different operations, but augment.pool.of has %lld", where,
                (long long)o->k, (long long)o->of.count);
    return TDM_OK;
}

static const tdm_strings *list(const void *with)
{
    return &((const pool_options *)with)->of;
}

/* Without replacement: the first k of a shuffle. */
static int64_t pick(const void *with, tdm_rng *rng, int64_t n, int64_t *chosen)
{
    const pool_options *o = with;
    int64_t order[IMAGE_POOL_MOST];
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = 0; i < o->k; i++) {
        const int64_t first = o->replace ? 0 : i, at = first + tdm_rng_below(rng, n - first);
        chosen[i] = order[at];
        if (!o->replace) order[at] = order[i];
    }
    return o->k;
}

const image_augment_row image_augment_pool = {
    .operation = {.name = "pool", .check = check, TDM_OPERATION_OPTIONS(pool_options, options)},
    .list = list,
    .pick = pick,
};
