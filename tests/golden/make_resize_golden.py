#!/usr/bin/env python3
"""Writes resize_golden.h: what Pillow makes of a synthetic image. Needs Pillow 13 and NumPy.

Pillow 13 runs the vertical pass first when that is cheaper, which moves single pixels by some levels; earlier versions
begin with the horizontal pass.

Resizing is Image.resize(BICUBIC, box=...), of the augmentations also BILINEAR. `plain` is a model's input: torchvision's Resize(shorter side) and CenterCrop,
open_clip's ResizeKeepRatio when the input is not square, its "squash" and "longest". The colour adjustments are those
that torchvision's ColorJitter and RandomGrayscale call on PIL images."""
import os

import numpy as np
import PIL
from PIL import Image, ImageEnhance


def synthetic(height, width):
    """As golden_source() in tests/image/test_image.c: waves, edges and noise from integers only."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    channels = []
    for c in range(3):
        noise = (x * 73 + y * 151 + c * 37 + x * y * 29) % 61
        edge = np.where((x // (5 + c) + y // 7) % 2 == 0, 120, 20)
        channels.append((edge + noise + x * (c + 1)) % 256)
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def plain(image, fit, height, width):
    w, h = image.size
    full_height, full_width = height, width
    if fit == "CROP" and height == width:
        full_height, full_width = (height, int(height * w / h)) if w >= h else (int(width * h / w), width)
    elif fit != "SQUASH":
        ratio = (min if fit == "CROP" else max)(h / height, w / width)
        full_height, full_width = round(h / ratio), round(w / ratio)
    image = image.resize((full_width, full_height), Image.BICUBIC)
    made = Image.new("RGB", (width, height))
    if fit == "LONGEST":
        made.paste(image, ((width - full_width) // 2, (height - full_height) // 2))
        return made
    top, left = round((full_height - height) / 2.0), round((full_width - width) / 2.0)
    return image.crop((left, top, left + width, top + height))


def hue(image, factor):
    h, s, v = image.convert("HSV").split()
    turned = (np.array(h).astype(np.int64) + int(factor * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), s, v)).convert("RGB")


def pixels(image):
    return ",".join(str(v) for v in np.asarray(image, dtype=np.uint8).reshape(-1))


def main():
    resize, plains, colour = [], [], []
    for height, width, box, out_height, out_width in [
            (47, 61, (0, 0, 61, 47), 12, 16),       # reduction of both sides
            (47, 61, (0, 0, 61, 47), 47, 9),        # of one
            (47, 61, (0, 0, 61, 47), 5, 61),        # of the other
            (9, 7, (0, 0, 7, 9), 20, 15),           # enlargement
            (9, 7, (0, 0, 7, 9), 9, 7),             # copy
            (47, 61, (3.25, 4.5, 15.75, 12.125), 14, 11),
            (47, 61, (10.1, 0.3, 60.9, 46.7), 13, 17),
            (300, 5, (0, 0, 5, 300), 3, 4),         # strong reduction
            (61, 47, (0, 0, 47, 61), 9, 31),        # the columns first, as they shrink by more than twice as much
            (61, 47, (1.5, 20.25, 46, 33), 13, 40), # by the image's size, not the box's
            (1, 1, (0, 0, 1, 1), 3, 5)]:
        image = synthetic(height, width).resize((out_width, out_height), Image.BICUBIC, box=box)
        left, top, right, bottom = box
        resize.append((height, width, top, left, bottom - top, right - left, out_height, out_width, pixels(image)))
    for height, width, fit, out_height, out_width in [
            (47, 61, "CROP", 16, 16), (61, 40, "CROP", 15, 15), (31, 31, "CROP", 12, 12), (8, 9, "CROP", 16, 16),
            (47, 61, "CROP", 24, 9), (33, 20, "CROP", 10, 18), (80, 31, "CROP", 12, 12),
            (47, 61, "SQUASH", 11, 11), (61, 40, "SQUASH", 9, 14),
            (47, 61, "LONGEST", 12, 12), (61, 40, "LONGEST", 13, 13), (20, 33, "LONGEST", 9, 14)]:
        image = plain(synthetic(height, width), fit, out_height, out_width)
        plains.append((height, width, "TDM_FIT_" + fit, out_height, out_width, pixels(image)))
    bilinear = []
    for height, width, box, out_height, out_width in [
            (47, 61, (0, 0, 61, 47), 12, 16), (47, 61, (0, 0, 61, 47), 47, 9), (9, 7, (0, 0, 7, 9), 20, 15),
            (9, 7, (0, 0, 7, 9), 9, 7), (61, 47, (0, 0, 47, 61), 9, 31), (38, 12, (0, 0, 12, 38), 14, 14),
            (47, 61, (3.25, 4.5, 15.75, 12.125), 14, 11), (1, 1, (0, 0, 1, 1), 3, 5)]:
        image = synthetic(height, width).resize((out_width, out_height), Image.BILINEAR, box=box)
        left, top, right, bottom = box
        bilinear.append((height, width, top, left, bottom - top, right - left, out_height, out_width, pixels(image)))
    image = synthetic(12, 20)
    for kind, factor in [("BRIGHTNESS", 0.37), ("BRIGHTNESS", 1.62), ("CONTRAST", 0.41), ("CONTRAST", 1.73),
                         ("SATURATION", 0.28), ("SATURATION", 1.9), ("HUE", -0.41), ("HUE", 0.13)]:
        if kind == "HUE":
            made = hue(image, factor)
        else:
            made = {"BRIGHTNESS": ImageEnhance.Brightness, "CONTRAST": ImageEnhance.Contrast,
                    "SATURATION": ImageEnhance.Color}[kind](image).enhance(factor)
        colour.append(("IMAGE_" + kind, factor, pixels(made)))
    gray = image.convert("L").convert("RGB")

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "resize_golden.h")
    with open(path, "w") as out:
        out.write("/* Made by make_resize_golden.py with Pillow %s. */\n" % PIL.__version__)
        out.write("/* clang-format off */\n")
        out.write("static const struct golden_resize {\n    int height, width;\n"
                  "    double top, left, box_height, box_width;\n    int out_height, out_width;\n"
                  "    const uint8_t *pixel;\n} GOLDEN_RESIZE[] = {\n")
        for row in resize:
            out.write("    {%d, %d, %r, %r, %r, %r, %d, %d,\n     (const uint8_t[]){%s}},\n" % row)
        out.write("};\n\nstatic const struct golden_resize GOLDEN_BILINEAR[] = {\n")
        for row in bilinear:
            out.write("    {%d, %d, %r, %r, %r, %r, %d, %d,\n     (const uint8_t[]){%s}},\n" % row)
        out.write("};\n\nstatic const struct golden_plain {\n    int height, width;\n    tdm_image_fit fit;\n"
                  "    int out_height, out_width;\n"
                  "    const uint8_t *pixel;\n} GOLDEN_PLAIN[] = {\n")
        for row in plains:
            out.write("    {%d, %d, %s, %d, %d,\n     (const uint8_t[]){%s}},\n" % row)
        out.write("};\n\n/* of the image of 12 x 20 px */\nstatic const struct golden_colour {\n"
                  "    image_adjustment kind;\n    double factor;\n    const uint8_t *pixel;\n} GOLDEN_COLOUR[] = {\n")
        for row in colour:
            out.write("    {%s, %r,\n     (const uint8_t[]){%s}},\n" % row)
        out.write("};\n\nstatic const uint8_t GOLDEN_GRAY[] = {%s};\n" % pixels(gray))


if __name__ == "__main__":
    main()
