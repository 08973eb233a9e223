/* Ways to draw an embedding in the plane, one a row: `tandem eval --projection` names them. A new one is a file with a
 * `const tdm_projection` and a row here. */
#ifndef TANDEM_PROJECTION_TABLE_H
#define TANDEM_PROJECTION_TABLE_H

#include "tandem/projection.h"

#define TDM_PROJECTION_TABLE(ROW)                                                                            \
    ROW(projection_pca)                                                                                      \
    ROW(projection_tsne)

#define DECLARE_PROJECTION(projection) extern const tdm_projection projection;
TDM_PROJECTION_TABLE(DECLARE_PROJECTION)

#endif
