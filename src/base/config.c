/* A configuration's life, registered groups, --set, rules between keys. */
#include "config_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_GROUPS = 256 };

/* Groups of other folders (objectives, augmentations, towers, heads); filled before the first configuration is
 * made. */
typedef struct registered {
    tdm_option_group group; /* its strings point to those below */
    char prefix[64], if_key[64], if_value[64];
    char (*key)[CONFIG_KEY_BYTES]; /* [count] full keys */
} registered;
static registered registry[MOST_GROUPS];
static size_t registry_count;

typedef struct kept_string {
    struct kept_string *next;
    char text[];
} kept_string;

/* A struct of a group that is no configuration's own: tdm_config_variant. */
typedef struct kept_options {
    struct kept_options *next;
    config_group group;
} kept_options;

struct tdm_config_store {
    void *group[MOST_GROUPS]; /* one struct of each registered group */
    size_t groups;
    kept_string *strings;
    kept_options *variants;
};

/* ---- Fields ---- */

bool config_field_at(const tdm_config *config, size_t index, config_field *field)
{
    size_t count;
    const tdm_option *row = tdm_config_options(&count);
    if (index < count) {
        field->key = row[index].key;
        field->option = &row[index];
        field->at = (unsigned char *)config + row[index].offset;
        field->group = NULL;
        return true;
    }
    index -= count;
    for (size_t g = 0; config->store != NULL && g < config->store->groups; g++) {
        const tdm_option_group *group = &registry[g].group;
        if (index < group->count) {
            field->key = registry[g].key[index];
            field->option = &group->rows[index];
            field->at = (unsigned char *)config->store->group[g] + group->rows[index].offset;
            field->group = group;
            return true;
        }
        index -= group->count;
    }
    return false;
}

bool config_field_find(const tdm_config *config, const char *key, config_field *field)
{
    for (size_t i = 0; config_field_at(config, i, field); i++) {
        if (strcmp(field->key, key) == 0) return true;
    }
    return false;
}

bool config_field_former(const tdm_config *config, const char *key, config_field *field)
{
    for (size_t i = 0; config_field_at(config, i, field); i++) {
        if (field->option->former != NULL && strcmp(field->option->former, key) == 0) return true;
    }
    return false;
}

bool config_is_group(const tdm_config *config, const char *path)
{
    const size_t n = strlen(path);
    config_field field;
    for (size_t i = 0; config_field_at(config, i, &field); i++) {
        if (strncmp(field.key, path, n) == 0 && field.key[n] == '.') return true;
    }
    return false;
}

/* ---- "Did you mean …?" ---- */

/* All keys and all groups, in `name[count]` (pointing into one buffer). Free both. */
typedef struct name_list {
    char (*buffer)[CONFIG_KEY_BYTES];
    const char **name;
    size_t count;
} name_list;

static void add_name(name_list *list, const char *key, size_t length)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strlen(list->name[i]) == length && memcmp(list->name[i], key, length) == 0) return;
    }
    snprintf(list->buffer[list->count], CONFIG_KEY_BYTES, "%.*s", (int)length, key);
    list->name[list->count] = list->buffer[list->count];
    list->count++;
}

static tdm_status list_names(const tdm_config *config, name_list *list)
{
    enum { MOST_LEVELS = 5 }; /* a key and the groups around it */
    memset(list, 0, sizeof *list);
    size_t fields = 0;
    config_field field;
    while (config_field_at(config, fields, &field)) fields++;
    TDM_TRY(TDM_ALLOC(fields * MOST_LEVELS, &list->buffer));
    TDM_TRY(TDM_ALLOC(fields * MOST_LEVELS, &list->name));
    for (size_t i = 0; config_field_at(config, i, &field); i++) {
        int level = 1;
        for (const char *dot = strchr(field.key, '.'); dot != NULL && level < MOST_LEVELS; level++) {
            add_name(list, field.key, (size_t)(dot - field.key));
            dot = strchr(dot + 1, '.');
        }
        add_name(list, field.key, strlen(field.key));
    }
    return TDM_OK;
}

