/* Ranks of all positives, and the metrics made from them.
 *
 * A block of queries goes round the ring twice. On the first round every rank adds the scores and rows of the
 * positives it holds. At home they are sorted as a ranking sorts them. On the second round every rank counts,
 * for each positive, the gallery items that beat it; the sum + 1 is its rank. Nothing of size queries ×
 * gallery exists, and nothing but a query's own positives is sorted.
 *
 * One direction takes its blocks one after the other, or, when the gallery is read piece by piece, some of them at a time.
 * Both directions in one pass send all blocks on their first round before any goes on its second: only then has every
 * row of the gallery met all of its own positives (columns.c). */
#include "reordering_impl.h"

#include <stdlib.h>
#include <string.h>

void tdm_judgements_free(tdm_judgements *judged)
{
    tdm_free(judged->offset);
    tdm_free(judged->row);
    tdm_free(judged->grade);
    *judged = (tdm_judgements){0};
}

/* ---- Queries ---- */

typedef struct query_blocks { /* of this rank */
    const tdm_eval_side *side;
    int64_t first;  /* global row of local row 0 */
    int64_t *order; /* [n] local rows as they travel */
    int64_t n;      /* side->n, less those that were ranked before */
    int64_t block, rounds;
} query_blocks;

/* With a gallery in pieces: blocks that meet a piece while it is in memory. To read it takes about as long as 400 queries
 * of a rank, so that reading costs little; what a rank finishes at once is the most that is lost when it is stopped. */
enum { GROUP_ROUNDS = 8 };

/* Local query rows in the order of (id, row), so that equal ids travel together and share work. */
static tdm_status order_queries(const tdm_eval_side *query, bool by_id, int64_t *order)
{
    tdm_keyed *sorted = NULL;
    TDM_TRY(TDM_ALLOC(query->n, &sorted));
    for (int64_t i = 0; i < query->n; i++) sorted[i] = (tdm_keyed){by_id ? query->id[i] : i, i};
    qsort(sorted, (size_t)query->n, sizeof *sorted, tdm_compare_keyed);
    for (int64_t i = 0; i < query->n; i++) order[i] = sorted[i].place;
    tdm_free(sorted);
    return TDM_OK;
}

/* This rank's queries of a round, as places in its order; none when the others have more rounds. */
static int64_t block_begin(const query_blocks *queries, int64_t round)
{
    return tdm_min_i64(round * queries->block, queries->n);
}

static tdm_status load_block(evaluation *eval, const query_blocks *queries, int64_t round)
{
    const int64_t begin = block_begin(queries, round);
    return eval_ring_load(&eval->ring, queries->side, queries->first, queries->order + begin,
                          block_begin(queries, round + 1) - begin);
}

static tdm_status load_piece(evaluation *eval, int64_t piece)
{
    return eval_pieces_load(&eval->pieces, piece, eval->gallery_first, eval->by_id, eval->threads,
                            &eval->plan, &eval->gallery);
}

static tdm_status count_and_tell(evaluation *eval)
{
    TDM_TRY(metrics_count(eval));
    eval_progress_step(&eval->progress);
    return TDM_OK;
}

/* Sends the block round the ring once; `step` sees it on every rank. `local`: status so far. Collective. */
static tdm_status travel(evaluation *eval, tdm_status local, tdm_status (*step)(evaluation *))
{
    for (int hop = 0; hop < tdm_comm_size(eval->comm); hop++) {
        if (local == TDM_OK) local = step(eval);
        TDM_TRY(eval_ring_shift(&eval->ring, local));
    }
    return TDM_OK;
}

/* The block of a round takes what is known of it, *kept, round the ring and brings it home. Collective. */
static tdm_status visit(evaluation *eval, const query_blocks *queries, int64_t round, eval_buffer *kept,
                        tdm_status (*step)(evaluation *))
{
    const tdm_status status = load_block(eval, queries, round);
    tdm_free(eval->ring.tail.data);
    eval->ring.tail = *kept;
    *kept = (eval_buffer){0};
    TDM_TRY(travel(eval, status, step));
    *kept = eval->ring.tail;
    eval->ring.tail = (eval_buffer){0};
    return TDM_OK;
}

/* Records become positives. */
static tdm_status arrange_block(const evaluation *eval, const query_blocks *queries, int64_t round,
                                eval_buffer *kept)
{
    eval_buffer arranged = {0};
    const int64_t n = block_begin(queries, round + 1) - block_begin(queries, round);
    const tdm_status status = positives_arrange(kept, n, eval->threads, &arranged);
    tdm_free(kept->data);
    *kept = arranged;
    return status;
}

