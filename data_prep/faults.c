/* What is wrong with samples and sources, and what is left out of them. */
#include "pack_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { LISTED = 1000 }; /* of each kind and extension; all are counted */

bool pack_is_fault(tdm_status status)
{
    return status == TDM_E_DATA || status == TDM_E_IO || status == TDM_E_FORMAT;
}

tdm_status pack_item_fault(tdm_pack_item *item, tdm_status status)
{
    if (status == TDM_OK || !pack_is_fault(status)) return status;
    if (item->fault) return TDM_OK; /* the first one is told */
    item->fault = strdup(tdm_error_last()->message);
    TDM_REQUIRE(item->fault, TDM_E_NOMEM, "%s: no memory for what is wrong with it", item->name);
    return TDM_OK;
}

/* Appends copies to two lists of n; `b` may be NULL. */
static tdm_status append_both(char ***first, char ***second, int64_t n, const char *a, const char *b)
{
    char **grown = realloc(*first, sizeof(*grown) * (size_t)(n + 1));
    if (grown) *first = grown;
    char **other = realloc(*second, sizeof(*other) * (size_t)(n + 1));
    if (other) *second = other;
    TDM_REQUIRE(grown && other, TDM_E_NOMEM, "no memory for the report");
    grown[n] = strdup(a);
    other[n] = b ? strdup(b) : NULL;
    if (grown[n] && (other[n] || !b)) return TDM_OK;
    free(grown[n]);
    free(other[n]);
    TDM_FAIL(TDM_E_NOMEM, "no memory for the report");
}

tdm_status pack_list_fault(tdm_pack_list *list, const char *where, tdm_status status)
{
    if (status == TDM_OK || !pack_is_fault(status)) return status;
    TDM_TRY(append_both(&list->fault_where, &list->fault, list->fault_n, where, tdm_error_last()->message));
    list->fault_n++;
    return TDM_OK;
}

/* ".TXT" of "a/b.TXT" in lower case; "" where what follows the last dot is no extension. */
static void extension_of(const char *where, char *out, size_t bytes)
{
    const char *dot = strrchr(pack_base_name(where), '.');
    size_t n = 0;
    out[0] = '\0';
    if (!dot || !dot[1] || dot == pack_base_name(where) || dot[-1] == ' ') return; /* hidden */
    for (n = 1; isalnum((unsigned char)dot[n]) || dot[n] == '_' || dot[n] == '-'; n++) {
    }
    if (dot[n] || n >= bytes) return;
    for (size_t i = 0; i <= n; i++) out[i] = (char)tolower((unsigned char)dot[i]);
}

/* The group of that kind and extension. */
static tdm_status find_group(tdm_pack_list *list, const char *kind, const char *extension,
                             tdm_pack_left_out **group)
{
    char key[512];
    int64_t index;
    const int64_t groups = list->left_out_key.count;
    const int length = snprintf(key, sizeof(key), "%s/%s", extension, kind);
    tdm_pack_left_out *grown = realloc(list->left_out, sizeof(*grown) * (size_t)(groups + 1));
    TDM_REQUIRE(grown, TDM_E_NOMEM, "no memory for the report");
    list->left_out = grown;
    TDM_TRY(pack_names_index(&list->left_out_key, key, (size_t)tdm_min_i64(length, sizeof(key) - 1), &index));
    *group = &grown[index];
    if (index < groups) return TDM_OK;
    **group = (tdm_pack_left_out){.kind = strdup(kind)};
    snprintf((*group)->extension, sizeof((*group)->extension), "%s", extension);
    TDM_REQUIRE((*group)->kind, TDM_E_NOMEM, "no memory for the report");
    return TDM_OK;
}

tdm_status pack_list_leave_out(tdm_pack_list *list, const char *kind, const char *where, const char *why)
{
    char extension[16];
    tdm_pack_left_out *group;
    extension_of(where, extension, sizeof(extension));
    TDM_TRY(find_group(list, kind, extension, &group));
    if (group->listed < LISTED) {
        TDM_TRY(append_both(&group->where, &group->why, group->listed, where, why));
        group->listed++;
    }
    group->count++;
    return TDM_OK;
}
