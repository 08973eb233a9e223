#!/usr/bin/env python3
"""Images a second of one core through Tandem's loader and through Pillow, on the same files, in turn.

    make -C build tandem loader_bench
    venv/bin/python bench/loader.py --work DIR [--rounds 5] [--seconds 1] [--json FILE] [--only jpeg_500x375 …]

Makes the images (once, below DIR) and packs them, one split for each kind and size; then each round runs build/loader_bench
and bench/peer_pillow.py (which see), in alternating order, and counts CPU time. Prints a table with the medians, and
the median and spread of the rounds' ratios. Needs Pillow, NumPy and h5py."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

try:
    import h5py  # noqa: F401 (the peer's)
    import numpy as np
    import PIL
    from PIL import Image, ImageDraw
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(0)

HERE = pathlib.Path(__file__).resolve().parent
SPLITS = {  # name: (format, width, height, images)
    "jpeg_100x75": ("jpg", 100, 75, 256),
    "jpeg_256x256": ("jpg", 256, 256, 128),
    "jpeg_500x375": ("jpg", 500, 375, 64),
    "jpeg_1024x768": ("jpg", 1024, 768, 32),
    "jpeg_2048x1536": ("jpg", 2048, 1536, 16),
    "png_512x512": ("png", 512, 512, 32),
    "webp_500x375": ("webp", 500, 375, 64),
}


def picture(rng, width, height):
    """Like a photograph: noise of every scale, strongest in the coarsest, some hard edges, and the sensor's own noise."""
    total = np.zeros((height, width, 3))
    cells = 2
    while cells < max(width, height):
        size = (max(1, cells * width // max(width, height)), max(1, cells * height // max(width, height)))
        coarse = rng.normal(0, 1, (size[1], size[0], 3)) * 0.6 + rng.normal(0, 1, (size[1], size[0], 1))
        for c in range(3):
            plane = Image.fromarray(coarse[..., c].astype(np.float32)).resize((width, height), Image.BICUBIC)
            total[..., c] += np.asarray(plane) * 60 / cells**0.75
        cells *= 2
    image = Image.fromarray(np.clip(total + 120, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        corner = [(x + rng.normal(0, width / 8), y + rng.normal(0, height / 8)) for _ in range(rng.integers(3, 7))]
        draw.polygon(corner, fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    noisy = np.asarray(image) + rng.normal(0, 5.0, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).round().astype(np.uint8))


def make_split(tandem, work, name, count):
    kind, width, height, _ = SPLITS[name]
    folder = work / "raw" / name
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for i in range(count):
        picture(rng, width, height).save(folder / f"{i:04d}.{kind}", quality=90)
        (folder / f"{i:04d}.txt").write_text(f"picture {i} with soft hills of colour, some hard edges and a little "
                                             "noise of the sensor\n")
    subprocess.run([tandem, "pack", "--format", "folder", "--split", f"{name}=1", "--out", work / "shards", folder],
                   check=True, stderr=subprocess.DEVNULL)


def bits_per_pixel(work, name):
    kind, width, height, _ = SPLITS[name]
    sizes = [f.stat().st_size for f in (work / "raw" / name).glob("*." + kind)]
    return 8 * statistics.mean(sizes) / (width * height)


def rate(command, args, name, mode):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rate.json")
        subprocess.run([*command, args.work / "shards", name, mode, str(args.px), str(args.seconds), path], check=True)
        return json.loads(pathlib.Path(path).read_text())["images_per_s"]


def compare(args, name, mode):
    commands = ([args.build / "loader_bench"], [sys.executable, HERE / "peer_pillow.py"])
    rates = ([], [])
    for number in range(args.rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            rates[side].append(rate(commands[side], args, name, mode))
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for images and shards")
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of CPU time, a run")
    parser.add_argument("--px", type=int, default=224)
    parser.add_argument("--only", nargs="*", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--mode", nargs="*", choices=["eval", "train"], default=["eval", "train"])
    parser.add_argument("--images", type=int, default=0, help="to make of each; 0 = by the size")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    results = []
    print(f"Pillow {PIL.__version__}\n| images | bits per pixel | | tandem | Pillow | ratio | |\n|---|---|---|---|---|---|---|")
    for name in args.only:
        if not list((args.work / "shards").glob(name + "-*.h5")):
            make_split(args.build / "tandem", args.work, name, args.images or SPLITS[name][3])
        for mode in args.mode:
            tandem, pillow = compare(args, name, mode)
            ratio = [a / b for a, b in zip(tandem, pillow)]
            results.append(dict(split=name, mode=mode, bits_per_pixel=bits_per_pixel(args.work, name), tandem=tandem,
                                pillow=pillow, ratio=ratio))
            print(f"| {name} | {bits_per_pixel(args.work, name):.1f} | {mode} | {statistics.median(tandem):.0f} | "
                  f"{statistics.median(pillow):.0f} | {statistics.median(ratio):.2f} | {min(ratio):.2f} to "
                  f"{max(ratio):.2f} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(dict(pillow=PIL.__version__, px=args.px, results=results), indent=1) + "\n")


if __name__ == "__main__":
    main()
