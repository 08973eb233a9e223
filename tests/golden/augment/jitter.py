#!/usr/bin/env python3
"""torchvision's ColorJitter on Pillow's images and on tensors (needs Pillow, NumPy and torchvision)."""
import numpy as np
from PIL import Image, ImageEnhance
from torchvision.transforms import functional as F

from stream import image_change, pixel_cases, tensor_cases, write


def turn(image, factor):
    h, s, v = image.convert("HSV").split()
    h = (np.asarray(h).astype(np.int64) + int(factor * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(h.astype(np.uint8)), s, v)).convert("RGB")


def draw(stream, p, **strengths):
    """(which, factor) in the order of their use"""
    strength = [strengths.get(name, 0.0) for name in ("brightness", "contrast", "saturation", "hue")]
    if stream.uniform() >= p:
        return []
    factor = [stream.range(-x if i == 3 else max(0.0, 1.0 - x), x if i == 3 else 1.0 + x)
              for i, x in enumerate(strength)]
    order = [0, 1, 2, 3]
    for i in (3, 2, 1):
        j = stream.below(i + 1)
        order[i], order[j] = order[j], order[i]
    return [(i, factor[i]) for i in order if strength[i] > 0]


def jitter(stream, image, **options):
    change = [lambda im, f: ImageEnhance.Brightness(im).enhance(f), lambda im, f: ImageEnhance.Contrast(im).enhance(f),
              lambda im, f: ImageEnhance.Color(im).enhance(f), turn]
    for i, factor in draw(stream, **options):
        image = change[i](image, factor)
    return image


def jitter_tensor(stream, tensor, **options):
    change = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    for i, factor in draw(stream, **options):
        tensor = change[i](tensor, factor)
    return tensor


entries = {
    "jitter(p=1,brightness=0.4,contrast=0.4,saturation=0.4,hue=0.1)":
        {"p": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "jitter(p=0.5,contrast=0.4)": {"p": 0.5, "contrast": 0.4},
}
write("jitter", pixel_cases(image_change(jitter), entries) + tensor_cases(jitter_tensor, entries))
