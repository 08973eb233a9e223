/* The options of the commands that search in a gallery. */
#ifndef TANDEM_APP_GALLERY_FLAGS_H
#define TANDEM_APP_GALLERY_FLAGS_H

#include "command.h"

typedef struct gallery_options {
    const char *dir, *split, *cache;
    bool no_cache;
    int64_t class_level, identity_level;
    double duplicate_cosine;
} gallery_options;

#define GALLERY_DEFAULTS                                                                                     \
    {                                                                                                        \
        .dir = "", .split = "", .duplicate_cosine = 0.98                                                     \
    }
#define GALLERY_FLAGS(options)                                                                               \
    FLAG_STRING("--data,--gallery", &(options).dir, "DIR", NULL,                                             \
                "a folder of pictures, a packed data directory, or embeddings made by tandem embed"),        \
        FLAG_STRING("--split", &(options).split, "NAME", "", "of the gallery, if it has several"),           \
        FLAG_FLOAT("--duplicate-cosine", &(options).duplicate_cosine, "X", "0.98", "", 0.01, 1,              \
                   "from which cosine two results are nearly the same"),                                     \
        FLAG_STRING(                                                                                         \
            "--cache", &(options).cache, "DIR", "",                                                          \
            "where embeddings of a folder are kept; unset: $XDG_CACHE_HOME/tandem or ~/.cache/tandem"),      \
        FLAG_SWITCH("--no-cache", &(options).no_cache, "keep none, and use none"),                           \
        FLAG_INT("--class-level", &(options).class_level, "N", "0", "", 0, 64,                               \
                 "in a folder, folders of this level are classes: 1, those in DIR; 0: none are"),            \
        FLAG_INT("--identity-level", &(options).identity_level, "N", "0", "", 0, 64,                         \
                 "the same: folders are identities")

/* command: "tandem search" */
static inline tdm_status gallery_check(const char *command, const gallery_options *options)
{
    TDM_REQUIRE(!options->no_cache || options->cache == NULL, TDM_E_USAGE, "%s: --cache and --no-cache",
                command);
    TDM_REQUIRE(options->cache == NULL || options->cache[0] != '\0', TDM_E_USAGE,
                "%s: --cache: which directory?", command);
    return TDM_OK;
}

static inline tdm_searcher_options gallery_searched(const gallery_options *options)
{
    return (tdm_searcher_options){.gallery = options->dir,
                                  .split = options->split,
                                  .cache = options->no_cache ? "" : options->cache,
                                  .class_level = options->class_level,
                                  .identity_level = options->identity_level};
}

#endif
