/* Walks the table of objectives; a new row needs nothing here. Each objective, and each with every other choice of
 * its options, on a batch of pairs and on one in which some samples have an image only or a text only:
 *
 *   - gradients of every input and own parameter against finite differences (f32),
 *   - the same values and gradients on 1, 2 and 4 ranks and in chunks,
 *   - a golden file tests/golden/loss/NAME.h5, made by tests/golden/make_loss_golden.py with PyTorch in f64. */
#include "check.h"
#include "loss_case.h"

#include <dirent.h>
#include <hdf5.h>
#include <stdlib.h>
#include <math.h>
#include <string.h>

enum { SAMPLES = 11, WIDTH = 16, CLASSES = 5, VOCAB = 24, IMAGE_TOKENS = 3, TEXT_TOKENS = 6 };

static tdm_comm *comm, *alone;

/* ---- Cases ---- */

static float *normals(int64_t n, uint64_t stream)
{
    float *x;
    tdm_rng rng = tdm_rng_at(41, 0, stream, TDM_RNG_TEST);
    CHECK_OK(TDM_ALLOC(n, &x));
    for (int64_t i = 0; i < n; i++) x[i] = (float)tdm_rng_normal(&rng);
    return x;
}

/* Of each modality other samples are missing. */
static void choose_rows(loss_case *c, bool partial)
{
    for (int m = 0; m < TDM_MODALITIES; m++) {
        c->rows[m] = c->B;
        if (!partial) continue;
        CHECK_OK(TDM_ALLOC(c->B, &c->member[m]));
        c->rows[m] = 0;
        for (int64_t i = 0; i < c->B; i++)
            if (m == TDM_IMAGE ? i != 3 && i != 10 : i != 0 && i != 5 && i != 6)
                c->member[m][c->rows[m]++] = i;
    }
}

static void fill_text(case_view *view, int64_t rows)
{
    tdm_rng rng = tdm_rng_at(43, 0, 0, TDM_RNG_TEST);
    CHECK_OK(TDM_ALLOC(rows + 1, &view->seq));
    for (int64_t i = 0; i < rows; i++)
        view->seq[i + 1] = view->seq[i] + 2 + tdm_rng_below(&rng, TEXT_TOKENS - 1);
    view->total = view->seq[rows];
    CHECK_OK(TDM_ALLOC(view->total, &view->token));
    CHECK_OK(TDM_ALLOC(view->total, &view->predict));
    for (int64_t k = 0; k < view->total; k++) {
        view->token[k] = (int32_t)tdm_rng_below(&rng, VOCAB);
        view->predict[k] = tdm_rng_uniform(&rng) < 0.4 ? (int32_t)tdm_rng_below(&rng, VOCAB) : -1;
    }
}

static void fill_view(loss_case *c, int v, uint8_t needs)
{
    case_view *view = &c->view[v];
    const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
    view->feature = normals(c->rows[m] * c->d, (uint64_t)v);
    if (needs & TDM_NEED_TARGET) view->target = normals(c->rows[m] * c->d, 100 + (uint64_t)v);
    if (!(needs & TDM_NEED_TOKENS)) return;
    c->image_tokens = IMAGE_TOKENS;
    if (m == TDM_TEXT)
        fill_text(view, c->rows[m]);
    else
        view->total = c->rows[m] * IMAGE_TOKENS;
    view->tokens = normals(view->total * c->d, 200 + (uint64_t)v);
}

/* assignment: of one option, or NULL. */
static void make_case_of(int64_t B, loss_case *c, const tdm_loss *loss, const char *assignment, bool partial)
{
    char text[128];
    tdm_loss_needs needs;
    *c = (loss_case){
        .B = B, .d = WIDTH, .step = 3, .total_steps = 10, .classes = CLASSES, .logit_scale = 1.2f};
    CHECK_OK(tdm_config_init(&c->config));
    snprintf(text, sizeof text, "loss.%s.weight=1.3", loss->name);
    CHECK_OK(tdm_config_set(&c->config, text));
    snprintf(text, sizeof text, "model.text.vocab_size=%d", VOCAB);
    CHECK_OK(tdm_config_set(&c->config, text));
    if (assignment) CHECK_OK(tdm_config_set(&c->config, assignment));
    choose_rows(c, partial);
    CHECK_OK(TDM_ALLOC(c->B, &c->identity));
    CHECK_OK(TDM_ALLOC(c->B * CLASSES, &c->bits));
    for (int64_t i = 0; i < c->B; i++) {
        c->identity[i] = 70 + 5 * (i % 7); /* four occur twice */
        c->bits[i * CLASSES + i % CLASSES] = 1;
        if (i % 4 == 1) c->bits[i * CLASSES + (i + 2) % CLASSES] = 1;
    }
    tdm_loss_all_needs(&c->config, &needs);
    for (int v = 0; v < TDM_VIEWS; v++)
        if (needs.view[v]) fill_view(c, v, needs.view[v]);
}

