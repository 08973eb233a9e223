/* Pipelines: the lists of augmentations of views, compiled once. */
#include "image_impl.h"
#include "augment_table.h"

#include <string.h>

#define DECLARE_ROW(row) extern const image_augment_row row;
IMAGE_AUGMENT_TABLE(DECLARE_ROW)
#define ROW_ADDRESS(row) &row,
static const image_augment_row *const table[] = {IMAGE_AUGMENT_TABLE(ROW_ADDRESS)};
enum { ROWS = sizeof(table) / sizeof(table[0]) };

tdm_status tdm_image_augment_register(void)
{
    for (size_t i = 0; i < ROWS; i++) TDM_TRY(tdm_operation_register(&table[i]->operation));
    return TDM_OK;
}

const tdm_operation *tdm_image_augment_row(size_t index)
{
    return index < ROWS ? &table[index]->operation : NULL;
}

static const image_augment_row *find_row(const char *name)
{
    for (size_t i = 0; i < ROWS; i++)
        if (!strcmp(table[i]->operation.name, name)) return table[i];
    return NULL;
}

tdm_status image_check_range(const char *where, const char *name, const char *low_key, double low,
                             const char *high_key, double high)
{
    TDM_REQUIRE(low <= high, TDM_E_CONFIG, "%s: %s: %s = %g is larger than %s = %g", where, name, low_key,
                low, high_key, high);
    return TDM_OK;
}

bool image_strength_draw(const void *options, tdm_rng *rng, double *strength)
{
    const image_strength *o = options;
    if (tdm_rng_uniform(rng) >= o->p) return false;
    *strength = tdm_rng_range(rng, o->min, o->max);
    return true;
}

/* ---- compiling a list ---- */

typedef struct list_place { /* where an entry stands */
    const tdm_config *config;
    const char *where;
    bool pooled;    /* in the list of a pool */
    bool on_view;   /* behind `resize` */
    bool in_floats; /* behind `tensor` */
} list_place;

/* The order of the stages: the box is chosen, resized, its pixels changed. */
static int stage_of(const image_augment_row *row, const list_place *place)
{
    return row->crop && !place->on_view ? 0 : row->exact ? 1 : 2;
}

