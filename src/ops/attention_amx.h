/* Attention in bf16 on AMX tiles; x86-64 with TANDEM_HAVE_AMX only.
 *
 * The same contract as the table's kernels (struct ops_kernels), for sequences up to AMX_MAX_LENGTH, and
 * for `count` heads of one sequence at once, at most AMX_MAX_HEADS. A whole row of scores is kept, and
 * the probabilities are rounded to bf16 before they are multiplied. */
#ifndef TANDEM_OPS_ATTENTION_AMX_H
#define TANDEM_OPS_ATTENTION_AMX_H

#include "ops_impl.h"

#define AMX_MAX_LENGTH   1024
#define AMX_MAX_HEAD_DIM 256
#define AMX_MAX_HEADS    4

/* 64-byte aligned scratch of one head. */
size_t attention_amx_scratch_bytes(int64_t length, int64_t head_dim);
void attention_amx_forward(const attention_head *head, int64_t count, void *scratch);
void attention_amx_backward(const attention_head *head, int64_t count, void *scratch);

#endif
