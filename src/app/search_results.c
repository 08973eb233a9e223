#include "search_results.h"

#include "result_json.h"
#include "sheet_items.h"

#include <string.h>

static const tdm_found_item *items_of(const search_results *r, int64_t q)
{
    return r->item + q * r->found->k;
}

/* Results of query q: near-duplicates may leave fewer than k. */
static int64_t count_of(const search_results *r, int64_t q)
{
    int64_t n = 0;
    while (n < r->found->k && items_of(r, q)[n].row >= 0) n++;
    return n;
}

/* ---- The table ---- */

/* A caption or a name, "-" for none. */
static tdm_status show_or_dash(const tdm_text *text, tdm_text *line)
{
    return tdm_text_show(line, text->length > 0 ? text->data : "-");
}

static tdm_status append_result(const search_results *r, int64_t q, int64_t i, tdm_text *table)
{
    const tdm_found_item *item = &items_of(r, q)[i];
    TDM_TRY(
        tdm_text_printf(table, "%4lld  %7.4f  %8lld  ", (long long)i + 1, item->score, (long long)item->row));
    TDM_TRY(show_or_dash(&item->text, table));
    TDM_TRY(tdm_text_printf(table, "  ["));
    TDM_TRY(show_or_dash(&item->name, table));
    return tdm_text_printf(table, "]\n");
}

/* "query 3: a red disc, image cat.png" */
static tdm_status append_query(const search_results *r, int64_t q, tdm_text *table)
{
    const search_query *query = &r->queries->query[q];
    TDM_TRY(tdm_text_printf(table, "%squery ", q > 0 ? "\n" : ""));
    if (query->id != NULL)
        TDM_TRY(tdm_text_show(table, query->id));
    else
        TDM_TRY(tdm_text_printf(table, "%lld", (long long)q + 1));
    TDM_TRY(tdm_text_printf(table, ": "));
    if (query->text != NULL) TDM_TRY(tdm_text_show(table, query->text));
    if (query->image != NULL) {
        TDM_TRY(tdm_text_printf(table, "%simage ", query->text != NULL ? ", " : ""));
        TDM_TRY(tdm_text_show(table, query->image));
    }
    return tdm_text_printf(table, "\n");
}

static tdm_status append_hidden(const search_results *r, int64_t q, tdm_text *table)
{
    if (r->found->hidden == NULL || r->found->hidden[q] == 0) return TDM_OK;
    return tdm_text_printf(table, "      %lld near-duplicates of these are hidden\n",
                           (long long)r->found->hidden[q]);
}

static tdm_status make_table(const search_results *r, tdm_text *table)
{
    const bool texts = r->found->what == TDM_TEXT;
    for (int64_t q = 0; q < r->found->queries; q++) {
        if (r->queries->file != NULL) TDM_TRY(append_query(r, q, table));
        TDM_TRY(tdm_text_printf(table, "%4s  %7s  %8s  %s\n", "rank", "score", texts ? "caption" : "image",
                                texts ? "caption, of image" : "captions, file"));
        for (int64_t i = 0; i < count_of(r, q); i++) TDM_TRY(append_result(r, q, i, table));
        TDM_TRY(append_hidden(r, q, table));
    }
    return TDM_OK;
}

tdm_status search_print_table(const search_results *results)
{
    tdm_text table = {0};
    tdm_status status = make_table(results, &table);
    if (status == TDM_OK && (fputs(table.data, stdout) == EOF || fflush(stdout) != 0))
        status = TDM_ERROR(TDM_E_IO, "standard output: cannot write");
    tdm_text_free(&table);
    return status;
}

/* ---- JSON ---- */

static void set_text(json_t *object, const char *key, const tdm_text *text)
{
    json_object_set_new(object, key, text->length > 0 ? tdm_json_text(text->data) : json_null());
}

static json_t *items_json(const search_results *r, int64_t q)
{
    json_t *results = json_array();
    for (int64_t i = 0; i < count_of(r, q); i++) {
        const tdm_found_item *found = &items_of(r, q)[i];
        json_t *item = json_object();
        json_object_set_new(item, "rank", json_integer(i + 1));
        json_object_set_new(item, "score", json_real(found->score));
        json_object_set_new(item, "image", json_integer(found->image));
        if (r->found->what == TDM_TEXT)
            json_object_set_new(item, "caption_row", json_integer(found->caption));
        set_text(item, "name", &found->name);
        set_text(item, "caption", &found->text);
        json_array_append_new(results, item);
    }
    return results;
}

/* The query and its results become members of the object. */
static void set_query(const search_results *r, int64_t q, json_t *object)
{
    const search_query *query = &r->queries->query[q];
    if (query->id != NULL) json_object_set_new(object, "id", tdm_json_text(query->id));
    if (query->image != NULL) json_object_set_new(object, "image", tdm_json_text(query->image));
    if (query->text != NULL) json_object_set_new(object, "text", tdm_json_text(query->text));
    if (query->image != NULL && query->text != NULL)
        json_object_set_new(object, "weight", json_real(query->weight));
    if (r->found->hidden != NULL) json_object_set_new(object, "hidden", json_integer(r->found->hidden[q]));
    json_object_set_new(object, "results", items_json(r, q));
}

static void set_strings(json_t *object, const char *key, const tdm_strings *strings)
{
    if (strings->count == 0) return;
    json_t *list = json_array();
    for (int64_t i = 0; i < strings->count; i++) json_array_append_new(list, tdm_json_text(strings->item[i]));
    json_object_set_new(object, key, list);
}

