#!/usr/bin/env python3
"""Writes tests/golden/loss/NAME.h5 (and NAME.MORE.h5): a small case for each objective in loss_probe's form, with the value and the
gradients that PyTorch computes in f64 from the formula. One function per objective.

usage: make_loss_golden.py [NAME ...]        needs torch, h5py
"""
import os
import sys

import h5py
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "loss")
B, D = 6, 8
IDENTITY = [0, 1, 2, 0, 3, 1]
LOGIT_SCALE = 1.2


def same(identity):
    ids = torch.tensor(identity)
    return (ids[:, None] == ids[None, :]).to(torch.get_default_dtype())


class Case:
    """Inputs are leaves with gradients, under the names of loss_probe."""

    def __init__(self, config):
        self.config = config
        self.generator = torch.Generator().manual_seed(7)
        self.leaf = {"/logit_scale": torch.tensor(LOGIT_SCALE).float().double().requires_grad_()}
        self.extra = {"/identity": torch.tensor(IDENTITY)}

    def make(self, path, *shape, scale=1.0):
        """A leaf of normal numbers that are exact in f32."""
        value = (torch.randn(shape, generator=self.generator) * scale).float().double()
        self.leaf[path] = value.requires_grad_()
        return self.leaf[path]

    def view(self, name, rows=B):
        return self.make(f"/view/{name}", rows, D)

    @property
    def scale(self):
        return self.leaf["/logit_scale"].exp()

    def write(self, name, loss):
        loss.backward()
        with h5py.File(os.path.join(HERE, name + ".h5"), "w") as file:
            file.attrs["config"] = self.config
            file.attrs["step"], file.attrs["total_steps"] = 0, 10
            for path, value in self.leaf.items():
                file[path] = value.detach().float().numpy()
                gradient = value.grad if value.grad is not None else torch.zeros_like(value)
                file["/expect/grad" + path] = gradient.float().numpy()
            for path, value in self.extra.items():
                file[path] = value.numpy()
            file["/expect/loss"] = loss.detach().numpy().reshape(1)


def infonce():
    """TBPS-CLIP's N-ITC (arXiv 2308.10045, section 3.2.1): soft targets of equal identities."""
    case = Case("loss: { infonce: { weight = 1.0; }; };")
    f, g = F.normalize(case.view("image.aug_1")), F.normalize(case.view("text.plain"))
    q = same(IDENTITY)
    q = q / q.sum(1, keepdim=True)
    s = case.scale * f @ g.T
    case.write("infonce", 0.5 * (F.cross_entropy(s, q) + F.cross_entropy(s.T, q)))


def infonce_pseudo():
    """Targets that are half the model's own similarities, without gradient, logit_scale in them included."""
    case = Case("loss: { infonce: { weight = 1.0; pseudo = 0.5; }; };")
    f, g = F.normalize(case.view("image.aug_1")), F.normalize(case.view("text.plain"))
    fs, gs = torch.randn(B, D, generator=case.generator).float(), torch.randn(B, D, generator=case.generator).float()
    case.extra["/target/image.aug_1"], case.extra["/target/text.plain"] = fs, gs
    s, t = case.scale * f @ g.T, case.scale.detach() * F.normalize(fs.double()) @ F.normalize(gs.double()).T
    q = same(IDENTITY)
    q = q / q.sum(1, keepdim=True)
    case.write("infonce.pseudo", 0.5 * (F.cross_entropy(s, 0.5 * t.softmax(1) + 0.5 * q)
                                        + F.cross_entropy(s.T, 0.5 * t.T.softmax(1) + 0.5 * q)))


def infonce_partial():
    """Samples 1 and 4 have no text, sample 2 no image; rows without a positive are left out of their direction."""
    case = Case('loss: { infonce: { weight = 2.0; soft_targets = "none"; }; };')
    images, texts = [0, 1, 3, 4, 5], [0, 2, 3, 5]
    case.extra["/rows/image"], case.extra["/rows/text"] = torch.tensor(images), torch.tensor(texts)
    f = F.normalize(case.view("image.aug_1", len(images)))
    g = F.normalize(case.view("text.plain", len(texts)))
    s = case.scale * f @ g.T
    pairs = [(images.index(k), texts.index(k)) for k in images if k in texts]
    rows, columns = (torch.tensor(x) for x in zip(*pairs))
    loss = 0.5 * (F.cross_entropy(s[rows], columns) + F.cross_entropy(s.T[columns], rows))
    case.write("infonce.partial", 2.0 * loss)


