/* Checkpoints: bit-exact round trip, pointers, keep N, kills, full disks, damaged and foreign files. */
#include "check.h"
#include "scratch.h"
#include "checkpoint_case.h"
#include "h5/variable_text.h"

#include "../../src/checkpoint/checkpoint_impl.h"
#include "tandem/rng.h"

#include <fcntl.h>
#include <hdf5.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char run[256];
static checkpoint_case one;

static const char *in_run(const char *name)
{
    static char path[8][512];
    static int next;
    next = (next + 1) % 8;
    snprintf(path[next], sizeof path[next], "%s/%s", run, name);
    return path[next];
}

static tdm_status save(int64_t step, bool best)
{
    checkpoint_case_fill(&one, step);
    return checkpoint_save_local(run, &one.config, &one.params, &one.optim, one.tokenizer, &one.state, best);
}

static void assert_latest(int64_t step)
{
    char dir[512], name[64];
    CHECK_OK(tdm_checkpoint_latest(NULL, run, dir, sizeof dir));
    snprintf(name, sizeof name, "checkpoints/step-%08lld", (long long)step);
    CHECK_STR_EQ(dir, in_run(name));
}

/* Reads the checkpoint into a second set of arenas and compares every bit. */
static void assert_holds(const char *dir, const checkpoint_case *want)
{
    checkpoint_case got;
    CHECK_OK(checkpoint_case_create(&got));
    checkpoint_case_fill(&got, 999);
    CHECK_OK(tdm_checkpoint_read_model(dir, &got.params));
    CHECK_OK(tdm_checkpoint_read_state(dir, &got.params, &got.optim, &got.state));
    const size_t bytes = (size_t)want->params.total * sizeof(float);
    CHECK_MEM_EQ(got.params.weight, want->params.weight, bytes);
    CHECK_MEM_EQ(got.optim.moment[0], want->optim.moment[0], bytes);
    CHECK_MEM_EQ(got.optim.moment[1], want->optim.moment[1], bytes);
    CHECK_EQ(got.optim.step, want->optim.step);
    CHECK_MEM_EQ(&got.state, &want->state, sizeof want->state);
    checkpoint_case_destroy(&got);
}

static int fresh_run(void **state)
{
    (void)state;
    return tdm_remove_tree(run) != TDM_OK || tdm_make_dirs(run) != TDM_OK;
}

