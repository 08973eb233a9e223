/* A picture of the gallery, small. */
#include "serve_impl.h"

#include "tandem/image.h"

enum { SMALL_BYTES = 32 * 1024, THUMBNAIL_PX = 320, THUMBNAIL_QUALITY = 85 };

static bool make_small(serve_server *server, int64_t row, const tdm_text *picture, serve_answer *answer,
                       serve_fault *fault)
{
    if (!serve_decode_begin(server, fault)) return false;
    const tdm_status status = tdm_image_thumbnail("picture", picture->data, picture->length, THUMBNAIL_PX,
                                                  THUMBNAIL_QUALITY, &answer->body);
    serve_decode_end(server);
    if (status != TDM_OK)
        return serve_refuse(fault, 500, "unreadable", "picture %lld cannot be decoded", (long long)row);
    return serve_answer_with(answer, "image/jpeg", TDM_OK, fault);
}

static bool thumbnail_of(serve_server *server, const serve_request *request, tdm_text *picture,
                         serve_answer *answer, serve_fault *fault)
{
    if (!serve_picture_read(server, request->row, picture, fault)) return false;
    if (serve_answer_is_known(answer, request, picture->data, picture->length)) return true;
    const char *type = serve_picture_type(picture);
    if (type == NULL || picture->length > SMALL_BYTES)
        return make_small(server, request->row, picture, answer, fault);
    answer->body = *picture;
    *picture = (tdm_text){0};
    return serve_answer_with(answer, type, TDM_OK, fault);
}

static bool thumbnail(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    tdm_text picture = {0};
    const bool fine = thumbnail_of(server, request, &picture, answer, fault);
    tdm_text_free(&picture);
    return fine;
}

const serve_route serve_route_thumbnail = {
    .path = "/thumbnail/", .tail = SERVE_TAIL_ROW, .methods = SERVE_GET, .answer = thumbnail};
