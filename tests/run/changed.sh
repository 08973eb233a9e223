#!/usr/bin/env bash
# A resumed run is compared with its checkpoint: what gives the weights another meaning is refused by name, what changes
# the run is reported, what changes nothing is not mentioned; and the run is placed by samples.
. "$(dirname "$0")/common.sh"
make_data
settings=(--config "$work/run.cfg" --set train.steps=0 --set train.epochs=4 --set checkpoint.every_steps=1
    --set checkpoint.keep=99)
"$TANDEM" train "${settings[@]}" --out "$work/whole" 2>"$work/log" || fail "$(cat "$work/log")"
from=$work/whole/checkpoints/step-00000007 # 48 of the 120 samples of the second epoch

# resume ARG…: --dry-run from there, with these changes
resume() {
    "$TANDEM" train "${settings[@]}" --resume "$from" --out "$work/dry" --dry-run "$@" 2>"$work/log"
}
# refused KEY ARG…: names the key
refused() {
    local key=$1 code=0
    shift
    resume "$@" || code=$?
    [ $code -eq 1 ] || fail "$*: exit code $code, expected 1: $(cat "$work/log")"
    grep -q "does not go with this configuration: .*$key was .*, is .*--resume-changed" "$work/log" ||
        fail "$*: not named: $(cat "$work/log")"
}
# accepted KEY ARG…: refused, and goes on when told to
accepted() {
    refused "$@"
    resume "${@:2}" --resume-changed || fail "$*: not accepted: $(cat "$work/log")"
    grep -q "warning: resume: $1 was .*accepted" "$work/log" || fail "$*: not reported: $(cat "$work/log")"
}
# reported KEY ARG…
reported() {
    local key=$1
    shift
    resume "$@" || fail "$*: $(cat "$work/log")"
    grep -q "warning: resume: $key was .*, is " "$work/log" || fail "$*: not reported: $(cat "$work/log")"
}
# The same of several keys in one run, each with its value: KEY=VALUE…
all_accepted() {
    local set=() change
    for change in "$@"; do set+=(--set "$change"); done
    if resume "${set[@]}"; then fail "$*: taken"; fi
    for change in "$@"; do
        grep -q "does not go with this configuration: .*${change%%=*} was .*, is .*--resume-changed" "$work/log" ||
            fail "$change: not named: $(cat "$work/log")"
    done
    resume "${set[@]}" --resume-changed || fail "$*: not accepted: $(cat "$work/log")"
    for change in "$@"; do
        grep -q "warning: resume: ${change%%=*} was .*accepted" "$work/log" || fail "$change: not reported: $(cat "$work/log")"
    done
}
all_reported() {
    local set=() change
    for change in "$@"; do set+=(--set "$change"); done
    resume "${set[@]}" || fail "$*: $(cat "$work/log")"
    for change in "$@"; do
        grep -q "warning: resume: ${change%%=*} was .*, is " "$work/log" || fail "$change: not reported: $(cat "$work/log")"
    done
}
silent() {
    resume "$@" || fail "$*: $(cat "$work/log")"
    if grep "resume: " "$work/log"; then fail "$*: mentioned"; fi
}

# ---- what the weights mean
all_accepted model.activation=quickgelu model.image.heads=4 model.text.heads=4
all_accepted 'model.image.mean=[0.5, 0.5, 0.5]' 'model.image.std=[0.5, 0.5, 0.5]' model.image.resize=squash model.image.alpha=white
python3 - "$work/bpe.txt" "$work/other.txt" <<'EOF2' # two merges that do not need each other change places
import sys
lines = open(sys.argv[1]).read().splitlines()
i = next(i for i in range(len(lines) - 2, 0, -1) if lines[i].replace(" ", "") not in lines[i + 1].split())
lines[i : i + 2] = lines[i + 1], lines[i]
open(sys.argv[2], "w").write("\n".join(lines) + "\n")
EOF2
accepted "the tokenizer" --set "model.tokenizer=$work/other.txt"
accepted "the tokenizer" --set model.tokenizer_mask=true
# where the shapes differ nobody can insist
for change in model.text.context_length=20 model.image.height_px=32 model.image.patch_px=12 model.text.width=64 \
    model.image.layers=3 model.image.head=mlp model.embed_dim=16; do
    refused "${change%=*}" --set $change
    if resume --set $change --resume-changed; then fail "$change: accepted"; fi
    grep -q "is of another model" "$work/log" || fail "$change: $(cat "$work/log")"
done
refused "model.activation was .*; model.image.mean was .*; model.text.heads" --set model.activation=quickgelu \
    --set model.text.heads=4 --set 'model.image.mean=[0.5, 0.5, 0.5]' --set optim.lr=1