static void test_round_trip(void **state)
{
    (void)state;
    CHECK_OK(tdm_config_set(&one.config, "model.embed_dim=77"));
    checkpoint_case_fill(&one, 1234);
    for (int64_t i = 0; i < one.params.total; i++) { /* any bits: NaN payloads, denormals, -0 */
        tdm_rng rng = tdm_rng_at(1, 2, (uint64_t)i, TDM_RNG_TEST);
        for (int a = 0; a < 3; a++) {
            const uint32_t bits = tdm_rng_u32(&rng);
            float *arena[] = {one.params.weight, one.optim.moment[0], one.optim.moment[1]};
            memcpy(&arena[a][i], &bits, sizeof bits);
        }
    }
    for (int64_t i = 0; i < one.params.count; i++) { /* gaps between rows are not stored */
        const tdm_param *row = &one.params.row[i];
        const int64_t end = i + 1 < one.params.count ? one.params.row[i + 1].offset : one.params.total;
        for (int64_t k = row->offset + row->size; k < end; k++) {
            one.params.weight[k] = one.optim.moment[0][k] = one.optim.moment[1][k] = 999.0F;
        }
    }
    one.state.best_value = 0.1;
    one.state.best_step = 1000;
    one.state.best_epoch = 12.5;
    one.state.evaluations_since_best = 7;
    one.state.evaluation_due = true;
    strcpy(one.state.end, "patience");
    CHECK_OK(
        checkpoint_save_local(run, &one.config, &one.params, &one.optim, one.tokenizer, &one.state, true));
    assert_latest(1234);
    const char *dir = in_run("checkpoints/step-00001234");
    checkpoint_case got;
    CHECK_OK(checkpoint_case_create(&got));
    for (int64_t k = 0; k < got.params.total; k++) {
        got.params.weight[k] = got.optim.moment[0][k] = got.optim.moment[1][k] = 999.0F;
    }
    CHECK_OK(tdm_checkpoint_read_model(dir, &got.params));
    CHECK_OK(tdm_checkpoint_read_state(dir, &got.params, &got.optim, &got.state));
    const size_t bytes = (size_t)got.params.total * sizeof(float);
    CHECK_MEM_EQ(got.params.weight, one.params.weight, bytes);
    CHECK_MEM_EQ(got.optim.moment[0], one.optim.moment[0], bytes);
    CHECK_MEM_EQ(got.optim.moment[1], one.optim.moment[1], bytes);
    CHECK_EQ(got.state.step, 1234);
    CHECK_EQ(got.state.best_step, 1000);
    CHECK_EQ(got.state.best_value, 0.1);
    CHECK_EQ(got.state.best_epoch, 12.5);
    CHECK_EQ(got.state.evaluations_since_best, 7);
    CHECK_TRUE(got.state.evaluation_due);
    CHECK_STR_EQ(got.state.end, "patience");
    CHECK_EQ(got.state.elapsed_s, one.state.elapsed_s);

    tdm_tokenizer *tokenizer;
    int64_t step;
    CHECK_OK(tdm_checkpoint_read_config(dir, &got.config, &tokenizer, &step));
    CHECK_EQ(step, 1234);
    CHECK_EQ(got.config.model.embed_dim, 77);
    uint64_t hash[2];
    CHECK_OK(tdm_config_hash(&one.config, &hash[0]));
    CHECK_OK(tdm_config_hash(&got.config, &hash[1]));
    CHECK_EQ(hash[0], hash[1]);
    size_t size;
    const void *merges = tdm_tokenizer_file(tokenizer, &size);
    CHECK_EQ(size, sizeof checkpoint_merges - 1);
    CHECK_MEM_EQ(merges, checkpoint_merges, size);
    tdm_tokenizer_destroy(&tokenizer);
    CHECK_OK(tdm_checkpoint_verify(dir));
    checkpoint_case_destroy(&got);
    CHECK_OK(tdm_config_set(&one.config, "model.embed_dim=512"));
    memset(one.params.weight, 0, bytes);
    memset(one.optim.moment[0], 0, bytes);
    memset(one.optim.moment[1], 0, bytes);
}

/* The same state twice gives the same bytes: no time stamps. */
static void test_reproducible_bytes(void **state)
{
    (void)state;
    char first[65], second[65];
    CHECK_OK(save(3, false));
    CHECK_OK(tdm_sha256_file(in_run("checkpoints/step-00000003/state.h5"), first));
    sleep(1);
    CHECK_OK(save(3, false)); /* replaces the checkpoint of the same step */
    CHECK_OK(tdm_sha256_file(in_run("checkpoints/step-00000003/state.h5"), second));
    CHECK_STR_EQ(first, second);
    assert_latest(3);
}

static void test_keep_and_best(void **state)
{
    (void)state;
    CHECK_OK(tdm_config_set(&one.config, "checkpoint.keep=2"));
    for (int64_t step = 1; step <= 6; step++) CHECK_OK(save(step * 10, step == 2));
    int64_t *list, count;
    CHECK_OK(checkpoint_list(in_run("checkpoints"), &list, &count));
    CHECK_EQ(count, 3); /* the best one beside the two newest */
    CHECK_EQ(list[0], 60);
    CHECK_EQ(list[1], 50);
    CHECK_EQ(list[2], 20);
    free(list);
    char dir[512];
    CHECK_OK(tdm_checkpoint_find(run, true, dir, sizeof dir));
    CHECK_STR_EQ(dir, in_run("checkpoints/step-00000020"));
    CHECK_OK(tdm_checkpoint_find(run, false, dir, sizeof dir));
    CHECK_STR_EQ(dir, in_run("checkpoints/step-00000060"));
    CHECK_OK(save(5, false)); /* a run started anew in the same place: never removes what it wrote */
    assert_latest(5);
    CHECK_OK(tdm_config_set(&one.config, "checkpoint.keep=3"));
}

