#!/usr/bin/env python3
"""Random CLIP weights by OpenAI's published model code: Tandem imports them, and embeds the same images and texts.

    TANDEM=build/tandem $TANDEM_PYTHON tests/reference/pretrained.py --clip CLONE \\
        --merges bpe_simple_vocab_16e6.txt.gz --work DIR [--models tiny,tiny-RN,ViT-B/32,ViT-B/16,RN50] [--export] [--json FILE]

CLONE is a clone of github.com/openai/CLIP. Needs PyTorch, h5py and Pillow; says "skipped: …" and exits with 77 without
them. Each model is saved as .pt and as safetensors; both must give the same checkpoint. Images are PNG of exactly the
model's size, so that no resizing takes part; captions are tokenized by `tandem tokenize`. Features are compared as unit
vectors: the largest absolute difference is then relative to the feature norm.

The tiny models also come as an open_clip training run, as TBPS-CLIP's checkpoint, as a TorchScript archive, and within
another model beside an averaged copy.

With --export, the checkpoint goes out under both namings and in all three dtypes: OpenAI's model code (and open_clip,
where it can be imported) loads the one, Transformers' CLIPModel and CLIPProcessor the other, no key missing or left
over, with the same features and, for the tokenizer, the same ids."""
import argparse
import importlib.util
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys

MODELS = {  # OpenAI's constructor: embed, image px, layers, width, patch, context, vocabulary, text width, heads, layers
    "ViT-B/32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
    "ViT-B/16": (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12),
    "ViT-L/14": (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12),
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12),
    "RN101": (512, 224, (3, 4, 23, 3), 64, None, 77, 49408, 512, 8, 12),
    "tiny": (64, 64, 2, 128, 16, 77, 49408, 64, 1, 2),
    "tiny-RN": (64, 64, (1, 2, 1, 1), 16, None, 77, 49408, 64, 1, 2),
}
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
LIMITS = {"f32": (0.999999, 1e-4), "bf16": (0.999, None)}  # least cosine, largest difference


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)  # tells ctest


try:
    import h5py
    import numpy as np
    import torch
    from PIL import Image
except ImportError as error:
    skip(error)


