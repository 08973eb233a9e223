/* Decoding, resizing and colours against Pillow, and what damaged files do. */
#include "image_case.h"

#include "golden/image_golden.h"
#include "golden/resize_golden.h"

#include <math.h>

static int largest_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
    int largest = 0;
    for (size_t i = 0; i < n; i++) {
        int difference = abs((int)a[i] - (int)b[i]);
        if (difference > largest) largest = difference;
    }
    return largest;
}

static void resize_equals_pillow(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(GOLDEN_RESIZE); i++) {
        const struct golden_resize *golden = &GOLDEN_RESIZE[i];
        tdm_image image = golden_source(golden->height, golden->width);
        size_t bytes = (size_t)(golden->out_height * golden->out_width * 3);
        uint8_t *out = malloc(bytes);
        CHECK_OK(tdm_image_resize(&image, golden->top, golden->left, golden->box_height, golden->box_width,
                                  golden->out_height, golden->out_width, out));
        if (largest_difference(out, golden->pixel, bytes))
            fail_msg("resize %zu differs by %d", i, largest_difference(out, golden->pixel, bytes));
        free(out);
        tdm_image_free(&image);
    }
}

static void plain_equals_the_references(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(GOLDEN_PLAIN); i++) {
        const struct golden_plain *golden = &GOLDEN_PLAIN[i];
        tdm_image image = golden_source(golden->height, golden->width);
        size_t bytes = (size_t)(golden->out_height * golden->out_width * 3);
        uint8_t *out = malloc(bytes);
        CHECK_OK(tdm_image_plain(&image, golden->fit, golden->out_height, golden->out_width, out));
        if (largest_difference(out, golden->pixel, bytes))
            fail_msg("plain %zu differs by %d", i, largest_difference(out, golden->pixel, bytes));
        free(out);
        tdm_image_free(&image);
    }
}

static void colour_equals_pillow(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(GOLDEN_COLOUR); i++) {
        tdm_image image = golden_source(12, 20);
        image_adjust(GOLDEN_COLOUR[i].kind, GOLDEN_COLOUR[i].factor, image.pixel, 12 * 20);
        int difference = largest_difference(image.pixel, GOLDEN_COLOUR[i].pixel, 12 * 20 * 3);
        if (difference) fail_msg("colour adjustment %zu differs by %d", i, difference);
        tdm_image_free(&image);
    }
    tdm_image image = golden_source(12, 20);
    image_kernels_chosen()->gray(image.pixel, 12 * 20);
    CHECK_MEM_EQ(image.pixel, GOLDEN_GRAY, sizeof(GOLDEN_GRAY));
    tdm_image_free(&image);
}

static void resize_refuses_bad_boxes(void **state)
{
    (void)state;
    tdm_image image = golden_source(8, 8);
    uint8_t out[3 * 4];
    CHECK_FAILS(tdm_image_resize(&image, -1, 0, 4, 4, 2, 2, out), TDM_E_SHAPE, "outside");
    CHECK_FAILS(tdm_image_resize(&image, 0, 5, 4, 4, 2, 2, out), TDM_E_SHAPE, "outside");
    CHECK_FAILS(tdm_image_resize(&image, 0, 0, 0, 4, 2, 2, out), TDM_E_SHAPE, "outside");
    CHECK_FAILS(tdm_image_resize(&image, 0, 0, NAN, 4, 2, 2, out), TDM_E_SHAPE, "outside");
    CHECK_FAILS(tdm_image_resize(&image, 0, 0, 8, 8, 0, 2, out), TDM_E_SHAPE, "cannot resize");
    tdm_image_free(&image);
}

/* ---- decoding ---- */

static uint8_t hex_digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* The whole image at height x width as RGB is `want`, hexadecimal. */
static void assert_pixels(const char *file, const char *what, const tdm_image *image, int64_t height,
                          int64_t width, const char *want)
{
    const size_t bytes = (size_t)(height * width * 3);
    uint8_t *out = malloc(bytes), *golden = malloc(bytes);
    CHECK_TRUE(out);
    CHECK_TRUE(golden);
    CHECK_EQ(strlen(want), 2 * bytes);
    for (size_t i = 0; i < bytes; i++)
        golden[i] = (uint8_t)(hex_digit(want[2 * i]) << 4 | hex_digit(want[2 * i + 1]));
    CHECK_OK(tdm_image_resize(image, 0, 0, (double)image->height, (double)image->width, height, width, out));
    const int difference = largest_difference(out, golden, bytes);
    if (difference) fail_msg("%s, %s: differs by %d levels", file, what, difference);
    free(out);
    free(golden);
}

