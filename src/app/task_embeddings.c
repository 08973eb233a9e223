/* tandem eval --query FILE --gallery FILE: exact metrics of embeddings that come from anywhere. */
#include "eval_task_table.h"
#include "fused_rows.h"
#include "junk.h"
#include "qrels.h"
#include "query_values.h"
#include "ranking_files.h"
#include "reranked.h"
#include "result_json.h"

#include <math.h>
#include <string.h>

enum { QUERY, GALLERY, SIDES };
static const char *const side_option[SIDES] = {"--query", "--gallery"};
static const char *const ids_option[SIDES] = {"--query-ids", "--gallery-ids"};
static const char *const cameras_option[SIDES] = {"--query-cameras", "--gallery-cameras"};
static const char *const fuse_option[SIDES] = {"--fuse-query", "--fuse-gallery"};
static const char *const labels_option[SIDES] = {"--query-labels", "--gallery-labels"};

typedef struct embeddings_options { /* files; "" = unset */
    const char *side[SIDES], *ids[SIDES], *labels[SIDES], *cameras[SIDES];
    const char *junk_label;
    bool exclude_self;
    const char *qrels, *label_separator, *distance, *metrics, *run_out, *per_query, *rerank;
    const char *fuse[SIDES]; /* the same rows by another model */
    double fuse_weight;
    const char *resume;
    bool macro, per_class;
    int64_t memory_mib;
    int64_t folds; /* 0: none */
    int64_t depth;
    const char *clusters;
    interval_options intervals;
} embeddings_options;

typedef struct ranked { /* one side of the retrieval */
    row_file file;
    row_matrix matrix;
    row_names ids, labels;
    uint64_t *bits; /* [matrix.n][words] of its labels, where there are several */
    int64_t words;
    int64_t *key; /* [matrix.n] equal where the labels are */
    float *with_norms;
    tdm_eval_source source; /* of a gallery that stays in its file */
    tdm_eval_side side;
} ranked;

typedef struct external {
    tdm_comm *comm;
    const eval_request *request;
    const embeddings_options *options;
    tdm_distance distance;
    ranked side[SIDES];
    row_sets sets[SIDES]; /* several labels of each row; .rows = 0: there is one */
    row_names label;      /* all distinct ones of these */
    row_names camera[SIDES];
    row_junk junk;
    int64_t left_out; /* gallery rows of --junk-label */
    qrels qrels;
    tdm_ops *ops;
    tdm_metric_rows rows;
    double *value; /* [rows][local queries] */
    tdm_metrics metrics;
    tdm_eval_work work;
    tdm_group_metrics groups; /* --macro, --per-class */
    tdm_metrics *fold;        /* [folds] */
    int64_t *fold_of[SIDES];  /* of each row of this rank, -1: none */
    int64_t queries_in_no_fold;
    row_names cluster; /* of the queries; count 0: each stands alone */
    query_values each;
    metric_intervals intervals;
    tdm_rerank_list rerank;
    json_t *reranked;         /* figures of each; NULL: none is asked for */
    fused_rows second[SIDES]; /* of another model */
    json_t *fused;            /* figures of both; NULL: not asked for */
} external;

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

/* ---- Input ---- */

