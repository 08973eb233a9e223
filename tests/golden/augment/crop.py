#!/usr/bin/env python3
"""torchvision's RandomResizedCrop: get_params, and behind a resize with Pillow's and torch's interpolation (needs
torchvision, Pillow and NumPy)."""
import math

from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from stream import Stream, image_change, pixel_cases, round_half_even, tensor_cases, write


def crop(stream, height, width, scale, ratio):
    for _ in range(10):
        area = height * width * stream.range(*scale)
        aspect = math.exp(stream.range(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round_half_even(math.sqrt(area * aspect)), round_half_even(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = stream.below(height - h + 1)
            return top, stream.below(width - w + 1), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round_half_even(width / ratio[0])
    elif width / height > ratio[1]:
        w = round_half_even(height * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


cases = []
for height, width in (200, 300), (10, 100), (17, 5), (1, 1):
    for scale in (0.3, 0.9), (1.0, 1.0):
        for sample in range(6):
            box = crop(Stream(1, 2, sample, 6), height, width, scale, (0.75, 1.25))
            entry = "crop(min_scale=%s,max_scale=%s,min_ratio=0.75,max_ratio=1.25)" % scale
            cases.append(("box", height, width, 1, 2, sample, 6, entry, ",".join(map(str, box))))


def zoom(stream, image, scale=(0.9, 1.0), mode=InterpolationMode.BICUBIC, box=None):
    _, height, width = F.get_dimensions(image)
    box = box or crop(stream, height, width, scale, (0.75, 4 / 3))
    return F.resized_crop(image, *box, [height, width], mode, antialias=True)


entries = {
    "crop(min_scale=0.3)": {"scale": (0.3, 1.0)},
    "crop(min_scale=0.3,interpolation=bilinear)": {"scale": (0.3, 1.0), "mode": InterpolationMode.BILINEAR},
    "crop(box=[2,1,4,3])": {"box": (2, 1, 4, 3)},
}
sizes = (6, 7), (9, 4), (16, 18)
cases += pixel_cases(image_change(zoom), entries, sizes) + tensor_cases(zoom, entries, sizes)
write("crop", cases)
