#!/usr/bin/env python3
"""COCO's, CxC's and ECCV Caption's positives through `tandem eval --qrels` and `--folds`, against the PyPI package
eccv-caption, whose judgement files they are, on one and the same ranking by random vectors.

    TANDEM=build/tandem python3 tests/reference/coco_judgements.py

Without the package it says so. The vectors are random, those of the captions near those of their images, so that the
figures are larger than chance has them.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

warnings.simplefilter("ignore")  # the package's, about optional ones
try:
    import numpy as np
    from eccv_caption import Metrics
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)  # tells ctest

WIDTH = 8
DEPTH = 600  # of each ranking that the package is given: more than 10 of a fold are among them
TOLERANCE = 1e-12  # means of some thousand f64


def rankings(query, gallery, ids):
    """Ids of the DEPTH best, by the chain of fused multiply-adds that tandem has: see embeddings.py."""
    found = []
    for begin in range(0, len(query), 1000):
        some = query[begin : begin + 1000]
        total = np.zeros((len(some), len(gallery)), np.float32)
        for k in range(query.shape[1]):
            product = some[:, k, None].astype(np.float64) * gallery[None, :, k].astype(np.float64)
            total = (product + total).astype(np.float32)
        best = np.argpartition(-total, DEPTH, axis=1)[:, :DEPTH]
        value = np.take_along_axis(total, best, 1)
        order = np.lexsort((best, -value))  # ties: the lower row first
        found.append(ids[np.take_along_axis(best, order, 1)])
    return np.concatenate(found)


def evaluate(query, gallery, *options):
    command = [os.environ["TANDEM"], "eval", "--query", f"{query}.npy", "--gallery", f"{gallery}.npy", "--distance", "dot"]
    done = subprocess.run(command + [str(option) for option in options], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{options}: {done.stderr}")
    return json.loads(done.stdout)


class Worst:
    def __init__(self):
        self.difference, self.count = 0, 0

    def compare(self, what, got, want):
        self.difference = max(self.difference, abs(got - want))
        self.count += 1
        if not abs(got - want) <= TOLERANCE:
            sys.exit(f"{what}: {got!r}, the package has {float(want)!r}")


def write_qrels(name, judged):
    lines = [f"{q} 0 {document} 1\n" for q, positives in judged.items() for document in positives]
    pathlib.Path(name).write_text("".join(lines))


def check(package, captions, images, vectors, worst):
    """Vectors of both; every figure that the package has."""
    ids = {"i2t": images, "t2i": captions}
    other = {"i2t": ("image", "text"), "t2i": ("text", "image")}
    for name, of in vectors.items():
        np.save(f"{name}.npy", of)
    found = {}
    for way, (query, gallery) in other.items():
        best = rankings(vectors[query], vectors[gallery], captions if way == "i2t" else images)
        found[way] = dict(zip(ids[way].tolist(), best))
    shown = {}
    for source, judged in ("coco", package.coco_gts), ("cxc", package.cxc_gts), ("eccv", package.eccv_gts):
        for way, (query, gallery) in other.items():
            write_qrels("qrels", judged[way])
            result = evaluate(query, gallery, "--query-ids", f"{query}_ids.txt", "--gallery-ids", f"{gallery}_ids.txt",
                              "--qrels", "qrels", "--metrics", "r_precision")
            assert result["qrels"]["queries_without_judgement"] == len(ids[way]) - len(judged[way])
            got = result["query_to_gallery"]
            recalls = {"coco": package.coco_5k_recalls, "cxc": package.cxc_recalls, "eccv": package.eccv_recalls}[source]
            for k in (1, 5, 10):
                worst.compare(f"{source} {way} R@{k}", got[f"recall_at_{k}"], recalls(found, way, K=k)[way])
            if source == "eccv":
                of = package.eccv_metrics(found, way)
                for ours, theirs in ("map_at_r", "eccv_map_at_r"), ("r_precision", "eccv_rprecision"), ("recall_at_1", "eccv_r1"):
                    worst.compare(f"{theirs} {way}", got[ours], of[theirs][way])
                shown[f"eccv_map_at_r {way}"] = got["map_at_r"]
    # Five folds of 1,000 images; a label is an image
    for way, (query, gallery) in other.items():
        files = ["--query-labels", f"{query}_labels.txt", "--gallery-labels", f"{gallery}_labels.txt"]
        folds = evaluate(query, gallery, *files, "--folds", 5)["folds"]
        assert [f["query_to_gallery"]["gallery"] for f in folds["each"]] == [5000 if way == "i2t" else 1000] * 5
        for k in (1, 5, 10):
            want = package.coco_1k_recalls(found, "all", K=k)[way]
            worst.compare(f"coco 1k {way} R@{k}", folds["query_to_gallery"][f"recall_at_{k}"], want)
        shown[f"coco_1k_r1 {way}"] = folds["query_to_gallery"]["recall_at_1"]
    return shown


def main():
    package = Metrics()
    captions = package.coco_ids.astype(np.int64)
    image_of = np.array([package.coco_gts["t2i"][int(c)][0] for c in captions])
    images = image_of[np.sort(np.unique(image_of, return_index=True)[1])]
    pathlib.Path("text_ids.txt").write_text("".join(f"{c}\n" for c in captions))
    pathlib.Path("image_ids.txt").write_text("".join(f"{i}\n" for i in images))
    pathlib.Path("text_labels.txt").write_text("".join(f"{i}\n" for i in image_of))
    pathlib.Path("image_labels.txt").write_text("".join(f"{i}\n" for i in images))
    # Positives that are not among the 25,000 captions count as missed in the package, and not at all in tandem: see
    # docs/metrics.md. They are taken away from the package, too.
    gone = 0
    for judged in (package.coco_gts, package.cxc_gts, package.eccv_gts):
        for way, there in (("i2t", set(captions.tolist())), ("t2i", set(images.tolist()))):
            for q, positives in judged[way].items():
                gone += sum(p not in there for p in positives)
                judged[way][q] = [p for p in positives if p in there]
    rng = np.random.default_rng(5)
    image, noise = (rng.standard_normal((n, WIDTH)).astype(np.float32) for n in (len(images), len(captions)))
    order = np.argsort(images)
    text = image[order[np.searchsorted(images[order], image_of)]] + np.float32(0.4) * noise
    worst = Worst()
    shown = check(package, captions, images, {"image": image, "text": text}, worst)
    print(", ".join(f"{key} {value:.5f}" for key, value in shown.items()))
    print(f"{worst.count} figures equal eccv-caption's, largest difference {worst.difference:.1e}; {gone} of its positives are "
          "captions that are not in the gallery")


if __name__ == "__main__":
    os.environ["TANDEM"] = os.path.abspath(os.environ["TANDEM"])
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        main()
