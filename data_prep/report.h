/* Private to data_prep: DIR/pack-report.json, and what the console says of it.
 *
 * Every rank notes what it meets as lines of a text; rank 0 collects and sorts them, so that the report does not depend
 * on the number of ranks. */
#ifndef TANDEM_DATA_PREP_REPORT_H
#define TANDEM_DATA_PREP_REPORT_H

#include "tandem/pack.h"

#include <jansson.h>

/* A line on the item at `place` of the packer's order. caption: its number, 0: the whole sample is bad. */
TDM_CHECKED tdm_status report_note(tdm_text *lines, int64_t place, int64_t caption, const tdm_pack_item *item,
                                   const char *message);

/* The sorted notes of all ranks. */
typedef struct report_notes {
    json_t *bad, *bad_captions; /* owned */
    int64_t *bad_place;         /* [bad_n] owned; without what never became an item */
    int64_t bad_n;
} report_notes;
/* lines[bytes]: of all ranks, in any order. What never became an item (list->fault) comes first. */
TDM_CHECKED tdm_status report_sort(const tdm_pack_list *list, const char *lines, size_t bytes,
                                   report_notes *notes);
void report_notes_free(report_notes *notes);

typedef struct report_head {
    const char *dataset, *format;
    const tdm_pack_list *list;
    const tdm_pack_result *result;
    const char *const *empty_source; /* [empty_sources] */
    int64_t empty_sources;
    bool named_identities; /* list->identities are in use as numbers */
} report_head;
TDM_CHECKED tdm_status report_write(const char *path, const report_head *head, const report_notes *notes);

/* Logs what was left out, a line for each kind: "left out: 12 files that are …: 10 .json, 2 .md". */
TDM_CHECKED tdm_status report_log_left_out(const tdm_pack_list *list);
/* The same of all kinds as one clause, "12 files that are …: 10 .json, 2 .md; 1 …"; appended. */
TDM_CHECKED tdm_status report_tell_left_out(const tdm_pack_list *list, tdm_text *out);

#endif
