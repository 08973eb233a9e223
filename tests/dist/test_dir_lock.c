/* The lock of a directory: one owner, dead owners, owners of other hosts, file systems without hard links, lost
 * answers, and many processes at once. */
#include "check.h"
#include "scratch.h"
#include "tandem/base.h"
#include "tandem/dir_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* In place of the C library's: what a file system may answer. */
static enum { LINKS, NO_LINKS, LOST_ANSWER } file_system = LINKS;

int link(const char *from, const char *to)
{
    if (file_system == NO_LINKS) return errno = EPERM, -1;
    const int code = linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
    if (file_system == LOST_ANSWER && code == 0)
        return errno = EEXIST, -1; /* NFS: asked again after it was done */
    return code;
}

static char folder[256];

static const char *at(const char *name)
{
    static char path[TDM_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static tdm_status take(bool steal, tdm_dir_lock **lock)
{
    return tdm_dir_lock_take(NULL, &(tdm_dir_lock_options){.dir = folder, .command = "test", .steal = steal},
                             lock);
}

static void text_of(const char *name, char text[4096])
{
    tdm_text file = {0};
    CHECK_OK(tdm_read_file(at(name), &file));
    snprintf(text, 4096, "%s", file.data);
    tdm_text_free(&file);
}

/* The lock file with the value of `key` replaced; NULL: as a child that has ended left it. */
static void leave_lock(const char *key, const char *value)
{
    char text[4096], line[64];
    const pid_t child = fork();
    if (child == 0) {
        tdm_dir_lock *lock;
        _exit(take(false, &lock) != TDM_OK); /* without release, as after SIGKILL */
    }
    int code = -1;
    CHECK_EQ(waitpid(child, &code, 0), child);
    CHECK_EQ(code, 0);
    if (key == NULL) return;
    text_of(".tandem-lock", text);
    snprintf(line, sizeof line, "\n%s ", key);
    char *begin = strstr(text, line);
    CHECK_NOT_NULL(begin);
    begin += strlen(line);
    tdm_text changed = {0};
    CHECK_OK(tdm_text_append(&changed, text, (size_t)(begin - text)));
    CHECK_OK(tdm_text_printf(&changed, "%s%s", value, strchr(begin, '\n')));
    CHECK_OK(tdm_write_file_atomic(at(".tandem-lock"), changed.data, changed.length));
    tdm_text_free(&changed);
}

/* Only the lock may be left in the folder, or nothing. */
static void check_folder(bool locked)
{
    char command[512], line[512] = "";
    snprintf(command, sizeof command, "ls -A '%s' | tr '\\n' ' '", folder);
    FILE *pipe = popen(command, "r");
    CHECK_NOT_NULL(pipe);
    (void)!fgets(line, sizeof line, pipe);
    CHECK_EQ(pclose(pipe), 0);
    CHECK_STR_EQ(line, locked ? ".tandem-lock " : "");
}

static void check_one_owner(void)
{
    char text[4096], pid[64];
    tdm_dir_lock *mine, *other;
    CHECK_OK(take(false, &mine));
    check_folder(true);
    text_of(".tandem-lock", text);
    snprintf(pid, sizeof pid, "\nprocess %d\n", (int)getpid());
    CHECK_CONTAINS(text, "\ncommand test\n");
    CHECK_CONTAINS(text, pid);
    CHECK_FAILS(take(false, &other), TDM_E_IO, "in use by `tandem test` on ");
    CHECK_NULL(other);
    CHECK_FAILS(take(true, &other), TDM_E_IO,
                "; wait for it, or choose another directory"); /* it lives: no stealing */
    CHECK_OK(tdm_dir_lock_check(mine));
    tdm_dir_lock_release(&mine);
    CHECK_NULL(mine);
    check_folder(false);
    CHECK_OK(take(false, &mine)); /* and again */
    tdm_dir_lock_release(&mine);
    check_folder(false);
}

static void test_one_owner(void **state)
{
    (void)state;
    check_one_owner();
    tdm_dir_lock_release(NULL);
    CHECK_OK(tdm_dir_lock_check(NULL));
}

static void test_no_links(void **state)
{
    (void)state;
    file_system = NO_LINKS;
    check_one_owner();
    leave_lock(NULL, NULL);
    tdm_dir_lock *lock;
    CHECK_OK(take(false, &lock));
    check_folder(true);
    tdm_dir_lock_release(&lock);
    check_folder(false);
    file_system = LINKS;
}

static void test_lost_answer(void **state)
{
    (void)state;
    file_system = LOST_ANSWER;
    check_one_owner();
    file_system = LINKS;
}

static void test_dead_owners(void **state)
{
    (void)state;
    char mine[32];
    snprintf(mine, sizeof mine, "%d", (int)getpid());
    const char *const changes[][2] = {
        {NULL, NULL},                                     /* the process has ended */
        {"process", mine},                                /* its number belongs to another one now: this */
        {"boot", "00000000-0000-0000-0000-000000000000"}, /* the host was started again since */
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        tdm_dir_lock *lock;
        char machine[2] = "";
        FILE *file = fopen("/etc/machine-id", "r");
        if (file && !fgets(machine, sizeof machine, file)) machine[0] = '\0';
        if (file) fclose(file);
        if (i == 2 && !machine[0]) continue; /* nothing else tells hosts of one name apart */
        leave_lock(changes[i][0], changes[i][1]);
        CHECK_OK(take(false, &lock));
        check_folder(true);
        CHECK_OK(tdm_dir_lock_check(lock));
        tdm_dir_lock_release(&lock);
        check_folder(false);
    }
}

/* Ended, but its parent has not waited for it. */
static void test_zombie(void **state)
{
    (void)state;
    int ready[2];
    char byte;
    tdm_dir_lock *lock;
    CHECK_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        close(ready[0]);
        if (take(false, &lock) == TDM_OK && write(ready[1], "x", 1) == 1) pause();
        _exit(1);
    }
    close(ready[1]);
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    CHECK_FAILS(take(false, &lock), TDM_E_IO, "in use by");
    kill(child, SIGKILL);
    while (read(ready[0], &byte, 1) > 0) continue; /* until its end is closed: it has ended */
    siginfo_t info;
    CHECK_EQ(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    CHECK_OK(take(false, &lock));
    CHECK_EQ(waitpid(child, NULL, 0), child);
    tdm_dir_lock_release(&lock);
    close(ready[0]);
}

static void test_not_to_be_seen(void **state)
{
    (void)state;
    const char *const changes[][2] = {{"host", "cn07.example"},     /* another host */
                                      {"machine", "0123456789abc"}, /* one that is called the same */
                                      {"pid_space", "pid:[1]"},     /* another container of this host */
                                      {"nonce", "../../x"}};        /* not a file of ours */
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        tdm_dir_lock *lock;
        leave_lock(changes[i][0], changes[i][1]);
        CHECK_FAILS(take(false, &lock), TDM_E_IO, "say --steal-lock");
        if (i == 0) CHECK_MESSAGE("in use by `tandem test` on cn07.example, process ");
        check_folder(true);
        CHECK_OK(take(true, &lock));
        check_folder(true);
        tdm_dir_lock_release(&lock);
        check_folder(false);
    }
    /* an empty file, as one that is just being written where there are no hard links */
    tdm_dir_lock *lock;
    CHECK_OK(tdm_write_file_atomic(at(".tandem-lock"), "", 0));
    CHECK_FAILS(take(false, &lock), TDM_E_IO, "in use by somebody whose lock file cannot be read");
    CHECK_OK(take(true, &lock));
    tdm_dir_lock_release(&lock);
    check_folder(false);
}

/* The former owner notices, and leaves the new one's lock alone. */
static void test_taken_over(void **state)
{
    (void)state;
    tdm_dir_lock *old, *new;
    char text[4096];
    CHECK_OK(take(false, &old));
    text_of(".tandem-lock", text);
    char *host = strstr(text, "\nhost ");
    CHECK_NOT_NULL(host);
    host[6] = host[6] == 'x' ? 'y' : 'x'; /* for others, it now is on another host */
    CHECK_OK(tdm_write_file_atomic(at(".tandem-lock"), text, strlen(text)));
    CHECK_OK(tdm_dir_lock_check(old));
    CHECK_OK(take(true, &new));
    CHECK_FAILS(tdm_dir_lock_check(old), TDM_E_IO, "was taken over by `tandem test` on ");
    CHECK_OK(tdm_dir_lock_check(new));
    tdm_dir_lock_release(&old);
    CHECK_OK(tdm_dir_lock_check(new));
    check_folder(true);
    CHECK_EQ(unlink(at(".tandem-lock")), 0); /* cleaned away: nobody else has it */
    CHECK_OK(tdm_dir_lock_check(new));
    tdm_dir_lock_release(&new);
    check_folder(false);
}

static void test_parts(void **state)
{
    (void)state;
    tdm_dir_lock *one, *two, *again;
    tdm_dir_lock_options options = {.dir = folder, .command = "embed", .part = "val"};
    CHECK_OK(tdm_dir_lock_take(NULL, &options, &one));
    CHECK_FAILS(tdm_dir_lock_take(NULL, &options, &again), TDM_E_IO, "in use by `tandem embed`");
    options.part = "test";
    CHECK_OK(tdm_dir_lock_take(NULL, &options, &two));
    CHECK_TRUE(tdm_path_exists(at(".tandem-lock.val")));
    CHECK_TRUE(tdm_path_exists(at(".tandem-lock.test")));
    tdm_dir_lock_release(&one);
    tdm_dir_lock_release(&two);
    check_folder(false);
}

static void test_directory(void **state)
{
    (void)state;
    tdm_dir_lock *lock;
    tdm_dir_lock_options options = {.dir = at("new/inner"), .command = "test"};
    char path[TDM_PATH_BYTES];
    snprintf(path, sizeof path, "%s", options.dir);
    options.dir = path;
    CHECK_OK(tdm_dir_lock_take(NULL, &options, &lock));
    tdm_dir_lock_release(&lock); /* made for the lock and empty: gone again */
    CHECK_FALSE(tdm_path_exists(path));
    CHECK_OK(tdm_dir_lock_take(NULL, &options, &lock));
    CHECK_OK(tdm_write_file_atomic(at("new/inner/file"), "x", 1));
    tdm_dir_lock_release(&lock);
    CHECK_TRUE(tdm_path_exists(at("new/inner/file")));
    options.dir = strcat(path, "/file");
    CHECK_FAILS(tdm_dir_lock_take(NULL, &options, &lock), TDM_E_IO, "/file: is not a directory");
    CHECK_NULL(lock);
    CHECK_OK(tdm_remove_tree(at("new")));
}

/* Many processes, each time from a dead owner's lock: in the directory they meet, one at a time. */
enum { PROCESSES = 8, ROUNDS = 25 };

static int take_turns(void)
{
    for (int round = 0; round < ROUNDS;) {
        tdm_dir_lock *lock;
        if (take(false, &lock) != TDM_OK) {
            if (tdm_error_last()->code != TDM_E_IO) return 1;
            usleep(500);
            continue;
        }
        char path[TDM_PATH_BYTES];
        snprintf(path, sizeof path, "%s/inside", folder);
        const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666); /* somebody is in it: EEXIST */
        if (fd < 0) return 2;
        close(fd);
        usleep(200);
        if (unlink(path) != 0) return 3;
        round++;
        if (round % 3 == 0) { /* die with the lock, for the others to replace */
            const pid_t child = fork();
            if (child == 0) _exit(0);
            waitpid(child, NULL, 0);
            char file[TDM_PATH_BYTES], line[64];
            snprintf(file, sizeof file, "%s/.tandem-lock", folder);
            tdm_text text = {0}, changed = {0};
            if (tdm_read_file(file, &text) != TDM_OK) return 4;
            char *begin = strstr(text.data, "\nprocess ") + 9;
            snprintf(line, sizeof line, "%d", (int)child);
            if (tdm_text_append(&changed, text.data, (size_t)(begin - text.data)) != TDM_OK ||
                tdm_text_printf(&changed, "%s%s", line, strchr(begin, '\n')) != TDM_OK)
                return 5;
            char own[TDM_PATH_BYTES];
            snprintf(own, sizeof own, "%s.%d", folder, (int)getpid());
            FILE *out = fopen(own, "w"); /* beside the folder: same file system, other name */
            if (!out || fwrite(changed.data, 1, changed.length, out) != changed.length || fclose(out))
                return 6;
            if (rename(own, file) != 0) return 7;
            tdm_text_free(&text);
            tdm_text_free(&changed);
            continue; /* not released */
        }
        tdm_dir_lock_release(&lock);
    }
    return 0;
}

static void meet(void)
{
    pid_t child[PROCESSES];
    leave_lock(NULL, NULL);
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            tdm_log_set_rank(1, 2); /* no lines about dead owners */
            _exit(take_turns());
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int code = -1;
        CHECK_EQ(waitpid(child[i], &code, 0), child[i]);
        CHECK_EQ(code, 0);
    }
    tdm_dir_lock *lock;
    CHECK_OK(take(false, &lock));
    tdm_dir_lock_release(&lock);
    check_folder(false);
}

static void test_many(void **state)
{
    (void)state;
    meet();
    file_system = NO_LINKS;
    meet();
    file_system = LINKS;
}

static int make_folder(void **state)
{
    (void)state;
    return scratch_dir(folder, sizeof folder);
}

static int remove_folder(void **state)
{
    (void)state;
    return tdm_remove_tree(folder) != TDM_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_owner),   cmocka_unit_test(test_no_links),
        cmocka_unit_test(test_lost_answer), cmocka_unit_test(test_dead_owners),
        cmocka_unit_test(test_zombie),      cmocka_unit_test(test_not_to_be_seen),
        cmocka_unit_test(test_taken_over),  cmocka_unit_test(test_parts),
        cmocka_unit_test(test_directory),   cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
