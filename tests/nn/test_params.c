/* The arena of parameters: places, names, first values, and the stretches that are trained. */
#include "check.h"
#include "tandem/params.h"

static void add(tdm_params *p, const char *name, int ndim, const int64_t *shape, tdm_init init, double value)
{
    CHECK_OK(tdm_params_add(p, name, ndim, shape, init, value, true, NULL));
}

static void test_places(void **state)
{
    (void)state;
    tdm_params p = {0};
    int64_t index = -1;
    CHECK_OK(tdm_params_add(&p, "matrix", 2, (int64_t[]){3, 5}, TDM_INIT_ONE, 0, true, &index));
    CHECK_EQ(index, 0);
    CHECK_OK(tdm_params_add(&p, "scalar", 0, NULL, TDM_INIT_CONSTANT, 2.5, false, &index));
    CHECK_EQ(index, 1);
    CHECK_OK(tdm_params_add_buffer(&p, "mean", 1, (int64_t[]){17}, TDM_INIT_ZERO, 0, &index));
    CHECK_EQ(index, 2);
    for (int i = 0; i < 200; i++) { /* more rows than there was room for */
        char name[32];
        snprintf(name, sizeof name, "row.%d", i);
        add(&p, name, 1, (int64_t[]){i % 40 + 1}, TDM_INIT_ZERO, 0);
    }
    CHECK_EQ(p.count, 203);
    int64_t elements = 0;
    for (int64_t i = 0; i < p.count; i++) {
        const tdm_param *row = &p.row[i];
        CHECK_EQ(row->offset % 16, 0);
        CHECK_GE(row->offset, i ? p.row[i - 1].offset + p.row[i - 1].size : 0);
        CHECK_TRUE(tdm_params_find(&p, row->name) == row);
        elements += row->size;
    }
    CHECK_EQ(p.row[0].size, 15);
    CHECK_EQ(p.row[1].size, 1);
    CHECK_FALSE(p.row[1].decay);
    CHECK_TRUE(p.row[2].buffer);
    CHECK_FALSE(p.row[2].decay);
    CHECK_EQ(p.row[2].lr_scale, 0);
    CHECK_EQ(tdm_params_elements(&p), elements);
    CHECK_GE(p.total, p.row[202].offset + p.row[202].size);
    CHECK_NULL(tdm_params_find(&p, "row.200"));
    CHECK_NULL(tdm_params_find(&p, "row"));

    CHECK_OK(tdm_params_allocate(&p, true));
    for (int64_t i = 0; i < p.total; i++) CHECK_EQ(p.weight[i] + p.grad[i], 0);
    CHECK_FAILS(tdm_params_add(&p, "late", 0, NULL, TDM_INIT_ZERO, 0, true, NULL), TDM_E_SHAPE,
                "late: the arena is already allocated");
    tdm_params_destroy(&p);
    tdm_params_destroy(&p);
}

static void test_refused(void **state)
{
    (void)state;
    tdm_params p = {0};
    char name[sizeof p.row->name + 1];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    CHECK_FAILS(tdm_params_add(&p, name, 0, NULL, TDM_INIT_ZERO, 0, true, NULL), TDM_E_SHAPE,
                "the name is too long");
    name[sizeof name - 2] = '\0';
    add(&p, name, 0, NULL, TDM_INIT_ZERO, 0);
    CHECK_FAILS(tdm_params_add(&p, "empty", 2, (int64_t[]){3, 0}, TDM_INIT_ZERO, 0, true, NULL), TDM_E_SHAPE,
                "parameter empty: dimension 1 is 0");
    CHECK_EQ(p.count, 1); /* a refusal adds nothing */
    CHECK_EQ(p.total, 16);
    tdm_params_destroy(&p);
}

