#include "h5_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* HDF5's exit handler closes again what could not be closed because the disk was full, and crashes in that
 * (1.10.8, H5F__close_cb). Everything is closed explicitly, so the handler is not needed; it can only be
 * declined before HDF5 is first used. */
__attribute__((constructor)) static void decline_exit_handler(void)
{
    H5dont_atexit();
}

/* ---- Messages ---- */

void h5_quiet(void)
{
    static _Thread_local bool quiet;
    if (!quiet) quiet = H5Eset_auto2(H5E_DEFAULT, NULL, NULL) >= 0;
}

typedef struct reason {
    char text[256];
    bool checksum;
    bool foreign; /* the file is whole, but needs what this library lacks */
} reason;

static herr_t visit_reason(unsigned n, const H5E_error2_t *entry, void *client)
{
    reason *found = client;
    const char *text = entry->desc != NULL ? entry->desc : "unknown HDF5 error";
    if (n == 0) { /* the innermost; system errors stand as: … error message = 'No space left on device', … */
        const char *system = strstr(text, "error message = '");
        snprintf(found->text, sizeof found->text, "%s", system != NULL ? system + 17 : text);
        if (system != NULL) found->text[strcspn(found->text, "'")] = '\0';
    }
    /* HDF5 1.10 names the filter, 1.14 only says that one failed; Tandem uses none but Fletcher-32. */
    if (strstr(text, "Fletcher32") != NULL || strstr(text, "checksum") != NULL ||
        strstr(text, "filter returned failure during read") != NULL)
        found->checksum = true;
    if (strstr(text, "is not registered") != NULL) found->foreign = true;
    return 0;
}

tdm_status h5_cannot(tdm_status code, const char *path, const char *doing, const char *name)
{
    reason found = {.text = "unknown HDF5 error"};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, visit_reason, &found);
    TDM_FAIL(code, "%s: %scannot %s%s: %s", path,
             code == TDM_E_FORMAT && !found.foreign ? "is damaged: " : "", doing, name,
             found.checksum && !found.foreign ? "checksum error" : found.text);
}

/* ---- Opening ---- */

/* Closing a file closes all that is open in it; no file locks, which some cluster file systems refuse and
 * which writing under a temporary name makes needless; the bound puts checksums on HDF5's own metadata, and
 * keeps files of later libraries readable by 1.10. */
static hid_t access_list(int64_t alignment)
{
    const hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (list < 0) return list;
    if (H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) >= 0 && H5Pset_file_locking(list, false, true) >= 0 &&
        H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
        (alignment <= 1 || H5Pset_alignment(list, 1, (hsize_t)alignment) >= 0))
        return list;
    H5Pclose(list);
    return H5I_INVALID_HID;
}

static tdm_status allocate(const char *path, tdm_h5 **file)
{
    const size_t length = strlen(path);
    TDM_REQUIRE(length < TDM_PATH_BYTES, TDM_E_IO, "%.200s…: path is too long", path);
    TDM_TRY(tdm_alloc(sizeof(tdm_h5) + length + 1, path, (void **)file));
    (*file)->id = H5I_INVALID_HID;
    memcpy((*file)->path, path, length + 1);
    return TDM_OK;
}

void tdm_h5_library(char out[24])
{
    unsigned major = 0, minor = 0, release = 0;
    (void)H5get_libversion(&major, &minor, &release);
    snprintf(out, 24, "%u.%u.%u", major, minor, release);
}

static tdm_status create_file(tdm_h5 *file, const char *format, int64_t version, int64_t alignment)
{
    const hid_t access = access_list(alignment), create = H5Pcreate(H5P_FILE_CREATE);
    if (access >= 0 && create >= 0 && H5Pset_obj_track_times(create, false) >= 0)
        file->id = H5Fcreate(file->path, H5F_ACC_TRUNC, create, access);
    const tdm_status status = file->id < 0 ? h5_cannot(TDM_E_IO, file->path, "create", "") : TDM_OK;
    if (access >= 0) H5Pclose(access);
    if (create >= 0) H5Pclose(create);
    TDM_TRY(status);
    TDM_TRY(tdm_h5_put_text(file, "format", format));
    TDM_TRY(tdm_h5_put_i64(file, "version", version));
    return tdm_h5_put_text(file, "tool_version", TDM_VERSION);
}

static tdm_status create(const char *path, const char *format, int64_t version, int64_t alignment,
                         tdm_h5 **file)
{
    h5_quiet();
    *file = NULL;
    TDM_TRY(allocate(path, file));
    const tdm_status status = create_file(*file, format, version, alignment);
    if (status != TDM_OK) tdm_h5_discard(file);
    return status;
}

tdm_status tdm_h5_create(const char *path, const char *format, int64_t version, tdm_h5 **file)
{
    return create(path, format, version, 1, file);
}

tdm_status tdm_h5_create_aligned(const char *path, const char *format, int64_t version, tdm_h5 **file)
{
    enum { CACHE_LINE = 64 };
    return create(path, format, version, CACHE_LINE, file);
}

