# shellcheck shell=bash
# Shared by the whole-run tests: a scratch directory, a packed data set, a small model, and how to start a run.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${TANDEM:?path of the tandem binary}"
: "${MPIEXEC:=mpirun}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# ranks N ARG…: tandem on N ranks; one needs no launcher
ranks() {
    local launcher=("$MPIEXEC" --oversubscribe -n "$1")
    [ "$1" -gt 1 ] || launcher=()
    shift
    "${launcher[@]}" "$TANDEM" "$@"
}

# lines of steps in a run's metrics.jsonl, 0 when there is none yet
lines_of() {
    if [ -e "$1/metrics.jsonl" ]; then grep -c '"loss":' "$1/metrics.jsonl" || true; else echo 0; fi
}

# start N ARG…: the same in the background; $pid is mpirun itself, whose children are the ranks
start() {
    local n=$1
    shift
    "$MPIEXEC" --oversubscribe -n "$n" "$TANDEM" "$@" 2>"$work/log" &
    # shellcheck disable=SC2034 # read by the caller
    pid=$!
}

# 120 pairs in three shards, a tokenizer made from their captions, and a small model
make_data() {
    python3 "$here/make_pairs.py" "$work/raw" 120
    "$TANDEM" pack --format folder --out "$work/data" --split train --shard-size 50 "$work/raw" 2>"$work/pack.log" ||
        fail "pack: $(cat "$work/pack.log")"
    "$TANDEM" tokenizer --train --vocab-size 560 --out "$work/bpe.txt" "$work/data" 2>"$work/bpe.log" ||
        fail "tokenizer: $(cat "$work/bpe.log")"
    vocab=$(($(grep -vc '^#' "$work/bpe.txt") + 514))
    cat >"$work/run.cfg" <<EOF
seed = 5;
data: { dir = "$work/data"; split = "train"; workers = 2; };
model: {
  name = "tiny"; embed_dim = 32; activation = "gelu"; tokenizer = "$work/bpe.txt"; dropout = 0.1;
  image: { height_px = 24; width_px = 24; patch_px = 8; width = 32; layers = 2; heads = 2; };
  text: { context_length = 24; vocab_size = $vocab; width = 32; layers = 2; heads = 2; };
};
augment: {
  crop: { min_scale = 0.6; }; flip: { p = 0.5; };
  jitter: { p = 0.8; brightness = 0.3; contrast = 0.3; saturation = 0.3; hue = 0.05; };
};
train: { batch = 24; steps = 50; precision = "f32"; log_every = 1; };
optim: { lr = 1e-3; warmup_steps = 5; clip_norm = 1.0; };
checkpoint: { every_minutes = 0.0; keep = 2; };
EOF
}

# Parameters and moments of two run directories are the same bits.
same_weights() {
    local a b group
    a=$1/checkpoints/$(cat "$1/checkpoints/latest")
    b=$2/checkpoints/$(cat "$2/checkpoints/latest")
    h5diff "$a/model.h5" "$b/model.h5" /param /param || fail "weights differ: $a $b"
    for group in /m /v; do
        h5diff "$a/state.h5" "$b/state.h5" "$group" "$group" || fail "moments differ: $a $b $group"
    done
}

# Largest relative difference between the loss curves of two runs; fails above the limit.
compare_curves() {
    python3 - "$1/metrics.jsonl" "$2/metrics.jsonl" "$3" <<'EOF'
import json, sys
def curve(path):
    return {row["step"]: row["loss"] for row in map(json.loads, open(path)) if "loss" in row}
a, b, limit = curve(sys.argv[1]), curve(sys.argv[2]), float(sys.argv[3])
if a.keys() != b.keys():
    sys.exit(f"steps differ: {len(a)} and {len(b)}")
worst = max(abs(a[s] - b[s]) / abs(a[s]) for s in a)
print(f"{len(a)} steps, loss {a[min(a)]:.4f} -> {a[max(a)]:.4f}, largest relative difference {worst:.2e}")
if not worst <= limit:
    sys.exit(f"above the limit {limit}")
EOF
}
