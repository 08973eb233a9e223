/* The inner loops of resizing and of the colour adjustments: plain ones, and one set per instruction set, all
 * with the same results bit for bit. */
#ifndef TANDEM_IMAGE_KERNELS_H
#define TANDEM_IMAGE_KERNELS_H

#include "tandem/status.h"

#include <stdint.h>

enum {
    IMAGE_WEIGHT_BITS = 32 - 8 - 2, /* after the point of a weight */
    IMAGE_ROWS = 16,                /* that `across` takes at once */
    IMAGE_TILE = 32                 /* outputs that `across` makes at once */
};

/* Taps of one dimension: output i = sum over j < count[i] of weight[i*taps + j] * input[first[i] + j]. */
typedef struct image_taps {
    int64_t taps;           /* stride of the weights */
    int64_t *first, *count; /* neither `first` nor first + count ever decreases */
    int32_t *weight;        /* fixed point */
    double *exact;          /* the same before rounding; for 16 bits only */
} image_taps;

/* Sums of weight times value are rounded and cut to 8 bits. */
typedef struct image_kernels {
    const char *name;
    /* Horizontal pass of up to IMAGE_ROWS rows: in, from column `skip` on, [rows][..][channels] -> out
     * [rows][n][channels]; channels 3 or 4. scratch: working memory of image_across_bytes. */
    void (*across)(const image_taps *x, int64_t n, int64_t skip, int channels, int64_t rows,
                   const uint8_t *in, int64_t in_stride, uint8_t *out, int64_t out_stride, uint8_t *scratch);
    /* Vertical pass of one output row: in[count][bytes] -> out[bytes] */
    void (*down)(const int32_t *weight, int64_t count, const uint8_t *in, int64_t stride, int64_t bytes,
                 uint8_t *out);
    /* value = base + factor * (value - base), cut to 8 bits, as Pillow's Image.blend in single precision */
    void (*blend)(uint8_t base, float factor, uint8_t *value, int64_t bytes);
    /* The others work on pixel[n][3]. Luma is that of ITU-R 601-2 in 16-bit fixed point, as convert("L"). */
    int64_t (*luma_sum)(const uint8_t *pixel, int64_t n);
    void (*gray)(uint8_t *pixel, int64_t n);
    void (*saturate)(float factor, uint8_t *pixel, int64_t n); /* blend with the pixel's luma */
    void (*turn)(uint8_t turn, uint8_t *pixel, int64_t n);     /* hue + turn in Pillow's 8-bit HSV */
} image_kernels;

/* The widest that the CPU has and TANDEM_ISA allows. Errors: as tdm_cpu_detect; *kernels is the plain set then. */
TDM_CHECKED tdm_status image_kernels_choose(const image_kernels **kernels);
/* The same behind resampling, which has refused an unknown TANDEM_ISA. */
const image_kernels *image_kernels_chosen(void);
extern const image_kernels image_kernels_generic;
#if defined(__x86_64__)
extern const image_kernels image_kernels_avx2, image_kernels_avx512;
#endif

int64_t image_across_bytes(const image_taps *x, int64_t n, int channels);

#endif
