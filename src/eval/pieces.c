/* The gallery of a rank in memory: all of it, or one piece after the other. */
#include "metrics_impl.h"

static int64_t piece_begin(const eval_pieces *pieces, int64_t piece)
{
    return tdm_part_begin(pieces->side->n, pieces->count, piece);
}

tdm_status eval_pieces_open(tdm_comm *comm, const tdm_eval_side *gallery, eval_pieces *pieces)
{
    const tdm_eval_source *source = gallery->source;
    double count = 1;
    *pieces = (eval_pieces){.side = gallery, .loaded = -1};
    TDM_AGREE(comm, source != NULL && source->piece_rows < 1
                        ? TDM_ERROR(TDM_E_SHAPE, "pieces of %lld rows", (long long)source->piece_rows)
                        : TDM_OK);
    if (source != NULL) count = (double)((gallery->n + source->piece_rows - 1) / source->piece_rows);
    tdm_comm_max_f64(comm, &count, 1);
    pieces->count = tdm_max_i64(1, (int64_t)count); /* ranks with fewer rows have smaller pieces */
    const int64_t longest = source ? (gallery->n + pieces->count - 1) / pieces->count : 0;
    return tdm_comm_agree(comm, TDM_ALLOC(longest * gallery->d, &pieces->feature));
}

tdm_status eval_pieces_rows(eval_pieces *pieces, int64_t piece, int64_t *first, tdm_eval_side *rows)
{
    const tdm_eval_side *side = pieces->side;
    const int64_t begin = piece_begin(pieces, piece);
    *first = begin;
    *rows = *side;
    rows->source = NULL;
    rows->n = piece_begin(pieces, piece + 1) - begin;
    rows->id = side->id ? side->id + begin : NULL;
    rows->labels = side->labels ? side->labels + begin * side->label_words : NULL;
    rows->camera = side->camera ? side->camera + begin : NULL;
    if (side->source == NULL) {
        rows->feature = side->feature + begin * side->d;
        return TDM_OK;
    }
    rows->feature = pieces->feature;
    return rows->n == 0 ? TDM_OK : side->source->read(side->source->context, begin, rows->n, pieces->feature);
}

tdm_status eval_pieces_load(eval_pieces *pieces, int64_t piece, int64_t gallery_first, bool by_id,
                            int threads, const eval_quick_plan *plan, eval_gallery *gallery)
{
    tdm_eval_side rows;
    int64_t first;
    if (pieces->loaded == piece) return TDM_OK;
    pieces->loaded = -1;
    eval_gallery_free(gallery);
    TDM_TRY(eval_pieces_rows(pieces, piece, &first, &rows));
    if (pieces->side->source) TDM_TRY(eval_check_finite("gallery", &rows, gallery_first + first));
    TDM_TRY(eval_gallery_pack_quick(&rows, gallery_first + first, by_id, threads, plan, gallery));
    pieces->loaded = piece;
    return TDM_OK;
}

void eval_pieces_close(eval_pieces *pieces)
{
    tdm_free(pieces->feature);
    *pieces = (eval_pieces){0};
}
