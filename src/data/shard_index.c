/* The index of a data directory. dataset.h5, root attributes format, version, dataset; one row per shard in
 *   /shard/file, /shard/split, /shard/digest  fixed UTF-8 strings   /shard/images, /shard/captions i64
 *   /shard/bytes i64: size of the file, which tells a truncated shard before HDF5 trips over it. */
#include "index_impl.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The columns of the index; a string column has `bytes` characters per row. */
static const struct column {
    const char *name;
    size_t offset, bytes; /* in index_row; bytes = 0: int64_t */
} COLUMN[] = {
    {"shard/file", offsetof(index_row, row.file), sizeof(((tdm_index_row *)0)->file)},
    {"shard/split", offsetof(index_row, row.split), sizeof(((tdm_index_row *)0)->split)},
    {"shard/digest", offsetof(index_row, row.digest), sizeof(((tdm_index_row *)0)->digest)},
    {"shard/images", offsetof(index_row, row.images), 0},
    {"shard/captions", offsetof(index_row, row.captions), 0},
    {"shard/bytes", offsetof(index_row, file_bytes), 0},
};
enum { COLUMNS = sizeof(COLUMN) / sizeof(COLUMN[0]), MAX_SHARDS = 10000000 };

static size_t cell_bytes(const struct column *column)
{
    return column->bytes ? column->bytes : sizeof(int64_t);
}

static tdm_status put_column(tdm_h5 *file, const struct column *column, const index_row *row, int64_t count)
{
    char *cell;
    size_t bytes = cell_bytes(column);
    TDM_TRY(tdm_alloc(bytes * (size_t)count, column->name, (void **)&cell));
    for (int64_t i = 0; i < count; i++)
        memcpy(cell + bytes * (size_t)i, (const char *)&row[i] + column->offset, bytes);
    tdm_status status =
        column->bytes ? tdm_h5_put_cells(file, column->name, bytes, count, SHARD_CHUNK_BYTES, cell)
                      : tdm_h5_put_array(file, column->name, TDM_H5_I64, 1, &count, SHARD_CHUNK_BYTES, cell);
    tdm_free(cell);
    return status;
}

/* One column of *count rows; the first decides how many there are. */
static tdm_status get_column(tdm_h5 *file, const struct column *column, index_row **row, int64_t *count)
{
    char *cell = NULL;
    int64_t *number = NULL;
    size_t bytes = cell_bytes(column);
    bool first = *count < 0;
    tdm_status status = column->bytes ? tdm_h5_get_cells(file, column->name, bytes, count, &cell)
                                      : tdm_h5_get_i64s(file, column->name, count, &number);
    if (status == TDM_OK && *count > MAX_SHARDS)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: /%s lists more than %d shards", tdm_h5_path(file), column->name,
                           MAX_SHARDS);
    if (status == TDM_OK && first) status = TDM_ALLOC(*count, row);
    for (int64_t i = 0; i < *count && status == TDM_OK; i++) {
        char *to = (char *)&(*row)[i] + column->offset;
        memcpy(to, cell ? cell + bytes * (size_t)i : (const char *)&number[i], bytes);
        if (column->bytes) to[bytes - 1] = '\0';
    }
    tdm_free(cell);
    tdm_free(number);
    return status;
}

static tdm_status check_rows(const char *path, const index_row *row, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const tdm_index_row *it = &row[i].row;
        TDM_REQUIRE(it->file[0] && !strchr(it->file, '/') && strcmp(it->file, "."), TDM_E_FORMAT,
                    "%s: row %lld: \"%s\" is not the name of a shard", path, (long long)i, it->file);
        TDM_REQUIRE(it->images >= 0 && it->captions >= 0, TDM_E_FORMAT, "%s: row %lld: negative counts", path,
                    (long long)i);
    }
    return TDM_OK;
}

static tdm_status read_rows(tdm_h5 *file, index_row **row, int64_t *count)
{
    *count = -1;
    for (size_t i = 0; i < COLUMNS; i++) TDM_TRY(get_column(file, &COLUMN[i], row, count));
    return check_rows(tdm_h5_path(file), *row, *count);
}

