#include "sheet_items.h"

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
    tdm_image image = {0};
    tdm_text small = {0};
    uint8_t *pixel = NULL;
    TDM_TRY(tdm_image_decode(name, encoded->data, encoded->length, TDM_ALPHA_WHITE, &image));
    const int64_t longer = tdm_max_i64(tdm_max_i64(image.height, image.width), THUMBNAIL_PX);
    const int64_t height = tdm_max_i64(1, image.height * THUMBNAIL_PX / longer);
    const int64_t width = tdm_max_i64(1, image.width * THUMBNAIL_PX / longer);
    tdm_status status = TDM_ALLOC(height * width * 3, &pixel);
    if (status == TDM_OK)
        status =
            tdm_image_resize(&image, 0, 0, (double)image.height, (double)image.width, height, width, pixel);
    if (status == TDM_OK) status = tdm_image_encode_jpeg(pixel, height, width, THUMBNAIL_QUALITY, &small);
    if (status == TDM_OK) {
        tdm_text_free(encoded);
        *encoded = small;
    } else {
        tdm_text_free(&small);
    }
    tdm_free(pixel);
    tdm_image_free(&image);
    return status;
}

tdm_status found_item_read(tdm_dataset *dataset, int64_t caption_row, bool with_image, found_item *item)
{
    int64_t first = caption_row, n = 1;
    if (caption_row < 0) tdm_dataset_image_captions(dataset, item->row, &first, &n);
    for (int64_t i = 0; i < tdm_min_i64(n, MAX_SHOWN_CAPTIONS); i++)
        TDM_TRY(append_caption(dataset, first + i, &item->caption));
    if (n > MAX_SHOWN_CAPTIONS) TDM_TRY(tdm_text_printf(&item->caption, " / …"));
    TDM_TRY(tdm_dataset_read_name(dataset, item->row, &item->name));
    if (!with_image) return TDM_OK;
    TDM_TRY(tdm_dataset_read_image(dataset, item->row, &item->image));
    return item->image.length > THUMBNAIL_BYTES ? shrink(item->name.data, &item->image) : TDM_OK;
}

void found_items_free(found_item *items, int64_t count)
{
    for (int64_t i = 0; items != NULL && i < count; i++) {
        tdm_text_free(&items[i].caption);
        tdm_text_free(&items[i].name);
        tdm_text_free(&items[i].image);
    }
    tdm_free(items);
}

void found_items_show(const found_item *items, int64_t count, tdm_sheet_item *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (tdm_sheet_item){.row = items[i].row,
                                  .score = items[i].score,
                                  .caption = items[i].caption.data,
                                  .name = items[i].name.data,
                                  .image = items[i].image.data,
                                  .image_bytes = (int64_t)items[i].image.length,
                                  .is_positive = items[i].is_positive};
}
