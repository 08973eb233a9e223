/* Which rows are trained and at what rate: optim.freeze, optim.lr_scale, optim.layer_decay. */
#include "tandem/optim.h"

#include "tandem/base.h"
#include "tandem/views.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The rows that one entry names. */
typedef struct selector {
    const char *key; /* "optim.freeze", for messages */
    char text[256];
    int tower;      /* -1: `text` is a glob of names */
    int64_t blocks; /* of the tower, from its input end; -1: all of it */
} selector;

static const char *const tower_name[TDM_MODALITIES] = {"image", "text"};

static int64_t block_count(const tdm_params *params, int tower)
{
    int top = 0;
    for (int64_t i = 0; i < params->count; i++)
        if (params->row[i].tower == tower && params->row[i].layer > top) top = params->row[i].layer;
    return tdm_max_i64(0, top - 1);
}

/* "image", "text", "image:6": true, or false when the text is something else. */
static tdm_status parse_tower(const tdm_params *params, selector *s)
{
    s->tower = -1;
    for (int t = 0; t < TDM_MODALITIES; t++) {
        const size_t n = strlen(tower_name[t]);
        if (strncmp(s->text, tower_name[t], n) != 0) continue;
        if (s->text[n] != '\0' && s->text[n] != ':') continue;
        s->tower = t;
        s->blocks = -1;
        if (s->text[n] == '\0') return TDM_OK;
        char *end;
        s->blocks = strtoll(s->text + n + 1, &end, 10);
        const int64_t most = block_count(params, t);
        TDM_REQUIRE(end != s->text + n + 1 && *end == '\0' && s->blocks >= 0 && s->blocks <= most,
                    TDM_E_CONFIG, "%s: \"%s\": the %s tower has blocks 0 to %lld to count", s->key, s->text,
                    tower_name[t], (long long)most);
    }
    return TDM_OK;
}

static tdm_status make_selector(const tdm_params *params, const char *key, const char *text, size_t length,
                                selector *s)
{
    s->key = key;
    TDM_REQUIRE(length > 0, TDM_E_CONFIG, "%s: an entry names no parameter", key);
    TDM_REQUIRE(length < sizeof s->text, TDM_E_CONFIG, "%s: \"%.60s…\" is too long", key, text);
    memcpy(s->text, text, length);
    s->text[length] = '\0';
    return parse_tower(params, s);
}

static bool selects(const selector *s, const tdm_param *row)
{
    if (s->tower < 0) return fnmatch(s->text, row->name, 0) == 0;
    return row->tower == s->tower && (s->blocks < 0 || row->layer <= s->blocks);
}

/* The name that is nearest in edit distance; else the one that begins alike for longest. */
static const char *nearest_row(const tdm_params *params, const char *text)
{
    const char *near = NULL;
    const char **name = NULL;
    if (TDM_ALLOC(params->count, &name) != TDM_OK) return params->row[0].name;
    for (int64_t i = 0; i < params->count; i++) name[i] = params->row[i].name;
    near = tdm_nearest_name(text, name, (size_t)params->count);
    size_t most = 0;
    for (int64_t i = 0; near == NULL && i < params->count; i++)
        for (size_t n = 0; text[n] != '\0' && name[i][n] == text[n]; n++) most = n + 1 > most ? n + 1 : most;
    for (int64_t i = 0; near == NULL && i < params->count; i++)
        if (strncmp(name[i], text, most) == 0) near = name[i];
    tdm_free((void *)name);
    return near;
}

/* Gives every row that the selector names the value; an entry that names none is an error. */
static tdm_status assign(const tdm_params *params, const selector *s, double value, double *of_row)
{
    int64_t found = 0;
    for (int64_t i = 0; i < params->count; i++)
        if (selects(s, &params->row[i])) {
            of_row[i] = value;
            found++;
        }
    TDM_REQUIRE(found > 0, TDM_E_CONFIG, "%s: \"%s\" matches no parameter; the nearest is %s", s->key,
                s->text, nearest_row(params, s->text));
    return TDM_OK;
}

