/* Cameras: what is behind the person, the light, how sharp and how close. */
#include "picture.h"

#include <math.h>

typedef struct camera {
    rgb wall, ground;
    float horizon;                  /* share of the height */
    rgb light;                      /* colour cast */
    float contrast, blur_px, noise; /* blur at a picture of 200 px */
    int64_t least_px, most_px;      /* height of its pictures */
    int clutter;                    /* things behind the person */
    int quality;
} camera;

static const camera cameras[CAMERAS] = {
    {{0.62f, 0.60f, 0.56f},
     {0.45f, 0.45f, 0.46f},
     0.55f,
     {1.0f, 1.0f, 1.0f},
     1.0f,
     0.5f,
     0.01f,
     170,
     240,
     3,
     90},
    {{0.42f, 0.52f, 0.38f},
     {0.38f, 0.46f, 0.28f},
     0.48f,
     {1.08f, 1.02f, 0.90f},
     1.1f,
     0.8f,
     0.015f,
     150,
     220,
     6,
     85},
    {{0.70f, 0.72f, 0.75f},
     {0.58f, 0.56f, 0.52f},
     0.62f,
     {0.92f, 0.98f, 1.10f},
     0.9f,
     1.2f,
     0.015f,
     130,
     190,
     2,
     80},
    {{0.28f, 0.28f, 0.31f},
     {0.22f, 0.22f, 0.24f},
     0.50f,
     {0.74f, 0.72f, 0.70f},
     0.85f,
     1.0f,
     0.03f,
     140,
     200,
     4,
     75},
    {{0.76f, 0.70f, 0.60f},
     {0.66f, 0.60f, 0.50f},
     0.58f,
     {1.18f, 1.14f, 1.06f},
     1.15f,
     0.6f,
     0.01f,
     180,
     256,
     5,
     90},
    {{0.50f, 0.46f, 0.48f},
     {0.36f, 0.34f, 0.36f},
     0.44f,
     {0.98f, 0.90f, 0.86f},
     0.95f,
     1.6f,
     0.02f,
     120,
     170,
     3,
     70},
};

static float between(tdm_rng *rng, float low, float high)
{
    return low + (high - low) * (float)tdm_rng_uniform(rng);
}

/* ---- Behind the person ---- */

static void draw_background(canvas *c, const camera *from, tdm_rng *rng)
{
    const float horizon = from->horizon + between(rng, -0.06f, 0.06f), tone = between(rng, 0.88f, 1.12f);
    for (int64_t y = 0; y < c->height; y++) {
        const float at = (float)y / (float)c->height;
        const rgb colour = at < horizon ? from->wall : from->ground;
        const float light = tone * (at < horizon ? 1.0f - 0.15f * at : 0.8f + 0.2f * at);
        for (int64_t x = 0; x < c->width; x++)
            c->sample[y * c->width + x] = (rgb){colour.r * light, colour.g * light, colour.b * light};
    }
    for (int i = 0; i < from->clutter; i++) { /* doors, posts, bushes, parked cars */
        const float x = between(rng, -0.45f, 0.45f), wide = between(rng, 0.01f, 0.12f),
                    top = between(rng, -0.1f, 0.6f);
        const float gray = between(rng, 0.5f, 1.3f), down = top + between(rng, 0.1f, 0.6f);
        const paint thing = {.colour = {from->wall.r * gray, from->wall.g * gray * between(rng, 0.85f, 1.15f),
                                        from->wall.b * gray},
                             .period = 1.0f};
        if (tdm_rng_below(rng, 3) == 0)
            canvas_ellipse(c, &thing, (point){x, down}, wide, 0.5f * wide);
        else
            canvas_polygon(c, &thing,
                           (point[]){{x - wide, top}, {x + wide, top}, {x + wide, down}, {x - wide, down}},
                           4);
    }
    const paint shadow = {.colour = {from->ground.r * 0.6f, from->ground.g * 0.6f, from->ground.b * 0.6f},
                          .period = 1.0f};
    canvas_ellipse(c, &shadow, (point){between(rng, -0.03f, 0.03f), 0.985f}, 0.16f, 0.02f);
}

/* ---- What the lens and the sensor do ---- */

enum { BLUR_REACH = 8 };

static float *channel(rgb *pixel, int c)
{
    return c == 0 ? &pixel->r : c == 1 ? &pixel->g : &pixel->b;
}

