/* tandem eval --task zeroshot. */
#ifndef TANDEM_APP_EVAL_ZEROSHOT_H
#define TANDEM_APP_EVAL_ZEROSHOT_H

#include "bundle.h"

#include <jansson.h>

typedef struct zeroshot_options {
    bundle_options bundle;
    const char *data, *split, *json, *html, *classes, *templates; /* "" = unset */
} zeroshot_options;

/* To the file `path`, or to standard output when it is "". Takes `root`. */
TDM_CHECKED tdm_status eval_write_json(json_t *root, const char *path);

/* Collective. */
TDM_CHECKED tdm_status eval_zeroshot(tdm_comm *comm, const zeroshot_options *options);

#endif
