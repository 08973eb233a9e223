/* Buffers that are kept from image to image, and all views of a file with them. */
#include "image_impl.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

tdm_status image_buffer_take(image_buffer *buffer, size_t bytes, void **out)
{
    *out = NULL;
    if (bytes > buffer->bytes || !buffer->data) {
        const size_t want = bytes + bytes / 4 + 64; /* the next image may be a little larger */
        free(buffer->data);
        buffer->data = malloc(want);
        buffer->bytes = buffer->data ? want : 0;
        TDM_REQUIRE(buffer->data, TDM_E_NOMEM, "not enough memory for an image, %zu bytes", want);
    }
    *out = buffer->data;
    return TDM_OK;
}

void image_buffer_adopt(image_buffer *buffer, void *data, size_t bytes)
{
    free(buffer->data);
    buffer->data = data;
    buffer->bytes = bytes;
}

void image_work_free(tdm_image_work *work)
{
    image_buffer *const all[] = {&work->decoded,   &work->converted, &work->packed,     &work->unpacked,
                                 &work->place[0],  &work->place[1],  &work->weight[0],  &work->weight[1],
                                 &work->exact[0],  &work->exact[1],  &work->middle,     &work->columns,
                                 &work->four[0],   &work->four[1],   &work->scratch[0], &work->scratch[1],
                                 &work->tensor[0], &work->tensor[1]};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) image_buffer_adopt(all[i], NULL, 0);
    libdeflate_free_decompressor(work->inflater);
    work->inflater = NULL;
}

tdm_status tdm_image_work_create(tdm_image_work **work)
{
    return TDM_ALLOC(1, work);
}

void tdm_image_work_destroy(tdm_image_work **work)
{
    if (*work) image_work_free(*work);
    tdm_free(*work);
    *work = NULL;
}

/* ---- views ---- */

static image_box join(const image_box *a, const image_box *b)
{
    const int64_t top = tdm_min_i64(a->top, b->top), left = tdm_min_i64(a->left, b->left);
    return (image_box){.top = top,
                       .left = left,
                       .height = tdm_max_i64(a->top + a->height, b->top + b->height) - top,
                       .width = tdm_max_i64(a->left + a->width, b->left + b->width) - left};
}

/* All that the views look at. */
static image_box find_box(const tdm_image *image, const image_target *target, int count,
                          const tdm_image_request *want)
{
    image_box all = {.height = image->height, .width = image->width};
    for (int i = 0; i < count; i++) {
        tdm_rng rng = want[i].rng;
        const image_box box = image_view_box(image, target, want[i].pipeline, &rng);
        all = i ? join(&all, &box) : box;
    }
    return all;
}

tdm_status tdm_image_make(tdm_image_work *work, const char *name, const void *data, size_t bytes,
                          tdm_image_policy policy, int64_t height, int64_t width, int count,
                          const tdm_image_request *want)
{
    const image_target target = {.fit = policy.fit, .height = height, .width = width};
    tdm_image image = {0};
    TDM_REQUIRE(height > 0 && width > 0, TDM_E_SHAPE, "%s: cannot make %lld x %lld px of it", name,
                (long long)width, (long long)height);
    TDM_TRY(tdm_image_probe(name, data, bytes, &image.height, &image.width));
    const image_box box = find_box(&image, &target, count, want);
    TDM_TRY(image_decode(work, name, data, bytes, policy.alpha, &box, &image));
    for (int i = 0; i < count; i++)
        TDM_TRY(image_view(work, &image, &target, want[i].pipeline, want[i].rng, want[i].out));
    return TDM_OK;
}
