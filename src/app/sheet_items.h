/* What was found, as a contact sheet shows it. */
#ifndef TANDEM_APP_SHEET_ITEMS_H
#define TANDEM_APP_SHEET_ITEMS_H

#include "tandem/report.h"
#include "tandem/searcher.h"

/* The sheet's view of item[count]; borrowed. */
void sheet_items_of(const tdm_found_item *item, int64_t count, tdm_sheet_item *out);

#endif