/* First round of the blocks [begin, end): kept[end - begin], empty, receives their positives. Collective. */
static tdm_status collect_rounds(evaluation *eval, const query_blocks *queries, int64_t begin, int64_t end,
                                 eval_buffer *kept)
{
    tdm_status status = TDM_OK;
    for (int64_t piece = 0; piece < eval->pieces.count; piece++) {
        TDM_AGREE(eval->comm, load_piece(eval, piece));
        for (int64_t round = begin; round < end; round++)
            TDM_TRY(visit(eval, queries, round, &kept[round - begin], metrics_collect));
    }
    for (int64_t round = begin; status == TDM_OK && round < end; round++)
        status = arrange_block(eval, queries, round, &kept[round - begin]);
    return tdm_comm_agree(eval->comm, status);
}

/* Second round of the same. It begins with the piece that is still there. Collective. */
static tdm_status count_rounds(evaluation *eval, const query_blocks *queries, int64_t begin, int64_t end,
                               eval_buffer *kept)
{
    for (int64_t piece = eval->pieces.count - 1; piece >= 0; piece--) {
        TDM_AGREE(eval->comm, load_piece(eval, piece));
        for (int64_t round = begin; round < end; round++)
            TDM_TRY(visit(eval, queries, round, &kept[round - begin], count_and_tell));
    }
    return TDM_OK;
}

/* ---- What came home from the second round ---- */

static int compare_grades(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x < y) - (x > y);
}

/* Of the positives of the local queries order[n]: grade[total] in the order of the ranking, and behind it the ideal
 * order of each query's. */
static tdm_status find_grades(const evaluation *eval, int64_t query_first, int64_t n, const int64_t *order,
                              const positives *p, int32_t **grade)
{
    const tdm_judgements *j = eval->judged;
    if (j == NULL) return TDM_OK;
    TDM_TRY(TDM_ALLOC(2 * p->total, grade));
    int32_t *ideal = *grade + p->total;
    for (int64_t i = 0; i < n; i++) {
        const int64_t *offset = j->offset + query_first + order[i];
        const int64_t first = offset[0], count = offset[1] - first;
        for (int64_t k = p->offset[i]; k < p->offset[i + 1]; k++)
            (*grade)[k] = j->grade[first + tdm_lower_bound(j->row + first, count, p->row[k])];
        const size_t m = (size_t)(p->offset[i + 1] - p->offset[i]);
        memcpy(ideal + p->offset[i], *grade + p->offset[i], m * sizeof *ideal);
        qsort(ideal + p->offset[i], m, sizeof *ideal, compare_grades);
    }
    return TDM_OK;
}

/* rank[m] of everything that has the query's id, row[m] where it stands in the gallery. Takes the rows of the query's
 * camera away: each was in the way of those behind it. Returns how many stay. */
static int64_t take_junk(const int64_t *gallery_camera, int64_t camera, int64_t m, const int64_t *row,
                         int64_t *rank)
{
    int64_t stay = 0;
    for (int64_t k = 0; k < m; k++)
        if (gallery_camera[row[k]] != camera) {
            rank[stay] = rank[k] - (k - stay);
            stay++;
        }
    return stay;
}

static tdm_status add_block(const evaluation *eval, const query_blocks *queries, int64_t round,
                            const eval_buffer *kept, eval_figures *figures)
{
    const int64_t begin = block_begin(queries, round), n = block_begin(queries, round + 1) - begin;
    const int64_t *order = queries->order + begin;
    const positives p = positives_in(kept, n);
    int32_t *grade = NULL;
    TDM_TRY(find_grades(eval, queries->first, n, order, &p, &grade));
    for (int64_t i = 0; i < p.total; i++) p.beaten[i]++; /* items that beat it -> its rank */
    for (int64_t i = 0; i < n; i++) {
        tdm_ranking ranking = {.m = p.offset[i + 1] - p.offset[i], .rank = p.beaten + p.offset[i]};
        if (eval->gallery_camera)
            ranking.m = take_junk(eval->gallery_camera, queries->side->camera[order[i]], ranking.m,
                                  p.row + p.offset[i], p.beaten + p.offset[i]);
        if (grade) {
            ranking.grade = grade + p.offset[i];
            ranking.ideal = grade + p.total + p.offset[i];
        }
        figures_add(figures, order[i], &ranking);
    }
    tdm_free(grade);
    return TDM_OK;
}

