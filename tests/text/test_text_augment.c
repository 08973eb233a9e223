/* Every row of the table of text augmentations: what it does against another program (tests/golden/augment), that it
 * depends on its stream only, and that its probability is one. A new row needs its golden file and nothing here. */
#include "../../src/text/augment_impl.h"
#include "scratch.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONTEXT = 20, GUARD = 4, MOST_TOKENS = 64 };

static const char MERGES[] = "#version: 0.2\ni m\nim a\nima g\nimag e</w>\nt h\nth e</w>\n";
static const char MASKED_MERGES[] = "#version: 0.2\ni m\nim a\nima g\nimag e</w>\nt h\nth e</w>\n|< m\n";
static const char *const CAPTION[] = {"the image", "a  cat and\tthe dog on the image, twice", "x", "",
                                      "one two three four five six seven eight nine ten eleven twelve"};
enum { CAPTIONS = sizeof(CAPTION) / sizeof(CAPTION[0]) };

static tdm_tokenizer *plain, *with_mask;
static wordnet *words_of_english;

/* A part of WordNet: tests/golden/augment/wordnet.py */
static const char *wordnet_directory(void)
{
    static char path[TDM_PATH_BYTES];
    const char *source = getenv("TANDEM_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/tests/golden/augment/wordnet", source ? source : ".");
    return path;
}

static int open_tokenizers(void **state)
{
    (void)state;
    char dir[64], path[80];
    if (scratch_dir(dir, sizeof dir) != 0) return -1;
    snprintf(path, sizeof path, "%s/merges.txt", dir);
    CHECK_OK(wordnet_open("test", wordnet_directory(), &words_of_english));
    CHECK_OK(tdm_text_augment_register());
    CHECK_OK(tdm_tokenizer_open_memory("merges", MERGES, sizeof(MERGES) - 1, &plain));
    CHECK_OK(tdm_write_file_atomic(path, MASKED_MERGES, sizeof(MASKED_MERGES) - 1));
    CHECK_OK(tdm_tokenizer_open_variant(path, true, &with_mask));
    return 0;
}

static int close_tokenizers(void **state)
{
    (void)state;
    tdm_tokenizer_destroy(&plain);
    tdm_tokenizer_destroy(&with_mask);
    wordnet_close(&words_of_english);
    return 0;
}

static const text_augment_row *row_of(const tdm_operation *operation)
{
    return (const text_augment_row *)(const void *)operation; /* its first member */
}

static bool has_probability(const tdm_operation *row)
{
    for (size_t i = 0; i < row->option_count; i++)
        if (!strcmp(row->options[i].key, "p")) return true;
    return false;
}

static tdm_text_pipeline *make_pipeline(tdm_config *config, const char *list, const tdm_tokenizer *tokenizer)
{
    char assignment[512 + TDM_PATH_BYTES];
    tdm_text_pipeline *made;
    snprintf(assignment, sizeof(assignment), "augment.wordnet=%s", wordnet_directory());
    CHECK_OK(tdm_config_set(config, assignment));
    snprintf(assignment, sizeof(assignment), "views.aug_1.augment=%s", list);
    CHECK_OK(tdm_config_set(config, assignment));
    CHECK_OK(tdm_text_pipeline_create(config, "views.aug_1.augment",
                                      &config->views[TDM_VIEW_NAME_AUG_1].augment, tokenizer, &made));
    return made;
}

/* "[NAME(p=VALUE)]", "[NAME]" for a row without p. */
static tdm_text_pipeline *alone(tdm_config *config, const tdm_operation *row, const char *p)
{
    char list[128];
    if (has_probability(row))
        snprintf(list, sizeof(list), "[%s(p=%s)]", row->name, p);
    else
        snprintf(list, sizeof(list), "[%s]", row->name);
    return make_pipeline(config, list, with_mask);
}

/* ---- golden files ---- */

/* The next word of a line; NULL at its end. */
static char *word(char **at)
{
    char *found;
    do found = strsep(at, " \n");
    while (found && !*found);
    return found;
}

static uint64_t number(char **at)
{
    return strtoull(word(at), NULL, 10);
}

/* "-" for an empty text */
static void from_hex(const char *hex, tdm_text *text)
{
    text->length = 0;
    CHECK_OK(tdm_text_append(text, "", 0));
    for (; hex[0] != '-' && hex[0]; hex += 2) {
        const char byte[3] = {hex[0], hex[1], 0}, value = (char)strtol(byte, NULL, 16);
        CHECK_OK(tdm_text_append(text, &value, 1));
    }
}

