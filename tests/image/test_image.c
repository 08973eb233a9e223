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

static void bilinear_equals_pillow(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(GOLDEN_BILINEAR); i++) {
        const struct golden_resize *golden = &GOLDEN_BILINEAR[i];
        tdm_image image = golden_source(golden->height, golden->width);
        const image_window window = image_window_of(&image, 0, 0, image.height, image.width);
        const resample_plan plan = {.top = golden->top,
                                    .left = golden->left,
                                    .box_height = golden->box_height,
                                    .box_width = golden->box_width,
                                    .full_height = golden->out_height,
                                    .full_width = golden->out_width,
                                    .out_height = golden->out_height,
                                    .out_width = golden->out_width,
                                    .out_stride = golden->out_width * 3,
                                    .filter = IMAGE_BILINEAR};
        const size_t bytes = (size_t)(golden->out_height * golden->out_width * 3);
        uint8_t *out = malloc(bytes);
        tdm_image_work work = {0};
        CHECK_OK(image_resample(&work, &window, &plan, out));
        if (largest_difference(out, golden->pixel, bytes))
            fail_msg("resize %zu differs by %d", i, largest_difference(out, golden->pixel, bytes));
        image_work_free(&work);
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

/* What a file may lack without harm: what follows the last pixel, later frames, and what stands behind the end. */
static size_t spare_bytes(const char *name, size_t bytes)
{
    enum { PNG_END = 16 }; /* a checksum, and IEND */
    if (strstr(name, "trailing") || !strcmp(name, "animated.gif")) return bytes;
    if (!strcmp(name, "no_end.png")) return 4;
    if (strstr(name, ".png")) return strstr(name, "animated") ? bytes : PNG_END;
    return strstr(name, ".gif") || strstr(name, ".bmp") ? 4 : 0;
}

/* Every prefix of every file is refused, or holds all pixels. */
static void truncated_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(GOLDEN_IMAGE); i++) {
        const char *name = GOLDEN_IMAGE[i].file;
        tdm_text file = golden_file(name);
        tdm_image whole, image;
        CHECK_OK(tdm_image_decode(name, file.data, file.length, TDM_ALPHA_WHITE, &whole));
        const size_t spare = spare_bytes(name, file.length);
        for (size_t bytes = 0; bytes < file.length; bytes++) {
            unsigned char *piece = malloc(bytes + 1); /* exact, for the address sanitizer */
            memcpy(piece, file.data, bytes);
            piece = realloc(piece, bytes ? bytes : 1);
            const tdm_status status = tdm_image_decode(name, piece, bytes, TDM_ALPHA_WHITE, &image);
            if (status == TDM_OK && bytes + spare >= file.length) {
                CHECK_EQ(image.mode, whole.mode);
                CHECK_MEM_EQ(image.pixel, whole.pixel,
                             (size_t)(image.height * image.width * image_pixel_bytes(image.mode)));
                tdm_image_free(&image);
            } else {
                if (status != TDM_E_DATA)
                    fail_msg("%s cut to %zu of %zu bytes: not refused", name, bytes, file.length);
                CHECK_MESSAGE(name);
                CHECK_NULL(image.pixel);
            }
            free(piece);
        }
        tdm_image_free(&whole);
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
                "flipped.png: corrupt image (checksum of PNG chunk IDAT)");
    tdm_text_free(&file);
    file = golden_file("baseline.jpg");
    CHECK_FAILS(tdm_image_decode("cut.jpg", file.data, file.length - 30, TDM_ALPHA_WHITE, &image), TDM_E_DATA,
                "cut.jpg: image is truncated");
    tdm_text_free(&file);
}

/* 4 x 1 pixels of 8 bits with two colours, as BITMAPINFOHEADER has them. */
static void colours_beyond_a_palette_are_black(void **state)
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
    CHECK_OK(tdm_image_decode("three.bmp", file, BYTES, TDM_ALPHA_WHITE, &image));
    CHECK_EQ(image.pixel[0], 30);
    CHECK_EQ(image.pixel[3 * 3], 0);
    tdm_image_free(&image);
}

