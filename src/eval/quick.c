/* Rows as integers with what the rounding left over, and the intervals made of them; quick_impl.h proves them. */
#include "quick_impl.h"

#include "tandem/cpu.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* One row per precision. */
static const struct precision {
    const char *name; /* value of TANDEM_SCORES */
    int64_t per_word;
    float limit;    /* of an integer's size */
    double gain;    /* against the next precision, as a share of the time of f32; see eval_quick_pays */
    int norm_limit; /* of a row of integers; 0: none is needed */
} precisions[EVAL_PRECISIONS] = {
    [EVAL_F32] = {.name = "f32"},
    [EVAL_INT16] = {"int16", 2, 32767.0F, 0.35, 46340},
    [EVAL_INT8] = {"int8", 4, 127.0F, 0.2, 0},
};

enum {
    WIDEST = 65536,      /* up to here sums fit into 32 bits, see above */
    FEWEST_QUERIES = 256 /* below, rounding the gallery takes longer than it saves */
};

static const double u = 0x1p-24;

/* ---- The choice ---- */

static const eval_quick_kernel *kernel_of(const tdm_cpu *cpu)
{
#if defined(__x86_64__)
    if (cpu->isa == TDM_ISA_AVX512) return cpu->avx512_vnni ? &eval_quick_kernel_avx512 : NULL;
    if (cpu->isa == TDM_ISA_AVX2) return &eval_quick_kernel_avx2;
#endif
    (void)cpu;
    return &eval_quick_kernel_generic;
}

tdm_status eval_quick_choose(int64_t d, const eval_quick_plan *plan, eval_quick *quick)
{
    const char *wish = getenv("TANDEM_SCORES");
    const bool any = wish == NULL || *wish == '\0' || strcmp(wish, "auto") == 0;
    tdm_cpu cpu;
    int wanted = 0;
    *quick = (eval_quick){.d = d};
    TDM_TRY(tdm_cpu_detect(&cpu));
    while (!any && wanted < EVAL_PRECISIONS && strcmp(wish, precisions[wanted].name) != 0) wanted++;
    TDM_REQUIRE(wanted < EVAL_PRECISIONS, TDM_E_CONFIG,
                "environment: TANDEM_SCORES is \"%s\", not one of auto, f32, int16, int8", wish);
    const eval_quick_kernel *kernel = kernel_of(&cpu);
    if (kernel == NULL || d > WIDEST || (any && plan->queries < FEWEST_QUERIES)) return TDM_OK;
    quick->precision = any ? kernel->first : (eval_precision)wanted;
    if (any && quick->precision > plan->most) quick->precision = plan->most;
    quick->forced = !any;
    quick->account = plan->account;
    quick->kernel = quick->precision == EVAL_F32 ? NULL : kernel;
    return TDM_OK;
}

const char *eval_quick_name(const eval_quick *quick)
{
    return precisions[quick->precision].name;
}

/* In pairs of the f32 kernel, which makes 32 products in a cycle. A chain by itself takes 4 cycles for one; in company
 * 0.6; the second look as long as four pairs, and 40 cycles. */
static const double lone_chain = 128, chain_in_company = 20;
static double look_of(int64_t d)
{
    return 4 + 1280.0 / (double)d;
}

static void add_work(eval_quick_work *sum, const eval_quick_work *work)
{
    sum->pairs += work->pairs;
    sum->looked += work->looked;
    sum->exact += work->exact;
    sum->spent += work->spent;
}

bool eval_quick_pays(eval_quick *quick, eval_quick_work *work)
{
    const double start = 65536;
    bool pays;
#pragma omp critical(eval_quick)
    {
        add_work(&quick->work, work);
        if (quick->account) add_work(&quick->account[quick->precision], work);
        pays = quick->work.spent <= precisions[quick->precision].gain * (double)quick->work.pairs + start;
    }
    *work = (eval_quick_work){0};
    return quick->forced || pays;
}

