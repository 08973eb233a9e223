/* The compute thread's part. Rank 0 embeds what the jobs of a batch ask for, texts together and pictures together, and
 * lets all ranks search for all of them at once. The other ranks wait for its calls, asleep. */
#include "serve_impl.h"

enum { CALL_END, CALL_BEAT, CALL_FIND, CALL_ROWS };
typedef struct serve_call { /* from rank 0 to the others */
    int64_t what_to_do, what, k;
    bool filtered, unique;
} serve_call;

/* ---- Calls to the other ranks ---- */

static tdm_status call_ranks(const tdm_searcher *s, const serve_call *call)
{
    serve_call copy = *call;
    return tdm_comm_broadcast_patiently(s->comm, &copy, sizeof copy, 0);
}

/* On all ranks; class_bits [label_words], query [n][d] and *found are rank 0's. */
static tdm_status find_together(tdm_searcher *s, const serve_call *call, double duplicates,
                                const uint64_t *class_bits, int64_t n, const float *query, tdm_found *found)
{
    tdm_filter filter = {0};
    const tdm_find find = {.what = (tdm_modality)call->what,
                           .k = call->k,
                           .filter = call->filtered ? &filter : NULL,
                           .hide_duplicates = call->unique ? duplicates : 0};
    const int64_t words = s->embeddings.label_words;
    if (call->filtered) {
        TDM_AGREE(s->comm, TDM_ALLOC(words, &filter.class_bits));
        if (class_bits != NULL) memcpy(filter.class_bits, class_bits, (size_t)words * sizeof *class_bits);
        tdm_comm_broadcast(s->comm, filter.class_bits, words * (int64_t)sizeof *class_bits, 0);
    }
    const tdm_status status = tdm_searcher_find(s, &find, n, query, found);
    tdm_filter_free(&filter);
    return status;
}

/* The other ranks' part of tdm_searcher_features, whose results rank 0 alone needs. */
static tdm_status help_rows(const tdm_searcher *s)
{
    float *feature = NULL; /* room for as many as a batch may have */
    TDM_AGREE(s->comm, TDM_ALLOC(SERVE_MOST_BATCH * s->embeddings.d, &feature));
    const tdm_status status = tdm_searcher_features(s, TDM_IMAGE, 0, NULL, feature);
    tdm_free(feature);
    return status;
}

static void exchange_stop(const tdm_searcher *s, bool *stop)
{
    *stop = tdm_comm_any(s->comm, tdm_stop_requested());
}

tdm_status serve_batch_help(serve_server *server)
{
    tdm_searcher *s = server->searcher;
    for (;;) {
        serve_call call = {0};
        tdm_found found = {0};
        bool stop = false;
        TDM_TRY(tdm_comm_broadcast_patiently(s->comm, &call, sizeof call, 0));
        serve_guard_beat(&server->guard);
        switch (call.what_to_do) {
        case CALL_END: return TDM_OK;
        case CALL_BEAT: exchange_stop(s, &stop); break;
        case CALL_ROWS: TDM_TRY(help_rows(s)); break;
        default:
            TDM_TRY(find_together(s, &call, server->options->duplicates, NULL, 0, NULL, &found));
            tdm_found_free(&found);
        }
    }
}

tdm_status serve_batch_beat(const tdm_searcher *searcher, bool *stop)
{
    const serve_call call = {.what_to_do = CALL_BEAT};
    TDM_TRY(call_ranks(searcher, &call));
    exchange_stop(searcher, stop);
    return TDM_OK;
}

tdm_status serve_batch_end(const tdm_searcher *searcher)
{
    const serve_call call = {.what_to_do = CALL_END};
    return call_ranks(searcher, &call);
}

/* ---- Features ---- */

typedef struct batch {
    serve_server *server;
    const tdm_inference *inference;
    serve_job **job; /* [n] */
    int64_t n, d;
    float *text, *picture; /* [n][d] of each job, as far as it has them */
    bool *has_text, *has_picture;
    bool *done;           /* [n] searched for */
    uint64_t *class_bits; /* [label_words] room, as what follows: for one step at a time */
    int64_t *place, *of;  /* [n] */
    float *feature;       /* [n][d] */
} batch;

