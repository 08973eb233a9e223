/* The small things that every folder uses: memory, log, clock, stop requests, digests, text helpers. */
#ifndef TANDEM_BASE_H
#define TANDEM_BASE_H

#include "tandem/status.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TDM_VERSION "0.1.0"

/* Tells builds apart: hexadecimal digits of the linker's build id, and of a shared libtandem's; "" without any. */
enum { TDM_BUILD_BYTES = 40 };
void tdm_program_build(char build[TDM_BUILD_BYTES]);

/* Room for a path with its NUL. */
#define TDM_PATH_BYTES 4096

/* Zeroed memory, 64-byte aligned; pair with tdm_free, never with free. From 4 MiB up it is 2 MiB aligned with
 * huge pages advised, and what is never touched never becomes resident. `what` names the buffer in the error
 * message. bytes = 0 gives a valid pointer. */
TDM_CHECKED tdm_status tdm_alloc(size_t bytes, const char *what, void **out);
/* count elements of what *out points to; a count that is negative or too large for the address space is refused. */
#define TDM_ALLOC(count, out) tdm_alloc(tdm_array_bytes((count), sizeof(**(out))), #out, (void **)(out))
static inline size_t tdm_array_bytes(int64_t count, size_t each)
{
    size_t bytes;
    return count < 0 || __builtin_mul_overflow((size_t)count, each, &bytes) ? SIZE_MAX : bytes;
}
void tdm_free(void *pointer); /* NULL is fine */
/* By the calling thread: blocks taken so far, and bytes taken less bytes given back. */
typedef struct tdm_memory_use {
    int64_t blocks, bytes;
} tdm_memory_use;
tdm_memory_use tdm_memory_used(void);

/* A bump allocator for one step's activations. The address range is reserved once and touched on use, so
 * the resident size is that of the largest step. Not thread-safe. {.capacity_bytes = SIZE_MAX} without a
 * base counts only: what it gives are NULLs. */
typedef struct tdm_scratch {
    unsigned char *base;
    size_t capacity_bytes;
    size_t used_bytes;
    size_t peak_bytes;
} tdm_scratch;
TDM_CHECKED tdm_status tdm_scratch_create(size_t capacity_bytes, tdm_scratch *scratch);
void tdm_scratch_destroy(tdm_scratch *scratch);
/* 64-byte aligned, not zeroed; valid until the mark is rewound. TDM_E_NOMEM when the range is full. */
TDM_CHECKED tdm_status tdm_scratch_take(tdm_scratch *scratch, size_t bytes, void **out);
static inline size_t tdm_scratch_mark(const tdm_scratch *scratch)
{
    return scratch->used_bytes;
}
static inline void tdm_scratch_rewind(tdm_scratch *scratch, size_t mark)
{
    scratch->used_bytes = mark;
}

/* Log lines go to stderr, from rank 0 only unless the level is TDM_LOG_ALL_RANKS. */
typedef enum tdm_log_level { TDM_LOG_DEBUG, TDM_LOG_INFO, TDM_LOG_WARN, TDM_LOG_ALL_RANKS } tdm_log_level;
void tdm_log_set_rank(int rank, int size);
void tdm_log_set_quiet(bool quiet);
int tdm_log_rank(void);
/* One line: what is no plain text in it (tdm_text_show) is spelled out, a line feed, too. */
TDM_PRINTF(2, 3) void tdm_log(tdm_log_level level, const char *fmt, ...);
/* The same from any rank, be the log quiet or not: for the line about an error. */
TDM_PRINTF(1, 2) void tdm_log_always(const char *fmt, ...);

/* A progress line on a terminal ("text" is redrawn in place); nothing otherwise. Rank 0 only. */
bool tdm_progress_active(void);
TDM_PRINTF(1, 2) void tdm_progress(const char *fmt, ...);
void tdm_progress_clear(void);

double tdm_now_s(void);                /* monotonic seconds */
int64_t tdm_resident_bytes(void);      /* this process's resident set */
int64_t tdm_peak_resident_bytes(void); /* its largest so far */

/* Compute threads for this process when nothing else says so: OMP_NUM_THREADS, else the cores it is bound to;
 * when it is bound to all, they are shared out among the ranks that the launcher started on this host. At
 * least 1. */
int tdm_default_threads(void);

