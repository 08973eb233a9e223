/* Damaged checkpoints: whatever part of whichever file is hit, it is called damage, the file and the data set are
 * named, and the next whole checkpoint is taken. */
#include "check.h"
#include "checkpoint_case.h"

#include "../../src/checkpoint/checkpoint_impl.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char run[256];
static checkpoint_case one;
static tdm_text heard; /* what the last listen() printed on standard error */

static const char *in_run(const char *name)
{
    static char path[8][512];
    static int next;
    next = (next + 1) % 8;
    snprintf(path[next], sizeof path[next], "%s/%s", run, name);
    return path[next];
}

static const char *in_step(int64_t step, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "checkpoints/step-%08lld/%s", (long long)step, name);
    return in_run(path);
}

static tdm_status save(int64_t step, bool best)
{
    checkpoint_case_fill(&one, step);
    return checkpoint_save_local(run, &one.config, &one.params, &one.optim, one.tokenizer, &one.state, best);
}

static int fresh_run(void **state)
{
    (void)state;
    if (tdm_remove_tree(run) != TDM_OK || tdm_make_dirs(run) != TDM_OK) return 1;
    return save(5, false) != TDM_OK || save(10, false) != TDM_OK || save(20, true) != TDM_OK;
}

/* ---- Standard error ---- */

static int kept_stderr;

static void listen_begin(void)
{
    fflush(stderr);
    kept_stderr = dup(2);
    CHECK_NOT_NULL(freopen(in_run("stderr"), "w", stderr));
}

static void listen_end(void)
{
    fflush(stderr);
    CHECK_GE(dup2(kept_stderr, 2), 0);
    close(kept_stderr);
    tdm_text_free(&heard);
    CHECK_OK(tdm_read_file(in_run("stderr"), &heard));
    CHECK_LACKS(heard.data, "HDF5-DIAG");
}

/* What resuming takes: step, or -1 for none; the status. */
static tdm_status resume(int64_t *step)
{
    char dir[512];
    listen_begin();
    const tdm_status status = tdm_checkpoint_latest(NULL, run, dir, sizeof dir);
    listen_end();
    *step = status == TDM_OK && dir[0] != '\0' ? checkpoint_step_of(strrchr(dir, '/') + 1) : -1;
    return status;
}

/* ---- Ways to damage a file ---- */

static void write_bytes(const char *path, const tdm_text *bytes)
{
    FILE *file = fopen(path, "wb");
    CHECK_NOT_NULL(file);
    CHECK_EQ(fwrite(bytes->data, 1, bytes->length, file), bytes->length);
    CHECK_EQ(fclose(file), 0);
}

/* Place number `nth` of `text` in the bytes, or -1. */
static int64_t find(const tdm_text *bytes, const char *text, size_t length, int nth)
{
    const char *at = bytes->data;
    for (;; at++) {
        at = memmem(at, bytes->length - (size_t)(at - bytes->data), text, length);
        if (at == NULL) return -1;
        if (nth-- == 0) return at - bytes->data;
    }
}

typedef enum way { FLIP, ZERO_32, ZERO_64, ZERO_4096, CUT, EMPTY, GARBAGE, REMOVE } way;

/* At `at`, unless the way is of the whole file. */
static void damage(const char *path, way how, int64_t at)
{
    tdm_text bytes = {0};
    CHECK_OK(tdm_read_file(path, &bytes));
    const size_t n = how == ZERO_32 ? 32 : how == ZERO_64 ? 64 : 4096, left = bytes.length - (size_t)at;
    switch (how) {
    case FLIP: bytes.data[at] ^= 0x10; break;
    case ZERO_32:
    case ZERO_64:
    case ZERO_4096: memset(bytes.data + at, 0, n < left ? n : left); break;
    case CUT: bytes.length = (size_t)at; break;
    case EMPTY: bytes.length = 0; break;
    case GARBAGE: memset(bytes.data, 'x', bytes.length); break;
    case REMOVE: CHECK_EQ(unlink(path), 0); break;
    }
    if (how != REMOVE) write_bytes(path, &bytes);
    tdm_text_free(&bytes);
}

