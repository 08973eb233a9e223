#!/usr/bin/env python3
"""Makes projection_golden.h: principal components by NumPy, t-SNE by scikit-learn's exact method.

    python3 make_projection_golden.py > projection_golden.h

Points: 60 of width 12 in four groups; component k of point i is sin(1 + 7 g + 3 k) + 0.35 sin(i k + 5 i + k), with g = i
mod 4, in f32. Of t-SNE: the joint probabilities at perplexity 10, the places after the first 5 steps from the scaled
principal components, and the least and the largest divergence of 20 runs of 1,000 steps, whose starts differ by 1e-5 of
their size: the early steps are chaotic.
"""

import numpy as np
from scipy.spatial.distance import squareform
from sklearn.manifold import TSNE, _t_sne

N, D, PERPLEXITY, STEPS = 60, 12, 10, 5
i, k = np.meshgrid(np.arange(N, dtype=np.float64), np.arange(D, dtype=np.float64), indexing="ij")
x = (np.sin(1 + 7 * (i % 4) + 3 * k) + 0.35 * np.sin(i * k + 5 * i + k)).astype(np.float32)

centred = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
value, vector = np.linalg.eigh(centred.T @ centred)
value, vector = value[::-1], vector[:, ::-1][:, :2]
vector = vector * np.sign(vector[np.abs(vector).argmax(axis=0), [0, 1]])
pca = centred @ vector

distance = ((x[:, None].astype(np.float64) - x[None].astype(np.float64)) ** 2).sum(axis=2).astype(np.float32)
joint = _t_sne._joint_probabilities(distance, PERPLEXITY, 0)
start = pca / pca[:, 0].std() * 1e-4
early, _, _ = _t_sne._gradient_descent(
    _t_sne._kl_divergence, start.ravel(), it=0, max_iter=STEPS, n_iter_check=1000, momentum=0.5, learning_rate=50.0,
    min_gain=0.01, min_grad_norm=0, args=[12 * joint, 1, N, 2])
depth = []
for run in range(20):
    nudge = np.random.default_rng(run).normal(size=start.shape) * 1e-9
    depth.append(TSNE(perplexity=PERPLEXITY, init=start + nudge, method="exact", n_iter_without_progress=2000)
                 .fit(x).kl_divergence_)

print("/* Made by make_projection_golden.py with NumPy and scikit-learn; do not edit. */\n/* clang-format off */")
print("#ifndef TANDEM_PROJECTION_GOLDEN_H\n#define TANDEM_PROJECTION_GOLDEN_H\n")
print(f"enum {{ GOLDEN_POINTS = {N}, GOLDEN_WIDTH = {D}, GOLDEN_PERPLEXITY = {PERPLEXITY}, GOLDEN_STEPS = {STEPS} }};")


def array(name, values):
    print(f"static const double golden_{name}[] = {{" + ", ".join(f"{v:#.9g}" for v in np.ravel(values)) + "};")


array("share", value[:2] / value.sum())
array("pca", pca)
array("joint_row", squareform(joint)[0])
array("early", early)
array("divergence", [min(depth), max(depth)])
print("\n#endif")
