/* A folder of images, searched recursively in sorted order; the captions of NAME.jpg are the lines of
 * NAME.txt. */
#include "pack_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEEPEST = 64 };

static tdm_status read_captions(const char *image_path, tdm_pack_item *item)
{
    char path[TDM_PATH_BYTES];
    const size_t stem = (size_t)(strrchr(image_path, '.') - image_path);
    const int written = snprintf(path, sizeof(path), "%.*s.txt", (int)stem, image_path);
    TDM_REQUIRE(written > 0 && (size_t)written < sizeof(path), TDM_E_IO, "%s: path is too long", image_path);
    if (!tdm_path_exists(path)) return TDM_OK; /* no captions: the packer reports the image */
    tdm_text text = {0};
    tdm_status status = tdm_read_file(path, &text);
    for (char *line = text.data; status == TDM_OK && line && *line;) {
        const size_t length = strcspn(line, "\n");
        if (strspn(line, " \t\r") < length) status = pack_item_caption(item, line, length);
        line += length + (line[length] == '\n');
    }
    tdm_text_free(&text);
    return status;
}

static tdm_status add_image(const char *root, const char *path, tdm_pack_list *list)
{
    const char *name = path + strlen(root);
    while (*name == '/') name++;
    tdm_pack_item *item;
    TDM_TRY(pack_list_add(list, name, path, 0, -1, "", &item));
    return read_captions(path, item);
}

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

static tdm_status visit(const char *root, const char *dir, const chain *up, tdm_pack_list *list)
{
    chain here;
    TDM_TRY(enter(dir, up, &here));
    struct dirent **entry = NULL;
    const int count = scandir(dir, &entry, NULL, by_bytes);
    TDM_REQUIRE(count >= 0, TDM_E_IO, "%s: cannot list: %s", dir, strerror(errno));
    tdm_status status = TDM_OK;
    for (int i = 0; i < count; i++) {
        char path[TDM_PATH_BYTES];
        if (status == TDM_OK && entry[i]->d_name[0] != '.') {
            status = tdm_path_join(path, sizeof(path), dir, entry[i]->d_name);
            if (status == TDM_OK && tdm_path_is_dir(path))
                status = visit(root, path, &here, list);
            else if (status == TDM_OK && pack_is_image(path))
                status = add_image(root, path, list);
        }
        free(entry[i]);
    }
    free(entry);
    return status;
}

static tdm_status folder_list(const char *source, tdm_pack_list *list)
{
    return visit(source, source, NULL, list);
}

const tdm_pack_format pack_format_folder = {
    .name = "folder",
    .help = "a folder of images (searched recursively); the captions of NAME.jpg are the lines of NAME.txt",
    .list = folder_list,
};
