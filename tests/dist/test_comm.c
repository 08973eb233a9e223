/* Collectives on 1-4 ranks, with the ordinary paths and with those of arrays that exceed one MPI call. */
#include "check.h"
#include "tandem/base.h"
#include "tandem/comm.h"

#include "../../src/dist/comm_impl.h"

#include <string.h>
#include <unistd.h>

static tdm_comm *comm;
static int rank, size;

/* Runs `body` with the ordinary limit and with limits that cut every transfer into pieces. */
static void with_limits(void (*body)(void))
{
    const int64_t limits[] = {COMM_MAX_COUNT, 5, 1};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        comm_set_max_count(comm, limits[i]);
        body();
    }
    comm_set_max_count(comm, COMM_MAX_COUNT);
}

static void check_sums(void)
{
    enum { N = 17 };
    double f64[N], high[N];
    int64_t i64[N];
    float f32[N];
    for (int i = 0; i < N; i++) {
        f64[i] = rank + 0.5 * i;
        high[i] = rank * i;
        i64[i] = (int64_t)1 << (40 + rank);
        f32[i] = (float)(rank + i);
    }
    tdm_comm_sum_f64(comm, f64, N);
    tdm_comm_max_f64(comm, high, N);
    tdm_comm_sum_i64(comm, i64, N);
    tdm_comm_sum_f32(comm, f32, N);
    const double ranks = size * (size - 1) / 2.0;
    for (int i = 0; i < N; i++) { /* all values are small integers or halves: exact */
        CHECK_EQ(f64[i], ranks + 0.5 * i * size);
        CHECK_EQ(high[i], (size - 1) * i);
        CHECK_EQ(i64[i], (((int64_t)1 << size) - 1) << 40);
        CHECK_EQ(f32[i], (float)(ranks + i * size));
    }
}

static void test_sums(void **state)
{
    (void)state;
    with_limits(check_sums);
}

static void check_broadcast(void)
{
    char text[64];
    for (int root = 0; root < size; root++) {
        memset(text, 0, sizeof text);
        if (rank == root) snprintf(text, sizeof text, "a message from rank %d", root);
        tdm_comm_broadcast(comm, text, sizeof text, root);
        char want[64];
        snprintf(want, sizeof want, "a message from rank %d", root);
        CHECK_STR_EQ(text, want);
    }
    tdm_comm_broadcast(comm, text, 0, 0);
}

static void test_broadcast(void **state)
{
    (void)state;
    with_limits(check_broadcast);
}

/* A list that is the same on every rank but for what the caller changes. */
static tdm_reading listed(const char *path, const char *value, int rows)
{
    tdm_reading reading = {0};
    CHECK_OK(tdm_reading_add(&reading, "configuration", "my.cfg", "1"));
    for (int i = 0; i < rows; i++) CHECK_OK(tdm_reading_add(&reading, "shard", path, value));
    return reading;
}

static tdm_status agree_on(tdm_reading reading, tdm_status local)
{
    const tdm_status status = tdm_comm_agree_on(comm, local, &reading);
    CHECK_NULL(reading.rows.data); /* emptied */
    return status;
}