static tdm_status unknown_row(const char *where, const char *name)
{
    const char *known[ROWS];
    for (size_t i = 0; i < ROWS; i++) known[i] = table[i]->operation.name;
    const char *near = tdm_nearest_name(name, known, ROWS);
    TDM_FAIL(TDM_E_CONFIG, "%s: \"%s\" is no augmentation of images%s%s%s", where, name,
             near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

static tdm_status check_place(const list_place *place, const image_augment_row *row,
                              const image_augment_row *last)
{
    static const char *const does[] = {"chooses a part of the file's image", "resizes it",
                                       "changes resized pixels"};
    const char *name = row->operation.name;
    const bool marks = row->exact || row->to_tensor;
    TDM_REQUIRE(!place->pooled || !(marks || row->list), TDM_E_CONFIG, "%s: %s cannot stand in a pool",
                place->where, name);
    if (last) {
        list_place before = *place;
        before.on_view = !last->crop;
        const int stage = stage_of(last, &before), own = stage_of(row, place);
        TDM_REQUIRE(place->on_view || stage <= own, TDM_E_CONFIG,
                    "%s: %s %s, it cannot stand behind %s, which %s", place->where, name, does[own],
                    last->operation.name, does[stage]);
        TDM_REQUIRE(!row->exact || stage < 2, TDM_E_CONFIG, "%s: %s %s, it cannot stand behind %s, which %s",
                    place->where, name, does[1], last->operation.name, does[2]);
    }
    TDM_REQUIRE(!place->in_floats || !row->to_tensor, TDM_E_CONFIG, "%s: %s stands twice", place->where,
                name);
    if (stage_of(row, place) < 2 || marks || row->list) return TDM_OK;
    TDM_REQUIRE(!place->in_floats || row->apply_tensor, TDM_E_CONFIG,
                "%s: %s works on 8 bits, it cannot stand behind tensor, from where a view is floats",
                place->where, name);
    TDM_REQUIRE(place->in_floats || row->apply, TDM_E_CONFIG,
                "%s: %s works on floats, it can only stand behind tensor", place->where, name);
    return TDM_OK;
}

static tdm_status compile(const list_place *from, const tdm_strings *list, tdm_image_pipeline **pipeline);

static tdm_status add_pool(const list_place *place, image_step *step)
{
    char where[160];
    list_place inside = *place;
    snprintf(where, sizeof where, "%s: %s", place->where, step->row->operation.name);
    inside.where = where;
    inside.pooled = true;
    inside.on_view = true;
    return compile(&inside, step->row->list(step->options), &step->pool);
}

static tdm_status add_step(list_place *place, const char *text, tdm_image_pipeline *pipeline)
{
    char name[64];
    const char *arguments;
    size_t length;
    TDM_TRY(tdm_config_call(place->where, text, name, &arguments, &length));
    const image_augment_row *row = find_row(name);
    if (row == NULL && place->pooled) return unknown_row(place->where, name);
    if (row == NULL) return TDM_OK; /* an operation on texts */
    TDM_TRY(check_place(place, row, pipeline->count ? pipeline->step[pipeline->count - 1].row : NULL));
    image_step *step = &pipeline->step[pipeline->count];
    TDM_TRY(tdm_operation_options(place->config, place->where, &row->operation, arguments, length,
                                  &step->options));
    step->row = row;
    pipeline->count++;
    if (row->list) TDM_TRY(add_pool(place, step));
    const int stage = stage_of(row, place);
    if (stage < 2 && row->filter) pipeline->filter = row->filter(step->options);
    pipeline->boxes += stage == 0;
    pipeline->exact |= stage < 2;
    place->on_view |= row->exact || row->to_tensor;
    place->in_floats |= row->to_tensor;
    return TDM_OK;
}

static tdm_status compile(const list_place *from, const tdm_strings *list, tdm_image_pipeline **pipeline)
{
    const size_t bytes = sizeof(tdm_image_pipeline) + (size_t)list->count * sizeof(image_step);
    list_place place = *from;
    tdm_image_pipeline *made;
    *pipeline = NULL;
    TDM_TRY(tdm_alloc(bytes, "augmentations", (void **)&made));
    for (int64_t i = 0; i < list->count; i++) {
        const tdm_status status = add_step(&place, list->item[i], made);
        if (status != TDM_OK) {
            tdm_image_pipeline_destroy(&made);
            return status;
        }
    }
    *pipeline = made;
    return TDM_OK;
}

tdm_status tdm_image_pipeline_create(const tdm_config *config, const char *where, const tdm_strings *list,
                                     tdm_image_pipeline **pipeline)
{
    const list_place place = {.config = config, .where = where};
    return compile(&place, list, pipeline);
}

void tdm_image_pipeline_destroy(tdm_image_pipeline **pipeline)
{
    for (int64_t i = 0; *pipeline && i < (*pipeline)->count; i++)
        tdm_image_pipeline_destroy(&(*pipeline)->step[i].pool);
    tdm_free(*pipeline);
    *pipeline = NULL;
}

/* ---- one view ---- */

image_box image_view_box(const tdm_image *image, const image_target *target,
                         const tdm_image_pipeline *pipeline, tdm_rng *rng)
{
    if (!pipeline || !pipeline->exact)
        return image_plain_box(image->height, image->width, target->fit, target->height, target->width);
    image_box box = {.height = image->height, .width = image->width};
    for (int64_t i = 0; i < pipeline->boxes; i++) {
        const image_step *step = &pipeline->step[i];
        step->row->crop(step->options, rng, &box);
    }
    return box;
}

static tdm_status resize_box(tdm_image_work *work, const tdm_image *image, const image_box *box,
                             const image_target *target, image_filter filter, uint8_t *out)
{
    const image_window window = image_window_of(image, box->top, box->left, box->height, box->width);
    const resample_plan plan = {.box_height = (double)box->height,
                                .box_width = (double)box->width,
                                .full_height = target->height,
                                .full_width = target->width,
                                .out_height = target->height,
                                .out_width = target->width,
                                .out_stride = target->width * IMAGE_RGB,
                                .filter = filter};
    return image_resample(work, &window, &plan, out);
}

typedef struct canvas { /* a resized view */
    tdm_image_work *work;
    int64_t height, width;
    uint8_t *pixel; /* [height][width][3] */
    float *value;   /* [3][height][width], NULL before `tensor` */
} canvas;

static tdm_status change_canvas(canvas *c, const image_step *step, tdm_rng *rng)
{
    const image_augment_row *row = step->row;
    if (row->to_tensor) {
        TDM_TRY(IMAGE_TAKE(&c->work->tensor[0], IMAGE_RGB * c->height * c->width, &c->value));
        image_to_tensor(c->pixel, c->height * c->width, c->value);
    } else if (step->pool) {
        int64_t chosen[IMAGE_POOL_MOST];
        const int64_t n = row->pick(step->options, rng, step->pool->count, chosen);
        for (int64_t i = 0; i < n; i++) TDM_TRY(change_canvas(c, &step->pool->step[chosen[i]], rng));
    } else if (c->value) {
        return row->apply_tensor(c->work, step->options, rng, c->height, c->width, c->value);
    } else if (row->apply) {
        return row->apply(c->work, step->options, rng, c->height, c->width, c->pixel);
    }
    return TDM_OK;
}

tdm_status image_change(tdm_image_work *work, const tdm_image_pipeline *pipeline, tdm_rng *rng,
                        int64_t height, int64_t width, uint8_t *pixel)
{
    canvas c = {.work = work, .height = height, .width = width, .pixel = pixel};
    for (int64_t i = pipeline->boxes; i < pipeline->count; i++)
        TDM_TRY(change_canvas(&c, &pipeline->step[i], rng));
    if (c.value) image_from_tensor(c.value, height * width, pixel);
    return TDM_OK;
}

tdm_status image_view(tdm_image_work *work, const tdm_image *image, const image_target *target,
                      const tdm_image_pipeline *pipeline, tdm_rng rng, uint8_t *out)
{
    TDM_REQUIRE(image->height > 0 && image->width > 0, TDM_E_SHAPE, "cannot augment an empty image");
    if (!pipeline || !pipeline->exact) {
        TDM_TRY(image_plain(work, image, target->fit, target->height, target->width, out));
    } else {
        const image_box box = image_view_box(image, target, pipeline, &rng);
        TDM_TRY(resize_box(work, image, &box, target, pipeline->filter, out));
    }
    return pipeline ? image_change(work, pipeline, &rng, target->height, target->width, out) : TDM_OK;
}

tdm_status tdm_image_augment(const tdm_image *image, const tdm_image_pipeline *pipeline, tdm_image_fit fit,
                             tdm_rng rng, int64_t height, int64_t width, uint8_t *out)
{
    const image_target target = {.fit = fit, .height = height, .width = width};
    tdm_image_work work = {0};
    const tdm_status status = image_view(&work, image, &target, pipeline, rng, out);
    image_work_free(&work);
    return status;
}