def infonce_groups(name, gather, local):
    """Two devices of three pairs each, as programs without a gradient through the gather do it: local loss, averaged."""
    case = Case(f'loss: {{ infonce: {{ weight = 1.0; gather = "{gather}"; groups = 2; }}; }};')
    f, g = F.normalize(case.view("image.aug_1")), F.normalize(case.view("text.plain"))
    losses = []
    for rows in (slice(0, 3), slice(3, 6)):
        seen = rows if local else slice(0, 6)
        own = torch.zeros(B, 1)
        own[rows] = 1
        q = same(IDENTITY)[rows, seen]
        q = q / q.sum(1, keepdim=True)
        for a, b in ((f, g), (g, f)):
            answers = (own * b + (1 - own) * b.detach())[seen]
            losses.append(F.cross_entropy(case.scale * a[rows] @ answers.T, q))
    case.write(name, sum(losses) / 4)


def infonce_own():
    infonce_groups("infonce.own", "own", False)


def infonce_local():
    infonce_groups("infonce.local", "local", True)


def siglip():
    """arXiv 2303.15343, equation 1."""
    case = Case("loss: { siglip: { weight = 1.0; }; };")
    f, g = F.normalize(case.view("image.aug_1")), F.normalize(case.view("text.plain"))
    bias = case.make("/param/loss.siglip.bias")
    s = case.scale * f @ g.T + bias
    z = 2 * torch.eye(B) - 1
    case.write("siglip", -F.logsigmoid(z * s).sum() / B)


def ritc():
    """TBPS-CLIP's R-ITC (arXiv 2308.10045, section 3.2.2): KL divergence of the labels from the prediction."""
    case = Case("loss: { ritc: { weight = 1.0; }; };")
    f, g = F.normalize(case.view("image.aug_1")), F.normalize(case.view("text.plain"))
    q = same(IDENTITY)
    q = (q / q.sum(1, keepdim=True) + 1e-2).log()
    s = case.scale * f @ g.T
    p, t = F.log_softmax(s, 1), F.log_softmax(s.T, 1)
    case.write("ritc", 0.5 * (F.kl_div(q, p, log_target=True, reduction="batchmean")
                              + F.kl_div(q, t, log_target=True, reduction="batchmean")))


def citc():
    """TBPS-CLIP's C-ITC, from the N x N matrices; unequal weights, so that every product counts."""
    case = Case("loss: { citc: { weight = 1.0; lambda_in = 0.25; lambda_cross = 0.75; }; };")
    f, g = F.normalize(case.view("image.aug_1")), F.normalize(case.view("text.plain"))
    case.write("citc", 0.25 * (f @ f.T - g @ g.T).square().mean() + 0.75 * (f @ g.T - g @ f.T).square().mean())


def citc_partial():
    """Samples 1 and 4 have no text, sample 2 no image: three pairs; the published divisor."""
    case = Case('loss: { citc: { weight = 2.0; divisor = "n"; }; };')
    images, texts = [0, 1, 3, 4, 5], [0, 2, 3, 5]
    case.extra["/rows/image"], case.extra["/rows/text"] = torch.tensor(images), torch.tensor(texts)
    f = F.normalize(case.view("image.aug_1", len(images)))[torch.tensor([0, 2, 4])]
    g = F.normalize(case.view("text.plain", len(texts)))[torch.tensor([0, 2, 3])]
    inner, cross = (f @ f.T - g @ g.T).square().sum() / 3, (f @ g.T - g @ f.T).square().sum() / 3
    case.write("citc.partial", 2.0 * 0.25 * (inner + cross))


