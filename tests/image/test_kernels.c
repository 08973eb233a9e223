/* The kernels of every instruction set against the plain ones, bit for bit; and memory that is kept from
 * image to image. */
#include "image_case.h"

#include "golden/image_golden.h"

#include "tandem/cpu.h"

#include <math.h>

/* ---- allocations ---- the linker sends the data folder's calls here (CMakeLists.txt) */

static int64_t allocations;
void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    allocations++;
    return __real_malloc(bytes);
}
tdm_status __real_tdm_alloc(size_t bytes, const char *what, void **out);
tdm_status __wrap_tdm_alloc(size_t bytes, const char *what, void **out);
tdm_status __wrap_tdm_alloc(size_t bytes, const char *what, void **out)
{
    allocations++;
    return __real_tdm_alloc(bytes, what, out);
}

/* ---- kernels ---- */

/* Those that this CPU has. */
static int tuned_kernels(const image_kernels *set[2])
{
    int count = 0;
#if defined(__x86_64__)
    tdm_cpu cpu;
    CHECK_OK(tdm_cpu_detect(&cpu));
    if (cpu.isa >= TDM_ISA_AVX2) set[count++] = &image_kernels_avx2;
    if (cpu.isa >= TDM_ISA_AVX512) set[count++] = &image_kernels_avx512;
#else
    (void)set;
#endif
    return count;
}

/* Noise with flat stretches, black, white and grays: where hue and saturation have their special cases. */
static void fill(tdm_rng *rng, uint8_t *value, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        const int64_t kind = tdm_rng_below(rng, 8);
        value[i] = (uint8_t)(kind == 0       ? 0
                             : kind == 1     ? 255
                             : kind < 4 && i ? value[i - 1]
                                             : tdm_rng_below(rng, 256));
    }
}

/* Taps of `size` inputs for n outputs: windows that move on, weights of any kind whose sums stay below 2^31.
 */
static image_taps random_taps(tdm_rng *rng, int64_t size, int64_t n)
{
    image_taps it = {.taps = 1 + tdm_rng_below(rng, tdm_min_i64(size, 40))};
    it.first = malloc((size_t)(2 * n) * sizeof(int64_t));
    it.count = it.first + n;
    it.weight = malloc((size_t)(n * it.taps) * sizeof(int32_t));
    const int32_t largest = (int32_t)((3 << IMAGE_WEIGHT_BITS) / 4 / it.taps);
    for (int64_t i = 0; i < n; i++) {
        it.first[i] = i * (size - it.taps) / n;
        it.count[i] = it.taps - (it.taps > 1 && i + 1 < n ? tdm_rng_below(rng, 2) : 0);
        if (i && it.first[i] + it.count[i] < it.first[i - 1] + it.count[i - 1]) it.count[i] = it.taps;
        for (int64_t j = 0; j < it.taps; j++)
            it.weight[i * it.taps + j] = (int32_t)tdm_rng_below(rng, 2 * largest) - largest * (j % 2);
    }
    return it;
}

static void free_taps(image_taps *it)
{
    free(it->first);
    free(it->weight);
}

