/* Learns the merges of a byte-level BPE (Sennrich et al. 2016, with CLIP's bytes and word ends).
 *
 * Distinct words are kept with how often they occur. Each merge takes the most frequent pair of neighbouring
 * symbols; only the words that hold it are touched, their pairs counted anew. A heap with outdated entries
 * finds the next pair: what has become rarer goes back with its true count. */
#include "tokenizer_impl.h"
#include "text_clean.h"

#include <stdlib.h>
#include <string.h>

enum {
    WORD_BYTES_MAX = 1024, /* a longer "word" is no word: it is not learnt from */
    LEAST_COUNT = 2        /* a pair that occurs once is not worth a token */
};

typedef struct word {
    size_t begin; /* in tdm_bpe_trainer.bytes */
    int64_t count;
    int32_t bytes;
} word;

struct tdm_bpe_trainer {
    tdm_text bytes; /* the distinct words */
    word *word;     /* [words] */
    int64_t words, capacity;
    int32_t *slot; /* [slots] word + 1 or 0; slots is a power of two */
    int64_t slots;
    int64_t skipped; /* words longer than WORD_BYTES_MAX */
    tdm_text clean;  /* the line being added */
};

/* ---- Counting words ---- */

static uint64_t hash_word(const char *data, size_t bytes) /* FNV-1a */
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ (unsigned char)data[i]) * 0x100000001B3u;
    return h ^ (h >> 29);
}

static int64_t word_slot(const tdm_bpe_trainer *t, const char *data, size_t bytes)
{
    int64_t at = (int64_t)(hash_word(data, bytes) & (uint64_t)(t->slots - 1));
    for (; t->slot[at]; at = (at + 1) & (t->slots - 1)) {
        const word *w = &t->word[t->slot[at] - 1];
        if ((size_t)w->bytes == bytes && !memcmp(t->bytes.data + w->begin, data, bytes)) break;
    }
    return at;
}

static tdm_status grow_words(tdm_bpe_trainer *t)
{
    const int64_t capacity = t->capacity ? t->capacity * 2 : 4096;
    TDM_REQUIRE(capacity < INT32_MAX, TDM_E_DATA, "more distinct words than %lld", (long long)t->capacity);
    word *grown = realloc(t->word, (size_t)capacity * sizeof *grown);
    TDM_REQUIRE(grown, TDM_E_NOMEM, "cannot allocate %lld words", (long long)capacity);
    t->word = grown;
    t->capacity = capacity;
    tdm_free(t->slot);
    t->slot = NULL;
    t->slots = capacity * 2;
    TDM_TRY(TDM_ALLOC(t->slots, &t->slot));
    for (int64_t i = 0; i < t->words; i++) {
        const word *w = &t->word[i];
        t->slot[word_slot(t, t->bytes.data + w->begin, (size_t)w->bytes)] = (int32_t)i + 1;
    }
    return TDM_OK;
}

static tdm_status count_word(tdm_bpe_trainer *t, const char *data, size_t bytes)
{
    if (t->words == t->capacity) TDM_TRY(grow_words(t));
    const int64_t at = word_slot(t, data, bytes);
    if (!t->slot[at]) {
        t->word[t->words] = (word){t->bytes.length, 0, (int32_t)bytes};
        TDM_TRY(tdm_text_append(&t->bytes, data, bytes));
        t->slot[at] = (int32_t)++t->words;
    }
    t->word[t->slot[at] - 1].count++;
    return TDM_OK;
}

tdm_status tdm_bpe_trainer_create(tdm_bpe_trainer **trainer)
{
    *trainer = NULL;
    return TDM_ALLOC(1, trainer);
}

void tdm_bpe_trainer_destroy(tdm_bpe_trainer **trainer)
{
    if (trainer == NULL || *trainer == NULL) return;
    tdm_text_free(&(*trainer)->bytes);
    tdm_text_free(&(*trainer)->clean);
    free((*trainer)->word);
    tdm_free((*trainer)->slot);
    tdm_free(*trainer);
    *trainer = NULL;
}

