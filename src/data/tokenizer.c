/* CLIP's byte-level BPE, the encoder: reads a merges file, turns text into ids and ids into text. */
#include "tokenizer_impl.h"
#include "text_clean.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    FILE_BYTES_MAX = 256 << 20, /* uncompressed: what a merges file cannot need */
    CLIP_MERGES = 49152 - 256 - 2,
    SHORT_WORD = 64 /* bytes; longer words take their workspace from the heap */
};
static const char clip_header[] = "\"bpe_simple_vocab_16e6.txt#version: 0.2";

struct tdm_tokenizer {
    tdm_text file; /* uncompressed */
    char digest[65];
    symbol_set symbols; /* ids, without the two special ones */
    pair_map rank;      /* of identities, to the merge's number */
    int32_t *result;    /* [merges] identity of what the merge makes */
    int32_t *emitted; /* [symbols] the id of an identity: the last one of that spelling, as in the original */
    int32_t start, end;
};

/* ---- Opening ---- */

static bool is_gzip(const unsigned char *data, size_t bytes)
{
    return bytes > 2 && data[0] == 0x1F && data[1] == 0x8B;
}

/* All members of a gzip file, appended to `out`. */
static tdm_status inflate_all(const char *name, z_stream *stream, tdm_text *out)
{
    char block[65536];
    for (;;) {
        stream->next_out = (unsigned char *)block;
        stream->avail_out = sizeof block;
        const int code = inflate(stream, Z_NO_FLUSH);
        TDM_REQUIRE(code == Z_OK || code == Z_STREAM_END, TDM_E_FORMAT, "%s: %s", name,
                    code == Z_BUF_ERROR ? "the gzip data end too early" : "the gzip data are damaged");
        TDM_TRY(tdm_text_append(out, block, sizeof block - stream->avail_out));
        TDM_REQUIRE(out->length <= FILE_BYTES_MAX, TDM_E_FORMAT, "%s: larger than %d MiB: not a merges file",
                    name, FILE_BYTES_MAX >> 20);
        if (code != Z_STREAM_END) continue;
        if (stream->avail_in == 0) return TDM_OK;
        TDM_REQUIRE(inflateReset(stream) == Z_OK, TDM_E_LIBRARY, "%s: zlib cannot go on", name);
    }
}

static tdm_status load_file(tdm_tokenizer *t, const char *name, const void *data, size_t bytes)
{
    TDM_REQUIRE(bytes <= FILE_BYTES_MAX, TDM_E_FORMAT, "%s: larger than %d MiB: not a merges file", name,
                FILE_BYTES_MAX >> 20);
    if (is_gzip(data, bytes)) {
        z_stream stream = {.next_in = (unsigned char *)(uintptr_t)data, .avail_in = (unsigned)bytes};
        TDM_REQUIRE(inflateInit2(&stream, 15 + 16) == Z_OK, TDM_E_LIBRARY, "%s: zlib cannot start", name);
        const tdm_status status = inflate_all(name, &stream, &t->file);
        inflateEnd(&stream);
        TDM_TRY(status);
    } else {
        TDM_TRY(tdm_text_append(&t->file, data, bytes));
    }
    return tdm_sha256_buffer(t->file.data, t->file.length, t->digest);
}

/* One line "left right". Both must be known by now, so that every merge can be reached. */
static tdm_status add_merge(tdm_tokenizer *t, const char *name, int64_t line, const char *text, size_t bytes)
{
    const char *blank = memchr(text, ' ', bytes);
    const char *end = text + bytes;
    TDM_REQUIRE(blank && blank > text && blank + 1 < end &&
                    !memchr(blank + 1, ' ', (size_t)(end - blank - 1)) && !memchr(text, '\0', bytes),
                TDM_E_FORMAT, "%s: line %lld: a merge is two symbols with a blank between", name,
                (long long)line);
    const int32_t left = symbol_set_find(&t->symbols, text, (size_t)(blank - text));
    const int32_t right = symbol_set_find(&t->symbols, blank + 1, (size_t)(end - blank - 1));
    const bool left_known = left >= 0;
    const char *unknown = left_known ? blank + 1 : text;
    TDM_REQUIRE(left_known && right >= 0, TDM_E_FORMAT,
                "%s: line %lld: \"%.*s\" is neither a byte nor made by an earlier line", name,
                (long long)line, (int)tdm_min_i64((left_known ? end : blank) - unknown, 80), unknown);

    const int32_t number = (int32_t)(t->symbols.count - BASE_SYMBOLS);
    int32_t *known = NULL, made = 0;
    TDM_TRY(pair_map_insert(&t->rank, left, right, number, &known));
    TDM_REQUIRE(*known == number, TDM_E_FORMAT, "%s: line %lld: the same merge as line %lld", name,
                (long long)line, (long long)*known + 2);
    TDM_TRY(symbol_set_add_joined(&t->symbols, left, right, &made));
    t->result[number] = made;
    return TDM_OK;
}

