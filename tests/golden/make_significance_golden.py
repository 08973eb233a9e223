#!/usr/bin/env python3
"""Paired randomisation tests by scipy.stats.permutation_test, all sign patterns counted, and Holm's correction by
statsmodels: tests/golden/significance_golden.h. Needs numpy, scipy and statsmodels."""

import pathlib

import numpy as np
from scipy.stats import permutation_test
from statsmodels.stats.multitest import multipletests

QUERIES = 14
rng = np.random.default_rng(16)
# Per query: found or not (many ties), a reciprocal rank, a rank. What the second system does is a little better.
before = np.stack([rng.integers(0, 2, QUERIES), 1 / rng.integers(1, 9, QUERIES), rng.integers(1, 99, QUERIES)]).astype(float)
after = np.stack([np.minimum(1, before[0] + rng.integers(0, 2, QUERIES)), 1 / rng.integers(1, 6, QUERIES),
                  rng.integers(1, 80, QUERIES)]).astype(float)
difference = after - before
CLUSTER = np.array([7, 7, 3, 5, 3, 9, 9, 9, 1, 0, 2, 4, 6, 8])


def exact(values):
    return permutation_test((values, np.zeros(len(values))), lambda a, b, axis: np.sum(a - b, axis=axis), permutation_type="samples",
                            n_resamples=np.inf, alternative="two-sided", vectorized=True).pvalue


def numbers(values):
    return ", ".join(repr(float(v)) for v in np.ravel(values))


p = [exact(row) for row in difference]
clustered = [exact(np.bincount(CLUSTER, weights=row)) for row in difference]
many = [0.011, 0.04, 0.0005, 0.9, 0.04, 0.3, 0.0125, 1.0]
text = f"""/* Made by make_significance_golden.py: do not edit. */
enum {{ GOLDEN_QUERIES = {QUERIES}, GOLDEN_METRICS = {len(difference)}, GOLDEN_TESTS = {len(many)} }};
/* [metrics][queries] of the second system less the first */
static const double golden_difference[] = {{{numbers(difference)}}};
static const int64_t golden_cluster[] = {{{", ".join(map(str, CLUSTER))}}};
/* scipy.stats.permutation_test, of queries and of clusters */
static const double golden_p[] = {{{numbers(p)}}}, golden_clustered[] = {{{numbers(clustered)}}};
/* statsmodels.stats.multitest.multipletests(method="holm") */
static const double golden_many[] = {{{numbers(many)}}};
static const double golden_holm[] = {{{numbers(multipletests(many, method="holm")[1])}}};
"""
pathlib.Path(__file__).with_name("significance_golden.h").write_text(text)
