#include "read_list.h"

#include "pack_impl.h"

tdm_status list_open(const char *path, list_reader *list)
{
    *list = (list_reader){.path = path};
    return pack_read_text(path, &list->text, &list->at);
}

bool list_next(list_reader *list)
{
    while (*list->at) {
        const size_t whole = strcspn(list->at, "\n");
        list->entry = list->at;
        list->length = whole;
        list->line++;
        list->at += whole + (list->at[whole] == '\n');
        pack_trim(&list->entry, &list->length);
        if (list->length) return true;
    }
    return false;
}

void list_close(list_reader *list)
{
    tdm_text_free(&list->text);
    *list = (list_reader){0};
}
