/* Every re-ranking, in the order of --help. A new one is a file with a `const tdm_rerank` and a row here. */
#ifndef TANDEM_RERANK_TABLE_H
#define TANDEM_RERANK_TABLE_H

#include "tandem/rerank.h"

#define TDM_RERANK_TABLE(ROW)                                                                                \
    ROW(rerank_query_expansion)                                                                              \
    ROW(rerank_k_reciprocal)

#define DECLARE_RERANK(rerank) extern const tdm_rerank rerank;
TDM_RERANK_TABLE(DECLARE_RERANK)

#endif