/* Gaussian along one direction: n pixels, `stride` apart; edges are repeated. */
static void blur_line(rgb *pixel, int64_t n, int64_t stride, const float *weight, int reach, rgb *line)
{
    for (int64_t i = 0; i < n; i++) line[i] = pixel[i * stride];
    for (int64_t i = 0; i < n; i++) {
        rgb sum = {0};
        for (int k = -reach; k <= reach; k++) {
            const rgb *from = &line[tdm_max_i64(0, tdm_min_i64(n - 1, i + k))];
            const float w = weight[k < 0 ? -k : k];
            sum = (rgb){sum.r + w * from->r, sum.g + w * from->g, sum.b + w * from->b};
        }
        pixel[i * stride] = sum;
    }
}

static tdm_status blur(rgb *pixel, int64_t height, int64_t width, float sigma)
{
    float weight[BLUR_REACH + 1], sum = 0.0f;
    const int reach = (int)tdm_min_i64(BLUR_REACH, (int64_t)ceilf(3.0f * sigma));
    rgb *line;
    for (int k = 0; k <= reach; k++) {
        weight[k] = expf(-0.5f * (float)(k * k) / (sigma * sigma));
        sum += k ? 2.0f * weight[k] : weight[k];
    }
    for (int k = 0; k <= reach; k++) weight[k] /= sum;
    TDM_TRY(TDM_ALLOC(tdm_max_i64(height, width), &line));
    for (int64_t y = 0; y < height; y++) blur_line(pixel + y * width, width, 1, weight, reach, line);
    for (int64_t x = 0; x < width; x++) blur_line(pixel + x, height, width, weight, reach, line);
    tdm_free(line);
    return TDM_OK;
}

static void expose(const camera *from, tdm_rng *rng, const rgb *pixel, picture *out)
{
    const float bright = between(rng, 0.85f, 1.15f), tilt = between(rng, -0.15f, 0.15f);
    const float noise = from->noise;
    const rgb light = {from->light.r * between(rng, 0.95f, 1.05f), from->light.g,
                       from->light.b * between(rng, 0.95f, 1.05f)};
    for (int64_t i = 0; i < out->height * out->width; i++) {
        const float side = (float)(i % out->width) / (float)out->width - 0.5f;
        rgb p = pixel[i];
        for (int c = 0; c < 3; c++) {
            const float gain = c == 0 ? light.r : c == 1 ? light.g : light.b;
            float v = *channel(&p, c) * gain * bright * (1.0f + tilt * side);
            v = 0.5f + (v - 0.5f) * from->contrast + noise * between(rng, -1.7f, 1.7f);
            out->pixel[i * 3 + c] = (uint8_t)lrintf(255.0f * fminf(1.0f, fmaxf(0.0f, v)));
        }
    }
}

/* ---- The picture ---- */

static pose draw_pose(tdm_rng *rng)
{
    return (pose){.back = tdm_rng_below(rng, 5) < 2,
                  .mirror = tdm_rng_below(rng, 2) ? 1.0f : -1.0f,
                  .stride = between(rng, -1.0f, 1.0f),
                  .swing = between(rng, -1.0f, 1.0f)};
}

/* The box that a detector cuts out is never quite the person's. */
static void place(canvas *c, tdm_rng *rng)
{
    const float height = (float)c->height;
    c->scale = height * between(rng, 0.78f, 0.97f);
    const float room = height - c->scale;
    c->down = room * between(rng, 0.25f, 0.75f) + 0.035f * height * between(rng, -1.0f, 1.0f);
    c->left = 0.5f * (float)c->width + 0.08f * (float)c->width * between(rng, -1.0f, 1.0f);
}

tdm_status picture_take(const person *p, int which, tdm_rng shade, tdm_rng rng, picture *out)
{
    const camera *from = &cameras[which];
    canvas c;
    rgb *pixel = NULL;
    const pose how = draw_pose(&rng);
    *out = (picture){.quality = from->quality};
    out->height = from->least_px + tdm_rng_below(&rng, from->most_px - from->least_px + 1);
    out->width = (int64_t)((float)out->height * between(&rng, 0.36f, 0.5f));
    TDM_TRY(canvas_create(out->height, out->width, &c));
    place(&c, &rng);
    draw_background(&c, from, &rng);
    figure_draw(&c, p, &how, shade);
    tdm_status status = TDM_ALLOC(out->height * out->width, &pixel);
    if (status == TDM_OK) status = TDM_ALLOC(out->height * out->width * 3, &out->pixel);
    if (status == TDM_OK) {
        canvas_reduce(&c, pixel);
        status = blur(pixel, out->height, out->width, from->blur_px * (float)out->height / 200.0f);
    }
    if (status == TDM_OK) expose(from, &rng, pixel, out);
    tdm_free(pixel);
    canvas_destroy(&c);
    return status;
}
