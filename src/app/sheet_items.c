#include "sheet_items.h"

void sheet_items_of(const tdm_found_item *item, int64_t count, tdm_sheet_item *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (tdm_sheet_item){.row = item[i].image,
                                  .score = item[i].score,
                                  .caption = item[i].text.data,
                                  .name = item[i].name.data,
                                  .image = item[i].thumbnail.data,
                                  .image_bytes = (int64_t)item[i].thumbnail.length,
                                  .is_positive = item[i].is_positive};
}
