/* libmicrohttpd's calls: a request is collected, checked, answered. Each connection has a thread, which waits while the
 * compute thread works. Another thread ends connections that take too long. */
#include "serve_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IDLE_S = 20,              /* a connection without a request */
    HEADER_BYTES = 16 * 1024, /* of a request; the buffer also holds the answer's */
    HELD_BODIES = 8,          /* bodies of full size that may be on the way at the same time */
    READ_FACTOR = 3,          /* so many times --max-body are read of what is refused */
    SLOWEST_BYTES_S = 8192,   /* that a client takes of an answer */
    TICK_MS = 250
};

#if MHD_VERSION >= 0x00097601
#define STRICT_OPTION MHD_OPTION_CLIENT_DISCIPLINE_LVL
#else
#define STRICT_OPTION MHD_OPTION_STRICT_FOR_CLIENT /* its name before */
#endif

/* A connection, for the thread that ends slow ones. */
typedef struct slow_link {
    struct slow_link *next, *before;
    int fd;
    double limit_s; /* point in time; 0: none, the answer is being made */
    bool ended;
} slow_link;

struct serve_front {
    serve_server *server;
    struct MHD_Daemon *daemon;
    int listen_fd, port;
    pthread_t ender;
    bool ender_runs;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool stop;
    slow_link *links;
    int64_t requests; /* that have begun and are not answered */
};

/* One request. */
typedef struct exchange {
    serve_front *front;
    char *target; /* owned */
    double since_s;
    bool begun, answered;
    bool is_let_in;        /* by the gate: before, nothing is told of the gallery */
    size_t received_bytes; /* of the body */
    serve_request request;
    serve_fault fault; /* of the first line and the header */
    double retry_s;
    tdm_text body;
    int status;
    size_t sent_bytes;
    char client[64];
} exchange;

/* ---- Slow connections ---- */

static void set_limit(serve_front *front, struct MHD_Connection *connection, double within_s)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    slow_link *own = info != NULL ? info->socket_context : NULL;
    if (own == NULL) return;
    pthread_mutex_lock(&front->lock);
    own->limit_s = within_s > 0 ? tdm_now_s() + within_s : 0;
    pthread_mutex_unlock(&front->lock);
}

/* The lock is held. */
static void add_link(serve_front *front, slow_link *own)
{
    own->next = front->links;
    if (own->next != NULL) own->next->before = own;
    front->links = own;
}

static void remove_link(serve_front *front, slow_link *own)
{
    if (own->next != NULL) own->next->before = own->before;
    if (own->before != NULL)
        own->before->next = own->next;
    else
        front->links = own->next;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    serve_front *front = cls;
    slow_link *own = *context;
    const bool starts = code == MHD_CONNECTION_NOTIFY_STARTED;
    if (starts) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        own = calloc(1, sizeof *own);
        *context = own;
        if (own == NULL || info == NULL) return; /* the idle time of libmicrohttpd still holds */
        own->fd = info->connect_fd;
        own->limit_s = tdm_now_s() + IDLE_S;
    }
    if (own == NULL) return;
    pthread_mutex_lock(&front->lock);
    if (starts)
        add_link(front, own);
    else
        remove_link(front, own);
    pthread_mutex_unlock(&front->lock);
    pthread_mutex_lock(&front->server->metrics.lock);
    front->server->metrics.connections += starts ? 1 : -1;
    pthread_mutex_unlock(&front->server->metrics.lock);
    if (!starts) free(own);
}

/* The lock is held, so that no descriptor is closed meanwhile. Returns how many. */
static int64_t end_slow_links(serve_front *front)
{
    const double now_s = tdm_now_s();
    int64_t ended = 0;
    for (slow_link *at = front->links; at != NULL; at = at->next) {
        if (at->ended || at->limit_s <= 0 || now_s < at->limit_s) continue;
        shutdown(at->fd, SHUT_RDWR);
        at->ended = true;
        ended++;
    }
    return ended;
}