static void resizing_is_the_same_everywhere(void **state)
{
    (void)state;
    const image_kernels *set[2];
    const int sets = tuned_kernels(set);
    if (sets == 0) skip(); /* only the plain ones run here */
    for (uint64_t round = 0; round < 300; round++) {
        tdm_rng rng = tdm_rng_at(3, 0, round, TDM_RNG_TEST);
        const int channels = 3 + (int)tdm_rng_below(&rng, 2);
        const int64_t size = 1 + tdm_rng_below(&rng, 300), n = 1 + tdm_rng_below(&rng, 100);
        const int64_t rows = 1 + tdm_rng_below(&rng, IMAGE_ROWS), skip = tdm_rng_below(&rng, 2) ? 0 : -2;
        image_taps taps = random_taps(&rng, size, n);
        const int64_t in_bytes = (size - skip) * channels, out_bytes = n * channels;
        uint8_t *in = malloc((size_t)(rows * in_bytes)),
                *scratch = malloc((size_t)image_across_bytes(&taps, n, channels));
        uint8_t *want = malloc((size_t)(rows * out_bytes)), *got = malloc((size_t)(rows * out_bytes));
        fill(&rng, in, rows * in_bytes);
        image_kernels_generic.across(&taps, n, skip, channels, rows, in, in_bytes, want, out_bytes, scratch);
        for (int i = 0; i < sets; i++) {
            memset(got, 1, (size_t)(rows * out_bytes));
            set[i]->across(&taps, n, skip, channels, rows, in, in_bytes, got, out_bytes, scratch);
            CHECK_MEM_EQ(want, got, (size_t)(rows * out_bytes));
        }
        const int64_t bytes = tdm_min_i64(in_bytes, rows * out_bytes), count = tdm_min_i64(rows, taps.taps);
        image_kernels_generic.down(taps.weight, count, in, in_bytes, bytes, want);
        for (int i = 0; i < sets; i++) {
            set[i]->down(taps.weight, count, in, in_bytes, bytes, got);
            CHECK_MEM_EQ(want, got, (size_t)bytes);
        }
        free(in);
        free(scratch);
        free(want);
        free(got);
        free_taps(&taps);
    }
}

static void assert_equal_colours(const image_kernels *kernels, tdm_rng rng, const uint8_t *pixel, int64_t n)
{
    const size_t bytes = (size_t)(3 * n);
    const float factor = (float)tdm_rng_range(&rng, 0.0, 2.5);
    const uint8_t number = (uint8_t)tdm_rng_below(&rng, 256);
    uint8_t *want = malloc(bytes), *got = malloc(bytes);
    for (int kind = 0; kind < 4; kind++) {
        const image_kernels *side[2] = {&image_kernels_generic, kernels};
        uint8_t *to[2] = {want, got};
        for (int s = 0; s < 2; s++) {
            memcpy(to[s], pixel, bytes);
            switch (kind) {
            case 0: side[s]->blend(number, factor, to[s], 3 * n); break;
            case 1: side[s]->saturate(factor, to[s], n); break;
            case 2: side[s]->turn(number, to[s], n); break;
            default: side[s]->gray(to[s], n);
            }
        }
        if (memcmp(want, got, bytes)) fail_msg("%s: colour kernel %d differs", kernels->name, kind);
    }
    CHECK_EQ(kernels->luma_sum(pixel, n), image_kernels_generic.luma_sum(pixel, n));
    free(want);
    free(got);
}

static void colours_are_the_same_everywhere(void **state)
{
    (void)state;
    const image_kernels *set[2];
    const int sets = tuned_kernels(set);
    if (sets == 0) skip(); /* only the plain ones run here */
    for (uint64_t round = 0; round < 200; round++) {
        tdm_rng rng = tdm_rng_at(4, 0, round, TDM_RNG_TEST);
        const int64_t n = 1 + tdm_rng_below(&rng, 2000);
        uint8_t *pixel = malloc((size_t)(3 * n));
        fill(&rng, pixel, 3 * n);
        for (int i = 0; i < sets; i++) assert_equal_colours(set[i], rng, pixel, n);
        free(pixel);
    }
}

/* Every difference of colours there can be: all pairs of the channels' differences, in all six orders. */
static void hues_are_the_same_everywhere(void **state)
{
    (void)state;
    enum { PIXELS = 6 * 256 };
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const image_kernels *set[2];
    const int sets = tuned_kernels(set);
    if (sets == 0) skip(); /* only the plain ones run here */
    uint8_t pixel[3 * PIXELS], want[3 * PIXELS], got[3 * PIXELS];
    for (int range = 0; range < 256; range++) {
        for (int i = 0; i < PIXELS; i++) {
            const int least = (255 - range) / 2, middle = least + (i / 6) % (range + 1);
            pixel[3 * i + order[i % 6][0]] = (uint8_t)(least + range);
            pixel[3 * i + order[i % 6][1]] = (uint8_t)middle;
            pixel[3 * i + order[i % 6][2]] = (uint8_t)least;
        }
        memcpy(want, pixel, sizeof(want));
        image_kernels_generic.turn((uint8_t)(range * 7), want, PIXELS);
        for (int i = 0; i < sets; i++) {
            memcpy(got, pixel, sizeof(got));
            set[i]->turn((uint8_t)(range * 7), got, PIXELS);
            CHECK_MEM_EQ(want, got, sizeof(want));
        }
    }
}