tdm_status index_read(const char *dir, index_row **row, int64_t *count)
{
    char path[TDM_PATH_BYTES];
    tdm_h5 *file;
    *row = NULL;
    *count = 0;
    TDM_REQUIRE(tdm_path_is_dir(dir), TDM_E_IO, "%s: is not a data directory", dir);
    TDM_TRY(tdm_path_join(path, sizeof(path), dir, INDEX_FILE));
    TDM_REQUIRE(tdm_path_exists(path), TDM_E_IO, "%s: is missing: %s is not a data directory of tandem pack",
                path, dir);
    TDM_TRY(tdm_h5_verify(path));
    TDM_TRY(tdm_h5_open(path, INDEX_FORMAT, SHARD_VERSION, &file));
    tdm_status status = read_rows(file, row, count);
    tdm_h5_discard(&file);
    if (status != TDM_OK) {
        tdm_free(*row);
        *row = NULL;
    }
    return status;
}

tdm_status tdm_index_read(const char *dir, tdm_index_row **row, int64_t *count)
{
    index_row *wide;
    *row = NULL;
    TDM_TRY(index_read(dir, &wide, count));
    tdm_status status = TDM_ALLOC(*count, row);
    for (int64_t i = 0; i < *count && status == TDM_OK; i++) (*row)[i] = wide[i].row;
    tdm_free(wide);
    return status;
}

static bool has_split(const tdm_index_row *row, int64_t count, const char *split)
{
    for (int64_t i = 0; i < count; i++)
        if (!strcmp(row[i].split, split)) return true;
    return false;
}

/* The old rows of other splits, then the new ones with the sizes of their files. */
static tdm_status merge(const char *dir, const index_row *old, int64_t old_count, const tdm_index_row *row,
                        int64_t count, index_row *merged, int64_t *merged_count)
{
    int64_t n = 0;
    for (int64_t i = 0; i < old_count; i++)
        if (!has_split(row, count, old[i].row.split)) merged[n++] = old[i];
    for (int64_t i = 0; i < count; i++) {
        char path[TDM_PATH_BYTES];
        struct stat info;
        TDM_TRY(tdm_path_join(path, sizeof(path), dir, row[i].file));
        TDM_REQUIRE(stat(path, &info) == 0, TDM_E_IO, "%s: cannot index it: %s", path, strerror(errno));
        merged[n++] = (index_row){.row = row[i], .file_bytes = (int64_t)info.st_size};
    }
    *merged_count = n;
    return TDM_OK;
}

static tdm_status put_index(tdm_h5 *file, const char *dataset, const index_row *row, int64_t count)
{
    TDM_TRY(tdm_h5_put_text(file, "dataset", dataset));
    TDM_TRY(tdm_h5_put_group(file, "shard"));
    for (size_t i = 0; i < COLUMNS; i++) TDM_TRY(put_column(file, &COLUMN[i], row, count));
    return TDM_OK;
}

static tdm_status write_index(const char *dir, const char *dataset, const index_row *row, int64_t count)
{
    char path[TDM_PATH_BYTES], temporary[TDM_PATH_BYTES];
    tdm_h5 *file;
    TDM_TRY(tdm_path_join(path, sizeof(path), dir, INDEX_FILE));
    TDM_TRY(tdm_path_join(temporary, sizeof(temporary), dir, INDEX_FILE ".tmp"));
    TDM_TRY(tdm_h5_create(temporary, INDEX_FORMAT, SHARD_VERSION, &file));
    tdm_status status = put_index(file, dataset, row, count);
    if (status == TDM_OK) status = tdm_h5_finish(&file);
    tdm_h5_discard(&file);
    if (status == TDM_OK && rename(temporary, path))
        status = TDM_ERROR(TDM_E_IO, "%s: cannot rename: %s", temporary, strerror(errno));
    if (status != TDM_OK) unlink(temporary);
    TDM_TRY(status);
    return tdm_fsync_path(dir);
}

tdm_status tdm_index_write(const char *dir, const char *dataset, const tdm_index_row *row, int64_t count)
{
    char path[TDM_PATH_BYTES];
    index_row *old = NULL, *merged = NULL;
    int64_t old_count = 0, merged_count = 0;
    TDM_TRY(tdm_path_join(path, sizeof(path), dir, INDEX_FILE));
    if (tdm_path_exists(path)) TDM_TRY(index_read(dir, &old, &old_count));
    tdm_status status = TDM_ALLOC(old_count + count, &merged);
    if (status == TDM_OK) status = merge(dir, old, old_count, row, count, merged, &merged_count);
    if (status == TDM_OK) status = check_rows(path, merged, merged_count);
    if (status == TDM_OK) status = write_index(dir, dataset, merged, merged_count);
    tdm_free(old);
    tdm_free(merged);
    return status;
}
