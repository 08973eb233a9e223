#!/usr/bin/env python3
"""`tandem eval --query FILE --gallery FILE` against NumPy, and against ir-measures and ranx where they are installed.

    TANDEM=build/tandem python3 tests/reference/embeddings.py
    TANDEM=build/tandem python3 tests/reference/embeddings.py --large    # 100,000 queries against the packages alone
    python3 tests/reference/embeddings.py --golden    # renews tests/golden/embeddings

The scores are made as tandem makes them, one chain of fused multiply-adds, which f64 gives but for a double rounding
in 2^29: with them the ranks are equal, ties included, and figures differ by their sums alone. Without NumPy it says so.
"""

import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)  # tells ctest

# Asked for by name; of_query has them, too.
ASKED = ["recall_at_3", "recall_at_20", "recall_all_at_5", "recall_all_at_20", "recall_all_at_700", "precision_at_3",
         "precision_at_100", "r_precision", "map_at_5_hits", "map_at_5_min", "map_at_5_r", "map_at_100_r", "mrr_at_3",
         "ndcg_at_3", "ndcg_at_100"]
TOLERANCE = 1e-12  # sums of some hundred f64 in another order


def scores(query, gallery, distance):
    """f32 [Q, G], larger is nearer."""
    if distance == "cosine":
        query, gallery = (
            (x.astype(np.float64) / np.sqrt((x.astype(np.float64) ** 2).sum(1, keepdims=True))).astype(np.float32)
            for x in (query, gallery)
        )
    if distance == "euclidean":
        half = (-(gallery.astype(np.float64) ** 2).sum(1, keepdims=True) / 2).astype(np.float32)
        gallery = np.concatenate([gallery, half], 1)
        query = np.concatenate([query, np.ones((len(query), 1), np.float32)], 1)
    total = np.zeros((len(query), len(gallery)), np.float32)
    for k in range(query.shape[1]):
        product = np.outer(query[:, k].astype(np.float64), gallery[:, k].astype(np.float64))
        total = (product + total).astype(np.float32)
    return total


def of_query(order, grades, asked):
    """order: gallery rows, best first; grades: row -> grade of its positives; asked: those of ASKED, too."""
    m = len(grades)
    if m == 0:
        return None
    hit = np.array([row in grades for row in order])
    rank = np.flatnonzero(hit) + 1
    precision = np.arange(1, m + 1) / rank
    first50 = precision[rank <= 50].sum()

    def ndcg(k):
        discount = 1 / np.log2(np.arange(2, k + 2))
        gains = [grades.get(row, 0) for row in order[:k]]
        ideal = sorted(grades.values(), reverse=True)[:k]
        return (gains * discount[: len(gains)]).sum() / (ideal * discount[: len(ideal)]).sum()

    found = {
        "median_rank": rank[0], "mean_rank": rank[0], "map": precision.mean(), "mrr": 1 / rank[0],
        "map_at_r": precision[rank <= m].sum() / m, "minp": m / rank[-1],
        "ndcg_at_10": ndcg(10),
        "map_at_50_hits": first50 / max(1, (rank <= 50).sum()),
        "map_at_50_min": first50 / min(m, 50), "map_at_50_r": first50 / m,
    }
    found.update({f"recall_at_{k}": float(rank[0] <= k) for k in (1, 5, 10)})
    found.update({f"precision_at_{k}": (rank <= k).sum() / k for k in (1, 2, 4, 8, 16)})
    if asked:
        first5 = precision[rank <= 5].sum()
        found.update({f"recall_at_{k}": float(rank[0] <= k) for k in (3, 20)})
        found.update({f"recall_all_at_{k}": (rank <= k).sum() / m for k in (5, 20, 700)})
        found.update({f"precision_at_{k}": (rank <= k).sum() / k for k in (3, 100)})
        found.update({f"ndcg_at_{k}": ndcg(k) for k in (3, 100)})
        found.update({
            "r_precision": (rank <= m).sum() / m, "mrr_at_3": 1 / rank[0] if rank[0] <= 3 else 0,
            "map_at_5_hits": first5 / max(1, (rank <= 5).sum()), "map_at_5_min": first5 / min(m, 5),
            "map_at_5_r": first5 / m, "map_at_100_r": precision[rank <= 100].sum() / m,
        })
        assert found.keys() >= set(ASKED)
    return found


