/* The text side of CLIP's tokenizer: clip/simple_tokenizer.py (github openai/CLIP) calls ftfy.fix_text
 * (github rspeer/python-ftfy, 6.x), html.unescape and str.lower (Python); Transformers' CLIPTokenizerFast the
 * normalizers NFC, Replace and Lowercase of github huggingface/tokenizers. The steps here follow their
 * documented behaviour on code points; tables of Unicode come from utf8proc. */
#include "text_clean.h"

#include "tandem/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum {
    TEXT_BYTES_MAX = 16 << 20,
    FIX_ROUNDS_MAX = 8, /* ftfy repeats until nothing changes; entities nested deeper than this stay */
    REPLACEMENT = 0xFFFD
};

typedef struct points { /* growable array of code points */
    int32_t *item;
    size_t count, capacity;
} points;

static void points_free(points *p)
{
    free(p->item);
    memset(p, 0, sizeof *p);
}

static tdm_status points_reserve(points *p, size_t more)
{
    const size_t need = p->count + more;
    if (need <= p->capacity) return TDM_OK;
    const size_t capacity = need + need / 2 + 64;
    int32_t *grown = realloc(p->item, capacity * sizeof *grown);
    TDM_REQUIRE(grown, TDM_E_NOMEM, "cannot allocate %zu characters of text", capacity);
    p->item = grown;
    p->capacity = capacity;
    return TDM_OK;
}

static inline void points_push(points *p, int32_t point) /* room was reserved */
{
    p->item[p->count++] = point;
}

/* ---- UTF-8 ---- */

int32_t text_decode_point(const char *at, const char *end, const char **next)
{
    const int32_t point = tdm_utf8_next(at, end, next);
    return point < 0 ? REPLACEMENT : point;
}

static tdm_status decode_utf8(const char *text, size_t bytes, points *out)
{
    const char *at = text, *end = text + bytes;
    TDM_TRY(points_reserve(out, bytes));
    while (at < end) points_push(out, text_decode_point(at, end, &at));
    return TDM_OK;
}

/* ---- HTML character references ---- */

typedef struct entity {
    const char *name;
    int32_t point[2]; /* the second is 0 for nearly all */
    bool bare;        /* also without the semicolon */
} entity;

static const entity entities[] = {
#include "text_entities.inc"
};

enum { ENTITY_COUNT = sizeof(entities) / sizeof(entities[0]), ENTITY_NAME_MAX = 32 };

static int compare_entity(const void *key, const void *row)
{
    return strcmp(key, ((const entity *)row)->name);
}

static const entity *find_entity(const char *name)
{
    return bsearch(name, entities, ENTITY_COUNT, sizeof entities[0], compare_entity);
}

