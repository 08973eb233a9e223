/* Drawing a person, from what lies behind to what lies in front. */
#include "picture.h"

#include <math.h>

typedef struct body { /* half widths, and where joints are */
    float shoulder, waist, hip, limb;
    point knee[2], foot[2], elbow[2], hand[2];
} body;

typedef struct look { /* paints of a person */
    paint skin, hair, hat, top, bottom, shoes, bag;
    rgb second;
} look;

typedef struct drawing {
    canvas *c;
    const person *p;
    const pose *how;
    body body;
    look look;
} drawing;

static int trait(const drawing *d, person_trait which)
{
    return d->p->trait[which];
}

/* ---- Colours ---- */

static const rgb colour_value[COLOURS] = {
    [COLOUR_BLACK] = {0.09f, 0.09f, 0.10f},  [COLOUR_WHITE] = {0.93f, 0.93f, 0.92f},
    [COLOUR_GREY] = {0.50f, 0.51f, 0.52f},   [COLOUR_RED] = {0.80f, 0.12f, 0.13f},
    [COLOUR_ORANGE] = {0.93f, 0.50f, 0.12f}, [COLOUR_YELLOW] = {0.93f, 0.84f, 0.22f},
    [COLOUR_GREEN] = {0.16f, 0.52f, 0.24f},  [COLOUR_BLUE] = {0.22f, 0.45f, 0.80f},
    [COLOUR_NAVY] = {0.10f, 0.15f, 0.36f},   [COLOUR_PURPLE] = {0.45f, 0.20f, 0.56f},
    [COLOUR_PINK] = {0.94f, 0.56f, 0.68f},   [COLOUR_BROWN] = {0.40f, 0.25f, 0.14f},
    [COLOUR_BEIGE] = {0.83f, 0.75f, 0.60f},
};
static const rgb blond = {0.83f, 0.68f, 0.38f}, ginger = {0.62f, 0.28f, 0.12f};
static const rgb skin_value[4] = {
    {0.95f, 0.78f, 0.67f}, {0.86f, 0.66f, 0.51f}, {0.62f, 0.43f, 0.31f}, {0.38f, 0.26f, 0.19f}};

static rgb dim(rgb colour, float factor)
{
    return (rgb){colour.r * factor, colour.g * factor, colour.b * factor};
}

/* No two garments have the same red. */
static rgb shaded(tdm_rng *rng, rgb colour)
{
    const float light = (float)tdm_rng_range(rng, 0.85, 1.15);
    return (rgb){colour.r * light + (float)tdm_rng_range(rng, -0.04, 0.04),
                 colour.g * light + (float)tdm_rng_range(rng, -0.04, 0.04),
                 colour.b * light + (float)tdm_rng_range(rng, -0.04, 0.04)};
}

static paint cloth(tdm_rng *rng, int colour)
{
    return (paint){.colour = shaded(rng, colour_value[colour]), .period = 1.0f, .shading = 0.25f};
}

static look look_of(const person *p, tdm_rng rng)
{
    const uint8_t *t = p->trait;
    look l;
    l.skin = (paint){.colour = skin_value[tdm_rng_below(&rng, 4)], .period = 1.0f, .shading = 0.2f};
    l.hair = cloth(&rng, t[TRAIT_HAIR_COLOUR]);
    if (t[TRAIT_HAIR_COLOUR] == COLOUR_YELLOW) l.hair.colour = shaded(&rng, blond);
    if (t[TRAIT_HAIR_COLOUR] == COLOUR_RED) l.hair.colour = shaded(&rng, ginger);
    l.hat = cloth(&rng, t[TRAIT_HAT_COLOUR]);
    l.top = cloth(&rng, t[TRAIT_TOP_COLOUR]);
    l.second = shaded(&rng, colour_value[t[TRAIT_PATTERN_COLOUR]]);
    l.top.second = l.second;
    l.top.pattern = t[TRAIT_PATTERN];
    l.top.period = t[TRAIT_PATTERN] == PATTERN_STRIPES  ? 0.055f
                   : t[TRAIT_PATTERN] == PATTERN_CHECKS ? 0.07f
                                                        : 0.05f;
    l.bottom = cloth(&rng, t[TRAIT_BOTTOM_COLOUR]);
    l.shoes = cloth(&rng, t[TRAIT_SHOES_COLOUR]);
    l.bag = cloth(&rng, t[TRAIT_BAG_COLOUR]);
    return l;
}