static void *end_slow(void *argument)
{
    serve_front *front = argument;
    pthread_setname_np(pthread_self(), "tandem-slow");
    pthread_mutex_lock(&front->lock);
    while (!front->stop) {
        const struct timespec until = tdm_after(TICK_MS / 1e3);
        pthread_cond_timedwait(&front->wake, &front->lock, &until);
        const int64_t ended = end_slow_links(front);
        if (ended == 0) continue;
        pthread_mutex_unlock(&front->lock);
        pthread_mutex_lock(&front->server->metrics.lock);
        front->server->metrics.refused_slow += ended;
        pthread_mutex_unlock(&front->server->metrics.lock);
        pthread_mutex_lock(&front->lock);
    }
    pthread_mutex_unlock(&front->lock);
    return NULL;
}

/* ---- The life of a request ---- */

static void count_requests(serve_front *front, int more)
{
    pthread_mutex_lock(&front->lock);
    front->requests += more;
    pthread_mutex_unlock(&front->lock);
}

/* The first line is there; its header may still come slowly. */
static void *on_first_line(void *cls, const char *target, struct MHD_Connection *connection)
{
    serve_front *front = cls;
    exchange *x = calloc(1, sizeof *x);
    if (x == NULL) return NULL;
    x->front = front;
    x->target = strdup(target);
    x->since_s = tdm_now_s();
    set_limit(front, connection, front->server->options->request_s);
    count_requests(front, 1);
    return x;
}

static void name_client(struct MHD_Connection *connection, char client[64], const struct sockaddr **address)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    *address = info != NULL ? info->client_addr : NULL;
    snprintf(client, 64, "?");
    if (*address == NULL) return;
    const socklen_t bytes =
        (*address)->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    (void)getnameinfo(*address, bytes, client, 64, NULL, 0, NI_NUMERICHOST);
}

static const char *header_of(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* Of the body, where the client says it; -1: it does not. */
static int64_t length_of(struct MHD_Connection *connection)
{
    const char *length = header_of(connection, "Content-Length");
    return length != NULL ? strtoll(length, NULL, 10) : -1;
}

static bool check_length(exchange *x, struct MHD_Connection *connection)
{
    const int64_t most = x->front->server->options->body_bytes, length = length_of(connection);
    if (length <= most) return true;
    return serve_refuse(&x->fault, 413, "body_too_large", "the body has %lld bytes, at most %lld are read",
                        (long long)length, (long long)most);
}

/* What is refused already need not send its body. But one that is on the way is read, unless it is very long: who sends
 * while the connection is closed would not see the answer. */
static bool reads_on(const exchange *x, struct MHD_Connection *connection)
{
    const int64_t length = length_of(connection);
    const bool has_body = length > 0 || header_of(connection, "Transfer-Encoding") != NULL;
    return has_body && header_of(connection, "Expect") == NULL &&
           length <= READ_FACTOR * x->front->server->options->body_bytes;
}

/* All that is known before the body. */
static bool check_head(exchange *x, struct MHD_Connection *connection, const char *method)
{
    serve_server *server = x->front->server;
    serve_fault wrong = {0};
    serve_sender sender = {.host = header_of(connection, "Host"),
                           .origin = header_of(connection, "Origin"),
                           .site = header_of(connection, "Sec-Fetch-Site"),
                           .mode = header_of(connection, "Sec-Fetch-Mode"),
                           .authorization = header_of(connection, "Authorization"),
                           .cookie = header_of(connection, "Cookie")};
    name_client(connection, x->client, &sender.address);
    const bool clear = serve_request_begin(method, x->target, &x->request, &wrong);
    x->request.known = header_of(connection, "If-None-Match");
    if (!serve_gate_pass(&server->gate, &sender, &x->request, &x->retry_s, &x->fault)) return false;
    x->is_let_in = true;
    if (!clear) {
        x->fault = wrong;
        return false;
    }
    return check_length(x, connection);
}

/* What is refused, or is more than the limit, is thrown away; much more ends the connection. */
static enum MHD_Result take_body(exchange *x, const char *data, size_t *bytes)
{
    serve_server *server = x->front->server;
    const size_t most = (size_t)server->options->body_bytes, n = *bytes;
    *bytes = 0;
    x->received_bytes += n;
    if (x->fault.status != 0 || x->received_bytes > most) {
        atomic_fetch_sub(&server->held_bytes, (long long)x->body.length);
        tdm_text_free(&x->body);
        return x->received_bytes <= READ_FACTOR * most ? MHD_YES : MHD_NO;
    }
    if (atomic_fetch_add(&server->held_bytes, (long long)n) > (long long)most * HELD_BODIES ||
        tdm_text_append(&x->body, data, n) != TDM_OK) {
        atomic_fetch_sub(&server->held_bytes, (long long)n);
        serve_refuse(&x->fault, 503, "busy", "too many bodies are on the way: try again soon");
    }
    return MHD_YES;
}

/* ---- The answer ---- */

static void free_body(void *body)
{
    tdm_text text = {.data = body};
    tdm_text_free(&text);
}

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value);
}

