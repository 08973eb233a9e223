#!/usr/bin/env python3
"""Head training on cached features: samples/s of the step for each objective of supervised retrieval, `tandem bench` beside
the same loop in PyTorch.

    python3 bench/cmr_heads.py [--threads 2] [--cmr CLONE] [--seconds 1] [--rounds 3]      # a quarter of an hour
    python3 bench/cmr_heads.py --only triplet --batches 300 --classes 10 --growth 300      # does it run

Per modality a head 1024 -> 256 -> 1024 with GELU and dropout, unit norm, an objective, Adam (1e-4, 0.5, 0.999), all in f32.
PyTorch takes rows of matrices that lie in memory, has no loader, and its objectives are vectorised: of several ways to
write one, the fastest on this machine counts, as of its ways to run Adam. Both run in turn, in alternating order, with as
many threads; the figure is the median of the rounds, each the median of its steps.

With --cmr, a clone of github.com/zhixiongz/CLIP4CMR with its history, a step with the released triplet loss is timed, too,
a loop in Python. Last comes the growth of a triplet step by itself with the batch (loss_bench), beside that of its
products. Prints Markdown. Needs PyTorch, NumPy and h5py."""
import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np
import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH, HIDDEN, ROWS = 1024, 256, 12288
OBJECTIVES = ["contrastive", "modality_invariant", "triplet", "linear_regression", "cross_entropy", "prototype", "proxy_nca",
              "proxy_anchor", "lifted", "npairs", "supcon", "dual_softmax"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=str(ROOT / "build"), help="where tandem and loss_bench are")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of steps, in each round, about")
    parser.add_argument("--batches", default="300,4096")
    parser.add_argument("--classes", default="10,200")
    parser.add_argument("--only", help="objectives, with commas")
    parser.add_argument("--growth", default="300,3000,30000", help="batches of a triplet step by itself; empty: none")
    parser.add_argument("--cmr", help="clone of github.com/zhixiongz/CLIP4CMR")
    parser.add_argument("--cpu-time", action="store_true",
                        help="compare CPU time in place of seconds: for a machine that others use, with --threads 1")
    parser.add_argument("--json", help="also write all figures here")
    args = parser.parse_args()
    args.batches = [int(b) for b in args.batches.split(",")]
    args.classes = [int(c) for c in args.classes.split(",")]
    args.growth = [int(b) for b in args.growth.split(",")] if args.growth else []
    args.only = args.only.split(",") if args.only else OBJECTIVES
    return args


# ---- PyTorch ----

class Heads(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        head = lambda: torch.nn.Sequential(torch.nn.Linear(WIDTH, HIDDEN), torch.nn.GELU(),  # noqa: E731
                                           torch.nn.Linear(HIDDEN, WIDTH), torch.nn.Dropout(0.1))
        self.image, self.text = head(), head()
        self.classifier = torch.nn.Linear(WIDTH, classes)
        self.centers = torch.nn.Parameter(torch.randn(classes, WIDTH))

    def forward(self, image, text):
        with torch.no_grad():
            for x in (self.classifier.weight, self.centers):
                x.copy_(F.normalize(x, dim=1))
        return F.normalize(self.image(image)), F.normalize(self.text(text))


class Terms:
    def __init__(self, net, f, g, y):
        self.net, self.f, self.g, self.y, self.C = net, f, g, y, len(net.centers)

    def pairs(self):
        """Cosines, and what belongs together."""
        return self.f @ self.g.T, self.y[:, None] == self.y[None, :]

    def both(self):
        return (self.f, self.g)


def contrastive(t):
    x, same = t.pairs()
    d2 = 2 - 2 * x
    return torch.where(same, d2, (0.2 - d2).clamp(min=0)).sum() / len(x)


def modality_invariant(t):
    x, same = t.pairs()
    return ((2 - 2 * x) * same).sum() / len(x)


def triplet_cube(t):
    """Every triplet at once: B x B x B numbers."""
    x, same = t.pairs()
    total = 0
    for c in (x, x.T):
        hinge = (2 * (c[:, None, :] - c[:, :, None]) + 0.2).clamp(min=0)
        total = total + (hinge * (same[:, :, None] & ~same[:, None, :])).sum()
    return total / same.sum()


def triplet_sorted(t):
    """As tandem does it: each row's positives sorted, negatives find their places among them, sums of the first k."""
    x, same = t.pairs()
    total = 0
    for c in (x, x.T):
        positive, _ = torch.where(same, c, torch.inf).sort(1)
        places = torch.searchsorted(positive.detach(), (c.detach() + 0.1).contiguous(), right=True)
        counts = places.clamp(max=same.sum(1, keepdim=True))
        sums = F.pad(positive.masked_fill(positive.isinf(), 0).cumsum(1), (1, 0))
        value = counts * (2 * c + 0.2) - 2 * sums.gather(1, counts)
        total = total + value.masked_fill(same, 0).sum()
    return total / same.sum()


def linear_regression(t):
    e = F.one_hot(t.y, t.C)
    return sum((t.net.classifier(x) - e).norm(dim=1).mean() for x in t.both())


def cross_entropy(t):
    return sum(F.cross_entropy(t.net.classifier(x), t.y) for x in t.both())


def prototype(t):
    squares = t.net.centers.square().sum(1)
    return sum(F.cross_entropy(2 * x @ t.net.centers.T - squares, t.y) for x in t.both())


def proxy_nca(t):
    own = F.one_hot(t.y, t.C).bool()
    total = 0
    for x in t.both():
        s = x @ t.net.centers.T
        total = total + (s.masked_fill(own, -torch.inf).logsumexp(1) - s.gather(1, t.y[:, None])[:, 0]).mean()
    return total


def proxy_anchor(t):
    own = F.one_hot(t.y, t.C).bool()
    total = 0
    for x in t.both():
        s = x @ t.net.centers.T
        term = lambda exponent: F.softplus(exponent.logsumexp(0))  # noqa: E731
        positive = term((-32 * (s - 0.1)).masked_fill(~own, -1e9))
        total = total + positive.sum() / own.any(0).sum() + term((32 * (s + 0.1)).masked_fill(own, -1e9)).mean()
    return total


def lifted(t):
    x, same = t.pairs()
    d = (2 - 2 * x).clamp(min=1e-12).sqrt()
    e = (1 - d).exp() * ~same
    J = (d + (e.sum(1, keepdim=True) + e.sum(0, keepdim=True)).log()).clamp(min=0)
    return (J.square() * same).sum() / (2 * same.sum())


def npairs(t):
    x, same = t.pairs()
    total = 0
    for c in (x, x.T):
        total = total + (F.softplus(c.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True) - c) * same).sum()
    return total / (2 * same.sum())


