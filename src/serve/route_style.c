/* How the page looks. */
#include "serve_impl.h"

#include "assets.h"

static bool style(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    (void)server;
    (void)request;
    answer->may_keep = true;
    return serve_answer_with(answer, "text/css; charset=utf-8",
                             tdm_text_append(&answer->body, serve_style_css, serve_style_css_bytes), fault);
}

const serve_route serve_route_style = {
    .path = "/style.css", .methods = SERVE_GET, .is_open = true, .answer = style};