static bool is_special(const text_word *found)
{
    const char *special[] = {START_OF_TEXT, END_OF_TEXT};
    for (size_t i = 0; i < 2; i++)
        if (found->bytes == strlen(special[i]) && !memcmp(found->begin, special[i], found->bytes))
            return true;
    return false;
}

tdm_status tdm_bpe_trainer_add(tdm_bpe_trainer *trainer, const char *line)
{
    TDM_TRY(text_clean(TEXT_OPENAI, line, strlen(line), &trainer->clean));
    const char *at = trainer->clean.data, *end = at + trainer->clean.length;
    text_word found;
    while (text_next_word(WORDS_OPENAI, &at, end, &found)) {
        if (is_special(&found)) continue;
        if (found.bytes > WORD_BYTES_MAX)
            trainer->skipped++;
        else
            TDM_TRY(count_word(trainer, found.begin, found.bytes));
    }
    return TDM_OK;
}

/* ---- Learning merges ---- */

typedef struct pair {
    int32_t left, right;
    int64_t count;
    int32_t *word; /* [words] that hold the pair or held it, owned; one may occur twice */
    int32_t words, capacity;
    bool grown;  /* in learner.grown */
    bool merged; /* has its line; a pair whose symbols are spelled in two ways may come up again */
} pair;

typedef struct heap_entry {
    int64_t count;
    int32_t pair;
} heap_entry;

typedef struct learner {
    const tdm_bpe_trainer *trainer;
    symbol_set symbols;
    int32_t *symbol;  /* the words' symbols; word w has room for its bytes from first[w] on */
    int64_t *first;   /* [words] */
    int32_t *length;  /* [words] symbols at present */
    int64_t *visited; /* [words] number of the last merge that looked at the word */
    pair_map pair_of;
    pair *pair;
    int64_t pairs, pair_capacity;
    heap_entry *heap;
    int64_t entries, heap_capacity;
    int32_t *grown; /* pairs counted up since the last merge */
    int64_t grown_count, grown_capacity;
    tdm_text merges; /* the file */
} learner;

/* Makes room for one more element of `bytes` each. */
static tdm_status make_room(void **array, int64_t count, int64_t *capacity, size_t bytes)
{
    if (count < *capacity) return TDM_OK;
    const int64_t more = *capacity + *capacity / 2 + 256;
    void *bigger = realloc(*array, (size_t)more * bytes);
    TDM_REQUIRE(bigger, TDM_E_NOMEM, "cannot allocate %lld entries for the tokenizer's pairs",
                (long long)more);
    *array = bigger;
    *capacity = more;
    return TDM_OK;
}

/* Byte-wise order of the pairs' lines in the file; a blank is smaller than anything in a symbol. */
static int compare_lines(const learner *l, int32_t a, int32_t b)
{
    const int left =
        strcmp(symbol_spelling(&l->symbols, l->pair[a].left), symbol_spelling(&l->symbols, l->pair[b].left));
    return left ? left
                : strcmp(symbol_spelling(&l->symbols, l->pair[a].right),
                         symbol_spelling(&l->symbols, l->pair[b].right));
}

static bool comes_before(const learner *l, heap_entry a, heap_entry b)
{
    return a.count != b.count ? a.count > b.count : compare_lines(l, a.pair, b.pair) < 0;
}

static tdm_status push_entry(learner *l, int32_t pair_index)
{
    const heap_entry entry = {l->pair[pair_index].count, pair_index};
    if (entry.count < LEAST_COUNT || l->pair[pair_index].merged) return TDM_OK;
    TDM_TRY(make_room((void **)&l->heap, l->entries, &l->heap_capacity, sizeof *l->heap));
    int64_t at = l->entries++;
    for (int64_t up; at > 0 && comes_before(l, entry, l->heap[up = (at - 1) / 2]); at = up)
        l->heap[at] = l->heap[up];
    l->heap[at] = entry;
    return TDM_OK;
}

static heap_entry pop_entry(learner *l)
{
    const heap_entry top = l->heap[0], last = l->heap[--l->entries];
    int64_t at = 0;
    for (int64_t down; (down = 2 * at + 1) < l->entries; at = down) {
        if (down + 1 < l->entries && comes_before(l, l->heap[down + 1], l->heap[down])) down++;
        if (!comes_before(l, l->heap[down], last)) break;
        l->heap[at] = l->heap[down];
    }
    l->heap[at] = last;
    return top;
}

