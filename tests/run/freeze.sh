#!/usr/bin/env bash
# Frozen parameters and learning-rate groups in whole runs: the same curve on 1, 2 and 4 ranks, a resumed run ends with the
# same bits, frozen parameters keep theirs, and the plan says which they are.
. "$(dirname "$0")/common.sh"
make_data
cat >>"$work/run.cfg" <<'EOF2'
optim: { lr = 1e-3; warmup_steps = 5; clip_norm = 1.0; layer_decay = 0.7;
         freeze = ["image:1", "transformer.resblocks.[0-9].mlp.*", "logit_scale"];
         lr_scale = ["text_projection=10", "visual.*=0.5"]; };
EOF2
sed -i '/^optim: .*clip_norm = 1.0; };$/d' "$work/run.cfg"

"$TANDEM" train --config "$work/run.cfg" --out "$work/dry" --dry-run 2>"$work/log" || fail "$(cat "$work/log")"
# input end and lowest block of the image tower, 4 rows of each text MLP, logit_scale: 5 + 12 + 8 + 1 of 62
grep -q "^frozen: 26 of 62 parameters" "$work/log" || fail "no frozen parameters in the plan: $(cat "$work/log")"
grep -q "^learning rate x 10: 1 of" "$work/log" || fail "no groups in the plan: $(cat "$work/log")"

for n in 1 2 4; do
    ranks $n train --config "$work/run.cfg" --out "$work/r$n" --set checkpoint.every_steps=10 --set checkpoint.keep=9 \
        2>"$work/log" || fail "$(cat "$work/log")"
done
for n in 2 4; do echo "1 and $n ranks: $(compare_curves "$work/r1" "$work/r$n" 1e-4)"; done

ranks 2 train --config "$work/run.cfg" --out "$work/resumed" --resume "$work/r2/checkpoints/step-00000020" \
    2>"$work/log" || fail "$(cat "$work/log")"
same_weights "$work/r2" "$work/resumed"

early=$work/r2/checkpoints/step-00000010/model.h5 late=$work/r2/checkpoints/step-00000050/model.h5
for name in logit_scale visual.conv1.weight visual.transformer.resblocks.0.ln_1.bias transformer.resblocks.1.mlp.c_fc.weight; do
    h5diff "$early" "$late" "/param/$name" "/param/$name" || fail "$name is frozen and has moved"
done
for name in visual.proj visual.transformer.resblocks.1.ln_1.bias transformer.resblocks.1.attn.in_proj_weight; do
    h5diff -q "$early" "$late" "/param/$name" "/param/$name" && fail "$name is trained and has not moved"
done
echo "frozen parameters keep their bits, resumed runs theirs"