static void decode_equals_pillow(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(GOLDEN_IMAGE); i++) {
        const struct golden_image *golden = &GOLDEN_IMAGE[i];
        tdm_text file = golden_file(golden->file);
        tdm_image image;
        int64_t height, width;
        CHECK_OK(tdm_image_probe(golden->file, file.data, file.length, &height, &width));
        CHECK_EQ(height, GOLDEN_IMAGE_HEIGHT);
        CHECK_EQ(width, GOLDEN_IMAGE_WIDTH);
        CHECK_OK(tdm_image_decode(golden->file, file.data, file.length, TDM_ALPHA_DROP, &image));
        CHECK_EQ(image.height, height);
        CHECK_EQ(image.width, width);
        assert_pixels(golden->file, "drop", &image, height, width, golden->drop);
        assert_pixels(golden->file, "small", &image, GOLDEN_SMALL_HEIGHT, GOLDEN_SMALL_WIDTH, golden->small);
        tdm_image_free(&image);
        CHECK_OK(tdm_image_decode(golden->file, file.data, file.length, TDM_ALPHA_WHITE, &image));
        CHECK_NE(image.mode, TDM_IMAGE_RGBA);
        assert_pixels(golden->file, "white", &image, height, width,
                      golden->white ? golden->white : golden->drop);
        tdm_image_free(&image);
        tdm_text_free(&file);
    }
}

/* What packing to a smaller size relies on: nothing that is transparent is lost, and no colour below it. */
static void scaling_keeps_transparency(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(GOLDEN_IMAGE); i++) {
        const struct golden_image *golden = &GOLDEN_IMAGE[i];
        tdm_text file = golden_file(golden->file);
        tdm_image image, small, back;
        CHECK_OK(tdm_image_decode(golden->file, file.data, file.length, TDM_ALPHA_KEEP, &image));
        CHECK_EQ(image.mode == TDM_IMAGE_RGBA, golden->white != NULL || strstr(golden->file, "_key"));
        CHECK_OK(tdm_image_scale(&image, 5, 7, &small));
        CHECK_EQ(small.mode, image.mode == TDM_IMAGE_RGBA ? TDM_IMAGE_RGBA : TDM_IMAGE_RGB);
        file.length = 0;
        CHECK_OK(small.mode == TDM_IMAGE_RGBA ? tdm_image_encode_rgba_png(small.pixel, 5, 7, &file)
                                              : tdm_image_encode_png(small.pixel, 5, 7, &file));
        CHECK_OK(tdm_image_decode("back.png", file.data, file.length, TDM_ALPHA_KEEP, &back));
        CHECK_EQ(back.mode, small.mode);
        CHECK_MEM_EQ(back.pixel, small.pixel, (small.mode == TDM_IMAGE_RGBA ? 4 : 3) * 5 * 7);
        tdm_image_free(&back);
        tdm_image_free(&small);
        tdm_image_free(&image);
        tdm_text_free(&file);
    }
}

/* Every prefix of every file is refused: none is taken for a whole image. (What follows the last pixel may be
 * missing from a GIF or a BMP, as nothing there is needed.) */
static void truncated_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(GOLDEN_IMAGE); i++) {
        const char *name = GOLDEN_IMAGE[i].file;
        tdm_text file = golden_file(name);
        size_t spare = strstr(name, ".gif") || strstr(name, ".bmp") ? 4 : 0;
        for (size_t bytes = 0; bytes + spare < file.length; bytes++) {
            tdm_image image;
            unsigned char *piece = malloc(bytes + 1); /* exact, for the address sanitizer */
            memcpy(piece, file.data, bytes);
            piece = realloc(piece, bytes ? bytes : 1);
            if (tdm_image_decode(name, piece, bytes, TDM_ALPHA_WHITE, &image) != TDM_E_DATA)
                fail_msg("%s cut to %zu of %zu bytes: not refused", name, bytes, file.length);
            CHECK_MESSAGE(name);
            CHECK_NULL(image.pixel);
            free(piece);
        }
        tdm_text_free(&file);
    }
}

