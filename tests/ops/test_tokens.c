/* Patches, image tokens, text tokens, gather and scatter against plain loops. */
#include "ops_test.h"
#include "tandem/rng.h"

#include <stdlib.h>
#include <string.h>

/* For each of n images `kept` of its patches, ascending; the caller frees. */
static int64_t *random_places(int64_t n, int64_t patches, int64_t kept)
{
    int64_t *place = malloc(sizeof(int64_t) * (size_t)(n * kept));
    tdm_rng rng = tdm_rng_at(8, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < n; i++)
        for (int64_t at = 0, k = 0; at < patches; at++)
            if (tdm_rng_below(&rng, patches - at) < kept - k) place[i * kept + k++] = at;
    return place;
}

/* dropped: of half of the patches */
static void check_patches(tdm_ops *ops, int64_t patch, bool dropped, const double mean[3],
                          const double std[3])
{
    enum { IMAGES = 3, SIZE = 40, N = IMAGES * SIZE * SIZE * 3 };
    const int64_t patches = SIZE / patch * (SIZE / patch), kept = (patches + 1) / 2;
    int64_t *place = dropped ? random_places(IMAGES, patches, kept) : NULL;
    tdm_dtype dtype = tdm_ops_dtype(ops);
    uint8_t *image = malloc(N);
    tdm_rng rng = tdm_rng_at(1, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < N; i++) image[i] = (uint8_t)tdm_rng_u32(&rng);
    void *rows = random_act(dtype, N, 1, 1.0), *rows_ref = random_act(dtype, N, 2, 1.0);
    tdm_patchify(ops, IMAGES, SIZE, SIZE, patch, kept, place, image, mean, std, rows);
    patchify_ref(dtype, IMAGES, SIZE, SIZE, patch, kept, place, image, mean, std, rows_ref);
    check_act("patchify", TOL_EXACT, dtype, dropped ? IMAGES * kept * 3 * patch * patch : N, rows, rows_ref);
    free(image), free(rows), free(rows_ref), free(place);
}

static void patchify(tdm_ops *ops)
{
    const double clip_mean[3] = {0.48145466, 0.4578275, 0.40821073};
    const double clip_std[3] = {0.26862954, 0.26130258, 0.27577711};
    const double white[3] = {1.0, 1.0, 1.0}, third[3] = {0.3, 0.3, 0.3};
    const int64_t patch[] = {1, 8, 20, 40}; /* less and more than the 16 pixels of a vector */
    for (size_t i = 0; i < sizeof(patch) / sizeof(*patch); i++) {
        check_patches(ops, patch[i], false, clip_mean, clip_std);
        check_patches(ops, patch[i], false, white, third);
        check_patches(ops, patch[i], true, clip_mean, clip_std);
    }
}

static void test_patchify(void **state)
{
    (void)state;
    for_each_context(patchify);
}

static void image_tokens(tdm_ops *ops)
{
    tdm_dtype dtype = tdm_ops_dtype(ops);
    /* the last: positions; where there are more of them than patches, some are dropped */
    const int64_t shapes[][4] = {{1, 1, 1, 1},       {3, 4, 7, 4},    {5, 49, 65, 49},
                                 {2, 196, 127, 196}, {5, 24, 65, 49}, {7, 1, 16, 4}};
    for (size_t k = 0; k < sizeof(shapes) / sizeof(*shapes); k++) {
        int64_t n = shapes[k][0], patches = shapes[k][1], width = shapes[k][2], all = shapes[k][3];
        int64_t rows = n * patches * width, tokens = n * (1 + patches) * width, table = (1 + all) * width;
        int64_t *place = patches < all ? random_places(n, all, patches) : NULL;
        void *patch_rows = random_act(dtype, rows, 1, 1.0);
        float *class_token = random_f32(width, 2, 1.0), *position = random_f32(table, 3, 1.0);
        float *x = random_f32(tokens, 4, 1.0), *x_ref = random_f32(tokens, 5, 1.0);
        tdm_image_tokens_forward(ops, n, patches, place, width, patch_rows, class_token, position, x);
        image_tokens_forward_ref(dtype, n, patches, place, width, patch_rows, class_token, position, x_ref);
        check_f32("image tokens", TOL_EXACT, TDM_F32, tokens, x, x_ref);
        void *d_rows = random_act(dtype, rows, 6, 1.0), *d_rows_ref = random_act(dtype, rows, 7, 1.0);
        float *d_class = copy_f32(class_token, width), *d_class_ref = copy_f32(class_token, width);
        float *d_position = copy_f32(position, table), *d_position_ref = copy_f32(position, table);
        tdm_image_tokens_backward(ops, n, patches, place, width, x, d_rows, d_class, d_position);
        image_tokens_backward_ref(dtype, n, patches, place, width, x, d_rows_ref, d_class_ref,
                                  d_position_ref);
        check_act("image tokens d_rows", TOL_EXACT, dtype, rows, d_rows, d_rows_ref);
        check_f32("image tokens d_class", TOL_EXACT, TDM_F32, width, d_class, d_class_ref);
        check_f32("image tokens d_position", TOL_EXACT, TDM_F32, table, d_position, d_position_ref);
        free(patch_rows), free(class_token), free(position), free(x), free(x_ref), free(d_rows),
            free(d_rows_ref);
        free(d_class), free(d_class_ref), free(d_position), free(d_position_ref), free(place);
    }
}

