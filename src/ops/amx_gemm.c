/* bf16 matrix products on AMX tiles. Instructions: Intel 64 SDM vol. 2, TDPBF16PS, TILELOADD, LDTILECFG.
 *
 * A tile is 16 rows of 64 bytes. TDPBF16PS adds to 16 x 16 f32 sums the product of a left tile, 16 rows of 32
 * contiguous k, and a right tile, 16 rows of 16 columns where each element is a pair (k, k + 1):
 *
 *        left [16 m][32 k]          right [16 k/2][16 n][2]           sums [16 m][16 n]
 *      m0  k0 k1 k2 … k31        k0k1   n0:k0 k1  n1:k0 k1 …
 *      m1  k0 k1 k2 … k31        k2k3   n0:k2 k3  n1:k2 k3 …
 *
 * Everything below is one micro kernel: 32 x 32 sums, held in four tiles, plus a panel of 32 rows times a
 * panel of 32 columns. Of the eight tiles, four hold sums and two hold each operand; per step of 32 k it
 * loads four tiles (4 KB) and multiplies four times (64 cycles). From the L1 cache the loads keep up (about
 * 97 % of the multiplier's speed); with both panels coming from L2 they do not (about 65 %).
 *
 * Hence the blocking. k is cut into blocks of at most K_BLOCK_STEPS steps, so that one panel's block is 16
 * KB: the right block stays in L1 while left blocks of the same k stream past it from L2, and the 32 x 32
 * sums of each go to memory in between. In words:
 *
 *     product           for each block of rows (its left operand and its sums fit L2)
 *                           for each panel of 32 columns, for each block of k
 *                               for each panel of 32 rows: micro kernel; after the last k round, store
 *     weight gradient   for each chunk of tokens (k)
 *                           pack the chunk of both operands into panels, all threads together
 *                           for each block of the gradient (it fits L2), for each block of k
 *                               for each panel of columns, of rows: micro kernel, sums in place
 */
#include "amx_gemm.h"

#include <cpuid.h>
#include <immintrin.h>
#include <omp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    TILE = 16,            /* rows of a tile, columns of a tile of sums */
    PANEL = 32,           /* rows or columns of the micro kernel */
    STEP = 32,            /* k of one step of the micro kernel */
    BLOCK = PANEL * STEP, /* elements of one step of one panel; also sums of the micro kernel */
    K_BLOCK_STEPS = 8,    /* steps of a block of k */
    LEFT_BYTES = 1 << 20, /* left operand of a block of rows, aimed at */
    ROW_PANELS = 16,      /* panels of a block of rows at most: their sums are 64 KB */
    CHUNK_STEPS = 32,     /* steps of a chunk of tokens: 1024 tokens */
    GRADIENT_PANELS = 16  /* panels of a block of the gradient, in each direction at most: 1 MB of sums */
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
/* First item of part `part` when `count` items are cut into `parts` nearly equal pieces. */
static int64_t part_begin(int64_t count, int64_t parts, int64_t part)
{
    return count / parts * part + smaller(part, count % parts);
}
static size_t round_to_line(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* ---- Tiles ---- */

bool amx_gemm_available(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 }; /* Linux, arch/x86/xstate.rst */
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl"))
        return false;
    if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) || !(eax >> 5 & 1u)) return false; /* AVX512_BF16 */
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
    if (!(edx >> 22 & 1u) || !(edx >> 24 & 1u)) return false; /* AMX-BF16, AMX-TILE */
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Keeps the compiler from moving plain stores past a tile load, whose intrinsic does not say what it reads.
 */
static inline void finish_stores(void)
{
    __asm__ volatile("" ::: "memory");
}

/* All eight tiles: 16 rows of 64 bytes. The layout is LDTILECFG's. */
static void configure_tiles(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config __attribute__((aligned(64))) = {
        .palette = 1,
        .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
        .rows = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE},
    };
    _tile_loadconfig(&config);
}

