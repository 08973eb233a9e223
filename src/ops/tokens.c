/* Input ends of the towers: patches, class token, positions, token table, row gather and scatter. Sums over
 * samples are made by ownership of positions and tokens, in sample order: the same for any thread count. */
#include "ops_impl.h"

#include <omp.h>
#include <string.h>

/* (u8/255 - mean)/std for each channel and byte. */
typedef struct pixel_table {
    float f32[3][256];
    uint16_t bf16[3][256];
    float offset[3], scale[3]; /* (u8 - offset)·scale */
    bool split;                /* kernels->split_pixels gives the table's numbers */
} pixel_table;

/* Its arithmetic is f32: for all bytes at once, does it round to the same bf16? */
static bool split_agrees(const tdm_ops *ops, const pixel_table *table)
{
    uint8_t pixel[256][3];
    uint16_t value[3][256], *const plane[3] = {value[0], value[1], value[2]};
    if (ops->dtype != TDM_BF16 || !ops->kernels->split_pixels) return false;
    for (int byte = 0; byte < 256; byte++) memset(pixel[byte], byte, 3);
    ops->kernels->split_pixels(256, pixel[0], table->offset, table->scale, plane);
    return !memcmp(value, table->bf16, sizeof(value));
}

static void fill_pixel_table(const tdm_ops *ops, const double mean[3], const double std[3],
                             pixel_table *table)
{
    for (int channel = 0; channel < 3; channel++)
        for (int value = 0; value < 256; value++)
            table->f32[channel][value] = (float)((value / 255.0 - mean[channel]) / std[channel]);
    for (int channel = 0; channel < 3; channel++) {
        table->offset[channel] = (float)(255.0 * mean[channel]);
        table->scale[channel] = (float)(1.0 / (255.0 * std[channel]));
    }
    ops->kernels->f32_to_bf16(3 * 256, table->f32[0], table->bf16[0]);
    table->split = split_agrees(ops, table);
}

/* One patch: `image` at its first pixel, row_bytes between rows of the image -> row[3][patch][patch]. */
static void patch_row_bf16(const tdm_ops *ops, const pixel_table *table, int64_t patch, int64_t row_bytes,
                           const uint8_t *image, uint16_t *row)
{
    if (table->split) {
        for (int64_t y = 0; y < patch; y++) {
            uint16_t *to = row + y * patch, *const plane[3] = {to, to + patch * patch,
                                                               to + 2 * patch * patch};
            ops->kernels->split_pixels(patch, image + y * row_bytes, table->offset, table->scale, plane);
        }
        return;
    }
    for (int64_t y = 0; y < patch; y++)
        for (int channel = 0; channel < 3; channel++) {
            const uint8_t *pixel = image + y * row_bytes + channel;
            uint16_t *to = row + (channel * patch + y) * patch;
            for (int64_t x = 0; x < patch; x++) to[x] = table->bf16[channel][pixel[3 * x]];
        }
}

static void patch_row_f32(const pixel_table *table, int64_t patch, int64_t row_bytes, const uint8_t *image,
                          float *row)
{
    for (int64_t y = 0; y < patch; y++)
        for (int channel = 0; channel < 3; channel++) {
            const uint8_t *pixel = image + y * row_bytes + channel;
            float *to = row + (channel * patch + y) * patch;
            for (int64_t x = 0; x < patch; x++) to[x] = table->f32[channel][pixel[3 * x]];
        }
}