static void test_find(void **state)
{
    (void)state;
    char dir[512];
    CHECK_OK(tdm_checkpoint_latest(NULL, run, dir, sizeof dir));
    CHECK_STR_EQ(dir, "");
    CHECK_FAILS(tdm_checkpoint_find(run, false, dir, sizeof dir), TDM_E_IO, "holds no checkpoint");
    CHECK_FAILS(tdm_checkpoint_find(in_run("nothing"), false, dir, sizeof dir), TDM_E_IO,
                "there is no such checkpoint");
    CHECK_OK(save(7, false));
    CHECK_OK(tdm_checkpoint_find(run, true, dir, sizeof dir)); /* no best yet: latest */
    CHECK_STR_EQ(dir, in_run("checkpoints/step-00000007"));
    CHECK_OK(tdm_checkpoint_find(in_run("checkpoints/step-00000007"), false, dir, sizeof dir));
    CHECK_STR_EQ(dir, in_run("checkpoints/step-00000007"));
    CHECK_OK(tdm_checkpoint_find(in_run("checkpoints/step-00000007/model.h5"), false, dir, sizeof dir));
    CHECK_STR_EQ(dir, in_run("checkpoints/step-00000007"));
    CHECK_FAILS(tdm_checkpoint_find(in_run("checkpoints/latest"), false, dir, sizeof dir), TDM_E_IO,
                "is not a checkpoint");
    CHECK_OK(tdm_write_file_atomic(in_run("checkpoints/latest"), "../../../etc\n", 13));
    assert_latest(7); /* a pointer to elsewhere is not followed */

    const char *imported = in_run("imported");
    CHECK_OK(tdm_checkpoint_write_model(imported, &one.config, &one.params, NULL, 0));
    CHECK_OK(tdm_checkpoint_find(imported, true, dir, sizeof dir));
    CHECK_OK(tdm_checkpoint_read_model(dir, &one.params));
    CHECK_OK(tdm_checkpoint_verify(dir));
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    tdm_tokenizer *tokenizer;
    CHECK_FAILS(tdm_checkpoint_read_config(dir, &config, &tokenizer, NULL), TDM_E_FORMAT,
                "holds no tokenizer");
    CHECK_NULL(tokenizer);
    CHECK_OK(tdm_checkpoint_read_config(dir, &config, NULL, NULL));
    tdm_config_destroy(&config);
    CHECK_FAILS(tdm_checkpoint_read_state(dir, &one.params, &one.optim, &one.state), TDM_E_IO,
                "state.h5: cannot open");
}

/* Names in DIR/checkpoints that end in .tmp */
static int count_leftovers(void)
{
    char command[600];
    snprintf(command, sizeof command, "ls '%s' | grep -c 'tmp$'", in_run("checkpoints"));
    FILE *pipe = popen(command, "r");
    int count = -1;
    if (fscanf(pipe, "%d", &count) != 1) count = -1;
    pclose(pipe);
    return count;
}

/* A file size limit stands for a full disk: the write fails at every place of both files in turn. */
static void test_disk_full(void **state)
{
    (void)state;
    CHECK_OK(save(10, true));
    struct stat info;
    CHECK_EQ(stat(in_run("checkpoints/step-00000010/state.h5"), &info), 0);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit kept;
    getrlimit(RLIMIT_FSIZE, &kept);
    int failures = 0;
    for (int i = 0; i <= 24; i++) {
        const rlim_t limit = (rlim_t)((int64_t)info.st_size * i / 25 + (i == 24 ? info.st_size / 25 - 8 : 0));
        const struct rlimit low = {.rlim_cur = limit, .rlim_max = kept.rlim_max};
        setrlimit(RLIMIT_FSIZE, &low);
        const tdm_status status = save(20, true);
        setrlimit(RLIMIT_FSIZE, &kept);
        CHECK_FAILS(status, TDM_E_IO, "File too large");
        CHECK_MESSAGE(".h5: cannot");
        failures += strstr(tdm_error_last()->message, "state.h5") != NULL;
        CHECK_EQ(count_leftovers(), 0);
        CHECK_FALSE(tdm_path_exists(in_run("checkpoints/step-00000020")));
        assert_latest(10);
        CHECK_EQ(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0); /* nothing stays open */
    }
    CHECK_GT(failures, 5);
    CHECK_LT(failures, 24); /* some in state.h5, some before */
    checkpoint_case_fill(&one, 10);
    assert_holds(in_run("checkpoints/step-00000010"), &one);
    CHECK_OK(save(20, true));
    assert_latest(20);
}

