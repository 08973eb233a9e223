/* Query blocks on the ring: each rank's block visits every rank's part of the gallery and comes home. */
#include "eval_impl.h"

#include <math.h>
#include <string.h>

tdm_status eval_buffer_resize(eval_buffer *buffer, int64_t bytes)
{
    if (bytes > buffer->capacity) {
        const int64_t capacity = tdm_max_i64(bytes, buffer->capacity + buffer->capacity / 2);
        void *grown = NULL;
        TDM_TRY(tdm_alloc((size_t)capacity, "a block of queries", &grown));
        if (buffer->bytes > 0) memcpy(grown, buffer->data, (size_t)buffer->bytes);
        tdm_free(buffer->data);
        buffer->data = grown;
        buffer->capacity = capacity;
    }
    buffer->bytes = bytes;
    return TDM_OK;
}

/* The head: int64 n; row[n]; id[n]; labels[n][label_words]; feature[n][d]. */
static int64_t head_bytes(const eval_ring *ring, int64_t n)
{
    return 8 * (1 + n * (2 + ring->label_words)) + 4 * n * ring->d;
}

eval_queries eval_ring_queries(const eval_ring *ring)
{
    int64_t *word = (int64_t *)(void *)ring->head.data;
    eval_queries queries = {.n = word[0], .row = word + 1};
    queries.id = queries.row + queries.n;
    queries.labels = (uint64_t *)(queries.id + queries.n);
    queries.feature = (float *)(queries.labels + queries.n * ring->label_words);
    return queries;
}

tdm_status eval_ring_load(eval_ring *ring, const tdm_eval_side *side, int64_t first, const int64_t *order,
                          int64_t n)
{
    TDM_TRY(eval_buffer_resize(&ring->head, head_bytes(ring, n)));
    TDM_TRY(eval_buffer_resize(&ring->tail, 0));
    *(int64_t *)(void *)ring->head.data = n;
    const eval_queries queries = eval_ring_queries(ring);
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = order[i];
        queries.row[i] = first + row;
        queries.id[i] = side->id == NULL ? 0 : side->id[row];
        for (int64_t w = 0; w < ring->label_words; w++)
            queries.labels[i * ring->label_words + w] = side->labels[row * ring->label_words + w];
        memcpy(queries.feature + i * ring->d, side->feature + row * ring->d, (size_t)ring->d * sizeof(float));
    }
    return TDM_OK;
}

tdm_status eval_ring_load_rows(eval_ring *ring, const tdm_eval_side *side, int64_t first, int64_t begin,
                               int64_t n)
{
    int64_t *order = NULL;
    TDM_TRY(TDM_ALLOC(n, &order));
    for (int64_t i = 0; i < n; i++) order[i] = begin + i;
    const tdm_status status = eval_ring_load(ring, side, first, order, n);
    tdm_free(order);
    return status;
}

static void shift_buffer(eval_ring *ring, eval_buffer *buffer, int64_t receive_bytes)
{
    ring->spare.bytes = receive_bytes;
    tdm_comm_shift(ring->comm, buffer->data, buffer->bytes, ring->spare.data, receive_bytes);
    const eval_buffer sent = *buffer;
    *buffer = ring->spare;
    ring->spare = sent;
}

tdm_status eval_ring_shift(eval_ring *ring, tdm_status local)
{
    TDM_AGREE(ring->comm, local == TDM_OK ? tdm_stop_point("while ranking") : local);
    if (tdm_comm_size(ring->comm) == 1) return TDM_OK;
    const int64_t send[2] = {ring->head.bytes, ring->tail.bytes};
    int64_t receive[2] = {0, 0};
    tdm_comm_shift(ring->comm, send, sizeof send, receive, sizeof receive);
    /* Any of the three buffers may take either message, so that the second needs no further agreement. */
    const int64_t needed = tdm_max_i64(receive[0], receive[1]);
    eval_buffer *const buffers[] = {&ring->head, &ring->tail, &ring->spare};
    tdm_status status = TDM_OK;
    for (int i = 0; i < 3 && status == TDM_OK; i++) {
        const int64_t bytes = buffers[i]->bytes;
        status = eval_buffer_resize(buffers[i], tdm_max_i64(bytes, needed));
        buffers[i]->bytes = bytes;
    }
    TDM_AGREE(ring->comm, status);
    shift_buffer(ring, &ring->head, receive[0]);
    shift_buffer(ring, &ring->tail, receive[1]);
    return TDM_OK;
}