static tdm_status check_options(const external *x)
{
    const embeddings_options *o = x->options;
    const eval_request *r = x->request;
    for (int s = 0; s < SIDES; s++) {
        TDM_REQUIRE(o->side[s][0] != '\0', TDM_E_USAGE, "tandem eval: %s FILE is missing", side_option[s]);
        TDM_REQUIRE(o->qrels[0] == '\0' || o->labels[s][0] == '\0', TDM_E_USAGE,
                    "tandem eval: both --qrels and %s say what belongs together", labels_option[s]);
    }
    TDM_REQUIRE(o->qrels[0] == '\0' || !(o->macro || o->per_class || o->folds > 0), TDM_E_USAGE,
                "tandem eval: %s goes by labels, --qrels has none",
                o->folds > 0   ? "--folds"
                : o->per_class ? "--per-class"
                               : "--macro");
    TDM_REQUIRE((o->cameras[QUERY][0] != '\0') == (o->cameras[GALLERY][0] != '\0'), TDM_E_USAGE,
                "tandem eval: --query-cameras and --gallery-cameras go together");
    TDM_REQUIRE(o->qrels[0] == '\0' || (o->cameras[QUERY][0] == '\0' && o->junk_label[0] == '\0'),
                TDM_E_USAGE, "tandem eval: %s goes by labels, --qrels has none",
                o->junk_label[0] != '\0' ? "--junk-label" : cameras_option[QUERY]);
    TDM_REQUIRE(
        !o->exclude_self || o->rerank[0] == '\0', TDM_E_USAGE,
        "tandem eval: --rerank takes queries and gallery as different rows, --exclude-self as the same");
    TDM_REQUIRE((o->fuse[QUERY][0] == '\0') == (o->fuse[GALLERY][0] == '\0'), TDM_E_USAGE,
                "tandem eval: --fuse-query and --fuse-gallery belong together");
    TDM_REQUIRE(
        o->fuse[QUERY][0] == '\0' || o->junk_label[0] == '\0', TDM_E_USAGE,
        "tandem eval: --fuse-query does not go with --junk-label, which takes rows out of one gallery");
    const char *const of_models = r->inference.model[0] != '\0' ? "--model"
                                  : r->data[0] != '\0'          ? "--data"
                                  : r->html[0] != '\0'          ? "--html"
                                                                : NULL;
    TDM_REQUIRE(
        of_models == NULL, TDM_E_USAGE,
        "tandem eval: %s belongs to the tasks that embed with a model, --query to embeddings from files",
        of_models);
    return TDM_OK;
}

/* Names from a file, if there is one. Collective. */
static tdm_status read_names(const external *x, const char *option, const char *given, int s,
                             row_names *names)
{
    row_file file;
    TDM_TRY(row_file_find(x->comm, option, given, &file));
    return tdm_comm_agree(x->comm, row_names_read(&file, side_option[s], x->side[s].matrix.rows, names));
}

/* Rows of a gallery stay in their file when a rank's take more: ranking holds them a second time, packed. */
static int64_t most_bytes(const external *x, int s)
{
    const embeddings_options *o = x->options;
    /* Rows are taken out of it, and for other orders they are queries, too. */
    const bool in_memory = s == QUERY || o->folds > 0 || o->junk_label[0] != '\0' || o->rerank[0] != '\0' ||
                           o->fuse[QUERY][0] != '\0';
    return in_memory ? INT64_MAX : (o->memory_mib << 20) / 2;
}

/* Ids: the file's, or the numbers of the rows. Collective. */
static tdm_status read_side(external *x, int s)
{
    const embeddings_options *o = x->options;
    ranked *side = &x->side[s];
    TDM_TRY(row_file_find(x->comm, side_option[s], o->side[s], &side->file));
    TDM_TRY(row_matrix_read(x->comm, &side->file, x->request->split, most_bytes(x, s), &side->matrix));
    if (o->ids[s][0] != '\0') {
        TDM_TRY(read_names(x, ids_option[s], o->ids[s], s, &side->ids));
        TDM_AGREE(x->comm, row_names_check_ids(ids_option[s], &side->ids));
    } else {
        TDM_AGREE(x->comm, row_names_number(side->matrix.rows, NULL, &side->ids));
    }
    return TDM_OK;
}

/* What the queries belong to: the file's; of Tandem's own captions the image; else each stands alone. Collective. */
static tdm_status read_clusters(external *x)
{
    const embeddings_options *o = x->options;
    const row_matrix *query = &x->side[QUERY].matrix;
    x->each.cluster_by = o->clusters[0] != '\0' ? "cluster" : query->image != NULL ? "image" : "query";
    if (o->clusters[0] != '\0') return read_names(x, "--query-clusters", o->clusters, QUERY, &x->cluster);
    return tdm_comm_agree(x->comm,
                          query->image ? row_names_number(query->rows, query->image, &x->cluster) : TDM_OK);
}

static const row_names *labels_of(const ranked *side)
{
    return side->labels.count > 0 ? &side->labels : &side->ids;
}

