/* tandem eval --task retrieval: exact metrics of a model on a split, in both directions. */
#include "eval_task_table.h"
#include "result_json.h"
#include "sheet_items.h"

#include <string.h>

typedef struct retrieval_options {
    const char *positives; /* "": as the model's configuration says */
    int64_t sheet_queries, top;
} retrieval_options;

typedef struct retrieval {
    tdm_comm *comm;
    const eval_request *request;
    const retrieval_options *options;
    const tdm_match *match;
    bundle bundle;
    tdm_dataset *dataset;
    tdm_embeddings embeddings;
    tdm_metrics metrics[TDM_DIRECTIONS];
    double embed_s, rank_s;
} retrieval;

/* ---- Results ---- */

static tdm_status show_direction(tdm_direction direction, const tdm_metrics *m)
{
    const char *name = tdm_direction_label(direction);
    tdm_text values = {0};
    tdm_status status = tdm_metrics_print(m, false, &values);
    if (status == TDM_OK)
        tdm_log(TDM_LOG_INFO, "%s: %s  (%lld queries, gallery %lld%s)", name, values.data,
                (long long)m->queries, (long long)m->gallery,
                m->without_positive > 0 ? ", some without a positive" : "");
    if (m->without_positive > 0)
        tdm_log(TDM_LOG_WARN, "%s: %lld of %lld queries have no positive in the gallery and are left out",
                name, (long long)m->without_positive, (long long)m->queries);
    tdm_text_free(&values);
    return status;
}

/* The same bytes for any number of ranks: what depends on them, or on the clock, goes to the log. */
static tdm_status write_json(const retrieval *r)
{
    json_t *root = json_object();
    json_object_set_new(root, "model", json_string(r->bundle.dir));
    json_object_set_new(root, "step", json_integer(r->bundle.step));
    json_object_set_new(root, "data", json_string(r->request->data));
    json_object_set_new(root, "split", json_string(r->request->split));
    json_object_set_new(root, "positives", json_string(r->match->name));
    json_object_set_new(root, "precision",
                        json_string(tdm_ops_dtype(r->bundle.ops) == TDM_BF16 ? "bf16" : "f32"));
    for (int i = 0; i < TDM_DIRECTIONS; i++)
        json_object_set_new(root, tdm_direction_key((tdm_direction)i), result_metrics(&r->metrics[i]));
    return result_write(root, 17, r->request->json);
}

/* ---- Contact sheet: some captions with the images found for them ---- */

/* Caption of sheet query q: evenly spread over the split. */
static int64_t sheet_caption(const retrieval *r, int64_t q, int64_t queries)
{
    return tdm_dataset_captions(r->dataset) * q / queries;
}

typedef struct sheet_search {
    int64_t queries, k;                   /* global number of queries */
    int64_t local_n;                      /* those whose captions this rank embedded: consecutive */
    float *feature;                       /* [local_n][d] */
    float *score;                         /* [local_n][k] */
    int64_t *row;                         /* [local_n][k] */
    unsigned char *all_rows, *all_scores; /* on rank 0, of all queries in order */
} sheet_search;

static tdm_status select_queries(const retrieval *r, sheet_search *s)
{
    const tdm_embeddings *emb = &r->embeddings;
    s->queries = tdm_min_i64(r->options->sheet_queries, tdm_dataset_captions(r->dataset));
    s->k = tdm_min_i64(r->options->top, tdm_dataset_images(r->dataset));
    TDM_TRY(TDM_ALLOC(s->queries * emb->d, &s->feature));
    for (int64_t q = 0; q < s->queries; q++) {
        const int64_t local = sheet_caption(r, q, s->queries) - emb->caption_first;
        if (local < 0 || local >= emb->captions) continue;
        memcpy(s->feature + s->local_n++ * emb->d, emb->text + local * emb->d,
               (size_t)emb->d * sizeof(float));
    }
    TDM_TRY(TDM_ALLOC(s->local_n * s->k, &s->row));
    return TDM_ALLOC(s->local_n * s->k, &s->score);
}

