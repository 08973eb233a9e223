/* Configuration files: @include, libconfig's tree walked along the schema, model definitions.
 *
 * libconfig 1.5 looks for every included file in one directory, and wraps integers of more than 32 bits
 * around silently. So the text is assembled here first: includes are pasted in (relative to the file that
 * names them, anywhere outside strings and comments), long integers get the suffix L, and a map from lines of
 * the assembled text to files and lines serves the messages. */
#include "config_impl.h"

#include "tandem/plain_text.h"

#include <libconfig.h>

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INCLUDE_DEPTH = 16, MAX_TEXT_BYTES = 8 << 20 };

/* Lines of the assembled text from `line` on are lines of `file` from `file_line` on. */
typedef struct segment {
    int line, file_line;
    char *file; /* owned by the source */
} segment;

typedef struct source {
    tdm_text text;
    int line; /* of the end of `text`, 1-based */
    segment *segment;
    int64_t segments, capacity;
    bool include_allowed;
} source;

static void source_free(source *src)
{
    for (int64_t i = 0; i < src->segments; i++) free(src->segment[i].file);
    free(src->segment);
    tdm_text_free(&src->text);
}

static tdm_status add_segment(source *src, const char *file, int file_line)
{
    if (src->segments == src->capacity) {
        const int64_t capacity = src->capacity * 2 + 8;
        segment *grown = realloc(src->segment, (size_t)capacity * sizeof *grown);
        TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: out of memory", file);
        src->segment = grown;
        src->capacity = capacity;
    }
    char *name = strdup(file);
    TDM_REQUIRE(name, TDM_E_NOMEM, "%s: out of memory", file);
    src->segment[src->segments++] = (segment){.line = src->line, .file_line = file_line, .file = name};
    return TDM_OK;
}

/* "file:line" of a line of the assembled text. */
static void source_where(const source *src, int line, char where[CONFIG_WHERE_BYTES])
{
    const segment *found = &src->segment[0];
    for (int64_t i = 0; i < src->segments && src->segment[i].line <= line; i++) found = &src->segment[i];
    snprintf(where, CONFIG_WHERE_BYTES, "%s:%d", found->file, found->file_line + line - found->line);
}

/* ---- Assembling ---- */

/* Where the scanner stands in one file. */
typedef struct cursor {
    const char *file;
    const char *at, *end;
    int line, depth;
} cursor;

static tdm_status assemble_file(source *src, const char *path, int depth, const char *from, int from_line);

/* Copies characters up to `to`, counting lines. */
static tdm_status copy_to(source *src, cursor *in, const char *to)
{
    for (const char *c = in->at; c < to; c++) {
        if (*c == '\n') {
            src->line++;
            in->line++;
        }
    }
    TDM_TRY(tdm_text_append(&src->text, in->at, (size_t)(to - in->at)));
    in->at = to;
    TDM_REQUIRE(src->text.length <= MAX_TEXT_BYTES, TDM_E_CONFIG,
                "%s:%d: configuration is longer than %d MiB", in->file, in->line, MAX_TEXT_BYTES >> 20);
    return TDM_OK;
}

/* The character after a string that begins at `at` ('"'), or NULL when it does not end. */
static const char *string_end(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '\\' && at + 1 < end) {
            at++;
        } else if (*at == '"') {
            return at + 1;
        }
    }
    return NULL;
}

static tdm_status copy_string(source *src, cursor *in)
{
    const char *end = string_end(in->at, in->end);
    TDM_REQUIRE(end, TDM_E_CONFIG, "%s:%d: a string has no closing quote", in->file, in->line);
    return copy_to(src, in, end);
}

static tdm_status copy_block_comment(source *src, cursor *in)
{
    const char *at = in->at + 2;
    while (at + 1 < in->end && !(at[0] == '*' && at[1] == '/')) at++;
    TDM_REQUIRE(at + 1 < in->end, TDM_E_CONFIG, "%s:%d: a comment has no closing */", in->file, in->line);
    return copy_to(src, in, at + 2);
}

