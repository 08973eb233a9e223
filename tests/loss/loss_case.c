#include "loss_case.h"

#include "../../src/train/trainer_impl.h"

#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- HDF5 ---- */

static bool exists(hid_t file, const char *path)
{
    char part[256];
    for (size_t i = 1; path[i]; i++) { /* every group on the way */
        if (path[i] != '/') continue;
        snprintf(part, sizeof part, "%.*s", (int)i, path);
        if (H5Lexists(file, part, H5P_DEFAULT) <= 0) return false;
    }
    return H5Lexists(file, path, H5P_DEFAULT) > 0;
}

/* A whole data set, or *out = NULL when it is not there. */
static tdm_status get(hid_t file, const char *path, hid_t type, size_t bytes, int *ndim, int64_t shape[4],
                      void **out)
{
    hsize_t dims[4] = {1, 1, 1, 1};
    *out = NULL;
    *ndim = 0;
    if (!exists(file, path)) return TDM_OK;
    hid_t set = H5Dopen2(file, path, H5P_DEFAULT), space = H5Dget_space(set);
    *ndim = H5Sget_simple_extent_ndims(space);
    tdm_status status =
        *ndim >= 0 && *ndim <= 4 ? TDM_OK : TDM_ERROR(TDM_E_FORMAT, "%s: too many dimensions", path);
    if (status == TDM_OK) H5Sget_simple_extent_dims(space, dims, NULL);
    size_t count = 1;
    for (int i = 0; i < 4; i++) {
        shape[i] = i < *ndim ? (int64_t)dims[i] : 1;
        count *= (size_t)shape[i];
    }
    if (status == TDM_OK) status = tdm_alloc(count * bytes, path, out);
    if (status == TDM_OK && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *out) < 0)
        status = TDM_ERROR(TDM_E_FORMAT, "%s: cannot be read", path);
    H5Sclose(space);
    H5Dclose(set);
    return status;
}

static tdm_status get_attribute(hid_t file, const char *name, int64_t *value)
{
    if (H5Aexists(file, name) <= 0) return TDM_OK;
    hid_t a = H5Aopen(file, name, H5P_DEFAULT);
    const bool ok = H5Aread(a, H5T_NATIVE_INT64, value) >= 0;
    H5Aclose(a);
    TDM_REQUIRE(ok, TDM_E_FORMAT, "attribute %s is no integer", name);
    return TDM_OK;
}

/* Of fixed or of variable length. */
static tdm_status get_config(hid_t file, const char *path, tdm_config *config)
{
    if (H5Aexists(file, "config") <= 0) return TDM_OK;
    hid_t a = H5Aopen(file, "config", H5P_DEFAULT), type = H5Aget_type(a);
    char *text = NULL;
    tdm_status status = TDM_OK;
    if (H5Tis_variable_str(type) > 0) {
        hid_t want = H5Tcopy(H5T_C_S1);
        H5Tset_size(want, H5T_VARIABLE);
        H5Tset_cset(want, H5Tget_cset(type));
        if (H5Aread(a, want, &text) < 0) status = TDM_ERROR(TDM_E_FORMAT, "%s: attribute config", path);
        H5Tclose(want);
    } else {
        text = calloc(H5Tget_size(type) + 1, 1);
        if (!text || H5Aread(a, type, text) < 0)
            status = TDM_ERROR(TDM_E_FORMAT, "%s: attribute config", path);
    }
    if (status == TDM_OK) status = tdm_config_load_text(config, path, text);
    free(text);
    H5Tclose(type);
    H5Aclose(a);
    return status;
}

static tdm_status check_rows(const loss_case *c, int v, const char *name, int64_t rows, int64_t width)
{
    const int m = (int)tdm_view_of((tdm_view)v)->modality;
    TDM_REQUIRE(rows == c->rows[m] && width == c->d, TDM_E_SHAPE, "%s is [%lld][%lld], expected [%lld][%lld]",
                name, (long long)rows, (long long)width, (long long)c->rows[m], (long long)c->d);
    return TDM_OK;
}

/* Leaves the rows that exist of an array of B rows. */
static void keep_members(const loss_case *c, int m, float *array)
{
    for (int64_t i = 0; c->member[m] && i < c->rows[m]; i++)
        memmove(array + i * c->d, array + c->member[m][i] * c->d, sizeof(float) * (size_t)c->d);
}