def simclr():
    """NT-Xent of SimCLR (arXiv 2002.05709) behind an MLP; on both modalities, added."""
    case = Case('loss: { simclr: { weight = 1.0; modality = "both"; hidden = 5; out = 7; temperature = 0.2; }; };')
    total = 0.0
    for modality, views in (("image", ("ss_1", "ss_2")), ("text", ("aug_1", "aug_2"))):
        raw = torch.cat([case.view(f"{modality}.{v}") for v in views])
        p = f"/param/loss.simclr.{modality}."
        h = F.linear(raw, case.make(p + "fc1.weight", 5, D), case.make(p + "fc1.bias", 5)).relu()
        x = F.normalize(F.linear(h, case.make(p + "fc2.weight", 7, 5), case.make(p + "fc2.bias", 7)))
        s = (x @ x.T / 0.2).masked_fill(torch.eye(2 * B, dtype=torch.bool), float("-inf"))
        total = total + F.cross_entropy(s, (torch.arange(2 * B) + B) % (2 * B))
    case.write("simclr", total)


def identity():
    """TBPS-CLIP's ID loss: one classifier on the features of both modalities before normalisation."""
    case = Case("loss: { identity: { weight = 1.0; }; };")
    w = case.make("/param/loss.identity.classifier.weight", 4, D, scale=0.3)
    b = case.make("/param/loss.identity.classifier.bias", 4)
    labels = torch.tensor(IDENTITY)
    v, t = case.view("image.aug_1"), case.view("text.plain")
    case.write("identity", 0.5 * (F.cross_entropy(F.linear(v, w, b), labels) + F.cross_entropy(F.linear(t, w, b), labels)))