/* Windows-1252's printable characters at 0x80 … 0x9F; 0 where it has none. */
static const int32_t windows_1252[32] = {0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                         0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
                                         0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                         0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

static int32_t c1_as_windows_1252(int32_t point)
{
    if (point < 0x80 || point > 0x9F) return point;
    const int32_t shown = windows_1252[point - 0x80];
    return shown ? shown : point;
}

/* What a numeric reference stands for (HTML5, "numeric character reference end state", as html.unescape has
 * it); -1: nothing. */
static int32_t numeric_reference(int64_t number)
{
    if (number == 0 || (number >= 0xD800 && number <= 0xDFFF) || number > 0x10FFFF) return REPLACEMENT;
    if (number == '\r') return '\r';
    if (number >= 0x80 && number <= 0x9F) return c1_as_windows_1252((int32_t)number);
    const bool control =
        number <= 0x08 || number == 0x0B || (number >= 0x0E && number <= 0x1F) || number == 0x7F;
    const bool noncharacter = (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE;
    return control || noncharacter ? -1 : (int32_t)number;
}

static int digit_value(int32_t point, int base)
{
    if (point >= '0' && point <= '9') return point - '0';
    if (base == 16 && point >= 'a' && point <= 'f') return point - 'a' + 10;
    if (base == 16 && point >= 'A' && point <= 'F') return point - 'A' + 10;
    return -1;
}

/* "#65;", "#x41;" or the same without ';' at s[0 … n): the points used (0: no reference) and its value. */
static size_t read_numeric(const int32_t *s, size_t n, int32_t *value)
{
    const int base = n > 1 && (s[1] == 'x' || s[1] == 'X') ? 16 : 10;
    const size_t first = base == 16 ? 2 : 1;
    size_t i = first;
    int64_t number = 0;
    for (int digit; i < n && (digit = digit_value(s[i], base)) >= 0; i++)
        number = tdm_min_i64(number * base + digit, 0x110000); /* too large stays too large */
    if (i == first) return 0;
    *value = numeric_reference(number);
    return i + (i < n && s[i] == ';');
}

static void push_entity(points *out, const entity *e)
{
    points_push(out, e->point[0]);
    if (e->point[1]) points_push(out, e->point[1]);
}

/* html.unescape's named reference at s[0 … n), after '&': up to 32 characters and ';'. The exact name, else
 * the longest beginning that may stand without ';'. Points used; 0: none. */
static size_t push_named(const int32_t *s, size_t n, points *out)
{
    char name[ENTITY_NAME_MAX + 1];
    size_t length = 0;
    while (length < n && length < ENTITY_NAME_MAX && s[length] > ' ' && s[length] < 0x7F &&
           !strchr("<&#;", s[length])) {
        name[length] = (char)s[length];
        length++;
    }
    name[length] = '\0';
    if (length && length < n && s[length] == ';') {
        const entity *e = find_entity(name);
        if (e) {
            push_entity(out, e);
            return length + 1;
        }
    }
    for (; length >= 2; length--) {
        name[length] = '\0';
        const entity *e = find_entity(name);
        if (e && e->bare) {
            push_entity(out, e);
            return length;
        }
    }
    return 0;
}

/* html.unescape. No reference is shorter than what it stands for, so `out` needs no more room than `in`. */
static tdm_status unescape(const points *in, points *out)
{
    out->count = 0;
    TDM_TRY(points_reserve(out, in->count));
    for (size_t i = 0; i < in->count;) {
        size_t used = 0;
        const int32_t *s = in->item + i + 1;
        const size_t n = in->count - i - 1;
        if (in->item[i] == '&' && n && s[0] == '#') {
            int32_t value = -1;
            used = read_numeric(s, n, &value);
            if (used && value >= 0) points_push(out, value);
        } else if (in->item[i] == '&') {
            used = push_named(s, n, out);
        }
        if (used == 0) points_push(out, in->item[i]);
        i += 1 + used;
    }
    return TDM_OK;
}

/* ftfy's own all-capitals references, such as &EACUTE;: the capital of what the small name stands for, unless
 * HTML reads the beginning of the name as something else. */
static bool push_capital_entity(const char *name, points *out)
{
    char small[ENTITY_NAME_MAX + 1], beginning[ENTITY_NAME_MAX + 1];
    const size_t length = strlen(name);
    for (size_t i = 0; i <= length; i++) {
        if (name[i] >= 'a' && name[i] <= 'z') return false;
        small[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] + 'a' - 'A') : name[i];
    }
    const entity *e = find_entity(small);
    if (!e) return false;
    memcpy(beginning, name, length + 1);
    for (size_t n = length; n >= 2; n--) {
        beginning[n] = '\0';
        const entity *other = find_entity(beginning);
        if (other && other->bare) return false;
    }
    if (e->point[0] == 0xDF) { /* ß */
        points_push(out, 'S');
        points_push(out, 'S');
        return true;
    }
    points_push(out, utf8proc_toupper(e->point[0]));
    if (e->point[1]) points_push(out, utf8proc_toupper(e->point[1]));
    return true;
}

/* ftfy's unescape_html at s[0 … n), after '&': #?[0-9A-Za-z]{1,24}; only. Points used; 0: none. */
static size_t push_strict_reference(const int32_t *s, size_t n, points *out)
{
    enum { STRICT_MAX = 24 };
    char name[STRICT_MAX + 1];
    const size_t sharp = n && s[0] == '#';
    size_t length = 0;
    for (size_t i = sharp; i < n && length < STRICT_MAX; i++) {
        const int32_t c = s[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) break;
        name[length++] = (char)c;
    }
    name[length] = '\0';
    const size_t end = sharp + length;
    if (length == 0 || end >= n || s[end] != ';') return 0;
    if (sharp) {
        int32_t value = -1;
        if (read_numeric(s, n, &value) != end + 1 || value == ';') return 0;
        if (value >= 0) points_push(out, value);
        return end + 1;
    }
    const entity *e = find_entity(name);
    if (e) push_entity(out, e);
    return e || push_capital_entity(name, out) ? end + 1 : 0;
}

static tdm_status unescape_strict(const points *in, points *out)
{
    out->count = 0;
    TDM_TRY(points_reserve(out, in->count));
    for (size_t i = 0; i < in->count;) {
        size_t used = 0;
        if (in->item[i] == '&') used = push_strict_reference(in->item + i + 1, in->count - i - 1, out);
        if (used == 0) points_push(out, in->item[i]);
        i += 1 + used;
    }
    return TDM_OK;
}

/* ---- ftfy's character fixes ---- */

/* ftfy's LIGATURES: the Latin ones only. */
static const char *ligature(int32_t point)
{
    switch (point) {
    case 0x132: return "IJ";
    case 0x133: return "ij";
    case 0x149: return "\xCA\xBCn";
    case 0x1C4: return "D\xC5\xBD";
    case 0x1C5: return "D\xC5\xBE";
    case 0x1C6: return "d\xC5\xBE";
    case 0x1C7: return "LJ";
    case 0x1C8: return "Lj";
    case 0x1C9: return "lj";
    case 0x1CA: return "NJ";
    case 0x1CB: return "Nj";
    case 0x1CC: return "nj";
    case 0x1F1: return "DZ";
    case 0x1F2: return "Dz";
    case 0x1F3: return "dz";
    case 0xFB00: return "ff";
    case 0xFB01: return "fi";
    case 0xFB02: return "fl";
    case 0xFB03: return "ffi";
    case 0xFB04: return "ffl";
    case 0xFB05: return "\xC5\xBFt";
    case 0xFB06: return "st";
    default: return NULL;
    }
}

static int32_t straight_quote(int32_t point)
{
    if (point == 0x2BC || (point >= 0x2018 && point <= 0x201B)) return '\'';
    if (point >= 0x201C && point <= 0x201F) return '"';
    return point;
}

enum { EXPANSION_MAX = 4 }; /* points that one character may become in translate() and decompose() */

/* C1 controls, ligatures, character width and quotes, in ftfy's order. */
static void translate_point(int32_t point, points *out)
{
    point = c1_as_windows_1252(point);
    const char *spelled = ligature(point);
    if (spelled) {
        const char *end = spelled + strlen(spelled);
        while (spelled < end) points_push(out, straight_quote(text_decode_point(spelled, end, &spelled)));
        return;
    }
    if (point == 0x3000) point = ' ';
    if (point > 0xFF00 && point < 0xFFF0) {
        utf8proc_int32_t plain[EXPANSION_MAX];
        int boundary = 0;
        const utf8proc_ssize_t n = utf8proc_decompose_char(point, plain, EXPANSION_MAX,
                                                           UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, &boundary);
        if (n >= 1 && n <= EXPANSION_MAX) {
            for (utf8proc_ssize_t i = 0; i < n; i++) points_push(out, straight_quote(plain[i]));
            return;
        }
    }
    points_push(out, straight_quote(point));
}

static tdm_status translate(const points *in, points *out)
{
    out->count = 0;
    TDM_TRY(points_reserve(out, in->count * EXPANSION_MAX));
    for (size_t i = 0; i < in->count; i++) translate_point(in->item[i], out);
    return TDM_OK;
}

static bool is_unwanted_control(int32_t c)
{
    return c <= 0x08 || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || (c >= 0x206A && c <= 0x206F) ||
           c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFC);
}

