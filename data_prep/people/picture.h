/* A person as a camera sees them. */
#ifndef PEOPLE_PICTURE_H
#define PEOPLE_PICTURE_H

#include "canvas.h"
#include "person.h"

/* How the person stands in one picture. */
typedef struct pose {
    bool back;    /* seen from behind */
    float mirror; /* 1 or -1: which hand carries the bag */
    float stride; /* of the legs, -1 to 1 */
    float swing;  /* of the arms, -1 to 1 */
} pose;
/* shade: stream of the identity, for how its red is red; the same in all its pictures. */
void figure_draw(canvas *c, const person *p, const pose *how, tdm_rng shade);

enum { CAMERAS = 6 };
typedef struct picture {
    int64_t height, width;
    uint8_t *pixel; /* [height][width][3], tdm_free */
    int quality;    /* of its JPEG */
} picture;
/* rng: stream of the image: pose, size, crop, clutter, noise. */
TDM_CHECKED tdm_status picture_take(const person *p, int camera, tdm_rng shade, tdm_rng rng, picture *out);

#endif
