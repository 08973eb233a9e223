/* Captions as CLIP's tokenizer sees them: cleaned, lower-cased, cut into words. Private to data/. */
#ifndef TANDEM_DATA_TEXT_CLEAN_H
#define TANDEM_DATA_TEXT_CLEAN_H

#include "tandem/base.h"

#define START_OF_TEXT "<|startoftext|>"
#define END_OF_TEXT   "<|endoftext|>"
#define MASK          "<|mask|>"

typedef enum text_policy {
    /* ftfy.fix_text without its mojibake heuristics (HTML entities, C1 controls as Windows-1252, Latin
     * ligatures, full and half width, curly quotes, terminal escapes, control characters, NFC), html.unescape
     * twice, runs of white space as one blank, none at the ends, lower case as str.lower() */
    TEXT_OPENAI,
    /* NFC, runs of white space as one blank, none at the ends, lower case letter by letter */
    TEXT_HUGGING_FACE
} text_policy;

/* Fills `out` (cleared first) with valid UTF-8. Bytes that are not UTF-8 become U+FFFD. Errors: TDM_E_DATA
 * for a text beyond 16 MiB. */
TDM_CHECKED tdm_status text_clean(text_policy policy, const char *text, size_t bytes, tdm_text *out);

/* The pattern that cuts words: '(?:s|t|re|ve|m|ll|d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ and before it, as
 * marks: */
enum {
    WORDS_MARKS = 1,       /* <|startoftext|> and <|endoftext|> */
    WORDS_MASK = 2,        /* <|mask|> */
    WORDS_IGNORE_CASE = 4, /* IGNORECASE of Python's `regex` */
    WORDS_OPENAI = WORDS_MARKS | WORDS_IGNORE_CASE
};

typedef struct text_word {
    const char *begin; /* in the cleaned text */
    size_t bytes;
    bool is_mark;
} text_word;

/* The next word of cleaned text in [*at, end). False when none is left. */
bool text_next_word(unsigned pattern, const char **at, const char *end, text_word *word);

/* Unicode's White_Space. */
bool text_is_space(int32_t point);

/* One code point from [at, end), at < end; U+FFFD for an invalid part. *next is where the following begins.
 */
int32_t text_decode_point(const char *at, const char *end, const char **next);

#endif
