/* Files and folders: whole reads, atomic writes, trees, paths, digests. */
#include "check.h"
#include "scratch.h"
#include "tandem/reading.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[256];

/* "DIR/name"; four results are valid at a time. */
static const char *in_dir(const char *name)
{
    static char path[4][512];
    static int next = 0;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[0], "%s/%s", dir, name);
    return path[next];
}

static void test_read(void **state)
{
    (void)state;
    enum { BYTES = 200001 }; /* several reads */
    char *data = malloc(BYTES);
    CHECK_NOT_NULL(data);
    for (int i = 0; i < BYTES; i++) data[i] = (char)(i * 7 % 256);
    CHECK_OK(tdm_write_file_atomic(in_dir("bytes"), data, BYTES));
    tdm_text text = {0};
    CHECK_OK(tdm_read_file(in_dir("bytes"), &text));
    CHECK_EQ(text.length, BYTES);
    CHECK_MEM_EQ(text.data, data, BYTES);
    CHECK_EQ(text.data[BYTES], '\0');
    tdm_text_free(&text);
    free(data);

    CHECK_OK(tdm_write_file_atomic(in_dir("empty"), NULL, 0));
    CHECK_OK(tdm_read_file(in_dir("empty"), &text));
    CHECK_STR_EQ(text.data, "");
    CHECK_EQ(text.length, 0);
    CHECK_OK(tdm_text_append(&text, "before ", 7));
    CHECK_OK(tdm_write_file_atomic(in_dir("word"), "after", 5));
    CHECK_OK(tdm_read_file(in_dir("word"), &text)); /* behind what is there */
    CHECK_STR_EQ(text.data, "before after");
    tdm_text_free(&text);

    CHECK_FAILS(tdm_read_file(in_dir("missing"), &text), TDM_E_IO,
                in_dir("missing: cannot open: No such file"));
    CHECK_FAILS(tdm_read_file(dir, &text), TDM_E_IO, ": cannot read: Is a directory");
    CHECK_MESSAGE(dir);
    tdm_text_free(&text);
}

static void check_content(const char *name, const char *want)
{
    tdm_text text = {0};
    CHECK_OK(tdm_read_file(in_dir(name), &text));
    CHECK_STR_EQ(text.data, want);
    tdm_text_free(&text);
}

/* Nothing half-written is left. */
static void check_no_piece(void)
{
    DIR *listing = opendir(dir);
    CHECK_NOT_NULL(listing);
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) CHECK_LACKS(entry->d_name, ".tmp");
    closedir(listing);
}

/* Several processes write the same path: whoever is last, the file is whole, and none of them fails. */
static void test_writers(void **state)
{
    (void)state;
    enum { WRITERS = 4, BYTES = 20000, TIMES = 10 };
    pid_t child[WRITERS];
    static char data[BYTES];
    for (int i = 0; i < WRITERS; i++) {
        child[i] = fork();
        if (child[i] != 0) continue;
        memset(data, 'a' + i, sizeof data);
        tdm_status status = TDM_OK;
        for (int k = 0; k < TIMES && status == TDM_OK; k++)
            status = tdm_write_file_atomic(in_dir("shared"), data, (size_t)(BYTES - i));
        _exit(status != TDM_OK);
    }
    for (int i = 0; i < WRITERS; i++) {
        int code = -1;
        CHECK_EQ(waitpid(child[i], &code, 0), child[i]);
        CHECK_EQ(code, 0);
    }
    tdm_text text = {0};
    CHECK_OK(tdm_read_file(in_dir("shared"), &text));
    CHECK_EQ(text.length, BYTES - (text.data[0] - 'a'));
    CHECK_EQ(strspn(text.data, (char[]){text.data[0], '\0'}), text.length);
    tdm_text_free(&text);
    check_no_piece();
}

