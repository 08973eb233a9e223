/* Synonyms against NLTK's (tests/golden/augment/wordnet.py), from a part of WordNet's files. `test_wordnet DIRECTORY
 * FILE` compares a longer list with all of WordNet. */
#include "../../src/text/wordnet.h"
#include "scratch.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[TDM_PATH_BYTES], list[TDM_PATH_BYTES + 8];

static int count_differences(const wordnet *english, char *lines, int *words)
{
    int different = 0;
    text_list found = {0};
    for (char *line; (line = strsep(&lines, "\n")) != NULL && *line; (*words)++) {
        tdm_text got = {0};
        const char *word = strsep(&line, "\t");
        CHECK_OK(wordnet_synonyms(english, word, strlen(word), &found));
        if (found.count == 0) CHECK_OK(tdm_text_append(&got, "-", 1));
        for (int64_t i = 0; i < found.count; i++)
            CHECK_OK(tdm_text_printf(&got, "%s%.*s", i ? "|" : "", (int)found.item[i].bytes,
                                     text_list_at(&found, i)));
        if (strcmp(got.data, line) != 0 && different++ < 10)
            print_error("%s: \"%s\", not \"%s\"\n", word, got.data, line);
        tdm_text_free(&got);
    }
    text_list_free(&found);
    return different;
}

static void synonyms_are_nltks(void **state)
{
    (void)state;
    wordnet *english;
    tdm_text file = {0};
    int words = 0;
    CHECK_OK(wordnet_open("test", directory, &english));
    CHECK_OK(tdm_read_file(list, &file));
    CHECK_EQ(count_differences(english, file.data, &words), 0);
    CHECK_GE(words, 50);
    print_message("%d words\n", words);
    tdm_text_free(&file);
    wordnet_close(&english);
}

static void what_is_no_word_has_no_synonyms(void **state)
{
    (void)state;
    static const char longest[200] = {0};
    static const struct {
        const char *word;
        size_t bytes;
    } none[] = {{"", 0}, {" ", 1}, {"1", 1}, {"s", 1}, {"man n 1", 7}, {"\xff\xfe", 2}, {longest, 200}};
    wordnet *english;
    text_list found = {0};
    CHECK_OK(wordnet_open("test", directory, &english));
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        CHECK_OK(wordnet_synonyms(english, none[i].word, none[i].bytes, &found));
        if (directory[0] && strstr(directory, "golden")) CHECK_EQ(found.count, 0);
    }
    text_list_free(&found);
    wordnet_close(&english);
}

static void write_files(const char *dir, const char *index, const char *data)
{
    static const char *const part[] = {"noun", "verb", "adj", "adv"};
    char path[512];
    for (int p = 0; p < 4; p++) {
        snprintf(path, sizeof path, "%s/index.%s", dir, part[p]);
        CHECK_OK(tdm_write_file_atomic(path, index, strlen(index)));
        snprintf(path, sizeof path, "%s/data.%s", dir, part[p]);
        CHECK_OK(tdm_write_file_atomic(path, data, strlen(data)));
        snprintf(path, sizeof path, "%s/%s.exc", dir, part[p]);
        CHECK_OK(tdm_write_file_atomic(path, "geese goose", 11));
    }
}

/* A message for files that are not WordNet's, and never a byte beyond them. */
static void damaged_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *index, *data;
    } bad[] = {
        {"cat n 1 0 1 0 00000005", "00000000 00 n 01 cat 0 000 |"},        /* between lines */
        {"cat n 1 0 1 0 99999999", "00000000 00 n 01 cat 0 000 |"},        /* beyond the file */
        {"cat n 3 0 3 0 00000000", "00000000 00 n 01 cat 0 000 |"},        /* too few */
        {"cat n 1 99999999 1 0 00000000", "00000000 00 n 01 cat 0 000 |"}, /* too many pointers */
        {"cat n 1 0 1 0 00000000", "00000000 00 n xx cat 0 000 |"},        /* no number */
        {"cat n 1 0 1 0 00000000", "0000"},
        {"cat n 1 0 1 0 x", "00000000 00 n 01 cat 0 000 |"},
    };
    char dir[64];
    wordnet *english;
    text_list found = {0};
    CHECK_EQ(scratch_dir(dir, sizeof dir), 0);
    CHECK_FAILS(wordnet_open("views.aug_1.augment: eda", dir, &english), TDM_E_IO,
                "views.aug_1.augment: eda needs WordNet");
    CHECK_MESSAGE("index.noun");
    CHECK_MESSAGE("wordnet-base");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_files(dir, bad[i].index, bad[i].data);
        CHECK_OK(wordnet_open("test", dir, &english));
        CHECK_FAILS(wordnet_synonyms(english, "cats", 4, &found), TDM_E_FORMAT, "data.noun");
        wordnet_close(&english);
    }
    write_files(dir, "cat n 1 0 1 0 00000000", "00000000 00 n 02 cat 0 tom(a) 0 000 |");
    CHECK_OK(wordnet_open("test", dir, &english));
    CHECK_OK(wordnet_synonyms(english, "cats", 4, &found));
    CHECK_EQ(found.count, 2);
    wordnet_close(&english);
    text_list_free(&found);
}

int main(int count, char **argument)
{
    const char *source = getenv("TANDEM_SOURCE_DIR");
    if (count == 3) {
        snprintf(directory, sizeof directory, "%s", argument[1]);
        snprintf(list, sizeof list, "%s", argument[2]);
    } else {
        snprintf(directory, sizeof directory, "%s/tests/golden/augment/wordnet", source ? source : ".");
        snprintf(list, sizeof list, "%s.txt", directory);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synonyms_are_nltks),
        cmocka_unit_test(what_is_no_word_has_no_synonyms),
        cmocka_unit_test(damaged_files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
