#!/usr/bin/env python3
"""`tandem eval --rerank` against the definitions in NumPy, with whole matrices of distances; `--fuse` against ranx.

    TANDEM=build/tandem python3 tests/reference/rerank.py [--large]
    python3 tests/reference/rerank.py --golden    # renews tests/golden/rerank

With --large there are 2,000 queries and a gallery of 5,000. Where FAST_REID names a clone of github JDAI-CV/fast-reid,
its own function (fastreid/evaluation/rerank.py) is compared with, too. Scores are tandem's, as in embeddings.py, so that
neighbours are the same; what differs is how sums are rounded. Without NumPy it says so.
"""

import importlib.util
import json
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import embeddings  # noqa: E402, also says when NumPy is missing
import numpy as np  # noqa: E402

DISTANCE_TOLERANCE = 2e-6  # V is kept in f32: each of some dozens of entries is off by 6e-8 of itself
FIGURE_TOLERANCE = 1e-6  # two neighbours in an order that are nearer than that may have changed places


def make_people(rng, queries, gallery, width):
    """Rows around as many centres as make groups of about twenty, some of them far off; labels."""
    people = max(2, (queries + gallery) // 20)
    centre = rng.standard_normal((people, width))
    label = [rng.integers(0, people, n) for n in (queries, gallery)]
    rows = [(centre[k] + rng.standard_normal((len(k), width)) * rng.uniform(0.5, 1.6, (len(k), 1))).astype(np.float32)
            for k in label]
    return rows, label


def unit(rows):
    wide = rows.astype(np.float64)
    return (wide / np.sqrt((wide**2).sum(1, keepdims=True))).astype(np.float32)


def k_reciprocal(squared, queries, k1=20, k2=6, weight=0.3):
    """squared [N, N] f64: distances of all rows, the queries first. The final distance [Q, G] f64."""
    rows = len(squared)
    near = np.argsort(squared, axis=1, kind="stable")
    distance = squared / squared.max(1, keepdims=True)

    def mutual(k):
        inside = np.zeros((rows, rows), bool)
        np.put_along_axis(inside, near[:, : k + 1], True, 1)
        return inside & inside.T

    whole, half = mutual(k1), mutual(int(np.around(k1 / 2)))
    sizes = half.sum(1)
    encoding = np.zeros((rows, rows), np.float64)
    for i in range(rows):
        star = whole[i].copy()
        for c in np.flatnonzero(whole[i]):
            if (half[c] & whole[i]).sum() > 2 / 3 * sizes[c]:
                star |= half[c]
        encoding[i, star] = np.exp(-distance[i, star])
        if star.any():
            encoding[i] /= encoding[i].sum()
    encoding = np.stack([encoding[near[i, :k2]].mean(0) for i in range(rows)])
    final = np.empty((queries, rows - queries))
    for q in range(queries):
        columns = np.flatnonzero(encoding[q])
        shared = np.minimum(encoding[q, columns], encoding[queries:][:, columns]).sum(1)
        final[q] = (1 - weight) * (1 - shared / (2 - shared)) + weight * distance[q, queries:]
    return final


def fast_reid(squared, queries):
    spec = importlib.util.spec_from_file_location(
        "fast_reid_rerank", pathlib.Path(os.environ["FAST_REID"]) / "fastreid/evaluation/rerank.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plain = np.sqrt(squared)
    return module.re_ranking(plain[:queries, queries:], plain[:queries, :queries], plain[queries:, queries:])


def query_expansion(query, gallery, k, alpha, gallery_k=0):
    """Rows of unit norm, joined with their best."""

    def join(side, others, k, but_self):
        score = side.astype(np.float64) @ others.T.astype(np.float64)
        if but_self:
            np.fill_diagonal(score, -np.inf)
        best = np.argsort(-score, 1, kind="stable")[:, :k]
        weight = np.maximum(np.take_along_axis(score, best, 1), 0) ** alpha
        return unit(side + np.einsum("qk,qkd->qd", weight, others[best].astype(np.float64)))

    if gallery_k:
        gallery = join(gallery, gallery, gallery_k, True)
    return join(query, gallery, k, False), gallery


def figures(order, label):
    """Means of what of_query of embeddings.py says."""
    each = [embeddings.of_query(order[q], {int(g): 1 for g in np.flatnonzero(label[1] == label[0][q])}, False)
            for q in range(len(order))]
    having = [e for e in each if e]
    means = {name: np.mean([e[name] for e in having]) for name in having[0]}
    means["median_rank"] = np.median([e["median_rank"] for e in having])
    return means


def compare(name, got, run, distance, label):
    """distance [Q, G]: rising. The run's order is that of the distances but for what rounding changes."""
    queries, gallery = distance.shape
    place = np.array([int(line.split()[2]) for line in open(run)]).reshape(queries, gallery)
    assert (np.sort(place, 1) == np.arange(gallery)).all(), f"{name}: {run} has rows twice"
    along = np.take_along_axis(distance, place, 1)
    falls = (np.maximum.accumulate(along, 1) - along).max()
    if not falls <= DISTANCE_TOLERANCE:
        sys.exit(f"{name}: a row stands before another that is nearer by {falls:.2e}")
    want = figures(np.argsort(distance, axis=1, kind="stable"), label)
    worst = max(abs(got[key] - value) / max(1, abs(value)) for key, value in want.items())
    if not worst <= FIGURE_TOLERANCE:
        sys.exit(f"{name}: {[(key, got[key], value) for key, value in want.items() if got[key] != value]}")
    exact = figures(place, label)  # of the order that was written
    for key, value in exact.items():
        if abs(got[key] - value) > 1e-12 * max(1, abs(value)):
            sys.exit(f"{name}: {key} is {got[key]!r}, the written order has {value!r}")
    print(f"{name}: map {got['map']:.6f}, figures within {worst:.1e}, distances within {max(falls, 0):.1e}")


def check(folder, sizes):
    queries, gallery, width = sizes
    rng = np.random.default_rng(5)
    rows, label = make_people(rng, queries, gallery, width)
    os.chdir(folder)
    np.save("q.npy", rows[0])
    np.save("g.npy", rows[1])
    for name, of in zip(("q", "g"), label):
        pathlib.Path(f"{name}.txt").write_text("".join(f"{k}\n" for k in of))
    base = ["--query", "q.npy", "--gallery", "g.npy", "--query-labels", "q.txt", "--gallery-labels", "g.txt",
            "--run-out", "run", "--depth", gallery]
    calls = ["k_reciprocal", "k_reciprocal(k1=7, k2=3, lambda=0.6)", "query_expansion(k=5)",
             "query_expansion(k=3, alpha=0.5, gallery_k=4)"]
    both = np.concatenate(rows)
    for distance in ("cosine", "euclidean"):
        asked = ",".join(calls if distance == "cosine" else calls[:2])
        plain = embeddings.run(base + ["--distance", distance])
        seen = set()
        for ranks in (1, 2, 3):
            text = embeddings.run(base + ["--distance", distance, "--rerank", asked], ranks)
            seen.add(text + "".join(open(f"run.{name}").read() for name in ("k_reciprocal", "k_reciprocal_2")))
        if len(seen) != 1:
            sys.exit(f"{distance}: re-ranking depends on the number of ranks")
        result = json.loads(text)
        entries = result.pop("reranked")
        if result != json.loads(plain):
            sys.exit(f"{distance}: the plain figures changed")
        if distance == "cosine":
            squared = 2 - 2 * embeddings.scores(both, both, distance).astype(np.float64)
        else:
            score = embeddings.scores(both, both, distance).astype(np.float64)
            norm = (both.astype(np.float64) ** 2).sum(1)
            half = (norm / 2).astype(np.float32).astype(np.float64)
            squared = 2 * half[:, None] - 2 * score
        squared = np.maximum(squared, 0)
        compare(f"{distance}, {calls[0]}", entries[0]["query_to_gallery"], "run.k_reciprocal",
                k_reciprocal(squared, queries), label)
        compare(f"{distance}, {calls[1]}", entries[1]["query_to_gallery"], "run.k_reciprocal_2",
                k_reciprocal(squared, queries, 7, 3, 0.6), label)
        if "FAST_REID" in os.environ:
            compare(f"{distance}, fast-reid", entries[0]["query_to_gallery"], "run.k_reciprocal",
                    fast_reid(squared, queries), label)
        if distance == "cosine":
            sides = [unit(side) for side in rows]
            for i, arguments in enumerate(((5, 3.0), (3, 0.5, 4))):
                expanded, others = query_expansion(*sides, *arguments)
                compare(calls[2 + i], entries[2 + i]["query_to_gallery"], f"run.query_expansion{'_2' * i}",
                        1 - expanded.astype(np.float64) @ others.T.astype(np.float64), label)


def make_runs(rng, queries, documents, depth):
    """Two runs of some of the queries, with scores of six digits, and judgements."""
    names = []
    for name, scale in (("a", 1.0), ("b", 40.0)):
        with open(f"{name}.run", "w") as file:
            for q in range(queries):
                if (q + len(names)) % 11 == 5:
                    continue  # this run has nothing for the query
                kept = rng.permutation(documents)[: rng.integers(1, depth)]
                score = np.sort(rng.permutation(10**6)[: len(kept)])[::-1] / 10**6 * scale
                for place, (g, value) in enumerate(zip(kept, score)):
                    file.write(f"q{q} Q0 d{g} {place + 1} {value:.9g} {name}\n")
        names.append(f"{name}.run")
    with open("qrels", "w") as file:
        for q in range(queries):
            for g in rng.permutation(documents)[: rng.integers(1, 30)]:
                file.write(f"q{q} 0 d{g} {rng.integers(0, 4)}\n")
    return names


def check_fusion(folder):
    """Every query is in one of the runs; ranx wants it in both: there with nothing."""
    try:
        from ranx import Qrels, Run, evaluate, fuse
    except ImportError as missing:
        print(f"fusion not compared: {missing}")
        return
    rng = np.random.default_rng(8)
    os.chdir(folder)
    files = make_runs(rng, 60, 300, 120)
    ways = {"rrf": "rrf", "comb_sum": "sum", "comb_mnz": "mnz"}
    asked = ["--runs", ",".join(files), "--qrels", "qrels", "--fuse", ",".join(ways), "--run-out", "fused.trec"]
    texts = {embeddings.run(asked, ranks) for ranks in (1, 2)}
    assert len(texts) == 1, "fusion depends on the number of ranks"
    result = json.loads(texts.pop())
    runs = []
    for file in files:
        lists = {f"q{q}": {} for q in range(60)}
        for query, _, document, _, score, _ in (line.split() for line in open(file)):
            lists[query][document] = float(score)
        runs.append(lists)
    grades = {}
    for query, _, document, grade in (line.split() for line in open("qrels")):
        grades.setdefault(query, {})[document] = int(grade)
    both = {"map": "map", "mrr": "mrr", "ndcg_at_10": "ndcg@10", "precision_at_4": "precision@4",
            "recall_at_5": "hit_rate@5"}

    def ranx_figures(run):
        judged = {q: known for q, known in grades.items() if max(known.values()) > 0}
        listed = {q: run.get(q) or {"nothing": 0.0} for q in judged}
        return evaluate(Qrels(judged), Run(listed), list(both.values()))

    for entry, lists in zip(result["runs"], runs):
        want = ranx_figures(lists)
        for name, theirs in both.items():
            assert abs(entry["query_to_gallery"][name] - want[theirs]) < 1e-12, (entry["file"], name)
    worst = 0
    for entry in result["fused"]:
        name = entry["name"]
        got = {}
        for query, _, document, place, score, _ in (line.split() for line in open(f"fused.{name}.trec")):
            listed = got.setdefault(query, {})
            assert int(place) == len(listed) + 1
            listed[document] = float(score)
        want = {}
        for q in grades:  # one query at a time: ranx scales and fuses lists that are there
            lists = [Run({q: run[q]}, name=str(i)) for i, run in enumerate(runs) if run[q]]
            norm = None if name == "rrf" else "min-max"
            want[q] = dict(fuse(lists, norm=norm, method=ways[name]).run[q]) if len(lists) > 1 else None
            if want[q] is None:
                continue
            assert got[q].keys() == want[q].keys(), (name, q)
            worst = max(worst, max(abs(got[q][d] - want[q][d]) for d in got[q]))
        # ranx breaks ties in another way: it gets the order that was written.
        figures = ranx_figures({q: {d: -float(place) for place, d in enumerate(listed)} for q, listed in got.items()})
        for ours, theirs in both.items():
            assert abs(entry["query_to_gallery"][ours] - figures[theirs]) < 1e-12, (name, ours)
    assert worst < 1e-12, worst
    print(f"fusion as ranx: largest difference of a score {worst:.1e}")


def golden(folder):
    """Small files for tests/eval/embeddings.sh."""
    folder.mkdir(exist_ok=True)
    rows, label = make_people(np.random.default_rng(6), 24, 90, 8)
    for name, of, kinds in zip(("query", "gallery"), rows, label):
        np.save(folder / f"people_{name}.npy", of)
        (folder / f"people_{name}_labels.txt").write_text("".join(f"{k}\n" for k in kinds))
    both = np.concatenate(rows)
    squared = np.maximum(0, 2 - 2 * embeddings.scores(both, both, "cosine").astype(np.float64))
    expanded, others = query_expansion(*(unit(side) for side in rows), 4, 3.0)
    for name, distance in (("k_reciprocal", k_reciprocal(squared, 24)),
                           ("query_expansion", 1 - expanded.astype(np.float64) @ others.T.astype(np.float64))):
        with open(folder / f"expected_{name}.txt", "w") as file:
            for key, value in figures(np.argsort(distance, axis=1, kind="stable"), label).items():
                file.write(f"{key} {float(value)!r}\n")


if __name__ == "__main__" and "--golden" in sys.argv:
    golden(pathlib.Path(__file__).resolve().parent.parent / "golden" / "rerank")
elif __name__ == "__main__":
    os.environ["TANDEM"] = os.path.abspath(os.environ["TANDEM"])
    if "FAST_REID" in os.environ:
        os.environ["FAST_REID"] = os.path.abspath(os.environ["FAST_REID"])
    with tempfile.TemporaryDirectory() as scratch:
        check_fusion(scratch)
        check(scratch, (2000, 5000, 32) if "--large" in sys.argv else (120, 400, 16))