static void bad_files_have_clear_messages(void **state)
{
    (void)state;
    tdm_image image;
    CHECK_FAILS(tdm_image_decode("a.png", "", 0, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "a.png: image is empty");
    CHECK_FAILS(tdm_image_decode("a.txt", "hello, this is no image", 23, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "a.txt: is not a JPEG, PNG, WebP, GIF or BMP image");
    tdm_text file = golden_file("rgb.png");
    CHECK_FAILS(tdm_image_decode("cut.png", file.data, file.length - 20, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "cut.png: image is truncated");
    file.data[file.length / 2] ^= 0x10;
    CHECK_FAILS(tdm_image_decode("flipped.png", file.data, file.length, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "flipped.png: corrupt image (checksum error");
    tdm_text_free(&file);
    file = golden_file("baseline.jpg");
    CHECK_FAILS(tdm_image_decode("cut.jpg", file.data, file.length - 30, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "cut.jpg: image is truncated");
    tdm_text_free(&file);
}

/* 4 x 1 pixels of 8 bits with two colours, as BITMAPINFOHEADER has them. */
static void colours_beyond_a_palette_are_refused(void **state)
{
    (void)state;
    enum { PALETTE = 54, PIXELS = PALETTE + 8, BYTES = PIXELS + 4 };
    unsigned char file[BYTES] = {'B', 'M', BYTES, 0, 0, 0, 0, 0, 0, 0, PIXELS, 0, 0, 0, 40,
                                 0,   0,   0,     4, 0, 0, 0, 1, 0, 0, 0,      1, 0, 8};
    static const unsigned char colours[8] = {10, 20, 30, 0, 40, 50, 60, 0};
    tdm_image image;
    file[46] = 2;
    memcpy(file + PALETTE, colours, sizeof colours);
    file[PIXELS + 3] = 1;
    CHECK_OK(tdm_image_decode("two.bmp", file, BYTES, TDM_ALPHA_WHITE, &image));
    CHECK_EQ(image.pixel[0], 30);
    CHECK_EQ(image.pixel[3 * 3], 60);
    tdm_image_free(&image);
    file[PIXELS + 3] = 2;
    CHECK_FAILS(tdm_image_decode("three.bmp", file, BYTES, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "three.bmp: corrupt image (a colour beyond the palette's 2)");
}

/* Tables of more codes than there can be, and a scan without its table: both led old versions of stb astray.
 */
static void bad_huffman_tables_are_refused(void **state)
{
    (void)state;
    tdm_image image;
    tdm_text file = golden_file("baseline.jpg");
    unsigned char *table = (unsigned char *)file.data;
    while (!(table[0] == 0xff && table[1] == 0xc4)) table++; /* DHT */
    unsigned char kept[16];
    memcpy(kept, table + 5, sizeof(kept));
    memset(table + 5, 0xff, sizeof(kept));
    CHECK_FAILS(tdm_image_decode("codes.jpg", file.data, file.length, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "codes.jpg: corrupt image (Huffman table)");
    memcpy(table + 5, kept, sizeof(kept));
    table[4] ^= 3; /* another number for the first table */
    CHECK_FAILS(tdm_image_decode("missing.jpg", file.data, file.length, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "missing.jpg: corrupt image (a scan without its Huffman table)");
    table[4] ^= 3;
    CHECK_OK(tdm_image_decode("good.jpg", file.data, file.length, TDM_ALPHA_WHITE, &image));
    tdm_image_free(&image);
    tdm_text_free(&file);
}

static void put_u32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* A header that claims 50,000 px, of a PNG and of a JPEG; and one within the sides' limits, with too many
 * pixels. */
static void huge_headers_are_refused(void **state)
{
    (void)state;
    tdm_image image;
    tdm_text file = golden_file("rgb.png");
    put_u32((unsigned char *)file.data + 16, 50000);
    CHECK_FAILS(tdm_image_decode("wide.png", file.data, file.length, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "wide.png: image of 50000 x 10 px is too large");
    put_u32((unsigned char *)file.data + 16, 32000);
    put_u32((unsigned char *)file.data + 20, 32000);
    CHECK_FAILS(tdm_image_decode("many.png", file.data, file.length, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "32000 x 32000 px is too large");
    tdm_text_free(&file);
    file = golden_file("baseline.jpg");
    unsigned char *frame = (unsigned char *)file.data;
    while (!(frame[0] == 0xff && frame[1] == 0xc0)) frame++; /* SOF0 */
    frame[5] = 50000 >> 8;
    frame[6] = 50000 & 255;
    CHECK_FAILS(tdm_image_decode("high.jpg", file.data, file.length, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "high.jpg: image of 13 x 50000 px is too large");
    tdm_text_free(&file);
}

static void encoded_images_come_back(void **state)
{
    (void)state;
    tdm_image image = golden_source(37, 53), back;
    tdm_text file = {0};
    CHECK_OK(tdm_image_encode_png(image.pixel, 37, 53, &file));
    CHECK_OK(tdm_image_decode("x.png", file.data, file.length, TDM_ALPHA_WHITE, &back));
    CHECK_EQ(back.height, 37);
    CHECK_EQ(back.width, 53);
    CHECK_MEM_EQ(back.pixel, image.pixel, 37 * 53 * 3);
    tdm_image_free(&back);
    tdm_text_free(&file);
    uint8_t flat[24 * 16 * 3];
    memset(flat, 90, sizeof(flat));
    CHECK_OK(tdm_image_encode_jpeg(flat, 24, 16, 95, &file));
    CHECK_OK(tdm_image_decode("x.jpg", file.data, file.length, TDM_ALPHA_WHITE, &back));
    CHECK_LE(largest_difference(back.pixel, flat, sizeof(flat)), 2);
    tdm_image_free(&back);
    tdm_text_free(&file);
    tdm_image_free(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resize_equals_pillow),
        cmocka_unit_test(plain_equals_the_references),
        cmocka_unit_test(colour_equals_pillow),
        cmocka_unit_test(resize_refuses_bad_boxes),
        cmocka_unit_test(decode_equals_pillow),
        cmocka_unit_test(scaling_keeps_transparency),
        cmocka_unit_test(truncated_files_are_refused),
        cmocka_unit_test(bad_files_have_clear_messages),
        cmocka_unit_test(colours_beyond_a_palette_are_refused),
        cmocka_unit_test(bad_huffman_tables_are_refused),
        cmocka_unit_test(huge_headers_are_refused),
        cmocka_unit_test(encoded_images_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