void tdm_eval_work_print(const tdm_eval_work *work, char *out, size_t room)
{
    const int64_t quick = work->int8 + work->int16;
    const double of_all = 100.0 / (double)tdm_max_i64(1, work->pairs),
                 of_quick = 100.0 / (double)tdm_max_i64(1, quick);
    if (quick == 0)
        snprintf(out, room, "all pairs by f32");
    else
        snprintf(
            out, room,
            "%.3g %% of the pairs by int8 first, %.3g %% by int16; of these %.2g %% again, %.2g %% by the chain",
            of_all * (double)work->int8, of_all * (double)work->int16, of_quick * (double)work->looked,
            of_quick * (double)work->exact);
}

/* ---- Rows ---- */

typedef struct quick_row { /* x = centre + scale·X + what is left over */
    eval_quick_norms norms;
    double plain, shifted, whole, residual; /* |x|, |x - centre|, |scale·X|, what is left over, at least */
    float scale;
    int32_t sum; /* of X */
} quick_row;

/* Rounded up to f32, also where that is subnormal. */
static float above(double norm)
{
    return (float)(norm * (1 + 0x1p-18) + 0x1p-126);
}

/* The scale with which all integers, and their norm, keep to the limits. */
static float scale_of(const struct precision *precision, int64_t d, double norm, double largest)
{
    double scale = largest / precision->limit;
    if (precision->norm_limit > 0) /* rounding adds up to 1/2 to each */
        scale = fmax(scale, norm / (precision->norm_limit - sqrt((double)d)));
    return (float)(scale * (1 + 0x1p-20));
}

/* A row that is not safe, or too small for a scale, has X = 0: what is left over is all of it. */
static quick_row round_row(const eval_quick *quick, const float *x, const float *centre, double centre_norm,
                           const float *other, int16_t *integer)
{
    const struct precision *precision = &precisions[quick->precision];
    const eval_quick_norms norms = quick->kernel->measure(quick->d, x, centre, other);
    quick_row row = {.norms = norms, .plain = sqrt(norms.plain), .shifted = sqrt(norms.centred)};
    const bool safe = row.plain < 0x1p60 && row.shifted < 0x1p60;
    const float scale = scale_of(precision, quick->d, row.shifted, norms.largest);
    if (safe && scale >= 0x1p-90F) {
        const eval_quick_sums sums =
            quick->kernel->quantise(quick->d, x, centre, scale, precision->limit, integer);
        row.scale = scale;
        row.sum = sums.sum;
        row.whole = scale * sqrt((double)sums.square);
        row.residual = sqrt(sums.residual) + 0x1p-50 * (row.plain + centre_norm + row.whole);
    } else {
        memset(integer, 0, (size_t)quick->d * sizeof *integer);
        row.residual = safe ? row.shifted : INFINITY;
    }
    return row;
}

/* Work memory of a thread: the integers of one row, zeros beyond its end to fill the last word, and room for the same
 * in bytes. */
static int64_t room_of(const eval_quick *quick)
{
    return quick->words * 6;
}

/* Integers as words, `stride` apart. */
static void put_words(const eval_quick *quick, int16_t *integer, int offset, int64_t stride, int32_t *out)
{
    const void *words = integer;
    if (quick->precision == EVAL_INT8) {
        uint8_t *restrict byte = (uint8_t *)(integer + 4 * quick->words);
        for (int64_t k = 0; k < 4 * quick->words; k++) byte[k] = (uint8_t)(integer[k] + offset);
        words = byte;
    }
    for (int64_t w = 0; w < quick->words; w++)
        memcpy(out + w * stride, (const unsigned char *)words + w * (int64_t)sizeof *out, sizeof *out);
}

/* ---- The gallery ---- */

/* The mean of up to 4,096 rows, evenly chosen. */
static double make_centre(int64_t n, int64_t d, const float *feature, double *sum, float *centre)
{
    const int64_t rows = tdm_min_i64(n, 4096);
    double square = 0;
    for (int64_t k = 0; k < d; k++) sum[k] = 0;
    for (int64_t i = 0; i < rows; i++) {
        const float *row = feature + tdm_part_begin(n, (int)rows, (int)i) * d;
        for (int64_t k = 0; k < d; k++) sum[k] += row[k];
    }
    for (int64_t k = 0; k < d; k++) {
        const double mean = rows == 0 ? 0 : sum[k] / (double)rows;
        centre[k] = fabs(mean) < 0x1p60 ? (float)mean : 0.0F;
        square += (double)centre[k] * centre[k];
    }
    return sqrt(square);
}

