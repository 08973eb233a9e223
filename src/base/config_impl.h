/* Private to the config*.c files.
 *
 *   config.c         the struct's life, registered groups, --set, rules between keys
 *   config_call.c    NAME(key=value, …): a group's options with some of them changed
 *   config_schema.c  the rows
 *   config_value.c   one value: from text, from checks, to text
 *   config_file.c    files: @include, libconfig's tree, model definitions
 *   config_print.c   the resolved configuration and the documented list
 *   config_compare.c a run's configuration against its checkpoint's */
#ifndef TANDEM_CONFIG_IMPL_H
#define TANDEM_CONFIG_IMPL_H

#include "tandem/config.h"

enum {
    CONFIG_KEY_BYTES = 128,   /* a full dotted key */
    CONFIG_WHERE_BYTES = 4200 /* "file:line" of a message */
};

/* One key of one configuration. */
typedef struct config_field {
    const char *key; /* full dotted key, at most CONFIG_KEY_BYTES with its NUL */
    const tdm_option *option;
    void *at;                      /* the value, inside the configuration or one of its groups */
    const tdm_option_group *group; /* that the row came with; NULL: the core's */
} config_field;

/* Field number `index` (core rows first, then the registered groups in order); false beyond the last. */
bool config_field_at(const tdm_config *config, size_t index, config_field *field);
/* False when there is no such key. */
bool config_field_find(const tdm_config *config, const char *key, config_field *field);
/* The field that `key` named in an earlier version; false when there is none. */
bool config_field_former(const tdm_config *config, const char *key, config_field *field);
/* True when `path` is a group: some key begins with "path.". */
bool config_is_group(const tdm_config *config, const char *path);
/* TDM_E_CONFIG: "WHERE: unknown key PATH (did you mean …?)" */
TDM_CHECKED tdm_status config_unknown_key(const tdm_config *config, const char *where, const char *path);

/* A copy of `string` that lives as long as the configuration. */
TDM_CHECKED tdm_status config_keep_string(const tdm_config *config, const char *string, const char **kept);

/* Setters check range and choices; `where` begins the message ("conf/a.cfg:3"). */
TDM_CHECKED tdm_status config_set_int(const char *where, const config_field *field, int element,
                                      int64_t value);
TDM_CHECKED tdm_status config_set_float(const char *where, const config_field *field, int element,
                                        double value);
TDM_CHECKED tdm_status config_set_string(const tdm_config *config, const char *where,
                                         const config_field *field, const char *value);
/* item[count] is copied. */
TDM_CHECKED tdm_status config_set_strings(const tdm_config *config, const char *where,
                                          const config_field *field, const char *const *item, int64_t count);
/* Any type from text, as in a row's default_text and in --set: strings without quotes, [a, b, c]. */
TDM_CHECKED tdm_status config_set_text(const tdm_config *config, const char *where, const config_field *field,
                                       const char *text);
/* TDM_E_CONFIG: "WHERE: KEY: expected an integer in px, got GOT" */
TDM_CHECKED tdm_status config_type_error(const char *where, const config_field *field, const char *got);

/* Copies one value; both fields are of the same row. Strings are copied. */
TDM_CHECKED tdm_status config_copy_field(const tdm_config *to, const config_field *source,
                                         const config_field *field);

/* A group that another folder registered, and its struct in a configuration. */
typedef struct config_group {
    const char *prefix;
    const tdm_option *row; /* [count], keys relative */
    size_t count, bytes;
    char (*key)[CONFIG_KEY_BYTES]; /* [count] full keys */
    void *options;                 /* NULL without a configuration */
} config_group;
bool config_group_find(const tdm_config *config, const char *prefix, config_group *group);
/* Gives a struct of the group, zeroed, that lives as long as the configuration. */
TDM_CHECKED tdm_status config_keep_options(const tdm_config *config, const config_group *group,
                                           void **options);

/* The value in libconfig syntax, strings quoted and escaped. */
TDM_CHECKED tdm_status config_value_print(const config_field *field, tdm_text *text);
/* Shortest decimal that reads back as `value`, always with a point or an exponent. */
void config_double_text(double value, char *text, size_t bytes);
const char *config_type_name(tdm_option_type type);
/* "" or "1 to 32 px" … */
void config_range_text(const tdm_option *option, char *text, size_t bytes);

#endif