static bool is_fine(const serve_job *job)
{
    return job->fault.status == 0;
}

static void fail_job(serve_job *job)
{
    const tdm_error *error = tdm_error_last();
    if (error->code == TDM_E_DATA || error->code == TDM_E_NUMERIC)
        serve_refuse(&job->fault, 400, "bad_query", "%s", error->message);
    else
        serve_refuse(&job->fault, 500, "failed", "%s", error->message);
}

/* ---- Texts ---- */

static tdm_status keep_text(batch *b, int64_t i, const float *feature, bool cut)
{
    char id[SERVE_ID_BYTES];
    const tdm_text *text = &b->job[i]->query.text;
    memcpy(b->text + i * b->d, feature, (size_t)b->d * sizeof *feature);
    b->job[i]->cut = cut;
    TDM_TRY(serve_store_id('t', text->data, text->length, id));
    return serve_store_keep(b->server->store, id, feature, cut, NULL);
}

/* Texts text[n] of the jobs b->of[n]. One that cannot be embedded makes its own job fail, not those of others. */
static tdm_status embed_new_texts(batch *b, int64_t n, const char *const *text, bool *cut)
{
    const bool together = tdm_inference_embed_texts(b->inference, n, text, b->feature, cut) == TDM_OK;
    for (int64_t j = 0; j < n; j++) {
        float *own = b->feature + j * b->d;
        if (!together && tdm_inference_embed_texts(b->inference, 1, text + j, own, cut + j) != TDM_OK)
            fail_job(b->job[b->of[j]]);
        else
            TDM_TRY(keep_text(b, b->of[j], own, cut[j]));
    }
    return TDM_OK;
}

/* Is the job's text there, or known from before? */
static tdm_status recall_text(batch *b, int64_t i, bool *known)
{
    char id[SERVE_ID_BYTES];
    const tdm_text *text = &b->job[i]->query.text;
    TDM_TRY(serve_store_id('t', text->data, text->length, id));
    *known = serve_store_find(b->server->store, id, b->text + i * b->d, &b->job[i]->cut);
    return TDM_OK;
}

/* Those that were not asked for before, in one go. */
static tdm_status embed_texts(batch *b)
{
    const char **text = NULL;
    bool *cut = NULL;
    int64_t count = 0;
    tdm_status status = TDM_ALLOC(b->n, &text);
    if (status == TDM_OK) status = TDM_ALLOC(b->n, &cut);
    for (int64_t i = 0; i < b->n && status == TDM_OK; i++) {
        bool known = false;
        b->has_text[i] = b->job[i]->query.text.length > 0;
        if (b->has_text[i]) status = recall_text(b, i, &known);
        if (!b->has_text[i] || known) continue;
        text[count] = b->job[i]->query.text.data;
        b->of[count++] = i;
    }
    if (status == TDM_OK && count > 0) status = embed_new_texts(b, count, text, cut);
    tdm_free((void *)text);
    tdm_free(cut);
    return status;
}

/* ---- Pictures ---- */

/* Pictures of the jobs b->of[n], one behind the other. */
static tdm_status embed_new_pictures(batch *b, int64_t n, const uint8_t *pixel)
{
    TDM_TRY(tdm_inference_embed_pixels(b->inference, n, pixel, b->feature));
    for (int64_t j = 0; j < n; j++) {
        const serve_query *q = &b->job[b->of[j]]->query;
        const float *own = b->feature + j * b->d;
        memcpy(b->picture + b->of[j] * b->d, own, (size_t)b->d * sizeof *own);
        TDM_TRY(serve_store_keep(b->server->store, q->upload, own, false, &q->image));
    }
    return TDM_OK;
}

/* Those that were decoded for this batch, in one go; those that are known, from the store. */
static tdm_status embed_pictures(batch *b)
{
    const int64_t bytes = tdm_inference_pixel_bytes(b->inference);
    uint8_t *pixel = NULL;
    int64_t decoded = 0, count = 0;
    for (int64_t i = 0; i < b->n; i++) decoded += b->job[i]->pixel != NULL;
    TDM_TRY(TDM_ALLOC(decoded * bytes, &pixel));
    for (int64_t i = 0; i < b->n; i++) {
        serve_job *job = b->job[i];
        bool cut = false;
        if (job->query.upload[0] == '\0') continue;
        b->has_picture[i] = true;
        if (job->pixel != NULL) {
            memcpy(pixel + count * bytes, job->pixel, (size_t)bytes);
            b->of[count++] = i;
        } else if (!serve_store_find(b->server->store, job->query.upload, b->picture + i * b->d, &cut)) {
            serve_refuse(&job->fault, 404, "upload_gone", "this picture is not kept any more: send it again");
        }
    }
    const tdm_status status = count > 0 ? embed_new_pictures(b, count, pixel) : TDM_OK;
    tdm_free(pixel);
    return status;
}

