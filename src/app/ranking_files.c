#include "ranking_files.h"

#include "tandem/h5.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

/* ---- The run ---- */

enum { BLOCK = 4096 }; /* queries that are gathered and written at once */

typedef struct run_file {
    tdm_comm *comm;
    const row_names *query, *gallery;
    int64_t query_first, n, k; /* this rank's queries, the best of each */
    const int64_t *row;        /* [n][k] */
    const float *score;        /* [n][k] */
    const char *path;
    char partial[TDM_PATH_BYTES];
    FILE *file; /* on rank 0 */
} run_file;

/* This rank's queries among the global ones [begin, end), as lines. */
static tdm_status print_queries(const run_file *r, int64_t begin, int64_t end, tdm_text *lines)
{
    begin = tdm_max_i64(begin - r->query_first, 0);
    end = tdm_min_i64(end - r->query_first, r->n);
    for (int64_t i = begin; i < end; i++) {
        const char *name = row_names_at(r->query, r->query_first + i);
        for (int64_t j = 0; j < r->k; j++)
            TDM_TRY(tdm_text_printf(lines, "%s Q0 %s %lld %.9g tandem\n", name,
                                    row_names_at(r->gallery, r->row[i * r->k + j]), (long long)(j + 1),
                                    (double)r->score[i * r->k + j]));
    }
    return TDM_OK;
}

static tdm_status write_block(const run_file *r, int64_t begin)
{
    tdm_text lines = {0};
    unsigned char *all = NULL;
    int64_t *offset = NULL;
    const int size = tdm_comm_size(r->comm);
    tdm_status status = TDM_ALLOC(size + 1, &offset);
    if (status == TDM_OK) status = print_queries(r, begin, begin + BLOCK, &lines);
    status = tdm_comm_agree(r->comm, status);
    if (status == TDM_OK) status = tdm_comm_collect(r->comm, lines.data, (int64_t)lines.length, &all, offset);
    if (status == TDM_OK && all != NULL &&
        fwrite(all, 1, (size_t)offset[size], r->file) != (size_t)offset[size])
        status = TDM_ERROR(TDM_E_IO, "--run-out: %s: cannot write: %s", r->path, strerror(errno));
    tdm_free(all);
    tdm_free(offset);
    tdm_text_free(&lines);
    return tdm_comm_agree(r->comm, status);
}

static tdm_status open_run(run_file *r)
{
    if (tdm_comm_rank(r->comm) != 0) return TDM_OK;
    const bool device = tdm_path_is_device(r->path);
    const char *suffix = device ? "" : ".partial";
    const int length = snprintf(r->partial, sizeof r->partial, "%s%s", r->path, suffix);
    TDM_REQUIRE(length < (int)sizeof r->partial, TDM_E_IO, "--run-out: the path is too long");
    r->file = device ? fdopen(tdm_device_open(r->path), "w") : fopen(r->partial, "w");
    TDM_REQUIRE(r->file != NULL, TDM_E_IO, "--run-out: %s: cannot write: %s", r->partial, strerror(errno));
    return TDM_OK;
}

/* Only a whole run gets its name. */
static tdm_status close_run(run_file *r, tdm_status status)
{
    if (r->file == NULL) return status;
    const bool device = strcmp(r->partial, r->path) == 0;
    const bool written = fflush(r->file) == 0 && (device || fsync(fileno(r->file)) == 0);
    const int why = errno;
    fclose(r->file);
    if (status == TDM_OK && (!written || (!device && rename(r->partial, r->path) != 0)))
        status =
            TDM_ERROR(TDM_E_IO, "--run-out: %s: cannot write: %s", r->path, strerror(written ? errno : why));
    if (status != TDM_OK && !device) (void)unlink(r->partial);
    return status;
}

tdm_status ranking_write_run(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                             const tdm_eval_side *gallery, const row_names *query_names,
                             const row_names *gallery_names, int64_t query_first, int64_t depth,
                             const char *path)
{
    int64_t *row = NULL;
    float *score = NULL;
    const int64_t k = tdm_min_i64(depth, gallery_names->count);
    run_file r = {.comm = comm,
                  .query = query_names,
                  .gallery = gallery_names,
                  .query_first = query_first,
                  .n = query->n,
                  .k = k,
                  .path = path};
    tdm_status status = TDM_ALLOC(query->n * k, &row);
    if (status == TDM_OK) status = TDM_ALLOC(query->n * k, &score);
    if (status == TDM_OK) status = open_run(&r);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = tdm_eval_top_k(comm, ops, query, gallery, k, BLOCK, row, score);
    r.row = row;
    r.score = score;
    for (int64_t begin = 0; status == TDM_OK && begin < query_names->count; begin += BLOCK)
        status = write_block(&r, begin);
    status = tdm_comm_agree(comm, close_run(&r, status));
    tdm_free(row);
    tdm_free(score);
    return status;
}

