/* tandem eval --runs FILE,FILE…: figures of rankings that are made already, and of what they are fused to. */
#include "eval_task_table.h"
#include "qrels.h"
#include "query_values.h"
#include "ranking_files.h"
#include "result_json.h"
#include "trec_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct fuse_options { /* "" = unset */
    const char *runs, *qrels, *fuse, *metrics, *run_out, *per_query;
} fuse_options;

typedef struct fuse_task {
    tdm_comm *comm;
    const eval_request *request;
    const fuse_options *options;
    run_set set;
    tdm_fusion_list list;
    qrels qrels;
    tdm_metric_rows rows;
    double *value; /* [rows][queries] of the ranking at hand */
    json_t *root, *runs, *fused;
} fuse_task;

/* ---- Figures of a run ---- */

/* Where a positive stands that a run does not list: behind everything. */
static const int64_t nowhere = (int64_t)1 << 62;

static int compare_ranks(const void *a, const void *b)
{
    const int64_t *x = a, *y = b; /* {rank, grade} */
    return (x[0] > y[0]) - (x[0] < y[0]);
}

static int compare_grades(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x < y) - (x > y);
}

typedef struct ranking_room { /* for the positives of one query */
    int64_t (*place)[2];      /* rank and grade */
    int64_t *rank;
    int32_t *grade, *ideal;
} ranking_room;

static void find_ranks(const tdm_run *run, const tdm_judgements *judged, int64_t q, const ranking_room *room,
                       tdm_ranking *ranking)
{
    const int64_t first = judged->offset[q], m = judged->offset[q + 1] - first;
    for (int64_t i = 0; i < m; i++) {
        room->place[i][0] = nowhere;
        room->place[i][1] = judged->grade[first + i];
        room->ideal[i] = judged->grade[first + i];
    }
    for (int64_t p = run->offset[q]; p < run->offset[q + 1]; p++) {
        const int64_t at = tdm_lower_bound(judged->row + first, m, run->row[p]);
        if (at < m && judged->row[first + at] == run->row[p]) room->place[at][0] = p - run->offset[q] + 1;
    }
    qsort(room->place, (size_t)m, sizeof *room->place, compare_ranks);
    qsort(room->ideal, (size_t)m, sizeof *room->ideal, compare_grades);
    for (int64_t i = 0; i < m; i++) {
        room->rank[i] = room->place[i][0];
        room->grade[i] = (int32_t)room->place[i][1];
    }
    *ranking = (tdm_ranking){.m = m, .rank = room->rank, .grade = room->grade, .ideal = room->ideal};
}

/* A positive that is not listed adds nothing to a share; a rank that is not there is infinite. */
static double value_of(const tdm_metric *row, const tdm_ranking *ranking)
{
    const double value = row->value(ranking, row->cutoff);
    if (row->is_share) return value < 1e-15 ? 0 : value;
    return value >= (double)nowhere ? INFINITY : value;
}

static void measure_in(const fuse_task *f, const tdm_run *run, const ranking_room *room, double *some,
                       tdm_metrics *metrics)
{
    const int64_t queries = run->queries;
    *metrics =
        (tdm_metrics){.queries = queries, .gallery = f->set.name[RUNS_DOCUMENT].count, .rows = &f->rows};
    for (int64_t q = 0; q < queries; q++) {
        tdm_ranking ranking;
        find_ranks(run, &f->qrels.judged, q, room, &ranking);
        metrics->without_positive += ranking.m == 0;
        for (size_t r = 0; r < f->rows.count; r++)
            f->value[(int64_t)r * queries + q] = ranking.m == 0 ? NAN : value_of(f->rows.row[r], &ranking);
    }
    for (size_t r = 0; r < f->rows.count; r++) {
        int64_t n = 0;
        for (int64_t q = 0; q < queries; q++)
            if (!isnan(f->value[(int64_t)r * queries + q])) some[n++] = f->value[(int64_t)r * queries + q];
        metrics->value[r] = tdm_metric_summarise(f->rows.row[r], n, some);
    }
}

static tdm_status measure(const fuse_task *f, const tdm_run *run, tdm_metrics *metrics)
{
    const tdm_judgements *judged = &f->qrels.judged;
    ranking_room room = {0};
    double *some = NULL;
    int64_t most = 0;
    for (int64_t q = 0; q < judged->queries; q++)
        most = tdm_max_i64(most, judged->offset[q + 1] - judged->offset[q]);
    tdm_status status = TDM_ALLOC(most, &room.place);
    if (status == TDM_OK) status = TDM_ALLOC(most, &room.rank);
    if (status == TDM_OK) status = TDM_ALLOC(most, &room.grade);
    if (status == TDM_OK) status = TDM_ALLOC(most, &room.ideal);
    if (status == TDM_OK) status = TDM_ALLOC(run->queries, &some);
    if (status == TDM_OK) measure_in(f, run, &room, some, metrics);
    tdm_free(room.place);
    tdm_free(room.rank);
    tdm_free(room.grade);
    tdm_free(room.ideal);
    tdm_free(some);
    return status;
}

