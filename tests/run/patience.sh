#!/usr/bin/env bash
# Early stopping: a run ends after train.patience evaluations that were not better, its best checkpoint is kept and taken
# by other commands, log, metrics.jsonl and state say why it ended, and a further call has nothing to do. The count
# survives a kill between evaluation and checkpoint, an evaluation that was given up, and another number of ranks. What
# was chosen on the split that is measured is marked.
. "$(dirname "$0")/common.sh"
make_data
# so large a learning rate spoils the model: the best evaluation is none of the last ones
settings=(--config "$work/run.cfg" --set train.steps=0 --set train.epochs=40 --set train.patience=3 --set optim.lr=2e-2
    --set optim.schedule=constant --set "eval.dir=$work/data" --set eval.split=train
    --set checkpoint.best_metric=average.map --set checkpoint.every_steps=5 --set checkpoint.keep=100)

# check RUN EVERY PATIENCE: the end is where the evaluations of metrics.jsonl put it, steps are multiples of EVERY
check() {
    python3 - "$@" <<'PY' || fail "end of $1"
import json, pathlib, sys
run, every, patience = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
lines = [json.loads(line) for line in open(run / "metrics.jsonl")]
evals, best, since = [line for line in lines if "eval" in line], None, 0
assert [line["step"] for line in evals] == [every * (i + 1) for i in range(len(evals))]
for line in evals:
    value = line["eval"]["average"]["map"]
    assert abs(2 * value - line["eval"]["text_to_image"]["map"] - line["eval"]["image_to_text"]["map"]) < 1e-8
    since += 1
    if best is None or value > best[0]:
        best, since = (value, line["step"]), 0
    assert (since == patience) == (line is evals[-1]), (since, line["step"])
end = lines[-1]["end"]
assert sum("end" in line for line in lines) == 1 and lines[-1]["step"] == evals[-1]["step"] < 40 * every
assert end["reason"] == "patience" and end["evaluations_since_best"] == patience, end
assert (end["metric"], end["chosen_on"], end["best"]) == ("average.map", "train", best[0]), end
assert (end["best_step"], end["best_epoch"]) == (best[1], best[1] / every), end
for pointer, step in ("best", best[1]), ("latest", lines[-1]["step"]):
    assert (run / "checkpoints" / pointer).read_text() == f"step-{step:08d}\n", pointer
    assert (run / f"checkpoints/step-{step:08d}/model.h5").exists()
print(f"{run.name}: best at step {best[1]}, end at step {lines[-1]['step']}")
PY
}
ranks 2 train "${settings[@]}" --out "$work/run" 2>"$work/log" || fail "$(cat "$work/log")"
check "$work/run" 5 3
grep -q '^ended early at step .*: 3 evaluations in a row (train.patience) were not better' "$work/log" || fail "$(tail -2 "$work/log")"
grep -q '^the best of this run: average.map = 0.* of epoch .*, chosen on train, 3 evaluations before the end' "$work/log" ||
    fail "$(tail -2 "$work/log")"
grep -q "The best was that of epoch" "$work/run/report.html" || fail "no word of the best in the report"
last=$(cat "$work/run/checkpoints/latest") best=$(cat "$work/run/checkpoints/best")
"$TANDEM" info "$work/run" >"$work/info" || fail "info"
grep -q '^ *end  *patience$' "$work/info" || fail "no reason in the state: $(cat "$work/info")"

ranks 2 train "${settings[@]}" --out "$work/run" --resume auto 2>"$work/log" || fail "$(cat "$work/log")"
grep -q "^nothing to do: .*$last, step .*, ended early: 3 evaluations were not better than average.map" "$work/log" || fail "$(cat "$work/log")"

