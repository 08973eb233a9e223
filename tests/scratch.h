/* A directory for the files of a test. It goes when the process ends, however the tests went; a test that is killed
 * leaves it in $TMPDIR, which check.sh clears.
 *
 *     static char dir[64];
 *     if (scratch_dir(dir, sizeof dir) != 0) return 1; */
#ifndef TANDEM_TESTS_SCRATCH_H
#define TANDEM_TESTS_SCRATCH_H

#include "tandem/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char **scratch_made;
static int scratch_count;
static pid_t scratch_owner; /* a child that was forked has the list, too, and must not clear it */

static inline void scratch_clear(void)
{
    for (int i = 0; i < scratch_count; i++) {
        if (getpid() == scratch_owner && tdm_remove_tree(scratch_made[i]) != TDM_OK)
            fprintf(stderr, "%s\n", tdm_error_last()->message);
        free(scratch_made[i]);
    }
    free(scratch_made);
}

/* Makes a fresh one and writes its path to `dir`; not 0 when that cannot be. */
static inline int scratch_dir(char *dir, size_t bytes)
{
    const char *parent = getenv("TMPDIR");
    const int length =
        snprintf(dir, bytes, "%s/tandem-test-XXXXXX", parent != NULL && parent[0] != '\0' ? parent : "/tmp");
    if (length < 0 || (size_t)length >= bytes || mkdtemp(dir) == NULL) {
        fprintf(stderr, "%s: cannot make a directory for temporary files\n", dir);
        return 1;
    }
    if (scratch_count == 0) {
        scratch_owner = getpid();
        if (atexit(scratch_clear) != 0) return 1;
    }
    char **made = realloc(scratch_made, (size_t)(scratch_count + 1) * sizeof *made);
    if (made == NULL) return 1;
    scratch_made = made;
    made[scratch_count] = strdup(dir);
    return made[scratch_count++] == NULL;
}

#endif
