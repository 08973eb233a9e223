/* What the encoder and the trainer of the byte-level BPE share. Private to data/. */
#ifndef TANDEM_DATA_TOKENIZER_IMPL_H
#define TANDEM_DATA_TOKENIZER_IMPL_H

#include "tandem/tokenizer.h"

enum { BYTE_SYMBOLS = 256, BASE_SYMBOLS = 512, SPECIAL_SYMBOLS = 2 };

#define WORD_END       "</w>"
#define START_OF_TEXT  "<|startoftext|>"
#define END_OF_TEXT    "<|endoftext|>"
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

#endif
