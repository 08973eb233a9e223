/* tandem info --system: what a run here is made of. */
#ifndef TANDEM_APP_INFO_SYSTEM_H
#define TANDEM_APP_INFO_SYSTEM_H

#include "command.h"

/* On standard output, and as JSON to the file `json` unless that is "". dirs: whose file systems are looked at; none: the
 * current one. Collective. */
TDM_CHECKED tdm_status info_system(tdm_comm *comm, const tdm_strings *dirs, const char *json);

#endif