static tdm_status apply_factor(const tdm_params *params, const char *entry, double *factor)
{
    const char *equals = strrchr(entry, '='), *number = equals ? equals + 1 : "";
    char *end;
    selector s;
    const double value = strtod(number, &end);
    TDM_REQUIRE(end != number && *end == '\0' && value >= 0.0 && value <= 1e6, TDM_E_CONFIG,
                "optim.lr_scale: \"%.200s\": expected NAMES=FACTOR with a factor from 0 to 1000000", entry);
    TDM_TRY(make_selector(params, "optim.lr_scale", entry, (size_t)(equals - entry), &s));
    return assign(params, &s, value, factor);
}

static tdm_status apply_freeze(const tdm_params *params, const char *entry, double *open)
{
    const bool trains = entry[0] == '!';
    selector s;
    TDM_TRY(make_selector(params, "optim.freeze", entry + trains, strlen(entry + trains), &s));
    return assign(params, &s, trains ? 1.0 : 0.0, open);
}

/* factor, open [count]: room, of the configured factors and of 1 or 0 for frozen rows. */
static tdm_status resolve(const tdm_config *config, tdm_params *params, double *factor, double *open)
{
    const tdm_strings *freeze = &config->optim.freeze, *lr_scale = &config->optim.lr_scale;
    int top[TDM_MODALITIES] = {0};
    bool any = false;
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        factor[i] = open[i] = 1.0;
        if (row->tower >= 0 && row->layer > top[row->tower]) top[row->tower] = row->layer;
    }
    for (int64_t i = 0; i < lr_scale->count; i++) TDM_TRY(apply_factor(params, lr_scale->item[i], factor));
    for (int64_t i = 0; i < freeze->count; i++) TDM_TRY(apply_freeze(params, freeze->item[i], open));
    for (int64_t i = 0; i < params->count; i++) {
        tdm_param *row = &params->row[i];
        const int above = row->tower >= 0 ? top[row->tower] - row->layer : 0;
        row->lr_scale *= pow(config->optim.layer_decay, above) * factor[i] * open[i];
        any = any || tdm_param_trained(row);
    }
    TDM_REQUIRE(any, TDM_E_CONFIG, "optim.freeze, optim.lr_scale: no parameter is left to train");
    return TDM_OK;
}

tdm_status tdm_optim_groups(const tdm_config *config, tdm_params *params)
{
    double *factor = NULL, *open = NULL;
    tdm_status status = TDM_ALLOC(params->count, &factor);
    if (status == TDM_OK) status = TDM_ALLOC(params->count, &open);
    if (status == TDM_OK) status = resolve(config, params, factor, open);
    tdm_free(factor);
    tdm_free(open);
    return status;
}

/* ---- What came of it ---- */

static tdm_status describe_scale(const tdm_params *params, double scale, tdm_text *text)
{
    int64_t rows = 0, values = 0, all = 0;
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        all += !row->buffer;
        if (row->buffer || row->lr_scale != scale) continue;
        rows++;
        values += row->size;
    }
    TDM_TRY(tdm_text_printf(text, "%s", text->length > 0 ? "\n" : ""));
    if (scale == 0.0) TDM_TRY(tdm_text_printf(text, "frozen: "));
    if (scale > 0.0) TDM_TRY(tdm_text_printf(text, "learning rate x %.6g: ", scale));
    return tdm_text_printf(text, "%lld of %lld parameters, %lld values", (long long)rows, (long long)all,
                           (long long)values);
}

tdm_status tdm_optim_describe(const tdm_params *params, tdm_text *text)
{
    for (double bound = INFINITY, next; bound > 0.0; bound = next) {
        next = -1.0;
        for (int64_t i = 0; i < params->count; i++)
            if (!params->row[i].buffer && params->row[i].lr_scale < bound)
                next = fmax(next, params->row[i].lr_scale);
        if (next >= 0.0) TDM_TRY(describe_scale(params, next, text));
    }
    return TDM_OK;
}