/* Adds `count` to the pair; remembers the word with the pair unless it is there already. */
static tdm_status count_pair(learner *l, int32_t left, int32_t right, int64_t count, int64_t in_word,
                             bool new_there)
{
    TDM_TRY(make_room((void **)&l->pair, l->pairs, &l->pair_capacity, sizeof *l->pair));
    int32_t *index = NULL;
    TDM_TRY(pair_map_insert(&l->pair_of, left, right, (int32_t)l->pairs, &index));
    pair *p = &l->pair[*index];
    if (*index == l->pairs) {
        TDM_REQUIRE(l->pairs < INT32_MAX - 1, TDM_E_DATA,
                    "more pairs than the tokenizer's trainer can count");
        *p = (pair){.left = left, .right = right};
        l->pairs++;
    }
    p->count += count;
    if (count > 0 && !p->grown) {
        TDM_TRY(make_room((void **)&l->grown, l->grown_count, &l->grown_capacity, sizeof *l->grown));
        l->grown[l->grown_count++] = *index;
        p->grown = true;
    }
    if (!new_there || (p->words && p->word[p->words - 1] == in_word)) return TDM_OK;
    int64_t capacity = p->capacity;
    if (p->words == p->capacity) {
        capacity = capacity ? capacity * 2 : 4;
        int32_t *bigger = realloc(p->word, (size_t)capacity * sizeof *bigger);
        TDM_REQUIRE(bigger, TDM_E_NOMEM, "cannot allocate the words of a pair");
        p->word = bigger;
        p->capacity = (int32_t)capacity;
    }
    p->word[p->words++] = (int32_t)in_word;
    return TDM_OK;
}

/* Pairs that were counted up get an entry with their new count. */
static tdm_status enter_grown(learner *l)
{
    for (int64_t i = 0; i < l->grown_count; i++) {
        l->pair[l->grown[i]].grown = false;
        TDM_TRY(push_entry(l, l->grown[i]));
    }
    l->grown_count = 0;
    return TDM_OK;
}

/* Counts all pairs of a word, `sign` times its frequency. Only pairs with `made` can be new to the word after
 * the first time (made = -1). */
static tdm_status count_word_pairs(learner *l, int64_t w, int sign, int32_t made)
{
    const int32_t *s = l->symbol + l->first[w];
    const int64_t count = sign * l->trainer->word[w].count;
    for (int32_t i = 0; i + 1 < l->length[w]; i++) {
        const bool new_there = sign > 0 && (made < 0 || s[i] == made || s[i + 1] == made);
        TDM_TRY(count_pair(l, s[i], s[i + 1], count, w, new_there));
    }
    return TDM_OK;
}

static tdm_status split_words(learner *l)
{
    const tdm_bpe_trainer *t = l->trainer;
    TDM_TRY(TDM_ALLOC(t->bytes.length, &l->symbol));
    TDM_TRY(TDM_ALLOC(t->words, &l->first));
    TDM_TRY(TDM_ALLOC(t->words, &l->length));
    TDM_TRY(TDM_ALLOC(t->words, &l->visited));
    for (int64_t w = 0; w < t->words; w++) {
        const unsigned char *byte = (const unsigned char *)t->bytes.data + t->word[w].begin;
        const int32_t n = t->word[w].bytes;
        l->first[w] = (int64_t)t->word[w].begin;
        l->length[w] = n;
        for (int32_t i = 0; i < n; i++) l->symbol[l->first[w] + i] = byte_symbol(byte[i], i + 1 == n);
        TDM_TRY(count_word_pairs(l, w, 1, -1));
    }
    return enter_grown(l);
}

static bool word_has_pair(const learner *l, int64_t w, int32_t left, int32_t right)
{
    const int32_t *s = l->symbol + l->first[w];
    for (int32_t i = 0; i + 1 < l->length[w]; i++) {
        if (s[i] == left && s[i + 1] == right) return true;
    }
    return false;
}