def evaluate(query, gallery, distance, positives, asked=True):
    """positives: for each query a dictionary of gallery row -> grade. Scores, orders, metrics of each query, means."""
    score = scores(query, gallery, distance)
    order = np.argsort(-score, axis=1, kind="stable")  # ties: the lower row first
    each = [of_query(order[i], positives[i], asked) for i in range(len(query))]
    return score, order, each, means_of(each)


def means_of(each):
    having = [e for e in each if e]
    means = {name: np.mean([e[name] for e in having]) for name in having[0]}
    means["median_rank"] = np.median([e["median_rank"] for e in having])
    return means


def by_groups(each, groups):
    """groups: for each query the set of what it belongs to. The table of what has queries with a positive, and its mean."""
    table = {}
    for group in sorted(set().union(*groups)):
        having = [e for e, of in zip(each, groups) if e and group in of]
        if having:
            table[group] = dict(means_of(having), queries=len(having))
    names = [name for name in next(iter(table.values())) if name not in ("median_rank", "queries")]
    macro = {name: np.mean([of[name] for of in table.values()]) for name in names}
    return table, macro


def in_folds(query, gallery, distance, labels, folds):
    """labels of both sides. The distinct ones of the gallery, in the order in which they come first, are cut evenly."""
    order = list(dict.fromkeys(labels[1]))
    part = {}
    for k, some in enumerate(np.array_split(np.arange(len(order)), folds)):
        part.update({order[i]: k for i in some})
    each = []
    for k in range(folds):
        q, g = (np.flatnonzero([part.get(label) == k for label in of]) for of in labels)
        positives = [{int(j): 1 for j in range(len(g)) if labels[1][g[j]] == labels[0][i]} for i in q]
        *_, means = evaluate(query[q], gallery[g], distance, positives, asked=False)
        each.append(dict(means, queries=len(q), gallery=len(g)))
    names = [name for name in each[0] if name not in ("queries", "gallery")]
    return each, {name: np.mean([of[name] for of in each]) for name in names}


def run(arguments, ranks=1):
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run(launcher + [os.environ["TANDEM"], "eval"] + [str(a) for a in arguments],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"eval {arguments} on {ranks} ranks: {done.stderr}")
    return done.stdout


def compare(name, got, want):
    worst = 0
    for key, value in want.items():
        difference = abs(got[key] - value) / max(1, abs(value))
        worst = max(worst, difference)
        if not difference <= TOLERANCE:
            sys.exit(f"{name}: {key} is {got[key]!r}, NumPy has {value!r}")
    return worst


def make_judgements(rng, queries, documents):
    """Lines and what of them is known: graded, zeros and negative ones, unknown ids, queries without any."""
    lines, known = [], [{} for _ in range(queries)]
    for q in range(queries):
        if q % 9 == 4:
            continue
        for g in rng.choice(documents, size=rng.integers(1, 12), replace=False):
            grade = int(rng.integers(-1, 4))
            lines.append(f"q{q:03} 0 doc/{g} {grade}")
            if grade >= 1:
                known[q][int(g)] = grade
    lines += ["q000 0 gone/1 2", "q001 0 gone/2 1", "nobody 0 doc/1 1"]
    order = rng.permutation(len(lines))
    return [lines[i] for i in order], known


