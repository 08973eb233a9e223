/* A sealed file in memory, read only. Blocks are compared with the seal when they are first asked for, so that what is
 * not needed is not read. */
#include "h5_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if !defined(MADV_POPULATE_READ)
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

enum { STRETCH_BYTES = 8 << 20 }; /* read at once */

struct tdm_h5_map {
    const unsigned char *base; /* NULL: not mapped */
    int64_t file_bytes;
    h5_seal_hashes seal;
    bool *is_whole; /* [seal.blocks] compared before */
    dev_t device;
    ino_t inode;
    char path[TDM_PATH_BYTES];
};

void tdm_h5_map_close(tdm_h5_map **map)
{
    tdm_h5_map *dying = *map;
    *map = NULL;
    if (dying == NULL) return;
    if (dying->base != NULL) munmap((void *)(uintptr_t)dying->base, (size_t)dying->file_bytes);
    tdm_free(dying->seal.hash);
    tdm_free(dying->is_whole);
    tdm_free(dying);
}

static tdm_status map_sealed(int fd, tdm_h5_map *map)
{
    struct stat file;
    TDM_REQUIRE(fstat(fd, &file) == 0, TDM_E_IO, "%s: %s", map->path, strerror(errno));
    map->device = file.st_dev;
    map->inode = file.st_ino;
    TDM_TRY(h5_read_seal(fd, map->path, map->file_bytes, &map->seal));
    if (map->seal.hash == NULL) return TDM_OK;
    TDM_TRY(TDM_ALLOC(map->seal.blocks, &map->is_whole));
    void *base = mmap(NULL, (size_t)map->file_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (base != MAP_FAILED) map->base = base; /* some file systems cannot */
    return TDM_OK;
}

tdm_status tdm_h5_map_open(const char *path, tdm_h5_map **map)
{
    int fd;
    int64_t bytes;
    *map = NULL;
    TDM_REQUIRE(strlen(path) < TDM_PATH_BYTES, TDM_E_IO, "%.200s…: path is too long", path);
    TDM_TRY(h5_open_bytes(path, O_RDONLY, &fd, &bytes));
    tdm_status status = TDM_ALLOC(1, map);
    if (status == TDM_OK) {
        (*map)->file_bytes = bytes;
        strcpy((*map)->path, path);
        status = map_sealed(fd, *map);
    }
    close(fd);
    if (status != TDM_OK || (*map)->base == NULL) tdm_h5_map_close(map);
    return status;
}

tdm_status tdm_h5_map_check_name(const tdm_h5_map *map)
{
    struct stat file;
    if (stat(map->path, &file) != 0) return TDM_OK; /* removed, or out of reach: what is mapped stays */
    TDM_REQUIRE(file.st_dev == map->device && file.st_ino == map->inode, TDM_E_IO,
                "%s: was replaced while it was opened", map->path);
    return TDM_OK;
}

const void *tdm_h5_map_bytes(const tdm_h5_map *map)
{
    return map->base;
}

/* Brings the bytes in. An access to what the disk does not give back would be a signal; this is an error. */
static tdm_status bring_in(const tdm_h5_map *map, int64_t begin, int64_t end)
{
    const int64_t page = sysconf(_SC_PAGESIZE), first = begin / page * page;
    void *at = (void *)(uintptr_t)(map->base + first);
    if (madvise(at, (size_t)(end - first), MADV_POPULATE_READ) == 0 || errno == EINVAL) return TDM_OK;
    TDM_REQUIRE(errno != ENOMEM && errno != EAGAIN, TDM_E_NOMEM, "%s: no memory for bytes %lld to %lld",
                map->path, (long long)first, (long long)end - 1);
    TDM_FAIL(TDM_E_FORMAT, "%s: is damaged: bytes %lld to %lld cannot be read: %s", map->path,
             (long long)first, (long long)end - 1, strerror(errno));
}

/* Blocks [first, end). */
static tdm_status compare_blocks(tdm_h5_map *map, int64_t first, int64_t end)
{
    const h5_seal_hashes *seal = &map->seal;
    int64_t bad_begin = -1, bad_end = -1;
    for (int64_t i = first; i < end; i++) {
        const int64_t begin = i * seal->block_bytes;
        const int64_t stop = tdm_min_i64(seal->bytes, begin + seal->block_bytes);
        if (map->is_whole[i]) continue;
        map->is_whole[i] = h5_block_is_whole(seal, i, map->base + begin, (size_t)(stop - begin));
        if (map->is_whole[i]) continue;
        if (bad_begin < 0) bad_begin = bad_end = i;
        if (bad_end == i) bad_end = i + 1;
    }
    return bad_begin < 0 ? TDM_OK : h5_report_blocks(map->path, seal, bad_begin, bad_end);
}

tdm_status tdm_h5_map_compare(tdm_h5_map *map, int64_t begin, int64_t end)
{
    const h5_seal_hashes *seal = &map->seal;
    TDM_REQUIRE(begin >= 0 && end <= seal->bytes, TDM_E_FORMAT, "%s: has no bytes %lld to %lld", map->path,
                (long long)begin, (long long)end - 1);
    const int64_t stretch = tdm_max_i64(1, STRETCH_BYTES / seal->block_bytes);
    const int64_t last = begin < end ? (end - 1) / seal->block_bytes + 1 : 0;
    for (int64_t i = begin / seal->block_bytes; i < last; i += stretch) {
        const int64_t stop = tdm_min_i64(last, i + stretch);
        TDM_TRY(tdm_stop_point("while reading %s", map->path));
        TDM_TRY(bring_in(map, i * seal->block_bytes, tdm_min_i64(seal->bytes, stop * seal->block_bytes)));
        TDM_TRY(compare_blocks(map, i, stop));
    }
    return TDM_OK;
}

int64_t tdm_h5_map_end(const tdm_h5_map *map)
{
    return map->seal.bytes;
}

/* ---- Where an array stands ---- */

/* One chunk that holds all, unchanged but for the checksum behind it. */
static bool is_one_piece(hid_t set, int ndim, const hsize_t *dims, haddr_t *address)
{
    hsize_t chunk[TDM_H5_MAX_DIMS], zero[TDM_H5_MAX_DIMS] = {0}, bytes = 0;
    unsigned filters = 0, flags;
    size_t values = 0;
    const hid_t list = H5Dget_create_plist(set);
    if (list < 0) return false;
    bool one = H5Pget_layout(list) == H5D_CHUNKED && H5Pget_chunk(list, ndim, chunk) == ndim &&
               H5Pget_nfilters(list) == 1 &&
               H5Pget_filter2(list, 0, &flags, &values, NULL, 0, NULL, NULL) == H5Z_FILTER_FLETCHER32;
    for (int i = 0; one && i < ndim; i++) one = chunk[i] == dims[i];
    one = one && H5Dget_chunk_info_by_coord(set, zero, &filters, address, &bytes) >= 0 &&
          *address != HADDR_UNDEF;
    H5Pclose(list);
    return one;
}

static bool is_f32_of_this_machine(hid_t set)
{
    const hid_t type = H5Dget_type(set);
    const bool is = type >= 0 && H5Tequal(type, H5T_NATIVE_FLOAT) > 0;
    if (type >= 0) H5Tclose(type);
    return is;
}

typedef struct place_list {
    const tdm_h5 *file;
    const char *group;
    tdm_h5_place *place;
    int64_t count, room;
    tdm_status status;
} place_list;

static tdm_status fill_place(const place_list *list, const char *name, hid_t set, tdm_h5_place *to)
{
    hsize_t dims[TDM_H5_MAX_DIMS], elements;
    haddr_t address = HADDR_UNDEF;
    TDM_REQUIRE(h5_set_dims(set, &to->ndim, dims) && h5_count_elements(to->ndim, dims, &elements) &&
                    strlen(name) < sizeof to->name,
                TDM_E_FORMAT, "%s: /%s/%s is not an array", list->file->path, list->group, name);
    strcpy(to->name, name);
    for (int i = 0; i < to->ndim; i++) to->shape[i] = (int64_t)dims[i];
    to->bytes = (int64_t)(elements * sizeof(float));
    to->at = -1;
    if (is_f32_of_this_machine(set) && is_one_piece(set, to->ndim, dims, &address)) to->at = (int64_t)address;
    return TDM_OK;
}

static tdm_status add_place(place_list *list, hid_t group, const char *name)
{
    TDM_REQUIRE(list->count < list->room, TDM_E_FORMAT, "%s: /%s grows", list->file->path, list->group);
    const hid_t set = H5Dopen2(group, name, H5P_DEFAULT);
    if (set < 0) return h5_cannot(TDM_E_FORMAT, list->file->path, "open ", name);
    const tdm_status status = fill_place(list, name, set, &list->place[list->count++]);
    H5Dclose(set);
    return status;
}

static herr_t visit_link(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    (void)info;
    place_list *list = context;
    list->status = add_place(list, group, name);
    return list->status == TDM_OK ? 0 : 1; /* 1 ends the walk */
}

static tdm_status walk_group(place_list *list)
{
    const char *path = list->file->path;
    const hid_t group = H5Gopen2(list->file->id, list->group, H5P_DEFAULT);
    if (group < 0) return h5_cannot(TDM_E_FORMAT, path, "open group /", list->group);
    const herr_t code = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_link, list);
    const tdm_status status = code < 0 ? h5_cannot(TDM_E_FORMAT, path, "list /", list->group) : list->status;
    H5Gclose(group);
    return status;
}

tdm_status tdm_h5_find_places(const tdm_h5 *file, const char *group, tdm_h5_place **place, int64_t *count)
{
    place_list list = {.file = file, .group = group};
    *place = NULL;
    *count = 0;
    TDM_TRY(tdm_h5_group_size(file, group, &list.room));
    TDM_TRY(TDM_ALLOC(list.room, place));
    list.place = *place;
    const tdm_status status = walk_group(&list);
    *count = list.count;
    return status;
}
