/* The frame of every page: one file, inline style, no script, no network. */
#include "report_impl.h"

#include <math.h>
#include <string.h>

static const char style[] =
    ":root{--page:#f6f7f9;--card:#fff;--ink:#16191d;--soft:#5b6470;--line:#dfe3e8;--grid:#e9ecf0;"
    "--good:#0a8a4a;--goodback:#e3f5eb;--s0:#2563eb;--s1:#d9480f;--s2:#0b8a5a;--s3:#7c3aed;"
    "--s4:#b7791f;--s5:#0e7490;--s6:#be185d;--s7:#4b5563;color-scheme:light dark}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#121417;--card:#1b1e23;--ink:#e8eaed;"
    "--soft:#9aa3ae;--line:#31363e;--grid:#2a2f36;--good:#4ade80;--goodback:#143322;--s0:#7aa7ff;"
    "--s1:#ff9a62;--s2:#45d19a;--s3:#b79bff;--s4:#f0c05a;--s5:#5fd0e6;--s6:#ff8abf;--s7:#aab3bf}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--page);color:var(--ink);"
    "font:15px/1.45 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",\"DejaVu Sans\",sans-serif}\n"
    "main{max-width:1240px;margin:0 auto;padding:28px 24px 40px}\n"
    "h1{font-size:26px;line-height:1.2;margin:0 0 4px}\n"
    "h2{font-size:18px;margin:34px 0 12px}\n"
    ".sub,.note{color:var(--soft);margin:0;overflow-wrap:anywhere}\n"
    ".note{font-size:13px;margin-top:32px}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(160px,1fr));"
    "gap:12px;margin:22px 0 0}\n"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}\n"
    ".tile b{display:block;font-size:22px;font-weight:650;"
    "line-height:1.25;font-variant-numeric:tabular-nums}\n"
    ".tile span{color:var(--soft);font-size:13px}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,430px),1fr));gap:16px}\n"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);"
    "border-radius:10px;padding:14px 16px 8px}\n"
    "figcaption{font-weight:620;margin-bottom:2px}\n"
    "figcaption i{font-style:normal;font-weight:400;color:var(--soft)}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:13px;color:var(--soft);min-height:20px}\n"
    ".legend i{display:inline-block;width:14px;height:3px;"
    "border-radius:2px;margin-right:6px;vertical-align:3px}\n"
    ".legend b{color:var(--ink);font-weight:600;font-variant-numeric:tabular-nums}\n"
    "svg{display:block;width:100%;height:auto}\n"
    "svg text{fill:var(--soft);font-size:12px;font-variant-numeric:tabular-nums}\n"
    "svg .g{stroke:var(--grid);stroke-width:1}svg .a{stroke:var(--soft);stroke-width:1}\n"
    "svg polyline{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}\n"
    "table{border-collapse:separate;border-spacing:0;background:var(--card);"
    "border:1px solid var(--line);border-radius:10px;overflow:hidden}\n"
    "th,td{padding:7px 16px;text-align:right;"
    "border-top:1px solid var(--line);font-variant-numeric:tabular-nums}\n"
    "tr:first-child>*{border-top:0}th{font-weight:600}td:first-child,th:first-child{text-align:left}\n"
    ".bar{width:36%;min-width:120px}.bar i{display:block;"
    "height:10px;border-radius:5px;background:var(--s0)}\n"
    "details{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 16px}\n"
    "summary{cursor:pointer;font-weight:600}\n"
    "pre{overflow-x:auto;font:13px/1.45 ui-monospace,\"DejaVu Sans Mono\",monospace;margin:10px 0 4px}\n"
    ".query{margin:26px 0 12px;display:flex;gap:14px;align-items:center}\n"
    ".query h2{margin:0;overflow-wrap:anywhere}\n"
    ".query img{height:96px;max-width:240px;object-fit:contain;border-radius:8px;background:#fff}\n"
    ".query span{color:var(--soft);font-size:13px}\n"
    ".sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(148px,1fr));gap:12px}\n"
    ".item{background:var(--card);border:1px solid var(--line);"
    "border-radius:10px;overflow:hidden;display:flex;flex-direction:column}\n"
    ".item.match{border-color:var(--good);box-shadow:0 0 0 2px var(--good)}\n"
    ".thumb{aspect-ratio:1;background:#fff;display:flex;align-items:center;"
    "justify-content:center;color:#5b6470;font-size:13px}\n"
    ".thumb img{width:100%;height:100%;object-fit:contain}\n"
    ".item.match .thumb{border-bottom:0}\n"
    ".label{padding:8px 10px 10px;font-size:13px;line-height:1.35;overflow-wrap:anywhere}\n"
    ".label b{font-variant-numeric:tabular-nums}.label .score{float:right;"
    "color:var(--soft);font-variant-numeric:tabular-nums}\n"
    ".label .tag{display:inline-block;background:var(--goodback);color:var(--good);"
    "border-radius:5px;padding:0 6px;margin-left:4px;font-weight:600}\n"
    ".label div{margin-top:3px}.label .name{color:var(--soft);font-size:12px}\n"
    "@media print{body{background:#fff}}\n";

