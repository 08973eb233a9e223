/* The table of towers: by name, their own keys, the rules between keys. */
#include "head.h"
#include "tower_table.h"

#include <stdlib.h>
#include <string.h>

#define DECLARE_ROW(type) extern const tower_type type;
TOWER_TABLE(DECLARE_ROW)
#define TABLE_ROW(type) &type,
static const tower_type *const tower_types[] = {TOWER_TABLE(TABLE_ROW)};
enum { TOWER_TYPES = sizeof(tower_types) / sizeof(tower_types[0]) };

static const char *group_of(tdm_modality modality)
{
    return modality == TDM_IMAGE ? "model.image" : "model.text";
}

tdm_status tower_find(const tdm_config *config, tdm_modality modality, const tower_type **type)
{
    const char *wanted = tower_config(config, modality)->tower, *names[TOWER_TYPES];
    char known[256] = "";
    size_t count = 0;
    for (int i = 0; i < TOWER_TYPES; i++) {
        if (tower_types[i]->modality != modality) continue;
        *type = tower_types[i];
        if (!strcmp((*type)->name, wanted)) return TDM_OK;
        names[count++] = (*type)->name;
        strncat(known, " ", sizeof(known) - strlen(known) - 1);
        strncat(known, (*type)->name, sizeof(known) - strlen(known) - 1);
    }
    const char *near = tdm_nearest_name(wanted, names, count);
    TDM_FAIL(TDM_E_CONFIG, "%s.tower: \"%s\" is unknown%s%s%s; known:%s", group_of(modality), wanted,
             near ? " (did you mean " : "", near ? near : "", near ? "?)" : "", known);
}

tdm_status tdm_model_register(void)
{
    for (int i = 0; i < TOWER_TYPES; i++) {
        const tower_type *type = tower_types[i];
        if (!type->options) continue;
        char key[64];
        snprintf(key, sizeof(key), "%s.tower", group_of(type->modality));
        const tdm_option_group rows = {.prefix = group_of(type->modality),
                                       .rows = type->options,
                                       .count = type->option_count,
                                       .bytes = type->option_bytes,
                                       .change = TDM_CHANGE_MEANING,
                                       .if_key = key,
                                       .if_value = type->name};
        TDM_TRY(tdm_config_register(&rows));
    }
    return head_register();
}

tdm_status tower_options(const tower_type *type, const tdm_config *config, const void **options)
{
    *options = tdm_config_rows(config, group_of(type->modality), type->options);
    TDM_REQUIRE(*options, TDM_E_CONFIG, "the keys of tower \"%s\" are not registered: tdm_model_register",
                type->name);
    return TDM_OK;
}

/* "7", "7.attention", "7.mlp": the block, counted from 0, and what is left out of it; 0: not such an entry. */
static unsigned parse_drop(const char *entry, int64_t *layer)
{
    char *end;
    if (entry[0] < '1' || entry[0] > '9') return 0;
    *layer = strtol(entry, &end, 10) - 1;
    return *end == '\0'                 ? TDM_BLOCK_WHOLE
           : !strcmp(end, ".attention") ? TDM_BLOCK_ATTENTION
           : !strcmp(end, ".mlp")       ? TDM_BLOCK_MLP
                                        : 0;
}

tower_drop tower_drop_of(const tdm_tower_config *config)
{
    tower_drop drop = {{0}};
    for (int64_t i = 0; i < config->drop.count; i++) {
        int64_t layer;
        const unsigned part = parse_drop(config->drop.item[i], &layer);
        if (part != 0 && layer < config->layers) drop.part[layer] |= (unsigned char)part;
    }
    return drop;
}