/* ---- Rows of the gallery ---- */

/* Fills b->place and b->of; returns how many. */
static int64_t list_rows(batch *b)
{
    int64_t n = 0;
    for (int64_t i = 0; i < b->n; i++) {
        const int64_t row = b->job[i]->query.row;
        if (row < 0) continue;
        b->has_picture[i] = true;
        b->place[n] = serve_place_of_row(b->server, row);
        if (b->place[n] < 0)
            serve_refuse(&b->job[i]->fault, 404, "not_found", "the gallery has no picture %lld",
                         (long long)row);
        else
            b->of[n++] = i;
    }
    return n;
}

/* From the ranks that have them. An error is one of all ranks. */
static tdm_status fetch_rows(batch *b)
{
    const tdm_searcher *s = b->server->searcher;
    const serve_call call = {.what_to_do = CALL_ROWS};
    const int64_t n = list_rows(b);
    if (n == 0) return TDM_OK;
    TDM_TRY(call_ranks(s, &call));
    TDM_AGREE(s->comm, TDM_OK); /* room for them */
    TDM_TRY(tdm_searcher_features(s, TDM_IMAGE, n, b->place, b->feature));
    for (int64_t j = 0; j < n; j++)
        memcpy(b->picture + b->of[j] * b->d, b->feature + j * b->d, (size_t)b->d * sizeof *b->feature);
    return TDM_OK;
}

/* ---- The query ---- */

/* A weight of 0 or 1 leaves the one or the other as it is, to the bit. */
static void combine(batch *b, int64_t i)
{
    serve_job *job = b->job[i];
    const double weight = job->query.weight;
    const float *text = b->text + i * b->d, *picture = b->picture + i * b->d;
    const bool text_only = b->has_text[i] && (!b->has_picture[i] || weight == 0);
    const bool picture_only = b->has_picture[i] && (!b->has_text[i] || weight == 1);
    if (!is_fine(job)) return;
    if (text_only || picture_only)
        memcpy(job->feature, text_only ? text : picture, (size_t)b->d * sizeof *text);
    else if (tdm_inference_combine(b->inference, text, picture, weight, job->feature) != TDM_OK)
        fail_job(job);
}

/* ---- Results ---- */

/* Rows of query `index` that were found; behind them there may be free places. */
static int64_t count_found(const tdm_found *found, int64_t index)
{
    int64_t n = 0;
    while (n < found->k && found->row[index * found->k + n] >= 0) n++;
    return n;
}

/* The results that this job's page shows, of those that were found for query `index`. */
static tdm_status read_items(serve_server *server, serve_job *job, const tdm_found *found, int64_t index)
{
    const int64_t all = count_found(found, index), first = tdm_min_i64(job->query.offset, all);
    const int64_t n = tdm_min_i64(job->query.k, all - first);
    const int64_t hidden = found->hidden != NULL ? found->hidden[index] : 0;
    job->total = all < found->k ? all : tdm_min_i64(found->gallery - hidden, SERVE_MOST_DEPTH);
    const tdm_found part = {.what = found->what,
                            .gallery = found->gallery,
                            .queries = 1,
                            .k = n,
                            .row = found->row + index * found->k + first,
                            .score = found->score + index * found->k + first};
    return serve_items_read(server, &part, first, job);
}

/* ---- The search: jobs that want the same kind of thing, together ---- */

static bool same_labels(const serve_query *a, const serve_query *b)
{
    if (a->labels != b->labels) return false;
    for (int64_t i = 0; i < a->labels; i++)
        if (strcmp(a->label[i], b->label[i]) != 0) return false;
    return true;
}

