/* A JSON value as text for people: members one a line, arrays of flat objects as tables. */
#include "result_json.h"

#include <stdlib.h>
#include <string.h>

/* As it is shown to people; the caller frees. */
static char *shown_text(const char *s)
{
    tdm_text shown = {0};
    if (tdm_text_show(&shown, s) != TDM_OK) tdm_text_free(&shown);
    return shown.data;
}

/* A number, a word, or [1, 2]; the caller frees. */
static char *plain_text(const json_t *value)
{
    if (json_is_string(value)) return shown_text(json_string_value(value));
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text != NULL && json_is_array(value)) { /* [1,2] -> 1 x 2 */
        tdm_text shown = {0};
        for (const char *at = text; *at != '\0'; at++) {
            const char *as = *at == ',' ? " x " : *at == '[' || *at == ']' ? "" : NULL;
            if (tdm_text_append(&shown, as ? as : at, as ? strlen(as) : 1) != TDM_OK) break;
        }
        free(text);
        return shown.data;
    }
    return text;
}

static bool is_table(const json_t *value)
{
    return json_is_array(value) && json_is_object(json_array_get(value, 0));
}

/* True when no value of the rows holds further objects: one line per row. */
static bool is_flat(const json_t *table)
{
    size_t i;
    const char *key;
    json_t *row, *value;
    json_array_foreach(table, i, row)
    {
        json_object_foreach(row, key, value)
        {
            if (json_is_object(value) || is_table(value)) return false;
        }
    }
    return true;
}

static void print_cell(const json_t *value, int width, bool last)
{
    char *text = plain_text(value);
    printf("%-*s%s", last ? 0 : width, text ? text : "", last ? "\n" : "  ");
    free(text);
}

/* Widest text of a column; the header counts. */
static int column_width(const json_t *table, const char *key)
{
    size_t i, width = strlen(key);
    json_t *row;
    json_array_foreach(table, i, row)
    {
        char *text = plain_text(json_object_get(row, key));
        if (text != NULL && strlen(text) > width) width = strlen(text);
        free(text);
    }
    return (int)width;
}

static void print_table(const json_t *table, int indent)
{
    enum { MOST_COLUMNS = 16 };
    const char *key, *column[MOST_COLUMNS];
    int width[MOST_COLUMNS], columns = 0;
    json_t *value, *row, *first = json_array_get(table, 0);
    json_object_foreach(first, key, value)
    {
        if (columns == MOST_COLUMNS) break;
        column[columns] = key;
        width[columns++] = column_width(table, key);
    }
    printf("%*s", indent, "");
    for (int c = 0; c < columns; c++) {
        if (c + 1 < columns) printf("%-*s  ", width[c], column[c]);
    }
    puts(columns > 0 ? column[columns - 1] : "");
    size_t i;
    json_array_foreach(table, i, row)
    {
        printf("%*s", indent, "");
        for (int c = 0; c < columns; c++) {
            print_cell(json_object_get(row, column[c]), width[c], c + 1 == columns);
        }
    }
}

static void print_object(const json_t *object, int indent);

static void print_list(const json_t *list, int indent)
{
    size_t i;
    json_t *row;
    if (is_flat(list)) {
        print_table(list, indent);
        return;
    }
    json_array_foreach(list, i, row)
    {
        if (i > 0) puts("");
        print_object(row, indent);
    }
}

static void print_lines(const char *text)
{
    for (const char *end; *text != '\0'; text = *end ? end + 1 : end) {
        end = text + strcspn(text, "\n");
        char *line = strndup(text, (size_t)(end - text)), *shown = line ? shown_text(line) : NULL;
        printf("%s%s", shown ? shown : "", *end ? "\n" : "");
        free(shown);
        free(line);
    }
}

static void print_member(const char *key, const json_t *value, int indent)
{
    if (json_is_object(value)) {
        printf("%*s%s\n", indent, "", key);
        print_object(value, indent + 2);
    } else if (is_table(value)) {
        printf("%*s%s\n", indent, "", key);
        print_list(value, indent + 2);
    } else if (json_is_string(value) && strchr(json_string_value(value), '\n') != NULL) {
        printf("%*s%s\n", indent, "", key);
        print_lines(json_string_value(value));
    } else {
        char *text = plain_text(value);
        printf("%*s%-18s%s\n", indent, "", key, text ? text : "");
        free(text);
    }
}

static void print_object(const json_t *object, int indent)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) print_member(key, value, indent);
}

void result_show(const json_t *object)
{
    print_object(object, 0);
}
