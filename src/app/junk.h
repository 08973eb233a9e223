/* Rows of the gallery that a query does not see, as if they were not there: of its own identity and camera, or itself. */
#ifndef TANDEM_APP_JUNK_H
#define TANDEM_APP_JUNK_H

#include "row_file.h"

typedef struct row_junk { /* zero-initialise; junk_free */
    bool same_camera, self;
    int64_t *query_key, *query_camera;     /* [queries of this rank] label and camera; NULL without cameras */
    int64_t *gallery_key, *gallery_camera; /* [all rows] equal where the names are */
    int64_t pairs, most;                   /* of all queries; of one query at most, itself counted as well */
} row_junk;
/* Rows of one label and one camera are junk for each other: sets same_camera, keys and counts. label[2], camera[2]: of the
 * queries and of the gallery. first, n: this rank's queries. Not collective: the counts are this rank's. */
TDM_CHECKED tdm_status junk_find(const row_names *const *label, const row_names *camera, int64_t first,
                                 int64_t n, row_junk *junk);
/* query: place among this rank's, and among all. */
bool junk_has(const row_junk *junk, int64_t query, int64_t query_row, int64_t gallery_row);
void junk_free(row_junk *junk);

#endif
