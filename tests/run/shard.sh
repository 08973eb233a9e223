#!/usr/bin/env bash
# The sharded optimiser in whole runs: the same bits as without sharding, checkpoints that either kind and another number of
# ranks go on from; sums on two levels, also between uneven nodes and by either way; bf16 between nodes.
. "$(dirname "$0")/common.sh"
make_data
settings=(train --config "$work/run.cfg" --set train.steps=30 --set checkpoint.every_steps=10 --set checkpoint.keep=9)

# run RANKS OUT ARG…
run() {
    local n=$1 out=$2
    shift 2
    ranks "$n" "${settings[@]}" --out "$work/$out" "$@" 2>"$work/log" || fail "$out: $(cat "$work/log")"
}
run 2 whole
run 2 shard --set optim.shard=true
same_weights "$work/whole" "$work/shard"
echo "2 ranks, sharded and not: same bits"

run 2 to-shard --set optim.shard=true --resume "$work/whole/checkpoints/step-00000010"
same_weights "$work/whole" "$work/to-shard"
run 2 to-whole --resume "$work/shard/checkpoints/step-00000010"
same_weights "$work/whole" "$work/to-whole"
run 2 to-same --set optim.shard=true --resume "$work/shard/checkpoints/step-00000020"
same_weights "$work/whole" "$work/to-same"
echo "resumed sharded, whole, sharded: same bits"

cp -r "$work/shard" "$work/other"
run 3 other --set optim.shard=true --resume "$work/other/checkpoints/step-00000010"
echo "2 ranks, then 3, sharded: $(compare_curves "$work/whole" "$work/other" 1e-4)"

TANDEM_NODE_RANKS=2 run 4 nodes --set optim.shard=true
echo "2 ranks and 2 nodes of 2: $(compare_curves "$work/whole" "$work/nodes" 1e-4)"
TANDEM_NODE_RANKS=2 run 4 nodes-whole
same_weights "$work/nodes" "$work/nodes-whole"
TANDEM_NODE_RANKS=3,1 run 4 uneven --set optim.shard=true --set train.reduce=auto
grep -q 'train.reduce = "auto": .* by exchange, .* by mpi' "$work/log" || fail "no word of the choice: $(cat "$work/log")"
echo "2 ranks and nodes of 3 and 1, the way chosen: $(compare_curves "$work/whole" "$work/uneven" 1e-4)"

# every gradient is off by up to 0.4 %, at random; the run goes on from its checkpoint with the same bits
export TANDEM_NODE_RANKS=1
run 2 bf16 --set train.wire=bf16
echo "f32 and bf16 between 2 nodes: $(compare_curves "$work/whole" "$work/bf16" 2e-2)"
if h5diff -q "$work/whole/checkpoints/step-00000030/model.h5" "$work/bf16/checkpoints/step-00000030/model.h5" /param /param; then
    fail "train.wire = bf16 changes nothing"
fi
if ranks 2 "${settings[@]}" --out "$work/none" --set train.wire=bf16 --set train.reduce=mpi 2>"$work/log"; then
    fail "bf16 summed by MPI"
fi
grep -q 'train.reduce = "mpi" does not go with train.wire = "bf16"' "$work/log" || fail "$(cat "$work/log")"
run 2 bf16-cut --set train.wire=bf16 --resume "$work/bf16/checkpoints/step-00000020"
same_weights "$work/bf16" "$work/bf16-cut"
