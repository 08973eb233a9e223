/* Fields of query strings, forms and multipart bodies. What is not written as the standards say is refused. */
#include "serve_impl.h"

#include <stdlib.h>
#include <strings.h>

enum { MOST_FIELDS = 100, NAME_BYTES = 64, BOUNDARY_BYTES = 70, PART_HEAD_BYTES = 2048 };

/* ---- name=value&name=value (WHATWG URL, application/x-www-form-urlencoded) ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Into out[bytes + 1], at most as long. */
static bool decode_percent(const char *text, size_t bytes, char *out, size_t *length, serve_fault *fault)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (c == '+') c = ' ';
        if (text[i] == '%') {
            const int high = i + 2 < bytes ? hex_value(text[i + 1]) : -1;
            const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
            if (low < 0)
                return serve_refuse(fault, 400, "bad_encoding",
                                    "a %% in the address or form is not followed by two hexadecimal digits");
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    *length = n;
    return true;
}

/* "name=value" */
static bool read_pair(const char *text, size_t bytes, serve_field field, void *to, serve_fault *fault)
{
    const char *equals = memchr(text, '=', bytes);
    const size_t name_bytes = equals != NULL ? (size_t)(equals - text) : bytes;
    const size_t value_bytes = equals != NULL ? bytes - name_bytes - 1 : 0;
    char name[NAME_BYTES];
    size_t length = 0;
    if (name_bytes >= sizeof name)
        return serve_refuse(fault, 400, "unknown_parameter", "the name of a parameter is too long");
    if (!decode_percent(text, name_bytes, name, &length, fault)) return false;
    char *value = malloc(value_bytes + 1);
    if (value == NULL) return serve_refuse_memory(fault);
    const bool fine = decode_percent(equals != NULL ? equals + 1 : "", value_bytes, value, &length, fault) &&
                      field(to, name, value, length, false, fault);
    free(value);
    return fine;
}

bool serve_form_read(const char *text, size_t bytes, serve_field field, void *to, serve_fault *fault)
{
    const char *end = text + bytes;
    for (int64_t fields = 0; text < end; fields++) {
        const char *stop = memchr(text, '&', (size_t)(end - text));
        if (stop == NULL) stop = end;
        if (fields == MOST_FIELDS)
            return serve_refuse(fault, 400, "bad_parameter", "more than %d parameters", MOST_FIELDS);
        if (stop > text && !read_pair(text, (size_t)(stop - text), field, to, fault)) return false;
        text = stop + 1;
    }
    return true;
}

/* ---- multipart/form-data (RFC 7578) ---- */

static bool refuse_part(serve_fault *fault, const char *why)
{
    return serve_refuse(fault, 400, "bad_multipart", "the multipart body %s", why);
}

/* The value of a parameter of a header, such as boundary=…, quoted or not, into out; false: there is none. */
static bool header_parameter(const char *header, size_t bytes, const char *name, char *out, size_t room)
{
    const char *end = header + bytes;
    const size_t length = strlen(name);
    for (const char *at = memchr(header, ';', bytes); at != NULL && at < end;) {
        at++;
        while (at < end && (*at == ' ' || *at == '\t')) at++;
        const bool is_it =
            (size_t)(end - at) > length && strncasecmp(at, name, length) == 0 && at[length] == '=';
        if (is_it) at += length + 1;
        const bool start_quoted = is_it && at < end && *at == '"';
        size_t n = 0;
        bool quoted = start_quoted;
        if (start_quoted) at++;
        while (at < end && (quoted || *at != ';')) {
            if (*at == '"' && (quoted || !is_it)) {
                quoted = !quoted;
                at++;
                if (is_it) break;
                continue;
            }
            if (quoted && *at == '\\' && at + 1 < end) at++;
            if (is_it && n + 1 < room) out[n++] = *at;
            at++;
        }
        if (is_it) {
            while (!start_quoted && n > 0 && (out[n - 1] == ' ' || out[n - 1] == '\t')) n--;
            out[n] = '\0';
            return !quoted;
        }
    }
    return false;
}

/* What the header lines of a part say. */
typedef struct part_head {
    char name[NAME_BYTES];
    bool has_name, is_file;
} part_head;

static void read_part_line(const char *line, size_t bytes, part_head *head)
{
    static const char disposition[] = "content-disposition:";
    char file[8];
    if (bytes < sizeof disposition - 1 || strncasecmp(line, disposition, sizeof disposition - 1) != 0) return;
    head->has_name = header_parameter(line, bytes, "name", head->name, sizeof head->name);
    head->is_file = header_parameter(line, bytes, "filename", file, sizeof file);
}

