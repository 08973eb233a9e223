/* A synthetic person: sixteen traits that a picture shows and a caption can speak of. */
#ifndef PEOPLE_PERSON_H
#define PEOPLE_PERSON_H

#include "tandem/base.h"
#include "tandem/rng.h"

typedef enum person_trait {
    TRAIT_FIGURE,
    TRAIT_BUILD,
    TRAIT_HAIR,
    TRAIT_HAIR_COLOUR,
    TRAIT_HAT,
    TRAIT_HAT_COLOUR,
    TRAIT_TOP,
    TRAIT_TOP_COLOUR,
    TRAIT_PATTERN, /* of the top */
    TRAIT_PATTERN_COLOUR,
    TRAIT_BOTTOM,
    TRAIT_BOTTOM_COLOUR,
    TRAIT_SHOES,
    TRAIT_SHOES_COLOUR,
    TRAIT_BAG,
    TRAIT_BAG_COLOUR,
    TRAITS
} person_trait;

enum { FIGURE_MAN, FIGURE_WOMAN };
enum { BUILD_SLIM, BUILD_AVERAGE, BUILD_HEAVY };
enum { HAIR_SHORT, HAIR_LONG, HAIR_PONYTAIL, HAIR_BALD };
enum { HAT_NONE, HAT_CAP, HAT_BEANIE, HAT_BRIM };
enum { TOP_TSHIRT, TOP_SHIRT, TOP_SWEATER, TOP_HOODIE, TOP_JACKET, TOP_COAT, TOP_DRESS };
enum { PATTERN_PLAIN, PATTERN_STRIPES, PATTERN_CHECKS, PATTERN_DOTS, PATTERN_PRINT };
enum { BOTTOM_NONE, BOTTOM_TROUSERS, BOTTOM_JEANS, BOTTOM_SHORTS, BOTTOM_SKIRT }; /* none: below a dress */
enum { SHOES_SNEAKERS, SHOES_BOOTS, SHOES_SANDALS };
enum { BAG_NONE, BAG_BACKPACK, BAG_SHOULDER, BAG_HANDBAG, BAG_SUITCASE };
enum {
    COLOUR_BLACK,
    COLOUR_WHITE,
    COLOUR_GREY,
    COLOUR_RED,
    COLOUR_ORANGE,
    COLOUR_YELLOW,
    COLOUR_GREEN,
    COLOUR_BLUE,
    COLOUR_NAVY,
    COLOUR_PURPLE,
    COLOUR_PINK,
    COLOUR_BROWN,
    COLOUR_BEIGE,
    COLOURS
};

/* A trait that has nothing to describe (the colour of no hat) is 0. */
typedef struct person {
    uint8_t trait[TRAITS]; /* each below 15 */
} person;

/* Does the person have what the trait is about? Hair has a colour, no hair has none. */
bool person_has(const person *p, person_trait trait);

/* What random numbers of the data set are for: the `step` of a stream; its sample is the identity or the image. */
enum { DRAW_TWIN = 1, DRAW_PERSON, DRAW_IMAGES, DRAW_SHADE, DRAW_PICTURE, DRAW_WORDS };
static inline tdm_rng people_rng(uint64_t seed, int draw, int64_t sample)
{
    return tdm_rng_at(seed, (uint64_t)draw, (uint64_t)sample, TDM_RNG_TEST);
}
/* One of weight[count], with its share of their sum. */
int people_choose(tdm_rng *rng, const int *weight, int count);

/* `count` people, no two alike. Those of one split [begin[s], begin[s+1]) come in groups: with the share `twins` an
 * identity is like the first of its group but for one change, which is one trait, and the colour that it brings. Any
 * other two differ in two traits or more. The caller's, tdm_free. */
TDM_CHECKED tdm_status people_draw(uint64_t seed, double twins, const int64_t *begin, int splits,
                                   person **people);

#endif
