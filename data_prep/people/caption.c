#include "caption.h"

#include <ctype.h>
#include <string.h>

/* ---- Words ---- */

enum { SYNONYMS = 6 };
#define MOST_VALUES 16
static const char *const colours[COLOURS][SYNONYMS] = {
    [COLOUR_BLACK] = {"black", "dark black"},
    [COLOUR_WHITE] = {"white", "whitish"},
    [COLOUR_GREY] = {"grey", "gray"},
    [COLOUR_RED] = {"red", "bright red", "crimson"},
    [COLOUR_ORANGE] = {"orange"},
    [COLOUR_YELLOW] = {"yellow", "bright yellow"},
    [COLOUR_GREEN] = {"green", "dark green"},
    [COLOUR_BLUE] = {"blue", "sky blue"},
    [COLOUR_NAVY] = {"navy", "dark blue", "navy blue"},
    [COLOUR_PURPLE] = {"purple", "violet"},
    [COLOUR_PINK] = {"pink", "light pink"},
    [COLOUR_BROWN] = {"brown", "dark brown"},
    [COLOUR_BEIGE] = {"beige", "tan", "cream"},
};
static const char *const hair_colours[COLOURS][SYNONYMS] = {
    [COLOUR_BLACK] = {"black", "dark"},    [COLOUR_WHITE] = {"white"},
    [COLOUR_GREY] = {"grey", "gray"},      [COLOUR_RED] = {"red", "ginger"},
    [COLOUR_YELLOW] = {"blond", "blonde"}, [COLOUR_BROWN] = {"brown"},
};
/* By trait and value; colours stand above. */
static const char *const words[TRAITS][MOST_VALUES][SYNONYMS] = {
    [TRAIT_FIGURE] =
        {[FIGURE_MAN] = {"man", "guy", "male", "gentleman"}, [FIGURE_WOMAN] = {"woman", "lady", "female"}},
    [TRAIT_BUILD] = {[BUILD_SLIM] = {"slim", "thin", "skinny", "slender"},
                     [BUILD_HEAVY] = {"heavy", "stout", "heavyset", "big"}},
    [TRAIT_HAIR] = {[HAIR_SHORT] = {"short", "cropped"},
                    [HAIR_LONG] = {"long", "shoulder length"},
                    [HAIR_PONYTAIL] = {"ponytail", "pony tail"},
                    [HAIR_BALD] = {"bald head", "shaved head"}},
    [TRAIT_HAT] = {[HAT_CAP] = {"cap", "baseball cap"},
                   [HAT_BEANIE] = {"beanie", "knit hat", "woolen hat"},
                   [HAT_BRIM] = {"sun hat", "brimmed hat"}},
    [TRAIT_TOP] = {[TOP_TSHIRT] = {"t-shirt", "tee shirt", "short sleeve top", "short sleeved shirt"},
                   [TOP_SHIRT] = {"button down shirt", "dress shirt", "collared shirt"},
                   [TOP_SWEATER] = {"sweater", "pullover", "jumper"},
                   [TOP_HOODIE] = {"hoodie", "hooded sweatshirt", "hooded top"},
                   [TOP_JACKET] = {"jacket", "open jacket"},
                   [TOP_COAT] = {"coat", "long coat", "overcoat"},
                   [TOP_DRESS] = {"dress", "one piece dress"}},
    [TRAIT_PATTERN] = {[PATTERN_STRIPES] = {"striped", "stripes"},
                       [PATTERN_CHECKS] = {"checkered", "plaid", "checks", "squares"},
                       [PATTERN_DOTS] = {"dotted", "spotted", "dots", "spots"},
                       [PATTERN_PRINT] = {"printed", "print", "logo"}},
    [TRAIT_BOTTOM] = {[BOTTOM_TROUSERS] = {"trousers", "pants", "slacks"},
                      [BOTTOM_JEANS] = {"jeans", "denim pants"},
                      [BOTTOM_SHORTS] = {"shorts", "short pants"},
                      [BOTTOM_SKIRT] = {"skirt", "knee length skirt"}},
    [TRAIT_SHOES] = {[SHOES_SNEAKERS] = {"sneakers", "trainers", "sports shoes", "running shoes"},
                     [SHOES_BOOTS] = {"boots", "ankle boots"},
                     [SHOES_SANDALS] = {"sandals", "open shoes"}},
    [TRAIT_BAG] = {[BAG_BACKPACK] = {"backpack", "rucksack", "back pack"},
                   [BAG_SHOULDER] = {"shoulder bag", "messenger bag", "cross body bag"},
                   [BAG_HANDBAG] = {"handbag", "hand bag", "purse"},
                   [BAG_SUITCASE] = {"suitcase", "trolley case", "wheeled case"}},
};

