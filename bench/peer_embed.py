#!/usr/bin/env python3
"""Images and captions a second through CLIP's towers in OpenVINO, ONNX Runtime or PyTorch: the peers of `tandem embed`.

    python3 bench/peer_embed.py --make model.pt --model vit_b_32          # random weights, once
    python3 bench/peer_embed.py --weights model.pt --images DIR --merges bpe_simple_vocab_16e6.txt.gz \\
        --runtime openvino --precision int8 --threads 2 --streams 2 --json FILE

The model is the module of tests/golden/clip_torch.py (bench/peer_pytorch.py --module own); `tandem import --from
model.pt` takes the same weights. DIR holds NAME.jpg with a caption in NAME.txt. Three rates are measured:

    images_per_s, captions_per_s    the towers alone, on pixels and token ids that are ready; images_per_cpu_s counts
                                    CPU time per thread, which other programs on the machine do not lengthen
    all_images_per_s                all that a user does: files are read, decoded and resized by Pillow in --workers
                                    processes, captions tokenized, and both embedded

Starting, converting and compiling the model are not timed. --streams S runs S batches at a time on threads / S threads
each. Captions are padded to the longest of all, which a careful user does, or with --pad to the model's context, as
CLIP's own tokenizer does. Converted models are kept beside the weights.

int8 is OpenVINO's by NNCF's quantisation after training with --calibration pairs, and ONNX Runtime's: dynamic
(int8), or static, with the same pairs (int8_static). --features keeps the embeddings for a comparison.

Needs NumPy and Pillow, tokenizers, PyTorch, and openvino with nncf or onnxruntime with onnx."""
import argparse
import collections
import concurrent.futures
import functools
import gzip
import itertools
import json
import multiprocessing
import pathlib
import statistics
import sys
import threading
import time

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
DECODED_AT_ONCE = 8  # images of one job of a worker
SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # of CLIP's simple_tokenizer.py


# ---- Pictures and captions ----

def decode(paths, px):
    """[n][px][px][3] u8, by the steps of torchvision's Resize and CenterCrop."""
    pixel = np.empty((len(paths), px, px, 3), np.uint8)
    for row, path in enumerate(paths):
        image = Image.open(path)
        width, height = image.size
        size = (int(px * width / height), px) if width >= height else (px, int(px * height / width))
        image = image.resize(size, Image.BICUBIC)
        left, top = round((size[0] - px) / 2.0), round((size[1] - px) / 2.0)
        pixel[row] = np.asarray(image.crop((left, top, left + px, top + px)).convert("RGB"))
    return pixel


def byte_letters():
    """The letter that stands for each byte, in the order of the ids."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in plain]
    return letters + [chr(256 + i) for i in range(256 - len(plain))]


def make_tokenizer(merges_path):
    """CLIP's, as Transformers' fast tokenizer is put together."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    merges = gzip.open(merges_path, "rt", encoding="utf-8").read().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in merges if line]
    letters = byte_letters()
    words = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer, len(words)


class Captions:
    """Texts to token ids [n][length], padded with zeros."""

    def __init__(self, args, texts, context):
        self.tokenizer, words = make_tokenizer(args.merges)
        self.start, self.end = words - 2, words - 1
        longest = 2 + max(len(e.ids) for e in self.tokenizer.encode_batch(texts))
        self.length = context if args.pad else min(context, longest)

    def encode(self, texts):
        token = np.zeros((len(texts), self.length), np.int64)
        for row, encoding in enumerate(self.tokenizer.encode_batch(texts)):
            ids = [self.start, *encoding.ids[: self.length - 2], self.end]
            token[row, : len(ids)] = ids
        return token


def read_pairs(folder, limit):
    images = sorted(pathlib.Path(folder).glob("*.jpg"))[:limit]
    if not images:
        sys.exit(f"{folder}: no NAME.jpg there")
    return images, [path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in images]


# ---- The model ----