/* kept[end - begin] is freed. Collective. */
static tdm_status add_rounds(const evaluation *eval, const query_blocks *queries, int64_t begin, int64_t end,
                             eval_buffer *kept, eval_figures *figures)
{
    tdm_status status = TDM_OK;
    for (int64_t round = begin; round < end; round++) {
        eval_buffer *block = &kept[round - begin];
        if (status == TDM_OK) status = add_block(eval, queries, round, block, figures);
        tdm_free(block->data);
        *block = (eval_buffer){0};
    }
    return tdm_comm_agree(eval->comm, status);
}

/* ---- One evaluation ---- */

static void close_evaluation(evaluation *eval, query_blocks *queries)
{
    tdm_free(queries->order);
    tdm_free(eval->packed_query);
    tdm_free(eval->gallery_camera);
    eval_gallery_free(&eval->gallery);
    eval_pieces_close(&eval->pieces);
    eval_ring_free(&eval->ring);
}

/* Collective: all ranks want details or none does. */
static void tell_work(const evaluation *eval, const eval_layout *layout, tdm_eval_detail *detail)
{
    if (detail == NULL) return;
    const eval_quick_work *of_int16 = &eval->work[EVAL_INT16], *of_int8 = &eval->work[EVAL_INT8];
    int64_t sum[] = {of_int8->pairs, of_int16->pairs, of_int8->looked + of_int16->looked,
                     of_int8->exact + of_int16->exact};
    tdm_comm_sum_i64(eval->comm, sum, 4);
    detail->work = (tdm_eval_work){layout->queries * layout->gallery, sum[0], sum[1], sum[2], sum[3]};
}

/* Packs the gallery and puts the queries in order. Collective; afterwards close_evaluation, also when it fails. */
static tdm_status open_evaluation(evaluation *eval, const eval_layout *layout, const tdm_eval_side *query,
                                  const tdm_eval_side *gallery, int64_t query_block, query_blocks *queries)
{
    int64_t longest = 1; /* block that any rank sends */
    for (int r = 0; r < tdm_comm_size(eval->comm); r++) longest = tdm_max_i64(longest, layout->query_rows[r]);
    const int64_t block = tdm_min_i64(tdm_min_i64(query_block, longest), INT32_MAX);
    const int64_t groups = eval_tile_groups(block);
    eval->ring = (eval_ring){.comm = eval->comm, .d = query->d, .label_words = layout->label_words};
    eval->gallery_first = layout->gallery_first;
    eval->by_id = layout->label_words == 0 && !eval->judged;
    *queries = (query_blocks){
        .side = query, .first = layout->query_first, .n = query->n, .block = block, .rounds = layout->rounds};
    eval->plan = (eval_quick_plan){
        .query = query, .queries = layout->queries, .most = EVAL_PRECISIONS - 1, .account = eval->work};
    TDM_TRY(eval_pieces_open(eval->comm, gallery, &eval->pieces));
    tdm_status status = load_piece(eval, 0);
    if (status == TDM_OK) status = TDM_ALLOC(groups * EVAL_TILE_ROWS * eval->ring.d, &eval->packed_query);
    if (status == TDM_OK) status = TDM_ALLOC(query->n, &queries->order);
    if (status == TDM_OK) status = order_queries(query, eval->by_id, queries->order);
    return tdm_comm_agree(eval->comm, status);
}

/* Of cameras. Collective. */
static tdm_status gather_cameras(evaluation *eval, const eval_layout *layout, const tdm_eval_side *query,
                                 const tdm_eval_side *gallery)
{
    int64_t ruled[2] = {query->camera != NULL, gallery->camera != NULL}, *rows = NULL;
    tdm_comm_sum_i64(eval->comm, ruled, 2);
    if (ruled[0] == 0 || ruled[1] == 0) return TDM_OK;
    tdm_status status = layout->label_words > 0 || eval->judged
                            ? TDM_ERROR(TDM_E_USAGE, "cameras need ids that say what matches")
                            : TDM_ALLOC(tdm_comm_size(eval->comm), &rows);
    if (status == TDM_OK) status = TDM_ALLOC(layout->gallery, &eval->gallery_camera);
    status = tdm_comm_agree(eval->comm, status);
    if (status == TDM_OK) {
        tdm_comm_gather_i64(eval->comm, gallery->n, rows);
        tdm_comm_gather_rows(eval->comm, gallery->camera, eval->gallery_camera, rows,
                             sizeof *gallery->camera);
    }
    tdm_free(rows);
    return status;
}

