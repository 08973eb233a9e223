#!/usr/bin/env bash
# A trained model goes out under both namings and comes back with the same bits and the same metrics; training starts
# from it at another image size, and a run that resumes goes on from its own checkpoint.
. "$(dirname "$0")/common.sh"

# metrics NAME CHECKPOINT: the metrics of a checkpoint, in NAME.json without the paths
metrics() {
    "$TANDEM" eval --model "$2" --data "$work/data" --split train --precision f32 --json "$work/$1.json" >/dev/null 2>"$work/err" ||
        fail "eval $2: $(cat "$work/err")"
    grep -vE "\"(model|step|data)\"" "$work/$1.json" >"$work/$1.metrics"
}

make_data
# heads of 16 columns: only a configuration can say so
ranks 1 train --config "$work/run.cfg" --out "$work/first" --set train.steps=4 >"$work/log" 2>&1 || fail "train: $(cat "$work/log")"
checkpoint=$work/first/checkpoints/$(cat "$work/first/checkpoints/latest")
metrics first "$checkpoint"

for naming in open_clip huggingface; do
    "$TANDEM" export --model "$work/first" --to "$work/$naming" --naming $naming 2>"$work/err" ||
        fail "export: $(cat "$work/err")"
    "$TANDEM" info "$work/$naming/model.safetensors" >"$work/info" || fail "info"
    grep -qE '^kind +tensors' "$work/info" || fail "info: $(cat "$work/info")"
    "$TANDEM" import --from "$work/$naming" --out "$work/back_$naming" 2>"$work/err" || fail "import: $(cat "$work/err")"
    h5diff "$checkpoint/model.h5" "$work/back_$naming/model.h5" /param /param || fail "$naming: weights differ"
    metrics "$naming" "$work/back_$naming"
    cmp "$work/first.metrics" "$work/$naming.metrics" || fail "$naming: metrics differ"
done

# a configuration that says neither model nor tokenizer: both are the imported checkpoint's
sed '/^model:/,/^};/d' "$work/run.cfg" >"$work/fine.cfg"
echo "model: { pretrained = \"$work/back_huggingface\"; };" >>"$work/fine.cfg"
ranks 2 train --config "$work/fine.cfg" --out "$work/fine" --set train.steps=2 --set model.image.width_px=48 \
    --set optim.lr=0 >/dev/null 2>"$work/log" || fail "fine-tuning: $(cat "$work/log")"
grep -q 'position embeddings of 3 x 3 patches become 3 x 6 (as open_clip)' "$work/log" || fail "$(cat "$work/log")"
fine=$work/fine/checkpoints/$(cat "$work/fine/checkpoints/latest")
for row in visual.proj transformer.resblocks.1.mlp.c_fc.weight token_embedding.weight; do
    h5diff "$checkpoint/model.h5" "$fine/model.h5" "/param/$row" "/param/$row" || fail "fine-tuning did not start from $row"
done
"$TANDEM" info --params "$fine" >"$work/info"
grep -qE 'visual\.positional_embedding +f32 +19 x 32$' "$work/info" || fail "positions were not resized"

# resuming goes on from the run's own checkpoint
ranks 1 train --config "$work/fine.cfg" --out "$work/fine" --set train.steps=3 --set model.image.width_px=48 \
    --resume auto >/dev/null 2>"$work/log" || fail "resuming: $(cat "$work/log")"
grep -q 'resuming from .* at step 2' "$work/log" || fail "resuming: $(cat "$work/log")"
grep -q 'start from it' "$work/log" && fail "resuming read the pretrained weights"

# what does not fit is named
if ranks 1 train --config "$work/fine.cfg" --out "$work/other" --set model.text.layers=3 >/dev/null 2>"$work/log"; then
    fail "a deeper model started from pretrained weights"
fi
grep -q 'holds no transformer.resblocks.2.ln_1.weight, which the model has' "$work/log" || fail "$(cat "$work/log")"
echo "out and back under both namings: same weights, same metrics; training starts from it"