def against_ir_measures(judged, trec, table, but=()):
    """Of queries that have a positive: how many values there are, how many differ, the largest difference."""
    import ir_measures
    from ir_measures import AP, RR, P, R, Rprec, Success, nDCG

    names = {AP: "map", RR: "mrr", nDCG @ 10: "ndcg_at_10", Success @ 1: "recall_at_1", Success @ 5: "recall_at_5",
             Success @ 10: "recall_at_10", P @ 1: "precision_at_1", P @ 4: "precision_at_4",
             Success @ 3: "recall_at_3", Success @ 20: "recall_at_20", R @ 5: "recall_all_at_5", R @ 20: "recall_all_at_20",
             R @ 700: "recall_all_at_700", P @ 3: "precision_at_3", P @ 100: "precision_at_100", Rprec: "r_precision",
             AP @ 5: "map_at_5_r", AP @ 100: "map_at_100_r", RR @ 3: "mrr_at_3", nDCG @ 3: "ndcg_at_3",
             nDCG @ 100: "ndcg_at_100"}
    worst, count, differ = 0, 0, 0
    for value in ir_measures.iter_calc(list(names), judged, ir_measures.read_trec_run(str(trec))):
        row = table.get(value.query_id)
        if row is None or row["map"] == "" or names[value.measure] in but:
            continue
        difference = abs(float(row[names[value.measure]]) - value.value)
        worst = max(worst, difference)
        differ += difference > TOLERANCE
        count += 1
    return count, differ, worst


def against_packages(qrels, trec, table, known):
    """Full run and judgements through other readers of the same files; queries that have a positive."""
    try:
        import ir_measures
    except ImportError as missing:
        print(f"not compared with ir-measures: {missing}")
        return
    judged = [j for j in ir_measures.read_trec_qrels(str(qrels)) if not j.doc_id.startswith("gone/")]
    count, differ, worst = against_ir_measures(judged, trec, table)
    print(f"ir-measures: {count} values, largest difference {worst:.1e}")
    if count == 0 or differ:
        sys.exit("ir-measures differs")
    try:
        import ranx
    except ImportError as missing:
        print(f"not compared with ranx: {missing}")
        return
    having = {f"q{q:03}" for q, grades in enumerate(known) if grades}
    relevant, found = {}, {}
    for j in judged:
        if j.query_id in having and j.relevance >= 1:
            relevant.setdefault(j.query_id, {})[j.doc_id] = j.relevance
    for line in open(trec):
        q, _, doc, _, score, _ = line.split()
        if q in having:
            found.setdefault(q, {})[doc] = float(score)
    names = {"map": "map", "mrr": "mrr", "ndcg@10": "ndcg_at_10", "hit_rate@5": "recall_at_5",
             "recall@20": "recall_all_at_20", "r-precision": "r_precision", "map@5": "map_at_5_r", "mrr@3": "mrr_at_3",
             "ndcg@100": "ndcg_at_100", "precision@3": "precision_at_3"}
    means = ranx.evaluate(ranx.Qrels(relevant), ranx.Run(found), list(names))
    for key, name in names.items():
        ours = np.mean([float(table[q][name]) for q in having])
        print(f"ranx {key}: difference {abs(means[key] - ours):.1e}")
        if abs(means[key] - ours) > TOLERANCE:
            sys.exit("ranx differs")


