/* A picture of the gallery, small. */
#include "serve_impl.h"

#include "tandem/image.h"

enum { SMALL_BYTES = 32 * 1024, THUMBNAIL_PX = 320, THUMBNAIL_QUALITY = 85 };

static bool thumbnail(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    tdm_text picture = {0};
    if (!serve_picture_read(server, request->row, &picture, fault)) {
        tdm_text_free(&picture);
        return false;
    }
    const char *type = serve_picture_type(&picture);
    answer->may_keep = true;
    if (type != NULL && picture.length <= SMALL_BYTES) {
        answer->body = picture;
        return serve_answer_with(answer, type, TDM_OK, fault);
    }
    const tdm_status status = tdm_image_thumbnail("picture", picture.data, picture.length, THUMBNAIL_PX,
                                                  THUMBNAIL_QUALITY, &answer->body);
    tdm_text_free(&picture);
    if (status != TDM_OK)
        return serve_refuse(fault, 500, "unreadable", "picture %lld cannot be decoded",
                            (long long)request->row);
    return serve_answer_with(answer, "image/jpeg", TDM_OK, fault);
}

const serve_route serve_route_thumbnail = {
    .path = "/thumbnail/", .tail = SERVE_TAIL_ROW, .methods = SERVE_GET, .answer = thumbnail};
