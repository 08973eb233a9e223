/* The symbols of a byte-level BPE, and the hash tables over them. */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* CLIP's bytes_to_unicode: 188 bytes that print well stand for themselves and come first; the others, in
 * order, are the characters from U+0100 on. */
static bool prints_well(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

enum { GOOD_BYTES = 188 };

/* How many bytes of the same kind come before this one. */
static int rank_of_byte(int byte)
{
    if (byte < '!') return byte;
    if (byte <= '~') return byte - '!';
    if (byte < 0xA1) return '!' + (byte - ('~' + 1));
    if (byte <= 0xAC) return ('~' - '!' + 1) + (byte - 0xA1);
    if (byte == 0xAD) return '!' + (0xA1 - ('~' + 1));
    return ('~' - '!' + 1) + (0xAC - 0xA1 + 1) + (byte - 0xAE);
}

int32_t byte_symbol(unsigned char byte, bool at_word_end)
{
    const int rank = rank_of_byte(byte);
    return (prints_well(byte) ? rank : GOOD_BYTES + rank) + (at_word_end ? BYTE_SYMBOLS : 0);
}

static int32_t byte_spelling(int byte)
{
    return prints_well(byte) ? byte : 0x100 + rank_of_byte(byte);
}

int spelled_byte(int32_t point)
{
    if (point < 0x100) return point >= 0 && prints_well(point) ? (int)point : -1;
    for (int byte = 0; byte < 256; byte++) {
        if (byte_spelling(byte) == point) return byte;
    }
    return -1;
}

static uint64_t mix(uint64_t h) /* splitmix64's finaliser */
{
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9u;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
    return h ^ (h >> 31);
}

static uint64_t hash_bytes(const char *data, size_t bytes) /* FNV-1a */
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ (unsigned char)data[i]) * 0x100000001B3u;
    return mix(h);
}

/* ---- Symbols ---- */

/* The slot that holds this spelling, or the free one where it belongs. */
static int64_t symbol_slot(const symbol_set *set, const char *spelling, size_t bytes)
{
    int64_t at = (int64_t)(hash_bytes(spelling, bytes) & (uint64_t)(set->slots - 1));
    for (; set->slot[at]; at = (at + 1) & (set->slots - 1)) {
        const char *other = symbol_spelling(set, set->slot[at] - 1);
        if (!strncmp(other, spelling, bytes) && other[bytes] == '\0') break;
    }
    return at;
}

static tdm_status grow_slots(symbol_set *set)
{
    symbol_set grown = *set;
    grown.slots = set->slots ? set->slots * 2 : 4096;
    TDM_TRY(TDM_ALLOC(grown.slots, &grown.slot));
    for (int64_t i = 0; i < set->slots; i++) {
        if (!set->slot[i]) continue;
        const char *spelling = symbol_spelling(set, set->slot[i] - 1);
        grown.slot[symbol_slot(&grown, spelling, strlen(spelling))] = set->slot[i];
    }
    tdm_free(set->slot);
    *set = grown;
    return TDM_OK;
}

tdm_status symbol_set_add(symbol_set *set, const char *spelling, size_t bytes, int32_t *first)
{
    if (set->count * 2 >= set->slots) TDM_TRY(grow_slots(set));
    if (set->count == set->capacity) {
        const int64_t capacity = set->capacity + set->capacity / 2 + 1024;
        size_t *grown = realloc(set->begin, (size_t)capacity * sizeof *grown);
        TDM_REQUIRE(grown, TDM_E_NOMEM, "cannot allocate %lld symbols", (long long)capacity);
        set->begin = grown;
        set->capacity = capacity;
    }
    const int64_t at = symbol_slot(set, spelling, bytes);
    set->begin[set->count] = set->spellings.length;
    TDM_TRY(tdm_text_append(&set->spellings, spelling, bytes));
    TDM_TRY(tdm_text_append(&set->spellings, "", 1));
    set->count++;
    if (!set->slot[at]) set->slot[at] = (int32_t)set->count;
    *first = set->slot[at] - 1;
    return TDM_OK;
}

