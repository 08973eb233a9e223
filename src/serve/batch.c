/* The compute thread's part. Rank 0 embeds what the jobs of a batch ask for, texts together and pictures together, and
 * lets all ranks search for all of them at once. The other ranks wait for its calls, asleep. */
#include "serve_impl.h"

#include "compat.h"

#include <stdlib.h>

enum { CALL_END, CALL_BEAT, CALL_FIND, CALL_ROWS };
typedef struct serve_call { /* from rank 0 to the others */
    int64_t what_to_do, what, k, n;
} serve_call;

/* ---- Calls to the other ranks ---- */

static tdm_status call_ranks(const tdm_searcher *s, const serve_call *call)
{
    serve_call copy = *call;
    return tdm_comm_broadcast_patiently(s->comm, &copy, sizeof copy, 0, 0);
}

/* feature[n][d] of images row[n] of the gallery, whichever rank has them. row: on every rank. */
static void gather_features(const tdm_searcher *s, int64_t n, const int64_t *row, float *feature)
{
    const tdm_embeddings *e = &s->embeddings;
    memset(feature, 0, (size_t)(n * e->d) * sizeof *feature);
    for (int64_t i = 0; i < n; i++) {
        const int64_t local = row[i] - e->image_first;
        if (local >= 0 && local < e->images)
            memcpy(feature + i * e->d, e->image + local * e->d, (size_t)e->d * sizeof *feature);
    }
    tdm_comm_sum_f32(s->comm, feature, n * e->d);
}

static tdm_status help_rows(const tdm_searcher *s, int64_t n)
{
    int64_t *row = NULL;
    float *feature = NULL;
    tdm_status status = TDM_ALLOC(n, &row);
    if (status == TDM_OK) status = TDM_ALLOC(n * s->embeddings.d, &feature);
    status = tdm_comm_agree(s->comm, status);
    if (status == TDM_OK) {
        tdm_comm_broadcast(s->comm, row, n * (int64_t)sizeof *row, 0);
        gather_features(s, n, row, feature);
    }
    tdm_free(row);
    tdm_free(feature);
    return status;
}

static void exchange_stop(const tdm_searcher *s, bool *stop)
{
    double asked = tdm_stop_requested() ? 1 : 0;
    tdm_comm_max_f64(s->comm, &asked, 1);
    *stop = asked > 0;
}

