/* A tokenizer's files: found, unpacked, told apart; and what is known of one that is open. */
#include "tokenizer_impl.h"

#include "tandem/plain_text.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    FILE_BYTES_MAX = 256 << 20, /* uncompressed: what a tokenizer's file cannot need */
    HEAD_BYTES = 128
};
/* The first line of a file that holds several parts. */
#define PARTS_HEAD "#tandem tokenizer 1:"

/* ---- Reading ---- */

static bool is_gzip(const unsigned char *data, size_t bytes)
{
    return bytes > 2 && data[0] == 0x1F && data[1] == 0x8B;
}

/* All members of a gzip file, appended to `out`. */
static tdm_status inflate_all(const char *name, z_stream *stream, tdm_text *out)
{
    char block[65536];
    const size_t before = out->length;
    for (;;) {
        stream->next_out = (unsigned char *)block;
        stream->avail_out = sizeof block;
        const int code = inflate(stream, Z_NO_FLUSH);
        TDM_REQUIRE(code == Z_OK || code == Z_STREAM_END, TDM_E_FORMAT, "%s: %s", name,
                    code == Z_BUF_ERROR ? "the gzip data end too early" : "the gzip data are damaged");
        TDM_TRY(tdm_text_append(out, block, sizeof block - stream->avail_out));
        TDM_REQUIRE(out->length - before <= FILE_BYTES_MAX, TDM_E_FORMAT,
                    "%s: larger than %d MiB: not a tokenizer's file", name, FILE_BYTES_MAX >> 20);
        if (code != Z_STREAM_END) continue;
        if (stream->avail_in == 0) return TDM_OK;
        TDM_REQUIRE(inflateReset(stream) == Z_OK, TDM_E_LIBRARY, "%s: zlib cannot go on", name);
    }
}

/* Appends the file's uncompressed bytes. */
static tdm_status unpack(const char *name, const void *data, size_t bytes, tdm_text *out)
{
    TDM_REQUIRE(bytes <= FILE_BYTES_MAX, TDM_E_FORMAT, "%s: larger than %d MiB: not a tokenizer's file", name,
                FILE_BYTES_MAX >> 20);
    if (!is_gzip(data, bytes)) return tdm_text_append(out, data, bytes);
    z_stream stream = {.next_in = (unsigned char *)(uintptr_t)data, .avail_in = (unsigned)bytes};
    TDM_REQUIRE(inflateInit2(&stream, 15 + 16) == Z_OK, TDM_E_LIBRARY, "%s: zlib cannot start", name);
    const tdm_status status = inflate_all(name, &stream, out);
    inflateEnd(&stream);
    return status;
}

/* ---- Telling apart ---- */

/* "#tandem tokenizer 1: vocab 12 merges 34" or "… mask merges 34"; the parts follow. */
static tdm_status read_parts(tdm_tokenizer *t, const char *name)
{
    char head[HEAD_BYTES];
    const char *end = t->file.data + t->file.length, *newline = memchr(t->file.data, '\n', t->file.length);
    const size_t length = newline ? (size_t)(newline - t->file.data) : sizeof head;
    TDM_REQUIRE(length < sizeof head, TDM_E_FORMAT, "%s: the first line is damaged", name);
    memcpy(head, t->file.data, length);
    head[length] = '\0';
    unsigned long long vocab = 0, merges = 0;
    int used = 0;
    const bool pair =
        sscanf(head, PARTS_HEAD " vocab %9llu merges %9llu%n", &vocab, &merges, &used) == 2 && !head[used];
    if (!pair) {
        used = 0;
        vocab = 0;
        TDM_REQUIRE(sscanf(head, PARTS_HEAD " mask merges %9llu%n", &merges, &used) == 1 && !head[used],
                    TDM_E_FORMAT, "%s: the first line is damaged", name);
    }
    TDM_REQUIRE(vocab + merges == (size_t)(end - newline - 1), TDM_E_FORMAT,
                "%s: %lld bytes follow the first line, not %llu", name, (long long)(end - newline - 1),
                vocab + merges);
    if (pair) return tokenizer_read_pair(t, name, newline + 1, vocab, newline + 1 + vocab, merges);
    TDM_TRY(tokenizer_read_merges(t, name, newline + 1, merges, true));
    TDM_REQUIRE(t->merges > 0, TDM_E_FORMAT, "%s: has no merge that could make room for %s", name, MASK);
    return tokenizer_number_merges(t, true);
}

static bool begins_with(const tdm_text *text, const char *part)
{
    return text->length >= strlen(part) && !memcmp(text->data, part, strlen(part));
}

static bool is_json(const tdm_text *text)
{
    const char *at = text->data + tdm_byte_order_mark(text->data, text->length);
    return at[strspn(at, " \t\r\n")] == '{';
}

