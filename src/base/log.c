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

void tdm_log(tdm_log_level level, const char *fmt, ...)
{
    if (level != TDM_LOG_ALL_RANKS && log_rank != 0) return;
    if (log_quiet && level != TDM_LOG_WARN) return;
    if (level == TDM_LOG_DEBUG) return;

    char line[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    pthread_mutex_lock(&log_lock);
    erase_progress();
    /* one write per line, so that lines of several ranks do not mix */
    char out[2112];
    int length = snprintf(out, sizeof(out), "%s%s\n", level == TDM_LOG_WARN ? "tandem: warning: " : "", line);
    if (length > 0) fwrite(out, 1, (size_t)length, stderr);
    fflush(stderr);
    pthread_mutex_unlock(&log_lock);
}

bool tdm_progress_active(void)
{
    return log_rank == 0 && !log_quiet && isatty(STDERR_FILENO);
}

void tdm_progress(const char *fmt, ...)
{
    if (!tdm_progress_active()) return;
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

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
