#!/usr/bin/env python3
"""Head training of tandem beside the same in PyTorch with the model that CLIP4CMR released: 20 steps of Adam (1e-4, 0.5,
0.999, 1e-8) on cached features, per modality a head 1024 -> 256 -> 1024, classifier or prototypes with them, no dropout.

    python3 tests/reference/cmr_training.py --cmr CLONE [--tandem build-check/tandem] [--ranks 1]

CLONE is a clone of github.com/zhixiongz/CLIP4CMR with its history (cmr_released.py). Both sides begin with the weights that
tandem draws (those of a step with a learning rate of 0) and take the same batches. PyTorch runs in f64, what is compared
with, and in f32, what it is off by itself. Two errors of a parameter after the last step: `norm`, the distance over the
norm of the tensor, limit 1e-5; `largest`, that of the entry that is off most over the largest entry. The second is large
in PyTorch's f32, too: Adam divides a gradient by its own size, so that among half a million entries there are some whose
gradient is little more than rounding and whose step is random; with other seeds either side is the one that is off more.
Its limit is 1e-5, or twenty times what PyTorch's f32 is off by. Needs torch, numpy and h5py; says so and ends with 77 when one is missing."""
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
    import torch
    import torch.nn.functional as F
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import cmr_released
from sample_order import epoch_order

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
N, BATCH, STEPS, WIDTH, HIDDEN, CLASSES, SEED, LIMIT = 300, 60, 20, 1024, 256, 10, 3, 1e-5
NAMES = {f"{theirs}.{layer}.{kind}": f"{ours}.fc{layer[-1]}.{kind}" for theirs, ours in
         (("imgnn", "visual_head"), ("textnn", "text_head")) for layer in ("denseL1", "denseL2") for kind in ("weight", "bias")}
CLASSIFIER = {"predictLayer.weight": "loss.classifier.weight", "predictLayer.bias": "loss.classifier.bias"}


def objectives(released, proxies):
    """Title, ours, parameters besides the heads, are the centers trained, loss of (centers, f, g, p_f, p_g, labels)."""
    R, P = released, proxies
    cel = lambda c, f, g, p, q, y: F.cross_entropy(p, y) + F.cross_entropy(q, y)  # noqa: E731
    lrl = lambda c, f, g, p, q, y: R.Label_Regression_Loss(p, q, F.one_hot(y, CLASSES))  # noqa: E731
    pcl = lambda c, f, g, p, q, y: R.PAN(f, c.T, y) + R.PAN(g, c.T, y)  # noqa: E731
    nca = lambda c, f, g, p, q, y: P.Proxy_NCA(f, y, c) + P.Proxy_NCA(g, y, c)  # noqa: E731
    anchor = lambda c, f, g, p, q, y: sum(P.Proxy_Anchor(x, F.one_hot(y, CLASSES), c, alpha=32) for x in (f, g))  # noqa: E731
    triplet = lambda c, f, g, p, q, y: R.Triplet_Loss(f, g, y) + R.Triplet_Loss(g, f, y)  # noqa: E731
    contrastive = lambda c, f, g, p, q, y: R.Contrastive_Loss(f, g, y)  # noqa: E731
    centers = lambda name: {"centers": f"loss.{name}.centers"}  # noqa: E731
    return [
        ("CEL", "cross_entropy", "", CLASSIFIER, False, cel),
        ("LRL", "linear_regression", "", CLASSIFIER, False, lrl),
        ("PCL as released", "prototype", 'definition = "released"; prototypes = "fixed";', centers("prototype"), False, pcl),
        ("PCL, trained prototypes", "prototype", "", centers("prototype"), True, lambda *x: len(x[-1]) * pcl(*x)),
        ("Proxy-NCA", "proxy_nca", "", centers("proxy_nca"), True, nca),
        ("Proxy-Anchor, alpha 32", "proxy_anchor", "", centers("proxy_anchor"), True, anchor),
        ("TL", "triplet", "", {}, False, triplet),
        ("CL", "contrastive", 'definition = "released";', {}, False, contrastive),
    ]


# ---- The two runs ----

def config(folder, name, options):
    tower = f'{{ tower = "features"; feature_dim = {WIDTH}; head = "mlp"; mlp: {{ hidden = {HIDDEN}; dropout = 0.0; }}; }}'
    return f'''seed = {SEED};
data: {{ dir = "{folder}/data"; split = "train"; }};
model: {{ embed_dim = {WIDTH}; image: {tower}; text: {tower}; }};
loss: {{ {name}: {{ weight = 1.0; image_view = "plain"; {options} }}; }};
train: {{ batch = {BATCH}; steps = {STEPS}; precision = "f32"; threads = 1; log_every = 1; }};
optim: {{ name = "adamw"; lr = 1e-4; schedule = "constant"; warmup_steps = 0; beta1 = 0.5; beta2 = 0.999; eps = 1e-8;
  weight_decay = 0.0; }};
'''


