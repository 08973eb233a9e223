#!/usr/bin/env python3
"""Writes images/*: one small file per image format and variant, and image_golden.h: their pixels as Pillow decodes
them, alpha composed over white. Needs Pillow and NumPy."""
import os

import numpy as np
import PIL
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
HEIGHT, WIDTH = 10, 13


def smooth(channels, seed):
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    rng = np.random.default_rng(seed)
    planes = []
    for _ in range(channels):
        a, b, c = rng.uniform(0.1, 0.5, 2).tolist() + [rng.uniform(0, 6)]
        planes.append(127.5 + 120 * np.sin(a * x + b * y + c))
    return np.stack(planes, -1).round().astype(np.uint8)


def over_white(rgba):
    rgba = rgba.astype(np.int64)
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def main():
    folder = os.path.join(HERE, "images")
    os.makedirs(folder, exist_ok=True)
    rgb, rgba = Image.fromarray(smooth(3, 1)), Image.fromarray(smooth(4, 2), "RGBA")
    gray = Image.fromarray(smooth(1, 3)[..., 0])
    gray_alpha = Image.fromarray(smooth(2, 4), "LA")
    palette = rgb.quantize(16)
    key = rgb.quantize(16)
    key.info["transparency"] = 3
    deep = Image.fromarray(smooth(1, 5)[..., 0].astype(np.uint16) * 257)
    cmyk = Image.fromarray(smooth(4, 6), "CMYK")
    jobs = [("rgb.png", rgb, {}, 0), ("rgba.png", rgba, {}, 0), ("gray.png", gray, {}, 0),
            ("gray_alpha.png", gray_alpha, {}, 0), ("palette.png", palette, {}, 0),
            ("palette_alpha.png", key, {"transparency": 3}, 0), ("deep.png", deep, {}, 0),
            # lossy: stb's inverse DCT and colour conversion round differently from libjpeg's
            ("baseline.jpg", rgb, {"quality": 95, "subsampling": 0}, 3),
            ("progressive.jpg", rgb, {"quality": 95, "subsampling": 0, "progressive": True}, 3),
            ("gray.jpg", gray, {"quality": 95}, 3), ("cmyk.jpg", cmyk, {"quality": 95, "subsampling": 0}, 6),
            ("plain.gif", palette, {}, 0), ("transparent.gif", key, {"transparency": 3}, 0),
            ("rgb.bmp", rgb, {}, 0), ("palette.bmp", palette, {}, 0),
            ("lossless.webp", rgb, {"lossless": True}, 0), ("alpha.webp", rgba, {"lossless": True, "exact": True}, 0),
            ("lossy.webp", rgb, {"quality": 90}, 2)]
    with open(os.path.join(HERE, "image_golden.h"), "w") as out:
        out.write("/* Made by make_image_golden.py with Pillow %s. */\n/* clang-format off */\n" % PIL.__version__)
        out.write("enum { GOLDEN_IMAGE_HEIGHT = %d, GOLDEN_IMAGE_WIDTH = %d };\n" % (HEIGHT, WIDTH))
        out.write("static const struct golden_image {\n    const char *file;\n    int tolerance; /* levels */\n"
                  "    const uint8_t *pixel;\n} GOLDEN_IMAGE[] = {\n")
        for name, image, options, tolerance in jobs:
            path = os.path.join(folder, name)
            image.save(path, **options)
            read = Image.open(path)
            if read.mode.startswith("I"):
                values = (np.asarray(read).astype(np.int64) >> 8).astype(np.uint8)
                values = np.stack([values] * 3, -1)
            else:
                values = over_white(np.asarray(read.convert("RGBA")))
            out.write('    {"%s", %d,\n     (const uint8_t[]){%s}},\n'
                      % (name, tolerance, ",".join(map(str, values.reshape(-1)))))
        out.write("};\n")


if __name__ == "__main__":
    main()
