#!/usr/bin/env python3
"""The objectives of supervised retrieval: Tandem's values and gradients against the code that CLIP4CMR released where it
runs, else against the formula in PyTorch, on 1, 2 and 4 ranks.

    python3 tests/reference/cmr_losses.py --cmr CLONE [--probe build-check/loss_probe] [--ranks 1,2,4] [--only NAME]

CLONE is a clone of github.com/zhixiongz/CLIP4CMR with its history (cmr_released.py). The reference runs once in f64, what
is compared with, and once in f32, what it is off by itself. Every error is relative to the largest entry of its tensor;
the limit is 1e-5, or twice what the reference is off by. Where the released gradient is not a number (an image and a text
of one vector) ours has to be finite, and equal elsewhere. Needs torch, numpy and h5py; says so and ends with 77 when one is
missing."""
import argparse
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

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LOGIT_SCALE = float(np.float32(1.5))
LIMIT = 1e-5


# ---- Batches ----

class Batch:
    """B samples of C classes. images, texts: the samples that have one, None: all."""

    def __init__(self, B, d, C, seed, spread=1.0):
        rng = np.random.default_rng(seed)
        self.C, self.d = C, d
        self.label = rng.integers(0, C, B)
        self.images = self.texts = None
        self.center = spread * rng.standard_normal((C, d))
        self.noise = rng.standard_normal((2, B, d))
        self.rng = rng

    def features(self):
        return [(self.center[self.label] + noise).astype(np.float32) for noise in self.noise]


def make_batches():
    b12, b300, missing, single, twin, unequal, large = (Batch(12, 16, 3, 3), Batch(300, 64, 10, 3), Batch(12, 16, 4, 4),
                                                       Batch(12, 16, 3, 5), Batch(12, 16, 3, 3), Batch(12, 16, 3, 6),
                                                       Batch(300, 64, 10, 7))
    missing.label[missing.label == 3] = 0
    single.label[single.label == 2] = 1
    single.label[5] = 2
    twin.noise[1][0] = twin.noise[0][0]
    unequal.images, unequal.texts = np.array([0, 1, 2, 3, 5, 7, 8, 10, 11]), np.array([1, 2, 4, 7, 9, 11])
    large.images, large.texts = np.arange(300), np.sort(large.rng.permutation(300)[:90])
    return {"12": b12, "missing class": missing, "single member": single, "f_0 = g_0": twin, "9 x 6": unequal, "300": b300,
            "300 x 90": large}


# ---- Formulas, for any numbers of images and texts ----

class Terms:
    """What a reference sees: unit rows f and g, labels y and z, the pairs of what belongs together, parameters."""

    def __init__(self, batch, f, g, params, logit_scale):
        rows = lambda which: np.arange(len(batch.label)) if which is None else which  # noqa: E731
        self.f, self.g, self.param, self.C, self.scale = f, g, params, batch.C, logit_scale.exp()
        i, j = torch.tensor(rows(batch.images)), torch.tensor(rows(batch.texts))
        self.y, self.z = torch.tensor(batch.label)[i], torch.tensor(batch.label)[j]
        self.same, self.own = self.y[:, None] == self.z[None, :], i[:, None] == j[None, :]
        self.N, self.P = (len(i) + len(j)) / 2, self.same.sum()
        self.square = batch.images is None and batch.texts is None

    @property
    def d2(self):
        return (self.f[:, None] - self.g[None, :]).square().sum(2)

    @property
    def d(self):
        d2 = self.d2
        return torch.where(d2 > 0, d2.where(d2 > 0, torch.ones_like(d2)).sqrt(), torch.zeros_like(d2))

    def modalities(self):
        return (self.f, self.y), (self.g, self.z)

    def turned(self, x):
        """A matrix of pairs and what belongs together, from both sides."""
        return (x, self.same), (x.T, self.same.T)


def contrastive(t, margin=0.2):
    return (t.d2[t.same].sum() + (margin - t.d2[~t.same]).clamp(min=0).sum()) / t.N


def modality_invariant(t):
    return t.d2[t.same].sum() / t.N


def triplet(t, choose, margin=0.2):
    total = 0
    for d2, same in t.turned(t.d2):
        for row, positive in zip(d2, same):
            if positive.any() and not positive.all():
                total = total + choose(row[positive], row[~positive], margin)
    return total / t.P


def all_negatives(p, n, margin):
    return (p[:, None] - n[None, :] + margin).clamp(min=0).sum()


def hardest(p, n, margin):
    return (p - n.min() + margin).clamp(min=0).sum()


def semi_hard(p, n, margin):
    chosen = [n[n >= x].min() if (n >= x).any() else n.max() for x in p]
    return (p - torch.stack(chosen) + margin).clamp(min=0).sum()