static void test_unwritable(void **state)
{
    (void)state;
    CHECK_OK(tdm_write_file_atomic(in_run("checkpoints"), "x", 1));
    CHECK_FAILS(save(1, false), TDM_E_IO, "checkpoints: ");
}

static int64_t file_size(const char *path)
{
    struct stat info;
    CHECK_EQ(stat(path, &info), 0);
    return info.st_size;
}

static void test_truncated(void **state)
{
    (void)state;
    CHECK_OK(save(1, false));
    CHECK_OK(save(2, false));
    const char *model = in_run("checkpoints/step-00000002/model.h5"),
               *dir = in_run("checkpoints/step-00000002");
    const int64_t size = file_size(model);
    const int64_t lengths[] = {size - 1, size / 2, 100, 1, 0};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        CHECK_EQ(truncate(model, lengths[i]), 0);
        CHECK_FAILS(tdm_checkpoint_verify(dir), TDM_E_FORMAT, "step-00000002/model.h5: ");
        tdm_config config;
        CHECK_OK(tdm_config_init(&config));
        if (i > 0) { /* but for what stands behind HDF5's end */
            CHECK_FAILS(tdm_checkpoint_read_model(dir, &one.params), TDM_E_FORMAT, "");
            CHECK_FAILS(tdm_checkpoint_read_config(dir, &config, NULL, NULL), TDM_E_FORMAT, "");
        }
        tdm_config_destroy(&config);
        assert_latest(1); /* the newest whole one */
    }
    CHECK_EQ(unlink(in_run("checkpoints/step-00000001/state.h5")), 0);
    char found[512];
    CHECK_FAILS(tdm_checkpoint_latest(NULL, run, found, sizeof found), TDM_E_FORMAT,
                "checkpoints: no checkpoint is whole: step-00000002: model.h5: is damaged: ");
    CHECK_MESSAGE("; step-00000001: state.h5: is damaged: is missing");
}

