/* What becomes of paths, query strings and bodies. */
#include "check.h"

#include "../../src/serve/serve_impl.h"

static serve_request request;
static serve_fault fault;

static void clear(void)
{
    serve_request_free(&request);
    memset(&request, 0, sizeof request);
    memset(&fault, 0, sizeof fault);
}

static bool ask(const char *method, const char *target, const char *type, const char *body)
{
    clear();
    return serve_request_begin(method, target, &request, &fault) &&
           serve_request_finish(&request, type, body, strlen(body), &fault);
}

static bool get(const char *target)
{
    return ask("GET", target, NULL, "");
}

#define CHECK_REFUSED(asked, want, name)                                                                     \
    do {                                                                                                     \
        CHECK_FALSE(asked);                                                                                  \
        CHECK_EQ(fault.status, want);                                                                        \
        CHECK_STR_EQ(fault.code, name);                                                                      \
    } while (0)

static void test_addresses(void **state)
{
    (void)state;
    CHECK_TRUE(get("/"));
    CHECK_TRUE(serve_query_is_empty(&request.query));
    CHECK_TRUE(get("/image/17"));
    CHECK_EQ(request.row, 17);
    CHECK_TRUE(get("/upload/0123456789abcdef0123456789abcdef"));
    CHECK_STR_EQ(request.id, "0123456789abcdef0123456789abcdef");
    static const char *const absent[] = {"",
                                         "/x",
                                         "/image",
                                         "/image/",
                                         "/image/-1",
                                         "/image/1x",
                                         "/image/../1",
                                         "//",
                                         "/image/%31",
                                         "/images/1",
                                         "/api",
                                         "/api/search/",
                                         "/api/search/1",
                                         "/image/1111111111111111111",
                                         "/upload/0123",
                                         "/upload/0123456789ABCDEF0123456789ABCDEF",
                                         "/style.css/",
                                         "/../style.css",
                                         "/etc/passwd",
                                         "/image/..%2f..%2fetc%2fpasswd",
                                         "http://x/"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        CHECK_REFUSED(get(absent[i]), 404, "not_found");
}

static void test_methods(void **state)
{
    (void)state;
    CHECK_TRUE(ask("HEAD", "/api/search?q=a", NULL, ""));
    CHECK_TRUE(ask("OPTIONS", "/image/1", NULL, ""));
    CHECK_REFUSED(ask("DELETE", "/", NULL, ""), 405, "method_not_allowed");
    CHECK_REFUSED(ask("get", "/", NULL, ""), 405, "method_not_allowed");
    CHECK_REFUSED(ask("POST", "/image/1", NULL, ""), 405, "method_not_allowed");
}

static void test_parameters(void **state)
{
    (void)state;
    CHECK_TRUE(
        get("/api/search?q=a+red%20h%C3%A9art%26&k=7&offset=14&find=captions&class=x&class=y+z&unique=1"));
    const serve_query *q = &request.query;
    CHECK_STR_EQ(q->text.data, "a red h\xC3\xA9"
                               "art&");
    CHECK_EQ(q->k, 7);
    CHECK_EQ(q->offset, 14);
    CHECK_EQ(q->find, TDM_TEXT);
    CHECK_EQ(q->labels, 2);
    CHECK_STR_EQ(q->label[1], "y z");
    CHECK_TRUE(q->unique);
    CHECK_EQ(q->row, -1);
    /* what a form leaves empty is not given */
    CHECK_TRUE(get("/?q=&row=&k=&class=&&weight= &find=&unique="));
    CHECK_TRUE(serve_query_is_empty(q));
    CHECK_EQ(q->k, SERVE_DEFAULT_K);
    CHECK_TRUE(get("/api/search?row=0&weight=0.25&q=x"));
    CHECK_EQ(q->row, 0);
    CHECK_EQ(q->weight, 0.25);
    CHECK_TRUE(get("/image/3?token=abc"));
    CHECK_STR_EQ(request.token.data, "abc");
}

static void test_bad_parameters(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"k=0", "bad_parameter"},          {"k=201", "bad_parameter"},
        {"k=1e3", "bad_parameter"},        {"k=0x10", "bad_parameter"},
        {"k=5&k=6", "bad_parameter"},      {"q=a&q=b", "bad_parameter"},
        {"offset=-1", "bad_parameter"},    {"offset=99999999999999999999", "bad_parameter"},
        {"offset=10000", "bad_parameter"}, {"row=-2", "bad_parameter"},
        {"row=1.5", "bad_parameter"},      {"weight=1.1", "bad_parameter"},
        {"weight=nan", "bad_parameter"},   {"weight=0.5x", "bad_parameter"},
        {"find=dogs", "bad_parameter"},    {"unique=maybe", "bad_parameter"},
        {"upload=xyz", "bad_parameter"},   {"row=1&upload=0123456789abcdef0123456789abcdef", "bad_parameter"},
        {"q=%zz", "bad_encoding"},         {"q=%4", "bad_encoding"},
        {"q=%", "bad_encoding"},           {"q=%ff", "bad_encoding"},
        {"q=a%00b", "bad_encoding"},       {"q=%1b[2J", "bad_encoding"},
        {"q=%ed%a0%80", "bad_encoding"},   {"kk=1", "unknown_parameter"},
        {"Q=1", "unknown_parameter"},      {"image=x", "unknown_parameter"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char target[128];
        snprintf(target, sizeof target, "/api/search?%s", bad[i][0]);
        CHECK_REFUSED(get(target), 400, bad[i][1]);
    }
    CHECK_REFUSED(get("/image/1?q=a"), 400, "unknown_parameter");
    CHECK_REFUSED(get("/api/search?kk=1"), 400, "unknown_parameter");
    CHECK_TRUE(strstr(fault.message, "did you mean k?") != NULL);
    char lengthy[SERVE_TEXT_BYTES + 64] = "/?q=";
    memset(lengthy + 4, 'a', SERVE_TEXT_BYTES + 1);
    CHECK_REFUSED(get(lengthy), 400, "too_long");
    char many[1024] = "/?";
    for (int i = 0; i <= SERVE_CLASSES; i++) strcat(many, "class=a&");
    CHECK_REFUSED(get(many), 400, "bad_parameter");
}

