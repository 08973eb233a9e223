#include "projection_table.h"

#define PROJECTION_ADDRESS(projection) &projection,
static const tdm_projection *const projections[] = {TDM_PROJECTION_TABLE(PROJECTION_ADDRESS)};

const tdm_projection *const *tdm_projection_table(size_t *count)
{
    *count = sizeof projections / sizeof projections[0];
    return projections;
}
