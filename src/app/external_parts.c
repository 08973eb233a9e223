/* Embeddings of any origin: labels as groups of queries, and as folds. */
#include "external.h"

/* A query's group is the first query of its label, or it is in the group of each of its labels. */
tdm_status external_make_groups(external *x)
{
    const ranked *query = &x->side[QUERY];
    tdm_query_groups of = {.bits = query->bits, .words = query->words};
    int64_t *id = NULL;
    if (!x->options->macro && !x->options->per_class) return TDM_OK;
    tdm_status status = TDM_OK;
    if (!external_has_several(x))
        status = row_names_match(external_labels(query), query->matrix.first, query->matrix.n,
                                 external_labels(query), &id);
    of.id = id;
    status = tdm_comm_agree(x->comm, status);
    if (status == TDM_OK)
        status = tdm_eval_group_metrics(x->comm, &x->rows, query->matrix.n, x->value, &of,
                                        x->options->per_class, &x->groups);
    tdm_free(id);
    return status;
}

/* Of a row: part `index` of `count` things lies in, when they are cut into `parts` contiguous ones. */
static int64_t part_of(int64_t count, int64_t parts, int64_t index)
{
    const int64_t least = count / parts, larger = count % parts; /* so many have one more */
    const int64_t of_larger = larger * (least + 1);
    return index < of_larger ? index / (least + 1) : larger + (index - of_larger) / least;
}

/* fold[gallery rows]: the distinct labels of the gallery, in the order in which they come first, are cut. */
static tdm_status cut_labels(const external *x, int64_t *fold)
{
    const row_names *labels = external_labels(&x->side[GALLERY]);
    const int64_t folds = x->options->folds;
    int64_t count = 0;
    for (int64_t i = 0; i < labels->count; i++) {
        const int64_t first = row_names_find(labels, row_names_at(labels, i));
        fold[i] = first == i ? count++ : fold[first];
    }
    TDM_REQUIRE(folds <= count, TDM_E_USAGE, "tandem eval: --folds %lld of %lld labels", (long long)folds,
                (long long)count);
    for (int64_t i = 0; i < labels->count; i++) fold[i] = part_of(count, folds, fold[i]);
    return TDM_OK;
}

/* x->fold_of of this rank's rows; a query whose label is not in the gallery is in none. */
tdm_status external_find_folds(external *x)
{
    int64_t *fold = NULL;
    TDM_REQUIRE(!external_has_several(x), TDM_E_USAGE,
                "tandem eval: --folds: which fold a row is in goes by its label, and rows have several");
    TDM_TRY(TDM_ALLOC(x->options->folds, &x->fold));
    TDM_TRY(TDM_ALLOC(x->side[GALLERY].matrix.rows, &fold));
    tdm_status status = cut_labels(x, fold);
    for (int s = 0; status == TDM_OK && s < SIDES; s++) {
        const ranked *side = &x->side[s];
        status = TDM_ALLOC(side->matrix.n, &x->fold_of[s]);
        for (int64_t i = 0; status == TDM_OK && i < side->matrix.n; i++) {
            x->fold_of[s][i] = side->key[i] < 0 ? -1 : fold[side->key[i]];
            x->queries_in_no_fold += x->fold_of[s][i] < 0;
        }
    }
    for (int64_t i = 0; status == TDM_OK && x->options->exclude_self && i < x->side[QUERY].matrix.n; i++)
        if (x->fold_of[QUERY][i] != x->fold_of[GALLERY][i])
            status = TDM_ERROR(TDM_E_USAGE,
                               "tandem eval: --folds with --exclude-self: row %lld has one label as a "
                               "query and another in the gallery",
                               (long long)(x->side[QUERY].matrix.first + i));
    tdm_free(fold);
    return status;
}

/* Collective. */
static tdm_status evaluate_fold(external *x, int64_t k)
{
    tdm_side_fold part[SIDES] = {{.feature = NULL}};
    tdm_eval_detail detail = {.rows = &x->rows};
    tdm_status status = TDM_OK;
    for (int s = 0; s < SIDES && status == TDM_OK; s++)
        status = tdm_side_fold_take(&x->side[s].side, x->fold_of[s], k, &part[s]);
    status = tdm_comm_agree(x->comm, status);
    if (status == TDM_OK)
        status = tdm_eval_metrics_in_detail(x->comm, x->ops, &part[QUERY].side, &part[GALLERY].side,
                                            x->options->exclude_self, tdm_eval_block_rows(x->ops),
                                            &x->fold[k], &detail);
    for (int s = 0; s < SIDES; s++) tdm_side_fold_free(&part[s]);
    return status;
}

static tdm_status show_folds(const external *x)
{
    tdm_metrics mean;
    char name[48];
    tdm_metrics_mean(x->options->folds, x->fold, &mean);
    snprintf(name, sizeof name, "mean of %lld folds: ", (long long)x->options->folds);
    return result_log(name, &mean, " in all");
}

tdm_status external_make_folds(external *x)
{
    if (x->options->folds == 0) return TDM_OK;
    tdm_comm_sum_i64(x->comm, &x->queries_in_no_fold, 1);
    for (int64_t k = 0; k < x->options->folds; k++) TDM_TRY(evaluate_fold(x, k));
    return tdm_comm_agree(x->comm, show_folds(x));
}

/* The name of a group of queries; see external_make_groups. */
static const char *group_name(const external *x, int64_t id)
{
    return external_has_several(x) ? row_names_at(&x->label, id)
                                   : row_names_at(external_labels(&x->side[QUERY]), id);
}

json_t *external_by_label(const external *x)
{
    json_t *list = json_array();
    for (int64_t k = 0; k < x->groups.groups; k++)
        json_array_append_new(list, result_group(group_name(x, x->groups.id[k]), &x->rows, &x->groups, k));
    return list;
}
