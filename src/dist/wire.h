/* Private to src/dist: the loops over elements. Several threads share the work; results do not depend on how
 * many. */
#ifndef TANDEM_WIRE_H
#define TANDEM_WIRE_H

#include "comm_impl.h"

/* own[n] <- the sum over the node's ranks, in their order, of what they have in this place: arena[rank] is
 * where the arenas begin. With `push` all of them get the sum, while it is in the cache. */
void wire_add_peers(tdm_comm *comm, int threads, float *const *arena, float *own, int64_t n, bool push);
/* All of the node's ranks get own[n]. */
void wire_push(tdm_comm *comm, int threads, float *const *arena, const float *own, int64_t n);
/* own[n] <- the sum of `count` rows, in their order: row `mine` is own, the others lie in `other`
 * [count-1][stride] of the wire's type. */
void wire_add_rows(tdm_wire wire, int threads, int count, int mine, const void *other, int64_t stride,
                   float *own, int64_t n);
void wire_copy(int threads, const float *x, float *y, int64_t n);
void wire_to_bf16(int threads, const float *x, uint16_t *y, int64_t n); /* round to nearest even */
void wire_from_bf16(int threads, const uint16_t *x, float *y, int64_t n);

#endif
