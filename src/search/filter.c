/* Which rows may be found: by class and by identity. */
#include "search_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool filter_passes(const tdm_searcher *searcher, tdm_modality what, const tdm_filter *filter, int64_t i)
{
    const tdm_embeddings *e = &searcher->embeddings;
    const uint64_t *labels = what == TDM_IMAGE ? e->image_labels : e->caption_labels;
    const int64_t identity = what == TDM_IMAGE ? e->image_identity[i] : e->caption_identity[i];
    bool passes = filter->class_bits == NULL;
    for (int64_t w = 0; !passes && w < e->label_words; w++)
        passes = (labels[i * e->label_words + w] & filter->class_bits[w]) != 0;
    if (!passes || filter->identities == 0) return passes;
    for (int64_t k = 0; k < filter->identities; k++)
        if (filter->identity[k] == identity) return true;
    return false;
}

/* ---- Names ---- */

typedef tdm_status add_name(const tdm_searcher *searcher, const char *where, const char *name,
                            tdm_filter *filter);

/* Names between commas, without the blanks around them. */
static tdm_status add_each(const tdm_searcher *searcher, const char *where, const char *names, add_name *add,
                           tdm_filter *filter)
{
    char *copy = strdup(names), *rest = copy;
    TDM_REQUIRE(copy != NULL, TDM_E_NOMEM, "no memory for %s", where);
    tdm_status status = TDM_OK;
    for (char *name; status == TDM_OK && (name = strsep(&rest, ",")) != NULL;) {
        name += strspn(name, " ");
        for (size_t n = strlen(name); n > 0 && name[n - 1] == ' ';) name[--n] = '\0';
        status = add(searcher, where, name, filter);
    }
    free(copy);
    return status;
}

static int64_t class_named(const tdm_searcher *searcher, const char *name)
{
    for (int64_t c = 0; c < tdm_searcher_classes(searcher); c++) {
        const char *own = tdm_searcher_class_name(searcher, c);
        if (own != NULL && strcmp(own, name) == 0) return c;
    }
    return -1;
}

static tdm_status no_class(const tdm_searcher *searcher, const char *where, const char *name)
{
    const int64_t count = tdm_searcher_classes(searcher);
    const char **names = NULL;
    TDM_REQUIRE(count > 0, TDM_E_USAGE, "%s %s: the gallery %s has no classes", where, name,
                searcher->source);
    TDM_REQUIRE(tdm_searcher_class_name(searcher, 0) != NULL, TDM_E_USAGE,
                "%s %s: the names of the classes are not known, their data set is gone", where, name);
    TDM_TRY(TDM_ALLOC(count, &names));
    for (int64_t c = 0; c < count; c++) names[c] = tdm_searcher_class_name(searcher, c);
    const char *near = tdm_nearest_name(name, names, (size_t)count);
    const tdm_status status =
        near != NULL
            ? TDM_ERROR(TDM_E_USAGE, "%s: there is no class \"%s\"; did you mean \"%s\"?", where, name, near)
            : TDM_ERROR(TDM_E_USAGE, "%s: there is no class \"%s\" among %lld, such as \"%s\"", where, name,
                        (long long)count, names[0]);
    tdm_free((void *)names);
    return status;
}

static tdm_status add_class(const tdm_searcher *searcher, const char *where, const char *name,
                            tdm_filter *filter)
{
    const int64_t index = class_named(searcher, name);
    if (index < 0) return no_class(searcher, where, name);
    if (filter->class_bits == NULL) TDM_TRY(TDM_ALLOC(searcher->embeddings.label_words, &filter->class_bits));
    filter->class_bits[index / 64] |= UINT64_C(1) << (index % 64);
    return TDM_OK;
}

tdm_status tdm_filter_add_classes(const tdm_searcher *searcher, const char *where, const char *names,
                                  tdm_filter *filter)
{
    /* the name of a class may hold a comma */
    if (class_named(searcher, names) >= 0) return add_class(searcher, where, names, filter);
    return add_each(searcher, where, names, add_class, filter);
}

/* Identities of a folder have names, others are numbers. */
static tdm_status find_identity(const tdm_searcher *searcher, const char *where, const char *name,
                                int64_t *identity)
{
    if (searcher->folder != NULL) {
        const tdm_pack_names *names = &searcher->folder->list.identities;
        for (*identity = 0; *identity < names->count; ++*identity)
            if (strcmp(names->name[*identity], name) == 0) return TDM_OK;
        const char *near = tdm_nearest_name(name, (const char *const *)names->name, (size_t)names->count);
        TDM_REQUIRE(near == NULL, TDM_E_USAGE, "%s: there is no identity \"%s\"; did you mean \"%s\"?", where,
                    name, near);
        TDM_FAIL(TDM_E_USAGE, "%s: there is no identity \"%s\" among %lld", where, name,
                 (long long)names->count);
    }
    char *end;
    errno = 0;
    *identity = strtoll(name, &end, 10);
    TDM_REQUIRE(name[0] != '\0' && *end == '\0' && errno == 0 && *identity >= 0, TDM_E_USAGE,
                "%s: \"%s\" is no number of an identity", where, name);
    return TDM_OK;
}

static tdm_status add_identity(const tdm_searcher *searcher, const char *where, const char *name,
                               tdm_filter *filter)
{
    int64_t identity, *grown = NULL;
    TDM_TRY(find_identity(searcher, where, name, &identity));
    TDM_TRY(TDM_ALLOC(filter->identities + 1, &grown));
    if (filter->identities > 0) memcpy(grown, filter->identity, (size_t)filter->identities * sizeof *grown);
    tdm_free(filter->identity);
    filter->identity = grown;
    grown[filter->identities++] = identity;
    return TDM_OK;
}

tdm_status tdm_filter_add_identities(const tdm_searcher *searcher, const char *where, const char *names,
                                     tdm_filter *filter)
{
    return add_each(searcher, where, names, add_identity, filter);
}

void tdm_filter_free(tdm_filter *filter)
{
    tdm_free(filter->class_bits);
    tdm_free(filter->identity);
    *filter = (tdm_filter){0};
}
