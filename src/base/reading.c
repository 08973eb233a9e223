#include "tandem/reading.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The list ---- */

tdm_status tdm_reading_add(tdm_reading *reading, const char *what, const char *path, const char *value)
{
    const char *const part[] = {what, path, value};
    for (int i = 0; i < 3; i++) TDM_TRY(tdm_text_append(&reading->rows, part[i], strlen(part[i]) + 1));
    return TDM_OK;
}

tdm_status tdm_reading_add_file(tdm_reading *reading, const char *what, const char *path)
{
    char digest[65];
    TDM_TRY(tdm_file_digest(path, digest));
    return tdm_reading_add(reading, what, path, digest);
}

bool tdm_reading_next(const tdm_reading *reading, size_t *at, tdm_fact *fact)
{
    const char **const part[] = {&fact->what, &fact->path, &fact->value};
    if (*at >= reading->rows.length) return false;
    for (int i = 0; i < 3; i++) {
        *part[i] = reading->rows.data + *at;
        *at += strlen(*part[i]) + 1;
    }
    return true;
}

void tdm_reading_free(tdm_reading *reading)
{
    tdm_text_free(&reading->rows);
}

/* ---- The content of a file ---- */

enum { BLOCK_BYTES = 4 << 10, BLOCKS = 128, WHOLE_BYTES = 4 << 20 };

static tdm_status digest_block(int fd, const char *path, int64_t at, int64_t bytes, tdm_sha256 *sha)
{
    char block[BLOCK_BYTES];
    while (bytes > 0) {
        const ssize_t n = pread(fd, block, (size_t)tdm_min_i64(bytes, BLOCK_BYTES), (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        TDM_REQUIRE(n >= 0, TDM_E_IO, "%s: cannot read: %s", path, strerror(errno));
        TDM_REQUIRE(n > 0, TDM_E_IO, "%s: became shorter while it was read", path);
        tdm_sha256_update(sha, block, (size_t)n);
        at += n;
        bytes -= n;
    }
    return TDM_OK;
}

static tdm_status digest_content(int fd, const char *path, int64_t bytes, tdm_sha256 *sha)
{
    tdm_sha256_update(sha, &bytes, sizeof bytes);
    if (bytes <= WHOLE_BYTES) return digest_block(fd, path, 0, bytes, sha);
    for (int64_t i = 0; i < BLOCKS; i++)
        TDM_TRY(digest_block(fd, path, (bytes - BLOCK_BYTES) / (BLOCKS - 1) * i, BLOCK_BYTES, sha));
    return digest_block(fd, path, bytes - BLOCK_BYTES, BLOCK_BYTES, sha);
}

static tdm_status digest_open(int fd, const char *path, char hex[65])
{
    struct stat info;
    tdm_sha256 *sha;
    TDM_REQUIRE(fstat(fd, &info) == 0, TDM_E_IO, "%s: cannot read: %s", path, strerror(errno));
    TDM_REQUIRE(!S_ISDIR(info.st_mode), TDM_E_IO, "%s: cannot read: %s", path, strerror(EISDIR));
    TDM_TRY(tdm_sha256_create(&sha));
    const tdm_status status = digest_content(fd, path, (int64_t)info.st_size, sha);
    tdm_sha256_finish(&sha, hex);
    return status;
}

tdm_status tdm_file_digest(const char *path, char hex[65])
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    TDM_REQUIRE(fd >= 0, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    const tdm_status status = digest_open(fd, path, hex);
    close(fd);
    return status;
}