/* Does a file of labels have several of a row? Then both sides are read so. Collective. */
static tdm_status find_several(const external *x, bool *several)
{
    const embeddings_options *o = x->options;
    *several = false;
    for (int s = 0; s < SIDES; s++) {
        row_file file;
        bool are = false;
        if (o->labels[s][0] == '\0') continue;
        TDM_TRY(row_file_find(x->comm, labels_option[s], o->labels[s], &file));
        TDM_AGREE(x->comm, row_sets_are_in(&file, o->label_separator, &are));
        *several |= are;
    }
    return TDM_OK;
}

static tdm_status read_sets(external *x, int s)
{
    const embeddings_options *o = x->options;
    ranked *side = &x->side[s];
    row_file file;
    TDM_TRY(row_file_find(x->comm, labels_option[s], o->labels[s], &file));
    return tdm_comm_agree(
        x->comm, row_sets_read(&file, o->label_separator, side_option[s], side->matrix.rows, &x->sets[s]));
}

/* The file's; of Tandem's own embeddings the image; or the ids, and then the list stays empty. Collective. */
static tdm_status read_labels(external *x)
{
    const embeddings_options *o = x->options;
    bool several;
    TDM_TRY(find_several(x, &several));
    for (int s = 0; s < SIDES; s++) {
        ranked *side = &x->side[s];
        const bool by_image = side->matrix.image != NULL && o->ids[s][0] == '\0' && o->qrels[0] == '\0';
        if (o->labels[s][0] != '\0')
            TDM_TRY(several ? read_sets(x, s)
                            : read_names(x, labels_option[s], o->labels[s], s, &side->labels));
        else if (by_image)
            TDM_AGREE(x->comm, row_names_number(side->matrix.rows, side->matrix.image, &side->labels));
        if (several && x->sets[s].rows == 0)
            TDM_AGREE(x->comm, row_sets_of_names(labels_of(side), &x->sets[s]));
    }
    const int64_t columns[SIDES] = {x->sets[QUERY].columns, x->sets[GALLERY].columns};
    TDM_REQUIRE(columns[QUERY] == 0 || columns[GALLERY] == 0 || columns[QUERY] == columns[GALLERY],
                TDM_E_SHAPE, "--query-labels %s has %lld columns, --gallery-labels %s has %lld",
                o->labels[QUERY], (long long)columns[QUERY], o->labels[GALLERY], (long long)columns[GALLERY]);
    if (several) TDM_AGREE(x->comm, row_sets_names(x->sets, SIDES, &x->label));
    return TDM_OK;
}

static bool has_several(const external *x)
{
    return x->sets[GALLERY].rows > 0;
}

/* ---- What a query does not see ---- */

/* Takes the gallery's rows of --junk-label away. */
static tdm_status leave_out(external *x)
{
    const char *name = x->options->junk_label;
    ranked *gallery = &x->side[GALLERY];
    const int64_t rows = gallery->matrix.rows;
    bool *keep = NULL;
    if (name[0] == '\0') return TDM_OK;
    const int64_t label = has_several(x) ? row_sets_find(&x->sets[GALLERY], name) : -1;
    TDM_TRY(TDM_ALLOC(rows, &keep));
    for (int64_t i = 0; i < rows; i++) {
        keep[i] = has_several(x) ? label < 0 || !row_sets_has(&x->sets[GALLERY], i, label)
                                 : strcmp(row_names_at(labels_of(gallery), i), name) != 0;
        x->left_out += !keep[i];
    }
    if (x->left_out > 0 && x->left_out < rows) {
        row_matrix_keep(&gallery->matrix, keep);
        row_names_keep(&gallery->ids, keep);
        if (gallery->labels.count > 0) row_names_keep(&gallery->labels, keep);
        if (has_several(x)) row_sets_keep(&x->sets[GALLERY], keep);
        if (x->camera[GALLERY].count > 0) row_names_keep(&x->camera[GALLERY], keep);
    }
    tdm_free(keep);
    TDM_REQUIRE(x->left_out < rows, TDM_E_DATA, "--junk-label %s: all %lld rows of the gallery have it", name,
                (long long)rows);
    return TDM_OK;
}

