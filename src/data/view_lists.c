/* The lists views.NAME.augment of a configuration: what may stand in them, and their pipelines. An entry's name is a
 * row of the table of images or of the table of texts; the list of a name serves the views of both. */
#include "loader_impl.h"

#include <string.h>

enum { WHERE_BYTES = 64, NAME_BYTES = 64, MOST_OPERATIONS = 256 };

#define VIEW_NAME_TEXT(NAME, name, list) #name,
static const char *const view_name[TDM_VIEW_NAMES] = {TDM_VIEW_NAME_TABLE(VIEW_NAME_TEXT)};

static void where_of(int name, char where[WHERE_BYTES])
{
    snprintf(where, WHERE_BYTES, "views.%s.augment", view_name[name]);
}

static const tdm_operation *operation_at(tdm_modality modality, size_t index)
{
    return modality == TDM_IMAGE ? tdm_image_augment_row(index) : tdm_text_augment_row(index);
}

static const tdm_operation *find_operation(tdm_modality modality, const char *name)
{
    const tdm_operation *row;
    for (size_t i = 0; (row = operation_at(modality, i)) != NULL; i++)
        if (!strcmp(row->name, name)) return row;
    return NULL;
}

static tdm_status unknown_operation(const char *where, const char *name)
{
    const char *known[MOST_OPERATIONS];
    size_t count = 0;
    for (int m = 0; m < TDM_MODALITIES; m++)
        for (size_t i = 0; operation_at((tdm_modality)m, i) && count < MOST_OPERATIONS; i++)
            known[count++] = operation_at((tdm_modality)m, i)->name;
    const char *near = tdm_nearest_name(name, known, count);
    tdm_text all = {0};
    for (size_t i = 0; i < count && !near; i++)
        if (tdm_text_printf(&all, "%s%s", i ? ", " : "; there are ", known[i]) != TDM_OK) break;
    const tdm_status status = TDM_ERROR(TDM_E_CONFIG, "%s: unknown augmentation \"%s\"%s%s%s%s", where, name,
                                        near ? " (did you mean " : "", near ? near : "", near ? "?)" : "",
                                        all.data ? all.data : "");
    tdm_text_free(&all);
    return status;
}

/* Every name is a row, of a modality that a view of this name has. */
static tdm_status check_names(int name, const char *where, const tdm_strings *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        char called[NAME_BYTES];
        const char *arguments;
        size_t length;
        bool known = false, used = false;
        TDM_TRY(tdm_config_call(where, list->item[i], called, &arguments, &length));
        for (int m = 0; m < TDM_MODALITIES; m++) {
            const bool has = find_operation((tdm_modality)m, called) != NULL;
            known |= has;
            used |= has && tdm_view_find((tdm_modality)m, view_name[name]) >= 0;
        }
        if (!known) return unknown_operation(where, called);
        const bool of_images = find_operation(TDM_IMAGE, called) != NULL;
        TDM_REQUIRE(used, TDM_E_CONFIG, "%s: %s works on %ss, but \"%s\" is a view of %ss only", where,
                    called, tdm_modality_name(of_images ? TDM_IMAGE : TDM_TEXT), view_name[name],
                    tdm_modality_name(of_images ? TDM_TEXT : TDM_IMAGE));
    }
    return TDM_OK;
}

/* ---- pipelines ---- */

tdm_status view_pipelines_create(const tdm_config *config, tdm_view_set views, const tdm_tokenizer *tokenizer,
                                 view_pipelines *made)
{
    static const tdm_strings empty;
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_info *info = tdm_view_of((tdm_view)v);
        const tdm_strings *list = config ? &config->views[info->name].augment : &empty;
        char where[WHERE_BYTES];
        if (!(views >> v & 1)) continue;
        where_of((int)info->name, where);
        TDM_TRY(check_names((int)info->name, where, list));
        if (info->modality == TDM_IMAGE)
            TDM_TRY(tdm_image_pipeline_create(config, where, list, &made->image[v]));
        else
            TDM_TRY(tdm_text_pipeline_create(config, where, list, tokenizer, &made->text[v]));
    }
    return TDM_OK;
}

void view_pipelines_free(view_pipelines *pipelines)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        tdm_image_pipeline_destroy(&pipelines->image[v]);
        tdm_text_pipeline_destroy(&pipelines->text[v]);
    }
}

tdm_status tdm_views_check(const tdm_config *config)
{
    view_pipelines made = {0};
    tdm_status status = view_pipelines_create(config, (1u << TDM_VIEWS) - 1, NULL, &made);
    loader_mix mix;
    if (status == TDM_OK) status = loader_mix_create(config, &mix);
    view_pipelines_free(&made);
    return status;
}

/* ---- operations that do nothing ---- */

static bool same_list(const tdm_strings *a, const tdm_strings *b)
{
    if (a->count != b->count) return false;
    for (int64_t i = 0; i < a->count; i++)
        if (strcmp(a->item[i], b->item[i]) != 0) return false;
    return true;
}

static tdm_status warn_entry(const tdm_config *config, const char *where, tdm_modality modality,
                             const char *text)
{
    char called[NAME_BYTES];
    const char *arguments;
    size_t length;
    const void *options;
    TDM_TRY(tdm_config_call(where, text, called, &arguments, &length));
    const tdm_operation *row = find_operation(modality, called);
    if (row == NULL) return TDM_OK;
    TDM_TRY(tdm_operation_options(config, where, row, arguments, length, &options));
    if (tdm_operation_probability(row, options) == 0.0)
        tdm_log(TDM_LOG_WARN, "%s: %s does nothing: its probability p is 0", where, called);
    return TDM_OK;
}

tdm_status tdm_views_warn(const tdm_config *config, tdm_view_set views)
{
    tdm_config fresh;
    TDM_TRY(tdm_config_init(&fresh));
    tdm_status status = TDM_OK;
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_info *info = tdm_view_of((tdm_view)v);
        const tdm_strings *list = &config->views[info->name].augment;
        char where[WHERE_BYTES];
        if (!(views >> v & 1) || same_list(list, &fresh.views[info->name].augment)) continue;
        where_of((int)info->name, where);
        for (int64_t i = 0; i < list->count && status == TDM_OK; i++)
            status = warn_entry(config, where, info->modality, list->item[i]);
    }
    tdm_config_destroy(&fresh);
    return status;
}
