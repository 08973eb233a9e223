#!/usr/bin/env python3
"""CLIP training throughput of PyTorch on this CPU: the peer that `tandem bench` is compared with.

    python3 peer_pytorch.py --clip-repo CLONE_OF_OPENAI_CLIP --model vit_b_32 --batch 128 --threads 2 --compile

The model is OpenAI's published code (clip/model.py in the clone) with random weights, or, without --clip-repo or
with --module own, the module of tests/golden/clip_torch.py, which computes the same. One step is: zero the
gradients, forward under bf16 autocast, symmetric InfoNCE over the global batch, backward, AdamW, clamp of
logit_scale. Captions have the lengths of those of `tandem bench` and are padded with zeros to the model's context,
exactly as CLIP does. Images are ready-made normalised floats, so no decoding and no normalisation is timed.

With --processes P, P processes train under DistributedDataParallel (gloo), each with batch / P pairs and
--threads threads; features are gathered with gradient.

Prints one JSON object. pairs_per_s holds one number per repetition, after --warmup steps; pairs_per_cpu_s counts
the CPU time per thread of process 0 instead of the time that passed: on an undisturbed machine the two agree.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import sys
import time

# With --tuned-malloc; read when the process starts. Keep freed memory instead of returning it to the system after
# every tensor (32 MiB is the largest threshold that glibc takes), and use huge pages.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 28),
    "THP_MEM_ALLOC_ENABLE": "1",
}

MODELS = {
    "vit_b_32": dict(embed=512, px=224, patch=32, image=(768, 12, 12), text=(512, 12, 8)),
    "vit_b_16": dict(embed=512, px=224, patch=16, image=(768, 12, 12), text=(512, 12, 8)),
    "rn50": dict(embed=1024, px=224, patch=None, image=(64, (3, 4, 6, 3), None), text=(512, 12, 8)),  # --module openai
    "vit_l_14": dict(embed=768, px=224, patch=14, image=(1024, 24, 16), text=(768, 12, 12)),
    "emoji_vit": dict(embed=192, px=64, patch=16, image=(256, 6, 4), text=(192, 4, 3), context=32, vocab=2048,
                      activation="gelu"),  # --module own
}
CONTEXT, VOCAB = 77, 49408  # where a model says nothing else


def context_of(model):
    return MODELS[model].get("context", CONTEXT)


def vocabulary_of(model):
    return MODELS[model].get("vocab", VOCAB)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-repo", help="clone of github.com/openai/CLIP")
    parser.add_argument("--module", choices=["openai", "own"], help="default: openai when --clip-repo is given")
    parser.add_argument("--model", choices=MODELS, default="vit_b_32")
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--batch", type=int, default=128, help="pairs per step, over all processes")
    parser.add_argument("--tokens-per-caption", type=int, default=19, help="mean length, start and end token included")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="per process")
    parser.add_argument("--optimizer", choices=["fused", "foreach", "plain"], default="fused")
    parser.add_argument("--compile", action="store_true", help="torch.compile the towers")
    parser.add_argument("--max-autotune", action="store_true", help="torch.compile with mode max-autotune")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--tuned-malloc", action="store_true", help="glibc keeps freed memory; huge pages")
    parser.add_argument("--warmup", type=int, default=3, help="steps")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps per repetition")
    parser.add_argument("--json", help="also write the JSON here")
    args = parser.parse_args()
    args.module = args.module or ("openai" if args.clip_repo else "own")
    if args.module == "openai" and not args.clip_repo:
        parser.error("--module openai needs --clip-repo")
    if args.batch % args.processes:
        parser.error("--batch must be divisible by --processes")
    return args


def load_file(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # torch.compile looks it up
    spec.loader.exec_module(module)
    return module


def make_model(args):
    shape = MODELS[args.model]
    if args.module == "openai":
        published = load_file("openai_clip_model", pathlib.Path(args.clip_repo) / "clip" / "model.py")
        image_width, image_layers, _ = shape["image"]
        text_width, text_layers, text_heads = shape["text"]
        return published.CLIP(shape["embed"], shape["px"], image_layers, image_width, shape["patch"], CONTEXT, VOCAB,
                              text_width, text_heads, text_layers)
    golden = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
    own = load_file("clip_torch", golden / "clip_torch.py")
    return own.CLIP(embed=shape["embed"], height=shape["px"], width_px=shape["px"], patch=shape["patch"],
                    image=shape["image"], context=context_of(args.model), vocab=vocabulary_of(args.model),
                    text=shape["text"], activation=shape.get("activation", "quickgelu"))


def make_batch(torch, args, rank):
    """This process's images and padded captions."""
    local = args.batch // args.processes
    generator = torch.Generator().manual_seed(1 + rank)
    px = MODELS[args.model]["px"]
    image = torch.randn(local, 3, px, px, generator=generator)
    if args.channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    context, vocabulary = context_of(args.model), vocabulary_of(args.model)
    token = torch.zeros(local, context, dtype=torch.long)
    mean = args.tokens_per_caption
    spread = min(mean // 2, mean - 2, context - mean)
    for row in range(local):
        length = mean - spread + row % (2 * spread + 1)
        token[row, 0] = vocabulary - 2
        token[row, 1 : length - 1] = torch.randint(0, vocabulary - 2, (length - 2,), generator=generator)
        token[row, length - 1] = vocabulary - 1
    return image, token


def make_optimizer(torch, model, kind):
    parameters = list(model.parameters())
    groups = [dict(params=[p for p in parameters if p.ndim >= 2], weight_decay=0.2),
              dict(params=[p for p in parameters if p.ndim < 2], weight_decay=0.0)]
    extra = dict(fused=kind == "fused", foreach=kind == "foreach")
    return torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.98), eps=1e-6, **extra)


