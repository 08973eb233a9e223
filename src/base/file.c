#include "tandem/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/evp.h>

tdm_status tdm_read_file(const char *path, tdm_text *text)
{
    FILE *file = fopen(path, "rb");
    TDM_REQUIRE(file, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    char block[65536];
    size_t n;
    tdm_status status = tdm_text_append(text, "", 0);
    while (status == TDM_OK && (n = fread(block, 1, sizeof(block), file)) > 0)
        status = tdm_text_append(text, block, n);
    if (status == TDM_OK && ferror(file))
        status = TDM_ERROR(TDM_E_IO, "%s: cannot read: %s", path, strerror(errno));
    fclose(file);
    return status;
}

void tdm_read_line(const char *path, char *line, size_t bytes)
{
    FILE *file = fopen(path, "r");
    line[0] = '\0';
    if (file == NULL) return;
    if (fgets(line, (int)bytes, file) == NULL) line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    fclose(file);
}

tdm_status tdm_refuse_lfs_pointer(const char *path, const void *data, size_t bytes)
{
    static const char begin[] = "version https://git-lfs";
    TDM_REQUIRE(bytes < sizeof begin - 1 || memcmp(data, begin, sizeof begin - 1) != 0, TDM_E_FORMAT,
                "%s: is a Git LFS pointer, not the file itself: run `git lfs pull` where it came from", path);
    return TDM_OK;
}

tdm_status tdm_fsync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    TDM_REQUIRE(fd >= 0, TDM_E_IO, "%s: cannot open to sync: %s", path, strerror(errno));
    int failed = fsync(fd) ? errno : 0;
    close(fd);
    /* some file systems cannot sync a directory; the rename is then as durable as they make it */
    TDM_REQUIRE(!failed || failed == EINVAL, TDM_E_IO, "%s: cannot sync: %s", path, strerror(failed));
    return TDM_OK;
}

tdm_status tdm_fsync_parent(const char *path)
{
    char dir[TDM_PATH_BYTES];
    snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash) *slash = '\0';
    return tdm_fsync_path(!slash ? "." : dir[0] ? dir : "/");
}

static tdm_status write_bytes(int fd, const char *path, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        TDM_REQUIRE(n > 0, TDM_E_IO, "%s: cannot write: %s", path, strerror(errno));
        at += n;
        bytes -= (size_t)n;
    }
    return TDM_OK;
}

static tdm_status write_all(int fd, const char *path, const void *data, size_t bytes)
{
    TDM_TRY(write_bytes(fd, path, data, bytes));
    TDM_REQUIRE(fsync(fd) == 0, TDM_E_IO, "%s: cannot sync: %s", path, strerror(errno));
    return TDM_OK;
}

bool tdm_path_is_device(const char *path)
{
    struct stat info, itself;
    if (stat(path, &info) != 0 || lstat(path, &itself) != 0) return false;
    if (!S_ISREG(info.st_mode)) return !S_ISDIR(info.st_mode);
    /* /dev/stdout leads to a file when the shell sends it there; what lies in /dev/shm is a user's */
    const bool in_dev = strncmp(path, "/dev/", 5) == 0 && strncmp(path, "/dev/shm/", 9) != 0;
    return (S_ISLNK(itself.st_mode) && in_dev) || strncmp(path, "/proc/", 6) == 0;
}

int tdm_device_open(const char *path)
{
    int fd = -1;
    if (strcmp(path, "/dev/stdout") == 0) fd = STDOUT_FILENO;
    if (strcmp(path, "/dev/stderr") == 0) fd = STDERR_FILENO;
    if (fd < 0) return open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd == STDOUT_FILENO) fflush(stdout);
    return fcntl(fd, F_DUPFD_CLOEXEC, 0); /* opened anew, a file would be written to from its own place */
}

static tdm_status write_to_device(const char *path, const void *data, size_t bytes)
{
    const int fd = tdm_device_open(path);
    TDM_REQUIRE(fd >= 0, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    const tdm_status status = write_bytes(fd, path, data, bytes);
    close(fd);
    return status;
}

/* A new file for what becomes `path`, under a name that no other writer of `path` has, on whichever host. */
static tdm_status create_beside(const char *path, char temporary[TDM_PATH_BYTES], int *fd)
{
    for (int i = 0; i < 100; i++) {
        unsigned number = 0;
        TDM_REQUIRE(getrandom(&number, sizeof(number), 0) == sizeof(number), TDM_E_LIBRARY,
                    "the system gives no random bytes: %s", strerror(errno));
        const int length = snprintf(temporary, TDM_PATH_BYTES, "%s.%08x.tmp", path, number);
        TDM_REQUIRE(length > 0 && length < TDM_PATH_BYTES, TDM_E_IO, "%.200s…: path is too long", path);
        *fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*fd >= 0 || errno != EEXIST) break;
    }
    TDM_REQUIRE(*fd >= 0, TDM_E_IO, "%s: cannot create: %s", temporary, strerror(errno));
    return TDM_OK;
}

