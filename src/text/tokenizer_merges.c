/* Merges, and the vocabulary that a merges file stands for. */
#include "tokenizer_impl.h"

#include "tandem/plain_text.h"

#include <stdlib.h>
#include <string.h>

enum { CLIP_MERGES = 49152 - 256 - 2 };
static const char clip_header[] = "\"bpe_simple_vocab_16e6.txt#version: 0.2";

/* Both symbols must be known by now, so that every merge can be reached. */
static tdm_status find_parts(const tdm_tokenizer *t, const merge_source *from, const char *const text[2],
                             const size_t bytes[2], int32_t part[2])
{
    for (int i = 0; i < 2; i++) {
        part[i] = symbol_set_find(&t->symbols, text[i], bytes[i]);
        TDM_REQUIRE(part[i] >= 0, TDM_E_FORMAT,
                    "%s%s%lld%s: \"%.*s\" is neither a byte nor made by an earlier %s", from->name,
                    from->before, (long long)(t->merges + from->first), from->after,
                    (int)tdm_min_i64((int64_t)bytes[i], 80), text[i], from->unit);
    }
    return TDM_OK;
}

tdm_status tokenizer_add_merge(tdm_tokenizer *t, const merge_source *from, const char *const text[2],
                               const size_t bytes[2])
{
    int32_t part[2] = {-1, -1}, made = 0, *known = NULL;
    TDM_TRY(find_parts(t, from, text, bytes, part));
    TDM_TRY(pair_map_insert(&t->rank, part[0], part[1], (int32_t)t->merges, &known));
    TDM_REQUIRE(*known == t->merges, TDM_E_FORMAT, "%s%s%lld%s: the same merge as %s %lld", from->name,
                from->before, (long long)(t->merges + from->first), from->after, from->unit,
                (long long)(*known + from->first));
    if (t->merges == t->merges_capacity) {
        const int64_t capacity = t->merges_capacity * 2 + 1024;
        int32_t *grown = realloc(t->result, (size_t)capacity * sizeof *grown);
        TDM_REQUIRE(grown, TDM_E_NOMEM, "cannot allocate %lld merges", (long long)capacity);
        t->result = grown;
        t->merges_capacity = capacity;
    }
    TDM_TRY(symbol_set_add_joined(&t->symbols, part[0], part[1], &made));
    t->result[t->merges++] = made;
    return TDM_OK;
}

/* ---- Lines ---- */

/* Cuts the next line off; a carriage return before its end does not count. */
static const char *next_line(const char **at, const char *end, size_t *bytes)
{
    const char *line = *at, *newline = memchr(line, '\n', (size_t)(end - line));
    *bytes = (size_t)((newline ? newline : end) - line);
    if (*bytes && line[*bytes - 1] == '\r') --*bytes;
    *at = newline ? newline + 1 : end;
    return line;
}

tdm_status tokenizer_split_merge(const merge_source *from, int64_t number, const char *text, size_t bytes,
                                 const char *part[2], size_t part_bytes[2])
{
    const char *end = text + bytes, *blank = memchr(text, ' ', bytes);
    TDM_REQUIRE(blank && blank > text && blank + 1 < end &&
                    !memchr(blank + 1, ' ', (size_t)(end - blank - 1)) && !memchr(text, '\0', bytes),
                TDM_E_FORMAT, "%s%s%lld%s: a merge is two symbols with a blank between", from->name,
                from->before, (long long)(number + from->first), from->after);
    part[0] = text;
    part_bytes[0] = (size_t)(blank - text);
    part[1] = blank + 1;
    part_bytes[1] = (size_t)(end - blank - 1);
    return TDM_OK;
}

/* Lines with a merge, from `at` on. */
static int64_t count_lines(const char *at, const char *end)
{
    int64_t lines = 0;
    while (at < end) {
        size_t bytes;
        (void)next_line(&at, end, &bytes);
        lines += bytes > 0;
    }
    return lines;
}

tdm_status tokenizer_read_merges(tdm_tokenizer *t, const char *name, const char *text, size_t bytes,
                                 bool skip_last)
{
    const merge_source from = {name, ": line ", "", "line", 2};
    const char *at = text + tdm_byte_order_mark(text, bytes), *end = text + bytes;
    size_t length;
    const char *line = next_line(&at, end, &length);
    TDM_REQUIRE(memmem(line, length, "#version", 8), TDM_E_FORMAT,
                "%s: not a merges file: the first line is not \"%s\"", name, MERGES_VERSION);
    const bool clip = length == strlen(clip_header) && !memcmp(line, clip_header, length);
    int64_t most = clip ? CLIP_MERGES : INT32_MAX / 2;
    if (skip_last) most = tdm_min_i64(most, count_lines(at, end)) - 1;
    while (at < end && t->merges < most) {
        const char *part[2];
        size_t part_bytes[2];
        line = next_line(&at, end, &length);
        if (length == 0) {
            TDM_REQUIRE(at == end, TDM_E_FORMAT, "%s: line %lld: empty", name,
                        (long long)(t->merges + from.first));
            break;
        }
        TDM_TRY(tokenizer_split_merge(&from, t->merges, line, length, part, part_bytes));
        TDM_TRY(tokenizer_add_merge(t, &from, part, part_bytes));
    }
    return TDM_OK;
}

/* ---- The vocabulary ---- */

tdm_status tokenizer_make_vocab(tdm_tokenizer *t, int64_t size)
{
    t->vocab_size = size;
    return TDM_ALLOC(size, &t->spelling);
}

tdm_status tokenizer_spell(tdm_tokenizer *t, int32_t id, const char *spelling, size_t bytes)
{
    t->spelling[id] = t->spellings.length + 1;
    TDM_TRY(tdm_text_append(&t->spellings, spelling, bytes));
    return tdm_text_append(&t->spellings, "", 1);
}

/* When merges can spell it, they give its id, as in the original. */
static tdm_status spell_mark(tdm_tokenizer *t, int32_t id, const char *mark)
{
    const int32_t symbol = symbol_set_find(&t->symbols, mark, strlen(mark));
    if (symbol >= 0) t->emitted[symbol] = id;
    return tokenizer_spell(t, id, mark, strlen(mark));
}

tdm_status tokenizer_number_merges(tdm_tokenizer *t, bool mask)
{
    const int32_t count = (int32_t)t->symbols.count;
    TDM_TRY(TDM_ALLOC(count, &t->emitted));
    TDM_TRY(tokenizer_make_vocab(t, count + mask + SPECIAL_SYMBOLS));
    for (int32_t id = 0; id < count; id++) {
        const int32_t first = id < BASE_SYMBOLS ? id : t->result[id - BASE_SYMBOLS];
        const char *spelling = symbol_spelling(&t->symbols, id);
        t->emitted[id] = id;
        t->emitted[first] = id; /* of two ids of one spelling the later, as in the original */
        TDM_TRY(tokenizer_spell(t, id, spelling, strlen(spelling)));
    }
    t->mask = mask ? count : -1;
    t->start = count + mask;
    t->end = t->start + 1;
    t->policy = TEXT_OPENAI;
    t->words = WORDS_OPENAI | (mask ? WORDS_MASK : 0);
    if (mask) TDM_TRY(spell_mark(t, t->mask, MASK));
    TDM_TRY(spell_mark(t, t->start, START_OF_TEXT));
    return spell_mark(t, t->end, END_OF_TEXT);
}
