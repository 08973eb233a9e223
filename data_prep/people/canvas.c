#include "canvas.h"
#include "person.h"

#include <math.h>

tdm_status canvas_create(int64_t height_px, int64_t width_px, canvas *c)
{
    *c = (canvas){.height = height_px * CANVAS_SUPER, .width = width_px * CANVAS_SUPER, .scale = 1.0f};
    return TDM_ALLOC(c->height * c->width, &c->sample);
}

void canvas_destroy(canvas *c)
{
    tdm_free(c->sample);
    c->sample = NULL;
}

/* ---- Paint ---- */

static bool is_second(const paint *with, float x, float y)
{
    const float u = x / with->period, v = y / with->period;
    switch (with->pattern) {
    case PATTERN_STRIPES: return v - floorf(v) < 0.5f;
    case PATTERN_CHECKS: return ((int)floorf(2.0f * u) + (int)floorf(2.0f * v)) & 1;
    case PATTERN_DOTS: {
        const float du = u - floorf(u) - 0.5f, dv = v - floorf(v) - 0.5f;
        return du * du + dv * dv < 0.09f;
    }
    default: return false;
    }
}

/* ---- Shapes: which samples, of those in a box around them ---- */

typedef struct shape {
    float left, right, top, bottom; /* box */
    int corners;                    /* of a polygon; 0: a bone or an ellipse */
    const point *corner;
    point a, b;
    float ra, rb;
    bool bone;
} shape;

static bool in_polygon(const shape *s, float x, float y)
{
    bool inside = false;
    for (int i = 0, j = s->corners - 1; i < s->corners; j = i++) {
        const point p = s->corner[i], q = s->corner[j];
        if ((p.y > y) != (q.y > y) && x < (q.x - p.x) * (y - p.y) / (q.y - p.y) + p.x) inside = !inside;
    }
    return inside;
}

static bool in_bone(const shape *s, float x, float y)
{
    const float bx = s->b.x - s->a.x, by = s->b.y - s->a.y, px = x - s->a.x, py = y - s->a.y;
    const float length = bx * bx + by * by;
    const float t = length > 0.0f ? fminf(1.0f, fmaxf(0.0f, (px * bx + py * by) / length)) : 0.0f;
    const float dx = px - t * bx, dy = py - t * by, r = s->ra + t * (s->rb - s->ra);
    return dx * dx + dy * dy <= r * r;
}

static bool is_inside(const shape *s, float x, float y)
{
    if (s->corners) return in_polygon(s, x, y);
    if (s->bone) return in_bone(s, x, y);
    const float dx = (x - s->a.x) / s->ra, dy = (y - s->a.y) / s->rb;
    return dx * dx + dy * dy <= 1.0f;
}

static int64_t sample_at(float figure, float scale, float offset, int64_t most)
{
    return tdm_max_i64(0, tdm_min_i64(most, (int64_t)floorf(figure * scale + offset)));
}

static void fill(canvas *c, const paint *with, const shape *s)
{
    const int64_t x0 = sample_at(s->left, c->scale, c->left, c->width);
    const int64_t x1 = sample_at(s->right, c->scale, c->left + 1.0f, c->width);
    const int64_t y0 = sample_at(s->top, c->scale, c->down, c->height);
    const int64_t y1 = sample_at(s->bottom, c->scale, c->down + 1.0f, c->height);
    const float middle = 0.5f * (s->left + s->right), half = fmaxf(1e-6f, 0.5f * (s->right - s->left));
    for (int64_t i = y0; i < y1; i++)
        for (int64_t j = x0; j < x1; j++) {
            const float x = ((float)j + 0.5f - c->left) / c->scale,
                        y = ((float)i + 0.5f - c->down) / c->scale;
            if (!is_inside(s, x, y)) continue;
            const rgb colour = is_second(with, x, y) ? with->second : with->colour;
            const float side = (x - middle) / half, light = 1.0f - with->shading * side * side;
            c->sample[i * c->width + j] = (rgb){colour.r * light, colour.g * light, colour.b * light};
        }
}

void canvas_ellipse(canvas *c, const paint *with, point centre, float rx, float ry)
{
    const shape s = {.left = centre.x - rx,
                     .right = centre.x + rx,
                     .top = centre.y - ry,
                     .bottom = centre.y + ry,
                     .a = centre,
                     .ra = rx,
                     .rb = ry};
    fill(c, with, &s);
}

void canvas_bone(canvas *c, const paint *with, point a, float ra, point b, float rb)
{
    const shape s = {.left = fminf(a.x - ra, b.x - rb),
                     .right = fmaxf(a.x + ra, b.x + rb),
                     .top = fminf(a.y - ra, b.y - rb),
                     .bottom = fmaxf(a.y + ra, b.y + rb),
                     .a = a,
                     .b = b,
                     .ra = ra,
                     .rb = rb,
                     .bone = true};
    fill(c, with, &s);
}

void canvas_polygon(canvas *c, const paint *with, const point *corner, int corners)
{
    shape s = {.left = corner[0].x,
               .right = corner[0].x,
               .top = corner[0].y,
               .bottom = corner[0].y,
               .corner = corner,
               .corners = corners};
    for (int i = 1; i < corners; i++) {
        s.left = fminf(s.left, corner[i].x);
        s.right = fmaxf(s.right, corner[i].x);
        s.top = fminf(s.top, corner[i].y);
        s.bottom = fmaxf(s.bottom, corner[i].y);
    }
    fill(c, with, &s);
}

void canvas_reduce(const canvas *c, rgb *pixel)
{
    const int64_t height = c->height / CANVAS_SUPER, width = c->width / CANVAS_SUPER;
    const float share = 1.0f / (CANVAS_SUPER * CANVAS_SUPER);
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            rgb sum = {0};
            for (int64_t k = 0; k < CANVAS_SUPER * CANVAS_SUPER; k++) {
                const rgb *s = &c->sample[(y * CANVAS_SUPER + k / CANVAS_SUPER) * c->width +
                                          x * CANVAS_SUPER + k % CANVAS_SUPER];
                sum = (rgb){sum.r + s->r, sum.g + s->g, sum.b + s->b};
            }
            pixel[y * width + x] = (rgb){sum.r * share, sum.g * share, sum.b * share};
        }
}
