/* One value: from text, checked, and back to text. */
#include "config_impl.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *config_type_name(tdm_option_type type)
{
    switch (type) {
    case TDM_OPTION_BOOL: return "true or false";
    case TDM_OPTION_INT: return "an integer";
    case TDM_OPTION_FLOAT: return "a number";
    case TDM_OPTION_INT4: return "four integers [a, b, c, d]";
    case TDM_OPTION_FLOAT3: return "three numbers [r, g, b]";
    case TDM_OPTION_STRING:
    case TDM_OPTION_CHOICE: return "a string";
    case TDM_OPTION_STRINGS: return "strings [\"a\", \"b\"]";
    }
    return "a value";
}

void config_double_text(double value, char *text, size_t bytes)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, bytes, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    /* libconfig tells numbers with a fraction from integers by the point */
    if (strpbrk(text, ".ni") != NULL) return;
    const char *exponent = strchr(text, 'e');
    const size_t at = exponent ? (size_t)(exponent - text) : strlen(text);
    if (strlen(text) + 3 > bytes) return;
    memmove(text + at + 2, text + at, strlen(text + at) + 1);
    memcpy(text + at, ".0", 2);
}

/* As config_double_text, but whole numbers without a point: for people. */
static void plain_number(double value, char *text, size_t bytes)
{
    if (value == (double)(int64_t)value && value < 1e15 && value > -1e15) {
        snprintf(text, bytes, "%lld", (long long)value);
    } else {
        config_double_text(value, text, bytes);
    }
}

void config_range_text(const tdm_option *option, char *text, size_t bytes)
{
    text[0] = '\0';
    const bool has_unit = option->unit != NULL && option->unit[0] != '\0';
    if (option->min < option->max) {
        char low[40], high[40];
        plain_number(option->min, low, sizeof low);
        plain_number(option->max, high, sizeof high);
        snprintf(text, bytes, "%s to %s%s%s", low, high, has_unit ? " " : "", has_unit ? option->unit : "");
    } else if (option->choices != NULL) {
        snprintf(text, bytes, "%s", option->choices);
    } else if (has_unit) {
        snprintf(text, bytes, "%s", option->unit);
    }
}

tdm_status config_type_error(const char *where, const config_field *field, const char *got)
{
    char range[160];
    config_range_text(field->option, range, sizeof range);
    TDM_FAIL(TDM_E_CONFIG, "%s: %s: expected %s%s%s%s, got %s", where, field->key,
             config_type_name(field->option->type), range[0] ? " (" : "", range, range[0] ? ")" : "", got);
}

static tdm_status check_range(const char *where, const config_field *field, double value, const char *shown)
{
    const tdm_option *option = field->option;
    if (!(option->min < option->max)) return TDM_OK; /* the row gives no range */
    if (value >= option->min && value <= option->max) return TDM_OK;
    char range[160];
    config_range_text(option, range, sizeof range);
    TDM_FAIL(TDM_E_CONFIG, "%s: %s = %s is out of range (%s)", where, field->key, shown, range);
}

tdm_status config_set_int(const char *where, const config_field *field, int element, int64_t value)
{
    char shown[40];
    snprintf(shown, sizeof shown, "%lld", (long long)value);
    TDM_TRY(check_range(where, field, (double)value, shown));
    ((int64_t *)field->at)[element] = value;
    return TDM_OK;
}

tdm_status config_set_float(const char *where, const config_field *field, int element, double value)
{
    char shown[40];
    plain_number(value, shown, sizeof shown);
    TDM_REQUIRE(value - value == 0, TDM_E_CONFIG, "%s: %s is not a finite number", where, field->key);
    TDM_TRY(check_range(where, field, value, shown));
    ((double *)field->at)[element] = value;
    return TDM_OK;
}

int tdm_option_choice(const char *choices, const char *value)
{
    const size_t length = strlen(value);
    int index = 0;
    for (const char *at = choices; at != NULL; at = strchr(at, '|'), at = at ? at + 1 : NULL, index++) {
        if (strcspn(at, "|") == length && memcmp(at, value, length) == 0) return index;
    }
    return -1;
}

const char *tdm_option_choice_text(const char *choices, int index, char text[64])
{
    const char *at = choices;
    for (int i = 0; i < index; i++) at = strchr(at, '|') + 1;
    snprintf(text, 64, "%.*s", (int)strcspn(at, "|"), at);
    return text;
}

