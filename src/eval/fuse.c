/* Runs made one, query by query. */
#include "fuse_table.h"
#include "rerank_impl.h"

#include <math.h>
#include <stdlib.h>

void tdm_run_free(tdm_run *run)
{
    tdm_free(run->offset);
    tdm_free(run->row);
    tdm_free(run->score);
    *run = (tdm_run){0};
}

/* ---- What was asked for ---- */

#define FUSION_ADDRESS(fusion) &fusion,
static const tdm_fusion *const fusions[] = {TDM_FUSION_TABLE(FUSION_ADDRESS)};
enum { FUSIONS = sizeof fusions / sizeof fusions[0] };

const tdm_fusion *const *tdm_fusion_table(size_t *count)
{
    *count = FUSIONS;
    return fusions;
}

static tdm_status add(const char *where, const call_text *text, tdm_fusion_list *list)
{
    const char *known[FUSIONS];
    size_t at;
    for (size_t i = 0; i < FUSIONS; i++) known[i] = fusions[i]->name;
    TDM_TRY(call_find(where, text, known, FUSIONS, &at));
    TDM_REQUIRE(list->count < TDM_MAX_FUSIONS, TDM_E_USAGE, "%s: more than %d", where, TDM_MAX_FUSIONS);
    tdm_fusion_call *call = &list->call[list->count++];
    call->row = fusions[at];
    TDM_TRY(tdm_alloc(call->row->option_bytes, "options of a fusion", &call->options));
    return call_options(where, text, call->row->options, call->row->option_count, call->options);
}

tdm_status tdm_fusion_ask(const char *where, const char *calls, tdm_fusion_list *list)
{
    *list = (tdm_fusion_list){0};
    tdm_status status = TDM_OK;
    while (status == TDM_OK && *calls != '\0') {
        call_text text;
        status = call_next(where, &calls, &text);
        if (status == TDM_OK) status = add(where, &text, list);
    }
    if (status != TDM_OK) tdm_fusion_list_free(list);
    return status;
}

void tdm_fusion_list_free(tdm_fusion_list *list)
{
    for (int64_t i = 0; i < list->count; i++) tdm_free(list->call[i].options);
    *list = (tdm_fusion_list){0};
}

/* ---- One query ---- */

typedef struct listed { /* a document in one of the runs */
    int64_t row, run, rank;
    double scaled;
} listed;

typedef struct fused_row {
    int64_t row;
    double score;
} fused_row;

static int compare_listed(const void *a, const void *b)
{
    const listed *x = a, *y = b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return (x->run > y->run) - (x->run < y->run);
}

static int compare_fused(const void *a, const void *b)
{
    const fused_row *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* All lists of a query, by document. As ranx scales: a list of one score becomes zeros. */
static int64_t gather(int64_t runs, const tdm_run *run, int64_t query, listed *out)
{
    int64_t n = 0;
    for (int64_t r = 0; r < runs; r++) {
        const int64_t begin = run[r].offset[query], end = run[r].offset[query + 1];
        if (begin == end) continue;
        const double low = run[r].score[end - 1], range = fmax(run[r].score[begin] - low, 1e-9);
        for (int64_t p = begin; p < end; p++)
            out[n++] = (listed){.row = run[r].row[p],
                                .run = r,
                                .rank = p - begin + 1,
                                .scaled = (run[r].score[p] - low) / range};
    }
    qsort(out, (size_t)n, sizeof *out, compare_listed);
    return n;
}

/* list[n] by document -> out, best first. Returns how many. */
static int64_t fuse_query(const tdm_fusion_call *call, int64_t runs, const listed *list, int64_t n,
                          fused_row *out)
{
    int64_t count = 0;
    for (int64_t at = 0; at < n;) {
        int64_t rank[TDM_MAX_RUNS] = {0};
        double scaled[TDM_MAX_RUNS] = {0};
        const int64_t row = list[at].row;
        for (; at < n && list[at].row == row; at++) {
            rank[list[at].run] = list[at].rank;
            scaled[list[at].run] = list[at].scaled;
        }
        out[count++] = (fused_row){.row = row, .score = call->row->score(call->options, runs, rank, scaled)};
    }
    qsort(out, (size_t)count, sizeof *out, compare_fused);
    return count;
}

static tdm_status fuse_all(const tdm_fusion_call *call, int64_t runs, const tdm_run *run, listed *list,
                           fused_row *room, tdm_run *fused)
{
    for (int64_t q = 0; q < fused->queries; q++) {
        const int64_t n = gather(runs, run, q, list), begin = fused->offset[q];
        const int64_t count = fuse_query(call, runs, list, n, room);
        for (int64_t i = 0; i < count; i++) {
            fused->row[begin + i] = room[i].row;
            fused->score[begin + i] = room[i].score;
        }
        fused->offset[q + 1] = begin + count;
    }
    return TDM_OK;
}

tdm_status tdm_fuse(const tdm_fusion_call *call, int64_t runs, const tdm_run *run, tdm_run *fused)
{
    TDM_REQUIRE(runs >= 1 && runs <= TDM_MAX_RUNS, TDM_E_USAGE, "%lld runs: from 1 to %d can be fused",
                (long long)runs, TDM_MAX_RUNS);
    int64_t lines = 0, longest = 0;
    for (int64_t r = 0; r < runs; r++) lines += run[r].offset[run[r].queries];
    for (int64_t q = 0; q < run[0].queries; q++) {
        int64_t n = 0;
        for (int64_t r = 0; r < runs; r++) n += run[r].offset[q + 1] - run[r].offset[q];
        longest = tdm_max_i64(longest, n);
    }
    listed *list = NULL;
    fused_row *room = NULL;
    *fused = (tdm_run){.queries = run[0].queries};
    tdm_status status = TDM_ALLOC(longest, &list);
    if (status == TDM_OK) status = TDM_ALLOC(longest, &room);
    if (status == TDM_OK) status = TDM_ALLOC(fused->queries + 1, &fused->offset);
    if (status == TDM_OK) status = TDM_ALLOC(lines, &fused->row);
    if (status == TDM_OK) status = TDM_ALLOC(lines, &fused->score);
    if (status == TDM_OK) status = fuse_all(call, runs, run, list, room, fused);
    tdm_free(list);
    tdm_free(room);
    if (status != TDM_OK) tdm_run_free(fused);
    return status;
}
