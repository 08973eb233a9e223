/* Memory: alignment, zeroes, refusals that name the buffer, the account, and the scratch of a step. */
#include "check.h"
#include "tandem/base.h"

enum {
    LINE = 64,
    HUGE_PAGE = 2 << 20,
    BIG = 4 << 20, /* bytes from which on it is the system's pages */
};

static void test_alloc(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4095, 4097, 1 << 20, BIG - 1, BIG, BIG + 1, 9 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *block;
        CHECK_OK(tdm_alloc(sizes[i], "a block", (void **)&block));
        CHECK_NOT_NULL(block);
        CHECK_EQ((uintptr_t)block % LINE, 0);
#if !defined(__SANITIZE_ADDRESS__)
        if (sizes[i] >= BIG) CHECK_EQ((uintptr_t)block % HUGE_PAGE, 0);
#endif
        size_t not_zero = 0;
        for (size_t k = 0; k < sizes[i]; k++) not_zero += block[k] != 0;
        CHECK_EQ(not_zero, 0);
        memset(block, 0xa5, sizes[i]); /* a sanitizer sees whether all of it is ours */
        tdm_free(block);
    }
    tdm_free(NULL);
}

/* What one gets back after a free is zero again. */
static void test_zero_after_use(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        unsigned char *block;
        CHECK_OK(TDM_ALLOC(5000, &block));
        for (int i = 0; i < 5000; i++) CHECK_EQ(block[i], 0);
        memset(block, 0xff, 5000);
        tdm_free(block);
    }
}

static void test_refused(void **state)
{
    (void)state;
    double stays;
    void *block = &stays;
    CHECK_FAILS(tdm_alloc(SIZE_MAX, "the moon", &block), TDM_E_NOMEM,
                "cannot allocate 18446744073709551615 bytes for the moon");
    CHECK_NULL(block);
    unsigned char *bytes = (unsigned char *)&stays;
    CHECK_FAILS(TDM_ALLOC(-1, &bytes), TDM_E_NOMEM, "for &bytes"); /* a count that went below zero */
    CHECK_NULL(bytes);
#if !defined(__SANITIZE_ADDRESS__) /* which would end the process */
    const tdm_memory_use before = tdm_memory_used();
    CHECK_FAILS(tdm_alloc((size_t)1 << 62, "the sun", &block), TDM_E_NOMEM,
                "cannot allocate 4398046511104.0 MiB for the sun: ");
    CHECK_NULL(block);
    CHECK_EQ(tdm_memory_used().blocks, before.blocks);
    CHECK_EQ(tdm_memory_used().bytes, before.bytes);
#endif
    double *many; /* of which the bytes wrap around */
    CHECK_FAILS(TDM_ALLOC(INT64_C(1) << 61, &many), TDM_E_NOMEM, "cannot allocate");
    CHECK_FAILS(TDM_ALLOC(-1, &many), TDM_E_NOMEM, "cannot allocate");
}

static void *use_of_a_thread(void *argument)
{
    tdm_memory_use *use = argument;
    void *block = NULL;
    if (tdm_alloc(1000, "a thread's block", &block) != TDM_OK) return NULL;
    *use = tdm_memory_used();
    tdm_free(block);
    return use;
}

static void test_account(void **state)
{
    (void)state;
    const tdm_memory_use start = tdm_memory_used();
    void *small, *big;
    CHECK_OK(tdm_alloc(100, "small", &small));
    CHECK_OK(tdm_alloc(BIG + 7, "big", &big));
    CHECK_EQ(tdm_memory_used().blocks, start.blocks + 2);
    CHECK_EQ(tdm_memory_used().bytes, start.bytes + 100 + (int64_t)BIG + 7);
    tdm_memory_use other = {0};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, use_of_a_thread, &other), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(other.blocks, 1); /* each thread counts its own */
    CHECK_EQ(other.bytes, 1000);
    tdm_free(big);
    CHECK_EQ(tdm_memory_used().bytes, start.bytes + 100);
    tdm_free(small);
    CHECK_EQ(tdm_memory_used().bytes, start.bytes);
    CHECK_EQ(tdm_memory_used().blocks, start.blocks + 2); /* taken, not held */
}

/* Address space is not memory: what is never touched never becomes resident. */
static void test_untouched(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    SKIP("the sanitizer writes to what it gives");
#endif
    const int64_t before = tdm_resident_bytes();
    void *block;
    CHECK_OK(tdm_alloc((size_t)512 << 20, "half a GiB", &block));
    CHECK_LT(tdm_resident_bytes() - before, 16 << 20);
    tdm_free(block);
}

