/* The encoder against an independent statement of CLIP's (tests/golden/make_tokenizer_golden.py), its files,
 * its limits. */
#include "tokenizer_case.h"

#include <pthread.h>
#include <zlib.h>

static const char header[] = "#version: 0.2\n";

static tdm_tokenizer *open_text(const char *text)
{
    tdm_tokenizer *t = NULL;
    CHECK_OK(tdm_tokenizer_open_memory("test", text, strlen(text), &t));
    return t;
}

static tdm_tokenizer *open_golden(void)
{
    char path[512];
    tdm_tokenizer *t = NULL;
    CHECK_OK(tdm_tokenizer_open(source_path("tests/golden/tokenizer/merges.bpe", path), &t));
    return t;
}

static void compare_with_golden(const tdm_tokenizer *t, const char *golden)
{
    tdm_text lines = read_source("tests/golden/tokenizer/lines.txt"), want = read_source(golden), got = {0};
    char *line_at = lines.data, *want_at = want.data, *line = NULL;
    int64_t number = 0, different = 0;
    while ((line = next_line(&line_at))) {
        const char *row = next_line(&want_at);
        CHECK_NOT_NULL(row);
        number++;
        ids_of(t, line, LONG_CONTEXT, &got);
        if (!strcmp(got.data, row)) continue;
        different++;
        print_error("line %lld: %s\n  want %s\n  got  %s\n", (long long)number, line, row, got.data);
    }
    print_message("%s: %lld lines, %lld different\n", golden, (long long)number, (long long)different);
    CHECK_GT(number, 450);
    CHECK_EQ(different, 0);
    tdm_text_free(&lines);
    tdm_text_free(&want);
    tdm_text_free(&got);
}

static void test_golden(void **state)
{
    (void)state;
    tdm_tokenizer *t = open_golden();
    CHECK_EQ(tdm_tokenizer_vocab_size(t), 1024);
    CHECK_EQ(tdm_tokenizer_start(t), 1022);
    CHECK_EQ(tdm_tokenizer_end(t), 1023);
    compare_with_golden(t, "tests/golden/tokenizer/merges.ids");
    tdm_tokenizer_destroy(&t);
}

static void test_golden_clip(void **state)
{
    (void)state;
    char path[512];
    source_path("../shared/data/bpe_simple_vocab_16e6.txt.gz", path);
    if (!tdm_path_exists(path)) SKIP("CLIP's merges file is not at ../shared/data");
    tdm_tokenizer *t = NULL;
    CHECK_OK(tdm_tokenizer_open(path, &t));
    CHECK_EQ(tdm_tokenizer_vocab_size(t), 49408);
    assert_ids(t, "a photo of a cat", 77, "49406 320 1125 539 320 2368 49407");
    compare_with_golden(t, "tests/golden/tokenizer/clip.ids");
    tdm_tokenizer_destroy(&t);
}

/* Without merges every byte is a symbol, in CLIP's order: '!' is 0, 'a' 64, a last byte 256 more. */
static void test_bytes_and_limits(void **state)
{
    (void)state;
    tdm_tokenizer *t = open_text(header);
    CHECK_EQ(tdm_tokenizer_vocab_size(t), 514);
    assert_ids(t, "", 2, "512 513");
    assert_ids(t, "a!", 8, "512 320 256 513");
    assert_ids(t, "ab", 8, "512 64 321 513");
    assert_ids(t, "\xc3\xa9", 8, "512 127 358 513");
    /* broken UTF-8 is U+FFFD: EF BF BD */
    assert_ids(t, "\xff", 8, "512 171 123 377 513");
    assert_ids(t, "\xe2\x82", 8, "512 171 123 377 513");
    assert_ids(t, "<|endoftext|>", 8, "512 513 513");

    int32_t token[4] = {-7, -7, -7, -7};
    int64_t count = 0;
    bool cut = true;
    CHECK_OK(tdm_tokenizer_encode(t, "a b", 4, token, &count, &cut));
    CHECK_EQ(count, 4);
    CHECK_FALSE(cut);
    CHECK_OK(tdm_tokenizer_encode(t, "a b", 3, token, &count, &cut));
    CHECK_EQ(count, 3);
    CHECK_EQ(token[1], 320);
    CHECK_EQ(token[2], 513);
    CHECK_TRUE(cut);
    CHECK_OK(tdm_tokenizer_encode(t, "a b", 2, token, &count, &cut));
    CHECK_EQ(count, 2);
    CHECK_EQ(token[0], 512);
    CHECK_EQ(token[1], 513);
    CHECK_TRUE(cut);
    CHECK_FAILS(tdm_tokenizer_encode(t, "a", 1, token, &count, NULL), TDM_E_SHAPE, "at least 2");
    tdm_tokenizer_destroy(&t);
    tdm_tokenizer_destroy(&t);
}

