/* Embeddings of any origin: rows of the gallery that a query does not see. */
#include "external.h"

#include <string.h>

static const char *const cameras_option[SIDES] = {"--query-cameras", "--gallery-cameras"};

/* Takes the gallery's rows of --junk-label away. */
static tdm_status leave_out(external *x)
{
    const char *name = x->options->junk_label;
    ranked *gallery = &x->side[GALLERY];
    const int64_t rows = gallery->matrix.rows;
    bool *keep = NULL;
    if (name[0] == '\0') return TDM_OK;
    const int64_t label = external_has_several(x) ? row_sets_find(&x->sets[GALLERY], name) : -1;
    TDM_TRY(TDM_ALLOC(rows, &keep));
    for (int64_t i = 0; i < rows; i++) {
        keep[i] = external_has_several(x) ? label < 0 || !row_sets_has(&x->sets[GALLERY], i, label)
                                          : strcmp(row_names_at(external_labels(gallery), i), name) != 0;
        x->left_out += !keep[i];
    }
    if (x->left_out > 0 && x->left_out < rows) {
        row_matrix_keep(&gallery->matrix, keep);
        row_names_keep(&gallery->ids, keep);
        if (gallery->labels.count > 0) row_names_keep(&gallery->labels, keep);
        if (external_has_several(x)) row_sets_keep(&x->sets[GALLERY], keep);
        if (x->camera[GALLERY].count > 0) row_names_keep(&x->camera[GALLERY], keep);
    }
    tdm_free(keep);
    TDM_REQUIRE(x->left_out < rows, TDM_E_DATA, "--junk-label %s: all %lld rows of the gallery have it", name,
                (long long)rows);
    return TDM_OK;
}

static tdm_status find_junk(external *x)
{
    const embeddings_options *o = x->options;
    const row_matrix *query = &x->side[QUERY].matrix, *gallery = &x->side[GALLERY].matrix;
    const row_names *const label[SIDES] = {external_labels(&x->side[QUERY]),
                                           external_labels(&x->side[GALLERY])};
    TDM_REQUIRE(
        !o->exclude_self || (query->rows == gallery->rows && x->left_out == 0), TDM_E_USAGE,
        "tandem eval: --exclude-self goes by the numbers of the rows: the gallery has to be the list of "
        "queries (%lld and %lld rows, %lld of them left out as junk)",
        (long long)gallery->rows, (long long)query->rows, (long long)x->left_out);
    if (x->camera[QUERY].count > 0) {
        TDM_REQUIRE(
            !external_has_several(x), TDM_E_USAGE,
            "tandem eval: --query-cameras: which rows are of one identity goes by their label, and rows "
            "have several");
        TDM_TRY(junk_find(label, x->camera, query->first, query->n, &x->junk));
    }
    x->junk.self = o->exclude_self;
    x->junk.most += o->exclude_self;
    return TDM_OK;
}

tdm_status external_read_junk(external *x)
{
    for (int s = 0; s < SIDES; s++)
        if (x->options->cameras[s][0] != '\0')
            TDM_TRY(external_read_names(x, cameras_option[s], x->options->cameras[s], s, &x->camera[s]));
    TDM_AGREE(x->comm, leave_out(x));
    TDM_AGREE(x->comm, find_junk(x));
    double most = (double)x->junk.most; /* all ranks look for as many */
    tdm_comm_max_f64(x->comm, &most, 1);
    x->junk.most = (int64_t)most;
    tdm_comm_sum_i64(x->comm, &x->junk.pairs, 1);
    return TDM_OK;
}

json_t *external_junk_json(const external *x)
{
    const embeddings_options *o = x->options;
    json_t *object = json_object();
    if (o->junk_label[0] != '\0') {
        json_object_set_new(object, "label", tdm_json_text(o->junk_label));
        json_object_set_new(object, "gallery_rows_left_out", json_integer(x->left_out));
    }
    if (x->junk.same_camera) json_object_set_new(object, "pairs_of_one_camera", json_integer(x->junk.pairs));
    if (o->exclude_self) json_object_set_new(object, "self", json_true());
    if (json_object_size(object) > 0) return object;
    json_decref(object);
    return NULL;
}
