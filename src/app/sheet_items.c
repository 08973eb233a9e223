#include "sheet_items.h"

enum { MAX_SHOWN_CAPTIONS = 5 };

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

tdm_status found_item_read(tdm_dataset *dataset, int64_t caption_row, bool with_image, found_item *item)
{
    int64_t first = caption_row, n = 1;
    if (caption_row < 0) tdm_dataset_image_captions(dataset, item->row, &first, &n);
    for (int64_t i = 0; i < tdm_min_i64(n, MAX_SHOWN_CAPTIONS); i++)
        TDM_TRY(append_caption(dataset, first + i, &item->caption));
    if (n > MAX_SHOWN_CAPTIONS) TDM_TRY(tdm_text_printf(&item->caption, " / …"));
    TDM_TRY(tdm_dataset_read_name(dataset, item->row, &item->name));
    return with_image ? tdm_dataset_read_image(dataset, item->row, &item->image) : TDM_OK;
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
