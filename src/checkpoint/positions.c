/* Position embeddings of another size, as torch.nn.functional.interpolate computes them (align_corners =
 * false): along one axis at a time, every output row a weighted sum of a few input rows. */
#include "tandem/convert.h"

#include <math.h>
#include <string.h>

typedef enum resize_filter { FILTER_LINEAR, FILTER_CUBIC, FILTER_CUBIC_ANTIALIAS } resize_filter;

typedef struct position_method {
    const char *name;
    resize_filter image;
    bool keep_text_ends; /* the first and the last token's rows are copied */
} position_method;

static const position_method methods[] = {
    {"open_clip", FILTER_CUBIC_ANTIALIAS, false},
    {"huggingface", FILTER_CUBIC, false},
    {"tbps_clip", FILTER_LINEAR, true},
};

static tdm_status find_method(const char *name, const position_method **method)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(methods[i].name, name) != 0) continue;
        *method = &methods[i];
        return TDM_OK;
    }
    TDM_FAIL(TDM_E_USAGE, "position embeddings: no resize method \"%.80s\"; known: %s", name,
             TDM_POSITION_METHODS);
}

/* Keys' cubic convolution with parameter a: -0.75 in PyTorch's plain bicubic, -0.5 in its antialiased one. */
static double cubic(double x, double a)
{
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    return x < 2.0 ? a * (((x - 5.0) * x + 8.0) * x - 4.0) : 0.0;
}

/* The input rows [begin, begin + count) that make up one output row, and their weights [count]. */
typedef struct taps {
    int64_t begin, count;
    double *weight; /* room for all input rows */
} taps;

/* Rows beyond the ends are the end rows. */
static void add_clamped(taps *t, int64_t from, int64_t row, double weight)
{
    t->weight[tdm_max_i64(0, tdm_min_i64(row, from - 1)) - t->begin] += weight;
}

static void plain_taps(taps *t, resize_filter filter, int64_t from, double at)
{
    if (filter == FILTER_LINEAR) at = fmax(at, 0.0);
    const int64_t base = (int64_t)floor(at), reach = filter == FILTER_LINEAR ? 0 : 1;
    const double part = at - (double)base;
    t->begin = tdm_max_i64(0, tdm_min_i64(base - reach, from - 1));
    t->count = tdm_min_i64(base + 1 + reach, from - 1) - t->begin + 1;
    memset(t->weight, 0, sizeof *t->weight * (size_t)t->count);
    for (int64_t k = -reach; k <= 1 + reach; k++) {
        const double distance = part - (double)k;
        add_clamped(t, from, base + k,
                    filter == FILTER_LINEAR ? 1.0 - fabs(distance) : cubic(distance, -0.75));
    }
}

/* The filter is as wide as the scale when the grid shrinks, and is cut off at the ends. */
static void antialias_taps(taps *t, int64_t from, double scale, double center)
{
    const double wide = fmax(scale, 1.0), support = 2.0 * wide;
    double sum = 0.0;
    t->begin = (int64_t)fmax(center - support + 0.5, 0.0);
    t->count = tdm_min_i64((int64_t)(center + support + 0.5), from) - t->begin;
    for (int64_t k = 0; k < t->count; k++) {
        t->weight[k] = cubic(((double)(t->begin + k) - center + 0.5) / wide, -0.5);
        sum += t->weight[k];
    }
    for (int64_t k = 0; k < t->count; k++) t->weight[k] /= sum;
}

/* x [outer][from][inner] -> y [outer][to][inner] */
static tdm_status resize_axis(resize_filter filter, int64_t outer, int64_t from, int64_t to, int64_t inner,
                              const float *x, float *y)
{
    taps t = {0};
    TDM_TRY(TDM_ALLOC(from, &t.weight));
    const double scale = (double)from / (double)to;
    for (int64_t i = 0; i < to; i++) {
        const double center = ((double)i + 0.5) * scale;
        if (filter == FILTER_CUBIC_ANTIALIAS)
            antialias_taps(&t, from, scale, center);
        else
            plain_taps(&t, filter, from, center - 0.5);
        for (int64_t o = 0; o < outer; o++) {
            float *out = y + (o * to + i) * inner;
            memset(out, 0, sizeof *out * (size_t)inner);
            for (int64_t k = 0; k < t.count; k++) {
                const float *in = x + (o * from + t.begin + k) * inner, weight = (float)t.weight[k];
                for (int64_t c = 0; c < inner; c++) out[c] += weight * in[c];
            }
        }
    }
    tdm_free(t.weight);
    return TDM_OK;
}

static tdm_status check_rows(int64_t from, int64_t to)
{
    TDM_REQUIRE(from > 0 && to > 0, TDM_E_SHAPE, "position embeddings: cannot resize %lld rows to %lld",
                (long long)from, (long long)to);
    return TDM_OK;
}

tdm_status tdm_resize_image_positions(const char *method, int64_t from_h, int64_t from_w, int64_t to_h,
                                      int64_t to_w, int64_t width, const float *from, float *to)
{
    const position_method *found = NULL;
    float *between = NULL;
    TDM_TRY(find_method(method, &found));
    TDM_TRY(check_rows(from_h, to_h));
    TDM_TRY(check_rows(from_w, to_w));
    TDM_TRY(TDM_ALLOC(from_h * to_w * width, &between));
    memcpy(to, from, sizeof *to * (size_t)width);
    tdm_status status = resize_axis(found->image, from_h, from_w, to_w, width, from + width, between);
    if (status == TDM_OK)
        status = resize_axis(found->image, 1, from_h, to_h, to_w * width, between, to + width);
    tdm_free(between);
    return status;
}

tdm_status tdm_resize_text_positions(const char *method, int64_t from_rows, int64_t to_rows, int64_t width,
                                     const float *from, float *to)
{
    const position_method *found = NULL;
    TDM_TRY(find_method(method, &found));
    if (!found->keep_text_ends) {
        TDM_TRY(check_rows(from_rows, to_rows));
        return resize_axis(FILTER_LINEAR, 1, from_rows, to_rows, width, from, to);
    }
    TDM_TRY(check_rows(from_rows - 2, to_rows - 2));
    const size_t row_bytes = sizeof *to * (size_t)width;
    memcpy(to, from, row_bytes);
    memcpy(to + (to_rows - 1) * width, from + (from_rows - 1) * width, row_bytes);
    return resize_axis(FILTER_LINEAR, 1, from_rows - 2, to_rows - 2, width, from + width, to + width);
}
