/* Text from outside, such as names of files, captions and arguments: reading it as UTF-8, and showing it. */
#include "tandem/base.h"

#include <string.h>

/* The bounds of the second byte after `lead` (Unicode, table 3-7), and how many bytes follow. */
static int following_bytes(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) return 1;
    if (lead >= 0xE0 && lead <= 0xEF) {
        if (lead == 0xE0) *low = 0xA0;
        if (lead == 0xED) *high = 0x9F;
        return 2;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        if (lead == 0xF0) *low = 0x90;
        if (lead == 0xF4) *high = 0x8F;
        return 3;
    }
    return 0;
}

int32_t tdm_utf8_next(const char *at, const char *end, const char **next)
{
    const unsigned char lead = (unsigned char)*at++;
    *next = at;
    if (lead < 0x80) return lead;
    unsigned char low, high;
    const int more = following_bytes(lead, &low, &high);
    if (more == 0) return -1;
    int32_t point = lead & (0x3F >> more);
    for (int i = 0; i < more; i++) {
        if (at == end || (unsigned char)*at < low || (unsigned char)*at > high) {
            *next = at;
            return -1;
        }
        point = point << 6 | (*at++ & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    *next = at;
    return point;
}

tdm_status tdm_text_utf8(tdm_text *text, const void *data, size_t bytes)
{
    const char *at = data, *end = bytes > 0 ? at + bytes : at, *good = at, *next;
    for (; at < end; at = next) {
        if (tdm_utf8_next(at, end, &next) >= 0) continue;
        TDM_TRY(tdm_text_append(text, good, (size_t)(at - good)));
        TDM_TRY(tdm_text_append(text, TDM_REPLACEMENT, strlen(TDM_REPLACEMENT)));
        good = next;
    }
    return tdm_text_append(text, bytes > 0 ? good : "", (size_t)(at - good));
}

bool tdm_point_is_control(int32_t point)
{
    return point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0x2028 || point == 0x2029 ||
           (point >= 0x202A && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
}

tdm_status tdm_text_json(tdm_text *text, const char *json)
{
    const char *end = json + strlen(json), *plain = json, *next;
    for (; json < end; json = next) {
        const int32_t point = tdm_utf8_next(json, end, &next);
        if (point < 0x7F || !tdm_point_is_control(point)) continue;
        TDM_TRY(tdm_text_append(text, plain, (size_t)(json - plain)));
        TDM_TRY(tdm_text_printf(text, "\\u%04x", (unsigned)point));
        plain = next;
    }
    return tdm_text_append(text, plain, (size_t)(json - plain));
}

enum { SPELLED_BYTES = 16 };

/* A character as it is shown; its length. */
static size_t spell(int32_t point, const char *at, const char *next, char out[SPELLED_BYTES])
{
    size_t used = 0;
    if (point == '\n' || point == '\r' || point == '\t')
        return (size_t)snprintf(out, SPELLED_BYTES, "\\%c", point == '\n' ? 'n' : point == '\r' ? 'r' : 't');
    if (point >= 0x80 && tdm_point_is_control(point))
        return (size_t)snprintf(out, SPELLED_BYTES, "\\u%04x", (unsigned)point);
    if (point >= 0 && !tdm_point_is_control(point)) {
        memcpy(out, at, (size_t)(next - at));
        return (size_t)(next - at);
    }
    for (; at < next; at++)
        used += (size_t)snprintf(out + used, SPELLED_BYTES - used, "\\x%02x", (unsigned char)*at);
    return used;
}

size_t tdm_show_text(char *out, size_t room, const char *s)
{
    const char *end = s + strlen(s), *next;
    size_t used = 0;
    for (; s < end; s = next) {
        char one[SPELLED_BYTES];
        const int32_t point = tdm_utf8_next(s, end, &next);
        const size_t n = spell(point, s, next, one);
        if (used + n >= room) break;
        memcpy(out + used, one, n);
        used += n;
    }
    out[used] = '\0';
    return used;
}

tdm_status tdm_text_show(tdm_text *text, const char *s)
{
    const char *end = s + strlen(s), *next;
    for (; s < end; s = next) {
        char one[SPELLED_BYTES];
        const int32_t point = tdm_utf8_next(s, end, &next);
        const size_t n = spell(point, s, next, one);
        TDM_TRY(tdm_text_append(text, one, n));
    }
    return tdm_text_append(text, "", 0); /* a string, also when `s` is empty */
}

void tdm_trim_cut(char *text)
{
    const size_t n = strlen(text);
    for (size_t back = 1; back <= 3 && back <= n; back++) { /* the last lead byte */
        const unsigned char byte = (unsigned char)text[n - back];
        if (byte < 0x80) return;
        if (byte < 0xC0) continue;
        unsigned char low, high;
        if ((size_t)following_bytes(byte, &low, &high) >= back) text[n - back] = '\0';
        return;
    }
}
