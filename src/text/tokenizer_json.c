/* Hugging Face's files: vocab.json with merges.txt, and tokenizer.json, of which only CLIP's kind is taken: a
 * field that says otherwise is named and refused. */
#include "tokenizer_impl.h"

#include "tandem/plain_text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Patterns of pre_tokenizer.pretokenizers[0], without the marks and with them. */
#define WORD_PATTERN "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"
#define MARK_PATTERN "<\\|startoftext\\|>|<\\|endoftext\\|>|"

enum {
    ID_SLACK = 65536, /* ids may leave this many out, beside as many as there are tokens */
    ADDED_MAX = 4096,
    VALUE_BYTES = 80 /* of a value that a message shows */
};

/* A file and what is read from it. */
typedef struct json_file {
    const char *name;
    const char *vocab_field; /* "model.vocab", or "" when the file is the vocabulary */
    const json_t *vocab;
    const json_t *added; /* array, or NULL */
} json_file;

static tdm_status load(const char *name, const char *text, size_t bytes, json_t **root)
{
    json_error_t error;
    const size_t mark = tdm_byte_order_mark(text, bytes);
    *root = json_loadb(text + mark, bytes - mark, JSON_REJECT_DUPLICATES, &error);
    TDM_REQUIRE(*root, TDM_E_FORMAT, "%s: line %d, column %d: %s", name, error.line, error.column,
                error.text);
    return TDM_OK;
}

/* ---- Fields that must be CLIP's ---- */

/* `value` is one of the array `allowed` (JSON); a field that is not there counts as null. */
static tdm_status require_one_of(const json_file *file, const char *field, const json_t *value,
                                 const char *allowed)
{
    json_t *list = json_loads(allowed, 0, NULL), *null = json_null();
    bool found = false;
    for (size_t i = 0; i < json_array_size(list); i++)
        found |= json_equal(json_array_get(list, i), value ? value : null) != 0;
    json_decref(list);
    if (found) return TDM_OK;
    char *shown = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    TDM_ERROR(TDM_E_FORMAT, "%s: %s is %.*s, not one of %s: not a tokenizer of CLIP's kind", file->name,
              field, VALUE_BYTES, shown ? shown : "missing", allowed);
    free(shown);
    return TDM_E_FORMAT;
}

typedef struct field_rule {
    const char *key, *allowed;
} field_rule;

static tdm_status require_fields(const json_file *file, const char *path, const json_t *object,
                                 const field_rule *rule, size_t count)
{
    TDM_REQUIRE(json_is_object(object), TDM_E_FORMAT, "%s: %s is missing or not an object", file->name, path);
    for (size_t i = 0; i < count; i++) {
        char field[128];
        snprintf(field, sizeof field, "%s.%s", path, rule[i].key);
        TDM_TRY(require_one_of(file, field, json_object_get(object, rule[i].key), rule[i].allowed));
    }
    return TDM_OK;
}
#define REQUIRE_FIELDS(file, path, object, rules)                                                            \
    TDM_TRY(require_fields(file, path, object, rules, sizeof rules / sizeof rules[0]))

/* A Sequence whose list `key` has `count` items. */
static tdm_status require_sequence(const json_file *file, const char *path, const json_t *object,
                                   const char *key, size_t count, const json_t **list)
{
    static const field_rule rules[] = {{"type", "[\"Sequence\"]"}};
    REQUIRE_FIELDS(file, path, object, rules);
    *list = json_object_get(object, key);
    TDM_REQUIRE(json_array_size(*list) == count, TDM_E_FORMAT,
                "%s: %s.%s has %zu steps, not %zu: not a tokenizer of CLIP's kind", file->name, path, key,
                json_array_size(*list), count);
    return TDM_OK;
}

