/* The page, with what was found. */
#include "serve_impl.h"

static bool page(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    serve_job *job = NULL;
    serve_results results;
    bool fine = serve_ask(server, request, &job, &results, fault);
    if (fine) fine = serve_answer_with(answer, SERVE_HTML, serve_page_render(&results, &answer->body), fault);
    serve_job_free(&job);
    return fine;
}

const serve_route serve_route_page = {
    .path = "/", .methods = SERVE_GET | SERVE_POST, .takes_query = true, .is_page = true, .answer = page};
