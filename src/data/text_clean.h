/* Captions as CLIP's tokenizer sees them: cleaned, lower-cased, cut into words. Private to data/. */
#ifndef TANDEM_DATA_TEXT_CLEAN_H
#define TANDEM_DATA_TEXT_CLEAN_H

#include "tandem/base.h"

/* Fills `out` (cleared first) with valid UTF-8: ftfy.fix_text without its mojibake heuristics (HTML entities,
 * C1 controls as Windows-1252, Latin ligatures, full and half width, curly quotes, terminal escapes, control
 * characters, NFC), html.unescape twice, runs of white space as one blank, none at the ends, lower case as
 * str.lower(). Bytes that are not UTF-8 become U+FFFD. Errors: TDM_E_DATA for a text beyond 16 MiB. */
TDM_CHECKED tdm_status text_clean(const char *text, tdm_text *out);

/* The next word of cleaned text in [*at, end): *word points into the text. False when none is left. The words
 * are the matches of CLIP's pattern, with IGNORECASE:
 * <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ */
bool text_next_word(const char **at, const char *end, const char **word, size_t *bytes);

/* Appends `bytes` of `data`; what is not UTF-8 becomes U+FFFD, one per maximal invalid part as in Python. */
TDM_CHECKED tdm_status text_append_repaired(tdm_text *text, const void *data, size_t bytes);

/* One code point from [at, end), at < end; U+FFFD for an invalid part. *next is where the following begins.
 */
int32_t text_decode_point(const char *at, const char *end, const char **next);

#endif