static const float *row_of(const eval_quick *quick, int64_t item)
{
    return quick->gallery->feature + (item - quick->gallery->first) * quick->d;
}

/* Returns the largest of the norms that F covers. */
static double pack_panel(const eval_quick *quick, int64_t p, int16_t *integer)
{
    const int64_t columns = quick->kernel->columns;
    const int offset = quick->precision == EVAL_INT8 ? quick->kernel->offset : 0;
    float *column = quick->column + p * QUICK_COLUMN_TERMS * columns;
    double largest = 0;
    for (int64_t j = 0; j < columns; j++) {
        const int64_t item = quick->gallery->row[p * columns + j];
        float term[QUICK_COLUMN_TERMS] = {[QUICK_SHIFT] = -INFINITY};
        if (item < 0) {
            memset(integer, 0, (size_t)quick->d * sizeof *integer);
        } else {
            const quick_row row = round_row(quick, row_of(quick, item), quick->item_centre,
                                            quick->item_centre_norm, quick->query_centre, integer);
            term[QUICK_SCALE] = row.scale;
            term[QUICK_SHIFT] = isfinite(row.residual) ? (float)row.norms.centred_with_other : 0.0F;
            term[QUICK_NORM] = above(row.shifted);
            term[QUICK_RESIDUAL] = above(row.residual);
            if (isfinite(row.residual)) largest = fmax(largest, fmax(row.plain, row.shifted + row.residual));
        }
        put_words(quick, integer, offset, columns, quick->panel + p * quick->words * columns + j);
        for (int t = 0; t < QUICK_COLUMN_TERMS; t++) column[t * columns + j] = term[t];
    }
    return largest;
}

static tdm_status pack(const eval_gallery *gallery, const tdm_eval_side *query, int threads,
                       eval_quick *quick)
{
    const int64_t d = quick->d, columns = quick->kernel->columns;
    int16_t *integer = NULL;
    double *sum = NULL, largest = 0;
    TDM_TRY(TDM_ALLOC(d, &quick->item_centre));
    TDM_TRY(TDM_ALLOC(d, &quick->query_centre));
    TDM_TRY(TDM_ALLOC(gallery->panels * quick->words * columns, &quick->panel));
    TDM_TRY(TDM_ALLOC(gallery->panels * QUICK_COLUMN_TERMS * columns, &quick->column));
    TDM_TRY(TDM_ALLOC(d, &sum));
    quick->item_centre_norm = make_centre(gallery->n, d, gallery->feature, sum, quick->item_centre);
    /* what is asked may have another width, which is refused later */
    const int64_t asked = query->d == d ? query->n : 0;
    quick->query_centre_norm = make_centre(asked, d, query->feature, sum, quick->query_centre);
    tdm_free(sum);
    TDM_TRY(TDM_ALLOC(threads * room_of(quick), &integer));
#pragma omp parallel for num_threads(threads) schedule(static) reduction(max : largest)
    for (int64_t p = 0; p < gallery->panels; p++)
        largest = fmax(largest, pack_panel(quick, p, integer + omp_get_thread_num() * room_of(quick)));
    tdm_free(integer);
    quick->item_largest = fmax(largest, quick->item_centre_norm);
    return TDM_OK;
}

tdm_status eval_quick_pack(const eval_gallery *gallery, const tdm_eval_side *query, int threads,
                           eval_quick *quick)
{
    const int64_t per_word = precisions[quick->precision].per_word;
    quick->words = (quick->d + per_word - 1) / per_word;
    quick->gallery = gallery;
    const tdm_status status = pack(gallery, query, threads, quick);
    if (status != TDM_OK) eval_quick_empty(quick);
    return status;
}

void eval_quick_empty(eval_quick *quick)
{
    void *const list[] = {quick->item_centre, quick->query_centre, quick->panel, quick->column,
                          quick->block.data};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) tdm_free(list[i]);
    *quick = (eval_quick){.kernel = quick->kernel,
                          .precision = quick->precision,
                          .forced = quick->forced,
                          .account = quick->account,
                          .d = quick->d};
}