static bool is_colour(person_trait trait)
{
    return trait == TRAIT_HAT_COLOUR || trait == TRAIT_TOP_COLOUR || trait == TRAIT_PATTERN_COLOUR ||
           trait == TRAIT_BOTTOM_COLOUR || trait == TRAIT_SHOES_COLOUR || trait == TRAIT_BAG_COLOUR;
}

const char *const *caption_words(person_trait trait, int value)
{
    if (is_colour(trait)) return colours[value];
    return trait == TRAIT_HAIR_COLOUR ? hair_colours[value] : words[trait][value];
}

/* ---- What is noticed ---- */

uint32_t caption_mentions(const person *p, tdm_rng *rng)
{
    static const float noticed[TRAITS] = {[TRAIT_FIGURE] = 0.92f,  [TRAIT_BUILD] = 0.3f,
                                          [TRAIT_HAIR] = 0.6f,     [TRAIT_HAIR_COLOUR] = 0.8f,
                                          [TRAIT_HAT] = 0.85f,     [TRAIT_HAT_COLOUR] = 0.9f,
                                          [TRAIT_TOP] = 1.0f,      [TRAIT_TOP_COLOUR] = 0.95f,
                                          [TRAIT_PATTERN] = 0.85f, [TRAIT_PATTERN_COLOUR] = 0.75f,
                                          [TRAIT_BOTTOM] = 0.95f,  [TRAIT_BOTTOM_COLOUR] = 0.93f,
                                          [TRAIT_SHOES] = 0.65f,   [TRAIT_SHOES_COLOUR] = 0.9f,
                                          [TRAIT_BAG] = 0.85f,     [TRAIT_BAG_COLOUR] = 0.85f};
    uint32_t mentions = 0;
    for (int t = 0; t < TRAITS; t++) {
        const bool sees = tdm_rng_uniform(rng) < noticed[t];
        if (sees && person_has(p, (person_trait)t) && caption_words((person_trait)t, p->trait[t])[0])
            mentions |= UINT32_C(1) << t;
    }
    return mentions;
}

/* ---- Phrases ---- */

typedef struct writer {
    const person *p;
    uint32_t mentions;
    tdm_rng *rng;
    tdm_text *out;
    tdm_status status; /* of the first that failed */
} writer;

static bool says(const writer *w, person_trait trait)
{
    return w->mentions >> trait & 1;
}

static void put(writer *w, const char *text)
{
    if (w->status == TDM_OK) w->status = tdm_text_append(w->out, text, strlen(text));
}

static const char *one_of(writer *w, const char *const *list)
{
    int n = 0;
    while (n < SYNONYMS && list[n]) n++;
    return list[tdm_rng_below(w->rng, n)];
}

static bool chance(writer *w, double p)
{
    return tdm_rng_uniform(w->rng) < p;
}

static const char *word(writer *w, person_trait trait)
{
    return one_of(w, caption_words(trait, w->p->trait[trait]));
}

/* "a " or "an " and "red striped " and "shirt" … */
static void put_article(writer *w, const char *next)
{
    put(w, strchr("aeio", next[0]) ? "an " : "a ");
}

/* A thing and its colour, where these are mentioned. */
static void put_thing(writer *w, person_trait thing, person_trait colour, bool plural)
{
    const char *noun = word(w, thing);
    const char *shade = says(w, colour) ? word(w, colour) : NULL;
    if (plural && chance(w, 0.3))
        put(w, "a pair of ");
    else if (!plural)
        put_article(w, shade ? shade : noun);
    if (shade) {
        put(w, shade);
        put(w, " ");
    }
    put(w, noun);
}

