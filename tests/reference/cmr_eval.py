#!/usr/bin/env python3
"""Figures of `tandem eval` beside the evaluation that CLIP4CMR released (evaluate.py: mAP over the full ranking and over the
first 50, recall, precision at K; by cosine and by distance) and beside scikit-learn's average_precision_score.

    python3 tests/reference/cmr_eval.py --cmr CLONE [--tandem build-check/tandem] [--ranks 1,2]

CLONE is a clone of github.com/zhixiongz/CLIP4CMR with its history (cmr_released.py). The features have no ties: two texts
are never so near to each other, seen from an image, that f32 might exchange them, nor two images. One class has a single
member. The limit is 1e-12. Needs h5py, numpy, scipy and torch, which evaluate.py imports; says so and ends with 77 when one
is missing. Without scikit-learn that comparison is left out."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy as np
    import scipy.spatial
    import torch  # noqa: F401
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)
try:
    from sklearn.metrics import average_precision_score
except ImportError:
    average_precision_score = None

import cmr_released

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
N, WIDTH, CLASSES, GAP, LIMIT = 200, 64, 10, 1e-6, 1e-12


def unit(x):
    x = x.astype(float)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def make_features():
    """Images, texts, labels; what is too near to another is drawn again."""
    rng = np.random.default_rng(8)
    label = np.concatenate([rng.integers(0, CLASSES - 1, N - 1), [CLASSES - 1]])
    center = rng.standard_normal((CLASSES, WIDTH))
    draw = lambda rows: (0.4 * center[label[rows]] + rng.standard_normal((len(rows), WIDTH))).astype(np.float32)  # noqa: E731
    image, text = draw(np.arange(N)), draw(np.arange(N))
    while True:
        cosine = unit(image) @ unit(text).T
        near = lambda x: {r[i] for r, row in zip(x.argsort(1), np.sort(x, 1)) for i in np.flatnonzero(np.diff(row) < GAP)}  # noqa: E731
        texts, images = near(cosine), near(cosine.T)
        if not texts and not images:
            return image, text, label
        for x, rows in ((text, sorted(texts)), (image, sorted(images))):
            if rows:
                x[rows] = draw(np.array(rows))


def call(*words):
    done = subprocess.run([str(w) for w in words], text=True, capture_output=True, env=dict(
        os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1"))
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stderr[-2000:]}")


def released_figures(released, query, gallery, label, method):
    """By our names."""
    order = scipy.spatial.distance.cdist(query, gallery, {"L2": "euclidean", "COS": "cosine"}[method]).argsort()
    figures = {"map": released.fx_calc_map_label(query, gallery, label, 0, method),
               "map_at_50_hits": released.fx_calc_map_label(query, gallery, label, 50, method)}
    for K in (1, 2, 4, 8, 16):
        figures[f"precision_at_{K}"] = released.calc_precision_at_K(order, label, K)
    plain, released.__dict__["print"] = print, lambda *words: None  # fx_calc_recall prints precisions under wrong names
    recall = released.fx_calc_recall(query, gallery, label, 0, method)
    released.__dict__["print"] = plain
    figures.update({f"recall_at_{K}": r / 100 for K, r in zip((1, 5, 10), recall)})
    return figures


def main():
    parser = argparse.ArgumentParser()
    cmr_released.clone_argument(parser)
    parser.add_argument("--tandem", default=os.environ.get("TANDEM", str(ROOT / "build-check" / "tandem")))
    parser.add_argument("--ranks", default="1,2")
    options = parser.parse_args()
    cmr_released.require_clone(options)
    released = cmr_released.evaluate(options.cmr)
    image, text, label = make_features()
    worst, lines = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with h5py.File(folder / "test.h5", "w") as file:
            file["image"], file["text"], file["label"] = image, text, label
        call(options.tandem, "pack", "--format", "features", "--out", folder / "data", "--split", "test", folder / "test.h5")
        tower = f'{{ tower = "features"; feature_dim = {WIDTH}; }}'
        (folder / "run.cfg").write_text(f'''data: {{ dir = "{folder}/data"; split = "test"; }};
model: {{ embed_dim = {WIDTH}; image: {tower}; text: {tower}; }};
loss: {{ infonce: {{ image_views = ["plain"]; }}; }};
train: {{ batch = {N}; steps = 1; precision = "f32"; threads = 1; }};
optim: {{ lr = 0.0; warmup_steps = 0; }};
''')  # nothing of it learns: what is evaluated are the features
        call(options.tandem, "train", "--config", folder / "run.cfg", "--out", folder / "run")
        for ranks in (int(r) for r in options.ranks.split(",")):
            for method, distance in (("COS", "cosine"), ("L2", "euclidean")):
                call("mpirun", "--oversubscribe", "-n", ranks, options.tandem, "eval", "--model", folder / "run", "--data",
                     folder / "data", "--split", "test", "--positives", "class", "--distance", distance, "--json",
                     folder / "eval.json")
                ours = json.loads((folder / "eval.json").read_text())
                for direction, query, gallery in (("image_to_text", image, text), ("text_to_image", text, image)):
                    q, g = unit(query), unit(gallery)
                    figures = released_figures(released, q, g, label, method)
                    compared = [(f"evaluate.py, {method}", key, value) for key, value in figures.items()]
                    if average_precision_score:
                        score = q @ g.T if method == "COS" else -scipy.spatial.distance.cdist(q, g)
                        value = np.mean([average_precision_score(label == label[i], score[i]) for i in range(N)])
                        compared.append((f"scikit-learn, {method}", "map", value))
                    for source, key, value in compared:
                        difference = abs(ours[direction][key] - value)
                        worst[source, key] = max(worst.get((source, key), 0.0), difference)
                        lines.setdefault((source, key), {})[direction] = value
    print(f"{N} images and texts of {CLASSES} classes\n\n| against | figure | image to text | text to image | difference |\n"
          "|---|---|---|---|---|")
    for (source, key), value in lines.items():
        print(f"| {source} | {key} | {value['image_to_text']:.6f} | {value['text_to_image']:.6f} | {worst[source, key]:.1e} |")
    if not average_precision_score:
        print("\nnot compared with scikit-learn, which is missing")
    sys.exit(not max(worst.values()) <= LIMIT)


main()