/* The length of a terminal escape ESC [ (digit or ';')* letter at s; 0: none. */
static size_t terminal_escape(const int32_t *s, size_t n)
{
    if (n < 3 || s[0] != 0x1B || s[1] != '[') return 0;
    size_t i = 2;
    while (i < n && (s[i] == ';' || utf8proc_category(s[i]) == UTF8PROC_CATEGORY_ND)) i++;
    const bool letter = i < n && ((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z'));
    return letter ? i + 1 : 0;
}

/* Terminal escapes and control characters, in place. */
static void remove_controls(points *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->count;) {
        const size_t escape = terminal_escape(p->item + i, p->count - i);
        if (escape)
            i += escape;
        else if (is_unwanted_control(p->item[i]))
            i++;
        else
            p->item[kept++] = p->item[i++];
    }
    p->count = kept;
}

/* ---- Normal form C ---- */

static int combining_class(int32_t point)
{
    return utf8proc_get_property(point)->combining_class;
}

/* A run of combining marks in canonical order: a stable counting sort, since a hostile run may be long. */
static void order_marks(int32_t *mark, size_t n, int32_t *space)
{
    size_t begin[257] = {0};
    for (size_t i = 0; i < n; i++) begin[combining_class(mark[i]) + 1]++;
    for (int c = 0; c < 256; c++) begin[c + 1] += begin[c];
    for (size_t i = 0; i < n; i++) space[begin[combining_class(mark[i])]++] = mark[i];
    memcpy(mark, space, n * sizeof *mark);
}

static void order_all_marks(points *p, int32_t *space)
{
    for (size_t i = 0; i < p->count;) {
        size_t end = i;
        bool sorted = true;
        int last = 0, now = 0;
        for (; end < p->count && (now = combining_class(p->item[end])) != 0; end++) {
            sorted = sorted && now >= last;
            last = now;
        }
        if (!sorted) order_marks(p->item + i, end - i, space);
        i = end + 1;
    }
}

/* in: any; out: its NFC. `in` is used as space. */
static tdm_status compose(points *in, points *out)
{
    out->count = 0;
    TDM_TRY(points_reserve(out, in->count * EXPANSION_MAX));
    bool plain = true; /* nothing below U+0300 combines or changes */
    for (size_t i = 0; i < in->count && plain; i++) plain = in->item[i] < 0x300;
    if (plain) {
        if (in->count) memcpy(out->item, in->item, in->count * sizeof *in->item);
        out->count = in->count;
        return TDM_OK;
    }
    for (size_t i = 0; i < in->count; i++) {
        int boundary = 0;
        const utf8proc_ssize_t n = utf8proc_decompose_char(in->item[i], out->item + out->count, EXPANSION_MAX,
                                                           UTF8PROC_DECOMPOSE, &boundary);
        if (n >= 1 && n <= EXPANSION_MAX)
            out->count += (size_t)n;
        else
            points_push(out, in->item[i]);
    }
    in->count = 0;
    TDM_TRY(points_reserve(in, out->count));
    order_all_marks(out, in->item);
    const utf8proc_ssize_t n =
        utf8proc_normalize_utf32(out->item, (utf8proc_ssize_t)out->count, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    TDM_REQUIRE(n >= 0, TDM_E_DATA, "text cannot be normalised: %s", utf8proc_errmsg(n));
    out->count = (size_t)n;
    return TDM_OK;
}

/* ---- The whole cleaning ---- */

typedef struct cleaner {
    points text;    /* what has been fixed so far, and then everything */
    points a, b, c; /* the segment on its way through the steps */
} cleaner;

/* ftfy.fix_and_explain on the segment in w->a. Line breaks are white space to all that follows, so their
 * spelling is left alone. */
static tdm_status fix_segment(cleaner *w, bool with_entities)
{
    for (int round = 0; round < FIX_ROUNDS_MAX; round++) {
        points *from = &w->a;
        if (with_entities) {
            TDM_TRY(unescape_strict(&w->a, &w->b));
            from = &w->b;
        }
        TDM_TRY(translate(from, &w->c));
        remove_controls(&w->c);
        TDM_TRY(compose(&w->c, &w->b));
        const bool same =
            w->a.count == w->b.count && !memcmp(w->a.item, w->b.item, w->a.count * sizeof *w->a.item);
        const points swap = w->a;
        w->a = w->b;
        w->b = swap;
        if (same) break;
    }
    return TDM_OK;
}

/* ftfy.fix_text: by lines; entities are left alone from the first line on that holds a '<' (then the text is
 * taken for HTML). */
static tdm_status fix_text(cleaner *w, const points *raw)
{
    bool with_entities = true;
    for (size_t begin = 0; begin < raw->count;) {
        size_t end = begin;
        while (end < raw->count && raw->item[end] != '\n') {
            if (raw->item[end] == '<') with_entities = false;
            end++;
        }
        end += end < raw->count;
        w->a.count = 0;
        TDM_TRY(points_reserve(&w->a, end - begin));
        memcpy(w->a.item, raw->item + begin, (end - begin) * sizeof *raw->item);
        w->a.count = end - begin;
        TDM_TRY(fix_segment(w, with_entities));
        TDM_TRY(points_reserve(&w->text, w->a.count));
        if (w->a.count) memcpy(w->text.item + w->text.count, w->a.item, w->a.count * sizeof *w->a.item);
        w->text.count += w->a.count;
        begin = end;
    }
    return TDM_OK;
}

bool text_is_space(int32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

static void collapse_space(points *p)
{
    size_t kept = 0;
    bool pending = false;
    for (size_t i = 0; i < p->count; i++) {
        const int32_t c = p->item[i];
        if (text_is_space(c)) {
            pending = kept > 0;
            continue;
        }
        if (pending) p->item[kept++] = ' ';
        pending = false;
        p->item[kept++] = c;
    }
    p->count = kept;
}

/* ---- str.lower() ---- */

/* Unicode's Case_Ignorable. */
static bool is_case_ignorable(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: break;
    }
    switch (c) { /* Word_Break = MidLetter, MidNumLet or Single_Quote */
    case '\'':
    case '.':
    case ':':
    case 0xB7:
    case 0x387:
    case 0x55F:
    case 0x5F4:
    case 0x2018:
    case 0x2019:
    case 0x2024:
    case 0x2027:
    case 0xFE13:
    case 0xFE52:
    case 0xFE55:
    case 0xFF07:
    case 0xFF0E:
    case 0xFF1A: return true;
    default: return false;
    }
}

/* Unicode's Cased, of characters that are not Case_Ignorable. */
static bool is_cased(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT: return true;
    default: break;
    }
    return c == 0xAA || c == 0xBA || (c >= 0x2160 && c <= 0x217F) || (c >= 0x24B6 && c <= 0x24E9) ||
           (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

/* Unicode 3.13, Final_Sigma: a cased letter before, none after, case-ignorable ones skipped. */
static bool is_final_sigma(const points *p, size_t at)
{
    size_t i = at;
    while (i > 0 && is_case_ignorable(p->item[i - 1])) i--;
    if (i == 0 || !is_cased(p->item[i - 1])) return false;
    for (i = at + 1; i < p->count && is_case_ignorable(p->item[i]); i++) continue;
    return i == p->count || !is_cased(p->item[i]);
}

/* context: of final sigma, which Python looks at and Rust's char::to_lowercase cannot. */
static tdm_status lower(const points *in, bool context, points *out)
{
    out->count = 0;
    TDM_TRY(points_reserve(out, in->count * 2));
    for (size_t i = 0; i < in->count; i++) {
        const int32_t c = in->item[i];
        if (c == 0x130) { /* İ, the only letter whose small form is two (SpecialCasing.txt) */
            points_push(out, 'i');
            points_push(out, 0x307);
        } else if (c == 0x3A3 && context) {
            points_push(out, is_final_sigma(in, i) ? 0x3C2 : 0x3C3);
        } else {
            points_push(out, utf8proc_tolower(c));
        }
    }
    return TDM_OK;
}

static tdm_status encode_utf8(const points *in, tdm_text *out)
{
    utf8proc_uint8_t block[256];
    size_t used = 0;
    for (size_t i = 0; i < in->count; i++) {
        if (used + 4 > sizeof block) {
            TDM_TRY(tdm_text_append(out, block, used));
            used = 0;
        }
        used += (size_t)utf8proc_encode_char(in->item[i], block + used);
    }
    return tdm_text_append(out, block, used);
}

static tdm_status clean_as_openai(cleaner *w, const char *text, size_t bytes, tdm_text *out)
{
    TDM_TRY(decode_utf8(text, bytes, &w->c));
    points raw = w->c;
    memset(&w->c, 0, sizeof w->c);
    const tdm_status fixed = fix_text(w, &raw);
    points_free(&raw);
    TDM_TRY(fixed);
    TDM_TRY(unescape(&w->text, &w->a));
    TDM_TRY(unescape(&w->a, &w->b));
    collapse_space(&w->b);
    TDM_TRY(lower(&w->b, true, &w->a));
    return encode_utf8(&w->a, out);
}

/* White space at the ends is dropped here, which changes nothing: it belongs to no word. */
static tdm_status clean_as_hugging_face(cleaner *w, const char *text, size_t bytes, tdm_text *out)
{
    TDM_TRY(decode_utf8(text, bytes, &w->a));
    TDM_TRY(compose(&w->a, &w->b));
    collapse_space(&w->b);
    TDM_TRY(lower(&w->b, false, &w->a));
    return encode_utf8(&w->a, out);
}

tdm_status text_clean(text_policy policy, const char *text, size_t bytes, tdm_text *out)
{
    TDM_REQUIRE(bytes <= TEXT_BYTES_MAX, TDM_E_DATA, "a text of %zu bytes is longer than %d bytes", bytes,
                (int)TEXT_BYTES_MAX);
    out->length = 0;
    cleaner w = {0};
    const tdm_status status = policy == TEXT_OPENAI ? clean_as_openai(&w, text, bytes, out)
                                                    : clean_as_hugging_face(&w, text, bytes, out);
    points_free(&w.text);
    points_free(&w.a);
    points_free(&w.b);
    points_free(&w.c);
    return status;
}

tdm_status tdm_text_lower(const char *text, size_t bytes, tdm_text *out)
{
    points in = {0}, lowered = {0};
    TDM_REQUIRE(bytes <= TEXT_BYTES_MAX, TDM_E_DATA, "a text of %zu bytes is longer than %d bytes", bytes,
                (int)TEXT_BYTES_MAX);
    out->length = 0;
    tdm_status status = decode_utf8(text, bytes, &in);
    if (status == TDM_OK) status = lower(&in, true, &lowered);
    if (status == TDM_OK) status = encode_utf8(&lowered, out);
    points_free(&in);
    points_free(&lowered);
    return status;
}

size_t tdm_text_space(const char *at, const char *end)
{
    const char *next = end;
    if (at == end) return 0;
    const int32_t point = text_decode_point(at, end, &next);
    return text_is_space(point) || (point >= 0x1C && point <= 0x1F) ? (size_t)(next - at) : 0;
}
