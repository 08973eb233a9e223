/* A line for each request, in the form that web servers write: client, time, first line, status, bytes, seconds. The
 * token never stands in it. */
#include "serve_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

static int log_fd = -1;

tdm_status serve_access_open(const char *path)
{
    if (path[0] == '\0') return TDM_OK;
    log_fd = tdm_path_is_device(path) ? tdm_device_open(path)
                                      : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    TDM_REQUIRE(log_fd >= 0, TDM_E_IO, "%s: cannot write the access log: %s", path, strerror(errno));
    return TDM_OK;
}

void serve_access_close(void)
{
    if (log_fd >= 0) close(log_fd);
    log_fd = -1;
}

static const char *method_name(serve_method method)
{
    switch (method) {
    case SERVE_GET: return "GET";
    case SERVE_HEAD: return "HEAD";
    case SERVE_POST: return "POST";
    case SERVE_OPTIONS: return "OPTIONS";
    default: return "-";
    }
}

void serve_access_note(const char *client, serve_method method, const char *target, int status, size_t bytes,
                       double took_s)
{
    enum { SHOWN = 1000 };
    char when[64] = "", shown[4 * SHOWN + 1], plain[SHOWN + 1];
    tdm_text line = {0};
    struct tm utc;
    const time_t now = time(NULL);
    if (log_fd < 0) return;
    if (gmtime_r(&now, &utc) != NULL) (void)strftime(when, sizeof when, "%d/%b/%Y:%H:%M:%S +0000", &utc);
    const char *token = strstr(target, "token="); /* whatever stands behind it */
    snprintf(plain, sizeof plain, "%.*s", token != NULL ? (int)tdm_min_i64(token - target, SHOWN) : SHOWN,
             target);
    tdm_show_text(shown, sizeof shown, plain);
    if (tdm_text_printf(&line, "%s - - [%s] \"%s %s%s\" %d %zu %.6f\n", client, when, method_name(method),
                        shown, token != NULL ? "token=…" : "", status, bytes, took_s) == TDM_OK)
        (void)!write(log_fd, line.data, line.length); /* whole lines: of several threads they do not mix */
    tdm_text_free(&line);
}
