/* Whether the server lives, for those who start it again. */
#include "serve_impl.h"

static bool health(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    (void)request;
    if (atomic_load(&server->stopping))
        return serve_refuse(fault, 503, "stopping", "the server is being stopped");
    return serve_answer_with(
        answer, SERVE_JSON,
        tdm_text_printf(&answer->body, "{\"status\":\"ok\",\"version\":\"%s\"}\n", TDM_VERSION), fault);
}

const serve_route serve_route_health = {
    .path = "/api/health", .methods = SERVE_GET, .is_open = true, .answer = health};