static void check_agree_on(void)
{
    const int first_odd = size > 1 ? size / 2 : 1; /* ranks 1; 1 and 2; 2 and 3 */
    const bool odd = rank >= first_odd;
    char part[160];
    CHECK_OK(agree_on((tdm_reading){0}, TDM_OK));
    CHECK_OK(agree_on(listed("a.h5", "12", 3), TDM_OK));
    const tdm_status wanted = size > 1 ? TDM_E_DATA : TDM_OK;

    tdm_status status = agree_on(listed("a.h5", odd ? "13" : "12", 1), TDM_OK);
    CHECK_EQ(status, wanted);
    if (size > 1) {
        CHECK_EQ(tdm_error_last()->rank, first_odd);
        CHECK_MESSAGE("a.h5: another shard (13) than that of rank 0 on ");
        snprintf(part, sizeof part, " (12)%s", size == 2 ? "" : "; 1 more rank differs, too");
        CHECK_MESSAGE(part);
    }
    status = agree_on(listed(odd ? "b.h5" : "a.h5", "12", 1), TDM_OK);
    CHECK_EQ(status, wanted);
    if (size > 1) CHECK_MESSAGE("b.h5: this rank has this shard where rank 0 on ");
    status = agree_on(listed("a.h5", "12", odd ? 3 : 2), TDM_OK);
    CHECK_EQ(status, wanted);
    if (size > 1) CHECK_MESSAGE("a.h5: this rank has this shard (");
    status = agree_on(listed("a.h5", "12", odd ? 1 : 2), TDM_OK);
    CHECK_EQ(status, wanted);
    if (size > 1) CHECK_MESSAGE("a.h5: rank 0 on ");
    /* different facts of different ranks: the one that stands first */
    status = agree_on(listed("a.h5", rank == 0 ? "0" : "1", rank == size - 1 ? 2 : 1), TDM_OK);
    CHECK_EQ(status, wanted);
    if (size > 1) CHECK_EQ(tdm_error_last()->rank, 1);

    /* a list that could not be made */
    status = rank == size - 1 ? TDM_ERROR(TDM_E_IO, "a.h5: is missing") : TDM_OK;
    CHECK_FAILS(agree_on(listed("a.h5", "12", 1), status), TDM_E_IO, "a.h5: is missing");
    CHECK_EQ(tdm_error_last()->rank, size - 1);
}

static void test_agree_on(void **state)
{
    (void)state;
    with_limits(check_agree_on);
}

static void test_all_equal(void **state)
{
    (void)state;
    CHECK_TRUE(tdm_comm_all_equal_u64(comm, 0));
    CHECK_TRUE(tdm_comm_all_equal_u64(comm, UINT64_MAX));
    for (int r = 0; r < size; r++) {
        const uint64_t value = UINT64_C(0x8000000000000000) + (uint64_t)(rank == r);
        CHECK_EQ(tdm_comm_all_equal_u64(comm, value), size == 1);
        CHECK_TRUE(tdm_comm_any(comm, rank == r));
    }
    int64_t all[8];
    tdm_comm_gather_i64(comm, 100 + rank, all);
    for (int r = 0; r < size; r++) CHECK_EQ(all[r], 100 + r);
    CHECK_FALSE(tdm_comm_any(comm, false));
    tdm_comm_barrier(comm);
}

/* Rank r holds (r * 2) % 5 rows: unequal, and none on rank 0. */
static int64_t rows_of(int r)
{
    return (r * 2 + (size == 1)) % 5;
}

static void fill_rows(int64_t *rows, int64_t *first, int64_t *total)
{
    *total = *first = 0;
    for (int r = 0; r < size; r++) {
        rows[r] = rows_of(r);
        if (r < rank) *first += rows[r];
        *total += rows[r];
    }
}

static void check_gather_rows(void)
{
    enum { WIDTH = 3 };
    int64_t rows[8], first, total;
    fill_rows(rows, &first, &total);
    float local[8 * WIDTH], all[32 * WIDTH];
    for (int64_t i = 0; i < rows[rank] * WIDTH; i++) local[i] = (float)(first * WIDTH + i);
    memset(all, 0xff, sizeof all);
    tdm_comm_gather_rows(comm, local, all, rows, WIDTH * sizeof(float));
    for (int64_t i = 0; i < total * WIDTH; i++) CHECK_EQ(all[i], (float)i);

    /* `local` may already stand at its place */
    memset(all, 0xff, sizeof all);
    memcpy(all + first * WIDTH, local, (size_t)(rows[rank] * WIDTH) * sizeof(float));
    tdm_comm_gather_rows(comm, all + first * WIDTH, all, rows, WIDTH * sizeof(float));
    for (int64_t i = 0; i < total * WIDTH; i++) CHECK_EQ(all[i], (float)i);
}

