/* Rows of the gallery with what is known of them, as pages and JSON show them. */
#include "serve_impl.h"

int64_t serve_place_of_row(const serve_server *server, int64_t row)
{
    const tdm_dataset *dataset = server->searcher->dataset;
    if (dataset == NULL) return row < server->images ? row : -1;
    return row < tdm_dataset_images(dataset) ? tdm_dataset_image_number(dataset, row) : -1;
}

/* Names of the classes of an item, at label[]; NULL counts them. */
static tdm_status read_labels(const serve_server *server, int64_t row, const char **label, int64_t *count)
{
    const uint64_t *bits = NULL;
    *count = 0;
    if (row < 0 || server->labels == 0) return TDM_OK;
    TDM_TRY(tdm_searcher_class_bits(server->searcher, row, &bits));
    for (int64_t c = 0; bits != NULL && c < server->labels; c++) {
        if ((bits[c / 64] >> (c % 64) & 1u) == 0) continue;
        if (label != NULL) label[*count] = server->label[c];
        ++*count;
    }
    return TDM_OK;
}

static tdm_status label_items(const serve_server *server, serve_job *job)
{
    int64_t total = 0, at = 0,
            n = job->items + (job->asked_found != NULL); /* the one that was asked for is the last */
    for (int64_t i = 0; i < n; i++) {
        serve_item *item = i < job->items ? &job->item[i] : &job->asked;
        TDM_TRY(read_labels(server, item->row, NULL, &item->labels));
        total += item->labels;
    }
    TDM_TRY(TDM_ALLOC(total, &job->label));
    for (int64_t i = 0; i < n; i++) {
        serve_item *item = i < job->items ? &job->item[i] : &job->asked;
        item->label = job->label + at;
        TDM_TRY(read_labels(server, item->row, job->label + at, &item->labels));
        at += item->labels;
    }
    return TDM_OK;
}

static const char *text_of(const tdm_text *text)
{
    return text->data != NULL ? text->data : "";
}

static serve_item item_of(const serve_server *server, const tdm_found_item *found, int64_t rank)
{
    const bool has_source = tdm_searcher_has_source(server->searcher);
    return (serve_item){.rank = rank,
                        .row = found->image,
                        .caption = found->caption,
                        .score = found->score,
                        .text = text_of(&found->text),
                        .name = text_of(&found->name),
                        .has_picture = has_source && found->image >= 0};
}

/* The picture of the gallery whose like is looked for. */
static tdm_status read_asked(serve_server *server, serve_job *job)
{
    if (job->query.row < 0) return TDM_OK;
    const int64_t place = serve_place_of_row(server, job->query.row);
    TDM_TRY(TDM_ALLOC(1, &job->asked_found));
    TDM_TRY(tdm_searcher_read_row(server->searcher, TDM_IMAGE, place, false, job->asked_found));
    job->asked = item_of(server, job->asked_found, 0);
    return TDM_OK;
}

tdm_status serve_items_read(serve_server *server, const tdm_found *part, int64_t first, serve_job *job)
{
    TDM_TRY(TDM_ALLOC(part->k, &job->found));
    TDM_TRY(TDM_ALLOC(part->k, &job->item));
    job->items = part->k;
    TDM_TRY(tdm_searcher_read(server->searcher, part, 0, false, job->found));
    for (int64_t i = 0; i < part->k; i++) job->item[i] = item_of(server, &job->found[i], first + i + 1);
    TDM_TRY(read_asked(server, job));
    return label_items(server, job);
}

/* ---- Rows that nobody searched for ---- */

/* Places in the gallery, place[n], as the items of a job. */
static bool read_places(serve_server *server, int64_t n, int64_t *place, int64_t first, serve_job **job,
                        serve_fault *fault)
{
    float *score = NULL; /* zeros */
    tdm_status status = TDM_ALLOC(n, &score);
    if (status == TDM_OK) status = serve_job_create(job);
    const tdm_found part = {
        .what = TDM_IMAGE, .gallery = server->images, .queries = 1, .k = n, .row = place, .score = score};
    pthread_mutex_lock(&server->source);
    if (status == TDM_OK) status = serve_items_read(server, &part, first, *job);
    pthread_mutex_unlock(&server->source);
    tdm_free(score);
    if (status == TDM_OK) return true;
    tdm_log(TDM_LOG_WARN, "%s", tdm_error_last()->message);
    return serve_refuse(fault, 500, "unreadable", "the gallery cannot be read: the log says why");
}

void serve_class_bits(const serve_server *server, const serve_query *query, uint64_t *bits)
{
    memset(bits, 0, (size_t)server->searcher->embeddings.label_words * sizeof *bits);
    for (int64_t i = 0; i < query->labels; i++)
        for (int64_t c = 0; c < server->labels; c++)
            if (strcmp(server->label[c], query->label[i]) == 0) bits[c / 64] |= UINT64_C(1) << (c % 64);
}

/* Is an image row of one of these classes? */
static bool has_class(const serve_server *server, const uint64_t *wanted, int64_t row)
{
    const uint64_t *bits = NULL;
    if (tdm_searcher_class_bits(server->searcher, row, &bits) != TDM_OK || bits == NULL) return false;
    for (int64_t w = 0; w < server->searcher->embeddings.label_words; w++)
        if ((bits[w] & wanted[w]) != 0) return true;
    return false;
}

/* The places from q->offset on, at most q->k of them; returns how many. *total: of all, as far as they can be reached. */
static int64_t list_places(serve_server *server, const serve_query *q, const uint64_t *wanted, int64_t *place,
                           int64_t *total)
{
    const tdm_dataset *dataset = server->searcher->dataset;
    const int64_t rows = dataset != NULL ? tdm_dataset_images(dataset) : server->images;
    int64_t n = 0;
    *total = 0;
    pthread_mutex_lock(&server->source);
    for (int64_t row = 0; row < rows && *total < SERVE_MOST_DEPTH; row++) {
        const int64_t at = serve_place_of_row(server, row);
        if (at < 0 || (q->labels > 0 && !has_class(server, wanted, row))) continue;
        if (*total >= q->offset && n < q->k) place[n++] = at;
        ++*total;
    }
    pthread_mutex_unlock(&server->source);
    return n;
}

bool serve_browse(serve_server *server, const serve_query *query, serve_job **job, serve_fault *fault)
{
    int64_t total = 0;
    int64_t *place = NULL;
    uint64_t *wanted = NULL;
    bool fine = TDM_ALLOC(query->k, &place) == TDM_OK &&
                TDM_ALLOC(server->searcher->embeddings.label_words, &wanted) == TDM_OK;
    if (fine) {
        serve_class_bits(server, query, wanted);
        const int64_t n = list_places(server, query, wanted, place, &total);
        fine = read_places(server, n, place, query->offset, job, fault);
        if (fine) (*job)->total = total;
    } else
        serve_refuse_memory(fault);
    tdm_free(place);
    tdm_free(wanted);
    return fine;
}
