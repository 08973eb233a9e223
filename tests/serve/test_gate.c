/* Who may ask, and how often; what is remembered of earlier requests. */
#include "check.h"
#include "scratch.h"

#include "../../src/serve/serve_impl.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/stat.h>

static char dir[64];

static tdm_serve_options options_of(const char *address, const char *token_file)
{
    return (tdm_serve_options){
        .address = address, .token_file = token_file, .allowed_hosts = "cat.example,dog"};
}

static serve_gate gate;

static struct sockaddr_in client(const char *address)
{
    struct sockaddr_in own = {.sin_family = AF_INET};
    CHECK_EQ(inet_pton(AF_INET, address, &own.sin_addr), 1);
    return own;
}

/* Status of the refusal, 0: passed. */
static int pass(const serve_sender *sender, serve_request *request)
{
    const struct sockaddr_in address = client("10.0.0.1");
    serve_sender own = *sender;
    serve_fault fault = {0};
    double retry_s = 0;
    own.address = (const struct sockaddr *)&address;
    const bool fine = serve_gate_pass(&gate, &own, request, &retry_s, &fault);
    CHECK_EQ(fine, fault.status == 0);
    return fault.status;
}

static void open_gate(const char *address, const char *token_file)
{
    const tdm_serve_options options = options_of(address, token_file);
    memset(&gate, 0, sizeof gate);
    CHECK_OK(serve_gate_open(&gate, &options));
}

static void test_hosts(void **state)
{
    (void)state;
    serve_request request = {.method = SERVE_GET};
    open_gate("127.0.0.1", "");
    CHECK_STR_EQ(gate.token, "");
    static const char *const fine[] = {"localhost",   "LocalHost:8080", "127.0.0.1:80", "[::1]:8080",
                                       "192.168.1.5", "cat.example:1",  "DOG"};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        CHECK_EQ(pass(&(serve_sender){.host = fine[i]}, &request), 0);
    static const char *const strange[] = {
        "",   ":80", "evil.example", "localhost.evil.example", "[::1",
        "[]", "do",  "dogs",         "127.0.0.1.evil.example", "cat.example,dog"};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++)
        CHECK_EQ(pass(&(serve_sender){.host = strange[i]}, &request), 403);
    CHECK_EQ(pass(&(serve_sender){.host = NULL}, &request), 403);
    /* pages of other sites show our pictures; links lead here */
    CHECK_EQ(pass(&(serve_sender){.host = "dog", .site = "same-origin", .mode = "cors"}, &request), 0);
    CHECK_EQ(pass(&(serve_sender){.host = "dog", .site = "none", .mode = "navigate"}, &request), 0);
    CHECK_EQ(pass(&(serve_sender){.host = "dog", .site = "cross-site", .mode = "navigate"}, &request), 0);
    CHECK_EQ(pass(&(serve_sender){.host = "dog", .site = "cross-site", .mode = "no-cors"}, &request), 403);
    CHECK_EQ(pass(&(serve_sender){.host = "dog", .site = "same-site", .mode = "cors"}, &request), 403);
    CHECK_EQ(pass(&(serve_sender){.host = "dog", .site = "cross-site"}, &request), 403);
    /* they send forms */
    request.method = SERVE_POST;
    CHECK_EQ(pass(&(serve_sender){.host = "dog:80", .origin = "http://dog:80"}, &request), 0);
    CHECK_EQ(pass(&(serve_sender){.host = "dog:80", .origin = "http://evil"}, &request), 403);
    CHECK_EQ(pass(&(serve_sender){.host = "dog:80", .origin = "null"}, &request), 403);
    serve_gate_close(&gate);
}

static void test_token(void **state)
{
    (void)state;
    char path[96], header[256];
    const serve_route route = {.path = "/x", .is_open = true};
    serve_request request = {.method = SERVE_GET}, open = {.method = SERVE_GET, .route = &route};
    snprintf(path, sizeof path, "%s/token", dir);
    open_gate("0.0.0.0", path); /* made */
    struct stat info;
    CHECK_EQ(stat(path, &info), 0);
    CHECK_EQ(info.st_mode & 0777, 0600);
    char made[sizeof gate.token];
    strcpy(made, gate.token);
    CHECK_EQ(strlen(made), 48);
    serve_gate_close(&gate);
    open_gate("127.0.0.1", path); /* read */
    CHECK_STR_EQ(gate.token, made);
    CHECK_EQ(pass(&(serve_sender){.host = "anything"}, &request), 401);
    CHECK_EQ(pass(&(serve_sender){.host = "anything"}, &open), 0);
    snprintf(header, sizeof header, "bearer %s", made);
    CHECK_EQ(pass(&(serve_sender){.authorization = header}, &request), 0);
    strcat(header, "x");
    CHECK_EQ(pass(&(serve_sender){.authorization = header}, &request), 401);
    snprintf(header, sizeof header, "Bearer %.47s", made);
    CHECK_EQ(pass(&(serve_sender){.authorization = header}, &request), 401);
    CHECK_EQ(pass(&(serve_sender){.authorization = "Bearer "}, &request), 401);
    snprintf(header, sizeof header, "a=b; %s=wrong;%s=%s ; c=d", gate.cookie, gate.cookie, made);
    CHECK_EQ(pass(&(serve_sender){.cookie = header}, &request), 401); /* a blank belongs to the value */
    snprintf(header, sizeof header, "a=b; %s=wrong;%s=%s; c=d", gate.cookie, gate.cookie, made);
    CHECK_EQ(pass(&(serve_sender){.cookie = header}, &request), 0);
    snprintf(header, sizeof header, "x%s=%s", gate.cookie, made);
    CHECK_EQ(pass(&(serve_sender){.cookie = header}, &request), 401);
    request.token = (tdm_text){.data = made, .length = strlen(made)};
    CHECK_EQ(pass(&(serve_sender){.host = "anything"}, &request), 0);
    serve_gate_close(&gate);

    open_gate("::", ""); /* one for this run */
    CHECK_EQ(strlen(gate.token), 48);
    CHECK_STR_NE(gate.token, made);
    serve_gate_close(&gate);

    CHECK_OK(tdm_write_file_atomic(path, "short\n", 6));
    tdm_serve_options options = options_of("127.0.0.1", path);
    CHECK_FAILS(serve_gate_open(&gate, &options), TDM_E_USAGE, "has 5 characters");
    CHECK_OK(tdm_write_file_atomic(path, "0123456789 0123456789\n", 22));
    CHECK_FAILS(serve_gate_open(&gate, &options), TDM_E_USAGE, "letters, digits");
    options = options_of("0.0.0.0", "");
    options.no_token = true;
    memset(&gate, 0, sizeof gate);
    CHECK_OK(serve_gate_open(&gate, &options));
    CHECK_STR_EQ(gate.token, "");
    serve_gate_close(&gate);
}