static tdm_status choice_error(const char *where, const config_field *field, const char *value)
{
    enum { MOST = 64 };
    char list[1024];
    const char *name[MOST];
    size_t count = 0;
    snprintf(list, sizeof list, "%s", field->option->choices);
    char *rest = list;
    for (char *at; count < MOST && (at = strsep(&rest, "|")) != NULL;) name[count++] = at;
    const char *near = tdm_nearest_name(value, name, count);
    TDM_FAIL(TDM_E_CONFIG, "%s: %s = \"%.80s\" is not one of %s%s%s%s", where, field->key, value,
             field->option->choices, near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

tdm_status config_set_string(const tdm_config *config, const char *where, const config_field *field,
                             const char *value)
{
    const char *choices = field->option->choices;
    const int choice = choices != NULL ? tdm_option_choice(choices, value) : 0;
    if (choice < 0) return choice_error(where, field, value);
    if (field->option->type == TDM_OPTION_CHOICE) {
        *(int *)field->at = choice;
        return TDM_OK;
    }
    return config_keep_string(config, value, (const char **)field->at);
}

tdm_status config_set_strings(const tdm_config *config, const char *where, const config_field *field,
                              const char *const *item, int64_t count)
{
    tdm_strings *strings = field->at;
    const char **made = NULL;
    TDM_TRY(tdm_alloc((size_t)count * sizeof *made, field->key, (void **)&made));
    for (int64_t i = 0; i < count; i++) {
        tdm_status status = TDM_OK;
        if (field->option->choices != NULL && tdm_option_choice(field->option->choices, item[i]) < 0) {
            status = choice_error(where, field, item[i]);
        }
        if (status == TDM_OK) status = config_keep_string(config, item[i], &made[i]);
        if (status != TDM_OK) {
            tdm_free(made);
            return status;
        }
    }
    tdm_free(strings->item);
    strings->item = made;
    strings->count = count;
    return TDM_OK;
}

/* ---- From text ---- */

static const char *skip_blanks(const char *at)
{
    while (isspace((unsigned char)*at)) at++;
    return at;
}

static tdm_status not_understood(const char *where, const config_field *field, const char *text)
{
    char got[128];
    snprintf(got, sizeof got, "\"%.100s\"", text);
    return config_type_error(where, field, got);
}

static tdm_status set_int_text(const char *where, const config_field *field, const char *text)
{
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *skip_blanks(end) != '\0' || errno == ERANGE)
        return not_understood(where, field, text);
    return config_set_int(where, field, 0, value);
}

static tdm_status set_float_text(const char *where, const config_field *field, const char *text)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *skip_blanks(end) != '\0') return not_understood(where, field, text);
    return config_set_float(where, field, 0, value);
}

/* One number of a sequence; *at moves behind it. */
static tdm_status set_element_text(const char *where, const config_field *field, const char *text,
                                   int element, const char **at)
{
    char *end;
    errno = 0;
    if (field->option->type == TDM_OPTION_INT4) {
        const long long value = strtoll(*at, &end, 10);
        if (end == *at || errno == ERANGE) return not_understood(where, field, text);
        TDM_TRY(config_set_int(where, field, element, value));
    } else {
        const double value = strtod(*at, &end);
        if (end == *at) return not_understood(where, field, text);
        TDM_TRY(config_set_float(where, field, element, value));
    }
    *at = skip_blanks(end);
    return TDM_OK;
}

static tdm_status set_sequence_text(const char *where, const config_field *field, const char *text, int count)
{
    const char *at = skip_blanks(text);
    const char close = *at == '[' ? ']' : *at == '(' ? ')' : '\0';
    if (close != '\0') at++;
    for (int i = 0; i < count; i++) {
        TDM_TRY(set_element_text(where, field, text, i, &at));
        if (i == count - 1) break;
        if (*at != ',') return not_understood(where, field, text);
        at++;
    }
    if (close != '\0' && *at++ != close) return not_understood(where, field, text);
    return *skip_blanks(at) == '\0' ? TDM_OK : not_understood(where, field, text);
}

/* Reads one item of a list of strings, quoted or bare, into `item` (as long as the text at most). */
static const char *read_item(const char *at, char *item)
{
    if (*at != '"') {
        for (int depth = 0; *at != '\0' && (depth > 0 || (*at != ',' && *at != ']')); at++) {
            /* brackets of the item itself: block.[0-5], crop(min_scale=0.2, max_scale=1) */
            depth += (*at == '[' || *at == '(') - (*at == ']' || *at == ')');
            *item++ = *at;
        }
        while (item[-1] == ' ') item--; /* the first character is never a blank */
        *item = '\0';
        return at;
    }
    for (at++; *at != '\0' && *at != '"'; at++) {
        if (*at == '\\' && (at[1] == '"' || at[1] == '\\')) at++;
        *item++ = *at;
    }
    *item = '\0';
    return *at == '"' ? at + 1 : NULL;
}

static tdm_status parse_items(const char *where, const config_field *field, const char *text, char *space,
                              const char **item, int64_t *count)
{
    const char *at = skip_blanks(text);
    const bool bracket = *at == '[';
    if (bracket) at = skip_blanks(at + 1);
    *count = 0;
    while (*at != '\0' && *at != ']') {
        if (*at == ',') return not_understood(where, field, text);
        item[(*count)++] = space;
        at = read_item(at, space);
        if (at == NULL) return not_understood(where, field, text);
        space += strlen(space) + 1;
        at = skip_blanks(at);
        if (*at == ',') at = skip_blanks(at + 1);
    }
    if (bracket && *at++ != ']') return not_understood(where, field, text);
    return *skip_blanks(at) == '\0' ? TDM_OK : not_understood(where, field, text);
}

