/* Reading and writing the small configuration files of other programs. */
#include "naming.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const json_t *json_at(const json_t *root, const char *path)
{
    while (root != NULL && *path != '\0') {
        char key[64];
        const size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        root = json_object_get(root, key);
        path += n + (path[n] == '.');
    }
    return root;
}

void json_take_number(const json_t *root, const char *path, double *value)
{
    const json_t *number = json_at(root, path);
    if (json_is_number(number) && json_number_value(number) > 0.0) *value = json_number_value(number);
}

void json_take_count(const json_t *root, const char *path, int64_t *value)
{
    double number = 0.0;
    json_take_number(root, path, &number);
    if (number >= 1.0 && number <= 1e7 && number == floor(number)) *value = (int64_t)number;
}

const char *json_text(const json_t *root, const char *path)
{
    return json_string_value(json_at(root, path));
}

bool json_take_rgb(const json_t *root, const char *path, double rgb[3])
{
    const json_t *array = json_at(root, path);
    if (json_array_size(array) != 3) return false;
    for (size_t i = 0; i < 3; i++) {
        if (!json_is_number(json_array_get(array, i))) return false;
    }
    for (size_t i = 0; i < 3; i++) rgb[i] = json_number_value(json_array_get(array, i));
    return true;
}

static bool is_nothing(const json_t *value)
{
    if (json_is_number(value)) return json_number_value(value) == 0.0;
    if (json_is_string(value)) return json_string_value(value)[0] == '\0';
    return json_is_null(value) || json_is_false(value) || (json_is_object(value) && !json_object_size(value));
}

static bool is_known(const json_t *value, const char *known)
{
    if (known == NULL) return is_nothing(value);
    if (json_is_string(value)) return strcmp(json_string_value(value), known) == 0;
    if (json_is_number(value)) {
        const double number = strtod(known, NULL);
        return fabs(json_number_value(value) - number) <= 1e-9 * fabs(number);
    }
    return json_is_boolean(value) && json_is_true(value) == (strcmp(known, "true") == 0);
}

tdm_status json_require(const char *file, const json_t *root, const char *path, const char *known)
{
    const json_t *value = json_at(root, path);
    if (value == NULL || is_known(value, known)) return TDM_OK;
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    (void)TDM_ERROR(TDM_E_CONFIG, "%s: %s is %.100s: Tandem's model has no such part", file, path,
                    text ? text : "set");
    free(text);
    return TDM_E_CONFIG;
}

tdm_status json_append(json_t *value, tdm_text *text)
{
    char *dumped = value != NULL ? json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(value);
    TDM_REQUIRE(dumped, TDM_E_NOMEM, "out of memory for a configuration file");
    tdm_status status = tdm_text_json(text, dumped);
    if (status == TDM_OK) status = tdm_text_append(text, "\n", 1);
    free(dumped);
    return status;
}

json_t *json_rgb(const double rgb[3])
{
    return json_pack("[f,f,f]", rgb[0], rgb[1], rgb[2]);
}