/* What cleaning must do to a text, as pairs that come out alike. */
static void test_cleaning(void **state)
{
    (void)state;
    static const char *const alike[][2] = {
        {"A  B\t\nC\xc2\xa0 D", "a b c d"},
        {"\xe3\x80\x80x ", "x"},
        {"\xce\x9f\xce\x94\xce\x9f\xce\xa3 \xce\xa3",
         "\xce\xbf\xce\xb4\xce\xbf\xcf\x82 \xcf\x83"}, /* final sigma */
        {"\xc4\xb0", "i\xcc\x87"},
        {"e\xcc\x81", "\xc3\xa9"},
        {"\xef\xbc\xa1", "a"},         /* full width */
        {"\xef\xac\x81", "fi"},        /* ligature */
        {"don\xe2\x80\x99t", "don't"}, /* curly quote */
        {"&amp;lt;&eacute;&#233;&#xe9", "<\xc3\xa9\xc3\xa9\xc3\xa9"},
        {"AT&ampT &notit; &unknown;", "at&t \xc2\xacit; &unknown;"},
        {"&#0;&#xD800;&#x110000;", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"x&#1;y\x07z\x1b[31m", "xyz"},
        {"\xc2\x93q\xc2\x94", "\"q\""}, /* C1 controls are Windows-1252 */
    };
    tdm_tokenizer *t = open_golden();
    tdm_text want = {0};
    for (size_t i = 0; i < sizeof alike / sizeof alike[0]; i++) {
        ids_of(t, alike[i][1], LONG_CONTEXT, &want);
        assert_ids(t, alike[i][0], LONG_CONTEXT, want.data);
    }
    tdm_text_free(&want);
    tdm_tokenizer_destroy(&t);
}

/* Ids of neighbouring words must differ from those of one word, so that the pattern's borders are seen. */
static void test_words(void **state)
{
    (void)state;
    static const char *const alike[][2] = {
        {"don't", "don 't"},
        {"we'll've", "we 'll 've"},
        {"abc123", "abc 1 2 3"},
        {"a!!b", "a !! b"},
        {"!'s", "!' s"},
        {"'sx", "'s x"},
        {"\xc2\xb2x", "\xc2\xb2 x"},
        {"\xe4\xb8\xad\xe6\x96\x87!", "\xe4\xb8\xad\xe6\x96\x87 !"},
        {"\xf0\x9f\x98\x80ok", "\xf0\x9f\x98\x80 ok"},
    };
    tdm_tokenizer *t = open_golden();
    tdm_text want = {0};
    for (size_t i = 0; i < sizeof alike / sizeof alike[0]; i++) {
        ids_of(t, alike[i][1], LONG_CONTEXT, &want);
        assert_ids(t, alike[i][0], LONG_CONTEXT, want.data);
    }
    tdm_text_free(&want);
    tdm_tokenizer_destroy(&t);
}

/* The lowest rank first, left to right, and symbols that two merges spell alike are one symbol. */
static void test_merge_order(void **state)
{
    (void)state;
    tdm_tokenizer *t = open_text("#version: 0.2\nb c\na b\na a\n");
    CHECK_EQ(tdm_tokenizer_vocab_size(t), 517);
    assert_ids(t, "abcx", 9, "515 64 512 343 516");
    assert_ids(t, "abx", 9, "515 513 343 516");
    assert_ids(t, "aaaaax", 9, "515 514 514 64 343 516");
    tdm_tokenizer_destroy(&t);

    /* "abc" is spelled by lines 3 and 5; its id is the later one */
    t = open_text("#version: 0.2\na b\nab c\nb c\na bc\nabc d\n");
    assert_ids(t, "abcx", 9, "517 515 343 518");
    assert_ids(t, "abcdx", 9, "517 516 343 518");
    tdm_tokenizer_destroy(&t);
}