def predictions(t):
    W, b = t.param["loss.classifier.weight"], t.param["loss.classifier.bias"]
    return [(F.linear(x, W, b), y) for x, y in t.modalities()]


def linear_regression(t, squared=False):
    errors = [(p - F.one_hot(y, t.C)).square().sum(1) for p, y in predictions(t)]
    return sum((e if squared else e.sqrt()).mean() for e in errors)


def cross_entropy(t):
    return sum(F.cross_entropy(p, y) for p, y in predictions(t))


def prototype(t, regulariser=0.0):
    total = 0
    for x, y in t.modalities():
        d2 = (x[:, None] - t.param["loss.prototype.centers"][None]).square().sum(2)
        total = total + F.cross_entropy(-d2, y) + regulariser * d2[torch.arange(len(y)), y].mean()
    return total


def proxy_nca(t):
    total = 0
    for x, y in t.modalities():
        s, own = x @ t.param["loss.proxy_nca.centers"].T, F.one_hot(y, t.C).bool()
        total = total + (s.masked_fill(own, -torch.inf).logsumexp(1) - s[own]).mean()
    return total


def proxy_anchor(t, alpha=32.0, delta=0.1, concat=False):
    sides = [(torch.cat([t.f, t.g]), torch.cat([t.y, t.z]))] if concat else t.modalities()
    total = 0
    for x, y in sides:
        s, own = x @ t.param["loss.proxy_anchor.centers"].T, F.one_hot(y, t.C).bool()
        term = lambda exponent: F.softplus(exponent.logsumexp(0))  # noqa: E731
        positive = term((-alpha * (s - delta)).masked_fill(~own, -torch.inf))
        total = total + positive.sum() / own.any(0).sum() + term((alpha * (s + delta)).masked_fill(own, -torch.inf)).mean()
    return total


def lifted(t, margin=1.0):
    e = (margin - t.d).exp() * ~t.same
    J = t.d + (e.sum(1, keepdim=True) + e.sum(0, keepdim=True)).log()
    return J.clamp(min=0).square()[t.same].sum() / (2 * t.P)


def npairs(t):
    total = 0
    for x, same in t.turned(t.f @ t.g.T):
        total = total + torch.log1p((x[:, None, :] - x[:, :, None]).exp().mul(~same[:, None, :]).sum(2))[same].sum() / t.P
    return total / 2


def npairs_released(t):
    """Npairs with `distdot` defined, which it is not."""
    total = 0.1 * (t.f.norm(dim=1).mean() + t.g.norm(dim=1).mean())
    for e, same in t.turned((t.f @ t.g.T).exp()):
        total = total + (e.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True) - e)[same].mean() / 2
    return total


def supcon(t, temperature=0.1):
    total = 0
    for x, same in t.turned(t.f @ t.g.T / temperature):
        has = same.any(1)
        total = total - (x.log_softmax(1).mul(same).sum(1)[has] / same.sum(1)[has]).mean() / 2
    return total


def dual_softmax(t, temperature=1000.0):
    total = 0
    for s, own in ((t.scale * t.f @ t.g.T, t.own), ((t.scale * t.f @ t.g.T).T, t.own.T)):
        sharp = s * (s / temperature).softmax(0) * len(s)
        total = total - sharp.log_softmax(1)[own].mean() / 2
    return total


# ---- The table ----

def classifier(C, d):
    return {"loss.classifier.weight": (C, d), "loss.classifier.bias": (C,)}


def centers(name):
    return lambda C, d: {f"loss.{name}.centers": (C, d)}


