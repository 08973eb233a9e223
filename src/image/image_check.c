/* What libjpeg does not look at before it decodes. */
#include "image_impl.h"

#include <string.h>

/* ---- JPEG ---- (ITU-T T.81, annex B) */

enum {
    JPEG_SOI = 0xd8,
    JPEG_EOI = 0xd9,
    JPEG_SOS = 0xda,
    JPEG_DHT = 0xc4,
    JPEG_SOF0 = 0xc0,
    JPEG_SOF2 = 0xc2,
    JPEG_SOF15 = 0xcf,
    JPEG_EXTENSION = 0xc8,
    JPEG_DAC = 0xcc,
    JPEG_RST0 = 0xd0,
    JPEG_RST7 = 0xd7
};

bool image_is_jpeg(const unsigned char *data, size_t bytes)
{
    return bytes >= 3 && data[0] == 0xff && data[1] == JPEG_SOI && data[2] == 0xff;
}

/* What of a JPEG file has been seen so far. */
typedef struct jpeg_state {
    bool progressive;
    unsigned dc_tables, ac_tables; /* bit i: Huffman table i is defined */
    int64_t height, width;         /* 0: no frame yet */
} jpeg_state;

static bool is_frame(unsigned char code)
{
    return code >= JPEG_SOF0 && code <= JPEG_SOF15 && code != JPEG_DHT && code != JPEG_EXTENSION &&
           code != JPEG_DAC;
}

/* SOF: precision, height, width, components. The first one counts. */
static bool read_frame(jpeg_state *state, const unsigned char *segment, size_t length)
{
    if (length < 6) return false;
    if (state->width > 0) return true;
    state->height = segment[1] << 8 | segment[2];
    state->width = segment[3] << 8 | segment[4];
    return true;
}

/* DHT. No table has more than 256 codes. */
static bool read_huffman_tables(jpeg_state *state, const unsigned char *segment, size_t length)
{
    enum { HEAD = 17, MOST = 256 };
    while (length >= HEAD) {
        size_t codes = 0;
        unsigned table = segment[0] & 15u;
        for (int i = 1; i < HEAD; i++) codes += segment[i];
        if (table > 3 || codes > MOST || codes > length - HEAD) return false;
        if (segment[0] >> 4)
            state->ac_tables |= 1u << table;
        else
            state->dc_tables |= 1u << table;
        segment += HEAD + codes;
        length -= HEAD + codes;
    }
    return length == 0;
}

/* SOS: every table that the scan uses must be there; of a file without any, such as a frame of Motion JPEG, libjpeg
 * knows the usual ones. */
static bool has_scan_tables(const jpeg_state *state, const unsigned char *segment, size_t length)
{
    if (!state->dc_tables && !state->ac_tables) return true;
    size_t components = length ? segment[0] : 0;
    if (components < 1 || components > 4 || length != 4 + 2 * components) return false;
    bool first_is_dc = segment[1 + 2 * components] == 0;
    bool refines = segment[3 + 2 * components] >> 4 != 0; /* of DC: single bits, no code */
    bool uses_dc = first_is_dc && !(state->progressive && refines),
         uses_ac = !state->progressive || !first_is_dc;
    for (size_t i = 0; i < components; i++) {
        unsigned tables = segment[2 + 2 * i];
        if (uses_dc && !(state->dc_tables >> (tables >> 4) & 1u)) return false;
        if (uses_ac && !(state->ac_tables >> (tables & 15u) & 1u)) return false;
    }
    return true;
}

/* Position of the next marker's code at or after `at`: the byte behind 0xff that is neither a fill byte nor,
 * in coded data, a stuffed zero or a restart. `bytes` when there is none. */
static size_t next_marker(const unsigned char *data, size_t bytes, size_t at, bool coded)
{
    while (at + 1 < bytes) {
        const unsigned char *found = memchr(data + at, 0xff, bytes - at - 1);
        if (!found) return bytes;
        at = (size_t)(found - data) + 1;
        unsigned char code = data[at];
        if (code == 0xff || (coded && (code == 0 || (code >= JPEG_RST0 && code <= JPEG_RST7)))) continue;
        return at;
    }
    return bytes;
}

/* One marker segment, behind its length. */
static tdm_status check_segment(const char *name, jpeg_state *state, unsigned char code,
                                const unsigned char *segment, size_t length)
{
    if (code == JPEG_SOF2) state->progressive = true;
    TDM_REQUIRE(!is_frame(code) || read_frame(state, segment, length), TDM_E_DATA,
                "%s: corrupt image (JPEG frame)", name);
    TDM_REQUIRE(!is_frame(code) || segment[0] == 8, TDM_E_DATA,
                "%s: a JPEG of %d bits a sample is not supported; convert it to 8", name, segment[0]);
    TDM_REQUIRE(code != JPEG_DHT || read_huffman_tables(state, segment, length), TDM_E_DATA,
                "%s: corrupt image (Huffman table)", name);
    TDM_REQUIRE(code != JPEG_SOS || has_scan_tables(state, segment, length), TDM_E_DATA,
                "%s: corrupt image (a scan without its Huffman table)", name);
    return TDM_OK;
}

tdm_status image_check_jpeg(const char *name, const unsigned char *data, size_t bytes, int64_t *height,
                            int64_t *width)
{
    jpeg_state state = {0};
    size_t at = 2; /* after SOI */
    bool coded = false;
    for (;;) {
        at = next_marker(data, bytes, at, coded);
        TDM_REQUIRE(at < bytes, TDM_E_DATA, "%s: image is truncated", name);
        unsigned char code = data[at++];
        if (code == JPEG_EOI) break;
        TDM_REQUIRE(bytes - at >= 2, TDM_E_DATA, "%s: image is truncated", name);
        size_t length = (size_t)data[at] << 8 | data[at + 1]; /* counts itself */
        TDM_REQUIRE(length >= 2, TDM_E_DATA, "%s: corrupt image (length of a JPEG segment)", name);
        TDM_REQUIRE(length <= bytes - at, TDM_E_DATA, "%s: image is truncated", name);
        TDM_TRY(check_segment(name, &state, code, data + at + 2, length - 2));
        at += length;
        coded = code == JPEG_SOS;
    }
    *height = state.height;
    *width = state.width;
    return TDM_OK;
}
