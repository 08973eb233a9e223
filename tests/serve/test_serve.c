/* The whole server within this process, so that the sanitizers see it: a tiny random model and shapes, asked over sockets
 * by several threads, stopped while they ask. tests/serve/serve.sh looks at what it answers. */
#include "check.h"
#include "scratch.h"
#include "tandem/serve.h"

#include "../eval/shapes.h"
#include "../eval/tiny_model.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 4, ROUNDS = 10 };

static char dir[64], data_dir[80], model_dir[80];
static int port;

/* ---- The server ---- */

typedef struct server {
    pthread_t thread;
    tdm_comm *comm;
    tdm_inference inference;
    tdm_searcher searcher;
    tdm_serve_options options;
    tdm_status status;
} server;

static void *serve(void *argument)
{
    server *s = argument;
    s->status = tdm_serve(&s->searcher, &s->options);
    return NULL;
}

static int connect_to(void)
{
    const struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

/* One that is free at this moment. */
static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const bool bound = bind(fd, (const struct sockaddr *)&at, bytes) == 0 &&
                       getsockname(fd, (struct sockaddr *)&at, &bytes) == 0;
    close(fd);
    CHECK_TRUE(bound);
    return ntohs(at.sin_port);
}

static server own; /* one for all tests: a request to stop stays */

static int start(void **state)
{
    server *s = &own;
    (void)state;
    static const tdm_inference_options model = {
        .model = model_dir, .precision = "f32", .threads = 1, .batch = 16, .workers = 1};
    const tdm_searcher_options gallery = {.gallery = data_dir, .split = "test", .cache = ""};
    *s = (server){.options = {.address = "127.0.0.1",
                              .title = "",
                              .gallery = data_dir,
                              .token_file = "",
                              .allowed_hosts = "",
                              .access_log = "",
                              .connections = 16,
                              .body_bytes = 100000,
                              .pixels = 1000000,
                              .queue = 8,
                              .batch = 16,
                              .request_s = 60,
                              .duplicates = 0.97,
                              .stall_s = 60}};
    CHECK_OK(tdm_comm_create_alone(&s->comm));
    CHECK_OK(tdm_inference_open(s->comm, &model, &s->inference));
    CHECK_OK(tdm_searcher_open(s->comm, &s->inference, &gallery, &s->searcher));
    s->options.port = port = free_port();
    CHECK_EQ(pthread_create(&s->thread, NULL, serve, s), 0);
    for (int fd; (fd = connect_to()) < 0 || close(fd) != 0;) usleep(10000);
    return 0;
}

static void finish(server *s)
{
    kill(getpid(), SIGTERM);
    pthread_join(s->thread, NULL);
    CHECK_OK(s->status);
    tdm_searcher_close(&s->searcher);
    tdm_inference_close(&s->inference);
    tdm_comm_destroy(&s->comm);
}

/* ---- Clients ---- */

/* Sends it all, and reads until the connection ends. Returns the status, 0: no answer; *answer: tdm_text_free. */
static int ask(const void *data, size_t bytes, tdm_text *answer)
{
    char piece[4096];
    int status = 0;
    const int fd = connect_to();
    if (fd < 0) return 0;
    if (send(fd, data, bytes, MSG_NOSIGNAL) == (ssize_t)bytes)
        for (ssize_t n; (n = recv(fd, piece, sizeof piece, 0)) > 0;)
            if (tdm_text_append(answer, piece, (size_t)n) != TDM_OK) break;
    close(fd);
    if (answer->length > 0) (void)sscanf(answer->data, "HTTP/1.1 %d", &status);
    return status;
}

static int get(const char *target, tdm_text *answer)
{
    char line[512];
    const int n = snprintf(line, sizeof line,
                           "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", target);
    return ask(line, (size_t)n, answer);
}

