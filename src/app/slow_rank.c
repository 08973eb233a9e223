#include "slow_rank.h"

#include <math.h>

slow_rank slow_rank_of(const rank_wait *wait, int ranks)
{
    double data_s = 0.0, step_s = 0.0;
    int slow = 0;
    for (int r = 0; r < ranks; r++) {
        if (wait[r].data_s + wait[r].step_s < wait[slow].data_s + wait[slow].step_s) slow = r;
        data_s += wait[r].data_s;
        step_s += wait[r].step_s;
    }
    const double mean_data_s = (data_s - wait[slow].data_s) / (ranks - 1) - wait[slow].data_s;
    const double mean_step_s = (step_s - wait[slow].step_s) / (ranks - 1) - wait[slow].step_s;
    const double wait_s = mean_data_s + mean_step_s; /* not negative: nobody waited less */
    return (slow_rank){.rank = slow, .wait_s = wait_s, .wait_data_s = fmin(wait_s, fmax(mean_data_s, 0.0))};
}
