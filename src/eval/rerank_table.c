/* The table of re-rankings, and what was asked for of it. */
#include "rerank_impl.h"

#define RERANK_ADDRESS(rerank) &rerank,
static const tdm_rerank *const reranks[] = {TDM_RERANK_TABLE(RERANK_ADDRESS)};
enum { RERANKS = sizeof reranks / sizeof reranks[0] };

const tdm_rerank *const *tdm_rerank_table(size_t *count)
{
    *count = RERANKS;
    return reranks;
}

static tdm_status add(const char *where, const call_text *text, tdm_distance distance, tdm_rerank_list *list)
{
    const char *known[RERANKS];
    size_t at;
    for (size_t i = 0; i < RERANKS; i++) known[i] = reranks[i]->name;
    TDM_TRY(call_find(where, text, known, RERANKS, &at));
    const tdm_rerank *row = reranks[at];
    TDM_REQUIRE(list->count < TDM_MAX_RERANKS, TDM_E_USAGE, "%s: more than %d", where, TDM_MAX_RERANKS);
    TDM_REQUIRE(distance == TDM_COSINE || (distance == TDM_EUCLIDEAN && row->takes_euclidean), TDM_E_USAGE,
                "%s: %s is defined for --distance cosine%s", where, row->name,
                row->takes_euclidean ? " and euclidean" : "");
    tdm_rerank_call *call = &list->call[list->count++];
    call->row = row;
    TDM_TRY(tdm_alloc(row->option_bytes, "options of a re-ranking", &call->options));
    return call_options(where, text, row->options, row->option_count, call->options);
}

tdm_status tdm_rerank_ask(const char *where, const char *calls, tdm_distance distance, tdm_rerank_list *list)
{
    *list = (tdm_rerank_list){0};
    tdm_status status = TDM_OK;
    while (status == TDM_OK && *calls != '\0') {
        call_text text;
        status = call_next(where, &calls, &text);
        if (status == TDM_OK) status = add(where, &text, distance, list);
    }
    if (status != TDM_OK) tdm_rerank_list_free(list);
    return status;
}

void tdm_rerank_list_free(tdm_rerank_list *list)
{
    for (int64_t i = 0; i < list->count; i++) tdm_free(list->call[i].options);
    *list = (tdm_rerank_list){0};
}