tdm_status html_begin(tdm_text *html, const char *title, const char *subtitle)
{
    TDM_TRY(tdm_text_printf(
        html, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
              "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>"));
    TDM_TRY(tdm_text_html(html, title));
    TDM_TRY(tdm_text_printf(html, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>", style));
    TDM_TRY(tdm_text_html(html, title));
    TDM_TRY(tdm_text_printf(html, "</h1>\n"));
    if (subtitle == NULL || subtitle[0] == '\0') return TDM_OK;
    TDM_TRY(tdm_text_printf(html, "<p class=\"sub\">"));
    TDM_TRY(tdm_text_html(html, subtitle));
    return tdm_text_printf(html, "</p>\n");
}

tdm_status html_end(tdm_text *html, const char *note)
{
    TDM_TRY(tdm_text_printf(html, "<p class=\"note\">"));
    TDM_TRY(tdm_text_html(html, note));
    return tdm_text_printf(html, "</p>\n</main>\n</body>\n</html>\n");
}

/* By the first bytes of the file; NULL when unknown. */
static const char *image_type(const unsigned char *data, int64_t bytes)
{
    if (bytes >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0) return "image/png";
    if (bytes >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0) return "image/jpeg";
    if (bytes >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0) return "image/webp";
    if (bytes >= 6 && memcmp(data, "GIF8", 4) == 0) return "image/gif";
    if (bytes >= 2 && memcmp(data, "BM", 2) == 0) return "image/bmp";
    return NULL;
}

static tdm_status append_base64(tdm_text *html, const unsigned char *data, int64_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char block[4 * 256];
    size_t used = 0;
    for (int64_t i = 0; i < bytes; i += 3) {
        const int64_t left = bytes - i;
        const unsigned word = (unsigned)data[i] << 16 | (left > 1 ? (unsigned)data[i + 1] << 8 : 0) |
                              (left > 2 ? (unsigned)data[i + 2] : 0);
        block[used++] = digits[word >> 18];
        block[used++] = digits[word >> 12 & 63];
        block[used++] = left > 1 ? digits[word >> 6 & 63] : '=';
        block[used++] = left > 2 ? digits[word & 63] : '=';
        if (used == sizeof block) {
            TDM_TRY(tdm_text_append(html, block, used));
            used = 0;
        }
    }
    return tdm_text_append(html, block, used);
}

tdm_status html_image_source(tdm_text *html, const void *image, int64_t bytes, bool *known)
{
    const char *type = image == NULL ? NULL : image_type(image, bytes);
    *known = type != NULL;
    if (type == NULL) return TDM_OK;
    TDM_TRY(tdm_text_printf(html, "src=\"data:%s;base64,", type));
    TDM_TRY(append_base64(html, image, bytes));
    return tdm_text_append(html, "\"", 1);
}

void show_value(char out[32], double value)
{
    const double size = fabs(value);
    if (!isfinite(value))
        snprintf(out, 32, "–");
    else if (size >= 1e6)
        snprintf(out, 32, "%.2fM", value / 1e6);
    else if (size >= 1e4)
        snprintf(out, 32, "%.1fk", value / 1e3);
    else if (size >= 100 || value == rint(value))
        snprintf(out, 32, "%.0f", value);
    else if (size >= 1e-3)
        snprintf(out, 32, "%.*f",
                 size >= 10     ? 1
                 : size >= 1    ? 2
                 : size >= 0.1  ? 3
                 : size >= 0.01 ? 4
                                : 5,
                 value);
    else
        snprintf(out, 32, "%.2e", value);
}
