#include "reranked.h"

#include "ranking_files.h"
#include "result_json.h"

#include <stdio.h>
#include <string.h>

void reranked_explain(void)
{
    size_t count = 0;
    const tdm_rerank *const *row = tdm_rerank_table(&count);
    puts("\n--rerank, as in k_reciprocal or k_reciprocal(k1=30, lambda=0.2):");
    for (size_t i = 0; i < count; i++)
        tdm_print_call(row[i]->name, row[i]->help, row[i]->options, row[i]->option_count);
}

static double option_value(const tdm_rerank_call *call, const tdm_option *option)
{
    const void *field = (const unsigned char *)call->options + option->offset;
    return option->type == TDM_OPTION_INT ? (double)*(const int64_t *)field : *(const double *)field;
}

json_t *reranked_json(const tdm_rerank_call *call)
{
    return result_call(call->row->name, call->row->options, call->row->option_count, call->options);
}

tdm_status reranked_title(const tdm_rerank_call *call, tdm_text *title)
{
    TDM_TRY(tdm_text_printf(title, "%s(", call->row->name));
    for (size_t o = 0; o < call->row->option_count; o++)
        TDM_TRY(tdm_text_printf(title, "%s%s=%.9g", o > 0 ? ", " : "", call->row->options[o].key,
                                option_value(call, &call->row->options[o])));
    return tdm_text_printf(title, ")");
}

/* ---- One direction ---- */

static tdm_status write_run(const reranking *r, const tdm_reordering *reordering, const char *path)
{
    const ranking_run run = {.query = r->plain->query,
                             .gallery = r->gallery,
                             .junk = r->junk,
                             .query_first = r->query_first,
                             .n = r->input->query->n,
                             .depth = r->depth,
                             .path = path};
    const int64_t k = ranking_length(&run);
    int64_t *row = NULL;
    float *score = NULL;
    tdm_status status = TDM_ALLOC(run.n * k, &row);
    if (status == TDM_OK) status = TDM_ALLOC(run.n * k, &score);
    status = tdm_comm_agree(r->input->comm, status);
    if (status == TDM_OK) status = tdm_reordering_top_k(r->input, reordering, k, row, score);
    if (status == TDM_OK) status = ranking_write_lists(r->input->comm, &run, row, score);
    tdm_free(row);
    tdm_free(score);
    return status;
}

/* value [rows][local queries] */
static tdm_status write_queries(const reranking *r, const double *value, const char *path)
{
    query_values each = {.query = r->plain->query,
                         .cluster = r->plain->cluster,
                         .cluster_by = r->plain->cluster_by,
                         .rows = r->plain->rows};
    tdm_status status = query_values_gather(r->input->comm, r->input->query->n, value, &each);
    if (status == TDM_OK) status = query_values_write(r->input->comm, &each, path);
    query_values_free(&each);
    return status;
}

static tdm_status write_files(const reranking *r, const char *name, int64_t number,
                              const tdm_reordering *reordering, const double *value)
{
    char path[TDM_PATH_BYTES];
    if (r->per_query[0] != '\0') {
        TDM_TRY(ranking_path_beside(r->per_query, name, number, path));
        TDM_TRY(write_queries(r, value, path));
    }
    if (r->run_out[0] == '\0') return TDM_OK;
    TDM_TRY(ranking_path_beside(r->run_out, name, number, path));
    return write_run(r, reordering, path);
}

static tdm_status show(const char *title, const tdm_metrics *metrics, double seconds)
{
    tdm_text name = {0};
    char behind[60];
    snprintf(behind, sizeof behind, "; it took %.2f s", seconds);
    tdm_status status = tdm_text_printf(&name, "%s: ", title);
    if (status == TDM_OK) status = result_log(name.data, metrics, behind);
    tdm_text_free(&name);
    return status;
}

/* call NULL: the plain order. */
static tdm_status rank(const reranking *r, const tdm_rerank_call *call, const char *title, const char *name,
                       int64_t number, tdm_metrics *metrics)
{
    const double begin_s = tdm_now_s();
    tdm_comm *comm = r->input->comm;
    tdm_reordering reordering = {0};
    double *value = NULL;
    tdm_status status =
        tdm_comm_agree(comm, TDM_ALLOC((int64_t)r->plain->rows->count * r->input->query->n, &value));
    tdm_eval_detail detail = {.rows = r->plain->rows, .value = value};
    if (status == TDM_OK && call) status = call->row->reorder(r->input, call->options, &reordering);
    if (status == TDM_OK) status = tdm_reordering_metrics(r->input, &reordering, metrics, &detail);
    if (status == TDM_OK) status = tdm_comm_agree(comm, show(title, metrics, tdm_now_s() - begin_s));
    if (status == TDM_OK) status = write_files(r, name, number, &reordering, value);
    tdm_reordering_free(&reordering);
    tdm_free(value);
    return status;
}

tdm_status reranked_plain(const reranking *r, const char *name, tdm_metrics *metrics)
{
    return rank(r, NULL, name, name, 1, metrics);
}

static tdm_status rerank(const reranking *r, int64_t i, const char *key, json_t *entries)
{
    const tdm_rerank_call *call = &r->list->call[i];
    int64_t same = 1;
    for (int64_t j = 0; j < i; j++) same += r->list->call[j].row == call->row;
    tdm_text title = {0};
    tdm_metrics metrics;
    tdm_status status = tdm_comm_agree(r->input->comm, reranked_title(call, &title));
    if (status == TDM_OK) status = rank(r, call, title.data, call->row->name, same, &metrics);
    tdm_text_free(&title);
    TDM_TRY(status);
    json_t *entry = reranked_json(call);
    json_object_set_new(entry, key, result_metrics(&metrics));
    json_array_append_new(entries, entry);
    return TDM_OK;
}

tdm_status reranked_all(const reranking *r, const char *key, json_t *entries)
{
    for (int64_t i = 0; i < r->list->count; i++) TDM_TRY(rerank(r, i, key, entries));
    return TDM_OK;
}
