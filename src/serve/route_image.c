/* A picture of the gallery as it was packed. */
#include "serve_impl.h"

static bool image(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    if (!serve_picture_read(server, request->row, &answer->body, fault)) return false;
    if (serve_answer_is_known(answer, request, answer->body.data, answer->body.length)) return true;
    const char *type = serve_picture_type(&answer->body);
    answer->not_shown = type == NULL;
    return serve_answer_with(answer, type != NULL ? type : "application/octet-stream", TDM_OK, fault);
}

const serve_route serve_route_image = {
    .path = "/image/", .tail = SERVE_TAIL_ROW, .methods = SERVE_GET, .answer = image};