/* Rows of a view or a target: those that exist, or all B. */
static tdm_status get_rows(hid_t file, loss_case *c, int v, const char *path, float **out)
{
    const int m = (int)tdm_view_of((tdm_view)v)->modality;
    int ndim;
    int64_t shape[4];
    TDM_TRY(get(file, path, H5T_NATIVE_FLOAT, sizeof(float), &ndim, shape, (void **)out));
    if (!*out) return TDM_OK;
    if (shape[0] != c->B || c->rows[m] == c->B) return check_rows(c, v, path, shape[0], shape[1]);
    TDM_TRY(check_rows(c, v, path, c->rows[m], shape[1]));
    c->whole[m] = true;
    keep_members(c, m, *out);
    return TDM_OK;
}

static tdm_status get_view(hid_t file, loss_case *c, int v)
{
    const tdm_view_info *info = tdm_view_of((tdm_view)v);
    case_view *view = &c->view[v];
    char path[64];
    int ndim;
    int64_t shape[4];
    snprintf(path, sizeof path, "/view/%s", info->label);
    TDM_TRY(get_rows(file, c, v, path, &view->feature));
    snprintf(path, sizeof path, "/target/%s", info->label);
    TDM_TRY(get_rows(file, c, v, path, &view->target));
    snprintf(path, sizeof path, "/tokens/%s", info->label);
    TDM_TRY(get(file, path, H5T_NATIVE_FLOAT, sizeof(float), &ndim, shape, (void **)&view->tokens));
    if (!view->tokens) return TDM_OK;
    view->total = ndim == 3 ? shape[0] * shape[1] : shape[0];
    if (info->modality == TDM_IMAGE) {
        c->image_tokens = shape[1];
        return TDM_OK;
    }
    snprintf(path, sizeof path, "/seq/%s", info->label);
    TDM_TRY(get(file, path, H5T_NATIVE_INT64, sizeof(int64_t), &ndim, shape, (void **)&view->seq));
    TDM_REQUIRE(view->seq && shape[0] == c->rows[TDM_TEXT] + 1, TDM_E_SHAPE, "%s: [rows+1] is missing", path);
    snprintf(path, sizeof path, "/token/%s", info->label);
    TDM_TRY(get(file, path, H5T_NATIVE_INT32, sizeof(int32_t), &ndim, shape, (void **)&view->token));
    snprintf(path, sizeof path, "/predict/%s", info->label);
    return get(file, path, H5T_NATIVE_INT32, sizeof(int32_t), &ndim, shape, (void **)&view->predict);
}

/* Rows and width of the views that are given. */
static void find_shape(hid_t file, loss_case *c)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_info *info = tdm_view_of((tdm_view)v);
        char path[64];
        hsize_t dims[2] = {0, 0};
        snprintf(path, sizeof path, "/view/%s", info->label);
        if (!exists(file, path)) continue;
        hid_t set = H5Dopen2(file, path, H5P_DEFAULT), space = H5Dget_space(set);
        if (H5Sget_simple_extent_ndims(space) == 2) H5Sget_simple_extent_dims(space, dims, NULL);
        H5Sclose(space);
        H5Dclose(set);
        c->rows[info->modality] = (int64_t)dims[0];
        c->d = (int64_t)dims[1];
    }
}

static tdm_status get_params(hid_t file, loss_case *c)
{
    if (!exists(file, "/param")) return TDM_OK;
    hid_t group = H5Gopen2(file, "/param", H5P_DEFAULT);
    H5G_info_t info;
    H5Gget_info(group, &info);
    tdm_status status = TDM_ALLOC((int64_t)info.nlinks, &c->param);
    for (hsize_t i = 0; i < info.nlinks && status == TDM_OK; i++) {
        case_param *p = &c->param[c->params++];
        char path[160];
        H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, p->name, sizeof p->name, H5P_DEFAULT);
        snprintf(path, sizeof path, "/param/%s", p->name);
        status = get(file, path, H5T_NATIVE_FLOAT, sizeof(float), &p->ndim, p->shape, (void **)&p->value);
        p->size = p->shape[0] * p->shape[1] * p->shape[2] * p->shape[3];
    }
    H5Gclose(group);
    return status;
}

