/* Metrics by groups of queries, and their macro average. Every rank sums all queries of a group in their global order. */
#include "eval_impl.h"

#include "tandem/eval_groups.h"

#include <math.h>
#include <stdlib.h>

typedef struct grouping { /* all queries, on every rank */
    int64_t *rows;        /* [ranks] queries of each */
    int64_t queries, members;
    tdm_keyed *member; /* [members] groups and their queries, in this order */
    int64_t *offset;   /* [groups + 1] */
    double *value;     /* [queries] room for one metric */
    double *chosen;    /* [queries] room */
} grouping;

static void free_grouping(grouping *g)
{
    tdm_free(g->rows);
    tdm_free(g->member);
    tdm_free(g->offset);
    tdm_free(g->value);
    tdm_free(g->chosen);
}

/* ---- Who belongs where ---- */

static int64_t count_bits(const uint64_t *bits, int64_t words)
{
    int64_t count = 0;
    for (int64_t w = 0; w < words; w++) count += __builtin_popcountll(bits[w]);
    return count;
}

/* One member for each id, or for each bit: this rank's, numbered by the global queries. */
static tdm_status list_own(const tdm_query_groups *of, int64_t first, int64_t n, int64_t *count,
                           tdm_keyed **own)
{
    *count = of->id ? n : count_bits(of->bits, n * of->words);
    TDM_TRY(TDM_ALLOC(*count, own));
    tdm_keyed *out = *own;
    for (int64_t i = 0; i < n && of->id; i++) *out++ = (tdm_keyed){of->id[i], first + i};
    for (int64_t i = 0; i < n && !of->id; i++)
        for (int64_t c = 0; c < 64 * of->words; c++)
            if (of->bits[i * of->words + c / 64] >> c % 64 & 1) *out++ = (tdm_keyed){c, first + i};
    return TDM_OK;
}

static tdm_status make_offsets(grouping *g, tdm_group_metrics *metrics)
{
    TDM_TRY(TDM_ALLOC(g->members + 1, &g->offset));
    for (int64_t i = 0; i < g->members; i++)
        if (i == 0 || g->member[i].key != g->member[i - 1].key) g->offset[metrics->groups++] = i;
    g->offset[metrics->groups] = g->members;
    TDM_TRY(TDM_ALLOC(metrics->groups, &metrics->id));
    TDM_TRY(TDM_ALLOC(metrics->groups, &metrics->queries));
    for (int64_t k = 0; k < metrics->groups; k++) metrics->id[k] = g->member[g->offset[k]].key;
    return TDM_OK;
}

/* Collective. */
static tdm_status find_groups(tdm_comm *comm, int64_t n, const tdm_query_groups *of, grouping *g,
                              tdm_group_metrics *metrics)
{
    const int size = tdm_comm_size(comm);
    int64_t *count = NULL, own_count = 0, first = 0;
    tdm_keyed *own = NULL;
    TDM_AGREE(comm, TDM_ALLOC(size, &g->rows));
    g->queries = eval_count_rows(comm, n, g->rows, &first);
    tdm_status status = list_own(of, first, n, &own_count, &own);
    if (status == TDM_OK) status = TDM_ALLOC(size, &count);
    if (status == TDM_OK) status = TDM_ALLOC(g->queries, &g->value);
    if (status == TDM_OK) status = TDM_ALLOC(g->queries, &g->chosen);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_gather_i64(comm, own_count, count);
        for (int r = 0; r < size; r++) g->members += count[r];
        status = tdm_comm_agree(comm, TDM_ALLOC(g->members, &g->member));
    }
    if (status == TDM_OK) {
        tdm_comm_gather_rows(comm, own, g->member, count, sizeof *own);
        qsort(g->member, (size_t)g->members, sizeof *g->member, tdm_compare_keyed);
        status = tdm_comm_agree(comm, make_offsets(g, metrics));
    }
    tdm_free(own);
    tdm_free(count);
    return status;
}

/* ---- What they come to ---- */

/* The values of group k that are numbers, into g->chosen. */
static int64_t choose(const grouping *g, int64_t k)
{
    int64_t n = 0;
    for (int64_t i = g->offset[k]; i < g->offset[k + 1]; i++) {
        const double value = g->value[g->member[i].place];
        if (!isnan(value)) g->chosen[n++] = value;
    }
    return n;
}

static void summarise_groups(const grouping *g, const tdm_metric *row, size_t r, tdm_group_metrics *metrics)
{
    double sum = 0;
    int64_t with = 0;
    for (int64_t k = 0; k < metrics->groups; k++) {
        const int64_t n = choose(g, k);
        const double value = n > 0 ? tdm_metric_summarise(row, n, g->chosen) : NAN;
        metrics->queries[k] = n;
        if (metrics->value) metrics->value[(int64_t)r * metrics->groups + k] = value;
        if (n == 0) continue;
        sum += value;
        with++;
    }
    metrics->without_positive = metrics->groups - with;
    metrics->macro[r] = row->summary != TDM_MEAN ? NAN : with > 0 ? sum / (double)with : row->empty;
}

tdm_status tdm_eval_group_metrics(tdm_comm *comm, const tdm_metric_rows *rows, int64_t n, const double *value,
                                  const tdm_query_groups *of, bool each, tdm_group_metrics *metrics)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(rows, &count);
    grouping g = {0};
    *metrics = (tdm_group_metrics){0};
    tdm_status status = find_groups(comm, n, of, &g, metrics);
    if (status == TDM_OK)
        status = tdm_comm_agree(comm,
                                each ? TDM_ALLOC((int64_t)count * metrics->groups, &metrics->value) : TDM_OK);
    for (size_t r = 0; status == TDM_OK && r < count; r++) {
        tdm_comm_gather_rows(comm, value + (int64_t)r * n, g.value, g.rows, sizeof *g.value);
        summarise_groups(&g, row[r], r, metrics);
    }
    free_grouping(&g);
    if (status != TDM_OK) tdm_group_metrics_free(metrics);
    return status;
}

void tdm_group_metrics_free(tdm_group_metrics *metrics)
{
    tdm_free(metrics->id);
    tdm_free(metrics->queries);
    tdm_free(metrics->value);
    metrics->id = metrics->queries = NULL;
    metrics->value = NULL;
}
