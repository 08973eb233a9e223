#!/usr/bin/env bash
# A run with several objectives, of which two bring parameters of their own: the same curve on 1 and 2 ranks; its
# checkpoint keeps their rows, a resumed run needs them and ends with the same bits; eval, search and export do without.
. "$(dirname "$0")/common.sh"
make_data
objectives=(--config "$work/run.cfg" --set train.precision=f32 --set train.steps=12 --set checkpoint.every_steps=6
    --set checkpoint.keep=5 --set loss.infonce.weight=1 --set loss.siglip.weight=0.1 --set loss.simclr.weight=0.4
    --set loss.simclr.ramp_steps=4)

ranks 2 train "${objectives[@]}" --out "$work/two" 2>"$work/log" || fail "$(cat "$work/log")"
ranks 1 train "${objectives[@]}" --out "$work/one" --set train.chunk=7 2>"$work/log" || fail "$(cat "$work/log")"
echo "2 ranks against 1 in chunks: $(compare_curves "$work/two" "$work/one" 1e-3)"

"$TANDEM" info --params "$work/two" >"$work/params"
for row in loss.siglip.bias loss.simclr.image.fc1.weight; do
    grep -q "$row" "$work/params" || fail "the checkpoint lacks $row"
done

# resuming goes on with them, to the same bits; another set of objectives is told apart by its rows
ranks 2 train "${objectives[@]}" --out "$work/cut" --resume "$work/two/checkpoints/step-00000006" 2>"$work/log" ||
    fail "$(cat "$work/log")"
same_weights "$work/two" "$work/cut"
if ranks 1 train "${objectives[@]}" --set loss.siglip.weight=0 --out "$work/other" \
    --resume "$work/two/checkpoints/step-00000006" 2>"$work/log"; then fail "resumed without siglip"; fi
grep -q "loss.siglip.bias" "$work/log" || fail "no name: $(cat "$work/log")"

# the model is whole without them
"$TANDEM" eval --model "$work/two" --data "$work/data" --split train --json "$work/eval.json" 2>"$work/log" ||
    fail "eval: $(cat "$work/log")"
"$TANDEM" search --model "$work/two" --gallery "$work/data" "red square" >/dev/null 2>"$work/log" ||
    fail "search: $(cat "$work/log")"
"$TANDEM" export --model "$work/two" --to "$work/exported" --naming open_clip 2>"$work/log" ||
    fail "export: $(cat "$work/log")"
"$TANDEM" info "$work/exported/model.safetensors" >"$work/tensors"
if grep -q "loss\." "$work/tensors"; then fail "objectives' rows were exported"; fi

# none switched on: infonce, as the resolved configuration says
ranks 1 train --config "$work/run.cfg" --set train.steps=1 --out "$work/plain" 2>"$work/log" || fail "$(cat "$work/log")"
tr -d ' \n' <"$work/plain/config.cfg" | grep -q 'infonce:{weight=1.0' || fail "config.cfg does not say infonce"
echo "objectives with parameters: checkpoint, resume, eval, search, export"
