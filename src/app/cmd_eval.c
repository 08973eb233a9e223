/* tandem eval: exact retrieval metrics of a model on a split, in both directions; or zero-shot
 * classification, eval_zeroshot.c. */
#include "eval_zeroshot.h"
#include "result_json.h"
#include "sheet_items.h"

#include <stdlib.h>
#include <string.h>

typedef struct eval_options {
    bundle_options bundle;
    const char *task, *data, *split, *json, *html, *positives, *classes, *templates;
    int64_t sheet_queries, top;
} eval_options;

typedef struct evaluation {
    tdm_comm *comm;
    const eval_options *options;
    const tdm_match *match;
    bundle bundle;
    tdm_dataset *dataset;
    tdm_embeddings embeddings;
    tdm_metrics metrics[TDM_DIRECTIONS];
    double embed_s, rank_s;
} evaluation;

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
static tdm_status write_json(const evaluation *e)
{
    json_t *root = json_object();
    json_object_set_new(root, "model", json_string(e->bundle.dir));
    json_object_set_new(root, "step", json_integer(e->bundle.step));
    json_object_set_new(root, "data", json_string(e->options->data));
    json_object_set_new(root, "split", json_string(e->options->split));
    json_object_set_new(root, "positives", json_string(e->match->name));
    json_object_set_new(root, "precision",
                        json_string(tdm_ops_dtype(e->bundle.ops) == TDM_BF16 ? "bf16" : "f32"));
    for (int i = 0; i < TDM_DIRECTIONS; i++)
        json_object_set_new(root, tdm_direction_key((tdm_direction)i), result_metrics(&e->metrics[i]));
    return result_write(root, 17, e->options->json);
}

/* ---- Contact sheet: some captions with the images found for them ---- */

/* Caption of sheet query q: evenly spread over the split. */
static int64_t sheet_caption(const evaluation *e, int64_t q, int64_t queries)
{
    return tdm_dataset_captions(e->dataset) * q / queries;
}

typedef struct sheet_search {
    int64_t queries, k;                   /* global number of queries */
    int64_t local_n;                      /* those whose captions this rank embedded: consecutive */
    float *feature;                       /* [local_n][d] */
    float *score;                         /* [local_n][k] */
    int64_t *row;                         /* [local_n][k] */
    unsigned char *all_rows, *all_scores; /* on rank 0, of all queries in order */
} sheet_search;

static tdm_status select_queries(const evaluation *e, sheet_search *s)
{
    const tdm_embeddings *emb = &e->embeddings;
    s->queries = tdm_min_i64(e->options->sheet_queries, tdm_dataset_captions(e->dataset));
    s->k = tdm_min_i64(e->options->top, tdm_dataset_images(e->dataset));
    TDM_TRY(TDM_ALLOC(s->queries * emb->d, &s->feature));
    for (int64_t q = 0; q < s->queries; q++) {
        const int64_t local = sheet_caption(e, q, s->queries) - emb->caption_first;
        if (local < 0 || local >= emb->captions) continue;
        memcpy(s->feature + s->local_n++ * emb->d, emb->text + local * emb->d,
               (size_t)emb->d * sizeof(float));
    }
    TDM_TRY(TDM_ALLOC(s->local_n * s->k, &s->row));
    return TDM_ALLOC(s->local_n * s->k, &s->score);
}

/* On rank 0: reads what query q found. */
static tdm_status read_query(const evaluation *e, const sheet_search *s, int64_t q, found_item *items)
{
    const int64_t *row = (const int64_t *)(const void *)s->all_rows + q * s->k;
    const float *score = (const float *)(const void *)s->all_scores + q * s->k;
    const int64_t own = tdm_dataset_caption_image(e->dataset, sheet_caption(e, q, s->queries));
    for (int64_t i = 0; i < s->k; i++) {
        items[i].row = row[i];
        items[i].score = (double)score[i];
        TDM_TRY(e->match->is_positive(e->dataset, own, row[i], &items[i].is_positive));
        TDM_TRY(found_item_read(e->dataset, -1, true, &items[i]));
    }
    return TDM_OK;
}

static tdm_status write_sheet(const evaluation *e, const sheet_search *s, found_item *items,
                              tdm_sheet_item *shown, tdm_sheet_query *query, tdm_text *caption)
{
    tdm_text title = {0}, subtitle = {0};
    for (int64_t q = 0; q < s->queries; q++) {
        TDM_TRY(read_query(e, s, q, items + q * s->k));
        TDM_TRY(tdm_dataset_read_caption(e->dataset, sheet_caption(e, q, s->queries), &caption[q]));
        found_items_show(items + q * s->k, s->k, shown + q * s->k);
        query[q] = (tdm_sheet_query){.text = caption[q].data, .item = shown + q * s->k, .item_count = s->k};
    }
    tdm_status status = tdm_text_printf(&title, "Text to image: ");
    if (status == TDM_OK) status = tdm_metrics_print(&e->metrics[TDM_TEXT_TO_IMAGE], true, &title);
    if (status == TDM_OK)
        status = tdm_text_printf(
            &subtitle,
            "%s, step %lld, on %s, split %s. %lld of %lld captions, spread evenly; images that "
            "belong to the caption (by %s) are framed.",
            e->bundle.dir, (long long)e->bundle.step, e->options->data, e->options->split,
            (long long)s->queries, (long long)e->metrics[TDM_TEXT_TO_IMAGE].queries, e->match->name);
    if (status == TDM_OK)
        status = tdm_sheet_write(e->options->html, title.data, subtitle.data, query, s->queries);
    tdm_text_free(&title);
    tdm_text_free(&subtitle);
    return status;
}