/* On rank 0: reads what query q found. */
static tdm_status read_query(const retrieval *r, const sheet_search *s, int64_t q, found_item *items)
{
    const int64_t *row = (const int64_t *)(const void *)s->all_rows + q * s->k;
    const float *score = (const float *)(const void *)s->all_scores + q * s->k;
    const int64_t own = tdm_dataset_caption_image(r->dataset, sheet_caption(r, q, s->queries));
    for (int64_t i = 0; i < s->k; i++) {
        items[i].row = row[i];
        items[i].score = (double)score[i];
        TDM_TRY(r->match->is_positive(r->dataset, own, row[i], &items[i].is_positive));
        TDM_TRY(found_item_read(r->dataset, -1, true, &items[i]));
    }
    return TDM_OK;
}

static tdm_status write_sheet(const retrieval *r, const sheet_search *s, found_item *items,
                              tdm_sheet_item *shown, tdm_sheet_query *query, tdm_text *caption)
{
    tdm_text title = {0}, subtitle = {0};
    for (int64_t q = 0; q < s->queries; q++) {
        TDM_TRY(read_query(r, s, q, items + q * s->k));
        TDM_TRY(tdm_dataset_read_caption(r->dataset, sheet_caption(r, q, s->queries), &caption[q]));
        found_items_show(items + q * s->k, s->k, shown + q * s->k);
        query[q] = (tdm_sheet_query){.text = caption[q].data, .item = shown + q * s->k, .item_count = s->k};
    }
    tdm_status status = tdm_text_printf(&title, "Text to image: ");
    if (status == TDM_OK) status = tdm_metrics_print(&r->metrics[TDM_TEXT_TO_IMAGE], true, &title);
    if (status == TDM_OK)
        status = tdm_text_printf(
            &subtitle,
            "%s, step %lld, on %s, split %s. %lld of %lld captions, spread evenly; images that "
            "belong to the caption (by %s) are framed.",
            r->bundle.dir, (long long)r->bundle.step, r->request->data, r->request->split,
            (long long)s->queries, (long long)r->metrics[TDM_TEXT_TO_IMAGE].queries, r->match->name);
    if (status == TDM_OK)
        status = tdm_sheet_write(r->request->html, title.data, subtitle.data, query, s->queries);
    tdm_text_free(&title);
    tdm_text_free(&subtitle);
    return status;
}

static tdm_status show_sheet(const retrieval *r, const sheet_search *s)
{
    found_item *items = NULL;
    tdm_sheet_item *shown = NULL;
    tdm_sheet_query *query = NULL;
    tdm_text *caption = NULL;
    tdm_status status = TDM_ALLOC(s->queries * s->k, &items);
    if (status == TDM_OK) status = TDM_ALLOC(s->queries * s->k, &shown);
    if (status == TDM_OK) status = TDM_ALLOC(s->queries, &query);
    if (status == TDM_OK) status = TDM_ALLOC(s->queries, &caption);
    if (status == TDM_OK) status = write_sheet(r, s, items, shown, query, caption);
    for (int64_t q = 0; caption != NULL && q < s->queries; q++) tdm_text_free(&caption[q]);
    tdm_free(caption);
    tdm_free(query);
    tdm_free(shown);
    found_items_free(items, s->queries * s->k);
    return status;
}

static tdm_status search_for_sheet(const retrieval *r, sheet_search *s)
{
    const tdm_embeddings *emb = &r->embeddings;
    TDM_AGREE(r->comm, select_queries(r, s));
    const tdm_eval_side query = {.n = s->local_n, .d = emb->d, .feature = s->feature};
    const tdm_eval_side gallery = {.n = emb->images, .d = emb->d, .feature = emb->image};
    TDM_TRY(tdm_eval_top_k(r->comm, r->bundle.ops, &query, &gallery, s->k, 1024, s->row, s->score));
    int64_t *offset = NULL;
    TDM_AGREE(r->comm, TDM_ALLOC(tdm_comm_size(r->comm) + 1, &offset));
    const int64_t found = s->local_n * s->k;
    tdm_status status =
        tdm_comm_collect(r->comm, s->row, found * (int64_t)sizeof *s->row, &s->all_rows, offset);
    if (status == TDM_OK)
        status =
            tdm_comm_collect(r->comm, s->score, found * (int64_t)sizeof *s->score, &s->all_scores, offset);
    tdm_free(offset);
    TDM_TRY(status);
    return tdm_comm_agree(r->comm, tdm_comm_rank(r->comm) == 0 ? show_sheet(r, s) : TDM_OK);
}