/* A frame of Motion JPEG has no Huffman tables: the usual ones are meant. */
static void jpeg_without_tables_has_the_usual_ones(void **state)
{
    (void)state;
    tdm_image image, whole;
    tdm_text file = golden_file("baseline.jpg"), bare = {0};
    CHECK_OK(tdm_image_decode("whole.jpg", file.data, file.length, TDM_ALPHA_DROP, &whole));
    const unsigned char *data = (const unsigned char *)file.data;
    CHECK_OK(tdm_text_append(&bare, data, 2));
    size_t at = 2;
    for (; data[at + 1] != 0xda; at += 2 + (size_t)(data[at + 2] << 8 | data[at + 3])) /* until SOS */
        if (data[at + 1] != 0xc4)
            CHECK_OK(tdm_text_append(&bare, data + at, 2 + (size_t)(data[at + 2] << 8 | data[at + 3])));
    CHECK_OK(tdm_text_append(&bare, data + at, file.length - at));
    CHECK_LT(bare.length, file.length);
    CHECK_OK(tdm_image_decode("bare.jpg", bare.data, bare.length, TDM_ALPHA_DROP, &image));
    CHECK_MEM_EQ(image.pixel, whole.pixel, (size_t)(image.height * image.width * 3));
    tdm_image_free(&image);
    tdm_image_free(&whole);
    tdm_text_free(&bare);
    tdm_text_free(&file);
}

/* A golden file with one byte changed is refused, and the message says why. */
static void refuse_changed(const char *golden, size_t at, unsigned char value, const char *message)
{
    tdm_image image;
    tdm_text file = golden_file(golden);
    file.data[at] = (char)value;
    CHECK_FAILS(tdm_image_decode("odd", file.data, file.length, TDM_ALPHA_DROP, &image), TDM_E_DATA, message);
    tdm_text_free(&file);
}

static void odd_bmps_are_refused_by_what_is_odd(void **state)
{
    (void)state;
    enum { HEADER = 14, WIDTH = 18, HEIGHT = 22, BITS = 28, COMPRESSION = 30, COLOURS = 46, RED = 54 };
    refuse_changed("rgb.bmp", HEADER, 44, "odd: a BMP header of 44 bytes is not supported");
    refuse_changed("rgb.bmp", HEADER, 7, "odd: is not a JPEG, PNG, WebP, GIF or BMP image");
    refuse_changed("rgb.bmp", WIDTH, 0, "odd: image has no pixels");
    refuse_changed("rgb.bmp", WIDTH + 3, 0x7f, "px is too large");
    refuse_changed("rgb.bmp", WIDTH + 3, 0xff, "px is too large");
    refuse_changed("rgb.bmp", HEIGHT + 3, 0x80, "px is too large");
    refuse_changed("rgb.bmp", HEIGHT + 3, 0xff, "px is too large");
    refuse_changed("rgb.bmp", HEIGHT + 1, 1, "odd: image is truncated");
    refuse_changed("rgb.bmp", BITS, 2, "odd: a BMP of 2 bits a pixel is not supported");
    refuse_changed("rgb.bmp", COMPRESSION, 4, "odd: BMP compression 4 of 24 bits a pixel is not supported");
    refuse_changed("rgb.bmp", COMPRESSION, 1, "odd: BMP compression 1 of 24 bits a pixel is not supported");
    refuse_changed("palette.bmp", COMPRESSION, 3,
                   "odd: BMP compression 3 of 8 bits a pixel is not supported");
    refuse_changed("palette.bmp", COLOURS + 1, 2, "odd: corrupt image (a BMP palette of 528 colours)");
    refuse_changed("bits_565.bmp", RED, 1, "odd: BMP masks f801, 7e0, 1f, 0 are not supported");
    refuse_changed("bits_24_masks.bmp", RED + 3, 1, "odd: BMP masks 1ff0000, ff00, ff, 0 are not supported");
}

static void deep_jpegs_are_refused(void **state)
{
    (void)state;
    tdm_text file = golden_file("baseline.jpg");
    size_t frame = 0;
    while (memcmp(file.data + frame, "\xff\xc0", 2)) frame++; /* SOF0, its length, the bits */
    refuse_changed("baseline.jpg", frame + 4, 12, "odd: a JPEG of 12 bits a sample is not supported");
    tdm_text_free(&file);
}

static void odd_animations_are_refused(void **state)
{
    (void)state;
    enum { CANVAS_WIDTH = 24, FRAME_LEFT = 52 }; /* of VP8X, of the first ANMF */
    refuse_changed("animated_offset.webp", CANVAS_WIDTH + 2, 1, "px is too large");
    refuse_changed("animated_offset.webp", FRAME_LEFT, 0x7f, "odd: truncated or corrupt WebP image");
    refuse_changed("animated_offset_alpha.webp", FRAME_LEFT, 0x7f, "odd: truncated or corrupt WebP image");
    refuse_changed("animated.gif", 7, 0xff, "px is too large");
}