# refused on all ranks, and the run directory is as it was
tree_of() { (cd "$1" && find . -type f ! -name '*lock*' -exec sha256sum {} + | sort); }
cp -r "$work/whole" "$work/touched"
if ranks 2 train "${settings[@]}" --out "$work/touched" --resume auto --set model.activation=quickgelu \
    --set train.epochs=9 2>"$work/log"; then fail "accepted another activation"; fi
[ "$(tree_of "$work/whole")" = "$(tree_of "$work/touched")" ] || fail "a refused run has touched its directory"

# ---- what changes the run
all_reported seed=6 optim.lr=1e-4 optim.schedule=linear optim.warmup_steps=6 optim.weight_decay=0.1 optim.beta2=0.999 \
    optim.clip_norm=0 'optim.freeze=[logit_scale]' model.dropout=0.2 'views.aug_1.augment=[resize, flip]' \
    augment.flip.p=0.1 loss.infonce.soft_targets=none loss.infonce.weight=0.5 data.sample=image data.share=0.7 \
    data.imbalance=per_batch data.text_share=0.5 \
    train.wire=bf16 train.epochs=5
reported train.steps --set train.steps=30
if "$TANDEM" train "${settings[@]}" --set train.precision=bf16 --dry-run --out "$work/dry" 2>"$work/log"; then
    reported train.precision --set train.precision=bf16
fi
reported model.logit_scale_init --set model.logit_scale_init=1
grep -q "without effect" "$work/log" || fail "no word that an initial value counts at the start only: $(cat "$work/log")"
python3 "$here/make_pairs.py" "$work/raw2" 90
"$TANDEM" pack --format folder --out "$work/data2" --split train "$work/raw2" 2>"$work/log" || fail "$(cat "$work/log")"
reported "the data set" --set "data.dir=$work/data2"
grep -q "at sample 37 of 90 of epoch 2" "$work/log" || fail "not the same share of the epoch: $(cat "$work/log")"

# ---- what changes nothing
cp -r "$work/data" "$work/moved"
cp "$work/bpe.txt" "$work/moved.txt"
silent --set "data.dir=$work/moved" --set "model.tokenizer=$work/moved.txt" --set train.chunk=5 \
    --set train.recompute=block --set optim.shard=true --set data.workers=1 --set data.prefetch=1 \
    --set train.log_every=2 --set checkpoint.keep=5 --set train.threads=2 --set model.name=other \
    --set train.bucket_mib=1 --set train.reduce=mpi --set model.image.mlp.hidden=7 --set model.image.batch_stats=frozen

# ---- placed by samples
# goes NAME FIRST LAST ARG…: resumes from there, and the steps are FIRST to LAST; the first learning rate is the one that
# the undisturbed run has at that step, and the epochs go on where they were and end where they should
goes() {
    local name=$1
    "$TANDEM" train "${settings[@]}" --resume "$from" --out "$work/$name" "${@:4}" 2>"$work/log" ||
        fail "$name: $(cat "$work/log")"
    python3 - "$work/whole/metrics.jsonl" "$work/$name/metrics.jsonl" "$2" "$3" <<'EOF2' || fail "$name"
import json, math, sys
rows = lambda path: [json.loads(line) for line in open(path)]
whole = {row["step"]: row for row in rows(sys.argv[1])}
start, event, *steps = rows(sys.argv[2])
first, last = int(sys.argv[3]), int(sys.argv[4])
assert start["step"] == first - 1 and start["start"]["ranks"] == 1, start
assert event["step"] == first - 1 and event["resume"]["changed"], event
assert [row["step"] for row in steps] == list(range(first, last + 1)), [row["step"] for row in steps]
assert math.isclose(steps[0]["lr"], whole[first]["lr"], rel_tol=1e-9), (steps[0]["lr"], whole[first]["lr"])
assert all(a["lr"] > b["lr"] > 0 for a, b in zip(steps, steps[1:])), "the schedule turns"
assert 1.4 < steps[0]["epoch"] <= 2.0 and steps[-1]["epoch"] == 4.0, [row["epoch"] for row in steps]
EOF2
}
# 72 samples are left of this epoch: one batch of 48, six of 12; two epochs follow
goes twice 8 12 --set train.batch=48
grep -q "step 8 of 12, at sample 49 of 120 of epoch 2; learning rate" "$work/log" || fail "$(cat "$work/log")"
goes half 8 33 --set train.batch=12
# a run that has changed once and is stopped later ends with the same bits as one that goes through
"$TANDEM" train "${settings[@]}" --set train.batch=12 --out "$work/half-cut" \
    --resume "$work/half/checkpoints/step-00000020" 2>"$work/log" || fail "$(cat "$work/log")"
