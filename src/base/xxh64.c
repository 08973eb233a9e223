/* XXH64, Yann Collet's 64-bit hash: four lanes of multiply and rotate, faster than memory is read on any processor
 * without instructions of its own. Against accidents, not against forgers. */
#include "tandem/base.h"

#include <endian.h>
#include <string.h>

#define P1 UINT64_C(11400714785074694791)
#define P2 UINT64_C(14029467366897019727)
#define P3 UINT64_C(1609587929392839161)
#define P4 UINT64_C(9650029242287828579)
#define P5 UINT64_C(2870177450012600261)

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static uint64_t word(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

static uint64_t half_word(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static uint64_t round_of(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * P2, 31) * P1;
}

static uint64_t merge(uint64_t hash, uint64_t lane)
{
    return (hash ^ round_of(0, lane)) * P1 + P4;
}

/* Whole stripes of 32 bytes; *at moves behind them. */
static uint64_t hash_stripes(const unsigned char **at, size_t stripes)
{
    uint64_t a = P1 + P2, b = P2, c = 0, d = 0 - P1;
    const unsigned char *p = *at;
    for (size_t i = 0; i < stripes; i++, p += 32) {
        a = round_of(a, word(p));
        b = round_of(b, word(p + 8));
        c = round_of(c, word(p + 16));
        d = round_of(d, word(p + 24));
    }
    *at = p;
    const uint64_t hash = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
    return merge(merge(merge(merge(hash, a), b), c), d);
}

uint64_t tdm_xxh64(const void *data, size_t bytes)
{
    const unsigned char *at = data;
    uint64_t hash = bytes >= 32 ? hash_stripes(&at, bytes / 32) : P5;
    hash += bytes;
    size_t left = bytes % 32;
    for (; left >= 8; left -= 8, at += 8) hash = rotate(hash ^ round_of(0, word(at)), 27) * P1 + P4;
    if (left >= 4) {
        hash = rotate(hash ^ half_word(at) * P1, 23) * P2 + P3;
        left -= 4;
        at += 4;
    }
    for (; left > 0; left--, at++) hash = rotate(hash ^ *at * P5, 11) * P1;
    hash = (hash ^ hash >> 33) * P2;
    hash = (hash ^ hash >> 29) * P3;
    return hash ^ hash >> 32;
}