/* Calls add_merge on each line after the header. */
static tdm_status read_merges(tdm_tokenizer *t, const char *name)
{
    const char *at = t->file.data, *end = at + t->file.length;
    const char *header_end = memchr(at, '\n', t->file.length);
    size_t header = header_end ? (size_t)(header_end - at) : t->file.length;
    if (header && at[header - 1] == '\r') header--;
    TDM_REQUIRE(memmem(at, header, "#version", 8), TDM_E_FORMAT,
                "%s: not a merges file: the first line is not \"%s\"", name, MERGES_VERSION);
    const bool clip = header == strlen(clip_header) && !memcmp(at, clip_header, header);
    const int64_t most = clip ? CLIP_MERGES : INT32_MAX;

    int64_t lines = 0;
    for (const char *c = at; c < end; c++) lines += *c == '\n';
    TDM_TRY(TDM_ALLOC(lines + 1, &t->result));

    int64_t line = 1;
    for (at = header_end ? header_end + 1 : end; at < end && line <= most; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        const char *next = newline ? newline + 1 : end;
        if (stop > at && stop[-1] == '\r') stop--;
        if (stop > at)
            TDM_TRY(add_merge(t, name, line + 1, at, (size_t)(stop - at)));
        else
            TDM_REQUIRE(next == end, TDM_E_FORMAT, "%s: line %lld: empty", name, (long long)line + 1);
        at = next;
    }
    return TDM_OK;
}

static tdm_status open_memory(tdm_tokenizer *t, const char *name, const void *data, size_t bytes)
{
    TDM_TRY(load_file(t, name, data, bytes));
    TDM_TRY(symbol_set_init(&t->symbols));
    TDM_TRY(read_merges(t, name));
    const int64_t count = t->symbols.count;
    TDM_TRY(TDM_ALLOC(count, &t->emitted));
    for (int32_t id = 0; id < count; id++) {
        const int32_t first = id < BASE_SYMBOLS ? id : t->result[id - BASE_SYMBOLS];
        t->emitted[id] = id;
        t->emitted[first] = id;
    }
    t->start = (int32_t)count;
    t->end = t->start + 1;
    return TDM_OK;
}

tdm_status tdm_tokenizer_open_memory(const char *name, const void *data, size_t bytes,
                                     tdm_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    tdm_tokenizer *made = NULL;
    TDM_TRY(TDM_ALLOC(1, &made));
    const tdm_status status = open_memory(made, name, data, bytes);
    if (status != TDM_OK)
        tdm_tokenizer_destroy(&made);
    else
        *tokenizer = made;
    return status;
}

tdm_status tdm_tokenizer_open(const char *path, tdm_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    tdm_text raw = {0};
    tdm_status status = tdm_read_file(path, &raw);
    if (status == TDM_OK) status = tdm_tokenizer_open_memory(path, raw.data, raw.length, tokenizer);
    tdm_text_free(&raw);
    return status;
}

void tdm_tokenizer_destroy(tdm_tokenizer **tokenizer)
{
    if (tokenizer == NULL || *tokenizer == NULL) return;
    tdm_tokenizer *t = *tokenizer;
    tdm_text_free(&t->file);
    symbol_set_free(&t->symbols);
    pair_map_free(&t->rank);
    tdm_free(t->result);
    tdm_free(t->emitted);
    tdm_free(t);
    *tokenizer = NULL;
}

int64_t tdm_tokenizer_vocab_size(const tdm_tokenizer *tokenizer)
{
    return tokenizer->symbols.count + SPECIAL_SYMBOLS;
}

int32_t tdm_tokenizer_start(const tdm_tokenizer *tokenizer)
{
    return tokenizer->start;
}

int32_t tdm_tokenizer_end(const tdm_tokenizer *tokenizer)
{
    return tokenizer->end;
}

const char *tdm_tokenizer_digest(const tdm_tokenizer *tokenizer)
{
    return tokenizer->digest;
}

const void *tdm_tokenizer_file(const tdm_tokenizer *tokenizer, size_t *bytes)
{
    *bytes = tokenizer->file.length;
    return tokenizer->file.data;
}