def load_towers(args, length):
    """Modules from u8 pixels and from token ids to unit features. PyTorch is needed from here on only: not by a runtime
    whose models are converted."""
    import torch
    import torch.nn.functional as F

    import peer_pytorch

    saved = torch.load(args.weights, weights_only=True)
    clip = peer_pytorch.make_model(argparse.Namespace(model=args.model, module="own"))
    clip.load_state_dict(saved)
    clip.positional_embedding = torch.nn.Parameter(clip.positional_embedding[:length])
    clip = clip.eval().requires_grad_(False)

    class Images(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.clip = clip
            self.register_buffer("mean", 255 * torch.tensor(MEAN).view(1, 3, 1, 1))
            self.register_buffer("scale", 1 / (255 * torch.tensor(STD).view(1, 3, 1, 1)))

        def forward(self, pixel):
            x = (pixel.permute(0, 3, 1, 2).float() - self.mean) * self.scale
            x = x.to(self.clip.visual.proj.dtype)
            return F.normalize(self.clip.encode_image(x).float(), dim=-1)

    class Texts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.clip = clip

        def forward(self, token):
            return F.normalize(self.clip.encode_text(token).float(), dim=-1)

    return {"image": Images().eval(), "text": Texts().eval()}


def make_weights(args):
    import torch

    import peer_pytorch

    torch.manual_seed(1)
    clip = peer_pytorch.make_model(argparse.Namespace(model=args.model, module="own"))
    with torch.no_grad():  # no bias is zero and no scale is one, so that a step that is left out shows
        for name, value in clip.named_parameters():
            if name.endswith("bias"):
                value.normal_(std=0.05)
            elif value.dim() == 1 and name.endswith("weight"):
                value.uniform_(0.7, 1.3)
    torch.save(clip.state_dict(), args.make)


# ---- Runtimes: each makes, of a module, a function from one batch to its features ----

def leave_out(why):
    print(f"left out: {why}", file=sys.stderr)
    sys.exit(1)


class PyTorch:
    precisions = ("f32", "bf16")

    def __init__(self, args, modules, _calibration):
        import torch

        self.torch, self.args, self.version, self.modules = torch, args, torch.__version__, modules()
        if args.precision == "bf16":
            if not torch.cpu._is_avx512_bf16_supported():
                leave_out("this CPU has no instructions for bf16")
            for module in self.modules.values():
                module.clip.bfloat16()

    def begin_thread(self):
        self.torch.set_num_threads(self.args.threads // self.args.streams)

    def tower(self, modality, _example):
        module = self.modules[modality]
        if self.args.compile:
            module = self.torch.compile(module)

        def run(batch):
            with self.torch.inference_mode():
                return module(self.torch.from_numpy(batch)).numpy()

        return run


class OpenVINO:
    precisions = ("f32", "bf16", "int8")

    def __init__(self, args, modules, calibration):
        import openvino

        self.ov, self.args, self.version = openvino, args, openvino.__version__
        self.core, self.modules, self.calibration = openvino.Core(), modules, calibration
        if args.precision == "bf16" and "BF16" not in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            leave_out("this CPU has no instructions for bf16")

    def begin_thread(self):
        pass

    def convert(self, modality, example):
        import torch

        model = self.ov.convert_model(self.modules()[modality], example_input=torch.from_numpy(example))
        model.reshape([-1, *example.shape[1:]])
        if self.args.precision == "int8":
            import nncf

            rows = [self.calibration[modality][i : i + 1] for i in range(len(self.calibration[modality]))]
            model = nncf.quantize(model, nncf.Dataset(rows), model_type=nncf.ModelType.TRANSFORMER,
                                  subset_size=len(rows))
        return model

    def tower(self, modality, example):
        kind = "int8" if self.args.precision == "int8" else "f32"
        path = kept_path(self.args, modality, example, f"{kind}.xml")
        if not path.exists():
            self.ov.save_model(self.convert(modality, example), path, compress_to_fp16=False)
        model = self.core.read_model(path)
        model.reshape(list(example.shape))
        hint = "bf16" if self.args.precision == "bf16" else "f32"
        compiled = self.core.compile_model(model, "CPU", {
            "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": self.args.streams,
            "INFERENCE_NUM_THREADS": self.args.threads, "INFERENCE_PRECISION_HINT": hint})
        own = threading.local()

        def run(batch):
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            own.request.infer([batch], share_inputs=True)
            return own.request.get_output_tensor(0).data.copy()

        return run


class OnnxRuntime:
    precisions = ("f32", "int8", "int8_static")

    def __init__(self, args, modules, calibration):
        import onnxruntime

        self.ort, self.args, self.version = onnxruntime, args, onnxruntime.__version__
        self.modules, self.calibration = modules, calibration
        onnxruntime.set_default_logger_severity(3)

    def begin_thread(self):
        pass

    def export(self, modality, example):
        """The model in f32, with a free number of rows."""
        import torch

        path = kept_path(self.args, modality, example, "f32.onnx")
        if not path.exists():
            torch.onnx.export(self.modules()[modality], (torch.from_numpy(example),), str(path), input_names=["x"],
                              output_names=["y"], dynamic_axes={"x": {0: "rows"}, "y": {0: "rows"}}, dynamo=False,
                              opset_version=17)
        return path

    def quantize(self, modality, example, path):
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared = str(path) + ".prepared"
        quant_pre_process(str(self.export(modality, example)), prepared, skip_symbolic_shape=True)
        if self.args.precision == "int8":
            quantization.quantize_dynamic(prepared, str(path), per_channel=True,
                                          op_types_to_quantize=["MatMul", "Gemm"],
                                          weight_type=quantization.QuantType.QInt8)
        else:
            rows = iter(self.calibration[modality])
            reader = type("Rows", (quantization.CalibrationDataReader,), {
                "get_next": lambda self: next(({"x": row[None]} for row in rows), None)})()
            quantization.quantize_static(prepared, str(path), reader, per_channel=True,
                                         op_types_to_quantize=["MatMul", "Gemm"],
                                         weight_type=quantization.QuantType.QInt8,
                                         extra_options=dict(MatMulConstBOnly=True))
        pathlib.Path(prepared).unlink()

    def tower(self, modality, example):
        path = kept_path(self.args, modality, example, f"{self.args.precision}.onnx")
        if self.args.precision == "f32":
            path = self.export(modality, example)
        elif not path.exists():
            self.quantize(modality, example, path)
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.args.threads // self.args.streams
        options.inter_op_num_threads = 1
        options.add_free_dimension_override_by_name("rows", example.shape[0])
        session = self.ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, {"x": batch})[0]


RUNTIMES = {"torch": PyTorch, "openvino": OpenVINO, "onnxruntime": OnnxRuntime}


def kept_path(args, modality, example, kind):
    """Where a converted model is kept: one for each length of captions."""
    length = f"-{example.shape[1]}" if modality == "text" else ""
    return pathlib.Path(f"{args.weights}.{modality}{length}.{kind}")


# ---- Work ----

def in_turn(pool, function, items, at_once):
    """function of each item, in order, with at most `at_once` under way."""
    waiting = collections.deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= at_once:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def whole_batches(parts, size):
    """Batches of `size` rows from arrays of fewer; the last may be short."""
    rows = []
    for part in parts:
        rows.append(part)
        if sum(len(p) for p in rows) >= size:
            yield np.concatenate(rows)
            rows = []
    if rows:
        yield np.concatenate(rows)


def run_short(run, size):
    """Batches have one size: a short one repeats its last row."""
    def padded(batch):
        if len(batch) == size:
            return run(batch)
        return run(np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)]))[: len(batch)]
    return padded


