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

typedef struct side_shape { /* what the rows of a side have, on every rank */
    int64_t words;
    bool has_id, has_camera;
} side_shape;

/* Do all ranks that have rows describe them alike? Otherwise they stay, and eval_layout_create says what is wrong.
 * Collective. */
static bool are_alike(tdm_comm *comm, const tdm_eval_side *side, side_shape *shape)
{
    enum { FACTS = 3 };
    const double own[FACTS] = {side->labels ? (double)side->label_words : 0, side->id != NULL,
                               side->camera != NULL};
    double most[2 * FACTS + 3];
    for (int i = 0; i < FACTS; i++) { /* a rank without rows says nothing */
        most[2 * i] = side->n > 0 ? own[i] : -INFINITY;
        most[2 * i + 1] = side->n > 0 ? -own[i] : -INFINITY;
    }
    most[2 * FACTS] = (double)side->d;
    most[2 * FACTS + 1] = -(double)side->d;
    most[2 * FACTS + 2] = side->n < 0 || side->source;
    tdm_comm_max_f64(comm, most, 2 * FACTS + 3);
    *shape =
        (side_shape){.words = (int64_t)fmax(0, most[0]), .has_id = most[2] > 0, .has_camera = most[4] > 0};
    bool alike = most[2 * FACTS + 2] == 0;
    for (int i = 0; i <= FACTS; i++) alike &= most[2 * i] == -most[2 * i + 1];
    return alike;
}

/* *out [want of this rank][width], owned by the caller. Collective. */
static tdm_status recut(tdm_comm *comm, const eval_even *even, const void *local, int64_t row_bytes,
                        void **out)
{
    TDM_AGREE(comm, tdm_alloc((size_t)(even->side.n * row_bytes), "rows that are cut anew", out));
    tdm_comm_recut_rows(comm, local, even->rows, *out, even->want, row_bytes);
    return TDM_OK;
}

static tdm_status move_side(tdm_comm *comm, const tdm_eval_side *side, const side_shape *shape,
                            eval_even *even)
{
    tdm_eval_side *to = &even->side;
    to->n = even->want[tdm_comm_rank(comm)];
    TDM_TRY(
        recut(comm, even, side->feature, side->d * (int64_t)sizeof *side->feature, (void **)&even->feature));
    const int64_t words = shape->words;
    if (shape->has_id) TDM_TRY(recut(comm, even, side->id, sizeof *side->id, (void **)&even->id));
    if (words > 0)
        TDM_TRY(
            recut(comm, even, side->labels, words * (int64_t)sizeof *side->labels, (void **)&even->labels));
    if (shape->has_camera)
        TDM_TRY(recut(comm, even, side->camera, sizeof *side->camera, (void **)&even->camera));
    to->camera = even->camera;
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
    const bool wants_value = tdm_comm_any(comm, detail->value != NULL);
    double class_words = (double)detail->class_words;
    tdm_comm_max_f64(comm, &class_words, 1);
    if (detail->classes > 0) {
        TDM_TRY(recut(comm, even, detail->query_class, (int64_t)class_words * (int64_t)sizeof(uint64_t),
                      (void **)&even->query_class));
        even->detail.query_class = even->query_class;
        even->detail.class_words = (int64_t)class_words;
    }
    if (!wants_value) return TDM_OK;
    TDM_AGREE(comm, TDM_ALLOC((int64_t)count * even->side.n, &even->value));
    even->detail.value = even->value;
    return TDM_OK;
}

tdm_status even_open(tdm_comm *comm, const tdm_eval_side *side, const tdm_eval_detail *detail,
                     eval_even *even)
{
    const int size = tdm_comm_size(comm);
    int64_t total = 0;
    side_shape shape;
    *even = (eval_even){.side = *side};
    if (detail) even->detail = *detail;
    if (size == 1 || !are_alike(comm, side, &shape)) return TDM_OK;
    tdm_status status = TDM_ALLOC(size, &even->rows);
    if (status == TDM_OK) status = TDM_ALLOC(size, &even->want);
    TDM_AGREE(comm, status);
    tdm_comm_gather_i64(comm, side->n, even->rows);
    if (!is_uneven(even->rows, size)) return TDM_OK;
    for (int r = 0; r < size; r++) total += even->rows[r];
    for (int r = 0; r < size; r++)
        even->want[r] = tdm_part_begin(total, size, r + 1) - tdm_part_begin(total, size, r);
    even->moved = true;
    TDM_TRY(move_side(comm, side, &shape, even));
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
    void *const list[] = {even->rows,   even->want,   even->feature,     even->id,
                          even->camera, even->labels, even->query_class, even->value};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) tdm_free(list[i]);
    *even = (eval_even){0};
}