/* Lines up to an empty one; *body is where the content begins. */
static bool read_part_head(const char *text, const char *end, part_head *head, const char **body,
                           serve_fault *fault)
{
    const char *begin = text;
    for (;;) {
        const char *stop = memmem(text, (size_t)(end - text), "\r\n", 2);
        if (stop == NULL || stop - begin > PART_HEAD_BYTES)
            return refuse_part(fault, "has a part whose header does not end");
        if (stop == text) break;
        read_part_line(text, (size_t)(stop - text), head);
        text = stop + 2;
    }
    *body = text + 2;
    return head->has_name ? true : refuse_part(fault, "has a part without a name");
}

/* One part, from behind its delimiter's line. *next: the delimiter that ends it. */
static bool read_part(const char *text, const char *end, const char *delimiter, const char **next,
                      serve_field field, void *to, serve_fault *fault)
{
    part_head head = {0};
    const char *body = NULL;
    if (!read_part_head(text, end, &head, &body, fault)) return false;
    /* an empty part has its delimiter right behind the empty line */
    const char *stop = memmem(body - 2, (size_t)(end - body) + 2, delimiter, strlen(delimiter));
    if (stop == NULL) return refuse_part(fault, "is cut off");
    const size_t bytes = stop > body ? (size_t)(stop - body) : 0;
    *next = stop;
    if (head.is_file) return field(to, head.name, body, bytes, true, fault);
    char *value = malloc(bytes + 1);
    if (value == NULL) return serve_refuse_memory(fault);
    memcpy(value, body, bytes);
    value[bytes] = '\0';
    const bool fine = field(to, head.name, value, bytes, false, fault);
    free(value);
    return fine;
}

bool serve_multipart_read(const char *content_type, const char *body, size_t bytes, serve_field field,
                          void *to, serve_fault *fault)
{
    char boundary[BOUNDARY_BYTES + 2], delimiter[BOUNDARY_BYTES + 8];
    if (!header_parameter(content_type, strlen(content_type), "boundary", boundary, sizeof boundary) ||
        boundary[0] == '\0' || strlen(boundary) > BOUNDARY_BYTES)
        return refuse_part(fault, "has no usable boundary in its Content-Type");
    const int length = snprintf(delimiter, sizeof delimiter, "\r\n--%s", boundary);
    const char *end = body + bytes, *at = body;
    /* the first delimiter may stand at the very begin, without its line feed */
    if (bytes >= (size_t)length - 2 && memcmp(body, delimiter + 2, (size_t)length - 2) == 0)
        at = body + length - 2;
    else if ((at = memmem(body, bytes, delimiter, (size_t)length)) != NULL)
        at += length;
    else
        return refuse_part(fault, "does not hold its boundary");
    for (int64_t parts = 0;; parts++) {
        if (end - at >= 2 && memcmp(at, "--", 2) == 0) return true;
        while (at < end && (*at == ' ' || *at == '\t')) at++;
        if (end - at < 2 || memcmp(at, "\r\n", 2) != 0) return refuse_part(fault, "is cut off");
        if (parts == MOST_FIELDS) return refuse_part(fault, "has too many parts");
        if (!read_part(at + 2, end, delimiter, &at, field, to, fault)) return false;
        at += length;
    }
}

/* ---- base64 (RFC 4648), as in JSON bodies; "=" at the end may be missing, white space is skipped ---- */

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

tdm_status serve_base64_decode(const char *text, size_t bytes, tdm_text *out)
{
    uint32_t bits = 0;
    int have = 0, ended = 0;
    TDM_TRY(tdm_text_append(out, NULL, 0));
    for (size_t i = 0; i < bytes; i++) {
        if (strchr(" \t\r\n", text[i]) != NULL && text[i] != '\0') continue;
        if (text[i] == '=' && ++ended <= 2) continue;
        const int value = base64_value(text[i]);
        TDM_REQUIRE(value >= 0 && ended == 0, TDM_E_FORMAT, "not base64");
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        const unsigned char byte = (unsigned char)(bits >> have);
        TDM_TRY(tdm_text_append(out, &byte, 1));
    }
    TDM_REQUIRE(have < 6, TDM_E_FORMAT, "not base64: it ends within a byte");
    return TDM_OK;
}
