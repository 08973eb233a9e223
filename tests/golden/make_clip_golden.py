#!/usr/bin/env python3
"""Makes clip_golden.h5: a tiny CLIP in PyTorch f32, its features, losses, gradients and AdamW steps.

    python3 make_clip_golden.py [--clip-repo CLONE_OF_OPENAI_CLIP] [--out clip_golden.h5]

Text is padded with zeros to the context length here, as CLIP does, while Tandem packs it: the test that reads
the file is the comparison of padded against packed text too.

Layout: /input/{image, token, seq, identity, mean, std}; /weight/NAME; for ACT in quickgelu, gelu:
/ACT/{image_features, text_features}; for LOSS in hard, soft: /ACT/LOSS/{losses, grad_norm} and
/ACT/LOSS/grad/NAME; /ACT/hard/stepped/NAME holds the weights after one AdamW update. NAME is open_clip's.
All reals are f32. token is packed, seq [n+1] holds offsets. losses[k] is the loss after k updates.
With --clip-repo the module is compared with the published code first. Needs torch, numpy, h5py.
"""

import argparse
import copy
import math

import h5py
import numpy as np
import torch
import torch.nn.functional as F

import clip_torch

SHAPE = dict(embed=16, height=24, width_px=16, patch=8, image=(32, 2, 4), context=12, vocab=64, text=(24, 2, 3))
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]
IDENTITY = [7, 3, 7, 11, 3, 7]
CAPTION_LENGTHS = [5, 2, 12, 7, 3, 9]
STEPS = 10
ADAMW = dict(lr=1e-3, betas=(0.9, 0.98), eps=1e-6)
WEIGHT_DECAY = 0.2
CLIP_NORM = 1.0


def make_captions(rng):
    start, end = SHAPE["vocab"] - 2, SHAPE["vocab"] - 1
    return [[start, *rng.integers(0, start, length - 2).tolist(), end] for length in CAPTION_LENGTHS]


def pad(captions):
    token = torch.zeros(len(captions), SHAPE["context"], dtype=torch.long)
    for row, caption in enumerate(captions):
        token[row, : len(caption)] = torch.tensor(caption)
    return token


def randomize(clip, generator):
    """Weights large enough for every path to matter: softmax far from uniform, gains off 1, biases off 0."""
    for name, parameter in clip.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name == "logit_scale":
            value = torch.tensor(math.log(1 / 0.07))
        elif ".ln_" in f".{name}" and name.endswith("weight"):
            value = 1 + 0.2 * noise
        elif parameter.ndim < 2:
            value = 0.2 * noise
        elif "embedding" in name:
            value = 0.5 * noise
        elif name in ("text_projection", "visual.proj"):
            value = noise * parameter.shape[0] ** -0.5
        else:
            value = 1.3 * noise * (parameter.numel() / parameter.shape[0]) ** -0.5
        parameter.data.copy_(value)


def hard_targets(identity):
    return torch.eye(len(identity))


def soft_targets(identity):
    same = (identity[:, None] == identity[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


TARGETS = {"hard": hard_targets, "soft": soft_targets}


def symmetric_loss(clip, pixels, token, target):
    per_image, per_text = clip(pixels, token)
    return (F.cross_entropy(per_image, target) + F.cross_entropy(per_text, target)) / 2


def make_optimizer(clip):
    parameters = list(clip.parameters())
    matrices = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2]
    groups = [dict(params=matrices, weight_decay=WEIGHT_DECAY), dict(params=others, weight_decay=0.0)]
    return torch.optim.AdamW(groups, foreach=False, **ADAMW)


def train(clip, pixels, token, target):
    """Ten updates on one batch. Returns losses, first gradients, first gradient norm, weights after one."""
    optimizer = make_optimizer(clip)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = symmetric_loss(clip, pixels, token, target)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            grad = {name: p.grad.clone() for name, p in clip.named_parameters()}
        norm = torch.nn.utils.clip_grad_norm_(clip.parameters(), CLIP_NORM).item()
        grad_norm = norm if step == 0 else grad_norm
        optimizer.step()
        if step == 0:
            stepped = {name: p.detach().clone() for name, p in clip.named_parameters()}
    return losses, grad, grad_norm, stepped


def relative_difference(a, b):
    return max(((a[k].double() - b[k]).abs().max() / b[k].abs().max()).item() for k in a)


def write(group, name, value):
    group.create_dataset(name, data=np.asarray(value), track_times=False)


def write_parameters(group, tensors):
    for name, tensor in tensors.items():
        write(group, name, tensor.detach().numpy().astype(np.float32))


def write_variant(file, activation, weights, pixels, token, identity, clip_repo):
    clip = clip_torch.CLIP(**SHAPE, activation=activation)
    clip.load_state_dict(weights)
    if clip_repo:
        worst = clip_torch.check_against_openai(clip_repo, clip, **SHAPE, activation=activation, pixels=pixels,
                                                token=token)
        print(f"{activation}: largest feature difference from the published code {worst:.2e}")
        assert worst < 1e-5
    group = file.create_group(activation)
    write(group, "image_features", clip.encode_image(pixels).detach().numpy())
    write(group, "text_features", clip.encode_text(token).detach().numpy())
    for loss, make_target in TARGETS.items():
        target = make_target(identity)
        losses, grad, norm, stepped = train(copy.deepcopy(clip), pixels, token, target)
        exact = train(copy.deepcopy(clip).double(), pixels.double(), token, target.double())
        print(f"{activation} {loss}: losses {losses[0]:.6f} … {losses[-1]:.6f}, gradient norm {norm:.6f}; "
              f"f32 against f64: gradients {relative_difference(grad, exact[1]):.1e}, "
              f"weights {relative_difference(stepped, exact[3]):.1e}, "
              f"losses {max(abs(a - b) / b for a, b in zip(losses, exact[0])):.1e}")
        part = group.create_group(loss)
        write(part, "losses", np.array(losses, np.float32))
        write(part, "grad_norm", np.array(norm, np.float32))
        write_parameters(part.create_group("grad"), grad)
        if loss == "hard":
            write_parameters(part.create_group("stepped"), stepped)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-repo", help="clone of github.com/openai/CLIP to compare the module with")
    parser.add_argument("--out", default="clip_golden.h5")
    args = parser.parse_args()
    torch.set_num_threads(1)

    rng = np.random.default_rng(20240501)
    images = rng.integers(0, 256, (len(IDENTITY), SHAPE["height"], SHAPE["width_px"], 3), dtype=np.uint8)
    captions = make_captions(rng)
    identity = torch.tensor(IDENTITY)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    pixels = ((torch.from_numpy(images).float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
    clip = clip_torch.CLIP(**SHAPE)
    randomize(clip, torch.Generator().manual_seed(20240502))

    with h5py.File(args.out, "w") as file:
        inputs = file.create_group("input")
        write(inputs, "image", images)
        write(inputs, "token", np.concatenate(captions).astype(np.int32))
        write(inputs, "seq", np.cumsum([0, *CAPTION_LENGTHS]).astype(np.int64))
        write(inputs, "identity", np.array(IDENTITY, np.int64))
        write(inputs, "mean", np.array(MEAN, np.float64))
        write(inputs, "std", np.array(STD, np.float64))
        write_parameters(file.create_group("weight"), clip.state_dict())
        for activation in clip_torch.ACTIVATIONS:
            write_variant(file, activation, clip.state_dict(), pixels, pad(captions), identity, args.clip_repo)


if __name__ == "__main__":
    main()
