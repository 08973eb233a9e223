/* tandem eval --task retrieval: exact metrics of a model on a split, in both directions. */
#include "eval_picture.h"
#include "eval_sheet.h"
#include "eval_task_table.h"
#include "reranked.h"
#include "result_json.h"
#include "retrieval_queries.h"

#include <string.h>

typedef struct retrieval_options {
    const char *positives; /* "": as the model's configuration says */
    const char *distance;  /* of TDM_DISTANCES */
    const char *metrics;   /* that are asked for beside the table's */
    const char *rerank;
    bool curves, per_class, macro;
    int64_t folds; /* 0: none */
    eval_sheet_options sheet;
    eval_picture_options picture;
    const char *per_query; /* file; "": none */
    const char *clusters;  /* "": by identity where that decides what belongs together, else by image */
    interval_options intervals;
} retrieval_options;

typedef struct retrieval {
    tdm_comm *comm;
    const eval_request *request;
    const retrieval_options *options;
    const tdm_match *match;
    tdm_inference inference;
    tdm_dataset *dataset;
    tdm_embeddings embeddings;
    tdm_metric_rows rows;
    tdm_metrics metrics[TDM_DIRECTIONS];
    tdm_eval_detail detail[TDM_DIRECTIONS];
    tdm_group_metrics macro[TDM_DIRECTIONS];
    tdm_metrics *fold[TDM_DIRECTIONS];         /* [folds] */
    retrieval_queries queries[TDM_DIRECTIONS]; /* where someone asks for each */
    query_values each[TDM_DIRECTIONS];
    metric_intervals intervals[TDM_DIRECTIONS];
    eval_picture picture; /* of the page */
    eval_sheet sheet;
    double embed_s, rank_s;
    tdm_rerank_list rerank;
    json_t *reranked;       /* figures of each; NULL: none is asked for */
    tdm_metrics *reordered; /* [rerank.count][TDM_DIRECTIONS] the same, for the page */
} retrieval;

/* ---- Results ---- */

static tdm_status show_direction(tdm_direction direction, const tdm_metrics *m)
{
    char name[48];
    snprintf(name, sizeof name, "%s: ", tdm_direction_label(direction));
    return result_log(name, m, m->without_positive > 0 ? ", some without a positive" : "");
}

static const char *groups_of(const retrieval *r)
{
    return r->options->per_class ? "class" : r->match->name;
}

/* The same bytes for any number of ranks: what depends on them, or on the clock, goes to the log. */
static tdm_status write_json(const retrieval *r)
{
    json_t *root = json_object();
    json_object_set_new(root, "model", tdm_json_text(r->inference.dir));
    json_object_set_new(root, "step", json_integer(r->inference.step));
    json_object_set_new(root, "data", tdm_json_text(r->request->data));
    json_object_set_new(root, "split", tdm_json_text(r->request->split));
    json_object_set_new(root, "positives", json_string(r->match->name));
    json_object_set_new(root, "precision", json_string(tdm_inference_precision(&r->inference)));
    json_object_set_new(root, "distance", json_string(r->options->distance));
    for (int i = 0; i < TDM_DIRECTIONS; i++) {
        json_t *direction = result_metrics(&r->metrics[i]);
        result_detail(direction, r->dataset, &r->detail[i]);
        if (r->options->macro)
            json_object_set_new(direction, "macro", result_macro(groups_of(r), &r->rows, &r->macro[i]));
        if (r->options->intervals.level > 0)
            json_object_set_new(direction, "intervals",
                                intervals_json(&r->each[i], &r->options->intervals, &r->intervals[i]));
        json_object_set_new(root, tdm_direction_key((tdm_direction)i), direction);
    }
    json_t *average = result_average(r->metrics);
    if (r->options->macro)
        json_object_set_new(average, "macro", result_macro_average(groups_of(r), &r->rows, r->macro));
    json_object_set_new(root, "average", average);
    if (r->rows.r_sum) json_object_set_new(root, "r_sum", result_r_sum(r->metrics));
    const char *const keys[] = {tdm_direction_key(TDM_TEXT_TO_IMAGE), tdm_direction_key(TDM_IMAGE_TO_TEXT)};
    if (r->options->folds > 0)
        json_object_set_new(root, "folds", result_folds(r->options->folds, TDM_DIRECTIONS, keys, r->fold));
    if (r->reranked) json_object_set(root, "reranked", r->reranked);
    result_rounding(root, &r->inference);
    tdm_status status = result_selection(root, &r->inference, r->dataset);
    if (status == TDM_OK) status = result_write(root, 17, r->request->json);
    json_decref(root);
    return status;
}

