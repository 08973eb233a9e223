/* AutoAugment (arXiv 1805.09501, the policy learned on ImageNet), RandAugment (1909.13719) and TrivialAugment (2103.10158)
 * with the tables of torchvision, on 8 bits with the nearest neighbour and black outside. */
#include "image_impl.h"

#include <math.h>

/* What a policy may choose: the largest magnitude of its range. */
typedef struct range {
    image_policy_op op;
    double most;
    bool is_signed; /* either way, with equal probability */
} range;

/* torch.linspace(0, most, bins)[i], which computes in single precision from the nearer end. */
static double between(double most, int64_t bins, int64_t i)
{
    const float end = (float)most, step = end / (float)(bins - 1);
    return (double)(i < bins / 2 ? step * (float)i : end - step * (float)(bins - 1 - i));
}

static double from_255(int64_t bins, int64_t i)
{
    const float step = -255.0f / (float)(bins - 1);
    return (double)(i < bins / 2 ? 255.0f + step * (float)i : -step * (float)(bins - 1 - i));
}

/* Magnitude i of bins. Of posterize `most` is the number of bits that go. */
static double magnitude_of(const range *of, int64_t bins, int64_t i)
{
    if (of->op == IMAGE_OP_POSTERIZE) return 8.0 - nearbyint((double)i / ((double)(bins - 1) / of->most));
    if (of->op == IMAGE_OP_SOLARIZE) return from_255(bins, i);
    return between(of->most, bins, i);
}

/* The order is torchvision's. translate: largest shift of width and height in pixels */
enum { CHOICES = 14 };
static const range random_choice[CHOICES] = {
    {IMAGE_OP_IDENTITY, 0.0, false},     {IMAGE_OP_SHEAR_X, 0.3, true},     {IMAGE_OP_SHEAR_Y, 0.3, true},
    {IMAGE_OP_TRANSLATE_X, 0.0, true},   {IMAGE_OP_TRANSLATE_Y, 0.0, true}, {IMAGE_OP_ROTATE, 30.0, true},
    {IMAGE_OP_BRIGHTNESS, 0.9, true},    {IMAGE_OP_SATURATION, 0.9, true},  {IMAGE_OP_CONTRAST, 0.9, true},
    {IMAGE_OP_SHARPNESS, 0.9, true},     {IMAGE_OP_POSTERIZE, 4.0, false},  {IMAGE_OP_SOLARIZE, 0.0, false},
    {IMAGE_OP_AUTOCONTRAST, 0.0, false}, {IMAGE_OP_EQUALIZE, 0.0, false}};
static const range wide_choice[CHOICES] = {
    {IMAGE_OP_IDENTITY, 0.0, false},     {IMAGE_OP_SHEAR_X, 0.99, true},     {IMAGE_OP_SHEAR_Y, 0.99, true},
    {IMAGE_OP_TRANSLATE_X, 32.0, true},  {IMAGE_OP_TRANSLATE_Y, 32.0, true}, {IMAGE_OP_ROTATE, 135.0, true},
    {IMAGE_OP_BRIGHTNESS, 0.99, true},   {IMAGE_OP_SATURATION, 0.99, true},  {IMAGE_OP_CONTRAST, 0.99, true},
    {IMAGE_OP_SHARPNESS, 0.99, true},    {IMAGE_OP_POSTERIZE, 6.0, false},   {IMAGE_OP_SOLARIZE, 0.0, false},
    {IMAGE_OP_AUTOCONTRAST, 0.0, false}, {IMAGE_OP_EQUALIZE, 0.0, false}};

/* A shift that grows with the picture. */
static double most_shift(int64_t side)
{
    return 150.0 / 331.0 * (double)side;
}

/* ---- RandAugment ---- */

typedef struct rand_options {
    int64_t n, magnitude, bins;
} rand_options;

