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

/* ---- compiling a list ---- */

/* The order of the stages: the box is chosen, resized, its pixels changed. */
static int stage_of(const image_augment_row *row)
{
    return row->crop ? 0 : row->exact ? 1 : 2;
}

static tdm_status add_step(const tdm_config *config, const char *where, const char *text,
                           tdm_image_pipeline *pipeline)
{
    static const char *const does[] = {"chooses a part of the file's image", "resizes it",
                                       "changes resized pixels"};
    char name[64];
    const char *arguments;
    size_t length;
    TDM_TRY(tdm_config_call(where, text, name, &arguments, &length));
    const image_augment_row *row = find_row(name);
    if (row == NULL) return TDM_OK; /* an operation on texts */
    const image_augment_row *last = pipeline->count ? pipeline->step[pipeline->count - 1].row : NULL;
    TDM_REQUIRE(!last || stage_of(last) <= stage_of(row), TDM_E_CONFIG,
                "%s: %s %s, it cannot stand behind %s, which %s", where, name, does[stage_of(row)],
                last->operation.name, does[stage_of(last)]);
    image_step *step = &pipeline->step[pipeline->count];
    TDM_TRY(tdm_operation_options(config, where, &row->operation, arguments, length, &step->options));
    step->row = row;
    if (row->filter) pipeline->filter = row->filter(step->options);
    pipeline->count++;
    pipeline->exact |= stage_of(row) < 2;
    return TDM_OK;
}

tdm_status tdm_image_pipeline_create(const tdm_config *config, const char *where, const tdm_strings *list,
                                     tdm_image_pipeline **pipeline)
{
    const size_t bytes = sizeof(tdm_image_pipeline) + (size_t)list->count * sizeof(image_step);
    tdm_image_pipeline *made;
    *pipeline = NULL;
    TDM_TRY(tdm_alloc(bytes, "augmentations", (void **)&made));
    for (int64_t i = 0; i < list->count; i++) {
        const tdm_status status = add_step(config, where, list->item[i], made);
        if (status != TDM_OK) {
            tdm_free(made);
            return status;
        }
    }
    *pipeline = made;
    return TDM_OK;
}

void tdm_image_pipeline_destroy(tdm_image_pipeline **pipeline)
{
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
    for (int64_t i = 0; i < pipeline->count; i++) {
        const image_step *step = &pipeline->step[i];
        if (step->row->crop) step->row->crop(step->options, rng, &box);
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
    for (int64_t i = 0; pipeline && i < pipeline->count; i++) {
        const image_step *step = &pipeline->step[i];
        if (step->row->apply)
            TDM_TRY(step->row->apply(work, step->options, &rng, target->height, target->width, out));
    }
    return TDM_OK;
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
