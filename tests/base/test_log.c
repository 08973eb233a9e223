/* What goes to stderr, from which rank. */
#include "check.h"
#include "tandem/base.h"

#include <unistd.h>

/* Everything that `say` writes to stderr, into text[bytes]. Checks come afterwards: they print there, too. */
static void capture(void (*say)(void), char *text, size_t bytes)
{
    FILE *file = tmpfile();
    CHECK_NOT_NULL(file);
    fflush(stderr);
    const int kept = dup(STDERR_FILENO);
    CHECK_GE(kept, 0);
    CHECK_GE(dup2(fileno(file), STDERR_FILENO), 0);
    say();
    fflush(stderr);
    CHECK_GE(dup2(kept, STDERR_FILENO), 0);
    close(kept);
    rewind(file);
    text[fread(text, 1, bytes - 1, file)] = '\0';
    fclose(file);
}

static void say_all(void)
{
    tdm_log(TDM_LOG_DEBUG, "debug");
    tdm_log(TDM_LOG_INFO, "info %d", 1);
    tdm_log(TDM_LOG_WARN, "warn");
    tdm_log(TDM_LOG_ALL_RANKS, "all");
}

static void test_levels(void **state)
{
    (void)state;
    static const struct {
        int rank;
        bool quiet;
        const char *want;
    } cases[] = {
        {0, false, "info 1\ntandem: warning: warn\nall\n"},
        {3, false, "all\n"},
        {0, true, "tandem: warning: warn\n"},
        {3, true, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        tdm_log_set_rank(cases[i].rank, 4);
        tdm_log_set_quiet(cases[i].quiet);
        CHECK_EQ(tdm_log_rank(), cases[i].rank);
        capture(say_all, text, sizeof text);
        CHECK_STR_EQ(text, cases[i].want);
    }
}

static void say_long(void)
{
    tdm_log(TDM_LOG_INFO, "%05000d", 7);
    tdm_log(TDM_LOG_INFO, "next");
}

/* A line that is too long is cut, and still ends. */
static void test_long_line(void **state)
{
    (void)state;
    char text[8192];
    capture(say_long, text, sizeof text);
    const char *end = strchr(text, '\n');
    CHECK_NOT_NULL(end);
    CHECK_GT(end - text, 2000);
    CHECK_STR_EQ(end + 1, "next\n");
}

static void say_hostile(void)
{
    tdm_log(TDM_LOG_WARN, "%s: no such file", "a\x1b[2J\nb\xff\xe2\x80\xae");
    tdm_log_always("tandem: %s", "\xc2\x9b\x07");
    tdm_log(TDM_LOG_INFO, "%2046s\xe2\x82\xac", ""); /* cut within a character */
}

/* A name cannot make a terminal obey, nor look like a line of its own. */
static void test_hostile_text(void **state)
{
    (void)state;
    char text[8192], want[8192];
    capture(say_hostile, text, sizeof text);
    snprintf(want, sizeof want,
             "tandem: warning: a\\x1b[2J\\nb\\xff\\u202e: no such file\ntandem: \\u009b\\x07\n%2046s\n", "");
    CHECK_STR_EQ(text, want);
}

static void say_progress(void)
{
    tdm_progress("%d %%", 50);
    tdm_log(TDM_LOG_INFO, "line");
    tdm_progress_clear();
}

/* A file is no terminal: no progress, no escape sequences. */
static void test_progress(void **state)
{
    (void)state;
    char text[256];
    capture(say_progress, text, sizeof text);
    CHECK_STR_EQ(text, "line\n");
}

static int fresh(void **state)
{
    (void)state;
    tdm_log_set_rank(0, 1);
    tdm_log_set_quiet(false);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fresh, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {CASE(test_levels), CASE(test_long_line), CASE(test_hostile_text),
                                       CASE(test_progress)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