def check(folder):
    rng = np.random.default_rng(16)
    queries, documents, width = 120, 700, 48
    query = rng.standard_normal((queries, width)).astype(np.float32)
    gallery = (rng.standard_normal((documents, width)) + 0.3).astype(np.float32)
    folder = pathlib.Path(folder)
    np.save(folder / "q.npy", query)
    np.save(folder / "g.npy", np.asfortranarray(gallery.astype(np.float64)))
    np.save(folder / "ids.npy", np.array([f"doc/{g}" for g in range(documents)]))
    (folder / "ids.txt").write_text("".join(f"q{q:03}\n" for q in range(queries)))
    lines, known = make_judgements(rng, queries, documents)
    (folder / "qrels").write_text("\n".join(lines) + "\n")
    os.chdir(folder)
    judged = ["--query", "q.npy", "--gallery", "g.npy", "--query-ids", "ids.txt", "--gallery-ids", "ids.npy",
              "--qrels", "qrels", "--depth", documents, "--metrics", ",".join(ASKED)]
    worst = 0
    for distance in ("cosine", "dot", "euclidean"):
        score, order, each, means = evaluate(query, gallery, distance, known)
        texts, files = set(), set()
        for ranks in (1, 2, 3):
            texts.add(run(judged + ["--distance", distance, "--run-out", "run", "--per-query", "each.csv"], ranks))
            files.add(open("run").read() + open("each.csv").read())
        if len(texts) != 1 or len(files) != 1:
            sys.exit(f"{distance}: results depend on the number of ranks")
        result = json.loads(texts.pop())
        worst = max(worst, compare(distance, result["query_to_gallery"], means))
        assert result["qrels"] == {"file": "qrels", "judgements": len(lines), "of_unknown_queries": 1,
                                   "of_documents_not_in_gallery": 2,
                                   "queries_without_judgement": sum(q % 9 == 4 for q in range(queries))}
        table = {row["query"]: row for row in csv.DictReader(open("each.csv"))}
        for q, values in enumerate(each):
            row = table[f"q{q:03}"]
            if values:
                compare(f"q{q:03}", {name: float(row[name]) for name in values}, values)
            elif any(row[name] for name in row if name != "query"):
                sys.exit(f"q{q:03} has values, but no positive")
        read = [line.split() for line in open("run")]
        assert len(read) == queries * documents
        for i, (_, _, doc, rank, value, _) in enumerate(read):
            q, place = divmod(i, documents)
            assert doc == f"doc/{order[q, place]}" and int(rank) == place + 1
            assert np.float32(float(value)) == score[q, order[q, place]], (distance, q, place)
        against_packages("qrels", "run", table, known)
    print(f"graded judgements: largest difference {worst:.1e}, run and figures the same bytes on 1 to 3 ranks")

    # Ties everywhere, classes as texts and numbers, f16 in HDF5
    query, gallery = (rng.integers(-2, 3, (n, 6)).astype(np.float32) for n in (90, 400))
    kinds = [rng.integers(0, 7, n) for n in (90, 400)]
    np.save("q.npy", query.astype(np.float16))
    np.save("kinds.npy", kinds[0].astype(np.uint8))
    (folder / "kinds.txt").write_text("".join(f"{k}\n" for k in kinds[1]))
    positives = [{int(g): 1 for g in np.flatnonzero(kinds[1] == k)} for k in kinds[0]]
    places = ["g.npy"]
    np.save("g.npy", gallery)
    try:
        import h5py

        with h5py.File("g.h5", "w") as file:
            file["some/where"] = gallery.astype(np.float16)
            file["other"] = gallery.astype(np.float64)
        places += ["g.h5:/some/where", "g.h5:other"]
    except ImportError as missing:
        print(f"HDF5 not compared: {missing}")
    for place in places:
        for distance in ("dot", "euclidean"):
            *_, means = evaluate(query, gallery, distance, positives)
            for ranks in (1, 3):
                text = run(["--query", "q.npy", "--gallery", place, "--query-labels", "kinds.npy",
                            "--gallery-labels", "kinds.txt", "--distance", distance, "--metrics", ",".join(ASKED)], ranks)
                worst = max(worst, compare(place, json.loads(text)["query_to_gallery"], means))
    print(f"ties, labels, {', '.join(places)}: largest difference {worst:.1e}")
    check_groups(rng)
    check_ties(rng)
    check_junk(rng)


def shares(sets):
    """For each query its positives: gallery rows that have a label with it in common."""
    return [{g: 1 for g, of in enumerate(sets[1]) if of & mine} for mine in sets[0]]


