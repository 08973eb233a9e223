/* Who there is: traits by frequency, near-twins, and nobody twice. */
#include "person.h"

#include <string.h>

int people_choose(tdm_rng *rng, const int *weight, int count)
{
    int64_t sum = 0;
    for (int i = 0; i < count; i++) sum += weight[i];
    int64_t at = tdm_rng_below(rng, sum);
    for (int i = 0; i < count; i++) {
        if (at < weight[i]) return i;
        at -= weight[i];
    }
    return count - 1;
}

/* ---- Frequencies: much is black, grey or blue, as in a street; what is rare tells people apart ---- */

enum { MOST_VALUES = 15 };
typedef struct frequency {
    int count, weight[MOST_VALUES];
} frequency;

static const frequency of_trait[TRAITS] = {
    [TRAIT_FIGURE] = {2, {1, 1}},
    [TRAIT_BUILD] = {3, {1, 2, 1}},
    [TRAIT_HAIR] = {4, {0}}, /* below */
    /*                        black white grey red orange yellow green blue navy purple pink brown beige */
    [TRAIT_HAIR_COLOUR] = {COLOURS, {8, 1, 2, 1, 0, 4, 0, 0, 0, 0, 0, 5, 0}}, /* "yellow": blond */
    [TRAIT_HAT] = {4, {14, 3, 2, 2}},
    [TRAIT_HAT_COLOUR] = {COLOURS, {4, 3, 2, 3, 1, 1, 1, 3, 1, 1, 1, 1, 2}},
    [TRAIT_TOP] = {7, {6, 4, 4, 3, 4, 3, 0}},
    [TRAIT_TOP_COLOUR] = {COLOURS, {5, 5, 4, 4, 2, 3, 4, 4, 3, 2, 3, 2, 3}},
    [TRAIT_PATTERN] = {5, {10, 3, 3, 2, 3}},
    [TRAIT_PATTERN_COLOUR] = {COLOURS, {5, 6, 2, 3, 1, 2, 2, 3, 2, 1, 1, 1, 1}},
    [TRAIT_BOTTOM] = {5, {0, 4, 5, 3, 0}},
    [TRAIT_BOTTOM_COLOUR] = {COLOURS, {6, 2, 4, 1, 0, 0, 2, 3, 4, 0, 1, 3, 3}},
    [TRAIT_SHOES] = {3, {5, 3, 2}},
    [TRAIT_SHOES_COLOUR] = {COLOURS, {5, 6, 2, 2, 0, 0, 0, 1, 0, 0, 1, 4, 0}},
    [TRAIT_BAG] = {5, {6, 4, 3, 3, 1}},
    [TRAIT_BAG_COLOUR] = {COLOURS, {6, 2, 2, 3, 1, 1, 2, 3, 2, 1, 1, 4, 1}},
};
static const frequency hair_of[2] = {{4, {8, 1, 0, 2}}, {4, {3, 6, 4, 0}}};
static const frequency woman_top = {7, {5, 3, 4, 2, 3, 3, 4}}, woman_bottom = {5, {0, 3, 4, 2, 4}};
/*                                         black white grey … blue navy */
static const frequency jeans_colour = {COLOURS, {3, 0, 2, 0, 0, 0, 0, 6, 3, 0, 0, 0, 0}};

static const frequency *frequency_of(const person *p, person_trait trait)
{
    const bool woman = p->trait[TRAIT_FIGURE] == FIGURE_WOMAN;
    switch (trait) {
    case TRAIT_HAIR: return &hair_of[woman];
    case TRAIT_TOP: return woman ? &woman_top : &of_trait[trait];
    case TRAIT_BOTTOM: return woman ? &woman_bottom : &of_trait[trait];
    case TRAIT_BOTTOM_COLOUR:
        return p->trait[TRAIT_BOTTOM] == BOTTOM_JEANS ? &jeans_colour : &of_trait[trait];
    default: return &of_trait[trait];
    }
}

bool person_has(const person *p, person_trait trait)
{
    switch (trait) {
    case TRAIT_HAIR_COLOUR: return p->trait[TRAIT_HAIR] != HAIR_BALD;
    case TRAIT_HAT_COLOUR: return p->trait[TRAIT_HAT] != HAT_NONE;
    case TRAIT_PATTERN_COLOUR: return p->trait[TRAIT_PATTERN] != PATTERN_PLAIN;
    case TRAIT_BOTTOM: return p->trait[TRAIT_TOP] != TOP_DRESS;
    case TRAIT_BOTTOM_COLOUR: return p->trait[TRAIT_BOTTOM] != BOTTOM_NONE;
    case TRAIT_BAG_COLOUR: return p->trait[TRAIT_BAG] != BAG_NONE;
    default: return true;
    }
}