/* ---- The page: picture, curves, classes, some captions with the images found for them ---- */

/* class_name[classes]: room. */
static void add_detail(const retrieval *r, const char **class_name, tdm_eval_page *page)
{
    for (int d = 0; d < TDM_DIRECTIONS; d++) {
        const tdm_eval_detail *detail = &r->detail[d];
        page->recall[d] = detail->precision_recall;
        page->recalls[d] = detail->curves ? detail->points : 0;
        page->scope[d] = detail->scope;
        page->scopes[d] = detail->curves ? detail->scopes : 0;
        page->per_class[d] = detail->per_class;
        page->classes = detail->classes;
    }
    for (int64_t c = 0; c < page->classes; c++) class_name[c] = tdm_dataset_class_name(r->dataset, c);
    page->class_name = class_name;
}

static tdm_status add_intervals(const retrieval *r, tdm_text *note, tdm_eval_page *page)
{
    const interval_options *o = &r->options->intervals;
    if (o->level == 0) return TDM_OK;
    TDM_TRY(tdm_text_printf(
        note, "In brackets: %g %% bootstrap intervals of %lld resamples. What is drawn again is the %s.",
        100 * o->level, (long long)o->resamples, r->each[0].cluster_by));
    page->interval_note = note->data;
    page->metrics = r->metrics;
    for (int d = 0; d < TDM_DIRECTIONS; d++) page->interval[d] = r->intervals[d].of;
    return TDM_OK;
}

/* name[rerank.count], order[1 + rerank.count]: room. */
static tdm_status add_orders(const retrieval *r, tdm_text *name, tdm_eval_order *order, tdm_eval_page *page)
{
    order[0] = (tdm_eval_order){.name = "plain", .metrics = r->metrics};
    for (int64_t i = 0; i < r->rerank.count; i++) {
        TDM_TRY(reranked_title(&r->rerank.call[i], &name[i]));
        order[1 + i] = (tdm_eval_order){.name = name[i].data, .metrics = r->reordered + i * TDM_DIRECTIONS};
    }
    page->order = order;
    page->orders = r->rerank.count > 0 ? 1 + r->rerank.count : 0;
    return TDM_OK;
}

static tdm_status write_page(const retrieval *r)
{
    const eval_sheet *sheet = &r->sheet;
    tdm_text title = {0}, subtitle = {0}, note = {0};
    const char **class_name = NULL;
    tdm_text *order_name = NULL;
    tdm_eval_order *order = NULL;
    tdm_eval_page page = {.query = sheet->part[0].query,
                          .queries = sheet->part[0].queries,
                          .section = sheet->part + 1,
                          .sections = sheet->parts - 1,
                          .rows = &r->rows};
    tdm_status status = TDM_ALLOC(r->detail[0].classes, &class_name);
    if (status == TDM_OK) status = TDM_ALLOC(r->rerank.count, &order_name);
    if (status == TDM_OK) status = TDM_ALLOC(1 + r->rerank.count, &order);
    if (status == TDM_OK) status = add_orders(r, order_name, order, &page);
    if (status == TDM_OK) status = tdm_text_printf(&title, "Text to image: ");
    if (status == TDM_OK) status = tdm_metrics_print(&r->metrics[TDM_TEXT_TO_IMAGE], true, &title);
    if (status == TDM_OK)
        status = tdm_text_printf(
            &subtitle,
            "%s, step %lld, on %s, split %s. %lld of %lld captions, spread evenly; images that "
            "belong to the caption (by %s) are framed.",
            r->inference.dir, (long long)r->inference.step, r->request->data, r->request->split,
            (long long)page.queries, (long long)r->metrics[TDM_TEXT_TO_IMAGE].queries, r->match->name);
    if (status == TDM_OK) status = add_intervals(r, &note, &page);
    if (status == TDM_OK) {
        page.title = title.data;
        page.subtitle = subtitle.data;
        page.picture = r->picture.picture.views > 0 ? &r->picture.picture : NULL;
        add_detail(r, class_name, &page);
        status = tdm_eval_page_write(r->request->html, &page);
    }
    tdm_free((void *)class_name);
    for (int64_t i = 0; order_name && i < r->rerank.count; i++) tdm_text_free(&order_name[i]);
    tdm_free(order_name);
    tdm_free(order);
    tdm_text_free(&title);
    tdm_text_free(&subtitle);
    tdm_text_free(&note);
    return status;
}