def compare_groups(name, result, each, groups, folds=None):
    """per_class, macro and folds of the JSON."""
    table, macro = by_groups(each, groups)
    worst = compare(f"{name}, macro", result["query_to_gallery"]["macro"], macro)
    of = {line["class"]: line for line in result["query_to_gallery"]["per_class"] if line["queries"]}
    assert of.keys() == table.keys(), (of.keys(), table.keys())
    for group, values in table.items():
        worst = max(worst, compare(f"{name}, {group}", of[group], values))
    if folds:
        for got, want in zip(result["folds"]["each"], folds[0], strict=True):
            worst = max(worst, compare(f"{name}, fold", got["query_to_gallery"], want))
        worst = max(worst, compare(f"{name}, folds", result["folds"]["query_to_gallery"], folds[1]))
    return worst


def check_groups(rng):
    """Macro averages, tables by label, folds, several labels of a row."""
    query, gallery = (rng.integers(-2, 3, (n, 6)).astype(np.float32) for n in (150, 90))
    np.save("q.npy", query)
    np.save("g.npy", gallery)
    # Captions in disorder that find their images, by ids, and images that find captions, by labels: 90 images in 4 folds
    image_of = rng.permutation(np.arange(150) % 97)  # 97: some captions have no image
    pathlib.Path("image_of.txt").write_text("".join(f"{i}\n" for i in image_of))
    names = [[str(i) for i in image_of], [str(i) for i in range(90)]]
    worst = 0
    for folder, labels, files in (
        ("captions", names, ["--query", "q.npy", "--gallery", "g.npy", "--query-labels", "image_of.txt"]),
        ("images", names[::-1], ["--query", "g.npy", "--gallery", "q.npy", "--gallery-labels", "image_of.txt"]),
    ):
        sides = (query, gallery) if folder == "captions" else (gallery, query)
        *_, each, _ = evaluate(*sides, "dot", shares([[{x} for x in of] for of in labels]), asked=False)
        texts = {run(files + ["--distance", "dot", "--macro", "--per-class", "--folds", 4], ranks) for ranks in (1, 2, 3)}
        assert len(texts) == 1, "folds depend on the number of ranks"
        folds = in_folds(*sides, "dot", labels, 4)
        worst = max(worst, compare_groups(folder, json.loads(texts.pop()), each, [{x} for x in labels[0]], folds))
    # Several labels: a matrix and lines
    bits = [rng.random((n, 70)) < 0.03 for n in (150, 90)]
    sets = [[{str(c) for c in np.flatnonzero(row)} for row in of] for of in bits]
    np.save("qbits.npy", bits[0])
    np.save("gbits.npy", bits[1].astype(np.int32))
    pathlib.Path("glines.txt").write_text("".join(", ".join(sorted(of)) + " ;\n" for of in sets[1]))
    places = [["qbits.npy", "gbits.npy"], ["qbits.npy", "glines.txt"]]
    try:
        import h5py

        with h5py.File("bits.h5", "w") as file:
            file["q"] = bits[0].astype(np.uint8)
        places.append(["bits.h5:/q", "glines.txt"])
    except ImportError:
        pass
    *_, each, means = evaluate(query, gallery, "dot", shares(sets))
    for files in places:
        for ranks in (1, 3):
            text = run(["--query", "q.npy", "--gallery", "g.npy", "--query-labels", files[0], "--gallery-labels", files[1],
                        "--label-separator", ",;", "--distance", "dot", "--macro", "--per-class",
                        "--metrics", ",".join(ASKED)], ranks)
            worst = max(worst, compare(files, json.loads(text)["query_to_gallery"], means))
            worst = max(worst, compare_groups(files, json.loads(text), each, sets[0]))
    print(f"macro, by label, folds, several labels: largest difference {worst:.1e}")