static void test_secret(void **state)
{
    (void)state;
    CHECK_TRUE(serve_same_secret("abc", "abc"));
    CHECK_FALSE(serve_same_secret("abd", "abc"));
    CHECK_FALSE(serve_same_secret("", "abc"));
    CHECK_FALSE(serve_same_secret("ab", "abab"));
    CHECK_FALSE(serve_same_secret("abcabc", "abc"));
}

static void test_rate(void **state)
{
    (void)state;
    static serve_rate rate;
    memset(&rate, 0, sizeof rate);
    for (int i = 0; i < 100; i++) CHECK_EQ(serve_rate_take(&rate, 7, i), 0.0); /* no limit */
    rate.rate = 10;
    rate.burst = 3;
    for (int i = 0; i < 3; i++) CHECK_EQ(serve_rate_take(&rate, 7, 100.0), 0.0);
    CHECK_NEAR(serve_rate_take(&rate, 7, 100.0), 0.1, 1e-12);
    CHECK_NEAR(serve_rate_take(&rate, 7, 100.05), 0.05, 1e-12);
    CHECK_EQ(serve_rate_take(&rate, 8, 100.05), 0.0); /* another client */
    CHECK_EQ(serve_rate_take(&rate, 7, 100.11), 0.0);
    CHECK_GT(serve_rate_take(&rate, 7, 100.11), 0.0);
    CHECK_GT(serve_rate_take(&rate, 7, 90.0), 0.0); /* a clock that goes back gives nothing */
    for (int i = 0; i < 3; i++) CHECK_EQ(serve_rate_take(&rate, 7, 200.0), 0.0);
    CHECK_GT(serve_rate_take(&rate, 7, 200.0), 0.0);
    /* more clients than places: each still gets its burst at once */
    for (uint64_t c = 1; c < 3 * SERVE_CLIENTS; c++)
        CHECK_EQ(serve_rate_take(&rate, c, 300.0 + (double)c), 0.0);
}

static void test_store(void **state)
{
    (void)state;
    enum { MOST = 32 };
    serve_store *store = NULL;
    char id[SERVE_ID_BYTES], other[SERVE_ID_BYTES];
    float feature[2] = {1, 2}, read[2];
    bool cut = false;
    tdm_text picture = {0}, out = {0};
    CHECK_OK(tdm_text_printf(&picture, "JPEG"));
    CHECK_OK(serve_store_create(2, MOST, &store));
    CHECK_OK(serve_store_id('t', "a", 1, id));
    CHECK_OK(serve_store_id('i', "a", 1, other));
    CHECK_STR_NE(id, other);
    CHECK_EQ(strlen(id), SERVE_ID_BYTES - 1);
    CHECK_FALSE(serve_store_find(store, id, read, &cut));
    CHECK_FALSE(serve_store_find(store, "", read, &cut));
    CHECK_OK(serve_store_keep(store, id, feature, true, NULL));
    CHECK_OK(serve_store_keep(store, other, feature, false, &picture));
    CHECK_TRUE(serve_store_find(store, id, read, &cut));
    CHECK_TRUE(cut);
    CHECK_EQ(read[1], 2.0f);
    CHECK_FALSE(serve_store_picture(store, id, &out));
    CHECK_TRUE(serve_store_picture(store, other, &out));
    CHECK_STR_EQ(out.data, "JPEG");
    /* what is asked for again and again stays while hundreds come and go */
    for (int i = 0; i < 500; i++) {
        CHECK_OK(serve_store_id('t', &i, sizeof i, id));
        feature[0] = (float)i;
        CHECK_OK(serve_store_keep(store, id, feature, false, NULL));
        CHECK_TRUE(serve_store_find(store, id, read, &cut));
        CHECK_EQ(read[0], (float)i);
        CHECK_TRUE(serve_store_find(store, other, read, &cut));
    }
    tdm_text_free(&picture);
    tdm_text_free(&out);
    serve_store_destroy(&store);
}

int main(void)
{
    if (scratch_dir(dir, sizeof dir) != 0) return 1;
    tdm_log_set_quiet(true);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hosts), cmocka_unit_test(test_token),
                                       cmocka_unit_test(test_secret), cmocka_unit_test(test_rate),
                                       cmocka_unit_test(test_store)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