static void make_case(loss_case *c, const tdm_loss *loss, const char *assignment, bool partial)
{
    make_case_of(SAMPLES, c, loss, assignment, partial);
}

/* ---- Comparing two results ---- */

static void check_close(const char *what, const char *name, int64_t n, const float *value,
                        const float *expected)
{
    double scale = 1e-6, worst = 0.0;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs((double)expected[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)value[i] - expected[i]) <= worst)) {
            worst = fabs((double)value[i] - expected[i]);
            at = i;
        }
    /* f32 sums of some hundred terms in another order */
    if (!(worst <= 2e-5 * scale))
        fail_msg("%s: gradient of %s: element %lld is %g, expected %g (largest %g)", what, name,
                 (long long)at, (double)value[at], (double)expected[at], scale);
}

static void check_same(const char *what, loss_case *c, loss_case *expected)
{
    if (!(fabs(c->loss - expected->loss) <= 1e-5 * fmax(1.0, fabs(expected->loss))))
        fail_msg("%s: loss %.9g, expected %.9g", what, c->loss, expected->loss);
    CHECK_EQ(c->terms, expected->terms);
    for (int k = 0; k < c->terms; k++)
        if (!(fabs(c->term[k] - expected->term[k]) <= 1e-5 * fmax(1.0, fabs(expected->term[k]))))
            fail_msg("%s: %s is %.9g, expected %.9g", what, c->term_name[k], c->term[k], expected->term[k]);
    if (!(fabs(c->dlogit_scale - expected->dlogit_scale) <= 2e-5 * fmax(1.0, fabs(expected->dlogit_scale))))
        fail_msg("%s: gradient of logit_scale %.9g, expected %.9g", what, c->dlogit_scale,
                 expected->dlogit_scale);
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_info *info = tdm_view_of((tdm_view)v);
        const case_view *a = &c->view[v], *b = &expected->view[v];
        if (a->dfeature)
            check_close(what, info->label, c->rows[info->modality] * c->d, a->dfeature, b->dfeature);
        if (a->dtokens) check_close(what, info->label, a->total * c->d, a->dtokens, b->dtokens);
    }
    CHECK_EQ(c->params, expected->params);
    for (int64_t i = 0; i < c->params; i++)
        check_close(what, c->param[i].name, c->param[i].size, c->param[i].grad, expected->param[i].grad);
}

/* ---- Finite differences ---- */

typedef struct input {
    char name[160];
    int64_t n;
    float *value;    /* NULL: the parameter of this name, which a run makes anew */
    float *gradient; /* [n] a copy */
} input;

static void add_input(input *list, int *count, const char *name, int64_t n, float *value,
                      const float *gradient)
{
    input *in = &list[(*count)++];
    snprintf(in->name, sizeof in->name, "%s", name);
    in->n = n;
    in->value = value;
    CHECK_OK(TDM_ALLOC(n, &in->gradient));
    memcpy(in->gradient, gradient, sizeof(float) * (size_t)n);
}

static float *value_of(loss_case *c, const input *in)
{
    return in->value ? in->value : loss_case_param(c, in->name)->value;
}

