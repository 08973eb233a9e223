#include "text_list.h"

#include <string.h>

void text_list_clear(text_list *list)
{
    list->pool.length = 0;
    list->count = 0;
}

void text_list_free(text_list *list)
{
    tdm_text_free(&list->pool);
    tdm_free(list->item);
    *list = (text_list){0};
}

const char *text_list_at(const text_list *list, int64_t i)
{
    return list->pool.data + list->item[i].begin;
}

int text_list_compare(const text_list *list, int64_t i, const char *data, size_t bytes)
{
    const size_t own = list->item[i].bytes;
    const int order = memcmp(text_list_at(list, i), data, own < bytes ? own : bytes);
    return order != 0 ? order : (own > bytes) - (own < bytes);
}

static tdm_status make_room(text_list *list)
{
    enum { FIRST_ROOM = 64 };
    if (list->count < list->room) return TDM_OK;
    const int64_t room = list->room ? 2 * list->room : FIRST_ROOM;
    text_piece *item;
    TDM_TRY(TDM_ALLOC(room, &item));
    if (list->count) memcpy(item, list->item, (size_t)list->count * sizeof(*item));
    tdm_free(list->item);
    list->item = item;
    list->room = room;
    return TDM_OK;
}

tdm_status text_list_insert(text_list *list, int64_t at, const char *data, size_t bytes)
{
    const text_piece made = {list->pool.length, bytes};
    TDM_TRY(make_room(list));
    TDM_TRY(tdm_text_append(&list->pool, data, bytes));
    memmove(list->item + at + 1, list->item + at, (size_t)(list->count - at) * sizeof(*list->item));
    list->item[at] = made;
    list->count++;
    return TDM_OK;
}

tdm_status text_list_add_sorted(text_list *list, const char *data, size_t bytes)
{
    int64_t low = 0, high = list->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int order = text_list_compare(list, middle, data, bytes);
        if (order == 0) return TDM_OK;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return text_list_insert(list, low, data, bytes);
}

tdm_status text_list_replace(text_list *list, const char *was, size_t was_bytes, const char *data,
                             size_t bytes)
{
    const text_piece made = {list->pool.length, bytes};
    TDM_TRY(tdm_text_append(&list->pool, data, bytes));
    for (int64_t i = 0; i < list->count; i++)
        if (text_list_compare(list, i, was, was_bytes) == 0) list->item[i] = made;
    return TDM_OK;
}
