/* A folder of images, searched recursively in sorted order; the captions of NAME.jpg are the lines of NAME.txt. A NAME.txt
 * beside which there is no image is captions without one. Links are followed. What is an image is told by its ending,
 * and where that says nothing, by its content. Folders may be classes, identities or splits. */
#include "pack_impl.h"
#include "read_list.h"

#include "tandem/image.h"

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { DEEPEST = 64 };

typedef struct folder_options {
    int64_t class_level, identity_level, split_level;
    const char *encoding;
} folder_options;

static const tdm_option folder_rows[] = {
    TDM_INT_OPTION(folder_options, class_level, "0", 0, DEEPEST, "",
                   "folders of this level are classes: 1, those in SOURCE; 0: none are"),
    TDM_INT_OPTION(folder_options, identity_level, "0", 0, DEEPEST, "", "the same: folders are identities"),
    TDM_INT_OPTION(folder_options, split_level, "0", 0, DEEPEST, "", "the same: folders are splits"),
    TEXT_ENCODING_OPTION(folder_options),
};

/* ---- One folder's files ---- */

typedef enum file_kind {
    OTHER,
    FOLDER,
    IMAGE,
    TEXT,
    DOCUMENT /* of a known type that is not decoded, whose name does not say image: one where a text is called as it is */
} file_kind;

typedef struct file {
    const char *name;
    file_kind kind;
    int text;        /* of an image: index of its text, -1: it has none */
    bool used, read; /* of a text: there is an image called as it is; it is that image's text */
} file;

/* A folder and those it stands in: a link that leads back to one of them would list its images again. */
typedef struct place {
    const struct place *up;
    dev_t device;
    ino_t inode;
    char path[TDM_PATH_BYTES];
    struct dirent **entry; /* sorted by bytes */
    file *file;            /* [count] */
    int count;
} place;

typedef struct walk {
    const char *root;
    const folder_options *options;
    tdm_pack_list *list;
} walk;

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* in no locale's order: every rank sorts alike */
}

static void leave(place *here)
{
    for (int i = 0; i < here->count; i++) free(here->entry[i]);
    free(here->entry);
    tdm_free(here->file);
    here->count = 0;
}

/* Pair with leave, after a failure too. */
static tdm_status enter(place *here)
{
    struct stat info;
    int depth = 0;
    here->count = 0;
    TDM_REQUIRE(stat(here->path, &info) == 0, TDM_E_IO, "%s: cannot list: %s", here->path, strerror(errno));
    here->device = info.st_dev;
    here->inode = info.st_ino;
    for (const place *up = here->up; up; up = up->up, depth++)
        TDM_REQUIRE(up->device != here->device || up->inode != here->inode, TDM_E_IO,
                    "%s: is a link to a folder that it stands in", here->path);
    TDM_REQUIRE(depth < DEEPEST, TDM_E_IO, "%s: folders are nested more than %d deep", here->path, DEEPEST);
    const int count = scandir(here->path, &here->entry, NULL, by_bytes);
    TDM_REQUIRE(count >= 0, TDM_E_IO, "%s: cannot list: %s", here->path, strerror(errno));
    here->count = count;
    return TDM_ALLOC(count + 1, &here->file);
}

static bool is_text_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".txt") || !strcasecmp(dot, ".caption"));
}

static file_kind kind_by_content(const char *path)
{
    char head[TDM_IMAGE_TYPE_BYTES];
    FILE *opened = fopen(path, "rb");
    const size_t n = opened ? fread(head, 1, sizeof(head), opened) : 0;
    const tdm_image_type *type = n ? tdm_image_type_of(head, n) : NULL;
    if (opened) fclose(opened);
    return !type ? OTHER : type->decodes ? IMAGE : DOCUMENT;
}

/* A link is what it leads to. One that leads nowhere is what its name says, and reading it fails. */
static file_kind kind_of(const char *path, const struct dirent *entry)
{
    struct stat info;
    bool there = true;
    if (entry->d_type == DT_DIR) return FOLDER;
    if (entry->d_type != DT_REG) { /* a link, or the file system does not say */
        there = stat(path, &info) == 0;
        if (there && S_ISDIR(info.st_mode)) return FOLDER;
        if (there && !S_ISREG(info.st_mode)) return OTHER; /* to open a pipe would wait for ever */
    }
    if (pack_picture_of(entry->d_name) != PACK_NO_PICTURE) return IMAGE;
    if (is_text_name(entry->d_name)) return TEXT;
    return there ? kind_by_content(path) : OTHER;
}