/* A file that is HDF5's no longer: Tandem's checksums are at its end, or zeros where it should begin. */
static tdm_status check_hdf5(const char *path)
{
    static const char zeros[512];
    char begin[sizeof zeros] = "?";
    if (H5Fis_hdf5(path) > 0) return TDM_OK;
    FILE *file = fopen(path, "rb");
    const size_t n = file != NULL ? fread(begin, 1, sizeof begin, file) : 0;
    if (file != NULL) fclose(file);
    TDM_REQUIRE(!h5_ends_with_seal(path), TDM_E_FORMAT, "%s: is damaged: its beginning was overwritten",
                path);
    TDM_REQUIRE(n == 0 || memcmp(begin, zeros, n) != 0, TDM_E_FORMAT, "%s: is damaged: begins with zeros",
                path);
    TDM_FAIL(TDM_E_FORMAT, "%s: is not an HDF5 file, or damaged where it begins", path);
}

static tdm_status open_file(tdm_h5 *file)
{
    const char *path = file->path;
    struct stat info;
    TDM_REQUIRE(stat(path, &info) == 0, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    TDM_REQUIRE(S_ISREG(info.st_mode), TDM_E_IO, "%s: is not a file", path);
    TDM_REQUIRE(faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0, TDM_E_IO, "%s: cannot open: %s", path,
                strerror(errno));
    TDM_REQUIRE(info.st_size > 0, TDM_E_FORMAT, "%s: is empty", path);
    TDM_TRY(check_hdf5(path));
    const hid_t access = access_list(1);
    if (access >= 0) file->id = H5Fopen(path, H5F_ACC_RDONLY, access);
    const tdm_status status = file->id < 0 ? h5_cannot(TDM_E_FORMAT, path, "open", "") : TDM_OK;
    if (access >= 0) H5Pclose(access);
    return status;
}

static tdm_status check_format(const tdm_h5 *file, const char *format, int64_t version)
{
    char found[64];
    int64_t found_version;
    const htri_t exists = H5Aexists(file->id, "format");
    if (exists < 0) return h5_cannot(TDM_E_FORMAT, file->path, "look for its format", "");
    TDM_REQUIRE(exists > 0, TDM_E_FORMAT, "%s: has no format attribute, expected \"%s\"", file->path, format);
    TDM_TRY(tdm_h5_get_chars(file, "format", found, sizeof found));
    TDM_REQUIRE(strcmp(found, format) == 0, TDM_E_FORMAT, "%s: format attribute is \"%s\", expected \"%s\"",
                file->path, found, format);
    TDM_TRY(tdm_h5_get_i64(file, "version", &found_version));
    TDM_REQUIRE(found_version == version, TDM_E_FORMAT,
                "%s: %s version %lld, this program reads version %lld", file->path, format,
                (long long)found_version, (long long)version);
    return TDM_OK;
}

tdm_status tdm_h5_open(const char *path, const char *format, int64_t version, tdm_h5 **file)
{
    h5_quiet();
    *file = NULL;
    TDM_TRY(allocate(path, file));
    tdm_status status = open_file(*file);
    if (status == TDM_OK && format != NULL) status = check_format(*file, format, version);
    if (status != TDM_OK) tdm_h5_discard(file);
    return status;
}

const char *tdm_h5_path(const tdm_h5 *file)
{
    return file->path;
}

/* ---- Closing ---- */

static void release(tdm_h5 **file)
{
    for (tdm_h5_array *array = (*file)->array, *next; array != NULL; array = next) {
        next = array->next;
        tdm_free(array);
    }
    tdm_free(*file);
    *file = NULL;
}

tdm_status tdm_h5_finish(tdm_h5 **file)
{
    const char *path = (*file)->path;
    h5_quiet();
    if (H5Fflush((*file)->id, H5F_SCOPE_GLOBAL) < 0) return h5_cannot(TDM_E_IO, path, "write", "");
    if (H5Fclose((*file)->id) < 0) return h5_cannot(TDM_E_IO, path, "close", "");
    (*file)->id = H5I_INVALID_HID;
    TDM_TRY(h5_seal(path));
    release(file);
    return TDM_OK;
}

/* When a write has failed (disk full), HDF5 1.10 cannot close the file, whose last blocks it still wants to
 * write. So its descriptor is pointed at memory, where those last writes succeed. */
static void divert(hid_t file)
{
    void *handle = NULL;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0 || handle == NULL) return;
    const int memory = memfd_create("tandem-discarded", MFD_CLOEXEC);
    if (memory < 0) return;
    (void)dup2(memory, *(int *)handle);
    close(memory);
}

static void close_discarded(hid_t file)
{
    unsigned intent = H5F_ACC_RDONLY;
    struct rlimit limit;
    (void)H5Fget_intent(file, &intent);
    const bool writing = (intent & H5F_ACC_RDWR) != 0;
    const bool limited = writing && getrlimit(RLIMIT_FSIZE, &limit) == 0;
    if (limited) { /* the limit may be what failed */
        const struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        (void)setrlimit(RLIMIT_FSIZE, &raised);
    }
    if (writing) divert(file);
    H5Fclose(file);
    if (limited) (void)setrlimit(RLIMIT_FSIZE, &limit);
}

void tdm_h5_discard(tdm_h5 **file)
{
    if (*file == NULL) return;
    h5_quiet();
    if ((*file)->id >= 0) close_discarded((*file)->id);
    release(file);
}
