#!/usr/bin/env python3
"""Image preprocessing against Pillow, torchvision and open_clip: 200 pictures of many sizes and formats.

    MAKE_INPUTS=build/tests/reference/make_inputs $TANDEM_PYTHON tests/reference/preprocess.py [--images N] [--px PX]

Pictures (waves, noise, edges, shapes) are made here and saved as JPEG (all subsamplings, progressive, gray, CMYK), PNG
(RGB, gray, palette, transparent, 1 and 16 bits), WebP, BMP and GIF. Each goes through Tandem's decoding, resizing and
normalisation, and through open_clip's image_transform, or where open_clip is not installed through the same steps on
Pillow. Compared are 8-bit levels before the normalisation, and the tensor. Needs NumPy and Pillow; Pillow before 13
resizes some shapes by the other pass first, which is reported, not failed."""
import argparse
import os
import random
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import PIL
    from PIL import Image
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)  # tells ctest

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def import_open_clip():
    """torchvision's operators in C++ may be of another build than PyTorch; its transforms need none of them."""
    import re

    import torch
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for _ in range(50):
        try:
            from open_clip.transform import image_transform
            return image_transform, operators
        except RuntimeError as error:
            missing = re.search(r"torchvision::(\w+) does not exist", str(error))
            if not missing:
                raise
            operators.define(missing.group(1) + "(Tensor a) -> Tensor")
            for name in [n for n in sys.modules if n.split(".")[0] in ("torchvision", "open_clip", "timm")]:
                del sys.modules[name]
    raise ImportError("open_clip cannot be imported")


class PillowSteps:
    """OpenAI's and open_clip's steps, for a square input."""

    def __init__(self, fit, px):
        self.fit, self.px = fit, px

    def __call__(self, image):
        px, (w, h) = self.px, image.size
        if self.fit == "squash":
            size = (px, px)
        elif self.fit == "longest":
            ratio = max(h, w) / px
            size = (round(w / ratio), round(h / ratio))
        else:
            size = (px, int(px * h / w)) if w <= h else (int(px * w / h), px)
        image = image.resize(size, Image.BICUBIC)
        if self.fit == "longest":
            raise NotImplementedError("longest: with open_clip only")
        left, top = round((size[0] - px) / 2.0), round((size[1] - px) / 2.0)
        image = image.crop((left, top, left + px, top + px)).convert("RGB")
        values = np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255)
        return (values - MEAN[:, None, None]) / STD[:, None, None]


# ---- Pictures ----

def picture(rng, height, width, channels):
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for _ in range(channels):
        a, b, c = rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), rng.uniform(0, 6)
        plane = 127.5 + 90 * np.sin(a * x + b * y + c)
        for _ in range(rng.integers(0, 6)):  # rectangles with sharp edges
            top, left = rng.integers(0, height), rng.integers(0, width)
            plane[top:top + rng.integers(1, height + 1), left:left + rng.integers(1, width + 1)] = rng.uniform(0, 255)
        planes.append(plane + rng.normal(0, rng.choice([0, 5, 40]), plane.shape))
    return np.clip(np.stack(planes, -1), 0, 255).round().astype(np.uint8)


def save_png_16(path, array):
    Image.fromarray(array.astype(np.uint16) * 3).save(path)