static void test_decode(void **state)
{
    (void)state;
    static const char *const text[] = {"a photo of a cat", "\xc3\xa9t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87",
                                       "\xf0\x9f\x98\x80 smile", "x", ""};
    tdm_tokenizer *t = open_golden();
    int32_t token[64];
    int64_t count = 0;
    tdm_text back = {0};
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        CHECK_OK(tdm_tokenizer_encode(t, text[i], 64, token, &count, NULL));
        back.length = 0;
        CHECK_OK(tdm_tokenizer_decode(t, token, count, &back));
        CHECK_STR_EQ(back.data, text[i]);
    }
    /* half a character */
    CHECK_OK(tdm_tokenizer_encode(t, "\xc7\xbf", 64, token, &count, NULL));
    const int32_t lead = 127;
    back.length = 0;
    CHECK_OK(tdm_tokenizer_decode(t, &lead, 1, &back));
    CHECK_STR_EQ(back.data, "\xef\xbf\xbd");
    const int32_t outside[] = {1024, -1};
    CHECK_FAILS(tdm_tokenizer_decode(t, &outside[0], 1, &back), TDM_E_DATA, "1024");
    CHECK_FAILS(tdm_tokenizer_decode(t, &outside[1], 1, &back), TDM_E_DATA, "-1");
    tdm_text_free(&back);
    tdm_tokenizer_destroy(&t);
}

/* One gzip member. */
static void gzip_append(const char *data, size_t bytes, tdm_text *out)
{
    unsigned char block[65536];
    z_stream s = {.next_in = (unsigned char *)(uintptr_t)data,
                  .avail_in = (unsigned)bytes,
                  .next_out = block,
                  .avail_out = sizeof block};
    CHECK_EQ(deflateInit2(&s, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    CHECK_EQ(deflate(&s, Z_FINISH), Z_STREAM_END);
    CHECK_OK(tdm_text_append(out, block, sizeof block - s.avail_out));
    deflateEnd(&s);
}

static void test_gzip(void **state)
{
    (void)state;
    tdm_text plain = read_source("tests/golden/tokenizer/merges.bpe"), packed = {0};
    gzip_append(plain.data, 1000, &packed);
    gzip_append(plain.data + 1000, plain.length - 1000, &packed);
    tdm_tokenizer *a = NULL, *b = NULL;
    CHECK_OK(tdm_tokenizer_open_memory("plain", plain.data, plain.length, &a));
    CHECK_OK(tdm_tokenizer_open_memory("packed", packed.data, packed.length, &b));
    CHECK_STR_EQ(tdm_tokenizer_digest(a), tdm_tokenizer_digest(b));
    size_t bytes = 0;
    CHECK_MEM_EQ(tdm_tokenizer_file(b, &bytes), plain.data, plain.length);
    CHECK_EQ(bytes, plain.length);
    tdm_tokenizer_destroy(&b);

    CHECK_FAILS(tdm_tokenizer_open_memory("cut.gz", packed.data, packed.length - 9, &b), TDM_E_FORMAT,
                "cut.gz: the gzip data end too early");
    CHECK_NULL(b);
    packed.data[packed.length / 2] ^= 0x55;
    CHECK_FAILS(tdm_tokenizer_open_memory("bad.gz", packed.data, packed.length, &b), TDM_E_FORMAT,
                "bad.gz: the gzip data");
    tdm_tokenizer_destroy(&a);
    tdm_text_free(&plain);
    tdm_text_free(&packed);
}

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "m: not a merges file"},
        {"{\"a\": 1}\n", "m: has no \"model\""},
        {"#version: 0.2\nab\n", "m: line 2: a merge is two symbols"},
        {"#version: 0.2\na b\na b c\n", "m: line 3: a merge is two symbols"},
        {"#version: 0.2\n a\n", "m: line 2: a merge is two symbols"},
        {"#version: 0.2\na \n", "m: line 2: a merge is two symbols"},
        {"#version: 0.2\na bc\n", "m: line 2: \"bc\" is neither"},
        {"#version: 0.2\nxy b\n", "m: line 2: \"xy\" is neither"},
        {"#version: 0.2\na b\n\na c\n", "m: line 3: empty"},
        {"#version: 0.2\na b\na c\na b\n", "m: line 4: the same merge as line 2"},
        {"#version: 0.2\n\xff\xfe b\n", "m: line 2: "},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tdm_tokenizer *t = NULL;
        CHECK_FAILS(tdm_tokenizer_open_memory("m", bad[i].text, strlen(bad[i].text), &t), TDM_E_FORMAT,
                    bad[i].message);
        CHECK_NULL(t);
    }
    tdm_tokenizer *t = NULL;
    CHECK_FAILS(tdm_tokenizer_open_memory("m", "#version: 0.2\na\0 b\n", 19, &t), TDM_E_FORMAT, "line 2");
    CHECK_FAILS(tdm_tokenizer_open("/nonexistent/m", &t), TDM_E_IO, "/nonexistent/m");
    /* other systems' line ends */
    t = open_text("#version: 0.2\r\na b\r\nab c\r\n");
    CHECK_EQ(tdm_tokenizer_vocab_size(t), 516);
    tdm_tokenizer_destroy(&t);
}

