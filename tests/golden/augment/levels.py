#!/usr/bin/env python3
"""The operations of the policies by themselves, with torchvision's _apply_op on Pillow's images (needs torchvision,
Pillow and NumPy)."""
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from stream import image_change, pixel_cases, write

NEAREST = InterpolationMode.NEAREST
sizes = (6, 7), (9, 4), (1, 5), (16, 18)


def change(stream, image, op, low, high, base=0.0, p=1.0):
    if stream.uniform() >= p:
        return image
    return _apply_op(image, op, stream.range(low, high) - base, NEAREST, None)


for name, op, base, low, high, fixed in (
        ("shear_x", "ShearX", 0, -1.0, 1.0, 0.3), ("shear_y", "ShearY", 0, -1.0, 1.0, -0.3),
        ("translate_x", "TranslateX", 0, -8.0, 8.0, 2.5), ("translate_y", "TranslateY", 0, -8.0, 8.0, -2.5),
        ("sharpness", "Sharpness", 1, 0.0, 3.0, 1.27), ("posterize", "Posterize", 0, 1.0, 8.0, 4.0),
        ("solarize", "Solarize", 0, 0.0, 256.0, 128.0)):
    entries = {
        "%s(min=%s,max=%s)" % (name, low, high): {"op": op, "low": low, "high": high, "base": base},
        "%s(p=0.5,min=%s,max=%s)" % (name, fixed, fixed):
            {"op": op, "low": fixed, "high": fixed, "base": base, "p": 0.5},
    }
    write(name, pixel_cases(image_change(change), entries, sizes))


def by_chance(stream, image, op, p):
    return _apply_op(image, op, 0.0, NEAREST, None) if stream.uniform() < p else image


for name, op in ("autocontrast", "AutoContrast"), ("equalize", "Equalize"), ("invert", "Invert"):
    entries = {name: {"op": op, "p": 1.0}, name + "(p=0.5)": {"op": op, "p": 0.5}}
    write(name, pixel_cases(image_change(by_chance), entries, sizes + ((40, 50),), 2))
