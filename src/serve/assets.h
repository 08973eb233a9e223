/* Files of assets/, within the program: cmake/Embed.cmake makes assets.c of them. */
#ifndef TANDEM_SERVE_ASSETS_H
#define TANDEM_SERVE_ASSETS_H

#include <stddef.h>

extern const unsigned char serve_style_css[], serve_page_js[], serve_icon_svg[], serve_schema_json[];
extern const size_t serve_style_css_bytes, serve_page_js_bytes, serve_icon_svg_bytes, serve_schema_json_bytes;

#endif
