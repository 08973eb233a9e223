#!/usr/bin/env python3
"""torchvision's rotate on Pillow's images and on tensors (needs torchvision, Pillow and NumPy)."""
from torchvision.transforms import functional as F

from stream import image_change, pixel_cases, tensor_cases, write


def rotate(stream, image, low, high, fill=0, p=1.0):
    if stream.uniform() >= p:
        return image
    return F.rotate(image, stream.range(low, high), fill=fill)


def rotate_tensor(stream, tensor, low, high, fill=0, p=1.0):
    return rotate(stream, tensor, low, high, [fill / 255] * 3, p)


sizes = (6, 7), (9, 4), (1, 5), (16, 18)
entries = {
    "rotate": {"low": -15.0, "high": 15.0},
    "rotate(p=0.5,min=-200,max=200,fill=51)": {"low": -200.0, "high": 200.0, "fill": 51, "p": 0.5},
    "rotate(min=30,max=30)": {"low": 30.0, "high": 30.0},
}
right = {"rotate(min=%d,max=%d)" % (angle, angle): {"low": angle, "high": angle} for angle in (0, 90, 180, -90)}
write("rotate", pixel_cases(image_change(rotate), entries, sizes) +
      pixel_cases(image_change(rotate), right, ((6, 7), (5, 5)), 1) +
      tensor_cases(rotate_tensor, entries, sizes) + tensor_cases(rotate_tensor, right, ((6, 7), (5, 5)), 1))