tdm_status tdm_write_file_atomic(const char *path, const void *data, size_t bytes)
{
    char temporary[TDM_PATH_BYTES], *target = NULL;
    int fd = -1;
    if (tdm_path_is_device(path)) return write_to_device(path, data, bytes);
    struct stat itself;
    if (lstat(path, &itself) == 0 && S_ISLNK(itself.st_mode) && (target = realpath(path, NULL)) != NULL) {
        const tdm_status status = tdm_write_file_atomic(target, data, bytes);
        free(target);
        return status;
    }
    TDM_TRY(create_beside(path, temporary, &fd));
    tdm_status status = write_all(fd, temporary, data, bytes);
    close(fd);
    if (status == TDM_OK && rename(temporary, path))
        status = TDM_ERROR(TDM_E_IO, "%s: cannot rename: %s", temporary, strerror(errno));
    if (status != TDM_OK) {
        unlink(temporary);
        return status;
    }
    return tdm_fsync_parent(path);
}

tdm_status tdm_make_dirs(const char *path)
{
    char partial[TDM_PATH_BYTES];
    size_t length = strlen(path);
    TDM_REQUIRE(length > 0 && length < sizeof(partial), TDM_E_IO, "%.200s: path is empty or too long", path);
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (partial[i] != '/' && partial[i] != '\0') continue;
        char kept = partial[i];
        partial[i] = '\0';
        TDM_REQUIRE(mkdir(partial, 0777) == 0 || errno == EEXIST, TDM_E_IO,
                    "%s: cannot create the directory: %s", partial, strerror(errno));
        partial[i] = kept;
    }
    TDM_REQUIRE(tdm_path_is_dir(path), TDM_E_IO, "%s: is not a directory", path);
    return TDM_OK;
}

tdm_status tdm_path_join(char *out, size_t bytes, const char *dir, const char *name)
{
    size_t length = strlen(dir);
    const char *between = length && dir[length - 1] == '/' ? "" : "/";
    int written = snprintf(out, bytes, "%s%s%s", dir, between, name);
    TDM_REQUIRE(written >= 0 && (size_t)written < bytes, TDM_E_IO, "%.200s/%.200s: path is too long", dir,
                name);
    return TDM_OK;
}

tdm_status tdm_remove_tree(const char *path)
{
    struct stat info;
    if (lstat(path, &info)) {
        TDM_REQUIRE(errno == ENOENT, TDM_E_IO, "%s: cannot look at it: %s", path, strerror(errno));
        return TDM_OK;
    }
    if (S_ISDIR(info.st_mode)) {
        DIR *dir = opendir(path);
        TDM_REQUIRE(dir, TDM_E_IO, "%s: cannot list: %s", path, strerror(errno));
        tdm_status status = TDM_OK;
        struct dirent *entry;
        while (status == TDM_OK && (entry = readdir(dir))) {
            if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
            char inner[TDM_PATH_BYTES];
            status = tdm_path_join(inner, sizeof(inner), path, entry->d_name);
            if (status == TDM_OK) status = tdm_remove_tree(inner);
        }
        closedir(dir);
        TDM_TRY(status);
    }
    TDM_REQUIRE(remove(path) == 0 || errno == ENOENT, TDM_E_IO, "%s: cannot remove: %s", path,
                strerror(errno));
    return TDM_OK;
}

bool tdm_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool tdm_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

struct tdm_sha256 {
    EVP_MD_CTX *context;
};

tdm_status tdm_sha256_create(tdm_sha256 **sha)
{
    TDM_TRY(TDM_ALLOC(1, sha));
    (*sha)->context = EVP_MD_CTX_new();
    if (!(*sha)->context || EVP_DigestInit_ex((*sha)->context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free((*sha)->context);
        tdm_free(*sha);
        *sha = NULL;
        TDM_FAIL(TDM_E_LIBRARY, "cannot start SHA-256");
    }
    return TDM_OK;
}

void tdm_sha256_update(tdm_sha256 *sha, const void *data, size_t bytes)
{
    EVP_DigestUpdate(sha->context, data, bytes);
}

void tdm_sha256_finish(tdm_sha256 **sha, char hex[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    EVP_DigestFinal_ex((*sha)->context, digest, NULL);
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    EVP_MD_CTX_free((*sha)->context);
    tdm_free(*sha);
    *sha = NULL;
}

tdm_status tdm_sha256_buffer(const void *data, size_t bytes, char hex[65])
{
    tdm_sha256 *sha;
    TDM_TRY(tdm_sha256_create(&sha));
    tdm_sha256_update(sha, data, bytes);
    tdm_sha256_finish(&sha, hex);
    return TDM_OK;
}

tdm_status tdm_sha256_file(const char *path, char hex[65])
{
    FILE *file = fopen(path, "rb");
    TDM_REQUIRE(file, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    tdm_sha256 *sha;
    tdm_status status = tdm_sha256_create(&sha);
    if (status == TDM_OK) {
        char block[65536];
        size_t n;
        while ((n = fread(block, 1, sizeof(block), file)) > 0) tdm_sha256_update(sha, block, n);
        tdm_sha256_finish(&sha, hex);
        if (ferror(file)) status = TDM_ERROR(TDM_E_IO, "%s: cannot read", path);
    }
    fclose(file);
    return status;
}
