#!/usr/bin/env bash
# Heads: behind towers that start from a checkpoint without them and stay frozen, and on cached features alone. The
# curve depends neither on the number of ranks nor on chunks (dropout is keyed by sample); what was trained is
# evaluated, embedded and resumed.
. "$(dirname "$0")/common.sh"
make_data
ranks 2 train --config "$work/run.cfg" --out "$work/base" --set train.steps=12 2>"$work/log" || fail "$(cat "$work/log")"

# towers of the first run, frozen; heads of the second start at random
headed=(--config "$work/run.cfg" --set "model.pretrained=$work/base" --set model.image.head=mlp
    --set model.text.head=mlp --set model.image.mlp.hidden=16 --set model.text.mlp.hidden=16
    --set 'optim.freeze=["image", "text", "!visual_head.*", "!text_head.*"]' --set train.steps=12)
ranks 1 train "${headed[@]}" --out "$work/h1" 2>"$work/log" || fail "$(cat "$work/log")"
grep -q "8 not in it, so initialised anew" "$work/log" || fail "heads are not named: $(cat "$work/log")"
for n in 2 4; do
    ranks $n train "${headed[@]}" --out "$work/h$n" 2>"$work/log" || fail "$(cat "$work/log")"
    echo "heads, 1 and $n ranks: $(compare_curves "$work/h1" "$work/h$n" 1e-4)"
done
ranks 2 train "${headed[@]}" --out "$work/hc" --set train.chunk=5 2>"$work/log" || fail "$(cat "$work/log")"
echo "heads, in chunks: $(compare_curves "$work/h1" "$work/hc" 1e-4)"
h5diff "$work/base/checkpoints/$(cat "$work/base/checkpoints/latest")/model.h5" \
    "$work/h2/checkpoints/$(cat "$work/h2/checkpoints/latest")/model.h5" /param/visual.proj /param/visual.proj ||
    fail "a frozen tower has moved"

# on the towers' features alone, as tandem embed writes them
ranks 2 embed --model "$work/base" --data "$work/data" --split train --out "$work/embedded" 2>"$work/log" ||
    fail "embed: $(cat "$work/log")"
ranks 1 pack --format features --out "$work/features" "$work/embedded" 2>"$work/log" || fail "pack: $(cat "$work/log")"
cached=(--config "$work/run.cfg" --set "data.dir=$work/features" --set model.image.tower=features
    --set model.text.tower=features --set model.tokenizer= --set model.image.feature_dim=32 --set model.text.feature_dim=32
    --set 'loss.infonce.image_views=["plain"]' --set 'loss.infonce.text_views=["plain"]' --set model.embed_dim=24 --set model.image.head=mlp --set model.text.head=mlp --set train.steps=12)
ranks 1 train "${cached[@]}" --out "$work/f1" 2>"$work/log" || fail "$(cat "$work/log")"
for n in 2 4; do
    ranks $n train "${cached[@]}" --out "$work/f$n" --set train.chunk=3 2>"$work/log" || fail "$(cat "$work/log")"
    echo "features, 1 and $n ranks: $(compare_curves "$work/f1" "$work/f$n" 1e-4)"
done
ranks 1 train "${cached[@]}" --out "$work/fr" --set train.steps=6 2>"$work/log" || fail "$(cat "$work/log")"
for n in 1 3; do
    ranks $n eval --model "$work/f1" --data "$work/features" --split train --json "$work/eval$n.json" 2>"$work/log" ||
        fail "eval: $(cat "$work/log")"
done
cmp "$work/eval1.json" "$work/eval3.json" || fail "the evaluation depends on the number of ranks"
echo "what was trained is evaluated"