void tdm_patchify(tdm_ops *ops, int64_t n, int64_t height, int64_t width, int64_t patch, int64_t kept,
                  const int64_t *place, const uint8_t *image, const double mean[3], const double std[3],
                  void *rows)
{
    double start = op_begin();
    pixel_table table;
    fill_pixel_table(ops, mean, std, &table);
    const int64_t grid_w = width / patch, each = place ? kept : height / patch * grid_w;
    const int64_t elements = 3 * patch * patch, row_bytes = 3 * width;
    int threads = ops_threads_for(ops, n * each, elements);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n * each; i++) {
        const int64_t at = place ? place[i] : i % each;
        const uint8_t *pixels =
            image + (i / each * height + at / grid_w * patch) * row_bytes + at % grid_w * patch * 3;
        void *row = act_at_mutable(ops->dtype, rows, i * elements);
        if (ops->dtype == TDM_BF16)
            patch_row_bf16(ops, &table, patch, row_bytes, pixels, row);
        else
            patch_row_f32(&table, patch, row_bytes, pixels, row);
    }
    op_end(ops, TDM_OP_EMBEDDING, start, 0.0);
}

/* One window, its upper left corner at (top, left) of the image. */
static void window_row(tdm_dtype dtype, const pixel_table *table, int64_t height, int64_t width,
                       int64_t kernel, int64_t top, int64_t left, const uint8_t *image, void *row, int64_t at)
{
    for (int channel = 0; channel < 3; channel++)
        for (int64_t y = top; y < top + kernel; y++)
            for (int64_t x = left; x < left + kernel; x++, at++) {
                const bool inside = y >= 0 && y < height && x >= 0 && x < width;
                const uint8_t value = inside ? image[(y * width + x) * 3 + channel] : 0;
                if (dtype == TDM_BF16)
                    ((uint16_t *)row)[at] = inside ? table->bf16[channel][value] : 0;
                else
                    ((float *)row)[at] = inside ? table->f32[channel][value] : 0.0f;
            }
}

void tdm_image_windows(tdm_ops *ops, int64_t n, int64_t height, int64_t width, int64_t kernel, int64_t stride,
                       int64_t pad, const uint8_t *image, const double mean[3], const double std[3],
                       void *rows)
{
    double start = op_begin();
    pixel_table table;
    fill_pixel_table(ops, mean, std, &table);
    int64_t out_h = (height + 2 * pad - kernel) / stride + 1, out_w = (width + 2 * pad - kernel) / stride + 1;
    int64_t elements = 3 * kernel * kernel;
    int threads = ops_threads_for(ops, n * out_h, out_w * elements);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t strip = 0; strip < n * out_h; strip++) {
        const uint8_t *first = image + strip / out_h * height * width * 3;
        const int64_t top = strip % out_h * stride - pad;
        for (int64_t column = 0; column < out_w; column++)
            window_row(ops->dtype, &table, height, width, kernel, top, column * stride - pad, first, rows,
                       (strip * out_w + column) * elements);
    }
    op_end(ops, TDM_OP_EMBEDDING, start, 0.0);
}

void tdm_image_tokens_forward(tdm_ops *ops, int64_t n, int64_t patches, const int64_t *place, int64_t width,
                              const void *patch_rows, const float *class_token, const float *position,
                              float *x)
{
    double start = op_begin();
    const ops_kernels *kernels = ops->kernels;
    int threads = ops_threads_for(ops, n, patches * width * 10);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float *rows = x + i * (1 + patches) * width;
        kernels->add(width, class_token, position, rows);
        const int64_t stretch = place ? 1 : patches; /* rows whose positions lie behind each other */
        for (int64_t k = 0; k < patches; k += stretch) {
            const int64_t row = i * patches + k, at = place ? place[row] : 0;
            kernels->add_act(ops->dtype, stretch * width, act_at(ops->dtype, patch_rows, row * width),
                             position + (1 + at) * width, rows + (1 + k) * width);
        }
    }
    op_end(ops, TDM_OP_EMBEDDING, start, 0.0);
}

