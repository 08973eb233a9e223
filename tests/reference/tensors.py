#!/usr/bin/env python3
"""The reader and the writer of tensor files against PyTorch and safetensors: random nested structures with views of
every kind, whole modules, TorchScript, and what is written read back, bit for bit.

    COPY_TENSORS=build/tests/tensors/copy_tensors python3 tests/reference/tensors.py

Needs torch, numpy and safetensors; without them it says so and ends with 0. With TANDEM_CLIP naming a directory of
OpenAI's CLIP (clip/model.py) its ViT-B/32, traced and in half precision like the published archives, is read as well."""
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time

try:
    import numpy as np
    import safetensors.torch
    import torch
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)  # tells ctest

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool]
KEPT = {torch.float16, torch.bfloat16, torch.int64}  # the others come back as f32
COPY = os.environ.get("COPY_TENSORS", "build/tests/tensors/copy_tensors")


def random_tensor(rng, shared):
    if shared and rng.random() < 0.4:
        t = rng.choice(shared)
    else:
        shape = [rng.randint(0 if rng.random() < 0.05 else 1, 7) for _ in range(rng.randint(0, 5))]
        # whole numbers that f32 holds; halves and bits of any value
        t = (torch.rand(shape, generator=shared_generator) * 200 - 100).to(rng.choice(DTYPES))
        shared.append(t)
    for _ in range(rng.randint(0, 3)):
        choice = rng.randint(0, 4)
        if t.dim() >= 2 and choice == 0:
            t = t.transpose(rng.randrange(t.dim()), rng.randrange(t.dim()))
        elif t.dim() >= 1 and choice == 1:
            d = rng.randrange(t.dim())
            start = rng.randint(0, t.shape[d])
            t = t.narrow(d, start, rng.randint(0, t.shape[d] - start))
        elif t.dim() >= 1 and choice == 2:
            t = t[rng.randint(0, 2)::rng.randint(1, 3)]
        elif t.dim() <= 5 and choice == 3:
            t = t.unsqueeze(0).expand(rng.randint(1, 3), *t.shape)
        elif choice == 4:
            t = t.flatten()
    return torch.nn.Parameter(t) if t.is_floating_point() and rng.random() < 0.2 else t


def random_value(rng, shared, depth=0):
    roll = rng.random()
    if depth < 4 and roll < 0.35:
        return {rng.choice(["a", "b.c", "weight", "é", 3, 70000]) if rng.random() < 0.5 else f"k{i}":
                random_value(rng, shared, depth + 1) for i in range(rng.randint(0, 6))}
    if depth < 4 and roll < 0.5:
        items = [random_value(rng, shared, depth + 1) for _ in range(rng.randint(0, 4))]
        return tuple(items) if rng.random() < 0.5 else items
    if roll < 0.85:
        return random_tensor(rng, shared)
    return rng.choice([None, True, 1.5, -7, 2**40, 2**80, "text", "x" * 300, b"raw", torch.float16, torch.Size([1, 2]),
                       {1, 2}, np.float32(2), np.arange(3), range(4), complex(1, 2), slice(1)])


def flatten(value, name=""):
    if isinstance(value, torch.Tensor):
        return {name or "tensor": value.detach()}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    out = {}
    for key, inner in items:
        if isinstance(value, torch.Size):
            break
        for inner_name, t in flatten(inner, f"{name}.{key}" if name else str(key)).items():
            if inner_name in out:
                raise ValueError(inner_name)
            out[inner_name] = t
    return out


def check(path, expected, what):
    copied = path + ".copy"
    start = time.monotonic()
    run = subprocess.run([COPY, path, copied], capture_output=True, text=True)
    seconds = time.monotonic() - start
    if run.returncode != 0:
        sys.exit(f"{what}: {run.stderr}")
    got = safetensors.torch.load_file(copied)
    if set(got) != set(expected):
        sys.exit(f"{what}: names differ: {sorted(set(got) ^ set(expected))[:10]}")
    for name, t in expected.items():
        wanted = t.to(torch.float32)
        if t.dtype in KEPT:
            wanted = wanted.to(t.dtype)
        same = got[name].dtype == wanted.dtype and got[name].shape == wanted.shape and \
            torch.equal(*(x.flatten().clone(memory_format=torch.contiguous_format).view(torch.uint8) for x in (got[name], wanted)))
        if not same:
            sys.exit(f"{what}: {name} differs")
    os.unlink(copied)
    os.unlink(path)
    return seconds


def check_random(folder, count):
    tensors = 0
    for seed in range(count):
        rng = random.Random(seed)
        value = {"root": random_value(rng, []), "more": random_value(rng, [])}
        try:
            expected = flatten(value)
        except ValueError:
            continue
        path = os.path.join(folder, "random")
        torch.save(value, path, pickle_protocol=rng.choice([2, 2, 3, 4, 5]))
        check(path, expected, f"random structure {seed}")
        if expected:
            safetensors.torch.save_file({k: v.contiguous().clone() for k, v in expected.items()}, path)
            check(path, expected, f"random safetensors {seed}")
        tensors += len(expected)
    print(f"{count} random structures, {tensors} tensors: equal")


def check_modules(folder):
    path = os.path.join(folder, "module")
    model = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(32, 4, 64), 2).eval()
    torch.save(model, path)
    check(path, dict(model.state_dict()), "a pickled module")
    torch.jit.trace(model, torch.zeros(3, 1, 32), check_trace=False).save(path)
    check(path, dict(model.state_dict()), "a traced module")
    resnet = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    torch.jit.script(resnet).save(path)
    check(path, dict(resnet.state_dict()), "a scripted module")
    optimizer = torch.optim.SGD(resnet.parameters(), lr=0.1, momentum=0.9)
    resnet(torch.ones(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    tagged = torch.arange(3.0)
    tagged.note = "an attribute"
    state = {"tagged": tagged, "state_dict": resnet.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
    torch.save(state, path)
    check(path, flatten(state), "a training checkpoint")
    print("modules, TorchScript, a training checkpoint: equal")


def check_clip(folder):
    if "TANDEM_CLIP" not in os.environ:
        return
    spec = importlib.util.spec_from_file_location("clip_model", os.path.join(os.environ["TANDEM_CLIP"], "clip/model.py"))
    clip_model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(clip_model)
    model = clip_model.CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12).eval()
    clip_model.convert_weights(model)
    path = os.path.join(folder, "ViT-B-32.pt")
    inputs = (torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.int64))
    torch.jit.trace(model, inputs, check_trace=False).save(path)
    size = os.path.getsize(path)
    seconds = check(path, dict(model.state_dict()), "OpenAI's ViT-B/32")
    print(f"OpenAI's ViT-B/32 traced, {len(model.state_dict())} tensors, {size >> 20} MiB: equal, copied in {seconds:.2f} s")


torch.manual_seed(0)
shared_generator = torch.Generator().manual_seed(1)
with tempfile.TemporaryDirectory() as directory:
    check_random(directory, 300)
    check_modules(directory)
    check_clip(directory)