/* ---- Bodies ---- */

static const char multipart[] = "multipart/form-data; boundary=\"b b\"";

static void test_multipart(void **state)
{
    (void)state;
    CHECK_TRUE(ask(
        "POST", "/api/search?k=3", multipart,
        "--b b\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\na dog\r\n"
        "--b b\r\nContent-Type: image/png\r\ncontent-disposition: form-data; filename=\"x\\\".png\"; name=image"
        "\r\n\r\nPNG\r\n\r\n--b\r\n--b b\r\nContent-Disposition: form-data; name=class\r\n\r\n\r\n--b b--\r\n"));
    CHECK_STR_EQ(request.query.text.data, "a dog");
    CHECK_STR_EQ(request.query.image.data, "PNG\r\n\r\n--b");
    CHECK_EQ(request.query.k, 3);
    CHECK_EQ(request.query.labels, 0);
    /* a form in which no file was chosen */
    CHECK_TRUE(ask(
        "POST", "/", multipart,
        "preamble\r\n--b b  \r\nContent-Disposition: form-data; name=\"image\"; filename=\"\"\r\n\r\n\r\n--b b--"));
    CHECK_EQ(request.query.image.length, 0);
    /* a new picture counts before that which the form shows */
    CHECK_TRUE(ask("POST", "/?upload=0123456789abcdef0123456789abcdef", multipart,
                   "--b b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\nx\r\n--b b--"));
    CHECK_STR_EQ(request.query.upload, "");
    static const char *const bad[] = {"",
                                      "--b",
                                      "--b b",
                                      "--b b\r\n",
                                      "--b b\r\nContent-Disposition: form-data; name=q\r\n",
                                      "--b b\r\nContent-Disposition: form-data; name=q\r\n\r\nx",
                                      "--b b\r\nContent-Disposition: form-data; name=q\r\n\r\nx\r\n--b bx",
                                      "--b b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b b--",
                                      "--b b\r\nContent-Disposition: form-data; name=\"q\r\n\r\nx\r\n--b b--",
                                      "--b b\r\n\r\nx\r\n--b b--"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_REFUSED(ask("POST", "/api/search", multipart, bad[i]), 400, "bad_multipart");
    CHECK_REFUSED(ask("POST", "/", "multipart/form-data", "--b--"), 400, "bad_multipart");
    CHECK_REFUSED(ask("POST", "/", "multipart/form-data; boundary=", "--"), 400, "bad_multipart");
}

static void test_json(void **state)
{
    (void)state;
    static const char json[] = "application/json; charset=utf-8";
    CHECK_TRUE(
        ask("POST", "/api/search", json,
            "{\"q\": \"caf\\u00e9\", \"class\": [\"a\", \"b\"], \"k\": 3, \"unique\": true, \"row\": null,"
            " \"weight\": 0.5, \"image\": \"UE5H\"}"));
    CHECK_STR_EQ(request.query.text.data, "caf\xC3\xA9");
    CHECK_STR_EQ(request.query.image.data, "PNG");
    CHECK_EQ(request.query.labels, 2);
    CHECK_TRUE(request.query.unique);
    CHECK_EQ(request.query.weight, 0.5);
    static const char *const bad[][2] = {{"", "bad_json"},
                                         {"[]", "bad_json"},
                                         {"{", "bad_json"},
                                         {"{\"q\":\"a\",\"q\":\"b\"}", "bad_json"},
                                         {"{\"q\":\"a\\u0000b\"}", "bad_json"},
                                         {"{\"q\":{}}", "bad_parameter"},
                                         {"{\"class\":[[]]}", "bad_parameter"},
                                         {"{\"image\":\"?\"}", "bad_parameter"},
                                         {"{\"image\":\"A\"}", "bad_parameter"},
                                         {"{\"image\":\"AA==A\"}", "bad_parameter"},
                                         {"{\"k\":1.5}", "bad_parameter"},
                                         {"{\"text\":\"a\"}", "unknown_parameter"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_REFUSED(ask("POST", "/api/search", json, bad[i][0]), 400, bad[i][1]);
    CHECK_REFUSED(ask("POST", "/api/search", "text/plain", "x"), 415, "unsupported_media_type");
    CHECK_REFUSED(ask("POST", "/api/search", NULL, "x"), 415, "unsupported_media_type");
    CHECK_REFUSED(ask("POST", "/api/search", "application/jsonx", "{}"), 415, "unsupported_media_type");
    CHECK_TRUE(ask("POST", "/api/search?k=2", "image/png", "PNG"));
    CHECK_EQ(request.query.image.length, 3);
    CHECK_TRUE(ask("POST", "/", "application/x-www-form-urlencoded", "q=a+b&k=2"));
    CHECK_STR_EQ(request.query.text.data, "a b");
}

/* What is written into the links of a page asks for the same again. */
static void test_print(void **state)
{
    (void)state;
    static const char *const same[] = {
        "q=a%20%26%20%C3%A9", "q=x&row=3&weight=0.25&class=a%2Fb&class=c&unique=1&k=7",
        "upload=0123456789abcdef0123456789abcdef&find=captions&offset=24", "row=5"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        char target[256];
        tdm_text out = {0};
        snprintf(target, sizeof target, "/?%s", same[i]);
        CHECK_TRUE(get(target));
        CHECK_OK(serve_query_print(&request.query, request.query.offset, &out));
        CHECK_STR_EQ(out.data, same[i]);
        tdm_text_free(&out);
    }
    clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),  cmocka_unit_test(test_methods),
        cmocka_unit_test(test_parameters), cmocka_unit_test(test_bad_parameters),
        cmocka_unit_test(test_multipart),  cmocka_unit_test(test_json),
        cmocka_unit_test(test_print)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
