/* What the files, the encoder and the trainer of the byte-level BPE share. Private to data/. */
#ifndef TANDEM_DATA_TOKENIZER_IMPL_H
#define TANDEM_DATA_TOKENIZER_IMPL_H

#include "tandem/tokenizer.h"
#include "text_clean.h"

enum { BYTE_SYMBOLS = 256, BASE_SYMBOLS = 512, SPECIAL_SYMBOLS = 2 };

#define WORD_END       "</w>"
#define MERGES_VERSION "#version: 0.2"

/* Symbols by id and by spelling. A spelling is a symbol's text in a merges file: each byte as one printable
 * character (CLIP's bytes_to_unicode), with WORD_END after the last byte of a word. Two ids may have the same
 * spelling; as in the original they are the same symbol, whose identity is the first id. */
typedef struct symbol_set {
    tdm_text spellings; /* one after the other, each with a NUL */
    size_t *begin;      /* [count] in spellings */
    int64_t count, capacity;
    int32_t *slot; /* [slots] id + 1 or 0, open addressing over first ids; slots is a power of two */
    int64_t slots;
} symbol_set;

/* The 512 base symbols: byte symbols in CLIP's order, then the same with WORD_END. */
TDM_CHECKED tdm_status symbol_set_init(symbol_set *set);
void symbol_set_free(symbol_set *set);
/* Adds a spelling under the next id. *first: the lowest id with that spelling (the new id when it is new). */
TDM_CHECKED tdm_status symbol_set_add(symbol_set *set, const char *spelling, size_t bytes, int32_t *first);
/* Adds the concatenation of two symbols. */
TDM_CHECKED tdm_status symbol_set_add_joined(symbol_set *set, int32_t left, int32_t right, int32_t *first);
int32_t symbol_set_find(const symbol_set *set, const char *spelling,
                        size_t bytes); /* first id, -1: unknown */
static inline const char *symbol_spelling(const symbol_set *set, int32_t id)
{
    return set->spellings.data + set->begin[id];
}

/* The base symbol of a byte, inside a word or at its end. */
int32_t byte_symbol(unsigned char byte, bool at_word_end);
/* The byte that a spelling's code point stands for, -1: none. */
int spelled_byte(int32_t point);

/* Pairs of symbols to a number >= 0, open addressing. */
typedef struct pair_map {
    uint64_t *key;  /* [slots] */
    int32_t *value; /* [slots] -1: free */
    int64_t slots, count;
} pair_map;
void pair_map_free(pair_map *map);
/* *value points at the pair's number, which is set to `fresh` when the pair is new; valid until the next
 * insertion. */
TDM_CHECKED tdm_status pair_map_insert(pair_map *map, int32_t left, int32_t right, int32_t fresh,
                                       int32_t **value);
int32_t pair_map_find(const pair_map *map, int32_t left, int32_t right); /* -1: unknown */

/* ---- A tokenizer ---- */

/* A string that is found in the text as it stands and becomes one id (Hugging Face's "added token"). */
typedef struct added_token {
    tdm_text content;
    int32_t id;
    bool normalized; /* found in the cleaned text, not in the raw one */
} added_token;

struct tdm_tokenizer {
    tdm_text file; /* see tdm_tokenizer_file */
    char digest[65];
    symbol_set symbols; /* bytes and what the merges make, in the order of the merges */
    pair_map rank;      /* of identities, to the merge's number */
    int32_t *result;    /* [merges] identity of what the merge makes */
    int64_t merges, merges_capacity;
    int32_t *emitted; /* [symbols] the id that an identity gives */

    tdm_text spellings; /* of the ids, one after the other, each with a NUL */
    size_t *spelling;   /* [vocab_size] place in spellings + 1, 0: no such token */
    int64_t vocab_size;
    int32_t start, end, mask; /* ids; mask -1: none */

    text_policy policy;
    unsigned words;     /* the pattern, see text_clean.h */
    bool marks_are_cut; /* a mark that the pattern finds is three words, "<|", its name, "|>": what
                           ByteLevel's own pattern makes of it */
    added_token *added;
    int64_t added_count;
};

/* How messages say where merge n stands: name, before, n + first, after, as in "m: line 2". */
typedef struct merge_source {
    const char *name, *before, *after, *unit;
    int64_t first;
} merge_source;
/* The next merge, of text[2]; both symbols must be known. */
TDM_CHECKED tdm_status tokenizer_add_merge(tdm_tokenizer *t, const merge_source *from,
                                           const char *const text[2], const size_t bytes[2]);
/* "left right" into its parts. */
TDM_CHECKED tdm_status tokenizer_split_merge(const merge_source *from, int64_t number, const char *text,
                                             size_t bytes, const char *part[2], size_t part_bytes[2]);
/* All lines of a merges file, or all but the last. */
TDM_CHECKED tdm_status tokenizer_read_merges(tdm_tokenizer *t, const char *name, const char *text,
                                             size_t bytes, bool skip_last);
/* Vocabulary of a merges file: symbols in their order, <|mask|> if wanted, start, end. */
TDM_CHECKED tdm_status tokenizer_number_merges(tdm_tokenizer *t, bool mask);
/* Hugging Face's files; `name` stands in messages. */
TDM_CHECKED tdm_status tokenizer_read_pair(tdm_tokenizer *t, const char *name, const char *vocab,
                                           size_t vocab_bytes, const char *merges, size_t merges_bytes);
TDM_CHECKED tdm_status tokenizer_read_json(tdm_tokenizer *t, const char *name, const char *text,
                                           size_t bytes);

/* Room for ids below `size`, and the spelling of one; the id must be free. */
TDM_CHECKED tdm_status tokenizer_make_vocab(tdm_tokenizer *t, int64_t size);
TDM_CHECKED tdm_status tokenizer_spell(tdm_tokenizer *t, int32_t id, const char *spelling, size_t bytes);

#endif
