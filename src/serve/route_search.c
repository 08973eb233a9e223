/* Search for programs. */
#include "serve_impl.h"

static bool search(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    serve_job *job = NULL;
    serve_results results;
    if (serve_query_is_empty(&request->query))
        return serve_refuse(fault, 400, "nothing_asked", "give q (a text), image, upload or row");
    bool fine = serve_ask(server, request, &job, &results, fault);
    if (fine) fine = serve_answer_with(answer, SERVE_JSON, serve_json_render(&results, &answer->body), fault);
    serve_job_free(&job);
    return fine;
}

const serve_route serve_route_search = {
    .path = "/api/search", .methods = SERVE_GET | SERVE_POST, .takes_query = true, .answer = search};
