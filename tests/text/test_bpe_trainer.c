/* The trainer against a slow independent statement of its rule (tests/golden/make_tokenizer_golden.py). */
#include "tokenizer_case.h"
#include "scratch.h"

#include <unistd.h>

static char dir[64], out_path[80];

static int make_path(void **state)
{
    (void)state;
    if (scratch_dir(dir, sizeof dir) != 0) return -1;
    snprintf(out_path, sizeof out_path, "%s/bpe.txt", dir);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    return tdm_remove_tree(dir) != TDM_OK;
}

/* Trains on `count` lines and returns the file. */
static tdm_text train(const char *const *line, size_t count, int64_t vocab_size)
{
    tdm_bpe_trainer *t = NULL;
    CHECK_OK(tdm_bpe_trainer_create(&t));
    for (size_t i = 0; i < count; i++) CHECK_OK(tdm_bpe_trainer_add(t, line[i]));
    CHECK_OK(tdm_bpe_trainer_write(t, vocab_size, out_path));
    tdm_bpe_trainer_destroy(&t);
    tdm_text file = {0};
    CHECK_OK(tdm_read_file(out_path, &file));
    return file;
}

static void assert_merges(const char *const *line, size_t count, int64_t vocab_size, const char *want)
{
    tdm_text file = train(line, count, vocab_size);
    CHECK_STR_EQ(file.data, want);
    tdm_text_free(&file);
}

/* The golden file, byte for byte, from the lines in order and backwards. */
static void test_golden(void **state)
{
    (void)state;
    enum { MOST = 1000 };
    const char *line[MOST], *backwards[MOST];
    size_t count = 0;
    tdm_text lines = read_source("tests/golden/tokenizer/lines.txt");
    tdm_text want = read_source("tests/golden/tokenizer/merges.bpe");
    char *at = lines.data;
    while (count < MOST && (line[count] = next_line(&at))) count++;
    for (size_t i = 0; i < count; i++) backwards[i] = line[count - 1 - i];
    CHECK_GT(count, 450);
    assert_merges(line, count, 1024, want.data);
    assert_merges(backwards, count, 1024, want.data);
    tdm_text_free(&lines);
    tdm_text_free(&want);
}

static void test_small(void **state)
{
    (void)state;
    tdm_log_set_quiet(true); /* warnings still show: that the text yields less */
    static const char *const line[] = {"ab ab AB", "cd cd", "cd <|startoftext|>"};
    /* "a b</w>" and "c d</w>" both occur three times: the smaller line first */
    assert_merges(line, 3, 516, "#version: 0.2\na b</w>\nc d</w>\n");
    assert_merges(line, 3, 515, "#version: 0.2\na b</w>\n");
    assert_merges(line, 3, 514, "#version: 0.2\n");
    assert_merges(line, 3, 1000, "#version: 0.2\na b</w>\nc d</w>\n");
    assert_merges(NULL, 0, 1000, "#version: 0.2\n");
    static const char *const run[] = {"aaaaa", "aaaaa"};
    assert_merges(run, 2, 1000, "#version: 0.2\na a\naa a</w>\naa aaa</w>\n");
}

static void test_written_file_opens(void **state)
{
    (void)state;
    static const char *const line[] = {"a photo of a cat", "a photo of a dog",
                                       "caf\xc3\xa9 caf\xc3\xa9 \xe4\xb8\xad\xe4\xb8\xad"};
    tdm_text file = train(line, 3, 600);
    tdm_tokenizer *t = NULL;
    CHECK_OK(tdm_tokenizer_open(out_path, &t));
    int32_t token[16];
    int64_t count = 0;
    CHECK_OK(tdm_tokenizer_encode(t, "PHOTO", 16, token, &count, NULL));
    CHECK_EQ(count, 3); /* one token for a word that occurs twice */
    tdm_tokenizer_destroy(&t);
    tdm_text_free(&file);
}

static void test_refusals(void **state)
{
    (void)state;
    tdm_bpe_trainer *t = NULL;
    CHECK_OK(tdm_bpe_trainer_create(&t));
    CHECK_OK(tdm_bpe_trainer_add(t, "a b"));
    CHECK_FAILS(tdm_bpe_trainer_write(t, 513, out_path), TDM_E_USAGE, "513");
    CHECK_FAILS(tdm_bpe_trainer_write(t, 514, "/nonexistent/m.bpe"), TDM_E_IO, "/nonexistent/m.bpe");
    /* a word beyond any word's length is left out, not learnt slowly */
    tdm_text text = {0};
    for (int i = 0; i < 100000; i++) CHECK_OK(tdm_text_append(&text, "ab", 2));
    CHECK_OK(tdm_bpe_trainer_add(t, text.data));
    CHECK_OK(tdm_bpe_trainer_write(t, 600, out_path));
    tdm_text file = {0};
    CHECK_OK(tdm_read_file(out_path, &file));
    CHECK_STR_EQ(file.data, "#version: 0.2\n");
    tdm_text_free(&file);
    tdm_text_free(&text);
    tdm_bpe_trainer_destroy(&t);
    tdm_bpe_trainer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_written_file_opens),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