static tdm_status copy_line_comment(source *src, cursor *in)
{
    const char *newline = memchr(in->at, '\n', (size_t)(in->end - in->at));
    return copy_to(src, in, newline ? newline : in->end);
}

/* Copies a word or a number; an integer beyond 32 bits gets the suffix L. */
static tdm_status copy_word(source *src, cursor *in)
{
    const char *begin = in->at, *at = begin;
    while (at < in->end && (isalnum((unsigned char)*at) || *at == '_' || *at == '.' || *at == '*')) at++;
    if (!isdigit((unsigned char)*begin)) return copy_to(src, in, at);

    const bool hex = at - begin > 2 && begin[0] == '0' && (begin[1] == 'x' || begin[1] == 'X');
    char *stop;
    errno = 0;
    const unsigned long long value = strtoull(begin, &stop, hex ? 16 : 10);
    const bool suffixed = stop < at && *stop == 'L';
    if (stop != at && !suffixed) return copy_to(src, in, at); /* a fraction or an exponent */
    TDM_REQUIRE(errno != ERANGE && value <= INT64_MAX, TDM_E_CONFIG, "%s:%d: %.*s is too large for 64 bits",
                in->file, in->line, (int)tdm_min_i64(at - begin, 64), begin);
    TDM_TRY(copy_to(src, in, at));
    return value > INT32_MAX && !suffixed ? tdm_text_append(&src->text, "L", 1) : TDM_OK;
}

/* "dir of file/name", or name when absolute. */
static tdm_status relative_path(const char *file, const char *name, char path[TDM_PATH_BYTES])
{
    const char *slash = name[0] == '/' ? NULL : strrchr(file, '/');
    const int n = snprintf(path, TDM_PATH_BYTES, "%.*s%s", slash ? (int)(slash + 1 - file) : 0, file, name);
    TDM_REQUIRE(n >= 0 && n < TDM_PATH_BYTES, TDM_E_CONFIG, "%s: path of an included file is too long", file);
    return TDM_OK;
}

static tdm_status paste_include(source *src, cursor *in)
{
    const char *at = in->at + strlen("@include");
    while (at < in->end && (*at == ' ' || *at == '\t')) at++;
    const char *end = at < in->end && *at == '"' ? string_end(at, in->end) : NULL;
    TDM_REQUIRE(end, TDM_E_CONFIG, "%s:%d: @include needs a file name in quotes", in->file, in->line);
    TDM_REQUIRE(src->include_allowed, TDM_E_CONFIG, "%s:%d: @include is not allowed here", in->file,
                in->line);
    TDM_REQUIRE(in->depth < INCLUDE_DEPTH, TDM_E_CONFIG,
                "%s:%d: files include each other more than %d levels deep", in->file, in->line,
                INCLUDE_DEPTH);
    char name[TDM_PATH_BYTES], path[TDM_PATH_BYTES];
    const size_t length = (size_t)(end - at) - 2;
    TDM_REQUIRE(length > 0 && length < sizeof name, TDM_E_CONFIG, "%s:%d: @include names no file", in->file,
                in->line);
    memcpy(name, at + 1, length);
    name[length] = '\0';
    TDM_TRY(relative_path(in->file, name, path));

    src->line++;
    TDM_TRY(tdm_text_append(&src->text, "\n", 1));
    TDM_TRY(assemble_file(src, path, in->depth + 1, in->file, in->line));
    src->line++;
    TDM_TRY(tdm_text_append(&src->text, "\n", 1));
    in->at = end;
    return add_segment(src, in->file, in->line);
}

static bool starts_with(const cursor *in, const char *word)
{
    const size_t n = strlen(word);
    return (size_t)(in->end - in->at) >= n && memcmp(in->at, word, n) == 0;
}

static tdm_status assemble_token(source *src, cursor *in)
{
    if (*in->at == '"') return copy_string(src, in);
    if (*in->at == '#' || starts_with(in, "//")) return copy_line_comment(src, in);
    if (starts_with(in, "/*")) return copy_block_comment(src, in);
    if (starts_with(in, "@include")) return paste_include(src, in);
    if (isalnum((unsigned char)*in->at) || *in->at == '.') return copy_word(src, in);
    return copy_to(src, in, in->at + 1);
}

