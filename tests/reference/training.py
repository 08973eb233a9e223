#!/usr/bin/env python3
"""A training run of tandem beside the same run in PyTorch: data, order of the samples, initial weights, AdamW,
schedule and clipping are equal, and so should be every loss and the weights after the last step.

    python3 training.py --tandem build/tandem [--model small|vit_b_32] [--steps 100] [--ranks 1]

Pictures and captions are made here, packed by tandem and read back from the shards with h5py. The initial weights
are PyTorch's, written as safetensors and imported; the final ones come back through `tandem export`. The order is
computed here once more from its definition (include/tandem/rng.h). Needs torch, numpy, h5py and pillow; says so and
ends with 0 when one is missing. Exit code 1 when a loss differs by more than --limit.
"""

import argparse
import io
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy as np
    import torch
    import torch.nn.functional as F
    from PIL import Image, ImageDraw
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)  # tells ctest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))
import clip_torch  # noqa: E402
from sample_order import epoch_order  # noqa: E402

MODELS = {
    "small": dict(embed=64, height=64, width_px=64, patch=16, image=(192, 4, 3), context=24, vocab=600, text=(128, 3, 2)),
    "vit_b_32": dict(embed=512, height=224, width_px=224, patch=32, image=(768, 12, 12), context=77, vocab=600,
                     text=(512, 12, 8)),
}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

SEED, LR, WARMUP, BETAS, EPS, DECAY, CLIP_NORM = 3, 3e-4, 10, (0.9, 0.98), 1e-6, 0.2, 1.0
SHAPES = ["disc", "square", "bar", "ring"]
COLOURS = {"red": (220, 40, 30), "green": (30, 160, 60), "blue": (40, 60, 220), "yellow": (230, 210, 40)}


# ---- Data ----

