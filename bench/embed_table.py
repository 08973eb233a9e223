#!/usr/bin/env python3
"""The table of embedding: `tandem embed` beside OpenVINO, ONNX Runtime and PyTorch on the same pictures, in turn.

    make -C build towers_bench tandem
    python3 bench/embed_table.py --work DIR --python PYTHON --merges bpe_simple_vocab_16e6.txt.gz --json table.json

PYTHON has what bench/peer_embed.py and bench/loader.py need. The first call makes random weights, pictures of 500 x 375
and shards below DIR; the peers keep what they convert there. For each peer, settings are tried once (--settings names
them instead), for each kind of work by itself, and its fastest runs against Tandem in --rounds rounds. What a CPU cannot
run is left out and named. Two kinds of work, which bench/peer_embed.py explains:

    towers    images and captions a second through the towers alone, in batches of --batch and in the peer's best
    all       images a second, each with a caption, from files to embeddings

The cosine is that of the embeddings with PyTorch's in f32, the mean and the least. Embeddings of random weights resemble
each other, so it is also given about their mean, where the same errors count for more."""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

import interleave

SPLIT = "jpeg_500x375"
REFERENCE = "torch/f32"
SETTINGS = {  # options of peer_embed.py
    "torch": ["--streams 1", "--streams 2", "--streams 2 --batch 16"],
    "openvino": ["--streams 1", "--streams 2", "--streams 2 --batch 16", "--streams 2 --batch 8"],
    "onnxruntime": ["--streams 1", "--streams 2", "--streams 2 --batch 16"],
}
PEERS = ["openvino/f32", "openvino/bf16", "openvino/int8", "onnxruntime/f32", "onnxruntime/int8", "torch/f32",
         "torch/bf16"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for weights, pictures, shards, models")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--merges", required=True, help="bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--build", type=pathlib.Path, default=interleave.HERE.parent / "build")
    parser.add_argument("--peers", nargs="*", default=PEERS, metavar="RUNTIME/PRECISION", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--precisions", nargs="*", default=["f32", "bf16", "int8"], help="of Tandem")
    parser.add_argument("--kinds", nargs="*", choices=["towers", "all"], default=["towers", "all"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4, help="that each tower is timed")
    parser.add_argument("--ranks", type=int, default=2, help="of Tandem, of one thread; the peers' threads")
    parser.add_argument("--tandem-options", default="", help="further options of tandem embed")
    parser.add_argument("--settings", help="the setting of peer_embed.py for all peers, instead of trying")
    parser.add_argument("--probe-pairs", type=int, default=128, help="pairs while settings are tried")
    parser.add_argument("--cpu-time", action="store_true",
                        help="of the towers: images a second of CPU time, for --ranks 1 on a machine that is not quiet")
    parser.add_argument("--quiet", type=float, default=0, metavar="SECONDS",
                        help="before each run wait until the machine was idle this long")
    parser.add_argument("--json", type=pathlib.Path, help="write everything here")
    args = parser.parse_args()
    args.towers_figure = "images_per_cpu_s" if args.cpu_time else "images_per_s"
    args.raw = args.work / "raw" / SPLIT
    # what interleave.py's words stand for; these commands name everything themselves
    args.isa, args.model, args.precision, args.tandem, args.threads, args.clip_repo = None, "", "", "", 1, None
    return args


def call(*command):
    subprocess.run([str(word) for word in command], check=True)


def prepare(args):
    """Weights, pictures with captions and shards, where they are not there."""
    args.work.mkdir(parents=True, exist_ok=True)
    weights, clip = args.work / "model.pt", args.work / "clip"
    if not weights.exists():
        call(args.python, interleave.HERE / "peer_embed.py", "--make", weights)
    if not (clip / "model.h5").exists():
        call(args.build / "tandem", "import", "--from", weights, "--tokenizer", args.merges, "--out", clip)
    if len(list(args.raw.glob("*.jpg"))) != args.pairs:
        for folder in (args.raw, args.work / "shards"):
            shutil.rmtree(folder, ignore_errors=True)
        for made in (*args.work.glob("*.npz"), *args.work.glob("model.pt.*int8*")):  # of other pictures
            made.unlink()
        call(args.python, "-c", "import pathlib, sys; sys.path.insert(0, sys.argv[1]); import loader; "
             "loader.make_split(sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))",
             interleave.HERE, args.build / "tandem", args.work, SPLIT, args.pairs)
    captions = [path.read_text(encoding="utf-8").strip() for path in sorted(args.raw.glob("*.txt"))]
    (args.work / "captions.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")


# ---- One run ----

def peer_command(args, peer, kind, setting, pairs, features=""):
    runtime, precision = peer.split("/")
    return (f"{args.python} {interleave.HERE / 'peer_embed.py'} --weights {args.work / 'model.pt'} --images {args.raw} "
            f"--merges {args.merges} --runtime {runtime} --precision {precision} --work {kind} --limit {pairs} "
            f"--threads {args.ranks} --batch {args.batch} --seconds {args.seconds} {setting} {features} --json {{json}}")


def run_peer(args, peer, kind, setting, pairs, features=""):
    args.figure = "all_images_per_s" if kind == "all" else args.towers_figure
    return interleave.measure(args, peer_command(args, peer, kind, setting, pairs, features))


def run_tandem_towers(args, precision):
    args.figure = args.towers_figure
    return interleave.measure(args, f"mpirun -n {args.ranks} --bind-to none {args.build / 'towers_bench'} "
                              f"{args.work / 'clip'} {precision} {args.work / 'captions.txt'} {args.batch} "
                              f"{args.seconds} {{json}}")


def run_tandem_all(args, precision):
    """tandem embed says itself how long it took, without its start."""
    interleave.wait_until_quiet(args.quiet)
    out = args.work / f"embedded-{precision}"
    begin, begin_busy, begin_own = time.monotonic(), interleave.busy_s(), interleave.children_s()
    done = subprocess.run(
        f"mpirun -n {args.ranks} --bind-to none {args.build / 'tandem'} embed --model {args.work / 'clip'} "
        f"--data {args.work / 'shards'} --split {SPLIT} --out {out} --precision {precision} --threads 1 "
        f"{args.tandem_options}", shell=True, capture_output=True, text=True)
    took = re.search(r"(\d+) images and \d+ captions .* embedded in ([0-9.]+) s", done.stderr + done.stdout)
    if done.returncode != 0 or not took:
        sys.exit(f"tandem embed failed:\n{done.stderr}")
    others = (interleave.busy_s() - begin_busy) - (interleave.children_s() - begin_own)
    whole = time.monotonic() - begin
    return dict(rate=int(took[1]) / float(took[2]), others=max(0.0, others / whole / os.cpu_count()),
                result=dict(whole_s=whole))


def run(args, row, kind, setting):
    runtime, precision = row.split("/")
    if runtime == "tandem":
        return run_tandem_towers(args, precision) if kind == "towers" else run_tandem_all(args, precision)
    features = f"--features {args.work / row.replace('/', '-')}.npz" if kind == "all" else ""
    return run_peer(args, row, kind, setting, args.pairs, features)


# ---- Settings, rounds ----

def reason(failed):
    """The line that says why, of a command's last words."""
    lines = str(failed).strip().splitlines()
    said = [line for line in lines if line.startswith(("left out", "tandem"))]
    return (said or lines)[0 if said else -1]


def fastest_setting(args, peer, kind):
    """The fastest, or None where the peer does not run here."""
    if args.settings:
        return args.settings
    rates = {}
    for setting in SETTINGS[peer.split("/")[0]]:
        try:
            rates[setting] = run_peer(args, peer, kind, setting, args.probe_pairs)["rate"]
        except SystemExit as failed:
            print(f"  {peer}: {reason(failed)}", flush=True)
            if "left out" in str(failed):
                return None
            continue
        print(f"  {peer}, {kind}: {rates[setting]:8.2f} images/s  {setting}", flush=True)
    return max(rates, key=rates.get) if rates else None


def usable_precisions(args):
    """Those that Tandem has on this CPU."""
    kept = []
    for precision in args.precisions:
        try:
            run_tandem_towers(argparse.Namespace(**{**vars(args), "seconds": 0.1}), precision)
            kept.append(precision)
        except SystemExit as failed:
            print(f"  tandem/{precision}: {reason(failed)}", flush=True)
    return kept


def measure_kind(args, kind, tandem_rows):
    settings = {row: "" for row in tandem_rows}
    for peer in args.peers:
        setting = fastest_setting(args, peer, kind)
        if setting is not None:
            settings[peer] = setting
    rows = {row: dict(setting=settings[row], runs=[]) for row in settings}
    for number in range(args.rounds):
        for row in list(rows) if number % 2 == 0 else list(reversed(rows)):
            try:
                rows[row]["runs"].append(run(args, row, kind, settings[row]))
            except SystemExit as failed:
                if "left out" not in str(failed):
                    raise
                print(f"  {row}: {reason(failed)}", flush=True)
                del rows[row]
                continue
            done = rows[row]["runs"][-1]
            print(f"  round {number + 1}, {kind}: {row} {done['rate']:.2f} images/s, others {100 * done['others']:.0f} %",
                  flush=True)
    return rows


# ---- What comes out ----

COSINES = """
import glob, json, sys
import h5py, numpy as np
work, reference, rows = sys.argv[1], sys.argv[2], sys.argv[3:]
def load(row):
    runtime, precision = row.split("/")
    if runtime != "tandem":
        return np.load(f"{work}/{runtime}-{precision}.npz")
    files = [h5py.File(f) for f in sorted(glob.glob(f"{work}/embedded-{precision}/*.h5"))]
    return {m: np.concatenate([f[m + "/embedding"][:] for f in files]) for m in ("image", "text")}
unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
base, out = load(reference), {}
for row in rows:
    own, out[row] = load(row), {}
    for m in ("image", "text"):
        mean = base[m].mean(0)
        plain = (unit(own[m]) * unit(base[m])).sum(1)
        about = (unit(own[m] - mean) * unit(base[m] - mean)).sum(1)
        out[row][m] = [float(plain.mean()), float(plain.min()), float(about.mean())]
print(json.dumps(out))
"""


def cosines(args, rows):
    if not (args.work / f"{REFERENCE.replace('/', '-')}.npz").exists():
        run_peer(args, REFERENCE, "all", "", args.pairs, f"--features {args.work / 'torch-f32'}.npz")
    done = subprocess.run([args.python, "-c", COSINES, str(args.work), REFERENCE, *rows], capture_output=True,
                          text=True, check=True)
    return json.loads(done.stdout)


def spread(values, form="{:.1f}"):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def ratios(rows, row, tandem):
    return [a["rate"] / b["rate"] for a, b in zip(rows[tandem]["runs"], rows[row]["runs"])]


def markdown(kind, rows, similar, captions):
    tandem_rows = [row for row in rows if row.startswith("tandem")]
    header = ["", "setting", "images/s", "captions/s" if kind == "towers" else "cosine of images: mean, least, about the mean",
              *(["cosine of captions"] if kind == "all" else []), *(f"{row} over it" for row in tandem_rows)]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for row, done in rows.items():
        cells = [row, f"`{done['setting']}`" if done["setting"] else "", spread([r["rate"] for r in done["runs"]])]
        if kind == "towers":
            cells.append(spread([r["result"][captions] for r in done["runs"]]))
        else:
            cells += [", ".join(f"{v:.5f}" for v in similar[row][m]) for m in ("image", "text")]
        cells += ["" if row == t else spread(ratios(rows, row, t), "{:.2f}") for t in tandem_rows]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    args = parse_arguments()
    interleave.allow_root()
    prepare(args)
    tandem_rows = [f"tandem/{precision}" for precision in usable_precisions(args)]
    results = {}
    for kind in args.kinds:
        print(f"{kind}:", flush=True)
        results[kind] = measure_kind(args, kind, tandem_rows)
        if args.json:
            args.json.write_text(json.dumps(results, indent=1) + "\n")
        print(markdown(kind, results[kind], cosines(args, results[kind]) if kind == "all" else None,
                       args.towers_figure.replace("images", "captions")), flush=True)


if __name__ == "__main__":
    main()