static tdm_status assemble_text(source *src, const char *name, const char *text, size_t length, int depth)
{
    TDM_TRY(add_segment(src, name, 1));
    const size_t mark = tdm_byte_order_mark(text, length);
    cursor in = {.file = name, .at = text + mark, .end = text + length, .line = 1, .depth = depth};
    const char *zero = memchr(text, '\0', length);
    TDM_REQUIRE(zero == NULL, TDM_E_CONFIG, "%s: is not a text file: it %s", name,
                tdm_why_no_text(text, length));
    while (in.at < in.end) TDM_TRY(assemble_token(src, &in));
    return TDM_OK;
}

/* from: the including file, or NULL. */
static tdm_status assemble_file(source *src, const char *path, int depth, const char *from, int from_line)
{
    char origin[TDM_PATH_BYTES + 64] = "";
    if (from != NULL) snprintf(origin, sizeof origin, "%s:%d: @include: ", from, from_line);
    struct stat info; /* a device or a pipe might never end */
    TDM_REQUIRE(stat(path, &info) != 0 || S_ISREG(info.st_mode), TDM_E_CONFIG, "%s%s: is not a file", origin,
                path);
    tdm_text file = {0};
    tdm_status status = tdm_read_file(path, &file);
    if (status == TDM_OK) {
        status = assemble_text(src, path, file.data, file.length, depth);
    } else if (from != NULL) {
        status = TDM_ERROR(status, "%s%s", origin, tdm_error_last()->message);
    }
    tdm_text_free(&file);
    return status;
}

/* ---- libconfig's tree -> fields ---- */

static tdm_status apply_number_or(const char *where, const config_field *field, int element,
                                  const config_setting_t *setting, const char *got)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return config_set_float(where, field, element, (double)config_setting_get_int64(setting));
    case CONFIG_TYPE_FLOAT: return config_set_float(where, field, element, config_setting_get_float(setting));
    default: return config_type_error(where, field, got);
    }
}

/* How a message names a value that has the wrong type. */
static const char *describe(const config_setting_t *setting, char *text, size_t bytes)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_GROUP: return "a group { … }";
    case CONFIG_TYPE_ARRAY: return "an array [ … ]";
    case CONFIG_TYPE_LIST: return "a list ( … )";
    case CONFIG_TYPE_BOOL: return config_setting_get_bool(setting) ? "true" : "false";
    case CONFIG_TYPE_STRING:
        snprintf(text, bytes, "\"%.80s\"", config_setting_get_string(setting));
        return text;
    case CONFIG_TYPE_FLOAT: config_double_text(config_setting_get_float(setting), text, bytes); return text;
    default: snprintf(text, bytes, "%lld", config_setting_get_int64(setting)); return text;
    }
}

static bool is_sequence(const config_setting_t *setting)
{
    return config_setting_is_array(setting) || config_setting_is_list(setting);
}

static tdm_status apply_int(const char *where, const config_field *field, int element,
                            const config_setting_t *setting, const char *got)
{
    const int type = config_setting_type(setting);
    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) return config_type_error(where, field, got);
    return config_set_int(where, field, element, config_setting_get_int64(setting));
}

/* INT4 or FLOAT3 */
static tdm_status apply_sequence(const char *where, const config_field *field,
                                 const config_setting_t *setting, const char *got)
{
    const bool ints = field->option->type == TDM_OPTION_INT4;
    const int count = ints ? 4 : 3;
    if (!is_sequence(setting) || config_setting_length(setting) != count) {
        return config_type_error(where, field, got);
    }
    for (int i = 0; i < count; i++) {
        const config_setting_t *element = config_setting_get_elem(setting, (unsigned)i);
        TDM_TRY(ints ? apply_int(where, field, i, element, got)
                     : apply_number_or(where, field, i, element, got));
    }
    return TDM_OK;
}