static tdm_status make_sheet(retrieval *r)
{
    const eval_sheet_input input = {.comm = r->comm,
                                    .options = &r->options->sheet,
                                    .inference = &r->inference,
                                    .dataset = r->dataset,
                                    .embeddings = &r->embeddings,
                                    .match = r->match,
                                    .each = &r->each[TDM_TEXT_TO_IMAGE]};
    TDM_TRY(eval_sheet_make(&input, &r->sheet));
    return tdm_comm_agree(r->comm, tdm_comm_rank(r->comm) == 0 ? write_page(r) : TDM_OK);
}

static tdm_status make_page(retrieval *r)
{
    if (r->options->picture.projections[0] != '\0')
        TDM_TRY(eval_picture_make(r->comm, &r->inference, r->dataset, &r->embeddings, &r->options->picture,
                                  &r->picture));
    return make_sheet(r);
}

/* Does someone ask for the figures of each query? */
static bool wants_each(const retrieval *r)
{
    return r->options->per_query[0] != '\0' || r->options->intervals.level > 0 ||
           (r->request->html[0] != '\0' && eval_sheet_needs_each(&r->options->sheet));
}

/* ---- Macro averages and folds ---- */

/* Room for the figures of each query, of which the groups are made. */
static tdm_status make_room(retrieval *r)
{
    const int64_t n[TDM_DIRECTIONS] = {
        [TDM_TEXT_TO_IMAGE] = r->embeddings.captions, [TDM_IMAGE_TO_TEXT] = r->embeddings.images};
    for (int i = 0; i < TDM_DIRECTIONS; i++) {
        r->detail[i] = (tdm_eval_detail){.classes = r->options->per_class ? r->embeddings.class_count : 0,
                                         .curves = r->options->curves,
                                         .rows = &r->rows};
        if (r->options->macro || wants_each(r))
            TDM_TRY(TDM_ALLOC((int64_t)r->rows.count * n[i], &r->detail[i].value));
        TDM_TRY(TDM_ALLOC(r->options->folds, &r->fold[i]));
    }
    return TDM_OK;
}

/* The groups are what the queries are matched by, or with --per-class the classes. Collective. */
static tdm_status make_macro(retrieval *r)
{
    const tdm_embeddings *e = &r->embeddings;
    tdm_eval_side side[TDM_DIRECTIONS] = {{.n = e->captions}, {.n = e->images}};
    tdm_eval_side *text = &side[TDM_TEXT_TO_IMAGE], *image = &side[TDM_IMAGE_TO_TEXT];
    int64_t *image_row = NULL;
    tdm_status status = TDM_ALLOC(e->images, &image_row);
    if (status == TDM_OK && r->options->per_class) {
        text->labels = e->caption_labels;
        image->labels = e->image_labels;
        text->label_words = image->label_words = e->label_words;
    } else if (status == TDM_OK) {
        status = r->match->set_keys(e, image_row, image, text);
    }
    status = tdm_comm_agree(r->comm, status);
    for (int i = 0; status == TDM_OK && i < TDM_DIRECTIONS; i++) {
        const tdm_query_groups of = {
            .id = side[i].labels ? NULL : side[i].id, .bits = side[i].labels, .words = side[i].label_words};
        status = tdm_eval_group_metrics(r->comm, &r->rows, side[i].n, r->detail[i].value, &of, false,
                                        &r->macro[i]);
    }
    tdm_free(image_row);
    return status;
}

