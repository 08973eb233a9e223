#!/usr/bin/env python3
"""`tandem eval --task zeroshot` against PyTorch: a small model, its weights and pictures read by h5py and Pillow, class
features and accuracies computed as in CLIP's notebook (Prompt_Engineering_for_ImageNet.ipynb).

    TANDEM=build/tandem MAKE_SHAPES=build/tests/eval/make_shapes python3 tests/reference/zeroshot.py

Needs torch, numpy, h5py and Pillow; without them it says so and ends with 0.
"""

import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy as np
    import torch
    from PIL import Image
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)  # tells ctest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
import clip_torch  # noqa: E402

TEMPLATES = ["a {}", "{} of colour red", "there is a {}, a green {}."]
CONTEXT, PX, PATCH, WIDTH, LAYERS, HEADS, EMBED = 16, 32, 8, 32, 2, 2, 32
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
CLOSE = 1e-5  # classes whose cosines are nearer than this may change places


def tandem(*arguments, **options):
    environment = dict(os.environ, OMP_NUM_THREADS="1", OMPI_ALLOW_RUN_AS_ROOT="1",
                       OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    done = subprocess.run([os.environ["TANDEM"], *arguments], capture_output=True, text=True, env=environment, **options)
    if done.returncode:
        sys.exit(f"tandem {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def write_config(vocab):
    pathlib.Path("run.cfg").write_text(f"""
data: {{ dir = "data"; split = "train"; workers = 1; }};
model: {{ name = "tiny"; embed_dim = {EMBED}; activation = "quickgelu"; tokenizer = "bpe.txt";
  image: {{ height_px = {PX}; width_px = {PX}; patch_px = {PATCH}; width = {WIDTH}; layers = {LAYERS}; heads = {HEADS}; }};
  text: {{ context_length = {CONTEXT}; vocab_size = {vocab}; width = {WIDTH}; layers = {LAYERS}; heads = {HEADS}; }}; }};
train: {{ batch = 64; steps = 40; precision = "f32"; }};
optim: {{ lr = 3e-3; warmup_steps = 10; }};
""")


def load_model(vocab):
    clip = clip_torch.CLIP(embed=EMBED, height=PX, width_px=PX, patch=PATCH, image=(WIDTH, LAYERS, HEADS), context=CONTEXT,
                           vocab=vocab, text=(WIDTH, LAYERS, HEADS))
    checkpoint = pathlib.Path("run/checkpoints")
    with h5py.File(checkpoint / (checkpoint / "latest").read_text().strip() / "model.h5") as file:
        clip.load_state_dict({name: torch.from_numpy(np.array(value)).reshape(clip.state_dict()[name].shape)
                              for name, value in file["param"].items()})
    return clip


def read_split():
    pixels, label = [], []
    for path in sorted(pathlib.Path("mixed").glob("mixed-*.h5")):
        with h5py.File(path) as file:
            data, offset = np.array(file["image/bytes"]).tobytes(), np.array(file["image/offset"])
            label.append(np.array(file["image/class"]))
            pixels += [np.array(Image.open(io.BytesIO(data[a:b])).convert("RGB")) for a, b in zip(offset, offset[1:])]
    pixels = torch.from_numpy(np.stack(pixels)).float() / 255
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2), np.concatenate(label).astype(bool)


def class_feature(clip, name):
    lines = tandem("tokenize", "--tokenizer", "bpe.txt", "--context", str(CONTEXT),
                   input="".join(form.replace("{}", name) + "\n" for form in TEMPLATES)).splitlines()
    token = torch.zeros(len(lines), CONTEXT, dtype=torch.long)
    for row, line in zip(token, lines):
        ids = torch.tensor([int(i) for i in line.split()])
        row[: len(ids)] = ids
    feature = clip.encode_text(token)
    feature = (feature / feature.norm(dim=-1, keepdim=True)).mean(dim=0)
    return feature / feature.norm()


def main():
    subprocess.run([os.environ["MAKE_SHAPES"], "data"], check=True)
    subprocess.run([os.environ["MAKE_SHAPES"], "mixed", "mixed"], check=True)
    tandem("tokenizer", "--train", "--vocab-size", "560", "--out", "bpe.txt", "data")
    vocab = sum(not line.startswith("#") for line in open("bpe.txt")) + 514
    write_config(vocab)
    pathlib.Path("templates.txt").write_text("\n".join(TEMPLATES))
    tandem("train", "--config", "run.cfg", "--out", "run")
    ours = json.loads(tandem("eval", "--task", "zeroshot", "--model", "run", "--data", "mixed", "--split", "mixed",
                             "--templates", "templates.txt"))
    names = [row["name"] for row in ours["per_class"]]
    with torch.no_grad():
        clip = load_model(vocab)
        pixels, label = read_split()
        image = clip.encode_image(pixels)
        cosine = image / image.norm(dim=-1, keepdim=True) @ torch.stack([class_feature(clip, n) for n in names]).T
    cosine = cosine.numpy()
    best, margin = cosine.argmax(1), np.diff(np.sort(cosine, 1)[:, -2:], axis=1)[:, 0]
    hit, labelled = label[np.arange(len(label)), best], label.any(1)
    assert ours["images"] == len(label) and ours["without_class"] == (~labelled).sum()
    unsure = int((margin[labelled] < CLOSE).sum())
    found = round(ours["top_1"] * labelled.sum())
    print(f"{len(label)} images, {len(names)} classes, {len(TEMPLATES)} templates: torch finds {hit[labelled].sum()}, tandem "
          f"{found}; {unsure} are too close to call")
    assert abs(found - hit[labelled].sum()) <= unsure
    for c, row in enumerate(ours["per_class"]):
        assert row["images"] == label[:, c].sum()
        assert abs(row["top_1"] * row["images"] - (label[:, c] & hit).sum()) <= unsure + 1e-9, row


with tempfile.TemporaryDirectory() as work:
    os.environ["TANDEM"] = os.path.abspath(os.environ["TANDEM"])
    os.environ["MAKE_SHAPES"] = os.path.abspath(os.environ["MAKE_SHAPES"])
    os.chdir(work)
    main()