/* Leaves out the queries that were ranked before. Collective. */
static void skip_done(const evaluation *eval, const eval_keep *keep, query_blocks *queries)
{
    int64_t n = 0;
    for (int64_t i = 0; i < queries->n; i++)
        if (!keep->done[queries->order[i]]) queries->order[n++] = queries->order[i];
    queries->n = n;
    double rounds = (double)((n + queries->block - 1) / queries->block);
    tdm_comm_max_f64(eval->comm, &rounds, 1);
    queries->rounds = (int64_t)rounds;
}

/* Counts the positives of the blocks [begin, end) in another order of the gallery: thresholds take their places
 * meanwhile. Collective. */
static tdm_status count_reordered(evaluation *eval, const query_blocks *queries, int64_t begin, int64_t end,
                                  eval_buffer *kept)
{
    placed *item[GROUP_ROUNDS] = {NULL};
    tdm_status status = TDM_OK;
    for (int64_t round = begin; round < end && status == TDM_OK; round++) {
        const int64_t first = block_begin(queries, round), n = block_begin(queries, round + 1) - first;
        status = reordering_enter(eval->reordering, queries->order + first, n, &kept[round - begin],
                                  eval->threads, &item[round - begin]);
    }
    status = tdm_comm_agree(eval->comm, status);
    if (status == TDM_OK) status = count_rounds(eval, queries, begin, end, kept);
    for (int64_t round = begin; round < end; round++) {
        const int64_t first = block_begin(queries, round), n = block_begin(queries, round + 1) - first;
        if (status == TDM_OK)
            status = reordering_leave(eval->reordering, queries->order + first, n, &kept[round - begin],
                                      eval->threads, item[round - begin]);
        tdm_free(item[round - begin]);
    }
    return tdm_comm_agree(eval->comm, status);
}

/* The blocks [begin, end), from their first round to their figures. Collective. */
static tdm_status rank_rounds(evaluation *eval, const query_blocks *queries, int64_t begin, int64_t end,
                              eval_keep *keep, eval_figures *figures)
{
    eval_buffer kept[GROUP_ROUNDS] = {{0}};
    tdm_status status = collect_rounds(eval, queries, begin, end, kept);
    if (status == TDM_OK)
        status = eval->reordering ? count_reordered(eval, queries, begin, end, kept)
                                  : count_rounds(eval, queries, begin, end, kept);
    if (status == TDM_OK) status = add_rounds(eval, queries, begin, end, kept, figures);
    for (int64_t i = 0; i < end - begin; i++) tdm_free(kept[i].data);
    if (status != TDM_OK || keep->path == NULL) return status;
    for (int64_t i = block_begin(queries, begin); i < block_begin(queries, end); i++)
        keep->done[queries->order[i]] = 1;
    return eval_keep_step(eval->comm, keep, figures);
}

/* One direction. What is finished is kept when it stops on the way, too. Collective. */
static tdm_status rank_queries(evaluation *eval, query_blocks *queries, eval_keep *keep,
                               eval_figures *figures)
{
    const int64_t group = eval->pieces.count > 1 ? GROUP_ROUNDS : 1;
    tdm_status status = TDM_OK;
    if (keep->path) skip_done(eval, keep, queries);
    eval_progress_begin(queries->rounds * eval->pieces.count * tdm_comm_size(eval->comm), &eval->progress);
    for (int64_t begin = 0; status == TDM_OK && begin < queries->rounds; begin += group)
        status =
            rank_rounds(eval, queries, begin, tdm_min_i64(begin + group, queries->rounds), keep, figures);
    TDM_TRY(eval_keep_write(eval->comm, keep, figures));
    if (status != TDM_OK && keep->path)
        tdm_log(TDM_LOG_INFO, "%s: holds %lld ranked queries; the same evaluation goes on from there",
                keep->path, (long long)keep->finished);
    return status;
}

