/* Learning rates after the warm-up. A new schedule is a function and a row. */
#include "optim_impl.h"

#include <math.h>

static double cosine(double peak, double floor, double progress)
{
    return floor + 0.5 * (peak - floor) * (1.0 + cos(3.141592653589793 * progress));
}

static double linear(double peak, double floor, double progress)
{
    return peak + (floor - peak) * progress;
}

static double constant(double peak, double floor, double progress)
{
    (void)floor;
    (void)progress;
    return peak;
}

static const tdm_schedule schedules[] = {{"cosine", cosine}, {"linear", linear}, {"constant", constant}};

const tdm_schedule *schedule_table(size_t *count)
{
    *count = sizeof(schedules) / sizeof(schedules[0]);
    return schedules;
}

double tdm_learning_rate(const tdm_optim *optim, const tdm_config *config, int64_t total_steps)
{
    const double peak = config->optim.lr, floor = peak * config->optim.min_lr_ratio;
    const int64_t step = optim->step, warmup = config->optim.warmup_steps;
    if (step < warmup) return peak * (double)(step + 1) / (double)warmup;
    const double progress =
        total_steps > warmup ? fmin(1.0, (double)(step - warmup) / (double)(total_steps - warmup)) : 1.0;
    return optim->schedule->rate(peak, floor, progress);
}
