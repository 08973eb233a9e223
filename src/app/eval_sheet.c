#include "eval_sheet.h"

#include "retrieval_queries.h"
#include "sheet_items.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A caption of a section. */
typedef struct chosen {
    int64_t caption;
    char note[96];
} chosen;
struct sheet_section {
    char title[128], note[256];
    chosen *list; /* [count] */
    int64_t count;
};
enum { SAMPLE, FAILURES, GAINS, LOSSES };

bool eval_sheet_needs_each(const eval_sheet_options *options)
{
    return options->failures > 0 || options->compare_with[0] != '\0';
}

/* ---- Which captions ---- */

static tdm_status choose_sample(const eval_sheet_input *in, sheet_section *section)
{
    const int64_t captions = tdm_dataset_captions(in->dataset);
    const int64_t n = tdm_min_i64(in->options->sample, captions);
    TDM_TRY(TDM_ALLOC(n, &section->list));
    section->count = n;
    for (int64_t q = 0; q < n; q++) section->list[q].caption = captions * q / n;
    return TDM_OK;
}

/* A caption and what it is sorted by, the largest first. */
typedef struct weighed {
    double weight;
    int64_t caption;
} weighed;

static int by_weight(const void *a, const void *b)
{
    const weighed *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? 1 : -1;
    return (x->caption > y->caption) - (x->caption < y->caption);
}

/* The `most` heaviest of order[n] whose weight is above `least`. */
static tdm_status take_heaviest(weighed *order, int64_t n, double least, int64_t most, sheet_section *section)
{
    qsort(order, (size_t)n, sizeof *order, by_weight);
    TDM_TRY(TDM_ALLOC(most, &section->list));
    for (int64_t i = 0; i < n && section->count < most && order[i].weight > least; i++)
        section->list[section->count++].caption = order[i].caption;
    return TDM_OK;
}

/* Values of a metric, [queries]; NULL: it is not among them. */
static const double *values_of(const query_values *each, const char *name, const tdm_metric **metric)
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_rows_of(each->rows, &count);
    for (size_t m = 0; m < count; m++) {
        if (strcmp(row[m]->name, name) != 0) continue;
        *metric = row[m];
        return each->value + (int64_t)m * each->query->count;
    }
    return NULL;
}

static tdm_status choose_failures(const eval_sheet_input *in, sheet_section *section)
{
    const tdm_metric *metric;
    const double *rank = values_of(in->each, "mean_rank", &metric);
    const int64_t queries = in->each->query->count;
    weighed *order = NULL;
    int64_t n = 0;
    TDM_TRY(TDM_ALLOC(queries, &order));
    for (int64_t i = 0; i < queries; i++)
        if (isfinite(rank[i])) order[n++] = (weighed){rank[i], i};
    const tdm_status status = take_heaviest(order, n, 1, in->options->failures, section);
    tdm_free(order);
    TDM_TRY(status);
    snprintf(section->title, sizeof section->title, "Worst failures");
    snprintf(section->note, sizeof section->note,
             "The captions whose first match stands furthest down. Beside each is its own image.");
    for (int64_t i = 0; i < section->count; i++)
        snprintf(section->list[i].note, sizeof section->list[i].note, "first match at rank %.0f",
                 rank[section->list[i].caption]);
    return TDM_OK;
}

/* ---- What has changed ---- */

typedef struct change {
    const char *name; /* of the metric */
    const char *path; /* of the other run's file */
    const double *now;
    double *before; /* [queries] NaN where the other file has none */
    double sign;    /* -1: less is better */
    int64_t queries, absent;
} change;

static const char *changed_by(const eval_sheet_options *options)
{
    return options->changed_by[0] != '\0' ? options->changed_by : "map";
}

static tdm_status pair_queries(const eval_sheet_input *in, const query_file *other, change *c)
{
    const tdm_metric *metric = NULL;
    c->now = values_of(in->each, c->name, &metric);
    TDM_REQUIRE(
        c->now != NULL, TDM_E_USAGE,
        "tandem eval: --changed-by: \"%.80s\" is not among the metrics; --metrics asks for further ones",
        c->name);
    const double *value = other->value + row_names_find(&other->metric, c->name) * other->query.count;
    c->sign = metric->less_is_better ? -1 : 1;
    TDM_TRY(TDM_ALLOC(c->queries, &c->before));
    for (int64_t i = 0; i < c->queries; i++) {
        const int64_t row = row_names_find(&other->query, row_names_at(in->each->query, i));
        c->before[i] = row >= 0 ? value[row] : (double)NAN;
        c->absent += row < 0;
    }
    TDM_REQUIRE(c->absent < c->queries, TDM_E_DATA, "--compare-with: %s: has none of the captions", c->path);
    return TDM_OK;
}