/* CLIP's own header: 48,894 merges count, whatever follows. */
static void test_clip_header_cuts(void **state)
{
    (void)state;
    tdm_text file = {0};
    CHECK_OK(tdm_text_printf(&file, "\"bpe_simple_vocab_16e6.txt#version: 0.2\n"));
    int32_t lines = 0;
    for (int a = '!'; a <= '~'; a++) {
        for (int b = '!'; b <= '~'; b++, lines++) CHECK_OK(tdm_text_printf(&file, "%c %c\n", a, b));
    }
    for (int a = '!'; a <= '~' && lines < 50000; a++) {
        for (int b = '!'; b <= '~'; b++) {
            for (int c = 'a'; c <= 'e'; c++, lines++) CHECK_OK(tdm_text_printf(&file, "%c%c %c\n", a, b, c));
        }
    }
    CHECK_GT(lines, 49000);
    tdm_tokenizer *t = open_text(file.data);
    CHECK_EQ(tdm_tokenizer_vocab_size(t), 49408);
    tdm_tokenizer_destroy(&t);
    tdm_text_free(&file);
}

/* Texts on which a quadratic step would take hours: the test's time limit is the check. */
static void test_hostile_lengths(void **state)
{
    (void)state;
    enum { REPEATS = 250000, CONTEXT = 4 * REPEATS + 2 };
    static const char *const part[] = {
        "abcd", "aaaa", "!!!!", "&amp;",   "\xcc\x82\xcc\xa3", "\xce\xa3\xcc\x81",
        "<|st", "1 2 ", "amp;", "\xff\xfe"};
    tdm_tokenizer *t = open_golden();
    int32_t *token = NULL;
    CHECK_OK(TDM_ALLOC(CONTEXT, &token));
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        tdm_text text = {0};
        CHECK_OK(tdm_text_append(&text, "&", i == 8)); /* &amp;amp;amp; … */
        for (int r = 0; r < REPEATS; r++) CHECK_OK(tdm_text_append(&text, part[i], strlen(part[i])));
        int64_t count = 0;
        CHECK_OK(tdm_tokenizer_encode(t, text.data, CONTEXT, token, &count, NULL));
        CHECK_GT(count, 2);
        CHECK_LE(count, CONTEXT);
        CHECK_EQ(token[count - 1], tdm_tokenizer_end(t));
        tdm_text_free(&text);
    }
    tdm_text huge = {0};
    for (int r = 0; r < 17 * 16; r++) {
        static char block[65536];
        memset(block, 'a', sizeof block);
        CHECK_OK(tdm_text_append(&huge, block, sizeof block));
    }
    int64_t count = 0;
    CHECK_FAILS(tdm_tokenizer_encode(t, huge.data, 77, token, &count, NULL), TDM_E_DATA, "longer than");
    tdm_text_free(&huge);
    tdm_free(token);
    tdm_tokenizer_destroy(&t);
}

static void *encode_many(void *argument)
{
    const tdm_tokenizer *t = argument;
    int32_t token[77];
    int64_t sum = 0;
    for (int i = 0; i < 2000; i++) {
        int64_t count = 0;
        if (tdm_tokenizer_encode(t, "A photo of the caf\xc3\xa9's 12 cats!", 77, token, &count, NULL))
            return NULL;
        for (int64_t k = 0; k < count; k++) sum = sum * 31 % 1000003 + token[k];
    }
    return (void *)(intptr_t)(sum + 1);
}

static void test_threads(void **state)
{
    (void)state;
    tdm_tokenizer *t = open_golden();
    pthread_t thread[4];
    void *result[4];
    for (int i = 0; i < 4; i++) CHECK_EQ(pthread_create(&thread[i], NULL, encode_many, t), 0);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], &result[i]);
    for (int i = 0; i < 4; i++) CHECK_TRUE(result[i] == encode_many(t));
    CHECK_NOT_NULL(result[0]);
    tdm_tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_golden_clip),
        cmocka_unit_test(test_bytes_and_limits),
        cmocka_unit_test(test_cleaning),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_merge_order),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_clip_header_cuts),
        cmocka_unit_test(test_hostile_lengths),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
