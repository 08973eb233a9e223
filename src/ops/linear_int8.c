/* Linear layers that only infer, in int8: weights rounded by output channel when they are packed, rows when they come in
 * (int8.h). */
#include "gemm_share.h"
#include "int8.h"
#include "linear_impl.h"

#include <omp.h>
#include <string.h>

typedef struct int8_linear {
    tdm_ops *ops;
    const int8_kernel *kernel;
    linear_shape shape;
    int64_t padded;       /* shape.in */
    unsigned char *right; /* [panels of channels][padded][INT8_COLS] integers, as the kernel takes them */
    /* [panels of channels · INT8_COLS], zeros beyond the channels and where there is no bias */
    float *scale, *sum, *bias;
} int8_linear;

static const int8_kernel *kernel_for(const tdm_cpu *cpu)
{
#if defined(TANDEM_HAVE_AMX)
    if (cpu->amx_int8 && cpu->avx512_vnni) return &int8_kernel_amx;
#endif
#if defined(__x86_64__)
    if (cpu->avx512_vnni) return &int8_kernel_vnni;
    if (cpu->isa >= TDM_ISA_AVX2) return &int8_kernel_avx2;
#endif
    (void)cpu;
    return &int8_kernel_generic;
}

const char *tdm_ops_int8(const tdm_ops *ops)
{
    return kernel_for(&ops->cpu)->name;
}

/* ---- The weight ---- */

static int64_t panels(const int8_linear *l)
{
    return ceil_div(l->shape.out, INT8_COLS);
}

static int64_t panel_bytes(const int8_linear *l)
{
    return l->padded * INT8_COLS * l->kernel->value_bytes;
}

static bool supports(const tdm_ops *ops, const linear_shape *shape)
{
    (void)ops;
    return !shape->transposed && shape->in <= INT8_WIDEST;
}

static void destroy(void **state)
{
    int8_linear *l = *state;
    if (!l) return;
    tdm_free(l->right);
    tdm_free(l->scale);
    tdm_free(l->sum);
    tdm_free(l->bias);
    tdm_free(l);
    *state = NULL;
}

static tdm_status create(tdm_ops *ops, const linear_shape *shape, void **state)
{
    int8_linear *l = NULL;
    const tdm_status status = TDM_ALLOC(1, &l);
    *state = l;
    TDM_TRY(status);
    l->ops = ops;
    l->kernel = kernel_for(&ops->cpu);
    l->shape = *shape;
    l->padded = tdm_round_up(shape->in, INT8_STEP);
    TDM_TRY(TDM_ALLOC(panels(l) * panel_bytes(l), &l->right));
    TDM_TRY(TDM_ALLOC(panels(l) * INT8_COLS, &l->scale));
    TDM_TRY(TDM_ALLOC(panels(l) * INT8_COLS, &l->sum));
    return TDM_ALLOC(panels(l) * INT8_COLS, &l->bias);
}

/* Integers row[padded] of a channel to its place in a panel: four bytes, or two int16, of each channel in turn. */
static void put_channel(const int8_linear *l, const int8_t *row, int64_t channel, unsigned char *panel)
{
    const bool bytes = l->kernel->value_bytes == 1;
    uint32_t *words = (uint32_t *)(void *)panel + channel;
    for (int64_t k = 0; k < l->padded; k += bytes ? 4 : 2, words += INT8_COLS) {
        if (bytes) {
            memcpy(words, row + k, sizeof *words);
            *words ^= 0x80808080U; /* 128 added to each */
        } else {
            const int16_t pair[2] = {row[k], row[k + 1]};
            memcpy(words, pair, sizeof *words);
        }
    }
}

static tdm_status require_scratch(const int8_linear *l, int64_t bytes)
{
    TDM_REQUIRE(ops_scratch(l->ops, 0, (size_t)bytes), TDM_E_NOMEM,
                "an int8 layer of %lld inputs needs %lld bytes of scratch a thread", (long long)l->shape.in,
                (long long)bytes);
    return TDM_OK;
}

static tdm_status pack(void *state, const float *weight, const float *bias, bool with_backward)
{
    int8_linear *l = state;
    const int64_t n = l->shape.out, k = l->shape.in;
    TDM_REQUIRE(!with_backward, TDM_E_CONFIG, "int8 is for inference: it has no gradients");
    TDM_TRY(require_scratch(l, l->padded));
#pragma omp parallel for num_threads(l->ops->threads) schedule(static)
    for (int64_t p = 0; p < panels(l); p++) {
        int8_t *row = (int8_t *)l->ops->scratch[omp_get_thread_num()].base;
        unsigned char *panel = l->right + p * panel_bytes(l);
        for (int64_t c = 0, i = p * INT8_COLS; c < INT8_COLS && i < n; c++, i++) {
            const int32_t sum =
                l->kernel->quantise(TDM_F32, k, l->padded, weight + i * k, row, &l->scale[i], NULL);
            l->sum[i] = (float)sum * l->scale[i];
            put_channel(l, row, c, panel);
            if (bias) l->bias[i] = bias[i];
        }
    }
    return TDM_OK;
}

/* ---- The product ---- */

enum {
    LEFT_BYTES = 1 << 20, /* packed left operand of a block at most, so that it stays in L2 */
    BLOCK_PANELS = 24     /* its panels at most */
};