/* From those rows to all on one rank after the other, and back. */
static void check_recut(void)
{
    enum { WIDTH = 3 };
    int64_t rows[8], want[8] = {0}, first, total;
    fill_rows(rows, &first, &total);
    float local[8 * WIDTH], all[32 * WIDTH], back[8 * WIDTH];
    for (int64_t i = 0; i < rows[rank] * WIDTH; i++) local[i] = (float)(first * WIDTH + i);
    for (int r = 0; r < size; r++) {
        memset(all, 0xff, sizeof all);
        memset(back, 0xff, sizeof back);
        want[r] = total;
        tdm_comm_recut_rows(comm, local, rows, all, want, WIDTH * sizeof(float));
        for (int64_t i = 0; i < want[rank] * WIDTH; i++) CHECK_EQ(all[i], (float)i);
        tdm_comm_recut_rows(comm, all, want, back, rows, WIDTH * sizeof(float));
        CHECK_MEM_EQ(back, local, (size_t)(rows[rank] * WIDTH) * sizeof(float));
        want[r] = 0;
    }
}

static void check_reduce_scatter(void)
{
    enum { WIDTH = 3 };
    int64_t rows[8], first, total;
    fill_rows(rows, &first, &total);
    float all[32 * WIDTH], local[8 * WIDTH];
    for (int64_t i = 0; i < total * WIDTH; i++) all[i] = (float)(i * (rank + 1));
    tdm_comm_reduce_scatter_rows(comm, all, local, rows, WIDTH);
    const int64_t factor = size * (size + 1) / 2;
    for (int64_t i = 0; i < rows[rank] * WIDTH; i++) {
        CHECK_EQ(local[i], (float)((first * WIDTH + i) * factor));
    }
}

static void test_rows(void **state)
{
    (void)state;
    with_limits(check_gather_rows);
    with_limits(check_recut);
    with_limits(check_reduce_scatter);
}

/* <gather(x), y> = <x, reduce_scatter(y)>: the two are adjoint. */
static void test_adjoint(void **state)
{
    (void)state;
    enum { WIDTH = 2 };
    int64_t rows[8] = {0}, first, total;
    fill_rows(rows, &first, &total);
    float x[8 * WIDTH], gathered[32 * WIDTH], y[32 * WIDTH], scattered[8 * WIDTH];
    for (int64_t i = 0; i < rows[rank] * WIDTH; i++) x[i] = (float)(1 + i + rank);
    for (int64_t i = 0; i < total * WIDTH; i++) y[i] = (float)((i * 7 + rank * 3) % 11);
    tdm_comm_gather_rows(comm, x, gathered, rows, WIDTH * sizeof(float));
    tdm_comm_reduce_scatter_rows(comm, y, scattered, rows, WIDTH);
    double product[2] = {0, 0};
    for (int64_t i = 0; i < total * WIDTH; i++) product[0] += (double)gathered[i] * y[i];
    for (int64_t i = 0; i < rows[rank] * WIDTH; i++) product[1] += (double)x[i] * scattered[i];
    tdm_comm_sum_f64(comm, product, 2);
    CHECK_EQ(product[0], product[1]); /* integers: exact */
}

static void check_shift(void)
{
    const int previous = (rank + size - 1) % size;
    unsigned char send[64], recv[64];
    memset(send, 'a' + rank, sizeof send);
    memset(recv, 0, sizeof recv);
    tdm_comm_shift(comm, send, 7 * rank, recv, 7 * previous);
    for (int i = 0; i < 7 * previous; i++) CHECK_EQ(recv[i], 'a' + previous);
    CHECK_EQ(recv[7 * previous], 0);
}

static void test_shift(void **state)
{
    (void)state;
    with_limits(check_shift);
}