tdm_status serve_batch_help(const tdm_searcher *searcher, double stall_s)
{
    for (;;) {
        serve_call call = {0};
        tdm_found found = {0};
        bool stop = false;
        TDM_TRY(tdm_comm_broadcast_patiently(searcher->comm, &call, sizeof call, 0, stall_s));
        switch (call.what_to_do) {
        case CALL_END: return TDM_OK;
        case CALL_BEAT: exchange_stop(searcher, &stop); break;
        case CALL_ROWS: TDM_TRY(help_rows(searcher, call.n)); break;
        default:
            TDM_TRY(tdm_searcher_find(searcher, (tdm_modality)call.what, 0, NULL, call.k, &found));
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

/* Texts that were not asked for before, in one go. */
static tdm_status embed_texts(batch *b)
{
    const char **text = NULL;
    float *feature = NULL;
    bool *cut = NULL;
    int64_t count = 0, *of = NULL;
    tdm_status status = TDM_ALLOC(b->n, &text);
    if (status == TDM_OK) status = TDM_ALLOC(b->n * b->d, &feature);
    if (status == TDM_OK) status = TDM_ALLOC(b->n, &cut);
    if (status == TDM_OK) status = TDM_ALLOC(b->n, &of);
    for (int64_t i = 0; i < b->n && status == TDM_OK; i++) {
        char id[SERVE_ID_BYTES];
        const tdm_text *q = &b->job[i]->query.text;
        if (q->length == 0) continue;
        b->has_text[i] = true;
        status = serve_store_id('t', q->data, q->length, id);
        if (status != TDM_OK || serve_store_find(b->server->store, id, b->text + i * b->d, &b->job[i]->cut))
            continue;
        text[count] = q->data;
        of[count++] = i;
    }
    if (status == TDM_OK && count > 0)
        status = tdm_inference_embed_texts(b->inference, count, text, feature, cut);
    for (int64_t j = 0; j < count && status == TDM_OK; j++) {
        char id[SERVE_ID_BYTES];
        serve_job *job = b->job[of[j]];
        memcpy(b->text + of[j] * b->d, feature + j * b->d, (size_t)b->d * sizeof *feature);
        job->cut = cut[j];
        status = serve_store_id('t', job->query.text.data, job->query.text.length, id);
        if (status == TDM_OK)
            status = serve_store_keep(b->server->store, id, feature + j * b->d, cut[j], NULL);
    }
    tdm_free((void *)text);
    tdm_free(feature);
    tdm_free(cut);
    tdm_free(of);
    return status;
}

/* Pictures that were decoded for this batch, in one go; those that are known, from the store. */
static tdm_status embed_pictures(batch *b)
{
    const int64_t bytes = tdm_inference_pixel_bytes(b->inference);
    uint8_t *pixel = NULL;
    float *feature = NULL;
    int64_t count = 0, *of = NULL;
    tdm_status status = TDM_ALLOC(b->n * bytes, &pixel);
    if (status == TDM_OK) status = TDM_ALLOC(b->n * b->d, &feature);
    if (status == TDM_OK) status = TDM_ALLOC(b->n, &of);
    for (int64_t i = 0; i < b->n && status == TDM_OK; i++) {
        serve_job *job = b->job[i];
        bool cut = false;
        if (job->query.upload[0] == '\0') continue;
        b->has_picture[i] = true;
        if (job->pixel != NULL) {
            memcpy(pixel + count * bytes, job->pixel, (size_t)bytes);
            of[count++] = i;
        } else if (!serve_store_find(b->server->store, job->query.upload, b->picture + i * b->d, &cut)) {
            serve_refuse(&job->fault, 404, "upload_gone", "this picture is not kept any more: send it again");
        }
    }
    if (status == TDM_OK && count > 0)
        status = tdm_inference_embed_pixels(b->inference, count, pixel, feature);
    for (int64_t j = 0; j < count && status == TDM_OK; j++) {
        serve_job *job = b->job[of[j]];
        memcpy(b->picture + of[j] * b->d, feature + j * b->d, (size_t)b->d * sizeof *feature);
        status = serve_store_keep(b->server->store, job->query.upload, feature + j * b->d, false,
                                  &job->query.image);
    }
    tdm_free(pixel);
    tdm_free(feature);
    tdm_free(of);
    return status;
}

/* Place in the gallery of a picture's row; -1: it is not there. */
static int64_t place_of_row(const serve_server *server, int64_t row)
{
    const tdm_dataset *dataset = server->searcher->dataset;
    if (dataset == NULL) return row < server->images ? row : -1;
    return row < tdm_dataset_images(dataset) ? tdm_dataset_image_number(dataset, row) : -1;
}

/* Pictures of the gallery, from the ranks that have them. */
static tdm_status find_rows(batch *b)
{
    const tdm_searcher *s = b->server->searcher;
    int64_t *row = NULL, *of = NULL, count = 0;
    float *feature = NULL;
    TDM_TRY(TDM_ALLOC(b->n, &row));
    TDM_TRY(TDM_ALLOC(b->n, &of));
    TDM_TRY(TDM_ALLOC(b->n * b->d, &feature));
    for (int64_t i = 0; i < b->n; i++) {
        if (b->job[i]->query.row < 0) continue;
        b->has_picture[i] = true;
        row[count] = place_of_row(b->server, b->job[i]->query.row);
        if (row[count] < 0)
            serve_refuse(&b->job[i]->fault, 404, "not_found", "the gallery has no picture %lld",
                         (long long)b->job[i]->query.row);
        else
            of[count++] = i;
    }
    tdm_status status = TDM_OK;
    if (count > 0) {
        const serve_call call = {.what_to_do = CALL_ROWS, .n = count};
        status = call_ranks(s, &call);
        if (status == TDM_OK) status = tdm_comm_agree(s->comm, TDM_OK);
        if (status == TDM_OK) {
            tdm_comm_broadcast(s->comm, row, count * (int64_t)sizeof *row, 0);
            gather_features(s, count, row, feature);
        }
    }
    for (int64_t j = 0; j < count && status == TDM_OK; j++)
        memcpy(b->picture + of[j] * b->d, feature + j * b->d, (size_t)b->d * sizeof *feature);
    tdm_free(row);
    tdm_free(of);
    tdm_free(feature);
    return status;
}

static void combine(batch *b, int64_t i)
{
    serve_job *job = b->job[i];
    const float *text = b->text + i * b->d, *picture = b->picture + i * b->d;
    if (!is_fine(job)) return;
    if (b->has_text[i] && b->has_picture[i]) {
        if (tdm_inference_combine(b->inference, text, picture, job->query.weight, job->feature) != TDM_OK)
            fail_job(job);
    } else {
        memcpy(job->feature, b->has_text[i] ? text : picture, (size_t)b->d * sizeof *text);
    }
}

static tdm_status make_features(batch *b)
{
    TDM_TRY(TDM_ALLOC(b->n * b->d, &b->text));
    TDM_TRY(TDM_ALLOC(b->n * b->d, &b->picture));
    TDM_TRY(TDM_ALLOC(b->n, &b->has_text));
    TDM_TRY(TDM_ALLOC(b->n, &b->has_picture));
    TDM_TRY(embed_texts(b));
    TDM_TRY(embed_pictures(b));
    TDM_TRY(find_rows(b));
    for (int64_t i = 0; i < b->n; i++) combine(b, i);
    return TDM_OK;
}

/* ---- Results ---- */

/* Names of the classes of job->item[i]; those of the whole gallery are counted first. */
static tdm_status read_labels(serve_server *server, serve_job *job)
{
    tdm_dataset *dataset = server->searcher->dataset;
    int64_t count = 0;
    for (int pass = 0; pass < 2 && dataset != NULL && server->labels > 0; pass++) {
        if (pass == 1) TDM_TRY(TDM_ALLOC(count, &job->label));
        count = 0;
        for (int64_t i = 0; i < job->items; i++) {
            const uint64_t *bits = NULL;
            serve_item *item = &job->item[i];
            if (item->row < 0) continue;
            TDM_TRY(tdm_dataset_class_bits(dataset, item->row, &bits));
            if (pass == 1) item->label = job->label + count;
            for (int64_t c = 0; c < server->labels; c++) {
                if ((bits[c / 64] >> (c % 64) & 1u) == 0) continue;
                if (pass == 1) job->label[count] = server->label[c];
                if (pass == 1) item->labels++;
                count++;
            }
        }
    }
    return TDM_OK;
}

static const char *text_of(const tdm_text *text)
{
    return text->data != NULL ? text->data : "";
}

/* The results that this job's page shows, of those that were found for query `index`. */
static tdm_status read_items(serve_server *server, serve_job *job, const tdm_found *found, int64_t index)
{
    const tdm_searcher *s = server->searcher;
    const int64_t first = tdm_min_i64(job->query.offset, found->k);
    const int64_t n = tdm_min_i64(job->query.k, found->k - first);
    job->total = tdm_min_i64(found->gallery, SERVE_MOST_DEPTH);
    const tdm_found part = {.what = found->what,
                            .gallery = found->gallery,
                            .queries = 1,
                            .k = n,
                            .row = found->row + index * found->k + first,
                            .score = found->score + index * found->k + first};
    TDM_TRY(TDM_ALLOC(n, &job->found));
    TDM_TRY(TDM_ALLOC(n, &job->item));
    job->items = n;
    TDM_TRY(tdm_searcher_read(s, &part, 0, false, job->found));
    for (int64_t i = 0; i < n; i++)
        job->item[i] = (serve_item){.rank = first + i + 1,
                                    .row = job->found[i].image,
                                    .caption = job->found[i].caption,
                                    .score = job->found[i].score,
                                    .text = text_of(&job->found[i].text),
                                    .name = text_of(&job->found[i].name),
                                    .has_picture = s->dataset != NULL};
    return read_labels(server, job);
}

/* ---- The search: jobs that want the same kind of thing, together ---- */

static bool belongs(const serve_job *job, tdm_modality what)
{
    return is_fine(job) && job->query.find == what;
}

static tdm_status find_group(batch *b, tdm_modality what)
{
    const tdm_searcher *s = b->server->searcher;
    float *query = NULL;
    int64_t n = 0, k = 0;
    tdm_found found = {0};
    TDM_TRY(TDM_ALLOC(b->n * b->d, &query));
    for (int64_t i = 0; i < b->n; i++) {
        if (!belongs(b->job[i], what)) continue;
        memcpy(query + n++ * b->d, b->job[i]->feature, (size_t)b->d * sizeof *query);
        k = tdm_max_i64(k, b->job[i]->query.offset + b->job[i]->query.k);
    }
    tdm_status status = TDM_OK;
    if (n > 0) {
        const serve_call call = {.what_to_do = CALL_FIND, .what = what, .k = k};
        status = call_ranks(s, &call);
        if (status == TDM_OK) status = tdm_searcher_find(s, what, n, query, k, &found);
    }
    tdm_free(query);
    pthread_mutex_lock(&b->server->source);
    for (int64_t i = 0, index = 0; i < b->n && n > 0 && status == TDM_OK; i++) {
        if (!belongs(b->job[i], what)) continue;
        if (read_items(b->server, b->job[i], &found, index++) != TDM_OK) fail_job(b->job[i]);
    }
    pthread_mutex_unlock(&b->server->source);
    tdm_found_free(&found);
    return status;
}

tdm_status serve_batch_answer(serve_server *server, serve_job **job, int64_t n)
{
    batch b = {.server = server,
               .inference = server->searcher->inference,
               .job = job,
               .n = n,
               .d = server->searcher->embeddings.d};
    tdm_status status = make_features(&b);
    if (status == TDM_OK) status = find_group(&b, TDM_IMAGE);
    if (status == TDM_OK) status = find_group(&b, TDM_TEXT);
    tdm_free(b.text);
    tdm_free(b.picture);
    tdm_free(b.has_text);
    tdm_free(b.has_picture);
    serve_metrics_batch(&server->metrics, n);
    return status;
}
