/* tandem search: the best of a gallery for texts and images. */
#include "gallery_flags.h"
#include "inference_flags.h"
#include "search_results.h"

#include <stdlib.h>
#include <string.h>

typedef struct search_options {
    tdm_inference_options inference;
    gallery_options gallery;
    const char *text, *image, *queries, *find, *html, *json;
    int64_t k;
    double weight;
    bool hide_duplicates;
    tdm_strings classes, identities;
} search_options;

typedef struct search {
    tdm_comm *comm;
    const search_options *options;
    tdm_inference inference;
    tdm_searcher searcher;
    search_queries queries;
    tdm_filter filter;
    tdm_found found;
    tdm_found_item *item; /* [queries][found.k] on rank 0 */
} search;

static tdm_status read_queries(search *s)
{
    const search_options *o = s->options;
    if (o->queries[0] != '\0') return search_queries_read(s->comm, o->queries, o->weight, &s->queries);
    return search_queries_add(&s->queries, o->text[0] != '\0' ? o->text : NULL,
                              o->image[0] != '\0' ? o->image : NULL, o->weight);
}

static tdm_status open_gallery(search *s)
{
    const search_options *o = s->options;
    tdm_searcher_options gallery = gallery_searched(&o->gallery);
    gallery.images_only = strcmp(o->find, "images") == 0;
    TDM_TRY(tdm_searcher_open(s->comm, &s->inference, &gallery, &s->searcher));
    if (!tdm_searcher_has_source(&s->searcher))
        tdm_log(TDM_LOG_WARN, "%s: the gallery's source is not there: no captions, names and thumbnails",
                s->searcher.source);
    return TDM_OK;
}

static tdm_status make_filter(search *s)
{
    const search_options *o = s->options;
    for (int64_t i = 0; i < o->classes.count; i++)
        TDM_TRY(tdm_filter_add_classes(&s->searcher, "--class", o->classes.item[i], &s->filter));
    for (int64_t i = 0; i < o->identities.count; i++)
        TDM_TRY(tdm_filter_add_identities(&s->searcher, "--identity", o->identities.item[i], &s->filter));
    return TDM_OK;
}

/* Each rank embeds its contiguous piece of the queries. Collective. */
static tdm_status find_best(search *s)
{
    const search_options *o = s->options;
    const int rank = tdm_comm_rank(s->comm), size = tdm_comm_size(s->comm);
    const int64_t begin = tdm_part_begin(s->queries.count, size, rank);
    const int64_t n = tdm_part_begin(s->queries.count, size, rank + 1) - begin;
    const tdm_find find = {.what = strcmp(o->find, "captions") == 0 ? TDM_TEXT : TDM_IMAGE,
                           .k = o->k,
                           .filter = o->classes.count + o->identities.count > 0 ? &s->filter : NULL,
                           .hide_duplicates = o->hide_duplicates ? o->gallery.duplicate_cosine : 0};
    float *feature = NULL; /* [n][d] */
    int64_t cut = 0;
    tdm_status status = TDM_ALLOC(n * tdm_model_embed_dim(s->inference.model), &feature);
    if (status == TDM_OK)
        status = search_queries_embed(&s->inference, &s->queries, begin, begin + n, feature, &cut);
    status = tdm_comm_agree(s->comm, status);
    if (status == TDM_OK) {
        tdm_comm_sum_i64(s->comm, &cut, 1);
        if (cut > 0)
            tdm_log(TDM_LOG_WARN, "%s cut to the %lld tokens that the model reads",
                    s->queries.count == 1 ? "the text was" : "texts were",
                    (long long)tdm_caption_tokens(&s->inference.config));
        status = tdm_searcher_find(&s->searcher, &find, n, feature, &s->found);
    }
    tdm_free(feature);
    if (status == TDM_OK && s->found.k == 0)
        tdm_log(TDM_LOG_WARN, "nothing in the gallery is of the classes and identities that are asked for");
    return status;
}

/* On rank 0. */
static tdm_status show_results(search *s)
{
    const search_options *o = s->options;
    const tdm_found *found = &s->found;
    TDM_TRY(TDM_ALLOC(found->queries * found->k, &s->item));
    for (int64_t q = 0; q < found->queries; q++)
        TDM_TRY(tdm_searcher_read(&s->searcher, found, q, o->html[0] != '\0', s->item + q * found->k));
    const search_results results = {.inference = &s->inference,
                                    .searcher = &s->searcher,
                                    .gallery = o->gallery.dir,
                                    .queries = &s->queries,
                                    .found = found,
                                    .item = s->item,
                                    .classes = &o->classes,
                                    .identities = &o->identities,
                                    .hide_duplicates = o->hide_duplicates ? o->gallery.duplicate_cosine : 0};
    TDM_TRY(search_print_table(&results));
    if (o->json[0] != '\0') TDM_TRY(search_write_json(&results, o->json));
    return o->html[0] != '\0' ? search_write_html(&results, o->html) : TDM_OK;
}