def reid(distance, q_pids, g_pids, q_cams, g_cams):
    """fast-reid's definition (fastreid/evaluation/rank.py, eval_market1501): rows of the query's identity and camera are
    taken out of its ranking; CMC counts the first match; AP and INP of what is left; queries without a match are left
    out."""
    cmc, ap, inp = [], [], []
    for q in range(len(q_pids)):
        order = np.argsort(distance[q], kind="stable")
        keep = ~((g_pids[order] == q_pids[q]) & (g_cams[order] == q_cams[q]))
        match = (g_pids[order] == q_pids[q])[keep]
        if not match.any():
            continue
        hits = match.cumsum()
        last = np.flatnonzero(match).max()
        inp.append(hits[last] / (last + 1))
        cmc.append(hits >= 1)
        ap.append((hits / np.arange(1, len(hits) + 1))[match].mean())
    return [np.mean([c[min(k, len(c)) - 1] for c in cmc]) for k in (1, 5, 10)], np.mean(ap), np.mean(inp), len(ap)


def check_junk(rng):
    """Junk rules of person re-identification, and a list that searches itself."""
    queries, rows = 130, 400
    query, gallery = (rng.integers(-2, 3, (n, 6)).astype(np.float32) for n in (queries, rows))
    pids = [rng.integers(1, 41, queries), rng.integers(-1, 38, rows)]  # -1: junk for all; 0: distractors; 38 to 40: not there
    cams = [rng.integers(1, 4, n) for n in (queries, rows)]
    names = []
    for name, of in zip(("qpid", "gpid", "qcam", "gcam"), pids + cams):
        np.save(f"{name}.npy", of)
        names.append(f"{name}.npy")
    np.save("q.npy", query)
    np.save("g.npy", gallery)
    left = np.flatnonzero(pids[1] != -1)
    score = scores(query, gallery[left], "dot")
    cmc, ap, inp, having = reid(-score, pids[0], pids[1][left], cams[0], cams[1][left])
    worst, files = 0, set()
    for ranks in (1, 2, 3):
        text = run(["--query", "q.npy", "--gallery", "g.npy", "--query-labels", names[0], "--gallery-labels", names[1],
                    "--query-cameras", names[2], "--gallery-cameras", names[3], "--junk-label", -1, "--distance", "dot",
                    "--run-out", "run", "--depth", 30, "--metrics", "CMC@10"], ranks)
        files.add(text + open("run").read())
        got = json.loads(text)
        want = dict(zip(("recall_at_1", "recall_at_5", "recall_at_10"), cmc), map=ap, minp=inp)
        worst = max(worst, compare("junk", got["query_to_gallery"], want))
        junk = sum(((pids[1] == p) & (cams[1] == c) & (pids[1] != -1)).sum() for p, c in zip(pids[0], cams[0]))
        assert got["junk"] == {"label": "-1", "gallery_rows_left_out": rows - len(left), "pairs_of_one_camera": junk}
        assert got["query_to_gallery"]["gallery"] == len(left)
        assert got["query_to_gallery"]["without_positive"] == queries - having
    assert len(files) == 1, "junk depends on the number of ranks"
    lines = [line.split() for line in open("run")]
    for q in range(queries):
        order = left[np.argsort(-score[q], kind="stable")]
        order = order[~((pids[1][order] == pids[0][q]) & (cams[1][order] == cams[0][q]))][:30]
        assert [int(line[2]) for line in lines[30 * q : 30 * q + 30]] == order.tolist()
    # All of one list, but for oneself: without cameras, and with them
    all_scores = scores(gallery, gallery, "dot")
    order = np.argsort(-all_scores, axis=1, kind="stable")
    each = []
    for i in range(rows):
        rest = order[i][order[i] != i]
        each.append(of_query(rest, {int(g): 1 for g in rest if pids[1][g] == pids[1][i]}, False))
    text = run(["--query", "g.npy", "--gallery", "g.npy", "--query-labels", names[1], "--gallery-labels", names[1],
                "--exclude-self", "--distance", "dot"], 2)
    worst = max(worst, compare("self", json.loads(text)["query_to_gallery"], means_of(each)))
    cmc, ap, inp, _ = reid(-all_scores, pids[1], pids[1], cams[1], cams[1])
    text = run(["--query", "g.npy", "--gallery", "g.npy", "--query-labels", names[1], "--gallery-labels", names[1],
                "--query-cameras", names[3], "--gallery-cameras", names[3], "--exclude-self", "--distance", "dot"])
    worst = max(worst, compare("self and cameras", json.loads(text)["query_to_gallery"], {"map": ap, "minp": inp}))
    print(f"junk of one camera, junk label, all but oneself: largest difference {worst:.1e}")


