/* Private to src/dist: processes of this host, and the files in which they say who they are. */
#ifndef TANDEM_PROCESS_H
#define TANDEM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

/* Letter of the state and start, in ticks since the boot. False: /proc does not show it. */
bool process_read(long long pid, char *state, long long *start);

/* Of lines "key value": the value of `key`, cut to `bytes`, "" where there is none. What is not printable is left out,
 * since messages show it. */
void process_value(const char *text, const char *key, char *value, size_t bytes);

#endif
