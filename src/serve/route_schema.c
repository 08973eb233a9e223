/* What travels, as a JSON Schema. */
#include "serve_impl.h"

#include "assets.h"

static bool schema(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    (void)server;
    (void)request;
    answer->may_keep = true;
    return serve_answer_with(answer, SERVE_JSON,
                             tdm_text_append(&answer->body, serve_schema_json, serve_schema_json_bytes),
                             fault);
}

const serve_route serve_route_schema = {
    .path = "/api/schema", .methods = SERVE_GET, .is_open = true, .answer = schema};
