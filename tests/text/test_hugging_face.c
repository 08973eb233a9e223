/* Hugging Face's files against golden ids (tests/golden/make_hf_tokenizer_golden.py), what they may not say,
 * and the variant with a mask. */
#include "tokenizer_case.h"
#include "scratch.h"

#include <unistd.h>

enum { GOLDEN_STEP = 3 };

#define GOLDEN "tests/golden/tokenizer/"

/* A folder of its own, removed by the group's teardown. */
static char folder[64];

static const char *in_folder(const char *name, char path[512])
{
    snprintf(path, 512, "%s/%s", folder, name);
    return path;
}

static void write_text(const char *name, const char *data, size_t bytes)
{
    char path[512];
    CHECK_OK(tdm_write_file_atomic(in_folder(name, path), data, bytes));
}

/* GOLDEN/from as `name` in the folder. */
static void copy_golden(const char *from, const char *name)
{
    char relative[128];
    snprintf(relative, sizeof relative, GOLDEN "%s", from);
    tdm_text text = read_source(relative);
    write_text(name, text.data, text.length);
    tdm_text_free(&text);
}

static void remove_from_folder(const char *name)
{
    char path[512];
    CHECK_EQ(unlink(in_folder(name, path)), 0);
}

static int make_folder(void **state)
{
    (void)state;
    return scratch_dir(folder, sizeof folder);
}

static int remove_folder(void **state)
{
    (void)state;
    return tdm_remove_tree(folder) == TDM_OK ? 0 : -1;
}

/* Every third line of lines.txt has the ids of `golden`. */
static void assert_golden(const tdm_tokenizer *t, const char *golden)
{
    tdm_text lines = read_source(GOLDEN "lines.txt"), want = read_source(golden);
    char *line_at = lines.data, *want_at = want.data, *line = NULL;
    int64_t number = 0, compared = 0;
    for (; (line = next_line(&line_at)); number++) {
        if (number % GOLDEN_STEP) continue;
        const char *row = next_line(&want_at);
        CHECK_NOT_NULL(row);
        assert_ids(t, line, LONG_CONTEXT, row);
        compared++;
    }
    CHECK_GT(compared, 150);
    tdm_text_free(&lines);
    tdm_text_free(&want);
}

/* A checkpoint's bytes make the same tokenizer. */
static void assert_survives_storage(const tdm_tokenizer *t, const char *golden)
{
    size_t bytes;
    const void *file = tdm_tokenizer_file(t, &bytes);
    tdm_tokenizer *again = NULL;
    CHECK_OK(tdm_tokenizer_open_memory("checkpoint", file, bytes, &again));
    CHECK_STR_EQ(tdm_tokenizer_digest(again), tdm_tokenizer_digest(t));
    CHECK_EQ(tdm_tokenizer_vocab_size(again), tdm_tokenizer_vocab_size(t));
    CHECK_EQ(tdm_tokenizer_mask(again), tdm_tokenizer_mask(t));
    assert_golden(again, golden);
    tdm_tokenizer_destroy(&again);
}

