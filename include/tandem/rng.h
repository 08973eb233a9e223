/* Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as
 * easy as 1, 2, 3", SC'11). A stream is named by (seed, step, sample, purpose); its values depend on
 * nothing else, hence not on ranks, threads, chunks or on what was drawn before. */
#ifndef TANDEM_RNG_H
#define TANDEM_RNG_H

#include <stdint.h>

/* What a stream is for; never renumber, or old runs change. */
enum {
    TDM_RNG_INIT = 1,    /* parameter initialisation: sample = parameter index */
    TDM_RNG_ORDER = 2,   /* epoch permutation: step = epoch */
    TDM_RNG_AUGMENT = 3, /* image augmentation: step = epoch, sample = global row; + view number * 256 */
    TDM_RNG_CAPTION = 4, /* which caption of an image */
    TDM_RNG_DROPOUT = 5, /* dropout: step = optimiser step; + site * 256 */
    TDM_RNG_TEST = 6,    /* tests and synthetic data */
    TDM_RNG_TEXT = 7,    /* text augmentation: as TDM_RNG_AUGMENT */
    TDM_RNG_MIX =
        8, /* whether a batch has mixed samples: step = epoch, sample = where the batch begins in it */
    TDM_RNG_BOOTSTRAP = 9, /* which clusters of queries are drawn again: step = resample */
    TDM_RNG_FLIP =
        10, /* signs of clusters of queries: step = block of permutations, sample = group of clusters */
    TDM_RNG_PATCHES = 11 /* which patches of an image are computed: step = optimiser step */
};

typedef struct tdm_rng {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    int used; /* values of block already given out, 4 = none left */
} tdm_rng;

/* counter (in/out of the bijection) and key -> 4 random words; the raw Philox4x32-10 function. */
void tdm_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

tdm_rng tdm_rng_at(uint64_t seed, uint64_t step, uint64_t sample, uint32_t purpose);
uint32_t tdm_rng_u32(tdm_rng *rng);
void tdm_rng_fill(tdm_rng *rng, int64_t n, uint32_t *out);   /* n of tdm_rng_u32 at once */
double tdm_rng_uniform(tdm_rng *rng);                        /* [0, 1), 32 random bits */
double tdm_rng_range(tdm_rng *rng, double low, double high); /* [low, high) */
double tdm_rng_normal(tdm_rng *rng);                         /* mean 0, variance 1 (Box-Muller) */
int64_t tdm_rng_below(tdm_rng *rng, int64_t n);              /* 0 … n-1, unbiased; n >= 1 */

/* The i-th element of a pseudo-random permutation of 0 … n-1, in O(1) memory: a Feistel network of
 * Philox rounds with cycle walking. Equal (seed, epoch) give the same permutation everywhere. */
int64_t tdm_permute(int64_t n, uint64_t seed, uint64_t epoch, int64_t i);

#endif
