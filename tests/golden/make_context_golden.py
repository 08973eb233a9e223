#!/usr/bin/env python3
"""Writes context_golden.h: the text tower of clip_golden.h5 with a learned context, in PyTorch f32.

    python3 make_context_golden.py

As github KaiyangZhou/CoOp, trainers/coop.py (PromptLearner with class_token_position "end", TextEncoder): the vectors
take the places behind the start token, the sequence is as long as before, and its end token gives the features. A
caption that would be longer than the context loses its end, and keeps the end token. The gradients are those of
sum(text features * image features). Every value is checked against the same in double precision. Needs torch, numpy,
h5py."""

import os

import h5py
import numpy as np
import torch

import clip_torch
import make_clip_golden as clip_golden

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = 3
GRADIENTS = ["context", "positional_embedding", "token_embedding.weight", "ln_final.weight"]


def cut(caption):
    most = clip_golden.SHAPE["context"] - VECTORS
    return caption if len(caption) <= most else caption[: most - 1] + caption[-1:]


def features(clip, context, captions):
    most = clip_golden.SHAPE["context"]
    embedded, end = [], []
    for caption in captions:
        token = clip.token_embedding(torch.tensor(caption))
        padding = clip.token_embedding(torch.zeros(most - VECTORS - len(caption), dtype=torch.long))
        embedded.append(torch.cat([token[:1], context, token[1:], padding]))
        end.append(VECTORS + len(caption) - 1)
    x = torch.stack(embedded) + clip.positional_embedding
    x = clip.ln_final(clip.transformer(x, causal=True))
    return x[torch.arange(len(captions)), torch.tensor(end)] @ clip.text_projection


def run(clip, context, captions, image):
    context = context.clone().requires_grad_()
    clip.zero_grad()
    text = features(clip, context, captions)
    (text * image).sum().backward()
    named = dict(clip.named_parameters(), context=context)
    return [text.detach()] + [named[name].grad.clone() for name in GRADIENTS]


def literal(tensor):
    return ",".join("%.9g" % value for value in tensor.flatten().tolist())


def main():
    torch.set_num_threads(1)
    with h5py.File(os.path.join(HERE, "clip_golden.h5")) as file:
        weights = {name: torch.from_numpy(np.asarray(file["weight"][name][()])) for name in file["weight"]}
        token, seq = file["input/token"][()], file["input/seq"][()]
        image = torch.from_numpy(file["quickgelu/image_features"][()])
    captions = [cut(token[a:b].tolist()) for a, b in zip(seq, seq[1:])]
    clip = clip_torch.CLIP(**clip_golden.SHAPE)
    clip.load_state_dict(weights)
    context = 0.5 * torch.randn(VECTORS, weights["positional_embedding"].shape[1],
                                generator=torch.Generator().manual_seed(20240503))
    made = run(clip, context, captions, image)
    exact = run(clip.double(), context.double(), captions, image.double())
    for f32, f64 in zip(made, exact):
        assert (f32 - f64).abs().max() < 1e-5 * f64.abs().max()
    with open(os.path.join(HERE, "context_golden.h"), "w") as out:
        out.write("/* Made by make_context_golden.py with PyTorch %s. */\n/* clang-format off */\n" % torch.__version__)
        out.write("enum { GOLDEN_VECTORS = %d };\n" % VECTORS)
        names = ["context", "features"] + ["d_" + name.split(".")[0] for name in GRADIENTS]
        for name, value in zip(names, [context] + made):
            out.write("static const float golden_%s[] = {%s};\n" % (name, literal(value)))


if __name__ == "__main__":
    main()