/* ---- Results ---- */

static tdm_status show(const char *name, const tdm_metrics *metrics, json_t *entry)
{
    tdm_text title = {0};
    tdm_status status = tdm_text_printf(&title, "%s: ", name);
    if (status == TDM_OK) status = result_log(title.data, metrics, "");
    tdm_text_free(&title);
    json_object_set_new(entry, "query_to_gallery", result_metrics(metrics));
    return status;
}

static int64_t count_empty(const tdm_run *run)
{
    int64_t empty = 0;
    for (int64_t q = 0; q < run->queries; q++) empty += run->offset[q + 1] == run->offset[q];
    return empty;
}

static tdm_status measure_runs(fuse_task *f)
{
    for (int64_t r = 0; r < f->set.count; r++) {
        tdm_metrics metrics;
        TDM_TRY(measure(f, &f->set.run[r], &metrics));
        json_t *entry = json_object();
        json_object_set_new(entry, "file", tdm_json_text(f->set.path[r]));
        json_object_set_new(entry, "lines", json_integer(f->set.run[r].offset[f->set.run[r].queries]));
        json_object_set_new(entry, "queries_without_lines", json_integer(count_empty(&f->set.run[r])));
        json_array_append_new(f->runs, entry);
        TDM_TRY(show(f->set.path[r], &metrics, entry));
    }
    return TDM_OK;
}

/* Of several fusions each writes a file of its own. */
static tdm_status path_of(const fuse_task *f, int64_t i, const char *path, char out[TDM_PATH_BYTES])
{
    int64_t same = 1;
    for (int64_t j = 0; j < i; j++) same += f->list.call[j].row == f->list.call[i].row;
    if (f->list.count > 1) return ranking_path_beside(path, f->list.call[i].row->name, same, out);
    TDM_REQUIRE(strlen(path) < TDM_PATH_BYTES, TDM_E_IO, "%.80s…: the path is too long", path);
    memcpy(out, path, strlen(path) + 1);
    return TDM_OK;
}

static tdm_status write_fused(const fuse_task *f, int64_t i, const tdm_run *fused)
{
    const bool first = tdm_comm_rank(f->comm) == 0;
    const row_names *query = &f->set.name[RUNS_QUERY];
    char path[TDM_PATH_BYTES];
    if (f->options->run_out[0] != '\0') {
        TDM_TRY(path_of(f, i, f->options->run_out, path));
        TDM_AGREE(f->comm, first ? trec_run_write(path, fused, query, &f->set.name[RUNS_DOCUMENT]) : TDM_OK);
    }
    if (f->options->per_query[0] == '\0') return TDM_OK;
    TDM_TRY(path_of(f, i, f->options->per_query, path));
    const row_names alone = {0};
    const query_values each = {
        .query = query, .cluster = &alone, .cluster_by = "query", .rows = &f->rows, .value = f->value};
    return query_values_write(f->comm, &each, path);
}

static tdm_status fuse_runs(fuse_task *f)
{
    for (int64_t i = 0; i < f->list.count; i++) {
        tdm_run fused = {0};
        tdm_metrics metrics;
        const tdm_fusion_call *call = &f->list.call[i];
        json_t *entry =
            result_call(call->row->name, call->row->options, call->row->option_count, call->options);
        json_array_append_new(f->fused, entry);
        tdm_status status = tdm_fuse(call, f->set.count, f->set.run, &fused);
        if (status == TDM_OK) status = measure(f, &fused, &metrics);
        if (status == TDM_OK) status = show(call->row->name, &metrics, entry);
        status = tdm_comm_agree(f->comm, status);
        if (status == TDM_OK) status = write_fused(f, i, &fused);
        tdm_run_free(&fused);
        TDM_TRY(status);
    }
    return TDM_OK;
}

/* ---- The task ---- */