/* ---- Every metric of every query ---- */

/* As CSV asks: in quotes where it must be. */
static tdm_status print_field(const char *name, tdm_text *csv)
{
    if (name[strcspn(name, ",\"\r\n")] == '\0') return tdm_text_printf(csv, "%s", name);
    TDM_TRY(tdm_text_printf(csv, "\""));
    for (const char *at = name; *at != '\0'; at++)
        TDM_TRY(tdm_text_printf(csv, *at == '"' ? "\"%c" : "%c", *at));
    return tdm_text_printf(csv, "\"");
}

static tdm_status print_csv(const row_names *names, const tdm_metric_rows *rows, const double *value,
                            tdm_text *csv)
{
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_rows_of(rows, &count);
    TDM_TRY(tdm_text_printf(csv, "query"));
    for (size_t m = 0; m < count; m++) TDM_TRY(tdm_text_printf(csv, ",%s", metric[m]->name));
    TDM_TRY(tdm_text_printf(csv, "\n"));
    for (int64_t i = 0; i < names->count; i++) {
        TDM_TRY(print_field(row_names_at(names, i), csv));
        for (size_t m = 0; m < count; m++) {
            const double v = value[(int64_t)m * names->count + i];
            TDM_TRY(isnan(v) ? tdm_text_printf(csv, ",") : tdm_text_printf(csv, ",%.17g", v));
        }
        TDM_TRY(tdm_text_printf(csv, "\n"));
    }
    return TDM_OK;
}

static tdm_status write_csv(const row_names *names, const tdm_metric_rows *rows, const double *value,
                            const char *path)
{
    tdm_text csv = {0};
    tdm_status status = print_csv(names, rows, value, &csv);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, csv.data, csv.length);
    tdm_text_free(&csv);
    return status;
}

static tdm_status put_queries(tdm_h5 *file, const row_names *names, const tdm_metric_rows *rows,
                              const double *value, float *room)
{
    enum { CHUNK_BYTES = 1 << 20 };
    size_t count = 0;
    const tdm_metric *const *metric = tdm_metric_rows_of(rows, &count);
    tdm_h5_strings ids = {0};
    tdm_status status = TDM_OK;
    for (int64_t i = 0; status == TDM_OK && i < names->count; i++) {
        const char *name = row_names_at(names, i);
        status = tdm_h5_strings_add(&ids, name, strlen(name));
    }
    if (status == TDM_OK) status = tdm_h5_put_strings(file, "query_", &ids);
    tdm_h5_strings_free(&ids);
    for (size_t m = 0; status == TDM_OK && m < count; m++) {
        for (int64_t i = 0; i < names->count; i++) room[i] = (float)value[(int64_t)m * names->count + i];
        status = tdm_h5_put_array(file, metric[m]->name, TDM_H5_F32, 1, &names->count, CHUNK_BYTES, room);
    }
    return status;
}

static tdm_status write_h5(const row_names *names, const tdm_metric_rows *rows, const double *value,
                           const char *path)
{
    tdm_h5 *file = NULL;
    float *room = NULL;
    TDM_TRY(TDM_ALLOC(names->count, &room));
    tdm_status status = tdm_h5_create(path, "tandem.per_query", 1, &file);
    if (status == TDM_OK) status = put_queries(file, names, rows, value, room);
    if (status == TDM_OK) status = tdm_h5_finish(&file);
    tdm_h5_discard(&file);
    tdm_free(room);
    return status;
}

static bool ends_in(const char *path, const char *ending)
{
    const size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcmp(path + length - tail, ending) == 0;
}

tdm_status ranking_write_queries(tdm_comm *comm, const row_names *query_names, int64_t n,
                                 const tdm_metric_rows *rows, const double *value, const char *path)
{
    size_t count = 0;
    (void)tdm_metric_rows_of(rows, &count);
    int64_t *rows_of = NULL;
    double *all = NULL; /* [metrics][queries] */
    tdm_status status = TDM_ALLOC(tdm_comm_size(comm), &rows_of);
    if (status == TDM_OK) status = TDM_ALLOC((int64_t)count * query_names->count, &all);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_gather_i64(comm, n, rows_of);
        for (int64_t m = 0; m < (int64_t)count; m++)
            tdm_comm_gather_rows(comm, value + m * n, all + m * query_names->count, rows_of, sizeof *all);
        if (tdm_comm_rank(comm) == 0)
            status = ends_in(path, ".h5") || ends_in(path, ".hdf5") ? write_h5(query_names, rows, all, path)
                                                                    : write_csv(query_names, rows, all, path);
        status = tdm_comm_agree(comm, status);
    }
    tdm_free(rows_of);
    tdm_free(all);
    return status;
}
