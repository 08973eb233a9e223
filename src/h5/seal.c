/* The seal: checksums of the whole file, behind what HDF5 takes for the file. HDF5's own checksums leave gaps: that
 * of a chunk of zeros is zero, so that a zeroed block passes for data; large attributes have none.
 *
 *   [0, bytes)          the file as HDF5 knows it
 *   u64 hash[blocks]    XXH64 of each BLOCK_BYTES of it, the last block shorter
 *   u64 magic, bytes, BLOCK_BYTES, XXH64 of the hashes and the three numbers before this one
 *
 * all little endian. HDF5 ignores what stands behind its end of file, and cuts it off when another program writes into
 * the file: such a file has no seal, and neither have those of versions before this. */
#include "h5_impl.h"

#include "tandem/reading.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x314c4145534d4454) /* "TDMSEAL1" in the file */
enum { BLOCK_BYTES = 16 << 10, READ_BYTES = 1 << 20, END_WORDS = 4, SUPERBLOCK_BYTES = 48, SHOWN = 3 };

static int64_t blocks_of(int64_t bytes, int64_t block_bytes)
{
    return bytes / block_bytes + (bytes % block_bytes > 0);
}

/* ---- Bytes of a file ---- */

static tdm_status read_at(int fd, const char *path, void *data, size_t bytes, int64_t at)
{
    for (char *to = data; bytes > 0;) {
        const ssize_t n = pread(fd, to, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        TDM_REQUIRE(n >= 0, TDM_E_FORMAT, "%s: is damaged: byte %lld cannot be read: %s", path, (long long)at,
                    strerror(errno));
        TDM_REQUIRE(n > 0, TDM_E_FORMAT, "%s: is damaged: ends at byte %lld", path, (long long)at);
        to += n;
        at += n;
        bytes -= (size_t)n;
    }
    return TDM_OK;
}

static tdm_status write_at(int fd, const char *path, const void *data, size_t bytes, int64_t at)
{
    for (const char *from = data; bytes > 0;) {
        const ssize_t n = pwrite(fd, from, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        TDM_REQUIRE(n > 0, TDM_E_IO, "%s: cannot write: %s", path, strerror(errno));
        from += n;
        at += n;
        bytes -= (size_t)n;
    }
    return TDM_OK;
}

tdm_status h5_open_bytes(const char *path, int flags, int *fd, int64_t *bytes)
{
    struct stat info;
    *fd = open(path, flags | O_CLOEXEC);
    TDM_REQUIRE(*fd >= 0, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    const int failed = fstat(*fd, &info) != 0 ? errno : !S_ISREG(info.st_mode) ? EISDIR : 0;
    *bytes = failed ? 0 : (int64_t)info.st_size;
    if (!failed) return TDM_OK;
    close(*fd);
    TDM_FAIL(TDM_E_IO, "%s: cannot read: %s", path, strerror(failed));
}

/* ---- Blocks ---- */

/* What is done with the hash of a block. */
typedef struct block_job {
    h5_seal_hashes *seal;
    bool compare;               /* or fill */
    int64_t bad_begin, bad_end; /* the first stretch of blocks that differ; -1: none */
} block_job;

bool h5_block_is_whole(const h5_seal_hashes *seal, int64_t block, const void *data, size_t bytes)
{
    return seal->hash[block] == htole64(tdm_xxh64(data, bytes));
}

static void take_block(block_job *job, int64_t block, const void *data, size_t bytes)
{
    if (!job->compare) {
        job->seal->hash[block] = htole64(tdm_xxh64(data, bytes));
    } else if (!h5_block_is_whole(job->seal, block, data, bytes)) {
        if (job->bad_begin < 0) job->bad_begin = job->bad_end = block;
        if (job->bad_end == block) job->bad_end = block + 1;
    }
}

static tdm_status walk_blocks(int fd, const char *path, int64_t first, int64_t end, block_job *job)
{
    const int64_t block_bytes = job->seal->block_bytes, whole = job->seal->bytes;
    const int64_t step = tdm_max_i64(1, READ_BYTES / block_bytes);
    unsigned char *buffer;
    TDM_TRY(tdm_alloc((size_t)(step * block_bytes), path, (void **)&buffer));
    tdm_status status = TDM_OK;
    for (int64_t at = first; status == TDM_OK && at < end; at += step) {
        const int64_t begin = at * block_bytes, stop = tdm_min_i64(end, at + step);
        const int64_t bytes = tdm_min_i64(whole, stop * block_bytes) - begin;
        if (job->compare) status = tdm_stop_point("while reading %s", path);
        if (status == TDM_OK) status = read_at(fd, path, buffer, (size_t)bytes, begin);
        for (int64_t i = at; status == TDM_OK && i < stop; i++) {
            const int64_t from = (i - at) * block_bytes;
            take_block(job, i, buffer + from, (size_t)tdm_min_i64(block_bytes, bytes - from));
        }
    }
    tdm_free(buffer);
    return status;
}

/* ---- Writing ---- */

static tdm_status append_seal(int fd, const char *path, h5_seal_hashes *made)
{
    uint64_t *end = made->hash + made->blocks;
    end[0] = htole64(MAGIC);
    end[1] = htole64((uint64_t)made->bytes);
    end[2] = htole64((uint64_t)made->block_bytes);
    end[3] = htole64(tdm_xxh64(made->hash, (size_t)(made->blocks + 3) * sizeof *end));
    return write_at(fd, path, made->hash, (size_t)(made->blocks + END_WORDS) * sizeof *end, made->bytes);
}

static tdm_status seal_open(int fd, const char *path, int64_t bytes)
{
    h5_seal_hashes made = {
        .bytes = bytes, .block_bytes = BLOCK_BYTES, .blocks = blocks_of(bytes, BLOCK_BYTES)};
    block_job job = {.seal = &made};
    TDM_TRY(TDM_ALLOC(made.blocks + END_WORDS, &made.hash));
    tdm_status status = walk_blocks(fd, path, 0, made.blocks, &job);
    if (status == TDM_OK) status = append_seal(fd, path, &made);
    tdm_free(made.hash);
    return status;
}

tdm_status h5_seal(const char *path)
{
    int fd;
    int64_t bytes;
    TDM_TRY(h5_open_bytes(path, O_RDWR, &fd, &bytes));
    tdm_status status = seal_open(fd, path, bytes);
    if (status == TDM_OK && fsync(fd) != 0)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot sync: %s", path, strerror(errno));
    if (close(fd) != 0 && status == TDM_OK)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot close: %s", path, strerror(errno));
    return status;
}

/* ---- Reading ---- */

/* Where HDF5 takes the file to end, by a superblock of version 2 or 3, which Tandem writes; -1: it does not say. */
static tdm_status end_by_superblock(int fd, const char *path, int64_t file_bytes, int64_t *end)
{
    unsigned char block[SUPERBLOCK_BYTES];
    *end = -1;
    if (file_bytes < SUPERBLOCK_BYTES) return TDM_OK;
    TDM_TRY(read_at(fd, path, block, sizeof block, 0));
    if (memcmp(block, "\211HDF\r\n\032\n", 8) != 0 || block[8] < 2 || block[8] > 3 || block[9] != 8)
        return TDM_OK;
    uint64_t value;
    memcpy(&value, block + 28, sizeof value);
    *end = (int64_t)tdm_min_i64(INT64_MAX, (int64_t)le64toh(value));
    return TDM_OK;
}

/* A file without a seal at its end: none was written, or it is cut or overwritten. */
static tdm_status check_unsealed(int fd, const char *path, int64_t file_bytes)
{
    int64_t end;
    TDM_TRY(end_by_superblock(fd, path, file_bytes, &end));
    TDM_REQUIRE(end <= file_bytes, TDM_E_FORMAT, "%s: is damaged: truncated: %lld bytes of more than %lld",
                path, (long long)file_bytes, (long long)end);
    TDM_REQUIRE(end < 0 || end == file_bytes, TDM_E_FORMAT,
                "%s: is damaged: the checksums at its end, from byte %lld on, are cut or overwritten", path,
                (long long)end);
    return TDM_OK;
}

static bool is_seal(const uint64_t end[END_WORDS], int64_t file_bytes, h5_seal_hashes *found)
{
    const uint64_t bytes = le64toh(end[1]), block_bytes = le64toh(end[2]);
    if (bytes == 0 || bytes > (uint64_t)file_bytes || block_bytes < 512 || block_bytes > 1 << 26)
        return false;
    found->bytes = (int64_t)bytes;
    found->block_bytes = (int64_t)block_bytes;
    found->blocks = blocks_of(found->bytes, found->block_bytes);
    return found->bytes + (found->blocks + END_WORDS) * (int64_t)sizeof *end == file_bytes;
}

tdm_status h5_read_seal(int fd, const char *path, int64_t file_bytes, h5_seal_hashes *found)
{
    uint64_t end[END_WORDS] = {0};
    TDM_REQUIRE(file_bytes > 0, TDM_E_FORMAT, "%s: is damaged: is empty", path);
    const int64_t at = file_bytes - (int64_t)sizeof end;
    if (at > 0) TDM_TRY(read_at(fd, path, end, sizeof end, at));
    if (le64toh(end[0]) != MAGIC) return check_unsealed(fd, path, file_bytes);
    TDM_REQUIRE(is_seal(end, file_bytes, found), TDM_E_FORMAT,
                "%s: is damaged: the checksums at its end are not those of its %lld bytes", path,
                (long long)file_bytes);
    const size_t words = (size_t)(found->blocks + END_WORDS);
    TDM_TRY(TDM_ALLOC((int64_t)words, &found->hash));
    TDM_TRY(read_at(fd, path, found->hash, words * sizeof *found->hash, found->bytes));
    TDM_REQUIRE(le64toh(found->hash[words - 1]) == tdm_xxh64(found->hash, (words - 1) * sizeof *found->hash),
                TDM_E_FORMAT, "%s: is damaged: the checksums at its end, from byte %lld on, have changed",
                path, (long long)found->bytes);
    return TDM_OK;
}

/* ---- What lies in damaged bytes ---- */

typedef struct place_list {
    tdm_text names;
    int64_t count;
} place_list;

typedef struct place_search {
    int64_t begin, end;   /* bytes of the file */
    place_list there;     /* data sets that have bytes there */
    place_list illegible; /* those of them that HDF5's checksums refuse, too: zeros they let pass */
} place_search;

static tdm_status add_place(place_list *list, const char *name)
{
    if (list->count++ >= SHOWN) return TDM_OK;
    return tdm_text_printf(&list->names, "%s%s", list->count > 1 ? ", " : "", name);
}

/* Chunk number `index` of a grid of chunks overlaps the bytes. */
static bool chunk_overlaps(hid_t set, int ndim, const hsize_t *chunks, const hsize_t *chunk, hsize_t index,
                           const place_search *search)
{
    hsize_t start[H5S_MAX_RANK], bytes = 0;
    haddr_t address = HADDR_UNDEF;
    for (int i = ndim - 1; i >= 0; i--) {
        start[i] = index % chunks[i] * chunk[i];
        index /= chunks[i];
    }
    return H5Dget_chunk_info_by_coord(set, start, NULL, &address, &bytes) >= 0 && address != HADDR_UNDEF &&
           address < (haddr_t)search->end && address + bytes > (haddr_t)search->begin;
}

static bool set_overlaps(hid_t set, const place_search *search)
{
    hsize_t dims[H5S_MAX_RANK], chunk[H5S_MAX_RANK], chunks[H5S_MAX_RANK], all = 1;
    const hid_t list = H5Dget_create_plist(set), space = H5Dget_space(set);
    const int ndim = space >= 0 ? H5Sget_simple_extent_dims(space, dims, NULL) : -1;
    bool found = false;
    if (list >= 0 && ndim > 0 && H5Pget_layout(list) == H5D_CHUNKED &&
        H5Pget_chunk(list, H5S_MAX_RANK, chunk) == ndim) {
        for (int i = 0; i < ndim; i++) all *= chunks[i] = (dims[i] + chunk[i] - 1) / chunk[i];
        for (hsize_t i = 0; i < all && !found; i++)
            found = chunk_overlaps(set, ndim, chunks, chunk, i, search);
    }
    if (list >= 0) H5Pclose(list);
    if (space >= 0) H5Sclose(space);
    return found;
}

static tdm_status search_set(const tdm_h5 *file, const char *path, hid_t set, void *context)
{
    place_search *search = context;
    if (!set_overlaps(set, search)) return TDM_OK;
    TDM_TRY(add_place(&search->there, path));
    return h5_verify_set(file, path, set) == TDM_OK ? TDM_OK : add_place(&search->illegible, path);
}

/* The data sets in these bytes, as far as the file can still be walked. */
static tdm_status name_places(const char *path, place_search *search)
{
    tdm_h5 *file;
    tdm_status walked = tdm_h5_open(path, NULL, 0, &file);
    if (walked == TDM_OK) walked = h5_visit_datasets(file, search_set, search);
    tdm_h5_discard(&file);
    if (walked != TDM_OK || search->there.count == 0)
        TDM_TRY(add_place(&search->there, "the file's structure"));
    return TDM_OK;
}

tdm_status h5_report_blocks(const char *path, const h5_seal_hashes *seal, int64_t first, int64_t last)
{
    const int64_t begin = first * seal->block_bytes;
    const int64_t end = tdm_min_i64(seal->bytes, last * seal->block_bytes);
    place_search search = {.begin = begin, .end = end};
    tdm_status status = name_places(path, &search);
    const place_list *list = search.illegible.count > 0 ? &search.illegible : &search.there;
    const int64_t others = tdm_max_i64(search.there.count, list->count) - tdm_min_i64(list->count, SHOWN);
    char more[48] = "";
    if (others > 0) snprintf(more, sizeof more, " and up to %lld more", (long long)others);
    if (status == TDM_OK)
        status = TDM_ERROR(TDM_E_FORMAT,
                           "%s: is damaged: bytes %lld to %lld have changed since it was written (%s%s)",
                           path, (long long)begin, (long long)end - 1, list->names.data, more);
    tdm_text_free(&search.there.names);
    tdm_text_free(&search.illegible.names);
    return status;
}

/* ---- Comparing ---- */

static tdm_status compare_part(int fd, const char *path, int64_t file_bytes, int64_t part, int64_t parts,
                               h5_seal_hashes *found)
{
    TDM_TRY(h5_read_seal(fd, path, file_bytes, found));
    if (found->hash == NULL) return TDM_OK;
    block_job job = {.seal = found, .compare = true, .bad_begin = -1};
    TDM_TRY(walk_blocks(fd, path, tdm_part_begin(found->blocks, parts, part),
                        tdm_part_begin(found->blocks, parts, part + 1), &job));
    return job.bad_begin < 0 ? TDM_OK : h5_report_blocks(path, found, job.bad_begin, job.bad_end);
}

tdm_status tdm_h5_compare_seal(const char *path, int64_t part, int64_t parts, bool *sealed)
{
    int fd;
    int64_t bytes;
    h5_seal_hashes found = {0};
    *sealed = false;
    TDM_TRY(h5_open_bytes(path, O_RDONLY, &fd, &bytes));
    const tdm_status status = compare_part(fd, path, bytes, part, parts, &found);
    *sealed = found.hash != NULL;
    tdm_free(found.hash);
    close(fd);
    return status;
}

tdm_status tdm_h5_digest(const char *path, char digest[65])
{
    int fd;
    int64_t bytes;
    uint64_t end[END_WORDS] = {0};
    h5_seal_hashes found = {0};
    TDM_TRY(h5_open_bytes(path, O_RDONLY, &fd, &bytes));
    const int64_t at = bytes - (int64_t)sizeof end;
    const tdm_status status = at > 0 ? read_at(fd, path, end, sizeof end, at) : TDM_OK;
    close(fd);
    TDM_TRY(status);
    if (le64toh(end[0]) != MAGIC || !is_seal(end, bytes, &found)) return tdm_file_digest(path, digest);
    snprintf(digest, 65, "seal %016llx of %lld bytes", (unsigned long long)le64toh(end[3]), (long long)bytes);
    return TDM_OK;
}

bool h5_ends_with_seal(const char *path)
{
    int fd;
    int64_t bytes;
    uint64_t magic = 0;
    if (h5_open_bytes(path, O_RDONLY, &fd, &bytes) != TDM_OK) return false;
    const int64_t at = bytes - END_WORDS * (int64_t)sizeof magic;
    const bool sealed =
        at > 0 && read_at(fd, path, &magic, sizeof magic, at) == TDM_OK && le64toh(magic) == MAGIC;
    close(fd);
    return sealed;
}
