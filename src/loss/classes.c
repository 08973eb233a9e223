/* Rows of features against a vector for each class (a classifier, prototypes, proxies): what objectives of classes
 * share. A rank computes its own rows, in blocks; the features are the unit ones. */
#include "loss_impl.h"

#include <math.h>
#include <string.h>

void class_needs(const void *options, tdm_loss_needs *needs)
{
    const class_options *o = options;
    needs->view[view_named(TDM_IMAGE, o->image_view)] = TDM_NEED_ALL;
    needs->view[view_named(TDM_TEXT, o->text_view)] = TDM_NEED_ALL;
}

tdm_status class_check(const char *name, const class_options *o, const tdm_loss_setup *setup)
{
    char key[80];
    snprintf(key, sizeof(key), "loss.%s.image_view", name);
    TDM_TRY(check_view(key, TDM_IMAGE, o->image_view));
    snprintf(key, sizeof(key), "loss.%s.text_view", name);
    TDM_TRY(check_view(key, TDM_TEXT, o->text_view));
    TDM_REQUIRE(setup->classes >= 2, TDM_E_CONFIG,
                "loss.%s: the training data have %lld classes, it needs two or more", name,
                (long long)setup->classes);
    return TDM_OK;
}

/* ---- The vectors ---- */

static tdm_status matrix_create(const class_options *o, const tdm_loss_setup *setup, class_matrix **out)
{
    class_matrix *m;
    TDM_TRY(TDM_ALLOC(1, &m));
    *m = (class_matrix){
        .params = setup->nn->params, .classes = setup->classes, .d = setup->d, .bias = -1, .norm = o->norm};
    *out = m;
    return TDM_OK;
}

/* Both objectives treat it alike. */
static tdm_status check_shared(const tdm_loss_setup *setup)
{
    static const char *const name[2] = {"linear_regression", "cross_entropy"};
    int norm[2];
    for (int i = 0; i < 2; i++) {
        char prefix[80];
        snprintf(prefix, sizeof(prefix), "loss.%s", name[i]);
        const class_options *o = tdm_config_group(setup->config, prefix);
        if (!o || !tdm_loss_is_on(setup->config, tdm_loss_find(name[i]))) return TDM_OK;
        norm[i] = o->norm;
    }
    TDM_REQUIRE(norm[0] == norm[1], TDM_E_CONFIG,
                "loss.%s.norm and loss.%s.norm differ, but the two share the classifier", name[0], name[1]);
    return TDM_OK;
}

tdm_status classifier_create(const class_options *o, const tdm_loss_setup *setup, void **state)
{
    class_matrix *m;
    tdm_params *p = setup->nn->params;
    const int64_t shape[] = {setup->classes, setup->d};
    TDM_TRY(check_shared(setup));
    TDM_TRY(matrix_create(o, setup, &m));
    *state = m;
    TDM_TRY(shared_parameter(p, "loss.classifier.weight", TDM_INIT_NORMAL, sqrt(2.0 / (double)m->classes), 2,
                             shape, &m->weight)); /* kaiming normal, fan_out */
    return shared_parameter(p, "loss.classifier.bias", TDM_INIT_UNIFORM, 1.0 / sqrt((double)m->d), 1, shape,
                            &m->bias);
}

tdm_status centers_create(const char *prefix, const class_options *o, bool trained,
                          const tdm_loss_setup *setup, void **state)
{
    class_matrix *m;
    char name[120];
    const int64_t shape[] = {setup->classes, setup->d};
    const double std = sqrt(2.0 / (double)setup->d);
    TDM_TRY(matrix_create(o, setup, &m));
    *state = m;
    if (trained) return tdm_declare(m->params, &m->weight, TDM_INIT_NORMAL, std, 2, shape, prefix, "centers");
    snprintf(name, sizeof(name), "%s.centers", prefix);
    return tdm_params_add_buffer(m->params, name, 2, shape, TDM_INIT_NORMAL, std, &m->weight);
}

void class_matrix_destroy(void **state)
{
    tdm_free(*state);
    *state = NULL;
}

/* unit = w / (|w| + 1e-8), as released; a vector whose length is 1 up to rounding stays. */
static void normalise(int64_t n, int64_t d, const float *w, float *unit)
{
    for (int64_t c = 0; c < n; c++, w += d, unit += d) {
        double squares = 0.0;
        for (int64_t k = 0; k < d; k++) squares += (double)w[k] * w[k];
        const double factor = fabs(squares - 1.0) <= 1e-6 ? 1.0 : 1.0 / (sqrt(squares) + 1e-8);
        for (int64_t k = 0; k < d; k++) unit[k] = (float)(factor * w[k]);
    }
}

tdm_status class_matrix_load(void *state)
{
    const class_matrix *m = state;
    float *w = tdm_weight_of(m->params, m->weight);
    if (m->norm == NORM_PROJECT) normalise(m->classes, m->d, w, w);
    return TDM_OK;
}

/* ---- The rows ---- */

static tdm_status take(const tdm_loss_call *call, tdm_scratch *scratch, class_rows *r, float **unit)
{
    const class_matrix *m = call->state;
    r->block = block_rows_of(tdm_max_i64(call->rows[TDM_IMAGE].b, call->rows[TDM_TEXT].b), m->classes);
    TDM_TAKE(scratch, r->block * m->classes, &r->product);
    TDM_TAKE(scratch, m->classes, &r->dsum);
    for (size_t i = 0; i < sizeof(r->room) / sizeof(r->room[0]); i++)
        TDM_TAKE(scratch, m->classes, &r->room[i]);
    if (m->norm == NORM_THROUGH) TDM_TAKE(scratch, m->classes * m->d, unit);
    return TDM_OK;
}

