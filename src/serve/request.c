/* A request becomes a struct. Whatever is not understood is refused, so that a misspelled parameter is no surprise. */
#include "serve_impl.h"

#include "tandem/json_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

void serve_request_free(serve_request *request)
{
    serve_query_free(&request->query);
    tdm_text_free(&request->token);
}

/* ---- Values ---- */

/* UTF-8 without control characters but white space. */
static bool is_clean(const char *value, size_t bytes)
{
    const char *end = value + bytes;
    while (value < end) {
        const int32_t point = tdm_utf8_next(value, end, &value);
        const bool white = point == '\t' || point == '\n' || point == '\r';
        if (point < 0 || (point < 0x20 && !white) || point == 0x7f) return false;
    }
    return true;
}

static bool is_blank(const char *value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (strchr(" \t\r\n", value[i]) == NULL || value[i] == '\0') return false;
    return true;
}

static bool read_whole(const char *name, const char *value, int64_t least, int64_t most, int64_t *to,
                       serve_fault *fault)
{
    char *end = NULL;
    errno = 0;
    const long long number = strtoll(value, &end, 10);
    const bool plain = value[0] != '\0' && strspn(value, "-0123456789") == strlen(value);
    if (!plain || *end != '\0' || errno != 0 || number < least || number > most)
        return serve_refuse(fault, 400, "bad_parameter",
                            "%s is %.40s: must be a whole number from %lld to %lld", name, value,
                            (long long)least, (long long)most);
    *to = number;
    return true;
}

static bool read_k(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    (void)bytes;
    return read_whole("k", value, 1, SERVE_MOST_K, &r->query.k, fault);
}

static bool read_offset(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    (void)bytes;
    return read_whole("offset", value, 0, SERVE_MOST_DEPTH, &r->query.offset, fault);
}

static bool read_row(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    (void)bytes;
    return read_whole("row", value, 0, INT64_MAX, &r->query.row, fault);
}

static bool read_weight(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    char *end = NULL;
    (void)bytes;
    const bool plain = value[0] != '\0' && strspn(value, "0123456789.eE+-") == strlen(value);
    const double number = plain ? strtod(value, &end) : NAN;
    if (!plain || *end != '\0' || !(number >= 0 && number <= 1))
        return serve_refuse(fault, 400, "bad_parameter", "weight is %.40s: must be a number from 0 to 1",
                            value);
    r->query.weight = number;
    return true;
}

static bool read_text(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    if (bytes > SERVE_TEXT_BYTES)
        return serve_refuse(fault, 400, "too_long", "q has %zu bytes, at most %d are read", bytes,
                            SERVE_TEXT_BYTES);
    return tdm_text_append(&r->query.text, value, bytes) == TDM_OK || serve_refuse_memory(fault);
}

static bool read_token(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    return tdm_text_append(&r->token, value, bytes) == TDM_OK || serve_refuse_memory(fault);
}

static bool copy_id(const char *value, size_t bytes, char id[SERVE_ID_BYTES])
{
    if (bytes != SERVE_ID_BYTES - 1 || strspn(value, "0123456789abcdef") < bytes) return false;
    memcpy(id, value, bytes);
    id[bytes] = '\0';
    return true;
}

static bool read_upload(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    return copy_id(value, bytes, r->query.upload) ||
           serve_refuse(fault, 400, "bad_parameter", "upload is no id of an uploaded picture");
}

static bool read_find(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    (void)bytes;
    if (strcmp(value, "images") != 0 && strcmp(value, "captions") != 0)
        return serve_refuse(fault, 400, "bad_parameter", "find is %.40s: must be images or captions", value);
    r->query.find = strcmp(value, "captions") == 0 ? TDM_TEXT : TDM_IMAGE;
    return true;
}

static bool read_unique(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    (void)bytes;
    const bool yes = strcmp(value, "1") == 0 || strcmp(value, "true") == 0 || strcmp(value, "on") == 0;
    if (!yes && strcmp(value, "0") != 0 && strcmp(value, "false") != 0)
        return serve_refuse(fault, 400, "bad_parameter", "unique is %.40s: must be 1 or 0", value);
    r->query.unique = yes;
    return true;
}

static bool read_class(serve_request *r, const char *value, size_t bytes, serve_fault *fault)
{
    (void)bytes;
    serve_query *q = &r->query;
    if (q->labels == SERVE_CLASSES)
        return serve_refuse(fault, 400, "bad_parameter", "more than %d classes", SERVE_CLASSES);
    q->label[q->labels] = strdup(value);
    if (q->label[q->labels] == NULL) return serve_refuse_memory(fault);
    q->labels++;
    return true;
}

/* ---- Fields ---- */

typedef struct field_row {
    const char *name;
    bool (*read)(serve_request *request, const char *value, size_t bytes, serve_fault *fault);
    bool many; /* may be given several times */
} field_row;