def save_one(folder, number, rng, pick):
    height, width = (int(2 ** rng.uniform(3, 10)) for _ in range(2))
    rgb = Image.fromarray(picture(rng, height, width, 3))
    gray = Image.fromarray(picture(rng, height, width, 1)[..., 0])
    quality, subsampling = int(rng.integers(30, 100)), int(rng.integers(0, 3))
    kinds = {
        "jpg": lambda p: rgb.save(p, quality=quality, subsampling=subsampling),
        "progressive.jpg": lambda p: rgb.save(p, quality=quality, subsampling=subsampling, progressive=True),
        "gray.jpg": lambda p: gray.save(p, quality=quality),
        "cmyk.jpg": lambda p: Image.fromarray(picture(rng, height, width, 4), "CMYK").save(p, quality=quality),
        "png": lambda p: rgb.save(p),
        "gray.png": lambda p: gray.save(p),
        "one.png": lambda p: gray.convert("1").save(p),
        "palette.png": lambda p: rgb.quantize(64).save(p),
        "key.png": lambda p: rgb.quantize(64).save(p, transparency=5),
        "alpha.png": lambda p: Image.fromarray(picture(rng, height, width, 4)).save(p),
        "gray_alpha.png": lambda p: Image.fromarray(picture(rng, height, width, 2)).save(p),
        "gray_16.png": lambda p: save_png_16(p, picture(rng, height, width, 1)[..., 0]),
        "webp": lambda p: rgb.save(p, quality=quality),
        "alpha.webp": lambda p: Image.fromarray(picture(rng, height, width, 4)).save(p, quality=quality),
        "bmp": lambda p: rgb.save(p),
        "palette.bmp": lambda p: rgb.quantize(100).save(p),
        "gif": lambda p: rgb.save(p),
        "gray.gif": lambda p: gray.save(p),
    }
    half_jpeg = ["jpg", "progressive.jpg"] if number % 2 else list(kinds)
    kind = pick.choice(half_jpeg)
    path = os.path.join(folder, f"{number:04d}.{kind}")
    kinds[kind](path)
    return kind, path


# ---- Comparing ----

def tandem_inputs(paths, fit, px):
    done = subprocess.run([os.environ["MAKE_INPUTS"], fit, "drop", str(px)], capture_output=True,
                          input="".join(p + "\n" for p in paths).encode())
    if done.returncode:
        sys.exit(done.stderr.decode())
    return np.frombuffer(done.stdout, np.float32).reshape(len(paths), 3, px, px)


def levels(tensor):
    return (tensor * STD[:, None, None] + MEAN[:, None, None]) * 255


def compare(name, kinds, want, got):
    off = np.abs(levels(want) - levels(got))
    tensor = np.abs(want - got)
    print(f"{name}: {len(want)} images, levels: mean {off.mean():.2e}, largest {off.max():.0f}; "
          f"tensor: mean {tensor.mean():.2e}, largest {tensor.max():.2e}")
    for kind in sorted(set(kinds)):
        here = [i for i, k in enumerate(kinds) if k == kind]
        if off[here].max() > 0.5:
            print(f"  {kind}: {len(here)} images, mean {off[here].mean():.2e}, largest {off[here].max():.0f}")
    return off.max()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--px", type=int, default=224)
    options = parser.parse_args()
    try:
        image_transform, _keep = import_open_clip()
        steps = {fit: image_transform(options.px, False, resize_mode=mode)
                 for fit, mode in [("crop", "shortest"), ("squash", "squash"), ("longest", "longest")]}
        name = f"open_clip, Pillow {PIL.__version__}"
    except ImportError as missing:
        print(f"open_clip is not installed ({missing}): its steps on Pillow")
        steps = {fit: PillowSteps(fit, options.px) for fit in ("crop", "squash")}
        name = f"Pillow {PIL.__version__}"
    rng, pick, worst = np.random.default_rng(11), random.Random(11), 0
    with tempfile.TemporaryDirectory() as folder:
        made = [save_one(folder, i, rng, pick) for i in range(options.images)]
        kinds, paths = zip(*made)
        for fit, step in steps.items():
            used = [i for i in range(len(paths)) if fit != "longest" or kinds[i] in ("jpg", "progressive.jpg", "png", "webp")]
            want = np.stack([np.asarray(step(Image.open(paths[i]))) for i in used])
            got = tandem_inputs([paths[i] for i in used], fit, options.px)
            worst = max(worst, compare(f"{name}, {fit}", [kinds[i] for i in used], want, got))
    if worst > 1.5:
        if int(PIL.__version__.split(".")[0]) >= 13:
            sys.exit("FAILED: more than one level")
        print("expected of a Pillow before 13: single pixels where it resizes the rows first")


if __name__ == "__main__":
    main()