static tdm_status find_junk(external *x)
{
    const embeddings_options *o = x->options;
    const row_matrix *query = &x->side[QUERY].matrix, *gallery = &x->side[GALLERY].matrix;
    const row_names *label[SIDES] = {labels_of(&x->side[QUERY]), labels_of(&x->side[GALLERY])};
    TDM_REQUIRE(
        !o->exclude_self || (query->rows == gallery->rows && x->left_out == 0), TDM_E_USAGE,
        "tandem eval: --exclude-self goes by the numbers of the rows: the gallery has to be the list of "
        "queries (%lld and %lld rows, %lld of them left out as junk)",
        (long long)gallery->rows, (long long)query->rows, (long long)x->left_out);
    if (x->camera[QUERY].count > 0) {
        TDM_REQUIRE(
            !has_several(x), TDM_E_USAGE,
            "tandem eval: --query-cameras: which rows are of one identity goes by their label, and rows "
            "have several");
        TDM_TRY(junk_find(label, x->camera, query->first, query->n, &x->junk));
    }
    x->junk.self = o->exclude_self;
    x->junk.most += o->exclude_self;
    return TDM_OK;
}

/* Collective. */
static tdm_status read_junk(external *x)
{
    for (int s = 0; s < SIDES; s++)
        if (x->options->cameras[s][0] != '\0')
            TDM_TRY(read_names(x, cameras_option[s], x->options->cameras[s], s, &x->camera[s]));
    TDM_AGREE(x->comm, leave_out(x));
    TDM_AGREE(x->comm, find_junk(x));
    double most = (double)x->junk.most; /* all ranks look for as many */
    tdm_comm_max_f64(x->comm, &most, 1);
    x->junk.most = (int64_t)most;
    tdm_comm_sum_i64(x->comm, &x->junk.pairs, 1);
    return TDM_OK;
}

/* A label's key is the first row of the gallery that has it, -1 when none has. */
static tdm_status find_keys(external *x)
{
    const row_names *gallery = labels_of(&x->side[GALLERY]);
    for (int s = 0; s < SIDES; s++) {
        ranked *side = &x->side[s];
        if (has_several(x)) {
            TDM_TRY(row_sets_bits(&x->sets[s], &x->label, side->matrix.first, side->matrix.n, &side->bits,
                                  &side->words));
            continue;
        }
        TDM_TRY(TDM_ALLOC(side->matrix.n, &side->key));
        for (int64_t i = 0; i < side->matrix.n; i++)
            side->key[i] = row_names_find(gallery, row_names_at(labels_of(side), side->matrix.first + i));
    }
    return TDM_OK;
}

/* ---- Distance ---- */

static tdm_status widen(const tdm_eval_side *rows, float *out)
{
    float *wide = NULL;
    TDM_TRY(tdm_eval_euclidean_rows(rows, true, &wide));
    memcpy(out, wide, (size_t)(rows->n * (rows->d + 1)) * sizeof *out);
    tdm_free(wide);
    return TDM_OK;
}

/* A piece of the gallery, as make_sides makes all of it. */
static tdm_status read_piece(void *context, int64_t first, int64_t n, float *feature)
{
    const external *x = context;
    const ranked *r = &x->side[GALLERY];
    row_matrix part = {.first = r->matrix.first + first, .n = n, .width = r->matrix.width, .value = feature};
    TDM_TRY(row_matrix_rows(&r->file, &part));
    if (x->distance == TDM_COSINE)
        TDM_TRY(row_matrix_normalise(side_option[GALLERY], x->options->side[GALLERY], &part));
    const tdm_eval_side rows = {.n = n, .d = part.width, .feature = feature};
    return x->distance == TDM_EUCLIDEAN ? widen(&rows, feature) : TDM_OK;
}

/* Its rows stay in the file. */
static void set_source(external *x, ranked *r)
{
    r->side.d += x->distance == TDM_EUCLIDEAN;
    const int64_t row_bytes = r->side.d * (int64_t)sizeof(float);
    r->source = (tdm_eval_source){
        .piece_rows = tdm_max_i64(1, most_bytes(x, GALLERY) / row_bytes), .read = read_piece, .context = x};
    r->side.source = &r->source;
}