/* ---- memory ---- */

enum { PX = 24, VIEW_BYTES = PX * PX * 3 };

static const char AUGMENT[] =
    "[crop(min_scale=0.3, max_scale=1), flip(p=0.5), jitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1), gray(p=0.2)]";
static tdm_config config;
static tdm_image_pipeline *pipeline;

static int make_augmentation(void **state)
{
    (void)state;
    config = augment_config();
    pipeline = make_pipeline(&config, AUGMENT);
    return 0;
}

static int free_augmentation(void **state)
{
    (void)state;
    tdm_image_pipeline_destroy(&pipeline);
    tdm_config_destroy(&config);
    return 0;
}

static void make_both(tdm_image_work *work, const char *name, const tdm_text *file,
                      uint8_t out[2][VIEW_BYTES])
{
    const tdm_image_request want[2] = {
        {.out = out[0]}, {.pipeline = pipeline, .rng = tdm_rng_at(1, 2, 3, TDM_RNG_TEST), .out = out[1]}};
    CHECK_OK(tdm_image_make(work, name, file->data, file->length, (tdm_image_policy){0}, PX, PX, 2, want));
}

/* One thread's memory, images of all kinds in turn: the same as each alone. */
static void kept_memory_changes_nothing(void **state)
{
    (void)state;
    tdm_image_work *work;
    uint8_t got[2][VIEW_BYTES], want[VIEW_BYTES];
    CHECK_OK(tdm_image_work_create(&work));
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < COUNT(GOLDEN_IMAGE); i++) {
            const char *name = GOLDEN_IMAGE[i].file;
            tdm_text file = golden_file(name);
            tdm_image image;
            make_both(work, name, &file, got);
            CHECK_OK(tdm_image_decode(name, file.data, file.length, TDM_ALPHA_DROP, &image));
            CHECK_OK(tdm_image_plain(&image, TDM_FIT_CROP, PX, PX, want));
            CHECK_MEM_EQ(want, got[0], VIEW_BYTES);
            CHECK_OK(tdm_image_augment(&image, pipeline, TDM_FIT_CROP, tdm_rng_at(1, 2, 3, TDM_RNG_TEST), PX,
                                       PX, want));
            CHECK_MEM_EQ(want, got[1], VIEW_BYTES);
            tdm_image_free(&image);
            tdm_text_free(&file);
        }
    tdm_image_work_destroy(&work);
    CHECK_NULL(work);
}

static void nothing_is_allocated_after_the_first_image(void **state)
{
    (void)state;
    static const char *const name[] = {"baseline.jpg",      "progressive.jpg", "rgb.png",
                                       "palette_alpha.png", "rgba.png",        "lossy.webp"};
    uint8_t got[2][VIEW_BYTES];
    for (size_t i = 0; i < COUNT(name); i++) {
        tdm_image_work *work;
        tdm_text file = golden_file(name[i]);
        CHECK_OK(tdm_image_work_create(&work));
        make_both(work, name[i], &file, got);
        const int64_t before = allocations;
        CHECK_GT(before, 0);
        for (int k = 0; k < 20; k++) make_both(work, name[i], &file, got);
        if (allocations != before)
            fail_msg("%s: %lld allocations for 20 images", name[i], (long long)(allocations - before));
        tdm_image_work_destroy(&work);
        tdm_text_free(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resizing_is_the_same_everywhere),
        cmocka_unit_test(colours_are_the_same_everywhere),
        cmocka_unit_test(hues_are_the_same_everywhere),
        cmocka_unit_test(kept_memory_changes_nothing),
        cmocka_unit_test(nothing_is_allocated_after_the_first_image),
    };
    return cmocka_run_group_tests(tests, make_augmentation, free_augmentation);
}
