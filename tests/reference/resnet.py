#!/usr/bin/env python3
"""CLIP's ModifiedResNet at full size, random weights by OpenAI's model code: Tandem's tower against PyTorch f32.

    python3 tests/reference/resnet.py --clip CLONE --probe build/tests/model/resnet_probe [--models rn50,rn101]
        [--images 8] [--precision f32,bf16] [--threads 2] [--json FILE]

CLONE is a clone of github.com/openai/CLIP. Features, gradients of sum(features · noise) and running statistics are
compared, with running statistics ("eval") and with those of the batch ("train"). Feature errors are relative to the
norm of a feature row, a gradient's to its norm. What PyTorch's own f32 and bf16 are off by is printed too. Needs
torch, numpy and h5py; says so and ends with 0 when one is missing.
"""

import argparse
import copy
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
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)  # tells ctest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import clip_torch  # noqa: E402

MODELS = {  # layers, embed, px, width
    "rn50": ((3, 4, 6, 3), 1024, 224, 64),
    "rn101": ((3, 4, 23, 3), 512, 224, 64),
    "rn50x4": ((4, 6, 10, 6), 640, 288, 80),
}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
LIMITS = {"f32": dict(cosine=0.999999, largest=1e-4), "bf16": dict(cosine=0.999, largest=None)}
BATCH_LIMITS = {"f32": LIMITS["f32"], "bf16": dict(cosine=0.99, largest=None)}


def make_images(rng, n, px):
    """Smooth colours with some noise."""
    coarse = torch.from_numpy(rng.random((n, 3, 7, 7))).float()
    smooth = torch.nn.functional.interpolate(coarse, size=(px, px), mode="bicubic", align_corners=False)
    noisy = smooth + 0.1 * torch.from_numpy(rng.standard_normal((n, 3, px, px))).float()
    return (noisy.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def pixels_of(images, dtype):
    mean, std = torch.tensor(MEAN, dtype=torch.float64), torch.tensor(STD, dtype=torch.float64)
    return ((images.double() / 255 - mean) / std).permute(0, 3, 1, 2).to(dtype).contiguous()


def make_tower(clip_repo, name, images):
    """Random weights; branches smaller than what they are added to, as in trained networks, or the residual sums would
    grow until the attention pooling picks single pixels, by rounding; running statistics near
    those of the images, so that activations stay in range."""
    layers, embed, px, width = MODELS[name]
    tower = clip_torch.load_openai_module(clip_repo).ModifiedResNet(layers, embed, width * 32 // 64, px, width)
    norms = [m for m in tower.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    last = [m.bn3 for stage in (tower.layer1, tower.layer2, tower.layer3, tower.layer4) for m in stage]
    with torch.no_grad():
        for parameter in tower.attnpool.parameters():
            parameter.normal_(std=parameter.shape[-1] ** -0.5)
        for norm in norms:
            norm.weight.uniform_(*((0.1, 0.5) if any(norm is m for m in last) else (0.5, 1.5)))
            norm.bias.normal_(std=0.2)
            norm.momentum = 1.0
        tower.train()(pixels_of(images, torch.float32))
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
    return tower


def run_torch(tower, images, dfeatures, mode, dtype, bf16=False):
    tower = copy.deepcopy(tower).to(dtype).train(mode == "train")
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        features = tower(pixels_of(images, dtype)).to(dtype)
    (features * dfeatures.to(dtype)).sum().backward()
    return dict(features=features.detach().double(),
                grad={k: p.grad.double() for k, p in tower.named_parameters()},
                running={k: b.double() for k, b in tower.named_buffers() if "running" in k})


def run_tandem(args, name, tower, images, dfeatures, mode, precision):
    with tempfile.TemporaryDirectory() as work:
        with h5py.File(f"{work}/in.h5", "w") as file:
            for key, value in tower.state_dict().items():
                if not key.endswith("num_batches_tracked"):
                    file[f"weight/visual.{key}"] = value.numpy()
            file["image"], file["dfeatures"] = images.numpy(), dfeatures.numpy()
        subprocess.run([args.probe, name, f"{work}/in.h5", f"{work}/out.h5", precision, mode, str(args.threads)],
                       check=True, env=dict(os.environ, TANDEM_CONF=str(ROOT / "conf")))
        with h5py.File(f"{work}/out.h5") as file:
            def read(group):
                return {k.removeprefix("visual."): torch.from_numpy(v[()]).double() for k, v in file[group].items()}
            return dict(features=torch.from_numpy(file["features"][()]).double().reshape(dfeatures.shape),
                        grad=read("grad"), running=read("running"))


def compare(got, want):
    norm = want["features"].norm(dim=1, keepdim=True)
    cosine = torch.nn.functional.cosine_similarity(got["features"], want["features"]).min()
    dead = "attnpool.k_proj.bias"  # has no influence on a softmax: its gradient is rounding
    grad = {k: ((got["grad"][k].flatten() - g.flatten()).norm() / g.norm()).item() for k, g in want["grad"].items()
            if k != dead}
    running = max((got["running"][k].flatten() - b.flatten()).abs().max() / b.abs().max()
                  for k, b in want["running"].items())
    return dict(one_minus_cosine=1 - cosine.item(),
                largest=((got["features"] - want["features"]) / norm).abs().max().item(),
                gradient=sorted(grad.values())[len(grad) // 2], worst_gradient=max(grad.values()),
                running=running.item())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", required=True, help="clone of github.com/openai/CLIP")
    parser.add_argument("--probe", required=True, help="the program of tests/model/resnet_probe.c")
    parser.add_argument("--models", default="rn50")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--precision", default="f32,bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json")
    args = parser.parse_args()
    if not (pathlib.Path(args.clip) / "clip" / "model.py").exists():
        print(f"skipped: {args.clip} is no clone of openai/CLIP")
        return 77
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    results, failed = [], False
    for name in args.models.split(","):
        images = make_images(np.random.default_rng(2), args.images, MODELS[name][2])
        tower = make_tower(args.clip, name, images)
        dfeatures = torch.randn(args.images, MODELS[name][1])
        for mode in ("eval", "train"):
            single = run_torch(tower, images, dfeatures, mode, torch.float32)
            exact = run_torch(tower, images, dfeatures, mode, torch.float64)
            rows = [("torch f32 against f64", compare(single, exact), None)]
            if "bf16" in args.precision:
                half = run_torch(tower, images, dfeatures, mode, torch.float32, True)
                rows.append(("torch bf16 against torch f32", compare(half, single), None))
            for precision in args.precision.split(","):
                got = run_tandem(args, name, tower, images, dfeatures, mode, precision)
                limits = (LIMITS if mode == "eval" else BATCH_LIMITS)[precision]
                rows.append((f"tandem {precision} against torch f32", compare(got, single), limits))
            for what, error, limits in rows:
                bad = limits and (error["one_minus_cosine"] > 1 - limits["cosine"] or
                                  (limits["largest"] and error["largest"] > limits["largest"]))
                failed |= bool(bad)
                results.append(dict(model=name, mode=mode, what=what, **error))
                print(f"{name} {mode:5} {what:28} 1 - cosine {error['one_minus_cosine']:.1e}, largest "
                      f"{error['largest']:.1e}, median gradient {error['gradient']:.1e}, running {error['running']:.1e}"
                      f"{'  TOO MUCH' if bad else ''}", flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