static void flip(const char *path, int64_t at)
{
    const int fd = open(path, O_RDWR);
    unsigned char byte;
    CHECK_EQ(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* One byte anywhere is noticed. */
static void test_flipped_bytes(void **state)
{
    (void)state;
    CHECK_OK(save(2, false));
    const char *model = in_run("checkpoints/step-00000002/model.h5"),
               *dir = in_run("checkpoints/step-00000002");
    const int64_t size = file_size(model);
    enum { FLIPS = 120 };
    tdm_rng rng = tdm_rng_at(5, 0, 0, TDM_RNG_TEST);
    for (int i = 0; i < FLIPS; i++) { /* every other one in the first 8 KiB, where HDF5's metadata begins */
        const int64_t at = tdm_rng_below(&rng, i % 2 ? size : 8192);
        flip(model, at);
        CHECK_FAILS(tdm_checkpoint_verify(dir), TDM_E_FORMAT, "model.h5: is damaged: ");
        flip(model, at);
    }
    CHECK_OK(tdm_checkpoint_verify(dir));
}

static void test_flipped_parameter(void **state)
{
    (void)state;
    CHECK_OK(save(2, false));
    const char *file = in_run("checkpoints/step-00000002/state.h5");
    flip(file, file_size(file) / 3); /* amid the first moment of the largest parameter */
    CHECK_FAILS(tdm_checkpoint_verify(in_run("checkpoints/step-00000002")), TDM_E_FORMAT,
                "state.h5: is damaged: bytes ");
    CHECK_MESSAGE("have changed since it was written (/m/token_embedding.weight)");
    CHECK_FAILS(
        tdm_checkpoint_read_state(in_run("checkpoints/step-00000002"), &one.params, &one.optim, &one.state),
        TDM_E_FORMAT, "state.h5: is damaged: cannot read /m/token_embedding.weight: checksum error");
}

static void test_other_model(void **state)
{
    (void)state;
    CHECK_OK(save(2, false));
    const char *dir = in_run("checkpoints/step-00000002");
    tdm_params other = {0};
    const int64_t shape[4] = {6, 4};
    CHECK_OK(tdm_params_add(&other, "visual.proj", 2, shape, TDM_INIT_ZERO, 0, true, NULL));
    CHECK_OK(tdm_params_add(&other, "text_projection", 2, shape, TDM_INIT_ZERO, 0, true, NULL));
    CHECK_OK(tdm_params_add(&other, "logit_scale", 0, shape, TDM_INIT_ZERO, 0, true, NULL));
    CHECK_OK(tdm_params_allocate(&other, false));
    CHECK_FAILS(tdm_checkpoint_read_model(dir, &other), TDM_E_SHAPE, "model.h5: is of another model");
    CHECK_MESSAGE("1 missing (text_projection)");
    CHECK_MESSAGE("3 unknown (ln_final.bias, token_embedding.weight, visual.conv1.weight)");
    CHECK_MESSAGE("1 of another shape (visual.proj is [6, 5], expected [6, 4])");
    tdm_params_destroy(&other);

    /* files of another kind */
    CHECK_OK(tdm_remove_tree(in_run("checkpoints/step-00000002/model.h5")));
    CHECK_EQ(
        rename(in_run("checkpoints/step-00000002/state.h5"), in_run("checkpoints/step-00000002/model.h5")),
        0);
    CHECK_FAILS(tdm_checkpoint_read_model(dir, &one.params), TDM_E_FORMAT,
                "format attribute is \"tandem.state\", expected \"tandem.model\"");
    CHECK_OK(tdm_write_file_atomic(in_run("checkpoints/step-00000002/model.h5"), "no HDF5 at all", 14));
    CHECK_FAILS(tdm_checkpoint_verify(dir), TDM_E_FORMAT, "model.h5: is not an HDF5 file");
    /* two checkpoints mixed */
    CHECK_OK(save(3, false));
    CHECK_OK(save(4, false));
    CHECK_EQ(
        rename(in_run("checkpoints/step-00000003/state.h5"), in_run("checkpoints/step-00000004/state.h5")),
        0);
    CHECK_FAILS(tdm_checkpoint_check(NULL, in_run("checkpoints/step-00000004"), true), TDM_E_FORMAT,
                "step-00000004: is damaged: model.h5 is of step 4, state.h5 of step 3");
}

static void test_variable_text(void **state)
{
    (void)state;
    CHECK_OK(save(3, false));
    CHECK_TRUE(put_variable_text(in_run("checkpoints/step-00000003/model.h5"), "config", "seed = 1;"));
    CHECK_FAILS(tdm_checkpoint_read_config(in_run("checkpoints/step-00000003"), &one.config, NULL, NULL),
                TDM_E_FORMAT, "model.h5: attribute config is a string of variable length");
}

static void save_forever(int64_t step)
{
    for (;; step++) {
        if (save(step, step % 3 == 0) != TDM_OK) {
            fprintf(stderr, "%s\n", tdm_error_last()->message);
            _exit(9);
        }
    }
}

/* SIGKILL at random instants: `latest` always names a whole checkpoint, and nothing piles up. */
static void test_killed(void **state)
{
    (void)state;
    tdm_rng rng = tdm_rng_at(11, 0, 0, TDM_RNG_TEST);
    int64_t step = 0;
    int interrupted = 0;
    const double begin_s = tdm_now_s();
    CHECK_OK(save(++step, false));
    CHECK_OK(save(++step, false));
    const double two_saves_s = tdm_now_s() - begin_s; /* the kills come within some of them */
    for (int round = 0; round < 25; round++) {
        const pid_t child = fork();
        CHECK_GE(child, 0);
        if (child == 0) save_forever(step + 1);
        usleep((useconds_t)(1e6 * two_saves_s * tdm_rng_range(&rng, 0.05, 2.5)));
        kill(child, SIGKILL);
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_TRUE(WIFSIGNALED(status));
        CHECK_EQ(WTERMSIG(status), SIGKILL);

        char dir[512];
        CHECK_OK(tdm_checkpoint_latest(NULL, run, dir, sizeof dir));
        CHECK_NE(dir[0], '\0');
        interrupted += count_leftovers() > 0;
        const int64_t found = checkpoint_step_of(strrchr(dir, '/') + 1);
        CHECK_GE(found, step);
        step = found;
        tdm_text latest = {0};
        CHECK_OK(tdm_read_file(in_run("checkpoints/latest"), &latest));
        latest.data[strcspn(latest.data, "\n")] = '\0';
        /* the pointer is never dangling */
        const int64_t pointed = checkpoint_step_of(latest.data);
        tdm_text_free(&latest);
        CHECK_EQ(pointed, step);
        CHECK_OK(tdm_checkpoint_verify(dir));
        checkpoint_case_fill(&one, step);
        assert_holds(dir, &one);
    }
    CHECK_GT(step, 2);
    CHECK_GT(interrupted, 0); /* some saves were finished, some were met half done */
    CHECK_OK(save(step + 1, false));
    CHECK_EQ(count_leftovers(), 0);
    int64_t *list, count;
    CHECK_OK(checkpoint_list(in_run("checkpoints"), &list, &count));
    free(list);
    CHECK_GE(count, 1);
    CHECK_LE(count, 4); /* keep 3 and the best */
    print_message("%d of 25 kills met a save half done\n", interrupted);
}

static void test_list(void **state)
{
    (void)state;
    CHECK_OK(save(2, false));
    tdm_h5_items items;
    CHECK_OK(tdm_h5_list(in_run("checkpoints/step-00000002/model.h5"), &items));
    CHECK_STR_EQ(tdm_h5_items_find(&items, "format")->value, "tandem.model");
    CHECK_STR_EQ(tdm_h5_items_find(&items, "step")->value, "2");
    const tdm_h5_item *item = tdm_h5_items_find(&items, "/param/token_embedding.weight");
    CHECK_STR_EQ(item->type, "f32");
    CHECK_EQ(item->ndim, 2);
    CHECK_EQ(item->shape[0], 700);
    CHECK_EQ(item->elements, 420000);
    CHECK_STR_EQ(tdm_h5_items_find(&items, "/tokenizer")->type, "u8");
    CHECK_NULL(tdm_h5_items_find(&items, "/nothing"));
    tdm_h5_items_free(&items);
    CHECK_FAILS(tdm_h5_list(in_run("nothing.h5"), &items), TDM_E_IO, "");
}

static int setup(void **state)
{
    (void)state;
    if (scratch_dir(run, sizeof run) != 0) return 1;
    return checkpoint_case_create(&one) != TDM_OK;
}

static int teardown(void **state)
{
    (void)state;
    checkpoint_case_destroy(&one);
    return tdm_remove_tree(run) != TDM_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_round_trip, fresh_run),
        cmocka_unit_test_setup(test_reproducible_bytes, fresh_run),
        cmocka_unit_test_setup(test_keep_and_best, fresh_run),
        cmocka_unit_test_setup(test_find, fresh_run),
        cmocka_unit_test_setup(test_disk_full, fresh_run),
        cmocka_unit_test_setup(test_unwritable, fresh_run),
        cmocka_unit_test_setup(test_truncated, fresh_run),
        cmocka_unit_test_setup(test_flipped_bytes, fresh_run),
        cmocka_unit_test_setup(test_flipped_parameter, fresh_run),
        cmocka_unit_test_setup(test_other_model, fresh_run),
        cmocka_unit_test_setup(test_variable_text, fresh_run),
        cmocka_unit_test_setup(test_killed, fresh_run),
        cmocka_unit_test_setup(test_list, fresh_run),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
