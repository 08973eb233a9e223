/* Made by make_groups_golden.py with PyTorch; do not edit. */
#ifndef TANDEM_GROUPS_GOLDEN_H
#define TANDEM_GROUPS_GOLDEN_H

static const float groups_norm[] = {2.09165025F, 2.04633808F, 2.15058112F, 2.09165001F, 2.07665586F};
static const float groups_matrix[] = {0.173540145F, -0.590685010F, 0.00136919902F,
                                      0.600790620F, -0.135135695F, 0.470885843F};
static const float groups_head[] = {-0.501473665F, 0.932206810F, 0.0398535877F, 0.348335594F,
                                    -0.512643456F, 0.117803007F, -0.682357490F, -0.275493443F};
static const float groups_bias[] = {-0.112503827F, 0.507065415F, -0.249645174F};
static const float groups_frozen[] = {0.125000000F, -0.625000000F, 0.00000000F, 0.625000000F, -0.125000000F};

#endif
