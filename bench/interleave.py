#!/usr/bin/env python3
"""Runs two benchmarks in turn and prints the ratio of their rates, round by round and as a median.

    python3 bench/interleave.py --clip-repo CLONE_OF_OPENAI_CLIP --python PYTHON_WITH_TORCH --batch 128

A machine's speed drifts by more than the differences of interest, so only runs next to each other are compared:
every round runs A then B, the next round B then A. A is `tandem bench` (on --ranks ranks of --threads threads), B
is bench/peer_pytorch.py (with --peer-options). --a and --b replace either by any command that writes a JSON object
with the rate named by --figure, a number or a list of which the median counts, to {json}; {tandem}, {python}, {model},
{precision}, {batch} (pairs per step over all ranks), {local} (per rank), {ranks}, {threads} and {clip_repo} are
replaced too. For example, 2 ranks x 1 thread against 1 rank x 2 threads:

    python3 bench/interleave.py --name-a "2 x 1" --name-b "1 x 2" --batch 128 \\
        --a 'mpirun -n 2 --bind-to none {tandem} bench --threads 1 --batch 64 --precision bf16 --json {json}' \\
        --b '{tandem} bench --threads 2 --batch 128 --precision bf16 --json {json}'

--isa avx2 holds both sides to AVX2: Tandem by TANDEM_ISA, PyTorch by the variables that ATen, oneDNN and MKL read.
What a side says about the instructions that it used is checked.

"others" is the share of the machine's cores that other programs (or the hypervisor) used meanwhile: rounds with
more than a few percent are disturbed, and --quiet SECONDS waits before each run until the machine was idle so long.
"""

import argparse
import json
import os
import pathlib
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TANDEM = ("mpirun -n {ranks} --bind-to none {tandem} bench --model {model} --precision {precision} --batch {local} "
          "--threads {threads} --json {json}")
PEER = ("{python} " + shlex.quote(str(HERE / "peer_pytorch.py")) + " --model {model} --precision {precision} "
        "--batch {batch} {clip_repo} --json {json}")

# What holds a side to an instruction set. MKL_VERBOSE=1 and ONEDNN_VERBOSE=1 show what PyTorch's libraries make of it.
ISAS = {
    "avx2": dict(a=dict(TANDEM_ISA="avx2"),
                 b=dict(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", MKL_ENABLE_INSTRUCTIONS="AVX2")),
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="vit_b_32")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "f32"])
    parser.add_argument("--batch", type=int, default=128, help="pairs per step over all ranks")
    parser.add_argument("--tandem", default="build/tandem", help="the binary")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="per rank")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has torch")
    parser.add_argument("--clip-repo", help="clone of github.com/openai/CLIP")
    parser.add_argument("--peer-options", default="--threads 2", help="further options of peer_pytorch.py")
    parser.add_argument("--figure", default="pairs_per_s", help="rate that is compared, a key of the JSON")
    parser.add_argument("--a", help="command A")
    parser.add_argument("--b", help="command B")
    parser.add_argument("--name-a", default="tandem")
    parser.add_argument("--name-b", default="pytorch")
    parser.add_argument("--isa", choices=list(ISAS), help="hold both sides to these instructions")
    parser.add_argument("--quiet", type=float, default=0, metavar="SECONDS",
                        help="before each run wait until the machine was idle this long")
    parser.add_argument("--json", help="write all rounds here")
    args = parser.parse_args()
    if args.batch % args.ranks:
        parser.error("--batch must be divisible by --ranks")
    return args


def busy_s():
    """Seconds of all cores together that were not idle, stolen time included."""
    ticks = [int(x) for x in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def children_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wait_until_quiet(seconds):
    while seconds > 0:
        begin_busy, begin = busy_s(), time.monotonic()
        time.sleep(seconds)
        share = (busy_s() - begin_busy) / (time.monotonic() - begin) / os.cpu_count()
        if share < 0.05:
            return


def command(args, template, json_path):
    words = dict(python=shlex.quote(args.python), tandem=shlex.quote(args.tandem), model=args.model,
                 precision=args.precision, batch=args.batch, local=args.batch // args.ranks, ranks=args.ranks,
                 threads=args.threads, json=shlex.quote(json_path),
                 clip_repo=f"--clip-repo {shlex.quote(args.clip_repo)}" if args.clip_repo else "")
    for word, value in words.items():
        template = template.replace("{" + word + "}", str(value))
    return template


def held(args, side, template):
    """The command of a side with the variables that hold it to --isa."""
    if not args.isa:
        return template
    return " ".join(["env", *(f"{k}={v}" for k, v in ISAS[args.isa][side].items()), template])


def check_isa(args, result):
    used = result.get("isa", args.isa)
    if args.isa and used.lower() != args.isa:
        sys.exit(f"a side was to be held to {args.isa}, and used {used}")


def measure(args, template):
    wait_until_quiet(args.quiet)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "result.json")
        line = command(args, template, path)
        begin, begin_busy, begin_own = time.monotonic(), busy_s(), children_s()
        done = subprocess.run(line, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{line}\nfailed with {done.returncode}:\n{done.stderr}")
        result = json.loads(pathlib.Path(path).read_text())
    others = (busy_s() - begin_busy) - (children_s() - begin_own)
    check_isa(args, result)
    rate = result[args.figure]
    rate = statistics.median(rate) if isinstance(rate, list) else rate
    return dict(rate=rate, others=max(0.0, others / (time.monotonic() - begin) / os.cpu_count()),
                result=result)


def spread(values):
    return f"median {statistics.median(values):.3f}, {min(values):.3f} … {max(values):.3f}"


def allow_root():
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT", "1")
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")


def main():
    args = parse_arguments()
    allow_root()
    sides = {"a": args.a or TANDEM, "b": args.b or f"{PEER} {args.peer_options}"}
    rounds = []
    for number in range(args.rounds):
        order = "ab" if number % 2 == 0 else "ba"
        runs = {side: measure(args, held(args, side, sides[side])) for side in order}
        rounds.append(dict(order=order, ratio=runs["a"]["rate"] / runs["b"]["rate"], **runs))
        parts = [f"{name} {runs[side]['rate']:.2f} (others {100 * runs[side]['others']:.0f} %)"
                 for side, name in (("a", args.name_a), ("b", args.name_b))]
        print(f"round {number + 1}: {', '.join(parts)}, ratio {rounds[-1]['ratio']:.3f}", flush=True)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(dict(commands=sides, rounds=rounds), indent=1) + "\n")
    for side, name in (("a", args.name_a), ("b", args.name_b)):
        print(f"{name}: {spread([r[side]['rate'] for r in rounds])} {args.figure}")
    print(f"ratio {args.name_a} / {args.name_b}: {spread([r['ratio'] for r in rounds])}")


if __name__ == "__main__":
    main()