/* ---- Proportions ---- */

enum { LEFT, RIGHT };
static const float SHOULDER_Y = 0.185f, WAIST_Y = 0.42f, HIP_Y = 0.51f;

static body body_of(const person *p, const pose *how)
{
    static const float girth[] = {[BUILD_SLIM] = 0.82f, [BUILD_AVERAGE] = 1.0f, [BUILD_HEAVY] = 1.32f};
    const float wide = girth[p->trait[TRAIT_BUILD]];
    const bool woman = p->trait[TRAIT_FIGURE] == FIGURE_WOMAN;
    body b = {.shoulder = (woman ? 0.092f : 0.115f) * (0.5f + 0.5f * wide),
              .waist = (woman ? 0.066f : 0.086f) * wide,
              .hip = (woman ? 0.095f : 0.088f) * wide,
              .limb = 0.6f + 0.4f * wide};
    for (int side = LEFT; side <= RIGHT; side++) {
        const float s = side == LEFT ? -1.0f : 1.0f;
        const float step = 0.05f * how->stride * s, swing = 0.05f * how->swing * s;
        b.knee[side] = (point){s * 0.5f * b.hip + 0.5f * step, 0.73f};
        b.foot[side] = (point){s * 0.5f * b.hip + step, 0.955f - 0.02f * fabsf(how->stride) * (side == LEFT)};
        b.elbow[side] = (point){s * (b.shoulder + 0.028f) + 0.3f * swing, 0.355f};
        b.hand[side] = (point){s * (b.shoulder + 0.022f) + swing, 0.51f};
    }
    return b;
}

/* ---- Legs and feet ---- */

static void draw_shoes(const drawing *d)
{
    const body *b = &d->body;
    for (int side = LEFT; side <= RIGHT; side++) {
        const point foot = b->foot[side];
        const point heel = {foot.x, foot.y + 0.018f},
                    toe = {foot.x + 0.018f * (side == LEFT ? -1.0f : 1.0f), foot.y + 0.024f};
        switch (trait(d, TRAIT_SHOES)) {
        case SHOES_BOOTS:
            canvas_bone(d->c, &d->look.shoes, (point){foot.x, foot.y - 0.09f}, 0.03f * b->limb, heel, 0.026f);
            canvas_bone(d->c, &d->look.shoes, heel, 0.022f, toe, 0.02f);
            break;
        case SHOES_SANDALS:
            canvas_bone(d->c, &d->look.skin, heel, 0.017f, toe, 0.016f);
            canvas_bone(d->c, &d->look.shoes, (point){heel.x - 0.018f, toe.y + 0.012f}, 0.007f,
                        (point){toe.x + 0.018f, toe.y + 0.012f}, 0.007f);
            canvas_bone(d->c, &d->look.shoes, (point){foot.x - 0.014f, foot.y + 0.01f}, 0.006f,
                        (point){foot.x + 0.014f, foot.y + 0.01f}, 0.006f);
            break;
        default: canvas_bone(d->c, &d->look.shoes, heel, 0.023f, toe, 0.021f); break;
        }
    }
}

/* From the hip down to `end` of the lower leg (0: the knee, 1: the foot). */
static void draw_leg(const drawing *d, const paint *with, int side, float end, float loose)
{
    const body *b = &d->body;
    const point hip = {(side == LEFT ? -0.5f : 0.5f) * b->hip, HIP_Y};
    const point knee = b->knee[side], foot = b->foot[side];
    const point to = {knee.x + end * (foot.x - knee.x), knee.y + end * (foot.y - knee.y)};
    const float thigh = 0.047f * b->limb * loose, calf = 0.035f * b->limb * loose,
                ankle = 0.026f * b->limb * loose;
    canvas_bone(d->c, with, hip, thigh, knee, calf);
    canvas_bone(d->c, with, knee, calf, to, calf + end * (ankle - calf));
}