tdm_status symbol_set_add_joined(symbol_set *set, int32_t left, int32_t right, int32_t *first)
{
    tdm_text joined = {0};
    const char *a = symbol_spelling(set, left), *b = symbol_spelling(set, right);
    tdm_status status = tdm_text_append(&joined, a, strlen(a));
    if (status == TDM_OK) status = tdm_text_append(&joined, b, strlen(b));
    if (status == TDM_OK) status = symbol_set_add(set, joined.data, joined.length, first);
    tdm_text_free(&joined);
    return status;
}

int32_t symbol_set_find(const symbol_set *set, const char *spelling, size_t bytes)
{
    return set->slot[symbol_slot(set, spelling, bytes)] - 1;
}

tdm_status symbol_set_init(symbol_set *set)
{
    memset(set, 0, sizeof *set);
    int byte_of[BYTE_SYMBOLS];
    for (int byte = 0; byte < BYTE_SYMBOLS; byte++) byte_of[byte_symbol((unsigned char)byte, false)] = byte;
    for (int id = 0; id < BASE_SYMBOLS; id++) {
        char spelling[8];
        size_t bytes = (size_t)utf8proc_encode_char(byte_spelling(byte_of[id % BYTE_SYMBOLS]),
                                                    (utf8proc_uint8_t *)spelling);
        if (id >= BYTE_SYMBOLS) {
            memcpy(spelling + bytes, WORD_END, strlen(WORD_END));
            bytes += strlen(WORD_END);
        }
        int32_t first = 0;
        TDM_TRY(symbol_set_add(set, spelling, bytes, &first));
    }
    return TDM_OK;
}

void symbol_set_free(symbol_set *set)
{
    tdm_text_free(&set->spellings);
    free(set->begin);
    tdm_free(set->slot);
    memset(set, 0, sizeof *set);
}

/* ---- Pairs ---- */

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static int64_t pair_slot(const pair_map *map, uint64_t key)
{
    int64_t at = (int64_t)(mix(key) & (uint64_t)(map->slots - 1));
    while (map->value[at] >= 0 && map->key[at] != key) at = (at + 1) & (map->slots - 1);
    return at;
}

static tdm_status grow_pairs(pair_map *map)
{
    pair_map grown = {.slots = map->slots ? map->slots * 2 : 1024, .count = map->count};
    TDM_TRY(TDM_ALLOC(grown.slots, &grown.key));
    if (TDM_ALLOC(grown.slots, &grown.value) != TDM_OK) {
        tdm_free(grown.key);
        return tdm_error_last()->code;
    }
    memset(grown.value, 0xFF, (size_t)grown.slots * sizeof *grown.value); /* -1 */
    for (int64_t i = 0; i < map->slots; i++) {
        if (map->value[i] < 0) continue;
        const int64_t at = pair_slot(&grown, map->key[i]);
        grown.key[at] = map->key[i];
        grown.value[at] = map->value[i];
    }
    pair_map_free(map);
    *map = grown;
    return TDM_OK;
}

tdm_status pair_map_insert(pair_map *map, int32_t left, int32_t right, int32_t fresh, int32_t **value)
{
    if (map->count * 2 >= map->slots) TDM_TRY(grow_pairs(map));
    const uint64_t key = pair_key(left, right);
    const int64_t at = pair_slot(map, key);
    if (map->value[at] < 0) {
        map->key[at] = key;
        map->value[at] = fresh;
        map->count++;
    }
    *value = &map->value[at];
    return TDM_OK;
}

int32_t pair_map_find(const pair_map *map, int32_t left, int32_t right)
{
    return map->slots ? map->value[pair_slot(map, pair_key(left, right))] : -1;
}

void pair_map_free(pair_map *map)
{
    tdm_free(map->key);
    tdm_free(map->value);
    memset(map, 0, sizeof *map);
}
