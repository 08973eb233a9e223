#!/usr/bin/env python3
"""Makes resnet_golden.h5: a tiny ModifiedResNet of OpenAI's published code, its features and gradients.

    python3 make_resnet_golden.py --clip-repo CLONE_OF_OPENAI_CLIP [--out resnet_golden.h5]

Weights, images and the loss come from a formula that tests/model/test_resnet.c evaluates too (`noise`), so that
the file stays small. The loss is sum(features · noise). Computed in f64 from f32 weights; reals are stored as f32.

Layout: /names, the parameters and buffers in order, one a line; for MODE in eval, train: /MODE/features;
/MODE/norms, the norm of every parameter's gradient; /MODE/samples, of each gradient the elements
0, step, 2 step … with step = size // SAMPLES + 1; /running, all buffers after training forwards of the two
batches of images. Needs torch, numpy, h5py.
"""

import argparse

import h5py
import numpy as np
import torch

import clip_torch

WIDTH, LAYERS, HEADS, EMBED, PX, N = 8, [1, 1, 1, 1], 4, 16, 64, 4
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]
SAMPLES = 24
SEED_IMAGE, SEED_LOSS = 1000, 2000


def noise(seed, *shape):
    """Uniform in [-1, 1), a hash of (seed, index); f64, exact in f32."""
    x = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed * 0x85EBCA6B % 2**32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x = x ^ (x >> np.uint32(16))
    return ((x >> np.uint32(8)).astype(np.float64) / 2**23 - 1).reshape(shape)


def value(name, seed, shape):
    u = noise(seed, *shape)
    if name.endswith("running_var"):
        return 1 + 0.5 * u
    if name.endswith("running_mean"):
        return 0.2 * u
    if len(shape) > 1:
        return u * (6 / np.prod(shape[1:])) ** 0.5 if "positional" not in name else 0.5 * u
    return 1 + 0.3 * u if name.endswith("weight") else 0.3 * u


def images(batch):
    u = noise(SEED_IMAGE + batch, N, PX, PX, 3)
    pixels = torch.from_numpy(np.floor((u + 1) * 128))
    return ((pixels / 255 - torch.tensor(MEAN).double()) / torch.tensor(STD).double()).permute(0, 3, 1, 2)


def make_tower(clip_repo, dtype):
    published = clip_torch.load_openai_module(clip_repo)
    tower = published.ModifiedResNet(LAYERS, EMBED, HEADS, PX, WIDTH)
    state = tower.state_dict()
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    for seed, name in enumerate(names):
        state[name].copy_(torch.from_numpy(value(name, seed, tuple(state[name].shape))).float())
    return tower.to(dtype), names


def run(tower, training, dtype):
    tower.train(training)
    features = tower(images(0).to(dtype))
    parameters = dict(tower.named_parameters())
    loss = (features * torch.from_numpy(noise(SEED_LOSS, N, EMBED)).to(dtype)).sum()
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    return features.detach(), {name: g.double() for name, g in zip(parameters, gradients)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-repo", required=True, help="clone of github.com/openai/CLIP")
    parser.add_argument("--out", default="resnet_golden.h5")
    args = parser.parse_args()
    with h5py.File(args.out, "w") as file:
        for mode in ("eval", "train"):
            tower, names = make_tower(args.clip_repo, torch.float64)
            features, gradients = run(tower, mode == "train", torch.float64)
            single, _ = make_tower(args.clip_repo, torch.float32)
            single_features, single_gradients = run(single, mode == "train", torch.float32)
            worst = max(((single_gradients[k] - g).abs().max() / g.abs().max()).item() for k, g in gradients.items()
                        if k != "attnpool.k_proj.bias")
            print(f"{mode}: torch's f32 is off by {(single_features - features).abs().max() / features.abs().max():.1e}"
                  f" in features, {worst:.1e} of the largest value in gradients")
            group = file.create_group(mode)
            group.create_dataset("features", data=features.float().numpy(), track_times=False)
            group.create_dataset("norms", data=np.array([g.norm().item() for g in gradients.values()], np.float32),
                                 track_times=False)
            samples = [g.flatten()[:: g.numel() // SAMPLES + 1].float().numpy() for g in gradients.values()]
            group.create_dataset("samples", data=np.concatenate(samples), track_times=False)
            if mode == "train":
                with torch.no_grad():
                    tower(images(1))
                state = tower.state_dict()
                running = [state[k].float().numpy() for k in names if "running" in k]
                file.create_dataset("running", data=np.concatenate(running), track_times=False)
        text = "".join(f"visual.{name}\n" for name in names).encode()
        file.create_dataset("names", data=np.frombuffer(text, np.uint8), track_times=False)


if __name__ == "__main__":
    main()
