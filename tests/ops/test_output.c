/* Norm, matmul, softmax cross-entropy and the optimiser's loops against plain loops. */
#include "ops_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t sizes[] = {1, 7, 63, 64, 65, 127, 512};
enum { SIZES = sizeof(sizes) / sizeof(*sizes) };

static void l2norm(tdm_ops *ops)
{
    enum { ROWS = 33 };
    for (int i = 0; i < SIZES; i++) {
        int64_t width = sizes[i], n = ROWS * width;
        float *x = random_f32(n, 1, 3.0), *dy = random_f32(n, 2, 1.0);
        memset(x, 0, sizeof(float) * (size_t)width); /* a row of norm 0 */
        float *y = random_f32(n, 3, 1.0), *y_ref = random_f32(n, 4, 1.0);
        float *dx = random_f32(n, 5, 1.0), *dx_ref = random_f32(n, 6, 1.0);
        float norm[ROWS], norm_ref[ROWS];
        tdm_l2norm_forward(ops, ROWS, width, x, y, norm);
        l2norm_forward_ref(ROWS, width, x, y_ref, norm_ref);
        check_f32("l2norm y", TOL_REDUCTION, TDM_F32, n, y, y_ref);
        check_f32("l2norm norm", TOL_REDUCTION, TDM_F32, ROWS, norm, norm_ref);
        tdm_l2norm_backward(ops, ROWS - 1, width, y_ref + width, norm_ref + 1, dy + width, dx + width);
        l2norm_backward_ref(ROWS - 1, width, y_ref + width, norm_ref + 1, dy + width, dx_ref + width);
        float *sum = random_f32(ROWS * width, 77, 1.0), *parts = copy_f32(sum, ROWS * width);
        for (int64_t k = width; k < ROWS * width; k++) parts[k] += dx[k];
        tdm_l2norm_backward_add(ops, ROWS - 1, width, y_ref + width, norm_ref + 1, dy + width, sum + width);
        CHECK_MEM_EQ(sum, parts, sizeof(float) * (size_t)(ROWS * width));
        free(sum), free(parts);
        if (width > 1) check_f32("l2norm dx", TOL_REDUCTION, TDM_F32, n - width, dx + width, dx_ref + width);
        free(x), free(dy), free(y), free(y_ref), free(dx), free(dx_ref);
    }
}

static void test_l2norm(void **state)
{
    (void)state;
    for_each_context(l2norm);
}

static void gemm(tdm_ops *ops)
{
    const int64_t shapes[][3] = {{1, 1, 1}, {7, 5, 3}, {63, 65, 127}, {64, 64, 64}, {40, 200, 33}};
    const float factors[][2] = {{1.0f, 0.0f}, {0.5f, 1.0f}, {-2.0f, 0.25f}};
    for (size_t s = 0; s < 5; s++)
        for (int variant = 0; variant < 12; variant++) {
            bool ta = variant & 1, tb = variant & 2;
            const float *factor = factors[variant >> 2];
            int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            int64_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldc = n + 2;
            float *a = random_f32((ta ? k : m) * lda, 1, 1.0), *b = random_f32((tb ? n : k) * ldb, 2, 1.0);
            float *c = random_f32(m * ldc, 3, 1.0), *c_ref = copy_f32(c, m * ldc);
            CHECK_OK(tdm_gemm(ops, ta, tb, m, n, k, factor[0], a, lda, b, ldb, factor[1], c, ldc));
            gemm_ref(ta, tb, m, n, k, factor[0], a, lda, b, ldb, factor[1], c_ref, ldc);
            check_f32("gemm", TOL_MATMUL, TDM_F32, m * ldc, c, c_ref);
            free(a), free(b), free(c), free(c_ref);
        }
}

/* A row alone has the bits that it has among others (oneDNN's AVX2 code promises that for no number of rows).
 */
static void one_row(tdm_ops *ops)
{
    enum { K = 512, N = 512, ROWS = 4 };
    if (!strncmp(tdm_ops_isa(ops), "avx2", 4)) return;
    float *a = random_f32(ROWS * K, 1, 1.0), *b = random_f32(K * N, 2, 1.0);
    float *all = random_f32(ROWS * N, 3, 1.0), *one = random_f32(N, 4, 1.0);
    CHECK_OK(tdm_gemm(ops, false, false, ROWS, N, K, 1.0f, a, K, b, N, 0.0f, all, N));
    for (int row = 0; row < ROWS; row++) {
        CHECK_OK(tdm_gemm(ops, false, false, 1, N, K, 1.0f, a + row * K, K, b, N, 0.0f, one, N));
        CHECK_MEM_EQ(one, all + row * N, sizeof(float) * N);
    }
    free(a);
    free(b);
    free(all);
    free(one);
}