static void draw_skirt(const drawing *d, const paint *with, float hem_y)
{
    const float hip = d->body.hip, hem = hip + 0.45f * (hem_y - HIP_Y) * (0.4f + 0.6f * d->body.limb);
    canvas_polygon(d->c, with,
                   (point[]){{-d->body.waist, WAIST_Y},
                             {d->body.waist, WAIST_Y},
                             {hip, HIP_Y},
                             {hem, hem_y},
                             {-hem, hem_y},
                             {-hip, HIP_Y}},
                   6);
}

static void draw_lower_body(const drawing *d)
{
    const int kind = trait(d, TRAIT_BOTTOM);
    const paint *with = &d->look.bottom;
    paint seam = d->look.bottom;
    seam.colour = dim(seam.colour, 0.6f);
    for (int side = LEFT; side <= RIGHT; side++) draw_leg(d, &d->look.skin, side, 1.0f, 0.9f);
    draw_shoes(d);
    for (int side = LEFT; side <= RIGHT; side++) {
        if (kind == BOTTOM_TROUSERS) draw_leg(d, with, side, 0.98f, 1.15f);
        if (kind == BOTTOM_JEANS) draw_leg(d, with, side, 0.92f, 0.98f);
        if (kind == BOTTOM_SHORTS) draw_leg(d, with, side, 0.05f, 1.22f);
        if (kind == BOTTOM_JEANS) { /* a seam and a turn-up tell them from trousers */
            const point knee = d->body.knee[side], foot = d->body.foot[side];
            canvas_bone(d->c, &seam, knee, 0.004f, foot, 0.004f);
            canvas_bone(d->c, &seam, (point){foot.x - 0.02f, foot.y - 0.03f}, 0.007f,
                        (point){foot.x + 0.02f, foot.y - 0.03f}, 0.007f);
        }
    }
    if (kind == BOTTOM_SKIRT)
        draw_skirt(d, with, 0.70f);
    else if (kind != BOTTOM_NONE)
        canvas_bone(d->c, with, (point){-0.5f * d->body.hip, HIP_Y - 0.01f}, 0.052f * d->body.limb,
                    (point){0.5f * d->body.hip, HIP_Y - 0.01f}, 0.052f * d->body.limb);
}

/* ---- The top ---- */

static void draw_torso(const drawing *d, const paint *with, float hem_y, float loose)
{
    const body *b = &d->body;
    const float hem = (b->hip + 0.004f) * loose;
    canvas_polygon(d->c, with,
                   (point[]){{-0.035f, 0.155f},
                             {0.035f, 0.155f},
                             {b->shoulder, SHOULDER_Y - 0.005f},
                             {b->shoulder, SHOULDER_Y + 0.05f},
                             {b->waist * loose, WAIST_Y},
                             {hem, hem_y},
                             {-hem, hem_y},
                             {-b->waist * loose, WAIST_Y},
                             {-b->shoulder, SHOULDER_Y + 0.05f},
                             {-b->shoulder, SHOULDER_Y - 0.005f}},
                   10);
}

static void draw_arm(const drawing *d, int side, float sleeve, float loose)
{
    const body *b = &d->body;
    const point elbow = b->elbow[side], hand = b->hand[side];
    const point shoulder = {(side == LEFT ? -1.0f : 1.0f) * (b->shoulder - 0.012f), SHOULDER_Y + 0.02f};
    const float upper = 0.031f * b->limb, lower = 0.024f * b->limb;
    canvas_bone(d->c, &d->look.skin, shoulder, upper, elbow, lower);
    canvas_bone(d->c, &d->look.skin, elbow, lower, hand, 0.019f);
    if (sleeve < 1.0f) {
        const point cuff = {shoulder.x + sleeve * (elbow.x - shoulder.x),
                            shoulder.y + sleeve * (elbow.y - shoulder.y)};
        canvas_bone(d->c, &d->look.top, shoulder, upper * loose, cuff, upper * loose);
        return;
    }
    const point cuff = {elbow.x + 0.85f * (hand.x - elbow.x), elbow.y + 0.85f * (hand.y - elbow.y)};
    canvas_bone(d->c, &d->look.top, shoulder, upper * loose, elbow, lower * loose);
    canvas_bone(d->c, &d->look.top, elbow, lower * loose, cuff, 0.021f * loose);
}

