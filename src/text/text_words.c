/* Cleaned text into words, as the pattern of CLIP's tokenizer cuts it. Classes of characters come from
 * utf8proc. */
#include "text_clean.h"

#include <utf8proc.h>

typedef enum point_class { POINT_SPACE, POINT_LETTER, POINT_NUMBER, POINT_OTHER } point_class;

static point_class classify(int32_t c, bool ignore_case)
{
    if (c >= 'a' && c <= 'z') return POINT_LETTER;
    if (text_is_space(c)) return POINT_SPACE;
    /* Under IGNORECASE the `regex` module takes U+0345 for its capital, the letter iota, where the negated
     * class excludes letters, and for itself, a mark, elsewhere: nothing matches it. */
    if (c == 0x345 && ignore_case) return POINT_SPACE;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return POINT_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return POINT_NUMBER;
    default: return POINT_OTHER;
    }
}

/* The end of `literal` at `at`. Where case does not matter, of the letters in small only s has another small
 * form, the long s. NULL: not there. */
static const char *match_literal(const char *at, const char *end, const char *literal, bool ignore_case)
{
    for (; *literal; literal++) {
        if (at == end) return NULL;
        int32_t c = text_decode_point(at, end, &at);
        if (c == 0x17F && ignore_case) c = 's';
        if (c != (unsigned char)*literal) return NULL;
    }
    return at;
}

static const char *match_mark(const char *at, const char *end, unsigned pattern)
{
    static const struct {
        const char *literal;
        unsigned flag;
    } marks[] = {{START_OF_TEXT, WORDS_MARKS}, {MASK, WORDS_MASK}, {END_OF_TEXT, WORDS_MARKS}};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        if (!(pattern & marks[i].flag)) continue;
        const char *after = match_literal(at, end, marks[i].literal, pattern & WORDS_IGNORE_CASE);
        if (after) return after;
    }
    return NULL;
}

static const char *match_contraction(const char *at, const char *end, unsigned pattern)
{
    static const char *const literals[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof literals / sizeof literals[0]; i++) {
        const char *after = match_literal(at, end, literals[i], pattern & WORDS_IGNORE_CASE);
        if (after) return after;
    }
    return NULL;
}

bool text_next_word(unsigned pattern, const char **at, const char *end, text_word *word)
{
    const bool ignore_case = pattern & WORDS_IGNORE_CASE;
    const char *begin = *at, *after = NULL;
    point_class kind = POINT_SPACE;
    for (; begin < end; begin = after) {
        kind = classify(text_decode_point(begin, end, &after), ignore_case);
        if (kind != POINT_SPACE) break;
    }
    if (begin >= end) {
        *at = end;
        return false;
    }
    const char *literal = *begin == '<' ? match_mark(begin, end, pattern) : NULL;
    word->is_mark = literal != NULL;
    if (*begin == '\'') literal = match_contraction(begin, end, pattern);
    if (literal) {
        after = literal;
    } else if (kind != POINT_NUMBER) {
        const char *next = after;
        while (after < end && classify(text_decode_point(after, end, &next), ignore_case) == kind)
            after = next;
    }
    word->begin = begin;
    word->bytes = (size_t)(after - begin);
    *at = after;
    return true;
}
