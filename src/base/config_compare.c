/* What of a run's configuration is another than its checkpoint's. Values are compared as they are printed. */
#include "config_impl.h"

#include <stdlib.h>
#include <string.h>

tdm_status tdm_differences_add(tdm_differences *list, const char *key, tdm_change change, const char *was,
                               const char *is)
{
    tdm_difference *grown = realloc(list->item, (size_t)(list->count + 1) * sizeof *grown);
    TDM_REQUIRE(grown, TDM_E_NOMEM, "out of memory for a list of differences");
    list->item = grown;
    tdm_difference *made = &list->item[list->count];
    *made = (tdm_difference){.key = key, .change = change, .was = strdup(was), .is = strdup(is)};
    list->count++;
    TDM_REQUIRE(made->was && made->is, TDM_E_NOMEM, "out of memory for a list of differences");
    return TDM_OK;
}

void tdm_differences_free(tdm_differences *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        free(list->item[i].was);
        free(list->item[i].is);
    }
    free(list->item);
    *list = (tdm_differences){0};
}

/* Does the key have this value, whatever its type? */
static bool has_value(const tdm_config *config, const char *key, const char *value)
{
    config_field field;
    char choice[64];
    if (!config_field_find(config, key, &field)) return false;
    switch (field.option->type) {
    case TDM_OPTION_STRING: return strcmp(*(const char *const *)field.at, value) == 0;
    case TDM_OPTION_CHOICE:
        return strcmp(tdm_option_choice_text(field.option->choices, *(const int *)field.at, choice), value) ==
               0;
    default: return false;
    }
}

static bool counts(const tdm_config *config, const tdm_option_group *group)
{
    return group == NULL || group->if_key == NULL || has_value(config, group->if_key, group->if_value);
}

static tdm_change change_of(const config_field *field)
{
    const tdm_change own = field->option->change;
    return own == TDM_CHANGE_OF_GROUP && field->group != NULL ? field->group->change : own;
}

tdm_status tdm_config_compare(const tdm_config *was, const tdm_config *is, tdm_differences *list)
{
    config_field before, now;
    tdm_text a = {0}, b = {0};
    tdm_status status = TDM_OK;
    for (size_t i = 0; status == TDM_OK && config_field_at(was, i, &before); i++) {
        if (!config_field_at(is, i, &now) || !counts(was, before.group) || !counts(is, now.group)) continue;
        a.length = b.length = 0;
        status = config_value_print(&before, &a);
        if (status == TDM_OK) status = config_value_print(&now, &b);
        if (status == TDM_OK && strcmp(a.data, b.data) != 0)
            status = tdm_differences_add(list, now.key, change_of(&now), a.data, b.data);
    }
    tdm_text_free(&a);
    tdm_text_free(&b);
    return status;
}

tdm_status tdm_config_reading(const tdm_config *config, const char *path, tdm_reading *reading)
{
    config_field field;
    tdm_text value = {0};
    tdm_status status = TDM_OK;
    for (size_t i = 0; status == TDM_OK && config_field_at(config, i, &field); i++) {
        value.length = 0;
        status = config_value_print(&field, &value);
        if (status == TDM_OK) status = tdm_reading_add(reading, field.key, path, value.data);
    }
    tdm_text_free(&value);
    return status;
}
