/* Rows that are cut unevenly over the ranks, cut anew. All ranks wait at every hop for the one with the most work, so
 * that a rank with all rows would make the others useless. The lists keep their order, and with it every bit. */
#include "metrics_impl.h"

#include <math.h>

/* Moving costs a fraction of one block's product, and a few rows more or less cost nothing. */
static bool is_uneven(const int64_t *rows, int size)
{
    int64_t total = 0, largest = 0;
    for (int r = 0; r < size; r++) {
        total += rows[r];
        largest = tdm_max_i64(largest, rows[r]);
    }
    const int64_t share = (total + size - 1) / size;
    return largest > share + share / 8 + 8;
}

/* Do all ranks that have rows describe them alike? Otherwise they stay, and eval_layout_create says what is wrong.
 * words, has_id: theirs, also of a rank that has none. Collective. */
static bool are_alike(tdm_comm *comm, const tdm_eval_side *side, int64_t *words, bool *has_id)
{
    const double own[] = {side->labels ? (double)side->label_words : 0, side->id != NULL};
    double most[] = {-INFINITY,
                     -INFINITY,
                     -INFINITY,
                     -INFINITY,
                     (double)side->d,
                     -(double)side->d,
                     side->n < 0 || side->source};
    for (int i = 0; i < 2 && side->n > 0; i++) {
        most[2 * i] = own[i];
        most[2 * i + 1] = -own[i];
    }
    tdm_comm_max_f64(comm, most, sizeof most / sizeof most[0]);
    *words = (int64_t)fmax(0, most[0]);
    *has_id = most[2] > 0;
    return most[0] == -most[1] && most[2] == -most[3] && most[4] == -most[5] && most[6] == 0;
}

/* *out [want of this rank][width], owned by the caller. Collective. */
static tdm_status recut(tdm_comm *comm, const eval_even *even, const void *local, int64_t row_bytes,
                        void **out)
{
    TDM_AGREE(comm, tdm_alloc((size_t)(even->side.n * row_bytes), "rows that are cut anew", out));
    tdm_comm_recut_rows(comm, local, even->rows, *out, even->want, row_bytes);
    return TDM_OK;
}

static tdm_status move_side(tdm_comm *comm, const tdm_eval_side *side, int64_t words, bool has_id,
                            eval_even *even)
{
    tdm_eval_side *to = &even->side;
    to->n = even->want[tdm_comm_rank(comm)];
    TDM_TRY(
        recut(comm, even, side->feature, side->d * (int64_t)sizeof *side->feature, (void **)&even->feature));
    if (has_id) TDM_TRY(recut(comm, even, side->id, sizeof *side->id, (void **)&even->id));
    if (words > 0)
        TDM_TRY(
            recut(comm, even, side->labels, words * (int64_t)sizeof *side->labels, (void **)&even->labels));
    to->feature = even->feature;
    to->id = even->id;
    to->labels = even->labels;
    to->label_words = words;
    return TDM_OK;
}

static tdm_status move_detail(tdm_comm *comm, const tdm_eval_detail *detail, eval_even *even)
{
    size_t count = 0;
    (void)tdm_metric_rows_of(detail->rows, &count);
    double wants_value = detail->value != NULL, class_words = (double)detail->class_words;
    tdm_comm_max_f64(comm, &wants_value, 1);
    tdm_comm_max_f64(comm, &class_words, 1);
    if (detail->classes > 0) {
        TDM_TRY(recut(comm, even, detail->query_class, (int64_t)class_words * (int64_t)sizeof(uint64_t),
                      (void **)&even->query_class));
        even->detail.query_class = even->query_class;
        even->detail.class_words = (int64_t)class_words;
    }
    if (wants_value == 0) return TDM_OK;
    TDM_AGREE(comm, TDM_ALLOC((int64_t)count * even->side.n, &even->value));
    even->detail.value = even->value;
    return TDM_OK;
}

tdm_status even_open(tdm_comm *comm, const tdm_eval_side *side, const tdm_eval_detail *detail,
                     eval_even *even)
{
    const int size = tdm_comm_size(comm);
    int64_t words = 0, total = 0;
    bool has_id = false;
    *even = (eval_even){.side = *side};
    if (detail) even->detail = *detail;
    if (size == 1 || !are_alike(comm, side, &words, &has_id)) return TDM_OK;
    tdm_status status = TDM_ALLOC(size, &even->rows);
    if (status == TDM_OK) status = TDM_ALLOC(size, &even->want);
    TDM_AGREE(comm, status);
    tdm_comm_gather_i64(comm, side->n, even->rows);
    if (!is_uneven(even->rows, size)) return TDM_OK;
    for (int r = 0; r < size; r++) total += even->rows[r];
    for (int r = 0; r < size; r++)
        even->want[r] = tdm_part_begin(total, size, r + 1) - tdm_part_begin(total, size, r);
    even->moved = true;
    TDM_TRY(move_side(comm, side, words, has_id, even));
    return detail ? move_detail(comm, detail, even) : TDM_OK;
}

void even_give_back(tdm_comm *comm, bool done, const eval_even *even, tdm_eval_detail *detail)
{
    const uint64_t *query_class = detail->query_class;
    const int64_t class_words = detail->class_words, own = even->moved ? even->rows[tdm_comm_rank(comm)] : 0;
    double *value = detail->value;
    size_t count = 0;
    (void)tdm_metric_rows_of(detail->rows, &count);
    for (size_t r = 0; done && even->moved && even->value != NULL && r < count; r++)
        tdm_comm_recut_rows(comm, even->value + (int64_t)r * even->side.n, even->want,
                            own > 0 ? value + (int64_t)r * own : NULL, even->rows, sizeof *value);
    *detail = even->detail;
    detail->query_class = query_class;
    detail->class_words = class_words;
    detail->value = value;
}

void even_free(eval_even *even)
{
    void *const list[] = {even->rows,   even->want,        even->feature, even->id,
                          even->labels, even->query_class, even->value};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) tdm_free(list[i]);
    *even = (eval_even){0};
}
