#!/usr/bin/env python3
"""blur, Pillow's, and gaussian_blur, torchvision's (needs torchvision, Pillow and NumPy)."""
from PIL import ImageFilter
from torchvision.transforms import functional as F

from stream import image_change, pixel_cases, tensor_cases, write


def blur(stream, image, low=0.1, high=2.0, p=1.0):
    if stream.uniform() >= p:
        return image
    return image.filter(ImageFilter.GaussianBlur(stream.range(low, high)))


def gaussian(stream, image, kernel=3, low=0.1, high=2.0, p=1.0):
    if stream.uniform() >= p:
        return image
    return F.gaussian_blur(image, [kernel, kernel], [stream.range(low, high)] * 2)


write("blur", pixel_cases(image_change(blur), {
    "blur": {"p": 0.5},
    "blur(p=1,min_radius=0,max_radius=0)": {"low": 0.0, "high": 0.0},
    "blur(p=1,min_radius=1,max_radius=1)": {"low": 1.0, "high": 1.0},
    "blur(p=1,min_radius=2,max_radius=30)": {"low": 2.0, "high": 30.0},
}, ((6, 7), (9, 4), (1, 5), (16, 18))))
entries = {
    "gaussian_blur": {},
    "gaussian_blur(p=0.5,kernel=7,min_sigma=1.5,max_sigma=1.5)": {"kernel": 7, "low": 1.5, "high": 1.5, "p": 0.5},
    "gaussian_blur(kernel=1)": {"kernel": 1},
}
sizes = (6, 7), (9, 5), (16, 18)
write("gaussian_blur", pixel_cases(image_change(gaussian), entries, sizes) + tensor_cases(gaussian, entries, sizes))
