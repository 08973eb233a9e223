/* Filled shapes on a picture that is SUPER times finer than what comes out of it. Coordinates are the figure's: its
 * height is 1, x goes to the right from its middle, y down from the top of its head. */
#ifndef PEOPLE_CANVAS_H
#define PEOPLE_CANVAS_H

#include "tandem/base.h"

enum { CANVAS_SUPER = 3 };

typedef struct rgb {
    float r, g, b; /* 0 to 1 */
} rgb;

typedef struct canvas {
    int64_t height, width;   /* samples: SUPER times the picture's pixels */
    rgb *sample;             /* [height][width] */
    float scale, left, down; /* sample = figure · scale + (left, down) */
} canvas;

typedef struct paint {
    rgb colour, second;
    int pattern;   /* of person.h; what is no part of a garment is plain */
    float period;  /* of the pattern, in the figure's units */
    float shading; /* how much darker towards the left and right ends */
} paint;

typedef struct point {
    float x, y;
} point;

TDM_CHECKED tdm_status canvas_create(int64_t height_px, int64_t width_px, canvas *c);
void canvas_destroy(canvas *c);
/* An ellipse around the point; a bone from a to b, as thick as the two radii at its ends; a polygon. */
void canvas_ellipse(canvas *c, const paint *with, point centre, float rx, float ry);
void canvas_bone(canvas *c, const paint *with, point a, float ra, point b, float rb);
void canvas_polygon(canvas *c, const paint *with, const point *corner, int corners);
/* Means of SUPER × SUPER samples: pixel[height/SUPER][width/SUPER]. */
void canvas_reduce(const canvas *c, rgb *pixel);

#endif