/* Step 20 is damaged: told by verify, by the check before use, and resuming goes on from step 10. */
static void expect_damage(const char *file, const char *where)
{
    char part[600];
    int64_t step;
    const char *dir = in_run("checkpoints/step-00000020");
    const bool of_model = strcmp(file, "model.h5") == 0;
    snprintf(part, sizeof part, "step-00000020/%s: is ", file);
    if (strcmp(where, "is missing") != 0 || of_model) {
        CHECK_FAILS(tdm_checkpoint_verify(dir), TDM_E_FORMAT, part);
        CHECK_MESSAGE("damaged");
        CHECK_MESSAGE(where);
    }
    CHECK_FAILS(tdm_checkpoint_check(NULL, dir, true), TDM_E_FORMAT, part);
    CHECK_MESSAGE(where);
    if (of_model) CHECK_FAILS(tdm_checkpoint_check(NULL, dir, false), TDM_E_FORMAT, "damaged");
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 10);
    CHECK_CONTAINS(heard.data, part);
    CHECK_CONTAINS(heard.data, where);
    CHECK_CONTAINS(heard.data,
                   "going on from step-00000010 instead of step-00000020: steps 11 to 20 have to be "
                   "made again");
    CHECK_TRUE(tdm_path_is_dir(dir)); /* nothing is deleted */
}

/* ---- One file ---- */

static void test_data(void **state)
{
    (void)state;
    static const struct {
        const char *file, *set;
        float value; /* that begins it, in step 20 */
        way how;
    } cases[] = {
        {"model.h5", "/param/token_embedding.weight", 22, FLIP},
        {"model.h5", "/param/token_embedding.weight", 22, ZERO_4096},
        {"model.h5", "/param/visual.proj", 21, FLIP},
        {"state.h5", "/m/token_embedding.weight", 22.25F, FLIP},
        {"state.h5", "/v/token_embedding.weight", 22.5F, FLIP},
        {"state.h5", "/v/token_embedding.weight", 22.5F, ZERO_4096},
        /* /m/ln_final.bias and its checksum: zeros pass that of HDF5 */
        {"state.h5", "have changed since it was written (", 23.25F, ZERO_32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_OK(save(20, false));
        tdm_text bytes = {0};
        const float twice[2] = {cases[i].value, cases[i].value};
        const char *path = in_step(20, cases[i].file);
        CHECK_OK(tdm_read_file(path, &bytes));
        const int64_t at = find(&bytes, (const char *)twice, sizeof twice, 0);
        tdm_text_free(&bytes);
        CHECK_GE(at, 0);
        damage(path, cases[i].how, at);
        expect_damage(cases[i].file, cases[i].set);
    }
}

/* Text in the file: the configuration is an attribute, the tokenizer a data set. */
static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where;
    } cases[] = {{"context_length", "the file's structure"}, {"#version: 0.2", "/tokenizer"}};
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(save(20, false));
        tdm_text bytes = {0};
        const char *path = in_step(20, "model.h5");
        CHECK_OK(tdm_read_file(path, &bytes));
        const int64_t at = find(&bytes, cases[i].text, strlen(cases[i].text), 0);
        tdm_text_free(&bytes);
        CHECK_GT(at, 0);
        damage(path, FLIP, at + 3);
        expect_damage("model.h5", cases[i].where);
    }
}

/* Every block of HDF5's own that has a signature: object headers, B-trees, heaps, indices of chunks. */
static void test_structure(void **state)
{
    (void)state;
    static const char *const signatures[] = {"OHDR", "OCHK", "BTHD", "BTLF", "FRHP",
                                             "FHDB", "FSHD", "FAHD", "FADB"};
    int tried = 0;
    for (int f = 0; f < 2; f++)
        for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
            const char *file = f == 0 ? "model.h5" : "state.h5", *path = in_step(20, file);
            CHECK_OK(save(20, false));
            tdm_text bytes = {0};
            CHECK_OK(tdm_read_file(path, &bytes));
            const int64_t at = find(&bytes, signatures[i], 4, 1) >= 0 ? find(&bytes, signatures[i], 4, 1)
                                                                      : find(&bytes, signatures[i], 4, 0);
            tdm_text_free(&bytes);
            if (at < 0) continue;
            tried++;
            damage(path, i % 2 ? ZERO_64 : ZERO_4096, at);
            expect_damage(file, "have changed since it was written");
        }
    CHECK_GE(tried, 6);
}

