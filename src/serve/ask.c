/* The search that a request asks for: prepared here, in the thread of the connection, and answered by the compute
 * thread. */
#include "serve_impl.h"

#include "tandem/image.h"

enum { UPLOAD_PX = 240, UPLOAD_QUALITY = 85 };

serve_results serve_results_of(const serve_server *server, const serve_request *request)
{
    const tdm_searcher *searcher = server->searcher;
    return (serve_results){.title = server->title,
                           .gallery = searcher->source,
                           .split = searcher->split,
                           .model = searcher->inference->dir,
                           .step = searcher->inference->step,
                           .images = server->images,
                           .captions = server->captions,
                           .label = (const char *const *)server->label,
                           .labels = server->labels,
                           .can_text = server->can_text,
                           .can_picture = server->can_picture,
                           .can_unique = true,
                           .body_bytes = server->options->body_bytes,
                           .query = &request->query,
                           .next_offset = -1};
}

/* ---- A picture that was sent ---- */

/* Its size is known before it is decoded. */
static bool check_picture(const serve_server *server, const tdm_text *image, serve_fault *fault)
{
    int64_t height = 0, width = 0;
    if (tdm_image_probe("the picture", image->data, image->length, &height, &width) != TDM_OK)
        return serve_refuse(fault, 415, "bad_picture", "%s", tdm_error_last()->message);
    if (height * width > server->options->pixels)
        return serve_refuse(fault, 413, "picture_too_large",
                            "the picture has %lld × %lld pixels, at most %lld together are read",
                            (long long)width, (long long)height, (long long)server->options->pixels);
    return true;
}

static bool decode_picture(const serve_server *server, const tdm_text *image, uint8_t **pixel,
                           serve_fault *fault)
{
    const tdm_inference *in = server->searcher->inference;
    if (TDM_ALLOC(tdm_inference_pixel_bytes(in), pixel) != TDM_OK) return serve_refuse_memory(fault);
    if (tdm_inference_decode(in, "the picture", image->data, image->length, *pixel) == TDM_OK) return true;
    if (tdm_error_last()->code == TDM_E_NOMEM) return serve_refuse_memory(fault);
    return serve_refuse(fault, 415, "bad_picture", "%s", tdm_error_last()->message);
}

/* Pixels for the model; and it becomes small for the page, in its own place. */
static bool use_picture(serve_server *server, serve_job *job, serve_fault *fault)
{
    serve_query *q = &job->query;
    tdm_text small = {0};
    if (!decode_picture(server, &q->image, &job->pixel, fault)) return false;
    if (tdm_image_thumbnail("the picture", q->image.data, q->image.length, UPLOAD_PX, UPLOAD_QUALITY,
                            &small) != TDM_OK)
        tdm_text_free(&small); /* the page does without */
    tdm_text_free(&q->image);
    q->image = small;
    return true;
}

/* Decodes it, unless its features are known. */
static bool prepare_picture(serve_server *server, serve_job *job, serve_fault *fault)
{
    serve_query *q = &job->query;
    bool cut = false;
    if (serve_store_id('i', q->image.data, q->image.length, q->upload) != TDM_OK)
        return serve_refuse_memory(fault);
    if (serve_store_find(server->store, q->upload, job->feature, &cut)) {
        tdm_text_free(&q->image);
        return true;
    }
    if (!check_picture(server, &q->image, fault) || !serve_decode_begin(server, fault)) return false;
    const bool fine = use_picture(server, job, fault);
    serve_decode_end(server);
    return fine;
}

/* ---- The job ---- */

static bool check_query(const serve_server *server, const serve_query *q, serve_fault *fault)
{
    if (q->find == TDM_TEXT && server->captions == 0)
        return serve_refuse(fault, 400, "no_captions", "the gallery has no captions to find");
    if (q->text.length > 0 && !server->can_text)
        return serve_refuse(fault, 400, "no_texts", "the model cannot read a text");
    if (q->image.length > 0 && !server->can_picture)
        return serve_refuse(fault, 400, "no_pictures", "the model cannot read a picture");
    for (int64_t i = 0; i < q->labels; i++) {
        int64_t c = 0;
        while (c < server->labels && strcmp(server->label[c], q->label[i]) != 0) c++;
        if (c == server->labels)
            return serve_refuse(fault, 400, "unknown_class", "the gallery has no class %.200s", q->label[i]);
    }
    return true;
}

/* The job gets a copy, and the picture itself: the request still says what was asked when the job is given up. */
static bool copy_query(serve_query *from, serve_query *to)
{
    const tdm_text text = from->text;
    *to = *from;
    to->text = (tdm_text){0};
    to->labels = 0;
    from->image = (tdm_text){0};
    if (text.length > 0 && tdm_text_append(&to->text, text.data, text.length) != TDM_OK) return false;
    for (; to->labels < from->labels; to->labels++) {
        to->label[to->labels] = strdup(from->label[to->labels]);
        if (to->label[to->labels] == NULL) return false;
    }
    return true;
}

static bool prepare(serve_server *server, serve_request *request, serve_job *job, serve_fault *fault)
{
    if (!copy_query(&request->query, &job->query)) return serve_refuse_memory(fault);
    job->since_s = tdm_now_s();
    if (TDM_ALLOC(server->searcher->embeddings.d, &job->feature) != TDM_OK) return serve_refuse_memory(fault);
    return job->query.image.length == 0 || prepare_picture(server, job, fault);
}

void serve_results_take(const serve_job *job, serve_results *results)
{
    results->total = job->total;
    results->items = job->items;
    results->item = job->item;
    const int64_t next = results->query->offset + job->items;
    results->next_offset = job->items > 0 && next < job->total ? next : -1;
}

static void show(const serve_job *job, serve_results *results)
{
    results->query = &job->query;
    results->asked = job->asked_found != NULL ? &job->asked : NULL;
    results->cut = job->cut;
    serve_results_take(job, results);
    results->took_s = tdm_now_s() - job->since_s;
}

bool serve_ask(serve_server *server, serve_request *request, serve_job **job, serve_results *results,
               serve_fault *fault)
{
    *results = serve_results_of(server, request);
    if (!check_query(server, &request->query, fault)) return false;
    if (serve_query_is_empty(&request->query)) return true;
    if (serve_job_create(job) != TDM_OK) return serve_refuse_memory(fault);
    if (!prepare(server, request, *job, fault)) return false;
    if (!serve_queue_ask(&server->queue, job, server->options->request_s, fault)) return false;
    show(*job, results);
    return true;
}
