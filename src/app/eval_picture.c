#include "eval_picture.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum {
    THUMBNAIL_PX = 48,
    THUMBNAIL_QUALITY = 80,
    GROUP_POINTS = 3, /* identities are groups when they have so many points on average */
    MAX_VIEWS = 16
};

/* ---- Names of projections ---- */

/* Those that the names choose, in their order. */
static tdm_status choose(const char *names, const tdm_projection *chosen[MAX_VIEWS], int64_t *count)
{
    size_t rows = 0;
    const tdm_projection *const *row = tdm_projection_table(&rows);
    *count = 0;
    while (*names != '\0') {
        const size_t length = strcspn(names, ",");
        size_t i = 0;
        while (i < rows && (strncmp(row[i]->name, names, length) != 0 || row[i]->name[length] != '\0')) i++;
        TDM_REQUIRE(i < rows, TDM_E_USAGE, "tandem eval: --projection: there is no \"%.*s\"; see --help",
                    (int)length, names);
        TDM_REQUIRE(*count < MAX_VIEWS, TDM_E_USAGE, "tandem eval: --projection: at most %d", MAX_VIEWS);
        chosen[(*count)++] = row[i];
        names += length + (names[length] == ',');
    }
    return TDM_OK;
}

tdm_status eval_picture_check(const eval_picture_options *options)
{
    const tdm_projection *chosen[MAX_VIEWS];
    int64_t count;
    return choose(options->projections, chosen, &count);
}

void eval_picture_explain(void)
{
    size_t rows = 0;
    const tdm_projection *const *row = tdm_projection_table(&rows);
    puts("\n--projection:");
    for (size_t i = 0; i < rows; i++) printf("  %-24s  %s\n", row[i]->name, row[i]->help);
}

/* ---- What the points are ---- */

/* Of an image or of a caption's image. */
static int64_t row_of(const tdm_dataset *dataset, const eval_picture *p, int64_t i)
{
    const int64_t place = p->sample.place[i];
    return i < p->sample.images ? tdm_dataset_image_row(dataset, place)
                                : tdm_dataset_caption_image(dataset, place);
}

static tdm_status read_texts(tdm_dataset *dataset, eval_picture *p, int64_t i)
{
    const int64_t row = row_of(dataset, p, i);
    int64_t caption = p->sample.place[i], captions = 1;
    if (i < p->sample.images) tdm_dataset_image_captions(dataset, row, &caption, &captions);
    if (captions > 0) TDM_TRY(tdm_dataset_read_caption(dataset, caption, &p->text[i]));
    return tdm_dataset_read_name(dataset, row, &p->name[i]);
}

/* The file of image i; a row of features has none. */
static tdm_status read_file(tdm_dataset *dataset, eval_picture *p, int64_t i)
{
    const tdm_status status = tdm_dataset_read_image(dataset, row_of(dataset, p, i), &p->image[i]);
    return status == TDM_E_DATA ? TDM_OK : status;
}

static tdm_status shrink(eval_picture *p, int64_t i)
{
    tdm_text small = {0};
    if (p->image[i].length == 0) return TDM_OK;
    const tdm_status status = tdm_image_thumbnail(p->name[i].data, p->image[i].data, p->image[i].length,
                                                  THUMBNAIL_PX, THUMBNAIL_QUALITY, &small);
    tdm_text_free(&p->image[i]);
    p->image[i] = small;
    return status;
}

/* One thread reads, all of them decode, some images at a time. */
static tdm_status read_images(tdm_dataset *dataset, eval_picture *p)
{
    enum { BLOCK = 64 };
    for (int64_t first = 0; first < p->sample.images; first += BLOCK) {
        const int64_t end = tdm_min_i64(first + BLOCK, p->sample.images);
        int64_t failed = end;
        for (int64_t i = first; i < end; i++) TDM_TRY(read_file(dataset, p, i));
#pragma omp parallel for schedule(dynamic) reduction(min : failed)
        for (int64_t i = first; i < end; i++)
            if (shrink(p, i) != TDM_OK) failed = tdm_min_i64(failed, i);
        TDM_REQUIRE(failed == end, TDM_E_DATA, "%s: no thumbnail can be made of %s",
                    tdm_dataset_where(dataset, row_of(dataset, p, failed)), p->name[failed].data);
    }
    return TDM_OK;
}

