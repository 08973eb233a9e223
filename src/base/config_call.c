/* NAME(key=value, …): a group's options with some of them changed, where the same thing is used several times in
 * different ways. */
#include "config_impl.h"

#include <ctype.h>
#include <string.h>

tdm_status tdm_config_call(const char *where, const char *text, char name[64], const char **arguments,
                           size_t *length)
{
    const size_t n = strcspn(text, "(");
    const char *end = text + strlen(text);
    size_t trimmed = n;
    while (trimmed > 0 && isspace((unsigned char)text[trimmed - 1])) trimmed--;
    TDM_REQUIRE(trimmed > 0 && trimmed < 64, TDM_E_CONFIG,
                "%s: \"%.80s\": expected NAME or NAME(key=value, …)", where, text);
    memcpy(name, text, trimmed);
    name[trimmed] = '\0';
    *arguments = "";
    *length = 0;
    if (text[n] == '\0') return TDM_OK;
    while (end > text + n && isspace((unsigned char)end[-1])) end--;
    TDM_REQUIRE(end[-1] == ')', TDM_E_CONFIG, "%s: \"%.80s\": the bracket is not closed", where, text);
    *arguments = text + n + 1;
    *length = (size_t)(end - 1 - *arguments);
    return TDM_OK;
}

/* Length of the argument that begins at `at`: up to a comma outside brackets and quotes. */
static size_t argument_length(const char *at, size_t left)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < left; i++) {
        if (at[i] == '"') quoted = !quoted;
        if (quoted) continue;
        depth += (at[i] == '[' || at[i] == '(') - (at[i] == ']' || at[i] == ')');
        if (at[i] == ',' && depth == 0) return i;
    }
    return left;
}

static tdm_status unknown_option(const char *where, const config_group *group, const char *key)
{
    enum { MOST = 64 };
    const char *name[MOST];
    size_t count = 0;
    for (size_t i = 0; i < group->count && count < MOST; i++) name[count++] = group->row[i].key;
    const char *near = tdm_nearest_name(key, name, count);
    TDM_FAIL(TDM_E_CONFIG, "%s: %s has no option \"%s\"%s%s%s", where, group->prefix, key,
             near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

/* One "key=value" into the struct. */
static tdm_status set_argument(const tdm_config *config, const char *where, const config_group *group,
                               char *text)
{
    char *equals = strchr(text, '=');
    TDM_REQUIRE(equals != NULL, TDM_E_CONFIG, "%s: \"%.80s\": expected key=value", where, text);
    char *key = text + strspn(text, " \t"), *end = equals, *value = equals + 1 + strspn(equals + 1, " \t");
    while (end > key && (end[-1] == ' ' || end[-1] == '\t')) end--;
    *end = '\0';
    for (char *last = value + strlen(value); last > value && isspace((unsigned char)last[-1]);)
        *--last = '\0';
    for (size_t i = 0; i < group->count; i++) {
        if (strcmp(group->row[i].key, key) != 0) continue;
        const config_field field = {.key = group->key[i],
                                    .option = &group->row[i],
                                    .at = (unsigned char *)group->options + group->row[i].offset};
        return config_set_text(config, where, &field, value);
    }
    return unknown_option(where, group, key);
}

static tdm_status set_arguments(const tdm_config *config, const char *where, const config_group *group,
                                const char *arguments, size_t length)
{
    for (size_t at = 0; at < length;) {
        const size_t n = argument_length(arguments + at, length - at);
        char text[512];
        TDM_REQUIRE(n < sizeof text, TDM_E_CONFIG, "%s: an option of %s is too long", where, group->prefix);
        memcpy(text, arguments + at, n);
        text[n] = '\0';
        TDM_TRY(set_argument(config, where, group, text));
        at += n + 1;
    }
    return TDM_OK;
}

tdm_status tdm_config_variant(const tdm_config *config, const char *where, const char *prefix,
                              const char *arguments, size_t length, const void **options)
{
    config_group group;
    void *made;
    TDM_REQUIRE(config_group_find(config, prefix, &group), TDM_E_CONFIG, "%s: there is no group %s", where,
                prefix);
    const unsigned char *source = group.options;
    TDM_TRY(config_keep_options(config, &group, &made));
    for (size_t i = 0; i < group.count; i++) {
        const size_t at = group.row[i].offset;
        const config_field from = {group.key[i], &group.row[i], (void *)(uintptr_t)(source + at), NULL};
        const config_field to = {group.key[i], &group.row[i], (unsigned char *)made + at, NULL};
        TDM_TRY(config_copy_field(config, &from, &to));
    }
    group.options = made;
    *options = made;
    return set_arguments(config, where, &group, arguments, length);
}