static void test_one_row(void **state)
{
    (void)state;
    for_each_context(one_row);
}

static void test_gemm(void **state)
{
    (void)state;
    for_each_context(gemm);
}

static void softmax_cross_entropy(tdm_ops *ops)
{
    enum { ROWS = 9 };
    for (int i = 0; i < SIZES; i++)
        for (int large = 0; large < 2; large++) { /* large: logits of several hundred, 100·cosine and more */
            int64_t classes = sizes[i], n = ROWS * classes;
            float *logits = random_f32(n, 1, large ? 300.0 : 3.0), *logits_ref = copy_f32(logits, n);
            float *target = random_f32(n, 2, 1.0);
            for (int64_t row = 0; row < ROWS; row++) {
                double sum = 0.0;
                for (int64_t j = 0; j < classes; j++) sum += fabs(target[row * classes + j]);
                for (int64_t j = 0; j < classes; j++)
                    target[row * classes + j] = (float)(fabs(target[row * classes + j]) / sum);
            }
            float loss[ROWS], loss_ref[ROWS];
            tdm_softmax_cross_entropy(ops, ROWS, classes, logits, target, loss);
            softmax_cross_entropy_ref(ROWS, classes, logits_ref, target, loss_ref);
            if (classes > 1) {
                check_f32("softmax loss", TOL_REDUCTION, TDM_F32, ROWS, loss, loss_ref);
                check_f32("softmax gradient", TOL_REDUCTION, TDM_F32, n, logits, logits_ref);
            }
            free(logits), free(logits_ref), free(target);
        }
}

static void test_softmax_cross_entropy(void **state)
{
    (void)state;
    for_each_context(softmax_cross_entropy);
}

static void sum_squares(tdm_ops *ops)
{
    const int64_t counts[] = {0, 1, 65, 65536, 65537, 200003};
    tdm_ops *other = make_ops(TDM_F32, 3);
    for (size_t i = 0; i < 6; i++) {
        float *x = random_f32(counts[i], 1, 1.0);
        double got = tdm_sum_squares(ops, counts[i], x), want = sum_squares_ref(counts[i], x);
        CHECK_NEAR(got, want, 1e-12 * want);
        CHECK_EQ(got, tdm_sum_squares(other, counts[i], x)); /* whatever the threads */
        free(x);
    }
    tdm_ops_destroy(&other);
}

static void test_sum_squares(void **state)
{
    (void)state;
    for_each_context(sum_squares);
}

static void adamw(tdm_ops *ops)
{
    const int64_t counts[] = {1, 63, 65, 40001};
    for (size_t i = 0; i < 4; i++) {
        int64_t n = counts[i];
        float *w = random_f32(n, 1, 1.0), *w_ref = copy_f32(w, n);
        float *m = random_f32(n, 2, 0.0), *m_ref = copy_f32(m, n);
        float *v = random_f32(n, 3, 0.0), *v_ref = copy_f32(v, n);
        for (int64_t step = 1; step <= 5; step++) {
            float *g = random_f32(n, 10 + (uint64_t)step, 0.1);
            const tdm_adamw rule = {0.7, 1e-2, 0.9, 0.98, 1e-6, 0.2, step};
            tdm_adamw_update(ops, &rule, n, w, g, m, v);
            adamw_update_ref(&rule, n, w_ref, g, m_ref, v_ref);
            free(g);
        }
        check_f32("adamw w", TOL_ELEMENT, TDM_F32, n, w, w_ref);
        check_f32("adamw m", TOL_ELEMENT, TDM_F32, n, m, m_ref);
        check_f32("adamw v", TOL_ELEMENT, TDM_F32, n, v, v_ref);
        free(w), free(w_ref), free(m), free(m_ref), free(v), free(v_ref);
    }
}

static void test_adamw(void **state)
{
    (void)state;
    for_each_context(adamw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_l2norm),      cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_one_row),     cmocka_unit_test(test_softmax_cross_entropy),
        cmocka_unit_test(test_sum_squares), cmocka_unit_test(test_adamw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
