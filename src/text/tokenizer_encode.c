/* The encoder: text into ids and ids into text. */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_WORD = 64 /* bytes; longer words take their workspace from the heap */ };

/* ---- Merging one word ----
 *
 * The original merges all occurrences of the pair with the lowest rank, left to right, until no pair is
 * known. Here the word is a linked list, and a heap holds its known pairs by (rank, place): n log n for a
 * word of n bytes, however long. Pairs that a merge makes enter the heap only when its rank is done with.
 *
 * Hugging Face's tokenizers merges one pair at a time, and what that makes competes at once. The two differ
 * only where two merges spell the same symbol. */

typedef struct piece {
    int32_t symbol; /* identity; -1: merged into the piece before */
    int32_t before, after;
} piece;

typedef struct candidate {
    int32_t rank, at, left, right;
} candidate;

typedef struct word_space {
    piece *piece;         /* [n] */
    candidate *candidate; /* heap [3 n]: n - 1 at first, two for each merge */
    int32_t *merged;      /* [n] */
    int64_t candidates;
} word_space;

static bool comes_before(const candidate *a, const candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push_candidate(word_space *w, candidate c)
{
    int64_t at = w->candidates++;
    for (int64_t up; at > 0 && comes_before(&c, &w->candidate[up = (at - 1) / 2]); at = up)
        w->candidate[at] = w->candidate[up];
    w->candidate[at] = c;
}

static candidate pop_candidate(word_space *w)
{
    candidate *heap = w->candidate;
    const candidate top = heap[0], last = heap[--w->candidates];
    int64_t at = 0;
    for (int64_t down; (down = 2 * at + 1) < w->candidates; at = down) {
        if (down + 1 < w->candidates && comes_before(&heap[down + 1], &heap[down])) down++;
        if (!comes_before(&heap[down], &last)) break;
        heap[at] = heap[down];
    }
    heap[at] = last;
    return top;
}

/* The pair that begins at piece `at`, when there is a merge for it. */
static void consider(const tdm_tokenizer *t, word_space *w, int32_t at)
{
    if (at < 0 || w->piece[at].after < 0) return;
    const int32_t left = w->piece[at].symbol, right = w->piece[w->piece[at].after].symbol;
    const int32_t rank = pair_map_find(&t->rank, left, right);
    if (rank >= 0) push_candidate(w, (candidate){rank, at, left, right});
}

/* Joins the pair that begins at c->at. */
static void join(const tdm_tokenizer *t, word_space *w, const candidate *c)
{
    piece *left = &w->piece[c->at], *right = &w->piece[left->after];
    left->symbol = t->result[c->rank];
    right->symbol = -1;
    left->after = right->after;
    if (left->after >= 0) w->piece[left->after].before = c->at;
}

/* Does the pair of `c` still stand there? */
static bool stands(const word_space *w, const candidate *c)
{
    const piece *left = &w->piece[c->at];
    return left->symbol == c->left && left->after >= 0 && w->piece[left->after].symbol == c->right;
}

static void merge_by_rank(const tdm_tokenizer *t, word_space *w)
{
    while (w->candidates) {
        const int32_t rank = w->candidate[0].rank;
        int32_t merged = 0;
        while (w->candidates && w->candidate[0].rank == rank) {
            const candidate c = pop_candidate(w);
            if (!stands(w, &c)) continue;
            join(t, w, &c);
            w->merged[merged++] = c.at;
        }
        for (int32_t i = 0; i < merged; i++) {
            consider(t, w, w->piece[w->merged[i]].before);
            consider(t, w, w->merged[i]);
        }
    }
}

/* Does a pair that makes the same symbol as that of `c` stand there? */
static bool makes_the_same(const tdm_tokenizer *t, const word_space *w, const candidate *c)
{
    const piece *left = &w->piece[c->at];
    if (left->symbol < 0 || left->after < 0) return false;
    const int32_t rank = pair_map_find(&t->rank, left->symbol, w->piece[left->after].symbol);
    return rank >= 0 && t->result[rank] == t->result[c->rank];
}

static void merge_one_by_one(const tdm_tokenizer *t, word_space *w)
{
    while (w->candidates) {
        const candidate c = pop_candidate(w);
        if (!makes_the_same(t, w, &c)) continue;
        join(t, w, &c);
        consider(t, w, w->piece[c.at].before);
        consider(t, w, c.at);
    }
}

static void merge_word(const tdm_tokenizer *t, word_space *w, const unsigned char *byte, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        w->piece[i] = (piece){byte_symbol(byte[i], i + 1 == n), i - 1, i + 1 < n ? i + 1 : -1};
    w->candidates = 0;
    for (int32_t i = 0; i < n; i++) consider(t, w, i);
    if (t->policy == TEXT_OPENAI)
        merge_by_rank(t, w);
    else
        merge_one_by_one(t, w);
}

/* Where the ids go: room for `context`, of which the last is the end token's. */
typedef struct id_sink {
    int32_t *token;
    int64_t context, count;
    bool full; /* something did not fit */
} id_sink;

static void put_id(id_sink *sink, int32_t id)
{
    if (sink->count + 1 < sink->context)
        sink->token[sink->count++] = id;
    else
        sink->full = true;
}

static tdm_status encode_word(const tdm_tokenizer *t, const char *word, size_t bytes, id_sink *sink)
{
    piece short_piece[SHORT_WORD];
    candidate short_candidate[3 * SHORT_WORD];
    int32_t short_merged[SHORT_WORD];
    word_space w = {short_piece, short_candidate, short_merged, 0};
    void *block = NULL;
    if (bytes > SHORT_WORD) {
        block = malloc(bytes * (sizeof(piece) + 3 * sizeof(candidate) + sizeof(int32_t)));
        TDM_REQUIRE(block, TDM_E_NOMEM, "cannot allocate the workspace of a word of %zu bytes", bytes);
        w.candidate = block;
        w.piece = (piece *)(w.candidate + 3 * bytes);
        w.merged = (int32_t *)(w.piece + bytes);
    }
    merge_word(t, &w, (const unsigned char *)word, (int32_t)bytes);
    for (int32_t i = 0; i >= 0 && !sink->full; i = w.piece[i].after)
        put_id(sink, t->emitted[w.piece[i].symbol]);
    free(block);
    return TDM_OK;
}

/* ---- Text ---- */

static bool is_literal(const text_word *word, const char *literal)
{
    return word->bytes == strlen(literal) && !memcmp(word->begin, literal, word->bytes);
}

/* "<|name|>" that the pattern has found: its id, or three words. (Where case does not matter it may be
 * spelled with a long s; then it is a word.) */
static tdm_status encode_mark(const tdm_tokenizer *t, const text_word *word, id_sink *sink)
{
    enum { BRACKET = 2 };
    if (t->marks_are_cut) {
        TDM_TRY(encode_word(t, word->begin, BRACKET, sink));
        TDM_TRY(encode_word(t, word->begin + BRACKET, word->bytes - 2 * BRACKET, sink));
        return encode_word(t, word->begin + word->bytes - BRACKET, BRACKET, sink);
    }
    if (t->policy == TEXT_OPENAI) {
        const struct {
            const char *literal;
            int32_t id;
        } marks[] = {{START_OF_TEXT, t->start}, {END_OF_TEXT, t->end}, {MASK, t->mask}};
        for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
            if (!is_literal(word, marks[i].literal)) continue;
            put_id(sink, marks[i].id);
            return TDM_OK;
        }
    }
    return encode_word(t, word->begin, word->bytes, sink);
}

