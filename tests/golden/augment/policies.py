#!/usr/bin/env python3
"""AutoAugment, RandAugment and TrivialAugmentWide with torchvision's tables, on Pillow's images (needs torchvision,
Pillow and NumPy)."""
from torchvision.transforms import InterpolationMode
from torchvision.transforms import autoaugment as A

from stream import image_change, pixel_cases, write

NEAREST = InterpolationMode.NEAREST
AUTO, RAND, TRIVIAL = A.AutoAugment(), A.RandAugment(), A.TrivialAugmentWide()
sizes = (16, 18), (9, 7)


def auto_augment(stream, image):
    policy = AUTO.policies[stream.below(len(AUTO.policies))]
    draws = [stream.uniform() for _ in range(2)]
    signs = [stream.below(2) for _ in range(2)]
    space = AUTO._augmentation_space(10, (image.height, image.width))
    for (op, p, magnitude_id), draw, sign in zip(policy, draws, signs):
        if draw <= p:
            magnitudes, signed = space[op]
            magnitude = float(magnitudes[magnitude_id].item()) if magnitude_id is not None else 0.0
            image = A._apply_op(image, op, -magnitude if signed and sign == 0 else magnitude, NEAREST, None)
    return image


def one_of(stream, image, space, index):
    op = list(space)[stream.below(len(space))]
    magnitudes, signed = space[op]
    magnitude = float(magnitudes[index(stream)].item()) if magnitudes.ndim > 0 else 0.0
    if signed and stream.below(2):
        magnitude = -magnitude
    return A._apply_op(image, op, magnitude, NEAREST, None)


def rand_augment(stream, image, n=2, magnitude=9, bins=31):
    space = RAND._augmentation_space(bins, (image.height, image.width))
    for _ in range(n):
        image = one_of(stream, image, space, lambda stream: magnitude)
    return image


def trivial_augment(stream, image, bins=31):
    return one_of(stream, image, TRIVIAL._augmentation_space(bins), lambda stream: stream.below(bins))


write("auto_augment", pixel_cases(image_change(auto_augment), {"auto_augment": {}}, sizes, 60))
write("rand_augment", pixel_cases(image_change(rand_augment), {
    "rand_augment": {}, "rand_augment(n=3,magnitude=4,bins=11)": {"n": 3, "magnitude": 4, "bins": 11},
}, sizes, 20))
write("trivial_augment", pixel_cases(image_change(trivial_augment), {"trivial_augment": {}}, sizes, 60))