def openai_module(clone):
    path = pathlib.Path(clone) / "clip" / "model.py"
    if not path.exists():
        skip(f"{path} is not there; name a clone of openai/CLIP with --clip")
    spec = importlib.util.spec_from_file_location("openai_clip_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_model(published, name):
    """The published initialisation, with biases, norms and running statistics that are not their start values."""
    torch.manual_seed(1)
    model = published.CLIP(*MODELS[name]).float().eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("num_batches_tracked"):
                value.fill_(1)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif key.endswith(("bias", "running_mean")):
                value.normal_(std=0.05)
            elif value.dim() == 1 and key.endswith("weight"):
                value.uniform_(0.7, 1.3)
    return model


def write_safetensors(path, tensors):
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            out.write(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.dim()
                      else tensor.reshape(1).view(torch.uint8).numpy().tobytes())


def make_samples(folder, px, count):
    """Images of waves and noise, and captions of random words; the raw data of `tandem pack --format folder`."""
    rng = random.Random(5)
    generator = np.random.default_rng(5)
    words = "a photo of the red house with two small dogs under an old tree, sunny day isn't it 42 café".split()
    folder.mkdir()
    y, x = np.mgrid[0:px, 0:px] / px
    captions = []
    for i in range(count):
        f = generator.uniform(1, 20, (3, 4))
        waves = [128 + 70 * np.sin(a * x + b) + 50 * np.cos(c * y + d) for a, b, c, d in f]
        pixels = np.stack(waves, -1) + generator.normal(0, 15, (px, px, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04}.png")
        captions.append(" ".join(rng.choice(words) for _ in range(rng.randint(1, 100 if i == 0 else 30))))
        (folder / f"{i:04}.txt").write_text(captions[-1] + "\n")
    return captions


class Check:
    def __init__(self, options):
        self.options = options
        self.figures = {}
        self.failures = []

    def tandem(self, *arguments, **more):
        done = subprocess.run([self.options.tandem, *map(str, arguments)], capture_output=True, text=True, **more)
        if done.returncode:
            sys.exit(f"tandem {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    def tokenize(self, captions, context):
        lines = self.tandem("tokenize", "--tokenizer", self.options.merges, "--context", context,
                            input="\n".join(captions) + "\n").splitlines()
        tokens = torch.zeros(len(lines), context, dtype=torch.int64)
        for i, line in enumerate(lines):
            ids = [int(word) for word in line.split()]
            tokens[i, :len(ids)] = torch.tensor(ids)
        return tokens

    def embed(self, checkpoint, data, precision):
        out = self.options.work / "embedded"
        shutil.rmtree(out, ignore_errors=True)
        self.tandem("embed", "--model", checkpoint, "--data", data, "--split", "train", "--out", out, "--batch", 16,
                    "--precision", precision)
        with h5py.File(out / "train-00000.h5") as file:
            return file["image/embedding"][:], file["text/embedding"][:]

    def compare(self, what, ours, theirs, precision="f32"):
        """Unit rows against unit rows."""
        ours, theirs = np.float64(ours), np.float64(theirs)
        ours /= np.linalg.norm(ours, axis=1, keepdims=True)
        theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
        cosine, largest = float((ours * theirs).sum(1).min()), float(np.abs(ours - theirs).max())
        least, most = LIMITS[precision]
        good = cosine >= least and (most is None or largest <= most)
        print(f"{what}: least cosine 1 - {1 - cosine:.1e}, largest difference {largest:.1e} of the norm"
              f"{'' if good else '  FAILED'}", flush=True)
        self.figures[what] = {"least_cosine": cosine, "largest_difference": largest}
        if not good:
            self.failures.append(what)

    def require(self, what, good):
        print(f"{what}: {'yes' if good else 'NO  FAILED'}", flush=True)
        if not good:
            self.failures.append(what)


def pixels_of(folder, count):
    images = [np.asarray(Image.open(folder / f"{i:04}.png")) for i in range(count)]
    images = torch.from_numpy(np.stack(images)).float() / 255
    return ((images - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


def real_tokens(tokens):
    """Up to the end token, the largest id; Transformers' tokenizer pads with it, others with zeros."""
    return torch.arange(tokens.shape[1])[None] <= tokens.argmax(1)[:, None]


def same_weights(first, second):
    with h5py.File(first / "model.h5") as a, h5py.File(second / "model.h5") as b:
        return sorted(a["param"]) == sorted(b["param"]) and all(
            np.array_equal(a["param"][name][()], b["param"][name][()]) for name in a["param"])


def check_model(check, published, name):
    options, work = check.options, check.options.work / name.replace("/", "-")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    model = random_model(published, name)
    state = model.state_dict()
    torch.save(state, work / "weights.pt")
    write_safetensors(work / "weights.safetensors", state)
    for kind in ("pt", "safetensors"):
        check.tandem("import", "--from", work / f"weights.{kind}", "--tokenizer", options.merges, "--out", work / kind)
    check.require(f"{name}: .pt and safetensors give the same checkpoint",
                  same_weights(work / "pt", work / "safetensors"))
    if name.startswith("tiny"):
        check_containers(check, model, name, work)
    captions = make_samples(work / "raw", MODELS[name][1], options.samples)
    check.tandem("pack", "--format", "folder", "--out", work / "data", "--split", "train", work / "raw")
    pixels, tokens = pixels_of(work / "raw", options.samples), check.tokenize(captions, 77)
    with torch.no_grad():
        image, text = model.encode_image(pixels).numpy(), model.encode_text(tokens).numpy()
    for precision in options.precision.split(","):
        ours = check.embed(work / "safetensors", work / "data", precision)
        check.compare(f"{name} image {precision}", ours[0], image, precision)
        check.compare(f"{name} text {precision}", ours[1], text, precision)
    if options.export:
        check_export(check, published, name, work, captions, pixels, tokens, image, text)


def check_containers(check, model, name, work):
    """The same weights as other programs wrap them: an open_clip training run, TBPS-CLIP's, a TorchScript archive."""
    state, merges = model.state_dict(), check.options.merges
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    training = {"epoch": 3, "name": "run", "state_dict": {f"module.{key}": value for key, value in state.items()},
                "optimizer": optimizer.state_dict()}
    tbps = {key if key.startswith(("visual.", "logit_scale")) else f"encode_text.{key}": value
            for key, value in state.items()}
    tbps |= {"simclr_mlp.0.weight": torch.zeros(4, 4), "mlm_head.fc.bias": torch.zeros(7)}
    torch.save(training, work / "training.pt")
    torch.save({"model": tbps, "optimizer": optimizer.state_dict(), "config": {"model": {"embed_dim": 64}}},
               work / "tbps.pth")
    px = MODELS[name][1]
    traced = torch.jit.trace(model, (torch.zeros(1, 3, px, px), torch.zeros(1, 77, dtype=torch.int64)), check_trace=False)
    torch.jit.save(traced, work / "script.pt")
    wrapped = {f"net.backbone.{key}": value for key, value in state.items()}
    torch.save({"state_dict": wrapped, "state_dict_ema": {key: torch.zeros_like(value) for key, value in wrapped.items()},
                "hyper_parameters": {"lr": 0.1}}, work / "wrapped.ckpt")
    for file in ("training.pt", "tbps.pth", "script.pt", "wrapped.ckpt"):
        out = work / f"from-{file}"
        check.tandem("import", "--from", work / file, "--tokenizer", merges, "--out", out)
        check.require(f"{name}: {file} gives the same checkpoint", same_weights(work / "safetensors", out))


def load_file(path):
    """A safetensors file by the format's description, without the package."""
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, row in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + at for at in row["data_offsets"])
            tensors[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=types[row["dtype"]]).reshape(row["shape"])
    return tensors


def check_export(check, published, name, work, captions, pixels, tokens, image, text):
    checkpoint = work / "safetensors"
    for dtype in ("f32", "bf16", "f16"):
        precision = "f32" if dtype == "f32" else "bf16"
        folder = work / f"open_clip-{dtype}"
        check.tandem("export", "--model", checkpoint, "--to", folder, "--naming", "open_clip", "--dtype", dtype)
        other = published.CLIP(*MODELS[name]).float().eval()
        other.load_state_dict(load_file(folder / "model.safetensors"))  # strict: no key missing or left over
        with torch.no_grad():
            check.compare(f"{name} export open_clip {dtype}, OpenAI's code: image", other.encode_image(pixels), image,
                          precision)
            check.compare(f"{name} export open_clip {dtype}, OpenAI's code: text", other.encode_text(tokens), text,
                          precision)
    check_open_clip(check, name, work / "open_clip-f32", captions, pixels, tokens, image, text)
    if MODELS[name][4] is not None:
        check_transformers(check, name, work, captions, pixels, tokens, image, text)


def check_open_clip(check, name, folder, captions, pixels, tokens, image, text):
    try:
        import open_clip
    except Exception as error:  # torchvision may be missing or of another PyTorch
        print(f"{name}: open_clip: skipped: {error}")
        return
    model = open_clip.create_model(f"local-dir:{folder}", precision="fp32").eval()
    with torch.no_grad():
        check.compare(f"{name} export, open_clip {open_clip.__version__}: image", model.encode_image(pixels), image)
        check.compare(f"{name} export, open_clip {open_clip.__version__}: text", model.encode_text(tokens), text)
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(captions)
    check.require(f"{name} export, open_clip: the same ids", bool((ids == tokens)[real_tokens(tokens)].all()))


def check_transformers(check, name, work, captions, pixels, tokens, image, text):
    try:
        import transformers
    except ImportError as error:
        print(f"{name}: Transformers: skipped: {error}")
        return
    label = f"{name} export, Transformers {transformers.__version__}"
    for dtype in ("f32", "bf16", "f16"):
        folder = work / f"huggingface-{dtype}"
        check.tandem("export", "--model", work / "safetensors", "--to", folder, "--naming", "huggingface", "--dtype", dtype)
        model, info = transformers.CLIPModel.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
        left = {key: value for key, value in info.items() if value}
        check.require(f"{label} {dtype}: no key missing or left over {left or ''}", not left)
        processor = transformers.CLIPProcessor.from_pretrained(folder)
        batch = processor(text=captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        same = batch["input_ids"] == tokens
        check.require(f"{label} {dtype}: the same ids", bool(same[real_tokens(tokens)].all()))
        pictures = [Image.open(work / "raw" / f"{i:04}.png") for i in range(len(captions))]
        made = processor(images=pictures, return_tensors="pt")["pixel_values"]
        check.require(f"{label} {dtype}: the same pixels", float((made - pixels).abs().max()) < 1e-5)
        with torch.no_grad():
            ours = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], pixel_values=made)
        precision = "f32" if dtype == "f32" else "bf16"
        check.compare(f"{label} {dtype}: image", ours.image_embeds, image, precision)
        check.compare(f"{label} {dtype}: text", ours.text_embeds, text, precision)
        if dtype == "f32":  # as Transformers writes it: in shards, with tokenizer.json
            model.save_pretrained(work / "saved", max_shard_size=f"{model.num_parameters() // 750}KB")
            processor.save_pretrained(work / "saved")
            check.tandem("import", "--from", work / "saved", "--out", work / "from-saved")
            files = len(list((work / "saved").glob("*.safetensors")))
            check.require(f"{label}: its own folder of {files} shards gives the same checkpoint",
                          same_weights(work / "safetensors", work / "from-saved"))
    back = work / "back"
    check.tandem("import", "--from", work / "huggingface-f32", "--out", back)
    check.require(f"{name}: out as huggingface and back: the same bits", same_weights(work / "safetensors", back))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", required=True)
    parser.add_argument("--merges", required=True)
    parser.add_argument("--tandem", default=os.environ.get("TANDEM", "tandem"))
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--models", default="tiny,tiny-RN,ViT-B/32,ViT-B/16,RN50")
    parser.add_argument("--precision", default="f32,bf16")
    parser.add_argument("--vocab", type=int, default=49408, help="of --merges")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    check = Check(options)
    published = openai_module(options.clip)
    for name, row in MODELS.items():
        MODELS[name] = (*row[:6], options.vocab, *row[7:])
    for name in options.models.split(","):
        check_model(check, published, name)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(check.figures, indent=2) + "\n")
    if check.failures:
        sys.exit(f"{len(check.failures)} failed: {', '.join(check.failures)}")


if __name__ == "__main__":
    main()
