/* tandem eval --query FILE --gallery FILE: exact metrics of embeddings that come from anywhere. */
#include "eval_task_table.h"
#include "external.h"
#include "ranking_files.h"

#include <string.h>

static const char *const fuse_option[SIDES] = {"--fuse-query", "--fuse-gallery"};

static void external_close(external *x)
{
    for (int s = 0; s < SIDES; s++) {
        row_matrix_free(&x->side[s].matrix);
        row_names_free(&x->side[s].ids);
        row_names_free(&x->side[s].labels);
        row_sets_free(&x->sets[s]);
        row_names_free(&x->camera[s]);
        tdm_free(x->side[s].bits);
        tdm_free(x->side[s].key);
        tdm_free(x->fold_of[s]);
        tdm_free(x->side[s].with_norms);
    }
    row_names_free(&x->label);
    junk_free(&x->junk);
    qrels_free(&x->qrels);
    tdm_ops_destroy(&x->ops);
    tdm_metric_rows_free(&x->rows);
    tdm_free(x->value);
    tdm_group_metrics_free(&x->groups);
    tdm_free(x->fold);
    row_names_free(&x->cluster);
    query_values_free(&x->each);
    tdm_rerank_list_free(&x->rerank);
    json_decref(x->reranked);
    json_decref(x->fused);
    for (int s = 0; s < SIDES; s++) fused_rows_free(&x->second[s]);
}

/* ---- Results ---- */

static const char direction_key[] = "query_to_gallery";

static const char *positives_of(const external *x)
{
    const embeddings_options *o = x->options;
    if (o->qrels[0] != '\0') return "qrels";
    if (external_has_several(x)) return "labels";
    return x->side[QUERY].labels.count + x->side[GALLERY].labels.count > 0 ? "labels" : "ids";
}

/* The same bytes for any number of ranks. */
static tdm_status write_json(const external *x)
{
    json_t *root = json_object();
    json_object_set_new(root, "query", tdm_json_text(x->options->side[QUERY]));
    json_object_set_new(root, "gallery", tdm_json_text(x->options->side[GALLERY]));
    json_object_set_new(root, "width", json_integer(x->side[QUERY].matrix.width));
    json_object_set_new(root, "positives", json_string(positives_of(x)));
    json_object_set_new(root, "distance", json_string(x->options->distance));
    if (x->options->qrels[0] != '\0') {
        json_object_set_new(root, "qrels", qrels_json(x->options->qrels, &x->qrels));
    }
    json_t *left_out = external_junk_json(x);
    if (left_out) json_object_set_new(root, "junk", left_out);
    json_t *direction = result_metrics(&x->metrics);
    if (x->options->per_class) json_object_set_new(direction, "per_class", external_by_label(x));
    if (x->options->macro)
        json_object_set_new(direction, "macro", result_macro("label", &x->rows, &x->groups));
    if (x->options->intervals.level > 0)
        json_object_set_new(direction, "intervals",
                            intervals_json(&x->each, &x->options->intervals, &x->intervals));
    json_object_set_new(root, direction_key, direction);
    if (x->options->folds > 0) {
        const char *const key[] = {direction_key};
        json_t *folds = result_folds(x->options->folds, 1, key, &x->fold);
        json_object_set_new(folds, "queries_in_no_fold", json_integer(x->queries_in_no_fold));
        json_object_set_new(root, "folds", folds);
    }
    if (x->reranked) json_object_set(root, "reranked", x->reranked);
    if (x->fused) json_object_set(root, "fused", x->fused);
    tdm_status status = result_write(root, 17, x->request->json);
    json_decref(root);
    return status;
}

static tdm_status show(const external *x, double rank_s)
{
    char behind[80];
    snprintf(behind, sizeof behind, ", positives by %s; ranking took %.2f s", positives_of(x), rank_s);
    TDM_TRY(result_log("", &x->metrics, behind));
    result_log_work(&x->work);
    return TDM_OK;
}

/* ---- Other orders ---- */

static reranking reranking_of(const external *x, const tdm_rerank_input *input)
{
    return (reranking){.input = input,
                       .list = &x->rerank,
                       .plain = &x->each,
                       .gallery = &x->side[GALLERY].ids,
                       .junk = &x->junk,
                       .query_first = x->side[QUERY].matrix.first,
                       .depth = x->options->depth,
                       .run_out = x->options->run_out,
                       .per_query = x->options->per_query};
}