static tdm_status evaluate_one(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                               const tdm_eval_side *gallery, bool exclude_self,
                               const tdm_reordering *reordering, int64_t query_block, tdm_metrics *metrics,
                               tdm_eval_detail *detail)
{
    eval_layout layout = {0};
    eval_figures figures = {0};
    query_blocks queries = {0};
    eval_keep keep = {0};
    evaluation eval = {.comm = comm,
                       .threads = eval_threads(ops),
                       .exclude_self = exclude_self,
                       .judged = query->judged,
                       .reordering = reordering};
    TDM_REQUIRE(!detail || !detail->keep || !detail->curves, TDM_E_USAGE,
                "an evaluation that is kept has no curves");
    tdm_status status = eval_layout_create(comm, query, gallery, query_block, &layout);
    if (status == TDM_OK) {
        status = figures_open(&layout, query->n, detail, &figures);
        if (status == TDM_OK && query->judged && query->judged->queries != layout.queries)
            status = TDM_ERROR(TDM_E_SHAPE, "judgements of %lld queries, there are %lld",
                               (long long)query->judged->queries, (long long)layout.queries);
        status = tdm_comm_agree(comm, status);
    }
    if (status == TDM_OK)
        status = eval_keep_open(comm, detail ? detail->keep : NULL, &figures, query, gallery, exclude_self,
                                eval.threads, &keep);
    if (status == TDM_OK) status = gather_cameras(&eval, &layout, query, gallery);
    if (status == TDM_OK) status = open_evaluation(&eval, &layout, query, gallery, query_block, &queries);
    if (status == TDM_OK) status = rank_queries(&eval, &queries, &keep, &figures);
    if (status == TDM_OK) tell_work(&eval, &layout, detail);
    if (status == TDM_OK) status = figures_finish(comm, &figures, metrics);
    eval_keep_close(&keep);
    figures_free(&figures);
    close_evaluation(&eval, &queries);
    eval_layout_free(&layout);
    return status;
}

tdm_status tdm_eval_metrics(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                            const tdm_eval_side *gallery, bool exclude_self, int64_t query_block,
                            tdm_metrics *metrics)
{
    return tdm_eval_metrics_in_detail(comm, ops, query, gallery, exclude_self, query_block, metrics, NULL);
}

tdm_status tdm_eval_metrics_in_detail(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                                      const tdm_eval_side *gallery, bool exclude_self, int64_t query_block,
                                      tdm_metrics *metrics, tdm_eval_detail *detail)
{
    eval_even even[2] = {{.moved = false}};
    tdm_status status = even_open(comm, query, detail, &even[0]);
    if (status == TDM_OK) status = even_open(comm, gallery, NULL, &even[1]);
    if (status == TDM_OK)
        status = evaluate_one(comm, ops, &even[0].side, &even[1].side, exclude_self, NULL, query_block,
                              metrics, detail ? &even[0].detail : NULL);
    if (detail) even_give_back(comm, status == TDM_OK, &even[0], detail);
    for (int i = 0; i < 2; i++) even_free(&even[i]);
    return status;
}

tdm_status metrics_reordered(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *query,
                             const tdm_eval_side *gallery, const tdm_reordering *reordering,
                             int64_t query_block, tdm_metrics *metrics, tdm_eval_detail *detail)
{
    if (reordering->offset == NULL)
        return tdm_eval_metrics_in_detail(comm, ops, query, gallery, false, query_block, metrics, detail);
    return evaluate_one(comm, ops, query, gallery, false, reordering, query_block, metrics, detail);
}

/* ---- Both directions in one pass ---- */

/* The first round of all blocks: kept[round] owns the positives of this rank's. *fits: what the positives take is at
 * most `bytes` on every rank; else it stops early. Collective. */
static tdm_status collect_all(evaluation *eval, const query_blocks *queries, int64_t bytes, eval_buffer *kept,
                              bool *fits)
{
    /* While they are arranged the columns' records stand beside their copies, sorted and final. */
    enum { COPIES = 3 };
    int64_t of_blocks = 0;
    bool over =
        tdm_comm_any(eval->comm, eval->gallery.n > INT32_MAX); /* columns are numbered in the records */
    for (int64_t round = 0; !over && round < queries->rounds; round++) {
        TDM_TRY(collect_rounds(eval, queries, round, round + 1, &kept[round]));
        of_blocks += kept[round].bytes;
        over = tdm_comm_any(eval->comm, of_blocks + COPIES * eval->columns->found.bytes > bytes);
    }
    *fits = !over;
    return !*fits ? TDM_OK : tdm_comm_agree(eval->comm, columns_arrange(eval));
}