/* "with white stripes": the plural nouns of the pattern's words. */
static void put_pattern_behind(writer *w)
{
    static const char *const stripes[] = {"stripes", NULL}, *const checks[] = {"checks", "squares", NULL},
                             *const dots[] = {"dots", "spots", NULL},
                             *const print[] = {"print", "logo", NULL};
    static const char *const *const noun_of[] = {[PATTERN_STRIPES] = stripes,
                                                 [PATTERN_CHECKS] = checks,
                                                 [PATTERN_DOTS] = dots,
                                                 [PATTERN_PRINT] = print};
    const int pattern = w->p->trait[TRAIT_PATTERN];
    const char *noun = one_of(w, noun_of[pattern]),
               *shade = says(w, TRAIT_PATTERN_COLOUR) ? word(w, TRAIT_PATTERN_COLOUR) : NULL;
    put(w, " with ");
    if (pattern == PATTERN_PRINT) put_article(w, shade ? shade : noun);
    if (shade) {
        put(w, shade);
        put(w, " ");
    }
    put(w, noun);
    if (pattern == PATTERN_PRINT && chance(w, 0.4)) put(w, " on it");
}

/* The adjective of a pattern: the first of its words, or the second where that is one, too. */
static const char *pattern_adjective(writer *w)
{
    const int pattern = w->p->trait[TRAIT_PATTERN];
    const bool two = pattern == PATTERN_CHECKS || pattern == PATTERN_DOTS;
    return words[TRAIT_PATTERN][pattern][two ? tdm_rng_below(w->rng, 2) : 0];
}

static void put_top(writer *w)
{
    const char *noun = word(w, TRAIT_TOP),
               *shade = says(w, TRAIT_TOP_COLOUR) ? word(w, TRAIT_TOP_COLOUR) : NULL;
    const bool pattern = says(w, TRAIT_PATTERN), second = says(w, TRAIT_PATTERN_COLOUR);
    const bool print = w->p->trait[TRAIT_PATTERN] == PATTERN_PRINT;
    /* "a red and white striped shirt", "a red shirt with white stripes", "a striped red shirt" */
    const bool both = pattern && second && shade && !print && chance(w, 0.4);
    const bool adjective = pattern && !both && !second && chance(w, 0.5);
    const char *pattern_word = both || adjective ? pattern_adjective(w) : NULL;
    put_article(w, adjective ? pattern_word : shade ? shade : noun);
    if (adjective) {
        put(w, pattern_word);
        put(w, " ");
    }
    if (shade) {
        put(w, shade);
        put(w, " ");
    }
    if (both) {
        put(w, "and ");
        put(w, word(w, TRAIT_PATTERN_COLOUR));
        put(w, " ");
        put(w, pattern_word);
        put(w, " ");
    }
    put(w, noun);
    if (pattern && !both && !adjective) put_pattern_behind(w);
}

static void put_hair(writer *w)
{
    const int kind = w->p->trait[TRAIT_HAIR];
    const char *shade = says(w, TRAIT_HAIR_COLOUR) ? word(w, TRAIT_HAIR_COLOUR) : NULL;
    if (kind == HAIR_BALD || kind == HAIR_PONYTAIL) {
        put_article(w, shade ? shade : word(w, TRAIT_HAIR));
        if (shade) {
            put(w, shade);
            put(w, " ");
        }
        put(w, word(w, TRAIT_HAIR));
        return;
    }
    put(w, word(w, TRAIT_HAIR));
    put(w, " ");
    if (shade) {
        put(w, shade);
        put(w, " ");
    }
    put(w, "hair");
}

static void put_bag(writer *w)
{
    put_thing(w, TRAIT_BAG, TRAIT_BAG_COLOUR, false);
    if (w->p->trait[TRAIT_BAG] == BAG_BACKPACK && chance(w, 0.3)) put(w, " on the back");
    if (w->p->trait[TRAIT_BAG] == BAG_HANDBAG && chance(w, 0.3)) put(w, " in one hand");
}