def supcon(t):
    x, same = t.pairs()
    return -sum(((10 * c).log_softmax(1) * same).sum(1).div(same.sum(1)).mean() for c in (x, x.T)) / 2


def dual_softmax(t):
    s = 14.3 * t.f @ t.g.T
    return -sum((c * (c / 1000).softmax(0) * len(c)).log_softmax(1).diagonal().mean() for c in (s, s.T)) / 2


def ways(name, batch):
    """Functions that compute it."""
    if name == "triplet":
        return [triplet_sorted] + ([triplet_cube] if batch <= 512 else [])
    return [globals()[name]]


class Loop:
    def __init__(self, data, classes, batch, loss, adam):
        self.image, self.text, self.label = data[classes]
        self.net, self.batch, self.loss = Heads(classes), batch, loss
        self.adam = torch.optim.Adam(self.net.parameters(), lr=1e-4, betas=(0.5, 0.999), **adam)
        self.order = torch.randperm(ROWS)
        self.at = 0
        self.clock = time.perf_counter

    def step(self):
        if self.at + self.batch > ROWS:
            self.order, self.at = torch.randperm(ROWS), 0
        rows = self.order[self.at:self.at + self.batch]
        self.at += self.batch
        self.adam.zero_grad(set_to_none=True)
        f, g = self.net(self.image[rows], self.text[rows])
        self.loss(Terms(self.net, f, g, self.label[rows])).backward()
        self.adam.step()

    def step_s(self, seconds, least=3):
        """Median of steps that take so long together."""
        taken = []
        self.step()
        while len(taken) < least or sum(taken) < seconds:
            start = self.clock()
            self.step()
            taken.append(self.clock() - start)
        return statistics.median(taken)


def fastest_loop(data, classes, batch, name):
    loops = [Loop(data, classes, batch, loss, adam) for loss in ways(name, batch)
             for adam in ({"fused": True}, {"foreach": True})]
    return min(loops, key=lambda loop: loop.step_s(0.2))


# ---- Tandem ----

