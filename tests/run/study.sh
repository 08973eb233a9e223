#!/usr/bin/env bash
# tandem study: all rows and seeds, a failing row that does not stop the others, a call that makes only what is missing,
# shares that together are everything, a stop in the middle, and figures that are those of the runs.
. "$(dirname "$0")/common.sh"
make_data
cat >"$work/study.cfg" <<EOF
title = "A <small> study";
config = "run.cfg";
set = ["train.steps=6", "eval.dir=$work/data", "eval.split=train", "eval.every_epochs=1"];
seeds = [1, 2];
metrics = ["text_to_image.recall_at_10", "image_to_text.median_rank"];
base = "ITC, 1e-3";
axes = (
  { name = "objective"; values = ( { label = "ITC"; set = ["loss.infonce.weight=1"]; },
                                   { label = "R-ITC"; set = ["loss.ritc.weight=1"]; seeds = [1]; } ); },
  { name = "learning rate"; values = ( { label = "1e-3"; set = ["optim.lr=1e-3"]; x = 1e-3; },
                                       { label = "2e-3"; set = ["optim.lr=2e-3"]; x = 2e-3; } ); }
);
EOF
study() {
    timeout 300 "$MPIEXEC" --oversubscribe -n 2 "$TANDEM" study --config "$work/study.cfg" "$@" 2>"$work/log"
}

study --out "$work/a" --dry-run || fail "dry run: $(cat "$work/log")"
grep -q '6 of 6 runs are missing here: 36 steps' "$work/log" || fail "dry run: $(cat "$work/log")"
[ ! -e "$work/a" ] || fail "a dry run made $work/a"

study --out "$work/a" >"$work/table" || fail "$(cat "$work/log")"
cmp "$work/table" "$work/a/study.txt" || fail "study.txt is not what was printed"
python3 - "$work/a" <<'EOF' || fail "study.json"
import csv, json, math, pathlib, statistics, sys
out = pathlib.Path(sys.argv[1])
study = json.loads((out / "study.json").read_text())
rows = {row["label"]: row for row in study["rows"]}
assert list(rows) == ["ITC, 1e-3", "ITC, 2e-3", "R-ITC, 1e-3", "R-ITC, 2e-3"], list(rows)
assert [row["runs"] for row in study["rows"]] == [2, 2, 1, 1] and not any(row["failed"] for row in study["rows"])
assert "optim.lr=2e-3" in rows["ITC, 2e-3"]["settings"] and study["base"] == "ITC, 1e-3"


def last(row, seed, key):
    direction, name = key.split(".")
    lines = [json.loads(line) for line in open(out / "runs" / row / f"seed-{seed}" / "metrics.jsonl")]
    return [line["eval"][direction][name] for line in lines if "eval" in line][-1]


for key in "text_to_image.recall_at_10", "image_to_text.median_rank":
    base, other = [[last(row, seed, key) for seed in (1, 2)] for row in ("itc-1e-3", "itc-2e-3")]
    cell = rows["ITC, 2e-3"]["metrics"][key]
    assert cell["values"] == other and cell["n"] == 2
    assert math.isclose(cell["mean"], statistics.mean(other))
    assert math.isclose(cell["std"], statistics.stdev(other), abs_tol=1e-15)
    assert math.isclose(cell["difference"], statistics.mean(other) - statistics.mean(base), abs_tol=1e-12)
    alone = rows["R-ITC, 1e-3"]["metrics"][key]
    assert alone["std"] is None and alone["p"] is None and alone["values"] == [last("r-itc-1e-3", 1, key)]
table = list(csv.DictReader(open(out / "study.csv")))
assert [line["label"] for line in table] == list(rows) and table[1]["runs"] == "2"
assert float(table[1]["text_to_image.recall_at_10.mean"]) == rows["ITC, 2e-3"]["metrics"]["text_to_image.recall_at_10"]["mean"]
page = (out / "report.html").read_text()
assert "A &lt;small&gt; study" in page and "Over learning rate" in page and "Learning curves" in page
assert page.count("<svg") >= 4
text = (out / "study.txt").read_text().splitlines()
cell = rows["ITC, 2e-3"]["metrics"]["text_to_image.recall_at_10"]
assert text[0] == "A <small> study" and len(text) == 6 and len({len(line) for line in text[1:]}) == 1, text
assert f"{100 * cell['mean']:.2f} ± {100 * cell['std']:.2f}" in text[3] and "±" not in text[4], text
assert (out / "study.tex").read_text().count(r"\\") == 5
EOF

