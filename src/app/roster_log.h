/* What a run is made of, in the log and as JSON. */
#ifndef TANDEM_APP_ROSTER_LOG_H
#define TANDEM_APP_ROSTER_LOG_H

#include "tandem/ops.h"
#include "tandem/roster.h"

#include <jansson.h>

/* This rank, as it computes by `ops`. */
void roster_member(const tdm_comm *comm, const tdm_ops *ops, tdm_member *mine);
/* One line on rank 0, and one for each warning. Fills *roster there (tdm_roster_free), elsewhere with nothing; NULL: it
 * is not kept. Collective. */
TDM_CHECKED tdm_status roster_log(tdm_comm *comm, const tdm_ops *ops, tdm_roster *roster);
/* The same of a command without a model. */
TDM_CHECKED tdm_status roster_log_plain(tdm_comm *comm, int threads);
/* Each line of `lines` as a warning. */
void roster_warn(const tdm_text *lines);
/* The run as an object: counts, least and most per node and rank, and what ranks have, each value once. NULL: out of
 * memory. */
json_t *roster_json(const tdm_roster *roster);

#endif