static void check_collect(void)
{
    char mine[32];
    snprintf(mine, sizeof mine, "rank %d says hello", rank);
    const int64_t bytes = rank == 1 ? 0 : (int64_t)strlen(mine);
    unsigned char *all;
    int64_t offset[9];
    CHECK_OK(tdm_comm_collect(comm, mine, bytes, &all, offset));
    if (rank != 0) {
        CHECK_NULL(all);
        return;
    }
    CHECK_EQ(offset[0], 0);
    for (int r = 0; r < size; r++) {
        char want[32];
        snprintf(want, sizeof want, "rank %d says hello", r);
        const int64_t n = r == 1 ? 0 : (int64_t)strlen(want);
        CHECK_EQ(offset[r + 1] - offset[r], n);
        CHECK_MEM_EQ(all + offset[r], want, (size_t)n);
    }
    tdm_free(all);
}

static void test_collect(void **state)
{
    (void)state;
    with_limits(check_collect);
}

static tdm_status fail_on(unsigned failing)
{
    if (failing >> rank & 1) TDM_FAIL(TDM_E_DATA + rank, "part%d.h5: images are 256 px", rank);
    return TDM_OK;
}

static tdm_status agreed_step(unsigned failing)
{
    TDM_AGREE(comm, fail_on(failing));
    return TDM_OK;
}

/* Every set of failing ranks: all ranks return the lowest one's code and record. */
static void test_agree(void **state)
{
    (void)state;
    for (unsigned failing = 0; failing < 1U << size; failing++) {
        const tdm_status status = agreed_step(failing);
        if (failing == 0) {
            CHECK_OK(status);
            continue;
        }
        const int lowest = __builtin_ctz(failing);
        char want[64];
        snprintf(want, sizeof want, "part%d.h5: images are 256 px", lowest);
        CHECK_EQ(status, TDM_E_DATA + lowest);
        const tdm_error *record = tdm_error_last();
        CHECK_STR_EQ(record->message, want);
        CHECK_EQ(record->rank, lowest);
        CHECK_EQ(record->code, status);
        CHECK_GT(strlen(record->host), 0);
        /* agreed on once more by a caller, the record still names the rank that detected it */
        CHECK_EQ(tdm_comm_agree(comm, status), TDM_E_DATA + lowest);
        CHECK_EQ(tdm_error_last()->rank, lowest);
        CHECK_STR_EQ(tdm_error_last()->message, want);
    }
    /* a status without a record still gives a line */
    CHECK_FAILS(tdm_comm_agree(comm, rank == size - 1 ? TDM_E_STOPPED : TDM_OK), TDM_E_STOPPED, "");
    CHECK_EQ(tdm_error_last()->rank, size - 1);
    CHECK_GT(strlen(tdm_error_last()->message), 0);
}

/* What tdm_comm_report prints: one line on rank 0, nothing elsewhere. */
static void test_report(void **state)
{
    (void)state;
    CHECK_NE(agreed_step(1U << (size - 1)), TDM_OK);
    fflush(stderr);
    FILE *capture = tmpfile();
    const int kept = dup(STDERR_FILENO);
    dup2(fileno(capture), STDERR_FILENO);
    tdm_comm_report(comm);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(capture);
    char line[512] = "";
    const size_t length = fread(line, 1, sizeof line - 1, capture);
    fclose(capture);
    if (rank != 0) {
        CHECK_EQ(length, 0);
        return;
    }
    char begin[128], message[64];
    snprintf(begin, sizeof begin, "tandem: rank %d/%d on ", size - 1, size);
    if (size == 1) strcpy(begin, "tandem: part0.h5");
    snprintf(message, sizeof message, "part%d.h5: images are 256 px (dist/test_comm.c:", size - 1);
    CHECK_MEM_EQ(line, begin, strlen(begin));
    CHECK_CONTAINS(line, message);
    CHECK_TRUE(strchr(line, '\n') == line + length - 1);
}

int main(int argc, char **argv)
{
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),     cmocka_unit_test(test_broadcast), cmocka_unit_test(test_all_equal),
        cmocka_unit_test(test_agree_on), cmocka_unit_test(test_rows),      cmocka_unit_test(test_adjoint),
        cmocka_unit_test(test_shift),    cmocka_unit_test(test_collect),   cmocka_unit_test(test_agree),
        cmocka_unit_test(test_report),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    tdm_comm_destroy(&comm); /* tolerated */
    return failed;
}
