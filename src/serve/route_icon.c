/* The picture of the page's tab. */
#include "serve_impl.h"

#include "assets.h"

static bool icon(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault)
{
    (void)server;
    (void)request;
    answer->may_keep = true;
    return serve_answer_with(answer, "image/svg+xml",
                             tdm_text_append(&answer->body, serve_icon_svg, serve_icon_svg_bytes), fault);
}

const serve_route serve_route_icon = {
    .path = "/icon.svg", .methods = SERVE_GET, .is_open = true, .answer = icon};
