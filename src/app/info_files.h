/* What a file or directory holds, as JSON. */
#ifndef TANDEM_APP_INFO_FILES_H
#define TANDEM_APP_INFO_FILES_H

#include "tandem/status.h"

#include <jansson.h>

/* Of a run's checkpoints, told when all were looked at. */
typedef struct run_damage {
    int damaged;
    char last[sizeof(((tdm_error *)0)->message)];
} run_damage;

typedef struct info_options {
    const char *json;
    bool verify, params, config;
    run_damage *damage;
} info_options;

/* Fills `object` with what `path` is and holds; damaged checkpoints of a run are counted in options->damage. */
TDM_CHECKED tdm_status info_files(const char *path, const info_options *options, json_t *object);

#endif