static bool belong_together(const serve_query *a, const serve_query *b)
{
    return a->find == b->find && a->unique == b->unique && same_labels(a, b);
}

/* A row of jobs that are searched for together: their places b->of[n] in the batch. An error is one of all ranks. */
static tdm_status search_group(batch *b, int64_t n, tdm_found *found)
{
    serve_server *server = b->server;
    const serve_query *q = &b->job[b->of[0]]->query;
    serve_call call = {
        .what_to_do = CALL_FIND, .what = q->find, .filtered = q->labels > 0, .unique = q->unique};
    for (int64_t j = 0; j < n; j++) {
        const serve_job *job = b->job[b->of[j]];
        memcpy(b->feature + j * b->d, job->feature, (size_t)b->d * sizeof *b->feature);
        call.k = tdm_max_i64(call.k, job->query.offset + job->query.k);
    }
    serve_class_bits(server, q, b->class_bits);
    TDM_TRY(call_ranks(server->searcher, &call));
    return find_together(server->searcher, &call, server->options->duplicates, b->class_bits, n, b->feature,
                         found);
}

static void read_group(batch *b, int64_t n, const tdm_found *found)
{
    pthread_mutex_lock(&b->server->source);
    for (int64_t j = 0; j < n; j++)
        if (read_items(b->server, b->job[b->of[j]], found, j) != TDM_OK) fail_job(b->job[b->of[j]]);
    pthread_mutex_unlock(&b->server->source);
}

/* Jobs that belong together with the first of those that are not done: their places, into b->of. Returns how many. */
static int64_t next_group(batch *b)
{
    int64_t n = 0;
    for (int64_t i = 0; i < b->n; i++) {
        if (b->done[i] || !is_fine(b->job[i])) continue;
        if (n > 0 && !belong_together(&b->job[b->of[0]]->query, &b->job[i]->query)) continue;
        b->done[i] = true;
        b->of[n++] = i;
    }
    return n;
}

static tdm_status search_all(batch *b)
{
    for (int64_t n; (n = next_group(b)) > 0;) {
        tdm_found found = {0};
        TDM_TRY(search_group(b, n, &found));
        read_group(b, n, &found);
        tdm_found_free(&found);
    }
    return TDM_OK;
}

/* ---- A batch ---- */

static tdm_status make_room(batch *b)
{
    TDM_TRY(TDM_ALLOC(b->n * b->d, &b->text));
    TDM_TRY(TDM_ALLOC(b->n * b->d, &b->picture));
    TDM_TRY(TDM_ALLOC(b->n * b->d, &b->feature));
    TDM_TRY(TDM_ALLOC(b->n, &b->has_text));
    TDM_TRY(TDM_ALLOC(b->n, &b->has_picture));
    TDM_TRY(TDM_ALLOC(b->n, &b->place));
    TDM_TRY(TDM_ALLOC(b->n, &b->of));
    TDM_TRY(TDM_ALLOC(b->server->searcher->embeddings.label_words, &b->class_bits));
    return TDM_ALLOC(b->n, &b->done);
}

static void free_room(batch *b)
{
    tdm_free(b->text);
    tdm_free(b->picture);
    tdm_free(b->feature);
    tdm_free(b->has_text);
    tdm_free(b->has_picture);
    tdm_free(b->place);
    tdm_free(b->of);
    tdm_free(b->class_bits);
    tdm_free(b->done);
}

tdm_status serve_batch_answer(serve_server *server, serve_job **job, int64_t n)
{
    batch b = {.server = server,
               .inference = server->searcher->inference,
               .job = job,
               .n = n,
               .d = server->searcher->embeddings.d};
    /* what fails here fails on this rank alone, before the others are called */
    tdm_status own = make_room(&b), status = TDM_OK;
    if (own == TDM_OK) own = embed_texts(&b);
    if (own == TDM_OK) own = embed_pictures(&b);
    for (int64_t i = 0; i < n && own != TDM_OK; i++) fail_job(job[i]);
    if (own == TDM_OK) {
        status = fetch_rows(&b);
        for (int64_t i = 0; i < n; i++) combine(&b, i);
        if (status == TDM_OK) status = search_all(&b);
    }
    free_room(&b);
    serve_metrics_batch(&server->metrics, n);
    return status;
}