/* t->file is there. */
static tdm_status read_file(tdm_tokenizer *t, const char *name)
{
    TDM_TRY(tdm_sha256_buffer(t->file.data, t->file.length, t->digest));
    TDM_TRY(symbol_set_init(&t->symbols));
    if (begins_with(&t->file, PARTS_HEAD)) return read_parts(t, name);
    if (is_json(&t->file)) return tokenizer_read_json(t, name, t->file.data, t->file.length);
    TDM_TRY(tokenizer_read_merges(t, name, t->file.data, t->file.length, false));
    return tokenizer_number_merges(t, false);
}

/* Takes the bytes of `file`. */
static tdm_status create(const char *name, tdm_text *file, tdm_tokenizer **tokenizer)
{
    tdm_tokenizer *made = NULL;
    TDM_TRY(TDM_ALLOC(1, &made));
    made->file = *file;
    memset(file, 0, sizeof *file);
    made->start = made->end = made->mask = -1;
    const tdm_status status = read_file(made, name);
    if (status != TDM_OK)
        tdm_tokenizer_destroy(&made);
    else
        *tokenizer = made;
    return status;
}

tdm_status tdm_tokenizer_open_memory(const char *name, const void *data, size_t bytes,
                                     tdm_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    tdm_text file = {0};
    tdm_status status = unpack(name, data, bytes, &file);
    if (status == TDM_OK) status = create(name, &file, tokenizer);
    tdm_text_free(&file);
    return status;
}

/* ---- Files ---- */

static tdm_status read_unpacked(const char *path, tdm_text *out)
{
    tdm_text raw = {0};
    tdm_status status = tdm_read_file(path, &raw);
    if (status == TDM_OK) status = tdm_refuse_lfs_pointer(path, raw.data, raw.length);
    if (status == TDM_OK) status = unpack(path, raw.data, raw.length, out);
    tdm_text_free(&raw);
    return status;
}

/* vocab.json and merges.txt of one folder as one file of two parts. */
static tdm_status read_both(const char *vocab_path, const char *merges_path, tdm_text *out)
{
    tdm_text vocab = {0}, merges = {0};
    tdm_status status = read_unpacked(vocab_path, &vocab);
    if (status == TDM_OK) status = read_unpacked(merges_path, &merges);
    if (status == TDM_OK)
        status = tdm_text_printf(out, PARTS_HEAD " vocab %zu merges %zu\n", vocab.length, merges.length);
    if (status == TDM_OK) status = tdm_text_append(out, vocab.data, vocab.length);
    if (status == TDM_OK) status = tdm_text_append(out, merges.data, merges.length);
    tdm_text_free(&vocab);
    tdm_text_free(&merges);
    return status;
}