# nothing is left to be done; the page alone
before=$(stat -c %Y.%s "$work"/a/runs/*/*/metrics.jsonl)
study --out "$work/a" || fail "a second call: $(cat "$work/log")"
[ "$before" = "$(stat -c %Y.%s "$work"/a/runs/*/*/metrics.jsonl)" ] || fail "a second call ran again"
rm "$work/a/study.json"
study --out "$work/a" --report || fail "--report: $(cat "$work/log")"
[ -s "$work/a/study.json" ] || fail "--report wrote no study.json"

# two shares are everything, with the same figures
study --out "$work/b" --only 1/2 || fail "--only 1/2: $(cat "$work/log")"
[ "$(find "$work/b/runs" -name study-run.json | wc -l)" -eq 3 ] || fail "--only 1/2 made other runs than three"
study --out "$work/b" --only 2/2 || fail "--only 2/2: $(cat "$work/log")"
cmp "$work/a/study.json" "$work/b/study.json" || fail "two shares give another study.json"

# a run that took the whole process with it, on a host that was lost, comes behind those that were not tried
python3 - "$work/b/runs" <<'EOF'
import json, pathlib, sys
first, second = (pathlib.Path(sys.argv[1]) / row / "seed-1/study-run.json" for row in ("itc-1e-3", "itc-2e-3"))
first.write_text(json.dumps({"digest": json.loads(first.read_text())["digest"], "begun": True}))
second.unlink()
EOF
printf '%s\n' 'command train' 'host cn07' 'process 1' 'since then' 'start 1' 'machine 0' 'boot 0' 'pid_space 0' 'nonce 00ff' \
    >"$work/b/runs/itc-1e-3/seed-1/.tandem-lock"
study --out "$work/b" --steal-lock || fail "after a run that ended the process: $(cat "$work/log")"
[ "$(grep -o 'study: run [0-9]' "$work/log" | tr '\n' ' ')" = "study: run 2 study: run 1 " ] ||
    fail "wrong order: $(grep 'study: run' "$work/log")"
cmp "$work/a/study.json" "$work/b/study.json" || fail "made again, study.json differs"

# a row that cannot be run is named and counted, the others go on; mended, only it is run
sed -i 's/"loss.ritc.weight=1"/"loss.ritc.weight=1", "loss.ritc.image_view=nowhere"/' "$work/study.cfg"
code=0
study --out "$work/a" || code=$?
[ "$code" -eq 1 ] || fail "a failing row: exit code $code: $(cat "$work/log")"
grep -q 'a/runs/r-itc-1e-3/seed-1 failed: .*nowhere' "$work/log" || fail "not named: $(cat "$work/log")"
grep -q '2 runs failed' "$work/log" || fail "not counted: $(cat "$work/log")"
python3 -c "import json, sys
rows = json.load(open(sys.argv[1]))['rows']
assert [row['failed'] for row in rows] == [0, 0, 1, 1] and [row['runs'] for row in rows] == [2, 2, 0, 0]" "$work/a/study.json" ||
    fail "failed rows in study.json"

# figures of an evaluation of its own, by the best checkpoint
sed 's/^axes = (/eval = { data = "'"${work//\//\\/}"'\/data"; split = "train"; checkpoint = "best"; };\naxes = (/' "$work/study.cfg" \
    >"$work/eval.cfg"
sed -i 's/"image_to_text.median_rank"\]/"average.ndcg_at_3", "r_sum"]/' "$work/eval.cfg"
timeout 300 "$MPIEXEC" --oversubscribe -n 2 "$TANDEM" study --config "$work/eval.cfg" --out "$work/e" --only 1/6 2>"$work/log" ||
    fail "with eval: $(cat "$work/log")"