static tdm_status show_folds(const retrieval *r)
{
    for (int i = 0; i < TDM_DIRECTIONS; i++) {
        tdm_metrics mean;
        char name[80];
        tdm_metrics_mean(r->options->folds, r->fold[i], &mean);
        snprintf(name, sizeof name, "mean of %lld folds, %s: ", (long long)r->options->folds,
                 tdm_direction_label((tdm_direction)i));
        TDM_TRY(result_log(name, &mean, " in all"));
    }
    return TDM_OK;
}

/* Collective. */
static tdm_status make_folds(retrieval *r, tdm_distance distance)
{
    const int64_t folds = r->options->folds;
    int64_t images = r->embeddings.images;
    tdm_comm_sum_i64(r->comm, &images, 1);
    TDM_AGREE(r->comm, folds > images ? TDM_ERROR(TDM_E_USAGE, "tandem eval: --folds %lld of %lld images",
                                                  (long long)folds, (long long)images)
                                      : TDM_OK);
    for (int64_t k = 0; k < folds; k++) {
        tdm_embeddings part = {0};
        tdm_metrics metrics[TDM_DIRECTIONS];
        tdm_eval_detail detail[TDM_DIRECTIONS] = {{.rows = &r->rows}, {.rows = &r->rows}};
        tdm_status status = tdm_embeddings_fold(r->comm, &r->embeddings, folds, k, &part);
        if (status == TDM_OK)
            status = tdm_eval_embeddings_in_detail(r->comm, r->inference.ops, &part, r->match, distance,
                                                   metrics, detail);
        tdm_embeddings_free(&part);
        TDM_TRY(status);
        for (int i = 0; i < TDM_DIRECTIONS; i++) r->fold[i][k] = metrics[i];
    }
    return folds > 0 ? tdm_comm_agree(r->comm, show_folds(r)) : TDM_OK;
}

/* ---- Other orders ---- */

static tdm_status show_reranked(const retrieval *r, const tdm_rerank_call *call,
                                const tdm_metrics metrics[TDM_DIRECTIONS])
{
    tdm_text title = {0};
    json_t *figures = reranked_json(call);
    tdm_status status = reranked_title(call, &title);
    for (int i = 0; i < TDM_DIRECTIONS; i++) {
        const tdm_direction direction = (tdm_direction)i;
        tdm_text name = {0};
        if (status == TDM_OK)
            status = tdm_text_printf(&name, "%s, %s: ", title.data, tdm_direction_label(direction));
        if (status == TDM_OK) status = result_log(name.data, &metrics[i], "");
        tdm_text_free(&name);
        json_object_set_new(figures, tdm_direction_key(direction), result_metrics(&metrics[i]));
    }
    json_object_set_new(figures, "average", result_average(metrics));
    if (r->rows.r_sum) json_object_set_new(figures, "r_sum", result_r_sum(metrics));
    json_array_append_new(r->reranked, figures);
    tdm_text_free(&title);
    return status;
}

static tdm_status rerank_all(retrieval *r)
{
    /* The models' embeddings have norm 1: their inner product is the cosine. */
    const bool euclidean = tdm_option_choice(TDM_DISTANCES, r->options->distance) == TDM_EUCLIDEAN;
    TDM_AGREE(r->comm, TDM_ALLOC(r->rerank.count * TDM_DIRECTIONS, &r->reordered));
    if (r->rerank.count > 0) r->reranked = json_array();
    for (int64_t i = 0; i < r->rerank.count; i++) {
        const tdm_rerank_call *call = &r->rerank.call[i];
        tdm_metrics *metrics = r->reordered + i * TDM_DIRECTIONS;
        TDM_TRY(tdm_rerank_embeddings(r->comm, r->inference.ops, &r->embeddings, r->match,
                                      euclidean && call->row->takes_euclidean ? TDM_EUCLIDEAN : TDM_COSINE,
                                      call, &r->rows, metrics));
        TDM_AGREE(r->comm, show_reranked(r, call, metrics));
    }
    return TDM_OK;
}

