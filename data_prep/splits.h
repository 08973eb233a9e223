/* Private to data_prep: the --split argument. */
#ifndef TANDEM_SPLITS_H
#define TANDEM_SPLITS_H

#include "tandem/pack.h"
#include "tandem/rng.h"

enum { MOST_SPLITS = TDM_PACK_SPLITS };

typedef struct split_rule {
    char name[32]; /* of the split that is written */
    char own[256]; /* the format's own splits that go into it, "a+b*0.9"; or the fraction's text */
    bool is_fraction;
    double fraction;
} split_rule;

typedef struct split_rules {
    split_rule rule[MOST_SPLITS];
    int count;
    bool adopt; /* no --split: rules grow from the splits that are met */
} split_rules;

TDM_CHECKED tdm_status split_rules_parse(const char *spec, split_rules *rules);
/* The rule that takes the item, or -1 when none does. */
TDM_CHECKED tdm_status split_rules_apply(split_rules *rules, const tdm_pack_item *item, uint64_t seed,
                                         int *split);

#endif
