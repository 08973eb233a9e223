/* What the tests of images share. */
#ifndef TANDEM_TEST_IMAGE_CASE_H
#define TANDEM_TEST_IMAGE_CASE_H

#include "../../src/image/image_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        if ((expr) != TDM_OK) fail_msg("%s: %s", #expr, tdm_error_last()->message);                          \
    } while (0)

/* A file of tests/golden/images; tdm_text_free. */
static inline tdm_text golden_file(const char *file)
{
    char path[4096];
    const char *source = getenv("TANDEM_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/tests/golden/images/%s", source ? source : ".", file);
    tdm_text text = {0};
    assert_ok(tdm_read_file(path, &text));
    return text;
}

#endif