def rows(released, proxies):
    """Objective, options, against what, function, its parameters, and for all but the largest batch only."""
    R, two = released, lambda f: lambda t: f(t.f, t.g, t.y) + f(t.g, t.f, t.y)  # noqa: E731
    pan = lambda t: sum(R.PAN(x, t.param["loss.prototype.centers"], y) for x, y in t.modalities())  # noqa: E731
    nca = lambda t: sum(proxies.Proxy_NCA(x, y, t.param["loss.proxy_nca.centers"].T) for x, y in t.modalities())  # noqa: E731
    anchor = lambda alpha: lambda t: sum(  # noqa: E731
        proxies.Proxy_Anchor(x, F.one_hot(y, t.C), t.param["loss.proxy_anchor.centers"].T, alpha=alpha)
        for x, y in t.modalities())
    code, formula, none = "released", "formula", lambda C, d: {}  # noqa: E731
    return [
        ("contrastive", 'definition = "released";', code, lambda t: R.Contrastive_Loss(t.f, t.g, t.y, 0.2), none),
        ("contrastive", 'definition = "released"; margin = 3.0;', code, lambda t: R.Contrastive_Loss(t.f, t.g, t.y, 3.0), none),
        ("contrastive", "", formula, contrastive, none),
        ("modality_invariant", "", code, lambda t: R.Modality_invariant_Loss(t.f, t.g, t.y), none),
        ("modality_invariant", "", formula, modality_invariant, none),
        ("modality_invariant", 'positives = "pair";', formula, lambda t: t.d2[t.own].mean(), none),
        ("triplet", "", code, two(lambda f, g, y: R.Triplet_Loss(f, g, y, 0.2, True)), none),
        ("triplet", "margin = 3.0;", code, two(lambda f, g, y: R.Triplet_Loss(f, g, y, 3.0, True)), none),
        ("triplet", 'mining = "semi_hard";', code, two(lambda f, g, y: R.Triplet_Loss(f, g, y, 0.2, False)), none),
        ("triplet", "", formula, lambda t: triplet(t, all_negatives), none),
        ("triplet", 'mining = "semi_hard";', formula, lambda t: triplet(t, semi_hard), none),
        ("triplet", 'mining = "hardest";', formula, lambda t: triplet(t, hardest), none),
        ("linear_regression", "", code,
         lambda t: R.Label_Regression_Loss(*[p for p, _ in predictions(t)], F.one_hot(t.y, t.C)), classifier),
        ("linear_regression", "", formula, linear_regression, classifier),
        ("linear_regression", "squared = true;", formula, lambda t: linear_regression(t, True), classifier),
        ("cross_entropy", "", "torch", cross_entropy, classifier),
        ("prototype", 'definition = "released";', code, pan, centers("prototype")),
        ("prototype", "", formula, prototype, centers("prototype")),
        ("prototype", "regulariser = 0.5;", formula, lambda t: prototype(t, 0.5), centers("prototype")),
        ("proxy_nca", "", code, nca, centers("proxy_nca")),
        ("proxy_nca", "", formula, proxy_nca, centers("proxy_nca")),
        ("proxy_anchor", "alpha = 1.0;", code, anchor(1), centers("proxy_anchor")),
        ("proxy_anchor", "", code, anchor(32), centers("proxy_anchor")),
        ("proxy_anchor", "", formula, proxy_anchor, centers("proxy_anchor")),
        ("proxy_anchor", 'features = "concat";', formula, lambda t: proxy_anchor(t, concat=True), centers("proxy_anchor")),
        ("lifted", 'definition = "released";', code, lambda t: R.Lifted_Loss(t.f, t.g, t.y, 1).sum(), none),
        ("lifted", "", formula, lifted, none),
        ("npairs", 'definition = "released";', formula, npairs_released, none),
        ("npairs", "", formula, npairs, none),
        ("supcon", 'definition = "released";', code, lambda t: R.Supervised_Contrastive_Loss(t.f, t.g, t.y).sum(), none),
        ("supcon", "", formula, supcon, none),
        ("dual_softmax", 'directions = "image_to_text";', code,
         lambda t: R.dual_softmax_loss()(t.scale * t.f @ t.g.T).mean(), none),
        ("dual_softmax", 'directions = "image_to_text"; temperature = 2.0;', code,
         lambda t: R.dual_softmax_loss()(t.scale * t.f @ t.g.T, 2.0).mean(), none),
        ("dual_softmax", "", formula, dual_softmax, none),
        ("dual_softmax", "temperature = 2.0;", formula, lambda t: dual_softmax(t, 2.0), none),
    ]


# ---- Both sides ----

def run_reference(function, batch, features, params, dtype):
    torch.set_default_dtype(dtype)
    leaf = {"/grad/view/image.aug_1": features[0], "/grad/view/text.plain": features[1],
            "/grad/logit_scale": np.float32(LOGIT_SCALE), **{f"/grad/param/{k}": v for k, v in params.items()}}
    leaf = {k: torch.tensor(v, dtype=dtype, requires_grad=True) for k, v in leaf.items()}
    unit = [F.normalize(leaf[k]) for k in ("/grad/view/image.aug_1", "/grad/view/text.plain")]
    unit = [x if own is None else x[own] for x, own in zip(unit, (batch.images, batch.texts))]
    terms = Terms(batch, *unit, {k: leaf[f"/grad/param/{k}"] for k in params}, leaf["/grad/logit_scale"])
    loss = function(terms)
    loss.backward()
    torch.set_default_dtype(torch.float32)
    return loss.item(), {k: v.grad.double().numpy() for k, v in leaf.items() if v.grad is not None}