static tdm_status apply_strings(tdm_config *config, const char *where, const config_field *field,
                                const config_setting_t *setting, const char *got)
{
    const char *one = config_setting_get_string(setting); /* a list of one may leave its brackets out */
    if (one != NULL) return config_set_strings(config, where, field, &one, 1);
    if (!is_sequence(setting)) return config_type_error(where, field, got);
    const int count = config_setting_length(setting);
    const char **item = NULL;
    TDM_TRY(TDM_ALLOC(count, &item));
    tdm_status status = TDM_OK;
    for (int i = 0; i < count && status == TDM_OK; i++) {
        item[i] = config_setting_get_string(config_setting_get_elem(setting, (unsigned)i));
        if (item[i] == NULL) status = config_type_error(where, field, "an array with other values");
    }
    if (status == TDM_OK) status = config_set_strings(config, where, field, item, count);
    tdm_free(item);
    return status;
}

static tdm_status apply_value(tdm_config *config, const char *where, const config_field *field,
                              const config_setting_t *setting)
{
    char text[128];
    const char *got = describe(setting, text, sizeof text);
    const int type = config_setting_type(setting);
    switch (field->option->type) {
    case TDM_OPTION_BOOL:
        if (type != CONFIG_TYPE_BOOL) return config_type_error(where, field, got);
        *(bool *)field->at = config_setting_get_bool(setting) != 0;
        return TDM_OK;
    case TDM_OPTION_INT: return apply_int(where, field, 0, setting, got);
    case TDM_OPTION_FLOAT: return apply_number_or(where, field, 0, setting, got);
    case TDM_OPTION_INT4:
    case TDM_OPTION_FLOAT3: return apply_sequence(where, field, setting, got);
    case TDM_OPTION_STRING:
    case TDM_OPTION_CHOICE:
        if (type != CONFIG_TYPE_STRING) return config_type_error(where, field, got);
        return config_set_string(config, where, field, config_setting_get_string(setting));
    case TDM_OPTION_STRINGS: return apply_strings(config, where, field, setting, got);
    }
    return config_type_error(where, field, got);
}

/* Settings of `group` whose full key begins with `prefix` ("" or "model."). */
static tdm_status apply_group(tdm_config *config, const source *src, const config_setting_t *group,
                              const char *prefix)
{
    const int count = config_setting_length(group);
    for (int i = 0; i < count; i++) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
        char where[CONFIG_WHERE_BYTES], key[CONFIG_KEY_BYTES];
        source_where(src, (int)config_setting_source_line(setting), where);
        const char *name = config_setting_name(setting);
        const int n = snprintf(key, sizeof key - 1, "%s%s", prefix, name ? name : "");
        TDM_REQUIRE(n < (int)sizeof key - 1, TDM_E_CONFIG, "%s: unknown key %.100s…", where, key);
        config_field field;
        if (config_field_find(config, key, &field)) {
            TDM_TRY(apply_value(config, where, &field, setting));
        } else if (!config_setting_is_group(setting) && config_field_former(config, key, &field)) {
            if (src->include_allowed) tdm_log(TDM_LOG_WARN, "%s: %s is %s now", where, key, field.key);
            TDM_TRY(apply_value(config, where, &field, setting));
        } else if (!config_is_group(config, key)) {
            return config_unknown_key(config, where, key);
        } else {
            char text[128];
            TDM_REQUIRE(config_setting_is_group(setting), TDM_E_CONFIG,
                        "%s: %s is a group of keys { … }, got %s", where, key,
                        describe(setting, text, sizeof text));
            strcat(key, "."); /* room was kept above */
            TDM_TRY(apply_group(config, src, setting, key));
        }
    }
    return TDM_OK;
}

static tdm_status parse_error(const source *src, const config_t *parsed)
{
    char where[CONFIG_WHERE_BYTES];
    source_where(src, config_error_line(parsed), where);
    const char *text = config_error_text(parsed);
    const bool mixed = text != NULL && strstr(text, "mismatched element") != NULL;
    TDM_FAIL(TDM_E_CONFIG, "%s: %s%s", where, text ? text : "cannot be parsed",
             mixed ? ": write all numbers of an array with a point, or use a list ( … )" : "");
}