static tdm_status make_sides(external *x)
{
    for (int s = 0; s < SIDES; s++) {
        ranked *r = &x->side[s];
        if (x->distance == TDM_COSINE && !r->matrix.in_file)
            TDM_TRY(row_matrix_normalise(side_option[s], x->options->side[s], &r->matrix));
        r->side = (tdm_eval_side){.n = r->matrix.n,
                                  .d = r->matrix.width,
                                  .feature = r->matrix.value,
                                  .id = r->key,
                                  .labels = r->bits,
                                  .label_words = r->words};
        if (r->matrix.in_file) set_source(x, r);
        if (x->distance != TDM_EUCLIDEAN || r->side.source) continue;
        TDM_TRY(tdm_eval_euclidean_rows(&r->side, s == GALLERY, &r->with_norms));
        r->side.feature = r->with_norms;
        r->side.d++;
    }
    if (x->junk.same_camera) {
        x->side[QUERY].side.camera = x->junk.query_camera;
        x->side[GALLERY].side.camera = x->junk.gallery_camera + x->side[GALLERY].matrix.first;
    }
    if (x->options->qrels[0] != '\0') x->side[QUERY].side.judged = &x->qrels.judged;
    return TDM_OK;
}

static tdm_status read_qrels(external *x)
{
    const char *path = x->options->qrels;
    tdm_reading reading = {0};
    if (path[0] == '\0') return tdm_comm_agree(x->comm, find_keys(x));
    TDM_TRY(tdm_comm_agree_on(x->comm, tdm_reading_add_file(&reading, "--qrels", path), &reading));
    return tdm_comm_agree(x->comm, qrels_read(path, &x->side[QUERY].ids, &x->side[GALLERY].ids, &x->qrels));
}

static tdm_status check_widths(const external *x)
{
    const row_matrix *q = &x->side[QUERY].matrix, *g = &x->side[GALLERY].matrix;
    TDM_REQUIRE(q->width == g->width, TDM_E_SHAPE, "--query %s has rows of %lld, --gallery %s of %lld",
                x->options->side[QUERY], (long long)q->width, x->options->side[GALLERY], (long long)g->width);
    return TDM_OK;
}

/* ---- Labels as groups, and folds ---- */

/* A query's group is the first query of its label, or it is in the group of each of its labels. Collective. */
static tdm_status make_groups(external *x)
{
    const ranked *query = &x->side[QUERY];
    tdm_query_groups of = {.bits = query->bits, .words = query->words};
    int64_t *id = NULL;
    if (!x->options->macro && !x->options->per_class) return TDM_OK;
    tdm_status status = has_several(x) ? TDM_OK : TDM_ALLOC(query->matrix.n, &id);
    for (int64_t i = 0; status == TDM_OK && id != NULL && i < query->matrix.n; i++)
        id[i] = row_names_find(labels_of(query), row_names_at(labels_of(query), query->matrix.first + i));
    of.id = id;
    status = tdm_comm_agree(x->comm, status);
    if (status == TDM_OK)
        status = tdm_eval_group_metrics(x->comm, &x->rows, query->matrix.n, x->value, &of,
                                        x->options->per_class, &x->groups);
    tdm_free(id);
    return status;
}

/* Of a row: part `index` of `count` things lies in, when they are cut into `parts` contiguous ones. */
static int64_t part_of(int64_t count, int64_t parts, int64_t index)
{
    const int64_t least = count / parts, larger = count % parts; /* so many have one more */
    const int64_t of_larger = larger * (least + 1);
    return index < of_larger ? index / (least + 1) : larger + (index - of_larger) / least;
}

/* fold[gallery rows]: the distinct labels of the gallery, in the order in which they come first, are cut. */
static tdm_status cut_labels(const external *x, int64_t *fold)
{
    const row_names *labels = labels_of(&x->side[GALLERY]);
    const int64_t folds = x->options->folds;
    int64_t count = 0;
    for (int64_t i = 0; i < labels->count; i++) {
        const int64_t first = row_names_find(labels, row_names_at(labels, i));
        fold[i] = first == i ? count++ : fold[first];
    }
    TDM_REQUIRE(folds <= count, TDM_E_USAGE, "tandem eval: --folds %lld of %lld labels", (long long)folds,
                (long long)count);
    for (int64_t i = 0; i < labels->count; i++) fold[i] = part_of(count, folds, fold[i]);
    return TDM_OK;
}