/* Numbers of the samples that exist, or one value of 0 or 1 for each sample. */
static tdm_status get_members(hid_t file, const char *path, loss_case *c, int m)
{
    int ndim;
    int64_t shape[4], *list;
    bool mask;
    TDM_TRY(get(file, path, H5T_NATIVE_INT64, sizeof(int64_t), &ndim, shape, (void **)&list));
    if (!list) return TDM_OK;
    mask = shape[0] == c->B;
    for (int64_t i = 0; i < shape[0]; i++) mask = mask && (list[i] == 0 || list[i] == 1);
    c->member[m] = list;
    c->rows[m] = mask ? 0 : shape[0];
    for (int64_t i = 0; mask && i < shape[0]; i++)
        if (list[i]) list[c->rows[m]++] = i;
    for (int64_t i = 0; i < c->rows[m]; i++)
        TDM_REQUIRE(list[i] >= 0 && list[i] < c->B && (i == 0 || list[i] > list[i - 1]), TDM_E_FORMAT,
                    "%s: entry %lld is no sample of %lld, or not ascending", path, (long long)i,
                    (long long)c->B);
    return TDM_OK;
}

static tdm_status get_all(hid_t file, loss_case *c)
{
    int ndim;
    int64_t shape[4];
    float *scale;
    TDM_TRY(get_attribute(file, "step", &c->step));
    TDM_TRY(get_attribute(file, "total_steps", &c->total_steps));
    find_shape(file, c);
    static const char *const rows[TDM_MODALITIES] = {"/rows/image", "/rows/text"};
    TDM_TRY(get(file, "/identity", H5T_NATIVE_INT64, sizeof(int64_t), &ndim, shape, (void **)&c->identity));
    c->B = c->identity ? shape[0] : tdm_max_i64(c->rows[TDM_IMAGE], c->rows[TDM_TEXT]);
    for (int m = 0; m < TDM_MODALITIES; m++) TDM_TRY(get_members(file, rows[m], c, m));
    TDM_TRY(get(file, "/class", H5T_NATIVE_UINT8, 1, &ndim, shape, (void **)&c->bits));
    c->classes = c->bits ? shape[1] : 0;
    if (!c->identity) {
        TDM_TRY(TDM_ALLOC(c->B, &c->identity));
        for (int64_t i = 0; i < c->B; i++) c->identity[i] = i;
    }
    TDM_TRY(get(file, "/logit_scale", H5T_NATIVE_FLOAT, sizeof(float), &ndim, shape, (void **)&scale));
    c->logit_scale = scale ? *scale : (float)c->config.model.logit_scale_init;
    tdm_free(scale);
    for (int v = 0; v < TDM_VIEWS; v++) TDM_TRY(get_view(file, c, v));
    return get_params(file, c);
}

tdm_status loss_case_read(const char *path, loss_case *c)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    TDM_REQUIRE(file >= 0, TDM_E_IO, "%s: cannot be opened as HDF5", path);
    tdm_status status = get_config(file, path, &c->config);
    if (status == TDM_OK) status = get_all(file, c);
    H5Fclose(file);
    TDM_TRY(status);
    TDM_REQUIRE(c->B > 0 && c->d > 0, TDM_E_FORMAT, "%s: holds no /view/image.NAME or /view/text.NAME", path);
    return TDM_OK;
}

