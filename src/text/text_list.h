/* Lists of short texts: the words of a caption, synonyms. */
#ifndef TANDEM_TEXT_LIST_H
#define TANDEM_TEXT_LIST_H

#include "tandem/base.h"

/* A part of the list's pool: its place, since the pool moves as it grows. */
typedef struct text_piece {
    size_t begin, bytes;
} text_piece;

typedef struct text_list { /* zero-initialise */
    tdm_text pool;
    text_piece *item; /* [room], `count` are in use */
    int64_t count, room;
} text_list;
void text_list_clear(text_list *list);
void text_list_free(text_list *list);
/* The bytes of item i; valid until the list changes. */
const char *text_list_at(const text_list *list, int64_t i);
/* As strcmp: item i and these bytes. */
int text_list_compare(const text_list *list, int64_t i, const char *data, size_t bytes);
/* A copy of the bytes before item `at`, or behind the last. `data` is not of this list. */
TDM_CHECKED tdm_status text_list_insert(text_list *list, int64_t at, const char *data, size_t bytes);
/* Into a list in order: where it belongs, unless it is there. */
TDM_CHECKED tdm_status text_list_add_sorted(text_list *list, const char *data, size_t bytes);
/* Every item that is `was` becomes a copy of `data`; neither is of this list. */
TDM_CHECKED tdm_status text_list_replace(text_list *list, const char *was, size_t was_bytes, const char *data,
                                         size_t bytes);

#endif
