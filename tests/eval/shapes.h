/* A small packed data set: 32 × 32 px pictures of coloured shapes, two captions each, the 32 kinds as
 * identities, the 4 shapes as classes. Splits "train" (320 images) and "test" (64). */
#ifndef TANDEM_TESTS_SHAPES_H
#define TANDEM_TESTS_SHAPES_H

#include "tandem/status.h"

TDM_CHECKED tdm_status make_shapes(const char *dir);

#endif