static tdm_status choose_changed(const eval_sheet_input *in, const change *c, double way,
                                 sheet_section *section)
{
    weighed *order = NULL;
    int64_t n = 0;
    TDM_TRY(TDM_ALLOC(c->queries, &order));
    for (int64_t i = 0; i < c->queries; i++)
        if (isfinite(c->before[i]) && isfinite(c->now[i]))
            order[n++] = (weighed){way * c->sign * (c->now[i] - c->before[i]), i};
    const tdm_status status = take_heaviest(order, n, 0, in->options->changed, section);
    tdm_free(order);
    TDM_TRY(status);
    snprintf(section->title, sizeof section->title, "Largest %s", way > 0 ? "gains" : "losses");
    const int length =
        snprintf(section->note, sizeof section->note, "In %s, beside %.150s.", c->name, c->path);
    if (c->absent > 0)
        snprintf(section->note + length, sizeof section->note - (size_t)length,
                 " %lld captions are not there.", (long long)c->absent);
    for (int64_t i = 0; i < section->count; i++) {
        chosen *it = &section->list[i];
        snprintf(it->note, sizeof it->note, "%s %.4g, was %.4g", c->name, c->now[it->caption],
                 c->before[it->caption]);
    }
    return TDM_OK;
}

static tdm_status choose_changes(const eval_sheet_input *in, const eval_sheet *sheet)
{
    change c = {.name = changed_by(in->options), .path = sheet->path.data, .queries = in->each->query->count};
    tdm_status status = pair_queries(in, &sheet->other, &c);
    if (status == TDM_OK) status = choose_changed(in, &c, 1, &sheet->section[GAINS]);
    if (status == TDM_OK) status = choose_changed(in, &c, -1, &sheet->section[LOSSES]);
    tdm_free(c.before);
    return status;
}

/* The file that was named, or its part of this direction. */
static tdm_status other_path(const char *given, tdm_text *path)
{
    TDM_TRY(retrieval_queries_path(given, TDM_TEXT_TO_IMAGE, path));
    if (tdm_path_exists(path->data)) return TDM_OK;
    path->length = 0;
    return tdm_text_printf(path, "%s", given);
}

static tdm_status check_metric(const eval_sheet_options *options, const eval_sheet *sheet)
{
    TDM_REQUIRE(row_names_find(&sheet->other.metric, changed_by(options)) >= 0, TDM_E_DATA,
                "--compare-with: %s: has no column %.80s; --changed-by names another metric",
                sheet->path.data, changed_by(options));
    return TDM_OK;
}

tdm_status eval_sheet_open(tdm_comm *comm, const eval_sheet_options *options, eval_sheet *sheet)
{
    if (options->compare_with[0] == '\0') return TDM_OK;
    TDM_AGREE(comm, other_path(options->compare_with, &sheet->path));
    TDM_TRY(query_file_read(comm, "--compare-with", sheet->path.data, &sheet->other));
    return tdm_comm_agree(comm, check_metric(options, sheet));
}

/* ---- What they find ---- */

static int64_t count_chosen(const eval_sheet *sheet)
{
    int64_t n = 0;
    for (int i = 0; i < EVAL_SHEET_SECTIONS; i++) n += sheet->section[i].count;
    return n;
}

/* All captions of the sections, each once. */
static tdm_status list_captions(eval_sheet *sheet)
{
    int64_t n = 0;
    TDM_TRY(TDM_ALLOC(count_chosen(sheet), &sheet->caption));
    for (int i = 0; i < EVAL_SHEET_SECTIONS; i++)
        for (int64_t q = 0; q < sheet->section[i].count; q++)
            sheet->caption[n++] = sheet->section[i].list[q].caption;
    qsort(sheet->caption, (size_t)n, sizeof *sheet->caption, tdm_compare_i64);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || sheet->caption[i] != sheet->caption[i - 1])
            sheet->caption[sheet->captions++] = sheet->caption[i];
    return TDM_OK;
}

/* Features of the captions that this rank embedded, [*n][d]: consecutive queries. */
static tdm_status select_features(const eval_sheet_input *in, const eval_sheet *sheet, int64_t *n,
                                  float **feature)
{
    const tdm_embeddings *e = in->embeddings;
    *n = 0;
    TDM_TRY(TDM_ALLOC(sheet->captions * e->d, feature));
    for (int64_t q = 0; q < sheet->captions; q++) {
        const int64_t local = sheet->caption[q] - e->caption_first;
        if (local < 0 || local >= e->captions) continue;
        memcpy(*feature + (*n)++ * e->d, e->text + local * e->d, (size_t)e->d * sizeof(float));
    }
    return TDM_OK;
}