def call(*words):
    done = subprocess.run([str(w) for w in words], text=True, capture_output=True, env=dict(
        os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1"))
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stderr[-2000:]}")


def run_tandem(tandem, ranks, folder, out, settings=()):
    """Parameters of the last checkpoint and losses of the steps."""
    words = [w for s in settings for w in ("--set", s)]
    call("mpirun", "--oversubscribe", "-n", ranks, tandem, "train", "--config", folder / "run.cfg", "--out", out, *words)
    checkpoint = out / "checkpoints" / (out / "checkpoints" / "latest").read_text().strip()
    with h5py.File(checkpoint / "model.h5") as file:
        param = {}
        file["param"].visititems(lambda name, item: param.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return param, [line["loss"] for line in lines if "loss" in line]


def run_torch(released, start, names, train_centers, loss_of, features, dtype):
    torch.set_default_dtype(dtype)
    plain, torch.Tensor.float = torch.Tensor.float, lambda self: self.to(dtype)
    net = released.model(CLASSES, WIDTH, WIDTH, HIDDEN, WIDTH)
    net.imgnn.dropout.p = net.textnn.dropout.p = 0.0
    net.centers.requires_grad = train_centers
    own = dict(net.named_parameters())
    with torch.no_grad():
        for theirs, ours in names.items():
            value = torch.tensor(start[ours], dtype=dtype)
            own[theirs].copy_(value.T if theirs == "centers" else value)
    image, text, label = (torch.tensor(x) for x in features)
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.5, 0.999)), []
    for step in range(STEPS):
        per_epoch = N // BATCH
        rows = epoch_order(N, SEED, step // per_epoch)[step % per_epoch * BATCH:][:BATCH]
        optimizer.zero_grad()
        loss = loss_of(*net(image[rows], text[rows]), label[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    net(image[:1], text[:1])  # projects classifier and centers, as the next step would
    torch.Tensor.float = plain
    torch.set_default_dtype(torch.float32)
    final = {ours: own[theirs].detach().double().numpy() for theirs, ours in names.items()}
    return {k: v.T if k.endswith("centers") else v for k, v in final.items()}, losses


class Difference:
    """Of the losses, and the two errors of the parameter that is off most."""

    def __init__(self, found, expected):
        pairs = [(found[0][k].astype(float), v) for k, v in expected[0].items()]
        self.loss = max(abs(a - b) / abs(b) for a, b in zip(found[1], expected[1]))
        self.norm = max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs)
        self.largest = max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)

    def __str__(self):
        return f"{self.loss:.1e} | {self.norm:.1e} | {self.largest:.1e}"


def main():
    parser = argparse.ArgumentParser()
    cmr_released.clone_argument(parser)
    parser.add_argument("--tandem", default=os.environ.get("TANDEM", str(ROOT / "build-check" / "tandem")))
    parser.add_argument("--ranks", default="1,2")
    options = parser.parse_args()
    cmr_released.require_clone(options)
    released = cmr_released.model(options.cmr)
    rng = np.random.default_rng(1)
    label = rng.integers(0, CLASSES, N)
    center = rng.standard_normal((CLASSES, WIDTH))
    image, text = ((center[label] + rng.standard_normal((N, WIDTH))).astype(np.float32) for _ in range(2))
    ranks, failed = [int(r) for r in options.ranks.split(",")], False
    print(f"{STEPS} steps of {BATCH} pairs, {CLASSES} classes, heads {WIDTH} -> {HIDDEN} -> {WIDTH}\n\n"
          "| objective | of | losses | norm | largest | |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with h5py.File(folder / "train.h5", "w") as file:
            file["image"], file["text"], file["label"] = image, text, label
        call(options.tandem, "pack", "--format", "features", "--out", folder / "data", "--split", "train", folder / "train.h5")
        for title, key, keys, extra, train_centers, loss_of in objectives(cmr_released.metrics(options.cmr),
                                                                         cmr_released.proxies(options.cmr)):
            (folder / "run.cfg").write_text(config(folder, key, keys))
            names = {**NAMES, **extra}
            start, _ = run_tandem(options.tandem, 1, folder, folder / f"{title} start", ("train.steps=1", "optim.lr=0"))
            reference = lambda dtype: run_torch(released, start, names, train_centers, loss_of,  # noqa: E731
                                                (image, text, label), dtype)
            expected = reference(torch.float64)
            own = Difference(reference(torch.float32), expected)
            print(f"| {title}, loss {expected[1][0]:.4f} to {expected[1][-1]:.4f} | PyTorch f32 | {own} | |")
            for r in ranks:
                found = Difference(run_tandem(options.tandem, r, folder, folder / f"{title} {r}"), expected)
                fine = found.norm <= LIMIT and found.largest <= max(LIMIT, 20 * own.largest)
                failed |= not fine
                print(f"| | tandem, {r} rank{'s' * (r > 1)} | {found} | {'' if fine else '**above the limit**'} |", flush=True)
    sys.exit(failed)


main()
