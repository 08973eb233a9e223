/* Loaded before a program (LD_PRELOAD), holds it where it opens a file for the first time: makes the file $HOLD_MARK
 * and goes on when that is gone. $HOLD_PATH is the end of the path; $HOLD_RANK, of MPI, holds that rank only. So that a
 * test can say at which moment of a start-up a signal comes. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void hold(const char *path)
{
    static int held;
    const char *end = getenv("HOLD_PATH"), *mark = getenv("HOLD_MARK"), *only = getenv("HOLD_RANK");
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (held || !end || !mark || (only && (!rank || strcmp(rank, only) != 0))) return;
    const size_t all = strlen(path), n = strlen(end);
    if (all < n || strcmp(path + all - n, end) != 0) return;
    held = 1;
    unsetenv("HOLD_PATH"); /* of what it starts */
    const int fd = creat(mark, 0600);
    if (fd >= 0) close(fd);
    while (access(mark, F_OK) == 0) usleep(2000);
}

#define OPEN(name)                                                                                           \
    int name(const char *path, int flags, ...)                                                               \
    {                                                                                                        \
        va_list rest;                                                                                        \
        va_start(rest, flags);                                                                               \
        const int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, int) : 0;                            \
        va_end(rest);                                                                                        \
        hold(path);                                                                                          \
        return openat(AT_FDCWD, path, flags, mode);                                                          \
    }
OPEN(open)
OPEN(open64)

#define FOPEN(name)                                                                                          \
    FILE *name(const char *path, const char *mode)                                                           \
    {                                                                                                        \
        FILE *(*next)(const char *, const char *);                                                           \
        void *found = dlsym(RTLD_NEXT, #name);                                                               \
        memcpy(&next, &found, sizeof next); /* C has no cast between the two */                              \
        hold(path);                                                                                          \
        return next(path, mode);                                                                             \
    }
FOPEN(fopen)
FOPEN(fopen64)