def check_ties(rng):
    """trec_eval orders documents of equal score by their names, the greater name first: so does a gallery in that order."""
    try:
        import ir_measures
    except ImportError as missing:
        print(f"ties not compared: {missing}")
        return
    queries, documents = 200, 120
    query, gallery = (rng.integers(-1, 2, (n, 5)).astype(np.float32) for n in (queries, documents))
    np.save("q.npy", query)
    np.save("g.npy", gallery)
    lines = [f"q{q:05} 0 doc/{g} {rng.integers(1, 4)}" for q in range(queries) for g in rng.choice(documents, 9, replace=False)]
    pathlib.Path("qrels").write_text("\n".join(lines) + "\n")
    pathlib.Path("qids").write_text("".join(f"q{q:05}\n" for q in range(queries)))
    judged = list(ir_measures.read_trec_qrels("qrels"))
    order = sorted(range(documents), key=lambda g: f"doc/{g}", reverse=True)
    result = {}
    for name, rows in ("as it is", range(documents)), ("by name", order):
        np.save("g.npy", gallery[list(rows)])
        pathlib.Path("gids").write_text("".join(f"doc/{g}\n" for g in rows))
        run(["--query", "q.npy", "--gallery", "g.npy", "--query-ids", "qids", "--gallery-ids", "gids", "--qrels", "qrels",
             "--distance", "dot", "--depth", documents, "--run-out", "run", "--per-query", "each.csv",
             "--metrics", ",".join(ASKED)])
        table = {row["query"]: row for row in csv.DictReader(open("each.csv"))}
        # RR@K is made by another evaluator than the rest, MS MARCO's, which breaks ties its own way.
        result[name] = against_ir_measures(judged, "run", table, but=["mrr_at_3"])
    print(f"ties and grades: of {result['as it is'][0]} values {result['as it is'][1]} differ from ir-measures, by up to "
          f"{result['as it is'][2]:.2f}; with the gallery in falling order of its names {result['by name'][1]}, largest "
          f"difference {result['by name'][2]:.1e}")
    if result["by name"][1] or not result["as it is"][1]:
        sys.exit("ties are not broken as documented")


def check_large(folder):
    """100,000 queries without ties against the packages."""
    rng = np.random.default_rng(17)
    queries, documents = 100000, 50
    os.chdir(folder)
    np.save("q.npy", rng.standard_normal((queries, 16)).astype(np.float32))
    np.save("g.npy", rng.standard_normal((documents, 16)).astype(np.float32))
    pathlib.Path("qids").write_text("".join(f"q{q:03}\n" for q in range(queries)))
    pathlib.Path("gids").write_text("".join(f"doc/{g}\n" for g in range(documents)))
    lines, known = make_judgements(rng, queries, documents)
    pathlib.Path("qrels").write_text("\n".join(lines) + "\n")
    run(["--query", "q.npy", "--gallery", "g.npy", "--query-ids", "qids", "--gallery-ids", "gids", "--qrels", "qrels",
         "--depth", documents, "--run-out", "run", "--per-query", "each.csv", "--metrics", ",".join(ASKED)])
    # Two equal scores of one query are rare, and not what is compared here: such queries are taken away.
    seen, tied = {}, set()
    for line in open("run"):
        q, _, _, rank, score, _ = line.split()
        tied.add(q) if seen.get(q) == score else None
        seen[q] = score
    lines = [line for line in lines if line.split()[0] not in tied]
    pathlib.Path("qrels").write_text("\n".join(lines) + "\n")
    table = {row["query"]: row for row in csv.DictReader(open("each.csv")) if row["query"] not in tied}
    known = [{} if f"q{q:03}" in tied else grades for q, grades in enumerate(known)]
    print(f"{sum(map(bool, known))} of {queries} queries have a positive and no two equal scores")
    against_packages("qrels", "run", table, known)


