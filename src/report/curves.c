/* metrics.jsonl as curves: every number under its key, nested objects with dots. */
#include "report_impl.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

static tdm_status grow(void **data, int64_t count, int64_t capacity, size_t size)
{
    void *grown = NULL;
    TDM_TRY(tdm_alloc((size_t)capacity * size, "curves", &grown));
    if (count > 0) memcpy(grown, *data, (size_t)count * size);
    tdm_free(*data);
    *data = grown;
    return TDM_OK;
}

static run_curve *find_curve(const run_curves *curves, const char *name)
{
    for (int64_t i = 0; i < curves->count; i++)
        if (strcmp(curves->item[i].name, name) == 0) return &curves->item[i];
    return NULL;
}

const run_curve *run_curves_find(const run_curves *curves, const char *name)
{
    return find_curve(curves, name);
}

static tdm_status add_point(run_curves *curves, const char *name, double x, double y)
{
    run_curve *c = find_curve(curves, name);
    if (c == NULL) {
        if (curves->count == curves->capacity) {
            curves->capacity = curves->capacity * 2 + 16;
            TDM_TRY(grow((void **)&curves->item, curves->count, curves->capacity, sizeof *curves->item));
        }
        c = &curves->item[curves->count++];
        snprintf(c->name, sizeof c->name, "%s", name);
    }
    if (c->n == c->capacity) {
        const int64_t capacity = c->capacity * 2 + 64;
        TDM_TRY(grow((void **)&c->x, c->n, capacity, sizeof *c->x));
        TDM_TRY(grow((void **)&c->y, c->n, capacity, sizeof *c->y));
        c->capacity = capacity;
    }
    c->x[c->n] = x;
    c->y[c->n++] = y;
    return TDM_OK;
}

/* Names that keys had in files of earlier versions. */
static const char *name_today(const char *key)
{
    return strcmp(key, "logit_scale") == 0 ? "inverse_temperature" : key;
}

/* Numbers of `object` under prefix; null is a value that was not finite. */
static tdm_status add_object(run_curves *curves, const char *prefix, const json_t *object, double step,
                             int depth)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char name[sizeof curves->item->name];
        if (snprintf(name, sizeof name, "%s%s", prefix, name_today(key)) >= (int)sizeof name) continue;
        if (json_is_number(value)) TDM_TRY(add_point(curves, name, step, json_number_value(value)));
        if (json_is_null(value)) TDM_TRY(add_point(curves, name, step, NAN));
        if (json_is_object(value) && depth < 3) {
            char nested[sizeof name + 1];
            snprintf(nested, sizeof nested, "%s.", name);
            TDM_TRY(add_object(curves, nested, value, step, depth + 1));
        }
    }
    return TDM_OK;
}

/* A resumed run may repeat steps: what was written before for `step` and later is void. */
static void drop_from(run_curves *curves, double step)
{
    for (int64_t i = 0; i < curves->count; i++) {
        run_curve *c = &curves->item[i];
        while (c->n > 0 && c->x[c->n - 1] >= step) c->n--;
    }
}

/* The host of a slow rank, as it was called last. */
static tdm_status note_host(run_curves *curves, const json_t *slow)
{
    const char *name = json_string_value(json_object_get(slow, "host"));
    const json_t *rank = json_object_get(slow, "rank");
    if (name == NULL || !json_is_integer(rank)) return TDM_OK;
    int64_t i = 0;
    while (i < curves->host_count && curves->host[i].rank != json_integer_value(rank)) i++;
    if (i == curves->host_capacity) {
        curves->host_capacity = curves->host_capacity * 2 + 16;
        TDM_TRY(
            grow((void **)&curves->host, curves->host_count, curves->host_capacity, sizeof *curves->host));
    }
    curves->host[i].rank = json_integer_value(rank);
    snprintf(curves->host[i].name, sizeof curves->host[i].name, "%s", name);
    tdm_trim_cut(curves->host[i].name);
    if (i == curves->host_count) curves->host_count++;
    return TDM_OK;
}

static tdm_status add_line(run_curves *curves, const char *line, size_t length)
{
    json_t *object = json_loadb(line, length, 0, NULL);
    const json_t *step_value = json_object_get(object, "step");
    tdm_status status = TDM_OK;
    if (json_is_number(step_value)) {
        const double step = json_number_value(step_value);
        if (step < curves->last_step) drop_from(curves, step);
        curves->last_step = step;
        status = add_object(curves, "", object, step, 0);
        if (status == TDM_OK) status = note_host(curves, json_object_get(object, "slow_rank"));
    } else {
        curves->bad_lines++;
    }
    json_decref(object);
    return status;
}

tdm_status run_curves_read(const char *path, run_curves *curves)
{
    tdm_text text = {0};
    *curves = (run_curves){.last_step = -INFINITY};
    tdm_status status = tdm_read_file(path, &text);
    for (size_t at = 0; status == TDM_OK && at < text.length;) {
        const char *line = text.data + at;
        const char *end = memchr(line, '\n', text.length - at);
        const size_t length = end == NULL ? text.length - at : (size_t)(end - line);
        if (length > 0) status = add_line(curves, line, length);
        at += length + 1;
    }
    tdm_text_free(&text);
    if (status != TDM_OK) run_curves_free(curves);
    return status;
}

void run_curves_free(run_curves *curves)
{
    for (int64_t i = 0; i < curves->count; i++) {
        tdm_free(curves->item[i].x);
        tdm_free(curves->item[i].y);
    }
    tdm_free(curves->item);
    tdm_free(curves->host);
    *curves = (run_curves){0};
}
