#!/usr/bin/env bash
# tandem probe on a small trained model: an identity layer scores 0, the scores do not depend on the ranks, a probe that
# was stopped goes on; and a model with dropped layers, exported and imported, is the same model.
. "$(dirname "$0")/../run/common.sh"
: "${MAKE_SHAPES:?path of make_shapes}"
cd "$work"

run() { # what it says goes to log
    "$@" >log 2>&1 || fail "$*: $(tail -3 log)"
}
probe() { # OUT RANKS OPTION…
    local out=$1 n=$2
    shift 2
    run "$MPIEXEC" --oversubscribe -n "$n" "$TANDEM" probe --model whole --data data --split test --out "$out" --grid 0.25 "$@"
}

"$MAKE_SHAPES" data
run "$TANDEM" tokenizer --train --vocab-size 560 --out bpe.txt data
cat >run.cfg <<CFG
seed = 5;
data: { dir = "data"; split = "train"; workers = 1; };
model: {
  name = "tiny"; embed_dim = 32; activation = "gelu"; tokenizer = "bpe.txt";
  image: { height_px = 32; width_px = 32; patch_px = 8; width = 32; layers = 2; heads = 2; drop = ["2.mlp"]; };
  text: { context_length = 16; vocab_size = $(($(grep -vc '^#' bpe.txt) + 514)); width = 32; layers = 3; heads = 2;
          drop = ["2"]; };
};
train: { batch = 64; steps = 60; precision = "f32"; log_every = 20; };
optim: { lr = 3e-3; warmup_steps = 10; };
eval: { positives = "identity"; };
checkpoint: { every_minutes = 0.0; };
CFG
run "$TANDEM" train --config run.cfg --out run

# A resumed run with other layers is refused.
! "$TANDEM" train --config run.cfg --out run --resume auto --set 'model.text.drop=["1"]' >log 2>&1 || fail "another drop was resumed"
grep -qF "model.text.drop" log || fail "not refused for model.text.drop: $(tail -3 log)"

# The exported model has no drop and gives the same; the weights of its identities are zeros.
run "$TANDEM" export --model run --to exported
run "$TANDEM" import --from exported --out whole
run "$TANDEM" eval --model run --data data --split test --positives identity --json dropped.json
run "$TANDEM" eval --model whole --data data --split test --positives identity --json whole.json
"$TANDEM" info whole | grep -qF '"2.mlp"' && fail "the imported model has a drop"
diff <(grep -v '"model"\|"step"' dropped.json) <(grep -v '"model"\|"step"' whole.json) || fail "the exported model differs"

probe one 1 --from random --seed 3 --positives identity
[ "$(grep -c '"tower"' one/probe.jsonl)" -eq 15 ] || fail "not 15 entries: $(cat one/probe.jsonl)"
for part in attention mlp whole; do
    grep -q "\"text\",\"layer\":2,\"part\":\"$part\",\"drop\":0.0," one/probe.jsonl || fail "text layer 2 $part loses something"
done
grep -q '"image","layer":2,"part":"mlp","drop":0.0,' one/probe.jsonl || fail "the MLP of image layer 2 loses something"
grep -c '"drop":0.0,' one/probe.jsonl | grep -qx '[4-8]' || fail "nothing is lost anywhere: $(cat one/probe.jsonl)"
grep -qE "model.text.drop = \[(&quot;|\")2" one/probe.html || fail "layer 2 is not the first choice: $(cat one/probe.json one/probe.jsonl)"

# With its own weights as the initial ones, each C2 is 0. M is what eval gives, also where only --metrics names it.
probe own 1 --from whole --positives identity --metric average.nDCG@3
run "$TANDEM" eval --model whole --data data --split test --positives identity --metrics ndcg_at_3 --json asked.json
python3 -c '
import json
asked, found = json.load(open("asked.json"))["average"]["ndcg_at_3"], json.load(open("own/probe.json"))["value"]
assert abs(found - asked) < 1e-14, (found, asked)' || fail "M is not the one that was asked for"
[ "$(grep -c '"c2":0.0}' own/probe.jsonl)" -eq 15 ] || fail "C2 of the weights themselves: $(cat own/probe.jsonl)"

# The same on two ranks, and by a probe that was killed within a line.
probe two 2 --from random --seed 3 --positives identity
cmp one/probe.json two/probe.json || fail "the scores depend on the ranks"
mkdir again
{ head -5 one/probe.jsonl; sed -n 6p one/probe.jsonl | cut -c 1-20 | tr -d '\n'; } >again/probe.jsonl
probe again 2 --from random --seed 3 --positives identity
cmp one/probe.json again/probe.json || fail "the resumed probe differs"
cmp <(tail -n +5 one/probe.jsonl) <(tail -n +5 again/probe.jsonl) || fail "the resumed probe's entries differ"
[ "$(grep -c 'points lost' log)" -eq 11 ] || fail "not 11 entries were left to do: $(cat log)"

# Point by point from 0 finds a point no later than bisection.
probe grid 1 --from random --seed 3 --positives identity --search grid

# Another probe does not mix with it.
! "$TANDEM" probe --model whole --data data --split test --out one --eps 2 --grid 0.25 --from random --seed 3 --positives identity >log 2>&1 ||
    fail "another eps was taken"
grep -qF 'was begun with another "eps"' log || fail "eps: $(cat log)"
! "$TANDEM" probe --model whole --data data --split test --out x --metric text_to_image.median_rank >log 2>&1 ||
    fail "median_rank was taken"
grep -qF "is not a share" log || fail "median_rank: $(cat log)"
! "$TANDEM" probe --model whole --data data --split test --out x --metric average.ndcg_at_0 >log 2>&1 || fail "nDCG@0 was taken"
grep -qF 'there is no metric "ndcg_at_0"' log || fail "ndcg_at_0: $(cat log)"
! "$TANDEM" probe --model whole --data data --split test --out x --grid 0.3 >log 2>&1 || fail "--grid 0.3 was taken"
grep -qF "does not divide 1" log || fail "--grid 0.3: $(cat log)"
