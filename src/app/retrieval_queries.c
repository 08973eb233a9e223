#include "retrieval_queries.h"

/* Of this rank's query i: its name; what it belongs to, -1: nothing. */
static int64_t name_of(const tdm_embeddings *e, bool by_text, int64_t i)
{
    if (by_text) return e->caption_first + i;
    return e->image_row ? e->image_row[i] : e->image_first + i;
}

/* place_row [gallery]: row in the split of each image. */
static int64_t cluster_of(const tdm_embeddings *e, const int64_t *place_row, bool by_text, bool by_identity,
                          int64_t i)
{
    if (by_identity) return by_text ? e->caption_identity[i] : e->image_identity[i];
    if (!by_text) return name_of(e, false, i);
    return e->image_row_of_caption[i] < 0 ? -1 : place_row[e->image_row_of_caption[i]];
}

/* *all <- number[n] of every rank, *count of them. Collective. */
static tdm_status gather(tdm_comm *comm, int64_t n, const int64_t *number, int64_t **all, int64_t *count)
{
    const int size = tdm_comm_size(comm);
    int64_t *rows = NULL;
    tdm_status status = TDM_ALLOC(size, &rows);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_gather_i64(comm, n, rows);
        *count = 0;
        for (int r = 0; r < size; r++) *count += rows[r];
        status = tdm_comm_agree(comm, TDM_ALLOC(*count, all));
    }
    if (status == TDM_OK) tdm_comm_gather_rows(comm, number, *all, rows, sizeof *number);
    tdm_free(rows);
    return status;
}

/* Queries without anything to belong to get numbers that nothing else has. */
static void set_apart(int64_t count, int64_t *cluster)
{
    int64_t largest = -1;
    for (int64_t i = 0; i < count; i++) largest = tdm_max_i64(largest, cluster[i]);
    for (int64_t i = 0; i < count; i++)
        if (cluster[i] < 0) cluster[i] = ++largest;
}

static tdm_status make_names(tdm_comm *comm, const tdm_embeddings *e, bool by_text, const char *by,
                             int64_t *room, retrieval_queries *q)
{
    int64_t *name = NULL, *cluster = NULL, *place_row = NULL, count = 0, images = 0;
    for (int64_t i = 0; i < e->images; i++) room[i] = name_of(e, false, i);
    tdm_status status = gather(comm, e->images, room, &place_row, &images);
    for (int64_t i = 0; status == TDM_OK && i < q->n; i++) room[i] = name_of(e, by_text, i);
    if (status == TDM_OK) status = gather(comm, q->n, room, &name, &count);
    if (status == TDM_OK) status = tdm_comm_agree(comm, row_names_number(count, name, &q->query));
    if (status == TDM_OK && strcmp(by, "query") != 0) {
        for (int64_t i = 0; i < q->n; i++)
            room[i] = cluster_of(e, place_row, by_text, strcmp(by, "identity") == 0, i);
        status = gather(comm, q->n, room, &cluster, &count);
        if (status == TDM_OK) set_apart(count, cluster);
        if (status == TDM_OK) status = tdm_comm_agree(comm, row_names_number(count, cluster, &q->cluster));
    }
    tdm_free(name);
    tdm_free(cluster);
    tdm_free(place_row);
    return status;
}

tdm_status retrieval_queries_open(tdm_comm *comm, const tdm_embeddings *embeddings, tdm_direction direction,
                                  const char *by, retrieval_queries *queries)
{
    const bool by_text = direction == TDM_TEXT_TO_IMAGE;
    int64_t *room = NULL;
    queries->n = by_text ? embeddings->captions : embeddings->images;
    tdm_status status = TDM_ALLOC(embeddings->images + embeddings->captions, &room);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = make_names(comm, embeddings, by_text, by, room, queries);
    tdm_free(room);
    return status;
}

void retrieval_queries_free(retrieval_queries *queries)
{
    row_names_free(&queries->query);
    row_names_free(&queries->cluster);
}

tdm_status retrieval_queries_path(const char *path, tdm_direction direction, tdm_text *text)
{
    const char *name = strrchr(path, '/'), *dot = strrchr(name ? name : path, '.');
    const int before = dot ? (int)(dot - path) : (int)strlen(path);
    return tdm_text_printf(text, "%.*s.%s%s", before, path, tdm_direction_key(direction), dot ? dot : "");
}
