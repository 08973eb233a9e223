/* What an evaluation has finished, in a file: so that it goes on where it was stopped, on any number of ranks.
 *
 * HDF5, format "tandem.ranking": the digest of what is evaluated and how, done u8 [queries], and value i64
 * [metrics·queries], the bits of each query's f64, metric by metric. */
#include "metrics_impl.h"

#include "tandem/h5.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define FORMAT "tandem.ranking"
enum { VERSION = 1, CHUNK_BYTES = 1 << 16 };
#define WRITE_S 60.0 /* what is done since the last time is written; and when the evaluation is stopped */

/* ---- The digest ---- */

/* Sums of rows' hashes do not depend on who has which row. */
static uint64_t row_hash(const tdm_eval_side *side, int64_t i, int64_t row)
{
    const uint64_t part[5] = {
        tdm_xxh64(side->feature + i * side->d, (size_t)side->d * sizeof *side->feature), (uint64_t)row,
        side->id ? (uint64_t)side->id[i] : 0,
        side->labels ? tdm_xxh64(side->labels + i * side->label_words, (size_t)side->label_words * 8) : 0,
        side->camera ? (uint64_t)side->camera[i] + 1 : 0};
    return tdm_xxh64(part, sizeof part);
}

/* first: global row of local row 0. Collective. */
static tdm_status side_hash(tdm_comm *comm, const tdm_eval_side *side, int64_t first, int threads,
                            uint64_t *hash)
{
    eval_pieces pieces = {0};
    uint64_t sum = 0;
    tdm_status status = eval_pieces_open(comm, side, &pieces);
    for (int64_t piece = 0; status == TDM_OK && piece < pieces.count; piece++) {
        tdm_eval_side rows;
        int64_t begin;
        status = eval_pieces_rows(&pieces, piece, &begin, &rows);
        if (status != TDM_OK) break;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : sum)
        for (int64_t i = 0; i < rows.n; i++) sum += row_hash(&rows, i, first + begin + i);
    }
    eval_pieces_close(&pieces);
    int64_t half[2] = {(int64_t)(sum & UINT32_MAX),
                       (int64_t)(sum >> 32)}; /* modulo 2^64 without an overflow */
    tdm_comm_sum_i64(comm, half, 2);
    *hash = (uint64_t)half[0] + ((uint64_t)half[1] << 32);
    return tdm_comm_agree(comm, status);
}

static uint64_t judged_hash(const tdm_judgements *j)
{
    if (j == NULL) return 0;
    const size_t n = (size_t)j->offset[j->queries];
    const uint64_t part[3] = {tdm_xxh64(j->offset, (size_t)(j->queries + 1) * sizeof *j->offset),
                              tdm_xxh64(j->row, n * sizeof *j->row),
                              tdm_xxh64(j->grade, n * sizeof *j->grade)};
    return tdm_xxh64(part, sizeof part);
}

/* Everything that the values depend on. Collective. */
static tdm_status make_digest(tdm_comm *comm, const eval_figures *figures, const tdm_eval_side *query,
                              const tdm_eval_side *gallery, bool exclude_self, int threads, char digest[65])
{
    const eval_layout *layout = figures->layout;
    uint64_t hash[2];
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(figures->rows, &count);
    tdm_text text = {0};
    TDM_TRY(side_hash(comm, query, layout->query_first, threads, &hash[0]));
    TDM_TRY(side_hash(comm, gallery, layout->gallery_first, threads, &hash[1]));
    tdm_status status =
        tdm_text_printf(&text, "%s %lld %lld %lld %lld %d %llx %llx %llx", TDM_VERSION,
                        (long long)layout->queries, (long long)layout->gallery, (long long)query->d,
                        (long long)layout->label_words, exclude_self, (unsigned long long)hash[0],
                        (unsigned long long)hash[1], (unsigned long long)judged_hash(query->judged));
    for (size_t r = 0; status == TDM_OK && r < count; r++)
        status = tdm_text_printf(&text, " %s", row[r]->name);
    if (status == TDM_OK) status = tdm_sha256_buffer(text.data, text.length, digest);
    tdm_text_free(&text);
    return tdm_comm_agree(comm, status);
}

/* ---- Reading ---- */

/* Of rank 0: done[queries], and the file open at its values. */
static tdm_status open_file(const eval_keep *keep, const eval_figures *figures, uint8_t *done, tdm_h5 **file,
                            tdm_h5_array **value)
{
    char digest[65];
    size_t count = 0;
    (void)tdm_metric_rows_of(figures->rows, &count);
    int64_t queries = figures->layout->queries, values = (int64_t)count * queries;
    TDM_TRY(tdm_h5_open(keep->path, FORMAT, VERSION, file));
    TDM_TRY(tdm_h5_verify(keep->path));
    TDM_TRY(tdm_h5_get_chars(*file, "digest", digest, sizeof digest));
    TDM_REQUIRE(strcmp(digest, keep->digest) == 0, TDM_E_DATA,
                "%s: is of another evaluation: its rows, what matches, or the metrics are not these",
                keep->path);
    TDM_TRY(tdm_h5_get_array(*file, "done", TDM_H5_U8, 1, &queries, done));
    return tdm_h5_open_array(*file, "value", TDM_H5_I64, 1, &values, value);
}