static const char *last_component(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/* Nearest name in the group of `path`; else the same last word in another group; else the nearest path. */
static const char *suggest(const name_list *list, const char *path)
{
    const char *word = last_component(path);
    const size_t group = (size_t)(word - path); /* with its point */
    const char *sibling[512], *near = NULL;
    size_t siblings = 0;
    for (size_t i = 0; i < list->count && siblings < 512; i++) {
        const char *name = list->name[i];
        if (strncmp(name, path, group) == 0 && strchr(name + group, '.') == NULL) {
            sibling[siblings++] = name + group;
        }
    }
    near = tdm_nearest_name(word, sibling, siblings);
    if (near != NULL) return near - group; /* the full path */
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(last_component(list->name[i]), word) == 0) return list->name[i];
    }
    return tdm_nearest_name(path, list->name, list->count);
}

tdm_status config_unknown_key(const tdm_config *config, const char *where, const char *path)
{
    name_list list;
    const tdm_status status = list_names(config, &list);
    const char *near = status == TDM_OK ? suggest(&list, path) : NULL;
    TDM_ERROR(TDM_E_CONFIG, "%s: unknown key %s%s%s%s", where, path, near ? " (did you mean " : "",
              near ? near : "", near ? "?)" : "");
    tdm_free(list.buffer);
    tdm_free(list.name);
    return TDM_E_CONFIG;
}

/* ---- Life ---- */

tdm_status config_keep_string(const tdm_config *config, const char *string, const char **kept)
{
    const size_t length = strlen(string);
    kept_string *made = malloc(sizeof *made + length + 1);
    TDM_REQUIRE(made, TDM_E_NOMEM, "out of memory for a configuration value");
    memcpy(made->text, string, length + 1);
    made->next = config->store->strings;
    config->store->strings = made;
    *kept = made->text;
    return TDM_OK;
}

tdm_status config_keep_options(const tdm_config *config, const config_group *group, void **options)
{
    kept_options *made;
    TDM_TRY(TDM_ALLOC(1, &made));
    made->group = *group;
    tdm_status status = tdm_alloc(group->bytes, group->prefix, &made->group.options);
    if (status != TDM_OK) {
        tdm_free(made);
        return status;
    }
    made->next = config->store->variants;
    config->store->variants = made;
    *options = made->group.options;
    return TDM_OK;
}

static void free_variants(kept_options *variant)
{
    for (kept_options *next; variant != NULL; variant = next) {
        next = variant->next;
        for (size_t i = 0; i < variant->group.count; i++) {
            const tdm_option *row = &variant->group.row[i];
            unsigned char *at = (unsigned char *)variant->group.options + row->offset;
            if (row->type == TDM_OPTION_STRINGS) tdm_free(((tdm_strings *)(void *)at)->item);
        }
        tdm_free(variant->group.options);
        tdm_free(variant);
    }
}

/* The store with a zeroed struct per registered group. */
static tdm_status create_store(tdm_config *config)
{
    memset(config, 0, sizeof *config);
    TDM_TRY(TDM_ALLOC(1, &config->store));
    for (size_t g = 0; g < registry_count; g++) {
        TDM_TRY(tdm_alloc(registry[g].group.bytes, registry[g].prefix, &config->store->group[g]));
        config->store->groups++;
    }
    return TDM_OK;
}

tdm_status tdm_config_init(tdm_config *config)
{
    tdm_status status = create_store(config);
    config_field field;
    for (size_t i = 0; status == TDM_OK && config_field_at(config, i, &field); i++) {
        status = config_set_text(config, "default", &field, field.option->default_text);
    }
    if (status != TDM_OK) tdm_config_destroy(config);
    return status;
}

void tdm_config_destroy(tdm_config *config)
{
    if (config->store != NULL) {
        config_field field;
        for (size_t i = 0; config_field_at(config, i, &field); i++) {
            if (field.option->type == TDM_OPTION_STRINGS) tdm_free(((tdm_strings *)field.at)->item);
        }
        free_variants(config->store->variants);
        for (size_t g = 0; g < config->store->groups; g++) tdm_free(config->store->group[g]);
        for (kept_string *at = config->store->strings, *next; at != NULL; at = next) {
            next = at->next;
            free(at);
        }
        tdm_free(config->store);
    }
    memset(config, 0, sizeof *config);
}

