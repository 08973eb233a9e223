/* What belongs together, one way a row: `eval.positives` and `tandem eval --positives` name it. A new one is a
 * file with a `const tdm_match` and a row here. */
#ifndef TANDEM_MATCH_TABLE_H
#define TANDEM_MATCH_TABLE_H

#include "tandem/eval.h"

#define TDM_MATCH_TABLE(ROW)                                                                                 \
    ROW(match_pair)                                                                                          \
    ROW(match_identity)                                                                                      \
    ROW(match_class)

#define DECLARE_MATCH(match) extern const tdm_match match;
TDM_MATCH_TABLE(DECLARE_MATCH)

#endif