if grep "resume: " "$work/log"; then fail "nothing has changed any more"; fi
same_weights "$work/half" "$work/half-cut"
# with train.steps so many updates are made, whatever the batch
"$TANDEM" train "${settings[@]}" --set train.steps=20 --set train.batch=48 --out "$work/steps" --resume "$from" \
    2>"$work/log" || fail "$(cat "$work/log")"
tail -1 "$work/steps/metrics.jsonl" | grep -q '"step":20,"epoch":8.0' || fail "$(tail -1 "$work/steps/metrics.jsonl")"

# ---- finished, extended, too short
cp -r "$work/whole" "$work/more"
"$TANDEM" train "${settings[@]}" --out "$work/more" --resume auto 2>"$work/log" || fail "$(cat "$work/log")"
grep -q "nothing to do: .*step 20 of 20" "$work/log" || fail "no word of a finished run: $(cat "$work/log")"
[ "$(tree_of "$work/whole")" = "$(tree_of "$work/more")" ] || fail "a finished run was touched"
if "$TANDEM" train "${settings[@]}" --out "$work/more" --resume auto --set train.epochs=3 2>"$work/log"; then
    fail "ended before its checkpoint with success"
fi
grep -q "has 4 epochs behind it, but train.epochs = 3" "$work/log" || fail "$(cat "$work/log")"
if "$TANDEM" train "${settings[@]}" --out "$work/more" --resume auto --set train.steps=3 2>"$work/log"; then
    fail "ended before its checkpoint with success"
fi
grep -q "is at step 20, but train.steps = 3" "$work/log" || fail "$(cat "$work/log")"
"$TANDEM" train "${settings[@]}" --out "$work/more" --resume auto --set train.epochs=5 2>"$work/log" ||
    fail "$(cat "$work/log")"
grep -q "step 21 of 25, .*learning rate .*, by the checkpoint's configuration 0" "$work/log" || fail "$(cat "$work/log")"
[ "$(grep -c '"loss":' "$work/more/metrics.jsonl")" = 25 ] || fail "not 25 steps"

# ---- the best value so far is that of one metric on one data set
best=(--set "eval.dir=$work/data" --set eval.split=train)
"$TANDEM" train "${settings[@]}" "${best[@]}" --set train.epochs=2 --out "$work/best" 2>"$work/log" || fail "$(cat "$work/log")"
resume_best() {
    cp -r "$work/best" "$work/$1"
    "$TANDEM" train "${settings[@]}" "${best[@]}" --out "$work/$1" --resume auto "${@:2}" 2>"$work/log" || fail "$(cat "$work/log")"
}
resume_best best1 --set train.epochs=3
if grep -q "a new best is looked for" "$work/log"; then fail "nothing has changed: $(cat "$work/log")"; fi
# of median ranks the least is best, so that an old recall would never be beaten
resume_best best2 --set train.epochs=3 --set checkpoint.best_metric=text_to_image.median_rank
grep -q "a new best is looked for" "$work/log" || fail "another metric: $(cat "$work/log")"
[ "$(cat "$work/best2/checkpoints/best")" = step-00000015 ] || fail "compared with another metric's value"
best=(--set "eval.dir=$work/data2" --set eval.split=train)
resume_best best3 --set train.epochs=3
grep -q "a new best is looked for" "$work/log" || fail "another data set: $(cat "$work/log")"

# ---- rows of a classifier belong to identities
for base in 0 500; do
    python3 - "$work/raw" "$base" >"$work/people$base.csv" <<'EOF2'
import csv, pathlib, sys
out = csv.writer(sys.stdout)
out.writerow(["image", "caption", "identity"])
raw, base = pathlib.Path(sys.argv[1]), int(sys.argv[2])
for i, text in enumerate(sorted(raw.rglob("*.txt"))):
    image = next(p for p in text.parent.iterdir() if p.stem == text.stem and p.suffix != ".txt")
    out.writerow([image, text.read_text().strip(), base + i // 4])
EOF2
    "$TANDEM" pack --format csv --image-column image --caption-column caption --identity-column identity \
        --out "$work/people$base" --split train "$work/people$base.csv" 2>"$work/log" || fail "$(cat "$work/log")"
done
settings+=(--set loss.identity.weight=1 --set train.epochs=1)
"$TANDEM" train "${settings[@]}" --set "data.dir=$work/people0" --out "$work/people" 2>"$work/log" || fail "$(cat "$work/log")"
from=$work/people/checkpoints/step-00000003
accepted "the identities of the classifier" --set "data.dir=$work/people500"
silent --set "data.dir=$work/people0"
echo "what differs is refused, reported or silent by its kind; the run goes on at its sample"