static tdm_status check_normalizer(const json_file *file, const json_t *root)
{
    static const field_rule nfc[] = {{"type", "[\"NFC\"]"}};
    static const field_rule space[] = {
        {"type", "[\"Replace\"]"}, {"pattern", "[{\"Regex\":\"\\\\s+\"}]"}, {"content", "[\" \"]"}};
    static const field_rule lower[] = {{"type", "[\"Lowercase\"]"}};
    const json_t *list;
    TDM_TRY(
        require_sequence(file, "normalizer", json_object_get(root, "normalizer"), "normalizers", 3, &list));
    REQUIRE_FIELDS(file, "normalizer.normalizers[0]", json_array_get(list, 0), nfc);
    REQUIRE_FIELDS(file, "normalizer.normalizers[1]", json_array_get(list, 1), space);
    REQUIRE_FIELDS(file, "normalizer.normalizers[2]", json_array_get(list, 2), lower);
    return TDM_OK;
}

static tdm_status check_pattern(tdm_tokenizer *t, const json_file *file, const json_t *split)
{
    const char *pattern = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    const bool marks = pattern && !strcmp(pattern, MARK_PATTERN WORD_PATTERN);
    TDM_REQUIRE(marks || (pattern && !strcmp(pattern, WORD_PATTERN)), TDM_E_FORMAT,
                "%s: pre_tokenizer.pretokenizers[0].pattern.Regex is %s%.*s%s, not CLIP's %s", file->name,
                pattern ? "\"" : "", VALUE_BYTES, pattern ? pattern : "missing", pattern ? "\"" : "",
                WORD_PATTERN);
    t->words = marks ? WORDS_MARKS : 0;
    return TDM_OK;
}

static tdm_status check_pre_tokenizer(tdm_tokenizer *t, const json_file *file, const json_t *root)
{
    static const field_rule split[] = {
        {"type", "[\"Split\"]"}, {"behavior", "[\"Removed\"]"}, {"invert", "[true]"}};
    static const field_rule bytes[] = {
        {"type", "[\"ByteLevel\"]"}, {"add_prefix_space", "[false]"}, {"use_regex", "[null,true,false]"}};
    const json_t *list;
    TDM_TRY(require_sequence(file, "pre_tokenizer", json_object_get(root, "pre_tokenizer"), "pretokenizers",
                             2, &list));
    REQUIRE_FIELDS(file, "pre_tokenizer.pretokenizers[0]", json_array_get(list, 0), split);
    REQUIRE_FIELDS(file, "pre_tokenizer.pretokenizers[1]", json_array_get(list, 1), bytes);
    t->marks_are_cut = !json_is_false(json_object_get(json_array_get(list, 1), "use_regex"));
    return check_pattern(t, file, json_array_get(list, 0));
}

static tdm_status check_model(const json_file *file, const json_t *model)
{
    static const field_rule rules[] = {{"type", "[null,\"BPE\"]"},
                                       {"dropout", "[null,0.0,0]"},
                                       {"continuing_subword_prefix", "[null,\"\"]"},
                                       {"end_of_word_suffix", "[\"" WORD_END "\"]"},
                                       {"byte_fallback", "[null,false]"},
                                       {"ignore_merges", "[null,false]"}};
    TDM_REQUIRE(model, TDM_E_FORMAT,
                "%s: has no \"model\": neither a tokenizer.json nor a vocab.json with a merges.txt beside it",
                file->name);
    REQUIRE_FIELDS(file, "model", model, rules);
    return TDM_OK;
}

/* ---- Ids ---- */

/* ", " or ": " between the file and the rest of a message about the vocabulary */
static const char *vocab_prefix(const json_file *file)
{
    return file->vocab_field[0] ? ": " : "";
}