static const tdm_option rand_rows[] = {
    TDM_INT_OPTION(rand_options, n, "2", 1, 64, "", "Operations, one after another."),
    TDM_INT_OPTION(rand_options, magnitude, "9", 0, 1000, "", "Their magnitude, counted from 0 below bins."),
    TDM_INT_OPTION(rand_options, bins, "31", 2, 1001, "", "Magnitudes that a range is divided into."),
};

static tdm_status rand_check(const char *where, const void *with)
{
    const rand_options *o = with;
    TDM_REQUIRE(o->magnitude < o->bins, TDM_E_CONFIG,
                "%s: rand_augment: magnitude = %lld is not below bins = %lld", where, (long long)o->magnitude,
                (long long)o->bins);
    return TDM_OK;
}

static tdm_status rand_augment(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                               int64_t width, uint8_t *pixel)
{
    const rand_options *o = with;
    for (int64_t i = 0; i < o->n; i++) {
        range of = random_choice[tdm_rng_below(rng, CHOICES)];
        if (of.op == IMAGE_OP_TRANSLATE_X) of.most = most_shift(width);
        if (of.op == IMAGE_OP_TRANSLATE_Y) of.most = most_shift(height);
        double magnitude = magnitude_of(&of, o->bins, o->magnitude);
        if (of.is_signed && tdm_rng_below(rng, 2) == 1) magnitude = -magnitude;
        TDM_TRY(image_policy_apply(work, of.op, magnitude, height, width, pixel));
    }
    return TDM_OK;
}

const image_augment_row image_augment_rand_augment = {
    .operation = {.name = "rand_augment",
                  .check = rand_check,
                  TDM_OPERATION_OPTIONS(rand_options, rand_rows)},
    .apply = rand_augment,
};

/* ---- TrivialAugment ---- */

typedef struct trivial_options {
    int64_t bins;
} trivial_options;

static const tdm_option trivial_rows[] = {
    TDM_INT_OPTION(trivial_options, bins, "31", 2, 1001, "", "Magnitudes that a range is divided into."),
};

static tdm_status trivial_augment(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                                  int64_t width, uint8_t *pixel)
{
    const trivial_options *o = with;
    const range of = wide_choice[tdm_rng_below(rng, CHOICES)];
    const bool has_magnitude = of.is_signed || of.op == IMAGE_OP_POSTERIZE || of.op == IMAGE_OP_SOLARIZE;
    double magnitude = has_magnitude ? magnitude_of(&of, o->bins, tdm_rng_below(rng, o->bins)) : 0.0;
    if (of.is_signed && tdm_rng_below(rng, 2) == 1) magnitude = -magnitude;
    return image_policy_apply(work, of.op, magnitude, height, width, pixel);
}

const image_augment_row image_augment_trivial_augment = {
    .operation = {.name = "trivial_augment", TDM_OPERATION_OPTIONS(trivial_options, trivial_rows)},
    .apply = trivial_augment,
};

/* ---- AutoAugment ---- */

enum { POLICIES = 25, PAIR = 2, AUTO_BINS = 10 };

typedef struct policy_step {
    image_policy_op op;
    double p;
    int64_t magnitude; /* of AUTO_BINS */
} policy_step;

#define AUTOCONTRAST(p)                                                                                      \
    {                                                                                                        \
        IMAGE_OP_AUTOCONTRAST, p, 0                                                                          \
    }
#define COLOR(p, i)                                                                                          \
    {                                                                                                        \
        IMAGE_OP_SATURATION, p, i                                                                            \
    }
#define CONTRAST(p, i)                                                                                       \
    {                                                                                                        \
        IMAGE_OP_CONTRAST, p, i                                                                              \
    }
#define EQUALIZE(p)                                                                                          \
    {                                                                                                        \
        IMAGE_OP_EQUALIZE, p, 0                                                                              \
    }
#define INVERT(p)                                                                                            \
    {                                                                                                        \
        IMAGE_OP_INVERT, p, 0                                                                                \
    }
#define POSTERIZE(p, i)                                                                                      \
    {                                                                                                        \
        IMAGE_OP_POSTERIZE, p, i                                                                             \
    }
