/* Token buckets. A client has one of a few places of a table by its address; where all of them are taken the one that
 * has not been used for longest makes room, which is full again or nearly so. */
#include "serve_impl.h"

enum { PLACES = 8 };

static serve_bucket *find_bucket(serve_rate *rate, uint64_t client, double now_s)
{
    uint64_t hash = client * UINT64_C(0x9e3779b97f4a7c15);
    serve_bucket *oldest = NULL;
    hash ^= hash >> 32;
    for (uint64_t i = 0; i < PLACES; i++) {
        serve_bucket *b = &rate->bucket[(hash + i) % SERVE_CLIENTS];
        if (b->client == client) return b;
        if (oldest == NULL || b->client == 0 || (oldest->client != 0 && b->since_s < oldest->since_s))
            oldest = b;
    }
    *oldest = (serve_bucket){.client = client, .level = rate->burst, .since_s = now_s};
    return oldest;
}

double serve_rate_take(serve_rate *rate, uint64_t client, double now_s)
{
    if (rate->rate <= 0) return 0;
    serve_bucket *b = find_bucket(rate, client, now_s);
    if (now_s > b->since_s) b->level += (now_s - b->since_s) * rate->rate;
    if (b->level > rate->burst) b->level = rate->burst;
    b->since_s = now_s;
    if (b->level < 1) return (1 - b->level) / rate->rate;
    b->level -= 1;
    return 0;
}
