#!/usr/bin/env python3
"""brightness, contrast, saturation and hue on Pillow's images and on tensors (needs torchvision, Pillow and NumPy)."""
from torchvision.transforms import functional as F

from stream import image_change, pixel_cases, tensor_cases, write

for name, function in (("brightness", F.adjust_brightness), ("contrast", F.adjust_contrast),
                       ("saturation", F.adjust_saturation), ("hue", F.adjust_hue)):
    def change(stream, image, low, high, p=1.0):
        return function(image, stream.range(low, high)) if stream.uniform() < p else image

    low, high, fixed = (-0.5, 0.5, 0.25) if name == "hue" else (0.0, 3.0, 1.7)
    entries = {
        "%s(min=%s,max=%s)" % (name, low, high): {"low": low, "high": high},
        "%s(p=0.5,min=%s,max=%s)" % (name, fixed, fixed): {"low": fixed, "high": fixed, "p": 0.5},
    }
    write(name, pixel_cases(image_change(change), entries) + tensor_cases(change, entries))
