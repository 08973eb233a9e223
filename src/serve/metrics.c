/* Figures for Prometheus, text format 0.0.4. */
#include "serve_impl.h"

/* The last one stands for all others. */
static const int statuses[SERVE_STATUSES] = {200, 204, 303, 304, 400, 401, 403, 404, 405,
                                             408, 413, 414, 415, 429, 431, 500, 503, 0};
static const double bounds[SERVE_BUCKETS - 1] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                 0.25,  0.5,    1,     2.5,  5,     10};
static const double batch_bounds[SERVE_BUCKETS - 1] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256};

void serve_metrics_init(serve_metrics *metrics)
{
    *metrics = (serve_metrics){.since_s = tdm_now_s()};
    pthread_mutex_init(&metrics->lock, NULL);
}

void serve_metrics_destroy(serve_metrics *metrics)
{
    pthread_mutex_destroy(&metrics->lock);
}

static void observe(serve_histogram *histogram, const double *bound, double value)
{
    int i = 0;
    while (i < SERVE_BUCKETS - 1 && value > bound[i]) i++;
    histogram->count[i]++;
    histogram->sum += value;
}

/* Place of a route in the table; behind the last one: none. */
static size_t route_index(const serve_route *route)
{
    size_t count = 0, i = 0;
    const serve_route *const *routes = serve_routes(&count);
    while (i < count && routes[i] != route) i++;
    return i;
}

static int status_index(int status)
{
    int i = 0;
    while (statuses[i] != 0 && statuses[i] != status) i++;
    return i;
}

void serve_metrics_request(serve_metrics *metrics, const serve_route *route, int status, double took_s,
                           size_t bytes)
{
    const size_t r = route_index(route);
    pthread_mutex_lock(&metrics->lock);
    metrics->requests[r][status_index(status)]++;
    observe(&metrics->latency[r], bounds, took_s);
    metrics->sent_bytes += (int64_t)bytes;
    pthread_mutex_unlock(&metrics->lock);
}

void serve_metrics_batch(serve_metrics *metrics, int64_t searches)
{
    pthread_mutex_lock(&metrics->lock);
    observe(&metrics->batch, batch_bounds, (double)searches);
    pthread_mutex_unlock(&metrics->lock);
}

/* ---- Text ---- */

