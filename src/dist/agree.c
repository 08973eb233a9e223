/* Whether all ranks have read the same. The lists are compared by their hashes, which costs one small Allreduce; only
 * where these differ does rank 0's list travel, and each rank looks for the first fact in which it differs. */
#include "comm_impl.h"

#include <string.h>

/* Rank 0's list and host, on every rank. */
typedef struct other_list {
    char *rows; /* owned (tdm_free) */
    tdm_reading reading;
    char host[64];
} other_list;

static tdm_status share_list(tdm_comm *comm, const tdm_reading *mine, other_list *first)
{
    int64_t bytes = (int64_t)mine->rows.length;
    memcpy(first->host, comm->host, sizeof first->host);
    tdm_comm_broadcast(comm, first->host, sizeof first->host, 0);
    tdm_comm_broadcast(comm, &bytes, sizeof bytes, 0);
    TDM_AGREE(comm, TDM_ALLOC(bytes, &first->rows));
    if (comm->rank == 0 && bytes > 0) memcpy(first->rows, mine->rows.data, (size_t)bytes);
    tdm_comm_broadcast(comm, first->rows, bytes, 0);
    first->reading.rows = (tdm_text){.data = first->rows, .length = (size_t)bytes};
    return TDM_OK;
}

static bool is_same(const tdm_fact *a, const tdm_fact *b)
{
    return strcmp(a->what, b->what) == 0 && strcmp(a->path, b->path) == 0 && strcmp(a->value, b->value) == 0;
}

/* Number of the first fact that differs, and both lists' (what NULL: the list has ended); INT64_MAX: none does. */
static int64_t find_difference(const tdm_reading *mine, const tdm_reading *first, tdm_fact *own,
                               tdm_fact *other)
{
    size_t at = 0, other_at = 0;
    for (int64_t i = 0;; i++) {
        const bool has = tdm_reading_next(mine, &at, own), others = tdm_reading_next(first, &other_at, other);
        if (!has) own->what = NULL;
        if (!others) other->what = NULL;
        if (!has && !others) return INT64_MAX;
        if (!has || !others || !is_same(own, other)) return i;
    }
}

/* "; 2 more ranks differ, too" */
static const char *count_others(int64_t count, char text[64])
{
    text[0] = '\0';
    if (count > 0)
        snprintf(text, 64, "; %lld more rank%s differ%s, too", (long long)count, count == 1 ? "" : "s",
                 count == 1 ? "s" : "");
    return text;
}

/* A value as messages show it: of a long one the beginning, of a SHA-256 less. */
static const char *shorten(const char *value, char text[48])
{
    const size_t length = strlen(value), shown = length == 64 ? 16 : 40;
    snprintf(text, 48, "%.*s", (int)shown, value);
    if (length <= shown) return text;
    tdm_trim_cut(text);
    strcat(text, "…");
    return text;
}

static tdm_status report(const tdm_fact *own, const tdm_fact *other, const char *host, int64_t others)
{
    char more[64], here[48], there[48];
    count_others(others, more);
    if (own->what == NULL)
        TDM_FAIL(TDM_E_DATA, "%s: rank 0 on %s has this %s (%s), this rank has not%s", other->path, host,
                 other->what, shorten(other->value, there), more);
    if (other->what == NULL)
        TDM_FAIL(TDM_E_DATA, "%s: this rank has this %s (%s), rank 0 on %s has not%s", own->path, own->what,
                 shorten(own->value, here), host, more);
    if (strcmp(own->what, other->what) != 0 || strcmp(own->path, other->path) != 0)
        TDM_FAIL(TDM_E_DATA, "%s: this rank has this %s where rank 0 on %s has the %s %s%s", own->path,
                 own->what, host, other->what, other->path, more);
    TDM_FAIL(TDM_E_DATA, "%s: another %s (%s) than that of rank 0 on %s (%s)%s", own->path, own->what,
             shorten(own->value, here), host, shorten(other->value, there), more);
}

/* The fact that stands first among those in which any rank differs is the error, of the lowest such rank. */
static tdm_status name_difference(tdm_comm *comm, const tdm_reading *mine, const other_list *first)
{
    tdm_fact own, other;
    int64_t place[comm->size], least = INT64_MAX, ranks = 0;
    const int64_t here = find_difference(mine, &first->reading, &own, &other);
    tdm_comm_gather_i64(comm, here, place);
    for (int r = 0; r < comm->size; r++) least = tdm_min_i64(least, place[r]);
    for (int r = 0; r < comm->size; r++) ranks += place[r] == least;
    const bool differs = here == least && here != INT64_MAX;
    return tdm_comm_agree(comm, differs ? report(&own, &other, first->host, ranks - 1) : TDM_OK);
}

static tdm_status compare(tdm_comm *comm, const tdm_reading *mine)
{
    other_list first = {0};
    if (tdm_comm_all_equal_u64(comm, tdm_xxh64(mine->rows.data ? mine->rows.data : "", mine->rows.length)))
        return TDM_OK;
    tdm_status status = share_list(comm, mine, &first);
    if (status == TDM_OK) status = name_difference(comm, mine, &first);
    tdm_free(first.rows);
    return status;
}

tdm_status tdm_comm_agree_on(tdm_comm *comm, tdm_status local, tdm_reading *reading)
{
    tdm_status status = tdm_comm_agree(comm, local);
    if (status == TDM_OK && comm->size > 1) status = compare(comm, reading);
    tdm_reading_free(reading);
    return status;
}
