/* What tandem search found, as a table, as JSON and as a contact sheet. On rank 0. */
#ifndef TANDEM_APP_SEARCH_RESULTS_H
#define TANDEM_APP_SEARCH_RESULTS_H

#include "search_queries.h"

typedef struct search_results { /* everything borrowed */
    const tdm_inference *inference;
    const tdm_searcher *searcher;
    const char *gallery; /* as on the command line */
    const search_queries *queries;
    const tdm_found *found;
    const tdm_found_item *item;              /* [queries][found->k] */
    const tdm_strings *classes, *identities; /* of the filter */
    double hide_duplicates;                  /* 0: they are shown */
} search_results;

TDM_CHECKED tdm_status search_print_table(const search_results *results);
/* Of one query of the command line an object with its results, of a file a list of such objects in "queries". */
TDM_CHECKED tdm_status search_write_json(const search_results *results, const char *path);
TDM_CHECKED tdm_status search_write_html(const search_results *results, const char *path);

#endif