void eval_quick_free(eval_gallery *gallery)
{
    if (gallery->quick == NULL) return;
    eval_quick_empty(gallery->quick);
    tdm_free(gallery->quick);
    gallery->quick = NULL;
}

tdm_status eval_gallery_pack_quick(const tdm_eval_side *side, int64_t first, bool by_id, int threads,
                                   const eval_quick_plan *plan, eval_gallery *gallery)
{
    eval_quick choice = {0};
    TDM_TRY(eval_gallery_open(side, first, by_id, gallery));
    if (plan) TDM_TRY(eval_quick_choose(side->d, plan, &choice));
    if (choice.kernel == NULL) return eval_gallery_pack_f32(gallery, threads);
    TDM_TRY(TDM_ALLOC(1, &gallery->quick));
    *gallery->quick = choice;
    return eval_quick_pack(gallery, plan->query, threads, gallery->quick);
}

tdm_status eval_quick_fall(eval_gallery *gallery, const tdm_eval_side *query, int threads)
{
    eval_quick *quick = gallery->quick;
    eval_quick_empty(quick);
    quick->precision--;
    if (quick->precision != EVAL_F32) return eval_quick_pack(gallery, query, threads, quick);
    eval_quick_free(gallery);
    return eval_gallery_pack_f32(gallery, threads);
}

/* ---- The queries ---- */

static int64_t group_words(const eval_quick *quick)
{
    return (quick->words + QUICK_ROW_TERMS + 1) * EVAL_TILE_ROWS;
}

static eval_quick_rows group_rows(const eval_quick *quick, int64_t group)
{
    const int32_t *word = (const int32_t *)(const void *)quick->block.data + group * group_words(quick);
    const int32_t *start = word + quick->words * EVAL_TILE_ROWS;
    return (eval_quick_rows){word, start, (const float *)(start + EVAL_TILE_ROWS)};
}

/* The error of g(roundings) |x| F, with all that is small beside it. */
static double chain_error(double roundings)
{
    return roundings * u / (1 - roundings * u);
}

static void load_row(const eval_quick *quick, const float *x, int16_t *integer, int64_t group, int64_t r)
{
    const int64_t width = quick->kernel->width, d = quick->d;
    const eval_quick_rows rows = group_rows(quick, group);
    int32_t *word = (int32_t *)(uintptr_t)rows.word, *start = (int32_t *)(uintptr_t)rows.start;
    float *term = (float *)(uintptr_t)rows.term;
    const quick_row row =
        round_row(quick, x, quick->query_centre, quick->query_centre_norm, quick->item_centre, integer);
    const double largest = quick->item_largest, tiny = ((double)d + 64) * 0x1p-124;
    /* of `dot`: four accumulators, those of the first one more for what they leave, sums of sums, single ones */
    const double path = (double)(d / (4 * width)) + 3 + 2 + log2((double)width) + (double)(d % width);
    const double parts = row.plain + quick->query_centre_norm + row.whole;
    put_words(quick, integer, 0, EVAL_TILE_ROWS, word + r);
    start[r] = quick->precision == EVAL_INT8 ? -quick->kernel->offset * row.sum : 0;
    const bool safe = isfinite(row.residual);
    term += r;
    term[QUICK_SCALE * EVAL_TILE_ROWS] = row.scale;
    term[QUICK_SHIFT * EVAL_TILE_ROWS] = safe ? (float)row.norms.with_other : 0.0F;
    term[QUICK_NORM * EVAL_TILE_ROWS] = above(row.whole);
    term[QUICK_RESIDUAL * EVAL_TILE_ROWS] = above(row.residual);
    term[QUICK_SLACK * EVAL_TILE_ROWS] =
        above((chain_error((double)d) * row.plain + 8 * u * parts) * largest + tiny);
    term[QUICK_NEAR * EVAL_TILE_ROWS] =
        safe ? above((chain_error((double)d) + chain_error(path) + 4 * u) * row.plain * largest + tiny)
             : INFINITY;
}

