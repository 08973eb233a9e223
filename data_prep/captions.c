/* Captions of samples: each is judged as it is read, whichever format it comes from. */
#include "pack_impl.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { LONGEST_CAPTION = 16 << 20, SHOWN = 40 };

size_t pack_utf8_fault(const char *text, size_t length)
{
    utf8proc_int32_t point;
    size_t at = 0;
    while (at < length) {
        const utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(length - at), &point);
        if (n <= 0) break;
        at += (size_t)n;
    }
    return at;
}

static bool is_visible(utf8proc_int32_t point)
{
    if (utf8proc_get_property(point)->ignorable || point == 0x2800)
        return false; /* 0x2800: blank of Braille */
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF: return false;
    default: return true;
    }
}

bool pack_is_blank(const char *text, size_t length)
{
    utf8proc_int32_t point;
    for (size_t at = 0; at < length;) {
        const utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(length - at), &point);
        if (n <= 0 || is_visible(point)) return false;
        at += (size_t)n;
    }
    return true;
}

static tdm_status add_fault(tdm_pack_item *item, bool empty, const char *why)
{
    const int64_t n = item->caption_fault_n;
    tdm_pack_caption_fault *grown = realloc(item->caption_fault, sizeof(*grown) * (size_t)(n + 1));
    if (grown) item->caption_fault = grown;
    char *copy = grown ? strdup(why) : NULL;
    TDM_REQUIRE(copy, TDM_E_NOMEM, "%s: no memory for its captions", item->name);
    grown[n] = (tdm_pack_caption_fault){.number = item->caption_given, .empty = empty, .why = copy};
    item->caption_fault_n++;
    return TDM_OK;
}

tdm_status pack_item_caption_fault(tdm_pack_item *item, tdm_status status)
{
    if (status == TDM_OK || !pack_is_fault(status)) return status;
    item->caption_given++;
    item->caption_is_bad = true;
    return add_fault(item, false, tdm_error_last()->message);
}

static tdm_status append(tdm_pack_item *item, const char *caption, size_t length)
{
    char **grown = realloc(item->caption, sizeof(*grown) * (size_t)(item->caption_n + 1));
    TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for its captions", item->name);
    item->caption = grown;
    char *copy = strndup(caption, length);
    TDM_REQUIRE(copy, TDM_E_NOMEM, "%s: no memory for its captions", item->name);
    grown[item->caption_n++] = copy;
    return TDM_OK;
}

/* What can be shown of the text that stands before byte `end`. */
static void show_before(const char *text, size_t end, char shown[SHOWN + 1])
{
    size_t begin = end > SHOWN ? end - SHOWN : 0;
    while (begin < end && ((unsigned char)text[begin] & 0xc0) == 0x80) begin++;
    snprintf(shown, SHOWN + 1, "%.*s", (int)(end - begin), text + begin);
}

/* *empty: the one thing wrong is that it says nothing. */
static tdm_status judge(const char *what, const char *text, size_t length, bool *empty)
{
    char shown[SHOWN + 1];
    const char *zero = memchr(text, '\0', length);
    const size_t good = pack_utf8_fault(text, zero ? (size_t)(zero - text) : length);
    show_before(text, good, shown);
    *empty = false;
    TDM_REQUIRE(!zero || good < (size_t)(zero - text), TDM_E_DATA,
                "%s holds a zero byte behind \"%s\", at its byte %zu: not text in UTF-8 (UTF-16, perhaps)",
                what, shown, good + 1);
    TDM_REQUIRE(good == length, TDM_E_DATA, "%s is not UTF-8 behind \"%s\", at its byte %zu", what, shown,
                good + 1);
    TDM_REQUIRE(length <= LONGEST_CAPTION, TDM_E_DATA, "%s is longer than 16 MiB", what);
    *empty = pack_is_blank(text, length);
    TDM_REQUIRE(!*empty, TDM_E_DATA, "%s is empty", what);
    return TDM_OK;
}

tdm_status pack_item_caption(tdm_pack_item *item, const char *where, const char *caption, size_t length)
{
    char what[TDM_PATH_BYTES + 64];
    bool empty;
    pack_trim(&caption, &length);
    item->caption_given++;
    if (where)
        snprintf(what, sizeof(what), "%.*s: the caption", TDM_PATH_BYTES, where);
    else
        snprintf(what, sizeof(what), "%.*s: caption %lld", TDM_PATH_BYTES, item->name,
                 (long long)item->caption_given);
    item->caption_is_bad = judge(what, caption, length, &empty) != TDM_OK;
    return item->caption_is_bad ? add_fault(item, empty, tdm_error_last()->message)
                                : append(item, caption, length);
}

tdm_status pack_item_alternative(tdm_pack_item *item, const char *wording, size_t length)
{
    char what[TDM_PATH_BYTES + 64];
    bool empty;
    pack_trim(&wording, &length);
    if (item->caption_is_bad || !item->caption_n) return TDM_OK;
    snprintf(what, sizeof(what), "%.*s: a wording of caption %lld", TDM_PATH_BYTES, item->name,
             (long long)item->caption_given);
    if (judge(what, wording, length, &empty) != TDM_OK)
        return empty ? TDM_OK : add_fault(item, false, tdm_error_last()->message);
    const size_t n = (size_t)item->alternative_n + 1;
    char **grown = realloc(item->alternative, sizeof(*grown) * n);
    if (grown) item->alternative = grown;
    int64_t *of = realloc(item->alternative_of, sizeof(*of) * n);
    if (of) item->alternative_of = of;
    char *copy = strndup(wording, length);
    if (!grown || !of || !copy) {
        free(copy);
        TDM_FAIL(TDM_E_NOMEM, "%s: no memory for its captions", item->name);
    }
    grown[n - 1] = copy;
    of[n - 1] = item->caption_n - 1;
    item->alternative_n++;
    return TDM_OK;
}

tdm_status pack_item_text_feature(tdm_pack_item *item, tdm_pack_features *features, int64_t row)
{
    TDM_TRY(append(item, "", 0)); /* the feature takes the text's place */
    int64_t *grown = realloc(item->text_feature_row, sizeof(*grown) * (size_t)item->caption_n);
    TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for its captions", item->name);
    item->text_feature = features;
    item->text_feature_row = grown;
    grown[item->caption_n - 1] = row;
    return TDM_OK;
}
