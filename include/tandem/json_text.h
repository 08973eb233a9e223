/* Text from outside as a JSON string, which must be UTF-8. For sources that use jansson themselves. */
#ifndef TANDEM_JSON_TEXT_H
#define TANDEM_JSON_TEXT_H

#include "tandem/base.h"

#include <jansson.h>

/* A new reference: `s` with U+FFFD for what is not UTF-8; null for NULL. NULL when memory runs out. */
static inline json_t *tdm_json_text(const char *s)
{
    if (s == NULL) return json_null();
    json_t *value = json_string(s);
    if (value != NULL) return value;
    tdm_text text = {0};
    if (tdm_text_utf8(&text, s, strlen(s)) == TDM_OK) value = json_stringn(text.data, text.length);
    tdm_text_free(&text);
    return value;
}

#endif
