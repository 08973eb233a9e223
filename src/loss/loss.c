/* The table of objectives, their weights and needs. */
#include "loss_impl.h"
#include "loss_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DECLARE_ROW(row) extern const tdm_loss row;
TDM_LOSS_TABLE(DECLARE_ROW)
#define TABLE_ROW(row) &row,
static const tdm_loss *const losses[] = {TDM_LOSS_TABLE(TABLE_ROW)};
enum { LOSSES = sizeof(losses) / sizeof(losses[0]) };

const tdm_loss *const *tdm_loss_table(size_t *count)
{
    *count = LOSSES;
    return losses;
}

const tdm_loss *tdm_loss_find(const char *name)
{
    for (size_t i = 0; i < LOSSES; i++)
        if (!strcmp(losses[i]->name, name)) return losses[i];
    return NULL;
}

static void group_of(const tdm_loss *loss, char prefix[80])
{
    snprintf(prefix, 80, "loss.%s", loss->name);
}

static const tdm_loss_common *common_of(const tdm_config *config, const tdm_loss *loss)
{
    char prefix[80];
    group_of(loss, prefix);
    return tdm_config_group(config, prefix);
}

tdm_status tdm_loss_register(void)
{
    for (size_t i = 0; i < LOSSES; i++) {
        char prefix[80];
        group_of(losses[i], prefix);
        const tdm_option_group rows = {.prefix = prefix,
                                       .rows = losses[i]->options,
                                       .count = losses[i]->option_count,
                                       .bytes = losses[i]->option_bytes,
                                       .change = TDM_CHANGE_RUN};
        TDM_TRY(tdm_config_register(&rows));
    }
    return TDM_OK;
}

static bool switched_on(const tdm_loss_common *common)
{
    return common && (common->weight > 0.0 || (common->ramp_steps > 0 && common->weight_start > 0.0));
}

static bool none_is_on(const tdm_config *config)
{
    for (size_t i = 0; i < LOSSES; i++)
        if (switched_on(common_of(config, losses[i]))) return false;
    return true;
}

/* Nothing is switched on: then the first objective of the table, infonce, stands for a first configuration. */
static bool is_default(const tdm_config *config, const tdm_loss *loss)
{
    return loss == losses[0] && none_is_on(config);
}

/* A global objective tells the pairs of a batch from each other. */
static void warn_of_one_pair(const tdm_config *config)
{
    for (size_t i = 0; i < LOSSES && config->train.batch == 1; i++)
        if (!losses[i]->local && tdm_loss_is_on(config, losses[i]))
            tdm_log(
                TDM_LOG_WARN,
                "train.batch is 1: loss.%s compares the pairs of a batch with each other, and learns nothing "
                "useful from one",
                losses[i]->name);
}

tdm_status tdm_loss_settle(tdm_config *config)
{
    if (none_is_on(config)) TDM_TRY(tdm_config_set(config, "loss.infonce.weight=1"));
    warn_of_one_pair(config);
    return TDM_OK;
}

double tdm_loss_weight(const tdm_config *config, const tdm_loss *loss, int64_t step)
{
    const tdm_loss_common *c = common_of(config, loss);
    if (is_default(config, loss)) return 1.0;
    if (!c) return 0.0;
    if (step >= c->ramp_steps) return c->weight;
    return c->weight_start + (c->weight - c->weight_start) * (double)step / (double)c->ramp_steps;
}

bool tdm_loss_is_on(const tdm_config *config, const tdm_loss *loss)
{
    return switched_on(common_of(config, loss)) || is_default(config, loss);
}

void tdm_loss_all_needs(const tdm_config *config, tdm_loss_needs *needs)
{
    memset(needs, 0, sizeof(*needs));
    for (size_t i = 0; i < LOSSES; i++) {
        tdm_loss_needs own = {{0}};
        if (!tdm_loss_is_on(config, losses[i])) continue;
        losses[i]->needs(common_of(config, losses[i]), &own);
        for (int v = 0; v < TDM_VIEWS; v++) needs->view[v] |= own.view[v];
    }
}

tdm_view_set tdm_loss_views(const tdm_loss_needs *needs)
{
    tdm_view_set views = 0;
    for (int v = 0; v < TDM_VIEWS; v++)
        if (needs->view[v]) views |= 1u << v;
    return views;
}

/* ---- The objectives of a run ---- */

