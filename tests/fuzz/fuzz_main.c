/* fuzz_X ITERATIONS CORPUS…: runs a fuzz target on every file of the corpus (files and directories), then on
 * ITERATIONS deterministic mutations of them. For compilers without libFuzzer, and for the test suite. */
#include "fuzz.h"
#include "tandem/base.h"
#include "tandem/rng.h"

#include <dirent.h>
#include <string.h>

enum { MAX_FILES = 4096, MAX_BYTES = 1 << 20, MAX_EDITS = 6 };

typedef struct corpus {
    tdm_text file[MAX_FILES];
    int64_t count;
} corpus;

static int check(tdm_status status)
{
    if (status == TDM_OK) return 0;
    fprintf(stderr, "fuzz: %s\n", tdm_error_last()->message);
    return 1;
}

static int add_file(corpus *all, const char *path)
{
    if (all->count == MAX_FILES) return 0;
    return check(tdm_read_file(path, &all->file[all->count++]));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_path(corpus *all, const char *path)
{
    if (!tdm_path_is_dir(path)) return add_file(all, path);
    struct dirent **entry;
    int count = scandir(path, &entry, NULL, by_name), failed = count < 0; /* in a fixed order */
    for (int i = 0; i < count; i++) {
        char name[4096];
        if (entry[i]->d_name[0] != '.')
            failed |= check(tdm_path_join(name, sizeof(name), path, entry[i]->d_name)) || add_file(all, name);
        free(entry[i]);
    }
    if (count >= 0) free(entry);
    return failed;
}

/* In a block of its exact size, so that the address sanitizer sees a read past the end. */
static void run(const void *data, size_t bytes)
{
    uint8_t *exact = malloc(bytes ? bytes : 1);
    if (!exact) return;
    if (bytes) memcpy(exact, data, bytes);
    (void)LLVMFuzzerTestOneInput(exact, bytes);
    free(exact);
}

/* One edit of data[*bytes] (capacity MAX_BYTES): change, insert, remove, repeat, cut, or splice with `other`.
 */
static void edit(uint8_t *data, size_t *bytes, const tdm_text *other, tdm_rng *rng)
{
    static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, '\n', '"'};
    size_t n = *bytes, at = n ? (size_t)tdm_rng_below(rng, (int64_t)n) : 0;
    size_t piece = 1 + (size_t)tdm_rng_below(rng, 16);
    switch (tdm_rng_below(rng, 8)) {
    case 0:
        if (n) data[at] ^= (uint8_t)(1u << tdm_rng_below(rng, 8));
        break;
    case 1:
        if (n) data[at] = telling[tdm_rng_below(rng, sizeof(telling))];
        break;
    case 2:
        if (n) data[at] = (uint8_t)tdm_rng_u32(rng);
        break;
    case 3: /* remove */
        if (piece > n - at) piece = n - at;
        memmove(data + at, data + at + piece, n - at - piece);
        *bytes = n - piece;
        break;
    case 4: /* insert */
        if (n + piece > MAX_BYTES) break;
        memmove(data + at + piece, data + at, n - at);
        for (size_t i = 0; i < piece; i++) data[at + i] = (uint8_t)tdm_rng_u32(rng);
        *bytes = n + piece;
        break;
    case 5: /* repeat a piece */
        if (piece > n - at) piece = n - at;
        if (n + piece > MAX_BYTES) break;
        memmove(data + at + piece, data + at, n - at);
        *bytes = n + piece;
        break;
    case 6: *bytes = at; break;
    default: /* the head of one file, the tail of another */
        if (!other->length) break;
        piece = (size_t)tdm_rng_below(rng, (int64_t)other->length);
        if (at + piece > MAX_BYTES) break;
        memcpy(data + at, other->data + other->length - piece, piece);
        *bytes = at + piece;
        break;
    }
}

static void mutate_and_run(const corpus *all, int64_t iterations)
{
    uint8_t *data = malloc(MAX_BYTES);
    for (int64_t i = 0; data && i < iterations; i++) {
        tdm_rng rng = tdm_rng_at(0, 0, (uint64_t)i, TDM_RNG_TEST);
        const tdm_text *from = &all->file[tdm_rng_below(&rng, all->count)];
        size_t bytes = from->length < MAX_BYTES ? from->length : MAX_BYTES;
        memcpy(data, from->data, bytes);
        for (int64_t edits = 1 + tdm_rng_below(&rng, MAX_EDITS); edits > 0; edits--)
            edit(data, &bytes, &all->file[tdm_rng_below(&rng, all->count)], &rng);
        run(data, bytes);
    }
    free(data);
}

int main(int argc, char **argv)
{
    static corpus all;
    if (argc < 3) {
        fprintf(stderr, "usage: %s ITERATIONS CORPUS…\n", argv[0]);
        return 2;
    }
    int failed = 0;
    for (int i = 2; i < argc; i++) failed |= add_path(&all, argv[i]);
    if (failed || all.count == 0) {
        fprintf(stderr, "fuzz: the corpus cannot be read or is empty\n");
        return 1;
    }
    for (int64_t i = 0; i < all.count; i++) run(all.file[i].data, all.file[i].length);
    mutate_and_run(&all, strtoll(argv[1], NULL, 10));
    printf("%lld files, %s mutations\n", (long long)all.count, argv[1]);
    for (int64_t i = 0; i < all.count; i++) tdm_text_free(&all.file[i]);
    return 0;
}