/* ---- The task ---- */

static tdm_status check_options(const retrieval *r)
{
    const eval_picture_options *picture = &r->options->picture;
    TDM_REQUIRE(picture->projections[0] == '\0' || r->request->html[0] != '\0', TDM_E_USAGE,
                "tandem eval: --projection needs --html, whose page shows it");
    TDM_REQUIRE(r->options->sheet.compare_with[0] == '\0' || r->request->html[0] != '\0', TDM_E_USAGE,
                "tandem eval: --compare-with needs --html, whose page shows it");
    return eval_picture_check(picture);
}

/* Their names. Collective. */
static tdm_status open_queries(retrieval *r)
{
    const char *by = r->options->clusters[0] != '\0'           ? r->options->clusters
                     : strcmp(r->match->name, "identity") == 0 ? "identity"
                                                               : "image";
    for (int i = 0; wants_each(r) && i < TDM_DIRECTIONS; i++) {
        TDM_TRY(retrieval_queries_open(r->comm, &r->embeddings, (tdm_direction)i, by, &r->queries[i]));
        r->each[i] = (query_values){.query = &r->queries[i].query,
                                    .cluster = &r->queries[i].cluster,
                                    .cluster_by = by,
                                    .rows = &r->rows};
    }
    return TDM_OK;
}

static tdm_status write_each(const retrieval *r, int i)
{
    tdm_text path = {0};
    tdm_status status = retrieval_queries_path(r->options->per_query, (tdm_direction)i, &path);
    status = tdm_comm_agree(r->comm, status);
    if (status == TDM_OK) status = query_values_write(r->comm, &r->each[i], path.data);
    tdm_text_free(&path);
    return status;
}

/* Files and intervals of one direction. Collective. */
static tdm_status look_at_each(retrieval *r, int i)
{
    const interval_options *o = &r->options->intervals;
    char name[48];
    TDM_TRY(query_values_gather(r->comm, r->queries[i].n, r->detail[i].value, &r->each[i]));
    if (r->options->per_query[0] != '\0') TDM_TRY(write_each(r, i));
    if (o->level == 0) return TDM_OK;
    TDM_TRY(query_values_intervals(r->comm, &r->each[i], o, r->request->inference.threads, &r->intervals[i]));
    snprintf(name, sizeof name, "%s: ", tdm_direction_label((tdm_direction)i));
    return tdm_comm_agree(r->comm, intervals_log(name, &r->each[i], o, &r->intervals[i]));
}

static tdm_status find_match(retrieval *r)
{
    const char *positives = r->options->positives;
    if (positives[0] != '\0')
        return tdm_match_find("tandem eval: --positives", TDM_E_USAGE, positives, &r->match);
    return tdm_match_find("eval.positives", TDM_E_CONFIG, r->inference.config.eval.positives, &r->match);
}

static tdm_status check_classes(const retrieval *r)
{
    TDM_REQUIRE(!r->options->per_class || tdm_dataset_class_count(r->dataset) > 0, TDM_E_DATA,
                "--per-class: %s, split %s has no classes", r->request->data, r->request->split);
    return TDM_OK;
}