tdm_status eval_quick_load(eval_quick *quick, int64_t n, const float *feature, int threads)
{
    const int64_t groups = eval_tile_groups(n);
    int16_t *integer = NULL;
    TDM_TRY(eval_buffer_resize(&quick->block, groups * group_words(quick) * (int64_t)sizeof(int32_t)));
    TDM_TRY(TDM_ALLOC(threads * room_of(quick), &integer));
    if (groups > 0) memset(quick->block.data, 0, (size_t)quick->block.bytes);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++)
        load_row(quick, feature + i * quick->d, integer + omp_get_thread_num() * room_of(quick),
                 i / EVAL_TILE_ROWS, i % EVAL_TILE_ROWS);
    tdm_free(integer);
    return TDM_OK;
}

/* ---- Intervals ---- */

void eval_quick_tile(const eval_quick *quick, int64_t group, int64_t panel, int64_t stride, float *low,
                     float *high)
{
    const int64_t columns = quick->kernel->columns;
    const eval_quick_rows rows = group_rows(quick, group);
    quick->kernel->tile[quick->precision](quick->words, &rows, quick->panel + panel * quick->words * columns,
                                          quick->column + panel * QUICK_COLUMN_TERMS * columns, stride, low,
                                          high);
}

bool eval_quick_narrow(const eval_quick *quick, int64_t i, const float *x, int64_t column, float *low,
                       float *high, eval_quick_work *work)
{
    const int64_t columns = quick->kernel->columns, item = quick->gallery->row[column];
    const float *term = group_rows(quick, i / EVAL_TILE_ROWS).term + i % EVAL_TILE_ROWS;
    const float *of = quick->column + column / columns * QUICK_COLUMN_TERMS * columns + column % columns;
    const float near = term[QUICK_NEAR * EVAL_TILE_ROWS];
    if (*low == *high) return false;
    if (item < 0) {
        *low = *high = -INFINITY;
        return true;
    }
    const float *y = row_of(quick, item);
    if (*high - *low > 3 * near && isfinite(of[QUICK_RESIDUAL * columns])) {
        const float middle = quick->kernel->dot(quick->d, x, y);
        work->looked++;
        work->spent += look_of(quick->d);
        *low = middle - near;
        *high = middle + near;
    } else {
        eval_quick_chains(quick, 1, &x, &y, low, work);
        *high = *low;
    }
    return *low == *low; /* a score that is not a number stays so */
}

void eval_quick_settle(const eval_quick *quick, int64_t i, const float *x, int64_t column, float t,
                       float *low, float *high, eval_quick_work *work)
{
    while (!(*low > t) && !(*high < t) && eval_quick_narrow(quick, i, x, column, low, high, work)) continue;
}

void eval_quick_chains(const eval_quick *quick, int64_t n, const float *const *x, const float *const *y,
                       float *score, eval_quick_work *work)
{
    const int64_t width = quick->kernel->width;
    quick->kernel->chains(quick->d, n, x, y, score);
    work->exact += n;
    work->spent += n == 1 ? lone_chain : chain_in_company * (double)((n + width - 1) / width * width);
}

/* ---- As f32 ---- */

int64_t eval_plain_floats(const eval_gallery *gallery, int64_t panels)
{
    return gallery->d * (EVAL_TILE_ROWS + panels * gallery->kernel->columns);
}

void eval_plain_scores(const eval_gallery *gallery, int64_t rows, const float *feature, int64_t panel,
                       int64_t panels, eval_plain *plain, float *score)
{
    const int64_t d = gallery->d, columns = gallery->kernel->columns;
    float *query = plain->room, *item = plain->room + d * EVAL_TILE_ROWS;
    float tile[EVAL_TILE_ROWS * EVAL_MAX_COLUMNS];
    for (int64_t q = 0; q < panels && plain->packed != panel; q++)
        eval_gallery_panel(gallery, panel + q, item + q * d * columns);
    plain->packed = panel;
    eval_pack_queries(rows, d, feature, query);
    for (int64_t q = 0; q < panels; q++) {
        eval_gallery_tile_of(gallery, query, item + q * d * columns, panel + q, tile);
        for (int64_t r = 0; r < EVAL_TILE_ROWS; r++)
            memcpy(score + (r * panels + q) * columns, tile + r * columns, (size_t)columns * sizeof *tile);
    }
}