static void add_security(struct MHD_Response *response, const char *type)
{
    const bool is_page = strcmp(type, SERVE_HTML) == 0;
    add_header(response, "Content-Security-Policy",
               is_page
                   ? "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
                     "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
                   : "default-src 'none'; frame-ancestors 'none'; sandbox");
    add_header(response, "X-Content-Type-Options", "nosniff");
    add_header(response, "Referrer-Policy", "same-origin"); /* no-referrer makes the Origin of forms "null" */
    add_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    add_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    if (is_page) add_header(response, "X-Frame-Options", "DENY");
}

/* "GET, HEAD, OPTIONS" */
static void print_methods(const serve_route *route, char text[64])
{
    const unsigned methods = route != NULL ? route->methods : 0;
    snprintf(text, 64, "%s%sOPTIONS", methods & SERVE_GET ? "GET, HEAD, " : "",
             methods & SERVE_POST ? "POST, " : "");
}

static void add_headers(const exchange *x, const serve_answer *answer, struct MHD_Response *response)
{
    char text[256];
    const serve_gate *gate = &x->front->server->gate;
    if (answer->type != NULL) add_header(response, "Content-Type", answer->type);
    add_security(response, answer->type != NULL ? answer->type : "");
    add_header(response, "Cache-Control", answer->may_keep ? "private, no-cache" : "no-store");
    if (answer->may_keep) add_header(response, "ETag", answer->etag);
    if (answer->not_shown) add_header(response, "Content-Disposition", "attachment");
    if (answer->retry_s > 0) {
        snprintf(text, sizeof text, "%.0f", answer->retry_s < 1 ? 1 : answer->retry_s + 0.5);
        add_header(response, "Retry-After", text);
    }
    if (answer->status == 405 || x->request.method == SERVE_OPTIONS) {
        print_methods(x->request.route, text);
        add_header(response, "Allow", text);
    }
    if (answer->status == 401) add_header(response, "WWW-Authenticate", "Bearer realm=\"tandem\"");
    if (answer->location.length == 0) return;
    add_header(response, "Location", answer->location.data);
    if (x->request.token.length == 0) return;
    snprintf(text, sizeof text, "%s=%s; Path=/; HttpOnly; SameSite=Lax", gate->cookie, gate->token);
    add_header(response, "Set-Cookie", text);
}

/* Hands the answer's body over. */
static enum MHD_Result send_answer(exchange *x, struct MHD_Connection *connection, serve_answer *answer)
{
    if (answer->may_keep && answer->etag[0] == '\0')
        (void)serve_answer_is_known(answer, &x->request, answer->body.data, answer->body.length);
    if (answer->status == 304) tdm_text_free(&answer->body);
    const size_t bytes = answer->body.length;
    struct MHD_Response *response =
        bytes > 0 ? MHD_create_response_from_buffer_with_free_callback(bytes, answer->body.data, free_body)
                  : MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) return MHD_NO; /* the caller frees the body */
    answer->body = (tdm_text){0};
    add_headers(x, answer, response);
    const enum MHD_Result result = MHD_queue_response(connection, (unsigned)answer->status, response);
    MHD_destroy_response(response);
    x->status = answer->status;
    x->sent_bytes = x->request.method == SERVE_HEAD ? 0 : bytes;
    set_limit(x->front, connection, x->front->server->options->request_s + (double)bytes / SLOWEST_BYTES_S);
    return result;
}

/* Strangers learn nothing of the gallery, and nothing of what they asked for. */
static tdm_status print_strange(const serve_fault *fault, serve_answer *answer)
{
    const serve_query nothing = {.row = -1, .k = SERVE_DEFAULT_K, .find = TDM_IMAGE};
    const serve_results results = {.title = "Tandem",
                                   .gallery = "",
                                   .split = "",
                                   .model = "",
                                   .query = &nothing,
                                   .fault = fault,
                                   .next_offset = -1};
    return serve_page_render(&results, &answer->body);
}