# killed between an evaluation that was not better and its checkpoint: the one before counts one less, and `best` names
# one of the course that was given up
cp -r "$work/run" "$work/killed"
step=$((10#${last#step-}))
rm -r "$work/killed/checkpoints/$last"
printf 'step-%08d\n' $((step - 5)) >"$work/killed/checkpoints/latest"
cp "$work/killed/checkpoints/latest" "$work/killed/checkpoints/best"
ranks 2 train "${settings[@]}" --out "$work/killed" --resume auto 2>"$work/log" || fail "$(cat "$work/log")"
check "$work/killed" 5 3
same_weights "$work/run" "$work/killed"

# more patience goes on, to the last step where it is 0; in another directory the best is looked for anew
ranks 2 train "${settings[@]}" --out "$work/killed" --resume auto --set train.patience=0 --set train.steps=$((step + 5)) \
    --set train.epochs=1 2>"$work/log" || fail "$(cat "$work/log")"
grep -q '"end"' "$work/killed/metrics.jsonl" && fail "an end that was none"
"$TANDEM" train "${settings[@]}" --out "$work/elsewhere" --resume "$work/run" --set train.patience=4 --set train.epochs=$((step / 5 + 1)) \
    2>"$work/log" || fail "$(cat "$work/log")"
grep -q "the best checkpoint so far, of step $((10#${best#step-})), is not in" "$work/log" || fail "$(cat "$work/log")"
[ "$(cat "$work/elsewhere/checkpoints/best")" = "$(cat "$work/elsewhere/checkpoints/latest")" ] || fail "no new best"
grep -q '"reason":"complete"' "$work/elsewhere/metrics.jsonl" || fail "no reason of a complete run"

# nothing gets better at rate 0: any number of ranks counts the same, and so does a run that is stopped in every
# evaluation
still=("${settings[@]}" --set optim.lr=0 --set train.batch=120 --set train.patience=2)
ranks 3 train "${still[@]}" --out "$work/still-3" 2>"$work/log" || fail "$(cat "$work/log")"
check "$work/still-3" 1 2
for i in 1 2 3 4; do
    code=0
    "$TANDEM" train "${still[@]}" --out "$work/still-1" --resume auto --set train.time_limit_minutes=1e-9 2>"$work/log" || code=$?
    [ $code -eq $((i < 4 ? 3 : 0)) ] || fail "part $i: exit code $code: $(cat "$work/log")"
done
check "$work/still-1" 1 2

# what other commands take, and that it was chosen on what it is measured on
"$TANDEM" eval --model "$work/run" --data "$work/data" --split train --json "$work/eval.json" 2>"$work/log" || fail "$(cat "$work/log")"
grep -q "^checkpoint: the best of its run, average.map = .* of epoch .*, chosen on split train" "$work/log" || fail "$(cat "$work/log")"
grep -q "was chosen on the split that it is measured on (train)" "$work/log" || fail "not marked: $(cat "$work/log")"
python3 "$here/make_pairs.py" "$work/other" 30
"$TANDEM" pack --format folder --out "$work/data" --split other "$work/other" 2>"$work/log" || fail "$(cat "$work/log")"
"$TANDEM" eval --model "$work/run" --data "$work/data" --split other --json "$work/other.json" 2>"$work/log" || fail "$(cat "$work/log")"
grep -q "is measured on" "$work/log" && fail "marked: $(cat "$work/log")"
"$TANDEM" eval --model "$work/run/checkpoints/$last" --data "$work/data" --split train --json "$work/last.json" 2>/dev/null
python3 - "$work" "$best" "$last" <<'EOF2' || fail "selection in eval.json"
import json, sys
work, best, last = sys.argv[1:]
same, other, latest = [json.load(open(f"{work}/{name}.json")) for name in ("eval", "other", "last")]
assert same["model"].endswith(best) and same["selection"]["chosen_on_measured_split"] is True
assert (same["selection"]["metric"], same["selection"]["chosen_on"]) == ("average.map", "train")
assert abs(same["selection"]["value"] - same["average"]["map"]) < 1e-12
assert other["model"].endswith(best) and other["selection"]["chosen_on_measured_split"] is False
assert latest["model"].endswith(last) and "selection" not in latest
EOF2
echo "ends where the evaluations say, after kills and stops, on 1, 2 and 3 ranks; its best is taken and marked"
