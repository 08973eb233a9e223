/* What people look at of a found row: captions, name and thumbnail, from the source shards
 * or the folder. */
#include "search_impl.h"

#include "tandem/image.h"

enum { MAX_SHOWN_CAPTIONS = 5, THUMBNAIL_BYTES = 48 * 1024, THUMBNAIL_PX = 320, THUMBNAIL_QUALITY = 85 };

static tdm_status append_text(const char *text, tdm_text *out)
{
    return tdm_text_printf(out, "%s%s", out->length > 0 ? " / " : "", text);
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

static tdm_status read_thumbnail(const tdm_searcher *s, tdm_found_item *item)
{
    const tdm_status status = tdm_searcher_read_image(s, item->image, &item->thumbnail);
    if (status == TDM_E_DATA) return TDM_OK; /* a row without a picture, a file that is gone */
    TDM_TRY(status);
    if (item->thumbnail.length <= THUMBNAIL_BYTES) return TDM_OK;
    const tdm_status shrunk = shrink(item->name.data, &item->thumbnail);
    if (shrunk == TDM_E_DATA) tdm_text_free(&item->thumbnail); /* the file has changed since */
    return shrunk == TDM_E_DATA ? TDM_OK : shrunk;
}

/* ---- Packed ---- */

static tdm_status append_caption(tdm_dataset *dataset, int64_t row, tdm_text *out)
{
    tdm_text caption = {0};
    tdm_status status = tdm_dataset_read_caption(dataset, row, &caption);
    if (status == TDM_OK) status = append_text(caption.data == NULL ? "" : caption.data, out);
    tdm_text_free(&caption);
    return status;
}

static tdm_status read_packed(tdm_dataset *dataset, tdm_found_item *item)
{
    int64_t first = item->caption, n = 1;
    if (item->caption < 0) tdm_dataset_image_captions(dataset, item->image, &first, &n);
    for (int64_t i = 0; i < tdm_min_i64(n, MAX_SHOWN_CAPTIONS); i++)
        TDM_TRY(append_caption(dataset, first + i, &item->text));
    if (n > MAX_SHOWN_CAPTIONS) TDM_TRY(tdm_text_printf(&item->text, " / …"));
    return tdm_dataset_read_name(dataset, item->image, &item->name);
}

/* ---- A folder ---- */

static tdm_status read_folder(const picture_folder *folder, tdm_found_item *item)
{
    int64_t first = item->caption, n = 1;
    if (item->caption < 0) folder_captions(folder, item->image, &first, &n);
    for (int64_t i = 0; i < tdm_min_i64(n, MAX_SHOWN_CAPTIONS); i++)
        TDM_TRY(append_text(folder_caption(folder, first + i), &item->text));
    if (n > MAX_SHOWN_CAPTIONS) TDM_TRY(tdm_text_printf(&item->text, " / …"));
    return tdm_text_printf(&item->name, "%s", folder_picture(folder, item->image)->name);
}

/* ---- Any ---- */

/* Without a source only captions of this rank's piece are known; elsewhere -1. */
static int64_t image_of_caption(const tdm_searcher *s, int64_t caption)
{
    const tdm_embeddings *e = &s->embeddings;
    if (s->folder != NULL) return folder_image_of_caption(s->folder, caption);
    if (s->dataset != NULL) return tdm_dataset_caption_image(s->dataset, caption);
    const int64_t local = caption - e->caption_first;
    return local >= 0 && local < e->captions ? e->image_row_of_caption[local] : -1;
}

/* Row in the split of a place in the gallery. */
static int64_t row_of_image(const tdm_searcher *s, int64_t place)
{
    return s->dataset != NULL ? tdm_dataset_image_row(s->dataset, place) : place;
}

tdm_status tdm_searcher_read_row(const tdm_searcher *searcher, tdm_modality what, int64_t row,
                                 bool with_thumbnail, tdm_found_item *item)
{
    item->row = row;
    item->caption = what == TDM_TEXT ? row : -1;
    item->image = what == TDM_TEXT ? image_of_caption(searcher, row) : row_of_image(searcher, row);
    if (!tdm_searcher_has_source(searcher)) return TDM_OK;
    TDM_TRY(searcher->folder != NULL ? read_folder(searcher->folder, item)
                                     : read_packed(searcher->dataset, item));
    return with_thumbnail ? read_thumbnail(searcher, item) : TDM_OK;
}

tdm_status tdm_searcher_read(const tdm_searcher *searcher, const tdm_found *found, int64_t query,
                             bool with_thumbnails, tdm_found_item *item)
{
    for (int64_t i = 0; i < found->k; i++) {
        const int64_t row = found->row[query * found->k + i];
        item[i].row = item[i].image = item[i].caption = -1;
        if (row < 0) continue;
        item[i].score = (double)found->score[query * found->k + i];
        TDM_TRY(tdm_searcher_read_row(searcher, found->what, row, with_thumbnails, &item[i]));
    }
    return TDM_OK;
}

tdm_status tdm_searcher_read_image(const tdm_searcher *searcher, int64_t image, tdm_text *encoded)
{
    if (searcher->folder == NULL) {
        TDM_REQUIRE(searcher->dataset != NULL, TDM_E_DATA, "%s: the pictures are not there",
                    searcher->source);
        return tdm_dataset_read_image(searcher->dataset, image, encoded);
    }
    encoded->length = 0;
    const tdm_status status = tdm_read_file(folder_picture(searcher->folder, image)->path, encoded);
    return status == TDM_E_IO ? TDM_ERROR(TDM_E_DATA, "%s", tdm_error_last()->message) : status;
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
