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

double tdm_clock_at(const tdm_clock *clock, int64_t step)
{
    return clock->at + (double)(step - clock->step) * clock->rate;
}

/* Half a step of tolerance, as a resumed run's clock and its end are rounded. */
bool tdm_clock_ends(const tdm_clock *clock, int64_t step, double share)
{
    const double last = round(clock->end * share), left = clock->end - tdm_clock_at(clock, step);
    return last > 0.0 && left < last + 0.5 * clock->rate;
}

/* With warmup_epochs the same share of the schedule as they are of the epochs, in whole steps. */
static double warmup_of(const tdm_config *config, double end)
{
    if (config->optim.warmup_epochs <= 0.0) return (double)config->optim.warmup_steps;
    return round(end * config->optim.warmup_epochs / (double)tdm_max_i64(1, config->train.epochs));
}

/* Update `at` of the warm-up's: from 1/warmup, or from where the configuration begins; both ends are met, as by
 * numpy's linspace. */
static double warmup_share(double at, double warmup, double start)
{
    if (start < 0.0) return fmin(1.0, (at + 1.0) / warmup);
    return warmup > 1.0 ? fmin(1.0, start + (1.0 - start) * at / (warmup - 1.0)) : start;
}

double schedule_rate(const tdm_schedule *schedule, const tdm_config *config, double at, double end)
{
    const double peak = config->optim.lr, floor = peak * config->optim.min_lr_ratio;
    const double warmup = warmup_of(config, end);
    if (at < warmup) return peak * warmup_share(at, warmup, config->optim.warmup_start_ratio);
    const double progress = end > warmup ? fmin(1.0, (at - warmup) / (end - warmup)) : 1.0;
    return schedule->rate(peak, floor, progress);
}

double tdm_learning_rate(const tdm_optim *optim, const tdm_config *config, double at, double end)
{
    return schedule_rate(optim->schedule, config, at, end);
}
