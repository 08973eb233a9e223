#!/usr/bin/env python3
"""Writes ops_golden.h: PyTorch's results for the operations of tandem/ops.h on inputs that a formula gives.

    python3 make_ops_golden.py > ops_golden.h

Made with PyTorch 2.13 on a CPU, in float64, rounded to float32. tests/ops/test_ops_golden.c evaluates the same
inputs: element i of input `seed` is ((i·2654435761 + seed·97568741) mod 2^32 >> 16) mod 257 - 128, over 64.
"""
import os
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "augment"))
from stream import Stream, philox

torch.set_default_dtype(torch.float64)


def inputs(seed, *shape):
    i = torch.arange(torch.tensor(shape).prod().item(), dtype=torch.int64)
    u = (i * 2654435761 + seed * 97568741) & 0xFFFFFFFF
    x = (((u >> 16) % 257) - 128).double() / 64
    return x.reshape(shape).requires_grad_()


def emit(name, tensor):
    values = tensor.detach().float().flatten().tolist()
    print(f"static const float {name}[{len(values)}] = {{")
    for at in range(0, len(values), 8):
        print("    " + ", ".join(f"{v:.9g}f" if "." in f"{v:.9g}" or "e" in f"{v:.9g}" else f"{v:.9g}.0f"
                                 for v in values[at:at + 8]) + ",")
    print("};")


def with_gradients(name, y, seed, **leaves):
    """y and the gradients of sum(y·inputs(seed)) with respect to the leaves."""
    emit(f"golden_{name}", y)
    gradients = torch.autograd.grad((y * inputs(seed, *y.shape).detach()).sum(), list(leaves.values()))
    for leaf, gradient in zip(leaves, gradients):
        emit(f"golden_{name}_d{leaf}", gradient)


def attention(qkv, lengths, heads, causal):
    rows, start = [], 0
    for length in lengths:
        q, k, v = (part.reshape(length, heads, -1).transpose(0, 1)
                   for part in qkv[start:start + length].chunk(3, dim=-1))
        rows.append(F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=causal)[0]
                    .transpose(0, 1).reshape(length, -1))
        start += length
    return torch.cat(rows)