static tdm_status evaluate(retrieval *r)
{
    const eval_request *o = r->request;
    TDM_TRY(check_options(r));
    TDM_TRY(tdm_metric_rows_ask("tandem eval: --metrics", TDM_E_USAGE, r->options->metrics, &r->rows));
    TDM_TRY(tdm_rerank_ask("tandem eval: --rerank", r->options->rerank, TDM_COSINE, &r->rerank));
    TDM_TRY(tdm_inference_open(r->comm, &o->inference, &r->inference));
    TDM_TRY(tdm_inference_open_data(r->comm, &r->inference, o->data, o->split, &r->dataset));
    TDM_TRY(eval_sheet_open(r->comm, &r->options->sheet, &r->sheet));
    TDM_AGREE(r->comm, find_match(r));
    TDM_AGREE(r->comm, check_classes(r));
    TDM_TRY(inference_show(r->comm, &r->inference));
    TDM_TRY(tdm_inference_prepare(r->comm, &r->inference, r->dataset, true));
    double begin_s = tdm_now_s();
    TDM_AGREE(r->comm, tdm_inference_embed_data(r->comm, &r->inference, r->dataset, true, &r->embeddings));
    r->embed_s = tdm_now_s() - begin_s;
    begin_s = tdm_now_s();
    const tdm_distance distance = (tdm_distance)tdm_option_choice(TDM_DISTANCES, r->options->distance);
    TDM_AGREE(r->comm, make_room(r));
    TDM_TRY(open_queries(r));
    TDM_TRY(tdm_eval_embeddings_in_detail(r->comm, r->inference.ops, &r->embeddings, r->match, distance,
                                          r->metrics, r->detail));
    r->rank_s = tdm_now_s() - begin_s;
    for (int i = 0; i < TDM_DIRECTIONS; i++) TDM_TRY(show_direction((tdm_direction)i, &r->metrics[i]));
    if (r->rows.r_sum) tdm_log(TDM_LOG_INFO, "both directions: R-sum %.4f", tdm_metrics_r_sum(r->metrics));
    tdm_log(TDM_LOG_INFO, "positives by %s; embedding took %.1f s, ranking %.2f s", r->match->name,
            r->embed_s, r->rank_s);
    result_log_work(&r->detail[0].work);
    if (r->options->macro) TDM_TRY(make_macro(r));
    TDM_TRY(make_folds(r, distance));
    for (int i = 0; wants_each(r) && i < TDM_DIRECTIONS; i++) TDM_TRY(look_at_each(r, i));
    TDM_TRY(rerank_all(r));
    TDM_AGREE(r->comm, tdm_comm_rank(r->comm) == 0 ? write_json(r) : TDM_OK);
    return o->html[0] != '\0' ? make_page(r) : TDM_OK;
}

static tdm_status retrieval_run(tdm_comm *comm, const eval_request *request, const void *options)
{
    retrieval r = {.comm = comm, .request = request, .options = options};
    const tdm_status status = evaluate(&r);
    for (int i = 0; i < TDM_DIRECTIONS; i++) {
        tdm_free(r.detail[i].value);
        tdm_eval_detail_free(&r.detail[i]);
        tdm_group_metrics_free(&r.macro[i]);
        tdm_free(r.fold[i]);
        retrieval_queries_free(&r.queries[i]);
        query_values_free(&r.each[i]);
    }
    tdm_metric_rows_free(&r.rows);
    tdm_rerank_list_free(&r.rerank);
    json_decref(r.reranked);
    tdm_free(r.reordered);
    eval_picture_free(&r.picture);
    eval_sheet_free(&r.sheet);
    tdm_embeddings_free(&r.embeddings);
    tdm_dataset_close(&r.dataset);
    tdm_inference_close(&r.inference);
    return status;
}

/* ---- Options ---- */

static const retrieval_options defaults = {
    .positives = "",
    .distance = "cosine",
    .metrics = "",
    .rerank = "",
    .sheet = {.sample = 24, .failures = 12, .changed = 12, .top = 10, .compare_with = "", .changed_by = ""},
    .picture = {.projections = "", .points = 4000, .perplexity = 30},
    .per_query = "",
    .clusters = "",
    .intervals = INTERVAL_DEFAULTS};

