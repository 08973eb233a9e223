/* A folder of images, searched recursively in sorted order; the captions of NAME.jpg are the lines of
 * NAME.txt. A NAME.txt beside which there is no image is captions without one. */
#include "pack_impl.h"
#include "read_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { DEEPEST = 64 };

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* in no locale's order: every rank sorts alike */
}

/* A folder and those it stands in: a link that leads back to one of them would list its images again. */
typedef struct chain {
    const struct chain *up;
    dev_t device;
    ino_t inode;
} chain;

static tdm_status enter(const char *dir, const chain *up, chain *here)
{
    struct stat info;
    int depth = 0;
    TDM_REQUIRE(stat(dir, &info) == 0, TDM_E_IO, "%s: cannot list: %s", dir, strerror(errno));
    *here = (chain){.up = up, .device = info.st_dev, .inode = info.st_ino};
    for (; up; up = up->up, depth++)
        TDM_REQUIRE(up->device != here->device || up->inode != here->inode, TDM_E_IO,
                    "%s: is a link to a folder that it stands in", dir);
    TDM_REQUIRE(depth < DEEPEST, TDM_E_IO, "%s: folders are nested more than %d deep", dir, DEEPEST);
    return TDM_OK;
}

/* The names of one folder, sorted by bytes. */
typedef struct names {
    struct dirent **entry;
    int count;
} names;

static bool is_txt(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && !strcasecmp(dot, ".txt");
}

/* The first file that is called `name` with an ending of that kind, or -1. Names that share all up to a dot
 * stand together. */
static int companion(const names *all, const char *name, bool (*kind)(const char *name))
{
    const size_t stem = (size_t)(strrchr(name, '.') + 1 - name); /* with the dot */
    int low = 0;
    for (int high = all->count; low < high;) {
        const int middle = low + (high - low) / 2;
        if (strncmp(all->entry[middle]->d_name, name, stem) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < all->count && !strncmp(all->entry[low]->d_name, name, stem); low++) {
        const char *other = all->entry[low]->d_name;
        if (strrchr(other, '.') == other + stem - 1 && kind(other) && all->entry[low]->d_type != DT_DIR)
            return low;
    }
    return -1;
}

static tdm_status read_captions(const char *path, tdm_pack_item *item)
{
    list_reader lines;
    tdm_status status = list_open(path, "utf-8", &lines);
    while (status == TDM_OK && list_next(&lines))
        status = pack_item_caption(item, NULL, lines.entry, lines.length);
    list_close(&lines);
    return pack_item_caption_fault(item, status);
}

/* An image with the captions beside it, or captions that have no image. */
static tdm_status add_file(const char *root, const char *dir, const names *all, const char *name,
                           tdm_pack_list *list)
{
    char path[TDM_PATH_BYTES];
    tdm_pack_item *item;
    const bool image = pack_is_image(name);
    if (!image && (!is_txt(name) || companion(all, name, pack_is_image) >= 0)) return TDM_OK;
    TDM_TRY(tdm_path_join(path, sizeof(path), dir, name));
    const char *shown = path + strlen(root);
    while (*shown == '/') shown++;
    TDM_TRY(pack_list_add(list, shown, image ? path : NULL, "", &item));
    const int text = image ? companion(all, name, is_txt) : -1;
    if (image && text < 0) return TDM_OK;
    if (image) TDM_TRY(tdm_path_join(path, sizeof(path), dir, all->entry[text]->d_name));
    return read_captions(path, item);
}

static tdm_status visit(const char *root, const char *dir, const chain *up, tdm_pack_list *list)
{
    chain here;
    TDM_TRY(enter(dir, up, &here));
    names all = {0};
    all.count = scandir(dir, &all.entry, NULL, by_bytes);
    TDM_REQUIRE(all.count >= 0, TDM_E_IO, "%s: cannot list: %s", dir, strerror(errno));
    tdm_status status = TDM_OK;
    for (int i = 0; status == TDM_OK && i < all.count; i++) {
        char path[TDM_PATH_BYTES];
        const char *name = all.entry[i]->d_name;
        if (name[0] == '.') continue;
        status = tdm_path_join(path, sizeof(path), dir, name);
        if (status == TDM_OK && tdm_path_is_dir(path))
            status = visit(root, path, &here, list);
        else if (status == TDM_OK)
            status = add_file(root, dir, &all, name, list);
    }
    for (int i = 0; i < all.count; i++) free(all.entry[i]);
    free(all.entry);
    return status;
}

static tdm_status folder_list(const char *source, const void *options, tdm_pack_list *list)
{
    (void)options;
    return visit(source, source, NULL, list);
}

const tdm_pack_format pack_format_folder = {
    .name = "folder",
    .help = "a folder of images (searched recursively); the captions of NAME.jpg are the lines of NAME.txt",
    .list = folder_list,
};
