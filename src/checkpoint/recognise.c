/* Which model a file of tensors holds: under which naming, behind which prefix. A prefix is whatever stands before
 * an anchor, so that no list of wrappers is needed. */
#include "weights_file.h"

#include <ctype.h>
#include <string.h>

enum { MOST_MODELS = 64 };

/* A model, or a tower of one. */
typedef struct found_model {
    const naming *naming;
    char prefix[WEIGHTS_PREFIX_BYTES];
    bool has_text, has_image;
    int64_t tensors; /* behind its prefix, and behind no longer one of another whole model */
} found_model;

typedef struct found_models {
    found_model item[MOST_MODELS];
    int count;
} found_models;

static bool is_whole(const found_model *m)
{
    return m->has_text && m->has_image;
}

/* ---- Looking for anchors ---- */

/* The length of what stands before `anchor` in `name`: nothing, or names that end with '.'; -1 elsewhere. */
static int64_t prefix_before(const char *name, const char *anchor)
{
    const size_t n = strlen(name), m = strlen(anchor);
    if (n < m || strcmp(name + n - m, anchor) != 0) return -1;
    return n == m || name[n - m - 1] == '.' ? (int64_t)(n - m) : -1;
}

static found_model *model_at(found_models *all, const naming *n, const char *name, int64_t prefix)
{
    if (prefix >= WEIGHTS_PREFIX_BYTES) return NULL;
    for (int i = 0; i < all->count; i++) {
        found_model *m = &all->item[i];
        if (m->naming == n && strlen(m->prefix) == (size_t)prefix &&
            strncmp(m->prefix, name, (size_t)prefix) == 0)
            return m;
    }
    if (all->count == MOST_MODELS) return NULL;
    found_model *m = &all->item[all->count++];
    *m = (found_model){.naming = n};
    memcpy(m->prefix, name, (size_t)prefix);
    return m;
}

static void look_at_name(found_models *all, const naming *n, const char *name)
{
    for (int image = 0; image < 2; image++) {
        const char *const *anchor = image ? n->image_anchor : n->text_anchor;
        for (int i = 0; i < NAMING_ANCHORS && anchor[i] != NULL; i++) {
            const int64_t prefix = prefix_before(name, anchor[i]);
            found_model *m = prefix >= 0 ? model_at(all, n, name, prefix) : NULL;
            if (m == NULL) continue;
            m->has_image |= image == 1;
            m->has_text |= image == 0;
        }
    }
}

static bool begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static void count_tensors(const weights_file *src, found_models *all)
{
    for (int64_t t = 0; t < tdm_tensor_file_count(src->file); t++) {
        const char *name = tdm_tensor_file_at(src->file, t)->name;
        size_t longest = 0;
        for (int i = 0; i < all->count; i++) {
            const found_model *m = &all->item[i];
            if (is_whole(m) && begins(name, m->prefix)) longest = tdm_max_i64(longest, strlen(m->prefix));
        }
        for (int i = 0; i < all->count; i++) {
            found_model *m = &all->item[i];
            m->tensors += begins(name, m->prefix) && strlen(m->prefix) >= longest;
        }
    }
}

static void find_models(const weights_file *src, found_models *all)
{
    const naming *n;
    for (int64_t t = 0; t < tdm_tensor_file_count(src->file); t++) {
        const char *name = tdm_tensor_file_at(src->file, t)->name;
        for (size_t i = 0; (n = naming_at(i)) != NULL; i++) look_at_name(all, n, name);
    }
    count_tensors(src, all);
}

/* ---- Choosing one ---- */

/* "model_ema.", "ema.module.", "state_dict_ema.": a part of its name, between '.' and '_', says so. */
static bool is_average(const char *prefix)
{
    static const char *const words[] = {"ema", "swa"};
    while (*prefix != '\0') {
        const size_t n = strcspn(prefix, "._");
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            if (n == strlen(words[i]) && strncasecmp(prefix, words[i], n) == 0) return true;
        }
        prefix += n + (prefix[n] != '\0');
    }
    return false;
}

/* The user's choice is the whole prefix or its beginning. "." stands for no prefix. */
static bool is_chosen(const weights_file *src, const found_model *m)
{
    const char *wish = src->wish;
    if (strcmp(wish, ".") == 0) return m->prefix[0] == '\0';
    return begins(m->prefix, wish);
}

/* `"student." (152 tensors, open_clip), …` of the whole models. */
static tdm_status list_models(const found_models *all, tdm_text *list)
{
    for (int i = 0; i < all->count; i++) {
        const found_model *m = &all->item[i];
        if (!is_whole(m)) continue;
        TDM_TRY(tdm_text_printf(list, "%s--prefix %s (%lld tensors, %s's names)", list->length ? ", " : "",
                                m->prefix[0] ? m->prefix : ".", (long long)m->tensors, m->naming->name));
    }
    return TDM_OK;
}

