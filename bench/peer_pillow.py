#!/usr/bin/env python3
"""The peer of loader_bench: the same images through Pillow as torchvision's transforms use it, in one thread.

    python3 bench/peer_pillow.py DIR SPLIT eval|train [px] [seconds] [json file]

Steps are those that torchvision.transforms calls on PIL images (functional/_functional_pil.py): Resize, CenterCrop,
convert("RGB"); RandomResizedCrop, RandomHorizontalFlip, ColorJitter, RandomGrayscale with the settings of
loader_bench.c; at the end the pixels as one u8 array. To the peer's advantage its files are in memory before the
clock runs, and nothing is copied into a batch. Writes {"images_per_s": of CPU time, "wall_images_per_s"}."""
import io
import json
import math
import os
import random
import sys
import time

import h5py
import numpy as np
from PIL import Image, ImageEnhance


def files(folder, split):
    found = []
    for name in sorted(os.listdir(folder)):
        if name.startswith(split + "-") and name.endswith(".h5"):
            with h5py.File(os.path.join(folder, name)) as shard:
                data, offset = shard["image/bytes"][:], shard["image/offset"][:]
                found += [data[a:b].tobytes() for a, b in zip(offset[:-1], offset[1:])]
    return found


def evaluation(image, px):
    width, height = image.size
    size = (int(px * width / height), px) if width >= height else (px, int(px * height / width))
    image = image.resize(size, Image.BICUBIC)
    left, top = round((size[0] - px) / 2.0), round((size[1] - px) / 2.0)
    return image.crop((left, top, left + px, top + px)).convert("RGB")


def crop_box(width, height, rng, scale=(0.7, 1.0), ratio=(3 / 4, 4 / 3)):
    for _ in range(10):
        area, aspect = width * height * rng.uniform(*scale), math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.randint(0, width - w), rng.randint(0, height - h)
            return left, top, left + w, top + h
    w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def turn_hue(image, factor):
    h, s, v = image.convert("HSV").split()
    turned = np.array(h, dtype=np.uint8)
    turned += np.array(int(factor * 255) % 256, dtype=np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), s, v)).convert("RGB")


def training(image, px, rng):
    image = image.convert("RGB").crop(crop_box(*image.size, rng)).resize((px, px), Image.BICUBIC)
    if rng.random() < 0.5:
        image = image.transpose(Image.FLIP_LEFT_RIGHT)
    if rng.random() < 0.5:
        steps = [lambda i: ImageEnhance.Brightness(i).enhance(rng.uniform(0.6, 1.4)),
                 lambda i: ImageEnhance.Contrast(i).enhance(rng.uniform(0.6, 1.4)),
                 lambda i: ImageEnhance.Color(i).enhance(rng.uniform(0.6, 1.4)),
                 lambda i: turn_hue(i, rng.uniform(-0.05, 0.05))]
        rng.shuffle(steps)
        for step in steps:
            image = step(image)
    if rng.random() < 0.2:
        gray = np.array(image.convert("L"), dtype=np.uint8)
        image = Image.fromarray(np.dstack([gray, gray, gray]))
    return image


def main():
    if not 4 <= len(sys.argv) <= 7 or sys.argv[3] not in ("eval", "train"):
        sys.exit("usage: peer_pillow.py DIR SPLIT eval|train [px] [seconds] [json file]")
    px = int(sys.argv[4]) if len(sys.argv) > 4 else 224
    seconds = float(sys.argv[5]) if len(sys.argv) > 5 else 1.0
    rng, data = random.Random(1), files(*sys.argv[1:3])
    step = (lambda i: evaluation(i, px)) if sys.argv[3] == "eval" else (lambda i: training(i, px, rng))

    def run_once():
        for encoded in data:
            np.asarray(step(Image.open(io.BytesIO(encoded))))

    run_once()
    images, cpu, begin = 0, time.process_time(), time.monotonic()
    while True:
        run_once()
        images += len(data)
        if time.process_time() - cpu >= seconds:
            break
    text = json.dumps(dict(images_per_s=images / (time.process_time() - cpu),
                           wall_images_per_s=images / (time.monotonic() - begin)))
    if len(sys.argv) > 6:
        with open(sys.argv[6], "w", encoding="utf-8") as out:
            out.write(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