static void test_whole_files(void **state)
{
    (void)state;
    static const struct {
        way how;
        const char *where;
    } cases[] = {
        {CUT, "truncated"}, {EMPTY, "is empty"}, {GARBAGE, "not an HDF5 file"}, {REMOVE, "is missing"}};
    for (int f = 0; f < 2; f++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const char *file = f == 0 ? "model.h5" : "state.h5";
            CHECK_OK(save(20, false));
            damage(in_step(20, file), cases[i].how, 70000);
            if (cases[i].how != GARBAGE) expect_damage(file, cases[i].where);
            int64_t step;
            CHECK_OK(resume(&step));
            CHECK_EQ(step, 10);
        }
    CHECK_OK(save(20, false)); /* no files at all */
    damage(in_step(20, "model.h5"), REMOVE, 0);
    damage(in_step(20, "state.h5"), REMOVE, 0);
    expect_damage("model.h5", "is missing");
}

/* The checksums themselves: cut in part, changed, another file's. */
static void test_checksums(void **state)
{
    (void)state;
    struct stat info;
    char path[512];
    snprintf(path, sizeof path, "%s", in_step(20, "state.h5"));
    CHECK_EQ(stat(path, &info), 0);
    damage(path, CUT, info.st_size - 8);
    expect_damage("state.h5", "the checksums at its end");
    for (int back = 1; back < 40; back += 9) {
        CHECK_OK(save(20, false));
        damage(path, FLIP, info.st_size - back);
        expect_damage("state.h5", "the checksums at its end");
    }
}

static void test_mixed_files(void **state)
{
    (void)state;
    CHECK_EQ(rename(in_step(5, "state.h5"), in_step(20, "state.h5")), 0);
    int64_t step;
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 10);
    CHECK_CONTAINS(heard.data, "step-00000020: is damaged: model.h5 is of step 20, state.h5 of step 5");
}

/* ---- What an older version wrote ---- */

/* Cuts the checksums off, as HDF5's superblock says where it ends. */
static void unseal(const char *path)
{
    tdm_text bytes = {0};
    uint64_t end;
    CHECK_OK(tdm_read_file(path, &bytes));
    memcpy(&end, bytes.data + 28, sizeof end);
    CHECK_LT(end, bytes.length);
    tdm_text_free(&bytes);
    CHECK_EQ(truncate(path, (off_t)end), 0);
}

static void test_older_version(void **state)
{
    (void)state;
    int64_t step;
    unseal(in_step(20, "model.h5"));
    unseal(in_step(20, "state.h5"));
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 20);
    CHECK_CONTAINS(heard.data, "step-00000020: carries no checksums of its whole files");
    CHECK_OK(tdm_checkpoint_verify(in_run("checkpoints/step-00000020")));
    damage(in_step(20, "state.h5"), FLIP, 1 << 20);
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 10);
    CHECK_CONTAINS(heard.data, "step-00000020/state.h5: is damaged: cannot read /");
}

/* Without the checksums of the file: what HDF5 cannot find is damage, not another model. */
static void test_damage_is_not_another_model(void **state)
{
    (void)state;
    static const char *const signatures[] = {"OHDR", "BTHD", "BTLF", "FRHP", "FHDB", "FAHD"};
    int refused = 0;
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++)
        for (int nth = 0; nth < 8; nth++) {
            const char *path = in_step(20, "model.h5");
            CHECK_OK(save(20, false));
            unseal(path);
            tdm_text bytes = {0};
            CHECK_OK(tdm_read_file(path, &bytes));
            const int64_t at = find(&bytes, signatures[i], 4, nth);
            tdm_text_free(&bytes);
            if (at < 0) break;
            damage(path, ZERO_64, at);
            const tdm_status status =
                tdm_checkpoint_read_model(in_run("checkpoints/step-00000020"), &one.params);
            if (status == TDM_OK) continue;
            refused++;
            CHECK_EQ(status, TDM_E_FORMAT);
            CHECK_MESSAGE("damaged");
        }
    CHECK_GT(refused, 4);
}

