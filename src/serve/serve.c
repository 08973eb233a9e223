/* The server's life: rank 0 listens and takes batches from the queue, the others help; in the end all leave together. */
#include "serve_impl.h"

#include <unistd.h>

enum { STORE_ENTRIES = 4096 };
static const double poll_s = 0.1, beat_s = 1.0, grace_s = 10.0;

/* ---- What never changes ---- */

/* A tower that reads cached features reads nothing that people can send. */
static tdm_status check_towers(serve_server *server)
{
    const tdm_inference *in = server->searcher->inference;
    tdm_tower_reads reads[TDM_MODALITIES];
    int64_t width;
    for (int m = 0; m < TDM_MODALITIES; m++)
        TDM_TRY(tdm_model_reads(&in->config, (tdm_modality)m, &reads[m], &width));
    server->can_picture = reads[TDM_IMAGE] == TDM_READS_PIXELS;
    server->can_text = reads[TDM_TEXT] == TDM_READS_TOKENS && in->tokenizer != NULL;
    return TDM_OK;
}

static tdm_status list_labels(serve_server *server)
{
    const tdm_searcher *s = server->searcher;
    server->labels = tdm_searcher_classes(s);
    if (server->labels > 0 && tdm_searcher_class_name(s, 0) == NULL) server->labels = 0; /* not known */
    TDM_TRY(TDM_ALLOC(server->labels, &server->label));
    for (int64_t c = 0; c < server->labels; c++) server->label[c] = tdm_searcher_class_name(s, c);
    return TDM_OK;
}

/* Collective. */
static void count_rows(serve_server *server)
{
    int64_t rows[2] = {server->searcher->embeddings.images, server->searcher->embeddings.captions};
    tdm_comm_sum_i64(server->searcher->comm, rows, 2);
    server->images = rows[0];
    server->captions = rows[1];
}

/* Of rank 0. */
static tdm_status open_server(serve_server *server)
{
    const tdm_serve_options *o = server->options;
    snprintf(server->title, sizeof server->title, "%.255s", o->title[0] != '\0' ? o->title : o->gallery);
    tdm_trim_cut(server->title);
    TDM_TRY(list_labels(server));
    TDM_TRY(check_towers(server));
    TDM_TRY(serve_store_create(server->searcher->embeddings.d, STORE_ENTRIES, &server->store));
    TDM_TRY(serve_gate_open(&server->gate, o));
    return serve_access_open(o->access_log);
}

static void close_server(serve_server *server)
{
    serve_access_close();
    serve_gate_close(&server->gate);
    serve_store_destroy(&server->store);
    tdm_free((void *)server->label);
}

/* ---- Rank 0 ---- */

static void say_where(const serve_server *server, const serve_front *front)
{
    const char *address = server->options->address;
    char host[256] = "";
    const bool any = strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
    if (any && gethostname(host, sizeof host - 1) == 0) address = host;
    const bool v6 = strchr(address, ':') != NULL;
    const bool secret =
        server->gate.token[0] != '\0' && server->options->token_file[0] == '\0'; /* not in a file */
    tdm_log(TDM_LOG_INFO, "serving http://%s%s%s:%d/%s%s", v6 ? "[" : "", address, v6 ? "]" : "",
            serve_front_port(front), secret ? "?token=" : "", secret ? server->gate.token : "");
}

static tdm_status answer_batch(serve_server *server, double wait_s, int64_t *n)
{
    static serve_job *job[SERVE_MOST_BATCH];
    *n = serve_queue_take(&server->queue, job, server->options->batch, wait_s);
    if (*n == 0) return TDM_OK;
    const tdm_status status = serve_batch_answer(server, job, *n);
    for (int64_t i = 0; i < *n; i++) {
        if (status != TDM_OK) serve_refuse(&job[i]->fault, 500, "failed", "%s", tdm_error_last()->message);
        serve_queue_answer(&server->queue, job[i]);
    }
    return status;
}

static tdm_status serve_until_stopped(serve_server *server)
{
    double beaten_s = tdm_now_s();
    const bool alone = tdm_comm_size(server->searcher->comm) == 1;
    for (bool stop = false; !stop && !tdm_stop_requested();) {
        int64_t n = 0;
        serve_guard_beat(&server->guard);
        TDM_TRY(answer_batch(server, poll_s, &n));
        if (alone || tdm_now_s() - beaten_s < beat_s) continue;
        TDM_TRY(serve_batch_beat(server->searcher, &stop));
        beaten_s = tdm_now_s();
    }
    return TDM_OK;
}