/* What a thread works in: the panels of a block, and a panel's rows as integers on their way. */
typedef struct room {
    unsigned char *left; /* [BLOCK_PANELS, or fewer][left_bytes] */
    int8_t *row;         /* [left_rows][padded] */
    float scale[BLOCK_PANELS][INT8_MOST_ROWS], middle[BLOCK_PANELS][INT8_MOST_ROWS];
    int32_t start[BLOCK_PANELS][INT8_MOST_ROWS];
} room;

static int64_t left_bytes(const int8_linear *l)
{
    return l->kernel->left_rows * l->padded * l->kernel->value_bytes;
}

static int64_t block_panels(const int8_linear *l)
{
    return tdm_max_i64(1, tdm_min_i64(LEFT_BYTES / left_bytes(l), BLOCK_PANELS));
}

static int64_t room_bytes(const int8_linear *l)
{
    return block_panels(l) * left_bytes(l) + l->kernel->left_rows * l->padded;
}

/* Row panel `i` of the block from the rows of x. */
static void take_rows(const int8_linear *l, room *r, int64_t i, int64_t rows, const void *x)
{
    const int8_kernel *kernel = l->kernel;
    unsigned char *panel = r->left + i * left_bytes(l);
    int8_t *row = kernel->arrange ? r->row : (int8_t *)panel;
    for (int64_t j = 0; j < rows; j++) {
        const int32_t sum = kernel->quantise(l->shape.dtype, l->shape.in, l->padded,
                                             act_at(l->shape.dtype, x, j * l->shape.in), row + j * l->padded,
                                             &r->scale[i][j], &r->middle[i][j]);
        r->start[i][j] = kernel->value_bytes == 1 ? -128 * sum : 0;
    }
    if (kernel->arrange) kernel->arrange(rows, l->padded, row, panel);
}

typedef struct product {
    const int8_linear *l;
    const void *x;
    void *y;
    bool stream;
} product;

/* Rows [row, row + rows) of y, panels of channels [col_begin, col_end). */
static void multiply_block(const product *p, int64_t row, int64_t rows, int64_t col_begin, int64_t col_end,
                           room *r)
{
    const int8_linear *l = p->l;
    const int64_t step = l->kernel->rows, in = l->shape.in, out = l->shape.out;
    const int64_t row_panels = ceil_div(rows, step), lines = panel_bytes(l) / 64;
    for (int64_t i = 0; i < row_panels; i++)
        take_rows(l, r, i, tdm_min_i64(step, rows - i * step),
                  act_at(l->shape.dtype, p->x, (row + i * step) * in));
    for (int64_t j = col_begin; j < col_end; j++) {
        const int64_t col = j * INT8_COLS;
        const unsigned char *right = l->right + j * panel_bytes(l);
        int8_result result = {.dtype = l->shape.dtype,
                              .step = out,
                              .cols = tdm_min_i64(INT8_COLS, out - col),
                              .stream = p->stream,
                              .scale = l->scale + col,
                              .sum = l->sum + col,
                              .bias = l->bias + col};
        for (int64_t i = 0; i < row_panels; i++) {
            const int64_t line = lines * i / row_panels; /* of the next panel */
            const int8_later later = {.at = (const char *)right + panel_bytes(l) + line * 64,
                                      .lines = j + 1 < col_end ? lines * (i + 1) / row_panels - line : 0};
            const int8_panel panel = {.left = r->left + i * left_bytes(l),
                                      .scale = r->scale[i],
                                      .middle = r->middle[i],
                                      .start = r->start[i],
                                      .rows = tdm_min_i64(step, rows - i * step)};
            result.y = act_at_mutable(l->shape.dtype, p->y, (row + i * step) * out + col);
            l->kernel->multiply(l->padded, &panel, right, later, &result);
        }
    }
}

static tdm_status forward(void *state, int64_t t, const void *x, void *y)
{
    const int8_linear *l = state;
    const int8_kernel *kernel = l->kernel;
    const int64_t out = l->shape.out, act_bytes = (int64_t)tdm_dtype_bytes(l->shape.dtype);
    const product p = {
        .l = l, .x = x, .y = y, .stream = gemm_streams(l->ops->threads, y, t, out, INT8_COLS, act_bytes)};
    TDM_TRY(require_scratch(l, room_bytes(l)));
#pragma omp parallel num_threads(l->ops->threads)
    {
        const int thread = omp_get_thread_num(), team = omp_get_num_threads();
        room r = {.left = l->ops->scratch[thread].base};
        r.row = (int8_t *)(r.left + block_panels(l) * left_bytes(l));
        const gemm_share mine = gemm_share_of(thread, team, ceil_div(t, kernel->rows), panels(l));
        const int64_t rows = mine.col_begin < mine.col_end ? mine.row_end - mine.row_begin : 0;
        const int64_t blocks = ceil_div(rows, block_panels(l));
        if (kernel->begin) kernel->begin();
        for (int64_t i = 0; i < blocks; i++) {
            const gemm_share part = gemm_part(mine, blocks, 1, i, 0);
            const int64_t row = part.row_begin * kernel->rows;
            multiply_block(&p, row, tdm_min_i64(part.row_end * kernel->rows, t) - row, part.col_begin,
                           part.col_end, &r);
        }
        if (kernel->end) kernel->end();
    }
    return TDM_OK;
}

const linear_backend linear_int8 = {
    .name = "int8",
    .supports = supports,
    .create = create,
    .destroy = destroy,
    .pack = pack,
    .forward = forward,
};