static int64_t from_list(char *list, int32_t *value)
{
    int64_t n = 0;
    for (char *item; (item = strsep(&list, ",")) != NULL; n++) {
        CHECK_LT(n, MOST_TOKENS);
        value[n] = (int32_t)strtol(item, NULL, 10);
    }
    return n;
}

static void check_words(const text_augment_row *row, const void *options, tdm_rng rng, char *line)
{
    tdm_text text = {0}, want = {0}, spare = {0}, caption = {0};
    from_hex(word(&line), &caption);
    CHECK_OK(tdm_text_append(&text, caption.data, caption.length));
    from_hex(word(&line), &want);
    enum { WORDINGS = 8 };
    tdm_text other[WORDINGS] = {0};
    const char *wording[WORDINGS];
    tdm_caption of = {.text = caption.data, .alternative = wording};
    for (char *hex; (hex = word(&line)) != NULL; of.alternatives++) {
        from_hex(hex, &other[of.alternatives]);
        wording[of.alternatives] = other[of.alternatives].data;
    }
    struct text_lists lists = {0};
    const text_call call = {.caption = &of,
                            .rng = &rng,
                            .text = &text,
                            .spare = &spare,
                            .lists = &lists,
                            .wordnet = words_of_english};
    CHECK_OK(row->words(options, &call));
    if (strcmp(text.data, want.data) != 0)
        fail_msg("\"%s\" became \"%s\", not \"%s\"", caption.data, text.data, want.data);
    for (int64_t i = 0; i < of.alternatives; i++) tdm_text_free(&other[i]);
    text_list_free(&lists.words);
    text_list_free(&lists.candidates);
    text_list_free(&lists.synonyms);
    tdm_text_free(&text);
    tdm_text_free(&want);
    tdm_text_free(&spare);
    tdm_text_free(&caption);
}

static void check_tokens(const text_augment_row *row, const void *options, tdm_rng rng, char *line)
{
    enum { SPECIAL = 4 };
    int32_t before[MOST_TOKENS], after[MOST_TOKENS], want[MOST_TOKENS], target[MOST_TOKENS];
    const int64_t n = from_list(word(&line), before) - SPECIAL;
    const text_vocabulary vocabulary = {
        .start = before[0], .end = before[1], .mask = before[2], .size = before[3]};
    text_tokens tokens = {
        .token = before + SPECIAL, .target = target, .count = n, .context = MOST_TOKENS - SPECIAL};
    for (int i = 0; i < MOST_TOKENS; i++) target[i] = -1;
    row->tokens(options, &vocabulary, &rng, &tokens);
    CHECK_EQ(from_list(word(&line), after), tokens.count);
    for (int64_t i = 0; i < tokens.count; i++) CHECK_EQ(tokens.token[i], after[i]);
    CHECK_EQ(from_list(word(&line), want), tokens.count);
    for (int64_t i = 0; i < tokens.count; i++) CHECK_EQ(target[i], want[i]);
}

static void check_case(const tdm_config *config, const tdm_operation *operation, char *line)
{
    char name[64];
    const char *arguments;
    const void *options;
    size_t length;
    const bool words = !strcmp(word(&line), "words");
    const uint64_t seed = number(&line), step = number(&line), sample = number(&line);
    const tdm_rng rng = tdm_rng_at(seed, step, sample, (uint32_t)number(&line));
    CHECK_OK(tdm_config_call("golden", word(&line), name, &arguments, &length));
    CHECK_EQ(strcmp(name, operation->name), 0);
    CHECK_OK(tdm_operation_options(config, "golden", operation, arguments, length, &options));
    if (words)
        check_words(row_of(operation), options, rng, line);
    else
        check_tokens(row_of(operation), options, rng, line);
}

static void rows_equal_their_golden_files(void **state)
{
    (void)state;
    const char *source = getenv("TANDEM_SOURCE_DIR");
    const tdm_operation *row;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    for (size_t i = 0; (row = tdm_text_augment_row(i)) != NULL; i++) {
        char path[TDM_PATH_BYTES];
        tdm_text file = {0};
        int cases = 0;
        snprintf(path, sizeof(path), "%s/tests/golden/augment/%s.txt", source ? source : ".", row->name);
        CHECK_OK(tdm_read_file(path, &file));
        for (char *rest = file.data, *line; (line = strsep(&rest, "\n")) != NULL && *line; cases++)
            check_case(&config, row, line);
        CHECK_GE(cases, 4);
        tdm_text_free(&file);
    }
    tdm_config_destroy(&config);
}

