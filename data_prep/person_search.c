/* Data sets of text-based person search, from their own files:
 *
 *     cuhk_pedes   reid_raw.json       [{"split", "captions", "file_path", "id", …}]  images under imgs/
 *     icfg_pedes   ICFG-PEDES.json     the same
 *     rstp_reid    data_captions.json  the same with "img_path"
 *     tbps_json    train_reid.json, val_reid.json, test_reid.json  [{"file_path", "id", "captions", "captions_bt"}], as
 *                  TBPS-CLIP reads them (github Flame-Chasers/TBPS-CLIP); the file's name is the split
 *
 * A set of data_prep/people has CUHK-PEDES's layout, and a file synthetic.json.
 *
 * SOURCE is the folder, or the JSON file; SOURCE:IMAGE_ROOT says where the images are. "captions_bt", back-translations in
 * the captions' order, become further wordings; a list that is shorter loses no caption. */
#include "caption_clean.h"
#include "pack_impl.h"
#include "read_json.h"
#include "read_text.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct person_options {
    const char *encoding;
    int clean;
    int64_t max_words;
} person_options;

static const tdm_option person_rows[] = {
    TEXT_ENCODING_OPTION(person_options),
    CAPTION_CLEAN_OPTIONS(person_options),
};

enum { TRAIN, VAL, TEST, SPLITS };
static const char *const split_names[SPLITS] = {"train", "val", "test"};

/* Published sizes: images, identities and captions of a split; 0: not published. */
typedef struct split_size {
    int64_t images, identities, captions;
} split_size;

typedef struct layout {
    const char *title;           /* of the data set */
    const char *file;            /* of a folder; "%s" stands for the split */
    const char *image_key;       /* beside "file_path" */
    const split_size *published; /* [SPLITS], NULL: none */
} layout;

/* Tables of the papers: CUHK-PEDES (arXiv 1702.05729), ICFG-PEDES (arXiv 2107.12666), RSTPReid (arXiv 2109.05534), as
 * TBPS-CLIP, section 4.1, gives them; CUHK-PEDES's training captions as IRRA's reader counts them. */
static const split_size cuhk_sizes[SPLITS] = {{34054, 11003, 68126}, {3078, 1000, 0}, {3074, 1000, 0}};
static const split_size icfg_sizes[SPLITS] = {{34674, 3102, 34674}, {0, 0, 0}, {19848, 1000, 19848}};
static const split_size rstp_sizes[SPLITS] = {{18505, 3701, 37010}, {1000, 200, 2000}, {1000, 200, 2000}};

static const layout cuhk = {"CUHK-PEDES", "reid_raw.json", NULL, cuhk_sizes},
                    icfg = {"ICFG-PEDES", "ICFG-PEDES.json", NULL, icfg_sizes},
                    rstp = {"RSTPReid", "data_captions.json", "img_path", rstp_sizes},
                    tbps = {"TBPS-CLIP", "%s_reid.json", NULL, NULL};

/* ---- Identities: which split each belongs to, and how many there are ---- */

typedef struct identity_split {
    int64_t identity;
    int split;
    int64_t images, captions;
} identity_split;

/* Open addressing over identities. */
typedef struct census {
    identity_split *slot;
    bool *used;
    size_t size, count;
} census;