static tdm_status put(hid_t file, const char *path, hid_t type, int ndim, const int64_t *shape,
                      const void *data)
{
    hsize_t dims[4];
    for (int i = 0; i < ndim; i++) dims[i] = (hsize_t)shape[i];
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t space = ndim > 0 ? H5Screate_simple(ndim, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(file, path, type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    const bool ok = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    if (set >= 0) H5Dclose(set);
    H5Sclose(space);
    H5Pclose(links);
    TDM_REQUIRE(ok, TDM_E_IO, "%s: cannot be written", path);
    return TDM_OK;
}

/* Rows that exist, or all B with zeros between them, as the views came. */
static tdm_status put_gradient(hid_t file, const loss_case *c, int m, const char *path, const float *gradient)
{
    float *whole;
    if (!c->whole[m]) return put(file, path, H5T_NATIVE_FLOAT, 2, (int64_t[]){c->rows[m], c->d}, gradient);
    TDM_TRY(TDM_ALLOC(c->B * c->d, &whole));
    for (int64_t i = 0; i < c->rows[m]; i++)
        memcpy(whole + c->member[m][i] * c->d, gradient + i * c->d, sizeof(float) * (size_t)c->d);
    const tdm_status status = put(file, path, H5T_NATIVE_FLOAT, 2, (int64_t[]){c->B, c->d}, whole);
    tdm_free(whole);
    return status;
}

static tdm_status put_all(hid_t file, const loss_case *c)
{
    char path[160];
    TDM_TRY(put(file, "/loss", H5T_NATIVE_DOUBLE, 0, NULL, &c->loss));
    TDM_TRY(put(file, "/grad/logit_scale", H5T_NATIVE_DOUBLE, 0, NULL, &c->dlogit_scale));
    for (int k = 0; k < c->terms; k++) {
        snprintf(path, sizeof path, "/term/%s", c->term_name[k]);
        TDM_TRY(put(file, path, H5T_NATIVE_DOUBLE, 0, NULL, &c->term[k]));
    }
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_info *info = tdm_view_of((tdm_view)v);
        const case_view *view = &c->view[v];
        snprintf(path, sizeof path, "/grad/view/%s", info->label);
        if (view->dfeature) TDM_TRY(put_gradient(file, c, (int)info->modality, path, view->dfeature));
        snprintf(path, sizeof path, "/grad/tokens/%s", info->label);
        if (view->dtokens)
            TDM_TRY(put(file, path, H5T_NATIVE_FLOAT, 2, (int64_t[]){view->total, c->d}, view->dtokens));
    }
    for (int64_t i = 0; i < c->params; i++) {
        const case_param *p = &c->param[i];
        snprintf(path, sizeof path, "/grad/param/%s", p->name);
        if (p->grad) TDM_TRY(put(file, path, H5T_NATIVE_FLOAT, p->ndim, p->shape, p->grad));
        snprintf(path, sizeof path, "/param/%s", p->name);
        if (p->grad) TDM_TRY(put(file, path, H5T_NATIVE_FLOAT, p->ndim, p->shape, p->value));
    }
    return TDM_OK;
}

tdm_status loss_case_write(const char *path, const loss_case *c)
{
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    TDM_REQUIRE(file >= 0, TDM_E_IO, "%s: cannot be created", path);
    const tdm_status status = put_all(file, c);
    TDM_REQUIRE(H5Fclose(file) >= 0 || status != TDM_OK, TDM_E_IO, "%s: cannot be written", path);
    return status;
}

void loss_case_free(loss_case *c)
{
    for (int v = 0; v < TDM_VIEWS; v++) {
        case_view *view = &c->view[v];
        void *const array[] = {view->feature, view->target,  view->tokens,   view->seq,
                               view->token,   view->predict, view->dfeature, view->dtokens};
        for (size_t i = 0; i < sizeof array / sizeof array[0]; i++) tdm_free(array[i]);
    }
    for (int m = 0; m < TDM_MODALITIES; m++) tdm_free(c->member[m]);
    for (int64_t i = 0; i < c->params; i++) {
        tdm_free(c->param[i].value);
        tdm_free(c->param[i].grad);
    }
    tdm_free(c->param);
    tdm_free(c->identity);
    tdm_free(c->bits);
    tdm_config_destroy(&c->config);
    memset(c, 0, sizeof *c);
}

case_param *loss_case_param(loss_case *c, const char *name)
{
    for (int64_t i = 0; i < c->params; i++)
        if (!strcmp(c->param[i].name, name)) return &c->param[i];
    return NULL;
}

/* ---- Running ---- */

/* What a run is made of. The towers are there for their shapes only: the features are the case's. */
typedef struct rig {
    tdm_comm *comm;
    loss_case *c;
    tdm_config config;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
    tdm_losses *losses;
    tdm_optim optim;
    tdm_trainer *trainer;
    int64_t *identities;
    tdm_batch batch;
    int64_t first, n;                                /* this rank's samples */
    int64_t row0[TDM_MODALITIES], b[TDM_MODALITIES]; /* and rows */
    int64_t *member[TDM_MODALITIES];
    int64_t *text_seq[TDM_VIEWS];
} rig;

static tdm_status set(tdm_config *config, const char *key, int64_t value)
{
    char text[128];
    snprintf(text, sizeof text, "%s=%lld", key, (long long)value);
    return tdm_config_set(config, text);
}

static tdm_status configure(rig *r)
{
    const loss_case *c = r->c;
    TDM_TRY(tdm_config_copy(&c->config, &r->config));
    const int64_t side = c->image_tokens > 1 ? 8 * (c->image_tokens - 1) : 8; /* a strip of patches */
    int64_t context = 2;
    for (int v = 0; v < TDM_VIEWS; v++)
        for (int64_t i = 0; c->view[v].seq && i < c->rows[TDM_TEXT]; i++)
            context = tdm_max_i64(context, c->view[v].seq[i + 1] - c->view[v].seq[i]);
    TDM_TRY(set(&r->config, "model.embed_dim", c->d));
    TDM_TRY(set(&r->config, "model.image.height_px", side));
    TDM_TRY(set(&r->config, "model.image.width_px", 8));
    TDM_TRY(set(&r->config, "model.image.patch_px", 8));
    TDM_TRY(set(&r->config, "model.image.width", 16));
    TDM_TRY(set(&r->config, "model.image.layers", 1));
    TDM_TRY(set(&r->config, "model.image.heads", 1));
    TDM_TRY(set(&r->config, "model.text.width", 16));
    TDM_TRY(set(&r->config, "model.text.layers", 1));
    TDM_TRY(set(&r->config, "model.text.heads", 1));
    TDM_TRY(set(&r->config, "model.text.context_length", context));
    TDM_TRY(set(&r->config, "train.batch", c->B));
    TDM_TRY(tdm_config_set(&r->config, "train.recompute=none"));
    return TDM_OK;
}

static int compare_i64(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The distinct identities; with a given classifier for labels, 0 … rows-1. */
static tdm_status list_identities(rig *r, int64_t *count)
{
    loss_case *c = r->c;
    const case_param *classifier = loss_case_param(c, "loss.identity.classifier.weight");
    bool labels = classifier != NULL;
    for (int64_t i = 0; i < c->B; i++)
        labels = labels && c->identity[i] >= 0 && c->identity[i] < classifier->shape[0];
    *count = labels ? classifier->shape[0] : c->B;
    TDM_TRY(TDM_ALLOC(*count, &r->identities));
    for (int64_t i = 0; i < *count; i++) r->identities[i] = labels ? i : c->identity[i];
    if (labels) return TDM_OK;
    qsort(r->identities, (size_t)c->B, sizeof(int64_t), compare_i64);
    *count = 0;
    for (int64_t i = 0; i < c->B; i++)
        if (i == 0 || r->identities[i] != r->identities[*count - 1])
            r->identities[(*count)++] = r->identities[i];
    return TDM_OK;
}

static tdm_status put_values(rig *r)
{
    loss_case *c = r->c;
    for (int64_t i = 0; i < c->params; i++) {
        const case_param *p = &c->param[i];
        const tdm_param *row = tdm_params_find(&r->params, p->name);
        TDM_REQUIRE(row, TDM_E_CONFIG, "/param/%s: no objective that is on has such a parameter", p->name);
        TDM_REQUIRE(row->size == p->size, TDM_E_SHAPE, "/param/%s holds %lld values, expected %lld", p->name,
                    (long long)p->size, (long long)row->size);
        memcpy(r->params.weight + row->offset, p->value, sizeof(float) * (size_t)row->size);
    }
    *tdm_model_logit_scale(r->model) = c->logit_scale;
    return TDM_OK;
}

static tdm_status build(rig *r)
{
    const int ranks = tdm_comm_size(r->comm);
    int64_t identities;
    TDM_TRY(configure(r));
    TDM_TRY(tdm_ops_create(TDM_F32, 1, &r->ops));
    TDM_TRY(tdm_model_create(&r->config, r->ops, true, tdm_trainer_rows(&r->config, ranks), &r->params,
                             &r->model));
    TDM_TRY(list_identities(r, &identities));
    const tdm_nn nn = {.ops = r->ops, .params = &r->params, .train = true};
    const tdm_loss_setup setup = {
        .nn = &nn,
        .d = r->c->d,
        .rows = (r->c->B + ranks - 1) / ranks,
        .identities = identities,
        .identity = r->identities,
        .classes = r->c->classes,
        .vocab_size = r->config.model.text.vocab_size,
        .tokens = {tdm_model_most_tokens(r->model, TDM_IMAGE), tdm_model_most_tokens(r->model, TDM_TEXT)}};
    TDM_TRY(tdm_losses_create(&r->config, &setup, &r->losses));
    TDM_TRY(tdm_params_allocate(&r->params, true));
    tdm_params_init(&r->params, (uint64_t)r->config.seed);
    TDM_TRY(put_values(r));
    TDM_TRY(tdm_trainer_optim(r->comm, &r->config, &r->params, &r->optim));
    r->optim.step = r->c->step;
    TDM_TRY(tdm_model_load(r->model));
    TDM_TRY(tdm_losses_load(r->losses, false));
    if (r->c->values_stay) TDM_TRY(put_values(r));
    return tdm_trainer_create(r->comm, r->ops, &r->config, &r->params, r->model, r->losses, &r->optim,
                              r->c->total_steps, &r->trainer);
}

/* This rank's part of the samples and of the rows. */
static tdm_status cut(rig *r)
{
    const loss_case *c = r->c;
    const int ranks = tdm_comm_size(r->comm), rank = tdm_comm_rank(r->comm);
    tdm_batch *batch = &r->batch;
    r->first = tdm_part_begin(c->B, ranks, rank);
    batch->n = r->n = tdm_part_begin(c->B, ranks, rank + 1) - r->first;
    TDM_TRY(TDM_ALLOC(r->n, &batch->sample));
    for (int64_t i = 0; i < r->n; i++) batch->sample[i] = r->first + i;
    batch->identity = c->identity + r->first;
    batch->class_words = (c->classes + 63) / 64;
    TDM_TRY(TDM_ALLOC(r->n * batch->class_words, &batch->class_bits));
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t k = 0; k < c->classes; k++)
            if (c->bits[(r->first + i) * c->classes + k])
                batch->class_bits[i * batch->class_words + k / 64] |= UINT64_C(1) << (k % 64);
    for (int m = 0; m < TDM_MODALITIES; m++) {
        TDM_TRY(TDM_ALLOC(c->B, &r->member[m]));
        for (int64_t i = 0; i < c->rows[m]; i++) {
            const int64_t sample = c->member[m] ? c->member[m][i] : i;
            if (sample < r->first) r->row0[m]++;
            if (sample >= r->first && sample < r->first + r->n) r->member[m][r->b[m]++] = sample - r->first;
        }
    }
    return TDM_OK;
}

/* First dense token of a row of a view. */
static int64_t token_at(const loss_case *c, int v, int64_t row)
{
    return tdm_view_of((tdm_view)v)->modality == TDM_IMAGE ? row * c->image_tokens : c->view[v].seq[row];
}

static tdm_status fill_views(rig *r)
{
    const loss_case *c = r->c;
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_info *info = tdm_view_of((tdm_view)v);
        const int m = (int)info->modality;
        const case_view *view = &c->view[v];
        view_features *f = &r->trainer->view[v];
        tdm_batch_view *to = &r->batch.view[v];
        if (!f->needs) continue;
        TDM_REQUIRE(view->feature, TDM_E_CONFIG, "/view/%s is missing: an objective needs it", info->label);
        to->n = r->b[m];
        to->member = c->member[m] ? r->member[m] : NULL;
        memcpy(f->raw, view->feature + r->row0[m] * c->d, sizeof(float) * (size_t)(r->b[m] * c->d));
        if (!(f->needs & TDM_NEED_TOKENS)) continue;
        TDM_REQUIRE(view->tokens, TDM_E_CONFIG, "/tokens/%s is missing: an objective needs it", info->label);
        const int64_t begin = token_at(c, v, r->row0[m]), end = token_at(c, v, r->row0[m] + r->b[m]);
        memcpy(f->tokens, view->tokens + begin * c->d, sizeof(float) * (size_t)((end - begin) * c->d));
        if (m == TDM_IMAGE) continue;
        TDM_TRY(TDM_ALLOC(r->b[m] + 1, &r->text_seq[v]));
        for (int64_t i = 0; i <= r->b[m]; i++) r->text_seq[v][i] = view->seq[r->row0[m] + i] - begin;
        to->text.seq = r->text_seq[v];
        to->text.token = view->token ? view->token + begin : NULL;
        to->target = view->predict ? view->predict + begin : NULL;
    }
    return TDM_OK;
}