/* The cores that this process may use, as bits; how many, 0: unknown. */
enum { TDM_CORE_BYTES = 128 };
int tdm_allowed_cores(uint8_t bits[TDM_CORE_BYTES]);

/* Under OMP_PROC_BIND OpenMP keeps its first thread on one core, where the threads that it starts would stay,
 * too. These are the cores of the process (src/app/main.c asks OpenMP for them). */
void tdm_set_cores(const int *core, int64_t count);
/* pthread_create, on any of these cores; without the call above, on those of the thread that creates it. 0 or
 * an error number. */
int tdm_thread_create(pthread_t *thread, void *(*run)(void *), void *argument);
/* A condition whose timed waits go by CLOCK_MONOTONIC, and such a point in time, wait_s from now. */
void tdm_condition_init(pthread_cond_t *condition);
struct timespec tdm_after(double wait_s);

/* SIGTERM, SIGUSR1, SIGINT and SIGHUP only set a flag, which is looked at where work can end safely; the training
 * loop agrees on it between steps. A second SIGINT or SIGHUP, half a second later or more, ends the process. SIGINT
 * and SIGHUP that were ignored at the start (nohup) stay so. Once more does no harm: after a library that takes
 * signals for itself. */
void tdm_stop_install(void);
bool tdm_stop_requested(void);
/* A safe point of work that leaves nothing behind when it is given up, as what is read at the start. TDM_E_STOPPED,
 * "stopped on request WHEN", when the process was asked to stop. Not collective: the ranks agree at the end of the
 * phase. Never on the way to a checkpoint, which such a request asks for. */
TDM_PRINTF(1, 2) TDM_CHECKED tdm_status tdm_stop_point(const char *when, ...);
/* While it is held such points are passed: the caller looks at tdm_stop_requested, and ends what it has begun. On all
 * ranks alike. */
void tdm_stop_hold(bool hold);

/* SHA-256, hex: 64 characters and a NUL. */
typedef struct tdm_sha256 tdm_sha256;
TDM_CHECKED tdm_status tdm_sha256_create(tdm_sha256 **sha);
void tdm_sha256_update(tdm_sha256 *sha, const void *data, size_t bytes);
void tdm_sha256_finish(tdm_sha256 **sha, char hex[65]); /* destroys */
TDM_CHECKED tdm_status tdm_sha256_buffer(const void *data, size_t bytes, char hex[65]);
TDM_CHECKED tdm_status tdm_sha256_file(const char *path, char hex[65]);
/* XXH64 with seed 0: against accidents, not against forgers, and faster than memory is read. */
uint64_t tdm_xxh64(const void *data, size_t bytes);

/* Growable byte string, always NUL-terminated. Zero-initialise; tdm_text_free when done. */
typedef struct tdm_text {
    char *data;
    size_t length;
    size_t capacity;
} tdm_text;
TDM_CHECKED tdm_status tdm_text_append(tdm_text *text, const void *data, size_t length);
TDM_PRINTF(2, 3) TDM_CHECKED tdm_status tdm_text_printf(tdm_text *text, const char *fmt, ...);
/* Appends `s` for HTML, in text and in attributes: &, <, >, " and ' are escaped, what is not UTF-8 becomes
 * U+FFFD, and control characters but for white space are left out. */
TDM_CHECKED tdm_status tdm_text_html(tdm_text *text, const char *s);
/* Appends `s` as a field of CSV (RFC 4180): in quotes where it must be. */
TDM_CHECKED tdm_status tdm_text_csv(tdm_text *text, const char *s);
/* Appends `s` for LaTeX: the ten characters that mean something to it are escaped. */
TDM_CHECKED tdm_status tdm_text_latex(tdm_text *text, const char *s);
void tdm_text_free(tdm_text *text);

/* Names of files, captions and arguments may hold any bytes: control characters that a terminal obeys, and
 * what is not UTF-8. */
#define TDM_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
/* One code point from [at, end), at < end; -1 for a maximal invalid part, as in Python. *next is where the
 * following begins. */
int32_t tdm_utf8_next(const char *at, const char *end, const char **next);
/* Appends `bytes` of `data` as UTF-8, U+FFFD for each invalid part. */
TDM_CHECKED tdm_status tdm_text_utf8(tdm_text *text, const void *data, size_t bytes);
/* C0, C1, DEL, separators of lines, and what turns the direction of the text after it (U+202A … 202E, U+2066
 * … 2069). */
