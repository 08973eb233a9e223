/* Folds: parts of a retrieval that are evaluated alone, as the five thousand images of COCO in five parts of a thousand. */
#include "eval_impl.h"

#include "tandem/eval_groups.h"

#include <string.h>

/* ---- Of embeddings of images and captions ---- */

/* rows[from[i]] of `width` bytes; NULL stays NULL. */
static tdm_status take_rows(const void *rows, const int64_t *from, int64_t n, size_t width, void **out)
{
    if (rows == NULL) return TDM_OK;
    TDM_TRY(tdm_alloc((size_t)n * width, "fold", out));
    for (int64_t i = 0; i < n; i++)
        memcpy((char *)*out + (size_t)i * width, (const char *)rows + (size_t)from[i] * width, width);
    return TDM_OK;
}

static tdm_status take_images(const tdm_embeddings *e, int64_t begin, int64_t end, int64_t *from,
                              tdm_embeddings *part)
{
    const size_t row = (size_t)e->d * sizeof *e->image, words = (size_t)e->label_words * sizeof(uint64_t);
    for (int64_t i = 0; i < e->images; i++)
        if (e->image_first + i >= begin && e->image_first + i < end) from[part->images++] = i;
    TDM_TRY(take_rows(e->image, from, part->images, row, (void **)&part->image));
    TDM_TRY(
        take_rows(e->image_identity, from, part->images, sizeof(int64_t), (void **)&part->image_identity));
    return take_rows(e->image_labels, from, part->images, words, (void **)&part->image_labels);
}

static tdm_status take_captions(const tdm_embeddings *e, int64_t begin, int64_t end, int64_t *from,
                                tdm_embeddings *part)
{
    const size_t row = (size_t)e->d * sizeof *e->text, words = (size_t)e->label_words * sizeof(uint64_t);
    for (int64_t i = 0; i < e->captions; i++)
        if (e->image_row_of_caption[i] >= begin && e->image_row_of_caption[i] < end)
            from[part->captions++] = i;
    TDM_TRY(take_rows(e->text, from, part->captions, row, (void **)&part->text));
    TDM_TRY(take_rows(e->caption_identity, from, part->captions, sizeof(int64_t),
                      (void **)&part->caption_identity));
    TDM_TRY(take_rows(e->caption_labels, from, part->captions, words, (void **)&part->caption_labels));
    TDM_TRY(take_rows(e->image_row_of_caption, from, part->captions, sizeof(int64_t),
                      (void **)&part->image_row_of_caption));
    for (int64_t i = 0; i < part->captions; i++) part->image_row_of_caption[i] -= begin;
    return TDM_OK;
}

tdm_status tdm_embeddings_fold(tdm_comm *comm, const tdm_embeddings *embeddings, int64_t folds, int64_t k,
                               tdm_embeddings *part)
{
    const tdm_embeddings *e = embeddings;
    int64_t images = e->images, *from = NULL, *rows = NULL;
    tdm_comm_sum_i64(comm, &images, 1);
    const int64_t begin = tdm_part_begin(images, folds, k), end = tdm_part_begin(images, folds, k + 1);
    *part = (tdm_embeddings){.d = e->d, .class_count = e->class_count, .label_words = e->label_words};
    tdm_status status = TDM_ALLOC(tdm_max_i64(e->images, e->captions), &from);
    if (status == TDM_OK) status = TDM_ALLOC(tdm_comm_size(comm), &rows);
    if (status == TDM_OK) status = take_images(e, begin, end, from, part);
    if (status == TDM_OK) status = take_captions(e, begin, end, from, part);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        (void)eval_count_rows(comm, part->captions, rows, &part->caption_first);
        part->image_first = tdm_max_i64(0, tdm_min_i64(e->image_first - begin, end - begin));
    }
    tdm_free(from);
    tdm_free(rows);
    if (status != TDM_OK) tdm_embeddings_free(part);
    return status;
}

/* ---- Of one side ---- */

tdm_status tdm_side_fold_take(const tdm_eval_side *side, const int64_t *fold, int64_t k, tdm_side_fold *part)
{
    int64_t *from = NULL, n = 0;
    *part = (tdm_side_fold){0};
    TDM_TRY(TDM_ALLOC(side->n, &from));
    for (int64_t i = 0; i < side->n; i++)
        if (fold[i] == k) from[n++] = i;
    tdm_status status =
        take_rows(side->feature, from, n, (size_t)side->d * sizeof *side->feature, (void **)&part->feature);
    if (status == TDM_OK) status = take_rows(side->id, from, n, sizeof *side->id, (void **)&part->id);
    if (status == TDM_OK)
        status = take_rows(side->camera, from, n, sizeof *side->camera, (void **)&part->camera);
    part->side = (tdm_eval_side){
        .n = n, .d = side->d, .feature = part->feature, .id = part->id, .camera = part->camera};
    tdm_free(from);
    return status;
}

void tdm_side_fold_free(tdm_side_fold *part)
{
    tdm_free(part->feature);
    tdm_free(part->id);
    tdm_free(part->camera);
    *part = (tdm_side_fold){0};
}

/* ---- Their mean ---- */

void tdm_metrics_mean(int64_t folds, const tdm_metrics *fold, tdm_metrics *mean)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(fold[0].rows, &count);
    int64_t with = 0;
    *mean = (tdm_metrics){.rows = fold[0].rows};
    for (int64_t k = 0; k < folds; k++) {
        mean->queries += fold[k].queries;
        mean->gallery += fold[k].gallery;
        mean->without_positive += fold[k].without_positive;
        if (fold[k].without_positive == fold[k].queries) continue;
        with++;
        for (size_t r = 0; r < count; r++) mean->value[r] += fold[k].value[r];
    }
    for (size_t r = 0; r < count; r++)
        mean->value[r] = with > 0 ? mean->value[r] / (double)with : row[r]->empty;
}
