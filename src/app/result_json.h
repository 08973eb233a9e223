/* Results as JSON: how the commands write them, and how they show them to people. */
#ifndef TANDEM_APP_RESULT_JSON_H
#define TANDEM_APP_RESULT_JSON_H

#include "tandem/metric.h"

#include <jansson.h>

/* With `digits` significant digits to the file `path`, or to standard output when it is "". Takes `root`, which
 * may be NULL (out of memory). */
TDM_CHECKED tdm_status result_write(json_t *root, int digits, const char *path);
/* One direction: counts, then every row of the table of metrics. */
json_t *result_metrics(const tdm_metrics *metrics);

#endif
