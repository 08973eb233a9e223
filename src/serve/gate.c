/* Who may ask: Host and Origin, the token, the rate.
 *
 * Without a token the server listens on loopback. There any page that the user looks at could ask it, too, under a name
 * that leads to 127.0.0.1 (DNS rebinding): so the Host must be an address, localhost, or a name that was allowed. With a
 * token no name can do harm: the browser has the cookie for the name that the user has called only. */
#include "serve_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

enum { TOKEN_RANDOM_BYTES = 24, TOKEN_LEAST = 16 };

/* ---- The token ---- */

static tdm_status make_token(char *token, size_t room)
{
    unsigned char random[TOKEN_RANDOM_BYTES];
    TDM_REQUIRE(getrandom(random, sizeof random, 0) == sizeof random, TDM_E_IO,
                "the system gives no random bytes for a token");
    for (size_t i = 0; i < sizeof random; i++) snprintf(token + 2 * i, room - 2 * i, "%02x", random[i]);
    return TDM_OK;
}

static tdm_status check_token(const char *path, const char *token)
{
    static const char known[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~";
    TDM_REQUIRE(strlen(token) >= TOKEN_LEAST, TDM_E_USAGE,
                "%s: the token has %zu characters, at least %d are safe", path, strlen(token), TOKEN_LEAST);
    TDM_REQUIRE(strspn(token, known) == strlen(token), TDM_E_USAGE,
                "%s: a token is made of letters, digits and - . _ ~", path);
    return TDM_OK;
}

/* The first line of the file; a file that is not there is made, readable by its owner only. */
static tdm_status read_token_file(const char *path, char *token, size_t room)
{
    tdm_text text = {0};
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        TDM_TRY(make_token(token, room));
        const bool written = dprintf(fd, "%s\n", token) > 0;
        TDM_REQUIRE(close(fd) == 0 && written, TDM_E_IO, "%s: cannot write the token: %s", path,
                    strerror(errno));
        tdm_log(TDM_LOG_INFO, "token: made, in %s", path);
        return TDM_OK;
    }
    TDM_REQUIRE(errno == EEXIST, TDM_E_IO, "%s: cannot make the token file: %s", path, strerror(errno));
    TDM_TRY(tdm_read_file(path, &text));
    const size_t length = strcspn(text.data != NULL ? text.data : "", "\r\n");
    const bool fits = length < room;
    if (fits) snprintf(token, room, "%.*s", (int)length, text.data != NULL ? text.data : "");
    tdm_text_free(&text);
    TDM_REQUIRE(fits, TDM_E_USAGE, "%s: the token is longer than %zu characters", path, room - 1);
    return check_token(path, token);
}

bool serve_same_secret(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    unsigned char differ = n != m;
    for (size_t i = 0; i < m; i++) differ |= (unsigned char)(a[n > 0 ? i % n : 0] ^ b[i]);
    return differ == 0;
}

static bool is_loopback_text(const char *address)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
        return serve_address_is_loopback((const struct sockaddr *)&v4);
    return inet_pton(AF_INET6, address, &v6.sin6_addr) == 1 &&
           serve_address_is_loopback((const struct sockaddr *)&v6);
}

bool serve_address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

tdm_status serve_gate_open(serve_gate *gate, const tdm_serve_options *options)
{
    pthread_mutex_init(&gate->lock, NULL);
    gate->hosts = options->allowed_hosts;
    gate->rate.rate = options->rate;
    gate->rate.burst = options->burst;
    snprintf(gate->cookie, sizeof gate->cookie, "tandem-token");
    if (options->token_file[0] != '\0')
        return read_token_file(options->token_file, gate->token, sizeof gate->token);
    if (is_loopback_text(options->address) || options->no_token) return TDM_OK;
    return make_token(gate->token, sizeof gate->token);
}

void serve_gate_close(serve_gate *gate)
{
    pthread_mutex_destroy(&gate->lock);
}

/* ---- Host and Origin ---- */

/* Without the port: "[::1]:8080" gives "::1". */
static bool host_name(const char *header, char *name, size_t room)
{
    const char *begin = header, *end = header + strcspn(header, ":");
    if (header[0] == '[') {
        begin = header + 1;
        end = strchr(begin, ']');
        if (end == NULL) return false;
    }
    const size_t length = (size_t)(end - begin);
    if (length == 0 || length >= room) return false;
    memcpy(name, begin, length);
    name[length] = '\0';
    return true;
}

