#!/usr/bin/env python3
"""flip and vflip (needs torch)."""
from stream import pixel_cases, tensor_cases, write


def flip(stream, pixels, p):
    return [row[::-1] for row in pixels] if stream.uniform() < p else pixels


def vflip(stream, pixels, p):
    return pixels[::-1] if stream.uniform() < p else pixels


def flip_tensor(stream, tensor, p):
    return tensor.flip(-1) if stream.uniform() < p else tensor


def vflip_tensor(stream, tensor, p):
    return tensor.flip(-2) if stream.uniform() < p else tensor


for name, of_pixels, of_tensor in ("flip", flip, flip_tensor), ("vflip", vflip, vflip_tensor):
    entries = {"%s(p=%s)" % (name, p): {"p": float(p)} for p in ("1", "0.5", "0")}
    write(name, pixel_cases(of_pixels, entries) + tensor_cases(of_tensor, entries))