/* Largest id + 1 of vocabulary and added tokens. */
static tdm_status measure_vocab(const json_file *file, int64_t *size)
{
    TDM_REQUIRE(json_is_object(file->vocab), TDM_E_FORMAT, "%s%s%s: is not an object of tokens and ids",
                file->name, vocab_prefix(file), file->vocab_field);
    const int64_t count = (int64_t)(json_object_size(file->vocab) + json_array_size(file->added));
    const int64_t limit = tdm_min_i64(2 * count + ID_SLACK, INT32_MAX);
    const char *token;
    json_t *id, *item;
    size_t i;
    *size = 0;
    json_object_foreach((json_t *)(uintptr_t)file->vocab, token, id)
    {
        TDM_REQUIRE(json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < limit,
                    TDM_E_FORMAT, "%s%s%s: \"%.*s\": the id is not a number from 0 to %lld", file->name,
                    vocab_prefix(file), file->vocab_field, VALUE_BYTES, token, (long long)limit - 1);
        *size = tdm_max_i64(*size, json_integer_value(id) + 1);
    }
    json_array_foreach((json_t *)(uintptr_t)file->added, i, item)
    {
        const json_t *number = json_object_get(item, "id");
        const json_int_t value = json_integer_value(number);
        TDM_REQUIRE(json_is_integer(number) && value >= 0 && value < limit, TDM_E_FORMAT,
                    "%s: added_tokens[%zu].id is not a number from 0 to %lld", file->name, i,
                    (long long)limit - 1);
        *size = tdm_max_i64(*size, value + 1);
    }
    return TDM_OK;
}

static tdm_status spell_new(tdm_tokenizer *t, const json_file *file, const char *token, json_int_t id)
{
    TDM_REQUIRE(!t->spelling[id], TDM_E_FORMAT, "%s: \"%.*s\" and \"%.*s\" have the same id %lld", file->name,
                VALUE_BYTES, t->spellings.data + t->spelling[id] - 1, VALUE_BYTES, token, (long long)id);
    return tokenizer_spell(t, (int32_t)id, token, strlen(token));
}

static tdm_status spell_vocab(tdm_tokenizer *t, const json_file *file)
{
    const char *token;
    json_t *id;
    json_object_foreach((json_t *)(uintptr_t)file->vocab, token, id)
        TDM_TRY(spell_new(t, file, token, json_integer_value(id)));
    return TDM_OK;
}

/* The ids that words give: every byte and whatever a merge makes must have one. */
static tdm_status number_symbols(tdm_tokenizer *t, const json_file *file, const char *merges_name)
{
    TDM_TRY(TDM_ALLOC(t->symbols.count, &t->emitted));
    for (int32_t symbol = 0; symbol < t->symbols.count; symbol++) {
        const char *spelling = symbol_spelling(&t->symbols, symbol);
        const json_t *id = json_object_get(file->vocab, spelling);
        TDM_REQUIRE(id || symbol >= BASE_SYMBOLS, TDM_E_FORMAT,
                    "%s%s%s: has no \"%s\": not a vocabulary over bytes", file->name, vocab_prefix(file),
                    file->vocab_field, spelling);
        TDM_REQUIRE(id, TDM_E_FORMAT, "%s%s%s: has no \"%.*s\", which merge %d of %s makes", file->name,
                    vocab_prefix(file), file->vocab_field, VALUE_BYTES, spelling, symbol - BASE_SYMBOLS + 1,
                    merges_name);
        t->emitted[symbol] = (int32_t)json_integer_value(id);
    }
    return TDM_OK;
}

/* ---- Added tokens ---- */

/* Makes room for `count`. */
static tdm_status reserve_added(tdm_tokenizer *t, size_t count)
{
    return TDM_ALLOC(count, &t->added);
}

static tdm_status add_token(tdm_tokenizer *t, const char *content, int32_t id, bool normalized)
{
    added_token *added = &t->added[t->added_count];
    TDM_TRY(normalized ? text_clean(TEXT_HUGGING_FACE, content, strlen(content), &added->content)
                       : tdm_text_append(&added->content, content, strlen(content)));
    added->id = id;
    added->normalized = normalized;
    if (added->content.length)
        t->added_count++;
    else
        tdm_text_free(&added->content);
    return TDM_OK;
}

