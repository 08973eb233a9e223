/* What the tests of the training step build on every rank: a model of some thousand weights, its optimiser
 * and its trainer. */
#ifndef TANDEM_TEST_TRAINER_CASE_H
#define TANDEM_TEST_TRAINER_CASE_H

#include "check.h"
#include "loss/infonce_alone.h"
#include "tandem/tandem.h"

#include <stdlib.h>
#include <string.h>

static tdm_comm *comm;

typedef tdm_session setup;

/* KEY=VALUE, up to NULL; `assignments` may be NULL. */
static inline void set_all(setup *s, const char *const *assignments)
{
    for (; assignments && *assignments; assignments++) CHECK_OK(tdm_config_set(&s->config, *assignments));
}

/* A configuration of the defaults and these. */
static inline void set_up_config(setup *s, const char *const *assignments)
{
    *s = (setup){.comm = comm};
    CHECK_OK(tdm_config_init(&s->config));
    set_all(s, assignments);
}

/* The configured model for `rows` samples at once, its parameters allocated. */
static inline void set_up_model(setup *s, const char *precision, int threads, int64_t rows)
{
    s->config.train.precision = precision;
    s->config.train.threads = threads;
    s->max_rows = rows;
    CHECK_OK(tdm_session_create_model(s));
}

/* Initial weights, zero moments, a trainer of 100 steps. */
static inline void set_up_trainer(setup *s)
{
    tdm_params_init(&s->params, 3);
    s->total_steps = 100;
    CHECK_OK(tdm_session_load(s));
    CHECK_OK(tdm_session_start(s));
}

static inline void tear_down(setup *s)
{
    tdm_session_destroy(s);
}

/* This rank's piece of a global batch of 2 to PIECE_CONTEXT tokens a caption that is the same on every rank.
 */
enum { PIECE_BATCH = 12, PIECE_CONTEXT = 9, PIECE_VOCAB = 40 };
typedef struct batch_piece {
    tdm_batch batch;
    uint8_t *image; /* tdm_free */
    int32_t token[PIECE_BATCH * PIECE_CONTEXT];
    int64_t seq[PIECE_BATCH + 1], sample[PIECE_BATCH], identity[PIECE_BATCH];
} batch_piece;

/* `batch` pairs at most PIECE_BATCH; images of image_bytes, one after the other in random_bytes. */
static inline void make_batch_piece(batch_piece *p, uint64_t seed, int64_t batch, int64_t image_bytes,
                                    int64_t random_bytes)
{
    const int64_t first = tdm_part_begin(batch, tdm_comm_size(comm), tdm_comm_rank(comm));
    const int64_t end = tdm_part_begin(batch, tdm_comm_size(comm), tdm_comm_rank(comm) + 1);
    tdm_rng rng = tdm_rng_at(seed, 0, 0, TDM_RNG_TEST);
    memset(p, 0, sizeof *p);
    CHECK_OK(TDM_ALLOC(random_bytes, &p->image));
    for (int64_t i = 0; i < random_bytes; i++) p->image[i] = (uint8_t)tdm_rng_u32(&rng);
    for (int64_t i = 0; i < batch; i++) {
        const int64_t length = 2 + tdm_rng_below(&rng, PIECE_CONTEXT - 1), n = i - first;
        const bool mine = i >= first && i < end;
        for (int64_t k = 0; k < length; k++) {
            const int32_t token = (int32_t)tdm_rng_below(&rng, PIECE_VOCAB);
            if (mine) p->token[p->seq[n] + k] = token;
        }
        if (!mine) continue;
        p->seq[n + 1] = p->seq[n] + length;
        p->sample[n] = 100 + i;
        p->identity[n] = i;
    }
    p->batch.n = end - first;
    p->batch.view[TDM_VIEW_IMAGE_AUG_1].n = p->batch.view[TDM_VIEW_TEXT_PLAIN].n = end - first;
    p->batch.view[TDM_VIEW_IMAGE_AUG_1].image = p->image + first * image_bytes;
    p->batch.view[TDM_VIEW_TEXT_PLAIN].text = (tdm_text_batch){.token = p->token, .seq = p->seq};
    p->batch.sample = p->sample;
    p->batch.identity = p->identity;
}

#endif
