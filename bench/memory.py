#!/usr/bin/env python3
"""Peak memory of a training step by batch per rank and train.recompute, and what recomputing costs.

    python3 bench/memory.py peak  --batches 64 256 1024 4096     one step each: Markdown table of the peak and its parts
    python3 bench/memory.py price --batch 256 --rounds 3         CPU time of a step against keeping everything, in turn

Runs `tandem bench` on one rank. CPU time per pair hardly depends on what else the machine does, so the price needs no
quiet machine.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

WAYS = ["none", "mlp", "block", "chunk"]
PARTS = ["weights", "gradients", "moments", "packed_weights", "activations", "data"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["peak", "price"])
    parser.add_argument("--tandem", default="build/tandem", help="the binary")
    parser.add_argument("--model", default="vit_b_32")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "f32"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="*", default=[64, 256, 1024, 4096])
    parser.add_argument("--batch", type=int, default=256, help="of price")
    parser.add_argument("--chunk", type=int, default=128, help="pairs embedded at once")
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS, help="of train.recompute")
    parser.add_argument("--limit-gib", type=float, help="leave out what is expected to need more")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="write all results here")
    return parser.parse_args()


def run(args, batch, way, steps, warmup):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "result.json"
        command = [args.tandem, "bench", "--model", args.model, "--precision", args.precision,
                   "--threads", args.threads, "--batch", batch, "--chunk", min(args.chunk, batch), "--recompute", way, "--steps", steps,
                   "--warmup", warmup, "--json", path]
        subprocess.run([str(word) for word in command], check=True, stderr=subprocess.DEVNULL)
        return json.loads(path.read_text())


def mib(value):
    return f"{value / 2**20:,.0f}"


def peaks(args):
    """One step touches all that any step touches."""
    results, bytes_of = [], {}
    print("| pairs per rank | chunk | recompute | peak, MiB | " + " | ".join(p.replace("_", " ") for p in PARTS) +
          " |\n|" + "---|" * (4 + len(PARTS)))
    for batch in args.batches:
        for way in args.ways:
            if args.limit_gib and way in bytes_of and bytes_of[way] * batch > args.limit_gib * 2**30:
                print(f"| {batch:,} | | {way} | over {args.limit_gib:g} GiB |" + " |" * len(PARTS), flush=True)
                continue
            result = run(args, batch, way, steps=1, warmup=0)
            memory = result["memory"]
            bytes_of[way] = memory["activations"] / batch
            results.append(result)
            print(f"| {batch:,} | {result['chunk']} | {way} | {mib(memory['peak_resident'])} | " +
                  " | ".join(mib(memory[part]) for part in PARTS) + " |", flush=True)
    return results


def prices(args):
    results = {way: [] for way in args.ways}
    for number in range(args.rounds):
        for way in args.ways if number % 2 == 0 else reversed(args.ways):
            results[way].append(run(args, args.batch, way, steps=2, warmup=1))
    base = [r["cpu_s"] for r in results[args.ways[0]]]
    print(f"| recompute | activations, MiB | CPU time against `{args.ways[0]}` |\n|---|---|---|")
    for way in args.ways:
        ratio = [r["cpu_s"] / b for r, b in zip(results[way], base)]
        print(f"| `{way}` | {mib(results[way][0]['memory']['activations'])} | {statistics.median(ratio):.2f} "
              f"({min(ratio):.2f} to {max(ratio):.2f}) |")
    return results


def main():
    args = parse_arguments()
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT", "1")
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    results = peaks(args) if args.what == "peak" else prices(args)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
