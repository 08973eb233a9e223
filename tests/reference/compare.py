#!/usr/bin/env python3
"""`tandem eval --compare` and `--intervals` against scipy.stats (permutation_test, bootstrap) and statsmodels (Holm).

    TANDEM=build/tandem python3 tests/reference/compare.py

Where all sign patterns are counted, p is compared to 1e-12. Drawn ones are binomial shares, and ends of intervals are
quantiles of drawn values: both may differ by five standard deviations of what either side draws.
"""

import csv
import json
import math
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from scipy import stats
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)  # tells ctest

METRICS = ["recall_at_1", "map", "mean_rank", "median_rank"]
RESAMPLES, PERMUTATIONS, SCIPY_PERMUTATIONS, SIGMAS = 10000, 100000, 20000, 5


def tandem(*words):
    done = subprocess.run([os.environ["TANDEM"], "eval", *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"tandem eval {' '.join(map(str, words))}: {done.stderr}")
    return json.loads(done.stdout)


def system(rng, difficulty, skill):
    """Ranks of the best positive: [queries] of each metric."""
    rank = 1 + np.floor(np.exp(np.maximum(0, difficulty + rng.normal(-skill, 0.8, len(difficulty)))))
    return {"recall_at_1": (rank == 1).astype(float), "map": 1 / rank, "mean_rank": rank, "median_rank": rank}


def write(name, values, cluster):
    with open(name, "w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["query"] + (["cluster"] if cluster is not None else []) + METRICS)
        for i in range(len(values["map"])):
            table.writerow([f"q{i}"] + ([f"c{cluster[i]}"] if cluster is not None else []) + [repr(float(values[m][i])) for m in METRICS])


def sums(values, cluster):
    return values if cluster is None else np.bincount(cluster, weights=values)


def reference_p(difference, cluster, exact, rng):
    of = sums(difference, cluster)
    result = stats.permutation_test((of, np.zeros(len(of))), lambda a, b, axis: np.sum(a - b, axis=axis), permutation_type="samples",
                                    vectorized=True, n_resamples=np.inf if exact else SCIPY_PERMUTATIONS, batch=500, random_state=rng)
    return result.pvalue


def resampled(before, after, cluster, statistic, rng):
    """The statistic of RESAMPLES resamples of clusters. SciPy's bootstrap has no clusters; without them it is called."""
    n = len(before)
    if cluster is None:
        found = stats.bootstrap((before, after), lambda a, b, axis: statistic(b, axis) - statistic(a, axis), paired=True, vectorized=True,
                                n_resamples=RESAMPLES, batch=200, method="percentile", random_state=rng)
        return found.bootstrap_distribution
    members = [np.flatnonzero(cluster == c) for c in np.unique(cluster)]
    values = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[c] for c in rng.integers(0, len(members), len(members))])
        values.append(statistic(after[rows], 0) - statistic(before[rows], 0))
    assert n == len(after)
    return np.array(values)


def check_ends(what, interval, drawn, level):
    """Each end is a quantile of the reference's values, as far as both can know it."""
    room = SIGMAS * math.sqrt(2 * (1 - level) / 2 * (1 + level) / 2 / RESAMPLES)
    spread = 1e-9 * (1 + np.abs(drawn).max())
    for end, share in zip(interval, ((1 - level) / 2, (1 + level) / 2)):
        below, until = np.mean(drawn < end - spread), np.mean(drawn <= end + spread)
        if below > share + room or until < share - room:
            sys.exit(f"{what}: {end} is the quantile {below} to {until}, not {share}")


def holm(p):
    try:
        from statsmodels.stats.multitest import multipletests
    except ImportError as missing:
        print(f"Holm is not compared with statsmodels: {missing}")
        return None
    return multipletests(p, method="holm")[1]


def compare(rng, queries, clustered, exact):
    difficulty = rng.normal(0.5, 1, queries)
    cluster = np.sort(rng.integers(0, max(2, queries // 3), queries)) if clustered else None
    all_systems = [system(rng, difficulty, skill) for skill in (0, 0.05, 0.3)]
    for name, values in zip("abc", all_systems):
        write(f"{name}.csv", values, cluster)
    result = tandem("--compare", "a.csv", "b.csv", "c.csv", "--permutations", PERMUTATIONS, "--resamples", RESAMPLES, "--seed", 3)
    ours, worst = [], 0
    for one, after in zip(result["comparisons"], all_systems[1:]):
        for metric in METRICS:
            found, before, now = one["metrics"][metric], all_systems[0][metric], after[metric]
            what = f"{one['system']}, {metric}, {queries} queries{', clusters' if clustered else ''}"
            statistic = np.median if metric == "median_rank" else np.mean
            assert abs(found["difference"] - (statistic(now) - statistic(before))) < 1e-12, what
            check_ends(what, found["interval"], resampled(before, now, cluster, statistic, rng), 0.95)
            if metric == "median_rank":
                continue
            p = reference_p(now - before, cluster, exact, rng)
            # SciPy doubles the smaller tail, tandem counts both.
            drawn = SIGMAS * math.sqrt(p * (2 - p) / SCIPY_PERMUTATIONS + p * (1 - p) / PERMUTATIONS) + 2 / SCIPY_PERMUTATIONS
            room = 1e-12 if found["exact"] and exact else drawn
            worst = max(worst, abs(found["p"] - p))
            if abs(found["p"] - p) > room:
                sys.exit(f"{what}: p is {found['p']}, SciPy has {p}")
            ours.append((found["p"], found["p_holm"]))
    wanted = holm([p for p, _ in ours])
    if wanted is not None and np.abs(wanted - np.array([h for _, h in ours])).max() > 1e-12:
        sys.exit(f"Holm differs: {ours}, {wanted}")
    print(f"{queries} queries{' in clusters' if clustered else ''}: largest difference of p {worst:.1e}{' (all patterns)' if exact else ''}")


def intervals(rng):
    """Of one system's own figures."""
    query, gallery = rng.normal(size=(300, 8)), rng.normal(size=(300, 8))
    np.save("q.npy", query + gallery)
    np.save("g.npy", gallery)
    found = tandem("--query", "q.npy", "--gallery", "g.npy", "--per-query", "each.csv", "--intervals", 0.9, "--resamples", RESAMPLES)
    rows = list(csv.DictReader(open("each.csv")))
    for metric, interval in found["query_to_gallery"]["intervals"]["of"].items():
        values = np.array([float(row[metric]) for row in rows])
        statistic = np.median if metric == "median_rank" else np.mean
        drawn = stats.bootstrap((values,), statistic, n_resamples=RESAMPLES, batch=500, method="percentile", random_state=rng)
        check_ends(metric, interval, drawn.bootstrap_distribution, 0.9)
    print(f"{len(found['query_to_gallery']['intervals']['of'])} intervals are SciPy's, up to chance")


def main():
    rng = np.random.default_rng(16)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TANDEM"] = os.path.abspath(os.environ["TANDEM"])
        os.chdir(folder)
        for queries, clustered, exact in ((11, False, True), (15, False, True), (30, True, True), (400, False, False), (400, True, False)):
            compare(rng, queries, clustered, exact)
        intervals(rng)


main()