static int post(const char *target, const char *type, const void *body, size_t bytes, tdm_text *answer)
{
    tdm_text all = {0};
    CHECK_OK(
        tdm_text_printf(&all,
                        "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        target, type, bytes));
    CHECK_OK(tdm_text_append(&all, body, bytes));
    const int status = ask(all.data, all.length, answer);
    tdm_text_free(&all);
    return status;
}

static void check_get(const char *target, int status, const char *part)
{
    tdm_text answer = {0};
    CHECK_EQ(get(target, &answer), status);
    CHECK_CONTAINS(answer.data, part);
    tdm_text_free(&answer);
}

static void check_post(const char *type, const void *body, size_t bytes, int status, const char *part)
{
    tdm_text answer = {0};
    CHECK_EQ(post("/api/search", type, body, bytes, &answer), status);
    CHECK_CONTAINS(answer.data, part);
    tdm_text_free(&answer);
}

static void test_answers(void **state)
{
    (void)state;
    tdm_text picture = {0};
    check_get("/", 200, "<form");
    check_get("/?q=a+red+disc&unique=1", 200, "/thumbnail/");
    check_get("/api/search?q=a+red+disc&k=3", 200, "\"next_offset\":3");
    check_get("/api/search?row=3&q=ring&weight=0.4&find=captions", 200, "\"caption\":\"");
    check_get("/api/search?q=x&class=ring&class=disc&k=200", 200, "\"total\":32");
    check_get("/api/search?q=x&class=rings", 400, "unknown_class");
    check_get("/api/gallery", 200, "\"images\":64");
    check_get("/image/5", 200, "image/png");
    check_get("/thumbnail/5", 200, "image/png");
    check_get("/image/64", 404, "not_found");
    check_get("/api/schema", 200, "$defs");
    check_get("/metrics", 200, "tandem_gallery_rows{what=\"images\"} 64");
    check_get("/nothing", 404, "not_found");
    check_get("/?kk=1", 400, "did you mean k?");
    CHECK_OK(tdm_dataset_read_image(own.searcher.dataset, 5, &picture)); /* nobody asks now */
    check_post("image/png", picture.data, picture.length, 200, "\"row\":5,");
    check_post("image/png", picture.data, picture.length / 2, 415, "bad_picture");
    check_post("image/png", "", 0, 400, "nothing_asked");
    check_post("application/json", "{\"q\":[]}", 8, 400, "bad_parameter");
    tdm_text_free(&picture);
    CHECK_OK(tdm_alloc(200000, "a long body", (void **)&picture.data));
    check_post("image/png", picture.data, 200000, 413, "body_too_large");
    tdm_free(picture.data);
}

/* Until the server is gone; returns how many answers were not what they should be. */
static void *ask_on(void *argument)
{
    static const char *const targets[] = {"/api/search?q=red&k=5", "/image/3",
                                          "/api/search?row=7&unique=1&k=5", "/?q=blue", "/metrics"};
    int *count = argument;
    for (int i = 0;; i++) {
        tdm_text answer = {0};
        const int status = get(targets[i % 5], &answer);
        tdm_text_free(&answer);
        if (status == 200) __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
        if (status == 0) return NULL;
        if (status != 200 && status != 503) return count;
    }
}

static void test_stop(void **state)
{
    (void)state;
    pthread_t client[CLIENTS];
    int count = 0;
    for (int i = 0; i < CLIENTS; i++) CHECK_EQ(pthread_create(&client[i], NULL, ask_on, &count), 0);
    while (__atomic_load_n(&count, __ATOMIC_RELAXED) < CLIENTS * ROUNDS) usleep(1000);
    finish(&own);
    for (int i = 0; i < CLIENTS; i++) {
        void *wrong = NULL;
        pthread_join(client[i], &wrong);
        CHECK_NULL(wrong);
    }
}

int main(void)
{
    if (scratch_dir(dir, sizeof dir) != 0) return 1;
    snprintf(data_dir, sizeof data_dir, "%s/data", dir);
    snprintf(model_dir, sizeof model_dir, "%s/model", dir);
    tdm_log_set_quiet(true);
    tdm_stop_install();
    if (make_shapes(data_dir) != TDM_OK || tiny_model_write(model_dir, 3) != TDM_OK) {
        fprintf(stderr, "%s\n", tdm_error_last()->message);
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers), cmocka_unit_test(test_stop)};
    return cmocka_run_group_tests(tests, start, NULL);
}
