/* Private to data_prep: JSON documents. A json_node is a value and the way to it from the root, which lives
 * on the caller's stack and becomes text only in a message: "set.json: images[3].sentences[0]: no \"raw\"".
 *
 *     json_node root, images, image;
 *     tdm_status status = read_json_file("set.json", "utf-8", &root);
 *     if (status == TDM_OK) status = json_node_array(&root, "images", &images);
 *     for (size_t i = 0; status == TDM_OK && i < json_node_count(&images); i++) {
 *         image = json_node_item(&images, i);
 *         status = json_node_string(&image, "filename", &name);
 *     }
 *     read_json_free(&root);
 */
#ifndef TANDEM_READ_JSON_H
#define TANDEM_READ_JSON_H

#include "tandem/base.h"

#include <jansson.h>

typedef struct json_node {
    json_t *value;                  /* borrowed from the root */
    const char *file;               /* what messages begin with; borrowed */
    const struct json_node *parent; /* NULL: the root; must outlive this node */
    const char *key;                /* within the parent, NULL for an element of an array; borrowed */
    size_t index;
} json_node;

/* Reads what Python's json module reads and writes, beyond the standard's edge: NaN and infinities, which become
 * null; integers of any length, which become reals; NULs, halves of surrogate pairs, raw control characters and
 * bytes that are not UTF-8 in strings, which matter to those who use that string (json_node_string,
 * json_node_text). Any value may stand at the root. Syntax errors name file, line, column and offset. encoding: see read_text.h. *root owns the
 * document: pair with read_json_free, which is fine after a failure. */
TDM_CHECKED tdm_status read_json_file(const char *path, const char *encoding, json_node *root);
/* The same of text in memory, in UTF-8 or with a byte order mark; `file` stands in messages and is borrowed. */
TDM_CHECKED tdm_status read_json_text(const char *file, const char *text, size_t length, json_node *root);
void read_json_free(json_node *root);

/* "FILE: images[3].sentences[0]"; static per thread, for messages. */
const char *json_node_where(const json_node *node);
/* What is there or not: value is NULL where `node` is no object or has no such key, and where it is null. */
json_node json_node_get(const json_node *node, const char *key);
json_node json_node_item(const json_node *array, size_t index);
size_t json_node_count(const json_node *array); /* 0 of what is no array */

/* The string that the node is, *length bytes, among which may be NULs. Errors name the place: no string, half of a
 * surrogate pair, bytes that are not UTF-8. */
TDM_CHECKED tdm_status json_node_text(const json_node *node, const char **text, size_t *length);

/* What must be there and of that type: errors name the place and the key. *value is filled on success only. A
 * string has no NUL and is UTF-8. */
TDM_CHECKED tdm_status json_node_string(const json_node *node, const char *key, const char **value);
TDM_CHECKED tdm_status json_node_int(const json_node *node, const char *key, int64_t *value);
TDM_CHECKED tdm_status json_node_array(const json_node *node, const char *key, json_node *value);

#endif
