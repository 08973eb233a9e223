#include "tandem/rng.h"

#include <math.h>

/* Philox4x32-10: constants and round function from Salmon et al., SC'11, section 3.4 and table 2. */
void tdm_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* A stream's key is the Philox image of its name, so that streams with near names share nothing; its own
 * counter then starts at 0. */
tdm_rng tdm_rng_at(uint64_t seed, uint64_t step, uint64_t sample, uint32_t purpose)
{
    tdm_rng rng = {.used = 4};
    const uint32_t seed_key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t name[4] = {(uint32_t)step, (uint32_t)(step >> 32) ^ (purpose * 0x9E3779B9u),
                              (uint32_t)sample, (uint32_t)(sample >> 32) ^ purpose};
    uint32_t mixed[4];
    tdm_philox(name, seed_key, mixed);
    rng.key[0] = mixed[0];
    rng.key[1] = mixed[1];
    rng.counter[2] = mixed[2];
    rng.counter[3] = mixed[3];
    return rng;
}

uint32_t tdm_rng_u32(tdm_rng *rng)
{
    if (rng->used == 4) {
        tdm_philox(rng->counter, rng->key, rng->block);
        if (++rng->counter[0] == 0) rng->counter[1]++;
        rng->used = 0;
    }
    return rng->block[rng->used++];
}

void tdm_rng_fill(tdm_rng *rng, int64_t n, uint32_t *out)
{
    int64_t i = 0;
    while (i < n && rng->used < 4) out[i++] = tdm_rng_u32(rng);
    for (; i + 4 <= n; i += 4) {
        tdm_philox(rng->counter, rng->key, out + i);
        if (++rng->counter[0] == 0) rng->counter[1]++;
    }
    while (i < n) out[i++] = tdm_rng_u32(rng);
}

double tdm_rng_uniform(tdm_rng *rng)
{
    return tdm_rng_u32(rng) * 0x1p-32;
}

double tdm_rng_range(tdm_rng *rng, double low, double high)
{
    return low + (high - low) * tdm_rng_uniform(rng);
}

double tdm_rng_normal(tdm_rng *rng)
{
    double u = (tdm_rng_u32(rng) + 0.5) * 0x1p-32; /* in (0, 1): log is finite */
    double angle = tdm_rng_uniform(rng) * 6.283185307179586;
    return sqrt(-2.0 * log(u)) * cos(angle);
}

int64_t tdm_rng_below(tdm_rng *rng, int64_t n)
{
    uint64_t bound = (uint64_t)n;
    uint64_t reject = (0 - bound) % bound; /* 2^64 mod n: values below it would be too frequent */
    for (;;) {
        uint64_t high = tdm_rng_u32(rng);
        uint64_t value = high << 32 | tdm_rng_u32(rng);
        if (value >= reject) return (int64_t)(value % bound);
    }
}

int64_t tdm_permute(int64_t n, uint64_t seed, uint64_t epoch, int64_t i)
{
    /* A balanced Feistel network over 2·half bits is a bijection of [0, 4^half); values outside [0, n) are
     * walked on until they fall inside, fewer than four steps on average. */
    int half = 1;
    while (((uint64_t)1 << (2 * half)) < (uint64_t)n) half++;
    const uint32_t mask = ((uint32_t)1 << half) - 1;
    tdm_rng named = tdm_rng_at(seed, epoch, 0, TDM_RNG_ORDER);
    uint64_t value = (uint64_t)i;
    do {
        uint32_t left = (uint32_t)(value >> half), right = (uint32_t)value & mask;
        for (uint32_t round = 0; round < 6; round++) {
            const uint32_t counter[4] = {right, round, named.counter[2], named.counter[3]};
            uint32_t random[4];
            tdm_philox(counter, named.key, random);
            uint32_t next = left ^ (random[0] & mask);
            left = right;
            right = next;
        }
        value = (uint64_t)left << half | right;
    } while (value >= (uint64_t)n);
    return (int64_t)value;
}