static void run_lengths_that_end_early_are_refused(void **state)
{
    (void)state;
    enum { PIXELS = 54 + 16 * 4 };
    const char *message = "rle.bmp: image is truncated (run lengths of 0 of 130 pixels)";
    tdm_image image;
    tdm_text file = golden_file("rle8.bmp");
    CHECK_FAILS(tdm_image_decode("rle.bmp", file.data, PIXELS, TDM_ALPHA_DROP, &image), TDM_E_DATA, message);
    file.data[PIXELS] = 0; /* the image's end */
    file.data[PIXELS + 1] = 1;
    CHECK_FAILS(tdm_image_decode("rle.bmp", file.data, file.length, TDM_ALPHA_DROP, &image), TDM_E_DATA,
                message);
    tdm_text_free(&file);
}

/* Where a chunk's length stands. */
static size_t chunk_at(const tdm_text *file, const char *type)
{
    for (size_t at = 8; at + 12 <= file->length;) {
        const unsigned char *head = (const unsigned char *)file->data + at;
        if (!memcmp(head + 4, type, 4)) return at;
        at += 12 + ((size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
    }
    fail_msg("no chunk %s", type);
    return 0;
}

static void damaged_chunks_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *file, *type, *message; /* message NULL: no harm done */
    } cases[] = {{"rgb.png", "IHDR", "odd: corrupt image (checksum of PNG chunk IHDR)"},
                 {"palette.png", "PLTE", "odd: corrupt image (checksum of PNG chunk PLTE)"},
                 {"palette_alpha.png", "tRNS", "odd: corrupt image (checksum of PNG chunk tRNS)"},
                 {"interlaced.png", "IDAT", NULL},
                 {"unknown_critical.png", "ABCD", "odd: corrupt image (checksum of PNG chunk ABCD)"},
                 {"animated.png", "acTL", NULL},
                 {"animated.png", "fdAT", NULL},
                 {"rgb.png", "IDAT", NULL},
                 {"rgb_16.png", "IDAT", NULL},
                 {"rgb.png", "IEND", NULL}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        tdm_text file = golden_file(cases[i].file);
        tdm_image image;
        unsigned char *head = (unsigned char *)file.data + chunk_at(&file, cases[i].type);
        head[8 + (head[2] << 8 | head[3])] ^= 1; /* its checksum, which stands behind its content */
        const tdm_status status = tdm_image_decode("odd", file.data, file.length, TDM_ALPHA_DROP, &image);
        if (cases[i].message)
            CHECK_FAILS(status, TDM_E_DATA, cases[i].message);
        else
            CHECK_OK(status);
        if (status == TDM_OK) tdm_image_free(&image);
        tdm_text_free(&file);
    }
    tdm_text file = golden_file("rgb.png");
    refuse_changed("rgb.png", chunk_at(&file, "IDAT") + 5, ' ',
                   "odd: corrupt image (no PNG chunk at byte 33)");
    tdm_text_free(&file);
}

/* Data of an image that are damaged are noticed though their chunk's checksum is not what decides. */
static void damaged_png_data_are_refused(void **state)
{
    (void)state;
    tdm_text file = golden_file("sum_idat.png");
    const size_t data = chunk_at(&file, "IDAT") + 8, end = chunk_at(&file, "IEND") - 4;
    for (size_t at = data; at < end; at++) {
        tdm_image image;
        file.data[at] ^= 0x10;
        const tdm_status status = tdm_image_decode("odd", file.data, file.length, TDM_ALPHA_DROP, &image);
        if (status != TDM_E_DATA) fail_msg("byte %zu: not refused", at);
        CHECK_MESSAGE("odd: corrupt image (checksum of PNG chunk IDAT)");
        file.data[at] ^= 0x10;
    }
    tdm_text_free(&file);
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
        cmocka_unit_test(bilinear_equals_pillow),
        cmocka_unit_test(plain_equals_the_references),
        cmocka_unit_test(colour_equals_pillow),
        cmocka_unit_test(resize_refuses_bad_boxes),
        cmocka_unit_test(decode_equals_pillow),
        cmocka_unit_test(scaling_keeps_transparency),
        cmocka_unit_test(truncated_files_are_refused),
        cmocka_unit_test(bad_files_have_clear_messages),
        cmocka_unit_test(colours_beyond_a_palette_are_black),
        cmocka_unit_test(odd_bmps_are_refused_by_what_is_odd),
        cmocka_unit_test(deep_jpegs_are_refused),
        cmocka_unit_test(odd_animations_are_refused),
        cmocka_unit_test(run_lengths_that_end_early_are_refused),
        cmocka_unit_test(damaged_chunks_are_named),
        cmocka_unit_test(damaged_png_data_are_refused),
        cmocka_unit_test(jpeg_without_tables_has_the_usual_ones),
        cmocka_unit_test(bad_huffman_tables_are_refused),
        cmocka_unit_test(huge_headers_are_refused),
        cmocka_unit_test(encoded_images_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
