#!/usr/bin/env python3
"""The objectives of TBPS-CLIP: Tandem's values and gradients against the released code, on 1, 2 and 4 ranks.

    python3 tests/reference/tbps_losses.py --tbps CLONE [--probe build-check/loss_probe] [--ranks 1,2,4]

CLONE is a clone of github.com/Flame-Chasers/TBPS-CLIP; its CLIP.forward runs with tables in the place of the towers, once
in f64 (what is compared with) and once in f32 (what the original itself is off by). Every error is relative to the
largest entry of its tensor. The limit is 1e-5, at a scale of 100 1e-4, or twice what the original is off by. MLM has
captions of full length: the released code has no mask in its blocks, so that there padding takes part as well.
Needs torch, numpy and h5py; says so and ends with 77 when one is missing."""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import types

try:
    import h5py
    import numpy as np
    import torch
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
D = 512
VIEWS = {"image": "image.aug_1", "aug1": "image.aug_2", "ss1": "image.ss_1", "ss2": "image.ss_2", "text": "text.plain"}


def namespace(**values):
    return types.SimpleNamespace(**values)


def import_released(clone):
    """model.tbps_model with stand-ins for what it needs of other packages and never calls."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, clone)
    for name in ("easydict", "yaml", "nltk", "nltk.corpus", "text_utils.tokenizer"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["easydict"].EasyDict = dict
    sys.modules["nltk.corpus"].stopwords = namespace(words=lambda language: [])
    sys.modules["nltk.corpus"].wordnet = namespace(synsets=lambda word: [])
    sys.modules["nltk"].corpus = sys.modules["nltk.corpus"]
    sys.modules["text_utils.tokenizer"].tokenize = lambda texts, context_length, mask_type=None: torch.zeros(len(texts), 77)
    import model.tbps_model as released
    released.is_using_distributed = lambda: False
    released.utils.get_rank = lambda: 0
    return released


class Image(torch.nn.Module):
    """A table of features per view; an input row is (view, row). dense: tokens of view 0, None: none are read."""

    def __init__(self, tables, dense=None):
        super().__init__()
        self.dense = None if dense is None else torch.nn.Parameter(dense)
        self.conv1 = torch.nn.Conv2d(3, 1, 1)
        self.tables = torch.nn.ParameterList([torch.nn.Parameter(t) for t in tables])

    def forward(self, x, return_dense=False):
        rows = torch.stack([self.tables[int(view)][int(row)] for view, row in x])
        return (rows, self.dense) if return_dense else rows


class Text(torch.nn.Module):
    def __init__(self, first, second, dense=None):
        super().__init__()
        self.dense = None if dense is None else torch.nn.Parameter(dense)
        self.first, self.second = torch.nn.Parameter(first), torch.nn.Parameter(second)

    def forward(self, tokens, return_dense=False):
        return (self.first, self.dense) if return_dense else self.second


# MLM: rows of Tandem's, without "loss.mlm.", by the beginning of the released code's names
MLM_NAMES = {"ln_pre_t": "ln_text", "ln_pre_i": "ln_image", "cross_attn": "cross",
             "cross_modal_transformer.resblocks": "resblocks", "ln_post": "ln_post",
             "mlm_head.dense": "head.dense", "mlm_head.ln": "head.norm", "mlm_head.fc": "head.decoder"}
MLM_DEPTH, MLM_VOCAB, MLM_PATCHES, CONTEXT = 4, 1000, 50, 77


def mlm_parameters(m):
    """The released model's parameters of MLM by Tandem's names."""
    found = {}
    for name, parameter in m.named_parameters():
        for theirs, ours in MLM_NAMES.items():
            if name.startswith(theirs + "."):
                found[f"loss.mlm.{ours}{name[len(theirs):]}"] = parameter
    return found


def fill_mlm(m, numbers):
    """The same numbers whenever the same model is made."""
    rng = np.random.default_rng(11)
    for name, parameter in mlm_parameters(m).items():
        shape = tuple(parameter.shape)
        values = rng.standard_normal(shape) * (shape[1]**-0.5 if len(shape) == 2 else 0.1)
        if len(shape) == 1 and name.endswith("weight"):
            values += 1.0  # of a LayerNorm
        numbers[name] = values.astype(np.float32)
        with torch.no_grad():
            parameter.copy_(torch.tensor(numbers[name]))


def run_released(released, numbers, flags, alpha):
    """Values by name of term, gradients by path of loss_probe."""
    experiment = dict(ss=False, id=False, mlm=False, citc=False, ritc=False, mvs_image=False, back_trans=False, eda_alpha=0.0,
                      text_length=CONTEXT, cmt_depth=MLM_DEPTH, mlm_ratio=1.0, simclr_mlp=(D, 128, D),
                      simclr_temperature=0.1, ss_ratio=0.4, nitc_ratio=1.0,
                      citc_ratio=0.1, citc_lambda1=0.25, citc_lambda2=0.25, ritc_ratio=1.0, ritc_eps=1e-2, id_ratio=1.0)
    experiment.update(flags)
    config = namespace(device="cpu", model=namespace(embed_dim=D, use_gather=False, vocab_size=MLM_VOCAB),
                       experiment=namespace(**experiment))
    dtype = torch.get_default_dtype()
    tensor = lambda key: torch.tensor(numbers[key], dtype=dtype)  # noqa: E731
    dense = {k: tensor(k) if flags.get("mlm") else None for k in ("image_dense", "text_dense")}
    images = Image([tensor("image"), tensor("aug1"), tensor("ss1"), tensor("ss2")], dense["image_dense"])
    texts = Text(tensor("text"), tensor("text_target"), dense["text_dense"])
    m = released.CLIP(config, images, texts, int(numbers["id"].max()) + 1)
    with torch.no_grad():
        m.logit_scale.fill_(float(numbers["logit_scale"]))
        if flags.get("ss"):
            for layer, name in ((0, "fc1"), (2, "fc2")):
                m.simclr_mlp[layer].weight.copy_(tensor(name + ".weight"))
                m.simclr_mlp[layer].bias.copy_(tensor(name + ".bias"))
        if flags.get("id"):
            m.classifier.weight.copy_(tensor("classifier.weight"))
            m.classifier.bias.copy_(tensor("classifier.bias"))
    if flags.get("mlm"):
        fill_mlm(m, numbers)
        masked = torch.tensor(numbers["tokens"]), torch.tensor(numbers["labels"])
        released.tokenize = lambda texts, context_length, mask_type: masked
    else:
        released.tokenize = lambda texts, context_length: torch.zeros(len(texts), context_length)
    B = len(numbers["id"])
    index = lambda view: torch.tensor([[view, i] for i in range(B)], dtype=dtype)  # noqa: E731
    batch = {"image": index(0), "aug1": index(1), "aug_ss_1": index(2), "aug_ss_2": index(3),
             "caption": ["two words"] * B, "caption_bt": ["two words"] * B, "id": torch.tensor(numbers["id"])}
    m.train()
    terms = m(batch, alpha)
    sum(terms.values()).backward()
    zero = lambda p: torch.zeros_like(p) if p.grad is None else p.grad  # noqa: E731
    grads = {f"/grad/view/{VIEWS[k]}": zero(t) for k, t in zip(("image", "aug1", "ss1", "ss2"), images.tables)}
    grads["/grad/view/text.plain"] = zero(texts.first)
    grads["/grad/logit_scale"] = zero(m.logit_scale)
    if flags.get("ss"):
        for layer, name in ((0, "fc1"), (2, "fc2")):
            grads[f"/grad/param/loss.simclr.image.{name}.weight"] = m.simclr_mlp[layer].weight.grad
            grads[f"/grad/param/loss.simclr.image.{name}.bias"] = m.simclr_mlp[layer].bias.grad
    if flags.get("id"):
        grads["/grad/param/loss.identity.classifier.weight"] = m.classifier.weight.grad
        grads["/grad/param/loss.identity.classifier.bias"] = m.classifier.bias.grad
    if flags.get("mlm"):
        grads.update({"/grad/param/" + name: parameter.grad for name, parameter in mlm_parameters(m).items()})
        grads["/grad/tokens/image.aug_1"], grads["/grad/tokens/text.masked"] = images.dense.grad, texts.dense.grad
    return float(sum(terms.values()).detach()), {k: v.detach().double().numpy() for k, v in grads.items()}


def put_mlm(file, numbers):
    B = len(numbers["id"])
    for name in numbers:
        if name.startswith("loss.mlm."):
            file["/param/" + name] = numbers[name]
    file["/view/text.masked"] = np.zeros((B, D), np.float32)  # no objective reads it
    file["/tokens/image.aug_1"] = numbers["image_dense"]
    file["/tokens/text.masked"] = numbers["text_dense"].reshape(-1, D)
    file["/seq/text.masked"] = np.arange(B + 1, dtype=np.int64) * CONTEXT
    file["/token/text.masked"] = numbers["tokens"].astype(np.int32).ravel()
    file["/predict/text.masked"] = np.where(numbers["labels"] < 0, -1, numbers["labels"]).astype(np.int32).ravel()


def run_tandem(probe, numbers, losses, alpha, flags, ranks, work):
    used = {"image", "text"} | ({"aug1"} if flags.get("mvs_image") else set()) | ({"ss1", "ss2"} if flags.get("ss") else set())
    with h5py.File(work / "case.h5", "w") as file:
        file.attrs["config"] = f"model: {{ text: {{ vocab_size = {MLM_VOCAB}; }}; }}; loss: {{ {losses} }};"
        file.attrs["step"], file.attrs["total_steps"] = 0, 10
        for key in used:
            file[f"/view/{VIEWS[key]}"] = numbers[key]
        if alpha > 0:
            for key in used - {"ss1", "ss2"}:
                file[f"/target/{VIEWS[key]}"] = numbers["text_target" if key == "text" else key]
        file["/identity"], file["/logit_scale"] = numbers["id"], np.float32(numbers["logit_scale"])
        if flags.get("ss"):
            for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
                file[f"/param/loss.simclr.image.{name}"] = numbers[name]
        if flags.get("id"):
            for name in ("weight", "bias"):
                file[f"/param/loss.identity.classifier.{name}"] = numbers[f"classifier.{name}"]
        if flags.get("mlm"):
            put_mlm(file, numbers)
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1",
                       OMPI_MCA_mpi_yield_when_idle="1")
    subprocess.run(["mpirun", "--oversubscribe", "-n", str(ranks), probe, "--case", str(work / "case.h5"), "--out",
                    str(work / "out.h5")], check=True, env=environment)
    with h5py.File(work / "out.h5") as file:
        grads = {}
        file.visititems(lambda name, item: grads.update({"/" + name: np.asarray(item[()], dtype=float)})
                        if isinstance(item, h5py.Dataset) and name.startswith("grad/") else None)
        return float(np.asarray(file["/loss"][()]).ravel()[0]), grads


def worst(found, expected):
    """Largest error of value and gradients, each relative to its largest entry; gradients that are zero count as they are."""
    errors = [abs(found[0] - expected[0]) / abs(expected[0])]
    for path, want in expected[1].items():
        have = found[1].get(path, np.zeros_like(want)).reshape(want.shape)
        largest = np.abs(want).max()
        floor = 1e-9 if path.endswith("logit_scale") else 0.0  # C-ITC: rounding noise in the original
        errors.append(np.abs(have - want).max() / largest if largest > floor else np.abs(have - want).max())
    return max(errors)


def make_numbers(B, ids, logit_scale, rng):
    common = rng.standard_normal((ids.max() + 1, D))
    numbers = {k: (0.3 * common[ids] + rng.standard_normal((B, D))).astype(np.float32)
               for k in ("image", "aug1", "ss1", "ss2", "text", "text_target")}
    for name, shape, scale in (("fc1.weight", (128, D), 0.05), ("fc1.bias", (128,), 0.1), ("fc2.weight", (D, 128), 0.1),
                               ("fc2.bias", (D,), 0.1), ("classifier.weight", (ids.max() + 1, D), 0.03),
                               ("classifier.bias", (ids.max() + 1,), 0.1)):
        numbers[name] = (rng.standard_normal(shape) * scale).astype(np.float32)
    numbers["image_dense"] = rng.standard_normal((B, MLM_PATCHES, D)).astype(np.float32)
    numbers["text_dense"] = rng.standard_normal((B, CONTEXT, D)).astype(np.float32)
    numbers["tokens"] = rng.integers(0, MLM_VOCAB, (B, CONTEXT))
    hidden = rng.random((B, CONTEXT)) < 0.15
    numbers["labels"] = np.where(hidden, rng.integers(0, MLM_VOCAB, (B, CONTEXT)), -100)
    numbers["id"], numbers["logit_scale"] = ids.astype(np.int64), float(np.float32(logit_scale))
    return numbers


NITC = "infonce: { weight = 1.0; pseudo = %g; };"
MVS = 'infonce: { weight = 1.0; pseudo = %g; image_views = ["aug_1", "aug_2"]; };'
RECIPES = [  # name, flags of the original, our objectives, alpha
    ("N-ITC", {}, NITC % 0, 0.0), ("N-ITC, pseudo", {}, NITC % 0.5, 0.5), ("MVS-I, pseudo", {"mvs_image": True}, MVS % 0.25, 0.25),
    ("R-ITC", {"ritc": True}, NITC % 0 + "ritc: { weight = 1.0; };", 0.0),
    ("C-ITC", {"citc": True}, NITC % 0 + "citc: { weight = 0.1; };", 0.0),
    ("SS-I", {"ss": True}, NITC % 0 + "simclr: { weight = 0.4; };", 0.0),
    ("ID", {"id": True}, NITC % 0 + "identity: { weight = 1.0; };", 0.0),
    ("MLM", {"mlm": True}, NITC % 0 + "mlm: { weight = 1.0; };", 0.0),
    ("all", {"ss": True, "ritc": True, "citc": True, "mvs_image": True},
     MVS % 0.5 + "ritc: { weight = 1.0; }; citc: { weight = 0.1; }; simclr: { weight = 0.4; };", 0.5),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tbps", default=os.environ.get("TBPS_CLIP", ""))
    parser.add_argument("--probe", default=os.environ.get("LOSS_PROBE", str(ROOT / "build-check" / "loss_probe")))
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--only", default="", help="one row of the table, such as MLM")
    options = parser.parse_args()
    if not options.tbps:
        print("skipped: no --tbps, a clone of github.com/Flame-Chasers/TBPS-CLIP")
        sys.exit(77)
    released = import_released(options.tbps)
    rng = np.random.default_rng(5)
    batches = {"repeated ids": np.array([0, 0, 1, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9, 9]), "different ids": np.arange(16),
               "one id": np.zeros(16, int)}
    ranks = [int(r) for r in options.ranks.split(",")]
    print(f"{'objectives':16}{'ids':16}{'scale':>7}{'released f32':>14}" + "".join(f"{f'{r} ranks':>12}" for r in ranks))
    failed = False
    for title, ids in batches.items():
        for logit_scale in (np.log(1 / 0.07), np.log(100.0)):
            numbers = make_numbers(16, ids, logit_scale, rng)
            for name, flags, losses, alpha in RECIPES:
                if options.only not in ("", name) or flags.get("mlm") and (title, logit_scale > 4) != ("repeated ids", False):
                    continue  # MLM sees neither identities nor the scale
                if flags.get("id") and ids.max() == 0:
                    continue  # a classifier of one identity has nothing to learn, and Tandem refuses it
                torch.set_default_dtype(torch.float64)
                plain_float, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
                expected = run_released(released, numbers, flags, alpha)
                torch.Tensor.float = plain_float
                torch.set_default_dtype(torch.float32)
                own = worst(run_released(released, numbers, flags, alpha), expected)
                ours = []
                for r in ranks:
                    with tempfile.TemporaryDirectory() as work:
                        found = run_tandem(options.probe, numbers, losses, alpha, flags, r, pathlib.Path(work))
                        ours.append(worst(found, expected))
                limit = max(1e-4 if logit_scale > 4 else 1e-5, 2 * own)
                failed |= not max(ours) <= limit
                print(f"{name:16}{title:16}{np.exp(logit_scale):7.1f}{own:14.1e}" + "".join(f"{e:12.1e}" for e in ours)
                      + ("" if max(ours) <= limit else f"   above {limit:g}"), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