static double dot(int64_t n, const float *a, const float *b)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* dL/dx along u by (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12h. */
static double slope(loss_case *c, const input *in, const float *u, double h)
{
    const size_t bytes = sizeof(float) * (size_t)in->n;
    double sum = 0.0;
    float *saved;
    CHECK_OK(TDM_ALLOC(in->n, &saved));
    memcpy(saved, value_of(c, in), bytes);
    for (int k = -2; k <= 2; k++) {
        const double weight[] = {1.0, -8.0, 0.0, 8.0, -1.0};
        float *value = value_of(c, in);
        if (k == 0) continue;
        for (int64_t i = 0; i < in->n; i++) value[i] = saved[i] + (float)(k * h * u[i]);
        CHECK_OK(loss_case_run(alone, c));
        sum += weight[k + 2] * c->loss;
    }
    memcpy(value_of(c, in), saved, bytes);
    tdm_free(saved);
    return sum / (12.0 * h);
}

/* Along the gradient, where the slope is its length, and along a random direction. f32 losses carry an error of some
 * 1e-6, so the quotient some 1e-6 / h: with h = 5e-3 that is 2e-4, and the fifth-order term is far below it. */
static void check_input(const char *what, loss_case *c, const input *in)
{
    const double length = sqrt(dot(in->n, in->gradient, in->gradient));
    for (int k = 0; k < 2; k++) {
        float *u = normals(in->n, 900);
        if (k == 0) memcpy(u, in->gradient, sizeof(float) * (size_t)in->n);
        const double norm = sqrt(dot(in->n, u, u));
        for (int64_t i = 0; i < in->n && norm > 0.0; i++) u[i] /= (float)norm;
        const double expected = slope(c, in, u, 5e-3), got = dot(in->n, in->gradient, u);
        if (!(fabs(got - expected) <= 1e-2 * length + 5e-4))
            fail_msg("%s: %s: slope %g along %s, finite differences say %g (gradient's length %g)", what,
                     in->name, got, k == 0 ? "the gradient" : "a random direction", expected, length);
        tdm_free(u);
    }
}

static void check_differences(const char *what, loss_case *c)
{
    enum { MOST = 512 };
    static input list[MOST];
    int count = 0;
    bool targets =
        false; /* they depend on logit_scale, but are not differentiated: the golden file checks that */
    const float scale_gradient = (float)c->dlogit_scale;
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_info *info = tdm_view_of((tdm_view)v);
        case_view *view = &c->view[v];
        char name[64];
        targets |= view->target != NULL;
        if (view->dfeature)
            add_input(list, &count, info->label, c->rows[info->modality] * c->d, view->feature,
                      view->dfeature);
        snprintf(name, sizeof name, "tokens of %s", info->label);
        if (view->dtokens) add_input(list, &count, name, view->total * c->d, view->tokens, view->dtokens);
    }
    if (!targets) add_input(list, &count, "logit_scale", 1, &c->logit_scale, &scale_gradient);
    CHECK_LT(count + c->params, MOST);
    c->values_stay = true;
    for (int64_t i = 0; i < c->params; i++)
        if (c->param[i].trained && !strstr(what, "=through")) /* that gradient is none, on purpose */
            add_input(list, &count, c->param[i].name, c->param[i].size, NULL, c->param[i].grad);
    for (int i = 0; i < count; i++) check_input(what, c, &list[i]);
    for (int i = 0; i < count; i++) tdm_free(list[i].gradient);
}

/* ---- The walk ---- */

/* Ranks and chunks against this rank alone; on one rank also the finite differences. */
static void check_loss(const tdm_loss *loss, const char *assignment, bool partial)
{
    loss_case c, expected;
    char what[256];
    snprintf(what, sizeof what, "loss.%s%s%s%s", loss->name, assignment ? ", " : "",
             assignment ? assignment : "", partial ? ", partial" : "");
    make_case(&expected, loss, assignment, partial);
    CHECK_OK(loss_case_run(alone, &expected));
    CHECK_TRUE(isfinite(expected.loss));
    CHECK_TRUE(expected.term[0] != 0.0);
    if (tdm_comm_size(comm) == 1) {
        make_case(&c, loss, assignment, partial);
        CHECK_OK(loss_case_run(alone, &c));
        check_differences(what, &c);
        loss_case_free(&c);
    }
    for (int chunk = 0; chunk < 3; chunk++) {
        make_case(&c, loss, assignment, partial);
        c.config.train.chunk = chunk;
        CHECK_OK(loss_case_run(comm, &c));
        check_same(what, &c, &expected);
        loss_case_free(&c);
    }
    loss_case_free(&expected);
}

/* Every choice that is not the default, one at a time. */
static void check_choices(const tdm_loss *loss)
{
    for (size_t i = 0; i < loss->option_count; i++) {
        const tdm_option *row = &loss->options[i];
        if (row->type != TDM_OPTION_CHOICE) continue;
        for (const char *at = row->choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
            char assignment[160];
            const int n = (int)strcspn(at, "|");
            if (strlen(row->default_text) == (size_t)n && !strncmp(row->default_text, at, (size_t)n))
                continue;
            snprintf(assignment, sizeof assignment, "loss.%s.%s=%.*s", loss->name, row->key, n, at);
            check_loss(loss, assignment, false);
        }
    }
}

