#!/usr/bin/env python3
"""Writes tensors/*: small safetensors files and PyTorch archives, and tensor_golden.h: the tensors in each as PyTorch
sees them, and how PyTorch rounds f32 to f16 and bf16. Needs PyTorch and safetensors."""
import argparse
import collections
import datetime
import json
import os
import pathlib
import warnings
import zipfile

import numpy as np
import safetensors
import safetensors.torch
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "tensors")
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
         "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
         "BOOL": torch.bool}
NAMES = {v: k for k, v in TYPES.items()}


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Linear(3, 2)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x):
        return self.proj(x) * self.scale


class Outer(torch.nn.Module):
    """Shared, nested and frozen parameters."""

    def __init__(self):
        super().__init__()
        self.visual = torch.nn.Sequential(Inner(), torch.nn.Identity(), torch.nn.LayerNorm(2))
        self.temperature = torch.nn.Parameter(torch.tensor(2.5))
        self.register_buffer("steps", torch.tensor(7))
        self.tied = self.visual[0].proj

    def forward(self, x):
        return self.visual(x) * self.temperature + self.tied(x).sum()


def all_types():
    base = torch.arange(6).reshape(2, 3) - 2
    tensors = {name.lower(): (base.abs() if name == "U8" else base).to(dtype) for name, dtype in TYPES.items()}
    tensors["scalar"] = torch.tensor(3.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["f32_values"] = torch.tensor([1e-40, -0.0, 3.4028235e38, 1 / 3])
    tensors["f64_values"] = torch.tensor([1 / 3, 1 + 2.0**-30, -1e-300], dtype=torch.float64)
    tensors["f16_values"] = torch.tensor([6e-8, 65504, -1 / 3], dtype=torch.float16)
    tensors["i64_values"] = torch.tensor([2**40, -2**24 - 1, 2**62 + 1])
    return tensors


def strided():
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    half = torch.arange(12, dtype=torch.bfloat16).reshape(3, 4)
    return {"base": base, "transposed": base.transpose(0, 2), "column": base[:, :, 1], "stepped": base[:, ::2, 1::2],
            "offset": base[1], "expanded": base[0, 1].expand(3, 4), "one": base[1:2, 2:, 3:], "flat": base.flatten(),
            "half": half.t(), "half_offset": half[1:, 2], "none": base[:, 3:].transpose(1, 2)}


def flatten(value, name=""):
    """The tensors of nested containers, under joined names."""
    if isinstance(value, torch.Tensor):
        return {name or "tensor": value.detach()}
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    elif isinstance(value, argparse.Namespace):
        items = vars(value).items()
    else:
        return {}
    out = {}
    for key, inner in items:
        out.update(flatten(inner, f"{name}.{key}" if name else str(key)))
    return out


def checkpoint(model):
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    return {"epoch": 3, "model": {"module." + k: v for k, v in model.state_dict().items()},
            "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
            "args": argparse.Namespace(lr=1e-3, names=["a", "b"], wide=2**70, mean=torch.tensor([0.5, 0.25])),
            "best": np.float64(0.5), "mask": np.arange(3), "when": datetime.datetime(2024, 1, 2),
            "out": pathlib.PurePosixPath("runs"), "device": torch.device("cpu"), "dtype": torch.float16,
            "size": torch.Size([2, 3]), "rng": torch.arange(8, dtype=torch.uint8), "none": None, "yes": True,
            "words": {"a", "b"}, "raw": b"\x00\xff", "counts": collections.Counter("abca"),
            "groups": collections.defaultdict(list, {"x": [torch.tensor([1.0]), (torch.tensor([2.0]), "y")]}),
            "long": "é" * 300, 5: {"int_key": torch.tensor([3, 4])}}


def rezip(source, target, method=zipfile.ZIP_STORED, replace=None):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for info in old.infolist():
            new.writestr(zipfile.ZipInfo(info.filename), (replace or {}).get(os.path.basename(info.filename),
                                                                             old.read(info)), method)


def write_files():
    """{file: the tensors in it, or None when it is to be refused}"""
    torch.manual_seed(1)
    model = Outer()
    files = {}

    def save(name, value, tensors=None, **options):
        torch.save(value, os.path.join(FOLDER, name), **options)
        files[name] = flatten(value) if tensors is None else tensors

    def save_safetensors(name, tensors):
        safetensors.torch.save_file(tensors, os.path.join(FOLDER, name), metadata={"format": "pt"})
        files[name] = tensors

    save_safetensors("types.safetensors", all_types())
    os.makedirs(os.path.join(FOLDER, "sharded"), exist_ok=True)
    parts = [{"a.weight": torch.arange(3.0)}, {"b.weight": torch.arange(4).half(), "b.bias": torch.tensor([1.5])}]
    index = {"metadata": {"total_size": 24}, "weight_map": {}}
    for i, part in enumerate(parts):
        shard = f"model-{i + 1:05}-of-00002.safetensors"
        save_safetensors("sharded/" + shard, part)
        index["weight_map"].update({name: shard for name in part})
    with open(os.path.join(FOLDER, "sharded/model.safetensors.index.json"), "w") as out:
        json.dump(index, out, indent=2)
    files["sharded"] = files["sharded/model.safetensors.index.json"] = {**parts[0], **parts[1]}

    save("types.pt", all_types())
    save("strided.pt", strided())
    save("state.pt", model.state_dict())
    save("parameters.pth", dict(model.named_parameters()))
    save("protocol4.pt", checkpoint(Outer()), pickle_protocol=4)
    save("checkpoint.pt", checkpoint(Outer()))
    save("module.pt", model, dict(model.state_dict()))
    save("lone.pt", torch.arange(5.0))
    for name, script in ("scripted.pt", torch.jit.script(model)), ("traced.pt", torch.jit.trace(model, torch.ones(1, 3))):
        script.save(os.path.join(FOLDER, name))
        files[name] = dict(model.state_dict())
    lone = os.path.join(FOLDER, "lone.pt")
    rezip(lone, os.path.join(FOLDER, "rezipped.pt"))
    files["rezipped.pt"] = files["lone.pt"]

    save("old.pt", {"a": torch.ones(1)}, {}, _use_new_zipfile_serialization=False)
    save("float8.pt", {"inner": {"w8": torch.ones(2).to(torch.float8_e4m3fn)}}, {})
    save("complex.pt", {"z": torch.ones(2, dtype=torch.complex64)}, {})
    save("quantized.pt", {"q": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, {})
    save("sparse.pt", {"s": torch.eye(2).to_sparse()}, {})
    safetensors.torch.save_file({"w8": torch.ones(2).to(torch.float8_e4m3fn)},
                                os.path.join(FOLDER, "float8.safetensors"))
    rezip(lone, os.path.join(FOLDER, "big_endian.pt"), replace={"byteorder": b"big"})
    rezip(lone, os.path.join(FOLDER, "deflated.pt"), zipfile.ZIP_DEFLATED)
    return {name: tensors for name, tensors in files.items() if tensors}


def rounding():
    """f32 bit patterns around every border, and PyTorch's f16 and bf16 of them."""
    rng = np.random.default_rng(1)
    bits = [0, 1, 0x7f800000, 0x7f7fffff, 0x7fc00000, 0x7f800001, 0x7fffffff, 0x33000000, 0x33000001, 0x32ffffff,
            0x33800000, 0x33c00000, 0x38800000, 0x387fffff, 0x387fe000, 0x387ff000, 0x477fe000, 0x477fefff, 0x477ff000,
            0x3f800000, 0x3f801000, 0x3f803000, 0x3f801001, 0x3f808000, 0x3f818000, 0x3f808001, 0x7f7f8000, 0x7f7f7fff,
            0x00008000, 0x00018000, 0x00800000, 0x33400000, 0x34a00000, 0x34e00000]
    bits += rng.integers(0x32000000, 0x48000000, 40).tolist()         # what f16 can hold
    bits += (rng.integers(0x32800000 >> 12, 0x47800000 >> 12, 40) << 12).tolist()  # ties of f16
    bits += (rng.integers(0, 0x7f80, 20) << 16 | 0x8000).tolist()     # ties of bf16
    bits += [b | 0x80000000 for b in bits]
    values = torch.from_numpy(np.array(bits, np.uint32).view(np.float32))
    halves = [values.to(t).view(torch.int16).numpy().view(np.uint16).tolist() for t in (torch.float16, torch.bfloat16)]
    return list(zip(bits, *halves))


def c_values(tensor):
    return ", ".join("%.9gF" % v if "." in "%.9g" % v or "e" in "%.9g" % v else "%.9g.0F" % v
                     for v in tensor.detach().to(torch.float32).flatten().tolist())


def write_header(files):
    out = ["/* Made by make_tensor_golden.py with PyTorch %s, safetensors %s. */" % (torch.__version__,
                                                                                  safetensors.__version__),
           "/* clang-format off */"]
    out += ["static const struct golden_tensor {\n    const char *file, *name;\n    tdm_tensor_type type;\n    int ndim;\n"
            "    int64_t shape[TDM_TENSOR_MAX_DIMS], elements;\n    const float *value;\n} GOLDEN_TENSOR[] = {"]
    for file, tensors in files.items():
        for name, t in tensors.items():
            shape = ", ".join(map(str, t.shape)) or "0"
            values = c_values(t) or "0.0F"
            out.append('    {"%s", "%s", TDM_TENSOR_%s, %d, {%s}, %d,\n     (const float[]){%s}},' %
                       (file, name, NAMES[t.dtype], t.dim(), shape, t.numel(), values))
    out += ["};", "static const struct golden_file {\n    const char *file;\n    int64_t count;\n} GOLDEN_FILE[] = {"]
    out += ['    {"%s", %d},' % (file, len(tensors)) for file, tensors in files.items()]
    out += ["};", "static const struct golden_rounding {\n    uint32_t f32;\n    uint16_t f16, bf16;\n} GOLDEN_ROUNDING[] = {"]
    out += ["    {0x%08x, 0x%04x, 0x%04x}," % row for row in rounding()]
    out += ["};", ""]
    with open(os.path.join(HERE, "tensor_golden.h"), "w") as header:
        header.write("\n".join(out))


def main():
    warnings.simplefilter("ignore")
    os.makedirs(FOLDER, exist_ok=True)
    files = write_files()
    write_header(files)
    for name in sorted(os.listdir(FOLDER)):
        print(name, os.path.getsize(os.path.join(FOLDER, name)))


if __name__ == "__main__":
    main()