/* ---- Weights to compute with ---- */

/* The rows of `one`; the long one is the image tower's, the others the text tower's. */
static void open_weights(tdm_params *params, tdm_weights **weights)
{
    *params = (tdm_params){0};
    for (int64_t i = 0; i < one.params.count; i++) {
        const tdm_param *row = &one.params.row[i];
        CHECK_OK(tdm_params_add(params, row->name, row->ndim, row->shape, TDM_INIT_ZERO, 0, true, NULL));
        params->row[i].tower = strcmp(row->name, "token_embedding.weight") == 0 ? TDM_IMAGE : TDM_TEXT;
    }
    CHECK_OK(tdm_weights_open(in_run("checkpoints/step-00000020"), weights));
    CHECK_OK(tdm_weights_lend(*weights, params));
}

static void close_weights(tdm_params *params, tdm_weights **weights)
{
    tdm_params_destroy(params);
    tdm_weights_close(weights);
}

static void expect_weights(const tdm_params *params, int tower)
{
    for (int64_t i = 0; i < params->count; i++) {
        const tdm_param *got = &params->row[i], *want = &one.params.row[i];
        if (got->tower != tower) continue;
        CHECK_EQ(got->offset % 16, 0);
        CHECK_MEM_EQ(params->weight + got->offset, one.params.weight + want->offset,
                     (size_t)want->size * sizeof(float));
    }
}

/* Used where they stand in the file, also when it is gone; without checksums of the file read, as before. */
static void test_weights(void **state)
{
    (void)state;
    const char *path = in_step(20, "model.h5");
    for (int sealed = 1; sealed >= 0; sealed--) {
        tdm_params params;
        tdm_weights *weights;
        CHECK_OK(save(20, false));
        if (!sealed) unseal(path);
        listen_begin();
        open_weights(&params, &weights);
        listen_end();
        CHECK_EQ(params.is_lent, sealed);
        CHECK_OK(tdm_weights_need(weights, TDM_TEXT));
        expect_weights(&params, TDM_TEXT);
        CHECK_OK(tdm_weights_need(weights, TDM_IMAGE));
        CHECK_EQ(unlink(path), 0);
        expect_weights(&params, TDM_IMAGE);
        expect_weights(&params, TDM_TEXT);
        close_weights(&params, &weights);
    }
}

/* What was read by name and what is mapped are one file. */
static void test_replaced_weights(void **state)
{
    (void)state;
    const char *dir = in_run("checkpoints/step-00000020");
    tdm_params params = {0};
    tdm_weights *weights;
    CHECK_OK(tdm_weights_open(dir, &weights));
    CHECK_OK(save(20, false));
    CHECK_FAILS(tdm_weights_lend(weights, &params), TDM_E_IO, "was replaced while it was opened");
    tdm_weights_close(&weights);
}

/* Damage is met where it is read: in what is no weight at once, in a tower when that is needed. */
static void test_damaged_weights(void **state)
{
    (void)state;
    const char *path = in_step(20, "model.h5"), *dir = in_run("checkpoints/step-00000020");
    const float twice[2] = {22, 22};
    tdm_text bytes = {0};
    tdm_params params;
    tdm_weights *weights;
    CHECK_OK(tdm_read_file(path, &bytes));
    const int64_t at = find(&bytes, (const char *)twice, sizeof twice, 0);
    const int64_t config = find(&bytes, "context_length", 14, 0);
    tdm_text_free(&bytes);
    CHECK_GE(at, 0);
    damage(path, FLIP, at + (1 << 20));
    open_weights(&params, &weights);
    CHECK_TRUE(params.is_lent);
    CHECK_OK(tdm_weights_need(weights, TDM_TEXT));
    expect_weights(&params, TDM_TEXT);
    CHECK_FAILS(tdm_weights_need(weights, TDM_IMAGE), TDM_E_FORMAT, "(/param/token_embedding.weight)");
    close_weights(&params, &weights);

    CHECK_OK(save(20, false));
    damage(path, FLIP, config);
    CHECK_FAILS(tdm_weights_open(dir, &weights), TDM_E_FORMAT, "(the file's structure)");
    CHECK_NULL(weights);
    CHECK_OK(save(20, false));
    damage(path, CUT, at + (1 << 20));
    CHECK_FAILS(tdm_weights_open(dir, &weights), TDM_E_FORMAT, "is damaged: truncated");
    static const char *const signatures[] = {"OHDR", "FRHP", "FHDB", "FADB"};
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
        CHECK_OK(save(20, false));
        CHECK_OK(tdm_read_file(path, &bytes));
        const int64_t place = find(&bytes, signatures[i], 4, 0);
        tdm_text_free(&bytes);
        if (place < 0) continue;
        damage(path, ZERO_64, place);
        CHECK_FAILS(tdm_weights_open(dir, &weights), TDM_E_FORMAT, "have changed since it was written");
    }
}

