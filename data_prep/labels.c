/* Classes and identities by name. */
#include "pack_impl.h"

#include <stdlib.h>
#include <string.h>

void pack_names_free(tdm_pack_names *names)
{
    for (int64_t i = 0; i < names->count; i++) free(names->name[i]);
    free(names->name);
    free(names->slot);
    memset(names, 0, sizeof(*names));
}

static int64_t *find_slot(const tdm_pack_names *names, const char *name, size_t length)
{
    uint64_t hash = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)name[i]) * 1099511628211u;
    int64_t at = (int64_t)(hash & (uint64_t)(names->slots - 1));
    for (;; at = (at + 1) & (names->slots - 1)) {
        if (!names->slot[at]) return &names->slot[at];
        const char *there = names->name[names->slot[at] - 1];
        if (!strncmp(there, name, length) && !there[length]) return &names->slot[at];
    }
}

/* Room for one more; at least half of the slots stay empty. */
static tdm_status grow(tdm_pack_names *names)
{
    if (names->count < names->capacity) return TDM_OK;
    const int64_t capacity = names->capacity ? 2 * names->capacity : 32;
    char **grown = realloc(names->name, sizeof(*grown) * (size_t)capacity);
    TDM_REQUIRE(grown, TDM_E_NOMEM, "no memory for %lld names", (long long)capacity);
    names->name = grown;
    int64_t *slot = calloc((size_t)(2 * capacity), sizeof(*slot));
    TDM_REQUIRE(slot, TDM_E_NOMEM, "no memory for %lld names", (long long)capacity);
    free(names->slot);
    names->slot = slot;
    names->slots = 2 * capacity;
    names->capacity = capacity;
    for (int64_t i = 0; i < names->count; i++) *find_slot(names, grown[i], strlen(grown[i])) = i + 1;
    return TDM_OK;
}

tdm_status pack_names_index(tdm_pack_names *names, const char *name, size_t length, int64_t *index)
{
    TDM_TRY(grow(names));
    int64_t *slot = find_slot(names, name, length);
    if (!*slot) {
        char *copy = strndup(name, length);
        TDM_REQUIRE(copy, TDM_E_NOMEM, "no memory for names");
        names->name[names->count++] = copy;
        *slot = names->count;
    }
    *index = *slot - 1;
    return TDM_OK;
}

bool pack_names_find(const tdm_pack_names *names, const char *name, size_t length, int64_t *index)
{
    if (!names->slots) return false;
    *index = *find_slot(names, name, length) - 1;
    return *index >= 0;
}

static tdm_status check_name(const tdm_pack_item *item, const char *what, const char *name, size_t length)
{
    TDM_REQUIRE(length <= NAME_BYTES, TDM_E_DATA, "%s: the name of its %s is longer than %d bytes",
                item->name, what, NAME_BYTES);
    TDM_REQUIRE(!memchr(name, '\0', length), TDM_E_DATA, "%s: the name of its %s holds a zero byte",
                item->name, what);
    TDM_REQUIRE(pack_utf8_fault(name, length) == length, TDM_E_DATA, "%s: the name of its %s is not UTF-8",
                item->name, what);
    return TDM_OK;
}

tdm_status pack_list_class(tdm_pack_list *list, const char *class_name, int64_t *index)
{
    return pack_names_index(&list->classes, class_name, strlen(class_name), index);
}

tdm_status pack_item_class_index(tdm_pack_item *item, int64_t index)
{
    for (int64_t k = 0; k < item->class_n; k++)
        if (item->class_index[k] == index) return TDM_OK;
    int64_t *grown = realloc(item->class_index, sizeof(*grown) * (size_t)(item->class_n + 1));
    TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for its classes", item->name);
    item->class_index = grown;
    grown[item->class_n++] = index;
    return TDM_OK;
}

tdm_status pack_item_class(tdm_pack_list *list, tdm_pack_item *item, const char *class_name, size_t length)
{
    int64_t index;
    pack_trim(&class_name, &length);
    if (!length) return TDM_OK;
    TDM_TRY(check_name(item, "class", class_name, length));
    TDM_TRY(pack_names_index(&list->classes, class_name, length, &index));
    return pack_item_class_index(item, index);
}

tdm_status pack_item_classes(tdm_pack_list *list, tdm_pack_item *item, const char *names, size_t length,
                             const char *separators)
{
    const char *const end = names + length;
    for (const char *at = names; at < end;) {
        size_t part = 0;
        while (at + part < end && !(at[part] && strchr(separators, at[part]))) part++;
        TDM_TRY(pack_item_class(list, item, at, part));
        at += part + 1;
    }
    return TDM_OK;
}

tdm_status pack_item_identity(tdm_pack_list *list, tdm_pack_item *item, const char *name, size_t length)
{
    int64_t index;
    pack_trim(&name, &length);
    if (!length) return TDM_OK;
    TDM_TRY(check_name(item, "identity", name, length));
    TDM_TRY(pack_names_index(&list->identities, name, length, &index));
    TDM_REQUIRE(item->identity < 0 || item->identity == index, TDM_E_DATA,
                "%s: has two identities, \"%s\" and \"%s\"", item->name,
                list->identities.name[item->identity], list->identities.name[index]);
    item->identity = index;
    return TDM_OK;
}