static void draw_line(const drawing *d, rgb colour, float x0, float y0, float x1, float y1, float thick)
{
    const paint line = {.colour = colour, .period = 1.0f};
    canvas_bone(d->c, &line, (point){x0, y0}, thick, (point){x1, y1}, thick);
}

/* What tells one kind of top from another, seen from the front. */
static void draw_front(const drawing *d)
{
    const rgb dark = dim(d->look.top.colour, 0.55f), shirt = {0.88f, 0.88f, 0.88f};
    const paint inner = {.colour = shirt, .period = 1.0f}, skin = d->look.skin;
    switch (trait(d, TRAIT_TOP)) {
    case TOP_TSHIRT:
    case TOP_DRESS: canvas_ellipse(d->c, &skin, (point){0, 0.155f}, 0.04f, 0.03f); break;
    case TOP_SHIRT:
        draw_line(d, dark, 0, 0.17f, 0, 0.52f, 0.004f);
        draw_line(d, shirt, -0.04f, 0.165f, 0, 0.2f, 0.009f);
        draw_line(d, shirt, 0.04f, 0.165f, 0, 0.2f, 0.009f);
        break;
    case TOP_SWEATER:
        draw_line(d, dark, -0.03f, 0.165f, 0.03f, 0.165f, 0.009f);
        draw_line(d, dark, -d->body.hip, 0.515f, d->body.hip, 0.515f, 0.009f);
        break;
    case TOP_HOODIE:
        canvas_polygon(d->c, &(paint){.colour = dark, .period = 1.0f},
                       (point[]){{-0.04f, 0.42f}, {0.04f, 0.42f}, {0.06f, 0.49f}, {-0.06f, 0.49f}}, 4);
        draw_line(d, shirt, -0.016f, 0.18f, -0.02f, 0.26f, 0.004f);
        draw_line(d, shirt, 0.016f, 0.18f, 0.02f, 0.26f, 0.004f);
        break;
    case TOP_JACKET: /* open, a light shirt below */
        canvas_polygon(d->c, &inner,
                       (point[]){{-0.03f, 0.155f}, {0.03f, 0.155f}, {0.036f, 0.54f}, {-0.036f, 0.54f}}, 4);
        break;
    case TOP_COAT:
        draw_line(d, dark, 0, 0.18f, 0, 0.7f, 0.005f);
        draw_line(d, dark, -d->body.waist, WAIST_Y, d->body.waist, WAIST_Y, 0.011f); /* belt */
        break;
    default: break;
    }
}

static void draw_print(const drawing *d)
{
    const paint print = {.colour = d->look.second, .period = 1.0f};
    if (trait(d, TRAIT_TOP) == TOP_JACKET && !d->how->back) { /* on the breast: the middle is open */
        canvas_ellipse(d->c, &print, (point){0.062f, 0.27f}, 0.022f, 0.03f);
        return;
    }
    canvas_ellipse(d->c, &print, (point){0, 0.285f}, 0.042f, 0.038f);
    canvas_polygon(d->c, &print,
                   (point[]){{-0.05f, 0.335f}, {0.05f, 0.335f}, {0.05f, 0.352f}, {-0.05f, 0.352f}}, 4);
}

static void draw_upper_body(const drawing *d)
{
    static const struct {
        float hem_y, loose, sleeve;
    } cut[] = {[TOP_TSHIRT] = {0.525f, 1.05f, 0.6f},  [TOP_SHIRT] = {0.53f, 1.0f, 1.0f},
               [TOP_SWEATER] = {0.525f, 1.12f, 1.0f}, [TOP_HOODIE] = {0.535f, 1.16f, 1.0f},
               [TOP_JACKET] = {0.545f, 1.14f, 1.0f},  [TOP_COAT] = {0.71f, 1.2f, 1.0f},
               [TOP_DRESS] = {0.55f, 1.0f, 0.35f}};
    const int kind = trait(d, TRAIT_TOP);
    if (kind == TOP_DRESS) draw_skirt(d, &d->look.top, 0.72f);
    for (int side = LEFT; side <= RIGHT; side++)
        draw_arm(d, side, cut[kind].sleeve, 1.0f + 1.2f * (cut[kind].loose - 0.95f));
    draw_torso(d, &d->look.top, cut[kind].hem_y, cut[kind].loose);
    if (!d->how->back) draw_front(d);
    if (kind == TOP_HOODIE && d->how->back)
        canvas_ellipse(d->c, &(paint){.colour = dim(d->look.top.colour, 0.7f), .period = 1.0f},
                       (point){0, 0.2f}, 0.05f, 0.035f);
    if (trait(d, TRAIT_PATTERN) == PATTERN_PRINT) draw_print(d);
}

