#include "ranking_files.h"

#include <errno.h>
#include <unistd.h>

/* ---- The run ---- */

enum { BLOCK = 4096 }; /* queries that are gathered and written at once */

typedef struct run_file {
    tdm_comm *comm;
    const ranking_run *run;
    int64_t k;          /* the best of each query that were looked for */
    const int64_t *row; /* [n][k] */
    const float *score; /* [n][k] */
    char partial[TDM_PATH_BYTES];
    FILE *file; /* on rank 0 */
} run_file;

/* This rank's queries among the global ones [begin, end), as lines. */
static tdm_status print_queries(const run_file *r, int64_t begin, int64_t end, tdm_text *lines)
{
    const ranking_run *run = r->run;
    begin = tdm_max_i64(begin - run->query_first, 0);
    end = tdm_min_i64(end - run->query_first, run->n);
    for (int64_t i = begin; i < end; i++) {
        const char *name = row_names_at(run->query, run->query_first + i);
        int64_t rank = 0;
        for (int64_t j = 0; j < r->k && rank < run->depth; j++) {
            const int64_t row = r->row[i * r->k + j];
            if (run->junk && junk_has(run->junk, i, run->query_first + i, row)) continue;
            TDM_TRY(tdm_text_printf(lines, "%s Q0 %s %lld %.9g tandem\n", name,
                                    row_names_at(run->gallery, row), (long long)++rank,
                                    (double)r->score[i * r->k + j]));
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
        status = TDM_ERROR(TDM_E_IO, "--run-out: %s: cannot write: %s", r->run->path, strerror(errno));
    tdm_free(all);
    tdm_free(offset);
    tdm_text_free(&lines);
    return tdm_comm_agree(r->comm, status);
}

static tdm_status open_run(run_file *r)
{
    if (tdm_comm_rank(r->comm) != 0) return TDM_OK;
    const bool device = tdm_path_is_device(r->run->path);
    const char *suffix = device ? "" : ".partial";
    const int length = snprintf(r->partial, sizeof r->partial, "%s%s", r->run->path, suffix);
    TDM_REQUIRE(length < (int)sizeof r->partial, TDM_E_IO, "--run-out: the path is too long");
    r->file = device ? fdopen(tdm_device_open(r->run->path), "w") : fopen(r->partial, "w");
    TDM_REQUIRE(r->file != NULL, TDM_E_IO, "--run-out: %s: cannot write: %s", r->partial, strerror(errno));
    return TDM_OK;
}

/* Only a whole run gets its name. */
static tdm_status close_run(run_file *r, tdm_status status)
{
    if (r->file == NULL) return status;
    const bool device = strcmp(r->partial, r->run->path) == 0;
    const bool written = fflush(r->file) == 0 && (device || fsync(fileno(r->file)) == 0);
    const int why = errno;
    fclose(r->file);
    if (status == TDM_OK && (!written || (!device && rename(r->partial, r->run->path) != 0)))
        status = TDM_ERROR(TDM_E_IO, "--run-out: %s: cannot write: %s", r->run->path,
                           strerror(written ? errno : why));
    if (status != TDM_OK && !device) (void)unlink(r->partial);
    return status;
}

/* Of a run that is open; status: whether its lists could be made. */
static tdm_status write_opened(run_file *r, tdm_status status)
{
    for (int64_t begin = 0; status == TDM_OK && begin < r->run->query->count; begin += BLOCK)
        status = write_block(r, begin);
    return tdm_comm_agree(r->comm, close_run(r, status));
}

int64_t ranking_length(const ranking_run *run)
{
    return tdm_min_i64(run->depth + (run->junk ? run->junk->most : 0), run->gallery->count);
}

tdm_status ranking_write_lists(tdm_comm *comm, const ranking_run *run, const int64_t *row, const float *score)
{
    run_file r = {.comm = comm, .run = run, .k = ranking_length(run), .row = row, .score = score};
    return write_opened(&r, tdm_comm_agree(comm, open_run(&r)));
}

tdm_status ranking_write_run(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                             const tdm_eval_side *gallery, const ranking_run *run)
{
    int64_t *row = NULL;
    float *score = NULL;
    run_file r = {.comm = comm, .run = run, .k = ranking_length(run)};
    tdm_status status = TDM_ALLOC(run->n * r.k, &row);
    if (status == TDM_OK) status = TDM_ALLOC(run->n * r.k, &score);
    if (status == TDM_OK) status = open_run(&r);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = tdm_eval_top_k(comm, ops, query, gallery, r.k, BLOCK, row, score);
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