static void test_atomic_write(void **state)
{
    (void)state;
    CHECK_OK(tdm_write_file_atomic(in_dir("file"), "old", 3));
    CHECK_OK(tdm_write_file_atomic(in_dir("file"), "newer", 5));
    check_content("file", "newer");
    CHECK_OK(tdm_write_file_atomic(in_dir("file"), "short", 5));
    check_content("file", "short");
    check_no_piece();

    /* a pipe gets the bytes and stays one, also behind a link; so does /dev/null, whoever the user is */
    char read_back[8] = "";
    CHECK_EQ(mkfifo(in_dir("pipe"), 0600), 0);
    const int pipe = open(in_dir("pipe"), O_RDWR | O_NONBLOCK);
    CHECK_EQ(symlink("pipe", in_dir("link")), 0);
    CHECK_OK(tdm_write_file_atomic(in_dir("link"), "word", 4));
    CHECK_EQ(read(pipe, read_back, sizeof read_back), 4);
    CHECK_TRUE(strcmp(read_back, "word") == 0 && tdm_path_is_device(in_dir("pipe")));
    CHECK_TRUE(!tdm_path_is_device(in_dir("file")) && !tdm_path_is_device(in_dir("nothing")));
    close(pipe);
    CHECK_EQ(symlink("file", in_dir("to_file")), 0);
    CHECK_OK(tdm_write_file_atomic(in_dir("to_file"), "through", 7));
    check_content("file", "through");
    struct stat itself;
    CHECK_TRUE(lstat(in_dir("to_file"), &itself) == 0 && S_ISLNK(itself.st_mode));
    CHECK_OK(tdm_write_file_atomic(in_dir("file"), "short", 5));
    /* a standard stream that goes into a file */
    const int kept = dup(STDOUT_FILENO), file = open(in_dir("out"), O_WRONLY | O_CREAT, 0600);
    fflush(stdout);
    CHECK_EQ(write(file, "one ", 4), 4);
    dup2(file, STDOUT_FILENO);
    const tdm_status streamed = tdm_write_file_atomic("/dev/stdout", "two ", 4);
    CHECK_EQ(write(STDOUT_FILENO, "three", 5), 5);
    dup2(kept, STDOUT_FILENO);
    close(file);
    close(kept);
    CHECK_OK(streamed);
    check_content("out", "one two three");
    check_no_piece();

    CHECK_FAILS(tdm_write_file_atomic(in_dir("none/file"), "x", 1), TDM_E_IO, ".tmp: cannot create: ");
    CHECK_MESSAGE(in_dir("none/file."));
    CHECK_OK(tdm_make_dirs(in_dir("folder/inner")));
    CHECK_FAILS(tdm_write_file_atomic(in_dir("folder"), "x", 1), TDM_E_IO, ".tmp: cannot rename: ");
    check_no_piece();
    CHECK_TRUE(tdm_path_is_dir(in_dir("folder/inner")));
    /* when nothing can be written the old content stays */
    struct rlimit before, little;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = before;
    little.rlim_cur = 2;
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &little), 0);
    const tdm_status status = tdm_write_file_atomic(in_dir("file"), "lost", 4);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    CHECK_FAILS(status, TDM_E_IO, ".tmp: cannot write: File too large");
    check_content("file", "short");
    check_no_piece();

    char *long_path = malloc(TDM_PATH_BYTES + 1);
    CHECK_NOT_NULL(long_path);
    memset(long_path, 'x', TDM_PATH_BYTES);
    long_path[TDM_PATH_BYTES] = '\0';
    CHECK_FAILS(tdm_write_file_atomic(long_path, "x", 1), TDM_E_IO, "path is too long");
    CHECK_FAILS(tdm_make_dirs(long_path), TDM_E_IO, "is empty or too long");
    free(long_path);
}

static void test_make_dirs(void **state)
{
    (void)state;
    CHECK_OK(tdm_make_dirs(in_dir("a/b//c/")));
    CHECK_TRUE(tdm_path_is_dir(in_dir("a/b/c")));
    CHECK_OK(tdm_make_dirs(in_dir("a/b/c"))); /* it is there: fine */
    CHECK_FAILS(tdm_make_dirs(""), TDM_E_IO, "is empty or too long");
    CHECK_OK(tdm_write_file_atomic(in_dir("a/file"), "x", 1));
    CHECK_FAILS(tdm_make_dirs(in_dir("a/file")), TDM_E_IO, "a/file: is not a directory");
    CHECK_FAILS(tdm_make_dirs(in_dir("a/file/below")), TDM_E_IO,
                "a/file/below: cannot create the directory: ");
    CHECK_FALSE(tdm_path_is_dir(in_dir("a/file")));
    CHECK_TRUE(tdm_path_exists(in_dir("a/file")));
    CHECK_OK(tdm_make_dirs("/")); /* the root is always there */
}

static void test_remove_tree(void **state)
{
    (void)state;
    CHECK_OK(tdm_remove_tree(in_dir("never there")));
    CHECK_OK(tdm_make_dirs(in_dir("tree/deep/deeper")));
    CHECK_OK(tdm_make_dirs(in_dir("outside")));
    CHECK_OK(tdm_write_file_atomic(in_dir("outside/kept"), "kept", 4));
    CHECK_OK(tdm_write_file_atomic(in_dir("tree/deep/.hidden"), "x", 1));
    CHECK_EQ(symlink(in_dir("outside"), in_dir("tree/link")), 0);
    CHECK_EQ(symlink("nowhere", in_dir("tree/dangling")), 0);
    CHECK_OK(tdm_remove_tree(in_dir("tree")));
    CHECK_FALSE(tdm_path_exists(in_dir("tree")));
    check_content("outside/kept", "kept");             /* links are removed, not followed */
    CHECK_OK(tdm_remove_tree(in_dir("outside/kept"))); /* a single file */
    CHECK_FALSE(tdm_path_exists(in_dir("outside/kept")));
}