static tdm_status rerank(external *x)
{
    tdm_eval_side side[SIDES];
    if (x->rerank.count == 0) return TDM_OK;
    for (int s = 0; s < SIDES; s++) {
        side[s] = x->side[s].side;
        side[s].d = x->side[s].matrix.width;
        side[s].feature = x->side[s].matrix.value;
    }
    const tdm_rerank_input input = {.comm = x->comm,
                                    .ops = x->ops,
                                    .query = &side[QUERY],
                                    .gallery = &side[GALLERY],
                                    .distance = x->distance};
    const reranking r = reranking_of(x, &input);
    x->reranked = json_array();
    return reranked_all(&r, direction_key, x->reranked);
}

static tdm_status read_fused(external *x)
{
    const embeddings_options *o = x->options;
    if (o->fuse[QUERY][0] == '\0') return TDM_OK;
    for (int s = 0; s < SIDES; s++)
        TDM_TRY(fused_rows_read(x->comm, fuse_option[s], o->fuse[s], x->request->split,
                                x->side[s].matrix.rows, external_side_option[s], &x->second[s]));
    const int64_t query = x->second[QUERY].matrix.width, gallery = x->second[GALLERY].matrix.width;
    return tdm_comm_agree(
        x->comm, query == gallery ? TDM_OK
                                  : TDM_ERROR(TDM_E_SHAPE, "%s %s has rows of %lld, %s %s of %lld",
                                              fuse_option[QUERY], o->fuse[QUERY], (long long)query,
                                              fuse_option[GALLERY], o->fuse[GALLERY], (long long)gallery));
}

/* Both models' scores, added up. */
static tdm_status fuse(external *x)
{
    const embeddings_options *o = x->options;
    tdm_eval_side side[SIDES];
    tdm_metrics metrics;
    if (o->fuse[QUERY][0] == '\0') return TDM_OK;
    tdm_status status = TDM_OK;
    for (int s = 0; s < SIDES; s++) {
        if (status == TDM_OK)
            status = fused_rows_join(fuse_option[s], o->fuse[s], x->distance, s == GALLERY, o->fuse_weight,
                                     &x->side[s].side, &x->second[s]);
        side[s] = x->side[s].side;
        side[s].feature = x->second[s].value;
        side[s].d = x->second[s].d;
    }
    TDM_AGREE(x->comm, status);
    const tdm_rerank_input input = {
        .comm = x->comm, .ops = x->ops, .query = &side[QUERY], .gallery = &side[GALLERY]};
    const reranking r = reranking_of(x, &input);
    TDM_TRY(reranked_plain(&r, "fused", &metrics));
    x->fused = json_object();
    json_object_set_new(x->fused, "query", tdm_json_text(o->fuse[QUERY]));
    json_object_set_new(x->fused, "gallery", tdm_json_text(o->fuse[GALLERY]));
    json_object_set_new(x->fused, "weight", json_real(o->fuse_weight));
    json_object_set_new(x->fused, direction_key, result_metrics(&metrics));
    return TDM_OK;
}

/* ---- The task ---- */

static tdm_status rank(external *x)
{
    const int64_t asked = x->request->inference.threads;
    tdm_status status = tdm_ops_create(TDM_F32, asked > 0 ? (int)asked : tdm_default_threads(), &x->ops);
    if (status == TDM_OK) status = external_make_sides(x);
    if (status == TDM_OK) status = TDM_ALLOC((int64_t)x->rows.count * x->side[QUERY].matrix.n, &x->value);
    TDM_AGREE(x->comm, status);
    tdm_eval_detail detail = {.rows = &x->rows,
                              .value = x->value,
                              .keep = x->options->resume[0] != '\0' ? x->options->resume : NULL};
    status = tdm_eval_metrics_in_detail(x->comm, x->ops, &x->side[QUERY].side, &x->side[GALLERY].side,
                                        x->options->exclude_self, tdm_eval_block_rows(x->ops), &x->metrics,
                                        &detail);
    x->work = detail.work;
    return status;
}