static tdm_status make_sheet(const retrieval *r)
{
    sheet_search s = {0};
    const tdm_status status = search_for_sheet(r, &s);
    tdm_free(s.feature);
    tdm_free(s.row);
    tdm_free(s.score);
    tdm_free(s.all_rows);
    tdm_free(s.all_scores);
    return status;
}

/* ---- The command ---- */

static tdm_status find_match(retrieval *r)
{
    const char *positives = r->options->positives;
    if (positives[0] != '\0')
        return tdm_match_find("tandem eval: --positives", TDM_E_USAGE, positives, &r->match);
    return tdm_match_find("eval.positives", TDM_E_CONFIG, r->bundle.config.eval.positives, &r->match);
}

static tdm_status evaluate(retrieval *r)
{
    const eval_request *o = r->request;
    TDM_TRY(bundle_open(r->comm, &o->bundle, false, &r->bundle));
    TDM_AGREE(r->comm, bundle_open_data(&r->bundle, o->data, o->split, &r->dataset));
    TDM_AGREE(r->comm, find_match(r));
    bundle_show(r->comm, &r->bundle);
    double begin_s = tdm_now_s();
    TDM_AGREE(r->comm,
              tdm_embed_dataset(r->comm, r->bundle.model, r->bundle.ops, &r->bundle.config, r->dataset,
                                r->bundle.tokenizer, o->bundle.batch, o->bundle.workers, &r->embeddings));
    r->embed_s = tdm_now_s() - begin_s;
    begin_s = tdm_now_s();
    TDM_TRY(tdm_eval_embeddings(r->comm, r->bundle.ops, &r->embeddings, r->match, r->metrics));
    r->rank_s = tdm_now_s() - begin_s;
    for (int i = 0; i < TDM_DIRECTIONS; i++) TDM_TRY(show_direction((tdm_direction)i, &r->metrics[i]));
    tdm_log(TDM_LOG_INFO, "positives by %s; embedding took %.1f s, ranking %.2f s", r->match->name,
            r->embed_s, r->rank_s);
    TDM_AGREE(r->comm, tdm_comm_rank(r->comm) == 0 ? write_json(r) : TDM_OK);
    return o->html[0] != '\0' ? make_sheet(r) : TDM_OK;
}

static tdm_status retrieval_run(tdm_comm *comm, const eval_request *request, const void *options)
{
    retrieval r = {.comm = comm, .request = request, .options = options};
    const tdm_status status = evaluate(&r);
    tdm_embeddings_free(&r.embeddings);
    tdm_dataset_close(&r.dataset);
    bundle_close(&r.bundle);
    return status;
}

/* ---- Options ---- */

static const retrieval_options defaults = {.positives = "", .sheet_queries = 24, .top = 10};

static size_t retrieval_flags(void *options, tdm_flag flag[EVAL_TASK_MAX_FLAGS])
{
    retrieval_options *o = options;
    const tdm_flag own[] = {
        FLAG_STRING("--positives", &o->positives, "NAME", "",
                    "what belongs together, see below; unset: eval.positives of the model's configuration"),
        FLAG_INT("--queries", &o->sheet_queries, "N", "24", "captions", 1, 10000,
                 "evenly spread over the split, on the contact sheet"),
        FLAG_INT("-k,--top", &o->top, "N", "10", "images", 1, 1000, "per caption of the sheet"),
    };
    memcpy(flag, own, sizeof own);
    return sizeof own / sizeof own[0];
}

static void explain(void)
{
    size_t metrics = 0, matches = 0;
    const tdm_metric *const *metric = tdm_metric_table(&metrics);
    const tdm_match *const *match = tdm_match_table(&matches);
    puts("\n--positives:");
    for (size_t i = 0; i < matches; i++) printf("  %-24s  %s\n", match[i]->name, match[i]->help);
    puts("\nMetrics of --task retrieval:");
    for (size_t i = 0; i < metrics; i++) printf("  %-24s  %s\n", metric[i]->name, metric[i]->help);
}

const eval_task task_retrieval = {
    .name = "retrieval",
    .help = "texts find images and images find texts; --html: a contact sheet, positives framed",
    .option_bytes = sizeof defaults,
    .defaults = &defaults,
    .flags = retrieval_flags,
    .explain = explain,
    .run = retrieval_run,
};