def golden(folder):
    """Small files for tests/eval/embeddings.sh."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    query, gallery = (rng.integers(-3, 4, (n, 5)).astype(np.float32) for n in (9, 23))
    gallery[(gallery == 0).all(1)] = 1
    query[(query == 0).all(1)] = 1
    np.save(folder / "query.npy", query)
    np.save(folder / "gallery.npy", gallery.astype(np.float16))
    np.save(folder / "gallery_ids.npy", np.array([f"doc/{g}" for g in range(23)]))
    (folder / "query_ids.txt").write_text("".join(f"q{q:03}\n" for q in range(9)))
    lines, known = make_judgements(rng, 9, 23)
    (folder / "qrels").write_text("\n".join(lines) + "\n")
    labels = [rng.integers(0, 3, n) for n in (9, 23)]
    for name, of in zip(("query", "gallery"), labels):
        (folder / f"{name}_labels.txt").write_text("".join(f"class {k}\n" for k in of))
    same = [{int(g): 1 for g in np.flatnonzero(labels[1] == k)} for k in labels[0]]
    for name, positives, distance in (("qrels", known, "cosine"), ("labels", same, "euclidean")):
        *_, means = evaluate(query, gallery, distance, positives, asked=False)
        with open(folder / f"expected_{name}.txt", "w") as file:
            for key, value in means.items():
                file.write(f"{key} {float(value)!r}\n")


    # Tables by label, macro averages, folds of the labels; several labels: lines and a matrix
    names = [[f"class {k}" for k in of] for of in labels]
    sets = [[{str(c) for c in np.flatnonzero(rng.random(4) < 0.4)} for _ in range(n)] for n in (9, 23)]
    (folder / "query_sets.txt").write_text("".join(" | ".join(sorted(of)) + "|\n" for of in sets[0]))
    np.save(folder / "gallery_sets.npy", np.array([[str(c) in of for c in range(4)] for of in sets[1]]))
    expected = {}
    for key, groups, positives in (("one", [{x} for x in names[0]], same), ("several", sets[0], shares(sets))):
        *_, each, means = evaluate(query, gallery, "euclidean", positives, asked=False)
        table, macro = by_groups(each, groups)
        expected[key] = {"means": means, "macro": macro, "by_label": table}
    expected["one"]["folds"], expected["one"]["mean_of_folds"] = in_folds(query, gallery, "euclidean", names, 2)
    # Junk: label 0 for all, of one camera for the others
    cams = [rng.integers(1, 4, n) for n in (9, 23)]
    np.save(folder / "query_cameras.npy", cams[0])
    (folder / "gallery_cameras.txt").write_text("".join(f"{c}\n" for c in cams[1]))
    left = np.flatnonzero(labels[1] != 0)
    score = scores(query, gallery, "euclidean")
    cmc, ap, inp, having = reid(-score[:, left], labels[0], labels[1][left], cams[0], cams[1][left])
    junk = sum(((labels[1][left] == k) & (cams[1][left] == c)).sum() for k, c in zip(labels[0], cams[0]))
    expected["junk"] = {"recall_at_1": cmc[0], "recall_at_5": cmc[1], "recall_at_10": cmc[2], "map": ap, "minp": inp,
                        "without_positive": 9 - having, "gallery": len(left), "pairs": junk}
    (folder / "expected_groups.json").write_text(json.dumps(expected, indent=1, default=float) + "\n")


if __name__ == "__main__":
    if "--golden" in sys.argv:
        golden(pathlib.Path(__file__).resolve().parent.parent / "golden" / "embeddings")
    else:
        os.environ["TANDEM"] = os.path.abspath(os.environ["TANDEM"])
        with tempfile.TemporaryDirectory() as scratch:
            (check_large if "--large" in sys.argv else check)(scratch)