/* Unit rows of the given targets in place of a pass of the tower. */
static tdm_status put_targets(rig *r)
{
    const loss_case *c = r->c;
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_features *f = &r->trainer->view[v];
        const int64_t rows = c->rows[tdm_view_of((tdm_view)v)->modality];
        float norm[1];
        if (!(f->needs & TDM_NEED_TARGET)) continue;
        if (!f->target) TDM_TRY(TDM_ALLOC(c->B * c->d, &f->target)); /* the trainer destroys it */
        const float *source = c->view[v].target ? c->view[v].target : c->view[v].feature;
        for (int64_t i = 0; i < rows; i++)
            tdm_l2norm_forward(r->ops, 1, c->d, source + i * c->d, f->target + i * c->d, norm);
    }
    return TDM_OK;
}

/* The trainer's own stages, without towers and without an update. */
static tdm_status run_stages(rig *r)
{
    tdm_trainer *tr = r->trainer;
    tr->batch = &r->batch;
    TDM_TRY(local_rows(tr));
    exchange_rows(tr);
    exchange_features(tr);
    TDM_TRY(put_targets(r));
    memset(r->params.grad, 0, sizeof(float) * (size_t)r->params.total);
    for (int v = 0; v < TDM_VIEWS; v++)
        if (tr->view[v].draw) memset(tr->view[v].draw, 0, sizeof(float) * (size_t)(tr->b * tr->d));
    TDM_TRY(exchange_normalizers(tr));
    TDM_TRY(run_global_losses(tr));
    for (int64_t i = 0; i < piece_count(tr); i++) {
        const piece p = piece_at(tr, i);
        TDM_TRY(run_local_losses(tr, &p, false));
    }
    scatter_gradients(tr);
    return TDM_OK;
}