static tdm_status check_drop(const tdm_config *config, tdm_modality modality)
{
    const tdm_tower_config *c = tower_config(config, modality);
    for (int64_t i = 0; i < c->drop.count; i++) {
        int64_t layer;
        TDM_REQUIRE(
            parse_drop(c->drop.item[i], &layer) != 0, TDM_E_CONFIG,
            "%s.drop: \"%.80s\" is not \"N\", \"N.attention\" or \"N.mlp\" with a layer N from 1 to %lld",
            group_of(modality), c->drop.item[i], (long long)c->layers);
        TDM_REQUIRE(layer < c->layers, TDM_E_CONFIG, "%s.drop: \"%.80s\": the tower has %lld layers",
                    group_of(modality), c->drop.item[i], (long long)c->layers);
    }
    return TDM_OK;
}

tdm_status tower_check_blocks(const tdm_config *config, tdm_modality modality)
{
    const tdm_tower_config *c = tower_config(config, modality);
    const char *group = group_of(modality);
    TDM_REQUIRE(c->width % c->heads == 0, TDM_E_CONFIG, "%s.width = %lld is not divisible by %s.heads = %lld",
                group, (long long)c->width, group, (long long)c->heads);
    const double hidden = (double)c->width * c->mlp_ratio;
    TDM_REQUIRE(hidden >= 1 && hidden == (double)(int64_t)hidden, TDM_E_CONFIG,
                "%s.width x %s.mlp_ratio = %g is not a whole number", group, group, hidden);
    return check_drop(config, modality);
}

tdm_status tdm_model_check(const tdm_config *config)
{
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const tower_type *type;
        TDM_TRY(tower_find(config, (tdm_modality)m, &type));
        TDM_REQUIRE(type->blocks || tower_config(config, (tdm_modality)m)->drop.count == 0, TDM_E_CONFIG,
                    "%s.drop is about the layers of transformers; a %s has none", group_of((tdm_modality)m),
                    type->name);
        TDM_REQUIRE(m != TDM_TEXT || type->reads == TDM_READS_TOKENS ||
                        (config->model.text.context_tokens == 0 && !config->model.text.context_words[0]),
                    TDM_E_CONFIG, "model.text.context_tokens and context_words: a %s reads no tokens",
                    type->name);
        TDM_REQUIRE(type->has_patches || tower_config(config, (tdm_modality)m)->patch_dropout == 0.0,
                    TDM_E_CONFIG, "%s.patch_dropout is about the patches of a vit; a %s has none",
                    group_of((tdm_modality)m), type->name);
        if (type->check) TDM_TRY(type->check(config));
        TDM_TRY(head_check(config, (tdm_modality)m));
    }
    TDM_REQUIRE(config->model.logit_scale_init <= config->model.logit_scale_max, TDM_E_CONFIG,
                "model.logit_scale_init = %g is larger than model.logit_scale_max = %g",
                config->model.logit_scale_init, config->model.logit_scale_max);
    return TDM_OK;
}

tdm_status tdm_model_reads(const tdm_config *config, tdm_modality modality, tdm_tower_reads *reads,
                           int64_t *width)
{
    const tdm_tower_config *c = tower_config(config, modality);
    const tower_type *type;
    TDM_TRY(tower_find(config, modality, &type));
    *reads = type->reads;
    *width = type->reads == TDM_READS_PIXELS     ? c->height_px * c->width_px * 3
             : type->reads == TDM_READS_FEATURES ? tower_feature_dim(config, modality)
                                                 : 0;
    return TDM_OK;
}

void tdm_model_grid(const tdm_config *config, int64_t *rows, int64_t *columns)
{
    const tower_type *type;
    *rows = *columns = 0;
    if (tower_find(config, TDM_IMAGE, &type) != TDM_OK || !type->place_px) return;
    *rows = config->model.image.height_px / type->place_px(config);
    *columns = config->model.image.width_px / type->place_px(config);
}

double tdm_model_tower_flop(const tdm_config *config, tdm_modality modality, const tdm_pass *pass, int64_t n,
                            int64_t tokens, int64_t tokens_squared)
{
    const tower_type *type;
    return tower_find(config, modality, &type) == TDM_OK
               ? type->forward_flop(config, pass, n, tokens, tokens_squared) + head_flop(config, modality, n)
               : 0.0;
}