static tdm_status check_options(const fuse_task *f)
{
    const eval_request *r = f->request;
    TDM_REQUIRE(f->options->runs[0] != '\0', TDM_E_USAGE, "tandem eval: --runs FILE,FILE… is missing");
    TDM_REQUIRE(f->options->qrels[0] != '\0', TDM_E_USAGE,
                "tandem eval: --runs needs --qrels FILE, which says what is right");
    const char *const foreign = r->inference.model[0] != '\0' ? "--model"
                                : r->data[0] != '\0'          ? "--data"
                                : r->html[0] != '\0'          ? "--html"
                                                              : NULL;
    TDM_REQUIRE(foreign == NULL, TDM_E_USAGE, "tandem eval: %s does not go with --runs", foreign);
    return TDM_OK;
}

static tdm_status evaluate(fuse_task *f)
{
    TDM_TRY(check_options(f));
    TDM_TRY(tdm_metric_rows_ask("tandem eval: --metrics", TDM_E_USAGE, f->options->metrics, &f->rows));
    TDM_REQUIRE(!f->rows.r_sum, TDM_E_USAGE,
                "tandem eval: --metrics: r_sum is made of two directions, runs are of one");
    TDM_TRY(tdm_fusion_ask("tandem eval: --fuse", f->options->fuse, &f->list));
    TDM_TRY(run_set_read(f->comm, "--runs", f->options->runs, f->options->qrels, &f->set));
    TDM_AGREE(f->comm, qrels_read(f->options->qrels, &f->set.name[RUNS_QUERY], &f->set.name[RUNS_DOCUMENT],
                                  &f->qrels));
    f->root = json_object();
    json_object_set_new(f->root, "positives", json_string("qrels"));
    json_object_set_new(f->root, "qrels", qrels_json(f->options->qrels, &f->qrels));
    json_object_set_new(f->root, "runs", f->runs = json_array());
    json_object_set_new(f->root, "fused", f->fused = json_array());
    TDM_AGREE(f->comm, TDM_ALLOC((int64_t)f->rows.count * f->set.name[RUNS_QUERY].count, &f->value));
    TDM_AGREE(f->comm, measure_runs(f));
    TDM_TRY(fuse_runs(f));
    return tdm_comm_agree(f->comm,
                          tdm_comm_rank(f->comm) == 0 ? result_write(f->root, 17, f->request->json) : TDM_OK);
}

static tdm_status fuse_run(tdm_comm *comm, const eval_request *request, const void *options)
{
    fuse_task *f = NULL; /* a list of long paths */
    TDM_AGREE(comm, TDM_ALLOC(1, &f));
    *f = (fuse_task){.comm = comm, .request = request, .options = options};
    const tdm_status status = evaluate(f);
    run_set_free(&f->set);
    tdm_fusion_list_free(&f->list);
    qrels_free(&f->qrels);
    tdm_metric_rows_free(&f->rows);
    tdm_free(f->value);
    json_decref(f->root);
    tdm_free(f);
    return status;
}

/* ---- Options ---- */

static const fuse_options defaults = {
    .runs = "", .qrels = "", .fuse = "rrf", .metrics = "", .run_out = "", .per_query = ""};

static size_t fuse_flags(void *options, tdm_flag flag[EVAL_TASK_MAX_FLAGS])
{
    fuse_options *o = options;
    const tdm_flag own[] = {
        FLAG_STRING("--runs", &o->runs, "FILE,…", "", "TREC runs, as --run-out writes them"),
        FLAG_STRING("--qrels", &o->qrels, "FILE", "", "judgements of their queries and documents"),
        FLAG_STRING("--fuse", &o->fuse, "NAME,…", "rrf",
                    "what they are fused to, each way by itself; see below"),
        FLAG_STRING("--metrics", &o->metrics, "NAME,…", "", "as for --query"),
        FLAG_STRING("--run-out", &o->run_out, "FILE", "",
                    "writes the fused run; of several ways FILE.NAME each"),
        FLAG_STRING("--per-query", &o->per_query, "FILE", "", "writes its metrics of every query likewise"),
    };
    _Static_assert(sizeof own / sizeof own[0] <= EVAL_TASK_MAX_FLAGS, "there is room for the task's flags");
    memcpy(flag, own, sizeof own);
    return sizeof own / sizeof own[0];
}

static void explain(void)
{
    size_t count = 0;
    const tdm_fusion *const *row = tdm_fusion_table(&count);
    puts("\n--fuse:");
    for (size_t i = 0; i < count; i++)
        tdm_print_call(row[i]->name, row[i]->help, row[i]->options, row[i]->option_count);
}

const eval_task task_fuse = {
    .name = "fuse",
    .help = "TREC runs, each by itself and fused; --runs is enough to choose it",
    .option_bytes = sizeof defaults,
    .defaults = &defaults,
    .chosen_by = "--runs",
    .flags = fuse_flags,
    .explain = explain,
    .run = fuse_run,
};