/* ---- every row ---- */

typedef struct made {
    int64_t count;
    int32_t token[CONTEXT + GUARD], target[CONTEXT + GUARD];
} made;

static made make(tdm_text_work *work, const tdm_text_pipeline *pipeline, const char *text, uint64_t sample)
{
    made it;
    static const char *const wording[] = {"another wording", "and one more"};
    const tdm_caption caption = {.text = text, .alternative = wording, .alternatives = 2};
    memset(&it, 0x5a, sizeof(it));
    CHECK_OK(tdm_text_make(work, pipeline, &caption, tdm_rng_at(1, 2, sample, TDM_RNG_TEXT), CONTEXT,
                           it.token, &it.count, it.target));
    return it;
}

/* Tokens within the vocabulary and the context, between start and end; nothing written behind them. */
static void check_range(const made *it)
{
    CHECK_GE(it->count, 2);
    CHECK_LE(it->count, CONTEXT);
    CHECK_EQ(it->token[0], tdm_tokenizer_start(with_mask));
    CHECK_EQ(it->token[it->count - 1], tdm_tokenizer_end(with_mask));
    for (int64_t i = 0; i < it->count; i++) {
        CHECK_GE(it->token[i], 0);
        CHECK_LT(it->token[i], tdm_tokenizer_vocab_size(with_mask));
        CHECK_GE(it->target[i], -1);
        CHECK_LT(it->target[i], tdm_tokenizer_vocab_size(with_mask));
    }
    for (int i = 0; i < GUARD; i++) {
        CHECK_EQ(it->token[CONTEXT + i], 0x5a5a5a5a);
        CHECK_EQ(it->target[CONTEXT + i], 0x5a5a5a5a);
    }
}

static void a_row_depends_on_its_stream_only(void **state)
{
    (void)state;
    const tdm_operation *row;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    for (size_t i = 0; (row = tdm_text_augment_row(i)) != NULL; i++) {
        tdm_text_pipeline *pipeline = alone(&config, row, "0.5");
        tdm_text_work kept = {0};
        int changed = 0;
        for (uint64_t sample = 0; sample < 200; sample++) {
            tdm_text_work fresh = {0};
            const made a = make(&kept, pipeline, CAPTION[sample % CAPTIONS], sample);
            const made b = make(&fresh, pipeline, CAPTION[sample % CAPTIONS], sample);
            const made c = make(&kept, pipeline, CAPTION[sample % CAPTIONS], sample + 1000);
            check_range(&a);
            CHECK_EQ(a.count, b.count);
            CHECK_MEM_EQ(a.token, b.token, sizeof(a.token));
            CHECK_MEM_EQ(a.target, b.target, sizeof(a.target));
            changed += memcmp(a.token, c.token, sizeof(a.token)) != 0;
            tdm_text_work_free(&fresh);
        }
        if (has_probability(row)) CHECK_GT(changed, 20);
        tdm_text_work_free(&kept);
        tdm_text_pipeline_destroy(&pipeline);
    }
    tdm_config_destroy(&config);
}

static void a_probability_of_0_changes_nothing(void **state)
{
    (void)state;
    const tdm_operation *row;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    for (size_t i = 0; (row = tdm_text_augment_row(i)) != NULL; i++) {
        if (!has_probability(row)) continue;
        tdm_text_pipeline *pipeline = alone(&config, row, "0");
        tdm_text_work work = {0};
        for (uint64_t sample = 0; sample < 100; sample++) {
            int32_t want[CONTEXT];
            int64_t count;
            const made it = make(&work, pipeline, CAPTION[sample % CAPTIONS], sample);
            CHECK_OK(
                tdm_tokenizer_encode(with_mask, CAPTION[sample % CAPTIONS], CONTEXT, want, &count, NULL));
            CHECK_EQ(it.count, count);
            CHECK_MEM_EQ(it.token, want, (size_t)count * sizeof(int32_t));
            for (int64_t k = 0; k < count; k++) CHECK_EQ(it.target[k], -1);
        }
        tdm_text_work_free(&work);
        tdm_text_pipeline_destroy(&pipeline);
    }
    tdm_config_destroy(&config);
}

