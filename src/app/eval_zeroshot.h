/* tandem eval --task zeroshot. */
#ifndef TANDEM_APP_EVAL_ZEROSHOT_H
#define TANDEM_APP_EVAL_ZEROSHOT_H

#include "bundle.h"

typedef struct zeroshot_options {
    bundle_options bundle;
    const char *data, *split, *json, *html, *classes, *templates; /* "" = unset */
} zeroshot_options;

/* Collective. */
TDM_CHECKED tdm_status eval_zeroshot(tdm_comm *comm, const zeroshot_options *options);

#endif
