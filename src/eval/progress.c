/* How far a long evaluation is: a line in the log now and then, from rank 0. */
#include "metrics_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define LINE_S 10.0

void eval_progress_begin(int64_t steps, eval_progress *progress)
{
    const char *wish = getenv("TANDEM_PROGRESS_S");
    *progress = (eval_progress){.steps = steps, .line_s = wish ? atof(wish) : LINE_S};
    progress->begin_s = progress->told_s = tdm_now_s();
}

static void show_time(double left_s, char text[32])
{
    const long long s = (long long)(left_s + 0.5);
    if (s < 60)
        snprintf(text, 32, "%lld s", s);
    else if (s < 3600)
        snprintf(text, 32, "%lld min %lld s", s / 60, s % 60);
    else
        snprintf(text, 32, "%lld h %lld min", s / 3600, s / 60 % 60);
}

void eval_progress_step(eval_progress *progress)
{
    char left[32];
    const double now_s = tdm_now_s();
    progress->done++;
    if (progress->done >= progress->steps || now_s - progress->told_s < progress->line_s) return;
    progress->told_s = now_s;
    show_time((now_s - progress->begin_s) * (double)(progress->steps - progress->done) /
                  (double)progress->done,
              left);
    tdm_log(TDM_LOG_INFO, "ranking: %.0f %% done, about %s left",
            100.0 * (double)progress->done / (double)progress->steps, left);
}
