/* What people look at of a found row: captions, name and thumbnail, from the source shards. */
#include "tandem/searcher.h"

#include "tandem/image.h"

enum { MAX_SHOWN_CAPTIONS = 5, THUMBNAIL_BYTES = 48 * 1024, THUMBNAIL_PX = 320, THUMBNAIL_QUALITY = 85 };

static tdm_status append_caption(tdm_dataset *dataset, int64_t row, tdm_text *out)
{
    tdm_text caption = {0};
    tdm_status status = tdm_dataset_read_caption(dataset, row, &caption);
    if (status == TDM_OK)
        status = tdm_text_printf(out, "%s%s", out->length > 0 ? " / " : "",
                                 caption.data == NULL ? "" : caption.data);
    tdm_text_free(&caption);
    return status;
}

/* Photographs in full size would make sheets of hundreds of megabytes: their longer side becomes
 * THUMBNAIL_PX. */
static tdm_status shrink(const char *name, tdm_text *encoded)
{
    tdm_text small = {0};
    const tdm_status status =
        tdm_image_thumbnail(name, encoded->data, encoded->length, THUMBNAIL_PX, THUMBNAIL_QUALITY, &small);
    tdm_text *old = status == TDM_OK ? encoded : &small;
    tdm_text_free(old);
    if (status == TDM_OK) *encoded = small;
    return status;
}

static tdm_status read_texts(tdm_dataset *dataset, tdm_found_item *item)
{
    int64_t first = item->caption, n = 1;
    if (item->caption < 0) tdm_dataset_image_captions(dataset, item->image, &first, &n);
    for (int64_t i = 0; i < tdm_min_i64(n, MAX_SHOWN_CAPTIONS); i++)
        TDM_TRY(append_caption(dataset, first + i, &item->text));
    if (n > MAX_SHOWN_CAPTIONS) TDM_TRY(tdm_text_printf(&item->text, " / …"));
    return tdm_dataset_read_name(dataset, item->image, &item->name);
}

static tdm_status read_thumbnail(tdm_dataset *dataset, tdm_found_item *item)
{
    const tdm_status status = tdm_dataset_read_image(dataset, item->image, &item->thumbnail);
    if (status == TDM_E_DATA) return TDM_OK; /* a row without a picture */
    TDM_TRY(status);
    return item->thumbnail.length > THUMBNAIL_BYTES ? shrink(item->name.data, &item->thumbnail) : TDM_OK;
}

/* Without a source only captions of this rank's piece are known; elsewhere -1. */
static int64_t image_of_caption(const tdm_searcher *s, int64_t caption)
{
    const tdm_embeddings *e = &s->embeddings;
    if (s->dataset != NULL) return tdm_dataset_caption_image(s->dataset, caption);
    const int64_t local = caption - e->caption_first;
    return local >= 0 && local < e->captions ? e->image_row_of_caption[local] : -1;
}

/* Row in the split of a place in the gallery. */
static int64_t row_of_image(const tdm_searcher *s, int64_t place)
{
    return s->dataset != NULL ? tdm_dataset_image_row(s->dataset, place) : place;
}

tdm_status tdm_searcher_read(const tdm_searcher *searcher, const tdm_found *found, int64_t query,
                             bool with_thumbnails, tdm_found_item *item)
{
    for (int64_t i = 0; i < found->k; i++) {
        const int64_t row = found->row[query * found->k + i];
        item[i].caption = found->what == TDM_TEXT ? row : -1;
        item[i].image =
            found->what == TDM_TEXT ? image_of_caption(searcher, row) : row_of_image(searcher, row);
        item[i].score = (double)found->score[query * found->k + i];
        if (searcher->dataset == NULL) continue;
        TDM_TRY(read_texts(searcher->dataset, &item[i]));
        if (with_thumbnails) TDM_TRY(read_thumbnail(searcher->dataset, &item[i]));
    }
    return TDM_OK;
}

void tdm_found_items_free(tdm_found_item *item, int64_t count)
{
    for (int64_t i = 0; item != NULL && i < count; i++) {
        tdm_text_free(&item[i].text);
        tdm_text_free(&item[i].name);
        tdm_text_free(&item[i].thumbnail);
    }
    tdm_free(item);
}
