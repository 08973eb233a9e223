/* What the readers of text files share: a byte order mark, and files that are no text. */
#ifndef TANDEM_PLAIN_TEXT_H
#define TANDEM_PLAIN_TEXT_H

#include <stddef.h>

/* Bytes of a byte order mark of UTF-8 at the start of text: 3 or 0. */
size_t tdm_byte_order_mark(const char *text, size_t length);
/* Why bytes with a NUL in them are no text: "is UTF-16, not UTF-8", where their start says so, else "holds a NUL, which
 * text does not". */
const char *tdm_why_no_text(const char *text, size_t length);

#endif