static size_t retrieval_flags(void *options, tdm_flag flag[EVAL_TASK_MAX_FLAGS])
{
    retrieval_options *o = options;
    const tdm_flag own[] = {
        FLAG_STRING("--positives", &o->positives, "NAME", "",
                    "what belongs together, see below; unset: eval.positives of the model's configuration"),
        FLAG_STRING("--distance", &o->distance, TDM_DISTANCES, "cosine",
                    "by which the gallery is put in order"),
        FLAG_STRING("--metrics", &o->metrics, "NAME,…", "",
                    "further figures beside those that are always there, see below"),
        RERANK_FLAG(&o->rerank),
        FLAG_SWITCH("--curves", &o->curves, "precision at steps of recall and at scopes"),
        FLAG_SWITCH("--per-class", &o->per_class, "the metrics of each class's queries"),
        FLAG_SWITCH("--macro", &o->macro,
                    "also the mean over the images, identities or classes (what --positives goes by; with "
                    "--per-class the classes) of each one's mean"),
        FLAG_INT("--folds", &o->folds, "N", "0", "parts", 0, 1000,
                 "of the images, in their order, are evaluated as well, each alone with its captions, and "
                 "averaged (COCO 1k: 5); 0: none"),
        FLAG_INT("--queries", &o->sheet.sample, "N", "24", "captions", 1, 10000,
                 "evenly spread over the split, on the contact sheet"),
        FLAG_INT("-k,--top", &o->sheet.top, "N", "10", "images", 1, 1000, "per caption of the sheet"),
        FLAG_INT("--failures", &o->sheet.failures, "N", "12", "captions", 0, 10000,
                 "whose first match stands furthest down, on the sheet"),
        FLAG_STRING("--compare-with", &o->sheet.compare_with, "FILE", "",
                    "what --per-query wrote of another run: the sheet shows what has changed most"),
        FLAG_INT("--changed", &o->sheet.changed, "N", "12", "captions", 1, 10000,
                 "with the largest gains, and losses"),
        FLAG_STRING("--changed-by", &o->sheet.changed_by, "NAME", "", "the metric of these; unset: map"),
        FLAG_STRING("--projection", &o->picture.projections, "NAME,…", "",
                    "ways to show the embedding in the plane, on the page of --html; see below"),
        FLAG_INT("--points", &o->picture.points, "N", "4000", "", 1, 50000,
                 "images and texts in that picture; of more a random sample"),
        FLAG_FLOAT("--perplexity", &o->picture.perplexity, "X", "30", "", 1, 10000,
                   "of t-SNE: about how many neighbours count"),
        FLAG_STRING(
            "--per-query", &o->per_query, "FILE", "",
            "writes every metric of every query, each.text_to_image.csv for each.csv: .h5 or .hdf5, else CSV"),
        INTERVAL_FLAGS(o->intervals, ""),
        FLAG_STRING("--clusters", &o->clusters, RETRIEVAL_CLUSTERS, "",
                    "queries that are drawn together; unset: identity with --positives identity, else image"),
    };
    _Static_assert(sizeof own / sizeof own[0] <= EVAL_TASK_MAX_FLAGS, "there is room for the task's flags");
    memcpy(flag, own, sizeof own);
    return sizeof own / sizeof own[0];
}

static void list_metrics(const tdm_metric *const *metric, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("  %-24s  %s", metric[i]->name, metric[i]->help);
        if (metric[i]->also) printf("; also %s", metric[i]->also);
        puts("");
    }
}

static void explain(void)
{
    size_t metrics = 0, matches = 0;
    const tdm_metric *const *metric = tdm_metric_table(&metrics);
    const tdm_match *const *match = tdm_match_table(&matches);
    puts("\n--positives:");
    for (size_t i = 0; i < matches; i++) printf("  %-24s  %s\n", match[i]->name, match[i]->help);
    eval_picture_explain();
    reranked_explain();
    puts("\nMetrics of --task retrieval:");
    list_metrics(metric, metrics);
    puts("\n--metrics, {K} being any number, as in ndcg_at_100:");
    metric = tdm_metric_family_table(&metrics);
    list_metrics(metric, metrics);
    printf("  %-24s  %s\n", "r_sum", "recall_at_1, _5 and _10 of both directions, added up");
}

const eval_task task_retrieval = {
    .name = "retrieval",
    .help = "texts find images and images find texts; --html: some captions and what they find",
    .option_bytes = sizeof defaults,
    .defaults = &defaults,
    .needs_model = true,
    .flags = retrieval_flags,
    .explain = explain,
    .run = retrieval_run,
};
