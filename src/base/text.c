#include "tandem/base.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static tdm_status reserve(tdm_text *text, size_t more)
{
    size_t need = text->length + more + 1;
    if (need <= text->capacity) return TDM_OK;
    size_t capacity = text->capacity ? text->capacity : 64;
    while (capacity < need) capacity += capacity / 2 + 64;
    char *grown = realloc(text->data, capacity);
    TDM_REQUIRE(grown, TDM_E_NOMEM, "cannot allocate %zu bytes of text", capacity);
    text->data = grown;
    text->capacity = capacity;
    return TDM_OK;
}

tdm_status tdm_text_append(tdm_text *text, const void *data, size_t length)
{
    TDM_TRY(reserve(text, length));
    if (length) memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
    return TDM_OK;
}

tdm_status tdm_text_printf(tdm_text *text, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    tdm_status status =
        length < 0 ? TDM_ERROR(TDM_E_FORMAT, "cannot format text") : reserve(text, (size_t)length);
    if (status == TDM_OK) {
        vsnprintf(text->data + text->length, (size_t)length + 1, fmt, again);
        text->length += (size_t)length;
    }
    va_end(again);
    return status;
}

/* NULL: the character stands as it is. */
static const char *html_form(int32_t point)
{
    switch (point) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    case '\n':
    case '\r':
    case '\t': return NULL;
    default: break;
    }
    return point < 0 ? TDM_REPLACEMENT : tdm_point_is_control(point) ? "" : NULL;
}

tdm_status tdm_text_html(tdm_text *text, const char *s)
{
    const char *end = s + strlen(s), *plain = s, *next;
    for (; s < end; s = next) {
        const char *form = html_form(tdm_utf8_next(s, end, &next));
        if (form == NULL) continue;
        TDM_TRY(tdm_text_append(text, plain, (size_t)(s - plain)));
        TDM_TRY(tdm_text_append(text, form, strlen(form)));
        plain = next;
    }
    return tdm_text_append(text, plain, (size_t)(s - plain)); /* a string, also when `s` is empty */
}

void tdm_text_free(tdm_text *text)
{
    free(text->data);
    memset(text, 0, sizeof(*text));
}

tdm_status tdm_text_csv(tdm_text *text, const char *s)
{
    if (!s[strcspn(s, ",\"\r\n")]) return tdm_text_append(text, s, strlen(s));
    TDM_TRY(tdm_text_append(text, "\"", 1));
    for (; *s; s++) TDM_TRY(tdm_text_append(text, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1));
    return tdm_text_append(text, "\"", 1);
}

tdm_status tdm_text_latex(tdm_text *text, const char *s)
{
    for (; *s; s++) {
        if (strchr("&%$#_{}", *s))
            TDM_TRY(tdm_text_printf(text, "\\%c", *s));
        else if (*s == '\\')
            TDM_TRY(tdm_text_printf(text, "\\textbackslash{}"));
        else if (*s == '~' || *s == '^')
            TDM_TRY(tdm_text_printf(text, "\\%c{}", *s));
        else
            TDM_TRY(tdm_text_append(text, s, 1));
    }
    return TDM_OK;
}

/* Levenshtein distance, at most `limit` matters; words are short. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 127 };
    size_t na = strlen(a), nb = strlen(b);
    if (na > LONGEST || nb > LONGEST) return LONGEST;
    size_t row[LONGEST + 1];
    for (size_t j = 0; j <= nb; j++) row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t best = change < row[j] + 1 ? change : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[nb];
}

const char *tdm_nearest_name(const char *word, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    size_t least = strlen(word) / 3 + 2; /* farther than this is another word */
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, names[i]);
        if (distance < least) {
            least = distance;
            nearest = names[i];
        }
    }
    return nearest;
}