/* Objectives that read dense tokens: piece by piece, their gradients copied out behind each piece. */
static tdm_status run_tokens(rig *r)
{
    loss_case *c = r->c;
    tdm_trainer *tr = r->trainer;
    for (int64_t i = 0; i < piece_count(tr); i++) {
        const piece p = piece_at(tr, i);
        for (int v = 0; v < TDM_VIEWS; v++) {
            const int m = (int)tdm_view_of((tdm_view)v)->modality;
            const tdm_span rows = piece_rows(tr, &p, v);
            if (!(tr->view[v].needs & TDM_NEED_TOKENS)) continue;
            const int64_t begin = token_at(c, v, r->row0[m] + rows.begin),
                          end = token_at(c, v, r->row0[m] + rows.end);
            memset(tr->view[v].dtokens, 0, sizeof(float) * (size_t)((end - begin) * c->d));
        }
        TDM_TRY(run_local_losses(tr, &p, true));
        for (int v = 0; v < TDM_VIEWS; v++) {
            const int m = (int)tdm_view_of((tdm_view)v)->modality;
            const tdm_span rows = piece_rows(tr, &p, v);
            if (!(tr->view[v].needs & TDM_NEED_TOKENS)) continue;
            const int64_t begin = token_at(c, v, r->row0[m] + rows.begin),
                          end = token_at(c, v, r->row0[m] + rows.end);
            memcpy(c->view[v].dtokens + begin * c->d, tr->view[v].dtokens,
                   sizeof(float) * (size_t)((end - begin) * c->d));
        }
    }
    return TDM_OK;
}