static void test_path_join(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"a/b", "c/d", "a/b/c/d"}};
    char out[16];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_OK(tdm_path_join(out, sizeof out, cases[i][0], cases[i][1]));
        CHECK_STR_EQ(out, cases[i][2]);
    }
    CHECK_OK(tdm_path_join(out, sizeof out, "1234567", "9012345"));
    CHECK_EQ(strlen(out), sizeof out - 1); /* it just fits */
    CHECK_FAILS(tdm_path_join(out, sizeof out, "1234567", "90123456"), TDM_E_IO,
                "1234567/90123456: path is too long");
}

static void test_sync(void **state)
{
    (void)state;
    CHECK_OK(tdm_write_file_atomic(in_dir("synced"), "x", 1));
    CHECK_OK(tdm_fsync_path(in_dir("synced")));
    CHECK_OK(tdm_fsync_parent(in_dir("synced")));
    CHECK_OK(tdm_fsync_parent("relative"));
    CHECK_OK(tdm_fsync_parent("/root-level"));
    CHECK_FAILS(tdm_fsync_path(in_dir("missing")), TDM_E_IO, "missing: cannot open to sync: ");
}

/* FIPS 180-4's examples, whole and in pieces. */
static void test_sha256(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[65];
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const size_t length = strlen(known[i].text);
        CHECK_OK(tdm_sha256_buffer(known[i].text, length, hex));
        CHECK_STR_EQ(hex, known[i].hex);
        tdm_sha256 *sha;
        CHECK_OK(tdm_sha256_create(&sha));
        for (size_t k = 0; k < length; k++) tdm_sha256_update(sha, known[i].text + k, 1);
        tdm_sha256_finish(&sha, hex);
        CHECK_NULL(sha);
        CHECK_STR_EQ(hex, known[i].hex);
        CHECK_OK(tdm_write_file_atomic(in_dir("digest"), known[i].text, length));
        CHECK_OK(tdm_sha256_file(in_dir("digest"), hex));
        CHECK_STR_EQ(hex, known[i].hex);
    }
    CHECK_FAILS(tdm_sha256_file(in_dir("missing"), hex), TDM_E_IO, "missing: cannot open: ");
}

static void digest_of(const void *data, int64_t bytes, char digest[65])
{
    CHECK_OK(tdm_write_file_atomic(in_dir("digest"), data, (size_t)bytes));
    CHECK_OK(tdm_file_digest(in_dir("digest"), digest));
}

/* Small files count byte by byte, large ones by their size and a sample that holds both ends. */
static void test_digest(void **state)
{
    (void)state;
    enum { LARGE = (4 << 20) + 999 };
    char *data = calloc(LARGE, 1), one[65], other[65];
    CHECK_NOT_NULL(data);
    const int64_t sizes[] = {0, 1, 4096, 4097, 100000, LARGE - 999, LARGE};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const int64_t bytes = sizes[i], at[] = {0, bytes / 2, bytes - 1};
        digest_of(data, bytes, one);
        digest_of(data, bytes, other);
        CHECK_STR_EQ(other, one);
        for (int k = 0; k < 3 && bytes > 0; k++) {
            if (k == 1 && bytes == LARGE) continue;
            data[at[k]] = 1;
            digest_of(data, bytes, other);
            data[at[k]] = 0;
            CHECK_TRUE(strcmp(one, other) != 0);
        }
        if (bytes > 0) digest_of(data, bytes - 1, other);
        if (bytes > 0) CHECK_TRUE(strcmp(one, other) != 0);
    }
    memset(data + LARGE / 4, 1, LARGE / 2); /* another half */
    digest_of(data, LARGE, other);
    CHECK_TRUE(strcmp(one, other) != 0);
    free(data);
    CHECK_FAILS(tdm_file_digest(in_dir("none"), one), TDM_E_IO, "none: cannot open");
    CHECK_FAILS(tdm_file_digest(dir, one), TDM_E_IO, "cannot read: Is a directory");
}

static int set_up(void **state)
{
    (void)state;
    return scratch_dir(dir, sizeof dir);
}

static int tear_down(void **state)
{
    (void)state;
    return tdm_remove_tree(dir) != TDM_OK;
}

/* Each test has a folder of its own, so that none depends on another. */
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_read),      CASE(test_atomic_write), CASE(test_writers),
        CASE(test_make_dirs), CASE(test_remove_tree),  CASE(test_path_join),
        CASE(test_sync),      CASE(test_sha256),       CASE(test_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