/* The sums of the micro kernel live in tiles 0 to 3: | 0 1 |
 *                                                    | 2 3 |  */
static inline void load_sums(const float *c, int64_t row_step)
{
    int64_t bytes = row_step * 4;
    _tile_loadd(0, c, bytes);
    _tile_loadd(1, c + TILE, bytes);
    _tile_loadd(2, c + TILE * row_step, bytes);
    _tile_loadd(3, c + TILE * row_step + TILE, bytes);
}
static inline void store_sums(float *c, int64_t row_step)
{
    int64_t bytes = row_step * 4;
    _tile_stored(0, c, bytes);
    _tile_stored(1, c + TILE, bytes);
    _tile_stored(2, c + TILE * row_step, bytes);
    _tile_stored(3, c + TILE * row_step + TILE, bytes);
}
/* bias: 32 values, or NULL for zero */
static inline void start_sums(const float *bias)
{
    if (bias) {
        load_sums(bias, 0); /* the same row 16 times */
        return;
    }
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

/* A panel of the left operand: 32 rows. Plain: rows of a row-major matrix. Packed: [step][32 rows][32 k]. */
typedef struct left_panel {
    const uint16_t *at;
    int64_t row_step;  /* elements between rows */
    int64_t next_step; /* elements between steps of k */
} left_panel;

/* sums += left · right over `steps` steps of k */
static inline void multiply_panels(int64_t steps, left_panel left, const uint16_t *right)
{
    int64_t row_bytes = left.row_step * 2;
    const uint16_t *upper = left.at, *lower = left.at + TILE * left.row_step;
    for (int64_t i = 0; i < steps; i++) {
        _tile_loadd(4, upper, row_bytes);
        _tile_loadd(6, right, 64);
        _tile_loadd(7, right + BLOCK / 2, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, lower, row_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        upper += left.next_step;
        lower += left.next_step;
        right += BLOCK;
    }
}

/* Cuts k into blocks of nearly equal length, K_BLOCK_STEPS at most. */
static inline int64_t k_blocks(int64_t steps)
{
    return ceil_div(steps, K_BLOCK_STEPS);
}

/* ---- Who computes what ----
 * Threads form a grid over the panels of rows and columns. */
typedef struct share {
    int64_t row_begin, row_end, col_begin, col_end; /* in panels */
} share;

/* The grid is the factorisation of `threads` whose largest share is smallest; on a tie, the one with more
 * parts of rows. */
static share share_of(int thread, int threads, int64_t row_panels, int64_t col_panels)
{
    int best = threads;
    int64_t best_size = INT64_MAX;
    for (int parts = threads; parts >= 1; parts--) {
        if (threads % parts) continue;
        int64_t size = ceil_div(row_panels, parts) * ceil_div(col_panels, threads / parts);
        if (size >= best_size) continue;
        best_size = size;
        best = parts;
    }
    int64_t row = thread % best, col = thread / best;
    return (share){.row_begin = part_begin(row_panels, best, row),
                   .row_end = part_begin(row_panels, best, row + 1),
                   .col_begin = part_begin(col_panels, threads / best, col),
                   .col_end = part_begin(col_panels, threads / best, col + 1)};
}

/* ---- Packing ---- */

/* Transposes 16 x 16 dwords in registers: pairs of rows, of twos, of fours, of eights. */
static inline void transpose_dwords(__m512i r[16])
{
    __m512i s[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* r[i + j]: column j of each lane, rows i to i + 3 */
        r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) { /* lanes: columns j, 4 + j, 8 + j, 12 + j */
        __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88),
                b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        s[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        s[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        s[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
        s[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) r[i] = s[i];
}

/* Rows `even`, `odd` of 32 elements each -> pairs of columns 0 to 15 and of columns 16 to 31. */
static inline void pair_rows(const uint16_t *even, const uint16_t *odd, __m512i *low, __m512i *high)
{
    /* unpack works within 128-bit lanes: put quadwords 0 to 3 in the lanes' low halves, 4 to 7 in the high */
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    __m512i e = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(even));
    __m512i o = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(odd));
    *low = _mm512_unpacklo_epi16(e, o);
    *high = _mm512_unpackhi_epi16(e, o);
}

/* 32 x 32 elements [k][n] -> one step of a right panel, [2][16 k/2][16 n][2] */
static inline void pack_right(const uint16_t *x, int64_t row_step, uint16_t *panel)
{
    for (int p = 0; p < TILE; p++) {
        __m512i low, high;
        pair_rows(x + 2 * p * row_step, x + (2 * p + 1) * row_step, &low, &high);
        _mm512_store_si512(panel + p * 32, low);
        _mm512_store_si512(panel + BLOCK / 2 + p * 32, high);
    }
}

/* 32 x 32 elements [k][m] -> one step of a left panel, [32 m][32 k] */
static inline void pack_left(const uint16_t *x, int64_t row_step, uint16_t *panel)
{
    __m512i low[TILE], high[TILE];
#pragma GCC unroll 16
    for (int p = 0; p < TILE; p++)
        pair_rows(x + 2 * p * row_step, x + (2 * p + 1) * row_step, &low[p], &high[p]);
    transpose_dwords(low);
#pragma GCC unroll 16
    for (int m = 0; m < TILE; m++) _mm512_store_si512(panel + m * 32, low[m]);
    transpose_dwords(high);
#pragma GCC unroll 16
    for (int m = 0; m < TILE; m++) _mm512_store_si512(panel + (TILE + m) * 32, high[m]);
}

/* 32 x 32 elements [n][k] -> one step of a right panel, [2][16 k/2][16 n][2] */
static inline void pack_right_transposed(const uint16_t *x, int64_t row_step, uint16_t *panel)
{
    for (int half = 0; half < 2; half++) {
        __m512i r[TILE];
#pragma GCC unroll 16
        for (int n = 0; n < TILE; n++) r[n] = _mm512_loadu_si512(x + (half * TILE + n) * row_step);
        transpose_dwords(r);
#pragma GCC unroll 16
        for (int p = 0; p < TILE; p++) _mm512_store_si512(panel + half * (BLOCK / 2) + p * 32, r[p]);
    }
}

/* The upper left rows x cols of 32 x 32 elements, the rest zero. */
static void copy_padded(const uint16_t *x, int64_t row_step, int64_t rows, int64_t cols, uint16_t *y)
{
    memset(y, 0, BLOCK * sizeof(*y));
    for (int64_t i = 0; i < rows; i++) memcpy(y + i * 32, x + i * row_step, (size_t)cols * sizeof(*y));
}

/* f32 -> bf16, likewise */
static inline void convert_block(const float *w, int64_t row_step, int64_t rows, int64_t cols, uint16_t *y)
{
    __mmask16 low = cols < 16 ? (__mmask16)((1u << cols) - 1) : 0xffff;
    __mmask16 high = cols < 16 ? 0 : (__mmask16)((1ull << (cols - 16)) - 1);
    for (int64_t i = 0; i < 32; i++) {
        __m512i v = _mm512_setzero_si512();
        if (i < rows)
            v = (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, w + i * row_step + 16),
                                             _mm512_maskz_loadu_ps(low, w + i * row_step));
        _mm512_store_si512(y + i * 32, v);
    }
}

size_t amx_weight_elements(int64_t k, int64_t n)
{
    return (size_t)(ceil_div(n, PANEL) * ceil_div(k, STEP)) * BLOCK;
}

void amx_pack_weight(int threads, int64_t rows, int64_t cols, const float *w, uint16_t *along_cols,
                     uint16_t *along_rows)
{
    int64_t row_blocks = ceil_div(rows, 32), col_blocks = ceil_div(cols, 32);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < row_blocks; i++)
        for (int64_t j = 0; j < col_blocks; j++) {
            uint16_t block[BLOCK] __attribute__((aligned(64)));
            convert_block(w + i * 32 * cols + j * 32, cols, smaller(32, rows - i * 32),
                          smaller(32, cols - j * 32), block);
            if (along_cols) pack_right_transposed(block, 32, along_cols + (i * col_blocks + j) * BLOCK);
            if (along_rows) pack_right(block, 32, along_rows + (j * row_blocks + i) * BLOCK);
        }
}

/* ---- y = x · weight + bias ---- */

typedef struct product {
    int64_t t, k, n, steps; /* steps = ceil(k / 32) */
    const uint16_t *x, *weight;
    const float *bias;
    uint16_t *y;
} product;

/* What one thread works in. */
typedef struct product_scratch {
    float *sums;    /* [ROW_PANELS][32][32], kept between blocks of k */
    float *done[2]; /* [32][32] finished sums: one being rounded while the next is made */
    float *bias;    /* [32] of the current panel, padded */
    uint16_t *left; /* [rows of a block][steps · 32], where x cannot be read in place */
} product_scratch;

/* Panels of rows per block: the left operand takes LEFT_BYTES at most. */
static int64_t rows_of_block(int64_t steps)
{
    int64_t fit = LEFT_BYTES / (steps * BLOCK * 2);
    return fit < 4 ? 4 : smaller(fit, ROW_PANELS);
}

static size_t product_scratch_bytes(int64_t steps)
{
    return (ROW_PANELS + 2) * BLOCK * sizeof(float) + PANEL * sizeof(float) +
           (size_t)(rows_of_block(steps) * steps) * BLOCK * sizeof(uint16_t);
}

static product_scratch carve_product_scratch(unsigned char *memory)
{
    product_scratch s;
    s.sums = (float *)memory;
    s.done[0] = s.sums + ROW_PANELS * BLOCK;
    s.done[1] = s.done[0] + BLOCK;
    s.bias = s.done[1] + BLOCK;
    s.left = (uint16_t *)(s.bias + PANEL);
    return s;
}

/* A finished 32 x 32 tile of sums on its way to y. */
typedef struct rounding {
    const float *sums; /* NULL: none */
    uint16_t *y;
    int64_t rows, cols;
} rounding;

/* Rounds to bf16 and stores. Called one micro kernel late: its vector instructions then run beside the tile
 * multiplications, which the processor has queued by that time. */
static inline void round_sums(rounding r, int64_t row_step)
{
    if (!r.sums) return;
    __mmask32 keep = r.cols < 32 ? (1u << r.cols) - 1 : 0xffffffffu;
    for (int64_t i = 0; i < r.rows; i++) {
        __m512 low = _mm512_load_ps(r.sums + i * PANEL), high = _mm512_load_ps(r.sums + i * PANEL + TILE);
        _mm512_mask_storeu_epi16(r.y + i * row_step, keep, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

/* The left operand of rows [row, row + rows): x itself, or a padded copy where rows or k are no multiple
 * of 32. */
static left_panel left_of_block(const product *p, int64_t row, int64_t rows, uint16_t *copy)
{
    const uint16_t *x = p->x + row * p->k;
    if (rows % PANEL == 0 && p->k % STEP == 0)
        return (left_panel){.at = x, .row_step = p->k, .next_step = STEP};
    int64_t width = p->steps * STEP, padded_rows = ceil_div(rows, PANEL) * PANEL;
    for (int64_t i = 0; i < padded_rows; i++) {
        int64_t filled = i < rows ? p->k : 0;
        if (filled) memcpy(copy + i * width, x + i * p->k, (size_t)filled * 2);
        memset(copy + i * width + filled, 0, (size_t)(width - filled) * 2);
    }
    finish_stores();
    return (left_panel){.at = copy, .row_step = width, .next_step = STEP};
}

/* 32 biases of a panel of columns; NULL without bias. A copy where the panel is not full. */
static const float *bias_of_panel(const product *p, int64_t col, float *copy)
{
    if (!p->bias || col + PANEL <= p->n) return p->bias ? p->bias + col : NULL;
    for (int64_t i = 0; i < PANEL; i++) copy[i] = col + i < p->n ? p->bias[col + i] : 0.0f;
    finish_stores();
    return copy;
}

/* Rows [row, row + rows), panels of columns [col_begin, col_end). */
static void multiply_block(const product *p, int64_t row, int64_t rows, int64_t col_begin, int64_t col_end,
                           product_scratch s)
{
    left_panel block = left_of_block(p, row, rows, s.left);
    int64_t row_panels = ceil_div(rows, PANEL), blocks = k_blocks(p->steps);
    rounding waiting = {0};
    int turn = 0;
    for (int64_t j = col_begin; j < col_end; j++) {
        const float *bias = bias_of_panel(p, j * PANEL, s.bias);
        for (int64_t kb = 0; kb < blocks; kb++) {
            int64_t first = part_begin(p->steps, blocks, kb), end = part_begin(p->steps, blocks, kb + 1);
            const uint16_t *right = p->weight + (j * p->steps + first) * BLOCK;
            for (int64_t i = 0; i < row_panels; i++) {
                left_panel left = block;
                left.at += i * PANEL * left.row_step + first * left.next_step;
                if (kb == 0)
                    start_sums(bias);
                else
                    load_sums(s.sums + i * BLOCK, PANEL);
                multiply_panels(end - first, left, right);
                if (kb < blocks - 1) {
                    store_sums(s.sums + i * BLOCK, PANEL);
                    continue;
                }
                round_sums(waiting, p->n);
                waiting = (rounding){.sums = s.done[turn],
                                     .y = p->y + (row + i * PANEL) * p->n + j * PANEL,
                                     .rows = smaller(PANEL, rows - i * PANEL),
                                     .cols = smaller(PANEL, p->n - j * PANEL)};
                store_sums(s.done[turn], PANEL);
                turn = !turn;
            }
        }
    }
    round_sums(waiting, p->n);
}

size_t amx_multiply_workspace_bytes(int threads, int64_t k, int64_t n)
{
    (void)n;
    return (size_t)threads * round_to_line(product_scratch_bytes(ceil_div(k, STEP)));
}

void amx_multiply(int threads, int64_t t, int64_t k, int64_t n, const uint16_t *x, const uint16_t *weight,
                  const float *bias, uint16_t *y, void *workspace)
{
    const product p = {
        .t = t, .k = k, .n = n, .steps = ceil_div(k, STEP), .x = x, .weight = weight, .bias = bias, .y = y};
    size_t scratch_bytes = round_to_line(product_scratch_bytes(p.steps));
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num(), team = omp_get_num_threads();
        product_scratch scratch =
            carve_product_scratch((unsigned char *)workspace + (size_t)thread * scratch_bytes);
        share mine = share_of(thread, team, ceil_div(t, PANEL), ceil_div(n, PANEL));
        int64_t panels = mine.row_end - mine.row_begin, blocks = ceil_div(panels, rows_of_block(p.steps));
        configure_tiles();
        for (int64_t b = 0; b < blocks; b++) {
            int64_t begin = (mine.row_begin + part_begin(panels, blocks, b)) * PANEL;
            int64_t end = smaller((mine.row_begin + part_begin(panels, blocks, b + 1)) * PANEL, t);
            multiply_block(&p, begin, end - begin, mine.col_begin, mine.col_end, scratch);
        }
        _tile_release();
    }
}

/* ---- c += a^T · b ---- */

typedef struct gradient {
    int64_t t, rows, cols, row_panels, col_panels;
    const uint16_t *a, *b;
    float *c, *a_sums, *b_sums;
    uint16_t *left;   /* packed chunk of a: [row_panels][CHUNK_STEPS][32 m][32 k] */
    uint16_t *right;  /* packed chunk of b: [col_panels][CHUNK_STEPS][2][16 k/2][16 n][2] */
    float *a_partial; /* [CHUNK_STEPS][row_panels · 32] column sums of each step of a */
    float *b_partial; /* [CHUNK_STEPS][col_panels · 32] */
} gradient;

/* Column sums of 32 rows of 32 elements. */
static void sum_columns(const uint16_t *x, int64_t row_step, float *sums)
{
    const __m512i odd_mask = _mm512_set1_epi32((int)0xffff0000u);
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    for (int i = 0; i < 32; i++) {
        __m512i v = _mm512_loadu_si512(x + i * row_step);
        even = _mm512_add_ps(even, _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)));
        odd = _mm512_add_ps(odd, _mm512_castsi512_ps(_mm512_and_si512(v, odd_mask)));
    }
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    _mm512_storeu_ps(sums, _mm512_permutex2var_ps(even, low, odd));
    _mm512_storeu_ps(sums + 16, _mm512_permutex2var_ps(even, high, odd));
}

/* Packs step `step` (32 tokens from `token` on) of x[t][width] into every panel. partial: NULL or column
 * sums. */
static inline void pack_step(bool is_left, const uint16_t *x, int64_t t, int64_t width, int64_t token,
                             int64_t step, uint16_t *packed, float *partial)
{
    int64_t panels = ceil_div(width, PANEL), rows = smaller(STEP, t - token);
    uint16_t padded[BLOCK] __attribute__((aligned(64)));
    for (int64_t j = 0; j < panels; j++) {
        const uint16_t *block = x + token * width + j * PANEL;
        int64_t row_step = width, cols = smaller(PANEL, width - j * PANEL);
        if (rows < STEP || cols < PANEL) {
            copy_padded(block, width, rows, cols, padded);
            block = padded;
            row_step = PANEL;
        }
        uint16_t *panel = packed + (j * CHUNK_STEPS + step) * BLOCK;
        if (is_left)
            pack_left(block, row_step, panel);
        else
            pack_right(block, row_step, panel);
        if (partial) sum_columns(block, row_step, partial + (step * panels + j) * PANEL);
    }
}

/* sums[width] += partial[steps][panels · 32], for this thread's part of the columns */
static void add_partial_sums(int thread, int threads, int64_t steps, int64_t width, const float *partial,
                             float *sums)
{
    int64_t row = ceil_div(width, PANEL) * PANEL, end = part_begin(width, threads, thread + 1);
    for (int64_t j = part_begin(width, threads, thread); j < end; j++) {
        float sum = 0.0f;
        for (int64_t s = 0; s < steps; s++) sum += partial[s * row + j];
        sums[j] += sum;
    }
}

/* One micro kernel on c itself, or on a copy where the tile is not full. */
static inline void update_tile(const gradient *g, int64_t i, int64_t j, int64_t steps, left_panel left,
                               const uint16_t *right)
{
    int64_t rows = smaller(PANEL, g->rows - i * PANEL), cols = smaller(PANEL, g->cols - j * PANEL);
    float *c = g->c + i * PANEL * g->cols + j * PANEL;
    if (rows == PANEL && cols == PANEL) {
        load_sums(c, g->cols);
        multiply_panels(steps, left, right);
        store_sums(c, g->cols);
        return;
    }
    float copy[BLOCK] __attribute__((aligned(64))) = {0};
    for (int64_t r = 0; r < rows; r++) memcpy(copy + r * PANEL, c + r * g->cols, (size_t)cols * 4);
    finish_stores();
    load_sums(copy, PANEL);
    multiply_panels(steps, left, right);
    store_sums(copy, PANEL);
    for (int64_t r = 0; r < rows; r++) memcpy(c + r * g->cols, copy + r * PANEL, (size_t)cols * 4);
}

/* A block of the gradient, over all of the packed chunk. */
static void update_block(const gradient *g, share block, int64_t steps)
{
    int64_t blocks = k_blocks(steps);
    for (int64_t kb = 0; kb < blocks; kb++) {
        int64_t first = part_begin(steps, blocks, kb), end = part_begin(steps, blocks, kb + 1);
        for (int64_t j = block.col_begin; j < block.col_end; j++)
            for (int64_t i = block.row_begin; i < block.row_end; i++) {
                left_panel left = {
                    .at = g->left + (i * CHUNK_STEPS + first) * BLOCK, .row_step = STEP, .next_step = BLOCK};
                update_tile(g, i, j, end - first, left, g->right + (j * CHUNK_STEPS + first) * BLOCK);
            }
    }
}

/* This thread's share of the gradient, in blocks of nearly equal size. */
static void update_share(const gradient *g, share mine, int64_t steps)
{
    int64_t rows = mine.row_end - mine.row_begin, cols = mine.col_end - mine.col_begin;
    int64_t row_blocks = ceil_div(rows, GRADIENT_PANELS), col_blocks = ceil_div(cols, GRADIENT_PANELS);
    for (int64_t i = 0; i < row_blocks; i++)
        for (int64_t j = 0; j < col_blocks; j++) {
            share block = {.row_begin = mine.row_begin + part_begin(rows, row_blocks, i),
                           .row_end = mine.row_begin + part_begin(rows, row_blocks, i + 1),
                           .col_begin = mine.col_begin + part_begin(cols, col_blocks, j),
                           .col_end = mine.col_begin + part_begin(cols, col_blocks, j + 1)};
            update_block(g, block, steps);
        }
}

size_t amx_backward_weight_workspace_bytes(int threads, int64_t rows, int64_t cols)
{
    (void)threads;
    size_t panels = (size_t)(ceil_div(rows, PANEL) + ceil_div(cols, PANEL));
    return panels * CHUNK_STEPS * (BLOCK * sizeof(uint16_t) + PANEL * sizeof(float));
}

void amx_backward_weight(int threads, int64_t t, int64_t rows, int64_t cols, const uint16_t *a,
                         const uint16_t *b, float *c, float *a_sums, float *b_sums, void *workspace)
{
    gradient g = {.t = t,
                  .rows = rows,
                  .cols = cols,
                  .row_panels = ceil_div(rows, PANEL),
                  .col_panels = ceil_div(cols, PANEL),
                  .a = a,
                  .b = b,
                  .c = c,
                  .a_sums = a_sums,
                  .b_sums = b_sums,
                  .left = workspace};
    g.right = g.left + g.row_panels * CHUNK_STEPS * BLOCK;
    g.a_partial = (float *)(g.right + g.col_panels * CHUNK_STEPS * BLOCK);
    g.b_partial = g.a_partial + g.row_panels * CHUNK_STEPS * PANEL;
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num(), team = omp_get_num_threads();
        share mine = share_of(thread, team, g.row_panels, g.col_panels);
        configure_tiles();
        for (int64_t token = 0; token < t; token += CHUNK_STEPS * STEP) {
            int64_t steps = smaller(CHUNK_STEPS, ceil_div(t - token, STEP));
            for (int64_t s = part_begin(steps, team, thread); s < part_begin(steps, team, thread + 1); s++) {
                pack_step(true, a, t, rows, token + s * STEP, s, g.left, a_sums ? g.a_partial : NULL);
                pack_step(false, b, t, cols, token + s * STEP, s, g.right, b_sums ? g.b_partial : NULL);
            }
#pragma omp barrier
            if (a_sums) add_partial_sums(thread, team, steps, rows, g.a_partial, a_sums);
            if (b_sums) add_partial_sums(thread, team, steps, cols, g.b_partial, b_sums);
            update_share(&g, mine, steps);
#pragma omp barrier
        }
        _tile_release();
    }
}
