/* One row describes one configuration key. The rows are the schema: checking, --help, the documented list
 * and the resolved configuration are all made from them. */
#ifndef TANDEM_OPTION_H
#define TANDEM_OPTION_H

#include "tandem/status.h"

typedef enum tdm_option_type {
    TDM_OPTION_BOOL,   /* bool */
    TDM_OPTION_INT,    /* int64_t */
    TDM_OPTION_FLOAT,  /* double */
    TDM_OPTION_INT4,   /* int64_t[4], written [a, b, c, d] */
    TDM_OPTION_FLOAT3, /* double[3], written [r, g, b] */
    TDM_OPTION_STRING, /* const char *, never NULL, owned by the configuration */
    TDM_OPTION_CHOICE, /* int: which of `choices`, counted from 0; written as a string */
    TDM_OPTION_STRINGS /* tdm_strings, written ["a", "b"] */
} tdm_option_type;

typedef struct tdm_strings {
    int64_t count;
    const char **item;
} tdm_strings;

/* What it means for a run that goes on from a checkpoint that the key has another value than the checkpoint's. */
typedef enum tdm_change {
    TDM_CHANGE_OF_GROUP, /* what the owner of the group says for all its rows; the core's rows say their own */
    TDM_CHANGE_BREAKS,   /* what the checkpoint holds is of no use any more: refused */
    TDM_CHANGE_MEANING,  /* the weights mean something else: refused, unless the user insists */
    TDM_CHANGE_RUN,      /* the run goes on in another way: reported */
    TDM_CHANGE_START,    /* counts only when a run begins: reported as without effect */
    TDM_CHANGE_FREE      /* where, how fast and how talkative: not mentioned */
} tdm_change;

typedef struct tdm_option {
    const char *key; /* full dotted key ("train.batch"), or relative to the owner's group */
    tdm_option_type type;
    size_t offset; /* of the field in the owner's struct */
    const char
        *default_text;   /* in libconfig syntax without quotes: "0.1", "true", "[0.5, 0.5, 0.5]", "adamw" */
    double min, max;     /* of numbers, inclusive */
    const char *choices; /* of strings: "a|b|c", or NULL for any */
    const char *unit;    /* "px", "pairs", "" … */
    const char *help;    /* one sentence */
    const char *former;  /* full key that it had in earlier versions and that is still read, or NULL */
    tdm_change change;
} tdm_option;

/* Rows of a struct `type` whose field has the key's name. */
#define TDM_OPTION_ROW(kind, type, field, def, low, high, choices, unit, help, former, change)               \
    {                                                                                                        \
#field, kind, offsetof(type, field), def, low, high, choices, unit, help, former, change             \
    }
#define TDM_OPTION_FIELD(kind, type, field, def, low, high, choices, unit, help, former)                     \
    TDM_OPTION_ROW(kind, type, field, def, low, high, choices, unit, help, former, TDM_CHANGE_OF_GROUP)
#define TDM_BOOL_OPTION(type, field, def, help)                                                              \
    TDM_OPTION_FIELD(TDM_OPTION_BOOL, type, field, def, 0, 0, NULL, "", help, NULL)
#define TDM_INT_OPTION(type, field, def, low, high, unit, help)                                              \
    TDM_OPTION_FIELD(TDM_OPTION_INT, type, field, def, low, high, NULL, unit, help, NULL)
#define TDM_FLOAT_OPTION(type, field, def, low, high, unit, help)                                            \
    TDM_OPTION_FIELD(TDM_OPTION_FLOAT, type, field, def, low, high, NULL, unit, help, NULL)
#define TDM_STRING_OPTION(type, field, def, help)                                                            \
    TDM_OPTION_FIELD(TDM_OPTION_STRING, type, field, def, 0, 0, NULL, "", help, NULL)
/* choices: "a|b|c"; the field is an int or an enum of that order */
#define TDM_CHOICE_OPTION(type, field, def, choices, help)                                                   \
    TDM_OPTION_FIELD(TDM_OPTION_CHOICE, type, field, def, 0, 0, choices, "", help, NULL)
#define TDM_STRINGS_OPTION(type, field, def, choices, help)                                                  \
    TDM_OPTION_FIELD(TDM_OPTION_STRINGS, type, field, def, 0, 0, choices, "", help, NULL)

/* Which of "a|b|c" the value is, counted from 0; -1: none. */
int tdm_option_choice(const char *choices, const char *value);
/* Fills `text` with that choice, and returns it. */
const char *tdm_option_choice_text(const char *choices, int index, char text[64]);

#endif
