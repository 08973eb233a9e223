/* What is searched: sizes, classes, limits. */
#include "serve_impl.h"

static bool gallery(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    const serve_results facts = serve_results_of(server, request);
    return serve_answer_with(answer, SERVE_JSON, serve_json_gallery(&facts, &answer->body), fault);
}

const serve_route serve_route_gallery = {.path = "/api/gallery", .methods = SERVE_GET, .answer = gallery};