tdm_status config_copy_field(const tdm_config *to, const config_field *source, const config_field *field)
{
    const void *from = source->at;
    switch (field->option->type) {
    case TDM_OPTION_BOOL: *(bool *)field->at = *(const bool *)from; return TDM_OK;
    case TDM_OPTION_INT: *(int64_t *)field->at = *(const int64_t *)from; return TDM_OK;
    case TDM_OPTION_FLOAT: *(double *)field->at = *(const double *)from; return TDM_OK;
    case TDM_OPTION_INT4: memcpy(field->at, from, 4 * sizeof(int64_t)); return TDM_OK;
    case TDM_OPTION_FLOAT3: memcpy(field->at, from, 3 * sizeof(double)); return TDM_OK;
    case TDM_OPTION_CHOICE: *(int *)field->at = *(const int *)from; return TDM_OK;
    case TDM_OPTION_STRING:
        return config_keep_string(to, *(const char *const *)from, (const char **)field->at);
    case TDM_OPTION_STRINGS: {
        const tdm_strings *strings = from;
        return config_set_strings(to, "copy", field, strings->item, strings->count);
    }
    }
    return TDM_OK;
}

tdm_status tdm_config_copy(const tdm_config *from, tdm_config *to)
{
    TDM_TRY(tdm_config_init(to));
    tdm_status status = TDM_OK;
    config_field source, target;
    for (size_t i = 0; status == TDM_OK && config_field_at(from, i, &source); i++) {
        if (config_field_at(to, i, &target)) status = config_copy_field(to, &source, &target);
    }
    if (status != TDM_OK) tdm_config_destroy(to);
    return status;
}

/* ---- Registered groups ---- */

/* A row whose default does not fit itself is a slip of the programmer: found at registration. */
static tdm_status check_defaults(void)
{
    tdm_config config = {0};
    const tdm_status status = tdm_config_init(&config);
    tdm_config_destroy(&config);
    return status;
}

static tdm_status check_new(const registered *made)
{
    for (const registered *other = registry; other < made; other++)
        for (size_t i = 0; i < made->group.count; i++)
            for (size_t k = 0; k < other->group.count; k++)
                TDM_REQUIRE(strcmp(made->key[i], other->key[k]) != 0, TDM_E_CONFIG,
                            "configuration key %s is registered twice", made->key[i]);
    return TDM_OK;
}

static tdm_status make_keys(registered *made)
{
    const tdm_option_group *group = &made->group;
    TDM_TRY(TDM_ALLOC(group->count, &made->key));
    for (size_t i = 0; i < group->count; i++) {
        const int n = snprintf(made->key[i], CONFIG_KEY_BYTES, "%s.%s", group->prefix, group->rows[i].key);
        TDM_REQUIRE(n < CONFIG_KEY_BYTES, TDM_E_CONFIG, "name of configuration key %s… is too long",
                    made->key[i]);
        TDM_REQUIRE(group->rows[i].change != TDM_CHANGE_OF_GROUP || group->change != TDM_CHANGE_OF_GROUP,
                    TDM_E_CONFIG,
                    "configuration key %s does not say what a change of it means for a resumed run",
                    made->key[i]);
    }
    return TDM_OK;
}

static tdm_status keep_name(char to[64], const char *name, const char **kept)
{
    if (name == NULL) return TDM_OK;
    TDM_REQUIRE(strlen(name) < 64, TDM_E_CONFIG, "name of configuration group %s is too long", name);
    *kept = strcpy(to, name);
    return TDM_OK;
}

tdm_status tdm_config_register(const tdm_option_group *group)
{
    for (size_t g = 0; g < registry_count; g++) {
        const tdm_option_group *other = &registry[g].group;
        if (strcmp(other->prefix, group->prefix) == 0 && other->rows == group->rows &&
            other->count == group->count)
            return TDM_OK;
    }
    TDM_REQUIRE(registry_count < MOST_GROUPS, TDM_E_CONFIG, "more than %d configuration groups", MOST_GROUPS);
    registered *made = &registry[registry_count];
    made->group = *group;
    TDM_TRY(keep_name(made->prefix, group->prefix, &made->group.prefix));
    TDM_TRY(keep_name(made->if_key, group->if_key, &made->group.if_key));
    TDM_TRY(keep_name(made->if_value, group->if_value, &made->group.if_value));
    tdm_status status = make_keys(made);
    if (status == TDM_OK) status = check_new(made);
    registry_count++;
    if (status == TDM_OK) status = check_defaults();
    if (status != TDM_OK) {
        tdm_free(made->key);
        registry_count--;
    }
    return status;
}

