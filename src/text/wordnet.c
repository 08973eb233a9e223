/* WordNet's files as they are (wndb(5WN)): lines in the order of their first word. index.POS says where in data.POS the
 * meanings of a word stand, POS.exc which words irregular forms are of. Regular forms lose their ending, as
 * morphy(7WN) and NLTK's WordNetCorpusReader do it: once. */
#include "wordnet.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARTS = 4, LONGEST_WORD = 128 };

typedef struct ending {
    const char *old, *now;
} ending;
#define ENDINGS 10
static const struct part {
    const char *name;
    ending rule[ENDINGS];
} part[PARTS] = {
    {"noun",
     {{"s", ""},
      {"ses", "s"},
      {"ves", "f"},
      {"xes", "x"},
      {"zes", "z"},
      {"ches", "ch"},
      {"shes", "sh"},
      {"men", "man"},
      {"ies", "y"}}},
    {"verb",
     {{"s", ""}, {"ies", "y"}, {"es", "e"}, {"es", ""}, {"ed", "e"}, {"ed", ""}, {"ing", "e"}, {"ing", ""}}},
    {"adj", {{"er", ""}, {"est", ""}, {"er", "e"}, {"est", "e"}}},
    {"adv", {{NULL, NULL}}},
};

typedef struct mapped {
    char path[TDM_PATH_BYTES];
    const char *begin, *end;
} mapped;

struct wordnet {
    mapped index[PARTS], data[PARTS], exceptions[PARTS];
};

/* ---- opening ---- */

static tdm_status map(mapped *file, const char *who, const char *directory, const char *before,
                      const char *name, const char *behind)
{
    struct stat is = {0};
    snprintf(file->path, sizeof(file->path), "%s/%s%s%s", directory, before, name, behind);
    const int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    void *at = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &is) == 0 && is.st_size > 0)
        at = mmap(NULL, (size_t)is.st_size, PROT_READ, MAP_SHARED, fd, 0);
    const int why = errno;
    if (fd >= 0) close(fd);
    TDM_REQUIRE(
        at != MAP_FAILED, TDM_E_IO,
        "%s needs WordNet: %s: %s; install Debian's package wordnet-base, or set augment.wordnet to a directory "
        "with WordNet's files",
        who, file->path, fd >= 0 && is.st_size == 0 ? "is empty" : strerror(why));
    file->begin = at;
    file->end = file->begin + is.st_size;
    return TDM_OK;
}

static void unmap(mapped *file)
{
    if (file->begin) munmap((void *)(uintptr_t)file->begin, (size_t)(file->end - file->begin));
}

static tdm_status map_all(wordnet *made, const char *who, const char *directory)
{
    for (int p = 0; p < PARTS; p++) {
        TDM_TRY(map(&made->index[p], who, directory, "index.", part[p].name, ""));
        TDM_TRY(map(&made->data[p], who, directory, "data.", part[p].name, ""));
        TDM_TRY(map(&made->exceptions[p], who, directory, "", part[p].name, ".exc"));
    }
    return TDM_OK;
}

tdm_status wordnet_open(const char *who, const char *directory, wordnet **opened)
{
    *opened = NULL;
    TDM_TRY(TDM_ALLOC(1, opened));
    const tdm_status status = map_all(*opened, who, directory);
    if (status != TDM_OK) wordnet_close(opened);
    return status;
}

void wordnet_close(wordnet **opened)
{
    if (*opened == NULL) return;
    for (int p = 0; p < PARTS; p++) {
        unmap(&(*opened)->index[p]);
        unmap(&(*opened)->data[p]);
        unmap(&(*opened)->exceptions[p]);
    }
    tdm_free(*opened);
    *opened = NULL;
}

tdm_status wordnet_reading(const wordnet *from, tdm_reading *reading)
{
    for (int p = 0; p < PARTS; p++) {
        const mapped *const file[] = {&from->index[p], &from->data[p], &from->exceptions[p]};
        for (int i = 0; i < 3; i++) TDM_TRY(tdm_reading_add_file(reading, "WordNet", file[i]->path));
    }
    return TDM_OK;
}

/* ---- lines and their fields ---- */

typedef struct span {
    const char *begin, *end;
} span;

static size_t span_bytes(span it)
{
    return (size_t)(it.end - it.begin);
}

/* The line that begins at `at`, without its end. */
static span line_at(const mapped *file, const char *at)
{
    const char *end = memchr(at, '\n', (size_t)(file->end - at));
    return (span){at, end ? end : file->end};
}

/* Cuts the next field off the line; empty at its end. */
static span next_field(span *line)
{
    while (line->begin < line->end && *line->begin == ' ') line->begin++;
    span field = {line->begin, line->begin};
    while (field.end < line->end && *field.end != ' ') field.end++;
    line->begin = field.end;
    return field;
}

/* -1: it is no number of this base. */
static int64_t next_number(span *line, int base)
{
    const span field = next_field(line);
    int64_t value = 0;
    if (span_bytes(field) == 0 || span_bytes(field) > 10) return -1;
    for (const char *c = field.begin; c < field.end; c++) {
        const int digit = *c >= '0' && *c <= '9' ? *c - '0' : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10 : base;
        if (digit >= base) return -1;
        value = value * base + digit;
    }
    return value;
}