static tdm_status read_added_token(tdm_tokenizer *t, const json_file *file, size_t number, const json_t *item)
{
    static const field_rule rules[] = {{"single_word", "[null,false]"},
                                       {"normalized", "[null,true,false]"},
                                       {"special", "[null,true,false]"}};
    char path[64];
    snprintf(path, sizeof path, "added_tokens[%zu]", number);
    REQUIRE_FIELDS(file, path, item, rules);
    const char *content = json_string_value(json_object_get(item, "content"));
    const json_t *normalized = json_object_get(item, "normalized");
    const json_int_t id = json_integer_value(json_object_get(item, "id"));
    TDM_REQUIRE(content, TDM_E_FORMAT, "%s: %s.content is missing", file->name, path);
    const json_t *known = json_object_get(file->vocab, content);
    TDM_REQUIRE(!known || json_integer_value(known) == id, TDM_E_FORMAT,
                "%s: %s (\"%.*s\") has the id %lld, in %s it is %lld", file->name, path, VALUE_BYTES, content,
                (long long)id, file->vocab_field, (long long)json_integer_value(known));
    if (!known) TDM_TRY(spell_new(t, file, content, id));
    const bool special = json_is_true(json_object_get(item, "special"));
    return add_token(t, content, (int32_t)id, normalized ? json_is_true(normalized) : !special);
}

static tdm_status read_added_tokens(tdm_tokenizer *t, const json_file *file)
{
    json_t *item;
    size_t i;
    TDM_REQUIRE(json_array_size(file->added) <= ADDED_MAX, TDM_E_FORMAT, "%s: more than %d added_tokens",
                file->name, ADDED_MAX);
    TDM_TRY(reserve_added(t, json_array_size(file->added)));
    json_array_foreach((json_t *)(uintptr_t)file->added, i, item) TDM_TRY(read_added_token(t, file, i, item));
    return TDM_OK;
}

/* ---- Marks ---- */

/* The id of a token of the vocabulary or of an added one, -1: none. */
static int32_t find_id(const json_file *file, const char *content)
{
    const json_t *id = content ? json_object_get(file->vocab, content) : NULL;
    if (id) return (int32_t)json_integer_value(id);
    json_t *item;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)file->added, i, item)
    {
        const char *other = json_string_value(json_object_get(item, "content"));
        if (content && other && !strcmp(other, content))
            return (int32_t)json_integer_value(json_object_get(item, "id"));
    }
    return -1;
}

static tdm_status require_mark(const json_file *file, const char *field, const char *content, int32_t *id)
{
    *id = find_id(file, content);
    TDM_REQUIRE(*id >= 0, TDM_E_FORMAT, "%s: %s: the vocabulary has no \"%.*s\"", file->name, field,
                VALUE_BYTES, content ? content : "");
    return TDM_OK;
}

/* The content of step `at` of post_processor.single, when it is a token; else NULL. */
static const char *template_token(const json_t *single, size_t at)
{
    const json_t *step = json_object_get(json_array_get(single, at), "SpecialToken");
    return json_string_value(json_object_get(step, "id"));
}

/* What is put before and behind the text. */
static tdm_status read_post_processor(tdm_tokenizer *t, const json_file *file, const json_t *root)
{
    const json_t *post = json_object_get(root, "post_processor");
    const char *start = START_OF_TEXT, *end = END_OF_TEXT;
    if (post && !json_is_null(post)) {
        static const field_rule rules[] = {{"type", "[\"RobertaProcessing\",\"TemplateProcessing\"]"}};
        REQUIRE_FIELDS(file, "post_processor", post, rules);
        const json_t *single = json_object_get(post, "single");
        if (json_object_get(post, "cls")) {
            start = json_string_value(json_array_get(json_object_get(post, "cls"), 0));
            end = json_string_value(json_array_get(json_object_get(post, "sep"), 0));
        } else {
            TDM_REQUIRE(
                json_array_size(single) == 3 && json_object_get(json_array_get(single, 1), "Sequence"),
                TDM_E_FORMAT, "%s: post_processor.single is not start token, text, end token", file->name);
            start = template_token(single, 0);
            end = template_token(single, 2);
        }
    }
    TDM_TRY(require_mark(file, "post_processor's start token", start, &t->start));
    TDM_TRY(require_mark(file, "post_processor's end token", end, &t->end));
    TDM_REQUIRE(t->start != t->end, TDM_E_FORMAT, "%s: post_processor: start and end token are the same",
                file->name);
    t->mask = find_id(file, MASK);
    return TDM_OK;
}

/* ---- The two kinds of files ---- */

