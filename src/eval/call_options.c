/* NAME(key=value, …) of the command line, where the options are numbers. */
#include "rerank_impl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

tdm_status call_next(const char *where, const char **at, call_text *call)
{
    const char *begin = *at;
    const size_t n = strcspn(begin, "(,"), blank = strspn(begin, " ");
    size_t trimmed = n;
    while (trimmed > blank && begin[trimmed - 1] == ' ') trimmed--;
    *call = (call_text){.arguments = ""};
    TDM_REQUIRE(trimmed > blank && trimmed - blank < sizeof call->name, TDM_E_USAGE,
                "%s: \"%.80s\": expected NAME or NAME(key=value, …)", where, begin);
    memcpy(call->name, begin + blank, trimmed - blank);
    const char *end = begin + n;
    if (*end == '(') {
        const char *close = strchr(end, ')');
        TDM_REQUIRE(close != NULL, TDM_E_USAGE, "%s: \"%.80s\": the bracket is not closed", where, begin);
        call->arguments = end + 1;
        call->length = (size_t)(close - end - 1);
        end = close + 1 + strspn(close + 1, " ");
    }
    TDM_REQUIRE(*end == '\0' || (*end == ',' && end[1] != '\0'), TDM_E_USAGE,
                "%s: \"%.80s\": expected a comma and a name", where, end);
    *at = *end == ',' ? end + 1 : end;
    return TDM_OK;
}

tdm_status call_find(const char *where, const call_text *call, const char *const *known, size_t count,
                     size_t *at)
{
    for (*at = 0; *at < count; ++*at)
        if (strcmp(known[*at], call->name) == 0) return TDM_OK;
    const char *near = tdm_nearest_name(call->name, known, count);
    TDM_FAIL(TDM_E_USAGE, "%s: there is no \"%s\"%s%s%s; `tandem eval --help` lists them", where, call->name,
             near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

/* text: a number and nothing else. */
static tdm_status set_number(const char *where, const char *name, const tdm_option *row, const char *text,
                             void *options)
{
    void *field = (unsigned char *)options + row->offset;
    char *end = NULL;
    errno = 0;
    const bool whole = row->type == TDM_OPTION_INT;
    const long long integer = whole ? strtoll(text, &end, 10) : 0;
    const double number = whole ? (double)integer : strtod(text, &end);
    TDM_REQUIRE(end != text && *end == '\0' && errno == 0 && isfinite(number), TDM_E_USAGE,
                "%s: %s: %s = \"%.40s\" is no %s", where, name, row->key, text,
                whole ? "whole number" : "number");
    TDM_REQUIRE(number >= row->min && number <= row->max, TDM_E_USAGE, "%s: %s: %s = %s is not from %g to %g",
                where, name, row->key, text, row->min, row->max);
    if (whole)
        *(int64_t *)field = integer;
    else
        *(double *)field = number;
    return TDM_OK;
}

/* One "key=value", blanks around both. */
static tdm_status set_argument(const char *where, const char *name, const tdm_option *rows, size_t count,
                               char *text, void *options)
{
    enum { MOST = 16 };
    const char *known[MOST];
    char *equals = strchr(text, '='), *key = text + strspn(text, " ");
    TDM_REQUIRE(equals != NULL, TDM_E_USAGE, "%s: %s: \"%.80s\": expected key=value", where, name, text);
    char *key_end = equals, *value = equals + 1 + strspn(equals + 1, " "), *end = value + strlen(value);
    while (key_end > key && key_end[-1] == ' ') key_end--;
    while (end > value && end[-1] == ' ') end--;
    *key_end = *end = '\0';
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].key, key) == 0) return set_number(where, name, &rows[i], value, options);
    for (size_t i = 0; i < count && i < MOST; i++) known[i] = rows[i].key;
    const char *near = tdm_nearest_name(key, known, count < MOST ? count : MOST);
    TDM_FAIL(TDM_E_USAGE, "%s: %s has no option \"%.40s\"%s%s%s", where, name, key,
             near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

tdm_status call_options(const char *where, const call_text *call, const tdm_option *rows, size_t count,
                        void *options)
{
    for (size_t i = 0; i < count; i++)
        TDM_TRY(set_number(where, call->name, &rows[i], rows[i].default_text, options));
    for (size_t at = 0; at < call->length;) {
        char text[128];
        const char *comma = memchr(call->arguments + at, ',', call->length - at);
        const size_t n = comma ? (size_t)(comma - call->arguments) - at : call->length - at;
        TDM_REQUIRE(n < sizeof text, TDM_E_USAGE, "%s: %s: \"%.80s\" is too long", where, call->name,
                    call->arguments + at);
        memcpy(text, call->arguments + at, n);
        text[n] = '\0';
        TDM_TRY(set_argument(where, call->name, rows, count, text, options));
        at += n + 1;
    }
    return TDM_OK;
}