static const field_row fields[] = {
    {"q", read_text, false},        {"row", read_row, false},   {"upload", read_upload, false},
    {"weight", read_weight, false}, {"find", read_find, false}, {"class", read_class, true},
    {"unique", read_unique, false}, {"k", read_k, false},       {"offset", read_offset, false},
    {"token", read_token, false},
};
enum { FIELDS = sizeof fields / sizeof fields[0], IMAGE_BIT = FIELDS, TOKEN_FIELD = FIELDS - 1 };

static bool refuse_unknown(const char *name, size_t bytes, serve_fault *fault)
{
    const char *names[FIELDS + 1];
    for (size_t i = 0; i < FIELDS; i++) names[i] = fields[i].name;
    names[FIELDS] = "image";
    const char *near = tdm_nearest_name(name, names, FIELDS + 1);
    const bool clean = is_clean(name, bytes);
    return serve_refuse(fault, 400, "unknown_parameter", "there is no parameter %.60s%s%s%s",
                        clean ? name : "of that name", near != NULL ? "; did you mean " : "",
                        near != NULL ? near : "", near != NULL ? "?" : "");
}

/* Marks a field as given; a second time is refused. */
static bool note_field(serve_request *r, int bit, const char *name, serve_fault *fault)
{
    if (r->seen >> bit & 1u)
        return serve_refuse(fault, 400, "bad_parameter", "%s is given more than once", name);
    r->seen |= (uint64_t)1 << bit;
    return true;
}

/* A file that was chosen in a form; a form without one sends an empty part. */
static bool take_image(serve_request *r, const char *data, size_t bytes, serve_fault *fault)
{
    if (bytes == 0) return true;
    if (!note_field(r, IMAGE_BIT, "image", fault)) return false;
    return tdm_text_append(&r->query.image, data, bytes) == TDM_OK || serve_refuse_memory(fault);
}

/* A serve_field. What is empty counts as not given, as the fields of a form are that nobody has filled in. */
static bool take_field(void *to, const char *name, const char *value, size_t bytes, bool is_file,
                       serve_fault *fault)
{
    serve_request *r = to;
    const bool takes_any = r->route != NULL && r->route->takes_query;
    if (is_file && strcmp(name, "image") == 0 && takes_any) return take_image(r, value, bytes, fault);
    for (int i = 0; i < FIELDS && !is_file; i++) {
        if (strcmp(name, fields[i].name) != 0 || (!takes_any && i != TOKEN_FIELD)) continue;
        if (is_blank(value, bytes)) return true;
        if (!is_clean(value, bytes))
            return serve_refuse(fault, 400, "bad_encoding", "%s is not UTF-8, or holds control characters",
                                name);
        if (!fields[i].many && !note_field(r, i, name, fault)) return false;
        return fields[i].read(r, value, bytes, fault);
    }
    if (is_file) return serve_refuse(fault, 400, "unknown_parameter", "a file can be sent as image only");
    return refuse_unknown(name, strlen(name), fault);
}

/* ---- The first line ---- */

static bool read_method(const char *text, serve_method *method, serve_fault *fault)
{
    static const struct {
        const char *name;
        serve_method method;
    } rows[] = {{"GET", SERVE_GET}, {"HEAD", SERVE_HEAD}, {"POST", SERVE_POST}, {"OPTIONS", SERVE_OPTIONS}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(text, rows[i].name) != 0) continue;
        *method = rows[i].method;
        return true;
    }
    return serve_refuse(fault, 405, "method_not_allowed", "this server knows GET, HEAD, POST and OPTIONS");
}

/* What stands behind a route's path. */
static bool read_tail(const serve_route *route, const char *tail, size_t bytes, serve_request *r)
{
    enum { MOST_DIGITS = 18 };
    char text[SERVE_ID_BYTES];
    if (route->tail == SERVE_TAIL_NONE) return bytes == 0;
    if (bytes == 0 || bytes >= sizeof text) return false;
    memcpy(text, tail, bytes);
    text[bytes] = '\0';
    if (route->tail == SERVE_TAIL_ID) return copy_id(text, bytes, r->id);
    if (bytes > MOST_DIGITS || strspn(text, "0123456789") < bytes) return false;
    r->row = strtoll(text, NULL, 10);
    return true;
}

static bool find_route(const char *path, size_t bytes, serve_request *r, serve_fault *fault)
{
    size_t count = 0;
    const serve_route *const *routes = serve_routes(&count);
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(routes[i]->path);
        if (bytes < length || memcmp(path, routes[i]->path, length) != 0) continue;
        if (!read_tail(routes[i], path + length, bytes - length, r)) continue;
        r->route = routes[i];
        return true;
    }
    return serve_refuse(fault, 404, "not_found", "there is nothing under this address");
}

