#include "tandem/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20, HUGE_FROM = 4 << 20 };

tdm_status tdm_alloc(size_t bytes, const char *what, void **out)
{
    *out = NULL;
    size_t alignment = bytes >= HUGE_FROM ? HUGE_PAGE : ALIGNMENT;
    TDM_REQUIRE(bytes < SIZE_MAX / 2, TDM_E_NOMEM, "cannot allocate %zu bytes for %s", bytes, what);
    size_t rounded = (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    int error = posix_memalign(out, alignment, rounded);
    if (error) {
        *out = NULL;
        TDM_FAIL(TDM_E_NOMEM, "cannot allocate %.1f MiB for %s: %s", (double)bytes / (1 << 20), what,
                 strerror(error));
    }
    if (alignment == HUGE_PAGE) (void)madvise(*out, rounded, MADV_HUGEPAGE);
    memset(*out, 0, rounded);
    return TDM_OK;
}

void tdm_free(void *pointer)
{
    free(pointer);
}

tdm_status tdm_scratch_create(size_t capacity_bytes, tdm_scratch *scratch)
{
    memset(scratch, 0, sizeof(*scratch));
    size_t rounded = (capacity_bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
    void *base =
        mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    TDM_REQUIRE(base != MAP_FAILED, TDM_E_NOMEM, "cannot reserve %.1f MiB for activations: %s",
                (double)rounded / (1 << 20), strerror(errno));
    (void)madvise(base, rounded, MADV_HUGEPAGE);
    scratch->base = base;
    scratch->capacity_bytes = rounded;
    return TDM_OK;
}

void tdm_scratch_destroy(tdm_scratch *scratch)
{
    if (scratch->base) munmap(scratch->base, scratch->capacity_bytes);
    memset(scratch, 0, sizeof(*scratch));
}

tdm_status tdm_scratch_take(tdm_scratch *scratch, size_t bytes, void **out)
{
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    TDM_REQUIRE(rounded <= scratch->capacity_bytes - scratch->used_bytes, TDM_E_NOMEM,
                "activations need more than the %.1f MiB reserved for them",
                (double)scratch->capacity_bytes / (1 << 20));
    *out = scratch->base ? scratch->base + scratch->used_bytes : NULL;
    scratch->used_bytes += rounded;
    if (scratch->used_bytes > scratch->peak_bytes) scratch->peak_bytes = scratch->used_bytes;
    return TDM_OK;
}

double tdm_now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

int64_t tdm_resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    long long total = 0, resident = 0;
    int fields = fscanf(file, "%lld %lld", &total, &resident);
    fclose(file);
    return fields == 2 ? (int64_t)resident * sysconf(_SC_PAGESIZE) : 0;
}

int64_t tdm_peak_resident_bytes(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage)) return 0;
    return (int64_t)usage.ru_maxrss * 1024;
}