static tdm_status show_sheet(const evaluation *e, const sheet_search *s)
{
    found_item *items = NULL;
    tdm_sheet_item *shown = NULL;
    tdm_sheet_query *query = NULL;
    tdm_text *caption = NULL;
    tdm_status status = TDM_ALLOC(s->queries * s->k, &items);
    if (status == TDM_OK) status = TDM_ALLOC(s->queries * s->k, &shown);
    if (status == TDM_OK) status = TDM_ALLOC(s->queries, &query);
    if (status == TDM_OK) status = TDM_ALLOC(s->queries, &caption);
    if (status == TDM_OK) status = write_sheet(e, s, items, shown, query, caption);
    for (int64_t q = 0; caption != NULL && q < s->queries; q++) tdm_text_free(&caption[q]);
    tdm_free(caption);
    tdm_free(query);
    tdm_free(shown);
    found_items_free(items, s->queries * s->k);
    return status;
}

static tdm_status search_for_sheet(const evaluation *e, sheet_search *s)
{
    const tdm_embeddings *emb = &e->embeddings;
    TDM_AGREE(e->comm, select_queries(e, s));
    const tdm_eval_side query = {.n = s->local_n, .d = emb->d, .feature = s->feature};
    const tdm_eval_side gallery = {.n = emb->images, .d = emb->d, .feature = emb->image};
    TDM_TRY(tdm_eval_top_k(e->comm, e->bundle.ops, &query, &gallery, s->k, 1024, s->row, s->score));
    int64_t *offset = NULL;
    TDM_AGREE(e->comm, TDM_ALLOC(tdm_comm_size(e->comm) + 1, &offset));
    const int64_t found = s->local_n * s->k;
    tdm_status status =
        tdm_comm_collect(e->comm, s->row, found * (int64_t)sizeof *s->row, &s->all_rows, offset);
    if (status == TDM_OK)
        status =
            tdm_comm_collect(e->comm, s->score, found * (int64_t)sizeof *s->score, &s->all_scores, offset);
    tdm_free(offset);
    TDM_TRY(status);
    return tdm_comm_agree(e->comm, tdm_comm_rank(e->comm) == 0 ? show_sheet(e, s) : TDM_OK);
}

static tdm_status make_sheet(const evaluation *e)
{
    sheet_search s = {0};
    const tdm_status status = search_for_sheet(e, &s);
    tdm_free(s.feature);
    tdm_free(s.row);
    tdm_free(s.score);
    tdm_free(s.all_rows);
    tdm_free(s.all_scores);
    return status;
}

/* ---- The command ---- */

static tdm_status find_match(evaluation *e)
{
    const char *positives = e->options->positives;
    if (positives[0] != '\0')
        return tdm_match_find("tandem eval: --positives", TDM_E_USAGE, positives, &e->match);
    return tdm_match_find("eval.positives", TDM_E_CONFIG, e->bundle.config.eval.positives, &e->match);
}

static tdm_status evaluate(evaluation *e)
{
    const eval_options *o = e->options;
    TDM_TRY(bundle_open(e->comm, &o->bundle, false, &e->bundle));
    TDM_AGREE(e->comm, bundle_open_data(&e->bundle, o->data, o->split, &e->dataset));
    TDM_AGREE(e->comm, find_match(e));
    bundle_show(e->comm, &e->bundle);
    double begin_s = tdm_now_s();
    TDM_AGREE(e->comm,
              tdm_embed_dataset(e->comm, e->bundle.model, e->bundle.ops, &e->bundle.config, e->dataset,
                                e->bundle.tokenizer, o->bundle.batch, o->bundle.workers, &e->embeddings));
    e->embed_s = tdm_now_s() - begin_s;
    begin_s = tdm_now_s();
    TDM_TRY(tdm_eval_embeddings(e->comm, e->bundle.ops, &e->embeddings, e->match, e->metrics));
    e->rank_s = tdm_now_s() - begin_s;
    for (int i = 0; i < TDM_DIRECTIONS; i++) TDM_TRY(show_direction((tdm_direction)i, &e->metrics[i]));
    tdm_log(TDM_LOG_INFO, "positives by %s; embedding took %.1f s, ranking %.2f s", e->match->name,
            e->embed_s, e->rank_s);
    TDM_AGREE(e->comm, tdm_comm_rank(e->comm) == 0 ? write_json(e) : TDM_OK);
    return o->html[0] != '\0' ? make_sheet(e) : TDM_OK;
}

