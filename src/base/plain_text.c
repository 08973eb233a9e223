#include "tandem/plain_text.h"

#include <stdbool.h>
#include <string.h>

size_t tdm_byte_order_mark(const char *text, size_t length)
{
    return length >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
}

const char *tdm_why_no_text(const char *text, size_t length)
{
    const bool marked = length >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2));
    const bool latin = length >= 4 && (!text[0] == !text[2] && !text[1] == !text[3] && !text[0] != !text[1]);
    return marked || latin ? "is UTF-16, not UTF-8" : "holds a NUL, which text does not";
}