def run(rank, args):
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.processes > 1:
        dist.init_process_group("gloo", init_method="tcp://127.0.0.1:29517", rank=rank, world_size=args.processes)

    class Gather(torch.autograd.Function):
        """All rows of all processes; the gradient flows back to each."""

        @staticmethod
        def forward(ctx, x):
            parts = [torch.empty_like(x) for _ in range(args.processes)]
            dist.all_gather(parts, x.contiguous())
            return torch.cat(parts)

        @staticmethod
        def backward(ctx, dy):
            dy = dy.contiguous()
            dist.all_reduce(dy)
            return dy.chunk(args.processes)[rank]

    class Towers(torch.nn.Module):
        """Both towers behind one forward, as DistributedDataParallel wants it."""

        def __init__(self, clip):
            super().__init__()
            self.clip = clip

        def forward(self, image, token):
            return self.clip.encode_image(image), self.clip.encode_text(token), self.clip.logit_scale.exp()

    clip = make_model(args)
    if args.channels_last:
        clip = clip.to(memory_format=torch.channels_last)
    logit_scale = clip.logit_scale
    image, token = make_batch(torch, args, rank)
    optimizer = make_optimizer(torch, clip, args.optimizer)
    towers = Towers(clip)
    if args.processes > 1:
        towers = torch.nn.parallel.DistributedDataParallel(towers, gradient_as_bucket_view=True)
    if args.compile or args.max_autotune:
        if torch.backends.cpu.get_cpu_capability() == "AVX2":  # inductor does not read ATEN_CPU_CAPABILITY
            import torch._inductor.config

            torch._inductor.config.cpp.simdlen = 256
        towers = torch.compile(towers, mode="max-autotune" if args.max_autotune else "default")

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            x, y, scale = towers(image, token)
        x, y = F.normalize(x.float(), dim=1), F.normalize(y.float(), dim=1)
        local = x.shape[0]
        label = torch.arange(local) + rank * local
        all_x, all_y = (x, y) if args.processes == 1 else (Gather.apply(x), Gather.apply(y))
        loss = (F.cross_entropy(scale * x @ all_y.t(), label) + F.cross_entropy(scale * y @ all_x.t(), label)) / 2
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            logit_scale.clamp_(max=4.6052)
        return loss

    for _ in range(args.warmup):
        step()
    pairs_per_s, pairs_per_cpu_s = [], []
    for _ in range(args.repeats):
        if args.processes > 1:
            dist.barrier()
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for _ in range(args.steps):
            loss = step()
        pairs = args.batch * args.steps
        pairs_per_s.append(pairs / (time.perf_counter() - begin))
        pairs_per_cpu_s.append(pairs * args.threads / (time.process_time() - cpu_begin))
    if rank == 0:
        report(torch, args, pairs_per_s, pairs_per_cpu_s, loss.item())
    if args.processes > 1:
        dist.barrier()
        dist.destroy_process_group()


def report(torch, args, pairs_per_s, pairs_per_cpu_s, loss):
    result = dict(peer="pytorch", torch=torch.__version__, isa=torch.backends.cpu.get_cpu_capability(),
                  module=args.module, model=args.model,
                  precision=args.precision, processes=args.processes, threads=args.threads, batch=args.batch,
                  tokens_per_caption=args.tokens_per_caption, padded_to=context_of(args.model),
                  optimizer=args.optimizer,
                  compile=args.compile, max_autotune=args.max_autotune, channels_last=args.channels_last,
                  tuned_malloc=args.tuned_malloc, loss=loss,
                  pairs_per_s=[round(x, 3) for x in pairs_per_s],
                  pairs_per_cpu_s=[round(x, 3) for x in pairs_per_cpu_s],
                  pairs_per_s_median=round(statistics.median(pairs_per_s), 3))
    text = json.dumps(result)
    print(text, flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(text + "\n")


def main():
    args = parse_arguments()
    if args.tuned_malloc and any(os.environ.get(k) != v for k, v in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    if args.processes == 1:
        run(0, args)
    else:
        import torch.multiprocessing
        torch.multiprocessing.start_processes(run, args=(args,), nprocs=args.processes, start_method="spawn")


if __name__ == "__main__":
    main()