static tdm_status set_strings_text(const tdm_config *config, const char *where, const config_field *field,
                                   const char *text)
{
    const size_t length = strlen(text);
    char *space = NULL;
    const char **item = NULL;
    int64_t count = 0;
    tdm_status status = tdm_alloc(2 * length + 2, "configuration text", (void **)&space);
    if (status == TDM_OK) {
        status = tdm_alloc((length + 1) * sizeof *item, "configuration text", (void **)&item);
    }
    if (status == TDM_OK) status = parse_items(where, field, text, space, item, &count);
    if (status == TDM_OK) status = config_set_strings(config, where, field, item, count);
    tdm_free(item);
    tdm_free(space);
    return status;
}

/* `"…"` loses its quotes: shells often leave them in. */
static tdm_status set_string_text(const tdm_config *config, const char *where, const config_field *field,
                                  const char *text)
{
    const size_t length = strlen(text);
    if (length < 2 || text[0] != '"' || text[length - 1] != '"') {
        return config_set_string(config, where, field, text);
    }
    tdm_text inner = {0};
    tdm_status status = tdm_text_append(&inner, text + 1, length - 2);
    if (status == TDM_OK) status = config_set_string(config, where, field, inner.data);
    tdm_text_free(&inner);
    return status;
}

tdm_status config_set_text(const tdm_config *config, const char *where, const config_field *field,
                           const char *text)
{
    switch (field->option->type) {
    case TDM_OPTION_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            return not_understood(where, field, text);
        }
        *(bool *)field->at = text[0] == 't';
        return TDM_OK;
    case TDM_OPTION_INT: return set_int_text(where, field, text);
    case TDM_OPTION_FLOAT: return set_float_text(where, field, text);
    case TDM_OPTION_INT4: return set_sequence_text(where, field, text, 4);
    case TDM_OPTION_FLOAT3: return set_sequence_text(where, field, text, 3);
    case TDM_OPTION_STRING:
    case TDM_OPTION_CHOICE: return set_string_text(config, where, field, text);
    case TDM_OPTION_STRINGS: return set_strings_text(config, where, field, text);
    }
    TDM_FAIL(TDM_E_CONFIG, "%s: %s has an unknown type", where, field->key);
}

/* ---- To text ---- */

static tdm_status print_string(const char *string, tdm_text *text)
{
    TDM_TRY(tdm_text_append(text, "\"", 1));
    for (const unsigned char *at = (const unsigned char *)string; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\') {
            TDM_TRY(tdm_text_printf(text, "\\%c", *at));
        } else if (*at < 0x20 || *at == 0x7f) {
            TDM_TRY(tdm_text_printf(text, "\\x%02x", *at));
        } else {
            TDM_TRY(tdm_text_append(text, at, 1));
        }
    }
    return tdm_text_append(text, "\"", 1);
}

static tdm_status print_doubles(const double *value, int count, tdm_text *text)
{
    for (int i = 0; i < count; i++) {
        char number[40];
        config_double_text(value[i], number, sizeof number);
        TDM_TRY(tdm_text_printf(text, "%s%s", i > 0 ? ", " : "", number));
    }
    return TDM_OK;
}

static tdm_status print_ints(const int64_t *value, int count, tdm_text *text)
{
    for (int i = 0; i < count; i++) {
        const bool wide = value[i] > INT32_MAX || value[i] < INT32_MIN; /* libconfig 1.5 wants the suffix */
        TDM_TRY(tdm_text_printf(text, "%s%lld%s", i > 0 ? ", " : "", (long long)value[i], wide ? "L" : ""));
    }
    return TDM_OK;
}

tdm_status config_value_print(const config_field *field, tdm_text *text)
{
    const tdm_strings *strings;
    char choice[64];
    switch (field->option->type) {
    case TDM_OPTION_BOOL: return tdm_text_printf(text, "%s", *(const bool *)field->at ? "true" : "false");
    case TDM_OPTION_INT: return print_ints(field->at, 1, text);
    case TDM_OPTION_FLOAT: return print_doubles(field->at, 1, text);
    case TDM_OPTION_INT4:
        TDM_TRY(tdm_text_append(text, "[", 1));
        TDM_TRY(print_ints(field->at, 4, text));
        return tdm_text_append(text, "]", 1);
    case TDM_OPTION_FLOAT3:
        TDM_TRY(tdm_text_append(text, "[", 1));
        TDM_TRY(print_doubles(field->at, 3, text));
        return tdm_text_append(text, "]", 1);
    case TDM_OPTION_STRING: return print_string(*(const char *const *)field->at, text);
    case TDM_OPTION_CHOICE:
        return print_string(tdm_option_choice_text(field->option->choices, *(const int *)field->at, choice),
                            text);
    case TDM_OPTION_STRINGS:
        strings = field->at;
        TDM_TRY(tdm_text_append(text, "[", 1));
        for (int64_t i = 0; i < strings->count; i++) {
            if (i > 0) TDM_TRY(tdm_text_append(text, ", ", 2));
            TDM_TRY(print_string(strings->item[i], text));
        }
        return tdm_text_append(text, "]", 1);
    }
    return TDM_OK;
}
