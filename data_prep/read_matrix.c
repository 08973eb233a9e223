#include "read_matrix.h"

#include "tandem/h5.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCK_BYTES = 1 << 20 };

typedef struct piece { /* one file's part */
    tdm_h5 *file;
    tdm_h5_array *array;
    char *name; /* of the data set */
    int64_t first, rows;
    bool bf16;
} piece;

typedef struct matrix {
    tdm_pack_features features; /* must be the first */
    piece *part;
    int64_t parts;
    float *
        block; /* rows [block_first, block_first + block_rows): reading row by row costs a decoded chunk each */
    uint16_t *half;
    int64_t block_first, block_rows, block_most;
} matrix;

static void matrix_destroy(tdm_pack_features *features)
{
    matrix *m = (matrix *)features;
    for (int64_t i = 0; i < m->parts; i++) {
        tdm_h5_discard(&m->part[i].file); /* and its array */
        free(m->part[i].name);
    }
    free(m->part);
    tdm_free(m->block);
    tdm_free(m->half);
    tdm_free(m);
}

static const piece *part_of_row(const matrix *m, int64_t row)
{
    int64_t low = 0, high = m->parts - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (m->part[middle].first <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return &m->part[low];
}

static tdm_status read_block(matrix *m, int64_t row)
{
    const piece *p = part_of_row(m, row);
    const int64_t width = m->features.width, within = row - p->first;
    const int64_t first = within / m->block_most * m->block_most;
    const int64_t n = tdm_min_i64(m->block_most, p->rows - first);
    m->block_rows = 0;
    TDM_TRY(tdm_h5_read(p->array, first, n, p->bf16 ? (void *)m->half : (void *)m->block));
    for (int64_t i = 0; p->bf16 && i < n * width; i++) m->block[i] = tdm_bf16_value(m->half[i]);
    m->block_first = p->first + first;
    m->block_rows = n;
    return TDM_OK;
}

static tdm_status matrix_read(tdm_pack_features *features, int64_t row, float *out)
{
    matrix *m = (matrix *)features;
    const int64_t width = features->width;
    TDM_REQUIRE(row >= 0 && row < features->rows, TDM_E_DATA, "%s: there is no row %lld of features",
                tdm_h5_path(m->part[0].file), (long long)row);
    if (row < m->block_first || row >= m->block_first + m->block_rows) TDM_TRY(read_block(m, row));
    memcpy(out, m->block + (row - m->block_first) * width, sizeof(*out) * (size_t)width);
    for (int64_t i = 0; i < width; i++)
        if (!isfinite(out[i])) {
            const piece *p = part_of_row(m, row);
            TDM_FAIL(TDM_E_DATA, "%s: %s[%lld][%lld] is not finite", tdm_h5_path(p->file), p->name,
                     (long long)(row - p->first), (long long)i);
        }
    return TDM_OK;
}

tdm_status matrix_create(tdm_pack_features **features)
{
    matrix *m;
    *features = NULL;
    TDM_TRY(TDM_ALLOC(1, &m));
    m->features = (tdm_pack_features){.read = matrix_read, .destroy = matrix_destroy};
    *features = &m->features;
    return TDM_OK;
}

/* The first part decides the width and so the block. */
static tdm_status set_width(matrix *m, int64_t width)
{
    m->features.width = width;
    m->block_most = tdm_max_i64(1, BLOCK_BYTES / (width * (int64_t)sizeof(float)));
    TDM_TRY(TDM_ALLOC(m->block_most * width, &m->block));
    return TDM_ALLOC(m->block_most * width, &m->half);
}

static tdm_status open_part(matrix *m, piece *p, const char *path, const char *name)
{
    int ndim;
    int64_t shape[TDM_H5_MAX_DIMS];
    TDM_TRY(tdm_h5_open(path, NULL, 0, &p->file));
    TDM_TRY(tdm_h5_find_shape(p->file, name, &ndim, shape));
    TDM_REQUIRE(ndim >= 0, TDM_E_FORMAT, "%s: has no data set /%s", path, name);
    TDM_REQUIRE(ndim == 2 && shape[1] > 0, TDM_E_FORMAT, "%s: /%s is not a matrix [rows][width]", path, name);
    TDM_TRY(tdm_h5_open_array(p->file, name, p->bf16 ? TDM_H5_U16 : TDM_H5_F32, 2, shape, &p->array));
    if (m->parts == 1) TDM_TRY(set_width(m, shape[1]));
    TDM_REQUIRE(shape[1] == m->features.width, TDM_E_SHAPE, "%s: /%s is %lld wide, %s %lld", path, name,
                (long long)shape[1], tdm_h5_path(m->part[0].file), (long long)m->features.width);
    p->rows = shape[0];
    m->features.rows += shape[0];
    return TDM_OK;
}

tdm_status matrix_append(tdm_pack_features *features, const char *path, const char *name, bool bf16)
{
    matrix *m = (matrix *)features;
    piece *grown = realloc(m->part, sizeof(*grown) * (size_t)(m->parts + 1));
    TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for its features", path);
    m->part = grown;
    piece *p = &grown[m->parts++];
    *p = (piece){.name = strdup(name), .first = features->rows, .bf16 = bf16};
    TDM_REQUIRE(p->name, TDM_E_NOMEM, "%s: no memory for its features", path);
    return open_part(m, p, path, name);
}