/* `name` in the folder of `path` (or in it, when it is a folder), when it exists. */
static bool find_beside(const char *path, const char *name, char out[TDM_PATH_BYTES])
{
    char folder[TDM_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    if (tdm_path_is_dir(path))
        snprintf(folder, sizeof folder, "%s", path);
    else
        snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    return tdm_path_join(out, TDM_PATH_BYTES, folder, name) == TDM_OK && tdm_path_exists(out);
}

static tdm_status read_path(const char *path, tdm_text *out)
{
    char vocab[TDM_PATH_BYTES], merges[TDM_PATH_BYTES], json[TDM_PATH_BYTES];
    TDM_REQUIRE(strlen(path) < TDM_PATH_BYTES, TDM_E_IO, "%.80s…: the path is too long", path);
    const bool has_vocab = find_beside(path, "vocab.json", vocab);
    const bool has_merges = find_beside(path, "merges.txt", merges);
    if (tdm_path_is_dir(path)) {
        if (find_beside(path, "tokenizer.json", json)) return read_unpacked(json, out);
        TDM_REQUIRE(
            has_vocab && has_merges, TDM_E_IO,
            "%s: cannot read a tokenizer: the folder holds neither tokenizer.json nor vocab.json and merges.txt",
            path);
        return read_both(vocab, merges, out);
    }
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    TDM_REQUIRE(strcmp(file, "vocab.json") || has_merges || !has_vocab, TDM_E_IO,
                "%s: there is no merges.txt beside it", path);
    if ((!strcmp(file, "vocab.json") || !strcmp(file, "merges.txt")) && has_vocab && has_merges)
        return read_both(vocab, merges, out);
    return read_unpacked(path, out);
}

/* The variant with a mask of a merges file, whose bytes are in `file`. */
static tdm_status add_mask_head(tdm_text *file)
{
    tdm_text headed = {0};
    tdm_status status = tdm_text_printf(&headed, PARTS_HEAD " mask merges %zu\n", file->length);
    if (status == TDM_OK) status = tdm_text_append(&headed, file->data, file->length);
    if (status != TDM_OK) {
        tdm_text_free(&headed);
        return status;
    }
    tdm_text_free(file);
    *file = headed;
    return TDM_OK;
}

static tdm_status open_variant(const char *path, bool mask, tdm_text *file, tdm_tokenizer **tokenizer)
{
    TDM_TRY(read_path(path, file));
    const bool of_merges = !begins_with(file, PARTS_HEAD) && !is_json(file);
    if (mask && of_merges) TDM_TRY(add_mask_head(file));
    TDM_TRY(create(path, file, tokenizer));
    if (!mask || (*tokenizer)->mask >= 0) return TDM_OK;
    tdm_tokenizer_destroy(tokenizer);
    TDM_FAIL(TDM_E_FORMAT, "%s: the vocabulary has no %s", path, MASK);
}

tdm_status tdm_tokenizer_open_variant(const char *path, bool mask, tdm_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    tdm_text file = {0};
    const tdm_status status = open_variant(path, mask, &file, tokenizer);
    tdm_text_free(&file);
    return status;
}

tdm_status tdm_tokenizer_open(const char *path, tdm_tokenizer **tokenizer)
{
    return tdm_tokenizer_open_variant(path, false, tokenizer);
}

void tdm_tokenizer_destroy(tdm_tokenizer **tokenizer)
{
    if (tokenizer == NULL || *tokenizer == NULL) return;
    tdm_tokenizer *t = *tokenizer;
    tdm_text_free(&t->file);
    symbol_set_free(&t->symbols);
    pair_map_free(&t->rank);
    free(t->result);
    tdm_free(t->emitted);
    tdm_text_free(&t->spellings);
    tdm_free(t->spelling);
    for (int64_t i = 0; i < t->added_count; i++) tdm_text_free(&t->added[i].content);
    tdm_free(t->added);
    tdm_free(t);
    *tokenizer = NULL;
}

/* ---- What it is ---- */

int64_t tdm_tokenizer_vocab_size(const tdm_tokenizer *tokenizer)
{
    return tokenizer->vocab_size;
}

int32_t tdm_tokenizer_start(const tdm_tokenizer *tokenizer)
{
    return tokenizer->start;
}

int32_t tdm_tokenizer_end(const tdm_tokenizer *tokenizer)
{
    return tokenizer->end;
}

int32_t tdm_tokenizer_mask(const tdm_tokenizer *tokenizer)
{
    return tokenizer->mask;
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

/* ---- Hugging Face's files ---- */

const char *tdm_tokenizer_token(const tdm_tokenizer *tokenizer, int32_t id)
{
    const tdm_tokenizer *t = tokenizer;
    if (id < 0 || id >= t->vocab_size || !t->spelling[id]) return NULL;
    const char *spelling = t->spellings.data + t->spelling[id] - 1;
    /* of two ids with one spelling only that which is given has a token */
    const int32_t symbol = symbol_set_find(&t->symbols, spelling, strlen(spelling));
    return symbol < 0 || t->emitted[symbol] == id ? spelling : NULL;
}

static tdm_status append_quoted(tdm_text *text, const char *string)
{
    TDM_TRY(tdm_text_append(text, "\"", 1));
    for (const char *c = string; *c; c++) {
        if (*c == '"' || *c == '\\') TDM_TRY(tdm_text_append(text, "\\", 1));
        if ((unsigned char)*c < ' ')
            TDM_TRY(tdm_text_printf(text, "\\u%04x", (unsigned)*c));
        else
            TDM_TRY(tdm_text_append(text, c, 1));
    }
    return tdm_text_append(text, "\"", 1);
}

tdm_status tdm_tokenizer_vocab_json(const tdm_tokenizer *tokenizer, tdm_text *text)
{
    const char *between = "{";
    for (int32_t id = 0; id < tokenizer->vocab_size; id++) {
        const char *token = tdm_tokenizer_token(tokenizer, id);
        if (!token) continue;
        TDM_TRY(tdm_text_append(text, between, strlen(between)));
        TDM_TRY(append_quoted(text, token));
        TDM_TRY(tdm_text_printf(text, ":%d", id));
        between = ",";
    }
    return tdm_text_append(text, "}\n", 2);
}

/* [merges] the key of each in the pair map. */
static tdm_status list_merges(const tdm_tokenizer *t, uint64_t **pair)
{
    TDM_TRY(TDM_ALLOC(t->merges, pair));
    for (int64_t i = 0; i < t->rank.slots; i++)
        if (t->rank.value[i] >= 0) (*pair)[t->rank.value[i]] = t->rank.key[i];
    return TDM_OK;
}

tdm_status tdm_tokenizer_merges_txt(const tdm_tokenizer *tokenizer, tdm_text *text)
{
    const symbol_set *symbols = &tokenizer->symbols;
    uint64_t *pair = NULL;
    TDM_TRY(list_merges(tokenizer, &pair));
    tdm_status status = tdm_text_printf(text, "%s\n", MERGES_VERSION);
    for (int64_t i = 0; i < tokenizer->merges && status == TDM_OK; i++)
        status = tdm_text_printf(text, "%s %s\n", symbol_spelling(symbols, (int32_t)(pair[i] >> 32)),
                                 symbol_spelling(symbols, (int32_t)(uint32_t)pair[i]));
    tdm_free(pair);
    return status;
}
