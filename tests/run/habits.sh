#!/usr/bin/env bash
# Habits: more threads than cores, a batch of one pair, model definitions by other spellings and from other directories,
# options as other programs call them.
. "$(dirname "$0")/common.sh"
make_data
base=(--config "$work/run.cfg" --set train.steps=1 --dry-run)

# dry NAME ARG…: a dry run into $work/log
dry() { "$TANDEM" train "${base[@]}" --out "$work/none" "$@" 2>"$work/log" || fail "$(cat "$work/log")"; }
says() { grep -qE -- "$1" "$work/log" || fail "no /$1/ in: $(cat "$work/log")"; }
silent() { if grep -qE -- "$1" "$work/log"; then fail "/$1/ in: $(cat "$work/log")"; fi; }

allowed=$(env -u OMP_NUM_THREADS nproc) # nproc follows OMP_NUM_THREADS
cores=$(nproc --all)
dry
silent 'warning'
OMP_NUM_THREADS=$((cores * 3)) dry
says "^tandem: warning: .*: $((cores * 3)) threads \(1 rank\) share $allowed cores?, which is slow; OMP_NUM_THREADS"
OMP_NUM_THREADS=$((cores * 3)) OMP_PROC_BIND=close OMP_PLACES=cores dry
says "share $allowed cores?, which is slow"
core=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
OMP_NUM_THREADS=2 taskset -c "$core" "$TANDEM" train "${base[@]}" --out "$work/none" 2>"$work/log" || fail "$(cat "$work/log")"
says '2 threads \(1 rank\) share 1 core,'
OMP_NUM_THREADS=$cores ranks 2 train "${base[@]}" --out "$work/none" 2>"$work/log" || fail "$(cat "$work/log")"
says "$((cores * 2)) threads \(2 ranks\) share [0-9]+ cores?,"

# one pair: global objectives are named, local ones are fine
dry --set train.batch=1
says 'warning: train.batch is 1: loss.infonce compares the pairs of a batch'
dry --set train.batch=1 --set loss.siglip.weight=1
says 'warning: train.batch is 1: loss.siglip'
silent 'loss.infonce compares'
dry --set train.batch=2
silent 'compares the pairs'

# model definitions: found from any directory, by the names that other programs use
program=$(realpath "$TANDEM")
cd "$work"
for name in vit_b_32 ViT-B-32 ViT-B/32 vit_b_32.cfg; do
    if "$program" import --from "$work/absent" --model "$name" --out "$work/none" 2>"$work/log"; then fail "import of nothing"; fi
    timeout 100 "$program" bench --model "$name" --batch 1 --steps 1 --warmup 1 --threads 0 2>"$work/log" >/dev/null &
    pid=$!
    sleep 1
    kill "$pid" 2>/dev/null || true
    wait "$pid" || true
    silent 'no such file'
done
if "$program" bench --model vit_b_31 2>"$work/log"; then fail "an unknown model"; fi
says 'model "vit_b_31": no such file'
echo "all said"
