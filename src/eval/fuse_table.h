/* Every way to fuse runs, in the order of --help. A new one is a file with a `const tdm_fusion` and a row here. */
#ifndef TANDEM_FUSE_TABLE_H
#define TANDEM_FUSE_TABLE_H

#include "tandem/fuse.h"

#define TDM_FUSION_TABLE(ROW)                                                                                \
    ROW(fusion_rrf)                                                                                          \
    ROW(fusion_comb_sum)                                                                                     \
    ROW(fusion_comb_mnz)

#define DECLARE_FUSION(fusion) extern const tdm_fusion fusion;
TDM_FUSION_TABLE(DECLARE_FUSION)

#endif