def run_tandem(probe, name, options, batch, features, params, ranks, work):
    with h5py.File(work / "case.h5", "w") as file:
        file.attrs["config"] = f"loss: {{ {name}: {{ weight = 1.0; {options} }}; }};"
        file.attrs["step"], file.attrs["total_steps"] = 0, 10
        file["/view/image.aug_1"], file["/view/text.plain"] = features
        file["/class"] = np.eye(batch.C, dtype=np.uint8)[batch.label]
        file["/identity"], file["/logit_scale"] = np.arange(len(batch.label)), np.float32(LOGIT_SCALE)
        if batch.images is not None:
            file["/rows/image"], file["/rows/text"] = batch.images, batch.texts
        for key, value in params.items():
            file["/param/" + key] = value
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1",
                       OMPI_MCA_mpi_yield_when_idle="1")
    launcher = [] if ranks == 1 else ["mpirun", "--oversubscribe", "-n", str(ranks)]
    subprocess.run(launcher + [probe, "--case", str(work / "case.h5"), "--out", str(work / "out.h5")], check=True,
                   env=environment)
    with h5py.File(work / "out.h5") as file:
        grads = {}
        file.visititems(lambda key, item: grads.update({"/" + key: np.asarray(item[()], dtype=float)})
                        if isinstance(item, h5py.Dataset) and key.startswith("grad/") else None)
        return float(np.asarray(file["/loss"][()]).ravel()[0]), grads


def worst(found, expected):
    """Relative errors of value and gradients, and rows of the features in which only the reference is not finite."""
    gradient, strange = 0.0, 0
    for path, want in expected[1].items():
        have, bad = found[1][path].reshape(want.shape), ~np.isfinite(want)
        if not np.isfinite(have).all():
            return np.inf, np.inf, strange
        strange += int(bad.any(axis=-1).sum()) if bad.any() else 0
        largest = np.abs(want[~bad]).max()
        gradient = max(gradient, np.abs(have - want)[~bad].max() / (largest or 1.0))
    return abs(found[0] - expected[0]) / abs(expected[0]), gradient, strange


def main():
    parser = argparse.ArgumentParser()
    cmr_released.clone_argument(parser)
    parser.add_argument("--probe", default=os.environ.get("LOSS_PROBE", str(ROOT / "build-check" / "loss_probe")))
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--only", help="one objective")
    options = parser.parse_args()
    cmr_released.require_clone(options)
    table = rows(cmr_released.metrics(options.cmr), cmr_released.proxies(options.cmr))
    ranks, batches = [int(r) for r in options.ranks.split(",")], make_batches()
    summary, failed = {}, False
    print("| objective | options | against | batch | f32 itself | value | "
          + " | ".join(f"gradients, {r} rank{'s' * (r > 1)}" for r in ranks) + " | |\n|" + "---|" * (7 + len(ranks)))
    for name, keys, against, function, shapes in table:
        if options.only not in (None, name):
            continue
        for title, batch in batches.items():
            if against == "released" and batch.images is not None:
                continue  # it knows square batches only
            rng, features = np.random.default_rng(11), batch.features()
            params = {}
            for key, shape in shapes(batch.C, batch.d).items():
                value = 0.3 * rng.standard_normal(shape)
                params[key] = (value / np.linalg.norm(value, axis=1, keepdims=True) if len(shape) > 1 else value).astype(
                    np.float32)
            expected = run_reference(function, batch, features, params, torch.float64)
            value, gradient, strange = worst(run_reference(function, batch, features, params, torch.float32), expected) \
                if "f_0" not in title else (0.0, 0.0, 0)  # rounding decides there whether f32 meets the root of 0
            own, errors = max(value, gradient), []
            for r in ranks:
                with tempfile.TemporaryDirectory() as work:
                    found = run_tandem(options.probe, name, keys, batch, features, params, r, pathlib.Path(work))
                    errors.append(worst(found, expected))
            most = max(max(e[:2]) for e in errors)
            limit = max(LIMIT, 2 * own)
            failed |= not most <= limit
            notes = (f"{errors[0][2]} rows not a number there, finite here" if errors[0][2] else "") + (
                "" if most <= limit else f" **above {limit:.0e}**")
            print(f"| {name} | {keys} | {against} | {title} | {own:.1e} | {max(e[0] for e in errors):.1e} | "
                  + " | ".join(f"{e[1]:.1e}" for e in errors) + f" | {notes} |", flush=True)
            key = (name, against)
            summary[key] = max(summary.get(key, 0.0), most)
    print("\n| objective | against | largest relative error, all batches and ranks |\n|---|---|---|")
    for (name, against), most in summary.items():
        print(f"| {name} | {against} | {most:.1e} |")
    sys.exit(failed)


main()
