#include "tandem/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20, SMALL_PAGE = 4096 };
#if defined(__SANITIZE_ADDRESS__)
static const size_t MAP_FROM = SIZE_MAX; /* the sanitizer guards what malloc gives */
#else
static const size_t MAP_FROM = 4 << 20;
#endif

/* Stands in the ALIGNMENT bytes before what the caller gets. */
typedef struct block_header {
    void *base;
    size_t mapped_bytes; /* from base on; 0: base is malloc's */
    size_t bytes;        /* the caller's */
} block_header;
_Static_assert(sizeof(block_header) <= ALIGNMENT, "the header fits before an aligned block");

static _Thread_local tdm_memory_use use;

static block_header *header_of(void *pointer)
{
    return (block_header *)((unsigned char *)pointer - ALIGNMENT);
}

static void *take_from_malloc(size_t rounded)
{
    void *base;
    errno = posix_memalign(&base, ALIGNMENT, ALIGNMENT + rounded);
    if (errno) return NULL;
    void *pointer = (unsigned char *)base + ALIGNMENT;
    *header_of(pointer) = (block_header){.base = base};
    memset(pointer, 0, rounded);
    return pointer;
}

/* Pages that the system zeroes when they are first touched. */
static void *take_from_system(size_t rounded)
{
    const size_t mapped = rounded + HUGE_PAGE + SMALL_PAGE;
    unsigned char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    const size_t at = (size_t)(uintptr_t)base + SMALL_PAGE;
    unsigned char *pointer = base + SMALL_PAGE + ((HUGE_PAGE - at % HUGE_PAGE) % HUGE_PAGE);
    (void)madvise(pointer, rounded / SMALL_PAGE * SMALL_PAGE, MADV_HUGEPAGE);
    *header_of(pointer) = (block_header){.base = base, .mapped_bytes = mapped};
    return pointer;
}

tdm_status tdm_alloc(size_t bytes, const char *what, void **out)
{
    *out = NULL;
    TDM_REQUIRE(bytes < SIZE_MAX / 2, TDM_E_NOMEM, "cannot allocate %zu bytes for %s", bytes, what);
    const size_t rounded = (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    void *pointer = bytes >= MAP_FROM ? take_from_system(rounded) : take_from_malloc(rounded);
    TDM_REQUIRE(pointer, TDM_E_NOMEM, "cannot allocate %.1f MiB for %s: %s", (double)bytes / (1 << 20), what,
                strerror(errno));
    header_of(pointer)->bytes = bytes;
    use.blocks++;
    use.bytes += (int64_t)bytes;
    *out = pointer;
    return TDM_OK;
}

void tdm_free(void *pointer)
{
    if (!pointer) return;
    const block_header header = *header_of(pointer);
    use.bytes -= (int64_t)header.bytes;
    if (header.mapped_bytes)
        munmap(header.base, header.mapped_bytes);
    else
        free(header.base);
}

tdm_memory_use tdm_memory_used(void)
{
    return use;
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
    TDM_REQUIRE(rounded >= bytes && rounded <= scratch->capacity_bytes - scratch->used_bytes, TDM_E_NOMEM,
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