static void test_pair(void **state)
{
    (void)state;
    char path[512];
    tdm_tokenizer *t = NULL, *other = NULL;
    copy_golden("vocab.json", "vocab.json");
    CHECK_FAILS(tdm_tokenizer_open(in_folder("vocab.json", path), &t), TDM_E_IO, "no merges.txt beside it");
    CHECK_FAILS(tdm_tokenizer_open(folder, &t), TDM_E_IO, "neither tokenizer.json nor vocab.json and merges");
    copy_golden("merges.bpe", "merges.txt");
    CHECK_OK(tdm_tokenizer_open(folder, &t));
    CHECK_EQ(tdm_tokenizer_vocab_size(t), 1025);
    assert_golden(t, GOLDEN "pair.ids");
    assert_survives_storage(t, GOLDEN "pair.ids");
    static const char *const names[] = {"vocab.json", "merges.txt"};
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(tdm_tokenizer_open(in_folder(names[i], path), &other));
        CHECK_STR_EQ(tdm_tokenizer_digest(other), tdm_tokenizer_digest(t));
        tdm_tokenizer_destroy(&other);
    }
    /* its vocabulary has a mask */
    CHECK_OK(tdm_tokenizer_open_variant(folder, true, &other));
    CHECK_STR_EQ(tdm_tokenizer_token(other, tdm_tokenizer_mask(other)), "<|mask|>");
    tdm_tokenizer_destroy(&other);
    tdm_tokenizer_destroy(&t);

    /* tokenizer.json comes first */
    copy_golden("tokenizer.json", "tokenizer.json");
    CHECK_OK(tdm_tokenizer_open(folder, &t));
    assert_golden(t, GOLDEN "json.ids");
    assert_survives_storage(t, GOLDEN "json.ids");
    tdm_tokenizer_destroy(&t);
    remove_from_folder("tokenizer.json");
    remove_from_folder("vocab.json");
    /* alone it is a merges file like any other */
    CHECK_OK(tdm_tokenizer_open(in_folder("merges.txt", path), &t));
    CHECK_EQ(tdm_tokenizer_vocab_size(t), 1024);
    tdm_tokenizer_destroy(&t);
    remove_from_folder("merges.txt");
}

/* How the two ways of cleaning differ. */
static void test_cleaning(void **state)
{
    (void)state;
    copy_golden("vocab.json", "vocab.json");
    copy_golden("merges.bpe", "merges.txt");
    tdm_tokenizer *t = NULL;
    tdm_text ids = {0};
    CHECK_OK(tdm_tokenizer_open(folder, &t));
    static const char *const alike[][2] = {
        {"A  B\t\nC\xc2\xa0 D ", "a b c d"},
        {"e\xcc\x81", "\xc3\xa9"},                                /* NFC */
        {"\xce\xa3\xce\x91\xce\xa3", "\xcf\x83\xce\xb1\xcf\x83"}, /* no final sigma */
        {"&amp;", "& amp ;"},
        {"<|ENDOFTEXT|>!", "<| endoftext |> !"},
        {"'\xc5\xbf", "' \xc5\xbf"}, /* the long s is no s here */
    };
    for (size_t i = 0; i < sizeof alike / sizeof alike[0]; i++) {
        ids_of(t, alike[i][1], LONG_CONTEXT, &ids);
        assert_ids(t, alike[i][0], LONG_CONTEXT, ids.data);
    }
    /* a mark is one id, wherever it stands; a cut text keeps its end */
    int32_t token[5];
    int64_t count;
    bool cut;
    CHECK_OK(tdm_tokenizer_encode(t, "a<|endoftext|>b c d", 5, token, &count, &cut));
    CHECK_TRUE(cut);
    CHECK_EQ(count, 5);
    CHECK_EQ(token[2], tdm_tokenizer_end(t));
    CHECK_EQ(token[4], tdm_tokenizer_end(t));
    tdm_text_free(&ids);
    tdm_tokenizer_destroy(&t);
    remove_from_folder("vocab.json");
    remove_from_folder("merges.txt");
}

/* Written out as Hugging Face's files and read again: the same ids. */
static void test_export(void **state)
{
    (void)state;
    for (int mask = 0; mask < 2; mask++) {
        char path[512];
        tdm_tokenizer *t = NULL, *again = NULL;
        tdm_text vocab = {0}, merges = {0}, ids = {0};
        CHECK_OK(tdm_tokenizer_open_variant(source_path(GOLDEN "merges.bpe", path), mask, &t));
        CHECK_OK(tdm_tokenizer_vocab_json(t, &vocab));
        CHECK_OK(tdm_tokenizer_merges_txt(t, &merges));
        write_text("vocab.json", vocab.data, vocab.length);
        write_text("merges.txt", merges.data, merges.length);
        CHECK_OK(tdm_tokenizer_open(folder, &again));
        CHECK_EQ(tdm_tokenizer_vocab_size(again), 1024);
        CHECK_EQ(tdm_tokenizer_start(again), 1022);
        CHECK_EQ(tdm_tokenizer_mask(again), mask ? 1021 : -1);
        for (int32_t id = 0; id < 1024; id++) {
            const char *token = tdm_tokenizer_token(t, id), *other = tdm_tokenizer_token(again, id);
            CHECK_EQ(token == NULL, other == NULL);
            if (token) CHECK_STR_EQ(token, other);
        }
        static const char *const texts[] = {"a photo of a cat", "d\xc3\xa9j\xc3\xa0 vu, 2 <|mask|> of 3!"};
        for (size_t i = 0; i < 2; i++) {
            ids_of(t, texts[i], LONG_CONTEXT, &ids);
            if (mask || !strstr(texts[i], "mask")) assert_ids(again, texts[i], LONG_CONTEXT, ids.data);
        }
        tdm_text_free(&vocab);
        tdm_text_free(&merges);
        tdm_text_free(&ids);
        tdm_tokenizer_destroy(&t);
        tdm_tokenizer_destroy(&again);
    }
    remove_from_folder("vocab.json");
    remove_from_folder("merges.txt");
}