def run(*words):
    done = subprocess.run([str(w) for w in words], text=True, capture_output=True, env=dict(
        os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1"))
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stderr[-2000:]}")
    return done.stdout


def bench_tandem(args, folder, classes, batch, name, steps):
    tower = f'{{ tower = "features"; feature_dim = {WIDTH}; head = "mlp"; mlp: {{ hidden = {HIDDEN}; dropout = 0.1; }}; }}'
    (folder / "run.cfg").write_text(f'''data: {{ dir = "{folder}/data-{classes}"; split = "train"; }};
model: {{ embed_dim = {WIDTH}; image: {tower}; text: {tower}; }};
loss: {{ {name}: {{ weight = 1.0; image_view = "plain"; }}; }};
train: {{ batch = {batch}; precision = "f32"; }};
optim: {{ lr = 1e-4; schedule = "constant"; warmup_steps = 0; beta1 = 0.5; beta2 = 0.999; eps = 1e-8; weight_decay = 0.0; }};
''')
    run(pathlib.Path(args.build) / "tandem", "bench", "--config", folder / "run.cfg", "--threads", args.threads, "--steps",
        steps, "--warmup", 3, "--json", folder / "bench.json")
    return json.loads((folder / "bench.json").read_text())


# ---- The tables ----

def make_data(args, folder):
    """Features in memory, and packed."""
    data, rng = {}, np.random.default_rng(1)
    for classes in args.classes:
        label = np.arange(ROWS) % classes
        center = rng.standard_normal((classes, WIDTH))
        image, text = ((0.7 * center[label] + rng.standard_normal((ROWS, WIDTH))).astype(np.float32) for _ in range(2))
        with h5py.File(folder / "train.h5", "w") as file:
            file["image"], file["text"], file["label"] = image, text, label
        run(pathlib.Path(args.build) / "tandem", "pack", "--format", "features", "--out", folder / f"data-{classes}", "--split",
            "train", folder / "train.h5")
        data[classes] = tuple(torch.tensor(x) for x in (image, text, label))
    return data


def compare(args, folder, data):
    print(f"Heads {WIDTH} -> {HIDDEN} -> {WIDTH}, f32, {args.threads} threads, PyTorch {torch.__version__}, samples/s"
          f"{' of CPU time' if args.cpu_time else ''}\n\n"
          "| objective | batch | classes | tandem | PyTorch | ratio | of the rounds |\n|---|---|---|---|---|---|---|")
    results = []
    what = "cpu_s" if args.cpu_time else "step_s"
    for name, batch, classes in itertools.product(args.only, args.batches, args.classes):
        loop = fastest_loop(data, classes, batch, name)
        if args.cpu_time:
            loop.clock = time.process_time
        steps = max(3, int(args.seconds / bench_tandem(args, folder, classes, batch, name, 3)["step_s"]))
        seconds = {"tandem": [], "pytorch": []}
        for i in range(args.rounds):
            both = [("tandem", lambda: bench_tandem(args, folder, classes, batch, name, steps)[what]),
                    ("pytorch", lambda: loop.step_s(args.seconds))]
            for who, measure in both if i % 2 == 0 else both[::-1]:
                seconds[who].append(measure())
        ratios = sorted(p / t for t, p in zip(seconds["tandem"], seconds["pytorch"]))
        ours, theirs = (batch / statistics.median(seconds[who]) for who in ("tandem", "pytorch"))
        results.append(dict(objective=name, batch=batch, classes=classes, tandem=ours, pytorch=theirs, ratios=ratios))
        print(f"| {name} | {batch:,} | {classes} | {ours:,.0f} | {theirs:,.0f} | {statistics.median(ratios):.2f} | "
              f"{ratios[0]:.2f} to {ratios[-1]:.2f} |", flush=True)
    return results


def released_triplet(args, folder, data):
    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    import cmr_released
    released, classes, batch = cmr_released.metrics(args.cmr), args.classes[0], 300
    loss = lambda t: released.Triplet_Loss(t.f, t.g, t.y) + released.Triplet_Loss(t.g, t.f, t.y)  # noqa: E731
    theirs = Loop(data, classes, batch, loss, {"fused": True}).step_s(0, least=1)
    steps = max(3, int(args.seconds / bench_tandem(args, folder, classes, batch, "triplet", 3)["step_s"]))
    ours = bench_tandem(args, folder, classes, batch, "triplet", steps)["step_s"]
    print(f"\nReleased triplet loss, batch {batch}, {classes} classes: {theirs:.2f} s a step, tandem {1e3 * ours:.2f} ms, "
          f"{theirs / ours:,.0f} times as fast.", flush=True)
    return dict(batch=batch, classes=classes, released_s=theirs, tandem_s=ours)


def growth(args):
    """A triplet step of both directions has six products of B x B x d."""
    width, results = 256, []
    print(f"\nA triplet step by itself (loss_bench), width {width}, {args.classes[0]} classes, one thread\n\n"
          "| batch | seconds | times the one before | B² | products' GFLOP/s, all time counted |\n|---|---|---|---|---|")
    for batch in args.growth:
        repeats = 20 if batch <= 1000 else 5 if batch <= 10000 else 1
        text = run(pathlib.Path(args.build) / "loss_bench", "triplet", batch, width, args.classes[0], repeats)
        seconds = statistics.median(json.loads(text)["seconds"])
        last = results[-1] if results else None
        print(f"| {batch:,} | {seconds:.4f} | " + (f"{seconds / last['seconds']:.0f} | {(batch / last['batch']) ** 2:.0f}"
                                                   if last else " | ")
              + f" | {12e-9 * batch * batch * width / seconds:.1f} |", flush=True)
        results.append(dict(batch=batch, seconds=seconds))
    return results


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = make_data(args, folder)
        figures["step"] = compare(args, folder, data)
        if args.cmr:
            figures["released"] = released_triplet(args, folder, data)
    if args.growth:
        figures["growth"] = growth(args)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(figures, indent=1) + "\n")


main()
