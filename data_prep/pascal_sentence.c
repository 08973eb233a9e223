/* The UIUC Pascal sentences (Rashtchian et al., 2010): dataset/CLASS/IMAGE.jpg, and sentence/CLASS/IMAGE.txt with five
 * sentences, one a line. Without splits of its own: --split train=0.8,val=0.1,test=0.1 cuts. Classes are the folders in the
 * order of their names. */
#include "cmr_sample.h"
#include "read_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

static const tdm_option rows[] = {CMR_OPTIONS("0")};

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static tdm_status add_sentences(cmr_reader *r, const char *name, tdm_pack_item *item)
{
    list_reader list;
    char path[TDM_PATH_BYTES], where[TDM_PATH_BYTES + 64], folder[256];
    snprintf(folder, sizeof folder, "%.250s",
             r->options->text_folder[0] ? r->options->text_folder : "sentence");
    TDM_TRY(cmr_path(r, folder, name, ".txt", path));
    tdm_status status = list_open(path, r->options->encoding, &list);
    if (status != TDM_OK)
        status = pack_item_caption_fault(item, status);
    else
        while (status == TDM_OK && list_next(&list)) {
            snprintf(where, sizeof where, "%s: line %lld", path, (long long)list.line);
            status = cmr_caption(r, item, where, list.entry, list.length);
        }
    list_close(&list);
    return status;
}

static tdm_status add_image(cmr_reader *r, const char *folder, const char *class, const char *file)
{
    char path[TDM_PATH_BYTES], name[600];
    tdm_pack_item *item;
    if (pack_picture_of(file) == PACK_NO_PICTURE)
        return pack_list_leave_out(r->list, "files that are no images", file, NULL);
    snprintf(name, sizeof name, "%.256s/%.256s", class, file);
    TDM_TRY(cmr_path(r, folder, name, "", path));
    TDM_TRY(cmr_add(r, name, path, "", &item));
    TDM_TRY(pack_item_fault(item, pack_item_class(r->list, item, class, strlen(class))));
    *strrchr(name, '.') = '\0';
    return add_sentences(r, name, item);
}

/* Calls `each` for the entries of a folder in the order of their names. */
static tdm_status walk(cmr_reader *r, const char *folder, const char *class,
                       tdm_status (*each)(cmr_reader *, const char *, const char *, const char *))
{
    char path[TDM_PATH_BYTES];
    struct dirent **entry = NULL;
    tdm_status status = TDM_OK;
    TDM_TRY(cmr_path(r, folder, class, "", path));
    const int count = scandir(path, &entry, is_shown, by_bytes);
    TDM_REQUIRE(count >= 0, TDM_E_IO, "%s: cannot list: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        if (status == TDM_OK) status = each(r, folder, class, entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    return status;
}

static tdm_status add_class(cmr_reader *r, const char *folder, const char *unused, const char *class)
{
    (void)unused;
    return walk(r, folder, class, add_image);
}

static tdm_status list_source(const char *source, const void *options, tdm_pack_list *list)
{
    cmr_reader r;
    tdm_status status = cmr_open(source, options, NULL, 0, list, &r);
    if (status == TDM_OK)
        status = walk(&r, r.options->image_folder[0] ? r.options->image_folder : "dataset", "", add_class);
    cmr_close(&r);
    return status;
}

const tdm_pack_format pack_format_pascal_sentence = {
    .name = "pascal_sentence",
    .takes_folder = true,
    .help =
        "Pascal sentences: a folder with dataset/CLASS/IMAGE.jpg and sentence/CLASS/IMAGE.txt, one sentence a line",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .option_bytes = sizeof(cmr_options),
    .list = list_source,
};