/* ---- Several checkpoints ---- */

static void test_two_damaged(void **state)
{
    (void)state;
    int64_t step;
    damage(in_step(20, "model.h5"), FLIP, 1 << 20);
    damage(in_step(10, "state.h5"), CUT, 1000);
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 5);
    CHECK_CONTAINS(heard.data, "step-00000020/model.h5: is damaged");
    CHECK_CONTAINS(heard.data, "step-00000010/state.h5: is damaged");
    CHECK_CONTAINS(heard.data, "steps 6 to 20 have to be made again");
}

static void test_all_damaged(void **state)
{
    (void)state;
    int64_t step;
    bool any;
    damage(in_step(20, "model.h5"), FLIP, 1 << 20);
    damage(in_step(10, "state.h5"), CUT, 1000);
    damage(in_step(5, "model.h5"), REMOVE, 0);
    CHECK_FAILS(resume(&step), TDM_E_FORMAT,
                "checkpoints: no checkpoint is whole: step-00000020: model.h5: is damaged: ");
    CHECK_MESSAGE("; step-00000010: state.h5: is damaged: truncated: 1000 bytes");
    CHECK_MESSAGE("; step-00000005: model.h5: is damaged: is missing");
    CHECK_OK(tdm_checkpoint_any(run, &any)); /* so that a new run does not begin over it */
    CHECK_TRUE(any);
}

/* `best` is what was asked for: told, and nothing else is taken. */
static void test_best_damaged(void **state)
{
    (void)state;
    char dir[512];
    damage(in_step(20, "model.h5"), FLIP, 1 << 20);
    CHECK_OK(tdm_checkpoint_find(run, true, dir, sizeof dir));
    CHECK_STR_EQ(dir, in_run("checkpoints/step-00000020"));
    CHECK_FAILS(tdm_checkpoint_check(NULL, dir, false), TDM_E_FORMAT, "step-00000020/model.h5: is damaged: ");
}

static void point(const char *pointer, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "checkpoints/%s", pointer);
    CHECK_OK(tdm_write_file_atomic(in_run(path), text, strlen(text)));
}

static void test_pointers(void **state)
{
    (void)state;
    int64_t step;
    char dir[512];
    point("latest", "step-00000099\n");
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 20);
    CHECK_CONTAINS(heard.data, "checkpoints/latest names step-00000099, which is not there");
    CHECK_CONTAINS(heard.data, "steps 21 to 99 have to be made again");
    point("latest", "nonsense");
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 20);
    CHECK_CONTAINS(heard.data, "checkpoints/latest: names no checkpoint");
    CHECK_EQ(unlink(in_run("checkpoints/latest")), 0);
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 20);
    point("best", "step-00000098\n");
    listen_begin();
    CHECK_OK(tdm_checkpoint_find(run, true, dir, sizeof dir));
    listen_end();
    CHECK_STR_EQ(dir, in_run("checkpoints/step-00000020"));
    CHECK_CONTAINS(heard.data, "checkpoints/best names step-00000098, which is not there");
    /* a run that went back: those of the course that was given up come last */
    point("latest", "step-00000010\n");
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 10);
    damage(in_step(10, "model.h5"), EMPTY, 0);
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 5);
    damage(in_step(5, "model.h5"), EMPTY, 0);
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 20);
}

