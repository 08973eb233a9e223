#include "caption_clean.h"

#include "tandem/tokenizer.h"

#include <ctype.h>
#include <string.h>
#include <utf8proc.h>

/* Runs of two or more white-space characters become one blank; a single one stays what it is. */
static void join_space(tdm_text *text)
{
    const char *end = text->data + text->length;
    char *to = text->data;
    for (const char *at = text->data; at < end;) {
        const size_t one = tdm_text_space(at, end);
        size_t run = one, more = one;
        while (more && (more = tdm_text_space(at + run, end)) > 0) run += more;
        const size_t bytes = one ? run : 1;
        if (run > one) {
            *to++ = ' ';
        } else {
            memmove(to, at, bytes);
            to += bytes;
        }
        at += bytes;
    }
    text->length = (size_t)(to - text->data);
    *to = '\0';
}

static void strip(tdm_text *text)
{
    size_t begin = 0;
    while (text->length && text->data[text->length - 1] == '\n') text->length--;
    while (text->length && text->data[text->length - 1] == ' ') text->length--;
    while (begin < text->length && text->data[begin] == ' ') begin++;
    text->length -= begin;
    memmove(text->data, text->data + begin, text->length);
    text->data[text->length] = '\0';
}

static void cut_words(tdm_text *text, int64_t max_words)
{
    for (size_t i = 0; i < text->length; i++) {
        if (text->data[i] != ' ' || --max_words) continue;
        text->length = i;
        text->data[i] = '\0';
        return;
    }
}

/* The regular expression of the release, "[" + string.punctuation + "]", escapes its "]" with the backslash. */
static bool cmr_deletes(int32_t point)
{
    if (point >= 0 && point < 128 && ispunct(point)) return point != '\\';
    return point >= 0 && utf8proc_category(point) == UTF8PROC_CATEGORY_ND;
}

static void delete_points(tdm_text *text)
{
    const char *end = text->data + text->length;
    char *to = text->data;
    for (const char *at = text->data, *next; at < end; at = next) {
        if (cmr_deletes(tdm_utf8_next(at, end, &next))) continue;
        memmove(to, at, (size_t)(next - at));
        to += next - at;
    }
    text->length = (size_t)(to - text->data);
    *to = '\0';
}

tdm_status caption_clean(caption_cleaning how, int64_t max_words, const char *text, size_t length,
                         tdm_text *out)
{
    out->length = 0;
    if (how == CAPTION_CLEAN_NONE) return tdm_text_append(out, text, length);
    if (how == CAPTION_CLEAN_CMR) {
        TDM_TRY(tdm_text_append(out, text, length));
        if (!out->length) return TDM_OK;
        cut_words(out, max_words);
        delete_points(out);
        return TDM_OK;
    }
    TDM_TRY(tdm_text_lower(text, length, out));
    if (!out->length) return TDM_OK;
    for (size_t i = 0; i < out->length; i++)
        if (out->data[i] && strchr(".!\"()*#:;~", out->data[i])) out->data[i] = ' ';
    join_space(out);
    strip(out);
    cut_words(out, max_words);
    return TDM_OK;
}