/* A fault of a page is a page, too. */
static tdm_status print_fault(exchange *x, serve_answer *answer)
{
    const serve_route *route = x->request.route;
    const bool is_page = route != NULL && route->is_page;
    answer->status = x->fault.status;
    answer->type = is_page ? SERVE_HTML : SERVE_JSON;
    answer->retry_s = x->fault.status == 503 && x->retry_s <= 0 ? 1 : x->retry_s;
    if (!is_page) return serve_json_fault(&x->fault, &answer->body);
    if (!x->is_let_in) return print_strange(&x->fault, answer);
    serve_results results = serve_results_of(x->front->server, &x->request);
    results.fault = &x->fault;
    return serve_page_render(&results, &answer->body);
}

/* The token in the address of a page becomes a cookie, and the address the same without it. */
static tdm_status redirect(exchange *x, serve_answer *answer)
{
    tdm_text query = {0};
    tdm_status status = serve_query_print(&x->request.query, x->request.query.offset, &query);
    if (status == TDM_OK)
        status = tdm_text_printf(&answer->location, "%s%s%s", x->request.route->path,
                                 query.length > 0 ? "?" : "", query.length > 0 ? query.data : "");
    tdm_text_free(&query);
    answer->status = 303;
    return status;
}

static bool make_answer(exchange *x, struct MHD_Connection *connection, serve_answer *answer)
{
    serve_server *server = x->front->server;
    serve_request *r = &x->request;
    if (x->fault.status != 0) return false;
    if (x->received_bytes > (size_t)server->options->body_bytes)
        return serve_refuse(&x->fault, 413, "body_too_large", "the body has more than %lld bytes",
                            (long long)server->options->body_bytes);
    if (r->method == SERVE_OPTIONS) {
        answer->status = 204;
        return true;
    }
    if (r->route->is_page && r->token.length > 0 && server->gate.token[0] != '\0' && r->method != SERVE_POST)
        return redirect(x, answer) == TDM_OK ||
               serve_refuse(&x->fault, 503, "out_of_memory", "the server has no memory for this answer");
    if (!serve_request_finish(r, header_of(connection, "Content-Type"),
                              x->body.data != NULL ? x->body.data : "", x->body.length, &x->fault))
        return false;
    return r->route->answer(server, r, answer, &x->fault);
}

static enum MHD_Result answer_request(exchange *x, struct MHD_Connection *connection)
{
    serve_answer answer = {0};
    enum MHD_Result result = MHD_NO;
    set_limit(x->front, connection, 0);
    bool fine = make_answer(x, connection, &answer);
    if (!fine) {
        serve_answer_free(&answer);
        answer = (serve_answer){0};
        fine = print_fault(x, &answer) == TDM_OK;
    }
    x->answered = true;
    if (fine) result = send_answer(x, connection, &answer);
    serve_answer_free(&answer);
    return result;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **con_cls)
{
    (void)cls;
    (void)url;
    (void)version;
    exchange *x = *con_cls;
    if (x == NULL || x->target == NULL) return MHD_NO;
    if (!x->begun) {
        x->begun = true;
        const bool fine = check_head(x, connection, method);
        return fine || reads_on(x, connection) ? MHD_YES : answer_request(x, connection);
    }
    if (*upload_data_size > 0) return take_body(x, upload_data, upload_data_size);
    return x->answered ? MHD_YES : answer_request(x, connection);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    serve_front *front = cls;
    exchange *x = *con_cls;
    (void)code;
    if (x == NULL) return;
    const double took_s = tdm_now_s() - x->since_s;
    if (x->status != 0) {
        serve_metrics_request(&front->server->metrics, x->request.route, x->status, took_s, x->sent_bytes);
        serve_access_note(x->client, x->request.method, x->target, x->status, x->sent_bytes, took_s);
    }
    atomic_fetch_sub(&front->server->held_bytes, (long long)x->body.length);
    tdm_text_free(&x->body);
    serve_request_free(&x->request);
    free(x->target);
    free(x);
    *con_cls = NULL;
    count_requests(front, -1);
    set_limit(front, connection, IDLE_S);
}

/* ---- Opening and closing ---- */

