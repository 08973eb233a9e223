#!/usr/bin/env bash
# Modality imbalance: each variant gives the same curve on 1 and 2 ranks, in chunks, and resumed; on pictures with texts
# and on cached features. Objectives of pairs are refused by name where there are no pairs; the evaluation sees all.
. "$(dirname "$0")/common.sh"
make_data
for file in "$work"/raw/*; do # three classes, by the number
    number=${file##*/}
    folder=$work/classes/class$((10#${number%.*} % 3))
    mkdir -p "$folder"
    mv "$file" "$folder/"
done
"$TANDEM" pack --format folder --class-level 1 --out "$work/classed" --split train --shard-size 50 "$work/classes" \
    2>"$work/log" || fail "$(cat "$work/log")"
uneven=(--config "$work/run.cfg" --set "data.dir=$work/classed" --set train.steps=8 --set checkpoint.every_steps=5
    --set checkpoint.keep=5 --set loss.contrastive.weight=1 --set loss.cross_entropy.weight=1
    --set eval.split=train --set "eval.dir=$work/classed" --set data.text_share=0.3)

for variant in independent paired per_batch; do
    two=$work/$variant-2
    ranks 2 train "${uneven[@]}" --set data.imbalance=$variant --out "$two" 2>"$work/log" || fail "$(cat "$work/log")"
    grep "data.imbalance: " "$work/log" | sort -u
    ranks 1 train "${uneven[@]}" --set data.imbalance=$variant --set train.chunk=7 --out "$work/$variant-1" \
        2>"$work/log1" || fail "$(cat "$work/log1")"
    echo "$variant, 2 ranks against 1 in chunks: $(compare_curves "$two" "$work/$variant-1" 1e-3)"
done
grep -q "of each 24 samples the first 24 images and the first 6 texts" "$work/log" || fail "$(cat "$work/log")"

# resumed within an epoch: the same bits
ranks 2 train "${uneven[@]}" --set data.imbalance=independent --out "$work/cut" \
    --resume "$work/independent-2/checkpoints/step-00000005" 2>"$work/log" || fail "$(cat "$work/log")"
same_weights "$work/independent-2" "$work/cut"

# pairs are needed
refuses() {
    if "$TANDEM" train "${uneven[@]}" --set data.imbalance=independent "${@:2}" --out "$work/no" 2>"$work/log"; then
        fail "accepted $*"
    fi
    grep -q "loss.$1 learns from" "$work/log" || fail "$1: $(cat "$work/log")"
}
refuses infonce --set loss.infonce.weight=1
refuses dual_softmax --set loss.dual_softmax.weight=1
refuses triplet --set loss.triplet.weight=1 --set loss.triplet.positives=pair

# cached features
"$TANDEM" embed --model "$work/paired-1" --data "$work/classed" --split train --out "$work/embedded" 2>"$work/log" ||
    fail "embed: $(cat "$work/log")"
"$TANDEM" pack --format features --out "$work/features" "$work/embedded" 2>"$work/log" || fail "$(cat "$work/log")"
cached=("${uneven[@]}" --set "data.dir=$work/features" --set "eval.dir=$work/features" --set model.image.tower=features
    --set model.text.tower=features --set model.tokenizer= --set model.image.feature_dim=32
    --set model.text.feature_dim=32 --set model.image.head=mlp --set model.text.head=mlp
    --set data.imbalance=independent)
for name in contrastive cross_entropy; do
    cached+=(--set "loss.$name.image_view=plain" --set "loss.$name.text_view=plain")
done
for n in 1 2; do
    ranks $n train "${cached[@]}" --out "$work/features-$n" 2>"$work/log" || fail "$(cat "$work/log")"
done
echo "features, 1 and 2 ranks: $(compare_curves "$work/features-1" "$work/features-2" 1e-4)"
grep "data.imbalance: " "$work/log"
grep -qE "data.imbalance: 36 of 120 texts are used; the fewest of class (class)?[012], 12 of 40" "$work/log" ||
    fail "$(cat "$work/log")"
