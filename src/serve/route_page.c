/* The page, with what was found. */
#include "serve_impl.h"

/* The gallery in its order, where nothing is asked for. */
static bool browse(serve_server *server, serve_job **job, serve_results *results, serve_fault *fault)
{
    if (!serve_browse(server, results->query, job, fault)) return false;
    serve_results_take(*job, results);
    return true;
}

/* Of a form that was sent: the address that shows the same, so that the page can be loaded again, kept and passed on. */
static bool redirect(const serve_query *query, serve_answer *answer, serve_fault *fault)
{
    tdm_status status = tdm_text_append(&answer->location, "/?", 2);
    if (status == TDM_OK) status = serve_query_print(query, query->offset, &answer->location);
    if (!serve_answer_with(answer, SERVE_HTML, status, fault)) return false;
    answer->status = 303;
    return true;
}

static bool page(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    serve_job *job = NULL;
    serve_results results;
    bool fine = serve_ask(server, request, &job, &results, fault);
    if (fine && request->method == SERVE_POST) {
        fine = redirect(results.query, answer, fault);
    } else if (fine) {
        if (job == NULL) fine = browse(server, &job, &results, fault);
        if (fine)
            fine = serve_answer_with(answer, SERVE_HTML, serve_page_render(&results, &answer->body), fault);
    }
    serve_job_free(&job);
    return fine;
}

const serve_route serve_route_page = {
    .path = "/", .methods = SERVE_GET | SERVE_POST, .takes_query = true, .is_page = true, .answer = page};
