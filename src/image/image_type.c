/* What a file is, told by its first bytes. Names of files say too little: a .jpg may be a WebP, an .avif, or the page
 * that a server sent in its place. */
#include "image_impl.h"

#include <string.h>

/* The first bytes of a file. */
typedef struct file_head {
    const unsigned char *data;
    size_t bytes;
} file_head;

static bool holds(file_head head, size_t at, const char *text, size_t length)
{
    return at <= head.bytes && length <= head.bytes - at && !memcmp(head.data + at, text, length);
}
/* A literal without its final 0. */
#define HOLDS(head, at, literal) holds(head, at, literal, sizeof(literal) - 1)

/* ---- image types ---- */

static bool is_tiff(file_head head)
{
    return HOLDS(head, 0, "II*\0") || HOLDS(head, 0, "MM\0*") || HOLDS(head, 0, "II+\0") ||
           HOLDS(head, 0, "MM\0+");
}

/* ISO media (ISO/IEC 14496-12): a box "ftyp" with its main brand and those that it is compatible with. */
static bool has_brand(file_head head, const char *brand)
{
    enum { BOX = 8, BRAND = 4 };
    if (!HOLDS(head, 4, "ftyp")) return false;
    size_t end = (size_t)head.data[2] << 8 | head.data[3];
    if (head.data[0] || head.data[1] || end > head.bytes) end = head.bytes;
    for (size_t at = BOX; at + BRAND <= end; at += BRAND) /* the second is a version, and no brand */
        if (holds(head, at, brand, BRAND)) return true;
    return false;
}

static bool is_avif(file_head head)
{
    return has_brand(head, "avif") || has_brand(head, "avis");
}

static bool is_heic(file_head head)
{
    return has_brand(head, "heic") || has_brand(head, "heix") || has_brand(head, "heim") ||
           has_brand(head, "heis") || has_brand(head, "hevc") || has_brand(head, "hevx") ||
           HOLDS(head, 4, "ftypmif1") || HOLDS(head, 4, "ftypmsf1");
}

static bool is_jpeg_xl(file_head head)
{
    return HOLDS(head, 0, "\xff\x0a") || HOLDS(head, 0, "\0\0\0\x0cJXL \r\n\x87\n");
}

static bool is_jpeg_2000(file_head head)
{
    return HOLDS(head, 0, "\xff\x4f\xff\x51") || HOLDS(head, 0, "\0\0\0\x0cjP  \r\n\x87\n");
}

static bool is_jpeg_xr(file_head head)
{
    return HOLDS(head, 0, "II\xbc");
}

static bool is_psd(file_head head)
{
    return HOLDS(head, 0, "8BPS\0\1") || HOLDS(head, 0, "8BPS\0\2");
}

/* Icons and cursors: their four bytes alone could begin anything, so the first entry is looked at. */
static bool is_icon(file_head head)
{
    enum { FIRST = 6, ENTRY = 16, RESERVED = 9 };
    if (head.bytes < FIRST + ENTRY || !(HOLDS(head, 0, "\0\0\1\0") || HOLDS(head, 0, "\0\0\2\0")))
        return false;
    return head.data[4] > 0 && head.data[5] == 0 && head.data[RESERVED] == 0;
}

static bool is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Behind white space and comments that begin with '#'. */
static size_t skip_blank(file_head head, size_t at)
{
    bool comment = false;
    for (; at < head.bytes; at++) {
        comment = comment ? head.data[at] != '\n' : head.data[at] == '#';
        if (!comment && !is_space(head.data[at])) break;
    }
    return at;
}

/* P1 … P6 and a number, so that a caption "P3 by car" is none. */
static bool is_pnm(file_head head)
{
    if (HOLDS(head, 0, "P7\nWIDTH ")) return true;
    if (head.bytes < 4 || head.data[0] != 'P' || !is_space(head.data[2])) return false;
    if (!memchr("123456fF", head.data[1], 8)) return false;
    const size_t at = skip_blank(head, 2);
    return at < head.bytes && head.data[at] >= '0' && head.data[at] <= '9';
}

static bool is_pdf(file_head head)
{
    return HOLDS(head, 0, "%PDF-");
}

static bool is_postscript(file_head head)
{
    return HOLDS(head, 0, "%!PS-Adobe") || HOLDS(head, 0, "\xc5\xd0\xd3\xc6");
}

static bool is_open_exr(file_head head)
{
    return HOLDS(head, 0, "\x76\x2f\x31\x01");
}

static bool is_radiance(file_head head)
{
    return HOLDS(head, 0, "#?RADIANCE") || HOLDS(head, 0, "#?RGBE");
}

static bool is_qoi(file_head head)
{
    return HOLDS(head, 0, "qoif");
}

static bool is_dds(file_head head)
{
    return HOLDS(head, 0, "DDS \x7c\0\0\0");
}

static bool is_icns(file_head head)
{
    return HOLDS(head, 0, "icns");
}

static bool is_xcf(file_head head)
{
    return HOLDS(head, 0, "gimp xcf ");
}

