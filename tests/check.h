/* What a test says, over cmocka. On a failure each macro prints file, line, the two expressions as they are written
 * and their values, then fails the test. Arguments are evaluated once.
 *
 *     CHECK_OK(tdm_read_file(path, &text));
 *     CHECK_FAILS(tdm_read_file("none", &text), TDM_E_IO, "none: cannot open");
 *     CHECK_EQ(text.length, 5);
 *     CHECK_NEAR(mean, 0.5, 1e-3);
 *
 * One condition per line: of `a && b` nobody sees which one failed. */
#ifndef TANDEM_TESTS_CHECK_H
#define TANDEM_TESTS_CHECK_H

#include "tandem/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define CHECK_HERE __FILE__, __LINE__

/* TDM_OK; else the error's record is printed. */
#define CHECK_OK(status) check_ok_at(CHECK_HERE, #status, (status))
/* This code, and a message that contains `part`. */
#define CHECK_FAILS(status, code, part) check_fails_at(CHECK_HERE, #status, (status), (code), (part))
/* One more part of the last message. */
#define CHECK_MESSAGE(part)                                                                                  \
    check_contains_at(CHECK_HERE, "the message", tdm_error_last()->message, (part), true)

/* One plain condition. */
#define CHECK_TRUE(condition)   check_condition_at(CHECK_HERE, #condition, (condition), true)
#define CHECK_FALSE(condition)  check_condition_at(CHECK_HERE, #condition, (condition), false)
#define CHECK_NULL(pointer)     check_pointer_at(CHECK_HERE, #pointer, (pointer), false)
#define CHECK_NOT_NULL(pointer) check_pointer_at(CHECK_HERE, #pointer, (pointer), true)