static tdm_status check_needs(const tdm_loss *type, const tdm_loss_needs *needs)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        const char *view = tdm_view_of((tdm_view)v)->label;
        TDM_REQUIRE(type->local || !(needs->view[v] & TDM_NEED_TOKENS), TDM_E_CONFIG,
                    "loss.%s: dense tokens of %s need a local objective", type->name, view);
        TDM_REQUIRE(!type->local || !(needs->view[v] & (TDM_NEED_ALL | TDM_NEED_TARGET)), TDM_E_CONFIG,
                    "loss.%s: a local objective cannot see the global batch of %s", type->name, view);
    }
    return TDM_OK;
}

/* Where images and texts are drawn by themselves, two of one sample meet by chance only. */
static tdm_status check_tie(const tdm_loss *type, const void *options, const tdm_loss_setup *setup)
{
    if (!setup->unpaired || !type->tie) return TDM_OK;
    const tdm_tie tie = type->tie(options);
    TDM_REQUIRE(tie != TDM_TIE_SAMPLE, TDM_E_CONFIG,
                "loss.%s learns from pairs, and data.imbalance = \"independent\" makes none; \"paired\" and "
                "\"per_batch\" do",
                type->name);
    TDM_REQUIRE(
        tie != TDM_TIE_IDENTITY || !setup->own_identities, TDM_E_CONFIG,
        "loss.%s learns from images and texts of one identity, which the training data do not have, and "
        "data.imbalance = \"independent\" makes no pairs; \"paired\" and \"per_batch\" do",
        type->name);
    return TDM_OK;
}

static tdm_status add_terms(tdm_losses *all, tdm_loss_instance *one)
{
    one->first_term = all->terms;
    while (one->type->terms[one->terms]) one->terms++;
    TDM_REQUIRE(all->terms + one->terms <= TDM_LOSS_MAX_TERMS, TDM_E_CONFIG,
                "loss: the objectives have more than %d terms to log, with loss.%s", TDM_LOSS_MAX_TERMS,
                one->type->name);
    for (int k = 0; k < one->terms; k++) all->term_name[all->terms++] = one->type->terms[k];
    return TDM_OK;
}

static tdm_status add_loss(tdm_losses *all, const tdm_config *config, const tdm_loss_setup *common,
                           const tdm_loss *type)
{
    tdm_loss_instance *one = &all->loss[all->count++];
    *one = (tdm_loss_instance){.type = type, .options = common_of(config, type)};
    type->needs(one->options, &one->needs);
    for (int v = 0; v < TDM_VIEWS; v++) all->needs.view[v] |= one->needs.view[v];
    TDM_TRY(check_needs(type, &one->needs));
    TDM_TRY(add_terms(all, one));
    tdm_loss_setup setup = *common;
    setup.nn = &all->nn;
    setup.scope = &one->scope;
    setup.config = config;
    if (type->check) TDM_TRY(type->check(one->options, &setup));
    TDM_TRY(check_tie(type, one->options, &setup));
    one->scope = (tdm_scope){.first_row = all->nn.params->count, .level = TDM_KEEP_ALL};
    one->scope.lowest_row = one->scope.first_row;
    if (type->create) TDM_TRY(type->create(one->options, &setup, &one->state));
    one->scope.end_row = all->nn.params->count;
    return TDM_OK;
}

tdm_status tdm_losses_create(const tdm_config *config, const tdm_loss_setup *setup, tdm_losses **out)
{
    *out = NULL;
    tdm_losses *all;
    TDM_TRY(TDM_ALLOC(1, &all));
    all->nn = *setup->nn;
    all->nn.scratch = &all->scratch;
    all->first_row = all->nn.params->count;
    tdm_status status = TDM_ALLOC(LOSSES, &all->loss);
    for (size_t i = 0; i < LOSSES && status == TDM_OK; i++)
        if (tdm_loss_is_on(config, losses[i])) status = add_loss(all, config, setup, losses[i]);
    if (status != TDM_OK)
        tdm_losses_destroy(&all);
    else
        *out = all;
    return status;
}

void tdm_losses_destroy(tdm_losses **out)
{
    tdm_losses *all = *out;
    *out = NULL;
    if (!all) return;
    for (int64_t i = 0; i < all->count; i++)
        if (all->loss[i].type->destroy) all->loss[i].type->destroy(&all->loss[i].state);
    tdm_scratch_destroy(&all->scratch);
    tdm_free(all->loss);
    tdm_free(all);
}

