/* The table of heads: by name, their own keys, the rules between keys. */
#include "head.h"
#include "head_table.h"

#include <string.h>

#define DECLARE_ROW(type) extern const head_type type;
HEAD_TABLE(DECLARE_ROW)
#define TABLE_ROW(type) &type,
static const head_type *const head_types[] = {HEAD_TABLE(TABLE_ROW)};
enum { HEAD_TYPES = sizeof(head_types) / sizeof(head_types[0]), DROPOUT_SITE = 8192, SITES_OF_A_HEAD = 16 };

static const char none[] = "none";

const char *tdm_model_head_name(size_t index)
{
    return index < HEAD_TYPES ? head_types[index]->name : NULL;
}

static void group_of(const char *name, tdm_modality modality, char group[64])
{
    snprintf(group, 64, "model.%s.%.40s", tdm_modality_name(modality), name);
}

tdm_status head_register(void)
{
    for (int i = 0; i < HEAD_TYPES; i++)
        for (int m = 0; m < TDM_MODALITIES; m++) {
            const head_type *type = head_types[i];
            char group[64], key[64];
            group_of(type->name, (tdm_modality)m, group);
            group_of("head", (tdm_modality)m, key);
            const tdm_option_group rows = {.prefix = group,
                                           .rows = type->options,
                                           .count = type->option_count,
                                           .bytes = type->option_bytes,
                                           .change = TDM_CHANGE_MEANING,
                                           .if_key = key,
                                           .if_value = type->name};
            if (type->options) TDM_TRY(tdm_config_register(&rows));
        }
    return TDM_OK;
}

static tdm_status unknown_head(tdm_modality modality, const char *wanted)
{
    const char *names[HEAD_TYPES + 1] = {none};
    char known[256] = "none";
    for (int i = 0; i < HEAD_TYPES; i++) {
        names[i + 1] = head_types[i]->name;
        strncat(known, " ", sizeof(known) - strlen(known) - 1);
        strncat(known, head_types[i]->name, sizeof(known) - strlen(known) - 1);
    }
    const char *near = tdm_nearest_name(wanted, names, HEAD_TYPES + 1);
    TDM_FAIL(TDM_E_CONFIG, "model.%s.head: \"%s\" is unknown%s%s%s; known: %s", tdm_modality_name(modality),
             wanted, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "", known);
}

tdm_status head_find(const tdm_config *config, tdm_modality modality, const head_type **type,
                     const void **options)
{
    const char *wanted = tower_config(config, modality)->head;
    char group[64];
    *type = NULL;
    *options = NULL;
    if (!strcmp(wanted, none)) return TDM_OK;
    for (int i = 0; i < HEAD_TYPES; i++)
        if (!strcmp(head_types[i]->name, wanted)) *type = head_types[i];
    if (!*type) return unknown_head(modality, wanted);
    if (!(*type)->options) return TDM_OK;
    group_of((*type)->name, modality, group);
    *options = tdm_config_rows(config, group, (*type)->options);
    TDM_REQUIRE(*options, TDM_E_CONFIG, "the keys of head \"%s\" are not registered: tdm_model_register",
                wanted);
    return TDM_OK;
}

tdm_status head_check(const tdm_config *config, tdm_modality modality)
{
    const head_type *type;
    const void *options;
    char group[64];
    const int64_t in = tower_feature_dim(config, modality), out = config->model.embed_dim;
    TDM_TRY(head_find(config, modality, &type, &options));
    snprintf(group, sizeof group, "model.%s", tdm_modality_name(modality));
    TDM_REQUIRE(type || in == out, TDM_E_CONFIG,
                "%s.feature_dim = %lld without a head is what leaves the model, but model.embed_dim = %lld",
                group, (long long)in, (long long)out);
    return type && type->check ? type->check(options, group, in, out) : TDM_OK;
}

tdm_status head_create(const tdm_config *config, const tdm_nn *nn, tdm_modality modality, bool cached,
                       head **out)
{
    const head_type *type;
    head_setup setup = {.nn = *nn,
                        .in = tower_feature_dim(config, modality),
                        .out = config->model.embed_dim,
                        .cached = cached,
                        .prefix = modality == TDM_IMAGE ? "visual_head" : "text_head",
                        .site = DROPOUT_SITE + (uint32_t)modality * SITES_OF_A_HEAD};
    *out = NULL;
    TDM_TRY(head_find(config, modality, &type, &setup.options));
    if (!type) return TDM_OK;
    const tdm_status status = type->create(&setup, out);
    if (!*out) return status;
    (*out)->type = type;
    (*out)->nn = *nn;
    (*out)->in = setup.in;
    (*out)->out = setup.out;
    return status;
}

void head_destroy(head **self)
{
    if (*self && (*self)->type->destroy) (*self)->type->destroy(*self);
    tdm_free(*self);
    *self = NULL;
}

double head_flop(const tdm_config *config, tdm_modality modality, int64_t n)
{
    const head_type *type;
    const void *options;
    if (head_find(config, modality, &type, &options) != TDM_OK || !type) return 0.0;
    return (double)n *
           type->forward_flop(options, tower_feature_dim(config, modality), config->model.embed_dim);
}