int64_t class_rows_scratch_bytes(const tdm_loss_call *call)
{
    class_rows r;
    float *unit;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    return take(call, &count, &r, &unit) == TDM_OK ? (int64_t)count.used_bytes : 0;
}

tdm_status class_rows_make(const tdm_loss_call *call, class_rows *r)
{
    const class_matrix *m = call->state;
    float *unit = NULL;
    *r = (class_rows){.call = call, .matrix = m, .classes = m->classes};
    TDM_TRY(take(call, call->nn->scratch, r, &unit));
    memset(r->dsum, 0, sizeof(double) * (size_t)m->classes);
    r->weight = tdm_weight_of(m->params, m->weight);
    if (!unit) return TDM_OK;
    normalise(m->classes, m->d, r->weight, unit);
    r->weight = unit;
    return TDM_OK;
}

/* Classes of a row. */
static int64_t count_own(const tdm_loss_rows *rows, int64_t row)
{
    int64_t own = 0;
    for (int64_t w = 0; w < rows->class_words; w++)
        own += __builtin_popcountll(rows->classes[row * rows->class_words + w]);
    return own;
}

int64_t class_rows_labelled(const tdm_loss_rows *rows)
{
    int64_t count = 0;
    for (int64_t i = 0; i < rows->B; i++) count += count_own(rows, i) > 0;
    return count;
}

/* Gradients of rows [first, first + n) and of the vectors, from those of their products. */
static tdm_status backward(const class_rows *r, const tdm_loss_view *view, int64_t first, int64_t n,
                           double dscale)
{
    tdm_ops *ops = r->call->nn->ops;
    const class_matrix *m = r->matrix;
    const int64_t d = m->d, C = m->classes;
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < C; c++) r->dsum[c] += dscale * r->product[i * C + c];
    TDM_TRY(tdm_gemm(ops, false, false, n, d, C, (float)dscale, r->product, C, r->weight, d, 1.0f,
                     view->dall + first * d, d));
    if (!tdm_is_trained(m->params, m->weight)) return TDM_OK;
    return tdm_gemm(ops, true, false, C, d, n, (float)dscale, r->product, C, view->all + first * d, d, 1.0f,
                    tdm_grad_of(m->params, m->weight), d);
}

static tdm_status visit(const class_rows *r, tdm_modality modality, class_row *row, void *context,
                        const double *dscale, double *value)
{
    const class_options *o = r->call->options;
    const tdm_loss_rows *rows = &r->call->rows[modality];
    const char *name = modality == TDM_IMAGE ? o->image_view : o->text_view;
    const tdm_loss_view *view = &r->call->view[view_named(modality, name)];
    const int64_t d = r->call->d, C = r->classes, end = rows->row0 + rows->b;
    for (int64_t first = rows->row0; first < end; first += r->block) {
        const int64_t n = tdm_min_i64(r->block, end - first);
        TDM_TRY(tdm_gemm(r->call->nn->ops, false, true, n, C, d, 1.0f, view->all + first * d, d, r->weight, d,
                         0.0f, r->product, C));
        for (int64_t i = 0; i < n; i++) {
            const int64_t own = count_own(rows, first + i);
            float *x = r->product + i * C;
            if (own)
                *value += row(context, r, rows->classes + (first + i) * rows->class_words, own, x);
            else
                memset(x, 0, sizeof(*x) * (size_t)C);
        }
        if (dscale) TDM_TRY(backward(r, view, first, n, *dscale));
    }
    return TDM_OK;
}

tdm_status class_rows_walk(const class_rows *r, tdm_modality m, class_row *row, void *context, double dscale,
                           double *value)
{
    return visit(r, m, row, context, &dscale, value);
}

tdm_status class_rows_look(const class_rows *r, tdm_modality m, class_row *row, void *context, double *value)
{
    return visit(r, m, row, context, NULL, value);
}

tdm_status class_rows_means(const class_rows *r, class_row *row, void *context,
                            const double divide[TDM_MODALITIES])
{
    for (int m = 0; m < TDM_MODALITIES; m++) {
        const double count = divide[m] * (double)class_rows_labelled(&r->call->rows[m]);
        double value = 0.0;
        if (count == 0.0) continue;
        TDM_TRY(class_rows_walk(r, (tdm_modality)m, row, context, r->call->weight / count, &value));
        r->call->term[0] += value / count;
        r->call->term[1 + m] += value / count;
    }
    return TDM_OK;
}

void class_rows_bias(const class_rows *r)
{
    float *dbias = tdm_grad_of(r->matrix->params, r->matrix->bias);
    for (int64_t c = 0; c < r->classes; c++) dbias[c] += (float)r->dsum[c];
}

void class_rows_squares(const class_rows *r, double *squares)
{
    const int64_t d = r->matrix->d;
    for (int64_t c = 0; c < r->classes; c++) {
        squares[c] = 0.0;
        for (int64_t k = 0; k < d; k++) squares[c] += (double)r->weight[c * d + k] * r->weight[c * d + k];
    }
}

double shared_row_loss(int64_t classes, const uint64_t *bits, int64_t own, float factor, float *x)
{
    float most = x[0];
    double sum = 0.0, mean = 0.0;
    for (int64_t c = 1; c < classes; c++) most = fmaxf(most, x[c]);
    for (int64_t c = 0; c < classes; c++) {
        if (class_has(bits, c)) mean += (x[c] - most) / (double)own;
        sum += x[c] = expf(x[c] - most);
    }
    const float share = factor / (float)sum, target = factor / (float)own;
    for (int64_t c = 0; c < classes; c++) x[c] = share * x[c] - (class_has(bits, c) ? target : 0.0f);
    return log(sum) - mean;
}
