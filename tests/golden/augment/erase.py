#!/usr/bin/env python3
"""torchvision's RandomErasing.get_params and erase."""
import math

from stream import round_half_even, write_pixels


def erase(stream, pixels, p, scale=(0.1, 0.2), ratio=(0.3, 3.3), value=0):
    height, width = len(pixels), len(pixels[0])
    if stream.uniform() >= p:
        return pixels
    for _ in range(10):
        area = height * width * stream.range(*scale)
        aspect = math.exp(stream.range(math.log(ratio[0]), math.log(ratio[1])))
        h, w = round_half_even(math.sqrt(area * aspect)), round_half_even(math.sqrt(area / aspect))
        if h < height and w < width:
            top = stream.below(height - h + 1)
            left = stream.below(width - w + 1)
            inside = [(y, x) for y in range(top, top + h) for x in range(left, left + w)]
            return [[[value] * 3 if (y, x) in inside else pixels[y][x] for x in range(width)] for y in range(height)]
    return pixels


write_pixels("erase", erase, {
    "erase": {"p": 0.5},
    "erase(p=1,min_scale=0.3,max_scale=0.6,value=255)": {"p": 1.0, "scale": (0.3, 0.6), "value": 255},
})
