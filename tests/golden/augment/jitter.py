#!/usr/bin/env python3
"""torchvision's ColorJitter on Pillow's images (needs Pillow and NumPy)."""
import numpy as np
from PIL import Image, ImageEnhance

from stream import write_pixels


def turn(image, factor):
    h, s, v = image.convert("HSV").split()
    h = (np.asarray(h).astype(np.int64) + int(factor * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(h.astype(np.uint8)), s, v)).convert("RGB")


def jitter(stream, pixels, p, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0):
    if stream.uniform() >= p:
        return pixels
    strength = [brightness, contrast, saturation, hue]
    factor = [stream.range(-x if i == 3 else max(0.0, 1.0 - x), x if i == 3 else 1.0 + x)
              for i, x in enumerate(strength)]
    order = [0, 1, 2, 3]
    for i in (3, 2, 1):
        j = stream.below(i + 1)
        order[i], order[j] = order[j], order[i]
    image = Image.fromarray(np.array(pixels, np.uint8))
    change = [lambda f: ImageEnhance.Brightness(image).enhance(f), lambda f: ImageEnhance.Contrast(image).enhance(f),
              lambda f: ImageEnhance.Color(image).enhance(f), lambda f: turn(image, f)]
    for i in order:
        if strength[i] > 0:
            image = change[i](factor[i])
    return np.asarray(image).tolist()


write_pixels("jitter", jitter, {
    "jitter(p=1,brightness=0.4,contrast=0.4,saturation=0.4,hue=0.1)":
        {"p": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "jitter(p=0.5,contrast=0.4)": {"p": 0.5, "contrast": 0.4},
})