/* ---- By what they are coloured ---- */

/* The first class of each point's row. */
static tdm_status group_by_class(tdm_dataset *dataset, eval_picture *p)
{
    const int64_t classes = tdm_dataset_class_count(dataset);
    int64_t several = 0;
    TDM_TRY(TDM_ALLOC(classes, &p->group));
    for (int64_t c = 0; c < classes; c++) p->group[c] = tdm_dataset_class_name(dataset, c);
    for (int64_t i = 0; i < p->sample.n; i++) {
        const uint64_t *bits = NULL;
        TDM_TRY(tdm_dataset_class_bits(dataset, row_of(dataset, p, i), &bits));
        int64_t c = 0;
        while (c < classes && !(bits[c / 64] >> c % 64 & 1)) c++;
        p->point[i].group = c < classes ? c : -1;
        for (c++; c < classes; c++) several += bits[c / 64] >> c % 64 & 1;
    }
    p->picture.groups = classes;
    return tdm_text_printf(&p->subtitle,
                           several ? ", coloured by the first of their classes" : ", coloured by class");
}

/* Only where an identity has several points. */
static tdm_status group_by_identity(const tdm_dataset *dataset, eval_picture *p)
{
    int64_t identities = 0;
    TDM_TRY(TDM_ALLOC(p->sample.n, &p->identity));
    for (int64_t i = 0; i < p->sample.n; i++)
        p->identity[i] = tdm_dataset_identity(dataset, row_of(dataset, p, i));
    qsort(p->identity, (size_t)p->sample.n, sizeof *p->identity, tdm_compare_i64);
    for (int64_t i = 0; i < p->sample.n; i++)
        if (i == 0 || p->identity[i] != p->identity[i - 1]) p->identity[identities++] = p->identity[i];
    if (p->sample.n < GROUP_POINTS * identities) return TDM_OK;
    for (int64_t i = 0; i < p->sample.n; i++)
        p->point[i].group =
            tdm_lower_bound(p->identity, identities, tdm_dataset_identity(dataset, row_of(dataset, p, i)));
    TDM_TRY(TDM_ALLOC(identities, &p->group));
    for (int64_t g = 0; g < identities; g++)
        TDM_TRY(tdm_text_printf(&p->group_name, "identity %lld%c", (long long)p->identity[g], '\0'));
    const char *name = p->group_name.data;
    for (int64_t g = 0; g < identities; g++, name += strlen(name) + 1) p->group[g] = name;
    p->picture.groups = identities;
    return tdm_text_printf(&p->subtitle, ", coloured by identity");
}

static tdm_status group_points(tdm_dataset *dataset, eval_picture *p)
{
    for (int64_t i = 0; i < p->sample.n; i++) p->point[i].group = -1;
    if (tdm_dataset_class_count(dataset) > 0) return group_by_class(dataset, p);
    return tdm_dataset_has_identity(dataset) ? group_by_identity(dataset, p) : TDM_OK;
}

/* ---- The picture ---- */

static tdm_status allocate(eval_picture *p, int64_t views)
{
    const int64_t n = p->sample.n;
    TDM_TRY(TDM_ALLOC(views, &p->view));
    TDM_TRY(TDM_ALLOC(views, &p->place));
    TDM_TRY(TDM_ALLOC(views, &p->note));
    p->picture.views = views;
    TDM_TRY(TDM_ALLOC(n, &p->point));
    TDM_TRY(TDM_ALLOC(n, &p->text));
    TDM_TRY(TDM_ALLOC(n, &p->name));
    return TDM_ALLOC(n, &p->image);
}

