/* Where this process is: step, phase, and the collective in which it waits for others. The thread that runs the command
 * writes it, the watchdog (watch.h) reads it from time to time: no lock and no system call, a few stores each.
 * Names are string constants. */
#ifndef TANDEM_PULSE_H
#define TANDEM_PULSE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tdm_pulse {
    _Atomic int64_t step; /* that is under way, 0: before the first one */
    const char *_Atomic phase;
    const char *_Atomic wait; /* the collective; NULL: in none */
    _Atomic int64_t beats;    /* anything at all that was done */
    _Atomic int64_t
        meetings; /* collectives that were left: equal on all ranks at the same place of the program */
} tdm_pulse;
extern tdm_pulse tdm_pulse_here;

/* Only one thread writes: no locked addition. */
static inline void tdm_pulse_beat(void)
{
    const int64_t beats = atomic_load_explicit(&tdm_pulse_here.beats, memory_order_relaxed);
    atomic_store_explicit(&tdm_pulse_here.beats, beats + 1, memory_order_relaxed);
}

static inline void tdm_pulse_step(int64_t step)
{
    atomic_store_explicit(&tdm_pulse_here.step, step, memory_order_relaxed);
    tdm_pulse_beat();
}

static inline void tdm_pulse_phase(const char *phase)
{
    atomic_store_explicit(&tdm_pulse_here.phase, phase, memory_order_relaxed);
    tdm_pulse_beat();
}

/* Around a collective. */
static inline void tdm_pulse_wait(const char *collective)
{
    atomic_store_explicit(&tdm_pulse_here.wait, collective, memory_order_relaxed);
    tdm_pulse_beat();
}
static inline void tdm_pulse_met(void)
{
    const int64_t meetings = atomic_load_explicit(&tdm_pulse_here.meetings, memory_order_relaxed);
    atomic_store_explicit(&tdm_pulse_here.meetings, meetings + 1, memory_order_relaxed);
    tdm_pulse_wait(NULL);
}

#endif