static void test_table(void **state)
{
    (void)state;
    size_t count;
    const tdm_loss *const *table = tdm_loss_table(&count);
    for (size_t i = 0; i < count; i++) {
        check_loss(table[i], NULL, false);
        check_loss(table[i], NULL, true);
        check_choices(table[i]);
        if (tdm_comm_rank(comm) == 0) print_message("loss.%s\n", table[i]->name);
    }
}

/* The pass without gradient and several views, which no choice switches on. */
static void test_infonce_targets(void **state)
{
    (void)state;
    check_loss(tdm_loss_find("infonce"), "loss.infonce.pseudo=0.4", false);
    check_loss(tdm_loss_find("infonce"), "loss.infonce.pseudo=0.4", true);
    check_loss(tdm_loss_find("infonce"), "loss.infonce.image_views=[aug_1, aug_2]", false);
}

/* ---- Odd batches ---- */

/* Classes: all of one sample; none has a class. Features: image 0 is text 0, and image 1 is image 2. */
static void check_finite(const tdm_loss *loss, const char *assignment, bool one_class, bool no_class)
{
    loss_case c;
    char what[256];
    snprintf(what, sizeof what, "loss.%s %s", loss->name, assignment ? assignment : "");
    make_case(&c, loss, assignment, false);
    for (int64_t i = 0; i < c.B && (one_class || no_class); i++)
        for (int64_t k = 0; k < CLASSES; k++) c.bits[i * CLASSES + k] = one_class && k == 0;
    const float *text = c.view[TDM_VIEW_TEXT_PLAIN].feature;
    float *image = c.view[TDM_VIEW_IMAGE_AUG_1].feature;
    if (image && text) {
        memcpy(image, text, sizeof(float) * WIDTH);
        memcpy(image + WIDTH, image + 2 * WIDTH, sizeof(float) * WIDTH);
    }
    CHECK_OK(loss_case_run(comm, &c));
    if (!isfinite(c.loss)) fail_msg("%s: loss %g", what, c.loss);
    for (int v = 0; v < TDM_VIEWS; v++)
        for (int64_t i = 0; c.view[v].dfeature && i < SAMPLES * WIDTH; i++)
            if (!isfinite(c.view[v].dfeature[i]))
                fail_msg("%s: gradient of %s: row %lld", what, tdm_view_of((tdm_view)v)->label,
                         (long long)(i / WIDTH));
    for (int64_t i = 0; i < c.params; i++)
        for (int64_t k = 0; k < c.param[i].size; k++)
            if (!isfinite(c.param[i].grad[k])) fail_msg("%s: gradient of %s", what, c.param[i].name);
    loss_case_free(&c);
}

/* Equal features, batches without a negative and without a class: never a number that is none. */
static void test_odd_batches(void **state)
{
    static const char *const options[] = {"triplet.mining=semi_hard", "triplet.mining=hardest",
                                          "lifted.definition=released", "npairs.definition=released",
                                          "supcon.definition=released"};
    size_t count;
    const tdm_loss *const *table = tdm_loss_table(&count);
    (void)state;
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < 3; k++) check_finite(table[i], NULL, k == 1, k == 2);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char name[32], assignment[80];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(options[i], "."), options[i]);
        snprintf(assignment, sizeof assignment, "loss.%s", options[i]);
        for (int k = 0; k < 3; k++) check_finite(tdm_loss_find(name), assignment, k == 1, k == 2);
    }
}

static void expect_refused(const char *name, const char *second, const char *assignment, const char *message)
{
    loss_case c;
    make_case(&c, tdm_loss_find(name), assignment, false);
    if (second) CHECK_OK(tdm_config_set(&c.config, second));
    if (!second) c.classes = 0;
    CHECK_EQ(loss_case_run(alone, &c), TDM_E_CONFIG);
    if (!strstr(tdm_error_last()->message, message))
        fail_msg("%s: \"%s\" lacks \"%s\"", name, tdm_error_last()->message, message);
    loss_case_free(&c);
}

/* A batch that one rank takes in several blocks of rows, and several ranks in one each. */
static void test_blocks(void **state)
{
    static const char *const names[] = {"infonce", "triplet", "lifted", "dual_softmax"};
    enum { MANY = 2100 }; /* more rows than 2^22 elements have */
    (void)state;
    if (tdm_comm_size(comm) == 1) return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        loss_case c, expected;
        make_case_of(MANY, &expected, tdm_loss_find(names[i]), NULL, false);
        CHECK_OK(loss_case_run(alone, &expected));
        make_case_of(MANY, &c, tdm_loss_find(names[i]), NULL, false);
        CHECK_OK(loss_case_run(comm, &c));
        check_same(names[i], &c, &expected);
        loss_case_free(&expected);
        loss_case_free(&c);
    }
}

