/* Types of files, told by their content. */
#include "image_case.h"

static const struct head {
    const char *name; /* NULL: not an image */
    const char *data;
    size_t bytes;
} HEADS[] = {
#define HEAD(name, data)                                                                                     \
    {                                                                                                        \
        name, data, sizeof(data) - 1                                                                         \
    }
    /* as Pillow 13, libheif, libjxl and others begin their files */
    HEAD("TIFF", "II*\0\x08\0\0\0"),
    HEAD("TIFF", "MM\0*\0\0\0\x08"),
    HEAD("TIFF", "II+\0\x08\0\0\0"),
    HEAD("AVIF", "\0\0\0 ftypavif\0\0\0\0avifmif1miafMA1B\0\0\0\xebmeta"),
    HEAD("AVIF", "\0\0\0\x1c"
                 "ftypmif1\0\0\0\0mif1avifmiaf"),
    HEAD("AVIF", "\0\0\0\x18"
                 "ftypavis\0\0\0\0avismsf1"),
    HEAD("HEIC", "\0\0\0\x18"
                 "ftypheic\0\0\0\0mif1heic"),
    HEAD("HEIC", "\0\0\0\x18"
                 "ftypmif1\0\0\0\0mif1heic"),
    HEAD(NULL, "\0\0\0\x18"
               "ftypisom\0\0\2\0isommp41"),
    HEAD("JPEG XL", "\xff\x0a\xfa\x7f\1"),
    HEAD("JPEG XL", "\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14"),
    HEAD("JPEG 2000", "\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14"),
    HEAD("JPEG 2000", "\xff\x4f\xff\x51\0\x2f"),
    HEAD("JPEG XR", "II\xbc\1\x20\0\0\0"),
    HEAD("PSD (Photoshop)", "8BPS\0\1\0\0\0\0\0\0"),
    HEAD("an icon (ICO)", "\0\0\1\0\5\0\x10\x10\0\0\0\0 \0R\0\0\0V\0\0\0"),
    HEAD(NULL, "\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    HEAD("PNM (PBM, PGM, PPM)", "P6\n64 64\n255\n"),
    HEAD("PNM (PBM, PGM, PPM)", "P2 # by hand\n# 7\n3 2 15 "),
    HEAD("PNM (PBM, PGM, PPM)", "P7\nWIDTH 3\n"),
    HEAD("PNM (PBM, PGM, PPM)", "PF\n3 2\n-1.0\n"),
    HEAD(NULL, "P3 by car"),
    HEAD(NULL, "P5 # 7"),
    HEAD("SVG", "<svg xmlns=\"http://www.w3.org/2000/svg\">"),
    HEAD("SVG", "\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- made\n by hand -->\n<!DOCTYPE svg PUBLIC>\n<svg>"),
    HEAD("SVG", "<svg:svg>"),
    HEAD(NULL, "<svgs of boats>"),
    HEAD(NULL, "<?xml version=\"1.0\"?><annotation>"),
    HEAD(NULL, "<!DOCTYPE html><html><svg>"),
    HEAD("PDF", "%PDF-1.4\n"),
    HEAD("PostScript", "%!PS-Adobe-3.0 EPSF-3.0\n"),
    HEAD("OpenEXR", "\x76\x2f\x31\x01\2\0\0\0"),
    HEAD("Radiance HDR", "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n"),
    HEAD("QOI", "qoif\0\0\0@\0\0\0@\3"),
    HEAD("DDS", "DDS |\0\0\0\x0f\x10"),
    HEAD("ICNS", "icns\0\0,_TOC "),
    HEAD("XCF (GIMP)", "gimp xcf v011"),
    HEAD("SGI", "\1\xda\0\1\0\3\0@\0@"),
    /* captions and others that begin alike */
    HEAD(NULL, "BM"),
    HEAD(NULL, "BMW parked in the rain"),
    HEAD(NULL, "GIF of a cat"),
    HEAD(NULL, "RIFF\x24\0\0\0WAVEfmt "),
    HEAD(NULL, "II think"),
    HEAD(NULL, "\xff\xfe"
               "a\0 \0b\0o\0a\0t\0"),
    HEAD(NULL, "{\"caption\": \"a boat\"}"),
    HEAD(NULL, "a boat"),
    HEAD(NULL, "\n"),
    HEAD(NULL, ""),
};

static void known_heads_have_their_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(HEADS); i++) {
        unsigned char *exact = malloc(HEADS[i].bytes + 1); /* for the address sanitizer */
        for (size_t bytes = 0; bytes <= HEADS[i].bytes; bytes++) {
            exact = realloc(exact, bytes ? bytes : 1);
            memcpy(exact, HEADS[i].data, bytes);
            const tdm_image_type *type = tdm_image_type_of(exact, bytes);
            if (bytes < HEADS[i].bytes) continue;
            const char *want = HEADS[i].name;
            if (want ? !type || strcmp(type->name, want) || type->decodes : type != NULL)
                fail_msg("head %zu is %s, not %s", i, type ? type->name : "nothing", want ? want : "nothing");
        }
        free(exact);
    }
}