/* A damaged one of a later step takes no place among those that are kept, and stays. */
static void test_keep(void **state)
{
    (void)state;
    CHECK_OK(tdm_config_set(&one.config, "checkpoint.keep=1"));
    damage(in_step(20, "model.h5"), FLIP, 1 << 20);
    CHECK_OK(save(12, false));
    CHECK_OK(save(13, false));
    CHECK_OK(tdm_config_set(&one.config, "checkpoint.keep=3"));
    CHECK_TRUE(tdm_path_exists(in_step(20, "model.h5")));
    CHECK_TRUE(tdm_path_exists(in_step(13, "model.h5")));
    CHECK_FALSE(tdm_path_exists(in_step(12, "model.h5")));
    int64_t step;
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 13);
}

/* No permission is no damage: somebody can mend it, so nothing older is taken instead. */
static void test_unreadable(void **state)
{
    (void)state;
    int64_t step;
    CHECK_EQ(chmod(run, 0711), 0);
    CHECK_EQ(chmod(in_step(20, "state.h5"), 0), 0);
    const bool root = geteuid() == 0;
    char dir[512];
    if (root) CHECK_EQ(seteuid(65534), 0);
    const tdm_status status = tdm_checkpoint_latest(NULL, run, dir, sizeof dir);
    if (root) CHECK_EQ(seteuid(0), 0);
    CHECK_FAILS(status, TDM_E_IO, "step-00000020/state.h5: cannot open: Permission denied");
    CHECK_EQ(chmod(in_step(20, "state.h5"), 0600), 0);
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 20);
}

/* Readers beside a writer: what is being written has another name, and is never taken. */
static void test_while_written(void **state)
{
    (void)state;
    int64_t step;
    CHECK_OK(tdm_make_dirs(in_run("checkpoints/step-00000030.tmp")));
    CHECK_OK(tdm_write_file_atomic(in_run("checkpoints/step-00000030.tmp/model.h5"), "half", 4));
    CHECK_OK(tdm_make_dirs(in_run("checkpoints/replaced.tmp")));
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 20);
    CHECK_OK(tdm_config_set(&one.config, "checkpoint.keep=1000"));
    const pid_t child = fork();
    CHECK_GE(child, 0);
    if (child == 0) {
        for (step = 21; step < 41; step++)
            if (save(step, true) != TDM_OK) _exit(9);
        _exit(0);
    }
    int exit_code = -1, reads = 0;
    for (pid_t ended = 0; ended == 0; reads++) {
        char dir[512];
        ended = waitpid(child, &exit_code, WNOHANG);
        CHECK_OK(tdm_checkpoint_latest(NULL, run, dir, sizeof dir));
        CHECK_OK(tdm_checkpoint_find(run, true, dir, sizeof dir));
        CHECK_OK(tdm_checkpoint_verify(dir));
    }
    CHECK_EQ(exit_code, 0);
    CHECK_GT(reads, 1);
    CHECK_OK(resume(&step));
    CHECK_EQ(step, 40);
    CHECK_OK(tdm_config_set(&one.config, "checkpoint.keep=3"));
}

static int setup(void **state)
{
    (void)state;
    snprintf(run, sizeof run, "%s/tandem-damage-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (mkdtemp(run) == NULL) return 1;
    return checkpoint_case_create(&one) != TDM_OK;
}

static int teardown(void **state)
{
    (void)state;
    checkpoint_case_destroy(&one);
    tdm_text_free(&heard);
    return tdm_remove_tree(run) != TDM_OK;
}

#define CASE(name) cmocka_unit_test_setup(name, fresh_run)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_data),
        CASE(test_text),
        CASE(test_structure),
        CASE(test_whole_files),
        CASE(test_checksums),
        CASE(test_mixed_files),
        CASE(test_older_version),
        CASE(test_damage_is_not_another_model),
        CASE(test_two_damaged),
        CASE(test_all_damaged),
        CASE(test_best_damaged),
        CASE(test_pointers),
        CASE(test_keep),
        CASE(test_unreadable),
        CASE(test_while_written),
        CASE(test_weights),
        CASE(test_replaced_weights),
        CASE(test_damaged_weights),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