python3 - "$work/e" <<'EOF' || fail "figures of eval"
import json, pathlib, sys
out = pathlib.Path(sys.argv[1])
run = out / "runs/itc-1e-3/seed-1"
cell = json.loads((out / "study.json").read_text())["rows"][0]["metrics"]["text_to_image.recall_at_10"]
evaluation = json.loads((run / "eval.json").read_text())
assert cell["values"] == [evaluation["text_to_image"]["recall_at_10"]], cell
cells = json.loads((out / "study.json").read_text())["rows"][0]["metrics"]
assert cells["average.ndcg_at_3"]["values"] == [evaluation["average"]["ndcg_at_3"]], cells
assert cells["r_sum"]["values"] == [evaluation["r_sum"]], cells
assert evaluation["model"].endswith((run / "checkpoints/best").read_text().strip()), evaluation["model"]
# it was chosen on the split that it is measured on: that is marked
rows = json.loads((out / "study.json").read_text())["rows"]
assert [row["chosen_on_measured_split"] for row in rows] == [True, False, False, False], rows
assert "The checkpoint was chosen on the split" in (out / "report.html").read_text()
EOF

# a run with early stopping counts by its best evaluation, with a group eval by its best checkpoint
early=(--only 1/6 --set train.steps=0 --set train.patience=1 --set optim.lr=2e-2 --set checkpoint.best_metric=average.map)
sed 's/"text_to_image.recall_at_10"/"average.map"/' "$work/study.cfg" >"$work/early.cfg"
sed 's/"text_to_image.recall_at_10"/"average.map"/;s/; checkpoint = "best"//' "$work/eval.cfg" >"$work/early-eval.cfg"
for name in early early-eval; do
    "$TANDEM" study --config "$work/$name.cfg" --out "$work/$name" "${early[@]}" 2>"$work/log" || fail "$name: $(cat "$work/log")"
done
python3 - "$work" <<'EOF' || fail "figures of early stopping"
import json, pathlib, sys
for name in "early", "early-eval":
    out = pathlib.Path(sys.argv[1]) / name
    row = json.loads((out / "study.json").read_text())["rows"][0]
    run = out / "runs/itc-1e-3/seed-1"
    lines = [json.loads(line) for line in open(run / "metrics.jsonl")]
    values = [line["eval"]["average"]["map"] for line in lines if "eval" in line]
    assert lines[-1]["end"]["reason"] == "patience" and len(values) > 1 and max(values) > values[-1], values
    assert abs(row["metrics"]["average.map"]["values"][0] - max(values)) < 1e-8, (row, values)
    assert row["chosen_on_measured_split"] is True
    if name == "early-eval":
        best = (run / "checkpoints/best").read_text().strip()
        assert json.loads((run / "eval.json").read_text())["model"].endswith(best)
EOF

# wrong files, in one line with file and line
for wrong in 's/^seeds/sedes/;sedes' 's/^base.*/base = "nobody";/;nobody' 's/recall_at_10/recal_at_10/;recall_at_10' \
    's/x = 2e-3/y = 2e-3/;wrong.cfg:[0-9]+: unknown key "y"' 's/label = "2e-3"/label = "1e-3"/;two rows are called'; do
    sed "${wrong%;*}" "$work/study.cfg" >"$work/wrong.cfg"
    code=0
    "$TANDEM" study --config "$work/wrong.cfg" --out "$work/c" 2>"$work/log" || code=$?
    [ "$code" -eq 1 ] || fail "$wrong: exit code $code: $(cat "$work/log")"
    grep -qE "^tandem: .*${wrong##*;}" "$work/log" || fail "$wrong: $(cat "$work/log")"
done

# a signal stops the run after a checkpoint and the study with it; the next call goes on from there
code=0
start 2 study --config "$work/study.cfg" --out "$work/d" --set train.steps=400
for _ in $(seq 600); do
    [ "$(lines_of "$work/d/runs/itc-1e-3/seed-1")" -ge 5 ] && break
    sleep 0.05
done
kill -USR1 "$pid"
wait "$pid" || code=$?
[ "$code" -eq 3 ] || fail "stopped: exit code $code: $(cat "$work/log")"
[ -e "$work/d/study.json" ] || fail "stopped: no table"
[ ! -e "$work/d/runs/itc-1e-3/seed-1/study-run.json" ] || fail "stopped: the run counts as done"
study --out "$work/d" --set train.steps=400 --only 1/100 || fail "going on: $(cat "$work/log")"
grep -q 'resuming from' "$work/log" || fail "going on: $(cat "$work/log")"
[ -e "$work/d/runs/itc-1e-3/seed-1/study-run.json" ] || fail "going on: $(cat "$work/log")"
echo "4 rows, 6 runs: as the runs say, in shares too; failures named"