static tdm_status listen_at(const tdm_serve_options *options, serve_front *front)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[16];
    const int on = 1;
    snprintf(port, sizeof port, "%lld", (long long)options->port);
    const int code = getaddrinfo(options->address, port, &hints, &found);
    TDM_REQUIRE(code == 0, TDM_E_USAGE, "--address %s: must be a numeric address: %s", options->address,
                gai_strerror(code));
    front->listen_fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool bound = front->listen_fd >= 0 &&
                       setsockopt(front->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                       bind(front->listen_fd, found->ai_addr, found->ai_addrlen) == 0 &&
                       listen(front->listen_fd, SOMAXCONN) == 0;
    const int error = errno;
    freeaddrinfo(found);
    TDM_REQUIRE(bound, TDM_E_IO, "cannot listen at %s port %s: %s", options->address, port, strerror(error));
    return TDM_OK;
}

static tdm_status note_port(serve_front *front)
{
    struct sockaddr_storage own;
    socklen_t bytes = sizeof own;
    TDM_REQUIRE(getsockname(front->listen_fd, (struct sockaddr *)&own, &bytes) == 0, TDM_E_IO,
                "cannot tell the port: %s", strerror(errno));
    front->port = own.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)(void *)&own)->sin6_port)
                                            : ntohs(((struct sockaddr_in *)(void *)&own)->sin_port);
    serve_gate *gate = &front->server->gate; /* browsers do not tell ports apart */
    snprintf(gate->cookie, sizeof gate->cookie, "tandem-%d", front->port);
    return TDM_OK;
}

/* In a thread of its own, whose children get its cores: not those of OpenMP's first thread. */
static void *start_daemon(void *argument)
{
    serve_front *front = argument;
    const tdm_serve_options *o = front->server->options;
    const unsigned per_client = (unsigned)tdm_max_i64(8, o->connections / 2);
    const unsigned timeout_s =
        (unsigned)(IDLE_S + 2 * o->request_s); /* also counts while an answer is made */
    front->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC, 0, NULL,
        NULL, on_request, front, MHD_OPTION_LISTEN_SOCKET, front->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)o->connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT, per_client,
        MHD_OPTION_CONNECTION_TIMEOUT, timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES,
        STRICT_OPTION, 1, MHD_OPTION_URI_LOG_CALLBACK, on_first_line, front, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, front, MHD_OPTION_NOTIFY_CONNECTION, on_connection, front, MHD_OPTION_END);
    return NULL;
}

static tdm_status listen_somewhere(serve_front *front)
{
    TDM_TRY(listen_at(front->server->options, front));
    return note_port(front);
}

tdm_status serve_front_open(serve_server *server, serve_front **front)
{
    TDM_TRY(TDM_ALLOC(1, front));
    (*front)->server = server;
    (*front)->listen_fd = -1;
    pthread_mutex_init(&(*front)->lock, NULL);
    tdm_condition_init(&(*front)->wake);
    const tdm_status status = listen_somewhere(*front);
    if (status != TDM_OK) serve_front_close(front);
    return status;
}

tdm_status serve_front_start(serve_front *front)
{
    pthread_t starter;
    if (tdm_thread_create(&starter, start_daemon, front) == 0) pthread_join(starter, NULL);
    TDM_REQUIRE(front->daemon != NULL, TDM_E_LIBRARY, "libmicrohttpd cannot start");
    front->listen_fd = -1; /* the daemon's now */
    front->ender_runs = tdm_thread_create(&front->ender, end_slow, front) == 0;
    TDM_REQUIRE(front->ender_runs, TDM_E_NOMEM, "cannot start a thread");
    return TDM_OK;
}

int serve_front_port(const serve_front *front)
{
    return front->port;
}

void serve_front_quiesce(serve_front *front)
{
    const int fd = MHD_quiesce_daemon(front->daemon);
    if (fd >= 0) close(fd);
}

bool serve_front_is_idle(serve_front *front)
{
    pthread_mutex_lock(&front->lock);
    const bool idle = front->requests == 0;
    pthread_mutex_unlock(&front->lock);
    return idle;
}

void serve_front_close(serve_front **front)
{
    serve_front *f = *front;
    if (f == NULL) return;
    if (f->daemon != NULL) MHD_stop_daemon(f->daemon);
    if (f->listen_fd >= 0) close(f->listen_fd);
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
    if (f->ender_runs) pthread_join(f->ender, NULL);
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    tdm_free(f);
    *front = NULL;
}
