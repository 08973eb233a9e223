/* A synthetic data set of text-based person search. */
#ifndef PEOPLE_PEOPLE_H
#define PEOPLE_PEOPLE_H

#include "tandem/base.h"

enum { PEOPLE_SPLITS = 3, PEOPLE_LEAST_IDENTITIES = 3, PEOPLE_MOST_IDENTITIES = 1000000 };

typedef struct people_options {
    int64_t identities, seed;
    int64_t held_out; /* identities of val, and as many of test; 0: the shares of CUHK-PEDES */
    double twins;     /* share of identities that differ from another one in one change */
    int64_t threads;  /* of which nothing depends but the time */
    const char *out;  /* a folder, made where there is none */
} people_options;
#define PEOPLE_TWINS 0.2 /* chosen so that a small model finds 30 to 60 % at rank 1 (docs/tbps.md) */

/* Where the identities of train, val and test begin, as in CUHK-PEDES, and where the last end. */
void people_divide(int64_t identities, int64_t held_out, int64_t begin[PEOPLE_SPLITS + 1]);
/* Writes the set. An older one in the folder must be away: TDM_E_IO. */
TDM_CHECKED tdm_status people_make(const people_options *options);

#endif