static void test_image_tokens(void **state)
{
    (void)state;
    for_each_context(image_tokens);
}

/* The first token is frequent, as in captions; two in seven are of the context. Rows behind the last sequence stay as
 * they are. */
static void text_tokens(tdm_ops *ops)
{
    enum { SEQUENCES = 6, VOCABULARY = 37, CONTEXT = 77, LEARNED = 3, BEYOND = 5 };
    const int64_t lengths[SEQUENCES] = {19, 0, 77, 1, 33, 8};
    int64_t seq[SEQUENCES + 1], t = fill_offsets(SEQUENCES, lengths, seq);
    int32_t *token = malloc(sizeof(int32_t) * (size_t)t);
    tdm_rng rng = tdm_rng_at(3, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < t; i++) token[i] = i % 3 ? (int32_t)tdm_rng_below(&rng, VOCABULARY) : 0;
    for (int64_t i = 0; i < t; i++)
        if (i % 7 < 2) token[i] = -1 - (int32_t)tdm_rng_below(&rng, LEARNED);
    const int64_t widths[] = {1, 7, 65, 512};
    for (size_t k = 0; k < 4; k++) {
        int64_t width = widths[k], n = (t + BEYOND) * width;
        float *table = random_f32(VOCABULARY * width, 1, 1.0),
              *position = random_f32(CONTEXT * width, 2, 1.0), *context = random_f32(LEARNED * width, 4, 1.0);
        float *x = random_f32(n, 3, 1.0), *x_ref = copy_f32(x, n);
        tdm_text_tokens_forward(ops, SEQUENCES, seq, width, token, table, context, position, x);
        text_tokens_forward_ref(SEQUENCES, seq, width, token, table, context, position, x_ref);
        check_f32("text tokens", TOL_EXACT, TDM_F32, n, x, x_ref);
        float *d_table = copy_f32(table, VOCABULARY * width),
              *d_table_ref = copy_f32(table, VOCABULARY * width);
        float *d_position = copy_f32(position, CONTEXT * width),
              *d_position_ref = copy_f32(position, CONTEXT * width);
        float *d_context = copy_f32(context, LEARNED * width),
              *d_context_ref = copy_f32(context, LEARNED * width);
        tdm_text_tokens_backward(ops, SEQUENCES, seq, width, token, x, d_table, d_context, d_position);
        text_tokens_backward_ref(SEQUENCES, seq, width, token, x, d_table_ref, d_context_ref, d_position_ref);
        check_f32("text tokens d_context", TOL_EXACT, TDM_F32, LEARNED * width, d_context, d_context_ref);
        check_f32("text tokens d_table", TOL_EXACT, TDM_F32, VOCABULARY * width, d_table, d_table_ref);
        check_f32("text tokens d_position", TOL_EXACT, TDM_F32, CONTEXT * width, d_position, d_position_ref);
        tdm_text_tokens_backward(ops, SEQUENCES, seq, width, token, x, NULL, d_context, NULL); /* it alone */
        text_tokens_backward_ref(SEQUENCES, seq, width, token, x, d_table_ref, d_context_ref, d_position_ref);
        check_f32("text tokens d_context", TOL_EXACT, TDM_F32, LEARNED * width, d_context, d_context_ref);
        free(table), free(position), free(context), free(x), free(x_ref), free(d_context),
            free(d_context_ref);
        free(d_table), free(d_table_ref), free(d_position), free(d_position_ref);
    }
    free(token);
}

static void test_text_tokens(void **state)
{
    (void)state;
    for_each_context(text_tokens);
}

static void gather_and_scatter(tdm_ops *ops)
{
    enum { ROWS = 9, N = 3, WIDTH = 67 };
    const int64_t row[N] = {8, 0, 4};
    float *x = random_f32(ROWS * WIDTH, 1, 1.0), *before = copy_f32(x, ROWS * WIDTH);
    float y[N * WIDTH];
    tdm_gather_rows(ops, N, WIDTH, row, x, y);
    for (int64_t i = 0; i < N; i++) CHECK_MEM_EQ(y + i * WIDTH, x + row[i] * WIDTH, sizeof(float) * WIDTH);
    tdm_scatter_rows(ops, N, WIDTH, row, y, x);
    for (int64_t i = 0; i < ROWS * WIDTH; i++) {
        bool hit = i / WIDTH == 8 || i / WIDTH == 0 || i / WIDTH == 4;
        CHECK_EQ(x[i], hit ? 2.0f * before[i] : before[i]);
    }
    free(x), free(before);
}

static void test_gather_and_scatter(void **state)
{
    (void)state;
    for_each_context(gather_and_scatter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patchify),
        cmocka_unit_test(test_image_tokens),
        cmocka_unit_test(test_text_tokens),
        cmocka_unit_test(test_gather_and_scatter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