static bool is_dicom(file_head head)
{
    return HOLDS(head, 128, "DICM");
}

static bool is_sgi(file_head head)
{
    return HOLDS(head, 0, "\x01\xda\0\1\0") || HOLDS(head, 0, "\x01\xda\1\1\0");
}

static bool is_pcx(file_head head)
{
    enum { RESERVED = 64 };
    return HOLDS(head, 0, "\n\5\1") && head.bytes > RESERVED && head.data[RESERVED] == 0;
}

/* ---- text that is an image, or no image ---- */

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + ('a' - 'A')) : c;
}

/* Does the element or declaration `begin` stand at `at`, in any case? */
static bool opens(file_head head, size_t at, const char *begin)
{
    for (; *begin; begin++, at++)
        if (at >= head.bytes || lower(head.data[at]) != (unsigned char)*begin) return false;
    return at < head.bytes && (is_space(head.data[at]) || head.data[at] == '>' || head.data[at] == ':');
}

/* Behind a byte order mark, white space, the XML declaration and comments. */
static size_t skip_prolog(file_head head)
{
    size_t at = HOLDS(head, 0, "\xef\xbb\xbf") ? 3 : 0;
    for (;;) {
        while (at < head.bytes && is_space(head.data[at])) at++;
        const bool comment = HOLDS(head, at, "<!--");
        if (!comment && !HOLDS(head, at, "<?")) return at;
        const char *end = comment ? "-->" : "?>";
        while (at < head.bytes && !holds(head, at, end, strlen(end))) at++;
        at += strlen(end);
    }
}

static bool is_svg(file_head head)
{
    const size_t at = skip_prolog(head);
    return opens(head, at, "<svg") || opens(head, at, "<!doctype svg");
}

static bool is_html(file_head head)
{
    const size_t at = skip_prolog(head);
    return opens(head, at, "<!doctype html") || opens(head, at, "<html") || opens(head, at, "<head") ||
           opens(head, at, "<body");
}

static bool is_lfs_pointer(file_head head)
{
    return HOLDS(head, 0, "version https://git-lfs.github.com/spec/");
}

/* ---- the table ---- */

static bool is_jpeg(file_head head)
{
    return image_is_jpeg(head.data, head.bytes);
}

static bool is_png(file_head head)
{
    return image_is_png(head.data, head.bytes);
}

static bool is_webp(file_head head)
{
    return image_is_webp(head.data, head.bytes);
}

static bool is_gif(file_head head)
{
    return image_is_gif(head.data, head.bytes);
}

static bool is_bmp(file_head head)
{
    return image_is_bmp(head.data, head.bytes);
}

static const struct type_row {
    tdm_image_type type;
    bool (*is)(file_head head);
} TYPES[] = {
    {{"JPEG", true}, is_jpeg},
    {{"PNG", true}, is_png},
    {{"WebP", true}, is_webp},
    {{"GIF", true}, is_gif},
    {{"BMP", true}, is_bmp},
    {{"TIFF", false}, is_tiff},
    {{"AVIF", false}, is_avif},
    {{"HEIC", false}, is_heic},
    {{"JPEG XL", false}, is_jpeg_xl},
    {{"JPEG 2000", false}, is_jpeg_2000},
    {{"JPEG XR", false}, is_jpeg_xr},
    {{"PSD (Photoshop)", false}, is_psd},
    {{"an icon (ICO)", false}, is_icon},
    {{"PNM (PBM, PGM, PPM)", false}, is_pnm},
    {{"SVG", false}, is_svg},
    {{"PDF", false}, is_pdf},
    {{"PostScript", false}, is_postscript},
    {{"OpenEXR", false}, is_open_exr},
    {{"Radiance HDR", false}, is_radiance},
    {{"QOI", false}, is_qoi},
    {{"DDS", false}, is_dds},
    {{"ICNS", false}, is_icns},
    {{"XCF (GIMP)", false}, is_xcf},
    {{"SGI", false}, is_sgi},
    {{"PCX", false}, is_pcx},
    {{"DICOM", false}, is_dicom},
};

const tdm_image_type *tdm_image_type_of(const void *data, size_t bytes)
{
    const file_head head = {.data = data, .bytes = bytes};
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++)
        if (TYPES[i].is(head)) return &TYPES[i].type;
    return NULL;
}

tdm_status image_refuse_type(const char *name, const void *data, size_t bytes)
{
    const file_head head = {.data = data, .bytes = bytes};
    const tdm_image_type *type = tdm_image_type_of(data, bytes);
    TDM_REQUIRE(!type, TDM_E_DATA, "%s: is %s, which is not decoded; convert it to JPEG or PNG", name,
                type->name);
    TDM_REQUIRE(!is_html(head), TDM_E_DATA, "%s: is an HTML page, not an image", name);
    TDM_REQUIRE(!is_lfs_pointer(head), TDM_E_DATA,
                "%s: is a pointer of Git LFS, not the image itself; `git lfs pull` fetches it", name);
    TDM_FAIL(TDM_E_DATA, "%s: is not a JPEG, PNG, WebP, GIF or BMP image", name);
}
