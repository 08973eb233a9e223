#include "match_table.h"

#include <string.h>

#define MATCH_ADDRESS(match) &match,
static const tdm_match *const matches[] = {TDM_MATCH_TABLE(MATCH_ADDRESS)};
enum { MATCHES = sizeof matches / sizeof matches[0] };

const tdm_match *const *tdm_match_table(size_t *count)
{
    *count = MATCHES;
    return matches;
}

tdm_status tdm_match_find(const char *where, tdm_status code, const char *name, const tdm_match **match)
{
    tdm_text known = {0};
    tdm_status status = TDM_OK;
    for (int i = 0; i < MATCHES && status == TDM_OK; i++) {
        if (strcmp(matches[i]->name, name) == 0) {
            *match = matches[i];
            tdm_text_free(&known);
            return TDM_OK;
        }
        const char *between = i == 0 ? "" : i == MATCHES - 1 ? " or " : ", ";
        status = tdm_text_printf(&known, "%s%s", between, matches[i]->name);
    }
    if (status == TDM_OK) status = TDM_ERROR(code, "%s %s: must be %s", where, name, known.data);
    tdm_text_free(&known);
    return status;
}