static tdm_status make_views(const tdm_projection *const *chosen, double perplexity, eval_picture *p)
{
    const tdm_embedding_sample *s = &p->sample;
    const tdm_projection_options options = {.perplexity = perplexity};
    for (int64_t v = 0; v < p->picture.views; v++) {
        const double begin_s = tdm_now_s();
        TDM_TRY(TDM_ALLOC(s->n * 2, &p->place[v]));
        TDM_TRY(chosen[v]->project(s->n, s->d, s->feature, &options, p->place[v], &p->note[v]));
        p->view[v] = (tdm_picture_view){chosen[v]->title, p->note[v].data, p->place[v]};
        tdm_log(TDM_LOG_INFO, "%s of %lld points took %.1f s", chosen[v]->title, (long long)s->n,
                tdm_now_s() - begin_s);
    }
    return TDM_OK;
}

static tdm_status make_points(tdm_dataset *dataset, eval_picture *p)
{
    const tdm_embedding_sample *s = &p->sample;
    if (s->n < s->total)
        TDM_TRY(tdm_text_printf(&p->subtitle, "a random sample: %lld of %lld images and texts",
                                (long long)s->n, (long long)s->total));
    else
        TDM_TRY(tdm_text_printf(&p->subtitle, "all %lld images and texts", (long long)s->n));
    TDM_TRY(group_points(dataset, p));
    for (int64_t i = 0; i < s->n; i++) TDM_TRY(read_texts(dataset, p, i));
    TDM_TRY(read_images(dataset, p));
    for (int64_t i = 0; i < s->n; i++) {
        p->point[i].is_text = i >= s->images;
        p->point[i].text = p->text[i].data;
        p->point[i].name = p->name[i].data;
        p->point[i].image = p->image[i].data;
        p->point[i].image_bytes = (int64_t)p->image[i].length;
    }
    return TDM_OK;
}

/* On rank 0, with the threads of the model. */
static tdm_status draw(const tdm_inference *inference, tdm_dataset *dataset,
                       const tdm_projection *const *chosen, double perplexity, eval_picture *p)
{
    const int before = omp_get_max_threads();
    omp_set_num_threads(tdm_ops_threads(inference->ops));
    tdm_status status = make_views(chosen, perplexity, p);
    if (status == TDM_OK) status = make_points(dataset, p);
    omp_set_num_threads(before);
    p->picture.title = "Embedding";
    p->picture.subtitle = p->subtitle.data;
    p->picture.view = p->view;
    p->picture.point = p->point;
    p->picture.n = p->sample.n;
    p->picture.group = p->group;
    return status;
}

tdm_status eval_picture_make(tdm_comm *comm, const tdm_inference *inference, tdm_dataset *dataset,
                             const tdm_embeddings *embeddings, const eval_picture_options *options,
                             eval_picture *picture)
{
    const tdm_projection *chosen[MAX_VIEWS];
    int64_t views;
    *picture = (eval_picture){0};
    TDM_TRY(choose(options->projections, chosen, &views));
    TDM_TRY(tdm_embedding_sample_take(comm, embeddings, options->points, (uint64_t)inference->config.seed,
                                      &picture->sample));
    tdm_status status = TDM_OK;
    if (tdm_comm_rank(comm) == 0) status = allocate(picture, views);
    if (tdm_comm_rank(comm) == 0 && status == TDM_OK)
        status = draw(inference, dataset, chosen, options->perplexity, picture);
    status = tdm_comm_agree(comm, status);
    if (status != TDM_OK) eval_picture_free(picture);
    return status;
}

void eval_picture_free(eval_picture *p)
{
    for (int64_t i = 0; i < p->sample.n && p->image != NULL; i++) {
        tdm_text_free(&p->text[i]);
        tdm_text_free(&p->name[i]);
        tdm_text_free(&p->image[i]);
    }
    for (int64_t v = 0; v < p->picture.views; v++) {
        tdm_free(p->place[v]);
        tdm_text_free(&p->note[v]);
    }
    tdm_free(p->view);
    tdm_free((void *)p->place);
    tdm_free(p->note);
    tdm_free(p->point);
    tdm_free(p->text);
    tdm_free(p->name);
    tdm_free(p->image);
    tdm_free((void *)p->group);
    tdm_free(p->identity);
    tdm_text_free(&p->group_name);
    tdm_text_free(&p->subtitle);
    tdm_embedding_sample_free(&p->sample);
    *p = (eval_picture){0};
}