/* Is it one of "a,b"? */
static bool is_listed(const char *name, const char *list)
{
    const size_t length = strlen(name);
    while (*list != '\0') {
        const size_t n = strcspn(list, ",");
        if (n == length && strncasecmp(list, name, n) == 0) return true;
        list += n + (list[n] == ',');
    }
    return false;
}

static bool is_allowed_host(const serve_gate *gate, const char *header)
{
    char name[256];
    unsigned char address[16];
    if (header == NULL || !host_name(header, name, sizeof name)) return false;
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1 ||
           strcasecmp(name, "localhost") == 0 || is_listed(name, gate->hosts);
}

/* A page of another site makes the user's browser ask: it could not read the answer, but make us work. A link that the
 * user follows is none of these. */
static bool is_embedded_elsewhere(const serve_sender *sender)
{
    if (sender->site == NULL || strcmp(sender->site, "same-origin") == 0 || strcmp(sender->site, "none") == 0)
        return false;
    return sender->mode == NULL || strcmp(sender->mode, "navigate") != 0;
}

/* It sends something. */
static bool is_foreign(const serve_sender *sender)
{
    const char *scheme = sender->origin != NULL ? strstr(sender->origin, "://") : NULL;
    if (sender->origin == NULL) return false;
    return scheme == NULL || sender->host == NULL || strcasecmp(scheme + 3, sender->host) != 0;
}

/* ---- Token of a request ---- */

static bool has_cookie(const serve_gate *gate, const char *header)
{
    const size_t name = strlen(gate->cookie);
    char value[sizeof gate->token];
    while (header != NULL && *header != '\0') {
        header += strspn(header, " ;");
        const size_t n = strcspn(header, ";");
        if (n > name && n - name - 1 < sizeof value && strncmp(header, gate->cookie, name) == 0 &&
            header[name] == '=') {
            snprintf(value, sizeof value, "%.*s", (int)(n - name - 1), header + name + 1);
            if (serve_same_secret(value, gate->token)) return true;
        }
        header += n;
    }
    return false;
}

static bool has_token(const serve_gate *gate, const serve_sender *sender, const serve_request *request)
{
    static const char bearer[] = "Bearer ";
    const char *header = sender->authorization;
    if (header != NULL && strncasecmp(header, bearer, sizeof bearer - 1) == 0 &&
        serve_same_secret(header + sizeof bearer - 1, gate->token))
        return true;
    if (request->token.length > 0 && serve_same_secret(request->token.data, gate->token)) return true;
    return has_cookie(gate, sender->cookie);
}

/* ---- The gate ---- */

/* An IPv4 address, or the network of an IPv6 address, of which a client has a whole one; not 0. */
static uint64_t client_of(const struct sockaddr *address)
{
    uint64_t client = 0;
    if (address != NULL && address->sa_family == AF_INET)
        client = (uint64_t)ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr);
    else if (address != NULL && address->sa_family == AF_INET6)
        memcpy(&client, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, sizeof client);
    return client + 1 == 0 ? 1 : client + 1;
}

bool serve_gate_pass(serve_gate *gate, const serve_sender *sender, const serve_request *request,
                     double *retry_s, serve_fault *fault)
{
    pthread_mutex_lock(&gate->lock);
    *retry_s = serve_rate_take(&gate->rate, client_of(sender->address), tdm_now_s());
    pthread_mutex_unlock(&gate->lock);
    if (*retry_s > 0)
        return serve_refuse(fault, 429, "too_many_requests",
                            "more than %.3g requests a second: try again later", gate->rate.rate);
    if (gate->token[0] == '\0' && !is_allowed_host(gate, sender->host))
        return serve_refuse(
            fault, 403, "bad_host",
            "this server is not called by the name in the Host header; --allow-host permits it");
    if (is_embedded_elsewhere(sender) || (is_foreign(sender) && request->method == SERVE_POST))
        return serve_refuse(fault, 403, "cross_origin", "the request was made by a page of another site");
    const bool is_open = request->route != NULL && request->route->is_open;
    if (gate->token[0] == '\0' || is_open || has_token(gate, sender, request)) return true;
    return serve_refuse(fault, 401, "unauthorized",
                        "a token is needed: as ?token=… once, or as the header Authorization: Bearer …");
}
