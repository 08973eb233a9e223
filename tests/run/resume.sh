#!/usr/bin/env bash
# A run that is stopped by a signal and resumed ends with the same bits as one that never stopped, in f32 and in bf16
# (where the CPU has it) on the same number of ranks; on another number it continues the curve up to rounding. Patches are
# dropped in the first 60 % of it.
. "$(dirname "$0")/common.sh"
make_data
settings=(--config "$work/run.cfg" --set model.image.patch_dropout=0.4 --set train.unmasked_share=0.4)

# stop_after LINES SIGNAL OUT PRECISION RANKS: runs until metrics.jsonl has that many lines, then signals
stop_after() {
    local lines=$1 signal=$2 out=$3 precision=$4 n=$5 code=0
    start "$n" train "${settings[@]}" --out "$out" --resume auto --set "train.precision=$precision" \
        --set train.steps=150
    for _ in $(seq 600); do
        [ "$(lines_of "$out")" -ge "$lines" ] && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.05
    done
    if [ "$signal" = USR1 ]; then
        kill -USR1 $pid # mpirun passes it on to every rank
    else
        # mpirun itself would end the job: the batch system signals a rank
        kill -TERM "$(pgrep -P $pid | head -1)"
    fi
    wait $pid || code=$?
    [ $code -eq 3 ] || fail "stopped by $signal: exit code $code, expected 3: $(cat "$work/log")"
    grep -q "stopped on request at step" "$work/log" || fail "no message: $(cat "$work/log")"
}

precisions=f32
ranks 1 train "${settings[@]}" --out "$work/probe" --set train.precision=bf16 --set train.steps=1 2>/dev/null &&
    precisions="f32 bf16"
for precision in $precisions; do
    ranks 2 train "${settings[@]}" --out "$work/whole-$precision" --set "train.precision=$precision" \
        --set train.steps=150 2>"$work/log" || fail "$(cat "$work/log")"
    stop_after 20 USR1 "$work/cut-$precision" "$precision" 2
    stop_after 60 TERM "$work/cut-$precision" "$precision" 2
    ranks 2 train "${settings[@]}" --out "$work/cut-$precision" --resume auto \
        --set "train.precision=$precision" --set train.steps=150 2>"$work/log" || fail "$(cat "$work/log")"
    same_weights "$work/whole-$precision" "$work/cut-$precision"
    echo "$precision: stopped twice and resumed, same bits; $(compare_curves "$work/whole-$precision" "$work/cut-$precision" 0)"
done

stop_after 20 USR1 "$work/other" f32 4
ranks 1 train "${settings[@]}" --out "$work/other" --resume auto --set train.precision=f32 --set train.steps=150 \
    2>"$work/log" || fail "$(cat "$work/log")"
echo "4 ranks, then 1, against 2: $(compare_curves "$work/whole-f32" "$work/other" 1e-3)"

grep -q "from step [0-9]* on: 9 of the 9 patches" "$work/log" || fail "no word on whole images: $(cat "$work/log")"

# a finished run is left as it is
ranks 2 train "${settings[@]}" --out "$work/whole-f32" --resume auto --set train.precision=f32 \
    --set train.steps=150 2>"$work/log" || fail "resuming a finished run: $(cat "$work/log")"
# and is not overwritten by accident
if ranks 2 train "${settings[@]}" --out "$work/whole-f32" 2>"$work/log"; then fail "overwrote a run"; fi
grep -q -- "--resume auto" "$work/log" || fail "no hint: $(cat "$work/log")"

# the running statistics of a resnet are part of the state
resnet=(--config "$work/run.cfg" --set model.image.tower=resnet --set 'model.image.stage_layers=[1, 1, 1, 1]'
    --set model.image.height_px=32 --set model.image.width_px=32 --set model.image.width=8 --set model.image.heads=4
    --set train.steps=8 --set checkpoint.every_steps=4)
ranks 2 train "${resnet[@]}" --out "$work/resnet" 2>"$work/log" || fail "resnet: $(cat "$work/log")"
ranks 2 train "${resnet[@]}" --out "$work/resnet-cut" --resume "$work/resnet/checkpoints/step-00000004" 2>"$work/log" ||
    fail "resuming a resnet: $(cat "$work/log")"
same_weights "$work/resnet" "$work/resnet-cut"
moved=/param/visual.layer4.0.bn2.running_mean
h5diff "$work/resnet/checkpoints/"step-0000000{4,8}/model.h5 $moved $moved >/dev/null && fail "running statistics stand still"
ranks 4 train "${resnet[@]}" --out "$work/resnet-other" --resume "$work/resnet/checkpoints/step-00000004" 2>"$work/log" ||
    fail "resuming a resnet on 4 ranks: $(cat "$work/log")"
if ranks 2 train "${resnet[@]}" --out "$work/resnet-chunk" --set train.chunk=5 2>"$work/log"; then
    fail "statistics of the batch in chunks"
fi
grep -q "train.chunk = 5 cuts the 12 pairs of a rank" "$work/log" || fail "no reason: $(cat "$work/log")"