#define ROTATE(p, i)                                                                                         \
    {                                                                                                        \
        IMAGE_OP_ROTATE, p, i                                                                                \
    }
#define SHARPNESS(p, i)                                                                                      \
    {                                                                                                        \
        IMAGE_OP_SHARPNESS, p, i                                                                             \
    }
#define SHEAR_X(p, i)                                                                                        \
    {                                                                                                        \
        IMAGE_OP_SHEAR_X, p, i                                                                               \
    }
#define SOLARIZE(p, i)                                                                                       \
    {                                                                                                        \
        IMAGE_OP_SOLARIZE, p, i                                                                              \
    }
static const policy_step imagenet[POLICIES][PAIR] = {
    {POSTERIZE(0.4, 8), ROTATE(0.6, 9)}, {SOLARIZE(0.6, 5), AUTOCONTRAST(0.6)},
    {EQUALIZE(0.8), EQUALIZE(0.6)},      {POSTERIZE(0.6, 7), POSTERIZE(0.6, 6)},
    {EQUALIZE(0.4), SOLARIZE(0.2, 4)},   {EQUALIZE(0.4), ROTATE(0.8, 8)},
    {SOLARIZE(0.6, 3), EQUALIZE(0.6)},   {POSTERIZE(0.8, 5), EQUALIZE(1.0)},
    {ROTATE(0.2, 3), SOLARIZE(0.6, 8)},  {EQUALIZE(0.6), POSTERIZE(0.4, 6)},
    {ROTATE(0.8, 8), COLOR(0.4, 0)},     {ROTATE(0.4, 9), EQUALIZE(0.6)},
    {EQUALIZE(0.0), EQUALIZE(0.8)},      {INVERT(0.6), EQUALIZE(1.0)},
    {COLOR(0.6, 4), CONTRAST(1.0, 8)},   {ROTATE(0.8, 8), COLOR(1.0, 2)},
    {COLOR(0.8, 8), SOLARIZE(0.8, 7)},   {SHARPNESS(0.4, 7), INVERT(0.6)},
    {SHEAR_X(0.6, 5), EQUALIZE(1.0)},    {COLOR(0.4, 0), EQUALIZE(0.6)},
    {EQUALIZE(0.4), SOLARIZE(0.2, 4)},   {SOLARIZE(0.6, 5), AUTOCONTRAST(0.6)},
    {INVERT(0.6), EQUALIZE(1.0)},        {COLOR(0.6, 4), CONTRAST(1.0, 8)},
    {EQUALIZE(0.8), EQUALIZE(0.6)},
};

static const range *range_of(image_policy_op op)
{
    for (int i = 0; i < CHOICES; i++)
        if (random_choice[i].op == op) return &random_choice[i];
    return &random_choice[0]; /* invert has no magnitude, as the identity */
}

static tdm_status auto_augment(tdm_image_work *work, const void *with, tdm_rng *rng, int64_t height,
                               int64_t width, uint8_t *pixel)
{
    (void)with;
    const policy_step *policy = imagenet[tdm_rng_below(rng, POLICIES)];
    double draw[PAIR];
    bool negative[PAIR];
    for (int i = 0; i < PAIR; i++) draw[i] = tdm_rng_uniform(rng);
    for (int i = 0; i < PAIR; i++) negative[i] = tdm_rng_below(rng, 2) == 0;
    for (int i = 0; i < PAIR; i++) {
        if (draw[i] > policy[i].p) continue;
        const range *of = range_of(policy[i].op);
        const double magnitude = magnitude_of(of, AUTO_BINS, policy[i].magnitude);
        TDM_TRY(image_policy_apply(work, policy[i].op, of->is_signed && negative[i] ? -magnitude : magnitude,
                                   height, width, pixel));
    }
    return TDM_OK;
}

const image_augment_row image_augment_auto_augment = {.operation = {.name = "auto_augment"},
                                                      .apply = auto_augment};
