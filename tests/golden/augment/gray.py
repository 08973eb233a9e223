#!/usr/bin/env python3
"""Pillow's convert("L"): 19595 R + 38470 G + 7471 B, rounded, over 65536; torchvision's of tensors (needs it)."""
from torchvision.transforms import functional as F

from stream import pixel_cases, tensor_cases, write


def gray(stream, pixels, p):
    if stream.uniform() >= p:
        return pixels
    return [[[(r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16] * 3 for r, g, b in row] for row in pixels]


def gray_tensor(stream, tensor, p):
    return F.rgb_to_grayscale(tensor, 3) if stream.uniform() < p else tensor


entries = {"gray(p=1)": {"p": 1.0}, "gray(p=0.5)": {"p": 0.5}}
write("gray", pixel_cases(gray, entries) + tensor_cases(gray_tensor, entries))
