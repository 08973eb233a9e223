#!/usr/bin/env python3
from stream import write_pixels


def flip(stream, pixels, p):
    return [row[::-1] for row in pixels] if stream.uniform() < p else pixels


write_pixels("flip", flip, {"flip(p=1)": {"p": 1.0}, "flip(p=0.5)": {"p": 0.5}, "flip(p=0)": {"p": 0.0}})