void tdm_image_tokens_backward(tdm_ops *ops, int64_t n, int64_t patches, const int64_t *place, int64_t width,
                               const float *dx, void *d_patch_rows, float *dclass_token, float *dposition)
{
    double start = op_begin();
    const ops_kernels *kernels = ops->kernels;
    int64_t image = (1 + patches) * width; /* elements of one image */
    int threads = ops_threads_for(ops, n, image * 10);
#pragma omp parallel num_threads(threads)
    {
        int parts = omp_get_num_threads(), part = omp_get_thread_num();
        int64_t first = tdm_part_begin(n, parts, part), last = tdm_part_begin(n, parts, part + 1);
        for (int64_t i = 0; i < n; i++) { /* a thread's images are split, its positions are summed */
            const float *from = dx + i * image;
            void *to = act_at_mutable(ops->dtype, d_patch_rows, i * patches * width);
            if (i >= first && i < last && ops->dtype == TDM_BF16)
                kernels->f32_to_bf16(patches * width, from + width, to);
            else if (i >= first && i < last)
                memcpy(to, from + width, sizeof(float) * (size_t)(patches * width));
            if (part == 0) kernels->add(width, dclass_token, from, dclass_token);
            for (int64_t k = 0; k <= patches; k++) {
                const int64_t at = k > 0 && place ? 1 + place[i * patches + k - 1] : k;
                if (at % parts != part) continue;
                kernels->add(width, dposition + at * width, from + k * width, dposition + at * width);
            }
        }
    }
    op_end(ops, TDM_OP_EMBEDDING, start, 0.0);
}

void tdm_text_tokens_forward(tdm_ops *ops, int64_t n_seq, const int64_t *seq, int64_t width,
                             const int32_t *token, const float *table, const float *context,
                             const float *position, float *x)
{
    double start = op_begin();
    int threads = ops_threads_for(ops, n_seq, n_seq ? seq[n_seq] / n_seq * width * 12 : 0);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n_seq; i++)
        for (int64_t row = seq[i]; row < seq[i + 1]; row++)
            ops->kernels->add(width,
                              token[row] < 0 ? context + (-1 - (int64_t)token[row]) * width
                                             : table + (int64_t)token[row] * width,
                              position + (row - seq[i]) * width, x + row * width);
    op_end(ops, TDM_OP_EMBEDDING, start, 0.0);
}

/* A thread owns the entries e of the table and of the context with e % parts == part, and the positions likewise. */
void tdm_text_tokens_backward(tdm_ops *ops, int64_t n_seq, const int64_t *seq, int64_t width,
                              const int32_t *token, const float *dx, float *dtable, float *dcontext,
                              float *dposition)
{
    double start = op_begin();
    const ops_kernels *kernels = ops->kernels;
    int threads = ops_threads_for(ops, n_seq, n_seq ? seq[n_seq] / n_seq * width * 24 : 0);
#pragma omp parallel num_threads(threads)
    {
        int parts = omp_get_num_threads(), part = omp_get_thread_num();
        for (int64_t i = 0; i < n_seq; i++)
            for (int64_t row = seq[i]; row < seq[i + 1]; row++) {
                const bool learned = token[row] < 0;
                const int64_t entry = learned ? -1 - (int64_t)token[row] : token[row], place = row - seq[i];
                const float *from = dx + row * width;
                float *to = learned ? dcontext : dtable;
                if (to && entry % parts == part)
                    kernels->add(width, to + entry * width, from, to + entry * width);
                if (dposition && place % parts == part)
                    kernels->add(width, dposition + place * width, from, dposition + place * width);
            }
    }
    op_end(ops, TDM_OP_EMBEDDING, start, 0.0);
}

void tdm_gather_rows(tdm_ops *ops, int64_t n, int64_t width, const int64_t *row, const float *x, float *y)
{
    double start = op_begin();
    for (int64_t i = 0; i < n; i++) memcpy(y + i * width, x + row[i] * width, sizeof(float) * (size_t)width);
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}

void tdm_scatter_rows(tdm_ops *ops, int64_t n, int64_t width, const int64_t *row, const float *dy, float *dx)
{
    double start = op_begin();
    for (int64_t i = 0; i < n; i++)
        ops->kernels->add(width, dx + row[i] * width, dy + i * width, dx + row[i] * width);
    op_end(ops, TDM_OP_OTHER, start, 0.0);
}