/* Rank 0 reads, metric by metric. Collective. */
static tdm_status read_values(tdm_comm *comm, eval_figures *figures, const uint8_t *done, tdm_h5_array *value)
{
    const eval_layout *layout = figures->layout;
    const int64_t queries = layout->queries;
    size_t count = 0;
    (void)tdm_metric_rows_of(figures->rows, &count);
    for (size_t r = 0; r < count; r++) {
        TDM_AGREE(comm, value ? tdm_h5_read(value, (int64_t)r * queries, queries, figures->all) : TDM_OK);
        tdm_comm_broadcast(comm, figures->all, queries * (int64_t)sizeof *figures->all, 0);
        for (int64_t i = 0; i < figures->n; i++)
            if (done[layout->query_first + i])
                figures->value[(int64_t)r * figures->n + i] = figures->all[layout->query_first + i];
    }
    return TDM_OK;
}

static tdm_status read_file(tdm_comm *comm, eval_keep *keep, eval_figures *figures, uint8_t *done)
{
    tdm_h5 *file = NULL;
    tdm_h5_array *value = NULL;
    tdm_status status = tdm_comm_rank(comm) == 0 ? open_file(keep, figures, done, &file, &value) : TDM_OK;
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_broadcast(comm, done, figures->layout->queries, 0);
        status = read_values(comm, figures, done, value);
    }
    if (status == TDM_OK && figures->n > 0)
        memcpy(keep->done, done + figures->layout->query_first, (size_t)figures->n);
    for (int64_t i = 0; status == TDM_OK && i < figures->layout->queries; i++) keep->finished += done[i];
    tdm_h5_discard(&file);
    return status;
}

tdm_status eval_keep_open(tdm_comm *comm, const char *path, eval_figures *figures, const tdm_eval_side *query,
                          const tdm_eval_side *gallery, bool exclude_self, int threads, eval_keep *keep)
{
    uint8_t *done = NULL;
    *keep = (eval_keep){.path = path, .written_s = tdm_now_s()};
    if (path == NULL) return TDM_OK;
    TDM_TRY(make_digest(comm, figures, query, gallery, exclude_self, threads, keep->digest));
    tdm_status status = TDM_ALLOC(figures->n, &keep->done);
    if (status == TDM_OK) status = TDM_ALLOC(figures->layout->queries, &done);
    status = tdm_comm_agree(comm, status);
    int64_t there = tdm_comm_rank(comm) == 0 && tdm_path_exists(path);
    tdm_comm_broadcast(comm, &there, sizeof there, 0);
    if (status == TDM_OK && there) status = read_file(comm, keep, figures, done);
    tdm_free(done);
    if (status == TDM_OK && there)
        tdm_log(TDM_LOG_INFO, "%s: %lld of %lld queries were ranked before", path, (long long)keep->finished,
                (long long)figures->layout->queries);
    return status;
}

/* ---- Writing ---- */

static tdm_status begin_file(const eval_keep *keep, const char *path, int64_t queries, const uint8_t *done,
                             tdm_h5 **file, tdm_h5_array **value)
{
    TDM_TRY(tdm_h5_create(path, FORMAT, VERSION, file));
    TDM_TRY(tdm_h5_put_text(*file, "digest", keep->digest));
    TDM_TRY(tdm_h5_put_array(*file, "done", TDM_H5_U8, 1, &queries, CHUNK_BYTES, done));
    return tdm_h5_grow(*file, "value", TDM_H5_I64, 0, CHUNK_BYTES, value);
}

static tdm_status end_file(const char *temporary, const char *path, tdm_h5 **file)
{
    TDM_TRY(tdm_h5_finish(file));
    TDM_REQUIRE(rename(temporary, path) == 0, TDM_E_IO, "%s: cannot rename: %s", temporary, strerror(errno));
    return tdm_fsync_parent(path);
}

tdm_status eval_keep_write(tdm_comm *comm, eval_keep *keep, const eval_figures *figures)
{
    const bool writes = tdm_comm_rank(comm) == 0;
    const eval_layout *layout = figures->layout;
    char temporary[TDM_PATH_BYTES + 8] = "";
    tdm_h5 *file = NULL;
    tdm_h5_array *array = NULL;
    uint8_t *done = NULL;
    size_t count = 0;
    if (keep->path == NULL) return TDM_OK;
    (void)tdm_metric_rows_of(figures->rows, &count);
    TDM_AGREE(comm, TDM_ALLOC(layout->queries, &done));
    tdm_comm_gather_rows(comm, keep->done, done, layout->query_rows, 1);
    keep->finished = 0;
    for (int64_t i = 0; i < layout->queries; i++) keep->finished += done[i];
    tdm_status status = TDM_OK;
    snprintf(temporary, sizeof temporary, "%s.tmp", keep->path);
    if (writes) status = begin_file(keep, temporary, layout->queries, done, &file, &array);
    for (size_t r = 0; r < count; r++) {
        tdm_comm_gather_rows(comm, figures->value + (int64_t)r * figures->n, figures->all, layout->query_rows,
                             sizeof *figures->all);
        if (writes && status == TDM_OK) status = tdm_h5_append(array, layout->queries, figures->all);
    }
    if (writes && status == TDM_OK) status = end_file(temporary, keep->path, &file);
    tdm_h5_discard(&file);
    if (writes && status != TDM_OK) (void)unlink(temporary);
    tdm_free(done);
    keep->written_s = tdm_now_s();
    return tdm_comm_agree(comm, status);
}

tdm_status eval_keep_step(tdm_comm *comm, eval_keep *keep, const eval_figures *figures)
{
    if (keep->path == NULL) return TDM_OK;
    int64_t due = tdm_now_s() - keep->written_s >= WRITE_S;
    tdm_comm_broadcast(comm, &due, sizeof due, 0);
    return due ? eval_keep_write(comm, keep, figures) : TDM_OK;
}

void eval_keep_close(eval_keep *keep)
{
    tdm_free(keep->done);
    *keep = (eval_keep){0};
}
