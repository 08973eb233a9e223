#!/usr/bin/env python3
"""Writes eval_golden.h: retrieval problems with their metrics by NumPy, from the definitions.

    python3 tests/golden/make_eval_golden.py > tests/golden/eval_golden.h

Features are small integers, so that every order of summation gives the same f32 scores and ties are many.
The metrics come from the full score matrix and a stable sort: nothing is shared with the evaluator. Before anything is
written, the definitions are compared with scikit-learn and with evaluate.py of CLIP4CMR, transcribed below, on data
without ties.
"""
import sys

import numpy as np

rng = np.random.default_rng(20240613)


def discount(ranks):
    return (1 / np.log2(np.asarray(ranks) + 1.0)).sum()


def precision_at(ranks):
    return np.arange(1, len(ranks) + 1) / ranks


# Of one query, from the ranks r_1 < ... < r_m of its positives. The test asks for the value of every row of
# src/eval/metric_table.h; what stands here before there is a row is not asked for.
OF_A_QUERY = {
    **{f"recall_at_{k}": (lambda r, k=k: float(r[0] <= k)) for k in (1, 5, 10)},
    "median_rank": lambda r: float(r[0]),
    "mean_rank": lambda r: float(r[0]),
    "map": lambda r: (np.arange(1, len(r) + 1) / r).mean(),
    "map_at_r": lambda r: (np.arange(1, len(r) + 1) / r)[r <= len(r)].sum() / len(r),
    "minp": lambda r: len(r) / r[-1],
    "mrr": lambda r: 1 / r[0],
    "map_at_50_hits": lambda r: (precision_at(r)[r <= 50].mean() if (r <= 50).any() else 0.0),
    "map_at_50_min": lambda r: precision_at(r)[r <= 50].sum() / min(len(r), 50),
    "map_at_50_r": lambda r: precision_at(r)[r <= 50].sum() / len(r),
    **{f"precision_at_{k}": (lambda r, k=k: (r <= k).sum() / k) for k in (1, 2, 4, 8, 16)},
    "ndcg_at_10": lambda r: discount(r[r <= 10]) / discount(np.arange(1, min(len(r), 10) + 1)),
}
MEDIAN = {"median_rank"}


def metrics(query, gallery, match, exclude_self):
    """query [q][d], gallery [g][d] integers, match [q][g] bool; queries, gallery, without and {name: value}."""
    of_queries = {name: [] for name in OF_A_QUERY}
    without = 0
    for i in range(len(query)):
        rows = np.arange(len(gallery))
        if exclude_self:
            rows = rows[rows != i]
        score = gallery[rows] @ query[i]
        order = np.argsort(-score, kind="stable")  # ties: the lower row first
        ranks = np.flatnonzero(match[i, rows][order]) + 1
        without += len(ranks) == 0
        for name, value in OF_A_QUERY.items():
            if len(ranks):
                of_queries[name].append(value(ranks))
    mean = {name: float((np.median if name in MEDIAN else np.mean)(x)) if x else 0.0
            for name, x in of_queries.items()}
    return len(query), len(gallery), without, mean


def map_label(query, gallery, label, k):
    """fx_calc_map_label of evaluate.py (github zhixiongz/CLIP4CMR, 71ea13e): k = 0 means as many as there are queries; a
    query without a hit among the first k counts as 0."""
    values = []
    for i in range(len(query)):
        order = np.argsort(((gallery - query[i]) ** 2).sum(1), kind="stable")
        hits, total = 0, 0.0
        for n, j in enumerate(order[:k or len(query)], 1):
            if label[j] == label[i]:
                hits += 1
                total += hits / n
        values.append(total / hits if hits else 0.0)
    return float(np.mean(values))


def check_definitions():
    draw = np.random.default_rng(5)
    label = np.concatenate([draw.integers(0, 10, 199), [10]])  # one class has one member
    x, y = (draw.normal(size=(200, 16)) for _ in range(2))
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    ours = metrics(x, y, label[:, None] == label[None, :], False)[3]
    assert abs(ours["map"] - map_label(x, y, label, 0)) < 1e-12
    assert abs(ours["map_at_50_hits"] - map_label(x, y, label, 50)) < 1e-12
    try:
        from sklearn.metrics import average_precision_score
    except ImportError:
        print("skipped: scikit-learn is missing", file=sys.stderr)
        return
    theirs = np.mean([average_precision_score(label == label[i], y @ x[i]) for i in range(200)])
    assert abs(ours["map"] - theirs) < 1e-12


check_definitions()