static void test_refused(void **state)
{
    (void)state;
    expect_refused("triplet", NULL, NULL,
                   "loss.triplet.positives = \"class\": the training data have no classes");
    expect_refused("prototype", NULL, NULL, "loss.prototype: the training data have 0 classes");
    expect_refused("cross_entropy", "loss.linear_regression.weight=1", "loss.linear_regression.norm=none",
                   "loss.linear_regression.norm and loss.cross_entropy.norm differ");
}

/* ---- Golden files ---- */

static float *read_expected(hid_t file, const char *path, int64_t n)
{
    float *value;
    hid_t set = H5Dopen2(file, path, H5P_DEFAULT), space = H5Dget_space(set);
    CHECK_EQ(H5Sget_simple_extent_npoints(space), n);
    CHECK_OK(TDM_ALLOC(n, &value));
    CHECK_TRUE(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    return value;
}

static void check_golden_array(hid_t file, const char *what, const char *path, int64_t n, const float *value)
{
    if (H5Lexists(file, path, H5P_DEFAULT) <= 0) fail_msg("%s: the golden file lacks %s", what, path);
    float *expected = read_expected(file, path, n);
    check_close(what, path, n, value, expected);
    tdm_free(expected);
}

static void check_golden(const char *path)
{
    char inner[160];
    loss_case c = {0};
    CHECK_OK(tdm_config_init(&c.config));
    CHECK_OK(loss_case_read(path, &c));
    CHECK_OK(loss_case_run(comm, &c));
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    float *expected = read_expected(file, "/expect/loss", 1);
    CHECK_NEAR(c.loss, (double)expected[0], 1e-5 * fmax(1.0, fabs((double)expected[0])));
    tdm_free(expected);
    const float scale_gradient = (float)c.dlogit_scale;
    check_golden_array(file, path, "/expect/grad/logit_scale", 1, &scale_gradient);
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_info *info = tdm_view_of((tdm_view)v);
        const case_view *view = &c.view[v];
        snprintf(inner, sizeof inner, "/expect/grad/view/%s", info->label);
        if (view->dfeature && !view->dtokens)
            check_golden_array(file, path, inner, c.rows[info->modality] * c.d, view->dfeature);
        snprintf(inner, sizeof inner, "/expect/grad/tokens/%s", info->label);
        if (view->dtokens) check_golden_array(file, path, inner, view->total * c.d, view->dtokens);
    }
    for (int64_t i = 0; i < c.params; i++) {
        snprintf(inner, sizeof inner, "/expect/grad/param/%s", c.param[i].name);
        check_golden_array(file, path, inner, c.param[i].size, c.param[i].grad);
    }
    H5Fclose(file);
    loss_case_free(&c);
}

/* NAME.h5 must be there; NAME.….h5 are further cases of it. */
static void check_goldens(const char *dir, const tdm_loss *loss)
{
    char path[512];
    const size_t n = strlen(loss->name);
    snprintf(path, sizeof path, "%s/%s.h5", dir, loss->name);
    if (!tdm_path_exists(path))
        fail_msg("loss.%s has no golden file %s: give it a function in tests/golden/make_loss_golden.py",
                 loss->name, path);
    DIR *list = opendir(dir);
    CHECK_NOT_NULL(list);
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        if (strncmp(entry->d_name, loss->name, n) != 0 || entry->d_name[n] != '.') continue;
        snprintf(path, sizeof path, "%s/%.200s", dir, entry->d_name);
        check_golden(path);
    }
    closedir(list);
}

static void test_golden(void **state)
{
    (void)state;
    size_t count;
    char dir[256];
    const tdm_loss *const *table = tdm_loss_table(&count);
    snprintf(dir, sizeof dir, "%s/tests/golden/loss", getenv("TANDEM_SOURCE_DIR"));
    for (size_t i = 0; i < count; i++) check_goldens(dir, table[i]);
}

int main(int argc, char **argv)
{
    if (tdm_register_options() != TDM_OK || tdm_comm_create(&argc, &argv, &comm) != TDM_OK ||
        tdm_comm_create_alone(&alone) != TDM_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),       cmocka_unit_test(test_infonce_targets),
        cmocka_unit_test(test_odd_batches), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_golden),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&alone);
    tdm_comm_destroy(&comm);
    tdm_config_unregister_all();
    return failed;
}