bool serve_request_begin(const char *method, const char *target, serve_request *request, serve_fault *fault)
{
    serve_request *r = request;
    r->row = r->query.row = -1;
    r->query.k = SERVE_DEFAULT_K;
    r->query.weight = SERVE_DEFAULT_WEIGHT;
    r->query.find = TDM_IMAGE;
    const char *question = strchr(target, '?');
    const size_t path_bytes = question != NULL ? (size_t)(question - target) : strlen(target);
    /* the token is read even of what is refused: who has none shall not learn why */
    if (!find_route(target, path_bytes, r, fault)) return false;
    if (!read_method(method, &r->method, fault)) return false;
    if (question != NULL && !serve_form_read(question + 1, strlen(question + 1), take_field, r, fault))
        return false;
    const unsigned allowed =
        r->route->methods | SERVE_OPTIONS | (r->route->methods & SERVE_GET ? SERVE_HEAD : 0);
    if ((r->method & allowed) == 0)
        return serve_refuse(fault, 405, "method_not_allowed", "%s cannot be asked for in this way",
                            r->route->path);
    return true;
}

/* ---- The body ---- */

static bool read_json_value(serve_request *r, const char *name, const json_t *value, serve_fault *fault)
{
    char number[64];
    if (json_is_string(value))
        return take_field(r, name, json_string_value(value), json_string_length(value), false, fault);
    if (json_is_integer(value))
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(number, sizeof number, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(number, sizeof number, "%s", json_is_true(value) ? "true" : "false");
    else
        return serve_refuse(fault, 400, "bad_parameter",
                            "%.60s is neither a string nor a number nor true nor false", name);
    return take_field(r, name, number, strlen(number), false, fault);
}

static bool read_json_image(serve_request *r, const json_t *value, serve_fault *fault)
{
    tdm_text image = {0};
    const char *text = json_string_value(value);
    const bool fine = text != NULL && serve_base64_decode(text, json_string_length(value), &image) == TDM_OK
                          ? take_image(r, image.data, image.length, fault)
                          : serve_refuse(fault, 400, "bad_parameter", "image is not a string of base64");
    tdm_text_free(&image);
    return fine;
}

static bool read_json_field(serve_request *r, const char *name, const json_t *value, serve_fault *fault)
{
    if (json_is_null(value)) return true;
    if (strcmp(name, "image") == 0) return read_json_image(r, value, fault);
    if (strcmp(name, "class") != 0 || !json_is_array(value)) return read_json_value(r, name, value, fault);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!read_json_value(r, name, json_array_get(value, i), fault)) return false;
    return true;
}

static bool read_json(serve_request *r, const char *body, size_t bytes, serve_fault *fault)
{
    json_error_t error;
    json_t *root = json_loadb(body, bytes, JSON_REJECT_DUPLICATES, &error);
    const char *name = NULL;
    json_t *value = NULL;
    bool fine = true;
    if (root == NULL || !json_is_object(root)) {
        fine = root == NULL
                   ? serve_refuse(fault, 400, "bad_json", "line %d of the JSON: %.200s", error.line,
                                  is_clean(error.text, strlen(error.text)) ? error.text : "not valid")
                   : serve_refuse(fault, 400, "bad_json", "the JSON is no object");
    } else {
        json_object_foreach(root, name, value)
        {
            fine = read_json_field(r, name, value, fault);
            if (!fine) break;
        }
    }
    json_decref(root);
    return fine;
}

/* "Type/subtype; parameters" is this type; "image/" stands for all of them. */
static bool is_type(const char *content_type, const char *type)
{
    const size_t length = strlen(type);
    if (strncasecmp(content_type, type, length) != 0) return false;
    return type[length - 1] == '/' || strchr("; \t", content_type[length]) != NULL;
}

static bool read_body(serve_request *r, const char *type, const char *body, size_t bytes, serve_fault *fault)
{
    if (type != NULL && is_type(type, "multipart/form-data"))
        return serve_multipart_read(type, body, bytes, take_field, r, fault);
    if (type != NULL && is_type(type, "application/x-www-form-urlencoded"))
        return serve_form_read(body, bytes, take_field, r, fault);
    if (type != NULL && is_type(type, "application/json")) return read_json(r, body, bytes, fault);
    if (type != NULL && (is_type(type, "image/") || is_type(type, "application/octet-stream")))
        return take_image(r, body, bytes, fault);
    return serve_refuse(fault, 415, "unsupported_media_type",
                        "the body must be multipart/form-data, application/x-www-form-urlencoded, "
                        "application/json, or a picture (image/…)");
}

bool serve_request_finish(serve_request *request, const char *content_type, const void *body, size_t bytes,
                          serve_fault *fault)
{
    serve_query *q = &request->query;
    if (request->method == SERVE_POST && !read_body(request, content_type, body, bytes, fault)) return false;
    if (q->image.length > 0) { /* of a form that shows an earlier picture: the new one counts */
        q->upload[0] = '\0';
        q->row = -1;
    }
    if (q->upload[0] != '\0' && q->row >= 0)
        return serve_refuse(fault, 400, "bad_parameter", "row and upload are given: one picture at a time");
    if (q->offset + q->k > SERVE_MOST_DEPTH)
        return serve_refuse(fault, 400, "bad_parameter",
                            "offset + k is %lld: at most %d results can be reached",
                            (long long)(q->offset + q->k), SERVE_MOST_DEPTH);
    return true;
}