static tdm_status encode_words(const tdm_tokenizer *t, const char *at, const char *end, id_sink *sink)
{
    text_word word;
    while (!sink->full && text_next_word(t->words, &at, end, &word))
        TDM_TRY(word.is_mark ? encode_mark(t, &word, sink) : encode_word(t, word.begin, word.bytes, sink));
    return TDM_OK;
}

/* The first added token in [at, end), of two that begin together the longer; NULL: none. */
static const added_token *find_added(const tdm_tokenizer *t, bool normalized, const char *at, const char *end,
                                     const char **place)
{
    const added_token *found = NULL;
    if (t->added_count == 0) return NULL;
    for (; at < end && !found; at++) {
        for (int64_t i = 0; i < t->added_count; i++) {
            const added_token *a = &t->added[i];
            if (a->normalized != normalized || a->content.data[0] != *at) continue;
            if (a->content.length > (size_t)(end - at) || memcmp(at, a->content.data, a->content.length) ||
                (found && found->content.length >= a->content.length))
                continue;
            found = a;
            *place = at;
        }
    }
    return found;
}

/* Text between added tokens that are looked for before cleaning. */
static tdm_status encode_raw(const tdm_tokenizer *t, const char *at, const char *end, tdm_text *clean,
                             id_sink *sink)
{
    TDM_TRY(text_clean(t->policy, at, (size_t)(end - at), clean));
    at = clean->data;
    end = at + clean->length;
    while (!sink->full) {
        const char *place = end;
        const added_token *added = find_added(t, true, at, end, &place);
        TDM_TRY(encode_words(t, at, place, sink));
        if (!added) break;
        put_id(sink, added->id);
        at = place + added->content.length;
    }
    return TDM_OK;
}

