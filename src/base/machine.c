#include "tandem/machine.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* A number of bytes at the start of a file, or `otherwise`: "max", or nothing to read. */
static int64_t read_number(const char *path, int64_t otherwise)
{
    char line[64], *end;
    tdm_read_line(path, line, sizeof line);
    const long long value = strtoll(line, &end, 10);
    return end == line ? otherwise : value;
}

static bool has_core(const uint8_t core[TDM_CORE_BYTES], int i)
{
    return i >= 0 && i < 8 * TDM_CORE_BYTES && (core[i / 8] >> i % 8 & 1);
}

/* How many cores a list as "0-3,8" names, or whether it holds one of `core`. */
static int count_list(const char *list, const uint8_t core[TDM_CORE_BYTES], bool *any)
{
    int count = 0;
    *any = false;
    while (*list >= '0' && *list <= '9') {
        char *end;
        const int begin = (int)strtol(list, &end, 10);
        const int last = *end == '-' ? (int)strtol(end + 1, &end, 10) : begin;
        for (int i = begin; i <= last; i++, count++) *any = *any || has_core(core, i);
        list = *end == ',' ? end + 1 : end;
    }
    return count;
}

static void find_numa(const uint8_t core[TDM_CORE_BYTES], tdm_machine *m)
{
    DIR *dir = opendir("/sys/devices/system/node");
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char path[320], list[1024], *end;
        bool own;
        if (strncmp(entry->d_name, "node", 4) != 0 || !entry->d_name[4]) continue;
        (void)strtol(entry->d_name + 4, &end, 10);
        if (*end != '\0') continue;
        snprintf(path, sizeof path, "/sys/devices/system/node/%s/cpulist", entry->d_name);
        tdm_read_line(path, list, sizeof list);
        m->numa_nodes++;
        if (count_list(list, core, &own) > 0 && own) m->own_numa_nodes++;
    }
    if (dir != NULL) closedir(dir);
}

/* "1024K" -> "1 MiB" */
static void show_size(const char *text, char out[24])
{
    char *end;
    const long value = strtol(text, &end, 10);
    const char unit = *end;
    if (unit == 'K' && value >= 1024 && value % 1024 == 0)
        snprintf(out, 24, "%ld MiB", value / 1024);
    else
        snprintf(out, 24, "%ld %ciB", value, unit ? unit : 'K');
}

static void find_caches(const uint8_t core[TDM_CORE_BYTES], tdm_machine *m)
{
    int first = 0;
    size_t n = 0;
    while (first < 8 * TDM_CORE_BYTES - 1 && !has_core(core, first)) first++;
    for (int i = 0; i < 8; i++) {
        char dir[96], path[128], level[8], kind[24], size[24], list[1024], shown[24], shared[32] = "";
        bool any;
        snprintf(dir, sizeof dir, "/sys/devices/system/cpu/cpu%d/cache/index%d", first, i);
        snprintf(path, sizeof path, "%s/level", dir);
        tdm_read_line(path, level, sizeof level);
        snprintf(path, sizeof path, "%s/type", dir);
        tdm_read_line(path, kind, sizeof kind);
        snprintf(path, sizeof path, "%s/size", dir);
        tdm_read_line(path, size, sizeof size);
        snprintf(path, sizeof path, "%s/shared_cpu_list", dir);
        tdm_read_line(path, list, sizeof list);
        if (!level[0] || !size[0] || strcmp(kind, "Instruction") == 0) continue;
        show_size(size, shown);
        const int cores = count_list(list, core, &any);
        if (cores > 1) snprintf(shared, sizeof shared, " for %d cores", cores);
        const int more = snprintf(m->caches + n, sizeof m->caches - n, "%sL%s%s %s%s", n > 0 ? ", " : "",
                                  level, strcmp(kind, "Data") == 0 ? "d" : "", shown, shared);
        n = tdm_min_i64((int64_t)n + (more > 0 ? more : 0), (int64_t)sizeof m->caches - 1);
    }
}

/* The kB behind a name in /proc/meminfo, in bytes; pages where there is no unit. */
static void read_meminfo(tdm_machine *m)
{
    FILE *file = fopen("/proc/meminfo", "r");
    char line[128], pages[64];
    long long value, reserved = 0, page_kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemTotal: %lld", &value) == 1) m->memory_bytes = value * 1024;
        if (sscanf(line, "MemAvailable: %lld", &value) == 1) m->available_bytes = value * 1024;
        if (sscanf(line, "HugePages_Total: %lld", &value) == 1) reserved = value;
        if (sscanf(line, "Hugepagesize: %lld", &value) == 1) page_kib = value;
    }
    if (file != NULL) fclose(file);
    tdm_read_line("/sys/kernel/mm/transparent_hugepage/enabled", pages, sizeof pages);
    const char *begin = strchr(pages, '[');
    const int length = begin != NULL ? (int)strcspn(begin + 1, "]") : 0;
    snprintf(m->huge_pages, sizeof m->huge_pages, "%.*s; %lld of %lld MiB reserved",
             length > 16 ? 16 : length, begin != NULL ? begin + 1 : "", reserved, page_kib / 1024);
    if (begin == NULL)
        snprintf(m->huge_pages, sizeof m->huge_pages, "unknown; %lld of %lld MiB reserved", reserved,
                 page_kib / 1024);
}

/* The least limit of the group ROOT/GROUP and of those above it. */
static int64_t least_limit(const char *root, char *group, const char *file, int64_t least)
{
    for (;;) {
        char path[TDM_PATH_BYTES];
        if (snprintf(path, sizeof path, "%s%s/%s", root, group, file) < (int)sizeof path)
            least = tdm_min_i64(least, read_number(path, least));
        char *slash = strrchr(group, '/');
        if (slash == NULL) return least;
        *slash = '\0';
    }
}

/* Control groups of version 2 ("0::/group") and 1 ("4:memory:/group"). In a container the path may be the host's; its own
 * root counts then. */
static void read_limit(tdm_machine *m)
{
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[TDM_PATH_BYTES];
    int64_t least = m->memory_bytes;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *group = strchr(line, '/');
        if (group == NULL) continue;
        if (strncmp(line, "0::", 3) == 0) least = least_limit("/sys/fs/cgroup", group, "memory.max", least);
        if (strstr(line, ":memory:") != NULL)
            least = least_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", least);
    }
    if (file != NULL) fclose(file);
    m->limit_bytes = least < m->memory_bytes ? least : 0;
}

void tdm_machine_describe(tdm_machine *m)
{
    uint8_t core[TDM_CORE_BYTES];
    struct statvfs shm;
    memset(m, 0, sizeof *m);
    m->online_cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    m->allowed_cores = tdm_allowed_cores(core);
    find_numa(core, m);
    find_caches(core, m);
    read_meminfo(m);
    read_limit(m);
    if (statvfs("/dev/shm", &shm) == 0) m->shm_bytes = (int64_t)shm.f_bavail * (int64_t)shm.f_frsize;
}
