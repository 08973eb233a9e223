/* Resized position embeddings against torch.nn.functional.interpolate. */
#include "check.h"
#include "tandem/convert.h"

#include "golden/positions_golden.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 3 };

/* Both sides round to f32: values below 1, sums of at most 12 x 12 terms whose weights sum to about 1.5. */
static const double tolerance = 1e-6;

static float *golden_source(int64_t rows)
{
    float *value = NULL;
    CHECK_OK(TDM_ALLOC(rows * WIDTH, &value));
    for (int64_t i = 0; i < rows * WIDTH; i++)
        value[i] = (float)((i * i * 31 + i * 17) % 257) / 256.0f - 0.5f;
    return value;
}

static void assert_close(const char *what, const float *value, const float *golden, int64_t count)
{
    double worst = 0.0;
    for (int64_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)value[i] - (double)golden[i]));
    print_message("%s: largest difference %.2e\n", what, worst);
    if (!(worst <= tolerance)) fail_msg("%s: above %.0e", what, tolerance);
}

static void test_images(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof GOLDEN_IMAGE / sizeof GOLDEN_IMAGE[0]; i++) {
        const struct golden_image *g = &GOLDEN_IMAGE[i];
        const int64_t rows = 1 + g->to_h * g->to_w;
        float *from = golden_source(1 + g->from_h * g->from_w), *to = golden_source(rows);
        CHECK_OK(
            tdm_resize_image_positions(g->method, g->from_h, g->from_w, g->to_h, g->to_w, WIDTH, from, to));
        assert_close(g->method, to, g->value, rows * WIDTH);
        CHECK_MEM_EQ(to, from, WIDTH * sizeof *to);
        tdm_free(from);
        tdm_free(to);
    }
}

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof GOLDEN_TEXT / sizeof GOLDEN_TEXT[0]; i++) {
        const struct golden_text *g = &GOLDEN_TEXT[i];
        float *from = golden_source(g->from), *to = golden_source(g->to);
        CHECK_OK(tdm_resize_text_positions(g->method, g->from, g->to, WIDTH, from, to));
        assert_close(g->method, to, g->value, g->to * WIDTH);
        tdm_free(from);
        tdm_free(to);
    }
}

/* The same size changes nothing, whatever the method. */
static void test_identity(void **state)
{
    (void)state;
    static const char *const methods[] = {"open_clip", "huggingface", "tbps_clip"};
    for (size_t i = 0; i < 3; i++) {
        float *from = golden_source(1 + 24 * 8), *to = golden_source(1 + 24 * 8);
        memset(to, 0, (1 + 24 * 8) * WIDTH * sizeof *to);
        CHECK_OK(tdm_resize_image_positions(methods[i], 24, 8, 24, 8, WIDTH, from, to));
        assert_close(methods[i], to, from, (1 + 24 * 8) * WIDTH);
        CHECK_OK(tdm_resize_text_positions(methods[i], 77, 77, WIDTH, from, to));
        assert_close(methods[i], to, from, 77 * WIDTH);
        tdm_free(from);
        tdm_free(to);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    float value[64] = {0};
    CHECK_FAILS(tdm_resize_image_positions("bicubic", 1, 1, 1, 1, WIDTH, value, value), TDM_E_USAGE,
                "no resize method \"bicubic\"");
    CHECK_FAILS(tdm_resize_image_positions("open_clip", 0, 1, 1, 1, WIDTH, value, value), TDM_E_SHAPE, "");
    CHECK_FAILS(tdm_resize_text_positions("tbps_clip", 2, 5, WIDTH, value, value), TDM_E_SHAPE, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