/* The whole model that is wished for; without a wish, an average of another one steps back. */
static const found_model *choose(const weights_file *src, const found_models *all, int *fitting)
{
    const found_model *chosen = NULL;
    *fitting = 0;
    for (int averages = 0; averages < 2 && *fitting == 0; averages++) {
        for (int i = 0; i < all->count; i++) {
            const found_model *m = &all->item[i];
            if (!is_whole(m) ||
                !(src->wish[0] ? is_chosen(src, m) : is_average(m->prefix) == (averages == 1)))
                continue;
            if (src->wish[0] && strcmp(m->prefix, src->wish) == 0) {
                *fitting = 1;
                return m;
            }
            chosen = m;
            ++*fitting;
        }
    }
    return chosen;
}

static void note_averages(const weights_file *src, const found_models *all, const found_model *chosen)
{
    for (int i = 0; i < all->count; i++) {
        const found_model *m = &all->item[i];
        if (m != chosen && is_whole(m) && is_average(m->prefix))
            tdm_log(TDM_LOG_INFO, "%s: holds an averaged copy (EMA), too: --prefix %s takes that instead",
                    src->path, m->prefix);
    }
}

/* ---- What else it is ---- */

/* A tower alone; both towers may stand there, but under different prefixes. */
static tdm_status refuse_tower(const weights_file *src, const found_models *all)
{
    const found_model *text = NULL, *image = NULL;
    for (int i = 0; i < all->count; i++) {
        const found_model *m = &all->item[i];
        if (m->has_text && (text == NULL || m->tensors > text->tensors)) text = m;
        if (m->has_image && (image == NULL || m->tensors > image->tensors)) image = m;
    }
    TDM_REQUIRE(
        text == NULL || image == NULL, TDM_E_FORMAT,
        "%s: its text tower (\"%s\", %s's names) and its image tower (\"%s\", %s's names) do not stand under one prefix: "
        "rename the tensors to open_clip's names",
        src->path, text->prefix, text->naming->name, image->prefix, image->naming->name);
    const found_model *one = text != NULL ? text : image;
    if (one == NULL) return TDM_OK;
    TDM_FAIL(TDM_E_FORMAT,
             "%s: holds %s tower only (%lld tensors under \"%s\"), and no %s tower: import the whole model",
             src->path, text ? "a text" : "an image", (long long)one->tensors, one->prefix,
             text ? "image" : "text");
}

static tdm_status refuse_unknown(const weights_file *src)
{
    const int64_t count = tdm_tensor_file_count(src->file);
    const tdm_tensor *first = count > 0 ? tdm_tensor_file_at(src->file, 0) : NULL;
    TDM_FAIL(
        TDM_E_FORMAT,
        "%s: holds no CLIP model under the names of open_clip, OpenAI, TBPS-CLIP or Hugging Face (%lld tensors%s%.200s)",
        src->path, (long long)count, first ? ", the first is " : "", first ? first->name : "");
}

static tdm_status refuse_choice(const weights_file *src, const found_models *all, int fitting)
{
    tdm_text list = {0};
    tdm_status status = list_models(all, &list);
    if (status == TDM_OK && fitting == 0)
        status = TDM_ERROR(TDM_E_USAGE, "%s: holds no model under --prefix %.100s; there are %s", src->path,
                           src->wish, list.data);
    else if (status == TDM_OK)
        status = TDM_ERROR(TDM_E_USAGE, "%s: holds %d models, choose one: %s", src->path, fitting, list.data);
    tdm_text_free(&list);
    return status;
}

static tdm_status take_model(weights_file *src, const found_models *all)
{
    int fitting;
    bool any = false;
    for (int i = 0; i < all->count; i++) any |= is_whole(&all->item[i]);
    if (!any) {
        TDM_TRY(refuse_other_model(src, false));
        TDM_TRY(refuse_tower(src, all));
        return refuse_unknown(src);
    }
    const found_model *chosen = choose(src, all, &fitting);
    if (fitting != 1) return refuse_choice(src, all, fitting);
    src->naming = chosen->naming;
    snprintf(src->prefix, sizeof src->prefix, "%s", chosen->prefix);
    TDM_TRY(refuse_other_model(src, true));
    if (src->prefix[0] != '\0')
        tdm_log(TDM_LOG_INFO, "%s: the model stands under \"%s\"", src->path, src->prefix);
    if (src->wish[0] == '\0') note_averages(src, all, chosen);
    return TDM_OK;
}

tdm_status weights_recognise(weights_file *src)
{
    found_models *all = NULL;
    TDM_TRY(TDM_ALLOC(1, &all));
    find_models(src, all);
    const tdm_status status = take_model(src, all);
    tdm_free(all);
    return status;
}
