#include "fused_rows.h"

/* With the column of the Euclidean distance where that is asked for. */
static tdm_status join(const tdm_eval_side *first, const tdm_eval_side *second, float weight, fused_rows *out)
{
    out->d = first->d + second->d;
    TDM_TRY(TDM_ALLOC(first->n * out->d, &out->value));
    for (int64_t i = 0; i < first->n; i++) {
        float *row = out->value + i * out->d;
        memcpy(row, first->feature + i * first->d, (size_t)first->d * sizeof *row);
        for (int64_t k = 0; k < second->d; k++)
            row[first->d + k] = weight * second->feature[i * second->d + k];
    }
    return TDM_OK;
}

tdm_status fused_rows_join(const char *option, const char *given, tdm_distance distance, bool of_gallery,
                           double weight, const tdm_eval_side *first, fused_rows *rows)
{
    row_matrix *m = &rows->matrix;
    float *with_norms = NULL;
    if (distance == TDM_COSINE) TDM_TRY(row_matrix_normalise(option, given, m));
    tdm_eval_side second = {.n = m->n, .d = m->width, .feature = m->value};
    if (distance == TDM_EUCLIDEAN) {
        TDM_TRY(tdm_eval_euclidean_rows(&second, of_gallery, &with_norms));
        second.feature = with_norms;
        second.d++;
    }
    const tdm_status status = join(first, &second, of_gallery ? (float)weight : 1.0F, rows);
    tdm_free(with_norms);
    return status;
}

tdm_status fused_rows_read(tdm_comm *comm, const char *option, const char *given, const char *split,
                           int64_t rows, const char *first_given, fused_rows *out)
{
    row_file file;
    TDM_TRY(row_file_find(comm, option, given, &file));
    TDM_TRY(row_matrix_read(comm, &file, split, INT64_MAX, &out->matrix));
    return tdm_comm_agree(comm,
                          out->matrix.rows == rows
                              ? TDM_OK
                              : TDM_ERROR(TDM_E_SHAPE, "%s: %s: has %lld rows, %s has %lld", option, given,
                                          (long long)out->matrix.rows, first_given, (long long)rows));
}

void fused_rows_free(fused_rows *rows)
{
    row_matrix_free(&rows->matrix);
    tdm_free(rows->value);
    *rows = (fused_rows){0};
}
