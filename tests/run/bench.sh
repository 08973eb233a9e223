#!/usr/bin/env bash
# tandem bench: on synthetic pairs, on given data, by a run's configuration; its JSON accounts for the memory and for
# the waiting; a step takes no memory; what is recomputed does not count as work; wrong use is one clear message.
. "$(dirname "$0")/common.sh"
make_data

small=(--set model.image.width=64 --set model.text.width=64 --set model.image.layers=3)
ranks 2 bench --config "$work/run.cfg" "${small[@]}" --set data.dir= --batch 12 --tokens-per-caption 8 --steps 3 --threads 1 \
    --json "$work/synthetic.json" 2>"$work/log" || fail "$(cat "$work/log")"
grep -q "memory of a rank, MiB: base" "$work/log" || fail "no memory in the summary: $(cat "$work/log")"
# the peak is that of the instructions that are allowed
TANDEM_ISA=generic ranks 1 bench --config "$work/run.cfg" "${small[@]}" --batch 4 --steps 1 --threads 1 --precision f32 \
    --json "$work/generic.json" 2>"$work/log" || fail "$(cat "$work/log")"
grep -q "GFLOP/s (generic code)" "$work/log" || fail "no name of the peak: $(cat "$work/log")"
grep -Eq '"peak_of": ?"generic code"' "$work/generic.json" || fail "$(cat "$work/generic.json")"
recipe=(--set loss.infonce.weight=1 --set loss.infonce.pseudo=0.5 --set model.dropout=0
    --set model.text.attention_dropout=0.1 --set loss.simclr.weight=1 --set loss.mlm.weight=1 --set loss.mlm.depth=1 --set loss.mlm.heads=2
    --set loss.cross_entropy.weight=1)
ranks 2 bench --config "$work/run.cfg" "${small[@]}" "${recipe[@]}" --set data.dir= --batch 12 --tokens-per-caption 8 \
    --steps 1 --threads 1 --json "$work/recipe.json" 2>"$work/log" || fail "$(cat "$work/log")"
ranks 2 bench --config "$work/run.cfg" --batch 12 --steps 3 --threads 1 --json "$work/data.json" 2>"$work/log" ||
    fail "$(cat "$work/log")"
for way in none block; do
    ranks 1 bench --config "$work/run.cfg" "${small[@]}" --batch 24 --chunk 5 --recompute $way --steps 2 --threads 1 \
        --json "$work/$way.json" 2>"$work/log" || fail "$(cat "$work/log")"
done

python3 - "$work" <<'EOF2' || fail "wrong figures"
import json, sys
synthetic, data, none, block = (json.load(open(f"{sys.argv[1]}/{n}.json")) for n in ("synthetic", "data", "none", "block"))
for r in (synthetic, data, none, block):
    memory = r["memory"]
    parts = sum(v for k, v in memory.items() if k != "peak_resident")
    assert memory["peak_resident"] == r["rss_bytes"] > 1e6
    assert parts >= memory["peak_resident"] * 0.99, (parts, memory)  # each the largest of any rank
    assert memory["moments"] == 2 * memory["gradients"] > 0 and memory["weights"] > 0 and memory["packed_weights"] > 0
    assert r["blocks_allocated"] == 0
    assert 0 < r["step_min_s"] <= r["step_s"] <= r["step_max_s"] and 0 < r["mfu"] < 1
    assert abs(r["pairs_per_s"] * r["step_s"] - 24) < 1e-6 and r["cpu_s"] > 0
assert synthetic["data"] == "synthetic" and synthetic["wait_data_s"] == 0 and synthetic["tokens_per_caption"] < 9
assert data["data"].endswith("/data") and 0 <= data["wait_data_s"] <= data["step_max_s"] and data["ranks"] == 2
assert none["chunk"] == block["chunk"] == 5 and block["recompute"] == "block"
assert block["memory"]["activations"] < none["memory"]["activations"]
recipe = json.load(open(sys.argv[1] + "/recipe.json"))
assert recipe["blocks_allocated"] == 0
passes = recipe["gflops"] * recipe["step_s"] / (synthetic["gflops"] * synthetic["step_s"])
assert 2.3 < passes < 3, passes  # the image three times; the text twice, and once without gradient
flop = [r["gflops"] * r["step_s"] / r["tokens_per_caption"] for r in (none, block)]
assert abs(flop[0] / flop[1] - 1) < 0.2, flop  # captions differ in length, recomputation would add a quarter or more
EOF2

"$TANDEM" train --config "$work/run.cfg" --out "$work/dry" --dry-run 2>"$work/log" || fail "$(cat "$work/log")"
[ "$(grep -c 'recompute = "[a-z]*": activations [0-9]' "$work/log")" -eq 4 ] || fail "no plan: $(cat "$work/log")"
grep -q '\* recompute = "chunk"' "$work/log" || fail "the configured way is not marked: $(cat "$work/log")"

TANDEM_NODE_RANKS=1 ranks 2 bench --comm --max-mib 2 --steps 3 --threads 1 --json "$work/comm.json" 2>"$work/log" ||
    fail "$(cat "$work/log")"
python3 - "$work/comm.json" <<'EOF2' || fail "wrong figures of --comm"
import json, sys
r = json.load(open(sys.argv[1]))
assert (r["ranks"], r["nodes"], r["rounds"]) == (2, 2, 3)
assert [(x["bytes"], x["bucket_mib"]) for x in r["results"]] == [
    (2**k, bucket) for k, bucket in [(k, 25) for k in range(16, 22)] + [(21, 1)] for _ in range(6)]
assert [x["way"] for x in r["results"][:6]] == ["MPI_Allreduce", "f32", "bf16", "shard", "mpi", "mpi shard"]
for x in r["results"]:
    assert 0 < x["bus_gb_per_s_min"] <= x["bus_gb_per_s"] <= x["bus_gb_per_s_max"] < 1000 and x["cpu_s"] >= 0
    assert abs(x["bus_gb_per_s"] * x["time_s"] * 1e9 / x["bytes"] - 1) < 1e-6  # 2 (p-1)/p = 1 on two ranks
EOF2

refuse() {
    local message=$1
    shift
    if "$TANDEM" bench "$@" >"$work/out" 2>"$work/log"; then fail "accepted: $*"; fi
    grep -q -- "$message" "$work/log" || fail "no \"$message\" for $*: $(cat "$work/log")"
    [ "$(wc -l <"$work/log")" -eq 1 ] || fail "more than one line for $*: $(cat "$work/log")"
}
refuse "must be one of none|mlp|block|chunk" --config "$work/run.cfg" --recompute most
refuse "need a tokenizer" --model "$here/../../conf/models/emoji_vit.cfg" --data "$work/data"
refuse "does not fit a context of 24" --config "$work/run.cfg" --set data.dir= --tokens-per-caption 25
refuse "train.recompute = \"block\" is about the blocks of transformers" --model "$here/../../conf/models/rn50.cfg" \
    --recompute block
echo "bench accounts for time and memory"