static tdm_status tell_kinds(const walk *w, place *here)
{
    char path[TDM_PATH_BYTES];
    for (int i = 0; i < here->count; i++) {
        const char *name = here->entry[i]->d_name;
        here->file[i].name = name;
        if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
        TDM_TRY(tdm_path_join(path, sizeof(path), here->path, name));
        if (name[0] == '.')
            TDM_TRY(pack_list_leave_out(w->list, "hidden files and folders", path, NULL));
        else
            here->file[i].kind = kind_of(path, here->entry[i]);
    }
    return TDM_OK;
}

/* ---- Images and their texts ---- */

/* Marks the texts that are called as the first `stem` characters of `name` and an ending. The first .txt among them, else
 * the first one, or -1. Names that share all up to a dot stand together. */
static int take_texts(place *here, const char *name, size_t stem)
{
    int low = 0, best = -1;
    for (int high = here->count; low < high;) {
        const int middle = low + (high - low) / 2;
        const int order = strncmp(here->file[middle].name, name, stem);
        if (order < 0 || (order == 0 && (unsigned char)here->file[middle].name[stem] < '.'))
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < here->count; low++) {
        file *other = &here->file[low];
        if (strncmp(other->name, name, stem) || other->name[stem] != '.') break;
        if (other->kind != TEXT || strrchr(other->name, '.') != other->name + stem) continue;
        other->used = true;
        if (best < 0 ||
            (!strcasecmp(other->name + stem, ".txt") && strcasecmp(here->file[best].name + stem, ".txt")))
            best = low;
    }
    return best;
}

/* The text of an image: of NAME.jpg NAME.txt; of a name whose ending is none NAME.EXT.txt before that. */
static int text_of(place *here, const char *name)
{
    const char *dot = strrchr(name, '.');
    const size_t whole = strlen(name);
    int text = -1;
    if (!dot || pack_picture_of(name) == PACK_NO_PICTURE) text = take_texts(here, name, whole);
    return text >= 0 || !dot ? text : take_texts(here, name, (size_t)(dot - name));
}

static tdm_status read_captions(const walk *w, const char *path, tdm_pack_item *item)
{
    list_reader lines;
    char where[TDM_PATH_BYTES + 32];
    tdm_status status = list_open(path, w->options->encoding, &lines);
    if (status != TDM_OK) status = pack_item_caption_fault(item, status);
    while (status == TDM_OK && list_next(&lines)) {
        snprintf(where, sizeof(where), "%s: line %lld", path, (long long)lines.line);
        status = pack_item_caption(item, where, lines.entry, lines.length);
    }
    list_close(&lines);
    return status;
}

/* The folder of that level in a path below SOURCE: of level 1 "a" in "a/b/c.png". *length 0: there is none. */
static const char *folder_at(const char *shown, int64_t level, size_t *length)
{
    *length = 0;
    for (; level > 0; level--) {
        const char *slash = strchr(shown, '/');
        if (!slash) return shown;
        *length = (size_t)(slash - shown);
        if (level > 1) {
            shown = slash + 1;
            *length = 0;
        }
    }
    return shown;
}

static tdm_status add_labels(const walk *w, const char *path, const char *shown, tdm_pack_item *item)
{
    const folder_options *o = w->options;
    size_t length;
    const struct {
        int64_t level;
        const char *option;
    } asked[] = {{o->class_level, "--class-level"},
                 {o->identity_level, "--identity-level"},
                 {o->split_level, "--split-level"}};
    for (int i = 0; i < 3; i++) {
        (void)folder_at(shown, asked[i].level, &length);
        TDM_REQUIRE(!asked[i].level || length, TDM_E_DATA, "%s: stands in no folder of level %lld (%s)", path,
                    (long long)asked[i].level, asked[i].option);
    }
    if (o->split_level) TDM_TRY(pack_check_split(path, item->split));
    const char *name = folder_at(shown, o->class_level, &length);
    if (length) TDM_TRY(pack_item_class(w->list, item, name, length));
    name = folder_at(shown, o->identity_level, &length);
    if (length) TDM_TRY(pack_item_identity(w->list, item, name, length));
    return TDM_OK;
}