/* ---- Merging one word ----
 *
 * The original merges all occurrences of the pair with the lowest rank, left to right, until no pair is
 * known. Here the word is a linked list, and a heap holds its known pairs by (rank, place): n log n for a
 * word of n bytes, however long. Pairs that a merge makes enter the heap only when its rank is done with. */

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

/* Joins the pair of `c` when it still stands there. */
static bool merge_pair(const tdm_tokenizer *t, word_space *w, const candidate *c)
{
    piece *left = &w->piece[c->at];
    if (left->symbol != c->left || left->after < 0) return false;
    piece *right = &w->piece[left->after];
    if (right->symbol != c->right) return false;
    left->symbol = t->result[c->rank];
    right->symbol = -1;
    left->after = right->after;
    if (left->after >= 0) w->piece[left->after].before = c->at;
    return true;
}

static void merge_word(const tdm_tokenizer *t, word_space *w, const unsigned char *byte, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        w->piece[i] = (piece){byte_symbol(byte[i], i + 1 == n), i - 1, i + 1 < n ? i + 1 : -1};
    w->candidates = 0;
    for (int32_t i = 0; i < n; i++) consider(t, w, i);
    while (w->candidates) {
        const int32_t rank = w->candidate[0].rank;
        int32_t merged = 0;
        while (w->candidates && w->candidate[0].rank == rank) {
            const candidate c = pop_candidate(w);
            if (merge_pair(t, w, &c)) w->merged[merged++] = c.at;
        }
        for (int32_t i = 0; i < merged; i++) {
            consider(t, w, w->piece[w->merged[i]].before);
            consider(t, w, w->merged[i]);
        }
    }
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

static bool is_literal(const char *word, size_t bytes, const char *literal)
{
    return bytes == strlen(literal) && !memcmp(word, literal, bytes);
}

static tdm_status encode_cleaned(const tdm_tokenizer *t, const tdm_text *clean, id_sink *sink)
{
    const char *at = clean->data, *end = at + clean->length, *word = NULL;
    size_t bytes = 0;
    put_id(sink, t->start);
    while (!sink->full && text_next_word(&at, end, &word, &bytes)) {
        if (is_literal(word, bytes, START_OF_TEXT))
            put_id(sink, t->start);
        else if (is_literal(word, bytes, END_OF_TEXT))
            put_id(sink, t->end);
        else
            TDM_TRY(encode_word(t, word, bytes, sink));
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
    tdm_status status = text_clean(text, &clean);
    if (status == TDM_OK) status = encode_cleaned(tokenizer, &clean, &sink);
    tdm_text_free(&clean);
    TDM_TRY(status);
    *count = sink.count;
    if (truncated) *truncated = sink.full;
    return TDM_OK;
}

/* ---- Decoding ---- */

/* The bytes of a symbol; a blank for the end of a word. */
static tdm_status append_symbol(const char *spelling, tdm_text *raw)
{
    size_t length = strlen(spelling);
    const size_t mark = strlen(WORD_END);
    const bool at_end = length > mark && !strcmp(spelling + length - mark, WORD_END);
    if (at_end) length -= mark;
    for (const char *at = spelling, *end = spelling + length; at < end;) {
        const char byte = (char)spelled_byte(text_decode_point(at, end, &at));
        TDM_TRY(tdm_text_append(raw, &byte, 1));
    }
    return at_end ? tdm_text_append(raw, " ", 1) : TDM_OK;
}

static tdm_status decode_bytes(const tdm_tokenizer *t, const int32_t *token, int64_t count, tdm_text *raw)
{
    for (int64_t i = 0; i < count; i++) {
        if (token[i] == t->start || token[i] == t->end) continue;
        TDM_REQUIRE(token[i] >= 0 && token[i] < t->start, TDM_E_DATA,
                    "token id %d is outside the vocabulary of %lld", token[i],
                    (long long)tdm_tokenizer_vocab_size(t));
        TDM_TRY(append_symbol(symbol_spelling(&t->symbols, token[i]), raw));
    }
    if (raw->length && raw->data[raw->length - 1] == ' ') raw->length--; /* after the last word */
    return TDM_OK;
}

tdm_status tdm_tokenizer_decode(const tdm_tokenizer *tokenizer, const int32_t *token, int64_t count,
                                tdm_text *text)
{
    tdm_text raw = {0};
    tdm_status status = decode_bytes(tokenizer, token, count, &raw);
    if (status == TDM_OK) status = text_append_repaired(text, raw.data, raw.length);
    tdm_text_free(&raw);
    return status;
}