/* Parses the assembled text and applies it under `prefix`. */
static tdm_status apply_source(tdm_config *config, const source *src, const char *prefix)
{
    config_t parsed;
    config_init(&parsed);
    tdm_status status;
    if (config_read_string(&parsed, src->text.data ? src->text.data : "")) {
        status = apply_group(config, src, config_root_setting(&parsed), prefix);
    } else {
        status = parse_error(src, &parsed);
    }
    config_destroy(&parsed);
    return status;
}

static tdm_status load_file(tdm_config *config, const char *path, const char *prefix)
{
    source src = {.line = 1, .include_allowed = true};
    tdm_status status = assemble_file(&src, path, 0, NULL, 0);
    if (status == TDM_OK) status = apply_source(config, &src, prefix);
    source_free(&src);
    return status;
}

tdm_status tdm_config_load(tdm_config *config, const char *path)
{
    return load_file(config, path, "");
}

tdm_status tdm_config_load_text(tdm_config *config, const char *name, const char *text)
{
    source src = {.line = 1, .include_allowed = false};
    tdm_status status = assemble_text(&src, name, text, strlen(text), 0);
    if (status == TDM_OK) status = apply_source(config, &src, "");
    source_free(&src);
    return status;
}

/* ---- Model definitions ---- */

static bool is_file(const char *path)
{
    return tdm_path_exists(path) && !tdm_path_is_dir(path);
}

/* The directory of the running program, with its slash; "" where the system does not say. */
static void program_dir(char dir[TDM_PATH_BYTES])
{
    const ssize_t length = readlink("/proc/self/exe", dir, TDM_PATH_BYTES - 1);
    dir[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(dir, '/');
    if (slash) slash[1] = '\0';
}

/* Where the definition `name` stands; false when nowhere. */
static bool find_exact(const char *name, char path[TDM_PATH_BYTES])
{
    char program[TDM_PATH_BYTES];
    program_dir(program);
    const struct {
        const char *from, *dir;
    } places[] = {
        {"", "conf"},
        {"", getenv("TANDEM_CONF")},
        {program, TANDEM_CONF_FROM_BIN}, /* installed, wherever the prefix has been moved */
        {program, "conf"},               /* not installed: beside the program, */
        {program, "../conf"},            /* or beside its build directory */
        {"", TANDEM_CONF_DIR},           /* another program that links the library */
    };
    snprintf(path, TDM_PATH_BYTES, "%s", name);
    if (is_file(path)) return true;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *from = places[i].from, *dir = places[i].dir;
        if (dir == NULL || dir[0] == '\0' || (from == program && from[0] == '\0')) continue;
        if (snprintf(path, TDM_PATH_BYTES, "%s%s/models/%s.cfg", from, dir, name) >= TDM_PATH_BYTES) continue;
        if (is_file(path)) return true;
    }
    return false;
}

/* The same for "ViT-B/32", "ViT-B-32" and "vit_b_32.cfg", as other programs and people write "vit_b_32". */
static bool find_model(const char *name, char path[TDM_PATH_BYTES])
{
    char plain[128];
    if (find_exact(name, path)) return true;
    size_t n = strlen(name);
    if (n > 4 && !strcmp(name + n - 4, ".cfg")) n -= 4;
    if (n >= sizeof plain) return false;
    for (size_t i = 0; i < n; i++)
        plain[i] = name[i] == '-' || name[i] == '/' ? '_' : (char)tolower((unsigned char)name[i]);
    plain[n] = '\0';
    return find_exact(plain, path);
}

tdm_status tdm_config_load_model(tdm_config *config, const char *name_or_path)
{
    char path[TDM_PATH_BYTES];
    TDM_REQUIRE(
        find_model(name_or_path, path), TDM_E_CONFIG,
        "model \"%.200s\": no such file, nor %.200s.cfg in conf/models, $TANDEM_CONF/models, beside the program or in %s/models",
        name_or_path, name_or_path, TANDEM_CONF_DIR);
    return load_file(config, path, "model.");
}
