/* Private to src/dist: the loops over elements. Several threads share the work; results do not depend on how
 * many. */
#ifndef TANDEM_WIRE_H
#define TANDEM_WIRE_H

#include "comm_impl.h"

/* to[n] <- the same elements of `peer`'s arena, which begins at `from`. */
void wire_copy_peer(tdm_comm *comm, int threads, int peer, const float *from, float *to, int64_t n);
/* own[n] <- the sum over the node's ranks, in their order, of what stands at from[rank]. */
void wire_add_peers(tdm_comm *comm, int threads, float *const *from, float *own, int64_t n);
/* own[n] <- the sum of `count` rows, in their order: row `mine` is own, the others lie in `other`
 * [count-1][stride] of the wire's type. */
void wire_add_rows(tdm_wire wire, int threads, int count, int mine, const void *other, int64_t stride,
                   float *own, int64_t n);
void wire_to_bf16(int threads, const float *x, uint16_t *y, int64_t n); /* round to nearest even */
void wire_from_bf16(int threads, const uint16_t *x, float *y, int64_t n);

#endif
