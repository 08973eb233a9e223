#include "naming.h"
#include "naming_table.h"

#include <string.h>

#define DECLARE_ROW(row) extern const naming row;
NAMING_TABLE(DECLARE_ROW)
#define TABLE_ROW(row) &row,
static const naming *const table[] = {NAMING_TABLE(TABLE_ROW)};
enum { NAMINGS = sizeof table / sizeof table[0] };

const naming *naming_at(size_t index)
{
    return index < NAMINGS ? table[index] : NULL;
}

const naming *naming_find(const char *name)
{
    for (size_t i = 0; i < NAMINGS; i++) {
        if (strcmp(table[i]->name, name) == 0) return table[i];
    }
    return NULL;
}

bool naming_fits(const char *pattern, const char *name, const char **star, size_t *star_bytes)
{
    const char *wild = strchr(pattern, '*');
    if (wild == NULL) return strcmp(pattern, name) == 0;
    const size_t length = strlen(name), head = (size_t)(wild - pattern), tail = strlen(wild + 1);
    if (length < head + tail || memcmp(pattern, name, head) != 0) return false;
    if (memcmp(wild + 1, name + length - tail, tail) != 0) return false;
    if (star != NULL) {
        *star = name + head;
        *star_bytes = length - head - tail;
    }
    return true;
}

bool naming_fits_any(const char *const *patterns, const char *name)
{
    for (; patterns != NULL && *patterns != NULL; patterns++) {
        if (naming_fits(*patterns, name, NULL, NULL)) return true;
    }
    return false;
}

/* `pattern` with '*' as `star` and '?' as `letter`. */
static void spell(const char *pattern, const char *star, size_t star_bytes, char letter,
                  char out[NAMING_NAME_BYTES])
{
    size_t used = 0;
    for (const char *at = pattern; *at != '\0' && used + 1 < NAMING_NAME_BYTES; at++) {
        if (*at == '*') {
            const size_t room = NAMING_NAME_BYTES - 1 - used, n = star_bytes < room ? star_bytes : room;
            memcpy(out + used, star, n);
            used += n;
        } else {
            out[used++] = *at == '?' ? letter : *at;
        }
    }
    out[used] = '\0';
}

void naming_tensors_of(const naming *n, const char *row, int alternative, naming_tensors *tensors)
{
    static const char letters[NAMING_PARTS] = {'q', 'k', 'v'};
    tensors->count = 0;
    for (size_t i = 0; i < n->rules; i++) {
        const char *star = "";
        size_t star_bytes = 0;
        if (!naming_fits(n->rule[i].row, row, &star, &star_bytes) || alternative-- > 0) continue;
        tensors->how = n->rule[i].how;
        tensors->count = tensors->how == NAMING_QKV ? NAMING_PARTS : 1;
        for (int part = 0; part < tensors->count; part++) {
            spell(n->rule[i].tensor, star, star_bytes, letters[part], tensors->name[part]);
        }
        return;
    }
}