/* Image or text `i` with the captions of text `text`, -1: none. */
static tdm_status add_item(const walk *w, const place *here, int i, int text)
{
    char path[TDM_PATH_BYTES], split[256];
    size_t length;
    tdm_pack_item *item;
    TDM_TRY(tdm_path_join(path, sizeof(path), here->path, here->file[i].name));
    const char *shown = path + strlen(w->root);
    while (*shown == '/') shown++;
    const char *own = folder_at(shown, w->options->split_level, &length);
    snprintf(split, sizeof(split), "%.*s", (int)length, own);
    TDM_TRY(pack_list_add(w->list, shown, here->file[i].kind == IMAGE ? path : NULL, split, &item));
    TDM_TRY(pack_item_fault(item, add_labels(w, path, shown, item)));
    if (text < 0) return TDM_OK;
    TDM_TRY(tdm_path_join(path, sizeof(path), here->path, here->file[text].name));
    return read_captions(w, path, item);
}

static tdm_status leave_out(const walk *w, const place *here, const char *kind, const char *name)
{
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof(path), here->path, name));
    return pack_list_leave_out(w->list, kind, path, NULL);
}

static tdm_status visit(const walk *w, place *here);

/* What cannot be listed below SOURCE is named, and the rest goes on. */
static tdm_status visit_below(const walk *w, const place *up, const char *name)
{
    place here = {.up = up};
    TDM_TRY(tdm_path_join(here.path, sizeof(here.path), up->path, name));
    tdm_status status = enter(&here);
    if (status == TDM_OK)
        status = visit(w, &here);
    else
        status = pack_list_fault(w->list, here.path, status);
    leave(&here);
    return status;
}

static tdm_status take_file(const walk *w, place *here, int i)
{
    const file *at = &here->file[i];
    switch (at->kind) {
    case FOLDER: return visit_below(w, here, at->name);
    case IMAGE: return add_item(w, here, i, at->text);
    case TEXT:
        if (!at->used) return add_item(w, here, i, i);
        return at->read ? TDM_OK : leave_out(w, here, "texts beside another one of the same image", at->name);
    case DOCUMENT:
    case OTHER:
        if (at->name[0] == '.') return TDM_OK; /* counted already */
        return leave_out(w, here, "files that are neither an image nor captions", at->name);
    }
    return TDM_OK;
}

static tdm_status visit(const walk *w, place *here)
{
    TDM_TRY(tell_kinds(w, here));
    for (int i = 0; i < here->count; i++) {
        file *at = &here->file[i];
        if (at->kind != IMAGE && at->kind != DOCUMENT) continue;
        at->text = text_of(here, at->name);
        if (at->kind == DOCUMENT) at->kind = at->text >= 0 ? IMAGE : OTHER;
        if (at->text >= 0) here->file[at->text].read = true;
    }
    for (int i = 0; i < here->count; i++) TDM_TRY(take_file(w, here, i));
    return TDM_OK;
}

static tdm_status folder_list(const char *source, const void *options, tdm_pack_list *list)
{
    const walk w = {.root = source, .options = options, .list = list};
    place here = {.up = NULL};
    TDM_REQUIRE(snprintf(here.path, sizeof(here.path), "%s", source) < TDM_PATH_BYTES, TDM_E_IO,
                "%s: path is too long", source);
    tdm_status status = enter(&here);
    if (status == TDM_OK) status = visit(&w, &here);
    leave(&here);
    return status;
}

const tdm_pack_format pack_format_folder = {
    .name = "folder",
    .takes_folder = true,
    .help = "a folder of images (searched recursively); the captions of NAME.jpg are the lines of NAME.txt",
    .options = folder_rows,
    .option_count = sizeof(folder_rows) / sizeof(folder_rows[0]),
    .option_bytes = sizeof(folder_options),
    .list = folder_list,
};
