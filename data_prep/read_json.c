#include "read_json.h"

#include "pack_impl.h"
#include "read_text.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON as it is written, made into JSON as jansson reads it ---- */

/* Noncharacters of Unicode, which no text holds: they mark what a string cannot have kept. */
#define HALF_A_PAIR        "\xef\xb7\x90" /* U+FDD0, half of a surrogate pair */
#define HALF_A_PAIR_ESCAPE "\\ufdd0"
#define NOT_UTF8           "\xef\xb7\x91" /* U+FDD1 */

typedef struct tidy {
    const char *at, *end;
    tdm_text out;
    size_t position; /* in `out`; up to there the text has grown by … */
    size_t grown;    /* … bytes */
} tidy;

/* Writes `to` in place of the next `length` bytes, to[] being as long or longer. */
static tdm_status replace(tidy *t, size_t length, const char *to)
{
    if (t->out.length < t->position) t->grown += strlen(to) - length;
    t->at += length;
    return tdm_text_append(&t->out, to, strlen(to));
}

static tdm_status keep(tidy *t, size_t length)
{
    t->at += length;
    return tdm_text_append(&t->out, t->at - length, length);
}

/* The code unit of "\uXXXX" at `at`, or -1. */
static int code_unit(const char *at, const char *end)
{
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return -1;
    char digits[5] = "";
    memcpy(digits, at + 2, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? (int)strtol(digits, NULL, 16) : -1;
}

static bool is_half(int unit, int first)
{
    return unit >= first && unit < first + 0x400;
}

static tdm_status tidy_escape(tidy *t, const char *end, bool key)
{
    const int unit = code_unit(t->at, end);
    if (unit == 0 && key) return replace(t, 6, "\\ufffd"); /* jansson has no such keys */
    if (is_half(unit, 0xd800) && is_half(code_unit(t->at + 6, end), 0xdc00)) return keep(t, 12);
    if (is_half(unit, 0xd800) || is_half(unit, 0xdc00)) return replace(t, 6, HALF_A_PAIR_ESCAPE);
    return keep(t, end - t->at > 1 ? 2 : 1);
}

/* Where the string that begins at `at` ends: its closing quote, or the text's end. */
static const char *string_end(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\' && at + 1 < end) at++;
    return at;
}

/* How many bytes at `at` may stay as they are. */
static size_t plain_bytes(const char *at, const char *end)
{
    size_t n = 0;
    const size_t length = (size_t)(end - at);
    while (n < length && at[n] != '\\' && (unsigned char)at[n] >= 0x20 && (unsigned char)at[n] < 0x80) n++;
    if (n) return n;
    while (n < length && (unsigned char)at[n] >= 0x80) n++;
    return pack_utf8_fault(at, n);
}

static tdm_status tidy_string(tidy *t)
{
    const char *const end = string_end(t->at, t->end);
    const char *behind = end < t->end ? end + 1 : end;
    while (behind < t->end && isspace((unsigned char)*behind)) behind++;
    const bool key = behind < t->end && *behind == ':';
    TDM_TRY(keep(t, 1));
    while (t->at < end) {
        const size_t plain = plain_bytes(t->at, end);
        if (plain)
            TDM_TRY(keep(t, plain));
        else if (*t->at == '\\')
            TDM_TRY(tidy_escape(t, end, key));
        else if ((unsigned char)*t->at >= 0x80)
            TDM_TRY(replace(t, 1, NOT_UTF8));
        else
            TDM_TRY(replace(t, 1, *t->at || key ? " " : "\\u0000"));
    }
    return end < t->end ? keep(t, 1) : TDM_OK;
}

/* null and blanks, as long as the word. */
static tdm_status put_null(tidy *t, size_t length)
{
    if (length < 4) return replace(t, length, "null");
    t->at += length;
    TDM_TRY(tdm_text_append(&t->out, "null", 4));
    for (size_t i = 4; i < length; i++) TDM_TRY(tdm_text_append(&t->out, " ", 1));
    return TDM_OK;
}

static tdm_status tidy_number(tidy *t)
{
    enum { LONGEST = 512, LONGEST_INTEGER = 18 };
    size_t length = 1, digits = isdigit((unsigned char)*t->at) != 0;
    bool whole = true;
    for (; t->at + length < t->end && strchr("0123456789+-.eE", t->at[length]) && t->at[length]; length++) {
        digits += isdigit((unsigned char)t->at[length]) != 0;
        whole &= isdigit((unsigned char)t->at[length]) != 0;
    }
    if (whole && digits <= LONGEST_INTEGER) return keep(t, length);
    char number[LONGEST];
    if (length >= sizeof(number)) return put_null(t, length);
    memcpy(number, t->at, length);
    number[length] = '\0';
    if (isinf(strtod(number, NULL))) return put_null(t, length);
    if (!whole) return keep(t, length);
    memcpy(number + length - 2, "e2", 2); /* a real of the same size, up to its 17th digit */
    return replace(t, length, number);
}

static bool is_word(const tidy *t, const char *word)
{
    const size_t length = strlen(word);
    return (size_t)(t->end - t->at) >= length && !memcmp(t->at, word, length);
}

/* How many bytes there are to the next string or number, or to what may be one. */
static size_t between_values(const tidy *t)
{
    size_t n = 0;
    while (t->at + n < t->end && !strchr("\"-0123456789NI", t->at[n] ? t->at[n] : 'x')) n++;
    return n;
}

static tdm_status tidy_all(tidy *t)
{
    static const char *const no_number[] = {"NaN", "Infinity", "-Infinity"};
    TDM_TRY(tdm_text_append(&t->out, "", 0));
    while (t->at < t->end) {
        const char *word = NULL;
        const size_t between = between_values(t);
        if (between) TDM_TRY(keep(t, between));
        if (t->at == t->end) break;
        for (size_t i = 0; i < sizeof(no_number) / sizeof(no_number[0]); i++)
            if (is_word(t, no_number[i])) word = no_number[i];
        if (word)
            TDM_TRY(put_null(t, strlen(word)));
        else if (*t->at == '"')
            TDM_TRY(tidy_string(t));
        else if (*t->at == '-' || isdigit((unsigned char)*t->at))
            TDM_TRY(tidy_number(t));
        else
            TDM_TRY(keep(t, 1));
    }
    return TDM_OK;
}

/* ---- Documents ---- */

/* jansson's error, at the place in the text as it is written. */
static tdm_status syntax_error(const char *file, const text_file *text, const json_error_t *error)
{
    tidy t = {.at = text->at, .end = text->end, .position = (size_t)error->position};
    const tdm_status status = tidy_all(&t);
    tdm_text_free(&t.out);
    TDM_TRY(status);
    const char *at = text->at, *line = at;
    const size_t length = (size_t)(text->end - at), way = t.position - t.grown;
    const char *const end = at + (way < length ? way : length);
    size_t lines = 1;
    for (; at < end; at++)
        if (*at == '\n') lines++, line = at + 1;
    const bool second = strstr(error->text, "end of file expected");
    TDM_FAIL(TDM_E_FORMAT, "%s: line %zu, column %zu (offset %zu): %s%s", file, lines,
             (size_t)(end - line) + 1, (size_t)(end - text->text.data), error->text,
             second ? "; one document is read, not one a line (JSON lines)" : "");
}

static tdm_status parse(const char *file, const text_file *text, json_node *root)
{
    size_t blank = 0;
    while (text->at + blank < text->end && isspace((unsigned char)text->at[blank])) blank++;
    TDM_REQUIRE(text->at + blank < text->end, TDM_E_FORMAT, "%s: is empty, not JSON", file);
    json_error_t error;
    tidy t = {.at = text->at, .end = text->end};
    const tdm_status status = tidy_all(&t);
    if (status == TDM_OK)
        root->value = json_loadb(t.out.data, t.out.length, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    tdm_text_free(&t.out);
    TDM_TRY(status);
    return root->value ? TDM_OK : syntax_error(file, text, &error);
}

tdm_status read_json_text(const char *file, const char *text, size_t length, json_node *root)
{
    text_file decoded;
    *root = (json_node){.file = file};
    tdm_status status = text_open_memory(file, "utf-8", text, length, &decoded);
    if (status == TDM_OK) status = parse(file, &decoded, root);
    text_close(&decoded);
    return status;
}

tdm_status read_json_file(const char *path, const char *encoding, json_node *root)
{
    text_file text;
    *root = (json_node){.file = path};
    tdm_status status = text_open(path, encoding, &text);
    if (status == TDM_OK) status = parse(path, &text, root);
    text_close(&text);
    return status;
}

void read_json_free(json_node *root)
{
    json_decref(root->value);
    root->value = NULL;
}

static void append_way(const json_node *node, char *text, size_t bytes)
{
    if (!node->parent) return;
    append_way(node->parent, text, bytes);
    const size_t used = strlen(text);
    const bool first = !node->parent->parent;
    if (node->key)
        snprintf(text + used, bytes - used, "%s%s", first ? "" : ".", node->key);
    else
        snprintf(text + used, bytes - used, "[%zu]", node->index);
}

const char *json_node_where(const json_node *node)
{
    static _Thread_local char where[TDM_PATH_BYTES + 256];
    snprintf(where, sizeof(where), "%s%s", node->file, node->parent ? ": " : "");
    append_way(node, where, sizeof(where));
    return where;
}

json_node json_node_get(const json_node *node, const char *key)
{
    json_t *value = json_object_get(node->value, key);
    return (json_node){
        .value = json_is_null(value) ? NULL : value, .file = node->file, .parent = node, .key = key};
}

json_node json_node_item(const json_node *array, size_t index)
{
    return (json_node){
        .value = json_array_get(array->value, index), .file = array->file, .parent = array, .index = index};
}

size_t json_node_count(const json_node *array)
{
    return json_array_size(array->value);
}

/* The member `key`, which must be of that type. */
static tdm_status typed(const json_node *node, const char *key, json_type type, const char *type_name,
                        json_node *value)
{
    const json_node found = json_node_get(node, key);
    TDM_REQUIRE(found.value, TDM_E_FORMAT, "%s has no \"%s\"", json_node_where(node), key);
    TDM_REQUIRE(json_typeof(found.value) == type, TDM_E_FORMAT, "%s: \"%s\" is not %s", json_node_where(node),
                key, type_name);
    *value = found;
    return TDM_OK;
}

tdm_status json_node_text(const json_node *node, const char **text, size_t *length)
{
    TDM_REQUIRE(json_is_string(node->value), TDM_E_FORMAT, "%s is not a string", json_node_where(node));
    const char *value = json_string_value(node->value);
    const size_t bytes = json_string_length(node->value);
    TDM_REQUIRE(!memmem(value, bytes, HALF_A_PAIR, strlen(HALF_A_PAIR)), TDM_E_DATA,
                "%s holds half of a surrogate pair, which is no character", json_node_where(node));
    TDM_REQUIRE(!memmem(value, bytes, NOT_UTF8, strlen(NOT_UTF8)), TDM_E_DATA,
                "%s holds bytes that are not UTF-8; --encoding latin-1 or cp1252 reads older files",
                json_node_where(node));
    *text = value;
    *length = bytes;
    return TDM_OK;
}

tdm_status json_node_string(const json_node *node, const char *key, const char **value)
{
    json_node found;
    const char *text;
    size_t length;
    TDM_TRY(typed(node, key, JSON_STRING, "a string", &found));
    TDM_TRY(json_node_text(&found, &text, &length));
    TDM_REQUIRE(strlen(text) == length, TDM_E_DATA, "%s holds a NUL", json_node_where(&found));
    *value = text;
    return TDM_OK;
}

tdm_status json_node_int(const json_node *node, const char *key, int64_t *value)
{
    json_node found;
    TDM_TRY(typed(node, key, JSON_INTEGER, "an integer", &found));
    *value = json_integer_value(found.value);
    return TDM_OK;
}

tdm_status json_node_array(const json_node *node, const char *key, json_node *value)
{
    return typed(node, key, JSON_ARRAY, "an array", value);
}