/* x->fold_of of this rank's rows; a query whose label is not in the gallery is in none. */
static tdm_status find_folds(external *x)
{
    int64_t *fold = NULL;
    TDM_REQUIRE(!has_several(x), TDM_E_USAGE,
                "tandem eval: --folds: which fold a row is in goes by its label, and rows have several");
    TDM_TRY(TDM_ALLOC(x->options->folds, &x->fold));
    TDM_TRY(TDM_ALLOC(x->side[GALLERY].matrix.rows, &fold));
    tdm_status status = cut_labels(x, fold);
    for (int s = 0; status == TDM_OK && s < SIDES; s++) {
        const ranked *side = &x->side[s];
        status = TDM_ALLOC(side->matrix.n, &x->fold_of[s]);
        for (int64_t i = 0; status == TDM_OK && i < side->matrix.n; i++) {
            x->fold_of[s][i] = side->key[i] < 0 ? -1 : fold[side->key[i]];
            x->queries_in_no_fold += x->fold_of[s][i] < 0;
        }
    }
    for (int64_t i = 0; status == TDM_OK && x->options->exclude_self && i < x->side[QUERY].matrix.n; i++)
        if (x->fold_of[QUERY][i] != x->fold_of[GALLERY][i])
            status = TDM_ERROR(TDM_E_USAGE,
                               "tandem eval: --folds with --exclude-self: row %lld has one label as a "
                               "query and another in the gallery",
                               (long long)(x->side[QUERY].matrix.first + i));
    tdm_free(fold);
    return status;
}

/* Collective. */
static tdm_status evaluate_fold(external *x, int64_t k)
{
    tdm_side_fold part[SIDES] = {{.feature = NULL}};
    tdm_eval_detail detail = {.rows = &x->rows};
    tdm_status status = TDM_OK;
    for (int s = 0; s < SIDES && status == TDM_OK; s++)
        status = tdm_side_fold_take(&x->side[s].side, x->fold_of[s], k, &part[s]);
    status = tdm_comm_agree(x->comm, status);
    if (status == TDM_OK)
        status = tdm_eval_metrics_in_detail(x->comm, x->ops, &part[QUERY].side, &part[GALLERY].side,
                                            x->options->exclude_self, tdm_eval_block_rows(x->ops),
                                            &x->fold[k], &detail);
    for (int s = 0; s < SIDES; s++) tdm_side_fold_free(&part[s]);
    return status;
}

static tdm_status show_folds(const external *x)
{
    tdm_metrics mean;
    char name[48];
    tdm_metrics_mean(x->options->folds, x->fold, &mean);
    snprintf(name, sizeof name, "mean of %lld folds: ", (long long)x->options->folds);
    return result_log(name, &mean, " in all");
}

/* Collective. */
static tdm_status make_folds(external *x)
{
    if (x->options->folds == 0) return TDM_OK;
    tdm_comm_sum_i64(x->comm, &x->queries_in_no_fold, 1);
    for (int64_t k = 0; k < x->options->folds; k++) TDM_TRY(evaluate_fold(x, k));
    return tdm_comm_agree(x->comm, show_folds(x));
}

/* ---- Results ---- */

static const char direction_key[] = "query_to_gallery";

static const char *positives_of(const external *x)
{
    const embeddings_options *o = x->options;
    if (o->qrels[0] != '\0') return "qrels";
    if (has_several(x)) return "labels";
    return x->side[QUERY].labels.count + x->side[GALLERY].labels.count > 0 ? "labels" : "ids";
}

/* What was not seen; NULL: nothing was to be left out. */
static json_t *junk_json(const external *x)
{
    const embeddings_options *o = x->options;
    json_t *object = json_object();
    if (o->junk_label[0] != '\0') {
        json_object_set_new(object, "label", tdm_json_text(o->junk_label));
        json_object_set_new(object, "gallery_rows_left_out", json_integer(x->left_out));
    }
    if (x->junk.same_camera) json_object_set_new(object, "pairs_of_one_camera", json_integer(x->junk.pairs));
    if (o->exclude_self) json_object_set_new(object, "self", json_true());
    if (json_object_size(object) > 0) return object;
    json_decref(object);
    return NULL;
}

