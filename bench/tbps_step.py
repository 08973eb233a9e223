#!/usr/bin/env python3
"""The training step of TBPS-CLIP's recipes: `tandem bench` against PyTorch, in turn, and what heads, losses and views cost.

    python3 bench/tbps_step.py --batch 16 --threads 2 --precision f32 --rounds 3            the whole comparison
    python3 bench/tbps_step.py --peer full --batch 16 --threads 2 --precision f32 --json F  one measurement of PyTorch

A is `tandem bench` by conf/tbps/tbps_clip.cfg (full) or simplified.cfg, ViT-B/16, with random pictures and captions. B is
the same step in PyTorch: towers of tests/golden/clip_torch.py with scaled_dot_product_attention, one pass of the image
with gradient for each view (4 or 1), two of the text, one of them without gradient; the objectives as formulas over the
batch, AdamW (fused), frozen patch convolution. To PyTorch's advantage it has no dropout, does not repeat the image's
pass, which the released code does, and gets ready-made floats. Its captions are padded to 77 tokens, as TBPS-CLIP pads them.

Then the share of the step that is no tower's: the recipe's time per FLOP of its passes, over the time per FLOP of plain ITC
on one view, both without the optimiser, whose cost goes by the step and not by the pass. Rounds alternate the order.
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import time
import types

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import interleave  # noqa: E402
import peer_pytorch  # noqa: E402

RECIPES = {"full": "tbps_clip", "simplified": "simplified"}
ITC = ("loss.infonce.pseudo=0", "loss.infonce.image_views=[aug_1]", "loss.ritc.weight=0", "loss.citc.weight=0",
       "loss.simclr.weight=0")
IMAGE_VIEWS = {"full": 4, "simplified": 1}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=RECIPES, help="measure PyTorch alone")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--tandem", default="build/tandem", help="the binary")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has torch")
    parser.add_argument("--precision", default="f32", choices=["bf16", "f32"])
    parser.add_argument("--batch", type=int, default=16, help="pairs per step, over all ranks")
    parser.add_argument("--ranks", type=int, default=1, help="of tandem")
    parser.add_argument("--threads", type=int, default=2, help="per rank; PyTorch gets those of all ranks")
    parser.add_argument("--tokens-per-caption", type=int, default=28, help="mean length of a caption")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of one measurement; the median counts")
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--quiet", type=float, default=0, metavar="SECONDS",
                        help="before each run wait until the machine was idle this long")
    parser.add_argument("--tuned-malloc", action="store_true", help="of PyTorch: glibc keeps freed memory; huge pages")
    parser.add_argument("--json", help="write the result here")
    return parser.parse_args()


# ---- The peer ----

def run_peer(args):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(args.threads * args.ranks)
    torch.manual_seed(0)
    full = args.peer == "full"
    shape = types.SimpleNamespace(module="own", model="vit_b_16", batch=args.batch, processes=1, channels_last=False,
                                  tokens_per_caption=args.tokens_per_caption)
    clip = peer_pytorch.make_model(shape)
    clip.visual.conv1.weight.requires_grad_(False)
    head = torch.nn.Sequential(torch.nn.Linear(512, 128), torch.nn.ReLU(), torch.nn.Linear(128, 512))
    views = [peer_pytorch.make_batch(torch, shape, rank)[0] for rank in range(IMAGE_VIEWS[args.peer])]
    token = peer_pytorch.make_batch(torch, shape, 0)[1]
    trained = torch.nn.ModuleList([clip, head] if full else [clip])
    parameters = [p for p in trained.parameters() if p.requires_grad]
    groups = [dict(params=[p for p in parameters if p.ndim >= 2], weight_decay=0.02),
              dict(params=[p for p in parameters if p.ndim < 2], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=1e-5, betas=(0.9, 0.98), eps=1e-8, fused=True)
    identity, alpha, B = torch.arange(args.batch), 0.5, args.batch

    def unit(x):
        return F.normalize(x.float(), dim=1)

    def nitc(f, g, f_still, g_still, scale, q):
        with torch.no_grad():
            image = alpha * F.softmax(scale * f_still @ g_still.t(), dim=1) + (1 - alpha) * q
            text = alpha * F.softmax(scale * g_still @ f_still.t(), dim=1) + (1 - alpha) * q
        logits = scale * f @ g.t()
        return -(F.log_softmax(logits, 1) * image + F.log_softmax(logits.t(), 1) * text).sum() / (2 * B)

    def ritc(f, g, scale, q):
        logits, target = scale * f @ g.t(), (q + 1e-2).log()
        kl = [F.kl_div(target, F.log_softmax(x, 1), log_target=True, reduction="batchmean") for x in (logits, logits.t())]
        return 0.5 * (kl[0] + kl[1])

    def citc(f, g):
        return 0.25 * (f @ f.t() - g @ g.t()).square().mean() + 0.25 * (f @ g.t() - g @ f.t()).square().mean()

    def simclr(u, v):
        x = torch.cat([unit(head(u.float())), unit(head(v.float()))])
        logits = (x @ x.t() / 0.1).masked_fill(torch.eye(2 * B, dtype=torch.bool), float("-inf"))
        return F.cross_entropy(logits, torch.arange(2 * B).roll(B))

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            images = [clip.encode_image(view) for view in views]
            text = clip.encode_text(token)
            with torch.no_grad():
                still = clip.encode_text(token)
        f, g, g_still = [unit(x) for x in images[:2]], unit(text), unit(still)
        scale = clip.logit_scale.exp()
        same = (identity[:, None] == identity[None]).float()
        q = same / same.sum(1, keepdim=True)
        loss = sum(nitc(x, g, x.detach(), g_still, scale, q) for x in f) / len(f) + ritc(f[0], g, scale, q)
        if full:
            loss = loss + 0.1 * citc(f[0], g) + 0.4 * simclr(images[2], images[3])
        loss.backward()
        optimizer.step()

    for _ in range(args.warmup):
        step()
    seconds = []
    for _ in range(args.steps):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    result = dict(peer="pytorch", torch=torch.__version__, recipe=args.peer, batch=args.batch, precision=args.precision,
                  threads=torch.get_num_threads(), step_s=seconds, pairs_per_s=B / statistics.median(seconds))
    print(json.dumps(result))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result) + "\n")


# ---- The comparison ----

def tandem_command(args, recipe, more=()):
    words = ["mpirun -n {ranks} --bind-to none {tandem} bench --config",
             str(HERE.parent / "conf/tbps" / f"{RECIPES[recipe]}.cfg"),
             "--set data.dir= --precision {precision} --batch {local} --threads {threads} --json {json}",
             f"--steps {args.steps} --warmup {args.warmup} --tokens-per-caption {args.tokens_per_caption}"]
    return " ".join(words + [f"--set '{one}'" for one in more])


def peer_command(args, recipe):
    return (f"{{python}} {HERE / 'tbps_step.py'} --peer {recipe} --precision {{precision}} --batch {{batch}} "
            f"--ranks {{ranks}} --threads {{threads}} --steps {args.steps} --warmup {args.warmup} "
            f"--tokens-per-caption {args.tokens_per_caption} "
            "--json {json}" + (" --tuned-malloc" if args.tuned_malloc else ""))


def seconds_per_flop(result):
    """Without the optimiser and the packing of the weights behind it."""
    fixed = result["per_op"]["optimizer"] + result["per_op"]["weight_pack"]
    return (result["step_s"] - fixed) / (result["gflops"] * result["step_s"])


def compare(args, recipe):
    commands = {"tandem": tandem_command(args, recipe), "pytorch": peer_command(args, recipe),
                "itc": tandem_command(args, recipe, ITC)}
    rounds = []
    for number in range(args.rounds):
        order = list(commands) if number % 2 == 0 else list(reversed(commands))
        runs = {name: interleave.measure(args, commands[name]) for name in order}
        ratio = runs["tandem"]["rate"] / runs["pytorch"]["rate"]
        beyond = seconds_per_flop(runs["tandem"]["result"]) / seconds_per_flop(runs["itc"]["result"]) - 1
        rounds.append(dict(ratio=ratio, beyond=beyond, **runs))
        print(f"{recipe}, round {number + 1}: tandem {runs['tandem']['rate']:.2f}, pytorch "
              f"{runs['pytorch']['rate']:.2f} pairs/s, "
              f"ratio {ratio:.2f}; beyond the towers {100 * beyond:.1f} %; others "
              + ", ".join(f"{100 * runs[name]['others']:.0f} %" for name in commands), flush=True)
    print(f"{recipe}: ratio tandem / pytorch: {interleave.spread([r['ratio'] for r in rounds])}; beyond the towers: "
          f"{interleave.spread([r['beyond'] for r in rounds])}", flush=True)
    return dict(commands=commands, rounds=rounds)


def main():
    args = parse_arguments()
    if args.peer:
        if args.tuned_malloc and any(os.environ.get(k) != v for k, v in peer_pytorch.ALLOCATOR.items()):
            os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **peer_pytorch.ALLOCATOR})
        return run_peer(args)
    interleave.allow_root()
    args.model, args.clip_repo, args.figure = "vit_b_16", None, "pairs_per_s"
    results = {}
    for recipe in args.recipes:
        results[recipe] = compare(args, recipe)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