bool tdm_point_is_control(int32_t point);
/* Appends JSON text. JSON escapes C0 only; here, the other control characters are escaped, too. (They stand in strings
 * alone, where an escape means the same.) */
TDM_CHECKED tdm_status tdm_text_json(tdm_text *text, const char *json);
/* Appends `s` for people, on one line: control characters and bytes that are not UTF-8 are spelled out, as
 * \n, \x1b, \u202e and \xff. */
TDM_CHECKED tdm_status tdm_text_show(tdm_text *text, const char *s);
/* The same into out[room], as much of it as fits. Returns its length. */
size_t tdm_show_text(char *out, size_t room, const char *s);
/* Takes away the incomplete character at the end of text that was cut to fit. */
void tdm_trim_cut(char *text);

/* Whole file into memory, NUL-terminated (the NUL is not counted). Caller frees with tdm_text_free. */
TDM_CHECKED tdm_status tdm_read_file(const char *path, tdm_text *text);
/* The first line of a small file of the system, cut to fit; "" when it cannot be read. */
void tdm_read_line(const char *path, char *line, size_t bytes);
/* TDM_E_FORMAT when `data`, read from `path`, is what Git LFS leaves in place of a file. */
TDM_CHECKED tdm_status tdm_refuse_lfs_pointer(const char *path, const void *data, size_t bytes);
/* Writes path.XXXXXXXX.tmp, fsyncs and renames: the file is either the old or the new one. Of several writers at the
 * same time the last one stays, whole. A device or pipe, such as /dev/stdout, is written to, not
 * replaced; of a link, the file that it leads to is the one. */
TDM_CHECKED tdm_status tdm_write_file_atomic(const char *path, const void *data, size_t bytes);
/* mkdir -p */
TDM_CHECKED tdm_status tdm_make_dirs(const char *path);
TDM_CHECKED tdm_status tdm_fsync_path(const char *path);
/* Syncs the directory that holds `path`, so that a rename in it survives a power cut. */
TDM_CHECKED tdm_status tdm_fsync_parent(const char *path);
/* rm -r; a missing path is fine. */
TDM_CHECKED tdm_status tdm_remove_tree(const char *path);
bool tdm_path_exists(const char *path);
/* Something that bytes go into and that no file may take the place of: /dev/null, a terminal, a pipe. */
bool tdm_path_is_device(const char *path);
/* Its descriptor to write to, behind what is there; that of this process for /dev/stdout and /dev/stderr. -1 and errno on
 * failure. */
int tdm_device_open(const char *path);
bool tdm_path_is_dir(const char *path);
/* "dir/name" into out[bytes]; TDM_E_IO when it does not fit. */
TDM_CHECKED tdm_status tdm_path_join(char *out, size_t bytes, const char *dir, const char *name);

/* The entry of `names` (count) nearest to `word` in edit distance, or NULL when none is near: "did you
 * mean …?" */
const char *tdm_nearest_name(const char *word, const char *const *names, size_t count);

/* Elements [begin, end) of an array. */
typedef struct tdm_span {
    int64_t begin, end;
} tdm_span;

/* First place of ascending[count] that is at least `least`; count: there is none. */
static inline int64_t tdm_lower_bound(const int64_t *ascending, int64_t count, int64_t least)
{
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (ascending[middle] < least)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static inline int64_t tdm_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t tdm_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static inline int64_t tdm_round_up(int64_t value, int64_t step)
{
    return (value + step - 1) / step * step;
}
/* For qsort: doubles, the least first. */
static inline int tdm_compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
/* The same of whole numbers. */
static inline int tdm_compare_i64(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}
/* What has a key, and where it stands: by key, those of one key by place. */
typedef struct tdm_keyed {
    int64_t key, place;
} tdm_keyed;
static inline int tdm_compare_keyed(const void *a, const void *b)
{
    const tdm_keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}
/* f32 to bf16: to nearest, ties to even; a NaN stays a (quiet) NaN. And back. */
static inline uint16_t tdm_bf16_round(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u), nan = bits | 0x400000u;
    return (uint16_t)(((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded) >> 16);
}
static inline float tdm_bf16_value(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}
/* First item of part `part` when `count` items are cut into `parts` contiguous, nearly equal pieces. */
static inline int64_t tdm_part_begin(int64_t count, int64_t parts, int64_t part)
{
    return count / parts * part + tdm_min_i64(part, count % parts);
}

#endif