/* Bounds are five standard errors of N draws. */
static void test_first_values(void **state)
{
    (void)state;
    enum { N = 20000 };
    tdm_params p = {0}, q = {0};
    const int64_t shape[] = {N};
    add(&p, "zero", 1, shape, TDM_INIT_ZERO, 9);
    add(&p, "one", 1, shape, TDM_INIT_ONE, 9);
    add(&p, "constant", 1, shape, TDM_INIT_CONSTANT, -0.25);
    add(&p, "normal", 1, shape, TDM_INIT_NORMAL, 0.02);
    add(&p, "uniform", 1, shape, TDM_INIT_UNIFORM, 0.5);
    add(&p, "twin", 1, shape, TDM_INIT_NORMAL, 0.02);
    CHECK_OK(tdm_params_allocate(&p, false));
    CHECK_NULL(p.grad);
    tdm_params_init(&p, 7);
    double mean[6] = {0}, square[6] = {0}, most = 0;
    for (int r = 0; r < 6; r++)
        for (int i = 0; i < N; i++) {
            const double x = p.weight[p.row[r].offset + i];
            mean[r] += x / N;
            square[r] += x * x / N;
            if (r == 4) most = fmax(most, fabs(x));
        }
    CHECK_EQ(square[0], 0);
    CHECK_NEAR(mean[1], 1, 1e-9);
    CHECK_NEAR(mean[2], -0.25, 1e-9);
    CHECK_NEAR(mean[3], 0, 5 * 0.02 / sqrt(N));
    CHECK_NEAR(square[3], 0.02 * 0.02, 5 * 0.02 * 0.02 * sqrt(2.0 / N));
    CHECK_NEAR(mean[4], 0, 5 * 0.5 / sqrt(3.0 * N));
    CHECK_LE(most, 0.5);
    CHECK_GT(most, 0.499);
    CHECK_MEM_NE(p.weight + p.row[3].offset, p.weight + p.row[5].offset, sizeof(float) * 4); /* by row */

    /* the same seed and row give the same values, whatever the other rows are */
    add(&q, "z", 0, NULL, TDM_INIT_ZERO, 0);
    add(&q, "o", 0, NULL, TDM_INIT_ZERO, 0);
    add(&q, "c", 0, NULL, TDM_INIT_ZERO, 0);
    add(&q, "normal", 1, shape, TDM_INIT_NORMAL, 0.02);
    CHECK_OK(tdm_params_allocate(&q, false));
    tdm_params_init(&q, 7);
    CHECK_MEM_EQ(q.weight + q.row[3].offset, p.weight + p.row[3].offset, sizeof(float) * N);
    tdm_params_init(&q, 8);
    CHECK_MEM_NE(q.weight + q.row[3].offset, p.weight + p.row[3].offset, sizeof(float) * N);
    tdm_params_destroy(&p);
    tdm_params_destroy(&q);
}

/* Every subset of six rows: the stretches together are exactly the trained rows, and as few as can be. */
static void test_trained(void **state)
{
    (void)state;
    enum { ROWS = 6 };
    tdm_params p = {0};
    for (int i = 0; i < ROWS; i++) {
        char name[8];
        snprintf(name, sizeof name, "r%d", i);
        add(&p, name, 1, (int64_t[]){i * 7 + 1}, TDM_INIT_ZERO, 0);
    }
    for (unsigned set = 0; set < 1u << ROWS; set++) {
        unsigned covered = 0, groups = set & ~(set << 1);
        for (int i = 0; i < ROWS; i++) p.row[i].lr_scale = set >> i & 1 ? 0.5 : 0;
        int64_t row = 0;
        tdm_span span;
        int64_t end = -1;
        while (tdm_params_next_trained(&p, &row, &span)) {
            CHECK_GT(span.begin, end); /* never two that touch */
            CHECK_GT(span.end, span.begin);
            end = span.end;
            for (int i = 0; i < ROWS; i++) {
                const bool inside = p.row[i].offset >= span.begin && p.row[i].offset < span.end;
                if (inside) covered |= 1u << i;
                if (inside) CHECK_LE(p.row[i].offset + p.row[i].size, span.end);
            }
            CHECK_NE(groups, 0);
            groups &= groups - 1;
        }
        CHECK_EQ(covered, set);
        CHECK_EQ(groups, 0);
    }
    for (int i = 0; i < ROWS; i++) p.row[i].lr_scale = 1;
    p.row[2].buffer = true; /* whatever its scale says */
    int64_t row = 0;
    tdm_span span;
    CHECK_TRUE(tdm_params_next_trained(&p, &row, &span));
    CHECK_EQ(span.end, p.row[2].offset);
    CHECK_TRUE(tdm_params_next_trained(&p, &row, &span));
    CHECK_EQ(span.begin, p.row[3].offset);
    CHECK_EQ(span.end, p.total);
    CHECK_FALSE(tdm_params_next_trained(&p, &row, &span));
    tdm_params_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_first_values),
        cmocka_unit_test(test_trained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