static tdm_status read_caption(const eval_sheet_input *in, const tdm_searcher *searcher, int64_t q,
                               eval_sheet *sheet)
{
    const int64_t k = sheet->found.k;
    tdm_found_item *item = sheet->item + q * k;
    TDM_TRY(tdm_searcher_read(searcher, &sheet->found, q, true, item));
    TDM_TRY(tdm_searcher_read_row(searcher, TDM_TEXT, sheet->caption[q], true, &sheet->own[q]));
    for (int64_t i = 0; i < k; i++)
        TDM_TRY(
            in->match->is_positive(in->dataset, sheet->own[q].image, item[i].image, &item[i].is_positive));
    sheet_items_of(item, k, sheet->shown + q * k);
    return TDM_OK;
}

/* The sections as the page shows them; of the sample the captions alone, of the others their images as well. */
static void show_sections(eval_sheet *sheet)
{
    tdm_sheet_query *query = sheet->query;
    for (int i = 0; i < EVAL_SHEET_SECTIONS; i++) {
        const sheet_section *section = &sheet->section[i];
        if (i != SAMPLE && section->list == NULL) continue;
        sheet->part[sheet->parts++] = (tdm_eval_section){
            .title = section->title, .note = section->note, .query = query, .queries = section->count};
        for (int64_t q = 0; q < section->count; q++, query++) {
            const int64_t at = tdm_lower_bound(sheet->caption, sheet->captions, section->list[q].caption);
            const tdm_found_item *own = &sheet->own[at];
            *query = (tdm_sheet_query){.text = own->text.data,
                                       .item = sheet->shown + at * sheet->found.k,
                                       .item_count = sheet->found.k};
            if (i == SAMPLE) continue;
            query->image = own->thumbnail.data;
            query->image_bytes = (int64_t)own->thumbnail.length;
            query->note = section->list[q].note;
        }
    }
}

static tdm_status show(const eval_sheet_input *in, const tdm_searcher *searcher, eval_sheet *sheet)
{
    const int64_t items = sheet->captions * sheet->found.k;
    TDM_TRY(TDM_ALLOC(items, &sheet->item));
    TDM_TRY(TDM_ALLOC(items, &sheet->shown));
    TDM_TRY(TDM_ALLOC(sheet->captions, &sheet->own));
    TDM_TRY(TDM_ALLOC(count_chosen(sheet), &sheet->query));
    for (int64_t q = 0; q < sheet->captions; q++) TDM_TRY(read_caption(in, searcher, q, sheet));
    show_sections(sheet);
    return TDM_OK;
}

static tdm_status find_images(const eval_sheet_input *in, eval_sheet *sheet)
{
    tdm_searcher searcher = tdm_searcher_over(in->comm, in->inference, in->dataset, in->embeddings);
    const tdm_find find = {.what = TDM_IMAGE, .k = in->options->top};
    float *feature = NULL;
    int64_t n = 0;
    tdm_status status = tdm_comm_agree(in->comm, select_features(in, sheet, &n, &feature));
    if (status == TDM_OK && sheet->captions > 0)
        status = tdm_searcher_find(&searcher, &find, n, feature, &sheet->found);
    if (status == TDM_OK)
        status = tdm_comm_agree(in->comm, tdm_comm_rank(in->comm) == 0 ? show(in, &searcher, sheet) : TDM_OK);
    tdm_free(feature);
    tdm_searcher_close(&searcher);
    return status;
}

static tdm_status choose(const eval_sheet_input *in, eval_sheet *sheet)
{
    TDM_TRY(TDM_ALLOC(EVAL_SHEET_SECTIONS, &sheet->section));
    TDM_TRY(choose_sample(in, &sheet->section[SAMPLE]));
    if (in->options->failures > 0 && in->each->value != NULL)
        TDM_TRY(choose_failures(in, &sheet->section[FAILURES]));
    if (sheet->other.query.count > 0) TDM_TRY(choose_changes(in, sheet));
    return list_captions(sheet);
}

tdm_status eval_sheet_make(const eval_sheet_input *input, eval_sheet *sheet)
{
    TDM_AGREE(input->comm, choose(input, sheet));
    return find_images(input, sheet);
}

void eval_sheet_free(eval_sheet *sheet)
{
    tdm_found_items_free(sheet->own, sheet->captions);
    tdm_found_items_free(sheet->item, sheet->captions * sheet->found.k);
    for (int i = 0; sheet->section != NULL && i < EVAL_SHEET_SECTIONS; i++) tdm_free(sheet->section[i].list);
    query_file_free(&sheet->other);
    tdm_text_free(&sheet->path);
    tdm_free(sheet->section);
    tdm_free(sheet->caption);
    tdm_free(sheet->shown);
    tdm_free(sheet->query);
    tdm_found_free(&sheet->found);
    *sheet = (eval_sheet){0};
}