static void test_scratch(void **state)
{
    (void)state;
    tdm_scratch scratch;
    CHECK_OK(tdm_scratch_create(1000, &scratch));
    CHECK_GE(scratch.capacity_bytes, 1000);
    unsigned char *a, *b, *c;
    CHECK_OK(tdm_scratch_take(&scratch, 1, (void **)&a));
    CHECK_OK(tdm_scratch_take(&scratch, 65, (void **)&b));
    CHECK_EQ((uintptr_t)a % LINE, 0);
    CHECK_EQ(b - a, 64);
    const size_t mark = tdm_scratch_mark(&scratch);
    CHECK_EQ(mark, 64 + 128);
    CHECK_OK(tdm_scratch_take(&scratch, 0, (void **)&c));
    CHECK_OK(tdm_scratch_take(&scratch, 300, (void **)&c));
    CHECK_EQ(c - b, 128);
    memset(c, 1, 300);
    tdm_scratch_rewind(&scratch, mark);
    unsigned char *again;
    CHECK_OK(tdm_scratch_take(&scratch, 10, (void **)&again));
    CHECK_EQ(again - a, c - a); /* the same place */
    CHECK_EQ(scratch.peak_bytes, mark + 320);
    tdm_scratch_destroy(&scratch);
    CHECK_NULL(scratch.base);
    tdm_scratch_destroy(&scratch);
}

static void test_scratch_full(void **state)
{
    (void)state;
    tdm_scratch scratch;
    void *out;
    CHECK_OK(tdm_scratch_create(((size_t)2 << 20) - 1, &scratch));
    CHECK_EQ(scratch.capacity_bytes, 2 << 20);
    CHECK_OK(tdm_scratch_take(&scratch, (2 << 20) - 64, &out));
    CHECK_FAILS(tdm_scratch_take(&scratch, 65, &out), TDM_E_NOMEM,
                "activations need more than the 2.0 MiB reserved for them");
    CHECK_EQ(scratch.used_bytes, (2 << 20) - 64); /* a refusal takes nothing */
    CHECK_FAILS(tdm_scratch_take(&scratch, (size_t)-8, &out), TDM_E_NOMEM, "activations need more");
    CHECK_OK(tdm_scratch_take(&scratch, 64, &out));
    memset(out, 1, 64);
    CHECK_FAILS(tdm_scratch_take(&scratch, 1, &out), TDM_E_NOMEM, "activations need more");
    tdm_scratch_destroy(&scratch);
    CHECK_FAILS(tdm_scratch_create((size_t)1 << 62, &scratch), TDM_E_NOMEM, "cannot reserve");
    CHECK_NULL(scratch.base);
}

/* Without a base it only counts, the same as with one. */
static void test_scratch_counts(void **state)
{
    (void)state;
    tdm_scratch counting = {.capacity_bytes = SIZE_MAX}, real;
    CHECK_OK(tdm_scratch_create(1 << 20, &real));
    size_t total = 0;
    for (size_t bytes = 0; bytes < 1000; bytes += 37) {
        void *none = &total, *some;
        CHECK_OK(tdm_scratch_take(&counting, bytes, &none));
        CHECK_OK(tdm_scratch_take(&real, bytes, &some));
        CHECK_NULL(none);
        CHECK_EQ(counting.used_bytes, real.used_bytes);
        total += bytes;
    }
    CHECK_GE(counting.peak_bytes, total);
    void *none;
    CHECK_OK(tdm_scratch_take(&counting, (size_t)1 << 50, &none)); /* more than any machine has */
    CHECK_EQ(counting.peak_bytes, real.used_bytes + ((size_t)1 << 50));
    tdm_scratch_destroy(&real);
}

static void test_clock(void **state)
{
    (void)state;
    const double first = tdm_now_s();
    double last = first;
    for (int i = 0; i < 1000; i++) {
        const double now = tdm_now_s();
        CHECK_GE(now, last);
        last = now;
    }
    CHECK_LT(last - first, 60);
    CHECK_GT(tdm_resident_bytes(), 100000);
    CHECK_GE(tdm_peak_resident_bytes(), 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc),        cmocka_unit_test(test_zero_after_use),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_account),
        cmocka_unit_test(test_untouched),    cmocka_unit_test(test_scratch),
        cmocka_unit_test(test_scratch_full), cmocka_unit_test(test_scratch_counts),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