static tdm_status rank_both(evaluation *eval, const query_blocks *queries, int64_t bytes, bool *fits,
                            eval_figures figures[2])
{
    eval_buffer *kept = NULL;
    TDM_AGREE(eval->comm, TDM_ALLOC(queries->rounds, &kept));
    tdm_status status = collect_all(eval, queries, bytes, kept, fits);
    eval_progress_begin(queries->rounds * tdm_comm_size(eval->comm), &eval->progress);
    if (status == TDM_OK && *fits) status = count_rounds(eval, queries, 0, queries->rounds, kept);
    if (status == TDM_OK && *fits) status = add_rounds(eval, queries, 0, queries->rounds, kept, &figures[0]);
    if (status == TDM_OK && *fits) columns_figures(eval, &figures[1]);
    for (int64_t round = 0; round < queries->rounds; round++) tdm_free(kept[round].data);
    tdm_free(kept);
    return status;
}

/* *fits = false: nothing is made, the positives need more than `bytes`. */
static tdm_status evaluate_both(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side side[2],
                                int64_t query_block, int64_t bytes, bool *fits, tdm_metrics metrics[2],
                                tdm_eval_detail detail[2])
{
    eval_layout layout[2] = {{0}};
    eval_figures figures[2] = {{0}};
    eval_columns columns = {0};
    query_blocks queries = {0};
    evaluation eval = {.comm = comm, .threads = eval_threads(ops), .columns = &columns};
    tdm_status status = eval_layout_create(comm, &side[0], &side[1], query_block, &layout[0]);
    if (status == TDM_OK) status = eval_layout_turn(comm, &layout[0], side[1].n, &layout[1]);
    if (status == TDM_OK) {
        for (int i = 0; i < 2 && status == TDM_OK; i++)
            status = figures_open(&layout[i], side[i].n, detail ? &detail[i] : NULL, &figures[i]);
        status = tdm_comm_agree(comm, status);
    }
    if (status == TDM_OK)
        status = open_evaluation(&eval, &layout[0], &side[0], &side[1], query_block, &queries);
    if (status == TDM_OK) status = rank_both(&eval, &queries, bytes, fits, figures);
    for (int i = 0; i < 2; i++) {
        if (status == TDM_OK && *fits) tell_work(&eval, &layout[0], detail ? &detail[i] : NULL);
        if (status == TDM_OK && *fits) status = figures_finish(comm, &figures[i], &metrics[i]);
        figures_free(&figures[i]);
    }
    columns_free(&columns);
    close_evaluation(&eval, &queries);
    for (int i = 0; i < 2; i++) eval_layout_free(&layout[i]);
    return status;
}

/* What does not fit is made in two passes. */
static tdm_status evaluate_ways(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side side[2],
                                int64_t query_block, int64_t bytes, tdm_metrics metrics[2],
                                tdm_eval_detail detail[2])
{
    bool fits = true;
    TDM_TRY(evaluate_both(comm, ops, side, query_block, bytes, &fits, metrics, detail));
    for (int i = 0; i < 2 && !fits; i++)
        TDM_TRY(evaluate_one(comm, ops, &side[i], &side[1 - i], false, NULL, query_block, &metrics[i],
                             detail ? &detail[i] : NULL));
    return TDM_OK;
}

tdm_status tdm_eval_both_ways(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side side[2], int64_t query_block,
                              int64_t positive_bytes, tdm_metrics metrics[2], tdm_eval_detail detail[2])
{
    for (int i = 0; i < 2; i++) {
        TDM_REQUIRE(side[i].judged == NULL && side[i].camera == NULL, TDM_E_USAGE,
                    "judgements and cameras are of one direction, not of both");
        TDM_REQUIRE(side[i].source == NULL && (!detail || !detail[i].keep), TDM_E_USAGE,
                    "rows that are read in pieces, and evaluations that are kept, are of one direction");
    }
    eval_even even[2] = {{.moved = false}};
    tdm_status status = TDM_OK;
    for (int i = 0; detail && i < 2; i++) even[i].detail = detail[i];
    for (int i = 0; i < 2 && status == TDM_OK; i++)
        status = even_open(comm, &side[i], detail ? &detail[i] : NULL, &even[i]);
    if (status == TDM_OK) {
        const tdm_eval_side sides[2] = {even[0].side, even[1].side};
        tdm_eval_detail details[2] = {even[0].detail, even[1].detail};
        status =
            evaluate_ways(comm, ops, sides, query_block, positive_bytes, metrics, detail ? details : NULL);
        for (int i = 0; i < 2; i++) even[i].detail = details[i];
    }
    for (int i = 0; i < 2; i++) {
        if (detail) even_give_back(comm, status == TDM_OK, &even[i], &detail[i]);
        even_free(&even[i]);
    }
    return status;
}
