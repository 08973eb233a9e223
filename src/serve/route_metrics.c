/* Figures for Prometheus. */
#include "serve_impl.h"

static bool metrics(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    (void)request;
    return serve_answer_with(answer, "text/plain; version=0.0.4; charset=utf-8",
                             serve_metrics_print(server, &answer->body), fault);
}

const serve_route serve_route_metrics = {.path = "/metrics", .methods = SERVE_GET, .answer = metrics};
