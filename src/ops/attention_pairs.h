/* Attention in bf16 on instructions that multiply pairs; x86-64 with TANDEM_HAVE_AMX only, which is to say with a
 * compiler that knows them.
 *
 * The same contract as the table's kernels (struct ops_kernels), for sequences up to PAIRS_MAX_LENGTH, and
 * for `count` heads of one sequence at once, at most PAIRS_MAX_HEADS. A whole row of scores is kept, and
 * the probabilities are rounded to bf16 before they are multiplied. */
#ifndef TANDEM_OPS_ATTENTION_PAIRS_H
#define TANDEM_OPS_ATTENTION_PAIRS_H

#include "ops_impl.h"

#define PAIRS_MAX_LENGTH   1024
#define PAIRS_MAX_HEAD_DIM 256
#define PAIRS_MAX_HEADS    4

typedef struct attention_pairs {
    /* 64-byte aligned scratch of one head. */
    size_t (*scratch_bytes)(int64_t length, int64_t head_dim);
    void (*forward)(const attention_head *head, int64_t count, void *scratch);
    void (*backward)(const attention_head *head, int64_t count, void *scratch);
} attention_pairs;

extern const attention_pairs attention_amx;         /* CPUs with AMX-BF16 */
extern const attention_pairs attention_avx512_bf16; /* CPUs with AVX512_BF16 */

#endif
