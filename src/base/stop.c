/* Requests to stop: signals only set a flag. A second SIGINT or SIGHUP ends the process as if it were not caught. */
#include "tandem/base.h"
#include "tandem/pulse.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A terminal that closes may send SIGHUP twice at once, and some launchers pass on what the process has got already:
 * what comes so soon is the same request. */
#define SAME_REQUEST_S 0.5

static atomic_int stop_flag = 0; /* a signal may come to any thread */
static atomic_bool stop_held = false;
static struct timespec first; /* of the first request; read once stop_flag is set */

static double since_first_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* may be called in a handler */
    return (double)(now.tv_sec - first.tv_sec) + 1e-9 * (double)(now.tv_nsec - first.tv_nsec);
}

static void on_stop_signal(int number)
{
    if (!stop_flag) {
        clock_gettime(CLOCK_MONOTONIC, &first);
        stop_flag = 1;
        static const char line[] =
            "\ntandem: stopping at the next safe point; once more ends at once, without a checkpoint\n";
        if (number == SIGINT && tdm_log_rank() == 0) (void)!write(STDERR_FILENO, line, sizeof line - 1);
        return;
    }
    if ((number != SIGINT && number != SIGHUP) || since_first_s() < SAME_REQUEST_S) return;
    signal(number, SIG_DFL);
    raise(number); /* when this returns: the parent sees which signal it was */
}

static void install(int number, bool unless_ignored)
{
    struct sigaction action, old;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_stop_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (unless_ignored && sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_IGN) return;
    sigaction(number, &action, NULL);
}

void tdm_stop_install(void)
{
    install(SIGTERM, false);
    install(SIGUSR1, false);
    install(SIGINT, true); /* of a shell's background job */
    install(SIGHUP, true); /* nohup */
}

bool tdm_stop_requested(void)
{
    return stop_flag != 0;
}

void tdm_stop_hold(bool hold)
{
    atomic_store(&stop_held, hold);
}

tdm_status tdm_stop_point(const char *when, ...)
{
    char text[512];
    tdm_pulse_beat(); /* within what takes long */
    if (!stop_flag || atomic_load(&stop_held)) return TDM_OK;
    va_list arguments;
    va_start(arguments, when);
    vsnprintf(text, sizeof text, when, arguments);
    va_end(arguments);
    TDM_FAIL(TDM_E_STOPPED, "stopped on request %s", text);
}
