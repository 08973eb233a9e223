/* What the page can do beyond links and forms. */
#include "serve_impl.h"

#include "assets.h"

static bool script(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    (void)server;
    (void)request;
    answer->may_keep = true;
    return serve_answer_with(answer, "text/javascript; charset=utf-8",
                             tdm_text_append(&answer->body, serve_page_js, serve_page_js_bytes), fault);
}

const serve_route serve_route_script = {
    .path = "/page.js", .methods = SERVE_GET, .is_open = true, .answer = script};