/* One task's options are not silently ignored by the other. */
static tdm_status check_task(const eval_options *o)
{
    const bool zeroshot = strcmp(o->task, "zeroshot") == 0;
    TDM_REQUIRE(zeroshot || strcmp(o->task, "retrieval") == 0, TDM_E_USAGE,
                "tandem eval: --task %s: must be retrieval or zeroshot", o->task);
    TDM_REQUIRE(zeroshot || o->classes[0] == '\0', TDM_E_USAGE,
                "tandem eval: --classes needs --task zeroshot");
    TDM_REQUIRE(zeroshot || o->templates[0] == '\0', TDM_E_USAGE,
                "tandem eval: --templates needs --task zeroshot");
    TDM_REQUIRE(!zeroshot || o->positives[0] == '\0', TDM_E_USAGE,
                "tandem eval: --positives needs --task retrieval");
    return TDM_OK;
}

static tdm_status run_task(tdm_comm *comm, const eval_options *o)
{
    TDM_TRY(check_task(o));
    if (strcmp(o->task, "zeroshot") == 0) {
        const zeroshot_options zeroshot = {.bundle = o->bundle,
                                           .data = o->data,
                                           .split = o->split,
                                           .json = o->json,
                                           .html = o->html,
                                           .classes = o->classes,
                                           .templates = o->templates};
        return eval_zeroshot(comm, &zeroshot);
    }
    evaluation e = {.comm = comm, .options = o};
    const tdm_status status = evaluate(&e);
    tdm_embeddings_free(&e.embeddings);
    tdm_dataset_close(&e.dataset);
    bundle_close(&e.bundle);
    return status;
}

static tdm_status eval_run(tdm_comm *comm, int argc, char **argv)
{
    eval_options options = {.bundle = BUNDLE_DEFAULTS,
                            .task = "retrieval",
                            .data = "",
                            .split = "",
                            .json = "",
                            .html = "",
                            .positives = "",
                            .classes = "",
                            .templates = "",
                            .sheet_queries = 24,
                            .top = 10};
    const tdm_flag flags[] = {
        {"--data", TDM_FLAG_STRING, &options.data, "DIR", NULL, "", "packed data directory", 0, 0},
        {"--split", TDM_FLAG_STRING, &options.split, "NAME", NULL, "", "its split", 0, 0},
        {"--task", TDM_FLAG_STRING, &options.task, "retrieval|zeroshot", "retrieval", "",
         "retrieval in both directions, or the classes of images from prompts", 0, 0},
        {"--json", TDM_FLAG_STRING, &options.json, "FILE", "", "",
         "where the metrics are written; unset: standard output", 0, 0},
        {"--html", TDM_FLAG_STRING, &options.html, "FILE", "", "",
         "contact sheet: some captions, the images found for them, positives framed; zeroshot: accuracy by "
         "class",
         0, 0},
        {"--positives", TDM_FLAG_STRING, &options.positives, "pair|identity|class", "", "",
         "what belongs together: an image and its captions, an identity, a shared class; unset: "
         "eval.positives "
         "of the model's configuration",
         0, 0},
        {"--classes", TDM_FLAG_STRING, &options.classes, "FILE", "", "",
         "zeroshot: class names for the prompts, one a line, in the order of the data set's classes; unset: "
         "the "
         "data set's own names",
         0, 0},
        {"--templates", TDM_FLAG_STRING, &options.templates, "FILE", "", "",
         "zeroshot: prompts, one a line, with {} for the class name; unset: only \"a photo of a {}.\"", 0, 0},
        {"--queries", TDM_FLAG_INT, &options.sheet_queries, "N", "24", "captions", "on the contact sheet", 1,
         10000},
        {"-k,--top", TDM_FLAG_INT, &options.top, "N", "10", "images", "per caption on the contact sheet", 1,
         1000},
        BUNDLE_FLAGS(options.bundle),
    };
    tdm_strings positional = {0};
    bool help = false;
    TDM_TRY(tdm_parse_flags(
        "eval", "--model CKPT --data DIR --split NAME [--task zeroshot] [--json FILE] [--html FILE]", flags,
        sizeof flags / sizeof flags[0], argc, argv, &positional, &help));
    const int64_t extra = positional.count;
    free((void *)positional.item);
    if (help) return TDM_OK;
    TDM_REQUIRE(extra == 0, TDM_E_USAGE, "tandem eval: takes options only");
    return run_task(comm, &options);
}

const tdm_command tdm_command_eval = {
    .name = "eval",
    .summary = "exact retrieval metrics, or zero-shot accuracy, of a model on a split",
    .mpi = true,
    .run = eval_run};
