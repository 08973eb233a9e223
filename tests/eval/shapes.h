/* A small packed data set: 32 × 32 px pictures of coloured shapes, two captions each, the 32 kinds as
 * identities, the 4 shapes as classes. Splits "train" (320 images) and "test" (64). */
#ifndef TANDEM_TESTS_SHAPES_H
#define TANDEM_TESTS_SHAPES_H

#include "tandem/status.h"

TDM_CHECKED tdm_status make_shapes(const char *dir);

/* Split "mixed" in three shards, 48 such pictures, of which every eighth (7, 15 …) has no class and every
 * fifth (4, 9 …) of the others two: its shape and the next one. */
enum { MIXED_IMAGES = 48 };
TDM_CHECKED tdm_status make_mixed_shapes(const char *dir);
int mixed_classes(int64_t image, int64_t index[2]); /* how many, and which */

#endif
