/* A picture that was uploaded for a search, small. */
#include "serve_impl.h"

static bool upload(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    if (!serve_store_picture(server->store, request->id, &answer->body))
        return serve_refuse(fault, 404, "not_found", "this picture is not kept any more");
    answer->may_keep = true;
    return serve_answer_with(answer, "image/jpeg", TDM_OK, fault);
}

const serve_route serve_route_upload = {
    .path = "/upload/", .tail = SERVE_TAIL_ID, .methods = SERVE_GET, .answer = upload};
