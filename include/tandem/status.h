/* Errors: one code, one record per thread, one printed line.
 *
 * The function that detects an error records it with TDM_FAIL or TDM_REQUIRE and returns its code;
 * callers pass the code up with TDM_TRY and print nothing. At a phase boundary TDM_AGREE (comm.h) makes
 * all ranks return the same status. Only `main` prints and exits. */
#ifndef TANDEM_STATUS_H
#define TANDEM_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tdm_status {
    TDM_OK = 0,
    TDM_E_USAGE,     /* the command line is wrong (exit code 2) */
    TDM_E_CONFIG,    /* a configuration key or value is wrong */
    TDM_E_IO,        /* a file cannot be opened, read or written */
    TDM_E_FORMAT,    /* a file is not what it should be: truncated, wrong attribute, checksum */
    TDM_E_DATA,      /* a sample is unusable: corrupt image, empty caption */
    TDM_E_SHAPE,     /* sizes do not fit each other */
    TDM_E_NOMEM,     /* out of memory */
    TDM_E_LIBRARY,   /* MPI, oneDNN or HDF5 refused */
    TDM_E_NUMERIC,   /* a value that must be finite is not */
    TDM_E_STOPPED,   /* stopped on request, to be gone on with (exit code 3) */
    TDM_E_OTHER_RANK /* another rank failed; the record holds its message */
} tdm_status;

/* What went wrong, where. Plain data: copied between threads and ranks. */
typedef struct tdm_error {
    tdm_status code;
    int line;
    int rank; /* that detected it; -1 before MPI is up */
    char file[64];
    char host[64];
    char message[1024];
} tdm_error;

#define TDM_CHECKED                 __attribute__((warn_unused_result))
#define TDM_PRINTF(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))

/* Records an error in this thread's record and returns `code`. Use through the macros below. */
TDM_PRINTF(4, 5) tdm_status tdm_error_set(tdm_status code, const char *file, int line, const char *fmt, ...);

/* This thread's last record; valid until the thread's next tdm_error_set. Never NULL. */
const tdm_error *tdm_error_last(void);

/* Makes `error` (from another thread or rank) this thread's record and returns its code. */
tdm_status tdm_error_adopt(const tdm_error *error);

/* Short lower-case name of a code: "config", "data", … */
const char *tdm_status_name(tdm_status code);

#define TDM_ERROR(code, ...) tdm_error_set((code), __FILE__, __LINE__, __VA_ARGS__)
#define TDM_FAIL(code, ...)  return TDM_ERROR(code, __VA_ARGS__)
#define TDM_REQUIRE(cond, code, ...)                                                                         \
    do {                                                                                                     \
        if (!(cond)) TDM_FAIL(code, __VA_ARGS__);                                                            \
    } while (0)
#define TDM_TRY(expr)                                                                                        \
    do {                                                                                                     \
        tdm_status tdm_try_status_ = (expr);                                                                 \
        if (tdm_try_status_ != TDM_OK) return tdm_try_status_;                                               \
    } while (0)

#endif