static tdm_status read_vocab_file(tdm_tokenizer *t, const json_file *file)
{
    int64_t size = 0;
    TDM_TRY(measure_vocab(file, &size));
    TDM_TRY(tokenizer_make_vocab(t, size));
    TDM_TRY(spell_vocab(t, file));
    TDM_TRY(number_symbols(t, file, "merges.txt"));
    TDM_TRY(require_mark(file, "start token", START_OF_TEXT, &t->start));
    TDM_TRY(require_mark(file, "end token", END_OF_TEXT, &t->end));
    t->mask = find_id(file, MASK);
    t->words = WORDS_MARKS;
    t->marks_are_cut = true;
    TDM_TRY(reserve_added(t, 3));
    TDM_TRY(add_token(t, START_OF_TEXT, t->start, false));
    TDM_TRY(add_token(t, END_OF_TEXT, t->end, false));
    return t->mask >= 0 ? add_token(t, MASK, t->mask, false) : TDM_OK;
}

tdm_status tokenizer_read_pair(tdm_tokenizer *t, const char *name, const char *vocab, size_t vocab_bytes,
                               const char *merges, size_t merges_bytes)
{
    json_t *root = NULL;
    t->policy = TEXT_HUGGING_FACE;
    TDM_TRY(tokenizer_read_merges(t, name, merges, merges_bytes, false));
    TDM_TRY(load(name, vocab, vocab_bytes, &root));
    const json_file file = {.name = name, .vocab_field = "", .vocab = root};
    const tdm_status status = read_vocab_file(t, &file);
    json_decref(root);
    return status;
}

/* "left right" or ["left", "right"] */
static tdm_status read_json_merge(tdm_tokenizer *t, const merge_source *from, const json_t *item)
{
    const char *part[2];
    size_t bytes[2];
    if (json_is_string(item)) {
        TDM_TRY(tokenizer_split_merge(from, t->merges, json_string_value(item), json_string_length(item),
                                      part, bytes));
    } else {
        for (size_t i = 0; i < 2; i++) {
            part[i] = json_string_value(json_array_get(item, i));
            TDM_REQUIRE(json_array_size(item) == 2 && part[i] && part[i][0], TDM_E_FORMAT,
                        "%s: model.merges[%lld]: a merge is two symbols", from->name, (long long)t->merges);
            bytes[i] = strlen(part[i]);
        }
    }
    return tokenizer_add_merge(t, from, part, bytes);
}

static tdm_status read_json_merges(tdm_tokenizer *t, const char *name, const json_t *merges)
{
    const merge_source from = {name, ": model.merges[", "]", "merge", 0};
    json_t *item;
    size_t i;
    TDM_REQUIRE(json_is_array(merges), TDM_E_FORMAT, "%s: model.merges is missing or not a list", name);
    json_array_foreach((json_t *)(uintptr_t)merges, i, item) TDM_TRY(read_json_merge(t, &from, item));
    return TDM_OK;
}

static tdm_status read_root(tdm_tokenizer *t, const char *name, const json_t *root)
{
    const json_t *model = json_object_get(root, "model");
    const json_file file = {.name = name,
                            .vocab_field = "model.vocab",
                            .vocab = json_object_get(model, "vocab"),
                            .added = json_object_get(root, "added_tokens")};
    int64_t size = 0;
    TDM_TRY(check_model(&file, model));
    TDM_TRY(check_normalizer(&file, root));
    TDM_TRY(check_pre_tokenizer(t, &file, root));
    TDM_TRY(read_json_merges(t, name, json_object_get(model, "merges")));
    TDM_TRY(measure_vocab(&file, &size));
    TDM_TRY(tokenizer_make_vocab(t, size));
    TDM_TRY(spell_vocab(t, &file));
    TDM_TRY(number_symbols(t, &file, "model.merges"));
    TDM_TRY(read_added_tokens(t, &file));
    return read_post_processor(t, &file, root);
}

tdm_status tokenizer_read_json(tdm_tokenizer *t, const char *name, const char *text, size_t bytes)
{
    json_t *root = NULL;
    t->policy = TEXT_HUGGING_FACE;
    TDM_TRY(load(name, text, bytes, &root));
    const tdm_status status = read_root(t, name, root);
    json_decref(root);
    return status;
}