static tdm_status make_results(rig *r)
{
    loss_case *c = r->c;
    for (int v = 0; v < TDM_VIEWS; v++) {
        case_view *view = &c->view[v];
        tdm_free(view->dfeature);
        tdm_free(view->dtokens);
        view->dfeature = view->dtokens = NULL;
        if (!r->trainer->view[v].needs) continue;
        TDM_TRY(TDM_ALLOC(c->rows[tdm_view_of((tdm_view)v)->modality] * c->d, &view->dfeature));
        if (r->trainer->view[v].needs & TDM_NEED_TOKENS)
            TDM_TRY(TDM_ALLOC(view->total * c->d, &view->dtokens));
    }
    return TDM_OK;
}

/* The parameters of objectives, with values and summed gradients, in place of the given ones. */
static tdm_status collect_params(rig *r)
{
    loss_case *c = r->c;
    for (int64_t i = 0; i < c->params; i++) {
        tdm_free(c->param[i].value);
        tdm_free(c->param[i].grad);
    }
    tdm_free(c->param);
    c->params = 0;
    TDM_TRY(TDM_ALLOC(r->params.count, &c->param));
    for (int64_t i = 0; i < r->params.count; i++) {
        const tdm_param *row = &r->params.row[i];
        if (!tdm_param_of_objective(row->name)) continue;
        case_param *p = &c->param[c->params++];
        snprintf(p->name, sizeof p->name, "%s", row->name);
        p->size = row->size;
        p->trained = tdm_param_trained(row);
        p->ndim = row->ndim;
        memcpy(p->shape, row->shape, sizeof p->shape);
        TDM_TRY(TDM_ALLOC(p->size, &p->value));
        TDM_TRY(TDM_ALLOC(p->size, &p->grad));
        memcpy(p->value, r->params.weight + row->offset, sizeof(float) * (size_t)p->size);
        memcpy(p->grad, r->params.grad + row->offset, sizeof(float) * (size_t)p->size);
        tdm_comm_sum_f32(r->comm, p->grad, p->size);
    }
    return TDM_OK;
}

