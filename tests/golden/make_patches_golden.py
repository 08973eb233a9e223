#!/usr/bin/env python3
"""Writes patches_golden.h: the image tower of clip_golden.h5 with patch dropout, in PyTorch f32.

    python3 make_patches_golden.py

As github mlfoundations/open_clip, PatchDropout, and FLIP (arXiv 2212.00794): of n patches max(1, int(n (1 - p))) stay,
which get their own positions; the class token always stays. Which ones is drawn here once more from its definition
(include/tandem/rng.h, src/model/patches.c). The gradients are those of sum(image features * text features). Every value
is checked against the same in double precision. Needs torch, numpy, h5py."""

import os
import sys

import h5py
import numpy as np
import torch

import clip_torch
import make_clip_golden as clip_golden

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "augment"))
from stream import Stream

DROPOUT, SEED, STEP, FIRST_SAMPLE, PURPOSE = 0.4, 3, 2**33 + 5, 1000, 11
GRADIENTS = ["class_embedding", "positional_embedding", "conv1.weight", "ln_pre.bias"]


def draw(sample, patches, kept):
    stream, place = Stream(SEED, STEP, sample, PURPOSE), []
    for at in range(patches):
        if len(place) < kept and stream.below(patches - at) < kept - len(place):
            place.append(at)
    return place


def features(tower, pixels, place):
    x = tower.conv1(pixels).flatten(2).transpose(1, 2)
    x = x + tower.positional_embedding[1:]
    x = torch.gather(x, 1, place[:, :, None].expand(-1, -1, x.shape[2]))
    cls = (tower.class_embedding + tower.positional_embedding[0]).expand(x.shape[0], 1, -1)
    x = tower.transformer(tower.ln_pre(torch.cat([cls, x], dim=1)), causal=False)
    return tower.ln_post(x[:, 0]) @ tower.proj


def run(clip, pixels, place, text):
    clip.zero_grad()
    image = features(clip.visual, pixels, place)
    (image * text).sum().backward()
    named = dict(clip.visual.named_parameters())
    return [image.detach()] + [named[name].grad.clone() for name in GRADIENTS]


def literal(tensor):
    return ",".join("%.7g" % value for value in tensor.flatten().tolist())


def main():
    torch.set_num_threads(1)
    with h5py.File(os.path.join(HERE, "clip_golden.h5")) as file:
        weights = {name: torch.from_numpy(np.asarray(file["weight"][name][()])) for name in file["weight"]}
        images = torch.from_numpy(file["input/image"][()])
        text = torch.from_numpy(file["quickgelu/text_features"][()])
    mean, std = torch.tensor(clip_golden.MEAN), torch.tensor(clip_golden.STD)
    pixels = ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
    clip = clip_torch.CLIP(**clip_golden.SHAPE)
    clip.load_state_dict(weights)
    patches = weights["visual.positional_embedding"].shape[0] - 1
    kept = max(1, int(patches * (1 - DROPOUT)))
    place = torch.tensor([draw(FIRST_SAMPLE + i, patches, kept) for i in range(len(images))])
    assert len({tuple(row) for row in place.tolist()}) > 1
    made = run(clip, pixels, place, text)
    exact = run(clip.double(), pixels.double(), place, text.double())
    for f32, f64 in zip(made, exact):
        assert (f32 - f64).abs().max() < 1e-5 * f64.abs().max()
    with open(os.path.join(HERE, "patches_golden.h"), "w") as out:
        out.write("/* Made by make_patches_golden.py with PyTorch %s. */\n/* clang-format off */\n" % torch.__version__)
        out.write("enum { GOLDEN_SEED = %d, GOLDEN_FIRST_SAMPLE = %d, GOLDEN_KEPT = %d };\n"
                  % (SEED, FIRST_SAMPLE, kept))
        out.write("static const uint64_t golden_step = %dULL;\nstatic const double golden_dropout = %g;\n"
                  % (STEP, DROPOUT))
        out.write("static const int64_t golden_place[] = {%s};\n" % ",".join(map(str, place.flatten().tolist())))
        names = ["patch_features"] + ["patch_d_" + name.removesuffix(".weight").replace(".", "_") for name in GRADIENTS]
        for name, value in zip(names, made):
            out.write("static const float golden_%s[] = {%s};\n" % (name, literal(value)))


if __name__ == "__main__":
    main()