/* Replaces the pair in a word, left to right, and counts the word's pairs anew. */
static tdm_status merge_in_word(learner *l, int64_t w, int32_t left, int32_t right, int32_t made)
{
    TDM_TRY(count_word_pairs(l, w, -1, made));
    int32_t *s = l->symbol + l->first[w], kept = 0;
    for (int32_t i = 0; i < l->length[w]; kept++) {
        const bool here = i + 1 < l->length[w] && s[i] == left && s[i + 1] == right;
        s[kept] = here ? made : s[i];
        i += here ? 2 : 1;
    }
    l->length[w] = kept;
    return count_word_pairs(l, w, 1, made);
}

static tdm_status merge_everywhere(learner *l, int32_t index, int64_t number)
{
    const int32_t left = l->pair[index].left, right = l->pair[index].right;
    int32_t made = 0;
    TDM_TRY(tdm_text_printf(&l->merges, "%s %s\n", symbol_spelling(&l->symbols, left),
                            symbol_spelling(&l->symbols, right)));
    TDM_TRY(symbol_set_add_joined(&l->symbols, left, right, &made));
    l->pair[index].merged = true;
    int32_t *words = l->pair[index].word;
    const int32_t count = l->pair[index].words;
    l->pair[index].word = NULL;
    l->pair[index].words = l->pair[index].capacity = 0;
    tdm_status status = TDM_OK;
    for (int32_t i = 0; i < count && status == TDM_OK; i++) {
        const int64_t w = words[i];
        if (l->visited[w] == number || !word_has_pair(l, w, left, right)) continue;
        l->visited[w] = number;
        status = merge_in_word(l, w, left, right, made);
    }
    free(words);
    TDM_TRY(status);
    return enter_grown(l);
}

/* Up to `wanted` merges; *made: how many the text gave. */
static tdm_status learn(learner *l, int64_t wanted, int64_t *made)
{
    *made = 0;
    TDM_TRY(symbol_set_init(&l->symbols));
    TDM_TRY(tdm_text_printf(&l->merges, "%s\n", MERGES_VERSION));
    TDM_TRY(split_words(l));
    while (*made < wanted && l->entries) {
        const heap_entry top = pop_entry(l);
        if (l->pair[top.pair].count < top.count)
            TDM_TRY(push_entry(l, top.pair));
        else if (l->pair[top.pair].count == top.count)
            TDM_TRY(merge_everywhere(l, top.pair, ++*made));
    }
    return TDM_OK;
}

static void learner_free(learner *l)
{
    for (int64_t i = 0; i < l->pairs; i++) free(l->pair[i].word);
    free(l->pair);
    free(l->heap);
    free(l->grown);
    tdm_free(l->symbol);
    tdm_free(l->first);
    tdm_free(l->length);
    tdm_free(l->visited);
    pair_map_free(&l->pair_of);
    symbol_set_free(&l->symbols);
    tdm_text_free(&l->merges);
}

tdm_status tdm_bpe_trainer_write(tdm_bpe_trainer *trainer, int64_t vocab_size, const char *path)
{
    const int64_t least = BASE_SYMBOLS + SPECIAL_SYMBOLS;
    TDM_REQUIRE(vocab_size >= least, TDM_E_USAGE,
                "a vocabulary of %lld tokens: at least %lld (bytes and two marks)", (long long)vocab_size,
                (long long)least);
    learner l = {.trainer = trainer};
    int64_t made = 0;
    tdm_status status = learn(&l, vocab_size - least, &made);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, l.merges.data, l.merges.length);
    learner_free(&l);
    TDM_TRY(status);
    if (made + least < vocab_size)
        tdm_log(TDM_LOG_WARN, "%s: the text yields a vocabulary of %lld tokens, not %lld", path,
                (long long)(made + least), (long long)vocab_size);
    if (trainer->skipped)
        tdm_log(TDM_LOG_WARN, "%s: %lld words longer than %d bytes were left out", path,
                (long long)trainer->skipped, (int)WORD_BYTES_MAX);
    return TDM_OK;
}
