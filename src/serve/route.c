/* The table of routes, and answers. */
#include "serve_impl.h"
#include "route_table.h"

#define DECLARE_ROUTE(route) extern const serve_route route;
SERVE_ROUTE_TABLE(DECLARE_ROUTE)

#define ROUTE_ADDRESS(route) &route,
static const serve_route *const routes[] = {SERVE_ROUTE_TABLE(ROUTE_ADDRESS)};
_Static_assert(sizeof routes / sizeof routes[0] < SERVE_ROUTES,
               "the last place of the metrics is for no route");

const serve_route *const *serve_routes(size_t *count)
{
    *count = sizeof routes / sizeof routes[0];
    return routes;
}

void serve_answer_free(serve_answer *answer)
{
    tdm_text_free(&answer->body);
    tdm_text_free(&answer->location);
}

bool serve_answer_with(serve_answer *answer, const char *type, tdm_status status, serve_fault *fault)
{
    if (status != TDM_OK)
        return serve_refuse(fault, 503, "out_of_memory", "the server has no memory for this answer");
    answer->status = 200;
    answer->type = type;
    return true;
}

bool serve_answer_is_known(serve_answer *answer, const serve_request *request, const void *data, size_t bytes)
{
    answer->may_keep = true;
    snprintf(answer->etag, sizeof answer->etag, "\"%016llx\"", (unsigned long long)tdm_xxh64(data, bytes));
    if (request->known == NULL || strstr(request->known, answer->etag) == NULL) return false;
    answer->status = 304;
    return true;
}