/* ---- Head ---- */

static void draw_face(const drawing *d)
{
    const rgb dark = {0.12f, 0.1f, 0.1f};
    draw_line(d, dark, -0.02f, 0.07f, -0.016f, 0.07f, 0.005f);
    draw_line(d, dark, 0.016f, 0.07f, 0.02f, 0.07f, 0.005f);
    draw_line(d, dim(d->look.skin.colour, 0.6f), -0.012f, 0.108f, 0.012f, 0.108f, 0.004f);
}

static void draw_hair_behind(const drawing *d)
{
    const paint *hair = &d->look.hair;
    if (trait(d, TRAIT_HAIR) == HAIR_LONG)
        canvas_bone(d->c, hair, (point){0, 0.07f}, 0.06f, (point){0, 0.2f}, 0.066f);
    if (trait(d, TRAIT_HAIR) == HAIR_PONYTAIL && !d->how->back)
        canvas_bone(d->c, hair, (point){0.04f, 0.06f}, 0.014f, (point){0.075f, 0.16f}, 0.018f);
}

static void draw_head(const drawing *d)
{
    const paint *skin = &d->look.skin, *hair = &d->look.hair;
    const int kind = trait(d, TRAIT_HAIR);
    canvas_bone(d->c, skin, (point){0, 0.1f}, 0.024f, (point){0, 0.165f}, 0.028f);
    canvas_ellipse(d->c, skin, (point){0, 0.072f}, 0.05f, 0.068f);
    if (d->how->back) {
        if (kind != HAIR_BALD) canvas_ellipse(d->c, hair, (point){0, 0.064f}, 0.056f, 0.066f);
        if (kind == HAIR_LONG) canvas_bone(d->c, hair, (point){0, 0.07f}, 0.056f, (point){0, 0.23f}, 0.06f);
        if (kind == HAIR_PONYTAIL)
            canvas_bone(d->c, hair, (point){0, 0.06f}, 0.018f, (point){0, 0.22f}, 0.02f);
        return;
    }
    draw_face(d);
    if (kind == HAIR_BALD) return;
    canvas_polygon(d->c, hair,
                   (point[]){{-0.056f, 0.068f},
                             {-0.052f, 0.022f},
                             {-0.025f, -0.002f},
                             {0.025f, -0.002f},
                             {0.052f, 0.022f},
                             {0.056f, 0.068f},
                             {0.04f, 0.04f},
                             {-0.04f, 0.04f}},
                   8);
}

static void draw_hat(const drawing *d)
{
    const paint *hat = &d->look.hat;
    const point top = {0, 0.026f};
    switch (trait(d, TRAIT_HAT)) {
    case HAT_CAP:
        canvas_bone(d->c, hat, (point){-0.02f, 0.014f}, 0.036f, (point){0.02f, 0.014f}, 0.036f);
        if (!d->how->back)
            canvas_bone(d->c, hat, (point){-0.045f, 0.05f}, 0.009f, (point){0.045f, 0.05f}, 0.009f);
        break;
    case HAT_BEANIE:
        canvas_ellipse(d->c, hat, (point){0, 0.02f}, 0.06f, 0.045f);
        draw_line(d, dim(hat->colour, 0.75f), -0.05f, 0.052f, 0.05f, 0.052f, 0.012f);
        canvas_ellipse(d->c, hat, (point){0, -0.03f}, 0.016f, 0.016f);
        break;
    case HAT_BRIM:
        canvas_ellipse(d->c, hat, (point){0, 0.04f}, 0.105f, 0.018f);
        canvas_bone(d->c, hat, top, 0.046f, (point){0, 0.01f}, 0.04f);
        draw_line(d, dim(hat->colour, 0.5f), -0.046f, 0.032f, 0.046f, 0.032f, 0.007f);
        break;
    default: break;
    }
}