static void put_subject(writer *w, bool first)
{
    static const char *const pronoun[] = {"he", "she"};
    const int figure = w->p->trait[TRAIT_FIGURE];
    const char *noun = says(w, TRAIT_FIGURE) ? word(w, TRAIT_FIGURE)
                       : chance(w, 0.6)      ? "person"
                                             : "pedestrian";
    if (!first && chance(w, 0.6)) {
        put(w, says(w, TRAIT_FIGURE) ? pronoun[figure] : "the person");
        return;
    }
    const char *build = first && says(w, TRAIT_BUILD) ? word(w, TRAIT_BUILD) : NULL;
    if (!first || chance(w, 0.35))
        put(w, first && chance(w, 0.3) ? "this " : "the ");
    else
        put_article(w, build ? build : noun);
    if (build) {
        put(w, build);
        put(w, " ");
    }
    put(w, noun);
}

/* ---- Clauses ---- */

typedef enum clause { WEARS, HAS_HAIR, CARRIES, CLAUSES } clause;

/* "a red shirt, blue jeans and boots", the top mostly first. */
static void put_clothes(writer *w)
{
    static const person_trait garment[] = {TRAIT_TOP, TRAIT_BOTTOM, TRAIT_SHOES, TRAIT_HAT};
    person_trait list[4];
    int n = 0;
    for (int i = 0; i < 4; i++)
        if (says(w, garment[i])) list[n++] = garment[i];
    for (int i = n - 1; i > 0; i--) { /* the top stays where it is in two of three captions */
        const int j = (int)tdm_rng_below(w->rng, i + 1);
        if ((list[i] == TRAIT_TOP || list[j] == TRAIT_TOP) && chance(w, 0.67)) continue;
        const person_trait other = list[i];
        list[i] = list[j];
        list[j] = other;
    }
    for (int i = 0; i < n; i++) {
        if (i) put(w, i == n - 1 ? " and " : ", ");
        switch (list[i]) {
        case TRAIT_TOP: put_top(w); break;
        case TRAIT_BOTTOM:
            put_thing(w, TRAIT_BOTTOM, TRAIT_BOTTOM_COLOUR, w->p->trait[TRAIT_BOTTOM] != BOTTOM_SKIRT);
            break;
        case TRAIT_SHOES: put_thing(w, TRAIT_SHOES, TRAIT_SHOES_COLOUR, true); break;
        default: put_thing(w, TRAIT_HAT, TRAIT_HAT_COLOUR, false); break;
        }
    }
}

static void put_clause(writer *w, clause which)
{
    static const char *const wears[] = {" is wearing ", " wears ", " is dressed in ", " has on ", NULL},
                             *const carries[] = {" is carrying ", " carries ", " has ", NULL};
    switch (which) {
    case WEARS:
        put(w, one_of(w, wears));
        put_clothes(w);
        return;
    case HAS_HAIR:
        put(w, " has ");
        put_hair(w);
        return;
    default:
        put(w, one_of(w, carries));
        put_bag(w);
        return;
    }
}

static void capitalise(tdm_text *out, size_t at)
{
    if (at < out->length) out->data[at] = (char)toupper((unsigned char)out->data[at]);
}

tdm_status caption_write(const person *p, uint32_t mentions, tdm_rng *rng, tdm_text *out)
{
    writer w = {.p = p, .mentions = mentions, .rng = rng, .out = out};
    clause list[CLAUSES];
    int n = 0;
    const bool hair = says(&w, TRAIT_HAIR), with_hair = hair && chance(&w, 0.5);
    list[n++] = WEARS;
    if (hair && !with_hair) list[n++] = HAS_HAIR;
    if (says(&w, TRAIT_BAG)) list[n++] = CARRIES;
    for (int i = n - 1; i > 0; i--) {
        const int j = (int)tdm_rng_below(rng, i + 1);
        const clause other = list[i];
        list[i] = list[j];
        list[j] = other;
    }
    for (int i = 0; i < n; i++) {
        const bool joined = i > 0 && chance(&w, 0.4);
        const size_t begin = out->length + 1; /* of a sentence behind a space */
        if (joined)
            put(&w, " and");
        else {
            if (i) put(&w, ". ");
            const size_t at = i ? begin + 1 : out->length;
            put_subject(&w, i == 0);
            if (w.status == TDM_OK) capitalise(out, at);
        }
        if (i == 0 && with_hair) {
            put(&w, " with ");
            put_hair(&w);
        }
        put_clause(&w, list[i]);
    }
    put(&w, ".");
    return w.status;
}
