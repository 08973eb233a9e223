#include "process.h"

#include "tandem/base.h"

#include <ctype.h>
#include <string.h>

bool process_read(long long pid, char *state, long long *start)
{
    char path[64], line[2048];
    snprintf(path, sizeof path, "/proc/%lld/stat", pid);
    tdm_read_line(path, line, sizeof line);
    const char *at = strrchr(line, ')'); /* the name before it may hold anything */
    if (at == NULL || sscanf(at + 1, " %c", state) != 1) return false;
    for (int field = 2; field < 22 && at != NULL; field++) at = strchr(at + 1, ' ');
    return at != NULL && sscanf(at, " %lld", start) == 1;
}

void process_value(const char *text, const char *key, char *value, size_t bytes)
{
    const size_t length = strlen(key);
    size_t n = 0;
    for (const char *at = text; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, key, length) != 0 || at[length] != ' ') continue;
        for (at += length + 1; *at && *at != '\n' && n + 1 < bytes; at++)
            if (isprint((unsigned char)*at)) value[n++] = *at;
        break;
    }
    value[n] = '\0';
}
