#!/usr/bin/env python3
"""Pillow's convert("L"): 19595 R + 38470 G + 7471 B, rounded, over 65536."""
from stream import write_pixels


def gray(stream, pixels, p):
    if stream.uniform() >= p:
        return pixels
    return [[[(r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16] * 3 for r, g, b in row] for row in pixels]


write_pixels("gray", gray, {"gray(p=1)": {"p": 1.0}, "gray(p=0.5)": {"p": 0.5}})