void eval_ring_free(eval_ring *ring)
{
    tdm_free(ring->head.data);
    tdm_free(ring->tail.data);
    tdm_free(ring->spare.data);
    ring->head = ring->tail = ring->spare = (eval_buffer){0};
}

tdm_status eval_check_finite(const char *what, const tdm_eval_side *side, int64_t first)
{
    for (int64_t i = 0; i < side->n; i++)
        for (int64_t k = 0; k < side->d; k++)
            TDM_REQUIRE(isfinite(side->feature[i * side->d + k]), TDM_E_NUMERIC,
                        "%s embedding %lld is not finite in element %lld", what, (long long)(first + i),
                        (long long)k);
    return TDM_OK;
}

/* Every check that one rank can make alone; words: label words that the ranks with rows agree on. */
static tdm_status check_side(const char *what, const tdm_eval_side *side, int64_t d, int64_t words,
                             int64_t first)
{
    TDM_REQUIRE(side->d == d && d >= 1, TDM_E_SHAPE, "%s embeddings have width %lld, others %lld", what,
                (long long)side->d, (long long)d);
    const int64_t own_words = side->labels == NULL ? 0 : side->label_words;
    TDM_REQUIRE(side->n == 0 || own_words == words, TDM_E_SHAPE,
                "%s rows have %lld words of labels, others %lld", what, (long long)own_words,
                (long long)words);
    return side->source ? TDM_OK : eval_check_finite(what, side, first); /* else piece by piece */
}

int64_t eval_count_rows(tdm_comm *comm, int64_t n, int64_t *rows, int64_t *first)
{
    int64_t all = 0;
    *first = 0;
    tdm_comm_gather_i64(comm, n, rows);
    for (int r = 0; r < tdm_comm_size(comm); r++) {
        *first += r < tdm_comm_rank(comm) ? rows[r] : 0;
        all += rows[r];
    }
    return all;
}

tdm_status eval_layout_create(tdm_comm *comm, const tdm_eval_side *query, const tdm_eval_side *gallery,
                              int64_t query_block, eval_layout *layout)
{
    const int size = tdm_comm_size(comm);
    int64_t *rows = NULL;
    *layout = (eval_layout){0};
    TDM_AGREE(comm, query_block < 1 || query->n < 0 || gallery->n < 0
                        ? TDM_ERROR(TDM_E_SHAPE, "blocks of %lld queries, %lld queries, gallery of %lld",
                                    (long long)query_block, (long long)query->n, (long long)gallery->n)
                        : TDM_ALLOC(size, &rows));
    layout->query_rows = rows;
    layout->gallery = eval_count_rows(comm, gallery->n, rows, &layout->gallery_first);
    layout->queries = eval_count_rows(comm, query->n, rows, &layout->query_first);
    for (int r = 0; r < size; r++)
        layout->rounds = tdm_max_i64(layout->rounds, (rows[r] + query_block - 1) / query_block);
    double widest[2] = {(double)tdm_max_i64(query->d, gallery->d), 0};
    if (query->n > 0 && query->labels != NULL) widest[1] = (double)query->label_words;
    if (gallery->n > 0 && gallery->labels != NULL && (double)gallery->label_words > widest[1])
        widest[1] = (double)gallery->label_words;
    tdm_comm_max_f64(comm, widest, 2);
    tdm_status status =
        check_side("query", query, (int64_t)widest[0], (int64_t)widest[1], layout->query_first);
    if (status == TDM_OK)
        status =
            check_side("gallery", gallery, (int64_t)widest[0], (int64_t)widest[1], layout->gallery_first);
    layout->label_words = (int64_t)widest[1];
    return tdm_comm_agree(comm, status);
}

tdm_status eval_layout_turn(tdm_comm *comm, const eval_layout *layout, int64_t rows, eval_layout *turned)
{
    *turned = (eval_layout){.query_first = layout->gallery_first,
                            .gallery_first = layout->query_first,
                            .queries = layout->gallery,
                            .gallery = layout->queries,
                            .label_words = layout->label_words};
    TDM_AGREE(comm, TDM_ALLOC(tdm_comm_size(comm), &turned->query_rows));
    tdm_comm_gather_i64(comm, rows, turned->query_rows);
    return TDM_OK;
}

void eval_layout_free(eval_layout *layout)
{
    tdm_free(layout->query_rows);
    *layout = (eval_layout){0};
}