/* As strcmp: the line's first word and this one. Lines of the licence begin with blanks and come before all words. */
static int compare_first(span line, const char *word, size_t bytes)
{
    size_t own = 0;
    while (own < span_bytes(line) && line.begin[own] != ' ') own++;
    const int order = memcmp(line.begin, word, own < bytes ? own : bytes);
    return order != 0 ? order : (own > bytes) - (own < bytes);
}

/* The last line with this first word. */
static bool find_line(const mapped *file, const char *word, size_t bytes, span *found)
{
    const char *low = file->begin, *high = file->end; /* beginnings of lines */
    bool is = false;
    while (low < high) {
        const char *middle = low + (high - low) / 2;
        while (middle > low && middle[-1] != '\n') middle--;
        const span line = line_at(file, middle);
        const int order = compare_first(line, word, bytes);
        if (order == 0) *found = line, is = true;
        if (order <= 0)
            low = line.end < file->end ? line.end + 1 : file->end;
        else
            high = middle;
    }
    return is;
}

/* ---- meanings ---- */

typedef struct lookup {
    const wordnet *from;
    const char *word; /* lower case */
    size_t bytes;
    text_list *synonyms;
} lookup;

/* One of the words for a meaning, "Lake_Poets" or "galore(ip)". */
static tdm_status add_lemma(const lookup *it, span lemma)
{
    char name[LONGEST_WORD];
    size_t bytes = 0;
    if (lemma.end > lemma.begin && lemma.end[-1] == ')') /* where it may stand in a sentence */
        while (lemma.end > lemma.begin && *--lemma.end != '(') {
        }
    for (const char *c = lemma.begin; c < lemma.end && bytes < sizeof(name); c++) {
        const char letter = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
        if (letter == '_' || letter == '-')
            name[bytes++] = ' ';
        else if (letter >= 'a' && letter <= 'z')
            name[bytes++] = letter;
    }
    if (bytes == it->bytes && memcmp(name, it->word, bytes) == 0) return TDM_OK;
    return text_list_add_sorted(it->synonyms, name, bytes);
}

static tdm_status add_meaning(const lookup *it, const mapped *file, int64_t offset)
{
    const bool inside = offset >= 0 && offset < file->end - file->begin;
    span line = line_at(file, inside ? file->begin + offset : file->end);
    const bool is = next_number(&line, 10) == offset; /* a meaning begins with its own place */
    next_field(&line);                                /* which of the lexicographers' files */
    next_field(&line);                                /* part of speech */
    const int64_t lemmas = next_number(&line, 16);
    TDM_REQUIRE(is && lemmas > 0, TDM_E_FORMAT, "%s: no meaning of a word at byte %lld, as the index says",
                file->path, (long long)offset);
    for (int64_t i = 0; i < lemmas && line.begin < line.end; i++) {
        TDM_TRY(add_lemma(it, next_field(&line)));
        next_field(&line); /* which of its meanings in that file */
    }
    return TDM_OK;
}

/* All meanings of a word as this part of speech; nothing for what is no word. */
static tdm_status add_meanings(const lookup *it, int p, const char *form, size_t bytes)
{
    const mapped *index = &it->from->index[p];
    span line;
    if (bytes == 0 || !find_line(index, form, bytes, &line)) return TDM_OK;
    next_field(&line); /* the word */
    next_field(&line); /* part of speech */
    const int64_t meanings = next_number(&line, 10), pointers = next_number(&line, 10);
    for (int64_t i = 0; i < pointers + 2 && line.begin < line.end; i++)
        next_field(&line); /* and two counts */
    for (int64_t i = 0; i < meanings; i++)
        TDM_TRY(add_meaning(it, &it->from->data[p], next_number(&line, 10)));
    return TDM_OK;
}

/* ---- forms of words ---- */

static tdm_status add_regular_forms(const lookup *it, int p)
{
    char form[LONGEST_WORD + 4];
    for (const ending *e = part[p].rule; e->old; e++) {
        const size_t old = strlen(e->old), now = strlen(e->now);
        if (it->bytes < old || memcmp(it->word + it->bytes - old, e->old, old) != 0) continue;
        memcpy(form, it->word, it->bytes - old);
        memcpy(form + it->bytes - old, e->now, now);
        TDM_TRY(add_meanings(it, p, form, it->bytes - old + now));
    }
    return TDM_OK;
}

static tdm_status add_part(const lookup *it, int p)
{
    span line;
    TDM_TRY(add_meanings(it, p, it->word, it->bytes));
    if (!find_line(&it->from->exceptions[p], it->word, it->bytes, &line)) return add_regular_forms(it, p);
    next_field(&line); /* the form */
    for (span of; span_bytes(of = next_field(&line)) > 0;)
        TDM_TRY(add_meanings(it, p, of.begin, span_bytes(of)));
    return TDM_OK;
}

tdm_status wordnet_synonyms(const wordnet *from, const char *word, size_t bytes, text_list *synonyms)
{
    char lower[LONGEST_WORD];
    const lookup it = {.from = from, .word = lower, .bytes = bytes, .synonyms = synonyms};
    text_list_clear(synonyms);
    if (bytes == 0 || bytes > sizeof(lower)) return TDM_OK;
    for (size_t i = 0; i < bytes; i++)
        lower[i] = word[i] >= 'A' && word[i] <= 'Z' ? (char)(word[i] - 'A' + 'a') : word[i];
    for (int p = 0; p < PARTS; p++) TDM_TRY(add_part(&it, p));
    return TDM_OK;
}