/* What a row says of itself is so: those with targets set some, the others none; its tokens are of the caption. */
static void targets_are_the_tokens_before(void **state)
{
    (void)state;
    const tdm_operation *row;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    for (size_t i = 0; (row = tdm_text_augment_row(i)) != NULL; i++) {
        tdm_text_pipeline *pipeline = alone(&config, row, "0.5");
        CHECK_EQ(tdm_text_pipeline_has_targets(pipeline), row_of(row)->targets);
        tdm_text_work work = {0};
        int targets = 0;
        for (uint64_t sample = 0; sample < 50; sample++) {
            int32_t before[CONTEXT];
            int64_t count;
            const made it = make(&work, pipeline, CAPTION[1], sample);
            CHECK_OK(tdm_tokenizer_encode(with_mask, CAPTION[1], CONTEXT, before, &count, NULL));
            for (int64_t k = 0; k < it.count; k++) {
                if (it.target[k] < 0) continue;
                targets++;
                CHECK_EQ(it.target[k], before[k]);
            }
        }
        CHECK_EQ(targets > 0, row_of(row)->targets);
        tdm_text_work_free(&work);
        tdm_text_pipeline_destroy(&pipeline);
    }
    tdm_config_destroy(&config);
}

/* ---- how often ---- */

enum { DRAWS = 10000 };

/* How many of DRAWS captions become `want`. */
static int count_of(const char *list, const char *text, const char *want)
{
    tdm_config config;
    tdm_text_work work = {0};
    int count = 0;
    CHECK_OK(tdm_config_init(&config));
    tdm_text_pipeline *pipeline = make_pipeline(&config, list, NULL);
    static const char *const wording[] = {"another wording", "and one more"};
    const tdm_caption caption = {.text = text, .alternative = wording, .alternatives = 2};
    for (uint64_t sample = 0; sample < DRAWS; sample++) {
        const char *after;
        CHECK_OK(tdm_text_words(&work, pipeline, &caption, tdm_rng_at(1, 2, sample, TDM_RNG_TEXT), &after));
        count += !strcmp(after, want);
    }
    tdm_text_work_free(&work);
    tdm_text_pipeline_destroy(&pipeline);
    tdm_config_destroy(&config);
    return count;
}

/* Within five standard deviations of a binomial distribution: one correct build in a million fails. */
static void check_share(const char *list, const char *text, const char *want, double p)
{
    const double off = count_of(list, text, want) - DRAWS * p;
    if (off * off > 25.0 * DRAWS * p * (1.0 - p) + 1e-9)
        fail_msg("%s: \"%s\" becomes \"%s\" in %g of %d, not in %g", list, text, want, DRAWS * p + off, DRAWS,
                 DRAWS * p);
}

static void draws_are_as_often_as_they_should(void **state)
{
    (void)state;
    check_share("[back_translate(p=0.1)]", "a man", "a man", 0.9);
    check_share("[back_translate(p=0.1)]", "a man", "and one more", 0.05);
    check_share("[delete_words(p=0.3)]", "of dog", "of", 0.7 * 0.3 + 0.3 * 0.3 / 2);
    check_share("[delete_words(p=0.3, words=content)]", "of dog", "of", 0.3);
    check_share("[delete_words(p=0.3, words=content)]", "of dog", "dog", 0.0);
    check_share("[swap_words]", "a b", "b a", 7.0 / 8); /* three tries */
    check_share("[swap_words]", "a b c", "a c b", 2.0 / 9 * (1 + 1.0 / 3 + 1.0 / 9));
    check_share("[swap_words]", "a", "a", 1.0);
    const int synonyms = 10; /* of "girl" */
    check_share("[replace_synonyms]", "the girl girl xyzzy", "the daughter daughter xyzzy", 1.0 / synonyms);
    check_share("[insert_synonyms]", "girl of", "daughter girl of", 0.5 / synonyms);
    check_share("[insert_synonyms]", "girl of", "girl of daughter", 0.0);
    check_share("[insert_synonyms]", "xyzzy girl", "xyzzy girl", 1.0 / 512); /* nine tries */
    check_share("[insert_synonyms]", "of the", "of the", 1.0);
    check_share("[eda]", "xyzzy qux", "qux xyzzy", 7.0 / 8 / 4);
    check_share("[eda(p=0.5)]", "girl", "daughter", 0.5 / 4 / synonyms);
    check_share("[replace_synonyms(alpha=0)]", "girl girl", "girl girl", 1.0);
}