/* The name of a group of queries; see make_groups. */
static const char *group_name(const external *x, int64_t id)
{
    return has_several(x) ? row_names_at(&x->label, id) : row_names_at(labels_of(&x->side[QUERY]), id);
}

static json_t *by_label(const external *x)
{
    json_t *list = json_array();
    for (int64_t k = 0; k < x->groups.groups; k++)
        json_array_append_new(list, result_group(group_name(x, x->groups.id[k]), &x->rows, &x->groups, k));
    return list;
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
    json_t *left_out = junk_json(x);
    if (left_out) json_object_set_new(root, "junk", left_out);
    json_t *direction = result_metrics(&x->metrics);
    if (x->options->per_class) json_object_set_new(direction, "per_class", by_label(x));
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

static tdm_status rerank(external *x)
{
    const embeddings_options *o = x->options;
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
    const reranking r = {.input = &input,
                         .list = &x->rerank,
                         .plain = &x->each,
                         .gallery = &x->side[GALLERY].ids,
                         .junk = &x->junk,
                         .query_first = x->side[QUERY].matrix.first,
                         .depth = o->depth,
                         .run_out = o->run_out,
                         .per_query = o->per_query};
    x->reranked = json_array();
    return reranked_all(&r, direction_key, x->reranked);
}

static tdm_status read_fused(external *x)
{
    const embeddings_options *o = x->options;
    if (o->fuse[QUERY][0] == '\0') return TDM_OK;
    for (int s = 0; s < SIDES; s++)
        TDM_TRY(fused_rows_read(x->comm, fuse_option[s], o->fuse[s], x->request->split,
                                x->side[s].matrix.rows, side_option[s], &x->second[s]));
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
    const reranking r = {.input = &input,
                         .plain = &x->each,
                         .gallery = &x->side[GALLERY].ids,
                         .junk = &x->junk,
                         .query_first = x->side[QUERY].matrix.first,
                         .depth = o->depth,
                         .run_out = o->run_out,
                         .per_query = o->per_query};
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
    if (status == TDM_OK) status = make_sides(x);
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
    TDM_TRY(read_clusters(x));
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
    TDM_TRY(check_options(x));
    TDM_TRY(tdm_metric_rows_ask("tandem eval: --metrics", TDM_E_USAGE, o->metrics, &x->rows));
    TDM_REQUIRE(!x->rows.r_sum, TDM_E_USAGE,
                "tandem eval: --metrics: r_sum is made of two directions, --query and --gallery are one");
    x->distance = (tdm_distance)tdm_option_choice(TDM_DISTANCES, o->distance);
    TDM_TRY(tdm_rerank_ask("tandem eval: --rerank", o->rerank, x->distance, &x->rerank));
    for (int s = 0; s < SIDES; s++) TDM_TRY(read_side(x, s));
    TDM_AGREE(x->comm, check_widths(x));
    TDM_TRY(read_fused(x));
    TDM_TRY(read_labels(x));
    TDM_TRY(read_junk(x));
    TDM_TRY(read_qrels(x));
    TDM_AGREE(x->comm, o->folds > 0 ? find_folds(x) : TDM_OK);
    const double begin_s = tdm_now_s();
    TDM_TRY(rank(x));
    TDM_AGREE(x->comm, show(x, tdm_now_s() - begin_s));
    TDM_TRY(make_groups(x));
    TDM_TRY(make_folds(x));
    TDM_TRY(look_at_each(x));
    TDM_TRY(rerank(x));
    TDM_TRY(fuse(x));
    TDM_AGREE(x->comm, tdm_comm_rank(x->comm) == 0 ? write_json(x) : TDM_OK);
    if (o->run_out[0] == '\0') return TDM_OK;
    return ranking_write_run(x->comm, x->ops, &x->side[QUERY].side, &x->side[GALLERY].side,
                             &x->side[QUERY].ids, &x->side[GALLERY].ids, &x->junk,
                             x->side[QUERY].matrix.first, o->depth, o->run_out);
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
