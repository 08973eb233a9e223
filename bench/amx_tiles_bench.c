/* How the order and spacing of tile instructions decide their speed on a core whose second hardware thread is
 * busy: nanoseconds of four tile multiplications (65,536 multiply-adds), operands in L1 or in tiles.
 *
 *   amx_tiles_bench [rounds]                                                             default 1000
 *
 * Which state the core is in shows in the plain loop itself: rounds in which it takes less than 45 ns count
 * as "alone", those above 90 ns as "shared". The table holds the medians of each. */
#include "amx_tiles.h"
#include "ops_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 1600 };

static uint16_t operand[4 * 512] __attribute__((aligned(64))); /* four tiles */

#define LOAD(tile, part) _tile_loadd(tile, operand + (part)*512, 64)
#define NOTHING          ((void)0)

/* A loop: `before` it, and `step` STEPS times. */
#define LOOP(name, before, step)                                                                             \
    __attribute__((target("amx-tile,amx-bf16"), noinline)) static void name(void)                            \
    {                                                                                                        \
        before;                                                                                              \
        for (int i = 0; i < STEPS; i++) step                                                                 \
    }

/* The step of a product: `space` after each instruction, `clear` a tile after its last use. */
#define PRODUCT(space, clear)                                                                                \
    {                                                                                                        \
        LOAD(4, 0);                                                                                          \
        space;                                                                                               \
        LOAD(6, 2);                                                                                          \
        space;                                                                                               \
        LOAD(7, 3);                                                                                          \
        space;                                                                                               \
        _tile_dpbf16ps(0, 4, 6);                                                                             \
        space;                                                                                               \
        _tile_dpbf16ps(1, 4, 7);                                                                             \
        space;                                                                                               \
        clear(4);                                                                                            \
        LOAD(5, 1);                                                                                          \
        space;                                                                                               \
        _tile_dpbf16ps(2, 5, 6);                                                                             \
        space;                                                                                               \
        clear(6);                                                                                            \
        _tile_dpbf16ps(3, 5, 7);                                                                             \
        space;                                                                                               \
        clear(5);                                                                                            \
        clear(7);                                                                                            \
    }
#define KEEP(tile) NOTHING

/* Four multiplications of operands that stay in their tiles, into the sums a, b, c and d. */
#define MULTIPLY(a, b, c, d, left, right, space)                                                             \
    {                                                                                                        \
        _tile_dpbf16ps(a, 4, 6);                                                                             \
        space;                                                                                               \
        _tile_dpbf16ps(b, 4, right);                                                                         \
        space;                                                                                               \
        _tile_dpbf16ps(c, left, 6);                                                                          \
        space;                                                                                               \
        _tile_dpbf16ps(d, left, right);                                                                      \
        space;                                                                                               \
    }
#define LOAD_2                                                                                               \
    LOAD(4, 0);                                                                                              \
    LOAD(6, 2)
#define LOAD_4                                                                                               \
    LOAD_2;                                                                                                  \
    LOAD(5, 1);                                                                                              \
    LOAD(7, 3)

LOOP(plain, NOTHING, PRODUCT(NOTHING, KEEP))
LOOP(spaced, NOTHING, PRODUCT(amx_space(), KEEP))
LOOP(cleared, NOTHING, PRODUCT(NOTHING, _tile_zero))
LOOP(loads, NOTHING, { LOAD_4; })
LOOP(sums_4_full, LOAD_4, MULTIPLY(0, 1, 2, 3, 5, 7, NOTHING)) /* as in a product, no tile is clear */
LOOP(sums_4, LOAD_2, MULTIPLY(0, 1, 2, 3, 4, 6, NOTHING))
LOOP(sums_4_spaced, LOAD_2, MULTIPLY(0, 1, 2, 3, 4, 6, amx_space()))
LOOP(sums_2, LOAD_2, MULTIPLY(0, 1, 0, 1, 4, 6, NOTHING))
LOOP(sums_2_spaced, LOAD_2, MULTIPLY(0, 1, 0, 1, 4, 6, amx_space()))

__attribute__((target("amx-tile,amx-bf16"), noinline)) static void both(void)
{
    const amx_operands now = {.upper = operand,
                              .lower = operand + 512,
                              .right = {operand + 2 * 512, operand + 3 * 512},
                              .left_bytes = 64,
                              .right_bytes = 64};
    for (int i = 0; i < STEPS; i++) amx_multiply_step(now, (amx_operands){0});
}

static const struct {
    const char *name;
    void (*run)(void);
} loops[] = {
    {"four loads, four multiplications", plain},
    {"... kept apart by no-ops", spaced},
    {"... tiles cleared after their last use", cleared},
    {"... both: amx_multiply_step", both},
    {"four loads", loads},
    {"four multiplications, 8 tiles in use, 4 sums", sums_4_full},
    {"... 6 tiles in use, 4 sums", sums_4},
    {"... 6 tiles in use, 4 sums, kept apart", sums_4_spaced},
    {"... 4 tiles in use, 2 sums", sums_2},
    {"... 4 tiles in use, 2 sums, kept apart", sums_2_spaced},
};
enum { LOOPS = sizeof(loops) / sizeof(loops[0]), STATES = 2 };

__attribute__((target("amx-tile"))) static double time_ns(int loop)
{
    amx_configure_tiles(TILE); /* clears all */
    const double start_s = tdm_now_s();
    loops[loop].run();
    const double ns = (tdm_now_s() - start_s) / STEPS * 1e9;
    _tile_release();
    return ns;
}

int main(int argc, char **argv)
{
    const int rounds = argc > 1 ? atoi(argv[1]) : 1000;
    tdm_ops *ops = NULL;
    double *ns[LOOPS][STATES];
    int count[STATES] = {0};
    if (rounds < 1) {
        fprintf(stderr, "usage: amx_tiles_bench [rounds]\n");
        return 2;
    }
    if (tdm_ops_create(TDM_BF16, 1, &ops) != TDM_OK || !ops->cpu.amx_bf16) {
        fprintf(stderr, "amx_tiles_bench: no AMX-BF16 here, or TANDEM_ISA forbids it\n");
        return 1;
    }
    for (int i = 0; i < 4 * 512; i++)
        operand[i] = (uint16_t)(0x3c00 + i % 200); /* bf16, 2^-7 and a little more */
    for (int loop = 0; loop < LOOPS; loop++)
        for (int state = 0; state < STATES; state++)
            if (TDM_ALLOC(rounds, &ns[loop][state]) != TDM_OK) return 1;
    for (int round = 0; round < rounds; round++) {
        double now[LOOPS];
        for (int loop = 0; loop < LOOPS; loop++) now[loop] = time_ns(loop);
        const double again = time_ns(0);
        const int state = now[0] < 45 && again < 45 ? 0 : now[0] > 90 && again > 90 ? 1 : -1;
        if (state < 0) continue;
        for (int loop = 0; loop < LOOPS; loop++) ns[loop][state][count[state]] = now[loop];
        count[state]++;
    }
    printf("%-46s %8s %8s ns (%d and %d rounds)\n", "", "alone", "shared", count[0], count[1]);
    for (int loop = 0; loop < LOOPS; loop++) {
        printf("%-46s", loops[loop].name);
        for (int state = 0; state < STATES; state++) {
            qsort(ns[loop][state], (size_t)count[state], sizeof(double), tdm_compare_doubles);
            if (count[state])
                printf(" %8.1f", ns[loop][state][count[state] / 2]);
            else
                printf(" %8s", "-");
            tdm_free(ns[loop][state]);
        }
        printf("\n");
    }
    tdm_ops_destroy(&ops);
    return 0;
}
