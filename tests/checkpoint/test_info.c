/* tandem info on checkpoints, runs, files of other kinds, damaged and missing ones. */
#include "check.h"
#include "scratch.h"
#include "checkpoint_case.h"

#include "../../src/checkpoint/checkpoint_impl.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char run[256];
static tdm_text output; /* of the last command, both streams */

/* Runs `tandem info ARGUMENTS` in the run's parent directory; returns the exit code. */
static int info(const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof command, "cd '%s' && '%s/tandem' info %s 2>&1", run, getenv("TANDEM_BINARY_DIR"),
             arguments);
    tdm_text_free(&output);
    CHECK_OK(tdm_text_append(&output, "", 0));
    FILE *pipe = popen(command, "r");
    CHECK_NOT_NULL(pipe);
    char block[4096];
    for (size_t n; (n = fread(block, 1, sizeof block, pipe)) > 0;) {
        CHECK_OK(tdm_text_append(&output, block, n));
    }
    const int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_checkpoint_and_run(void **state)
{
    (void)state;
    CHECK_EQ(info(". --verify"), 0);
    CHECK_CONTAINS(output.data, "latest            step-00000020\n");
    CHECK_CONTAINS(output.data, "best              step-00000010\n");
    CHECK_CONTAINS(output.data, "  step-00000010  true\n  step-00000020  true\n");
    CHECK_CONTAINS(output.data, "    parameters        420086\n    tensors           5\n");
    CHECK_EQ(info("checkpoints/step-00000020 --params"), 0);
    CHECK_CONTAINS(output.data, "    token_embedding.weight  f32   700 x 600\n");
    CHECK_CONTAINS(output.data, "elapsed_s         30.0\n");
    CHECK_LACKS(output.data, "embed_dim");
    CHECK_EQ(info("checkpoints/step-00000020/model.h5 --config --verify --json out.json"), 0);
    CHECK_CONTAINS(output.data, "\n  embed_dim = 512;\n");
    CHECK_CONTAINS(output.data, "verified          true\n");

    char path[512];
    snprintf(path, sizeof path, "%s/out.json", run);
    tdm_text json = {0};
    CHECK_OK(tdm_read_file(path, &json));
    CHECK_CONTAINS(json.data, "\"kind\": \"model\"");
    CHECK_CONTAINS(json.data, "\"parameters\": 420086");
    CHECK_CONTAINS(json.data, "\"verified\": true");
    tdm_text_free(&json);
}

static void test_any_hdf5(void **state)
{
    (void)state;
    char path[600];
    snprintf(path, sizeof path, "'%s/tests/golden/clip_golden.h5' --verify", getenv("TANDEM_SOURCE_DIR"));
    CHECK_EQ(info(path), 0);
    CHECK_CONTAINS(output.data, "kind              hdf5\n");
    CHECK_CONTAINS(output.data, "verified          true\n");
    CHECK_EQ(info("checkpoints/step-00000010/state.h5"), 0);
    CHECK_CONTAINS(output.data, "kind              state\n");
    CHECK_CONTAINS(output.data, "best_value        null\n");
    CHECK_EQ(info("checkpoints/step-00000010"), 0);
    CHECK_CONTAINS(output.data, "kind              checkpoint\n");
}

/* One line on standard error, exit code 1 or 2. */
static void test_bad_input(void **state)
{
    (void)state;
    static const struct {
        const char *arguments, *message;
        int code;
    } cases[] = {
        {"nothing", "tandem: nothing: there is no such file or directory", 1},
        {"checkpoints/latest", "checkpoints/latest: is not an HDF5 file", 1},
        {"empty.h5", "empty.h5: is empty", 1},
        {"folder", "folder: holds neither dataset.h5, model.h5, checkpoints/ nor any other .h5 file", 1},
        {"", "expected one file or directory, got 0", 2},
        {"a b", "expected one file or directory, got 2", 2},
        {"--verfy .", "did you mean --verify?", 2},
        {"checkpoints/step-00000010 --json no/such/dir/x.json", "no/such/dir/x.json", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int code = info(cases[i].arguments);
        CHECK_CONTAINS(output.data, cases[i].message);
        CHECK_EQ(code, cases[i].code);
    }
}

static void test_damaged(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/checkpoints/step-00000020/model.h5", run);
    FILE *file = fopen(path, "r+b");
    fseek(file, 1 << 20, SEEK_SET);
    const int byte = fgetc(file);
    fseek(file, 1 << 20, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
    CHECK_EQ(info("checkpoints/step-00000020"), 0); /* metadata are fine */
    CHECK_EQ(info("checkpoints/step-00000020 --verify"), 1);
    CHECK_CONTAINS(output.data, "tandem: checkpoints/step-00000020/model.h5: is damaged: bytes 1048576 to ");
    CHECK_CONTAINS(output.data, "have changed since it was written (/param/token_embedding.weight)");
    CHECK_EQ(info(". --verify"), 1); /* says of every checkpoint whether it is whole */
    CHECK_CONTAINS(output.data, "  step-00000010  true\n  step-00000020  false\n");
    CHECK_CONTAINS(output.data, "step-00000020/model.h5: is damaged: bytes 1048576 to ");
}

static int setup(void **state)
{
    (void)state;
    if (scratch_dir(run, sizeof run) != 0) return 1;
    checkpoint_case one;
    if (checkpoint_case_create(&one) != TDM_OK) return 1;
    tdm_status status = TDM_OK;
    for (int64_t step = 10; step <= 20 && status == TDM_OK; step += 10) {
        checkpoint_case_fill(&one, step);
        status = checkpoint_save_local(run, &one.config, &one.params, &one.optim, one.tokenizer, &one.state,
                                       step == 10);
    }
    checkpoint_case_destroy(&one);
    char path[512];
    snprintf(path, sizeof path, "%s/folder", run);
    if (status == TDM_OK) status = tdm_make_dirs(path);
    snprintf(path, sizeof path, "%s/empty.h5", run);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, "", 0);
    return status != TDM_OK;
}

static int teardown(void **state)
{
    (void)state;
    tdm_text_free(&output);
    return tdm_remove_tree(run) != TDM_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_and_run),
        cmocka_unit_test(test_any_hdf5),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