class Bench:
    def __init__(self, args):
        begin = time.monotonic()
        self.args = args
        self.images, self.texts = read_pairs(args.images, args.limit)
        import peer_pytorch

        self.px = peer_pytorch.MODELS[args.model]["px"]
        self.captions = Captions(args, self.texts, peer_pytorch.context_of(args.model))
        few = max(args.calibration, args.batch)
        self.pixel = decode(list(itertools.islice(itertools.cycle(self.images), few)), self.px)
        self.token = self.captions.encode(list(itertools.islice(itertools.cycle(self.texts), few)))
        calibration = dict(image=self.pixel[: args.calibration], text=self.token[: args.calibration])
        modules = functools.cache(lambda: load_towers(args, self.captions.length))
        self.runtime = RUNTIMES[args.runtime](args, modules, calibration)
        self.pool = concurrent.futures.ThreadPoolExecutor(args.streams, initializer=self.runtime.begin_thread)
        self.tower = {
            "image": run_short(self.runtime.tower("image", self.pixel[: args.batch]), args.batch),
            "text": run_short(self.runtime.tower("text", self.token[: args.batch]), args.batch)}
        self.start_s = time.monotonic() - begin

    def embed(self, modality, batches):
        return in_turn(self.pool, self.tower[modality], batches, self.args.streams + 1)

    def rate(self, modality, data):
        """Rows a second of one tower, over --seconds, and rows a second of CPU time per thread."""
        batch, streams = data[: self.args.batch], self.args.streams
        list(self.embed(modality, [batch] * (2 * streams)))
        rates, cpu_rates, rows, until = [], [], 2 * streams * len(batch), time.monotonic() + self.args.seconds
        while not rates or time.monotonic() < until:
            begin, cpu_begin = time.monotonic(), time.process_time()
            list(self.embed(modality, [batch] * (2 * streams)))
            rates.append(rows / (time.monotonic() - begin))
            cpu_rates.append(rows * self.args.threads / (time.process_time() - cpu_begin))
        return statistics.median(rates), statistics.median(cpu_rates)

    def embed_files(self, workers):
        """All images and captions, and the seconds they took."""
        begin = time.monotonic()
        jobs = [self.images[i : i + DECODED_AT_ONCE] for i in range(0, len(self.images), DECODED_AT_ONCE)]
        ahead = 2 * max(self.args.workers, self.args.streams * self.args.batch // DECODED_AT_ONCE)
        decoded = in_turn(workers, decode_job, [(job, self.px) for job in jobs], ahead)
        image = np.concatenate(list(self.embed("image", whole_batches(decoded, self.args.batch))))
        size = self.args.batch
        tokens = (self.captions.encode(self.texts[i : i + size]) for i in range(0, len(self.texts), size))
        text = np.concatenate(list(self.embed("text", tokens)))
        return image, text, time.monotonic() - begin

    def measure_all(self):
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(self.args.workers, mp_context=context) as workers:
            list(workers.map(decode_job, [(self.images[:DECODED_AT_ONCE], self.px)] * (4 * self.args.workers)))
            image, text, seconds = self.embed_files(workers)
        if self.args.features:
            np.savez(self.args.features, image=image, text=text)
        return len(image) / seconds


def decode_job(job):
    return decode(*job)


def measure(args):
    bench = Bench(args)
    result = dict(peer=args.runtime, version=bench.runtime.version, model=args.model, precision=args.precision,
                  threads=args.threads, streams=args.streams, batch=args.batch, workers=args.workers,
                  compile=args.compile, caption_tokens=bench.captions.length, pairs=len(bench.images),
                  start_s=round(bench.start_s, 2))
    if args.work in ("towers", "both"):
        result["images_per_s"], result["images_per_cpu_s"] = bench.rate("image", bench.pixel)
        result["captions_per_s"], result["captions_per_cpu_s"] = bench.rate("text", bench.token)
    if args.work in ("all", "both"):
        result["all_images_per_s"] = bench.measure_all()
    text = json.dumps(result)
    print(text, flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(text + "\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--make", metavar="FILE", help="write random weights there, and do nothing else")
    parser.add_argument("--model", choices=["vit_b_32", "vit_b_16", "vit_l_14"], default="vit_b_32")
    parser.add_argument("--weights", help="state dict as --make writes it")
    parser.add_argument("--images", help="folder of NAME.jpg and NAME.txt")
    parser.add_argument("--limit", type=int, help="the first so many")
    parser.add_argument("--merges", help="bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--runtime", choices=list(RUNTIMES), default="torch")
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16", "int8", "int8_static"])
    parser.add_argument("--work", choices=["towers", "all", "both"], default="both")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2, help="that compute, over all streams")
    parser.add_argument("--streams", type=int, default=1, help="batches at a time")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode")
    parser.add_argument("--compile", action="store_true", help="torch.compile the towers")
    parser.add_argument("--pad", action="store_true", help="captions to the model's context")
    parser.add_argument("--calibration", type=int, default=32, help="pairs that int8 is calibrated with")
    parser.add_argument("--seconds", type=float, default=4, help="that each tower is timed")
    parser.add_argument("--features", metavar="FILE.npz", help="keep the embeddings")
    parser.add_argument("--json", help="also write the JSON here")
    args = parser.parse_args()
    if args.make:
        return args
    if not (args.weights and args.images and args.merges):
        parser.error("--weights, --images and --merges are needed")
    if args.precision not in RUNTIMES[args.runtime].precisions:
        parser.error(f"{args.runtime} has {', '.join(RUNTIMES[args.runtime].precisions)}")
    if args.threads % args.streams:
        parser.error("--threads must be divisible by --streams")
    return args


def main():
    args = parse_arguments()
    if args.make:
        make_weights(args)
    else:
        measure(args)


if __name__ == "__main__":
    main()