/* ---- Bags ---- */

static void draw_bag_behind(const drawing *d)
{
    if (trait(d, TRAIT_BAG) == BAG_BACKPACK && !d->how->back)
        canvas_polygon(d->c, &d->look.bag,
                       (point[]){{-d->body.shoulder - 0.022f, 0.22f},
                                 {d->body.shoulder + 0.022f, 0.22f},
                                 {d->body.shoulder + 0.026f, 0.44f},
                                 {-d->body.shoulder - 0.026f, 0.44f}},
                       4);
}

static void draw_backpack(const drawing *d)
{
    const paint *bag = &d->look.bag;
    const float half = 0.8f * d->body.shoulder;
    if (!d->how->back) {
        draw_line(d, bag->colour, -0.062f, 0.172f, -0.062f, 0.36f, 0.012f);
        draw_line(d, bag->colour, 0.062f, 0.172f, 0.062f, 0.36f, 0.012f);
        return;
    }
    canvas_polygon(d->c, bag,
                   (point[]){{-0.7f * half, 0.19f},
                             {0.7f * half, 0.19f},
                             {half, 0.24f},
                             {half, 0.44f},
                             {-half, 0.44f},
                             {-half, 0.24f}},
                   6);
    draw_line(d, dim(bag->colour, 0.6f), -0.7f * half, 0.34f, 0.7f * half, 0.34f, 0.006f);
}

static void draw_bag(const drawing *d)
{
    const paint *bag = &d->look.bag;
    const float side = d->how->mirror, hip = d->body.hip;
    const point hand = d->body.hand[side > 0 ? RIGHT : LEFT];
    switch (trait(d, TRAIT_BAG)) {
    case BAG_BACKPACK: draw_backpack(d); break;
    case BAG_SHOULDER:
        draw_line(d, bag->colour, -side * 0.07f, 0.17f, side * (hip + 0.01f), 0.46f, 0.009f);
        canvas_polygon(d->c, bag,
                       (point[]){{side * (hip - 0.035f), 0.45f},
                                 {side * (hip + 0.065f), 0.45f},
                                 {side * (hip + 0.06f), 0.55f},
                                 {side * (hip - 0.03f), 0.55f}},
                       4);
        break;
    case BAG_HANDBAG:
        draw_line(d, bag->colour, hand.x - 0.03f, hand.y + 0.055f, hand.x, hand.y, 0.006f);
        draw_line(d, bag->colour, hand.x + 0.03f, hand.y + 0.055f, hand.x, hand.y, 0.006f);
        canvas_polygon(d->c, bag,
                       (point[]){{hand.x - 0.04f, hand.y + 0.05f},
                                 {hand.x + 0.04f, hand.y + 0.05f},
                                 {hand.x + 0.052f, hand.y + 0.135f},
                                 {hand.x - 0.052f, hand.y + 0.135f}},
                       4);
        break;
    case BAG_SUITCASE: {
        const float x = hand.x + side * 0.035f;
        draw_line(d, (rgb){0.3f, 0.3f, 0.3f}, hand.x, hand.y, x, 0.7f, 0.006f);
        canvas_polygon(
            d->c, bag,
            (point[]){{x - 0.055f, 0.7f}, {x + 0.055f, 0.7f}, {x + 0.055f, 0.95f}, {x - 0.055f, 0.95f}}, 4);
        draw_line(d, dim(bag->colour, 0.6f), x - 0.045f, 0.8f, x + 0.045f, 0.8f, 0.005f);
        break;
    }
    default: break;
    }
}

void figure_draw(canvas *c, const person *p, const pose *how, tdm_rng shade)
{
    const drawing d = {.c = c, .p = p, .how = how, .body = body_of(p, how), .look = look_of(p, shade)};
    draw_bag_behind(&d);
    if (!how->back) draw_hair_behind(&d);
    draw_lower_body(&d);
    draw_upper_body(&d);
    if (how->back) draw_bag(&d); /* hair falls over the backpack */
    draw_head(&d);
    draw_hat(&d);
    if (!how->back) draw_bag(&d);
}