/* Pictures of a folder that could not be read. */
static void set_unreadable(const search_results *r, json_t *object)
{
    int64_t count;
    const tdm_unreadable *bad = tdm_searcher_unreadable(r->searcher, &count);
    if (r->searcher->folder == NULL) return;
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        json_t *one = json_object();
        json_object_set_new(one, "name", tdm_json_text(bad[i].name));
        json_object_set_new(one, "why", tdm_json_text(bad[i].why));
        json_array_append_new(list, one);
    }
    json_object_set_new(object, "unreadable", list);
}

tdm_status search_write_json(const search_results *r, const char *path)
{
    json_t *root = json_object();
    json_object_set_new(root, "model", tdm_json_text(r->inference->dir));
    json_object_set_new(root, "gallery", tdm_json_text(r->gallery));
    json_object_set_new(root, "split", tdm_json_text(r->searcher->split));
    set_unreadable(r, root);
    set_strings(root, "classes", r->classes);
    set_strings(root, "identities", r->identities);
    if (r->hide_duplicates > 0) json_object_set_new(root, "duplicate_cosine", json_real(r->hide_duplicates));
    if (r->queries->file == NULL) {
        set_query(r, 0, root);
    } else {
        json_t *list = json_array();
        for (int64_t q = 0; q < r->found->queries; q++) {
            json_t *one = json_object();
            set_query(r, q, one);
            json_array_append_new(list, one);
        }
        json_object_set_new(root, "queries", list);
    }
    const tdm_status status = result_write(root, 17, path);
    json_decref(root);
    return status;
}

/* ---- The contact sheet ---- */

typedef struct sheet {
    tdm_sheet_query *query; /* [queries] */
    tdm_sheet_item *shown;  /* [queries][k] */
    tdm_text *image;        /* [queries] encoded */
    tdm_text *note;         /* [queries] */
} sheet;

static tdm_status fill_query(const search_results *r, int64_t q, const sheet *s)
{
    const search_query *query = &r->queries->query[q];
    const int64_t k = r->found->k, count = count_of(r, q);
    sheet_items_of(items_of(r, q), count, s->shown + q * k);
    /* what was embedded before may be gone meanwhile, like a pipe */
    if (query->image != NULL && tdm_read_file(query->image, &s->image[q]) != TDM_OK)
        tdm_text_free(&s->image[q]);
    if (r->found->hidden != NULL && r->found->hidden[q] > 0)
        TDM_TRY(tdm_text_printf(&s->note[q], "%lld near-duplicates of these are hidden",
                                (long long)r->found->hidden[q]));
    s->query[q] = (tdm_sheet_query){.text = query->text != NULL ? query->text : query->image,
                                    .image = s->image[q].data,
                                    .image_bytes = (int64_t)s->image[q].length,
                                    .item = s->shown + q * k,
                                    .item_count = count,
                                    .note = s->note[q].data};
    return TDM_OK;
}

static tdm_status append_filter(const char *what, const tdm_strings *strings, tdm_text *text)
{
    for (int64_t i = 0; i < strings->count; i++)
        TDM_TRY(tdm_text_printf(text, "%s%s", i > 0 ? ", " : what, strings->item[i]));
    return TDM_OK;
}

static tdm_status write_sheet(const search_results *r, const sheet *s, const char *path)
{
    const tdm_searcher *searcher = r->searcher;
    tdm_text subtitle = {0};
    tdm_status status = TDM_OK;
    for (int64_t q = 0; q < r->found->queries && status == TDM_OK; q++) status = fill_query(r, q, s);
    if (status == TDM_OK)
        status =
            tdm_text_printf(&subtitle, "%lld best of %lld %s in %s%s%s", (long long)r->found->k,
                            (long long)r->found->gallery, r->found->what == TDM_TEXT ? "captions" : "images",
                            searcher->source, searcher->split[0] != '\0' ? ", split " : "", searcher->split);
    if (status == TDM_OK) status = append_filter(", class ", r->classes, &subtitle);
    if (status == TDM_OK) status = append_filter(", identity ", r->identities, &subtitle);
    if (status == TDM_OK)
        status = tdm_text_printf(&subtitle, "; model %s, step %lld", r->inference->dir,
                                 (long long)r->inference->step);
    if (status == TDM_OK)
        status = tdm_sheet_write(path, "Search", subtitle.data, s->query, r->found->queries);
    tdm_text_free(&subtitle);
    return status;
}

tdm_status search_write_html(const search_results *r, const char *path)
{
    const int64_t queries = r->found->queries;
    sheet s = {0};
    tdm_status status = TDM_ALLOC(queries, &s.query);
    if (status == TDM_OK) status = TDM_ALLOC(queries * r->found->k, &s.shown);
    if (status == TDM_OK) status = TDM_ALLOC(queries, &s.image);
    if (status == TDM_OK) status = TDM_ALLOC(queries, &s.note);
    if (status == TDM_OK) status = write_sheet(r, &s, path);
    for (int64_t q = 0; s.note != NULL && q < queries; q++) {
        tdm_text_free(&s.image[q]);
        tdm_text_free(&s.note[q]);
    }
    tdm_free(s.query);
    tdm_free(s.shown);
    tdm_free(s.image);
    tdm_free(s.note);
    return status;
}
