/* Which split an item goes to: --split "train", "train=0.9,val=0.1", "train=train+restval,test",
 * "train=train*0.9,val=train*0.1,test". */
#include "splits.h"

#include "pack_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_fraction(const char *text, double *fraction)
{
    char *end;
    *fraction = strtod(text, &end);
    return end != text && *end == '\0';
}

static tdm_status parse_rule(const char *spec, const char *from, size_t length, split_rules *rules)
{
    TDM_REQUIRE(rules->count < MOST_SPLITS, TDM_E_USAGE, "--split %s: more than %d splits", spec,
                MOST_SPLITS);
    split_rule *rule = &rules->rule[rules->count++];
    const char *equals = memchr(from, '=', length);
    const size_t name = equals ? (size_t)(equals - from) : length;
    const size_t value = equals ? length - name - 1 : 0;
    TDM_REQUIRE(name > 0 && name < sizeof(rule->name) && value < sizeof(rule->own) &&
                    !memchr(from, '/', name),
                TDM_E_USAGE, "--split %s: cannot read \"%.*s\"", spec, (int)length, from);
    memcpy(rule->name, from, name);
    memcpy(rule->own, equals ? equals + 1 : from, equals ? value : name);
    rule->is_fraction = equals && is_fraction(rule->own, &rule->fraction);
    if (!equals) rule->fraction = 1.0;
    TDM_REQUIRE(!rule->is_fraction || (rule->fraction > 0.0 && rule->fraction <= 1.0), TDM_E_USAGE,
                "--split %s: the fraction of \"%s\" is not in (0, 1]", spec, rule->name);
    return TDM_OK;
}

tdm_status pack_check_split(const char *where, const char *split)
{
    TDM_REQUIRE(split[0], TDM_E_DATA, "%s: its split is empty", where);
    TDM_REQUIRE(strlen(split) < sizeof(((split_rule *)0)->own), TDM_E_DATA,
                "%s: the name of its split is too long", where);
    bool sound = split[0] != '.';
    for (const char *c = split; *c; c++) sound &= (unsigned char)*c >= ' ' && *c != '/';
    TDM_REQUIRE(sound, TDM_E_DATA, "%s: \"%s\" cannot be the name of a split", where, split);
    return TDM_OK;
}

/* The numbers of "a+b*0.9". */
static tdm_status check_taken(const char *spec, const split_rule *rule)
{
    for (const char *star = rule->own; (star = strchr(star, '*')) != NULL; star++) {
        char *end;
        const double taken = strtod(star + 1, &end);
        TDM_REQUIRE(end != star + 1 && (*end == '\0' || *end == '+') && taken > 0.0 && taken <= 1.0,
                    TDM_E_USAGE, "--split %s: behind the * of \"%s\" stands no fraction in (0, 1]", spec,
                    rule->own);
    }
    return TDM_OK;
}

tdm_status split_rules_parse(const char *spec, split_rules *rules)
{
    memset(rules, 0, sizeof(*rules));
    for (const char *at = spec; *at;) {
        const size_t length = strcspn(at, ",");
        TDM_TRY(parse_rule(spec, at, length, rules));
        at += length + (at[length] == ',');
    }
    for (int i = 0; i < rules->count; i++) TDM_TRY(check_taken(spec, &rules->rule[i]));
    double sum = 0.0;
    for (int i = 0; i < rules->count; i++) sum += rules->rule[i].is_fraction ? rules->rule[i].fraction : 0.0;
    TDM_REQUIRE(sum <= 1.0 + 1e-9, TDM_E_USAGE, "--split %s: the fractions sum to %g", spec, sum);
    return TDM_OK;
}

/* What "a+b*0.9" takes of the split `name`: 1, a fraction, or 0. */
static double taken_of(const char *parts, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = parts; *at;) {
        const size_t part = strcspn(at, "+");
        if (part >= length && !memcmp(at, name, length)) {
            if (part == length) return 1.0;
            if (at[length] == '*') return strtod(at + length + 1, NULL);
        }
        at += part + (at[part] == '+');
    }
    return 0.0;
}

/* A place in [0, 1) that depends on the seed and the item's name alone. */
static double place_of(const char *name, uint64_t seed)
{
    uint64_t hash = 1469598103934665603u; /* FNV-1a, then mixed by Philox */
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    tdm_rng rng = tdm_rng_at(seed, 0, hash, TDM_RNG_ORDER);
    return tdm_rng_uniform(&rng);
}

tdm_status split_rules_apply(split_rules *rules, const tdm_pack_item *item, uint64_t seed, int *split)
{
    *split = -1;
    if (rules->count == 0 || rules->adopt) { /* the format's own splits, or all of it in "train" */
        rules->adopt = true;
        const char *name = item->split[0] ? item->split : "train";
        for (*split = 0; *split < rules->count; ++*split)
            if (!strcmp(rules->rule[*split].name, name)) return TDM_OK;
        TDM_REQUIRE(rules->count < MOST_SPLITS && strlen(name) < sizeof(rules->rule->name), TDM_E_FORMAT,
                    "%s: split \"%s\": too many splits, or its name is too long", item->name, name);
        snprintf(rules->rule[rules->count++].name, sizeof(rules->rule->name), "%s", name);
        return TDM_OK;
    }
    const double place = place_of(item->name, seed);
    double below = 0.0;
    for (int i = 0; i < rules->count; i++) {
        const split_rule *rule = &rules->rule[i];
        if (item->split[0]) {
            TDM_REQUIRE(!rule->is_fraction, TDM_E_USAGE,
                        "--split %s=%s: %s has a split of its own (\"%s\"); name those: NAME=a+b", rule->name,
                        rule->own, item->name, item->split);
            below += taken_of(rule->own, item->split);
        } else {
            below += rule->fraction;
        }
        if (place < below) *split = i;
        if (*split >= 0) return TDM_OK;
    }
    return TDM_OK; /* asked for by none: left out */
}