/* Every metric of every query, where someone asks for it. Collective. */
static tdm_status look_at_each(external *x)
{
    const embeddings_options *o = x->options;
    x->each.query = &x->side[QUERY].ids;
    x->each.cluster = &x->cluster;
    x->each.rows = &x->rows;
    if (o->per_query[0] == '\0' && o->intervals.level == 0) return TDM_OK;
    TDM_TRY(external_read_clusters(x));
    TDM_TRY(query_values_gather(x->comm, x->side[QUERY].matrix.n, x->value, &x->each));
    if (o->per_query[0] != '\0') TDM_TRY(query_values_write(x->comm, &x->each, o->per_query));
    if (o->intervals.level == 0) return TDM_OK;
    TDM_TRY(query_values_intervals(x->comm, &x->each, &o->intervals, x->request->inference.threads,
                                   &x->intervals));
    return tdm_comm_agree(x->comm, intervals_log("", &x->each, &o->intervals, &x->intervals));
}

static tdm_status evaluate(external *x)
{
    const embeddings_options *o = x->options;
    TDM_TRY(external_check_options(x));
    TDM_TRY(tdm_metric_rows_ask("tandem eval: --metrics", TDM_E_USAGE, o->metrics, &x->rows));
    TDM_REQUIRE(!x->rows.r_sum, TDM_E_USAGE,
                "tandem eval: --metrics: r_sum is made of two directions, --query and --gallery are one");
    x->distance = (tdm_distance)tdm_option_choice(TDM_DISTANCES, o->distance);
    TDM_TRY(tdm_rerank_ask("tandem eval: --rerank", o->rerank, x->distance, &x->rerank));
    TDM_TRY(external_read(x));
    TDM_TRY(read_fused(x));
    TDM_AGREE(x->comm, o->folds > 0 ? external_find_folds(x) : TDM_OK);
    const double begin_s = tdm_now_s();
    TDM_TRY(rank(x));
    TDM_AGREE(x->comm, show(x, tdm_now_s() - begin_s));
    TDM_TRY(external_make_groups(x));
    TDM_TRY(external_make_folds(x));
    TDM_TRY(look_at_each(x));
    TDM_TRY(rerank(x));
    TDM_TRY(fuse(x));
    TDM_AGREE(x->comm, tdm_comm_rank(x->comm) == 0 ? write_json(x) : TDM_OK);
    if (o->run_out[0] == '\0') return TDM_OK;
    const ranking_run run = {.query = &x->side[QUERY].ids,
                             .gallery = &x->side[GALLERY].ids,
                             .junk = &x->junk,
                             .query_first = x->side[QUERY].matrix.first,
                             .n = x->side[QUERY].side.n,
                             .depth = o->depth,
                             .path = o->run_out};
    return ranking_write_run(x->comm, x->ops, &x->side[QUERY].side, &x->side[GALLERY].side, &run);
}

static tdm_status embeddings_run(tdm_comm *comm, const eval_request *request, const void *options)
{
    external x = {.comm = comm, .request = request, .options = options};
    const tdm_status status = evaluate(&x);
    external_close(&x);
    return status;
}

/* ---- Options ---- */

static const embeddings_options defaults = {.side = {"", ""},
                                            .ids = {"", ""},
                                            .labels = {"", ""},
                                            .cameras = {"", ""},
                                            .junk_label = "",
                                            .qrels = "",
                                            .label_separator = "",
                                            .distance = "cosine",
                                            .metrics = "",
                                            .run_out = "",
                                            .per_query = "",
                                            .clusters = "",
                                            .intervals = INTERVAL_DEFAULTS,
                                            .resume = "",
                                            .memory_mib = 1024,
                                            .rerank = "",
                                            .fuse = {"", ""},
                                            .fuse_weight = 1,
                                            .depth = 1000};