def dropped_attention(qkv, lengths, heads, p, seed, step, site, samples):
    """Causal, with dropout of the probabilities: key k of query q in head h stays where word k % 64 // 16 of block
    {h << 20 + k // 64 * 16 + k % 16, q} is not below p."""
    rows, start = [], 0
    for length, sample in zip(lengths, samples):
        q, k, v = (part.reshape(length, heads, -1).transpose(0, 1)
                   for part in qkv[start:start + length].chunk(3, dim=-1))
        stream = Stream(seed, step, sample, 5 + site * 256)
        stays = torch.tensor([[[philox([(h << 20) + key // 64 * 16 + key % 16, query] + stream.high, stream.key)
                                [key % 64 // 16] * 2.0**-32 >= p for key in range(length)]
                               for query in range(length)] for h in range(heads)])
        scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -torch.inf)
        rows.append((scores.softmax(-1) * stays / (1 - p) @ v).transpose(0, 1).reshape(length, -1))
        start += length
    return torch.cat(rows)


print("/* Written by make_ops_golden.py with PyTorch; see there. */\n// clang-format off")
print("#ifndef TANDEM_OPS_GOLDEN_H\n#define TANDEM_OPS_GOLDEN_H\n")

x, w, b = inputs(1, 6, 10), inputs(2, 8, 10), inputs(3, 8)
with_gradients("linear", F.linear(x, w, b), 4, x=x, w=w, b=b)

x, g, b = inputs(5, 5, 24), inputs(6, 24), inputs(7, 24)
with_gradients("layernorm", F.layer_norm(x, (24,), g, b, 1e-5), 8, x=x, g=g, b=b)

x = inputs(9, 64)
with_gradients("quickgelu", x * torch.sigmoid(1.702 * x), 10, x=x)
with_gradients("gelu", F.gelu(x), 11, x=x)

qkv = inputs(12, 16, 3 * 2 * 4)
with_gradients("attention", attention(qkv, [5, 1, 10], 2, False), 13, qkv=qkv)
with_gradients("causal_attention", attention(qkv, [5, 1, 10], 2, True), 14, qkv=qkv)

qkv = inputs(60, 76, 3 * 2 * 2)
with_gradients("dropped_attention", dropped_attention(qkv, [70, 6], 2, 0.25, 3, 11, 6144, [9, 1 << 40]), 61, qkv=qkv)

weight, images = inputs(15, 6, 3, 4, 4), ((inputs(16, 2, 8, 12, 3) + 2) * 63).detach().round()
mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
pixels = ((images / 255 - mean) / std).permute(0, 3, 1, 2)
patches = F.conv2d(pixels, weight, stride=4).flatten(2).transpose(1, 2)  # [2][6 patches][6]
cls, position = inputs(17, 6), inputs(18, 7, 6)
tokens = torch.cat([cls.expand(2, 1, 6), patches], dim=1) + position
with_gradients("image_tokens", tokens, 19, w=weight, cls=cls, position=position)



def rows(x, channels):
    """Channels-last rows of NCHW images, and back."""
    return x.permute(0, 2, 3, 1).reshape(-1, channels)


def images(x, n, height, width):
    return x.reshape(n, height, width, -1).permute(0, 3, 1, 2)


x, w = inputs(31, 2 * 4 * 5, 6), inputs(32, 8, 6, 3, 3)
with_gradients("conv", rows(F.conv2d(images(x, 2, 4, 5), w, padding=1), 8), 33, x=x, w=w)
x, g, b = inputs(34, 2 * 4 * 6, 6), inputs(35, 6), inputs(36, 6)
normed = rows(F.batch_norm(images(x, 2, 4, 6), None, None, g, b, training=True, eps=1e-5), 6)
with_gradients("batchnorm", F.relu(normed), 37, x=x, g=g, b=b)
with_gradients("average_pool", rows(F.avg_pool2d(images(x, 2, 4, 6), 2), 6), 38, x=x)
x, position = inputs(39, 2 * 2 * 3, 8), inputs(40, 7, 8)
pixels = images(x, 2, 2, 3).flatten(2).permute(2, 0, 1)
tokens = torch.cat([pixels.mean(dim=0, keepdim=True), pixels], dim=0) + position[:, None]
eye, none = torch.eye(8), torch.zeros(8)
pooled, _ = F.multi_head_attention_forward(
    tokens[:1], tokens, tokens, 8, 2, None, torch.zeros(24), None, None, False, 0, eye, none,
    use_separate_proj_weight=True, q_proj_weight=eye, k_proj_weight=eye, v_proj_weight=eye, need_weights=False)
with_gradients("attention_pool", pooled[0], 41, x=x, position=position)

table, position, ids = inputs(20, 9, 6), inputs(21, 5, 6), torch.tensor([[3, 8, 3, 0, 7], [1, 3, 2, 2, 7]])
with_gradients("text_tokens", (F.embedding(ids, table) + position).reshape(10, 6), 22, table=table,
               position=position)

x = inputs(23, 4, 12)
with_gradients("l2norm", F.normalize(x, dim=-1), 24, x=x)

logits, target = inputs(25, 5, 7), F.softmax(inputs(26, 5, 7), dim=-1).detach()
emit("golden_target", target)
loss = F.cross_entropy(logits, target, reduction="none")
emit("golden_softmax", loss)
emit("golden_softmax_dlogits", torch.autograd.grad(loss.sum(), logits)[0])

w = inputs(27, 20).detach().clone().requires_grad_()
optimizer = torch.optim.AdamW([w], lr=1e-2, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
for step in range(3):
    w.grad = inputs(28 + step, 20).detach()
    optimizer.step()
emit("golden_adamw", w)

print("\n#endif")