static tdm_status encode_text(const tdm_tokenizer *t, const char *at, const char *end, tdm_text *clean,
                              id_sink *sink)
{
    put_id(sink, t->start);
    while (!sink->full) {
        const char *place = end;
        const added_token *added = find_added(t, false, at, end, &place);
        TDM_TRY(encode_raw(t, at, place, clean, sink));
        if (!added) break;
        put_id(sink, added->id);
        at = place + added->content.length;
    }
    sink->token[sink->count++] = t->end;
    return TDM_OK;
}

tdm_status tdm_tokenizer_encode(const tdm_tokenizer *tokenizer, const char *text, int64_t context,
                                int32_t *token, int64_t *count, bool *truncated)
{
    TDM_REQUIRE(context >= 2, TDM_E_SHAPE, "a context of %lld tokens: at least 2, for start and end",
                (long long)context);
    id_sink sink = {token, context, 0, false};
    tdm_text clean = {0};
    const tdm_status status = encode_text(tokenizer, text, text + strlen(text), &clean, &sink);
    tdm_text_free(&clean);
    TDM_TRY(status);
    *count = sink.count;
    if (truncated) *truncated = sink.full;
    return TDM_OK;
}

/* ---- Decoding ---- */

/* The bytes of a spelling; a blank for the end of a word. What is no byte's spelling stands for itself. */
static tdm_status append_spelled(const char *spelling, tdm_text *raw)
{
    size_t length = strlen(spelling);
    const size_t mark = strlen(WORD_END);
    const bool at_end = length > mark && !strcmp(spelling + length - mark, WORD_END);
    if (at_end) length -= mark;
    for (const char *at = spelling, *end = spelling + length, *next = at; at < end; at = next) {
        const int byte = spelled_byte(text_decode_point(at, end, &next));
        const char one = (char)byte;
        TDM_TRY(byte >= 0 ? tdm_text_append(raw, &one, 1) : tdm_text_append(raw, at, (size_t)(next - at)));
    }
    return at_end ? tdm_text_append(raw, " ", 1) : TDM_OK;
}

static tdm_status decode_bytes(const tdm_tokenizer *t, const int32_t *token, int64_t count, tdm_text *raw)
{
    for (int64_t i = 0; i < count; i++) {
        if (token[i] == t->start || token[i] == t->end) continue;
        TDM_REQUIRE(token[i] >= 0 && token[i] < t->vocab_size, TDM_E_DATA,
                    "token id %d is outside the vocabulary of %lld", token[i], (long long)t->vocab_size);
        const size_t place = t->spelling[token[i]];
        TDM_REQUIRE(place, TDM_E_DATA, "token id %d: the vocabulary has no such token", token[i]);
        TDM_TRY(append_spelled(t->spellings.data + place - 1, raw));
    }
    if (raw->length && raw->data[raw->length - 1] == ' ') raw->length--; /* after the last word */
    return TDM_OK;
}

tdm_status tdm_tokenizer_decode(const tdm_tokenizer *tokenizer, const int32_t *token, int64_t count,
                                tdm_text *text)
{
    tdm_text raw = {0};
    tdm_status status = decode_bytes(tokenizer, token, count, &raw);
    if (status == TDM_OK) status = tdm_text_utf8(text, raw.data, raw.length);
    tdm_text_free(&raw);
    return status;
}
