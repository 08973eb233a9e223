#!/usr/bin/env bash
# Heads: behind towers that start from a checkpoint without them and stay frozen, and on cached features alone. The
# curve depends neither on the number of ranks nor on chunks (dropout is keyed by sample); what was trained is
# evaluated, embedded and resumed. The same of a learned context in front of the captions.
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

# a learned context in front of every caption, from words, on the frozen model (CoOp)
coop=(--config "$work/run.cfg" --set "model.pretrained=$work/base" --set "model.text.context_words=a red square"
    --set 'optim.freeze=["*", "!text.context"]' --set model.text.attention_dropout=0.05 --set loss.infonce.pseudo=0.5
    --set loss.infonce.soft_targets=identity)
ranks 1 train "${coop[@]}" --set train.steps=12 --out "$work/c1" 2>"$work/log" || fail "$(cat "$work/log")"
grep -q 'text.context starts from "a red square"' "$work/log" || fail "the words are not named: $(cat "$work/log")"
ranks 2 train "${coop[@]}" --set train.steps=12 --out "$work/c2" --set train.chunk=5 \
    --set checkpoint.every_steps=6 2>"$work/log" || fail "$(cat "$work/log")"
echo "learned context, 1 rank and 2 in chunks: $(compare_curves "$work/c1" "$work/c2" 1e-4)"
of_base=$work/base/checkpoints/$(cat "$work/base/checkpoints/latest")/model.h5
of_coop=$work/c2/checkpoints/$(cat "$work/c2/checkpoints/latest")/model.h5
"$TANDEM" info --params "$work/c2" --json "$work/info.json" >/dev/null 2>"$work/log" || fail "info: $(cat "$work/log")"
python3 - "$work/info.json" <<'EOF2' || fail "info: $(cat "$work/info.json")"
import json, sys
model = json.load(open(sys.argv[1]))["latest_checkpoint"]["model"]
shape = {row["name"]: row["shape"] for row in model["param"]}["text.context"]
assert model["context_tokens"] == shape[0] >= 3 and shape[1] == 32, shape
EOF2
h5diff -q "$of_base" "$of_coop" /param/token_embedding.weight /param/token_embedding.weight || fail "a frozen row has moved"
# it starts from the words' rows of the checkpoint's table, where a step of no length leaves it; captions are cut to the
# places that it leaves
"$TANDEM" train "${coop[@]}" --set train.steps=1 --set optim.lr=0 --set model.text.context_length=14 --out "$work/c0" 2>"$work/log" || fail "$(cat "$work/log")"
values() { h5dump -y -w 1 -m %.9g -d "$2" "${@:3}" "$1" | sed -n '/DATA {/,/}/p' | tr -d ' ,' | sed '1d;$d'; }
read -r -a ids <<<"$(echo "a red square" | "$TANDEM" tokenize --tokenizer "$work/bpe.txt")"
for id in "${ids[@]:1:${#ids[@]}-2}"; do
    values "$of_base" /param/token_embedding.weight -s "$id,0" -c 1,32
done >"$work/words"
values "$work/c0/checkpoints/step-00000001/model.h5" /param/text.context >"$work/context"
cmp "$work/words" "$work/context" || fail "the context does not start from the words"

# resumed with the same bits; another number of vectors is refused by name, other words have no effect
ranks 2 train "${coop[@]}" --set train.steps=12 --set train.chunk=5 --out "$work/cr" \
    --resume "$work/c2/checkpoints/step-00000006" 2>"$work/log" || fail "$(cat "$work/log")"
same_weights "$work/c2" "$work/cr"
again=(train "${coop[@]}" --set train.steps=14 --out "$work/cr" --resume auto --dry-run)
if "$TANDEM" "${again[@]}" --set "model.text.context_words=a red" 2>"$work/log"; then fail "another context goes on"; fi
grep -q "model.text.context_tokens was [0-9]*, is [0-9]*. Nothing can be resumed" "$work/log" || fail "$(cat "$work/log")"
"$TANDEM" "${again[@]}" --set "model.text.context_words=a red a" 2>"$work/log" || fail "$(cat "$work/log")"

# it is evaluated with, whatever the number of ranks
for n in 1 3; do
    ranks $n eval --model "$work/c2" --data "$work/data" --split train --json "$work/eval$n.json" 2>"$work/log" ||
        fail "eval: $(cat "$work/log")"
done
cmp "$work/eval1.json" "$work/eval3.json" || fail "the evaluation depends on the number of ranks"

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
