/* Requests to stop: signals only set a flag. */
#include "tandem/base.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t stop_flag = 0;

static void on_stop_signal(int number)
{
    (void)number;
    stop_flag = 1;
}

void tdm_stop_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_stop_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

bool tdm_stop_requested(void)
{
    return stop_flag != 0;
}