static void heads_at_their_place(void **state)
{
    (void)state;
    unsigned char dicom[132] = {0}, pcx[128] = {'\n', 5, 1, 8};
    memcpy(dicom + 128, "DICM", 4);
    CHECK_STR_EQ(tdm_image_type_of(dicom, sizeof dicom)->name, "DICOM");
    CHECK_STR_EQ(tdm_image_type_of(pcx, sizeof pcx)->name, "PCX");
}

/* The golden files, whatever they may be called: by their first bytes only. */
static void decodable_files_have_their_type(void **state)
{
    (void)state;
    static const struct {
        const char *file, *name;
    } files[] = {{"baseline.jpg", "JPEG"}, {"progressive.jpg", "JPEG"}, {"rgb.png", "PNG"},
                 {"lossy.webp", "WebP"},   {"lossless.webp", "WebP"},   {"plain.gif", "GIF"},
                 {"rgb.bmp", "BMP"},       {"rgba.bmp", "BMP"}};
    for (size_t i = 0; i < COUNT(files); i++) {
        tdm_text file = golden_file(files[i].file);
        const tdm_image_type *type = tdm_image_type_of(
            file.data, file.length < TDM_IMAGE_TYPE_BYTES ? file.length : TDM_IMAGE_TYPE_BYTES);
        CHECK_NOT_NULL(type);
        CHECK_STR_EQ(type->name, files[i].name);
        CHECK_TRUE(type->decodes);
        tdm_text_free(&file);
    }
}

static void what_is_not_decoded_is_named(void **state)
{
    (void)state;
    tdm_image image;
#define REFUSED(name, data, message)                                                                         \
    CHECK_FAILS(tdm_image_decode(name, data, sizeof(data) - 1, TDM_ALPHA_DROP, &image), TDM_E_DATA, message)
    REFUSED("cat.avif", "\0\0\0 ftypavif\0\0\0\0avifmif1miafMA1B",
            "cat.avif: is AVIF, which is not decoded; convert it to JPEG or PNG");
    REFUSED("cat.jpg", "II*\0\x08\0\0\0", "cat.jpg: is TIFF, which is not decoded");
    REFUSED("cat.jpg", "<!DOCTYPE HTML PUBLIC>\n<html>", "cat.jpg: is an HTML page, not an image");
    REFUSED("cat.jpg", "<html lang=\"en\">", "cat.jpg: is an HTML page, not an image");
    REFUSED("cat.jpg", "version https://git-lfs.github.com/spec/v1\noid sha256:4d",
            "is a pointer of Git LFS");
    REFUSED("cat.tga", "\0\0\2\0\0\0\0\0\0\0\0\0@\0@\0\x18\0",
            "cat.tga: is not a JPEG, PNG, WebP, GIF or BMP image");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_heads_have_their_type),
        cmocka_unit_test(heads_at_their_place),
        cmocka_unit_test(decodable_files_have_their_type),
        cmocka_unit_test(what_is_not_decoded_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
