/* Any tokenizer file, any text. The first byte of the input chooses: 'm': a merges file or tokenizer.json up
 * to a NUL, then text; 'v': a vocab.json up to a NUL, then a merges file; 'g': a merges file, plain or gzip;
 * 'l': text to learn merges from, which must then open and encode it; else text for a few fixed merges. */
#include "fuzz.h"
#include "tandem/tokenizer.h"

#include <string.h>
#include <unistd.h>

enum { CONTEXT = 64 };

static const char some_merges[] = "#version: 0.2\na b\nab ab\nt h\nth e</w>\n& l\n\xc3\x83 \xc2\xa9</w>\n";
static char learnt[64]; /* path */

static void remove_learnt(void)
{
    unlink(learnt);
}

static bool is_utf8(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        const unsigned char c = (unsigned char)text[i++];
        int more = c < 0x80                ? 0
                   : c >= 0xC2 && c < 0xE0 ? 1
                   : (c & 0xF0) == 0xE0    ? 2
                   : c >= 0xF0 && c < 0xF5 ? 3
                                           : -1;
        if (more < 0) return false;
        for (; more; more--) {
            if (i == bytes || ((unsigned char)text[i++] & 0xC0) != 0x80) return false;
        }
    }
    return true;
}

static void encode_and_decode(const tdm_tokenizer *t, const char *text)
{
    const size_t bytes = strlen(text);
    const int64_t room = (int64_t)bytes * 18 + 2; /* cleaning makes at most 18 bytes of one */
    int32_t cut[CONTEXT], *all = malloc((size_t)room * sizeof *all);
    if (!all) return;
    int64_t count = 0, cut_count = 0;
    bool truncated = true;
    FUZZ_REQUIRE(tdm_tokenizer_encode(t, text, room, all, &count, &truncated) == TDM_OK);
    FUZZ_REQUIRE(!truncated && count >= 2 && count <= room);
    FUZZ_REQUIRE(all[0] == tdm_tokenizer_start(t) && all[count - 1] == tdm_tokenizer_end(t));
    for (int64_t i = 0; i < count; i++) FUZZ_REQUIRE(all[i] >= 0 && all[i] < tdm_tokenizer_vocab_size(t));

    FUZZ_REQUIRE(tdm_tokenizer_encode(t, text, CONTEXT, cut, &cut_count, &truncated) == TDM_OK);
    FUZZ_REQUIRE(truncated == (count > CONTEXT) && cut_count == tdm_min_i64(count, CONTEXT));
    FUZZ_REQUIRE(!memcmp(cut, all, (size_t)(cut_count - 1) * sizeof *cut));
    FUZZ_REQUIRE(cut[cut_count - 1] == tdm_tokenizer_end(t));

    tdm_text back = {0};
    FUZZ_REQUIRE(tdm_tokenizer_decode(t, all, count, &back) == TDM_OK);
    FUZZ_REQUIRE(is_utf8(back.data, back.length));
    tdm_text_free(&back);
    free(all);
}

/* What a checkpoint stores opens again, and so do the files that an export writes. */
static void open_again(const tdm_tokenizer *t)
{
    size_t bytes;
    const void *file = tdm_tokenizer_file(t, &bytes);
    tdm_tokenizer *again = NULL;
    tdm_text vocab = {0}, merges = {0};
    FUZZ_REQUIRE(tdm_tokenizer_open_memory("again", file, bytes, &again) == TDM_OK);
    FUZZ_REQUIRE(!strcmp(tdm_tokenizer_digest(again), tdm_tokenizer_digest(t)));
    tdm_tokenizer_destroy(&again);
    FUZZ_REQUIRE(tdm_tokenizer_vocab_json(t, &vocab) == TDM_OK);
    FUZZ_REQUIRE(tdm_tokenizer_merges_txt(t, &merges) == TDM_OK);
    for (int32_t id = -1; id <= tdm_tokenizer_vocab_size(t); id++) (void)tdm_tokenizer_token(t, id);
    tdm_text_free(&vocab);
    tdm_text_free(&merges);
}

static void try_merges(const char *file, size_t bytes, const char *text)
{
    tdm_tokenizer *t = NULL;
    if (tdm_tokenizer_open_memory("fuzz", file, bytes, &t) != TDM_OK) {
        FUZZ_REQUIRE(t == NULL && strstr(tdm_error_last()->message, "fuzz: "));
        return;
    }
    encode_and_decode(t, text);
    open_again(t);
    tdm_tokenizer_destroy(&t);
}

/* As a checkpoint stores the two. */
static void try_pair(const char *vocab, const char *merges)
{
    tdm_text parts = {0};
    FUZZ_REQUIRE(tdm_text_printf(&parts, "#tandem tokenizer 1: vocab %zu merges %zu\n%s%s", strlen(vocab),
                                 strlen(merges), vocab, merges) == TDM_OK);
    try_merges(parts.data, parts.length, "the <|ab|> cats&amp;abab <|mask|>!<|endoftext|>");
    tdm_text_free(&parts);
}

static void learn(const char *text)
{
    if (!learnt[0]) {
        snprintf(learnt, sizeof learnt, "%s/tandem-fuzz-bpe-%ld",
                 tdm_path_is_dir("/dev/shm") ? "/dev/shm" : "/tmp", (long)getpid());
        atexit(remove_learnt);
        tdm_log_set_rank(1, 2); /* no warnings that the text yields less */
    }
    tdm_bpe_trainer *trainer = NULL;
    FUZZ_REQUIRE(tdm_bpe_trainer_create(&trainer) == TDM_OK);
    for (int i = 0; i < 2; i++) FUZZ_REQUIRE(tdm_bpe_trainer_add(trainer, text) == TDM_OK);
    FUZZ_REQUIRE(tdm_bpe_trainer_write(trainer, 1000, learnt) == TDM_OK);
    tdm_bpe_trainer_destroy(&trainer);
    tdm_tokenizer *t = NULL;
    FUZZ_REQUIRE(tdm_tokenizer_open(learnt, &t) == TDM_OK);
    encode_and_decode(t, text);
    tdm_tokenizer_destroy(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (!bytes) return 0;
    char *rest = malloc(bytes); /* data[1 …] and a NUL */
    if (!rest) return 0;
    memcpy(rest, data + 1, bytes - 1);
    rest[bytes - 1] = '\0';
    const size_t first = strlen(rest);
    if (data[0] == 'm')
        try_merges(rest, first, first + 1 < bytes ? rest + first + 1 : "");
    else if (data[0] == 'v')
        try_pair(rest, first + 1 < bytes ? rest + first + 1 : some_merges);
    else if (data[0] == 'g')
        try_merges(rest, bytes - 1, "the cats");
    else if (data[0] == 'l')
        learn(rest);
    else
        try_merges(some_merges, strlen(some_merges), rest);
    free(rest);
    return 0;
}