/* Is the value one that these traits before it allow? */
static bool fits(const person *p, person_trait trait)
{
    const int value = p->trait[trait];
    if (!person_has(p, trait)) return value == 0;
    if (frequency_of(p, trait)->weight[value] == 0) return false;
    return trait != TRAIT_PATTERN_COLOUR || value != p->trait[TRAIT_TOP_COLOUR];
}

static void draw_trait(tdm_rng *rng, person *p, person_trait trait)
{
    p->trait[trait] = 0;
    if (!person_has(p, trait)) return;
    const frequency *f = frequency_of(p, trait);
    do p->trait[trait] = (uint8_t)people_choose(rng, f->weight, f->count);
    while (!fits(p, trait));
}

static person draw_person(tdm_rng *rng)
{
    person p = {{0}};
    for (int t = 0; t < TRAITS; t++) draw_trait(rng, &p, (person_trait)t);
    return p;
}

/* Another value of one trait; what no longer fits behind it (the colour of a hat that was none) is drawn, too. */
static person draw_twin(tdm_rng *rng, const person *of)
{
    person p = *of;
    const person_trait change = (person_trait)(1 + tdm_rng_below(rng, TRAITS - 1)); /* not the figure */
    draw_trait(rng, &p, change);
    for (int t = change + 1; t < TRAITS; t++)
        if (!fits(&p, (person_trait)t)) draw_trait(rng, &p, (person_trait)t);
    return p;
}

/* ---- Nobody twice ---- */

/* Four bits a trait. ANY in a trait stands for all its values: two people who share such a key differ in no other. */
enum { KEY_ANY = 15 };
static uint64_t key_of(const person *p, int any)
{
    uint64_t key = 0;
    for (int t = 0; t < TRAITS; t++) key = key << 4 | (t == any ? KEY_ANY : p->trait[t]);
    return key;
}

/* Open addressing; no key is 0: it is stored with all bits turned over, and no person has KEY_ANY in every trait. */
typedef struct key_set {
    uint64_t *slot;
    size_t size; /* a power of two */
} key_set;

static uint64_t *find_slot(const key_set *set, uint64_t key)
{
    size_t at = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (set->size - 1);
    while (set->slot[at] && set->slot[at] != ~key) at = (at + 1) & (set->size - 1);
    return &set->slot[at];
}

static bool has_key(const key_set *set, uint64_t key)
{
    return *find_slot(set, key) != 0;
}

static void add_person(key_set *set, const person *p)
{
    for (int t = -1; t < TRAITS; t++) *find_slot(set, key_of(p, t)) = ~key_of(p, t);
}

/* Is there somebody who differs in one trait at most? */
static bool has_neighbour(const key_set *set, const person *p)
{
    for (int t = 0; t < TRAITS; t++)
        if (has_key(set, key_of(p, t))) return true;
    return false;
}

/* A twin that is nobody else; false: the group has become too large for one. */
static bool find_twin(tdm_rng *rng, const key_set *set, const person *of, person *p)
{
    enum { TRIES = 100 };
    for (int i = 0; i < TRIES; i++) {
        *p = draw_twin(rng, of);
        if (!has_key(set, key_of(p, -1))) return true;
    }
    return false;
}

static void draw_split(uint64_t seed, double twins, int64_t begin, int64_t end, key_set *set, person *people)
{
    int64_t first = begin; /* of the group */
    for (int64_t i = begin; i < end; i++) {
        tdm_rng twin = people_rng(seed, DRAW_TWIN, i), rng = people_rng(seed, DRAW_PERSON, i);
        const bool alike = i > begin && tdm_rng_uniform(&twin) < twins;
        if (!alike || !find_twin(&rng, set, &people[first], &people[i])) {
            first = i;
            do people[i] = draw_person(&rng);
            while (has_neighbour(set, &people[i]));
        }
        add_person(set, &people[i]);
    }
}

tdm_status people_draw(uint64_t seed, double twins, const int64_t *begin, int splits, person **people)
{
    const int64_t count = begin[splits];
    key_set set = {.size = 1024};
    while (set.size < (size_t)count * (TRAITS + 1) * 2) set.size *= 2;
    TDM_TRY(TDM_ALLOC((int64_t)set.size, &set.slot));
    const tdm_status status = TDM_ALLOC(count, people);
    for (int s = 0; s < splits && status == TDM_OK; s++)
        draw_split(seed, twins, begin[s], begin[s + 1], &set, *people);
    tdm_free(set.slot);
    return status;
}