static tdm_status head(tdm_text *out, const char *name, const char *type, const char *help)
{
    return tdm_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static tdm_status value(tdm_text *out, const char *name, const char *type, const char *help, double number)
{
    TDM_TRY(head(out, name, type, help));
    return tdm_text_printf(out, "%s %.17g\n", name, number);
}

/* labels: "route=\"/\"," or "" */
static tdm_status histogram(tdm_text *out, const char *name, const char *labels, const double *bound,
                            const serve_histogram *h)
{
    int64_t sum = 0;
    char plain[96];
    for (int i = 0; i < SERVE_BUCKETS; i++) {
        sum += h->count[i];
        if (i < SERVE_BUCKETS - 1)
            TDM_TRY(tdm_text_printf(out, "%s_bucket{%sle=\"%g\"} %lld\n", name, labels, bound[i],
                                    (long long)sum));
        else
            TDM_TRY(tdm_text_printf(out, "%s_bucket{%sle=\"+Inf\"} %lld\n", name, labels, (long long)sum));
    }
    const size_t length = strlen(labels);
    snprintf(plain, sizeof plain, length > 0 ? "{%.*s}" : "%.*s", length > 0 ? (int)length - 1 : 0, labels);
    TDM_TRY(tdm_text_printf(out, "%s_sum%s %.17g\n", name, plain, h->sum));
    return tdm_text_printf(out, "%s_count%s %lld\n", name, plain, (long long)sum);
}

static const char *route_name(size_t index)
{
    size_t count = 0;
    const serve_route *const *routes = serve_routes(&count);
    return index < count ? routes[index]->path : "none";
}

static tdm_status print_requests(const serve_metrics *m, tdm_text *out)
{
    static const char name[] = "tandem_http_requests_total";
    size_t count = 0;
    serve_routes(&count);
    TDM_TRY(head(out, name, "counter", "Requests that were answered, by route and HTTP status."));
    for (size_t r = 0; r <= count; r++)
        for (int s = 0; s < SERVE_STATUSES; s++) {
            char code[16] = "other";
            if (m->requests[r][s] == 0) continue;
            if (statuses[s] != 0) snprintf(code, sizeof code, "%d", statuses[s]);
            TDM_TRY(tdm_text_printf(out, "%s{route=\"%s\",status=\"%s\"} %lld\n", name, route_name(r), code,
                                    (long long)m->requests[r][s]));
        }
    return TDM_OK;
}

static tdm_status print_latency(const serve_metrics *m, tdm_text *out)
{
    static const char name[] = "tandem_http_request_duration_seconds";
    size_t count = 0;
    serve_routes(&count);
    TDM_TRY(head(out, name, "histogram", "Seconds from a request's first line to its answer."));
    for (size_t r = 0; r <= count; r++) {
        char labels[64];
        int64_t seen = 0;
        for (int i = 0; i < SERVE_BUCKETS; i++) seen += m->latency[r].count[i];
        if (seen == 0) continue;
        snprintf(labels, sizeof labels, "route=\"%s\",", route_name(r));
        TDM_TRY(histogram(out, name, labels, bounds, &m->latency[r]));
    }
    return TDM_OK;
}

static tdm_status print_build(const serve_server *server, tdm_text *out)
{
    char build[TDM_BUILD_BYTES];
    tdm_program_build(build);
    TDM_TRY(head(out, "tandem_build_info", "gauge", "Version and build of the program; always 1."));
    TDM_TRY(tdm_text_printf(out, "tandem_build_info{version=\"%s\",build=\"%s\"} 1\n", TDM_VERSION, build));
    TDM_TRY(head(out, "tandem_gallery_rows", "gauge", "Rows of the gallery that are searched."));
    return tdm_text_printf(out,
                           "tandem_gallery_rows{what=\"images\"} %lld\n"
                           "tandem_gallery_rows{what=\"captions\"} %lld\n",
                           (long long)server->images, (long long)server->captions);
}

/* m: a copy, so that printing holds nobody up. */
static tdm_status print_all(serve_server *server, const serve_metrics *m, tdm_text *out)
{
    TDM_TRY(print_requests(m, out));
    TDM_TRY(print_latency(m, out));
    TDM_TRY(head(out, "tandem_search_batch_size", "histogram", "Searches that were answered together."));
    TDM_TRY(histogram(out, "tandem_search_batch_size", "", batch_bounds, &m->batch));
    TDM_TRY(value(out, "tandem_search_queue_length", "gauge", "Searches that wait.",
                  (double)serve_queue_length(&server->queue)));
    TDM_TRY(value(out, "tandem_http_sent_bytes_total", "counter", "Bytes of the bodies that were sent.",
                  (double)m->sent_bytes));
    TDM_TRY(
        value(out, "tandem_http_connections", "gauge", "Connections that are open.", (double)m->connections));
    TDM_TRY(value(out, "tandem_http_slow_connections_total", "counter",
                  "Connections that were ended because they took too long.", (double)m->refused_slow));
    TDM_TRY(value(out, "tandem_uptime_seconds", "gauge", "Seconds since the server began.",
                  tdm_now_s() - m->since_s));
    TDM_TRY(value(out, "process_resident_memory_bytes", "gauge", "Resident memory of rank 0.",
                  (double)tdm_resident_bytes()));
    return print_build(server, out);
}

tdm_status serve_metrics_print(serve_server *server, tdm_text *out)
{
    serve_metrics *copy = NULL;
    TDM_TRY(TDM_ALLOC(1, &copy));
    pthread_mutex_lock(&server->metrics.lock);
    memcpy(copy, &server->metrics, sizeof *copy);
    pthread_mutex_unlock(&server->metrics.lock);
    const tdm_status status = print_all(server, copy, out);
    tdm_free(copy);
    return status;
}
