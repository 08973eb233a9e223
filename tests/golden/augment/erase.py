#!/usr/bin/env python3
"""torchvision's RandomErasing.get_params and erase (needs torchvision)."""
import math

from torchvision.transforms import functional as F

from stream import pixel_cases, round_half_even, tensor_cases, write


def draw(stream, height, width, p, scale=(0.1, 0.2), ratio=(0.3, 3.3), box=None):
    """top, left, height, width, None: nothing"""
    if stream.uniform() >= p:
        return None
    if box:
        return box
    for _ in range(10):
        area = height * width * stream.range(*scale)
        aspect = math.exp(stream.range(math.log(ratio[0]), math.log(ratio[1])))
        h, w = round_half_even(math.sqrt(area * aspect)), round_half_even(math.sqrt(area / aspect))
        if h < height and w < width:
            top = stream.below(height - h + 1)
            left = stream.below(width - w + 1)
            return top, left, h, w
    return None


def erase(stream, pixels, value=0, **options):
    height, width = len(pixels), len(pixels[0])
    box = draw(stream, height, width, **options)
    if not box:
        return pixels
    top, left, h, w = box
    inside = [(y, x) for y in range(top, top + h) for x in range(left, left + w)]
    return [[[value] * 3 if (y, x) in inside else pixels[y][x] for x in range(width)] for y in range(height)]


def erase_tensor(stream, tensor, value=0, **options):
    box = draw(stream, tensor.shape[1], tensor.shape[2], **options)
    return F.erase(tensor, *box, v=value / 255) if box else tensor


entries = {
    "erase": {"p": 0.5},
    "erase(p=1,min_scale=0.3,max_scale=0.6,value=255)": {"p": 1.0, "scale": (0.3, 0.6), "value": 255},
    "erase(p=1,box=[0,1,1,2],value=51)": {"p": 1.0, "box": (0, 1, 1, 2), "value": 51},
}
write("erase", pixel_cases(erase, entries) + tensor_cases(erase_tensor, entries))