static void missing_wordnet_is_named(void **state)
{
    (void)state;
    static const char *const needs[] = {"replace_synonyms", "insert_synonyms", "eda"};
    tdm_config config;
    tdm_text_pipeline *pipeline;
    CHECK_OK(tdm_config_init(&config));
    for (int i = 0; i < 3; i++) {
        char assignment[128];
        snprintf(assignment, sizeof(assignment), "views.aug_1.augment=[swap_words, %s]", needs[i]);
        CHECK_OK(tdm_config_set(&config, "augment.wordnet=/nowhere"));
        CHECK_OK(tdm_config_set(&config, assignment));
        CHECK_FAILS(tdm_text_pipeline_create(&config, "views.aug_1.augment",
                                             &config.views[TDM_VIEW_NAME_AUG_1].augment, NULL, &pipeline),
                    TDM_E_IO, "views.aug_1.augment: ");
        CHECK_MESSAGE(needs[i]);
        CHECK_MESSAGE("/nowhere/index.noun");
        CHECK_MESSAGE("wordnet-base");
    }
    CHECK_OK(tdm_config_set(&config, "views.aug_1.augment=[swap_words, delete_words, back_translate]"));
    CHECK_OK(tdm_text_pipeline_create(&config, "views.aug_1.augment",
                                      &config.views[TDM_VIEW_NAME_AUG_1].augment, NULL, &pipeline));
    tdm_text_pipeline_destroy(&pipeline);
    tdm_config_destroy(&config);
}

static void stop_words_are_found(void **state)
{
    (void)state;
    static const char *const stop[] = {"the", "a", "The", "yourselves", "you've", "wouldn't", "s", "I"},
                             *const content[] = {"man", "", "thes", "yourselvess", "aa", "zz", "red"};
    for (size_t i = 0; i < sizeof(stop) / sizeof(stop[0]); i++)
        CHECK_TRUE(text_is_stop_word(stop[i], strlen(stop[i])));
    for (size_t i = 0; i < sizeof(content) / sizeof(content[0]); i++)
        CHECK_FALSE(text_is_stop_word(content[i], strlen(content[i])));
}

static void an_empty_list_gives_the_captions_tokens(void **state)
{
    (void)state;
    tdm_config config;
    tdm_text_work work = {0};
    CHECK_OK(tdm_config_init(&config));
    tdm_text_pipeline *pipeline = make_pipeline(&config, "[]", plain);
    CHECK_TRUE(tdm_text_pipeline_is_plain(pipeline));
    CHECK_FALSE(tdm_text_pipeline_has_targets(pipeline));
    for (int i = 0; i < CAPTIONS; i++) {
        int32_t want[CONTEXT];
        int64_t count;
        const made it = make(&work, pipeline, CAPTION[i], 1);
        CHECK_OK(tdm_tokenizer_encode(plain, CAPTION[i], CONTEXT, want, &count, NULL));
        CHECK_EQ(it.count, count);
        CHECK_MEM_EQ(it.token, want, (size_t)count * sizeof(int32_t));
    }
    tdm_text_work_free(&work);
    tdm_text_pipeline_destroy(&pipeline);
    tdm_config_destroy(&config);
}

/* Python's str.split(): any white space of Unicode. */
static void pieces_lie_between_white_space(void **state)
{
    (void)state;
    static const char *const want[] = {"a", "b-c,", "d\xc3\xa9", "e"};
    const char *at = "  a\tb-c,\xc2\xa0 d\xc3\xa9\xe3\x80\x80\n"
                     "e ",
               *begin;
    size_t bytes;
    for (int i = 0; i < 4; i++) {
        CHECK_TRUE(text_next_piece(&at, &begin, &bytes));
        CHECK_EQ(bytes, strlen(want[i]));
        CHECK_MEM_EQ(begin, want[i], bytes);
    }
    CHECK_FALSE(text_next_piece(&at, &begin, &bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_equal_their_golden_files),
        cmocka_unit_test(a_row_depends_on_its_stream_only),
        cmocka_unit_test(a_probability_of_0_changes_nothing),
        cmocka_unit_test(targets_are_the_tokens_before),
        cmocka_unit_test(draws_are_as_often_as_they_should),
        cmocka_unit_test(missing_wordnet_is_named),
        cmocka_unit_test(stop_words_are_found),
        cmocka_unit_test(an_empty_list_gives_the_captions_tokens),
        cmocka_unit_test(pieces_lie_between_white_space),
    };
    return cmocka_run_group_tests(tests, open_tokenizers, close_tokenizers);
}
