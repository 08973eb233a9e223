/* Answers for programs. assets/schema.json describes them. */
#include "serve_impl.h"

#include "tandem/json_text.h"

#include <stdlib.h>

static tdm_status append_json(json_t *root, tdm_text *out)
{
    enum { SCORE_DIGITS = 9 }; /* tell any two f32 apart */
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(SCORE_DIGITS)) : NULL;
    json_decref(root);
    TDM_REQUIRE(text != NULL, TDM_E_NOMEM, "cannot make the JSON of an answer");
    tdm_status status = tdm_text_json(out, text);
    if (status == TDM_OK) status = tdm_text_append(out, "\n", 1);
    free(text);
    return status;
}

tdm_status serve_json_fault(const serve_fault *fault, tdm_text *out)
{
    json_t *root = json_object(), *error = json_object();
    json_object_set_new(error, "code", json_string(fault->code));
    json_object_set_new(error, "message", tdm_json_text(fault->message));
    json_object_set_new(root, "error", error);
    return append_json(root, out);
}

static json_t *text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? tdm_json_text(text) : json_null();
}

static json_t *strings(const char *const *text, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, tdm_json_text(text[i]));
    return list;
}

static json_t *query_json(const serve_results *r)
{
    const serve_query *q = r->query;
    json_t *query = json_object();
    json_object_set_new(query, "q", text_or_null(q->text.data));
    json_object_set_new(query, "upload", text_or_null(q->upload));
    json_object_set_new(query, "row", q->row >= 0 ? json_integer(q->row) : json_null());
    json_object_set_new(query, "weight",
                        serve_query_has_picture(q) && q->text.length > 0 ? json_real(q->weight)
                                                                         : json_null());
    json_object_set_new(query, "find", json_string(q->find == TDM_TEXT ? "captions" : "images"));
    json_object_set_new(query, "class", strings((const char *const *)q->label, q->labels));
    json_object_set_new(query, "unique", json_boolean(q->unique));
    json_object_set_new(query, "k", json_integer(q->k));
    json_object_set_new(query, "offset", json_integer(q->offset));
    json_object_set_new(query, "cut", json_boolean(r->cut));
    return query;
}

static json_t *address(const char *path, int64_t row, bool there)
{
    char text[64];
    snprintf(text, sizeof text, "%s%lld", path, (long long)row);
    return there ? json_string(text) : json_null();
}

static json_t *item_json(const serve_item *item)
{
    json_t *one = json_object();
    json_object_set_new(one, "rank", json_integer(item->rank));
    json_object_set_new(one, "score", json_real(item->score));
    json_object_set_new(one, "row", json_integer(item->row));
    json_object_set_new(one, "caption_row", item->caption >= 0 ? json_integer(item->caption) : json_null());
    json_object_set_new(one, "caption", text_or_null(item->text));
    json_object_set_new(one, "name", text_or_null(item->name));
    json_object_set_new(one, "class", strings(item->label, item->labels));
    json_object_set_new(one, "image", address("/image/", item->row, item->has_picture));
    json_object_set_new(one, "thumbnail", address("/thumbnail/", item->row, item->has_picture));
    return one;
}

tdm_status serve_json_render(const serve_results *results, tdm_text *out)
{
    json_t *root = json_object(), *list = json_array();
    json_object_set_new(root, "query", query_json(results));
    json_object_set_new(root, "total", json_integer(results->total));
    json_object_set_new(root, "next_offset",
                        results->next_offset >= 0 ? json_integer(results->next_offset) : json_null());
    json_object_set_new(root, "took_ms", json_real(results->took_s * 1e3));
    for (int64_t i = 0; i < results->items; i++) json_array_append_new(list, item_json(&results->item[i]));
    json_object_set_new(root, "results", list);
    return append_json(root, out);
}

tdm_status serve_json_gallery(const serve_results *results, tdm_text *out)
{
    json_t *root = json_object();
    json_object_set_new(root, "title", tdm_json_text(results->title));
    json_object_set_new(root, "gallery", tdm_json_text(results->gallery));
    json_object_set_new(root, "split", text_or_null(results->split));
    json_object_set_new(root, "model", tdm_json_text(results->model));
    json_object_set_new(root, "step", json_integer(results->step));
    json_object_set_new(root, "images", json_integer(results->images));
    json_object_set_new(root, "captions", json_integer(results->captions));
    json_object_set_new(root, "classes", strings(results->label, results->labels));
    json_object_set_new(root, "can_text", json_boolean(results->can_text));
    json_object_set_new(root, "can_picture", json_boolean(results->can_picture));
    json_object_set_new(root, "can_unique", json_boolean(results->can_unique));
    json_object_set_new(root, "most_k", json_integer(SERVE_MOST_K));
    json_object_set_new(root, "most_depth", json_integer(SERVE_MOST_DEPTH));
    return append_json(root, out);
}