def mlm():
    """TBPS-CLIP's MLM loss with one block; the mean over all hidden tokens of the batch."""
    vocab, heads = 12, 2
    case = Case("model: { text: { vocab_size = 12; }; }; loss: { mlm: { weight = 1.0; depth = 1; heads = 2; }; };")
    lengths, patches = [3, 4, 2, 5, 3, 4], 3
    seq = torch.tensor([0] + lengths).cumsum(0)
    total = int(seq[-1])
    case.extra["/seq/text.masked"] = seq
    case.extra["/token/text.masked"] = torch.randint(vocab, (total,), generator=case.generator).int()
    hidden = torch.rand(total, generator=case.generator) < 0.4
    target = torch.randint(vocab, (total,), generator=case.generator)
    case.extra["/predict/text.masked"] = torch.where(hidden, target, -1).int()
    case.extra["/view/image.aug_1"] = case.extra["/view/text.masked"] = torch.zeros(B, D)
    text = case.make("/tokens/text.masked", total, D)
    image = case.make("/tokens/image.aug_1", B, patches, D)

    def p(name, *shape, scale=0.3):
        return case.make("/param/loss.mlm." + name, *shape, scale=scale)

    def attention(q, k, v):
        q, k, v = (x.reshape(x.shape[0], heads, D // heads).transpose(0, 1) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(-1, D)

    t = F.layer_norm(text, (D,), p("ln_text.weight", D), p("ln_text.bias", D))
    i = F.layer_norm(image, (D,), p("ln_image.weight", D), p("ln_image.bias", D))
    w, b = p("cross.in_proj_weight", 3 * D, D), p("cross.in_proj_bias", 3 * D)
    rows = [attention(F.linear(t[seq[n]:seq[n + 1]], w[:D], b[:D]), F.linear(i[n], w[D:2 * D], b[D:2 * D]),
                      F.linear(i[n], w[2 * D:], b[2 * D:])) for n in range(B)]
    x = F.linear(torch.cat(rows), p("cross.out_proj.weight", D, D), p("cross.out_proj.bias", D))
    block = "resblocks.0."
    y = F.layer_norm(x, (D,), p(block + "ln_1.weight", D), p(block + "ln_1.bias", D))
    q, k, v = F.linear(y, p(block + "attn.in_proj_weight", 3 * D, D), p(block + "attn.in_proj_bias", 3 * D)).chunk(3, 1)
    y = torch.cat([attention(*(z[seq[n]:seq[n + 1]] for z in (q, k, v))) for n in range(B)])
    x = x + F.linear(y, p(block + "attn.out_proj.weight", D, D), p(block + "attn.out_proj.bias", D))
    y = F.layer_norm(x, (D,), p(block + "ln_2.weight", D), p(block + "ln_2.bias", D))
    y = F.linear(y, p(block + "mlp.c_fc.weight", 4 * D, D), p(block + "mlp.c_fc.bias", 4 * D))
    y = y * torch.sigmoid(1.702 * y)
    x = x + F.linear(y, p(block + "mlp.c_proj.weight", D, 4 * D), p(block + "mlp.c_proj.bias", D))
    h = F.layer_norm(x[hidden], (D,), p("ln_post.weight", D), p("ln_post.bias", D))
    h = F.linear(h, p("head.dense.weight", D, D), p("head.dense.bias", D))
    h = h * torch.sigmoid(1.702 * h)
    h = F.layer_norm(h, (D,), p("head.norm.weight", D), p("head.norm.bias", D))
    logits = F.linear(h, p("head.decoder.weight", vocab, D), p("head.decoder.bias", vocab))
    case.write("mlm", F.cross_entropy(logits, target[hidden]))


# ---- CLIP4CMR (arXiv 2201.02772) ----

CLASS = [0, 1, 2, 0, 1, 1]  # single ones; class 3 has no sample
CLASSES = 4
SEVERAL = [[0], [1, 2], [2], [0, 1], [], [3]]  # several classes of a sample, or none


def class_bits(classes):
    bits = torch.zeros(B, CLASSES, dtype=torch.uint8)
    for i, c in enumerate(classes):
        bits[i, c] = 1
    return bits


def hinge(x):
    return x.clamp(min=0)


class ClassCase(Case):
    """f, g: unit rows; e, h: their classes as 0 and 1; match: what belongs together."""

    def __init__(self, name, options="", several=False, unequal=False):
        super().__init__(f"loss: {{ {name}: {{ weight = 1.0; {options} }}; }};")
        bits = class_bits(SEVERAL) if several else F.one_hot(torch.tensor(CLASS), CLASSES).to(torch.uint8)
        images, texts = list(range(B)), list(range(B))
        self.extra["/class"] = bits
        if unequal:
            images, texts = [0, 1, 3, 4, 5], [0, 2, 3, 5]
            self.extra["/rows/image"], self.extra["/rows/text"] = torch.tensor(images), torch.tensor(texts)
        self.f = F.normalize(self.view("image.aug_1", len(images)))
        self.g = F.normalize(self.view("text.plain", len(texts)))
        self.e, self.h = bits[images].double(), bits[texts].double()
        self.own = (torch.tensor(images)[:, None] == torch.tensor(texts)[None, :])
        self.match = (self.e @ self.h.T > 0) | self.own
        self.mean_rows = (len(images) + len(texts)) / 2

    @property
    def d2(self):
        return (self.f[:, None] - self.g[None]).square().sum(2)

    def both(self, value):
        """Of images that ask, and of texts."""
        return value(self.f @ self.g.T, self.match), value(self.g @ self.f.T, self.match.T)

    def centers(self, path, *shape, norm="project"):
        """Vectors of the classes: (what the loss sees, the leaf)."""
        leaf = self.make("/param/" + path, *shape)
        if norm == "project":  # the parameter itself is made unit before the step
            leaf.data = F.normalize(leaf.data).float().double()
            return leaf
        if norm == "through":
            return leaf + (F.normalize(leaf) - leaf).detach()
        return leaf

    def modalities(self):
        """Rows that have a class: (features, classes)."""
        for x, e in ((self.f, self.e), (self.g, self.h)):
            rows = e.sum(1) > 0
            yield x[rows], e[rows]


def pair_cases(name, loss, options="", several=True):
    """Single classes; several classes and unequal numbers of images and texts."""
    case = ClassCase(name.split(".")[0], options)
    case.write(name, loss(case))
    if several:
        case = ClassCase(name.split(".")[0], options, several=True, unequal=True)
        case.write(name + ".several", loss(case))


def contrastive():
    def loss(case, constant=False):
        m, d2, match = 1.7, case.d2, case.match
        value = torch.where(match, d2 + m * constant, hinge(m - d2)).sum() / case.mean_rows
        return value
    pair_cases("contrastive", loss, "margin = 1.7;")
    pair_cases("contrastive.released", lambda c: loss(c, True), 'margin = 1.7; definition = "released";', False)


def modality_invariant():
    pair_cases("modality_invariant", lambda c: c.d2[c.match].sum() / c.mean_rows)
    pair_cases("modality_invariant.pair", lambda c: c.d2[c.own].mean(), 'positives = "pair";')


def triplet():
    def loss(case, mining):
        total = 0.0
        for d2, match in ((case.d2, case.match), (case.d2.T, case.match.T)):
            for i, j in match.nonzero().tolist():
                negative = d2[i][~match[i]]
                if mining == "hardest":
                    negative = negative.min()
                if mining == "semi_hard":
                    farther = negative[negative >= d2[i, j]]
                    negative = farther.min() if len(farther) else negative.max()
                total = total + hinge(d2[i, j] - negative + 0.3).sum()
        return total / case.match.sum()
    for mining in ("all", "semi_hard", "hardest"):
        pair_cases("triplet" + ("" if mining == "all" else "." + mining), lambda c: loss(c, mining),
                   f'margin = 0.3; mining = "{mining}";')


def linear_regression():
    def loss(case, norm, squared):
        w = case.centers("loss.classifier.weight", CLASSES, D, norm=norm)
        b = case.make("/param/loss.classifier.bias", CLASSES)
        error = [F.linear(x, w, b) - e for x, e in case.modalities()]
        return sum((y.square().sum(1) if squared else y.norm(dim=1)).mean() for y in error)
    pair_cases("linear_regression", lambda c: loss(c, "project", False))
    pair_cases("linear_regression.through", lambda c: loss(c, "through", False), 'norm = "through";', False)
    pair_cases("linear_regression.squared", lambda c: loss(c, "none", True), 'norm = "none"; squared = true;', False)


def shared(e):
    return e / e.sum(1, keepdim=True)


def cross_entropy():
    def loss(case, scale):
        w = case.centers("loss.classifier.weight", CLASSES, D)
        b = case.make("/param/loss.classifier.bias", CLASSES)
        return sum(F.cross_entropy(scale * F.linear(x, w, b), shared(e)) for x, e in case.modalities())
    pair_cases("cross_entropy", lambda c: loss(c, 1.0))
    pair_cases("cross_entropy.scale", lambda c: loss(c, 5.0), "scale = 5.0;", False)


def cross_entropy_sum():
    """Two objectives, one classifier."""
    case = ClassCase("cross_entropy")
    case.config = "loss: { cross_entropy: { weight = 0.5; }; linear_regression: { weight = 2.0; }; };"
    w = case.centers("loss.classifier.weight", CLASSES, D)
    b = case.make("/param/loss.classifier.bias", CLASSES)
    case.write("cross_entropy.sum", sum(0.5 * F.cross_entropy(F.linear(x, w, b), e)
                                        + 2.0 * (F.linear(x, w, b) - e).norm(dim=1).mean()
                                        for x, e in case.modalities()))


def prototype():
    def loss(case, norm="project", weight=0.0, released=False):
        c = case.centers("loss.prototype.centers", CLASSES, D, norm=norm)
        c = c.detach() if released else c
        total = 0.0
        for x, e in case.modalities():
            d2 = (x[:, None] - c[None]).square().sum(2)
            value = F.cross_entropy(-d2, shared(e)) + weight * (shared(e) * d2).sum(1).mean()
            total = total + value / (len(x) if released else 1)
        return total
    pair_cases("prototype", loss)
    pair_cases("prototype.regulariser", lambda c: loss(c, "none", 0.4), 'norm = "none"; regulariser = 0.4;')
    pair_cases("prototype.through", lambda c: loss(c, "through", 0.4), 'norm = "through"; regulariser = 0.4;', False)
    pair_cases("prototype.released", lambda c: loss(c, released=True),
               'prototypes = "fixed"; definition = "released";', False)


def proxy_nca():
    def loss(case):
        c = case.centers("loss.proxy_nca.centers", CLASSES, D)
        total = 0.0
        for x, e in case.modalities():
            s = 2.0 * x @ c.T
            others = s.masked_fill(e > 0, float("-inf")).logsumexp(1)
            total = total + (others - (shared(e) * s).sum(1)).mean()
        return total
    pair_cases("proxy_nca", loss, "scale = 2.0;")


def proxy_anchor():
    def anchors(x, e, c, alpha, delta):
        s = x @ c.T
        positive = (torch.exp(-alpha * (s - delta)) * e).sum(0)
        negative = (torch.exp(alpha * (s + delta)) * (1 - e)).sum(0)
        return positive[e.sum(0) > 0].log1p().mean() + negative.log1p().mean()

    def loss(case, alpha, concat=False):
        c = case.centers("loss.proxy_anchor.centers", CLASSES, D)
        parts = list(case.modalities())
        if concat:
            parts = [tuple(torch.cat(p) for p in zip(*parts))]
        return sum(anchors(x, e, c, alpha, 0.1) for x, e in parts)
    pair_cases("proxy_anchor", lambda c: loss(c, 32.0))
    pair_cases("proxy_anchor.released", lambda c: loss(c, 1.0), "alpha = 1.0;", False)
    pair_cases("proxy_anchor.concat", lambda c: loss(c, 32.0, True), 'features = "concat";')


def lifted():
    def loss(case):
        d, match, total = case.d2.sqrt(), case.match, 0.0
        for i, j in match.nonzero().tolist():
            negative = torch.cat([d[i][~match[i]], d[:, j][~match[:, j]]])
            total = total + hinge(d[i, j] + torch.logsumexp(0.5 - negative, 0)).square()
        return total / (2 * match.sum())

    def released(case):
        d, match, total = case.d2.sqrt(), case.match, 0.0
        for i, j in match.nonzero().tolist():
            total = total + d[i, j] + sum(torch.logsumexp(1.0 - d[k][~match[i]], 0) for k in (i, j))
        return total / (2 * match.sum())
    pair_cases("lifted", loss, "margin = 0.5;")
    pair_cases("lifted.released", released, 'definition = "released";', False)


def npairs():
    def loss(case):
        def direction(x, match):
            return torch.stack([torch.log1p(torch.exp(3.0 * (x[i][~match[i]] - x[i, j])).sum())
                                for i, j in match.nonzero().tolist()]).mean()
        return sum(case.both(direction)) / 2

    def released(case):
        def direction(x, match):
            e = x.exp()
            return torch.stack([torch.logsumexp(e[i][~match[i]], 0) - e[i, j]
                                for i, j in match.nonzero().tolist()]).mean()
        return sum(case.both(direction)) / 2 + 0.1 * (case.f.norm(dim=1).mean() + case.g.norm(dim=1).mean())
    pair_cases("npairs", loss, "scale = 3.0;")
    pair_cases("npairs.released", released, 'definition = "released";', False)


def supcon():
    def loss(case):
        def direction(x, match):
            rows = match.sum(1) > 0
            x, match = x[rows], match[rows].double()
            return -(F.log_softmax(x / 0.2, 1) * match / match.sum(1, keepdim=True)).sum(1).mean()
        return sum(case.both(direction)) / 2

    def released(case):
        u = case.d2 / case.d2.mean()
        return torch.stack([u[i, j] + torch.logsumexp(-u[i][~case.match[i]], 0)
                            for i, j in case.match.nonzero().tolist()]).mean()
    pair_cases("supcon", loss, "temperature = 0.2;")
    pair_cases("supcon.released", released, 'definition = "released";')


def dual_softmax():
    def direction(s, own, temperature):
        s = s * F.softmax(s / temperature, 0) * len(s)
        return -F.log_softmax(s, 1)[own].mean()

    def loss(case, temperature):
        s = case.scale * case.f @ case.g.T
        return (direction(s, case.own, temperature) + direction(s.T, case.own.T, temperature)) / 2
    pair_cases("dual_softmax", lambda c: loss(c, 1.5), "temperature = 1.5;")
    pair_cases("dual_softmax.released", lambda c: direction(c.scale * c.f @ c.g.T, c.own, 1000.0),
               'directions = "image_to_text";', False)


if __name__ == "__main__":
    os.makedirs(HERE, exist_ok=True)
    helpers = ("same", "Case", "infonce_groups", "class_bits", "hinge", "ClassCase", "pair_cases", "shared")
    known = {n: f for n, f in globals().items() if callable(f) and n not in helpers}
    for chosen in sys.argv[1:] or known:
        known[chosen]()