def array(kind, name, values):
    print(f"static const {kind} {name}[] = {{{', '.join(str(int(v)) for v in np.ravel(values))}}};")


cases = []


def case(name, query, gallery, query_id=None, gallery_id=None, query_label=None, gallery_label=None,
         exclude_self=False):
    labelled = query_label is not None
    if labelled:
        match = (query_label[:, None] & gallery_label[None, :]) != 0
    else:
        match = query_id[:, None] == gallery_id[None, :]
    result = metrics(query, gallery, match, exclude_self)
    array("int16_t", f"{name}_query", query)
    if gallery is not query:
        array("int16_t", f"{name}_gallery", gallery)
    array("int64_t", f"{name}_query_key", query_label if labelled else query_id)
    if gallery is not query:
        array("int64_t", f"{name}_gallery_key", gallery_label if labelled else gallery_id)
    other = "gallery" if gallery is not query else "query"
    *counts, value = result
    m = ", ".join(map(str, counts)) + ", {" + ", ".join(f'{{"{k}", {v!r}}}' for k, v in value.items()) + "}"
    cases.append(f'    {{"{name}", {query.shape[1]}, {str(labelled).lower()}, {str(exclude_self).lower()}, '
                 f"{name}_query, {name}_query_key, {name}_{other}, {name}_{other}_key,\n     {{{m}}}}},")


def noisy(centre, rows, spread, limit):
    x = centre[rows] + rng.integers(-spread, spread + 1, (len(rows), centre.shape[1]))
    return np.clip(x, -limit, limit)


print("/* Made by make_eval_golden.py; do not edit. */")
print("#ifndef TANDEM_EVAL_GOLDEN_H\n#define TANDEM_EVAL_GOLDEN_H\n")
print('#include <stdbool.h>\n#include <stdint.h>\n')

# Pairs: 40 captions of 17 images, one image without a caption; coarse features, hence many ties.
centre = rng.integers(-3, 4, (17, 6))
owner = np.sort(rng.integers(0, 16, 40))
case("pairs", noisy(centre, owner, 2, 4), centre, owner, np.arange(17))
case("pairs_back", centre, noisy(centre, owner, 2, 4), np.arange(17), owner)

# Identities, unsorted; 8 of 50 queries have an identity that the gallery lacks.
centre = rng.integers(-200, 201, (14, 8))
query_id = np.concatenate([rng.integers(0, 10, 42), rng.integers(10, 14, 8)])
rng.shuffle(query_id)
gallery_id = rng.integers(0, 10, 70)
case("identity", noisy(centre, query_id, 400, 900), noisy(centre, gallery_id, 400, 900), query_id - 5, gallery_id - 5)

# Three classes, hence more positives than are compared one by one; and the same without oneself.
centre = rng.integers(-2, 3, (3, 5))
label = rng.integers(0, 3, 90)
x = noisy(centre, label, 3, 5)
case("classes", x[:45], x[45:], label[:45] * 7, label[45:] * 7)
case("self", x, x, label, label, exclude_self=True)

# Several labels a row, some rows without any.
query_label = rng.integers(0, 2, (30, 5)) & rng.integers(0, 2, (30, 5))
gallery_label = rng.integers(0, 2, (64, 5)) & rng.integers(0, 2, (64, 5))
weight = 1 << np.array([0, 1, 17, 40, 62])
direction = rng.integers(-2, 3, (5, 6))
case("labels", query_label @ direction + rng.integers(-2, 3, (30, 6)),
     gallery_label @ direction + rng.integers(-2, 3, (64, 6)),
     query_label=query_label @ weight, gallery_label=gallery_label @ weight)

# All scores equal; and no query with a positive.
case("equal", np.ones((5, 3), int), np.ones((19, 3), int), np.arange(5) * 4, np.arange(19))
case("strangers", rng.integers(-2, 3, (4, 3)), rng.integers(-2, 3, (6, 3)), np.arange(4), np.arange(6) + 100)

print("""
typedef struct eval_golden_metrics {
    int64_t queries, gallery, without_positive;
    struct {
        const char *name;
        double value;
    } metric[""" + str(len(OF_A_QUERY)) + """];
} eval_golden_metrics;

typedef struct eval_golden {
    const char *name;
    int64_t d;
    bool labelled, exclude_self; /* keys are label bits; ids otherwise */
    const int16_t *query;
    const int64_t *query_key;
    const int16_t *gallery;
    const int64_t *gallery_key;
    eval_golden_metrics expected;
} eval_golden;

static const eval_golden eval_goldens[] = {""")
print("\n".join(cases))
print("};\n\n#endif")
