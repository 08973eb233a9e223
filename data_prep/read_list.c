#include "read_list.h"

#include "pack_impl.h"

#include <string.h>

tdm_status list_open(const char *path, const char *encoding, list_reader *list)
{
    *list = (list_reader){.path = path};
    return text_open(path, encoding, &list->file);
}

bool list_next(list_reader *list)
{
    text_file *file = &list->file;
    while (file->at < file->end) {
        const char *end = memchr(file->at, '\n', (size_t)(file->end - file->at));
        list->entry = file->at;
        list->length = (size_t)((end ? end : file->end) - file->at);
        list->line++;
        file->at = end ? end + 1 : file->end;
        pack_trim(&list->entry, &list->length);
        if (list->length) return true;
    }
    return false;
}

void list_close(list_reader *list)
{
    text_close(&list->file);
    *list = (list_reader){0};
}