static identity_split *census_slot(census *c, int64_t identity, bool *is_new)
{
    size_t at = (size_t)((uint64_t)identity * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (c->size - 1);
    while (c->used[at] && c->slot[at].identity != identity) at = (at + 1) & (c->size - 1);
    *is_new = !c->used[at];
    c->used[at] = true;
    return &c->slot[at];
}

static tdm_status census_grow(census *c)
{
    census grown = {.size = c->size ? 2 * c->size : 4096, .count = c->count};
    if (2 * (c->count + 1) < c->size) return TDM_OK;
    grown.slot = calloc(grown.size, sizeof *grown.slot);
    grown.used = calloc(grown.size, sizeof *grown.used);
    if (!grown.slot || !grown.used) {
        free(grown.slot);
        free(grown.used);
        TDM_FAIL(TDM_E_NOMEM, "no memory for %zu identities", c->count);
    }
    for (size_t i = 0; i < c->size; i++) {
        bool is_new;
        if (c->used[i]) *census_slot(&grown, c->slot[i].identity, &is_new) = c->slot[i];
    }
    free(c->slot);
    free(c->used);
    *c = grown;
    return TDM_OK;
}

/* The identity's entry; one that another split has already is an error that names the entry. */
static tdm_status census_add(census *c, const char *where, int64_t identity, int split,
                             identity_split **found)
{
    bool is_new;
    TDM_TRY(census_grow(c));
    *found = census_slot(c, identity, &is_new);
    if (is_new) {
        **found = (identity_split){.identity = identity, .split = split};
        c->count++;
    }
    TDM_REQUIRE((*found)->split == split, TDM_E_DATA,
                "%s: identity %lld is in the split \"%s\" already, not only in \"%s\"", where,
                (long long)identity, split_names[(*found)->split], split_names[split]);
    return TDM_OK;
}

/* A set that make_people drew says so in a file beside its list; no size was ever published of it. */
static bool is_synthetic(const char *source)
{
    char folder[TDM_PATH_BYTES], path[TDM_PATH_BYTES];
    if (tdm_path_is_dir(source))
        snprintf(folder, sizeof folder, "%s", source);
    else if (pack_folder_of(source, folder, sizeof folder) != TDM_OK)
        return false;
    return tdm_path_join(path, sizeof path, folder, "synthetic.json") == TDM_OK && tdm_path_exists(path);
}

/* One line on what was found, a warning where the published sizes differ. */
static void report_sizes(const layout *l, const char *path, const census *c)
{
    const bool synthetic = is_synthetic(path);
    const split_size *published = synthetic ? NULL : l->published;
    split_size found[SPLITS] = {{0}};
    tdm_text text = {0};
    bool differs = false, printed = true;
    for (size_t i = 0; i < c->size; i++) {
        if (!c->used[i]) continue;
        split_size *s = &found[c->slot[i].split];
        s->images += c->slot[i].images;
        s->captions += c->slot[i].captions;
        s->identities++;
    }
    for (int s = 0; s < SPLITS; s++) {
        const split_size *want = published ? &published[s] : NULL;
        if (!found[s].images && (!want || !want->images)) continue;
        const bool other =
            want && (found[s].images != want->images || found[s].identities != want->identities ||
                     (want->captions && found[s].captions != want->captions));
        differs |= other;
        printed &= tdm_text_printf(&text, "%s%s %lld images of %lld identities, %lld captions",
                                   text.length ? "; " : "", split_names[s], (long long)found[s].images,
                                   (long long)found[s].identities, (long long)found[s].captions) == TDM_OK;
        if (!other) continue;
        printed &= tdm_text_printf(&text, " (published: %lld of %lld", (long long)want->images,
                                   (long long)want->identities) == TDM_OK;
        if (want->captions)
            printed &= tdm_text_printf(&text, ", %lld captions", (long long)want->captions) == TDM_OK;
        printed &= tdm_text_printf(&text, ")") == TDM_OK;
    }
    if (printed && text.length)
        tdm_log(differs ? TDM_LOG_WARN : TDM_LOG_INFO, "%s: %s%s", path, text.data,
                differs     ? ": not the published sizes"
                : published ? ": the published sizes"
                : synthetic ? ": a synthetic set"
                            : "");
    tdm_text_free(&text);
}

/* ---- Entries ---- */

typedef struct reader {
    const layout *layout;
    const person_options *options;
    const char *root; /* of the images */
    int split;        /* of all entries; -1: each names its own */
    census census;
    tdm_text cleaned;
} reader;

static tdm_status split_of(const reader *r, const json_node *entry, int *split)
{
    const char *name;
    *split = r->split;
    if (r->split >= 0) return TDM_OK;
    TDM_TRY(json_node_string(entry, "split", &name));
    *split = !strcmp(name, "train") ? TRAIN : !strcmp(name, "test") ? TEST : VAL; /* as IRRA's reader does */
    return TDM_OK;
}

static tdm_status image_of(const reader *r, const json_node *entry, const char **file,
                           char path[TDM_PATH_BYTES])
{
    const char *key = "file_path";
    if (r->layout->image_key && !json_node_get(entry, key).value) key = r->layout->image_key;
    TDM_TRY(json_node_string(entry, key, file));
    TDM_REQUIRE((*file)[0], TDM_E_FORMAT, "%s: \"%s\" is empty", json_node_where(entry), key);
    TDM_TRY(tdm_path_join(path, TDM_PATH_BYTES, r->root, *file));
    TDM_REQUIRE(tdm_path_exists(path), TDM_E_IO, "%s: there is no image %s", json_node_where(entry), path);
    return TDM_OK;
}

/* Caption k of the entry and its back-translation. */
static tdm_status add_caption(reader *r, const json_node *captions, const json_node *back, size_t k,
                              tdm_pack_item *item)
{
    const person_options *o = r->options;
    const json_node one = json_node_item(captions, k);
    char where[TDM_PATH_BYTES + 512];
    const char *text;
    size_t length;
    const tdm_status status = json_node_text(&one, &text, &length);
    if (status != TDM_OK) return pack_item_caption_fault(item, status);
    snprintf(where, sizeof where, "%s (%s)", json_node_where(&one), item->name);
    TDM_TRY(caption_clean(o->clean, o->max_words, text, length, &r->cleaned));
    TDM_TRY(pack_item_caption(item, where, r->cleaned.length ? r->cleaned.data : "", r->cleaned.length));
    if (k >= json_node_count(back)) return TDM_OK;
    const json_node wording = json_node_item(back, k);
    if (json_node_text(&wording, &text, &length) != TDM_OK)
        return pack_item_fault(item, TDM_ERROR(TDM_E_FORMAT, "%s: is no text", json_node_where(&wording)));
    TDM_TRY(caption_clean(o->clean, o->max_words, text, length, &r->cleaned));
    return pack_item_alternative(item, r->cleaned.length ? r->cleaned.data : "", r->cleaned.length);
}

/* What an entry needs to become a sample. */
static tdm_status read_entry(reader *r, const json_node *entry, const char **file, char path[TDM_PATH_BYTES],
                             int *split, int64_t *identity, json_node *captions)
{
    TDM_REQUIRE(json_is_object(entry->value), TDM_E_FORMAT, "%s: is no object", json_node_where(entry));
    TDM_TRY(image_of(r, entry, file, path));
    TDM_TRY(split_of(r, entry, split));
    TDM_TRY(json_node_int(entry, "id", identity));
    TDM_REQUIRE(*identity >= 0, TDM_E_FORMAT, "%s: \"id\" is %lld", json_node_where(entry),
                (long long)*identity);
    return json_node_array(entry, "captions", captions);
}

static tdm_status add_entry(reader *r, const json_node *entry, tdm_pack_list *list)
{
    const char *file = "";
    char path[TDM_PATH_BYTES], where[TDM_PATH_BYTES + 512];
    int split = 0;
    int64_t identity = 0;
    json_node captions = {0};
    identity_split *of = NULL;
    tdm_pack_item *item;
    tdm_status status = read_entry(r, entry, &file, path, &split, &identity, &captions);
    snprintf(where, sizeof where, "%s", json_node_where(entry));
    if (status == TDM_OK) status = census_add(&r->census, where, identity, split, &of);
    if (status != TDM_OK) return pack_list_fault(list, where, status);
    const json_node back = json_node_get(entry, "captions_bt");
    TDM_TRY(pack_list_add(list, file, path, split_names[split], &item));
    item->identity = identity;
    if (back.value && !json_is_array(back.value))
        TDM_TRY(pack_item_fault(item, TDM_ERROR(TDM_E_FORMAT, "%s: \"captions_bt\" is no list", where)));
    for (size_t k = 0; k < json_node_count(&captions); k++)
        TDM_TRY(add_caption(r, &captions, &back, k, item));
    of->images++;
    of->captions += item->caption_n;
    return TDM_OK;
}

static tdm_status list_file(reader *r, const char *path, tdm_pack_list *list)
{
    json_node document;
    tdm_status status = read_json_file(path, r->options->encoding, &document);
    if (status == TDM_OK && !json_is_array(document.value))
        status = TDM_ERROR(TDM_E_FORMAT, "%s: is no list of entries, which each %s file is", path,
                           r->layout->title);
    for (size_t i = 0; status == TDM_OK && i < json_node_count(&document); i++) {
        const json_node entry = json_node_item(&document, i);
        status = add_entry(r, &entry, list);
    }
    read_json_free(&document);
    return status;
}

/* ---- Sources ---- */

/* SOURCE and, behind a colon, the images' folder; without it `imgs` beside the file, else its folder. */
static tdm_status split_source(const char *source, char path[TDM_PATH_BYTES], char root[TDM_PATH_BYTES])
{
    const char *colon = tdm_path_exists(source) ? NULL : strrchr(source, ':');
    const int length = colon ? (int)(colon - source) : (int)strlen(source);
    char folder[TDM_PATH_BYTES];
    TDM_REQUIRE(snprintf(path, TDM_PATH_BYTES, "%.*s", length, source) < TDM_PATH_BYTES, TDM_E_IO,
                "%s: path is too long", source);
    if (colon) {
        TDM_REQUIRE(snprintf(root, TDM_PATH_BYTES, "%s", colon + 1) < TDM_PATH_BYTES, TDM_E_IO,
                    "%s: path is too long", source);
        return TDM_OK;
    }
    if (tdm_path_is_dir(path))
        snprintf(folder, sizeof folder, "%s", path);
    else
        TDM_TRY(pack_folder_of(path, folder, sizeof folder));
    TDM_TRY(tdm_path_join(root, TDM_PATH_BYTES, folder, "imgs"));
    if (!tdm_path_is_dir(root)) snprintf(root, TDM_PATH_BYTES, "%s", folder);
    return TDM_OK;
}

/* "…/test_reid.json" is of the split test. */
static tdm_status split_by_name(const char *path, int *split)
{
    const char *name = pack_base_name(path);
    for (*split = 0; *split < SPLITS; ++*split)
        if (!strncmp(name, split_names[*split], strlen(split_names[*split]))) return TDM_OK;
    TDM_FAIL(TDM_E_FORMAT,
             "%s: its name does not say the split; it begins with train, val or test, as train_reid.json",
             path);
}

static tdm_status list_one(reader *r, const char *path, tdm_pack_list *list)
{
    TDM_REQUIRE(tdm_path_exists(path), TDM_E_IO, "%s: cannot open: no such file or folder", path);
    if (r->layout == &tbps) TDM_TRY(split_by_name(path, &r->split));
    return list_file(r, path, list);
}

static tdm_status list_folder(reader *r, const char *folder, tdm_pack_list *list)
{
    int found = 0;
    for (int s = 0; s < SPLITS; s++) {
        char name[64], path[TDM_PATH_BYTES];
        if (r->layout != &tbps && s) break;
        if (r->layout == &tbps)
            snprintf(name, sizeof name, "%s_reid.json", split_names[s]);
        else
            snprintf(name, sizeof name, "%s", r->layout->file);
        TDM_TRY(tdm_path_join(path, sizeof path, folder, name));
        if (!tdm_path_exists(path)) continue;
        found++;
        TDM_TRY(list_one(r, path, list));
    }
    TDM_REQUIRE(found, TDM_E_IO, "%s: holds no %s", folder,
                r->layout == &tbps ? "train_reid.json, val_reid.json or test_reid.json" : r->layout->file);
    return TDM_OK;
}

static tdm_status list_layout(const layout *l, const char *source, const void *options, tdm_pack_list *list)
{
    char path[TDM_PATH_BYTES], root[TDM_PATH_BYTES];
    reader r = {.layout = l, .options = options, .root = root, .split = -1};
    TDM_TRY(split_source(source, path, root));
    const tdm_status status = tdm_path_is_dir(path) ? list_folder(&r, path, list) : list_one(&r, path, list);
    if (status == TDM_OK) report_sizes(l, path, &r.census);
    free(r.census.slot);
    free(r.census.used);
    tdm_text_free(&r.cleaned);
    return status;
}

#define PERSON_FORMAT(layout_name, format_name, what)                                                        \
    static tdm_status layout_name##_list(const char *source, const void *options, tdm_pack_list *list)       \
    {                                                                                                        \
        return list_layout(&layout_name, source, options, list);                                             \
    }                                                                                                        \
    const tdm_pack_format pack_format_##format_name = {                                                      \
        .name = #format_name,                                                                                \
        .help = what,                                                                                        \
        .options = person_rows,                                                                              \
        .option_count = sizeof(person_rows) / sizeof(person_rows[0]),                                        \
        .option_bytes = sizeof(person_options),                                                              \
        .list = layout_name##_list,                                                                          \
    }
PERSON_FORMAT(cuhk, cuhk_pedes,
              "CUHK-PEDES: the folder with reid_raw.json and imgs/, or FILE.json:IMAGE_ROOT");
PERSON_FORMAT(icfg, icfg_pedes,
              "ICFG-PEDES: the folder with ICFG-PEDES.json and imgs/, or FILE.json:IMAGE_ROOT");
PERSON_FORMAT(rstp, rstp_reid,
              "RSTPReid: the folder with data_captions.json and imgs/, or FILE.json:IMAGE_ROOT");
PERSON_FORMAT(tbps, tbps_json,
              "TBPS-CLIP's lists: the folder with train_reid.json and test_reid.json, or one of them");
