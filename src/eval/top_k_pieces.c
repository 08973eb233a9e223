/* The best of a gallery that is read piece by piece: the best of each piece are merged. */
#include "metrics_impl.h"

/* Where the rows of a piece, in the order of the ranks, lie in the whole gallery. */
typedef struct piece_map {
    int size;
    int64_t *rows;  /* [size] of the piece on each rank */
    int64_t *first; /* [size] whole-gallery row of the first of them */
} piece_map;

static int64_t whole_row(const piece_map *map, int64_t row)
{
    if (row < 0) return row;
    for (int r = 0; r < map->size; r++) {
        if (row < map->rows[r]) return map->first[r] + row;
        row -= map->rows[r];
    }
    return -1;
}

/* row, score [k] and more_row, more_score [k], best first, -1 where there is none: the best of both stay in the former.
 * kept_row, kept_score [k] are room. */
static void merge(int64_t k, int64_t *row, float *score, const int64_t *more_row, const float *more_score,
                  int64_t *kept_row, float *kept_score)
{
    memcpy(kept_row, row, (size_t)k * sizeof *row);
    memcpy(kept_score, score, (size_t)k * sizeof *score);
    for (int64_t i = 0, a = 0, b = 0; i < k; i++) {
        const bool take_more =
            more_row[b] >= 0 && (kept_row[a] < 0 || more_score[b] > kept_score[a] ||
                                 (more_score[b] == kept_score[a] && more_row[b] < kept_row[a]));
        row[i] = take_more ? more_row[b] : kept_row[a];
        score[i] = take_more ? more_score[b] : kept_score[a];
        if (take_more)
            b++;
        else
            a++;
    }
}

typedef struct top_room {
    int64_t *row, *kept_row; /* [n][k] of a piece; [k] */
    float *score, *kept_score;
    piece_map map;
} top_room;

static tdm_status add_piece(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query, eval_pieces *pieces,
                            int64_t piece, int64_t gallery_first, int64_t k, int64_t query_block,
                            top_room *room, int64_t *row, float *score)
{
    tdm_eval_side rows;
    int64_t first = 0;
    TDM_AGREE(comm, eval_pieces_rows(pieces, piece, &first, &rows));
    tdm_comm_gather_i64(comm, rows.n, room->map.rows);
    tdm_comm_gather_i64(comm, gallery_first + first, room->map.first);
    TDM_TRY(tdm_eval_top_k(comm, ops, query, &rows, k, query_block, room->row, room->score));
    for (int64_t i = 0; i < query->n; i++) {
        for (int64_t j = i * k; j < (i + 1) * k; j++) room->row[j] = whole_row(&room->map, room->row[j]);
        merge(k, row + i * k, score + i * k, room->row + i * k, room->score + i * k, room->kept_row,
              room->kept_score);
    }
    return TDM_OK;
}

tdm_status eval_top_k_in_pieces(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                const tdm_eval_side *gallery, int64_t k, int64_t query_block, int64_t *row,
                                float *score)
{
    TDM_REQUIRE(k >= 1, TDM_E_SHAPE, "the %lld best of a gallery are asked for", (long long)k);
    eval_pieces pieces = {0};
    top_room room = {.map = {.size = tdm_comm_size(comm)}};
    int64_t gallery_first = 0;
    tdm_status status = TDM_ALLOC(query->n * k, &room.row);
    if (status == TDM_OK) status = TDM_ALLOC(query->n * k, &room.score);
    if (status == TDM_OK) status = TDM_ALLOC(k, &room.kept_row);
    if (status == TDM_OK) status = TDM_ALLOC(k, &room.kept_score);
    if (status == TDM_OK) status = TDM_ALLOC(room.map.size, &room.map.rows);
    if (status == TDM_OK) status = TDM_ALLOC(room.map.size, &room.map.first);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = eval_pieces_open(comm, gallery, &pieces);
    if (status == TDM_OK) {
        (void)eval_count_rows(comm, gallery->n, room.map.rows, &gallery_first);
        for (int64_t i = 0; i < query->n * k; i++) row[i] = -1;
        for (int64_t i = 0; i < query->n * k; i++) score[i] = 0;
    }
    for (int64_t piece = 0; status == TDM_OK && piece < pieces.count; piece++)
        status =
            add_piece(comm, ops, query, &pieces, piece, gallery_first, k, query_block, &room, row, score);
    void *const list[] = {room.row,        room.score,    room.kept_row,
                          room.kept_score, room.map.rows, room.map.first};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) tdm_free(list[i]);
    eval_pieces_close(&pieces);
    return status;
}