/* The last merge makes room for <|mask|>, and the size stays. */
static void test_mask(void **state)
{
    (void)state;
    static const char merges[] = "#version: 0.2\na b\nab c</w>\nx y</w>\n";
    char path[512];
    tdm_tokenizer *plain = NULL, *t = NULL, *again = NULL;
    write_text("small.bpe", merges, sizeof merges - 1);
    CHECK_OK(tdm_tokenizer_open(in_folder("small.bpe", path), &plain));
    CHECK_OK(tdm_tokenizer_open_variant(path, true, &t));
    CHECK_EQ(tdm_tokenizer_vocab_size(t), tdm_tokenizer_vocab_size(plain));
    CHECK_EQ(tdm_tokenizer_mask(plain), -1);
    CHECK_EQ(tdm_tokenizer_mask(t), 514);
    CHECK_EQ(tdm_tokenizer_start(t), 515);
    CHECK_EQ(tdm_tokenizer_end(t), 516);
    assert_ids(plain, "xy <|mask|>", 16, "515 514 27 347 76 64 82 330 91 285 516");
    assert_ids(t, "xy <|MASK|>abc", 16, "515 87 344 514 513 516");
    CHECK_STR_NE(tdm_tokenizer_digest(t), tdm_tokenizer_digest(plain));
    size_t bytes;
    const void *file = tdm_tokenizer_file(t, &bytes);
    CHECK_OK(tdm_tokenizer_open_memory("checkpoint", file, bytes, &again));
    CHECK_STR_EQ(tdm_tokenizer_digest(again), tdm_tokenizer_digest(t));
    assert_ids(again, "xy <|mask|>abc", 16, "515 87 344 514 513 516");
    tdm_tokenizer_destroy(&again);
    tdm_tokenizer_destroy(&plain);
    tdm_tokenizer_destroy(&t);
    write_text("small.bpe", "#version: 0.2\n", 14);
    CHECK_FAILS(tdm_tokenizer_open_variant(path, true, &t), TDM_E_FORMAT, "no merge that could make room");
    remove_from_folder("small.bpe");
}

/* `from` once in the golden tokenizer.json replaced by `to`: the message must name the field. */
static void assert_refused(const char *from, const char *to, const char *message)
{
    tdm_text golden = read_source(GOLDEN "tokenizer.json"), changed = {0};
    const char *at = strstr(golden.data, from);
    if (!at) fail_msg("tokenizer.json has no %s", from);
    CHECK_OK(tdm_text_append(&changed, golden.data, (size_t)(at - golden.data)));
    CHECK_OK(tdm_text_printf(&changed, "%s%s", to, at + strlen(from)));
    tdm_tokenizer *t = NULL;
    CHECK_FAILS(tdm_tokenizer_open_memory("t.json", changed.data, changed.length, &t), TDM_E_FORMAT, message);
    CHECK_NULL(t);
    tdm_text_free(&golden);
    tdm_text_free(&changed);
}

