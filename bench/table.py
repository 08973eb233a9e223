#!/usr/bin/env python3
"""The table of training speed: every model and precision beside PyTorch's best setting, interleaved.

    python3 bench/table.py --python PYTHON_WITH_TORCH --clip-repo CLONE_OF_OPENAI_CLIP --json table.json

For each row the settings of bench/peer_pytorch.py are tried once with few pairs (--probe-batch), and the fastest runs
against Tandem in --rounds rounds of bench/interleave.py. A setting that fails (torch.compile without a C++ compiler)
is left out and named. Prints a Markdown table; --json keeps everything, row by row, so that an interrupted run is not
lost. --isa avx2 holds both sides to AVX2 and leaves the rows in bf16 out, which neither side has instructions for.
--rows picks rows, --peer-options skips the trial, --quick is a smoke test on the smallest model.
"""

import argparse
import json
import pathlib
import statistics
import sys

import interleave

ROWS = {
    "vit_b_32/bf16": dict(batch=256),
    "vit_b_16/bf16": dict(batch=256),
    "vit_b_32/f32": dict(batch=256),
    "vit_b_16/f32": dict(batch=128),
    "rn50/bf16": dict(batch=128),
    "emoji_vit/bf16": dict(batch=512),
    "emoji_vit/f32": dict(batch=512),
}
SETTINGS = [
    "--processes 2 --threads 1 --tuned-malloc",
    "--processes 2 --threads 1",
    "--processes 1 --threads 2 --tuned-malloc",
    "--processes 2 --threads 1 --tuned-malloc --compile",
    "--processes 1 --threads 2 --tuned-malloc --compile",
    "--processes 2 --threads 1 --tuned-malloc --channels-last",
    "--processes 2 --threads 1 --tuned-malloc --module own",
    "--processes 2 --threads 1 --tuned-malloc --module own --compile",
]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), metavar="MODEL/PRECISION",
                        help=f"of {', '.join(ROWS)}; unset: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, help="pairs per step over all ranks, in place of the row's")
    parser.add_argument("--probe-batch", type=int, default=32, help="pairs per step while settings are tried")
    parser.add_argument("--tandem", default="build/tandem", help="the binary")
    parser.add_argument("--tandem-options", default="", help="further options of tandem bench")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="per rank")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has torch")
    parser.add_argument("--clip-repo", help="clone of github.com/openai/CLIP")
    parser.add_argument("--peer-options", help="the setting of peer_pytorch.py for all rows, instead of trying")
    parser.add_argument("--peer-steps", default="--warmup 1 --repeats 2 --steps 1", help="how long the peer runs")
    parser.add_argument("--isa", choices=list(interleave.ISAS), help="hold both sides to these instructions")
    parser.add_argument("--quiet", type=float, default=0, metavar="SECONDS",
                        help="before each run wait until the machine was idle this long")
    parser.add_argument("--quick", action="store_true", help="smallest model, few pairs, one round: does it all run?")
    parser.add_argument("--json", help="write everything here")
    args = parser.parse_args()
    if args.quick:
        args.rows = args.rows or [row for row in ROWS if row.startswith("emoji_vit")]
        args.rounds, args.batch, args.probe_batch = 1, 16, 4
        args.peer_options = args.peer_options or SETTINGS[0]
    args.rows = [row for row in args.rows or ROWS if not args.isa or row.endswith("/f32")]
    return args


def published(args, model):
    """Does the published code run it, and is it there?"""
    return bool(args.clip_repo) and model != "emoji_vit"


def usable(args, model, setting):
    """Is there such a setting for this model, and only one of that kind? (rn50 is in the published code only.)"""
    own = "--module own" in setting
    return not own if not published(args, model) else not own or model != "rn50"


def peer_command(args, row, setting, batch):
    model, precision = row.split("/")
    clone = f"--clip-repo {args.clip_repo}" if published(args, model) else ""
    script = interleave.HERE / "peer_pytorch.py"
    return (f"{args.python} {script} --model {model} --precision {precision} --batch {batch} {clone} {setting} "
            f"{args.peer_steps} --json {{json}}")


def probe(args, row, setting):
    command = peer_command(args, row, setting, args.probe_batch)
    return interleave.measure(args, interleave.held(args, "b", command))["rate"]


def fastest_setting(args, row):
    """The setting of the highest rate, and the rates of all."""
    rates = {}
    model = row.split("/")[0]
    for setting in SETTINGS:
        if not usable(args, model, setting):
            continue
        try:
            rates[setting] = probe(args, row, setting)
            print(f"  {rates[setting]:8.2f} pairs/s  {setting}", flush=True)
        except SystemExit as failed:
            print(f"  left out: {setting}: {str(failed).strip().splitlines()[-1]}", flush=True)
    if not rates:
        sys.exit(f"{row}: no setting of the peer runs")
    return max(rates, key=rates.get), rates


def run_row(args, row):
    model, precision = row.split("/")
    args.model, args.precision = model, precision
    args.batch = args.row_batch or ROWS[row]["batch"]
    args.figure = "pairs_per_s"
    print(f"{row}, {args.batch} pairs a step", flush=True)
    setting, tried = (args.peer_options, {}) if args.peer_options else fastest_setting(args, row)
    sides = dict(a=interleave.TANDEM.replace(" --json", f" {args.tandem_options} --json"),
                 b=peer_command(args, row, setting, args.batch))
    rounds = []
    for number in range(args.rounds):
        order = "ab" if number % 2 == 0 else "ba"
        runs = {side: interleave.measure(args, interleave.held(args, side, sides[side])) for side in order}
        rounds.append(dict(order=order, ratio=runs["a"]["rate"] / runs["b"]["rate"], **runs))
        print(f"  round {number + 1}: tandem {runs['a']['rate']:.2f}, pytorch {runs['b']['rate']:.2f}, ratio "
              f"{rounds[-1]['ratio']:.3f}, others {100 * max(r['others'] for r in runs.values()):.0f} %", flush=True)
    return dict(row=row, batch=args.batch, setting=setting, tried=tried, rounds=rounds)


def spread(values, form):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def markdown(results):
    lines = ["| model | pairs a step | Tandem, pairs/s | MFU, % | of the peak between the steps, % | "
             "communication, % | waiting for ranks, % | PyTorch, pairs/s | its setting | ratio |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for result in results:
        ours = [r["a"]["result"] for r in result["rounds"]]
        lines.append("| " + " | ".join([
            result["row"].replace("/", " "), str(result["batch"]),
            spread([r["a"]["rate"] for r in result["rounds"]], "{:.1f}"),
            spread([100 * x["mfu"] for x in ours], "{:.0f}"),
            spread([100 * x["mfu_sustained"] for x in ours], "{:.0f}"),
            spread([100 * x["comm_s"] / x["step_s"] for x in ours], "{:.1f}"),
            spread([100 * x["wait_ranks_s"] / x["step_s"] for x in ours], "{:.1f}"),
            spread([r["b"]["rate"] for r in result["rounds"]], "{:.1f}"), f"`{result['setting']}`",
            spread([r["ratio"] for r in result["rounds"]], "{:.2f}")]) + " |")
    return "\n".join(lines)


def main():
    args = parse_arguments()
    interleave.allow_root()
    args.row_batch = args.batch
    results = []
    for row in args.rows:
        if row.startswith("rn50") and not args.clip_repo:
            print(f"{row}: left out, it needs --clip-repo")
            continue
        results.append(run_row(args, row))
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    print(markdown(results))


if __name__ == "__main__":
    main()