/* Integers of any type, and floating-point values that must agree in every bit (but +0 is -0, a NaN is nothing). */
#define CHECK_EQ(value, expected) CHECK_EQUALITY(value, "==", expected)
#define CHECK_NE(value, other)    CHECK_EQUALITY(value, "!=", other)
/* Numbers of any type; compared as doubles. */
#define CHECK_LT(value, bound)                                                                               \
    check_order_at(CHECK_HERE, #value, "<", #bound, (double)(value), (double)(bound))
#define CHECK_LE(value, bound)                                                                               \
    check_order_at(CHECK_HERE, #value, "<=", #bound, (double)(value), (double)(bound))
#define CHECK_GT(value, bound)                                                                               \
    check_order_at(CHECK_HERE, #value, ">", #bound, (double)(value), (double)(bound))
#define CHECK_GE(value, bound)                                                                               \
    check_order_at(CHECK_HERE, #value, ">=", #bound, (double)(value), (double)(bound))
/* |value - expected| <= tolerance */
#define CHECK_NEAR(value, expected, tolerance)                                                               \
    check_near_at(CHECK_HERE, #value, #expected, (double)(value), (double)(expected), (double)(tolerance))
/* The same for n floats or n doubles; prints the worst element. */
#define CHECK_CLOSE_ARRAY(n, value, expected, tolerance)                                                     \
    _Generic(*(value), float                                                                                 \
             : check_close_f32_at, double                                                                    \
             : check_close_f64_at)(CHECK_HERE, #value, #expected, (int64_t)(n), (value), (expected),         \
                                   (double)(tolerance))

#define CHECK_STR_EQ(value, expected)                                                                        \
    check_strings_at(CHECK_HERE, #value, #expected, (value), (expected), true)
#define CHECK_STR_NE(value, other) check_strings_at(CHECK_HERE, #value, #other, (value), (other), false)
#define CHECK_CONTAINS(text, part) check_contains_at(CHECK_HERE, #text, (text), (part), true)
#define CHECK_LACKS(text, part)    check_contains_at(CHECK_HERE, #text, (text), (part), false)
#define CHECK_MEM_EQ(value, expected, bytes)                                                                 \
    check_memory_at(CHECK_HERE, #value, #expected, (value), (expected), (size_t)(bytes), true)
#define CHECK_MEM_NE(value, other, bytes)                                                                    \
    check_memory_at(CHECK_HERE, #value, #other, (value), (other), (size_t)(bytes), false)

/* Leaves the test; it counts as skipped. The reason is printed: SKIP("no %s here", name). */
#define SKIP(...)                                                                                            \
    do {                                                                                                     \
        print_message("skipped: " __VA_ARGS__);                                                              \
        print_message("\n");                                                                                 \
        skip();                                                                                              \
    } while (0)

/* ---- What the macros call ---- */

#define CHECK_EQUALITY(value, op, other)                                                                     \
    _Generic((value) + (other), float                                                                        \
             : check_doubles_at, double                                                                      \
             : check_doubles_at, unsigned long                                                               \
             : check_unsigned_at, unsigned long long                                                         \
             : check_unsigned_at, default                                                                    \
             : check_integers_at)(CHECK_HERE, #value, op, #other, (value), (other))

static inline void check_ok_at(const char *file, int line, const char *text, tdm_status status)
{
    if (status == TDM_OK) return;
    const tdm_error *error = tdm_error_last();
    print_error("%s:%d: %s\n    is \"%s\": %s (%s:%d)\n", file, line, text, tdm_status_name(status),
                error->message, error->file, error->line);
    _fail(file, line);
}

static inline void check_fails_at(const char *file, int line, const char *text, tdm_status status,
                                  tdm_status code, const char *part)
{
    const char *message = status == TDM_OK ? "" : tdm_error_last()->message;
    if (status == code && strstr(message, part)) return;
    print_error("%s:%d: %s\n    is       \"%s\": %s\n    expected \"%s\": …%s…\n", file, line, text,
                status == TDM_OK ? "ok" : tdm_status_name(status), message, tdm_status_name(code), part);
    _fail(file, line);
}

static inline void check_condition_at(const char *file, int line, const char *text, bool value, bool expected)
{
    if (value == expected) return;
    print_error("%s:%d: %s is %s\n", file, line, text, value ? "true" : "false");
    _fail(file, line);
}

static inline void check_pointer_at(const char *file, int line, const char *text, const void *value,
                                    bool given)
{
    if ((value != NULL) == given) return;
    print_error("%s:%d: %s is %s\n", file, line, text, given ? "NULL" : "not NULL");
    _fail(file, line);
}

static inline void check_integers_at(const char *file, int line, const char *text, const char *op,
                                     const char *other_text, int64_t value, int64_t other)
{
    if ((value == other) == (op[0] == '=')) return;
    print_error("%s:%d: %s %s %s\n    %lld\n    %lld\n", file, line, text, op, other_text, (long long)value,
                (long long)other);
    _fail(file, line);
}

static inline void check_unsigned_at(const char *file, int line, const char *text, const char *op,
                                     const char *other_text, uint64_t value, uint64_t other)
{
    if ((value == other) == (op[0] == '=')) return;
    print_error("%s:%d: %s %s %s\n    %llu = 0x%llx\n    %llu = 0x%llx\n", file, line, text, op, other_text,
                (unsigned long long)value, (unsigned long long)value, (unsigned long long)other,
                (unsigned long long)other);
    _fail(file, line);
}

static inline void check_doubles_at(const char *file, int line, const char *text, const char *op,
                                    const char *other_text, double value, double other)
{
    if ((value == other) == (op[0] == '=')) return;
    print_error("%s:%d: %s %s %s\n    %.17g\n    %.17g\n", file, line, text, op, other_text, value, other);
    _fail(file, line);
}

static inline void check_order_at(const char *file, int line, const char *text, const char *op,
                                  const char *bound_text, double value, double bound)
{
    const bool less = op[0] == '<', more = op[0] == '>', or_equal = op[1] == '=';
    if ((less && value < bound) || (more && value > bound) || (or_equal && value == bound)) return;
    print_error("%s:%d: %s %s %s\n    %.17g\n    %.17g\n", file, line, text, op, bound_text, value, bound);
    _fail(file, line);
}

static inline void check_near_at(const char *file, int line, const char *text, const char *expected_text,
                                 double value, double expected, double tolerance)
{
    if (fabs(value - expected) <= tolerance) return; /* not with a NaN */
    print_error("%s:%d: %s near %s\n    %.17g\n    %.17g\n    differ by %.3g, allowed %.3g\n", file, line,
                text, expected_text, value, expected, fabs(value - expected), tolerance);
    _fail(file, line);
}

/* `worst` is the element with the largest error (the first NaN, if there is one). */
static inline void check_close_failed(const char *file, int line, const char *text, const char *expected_text,
                                      int64_t worst, int64_t n, double value, double expected,
                                      double tolerance)
{
    print_error(
        "%s:%d: %s near %s\n    element %lld of %lld is %.9g, expected %.9g: differ by %.3g, allowed %.3g\n",
        file, line, text, expected_text, (long long)worst, (long long)n, value, expected,
        fabs(value - expected), tolerance);
    _fail(file, line);
}

#define CHECK_DEFINE_CLOSE(name, type)                                                                       \
    static inline void name(const char *file, int line, const char *text, const char *expected_text,         \
                            int64_t n, const type *value, const type *expected, double tolerance)            \
    {                                                                                                        \
        int64_t worst = -1;                                                                                  \
        double largest = tolerance;                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                                    \
            const double error = fabs((double)value[i] - (double)expected[i]);                               \
            if (error <= largest) continue;                                                                  \
            worst = i;                                                                                       \
            largest = error;                                                                                 \
            if (isnan(error)) break;                                                                         \
        }                                                                                                    \
        if (worst >= 0)                                                                                      \
            check_close_failed(file, line, text, expected_text, worst, n, (double)value[worst],              \
                               (double)expected[worst], tolerance);                                          \
    }
CHECK_DEFINE_CLOSE(check_close_f32_at, float)
CHECK_DEFINE_CLOSE(check_close_f64_at, double)

static inline void check_strings_at(const char *file, int line, const char *text, const char *other_text,
                                    const char *value, const char *other, bool equal)
{
    const bool both = value && other;
    if ((both ? strcmp(value, other) == 0 : value == other) == equal) return;
    print_error("%s:%d: %s %s %s\n    \"%s\"\n    \"%s\"\n", file, line, text,
                equal ? "==" : "!=", other_text, value ? value : "(NULL)", other ? other : "(NULL)");
    _fail(file, line);
}

static inline void check_contains_at(const char *file, int line, const char *text, const char *value,
                                     const char *part, bool wanted)
{
    if (value && (strstr(value, part) != NULL) == wanted) return;
    enum { SHOWN = 2000 };
    print_error("%s:%d: %s %s \"%s\"\n    \"%.*s\"\n", file, line, text, wanted ? "lacks" : "contains", part,
                SHOWN, value ? value : "(NULL)");
    _fail(file, line);
}

static inline void check_memory_at(const char *file, int line, const char *text, const char *other_text,
                                   const void *value, const void *other, size_t bytes, bool equal)
{
    const unsigned char *a = value, *b = other;
    size_t first = 0, differ = 0;
    for (size_t i = bytes; i-- > 0;) {
        if (a[i] == b[i]) continue;
        first = i;
        differ++;
    }
    if ((differ == 0) == equal) return;
    print_error("%s:%d: %s %s %s, %zu bytes\n", file, line, text, equal ? "==" : "!=", other_text, bytes);
    if (equal)
        print_error("    %zu differ, the first at %zu: 0x%02x, expected 0x%02x\n", differ, first, a[first],
                    b[first]);
    _fail(file, line);
}

#endif