static void test_other_kinds_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *message;
    } bad[] = {
        {"\"type\":\"BPE\"", "\"type\":\"WordPiece\"", "t.json: model.type is \"WordPiece\", not one of"},
        {"\"end_of_word_suffix\":\"</w>\"", "\"end_of_word_suffix\":\"\"",
         "t.json: model.end_of_word_suffix"},
        {"\"dropout\":null", "\"dropout\":0.1", "t.json: model.dropout is 0.1"},
        {"\"type\":\"NFC\"", "\"type\":\"NFKC\"", "t.json: normalizer.normalizers[0].type is \"NFKC\""},
        {",{\"type\":\"Lowercase\"}", "", "t.json: normalizer.normalizers has 2 steps, not 3"},
        {"\"normalizer\":", "\"other\":", "t.json: normalizer is missing or not an object"},
        {"\"invert\":true", "\"invert\":false", "t.json: pre_tokenizer.pretokenizers[0].invert is false"},
        {"\"Regex\":\"'s|", "\"Regex\":\"'S|", "t.json: pre_tokenizer.pretokenizers[0].pattern.Regex is"},
        {"\"add_prefix_space\":false", "\"add_prefix_space\":true",
         "t.json: pre_tokenizer.pretokenizers[1].add_prefix_space is true"},
        {"\"type\":\"RobertaProcessing\"", "\"type\":\"BertProcessing\"", "t.json: post_processor.type"},
        {"\"single_word\":false", "\"single_word\":true", "t.json: added_tokens[0].single_word is true"},
        {"\"id\":1025", "\"id\":99999999", "t.json: added_tokens[2].id is not a number from 0 to"},
        {"\"id\":1025", "\"id\":3", "have the same id 3"},
        {"\"merges\":[", "\"merges\":[\"zz q\",",
         "t.json: model.merges[0]: \"zz\" is neither a byte nor made"},
        {"\"merges\":[", "\"merges\":[\"q\",", "t.json: model.merges[0]: a merge is two symbols"},
        {"\"merges\":[", "\"merges\":[[\"q\"],", "t.json: model.merges[0]: a merge is two symbols"},
        {"\"merges\":[", "\"merges\":[\"# @\",", "t.json: model.vocab: has no \"#@\", which merge 1 of"},
        {"\"model\":", "\"modell\":", "t.json: has no \"model\""},
        {"}", "", "t.json: line 1, column "},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(bad[i].from, bad[i].to, bad[i].message);
}

static void test_bad_parts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"#tandem tokenizer 1: vocab 2 merges", "m: the first line is damaged"},
        {"#tandem tokenizer 1: vocab 2 merges x\n", "m: the first line is damaged"},
        {"#tandem tokenizer 1: vocab 2 merges 3 4\n{}abc", "m: the first line is damaged"},
        {"#tandem tokenizer 1: vocab 2 merges 15\n{}#version: 0.2\n",
         "m: 16 bytes follow the first line, not 17"},
        {"#tandem tokenizer 1: vocab 2 merges 13\n{}#version: 0.2",
         "m: has no \"!\": not a vocabulary over bytes"},
        {"#tandem tokenizer 1: vocab 2 merges 13\n[]#version: 0.2", "m: is not an object"},
        {"#tandem tokenizer 1: vocab 8 merges 13\n{\"!\": -1#version: 0.2", "m: line 1, column"},
        {"#tandem tokenizer 1: vocab 9 merges 13\n{\"!\": -1}#version: 0.2",
         "m: \"!\": the id is not a number"},
        {"#tandem tokenizer 1: vocab 14 merges 13\n{\"a\":1,\"b\":1} #version: 0.2",
         "m: \"a\" and \"b\" have the same id 1"},
        {"#tandem tokenizer 1: vocab 14 merges 13\n{\"a\":1,\"a\":2} #version: 0.2", "m: line 1, column"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tdm_tokenizer *t = NULL;
        CHECK_FAILS(tdm_tokenizer_open_memory("m", bad[i].text, strlen(bad[i].text), &t), TDM_E_FORMAT,
                    bad[i].message);
        CHECK_NULL(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_cleaning),
        cmocka_unit_test(test_export),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_other_kinds_are_refused),
        cmocka_unit_test(test_bad_parts),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