static tdm_status collect(rig *r)
{
    loss_case *c = r->c;
    tdm_trainer *tr = r->trainer;
    for (int v = 0; v < TDM_VIEWS; v++) {
        const int m = (int)tdm_view_of((tdm_view)v)->modality;
        case_view *view = &c->view[v];
        if (!tr->view[v].needs) continue;
        memcpy(view->dfeature + r->row0[m] * c->d, tr->view[v].draw,
               sizeof(float) * (size_t)(r->b[m] * c->d));
        tdm_comm_sum_f32(r->comm, view->dfeature, c->rows[m] * c->d);
        if (view->dtokens) tdm_comm_sum_f32(r->comm, view->dtokens, view->total * c->d);
    }
    c->terms = r->losses->terms;
    c->loss = 0.0;
    c->dlogit_scale = tr->dlogit_scale;
    tdm_comm_sum_f64(r->comm, tr->term, c->terms);
    tdm_comm_sum_f64(r->comm, &c->dlogit_scale, 1);
    for (int k = 0; k < c->terms; k++) {
        snprintf(c->term_name[k], sizeof c->term_name[k], "%s", r->losses->term_name[k]);
        c->term[k] = tr->term[k];
    }
    for (int64_t i = 0; i < r->losses->count; i++) {
        const tdm_loss_instance *one = &r->losses->loss[i];
        c->loss += tdm_loss_weight(&r->config, one->type, c->step) * tr->term[one->first_term];
    }
    return collect_params(r);
}

static tdm_status run(rig *r)
{
    TDM_AGREE(r->comm, build(r));
    TDM_AGREE(r->comm, cut(r));
    TDM_AGREE(r->comm, fill_views(r));
    TDM_AGREE(r->comm, make_results(r));
    TDM_AGREE(r->comm, run_stages(r));
    TDM_AGREE(r->comm, run_tokens(r));
    return tdm_comm_agree(r->comm, collect(r));
}

tdm_status loss_case_run(tdm_comm *comm, loss_case *c)
{
    rig r = {.comm = comm, .c = c};
    const tdm_status status = run(&r);
    const tdm_error kept = *tdm_error_last();
    tdm_trainer_destroy(&r.trainer);
    tdm_losses_destroy(&r.losses);
    tdm_optim_destroy(&r.optim);
    tdm_model_destroy(&r.model);
    tdm_params_destroy(&r.params);
    tdm_ops_destroy(&r.ops);
    tdm_config_destroy(&r.config);
    tdm_free(r.identities);
    tdm_free(r.batch.sample);
    tdm_free(r.batch.class_bits);
    for (int m = 0; m < TDM_MODALITIES; m++) tdm_free(r.member[m]);
    for (int v = 0; v < TDM_VIEWS; v++) tdm_free(r.text_seq[v]);
    return status == TDM_OK ? TDM_OK : tdm_error_adopt(&kept);
}
