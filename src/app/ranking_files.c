#include "ranking_files.h"

#include <errno.h>
#include <unistd.h>

/* ---- The run ---- */

enum { BLOCK = 4096 }; /* queries that are gathered and written at once */

typedef struct run_file {
    tdm_comm *comm;
    const row_names *query, *gallery;
    const row_junk *junk;
    int64_t query_first, n, k; /* this rank's queries, the best of each that were looked for */
    int64_t depth;             /* lines of each */
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
        int64_t rank = 0;
        for (int64_t j = 0; j < r->k && rank < r->depth; j++) {
            const int64_t row = r->row[i * r->k + j];
            if (r->junk && junk_has(r->junk, i, r->query_first + i, row)) continue;
            TDM_TRY(tdm_text_printf(lines, "%s Q0 %s %lld %.9g tandem\n", name, row_names_at(r->gallery, row),
                                    (long long)++rank, (double)r->score[i * r->k + j]));
        }
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

/* Of a run that is open; status: whether its lists could be made. */
static tdm_status write_opened(run_file *r, tdm_status status)
{
    for (int64_t begin = 0; status == TDM_OK && begin < r->query->count; begin += BLOCK)
        status = write_block(r, begin);
    return tdm_comm_agree(r->comm, close_run(r, status));
}

tdm_status ranking_write_lists(tdm_comm *comm, const row_names *query_names, const row_names *gallery_names,
                               const row_junk *junk, int64_t query_first, int64_t n, int64_t k, int64_t depth,
                               const int64_t *row, const float *score, const char *path)
{
    run_file r = {.comm = comm,
                  .query = query_names,
                  .gallery = gallery_names,
                  .junk = junk,
                  .query_first = query_first,
                  .n = n,
                  .k = k,
                  .depth = depth,
                  .row = row,
                  .score = score,
                  .path = path};
    return write_opened(&r, tdm_comm_agree(comm, open_run(&r)));
}

tdm_status ranking_write_run(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                             const tdm_eval_side *gallery, const row_names *query_names,
                             const row_names *gallery_names, const row_junk *junk, int64_t query_first,
                             int64_t depth, const char *path)
{
    int64_t *row = NULL;
    float *score = NULL;
    /* The junk that may stand before the last of them is looked for as well. */
    const int64_t k = tdm_min_i64(depth + (junk ? junk->most : 0), gallery_names->count);
    run_file r = {.comm = comm,
                  .query = query_names,
                  .gallery = gallery_names,
                  .junk = junk,
                  .query_first = query_first,
                  .depth = depth,
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
    status = write_opened(&r, status);
    tdm_free(row);
    tdm_free(score);
    return status;
}

tdm_status ranking_path_beside(const char *path, const char *name, int64_t number, char out[TDM_PATH_BYTES])
{
    char suffix[24] = "";
    if (number > 1) snprintf(suffix, sizeof suffix, "_%lld", (long long)number);
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path, *dot = strrchr(file, '.');
    const size_t stem = dot && dot != file ? (size_t)(dot - path) : strlen(path);
    const int length =
        snprintf(out, TDM_PATH_BYTES, "%.*s.%s%s%s", (int)stem, path, name, suffix, path + stem);
    TDM_REQUIRE(length < TDM_PATH_BYTES, TDM_E_IO, "%.80s…: the path is too long", path);
    return TDM_OK;
}