def make_pictures(folder, count, px):
    rng = np.random.default_rng(SEED)
    folder.mkdir()
    for i in range(count):
        shape, colour = SHAPES[i % 4], list(COLOURS)[i // 4 % 4]
        ground = rng.integers(0, 255, (px // 8, px // 8, 3), dtype=np.uint8)
        image = Image.fromarray(ground).resize((px, px), Image.BILINEAR)
        draw, box = ImageDraw.Draw(image), [px // 5, px // 5, 4 * px // 5, 4 * px // 5]
        if shape == "disc":
            draw.ellipse(box, fill=COLOURS[colour])
        elif shape == "ring":
            draw.ellipse(box, outline=COLOURS[colour], width=px // 10)
        else:
            draw.rectangle([box[0], box[1], box[2], box[3] if shape == "square" else box[1] + px // 8], fill=COLOURS[colour])
        image.save(folder / f"{i:04d}.png")
        (folder / f"{i:04d}.txt").write_text(f"a {colour} {shape} on ground number {i}\n")


def read_shards(folder, mean=MEAN, std=STD):
    """Pictures f32 [n][3][height][width], normalised, and captions, in the order of the shards."""
    images, captions = [], []
    for path in sorted(folder.glob("train-*.h5")):
        with h5py.File(path) as shard:
            data, at = shard["image/bytes"][:].tobytes(), shard["image/offset"][:]
            images += [np.asarray(Image.open(io.BytesIO(data[a:b])).convert("RGB")) for a, b in zip(at, at[1:])]
            data, at = shard["caption/bytes"][:].tobytes(), shard["caption/offset"][:]
            captions += [data[a:b].decode() for a, b in zip(at, at[1:])]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1), captions


# ---- Weights ----

def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        size = 4 * tensor.numel()
        header[name] = dict(dtype="F32", shape=list(tensor.shape), data_offsets=[at, at + size])
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.detach().contiguous().numpy().tobytes())


def read_safetensors(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8:8 + length]), raw[8 + length:]
    return {name: torch.frombuffer(bytearray(data[slice(*row["data_offsets"])]), dtype=torch.float32).view(row["shape"])
            for name, row in header.items() if name != "__metadata__"}


def model_text(shape, folder):
    tower = 'width = {}; layers = {}; heads = {}; mlp_ratio = 4.0;'.format
    return f'''model: {{
  name = "reference"; embed_dim = {shape["embed"]}; activation = "quickgelu"; tokenizer = "{folder}/bpe.txt";
  image: {{ tower = "vit"; height_px = {shape["height"]}; width_px = {shape["width_px"]}; patch_px = {shape["patch"]};
    mean = {MEAN}; std = {STD}; {tower(*shape["image"])} }};
  text: {{ tower = "text"; context_length = {shape["context"]}; vocab_size = {shape["vocab"]}; {tower(*shape["text"])} }};
}};
'''


# ---- The two runs ----

def run_torch(clip, pixels, tokens, args):
    grouped = {True: [], False: []}
    for parameter in clip.parameters():
        grouped[parameter.ndim >= 2].append(parameter)
    optimizer = torch.optim.AdamW([dict(params=grouped[True], weight_decay=DECAY),
                                   dict(params=grouped[False], weight_decay=0.0)], lr=LR, betas=BETAS, eps=EPS)
    n, losses = len(pixels), []
    per_epoch = n // args.batch
    for step in range(args.steps):
        if step % per_epoch == 0:
            order = epoch_order(n, SEED, step // per_epoch)
        rows = order[step % per_epoch * args.batch:][:args.batch]
        progress = (step - WARMUP) / (args.steps - WARMUP)
        rate = LR * (step + 1) / WARMUP if step < WARMUP else LR * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits, transposed = clip(pixels[rows], tokens[rows])
        target = torch.arange(args.batch)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(transposed, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), CLIP_NORM)
        optimizer.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, math.log(100))
        losses.append(loss.item())
    return np.array(losses)


def relative(name, ours, theirs):
    """Distance of two tensors over the norm of theirs."""
    if name.endswith("in_proj_bias"):
        # softmax does not feel the keys' bias: its gradient is rounding alone, which AdamW scales up to a whole step
        ours, theirs = (torch.cat([x.chunk(3)[0], x.chunk(3)[2]]) for x in (ours, theirs))
    return ((ours - theirs).norm() / theirs.norm()).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tandem", default=os.environ.get("TANDEM", "build/tandem"))
    parser.add_argument("--model", choices=MODELS, default="small")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--limit", type=float, default=1e-4, help="largest relative difference of a loss")
    args = parser.parse_args()
    shape = MODELS[args.model]
    tandem = os.path.abspath(args.tandem)
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

    def call(*words, **options):
        done = subprocess.run([str(w) for w in words], text=True, capture_output=True, **options)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, words))}\n{done.stderr}")
        return done.stdout

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_pictures(folder / "raw", 5 * args.batch, shape["height"])
        call(tandem, "pack", "--format", "folder", "--out", folder / "data", "--split", "train", folder / "raw")
        call(tandem, "tokenizer", "--train", "--vocab-size", shape["vocab"], "--out", folder / "bpe.txt", folder / "data")
        pixels, captions = read_shards(folder / "data")
        # two-letter words give few merges: the vocabulary is what the file holds
        ids = [list(map(int, line.split())) for line in
               call(tandem, "tokenize", "--tokenizer", folder / "bpe.txt", "--context", shape["context"],
                    input="\n".join(captions) + "\n").splitlines()]
        shape = dict(shape, vocab=max(map(max, ids)) + 1)
        tokens = torch.zeros(len(ids), shape["context"], dtype=torch.long)
        for row, caption in enumerate(ids):
            tokens[row, :len(caption)] = torch.tensor(caption)

        torch.manual_seed(SEED)
        clip = clip_torch.CLIP(**shape)
        write_safetensors(folder / "init.safetensors", dict(clip.named_parameters()))
        (folder / "model.cfg").write_text(model_text(shape, folder).removeprefix("model: {").removesuffix("};\n"))
        call(tandem, "import", "--from", folder / "init.safetensors", "--tokenizer", folder / "bpe.txt",
             "--model", folder / "model.cfg", "--out", folder / "init")
        (folder / "run.cfg").write_text(f'''seed = {SEED};
data: {{ dir = "{folder}/data"; split = "train"; }};
{model_text(shape, folder)}
augment: {{ crop: {{ min_scale = 1.0; max_scale = 1.0; min_ratio = 1.0; max_ratio = 1.0; }}; }};
train: {{ batch = {args.batch}; steps = {args.steps}; precision = "{args.precision}"; log_every = 1; threads = 1; }};
optim: {{ lr = {LR}; warmup_steps = {WARMUP}; beta1 = {BETAS[0]}; beta2 = {BETAS[1]}; eps = {EPS}; weight_decay = {DECAY};
  clip_norm = {CLIP_NORM}; schedule = "cosine"; }};
''')
        call("mpirun", "--oversubscribe", "-n", args.ranks, tandem, "train", "--config", folder / "run.cfg", "--out",
             folder / "run", "--set", f"model.pretrained={folder / 'init'}")
        ours = np.array([json.loads(line)["loss"] for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()
                         if '"loss"' in line])
        call(tandem, "export", "--model", folder / "run", "--to", folder / "final.safetensors")
        final = read_safetensors(folder / "final.safetensors")

        theirs = run_torch(clip, pixels, tokens, args)

    difference = np.abs(ours - theirs) / np.abs(theirs)
    weights = {n: relative(n, final[n], p) for n, p in clip.named_parameters()}
    worst = max(weights, key=weights.get)
    print(f"{args.model}, {args.precision}, {args.steps} steps of {args.batch} pairs, {args.ranks} ranks: loss "
          f"{theirs[0]:.4f} -> {theirs[-1]:.4f} (tandem {ours[-1]:.4f}), largest relative difference {difference.max():.2e} "
          f"(step {difference.argmax()}), of the first step {difference[0]:.2e}; weights at the end: {worst} {weights[worst]:.2e}")
    if len(ours) != args.steps or not difference.max() <= args.limit:
        sys.exit(f"FAILED: the limit is {args.limit}")


if __name__ == "__main__":
    main()