bool config_group_find(const tdm_config *config, const char *prefix, config_group *group)
{
    for (size_t g = 0; config->store != NULL && g < config->store->groups; g++) {
        if (strcmp(registry[g].prefix, prefix) != 0) continue;
        *group = (config_group){.prefix = registry[g].prefix,
                                .row = registry[g].group.rows,
                                .count = registry[g].group.count,
                                .bytes = registry[g].group.bytes,
                                .key = registry[g].key,
                                .options = config->store->group[g]};
        return true;
    }
    return false;
}

const void *tdm_config_group(const tdm_config *config, const char *prefix)
{
    config_group group;
    return config_group_find(config, prefix, &group) ? group.options : NULL;
}

const void *tdm_config_rows(const tdm_config *config, const char *prefix, const tdm_option *rows)
{
    for (size_t g = 0; config->store != NULL && g < config->store->groups; g++) {
        if (registry[g].group.rows == rows && strcmp(registry[g].prefix, prefix) == 0)
            return config->store->group[g];
    }
    return NULL;
}

void tdm_config_unregister_all(void)
{
    for (size_t g = 0; g < registry_count; g++) tdm_free(registry[g].key);
    registry_count = 0;
}

/* ---- --set ---- */

tdm_status tdm_config_set(tdm_config *config, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    TDM_REQUIRE(equals != NULL && equals > assignment, TDM_E_CONFIG, "--set %.200s: expected group.key=value",
                assignment);
    char key[CONFIG_KEY_BYTES];
    const int n = snprintf(key, sizeof key, "%.*s", (int)tdm_min_i64(equals - assignment, 4096), assignment);
    TDM_REQUIRE(n < (int)sizeof key, TDM_E_CONFIG, "--set: unknown key %.100s…", key);
    config_field field;
    if (config_field_find(config, key, &field)) return config_set_text(config, "--set", &field, equals + 1);
    if (config_field_former(config, key, &field)) {
        tdm_log(TDM_LOG_WARN, "--set: %s is %s now", key, field.key);
        return config_set_text(config, "--set", &field, equals + 1);
    }
    TDM_REQUIRE(!config_is_group(config, key), TDM_E_CONFIG, "--set: %s is a group of keys; set one of them",
                key);
    return config_unknown_key(config, "--set", key);
}

/* ---- Rules between keys ---- */

/* Patience counts evaluations by a metric: there have to be some. */
static tdm_status check_patience(const tdm_config *config)
{
    const long long patience = (long long)config->train.patience;
    if (patience == 0) return TDM_OK;
    TDM_REQUIRE(config->eval.dir[0] != '\0', TDM_E_CONFIG,
                "train.patience = %lld counts evaluations, but eval.dir is not set", patience);
    TDM_REQUIRE(
        config->eval.every_epochs > 0, TDM_E_CONFIG,
        "train.patience = %lld counts evaluations, but eval.every_epochs = 0 has only one, at the end",
        patience);
    TDM_REQUIRE(config->checkpoint.best_metric[0] != '\0', TDM_E_CONFIG,
                "train.patience = %lld needs checkpoint.best_metric, which says what better means", patience);
    return TDM_OK;
}

tdm_status tdm_config_check(const tdm_config *config)
{
    TDM_REQUIRE(config->train.epochs > 0 || config->train.steps > 0, TDM_E_CONFIG,
                "train.epochs and train.steps are both 0: nothing to train");
    TDM_REQUIRE(config->eval.dir[0] == '\0' || config->eval.split[0] != '\0', TDM_E_CONFIG,
                "eval.dir is set, but eval.split is empty");
    TDM_TRY(check_patience(config));
    const double warmup = config->optim.warmup_epochs, start = config->optim.warmup_start_ratio;
    TDM_REQUIRE(warmup <= 0.0 || config->train.steps == 0, TDM_E_CONFIG,
                "optim.warmup_epochs is a part of train.epochs, but train.steps = %lld decides: give "
                "optim.warmup_steps instead",
                (long long)config->train.steps);
    TDM_REQUIRE(warmup <= (double)config->train.epochs || warmup <= 0.0, TDM_E_CONFIG,
                "optim.warmup_epochs is %g, more than train.epochs = %lld", warmup,
                (long long)config->train.epochs);
    TDM_REQUIRE(start == -1.0 || start >= 0.0, TDM_E_CONFIG,
                "optim.warmup_start_ratio is %g: 0 to 1, or -1 for one step's share of the rise", start);
    return TDM_OK;
}
