/* The resolved configuration in libconfig's syntax, and the list of keys for --help and the documentation. */
#include "config_impl.h"

#include <string.h>

/* The component of `key` behind `prefix`: its length, and whether more components follow. */
static size_t component(const char *key, size_t prefix, bool *is_group)
{
    const size_t n = strcspn(key + prefix, ".");
    *is_group = key[prefix + n] == '.';
    return n;
}

/* True when an earlier field has the same first `length` characters and then a point: printed already. */
static bool seen_before(const tdm_config *config, size_t index, const char *key, size_t length)
{
    config_field earlier;
    for (size_t i = 0; i < index && config_field_at(config, i, &earlier); i++) {
        if (strncmp(earlier.key, key, length) == 0 && earlier.key[length] == '.') return true;
    }
    return false;
}

/* Everything whose key begins with `prefix` ("" or "model."), and at the top only `only` unless NULL. */
static tdm_status print_level(const tdm_config *config, const char *prefix, const char *only, int indent,
                              tdm_text *text)
{
    const size_t begin = strlen(prefix);
    config_field field;
    for (size_t i = 0; config_field_at(config, i, &field); i++) {
        if (strncmp(field.key, prefix, begin) != 0) continue;
        bool is_group;
        const size_t n = component(field.key, begin, &is_group);
        const char *name = field.key + begin;
        if (only != NULL && (strlen(only) != n || memcmp(only, name, n) != 0)) continue;
        if (!is_group) {
            TDM_TRY(tdm_text_printf(text, "%*s%s = ", indent, "", name));
            TDM_TRY(config_value_print(&field, text));
            TDM_TRY(tdm_text_append(text, ";\n", 2));
        } else if (!seen_before(config, i, field.key, begin + n)) {
            char inner[CONFIG_KEY_BYTES];
            snprintf(inner, sizeof inner, "%.*s", (int)(begin + n + 1), field.key);
            TDM_TRY(tdm_text_printf(text, "%*s%.*s: {\n", indent, "", (int)n, name));
            TDM_TRY(print_level(config, inner, NULL, indent + 2, text));
            TDM_TRY(tdm_text_printf(text, "%*s};\n", indent, ""));
        }
    }
    return TDM_OK;
}

tdm_status tdm_config_print(const tdm_config *config, const char *group, tdm_text *text)
{
    TDM_TRY(tdm_text_append(text, "", 0));
    return print_level(config, "", group, 0, text);
}

tdm_status tdm_config_hash(const tdm_config *config, uint64_t *hash)
{
    tdm_text text = {0};
    const tdm_status status = tdm_config_print(config, NULL, &text);
    uint64_t value = UINT64_C(0xcbf29ce484222325); /* FNV-1a, 64 bits (draft-eastlake-fnv) */
    for (size_t i = 0; status == TDM_OK && i < text.length; i++) {
        value = (value ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001b3);
    }
    tdm_text_free(&text);
    *hash = value;
    return status;
}

static const char *short_type(tdm_option_type type)
{
    switch (type) {
    case TDM_OPTION_BOOL: return "bool";
    case TDM_OPTION_INT: return "int";
    case TDM_OPTION_FLOAT: return "float";
    case TDM_OPTION_INT4: return "[int, int, int, int]";
    case TDM_OPTION_FLOAT3: return "[float, float, float]";
    case TDM_OPTION_STRING:
    case TDM_OPTION_CHOICE: return "string";
    case TDM_OPTION_STRINGS: return "[string, …]";
    }
    return "";
}

static tdm_status help_row(const config_field *field, tdm_text *text)
{
    const tdm_option *option = field->option;
    const bool quoted = option->type == TDM_OPTION_STRING || option->type == TDM_OPTION_CHOICE;
    char range[160];
    config_range_text(option, range, sizeof range);
    TDM_TRY(tdm_text_printf(text, "  %s = %s%s%s\n", field->key, quoted ? "\"" : "", option->default_text,
                            quoted ? "\"" : ""));
    return tdm_text_printf(text, "      %s%s%s. %s\n", short_type(option->type), range[0] ? ", " : "", range,
                           option->help);
}

tdm_status tdm_config_help(tdm_text *text)
{
    tdm_config config = {0};
    tdm_status status = tdm_config_init(&config);
    config_field field;
    for (size_t i = 0; status == TDM_OK && config_field_at(&config, i, &field); i++) {
        status = help_row(&field, text);
    }
    tdm_config_destroy(&config);
    return status;
}