static size_t embeddings_flags(void *options, tdm_flag flag[EVAL_TASK_MAX_FLAGS])
{
    embeddings_options *o = options;
    const tdm_flag own[] = {
        FLAG_STRING("--query", &o->side[QUERY], "FILE", "", "embeddings of the queries, see below"),
        FLAG_STRING("--gallery", &o->side[GALLERY], "FILE", "", "embeddings of what they search"),
        FLAG_STRING("--query-ids", &o->ids[QUERY], "FILE", "",
                    "name of each row, see below; unset: 0, 1, 2 …"),
        FLAG_STRING("--gallery-ids", &o->ids[GALLERY], "FILE", "", "the same of the gallery"),
        FLAG_STRING(
            "--query-labels", &o->labels[QUERY], "FILE", "",
            "what a row belongs to (pair, class, identity): rows of equal labels match; unset: the ids"),
        FLAG_STRING("--gallery-labels", &o->labels[GALLERY], "FILE", "", "the same of the gallery"),
        FLAG_STRING("--label-separator", &o->label_separator, "CHARS", "",
                    "divides a line of labels into several, as \",\": rows match when they share one"),
        FLAG_STRING(
            "--query-cameras", &o->cameras[QUERY], "FILE", "",
            "camera of each row: those of the gallery of the query's own label and camera are junk for it, "
            "as if they were not there"),
        FLAG_STRING("--gallery-cameras", &o->cameras[GALLERY], "FILE", "", "the same of the gallery"),
        FLAG_STRING("--junk-label", &o->junk_label, "NAME", "",
                    "rows of the gallery of this label are left out, as -1 in Market-1501"),
        FLAG_SWITCH("--exclude-self", &o->exclude_self,
                    "the gallery is the list of queries: row i is no answer to query i"),
        FLAG_STRING("--qrels", &o->qrels, "FILE", "",
                    "graded judgements of ids instead of labels: lines of query, iteration, document, grade"),
        FLAG_STRING("--distance", &o->distance, TDM_DISTANCES, "cosine",
                    "by which the gallery is put in order"),
        FLAG_STRING("--metrics", &o->metrics, "NAME,…", "",
                    "further figures beside those that are always there, see below; not r_sum"),
        FLAG_SWITCH("--per-class", &o->per_class, "the metrics of each label's queries"),
        FLAG_SWITCH("--macro", &o->macro,
                    "also the mean over the labels of the mean of each label's queries"),
        FLAG_INT(
            "--folds", &o->folds, "N", "0", "parts", 0, 1000,
            "of the gallery's labels, in their order, are evaluated as well, each alone, and averaged (COCO "
            "1k: 5); 0: none"),
        FLAG_STRING("--resume", &o->resume, "FILE", "",
                    "keeps what is finished there; the same command goes on from it"),
        FLAG_INT("--memory", &o->memory_mib, "MIB", "1024", "MiB", 1, 1 << 30,
                 "of a rank for the gallery; what needs more is read in pieces, several times"),
        FLAG_STRING("--run-out", &o->run_out, "FILE", "", "writes the best of each query as a TREC run"),
        FLAG_INT("--depth", &o->depth, "N", "1000", "rows", 1, 1 << 30, "of each query in --run-out"),
        FLAG_STRING("--per-query", &o->per_query, "FILE", "",
                    "writes every metric of every query: .h5 or .hdf5, else CSV"),
        INTERVAL_FLAGS(o->intervals, ""),
        FLAG_STRING("--query-clusters", &o->clusters, "FILE", "",
                    "what queries belong to and are drawn with, for --intervals and in --per-query"),
        RERANK_FLAG(&o->rerank),
        FLAG_STRING("--fuse-query", &o->fuse[QUERY], "FILE", "",
                    "the same queries embedded by another model: figures of both models' scores added up"),
        FLAG_STRING("--fuse-gallery", &o->fuse[GALLERY], "FILE", "", "the same gallery by that model"),
        FLAG_FLOAT("--fuse-weight", &o->fuse_weight, "X", "1", "", 0, 1e6,
                   "how often that model's score counts"),
    };
    _Static_assert(sizeof own / sizeof own[0] <= EVAL_TASK_MAX_FLAGS, "there is room for the task's flags");
    memcpy(flag, own, sizeof own);
    return sizeof own / sizeof own[0];
}

static void explain(void)
{
    puts(
        "\nEmbeddings: an .npy file, FILE.npz:ARRAY, FILE.h5:/DATA/SET (f16, f32 or f64 [rows, width]), or\n"
        "DIR:image and DIR:text of what tandem embed wrote (--split: which, of several).\n"
        "Ids and labels: one line each, an .npy list of texts or whole numbers, FILE.h5:/DATA/SET of whole "
        "numbers.\nSeveral labels of a row: lines with --label-separator, or a matrix [rows, labels] of 0 and 1.");
}

const eval_task task_embeddings = {
    .name = "embeddings",
    .help = "embeddings from anywhere; --query is enough to choose it",
    .option_bytes = sizeof defaults,
    .defaults = &defaults,
    .chosen_by = "--query",
    .flags = embeddings_flags,
    .explain = explain,
    .run = embeddings_run,
};