static tdm_status run_search(search *s)
{
    TDM_AGREE(s->comm, read_queries(s));
    TDM_TRY(tdm_inference_open(s->comm, &s->options->inference, &s->inference));
    TDM_TRY(open_gallery(s));
    TDM_AGREE(s->comm, make_filter(s));
    TDM_TRY(find_best(s));
    TDM_TRY(inference_show(s->comm, &s->inference));
    return tdm_comm_agree(s->comm, tdm_comm_rank(s->comm) == 0 ? show_results(s) : TDM_OK);
}

static tdm_status check_options(search_options *o, const tdm_strings *positional)
{
    const bool by_file = o->queries[0] != '\0', by_image = o->image[0] != '\0';
    TDM_REQUIRE(!by_file || (positional->count == 0 && !by_image), TDM_E_USAGE,
                "tandem search: --queries takes the place of a text and of --image");
    TDM_REQUIRE(by_file || positional->count == 1 || (by_image && positional->count == 0), TDM_E_USAGE,
                "tandem search: give one text, --image FILE, both, or --queries FILE, not %lld texts",
                (long long)positional->count);
    if (positional->count > 0) o->text = positional->item[0];
    TDM_REQUIRE(positional->count == 0 || o->text[strspn(o->text, " \t\r\n")] != '\0', TDM_E_USAGE,
                "tandem search: the text is empty");
    return gallery_check("tandem search", &o->gallery);
}

static tdm_status search_run(tdm_comm *comm, int argc, char **argv)
{
    search_options options = {.inference = INFERENCE_DEFAULTS,
                              .gallery = GALLERY_DEFAULTS,
                              .text = "",
                              .image = "",
                              .queries = "",
                              .find = "images",
                              .html = "",
                              .json = "",
                              .k = 10,
                              .weight = 0.5};
    const tdm_flag flags[] = {
        GALLERY_FLAGS(options.gallery),
        FLAG_INT("-k,--top", &options.k, "N", "10", "rows", 1, 1000000, "how many of the best to show"),
        FLAG_STRING("--image", &options.image, "FILE", "",
                    "search with an image; with a text, too, for what lies between both"),
        FLAG_FLOAT("--weight", &options.weight, "X", "0.5", "", 0, 1, "of the image beside a text"),
        FLAG_STRING(
            "--queries", &options.queries, "FILE", "",
            "one query a line: a text, image:PATH, or {\"text\": …, \"image\": …}; -: standard input"),
        FLAG_STRING("--find", &options.find, "images|captions", "images", "what to look for"),
        FLAG_LIST("--class", &options.classes, "NAME,…", "",
                  "find only what belongs to one of these classes"),
        FLAG_LIST("--identity", &options.identities, "NAME,…", "", "find only these identities"),
        FLAG_SWITCH("--hide-duplicates", &options.hide_duplicates,
                    "leave out what is nearly the same as a better result, and take further ones"),
        FLAG_STRING("--html", &options.html, "FILE", "", "contact sheet with thumbnails"),
        FLAG_STRING("--json", &options.json, "FILE", "", "the results as JSON"),
        INFERENCE_FLAGS(options.inference),
    };
    tdm_strings positional = {0};
    bool help = false;
    tdm_status status = tdm_parse_flags(
        "search",
        "--model CKPT --gallery DIR [-k N] [--html FILE] [--json FILE] [\"text\"] [--image FILE] | --queries FILE",
        flags, sizeof flags / sizeof flags[0], argc, argv, &positional, &help);
    if (status == TDM_OK && !help) status = check_options(&options, &positional);
    free((void *)positional.item);
    search s = {.comm = comm, .options = &options};
    if (status == TDM_OK && !help) status = run_search(&s);
    tdm_found_items_free(s.item, s.found.queries * s.found.k);
    tdm_found_free(&s.found);
    tdm_filter_free(&s.filter);
    search_queries_free(&s.queries);
    tdm_searcher_close(&s.searcher);
    tdm_inference_close(&s.inference);
    free((void *)options.classes.item);
    free((void *)options.identities.item);
    return status;
}

const tdm_command tdm_command_search = {.name = "search",
                                        .summary = "the best of a gallery for a text or an image",
                                        .mpi = true,
                                        .starts_alone = true,
                                        .stops = true,
                                        .run = search_run};