tdm_status tdm_losses_load(tdm_losses *all, bool only_trained)
{
    for (int64_t i = 0; i < all->count; i++) {
        tdm_loss_instance *one = &all->loss[i];
        int64_t row = one->scope.first_row;
        while (row < one->scope.end_row && !tdm_is_trained(all->nn.params, row)) row++;
        one->scope.lowest_row = one->scope.first_row; /* the gradient goes on, to the features */
        one->scope.only_trained = only_trained;
        if (only_trained && row == one->scope.end_row) continue;
        if (one->type->load) TDM_TRY(one->type->load(one->state));
    }
    return TDM_OK;
}

/* ---- What objectives share ---- */

static int compare_pairs(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    if (x[0] != y[0]) return x[0] < y[0] ? -1 : 1;
    return (x[1] > y[1]) - (x[1] < y[1]);
}

int64_t key_index_bytes(int64_t n)
{
    return n * 2 * (int64_t)sizeof(int64_t) + 64;
}

tdm_status key_index_make(tdm_scratch *scratch, int64_t n, const int64_t *key, key_index *index)
{
    index->n = n;
    TDM_TRY(tdm_scratch_take(scratch, (size_t)n * sizeof(*index->pair), (void **)&index->pair));
    if (scratch->base == NULL) return TDM_OK; /* counting only */
    for (int64_t i = 0; i < n; i++) {
        index->pair[i][0] = key[i];
        index->pair[i][1] = i;
    }
    qsort(index->pair, (size_t)n, sizeof(*index->pair), compare_pairs);
    return TDM_OK;
}

/* First place whose key is at least `key`, or above it. */
static int64_t bound(const key_index *index, int64_t key, bool above)
{
    int64_t low = 0, high = index->n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (index->pair[middle][0] < key || (above && index->pair[middle][0] == key))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void key_index_find(const key_index *index, int64_t key, int64_t *begin, int64_t *end)
{
    *begin = bound(index, key, false);
    *end = bound(index, key, true);
}

tdm_status shared_parameter(tdm_params *params, const char *name, tdm_init init, double init_value, int ndim,
                            const int64_t *shape, int64_t *index)
{
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *row = &params->row[i];
        if (strcmp(row->name, name) != 0) continue;
        bool same = row->ndim == ndim;
        for (int k = 0; same && k < ndim; k++) same = row->shape[k] == shape[k];
        TDM_REQUIRE(same, TDM_E_CONFIG, "parameter %s: two objectives want it in different shapes", name);
        *index = i;
        return TDM_OK;
    }
    return tdm_declare(params, index, init, init_value, ndim, shape, "", name);
}

int64_t block_rows_of(int64_t b, int64_t B)
{
    enum { BLOCK_ELEMENTS = 1 << 22 };
    return tdm_max_i64(1, tdm_min_i64(b, BLOCK_ELEMENTS / tdm_max_i64(1, B)));
}

double class_row_loss(int64_t classes, int64_t target, float factor, float *x)
{
    float most = x[0];
    double sum = 0.0;
    for (int64_t c = 1; c < classes; c++) most = fmaxf(most, x[c]);
    const double own = (double)x[target] - most;
    for (int64_t c = 0; c < classes; c++) sum += x[c] = expf(x[c] - most);
    const float share = factor / (float)sum;
    for (int64_t c = 0; c < classes; c++) x[c] *= share;
    x[target] -= factor;
    return log(sum) - own;
}

int view_named(tdm_modality modality, const char *name)
{
    const int view = tdm_view_find(modality, name);
    return view >= 0 ? view : tdm_view_find(modality, "plain");
}

tdm_status check_view(const char *key, tdm_modality modality, const char *name)
{
    tdm_text known = {0};
    if (tdm_view_find(modality, name) >= 0) return TDM_OK;
    for (int v = 0; v < TDM_VIEWS; v++)
        if (tdm_view_of((tdm_view)v)->modality == modality)
            TDM_TRY(tdm_text_printf(&known, " %s", tdm_view_of((tdm_view)v)->text));
    const tdm_status status = TDM_ERROR(TDM_E_CONFIG, "%s = \"%.60s\" is no view of the %s; there are:%s",
                                        key, name, tdm_modality_name(modality), known.data);
    tdm_text_free(&known);
    return status;
}
