#include "tandem/base.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int log_rank = 0;
static bool log_quiet = false;
static bool progress_shown = false;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

void tdm_log_set_rank(int rank, int size)
{
    (void)size;
    log_rank = rank;
}

void tdm_log_set_quiet(bool quiet)
{
    log_quiet = quiet;
}

int tdm_log_rank(void)
{
    return log_rank;
}

static void erase_progress(void)
{
    if (progress_shown) fputs("\r\033[K", stderr);
    progress_shown = false;
}

static void write_line(const char *before, const char *fmt, va_list args)
{
    enum { LINE = 2048, SPELLED = 4 * LINE }; /* a byte is spelled with four characters at most */
    char line[LINE], out[SPELLED + 64];
    if (vsnprintf(line, sizeof line, fmt, args) >= (int)sizeof line) tdm_trim_cut(line);

    pthread_mutex_lock(&log_lock);
    erase_progress();
    /* one write per line, so that lines of several ranks do not mix */
    size_t length = (size_t)snprintf(out, sizeof out, "%s", before);
    length += tdm_show_text(out + length, SPELLED, line);
    out[length++] = '\n';
    fwrite(out, 1, length, stderr);
    fflush(stderr);
    pthread_mutex_unlock(&log_lock);
}

void tdm_log(tdm_log_level level, const char *fmt, ...)
{
    if (level != TDM_LOG_ALL_RANKS && log_rank != 0) return;
    if (log_quiet && level != TDM_LOG_WARN) return;
    if (level == TDM_LOG_DEBUG) return;
    va_list args;
    va_start(args, fmt);
    write_line(level == TDM_LOG_WARN ? "tandem: warning: " : "", fmt, args);
    va_end(args);
}

void tdm_log_always(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    write_line("", fmt, args);
    va_end(args);
}

bool tdm_progress_active(void)
{
    return log_rank == 0 && !log_quiet && isatty(STDERR_FILENO);
}

void tdm_progress(const char *fmt, ...)
{
    if (!tdm_progress_active()) return;
    char text[512], line[4 * sizeof text];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof text, fmt, args) >= (int)sizeof text) tdm_trim_cut(text);
    va_end(args);
    tdm_show_text(line, sizeof line, text);

    struct winsize window;
    size_t columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 8 ? window.ws_col : 80;
    /* cut to the terminal's width, counting UTF-8 sequences as one column */
    size_t at = 0, column = 0;
    while (line[at] && column + 1 < columns) {
        at++;
        while (((unsigned char)line[at] & 0xc0) == 0x80) at++;
        column++;
    }
    line[at] = '\0';
    pthread_mutex_lock(&log_lock);
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    progress_shown = true;
    pthread_mutex_unlock(&log_lock);
}

void tdm_progress_clear(void)
{
    pthread_mutex_lock(&log_lock);
    erase_progress();
    fflush(stderr);
    pthread_mutex_unlock(&log_lock);
}
