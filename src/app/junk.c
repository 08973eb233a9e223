#include "junk.h"

#include <stdlib.h>
#include <string.h>

typedef struct pair {
    int64_t key, camera;
} pair;

static int compare_pairs(const void *a, const void *b)
{
    const pair *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->camera > y->camera) - (x->camera < y->camera);
}

/* How many of list[count], ascending, are less than `than`, or, with `equal`, equal to it as well. */
static int64_t count_below(const pair *list, int64_t count, const pair *than, bool equal)
{
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (compare_pairs(&list[middle], than) < (equal ? 1 : 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static tdm_status count_pairs(int64_t queries, int64_t rows, row_junk *junk)
{
    pair *list = NULL;
    TDM_TRY(TDM_ALLOC(rows, &list));
    for (int64_t i = 0; i < rows; i++) list[i] = (pair){junk->gallery_key[i], junk->gallery_camera[i]};
    qsort(list, (size_t)rows, sizeof *list, compare_pairs);
    for (int64_t i = 0; i < queries; i++) {
        const pair own = {junk->query_key[i], junk->query_camera[i]};
        const int64_t count = count_below(list, rows, &own, true) - count_below(list, rows, &own, false);
        junk->pairs += count;
        junk->most = tdm_max_i64(junk->most, count);
    }
    tdm_free(list);
    return TDM_OK;
}

tdm_status junk_find(const row_names *const *label, const row_names *camera, int64_t first, int64_t n,
                     row_junk *junk)
{
    const int64_t rows = label[1]->count;
    junk->same_camera = true;
    TDM_TRY(row_names_match(label[0], first, n, label[1], &junk->query_key));
    TDM_TRY(row_names_match(&camera[0], first, n, &camera[1], &junk->query_camera));
    TDM_TRY(row_names_match(label[1], 0, rows, label[1], &junk->gallery_key));
    TDM_TRY(row_names_match(&camera[1], 0, rows, &camera[1], &junk->gallery_camera));
    return count_pairs(n, rows, junk);
}

bool junk_has(const row_junk *junk, int64_t query, int64_t query_row, int64_t gallery_row)
{
    if (junk->self && query_row == gallery_row) return true;
    return junk->same_camera && junk->query_key[query] == junk->gallery_key[gallery_row] &&
           junk->query_camera[query] == junk->gallery_camera[gallery_row];
}

void junk_free(row_junk *junk)
{
    tdm_free(junk->query_key);
    tdm_free(junk->query_camera);
    tdm_free(junk->gallery_key);
    tdm_free(junk->gallery_camera);
    junk->query_key = junk->query_camera = junk->gallery_key = junk->gallery_camera = NULL;
}