/* What has begun is answered; what takes too long is not. */
static tdm_status drain(serve_server *server, serve_front *front)
{
    const double until_s = tdm_now_s() + grace_s;
    atomic_store(&server->stopping, true);
    serve_front_quiesce(front);
    tdm_status status = TDM_OK;
    while (status == TDM_OK && !serve_front_is_idle(front) && tdm_now_s() < until_s) {
        int64_t n = 0;
        serve_guard_beat(&server->guard);
        status = answer_batch(server, poll_s, &n);
    }
    return status;
}

/* A search for all that the model reads. */
static tdm_status make_first_job(const serve_server *server, serve_job *job)
{
    serve_query *q = &job->query;
    q->k = 1;
    q->weight = SERVE_DEFAULT_WEIGHT;
    q->find = TDM_IMAGE;
    TDM_TRY(TDM_ALLOC(server->searcher->embeddings.d, &job->feature));
    if (server->can_text) TDM_TRY(tdm_text_printf(&q->text, "a"));
    if (!server->can_picture) {
        const tdm_dataset *dataset = server->searcher->dataset;
        if (!server->can_text) q->row = dataset != NULL ? tdm_dataset_image_row(dataset, 0) : 0;
        return TDM_OK;
    }
    TDM_TRY(serve_store_id('w', "", 0, q->upload));
    return TDM_ALLOC(tdm_inference_pixel_bytes(server->searcher->inference), &job->pixel);
}

/* The first search of all takes longer: towers are read, kernels made, the gallery is packed. So it is none of a client's,
 * and what cannot work says so at the start. */
static tdm_status warm_up(serve_server *server, bool *together)
{
    serve_job *job = NULL;
    TDM_TRY(serve_job_create(&job));
    tdm_status status = make_first_job(server, job);
    if (status == TDM_OK) {
        status = serve_batch_answer(server, &job, 1);
        *together = status != TDM_OK;
        if (status == TDM_OK && job->fault.status != 0)
            status = TDM_ERROR(TDM_E_DATA, "%s", job->fault.message);
    }
    serve_job_free(&job);
    return status;
}

/* *together: the error is one of all ranks. */
static tdm_status serve_first(serve_server *server, serve_front *front, bool *together)
{
    TDM_TRY(warm_up(server, together)); /* nobody reads pictures meanwhile, as HDF5 demands */
    TDM_TRY(serve_front_start(front));
    say_where(server, front);
    tdm_status status = serve_until_stopped(server);
    if (status == TDM_OK) {
        tdm_log(TDM_LOG_INFO, "stopping: answering what waits");
        status = drain(server, front);
    }
    serve_queue_close(&server->queue);
    *together = status != TDM_OK;
    return status;
}

/* ---- All ranks ---- */

static tdm_status lead(serve_server *server, serve_front *front)
{
    bool together = false;
    const tdm_status status = serve_first(server, front, &together);
    const tdm_status told = together ? TDM_OK : serve_batch_end(server->searcher);
    return status != TDM_OK ? status : told;
}

static tdm_status run(serve_server *server)
{
    tdm_comm *comm = server->searcher->comm;
    serve_front *front = NULL;
    const bool is_first = tdm_comm_rank(comm) == 0;
    tdm_status status = is_first ? open_server(server) : TDM_OK;
    if (status == TDM_OK && is_first) status = serve_front_open(server, &front);
    if (status == TDM_OK) status = serve_guard_start(&server->guard, comm, server->options->stall_s);
    status = tdm_comm_agree(comm, status);
    tdm_stop_hold(true); /* what was asked is answered first */
    if (status == TDM_OK) status = is_first ? lead(server, front) : serve_batch_help(server);
    tdm_stop_hold(false);
    serve_guard_stop(&server->guard);
    serve_front_close(&front);
    return status;
}

tdm_status tdm_serve(tdm_searcher *searcher, const tdm_serve_options *options)
{
    serve_server *server = NULL;
    TDM_AGREE(searcher->comm, TDM_ALLOC(1, &server));
    server->searcher = searcher;
    server->options = options;
    pthread_mutex_init(&server->source, NULL);
    sem_init(&server->decoders, 0, (unsigned)searcher->inference->workers);
    serve_queue_init(&server->queue, options->queue);
    serve_metrics_init(&server->metrics);
    count_rows(server);
    const tdm_status status = run(server);
    close_server(server);
    serve_metrics_destroy(&server->metrics);
    serve_queue_destroy(&server->queue);
    pthread_mutex_destroy(&server->source);
    sem_destroy(&server->decoders);
    tdm_free(server);
    return status;
}
