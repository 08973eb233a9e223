#!/usr/bin/env python3
"""Time and peak memory of `tandem eval --query --gallery` by the size of the gallery.

    venv/bin/python bench/eval_growth.py --rows 10000 100000 1000000 --queries 10000 --width 512 --ranks 2

Writes random unit vectors (NumPy) to --dir, where they stay for the next call, and runs the evaluation for each size and each
--memory. A row says how long ranking took, how much longer than in proportion to the smallest gallery, the peak resident
memory of the largest rank, and whether that is at most its part of both files + 1 GiB. The output must not depend on
--memory.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

STEP = 20000  # rows that are made at once


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10000, 100000, 1000000], help="of the gallery")
    parser.add_argument("--queries", type=int, default=10000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--memory", type=int, nargs="+", default=[1024], help="MiB")
    parser.add_argument("--tandem", default="build/tandem", help="the binary")
    parser.add_argument("--dir", default="growth", help="where the vectors are kept")
    parser.add_argument("--json", help="write all results here")
    return parser.parse_args()


def unit_rows(path, rows, width, seed, near=None):
    """Rows of norm 1; the first are noisy copies of `near`, the queries: row i answers query i."""
    if path.exists():
        return
    random = np.random.default_rng(seed)
    part = path.with_suffix(".partial.npy")
    out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=(rows, width))
    for begin in range(0, rows, STEP):
        block = random.standard_normal((min(STEP, rows - begin), width), dtype=np.float32)
        if near is not None and begin < len(near):
            block[:len(near) - begin] += near[begin:begin + len(block)] * np.sqrt(width)
        out[begin:begin + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    out.flush()
    part.rename(path)


def evaluate(args, query, gallery, memory):
    """Seconds of ranking, the peak MiB of a rank, and the bytes of the JSON."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "figures.json"
        command = ["mpirun", "-n", args.ranks, "--bind-to", "none", args.tandem, "eval", "--query", query, "--gallery",
                   gallery, "--memory", memory, "--json", out]
        # A process of its own: the peak of its children is that of the largest rank.
        run = ("import json, resource, subprocess, sys\n"
               "r = subprocess.run(sys.argv[1:], stderr=subprocess.PIPE, text=True)\n"
               "print(json.dumps([r.returncode, r.stderr, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))\n")
        begin = time.monotonic()
        done = subprocess.run([sys.executable, "-c", run] + [str(word) for word in command], check=True,
                              stdout=subprocess.PIPE, text=True, env=dict(os.environ, OMP_NUM_THREADS="1"))
        wall = time.monotonic() - begin
        code, log, peak = json.loads(done.stdout)
        if code != 0:
            sys.exit(log)
        return float(re.search(r"ranking took ([0-9.]+) s", log)[1]), wall, peak / 1024, out.read_bytes()


def main():
    args = parse_arguments()
    folder = pathlib.Path(args.dir)
    folder.mkdir(parents=True, exist_ok=True)
    query = folder / f"query-{args.queries}-{args.width}.npy"
    unit_rows(query, args.queries, args.width, 1)
    results = []
    print("| gallery | memory, MiB | ranking, s | of linear | in all, s | peak a rank, MiB | its rows, MiB | + 1 GiB |\n"
          + "|---" * 8 + "|")
    for rows in args.rows:
        gallery = folder / f"gallery-{rows}-{args.queries}-{args.width}.npy"
        unit_rows(gallery, rows, args.width, 2, np.load(query, mmap_mode="r"))
        first = None
        for memory in args.memory:
            ranking, wall, peak, figures = evaluate(args, query, gallery, memory)
            if first is not None and figures != first:
                sys.exit(f"{gallery}: the figures depend on --memory {memory}")
            first = figures
            shard = (rows + args.queries) * args.width * 4 / args.ranks / 2**20
            results.append({"rows": rows, "queries": args.queries, "width": args.width, "ranks": args.ranks,
                            "memory_mib": memory, "ranking_s": ranking, "wall_s": wall, "peak_mib": peak, "shard_mib": shard})
            linear = results[0]["ranking_s"] * rows / results[0]["rows"]
            print(f"| {rows:,} | {memory} | {ranking:.2f} | {ranking / linear:.2f} | {wall:.2f} | {peak:,.0f} | {shard:,.0f} "
                  f"| {'yes' if peak <= shard + 1024 else 'NO'} |", flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
