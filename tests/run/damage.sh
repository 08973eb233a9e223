#!/usr/bin/env bash
# Damaged files as a user meets them: every command says "is damaged" in one line, names file and data set, and prints
# nothing of HDF5's own; resuming goes on from the next whole checkpoint and ends with the weights of an undisturbed run.
. "$(dirname "$0")/common.sh"
make_data
run=$work/run
train=(train --config "$work/run.cfg" --set train.steps=12 --set checkpoint.every_steps=4 --set checkpoint.keep=5)
ranks 2 "${train[@]}" --out "$run" 2>"$work/log" || fail "$(cat "$work/log")"
checkpoints=$run/checkpoints

# zero FILE FRACTION BYTES: zeros at that part of the file, on the next block of 4 KiB that is not zeros
zero() {
    python3 - "$@" <<'PY'
import os, sys
path, part, count = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
at = int(os.path.getsize(path) * part) // 4096 * 4096
with open(path, "r+b") as file:
    file.seek(at)
    while not any(file.read(count)):
        at += 4096
        file.seek(at)
    file.seek(at)
    file.write(bytes(min(count, os.path.getsize(path) - at)))
PY
}

# damaged NAME PATTERN COMMAND…: fails with one line that matches
damaged() {
    local name=$1 pattern=$2 code=0
    shift 2
    "$@" >"$work/out" 2>"$work/err" || code=$?
    [ $code -ne 0 ] || fail "$name: took it"
    grep '^tandem: ' "$work/err" | grep -v '^tandem: warning: ' >"$work/line" || true
    [ "$(wc -l <"$work/line")" -eq 1 ] || fail "$name: not one line: $(cat "$work/err")"
    grep -q 'damaged' "$work/line" || fail "$name: not called damage: $(cat "$work/err")"
    grep -qE -- "$pattern" "$work/line" || fail "$name: not /$pattern/: $(cat "$work/err")"
    ! grep -q HDF5-DIAG "$work/out" "$work/err" || fail "$name: HDF5's own words: $(cat "$work/err")"
    echo "$name: $(cat "$work/line")"
}

# the newest checkpoint: the moments, then the weights, then HDF5's structure
for case in "state.h5 0.5" "model.h5 0.6" "model.h5 0"; do
    read -r file part <<<"$case"
    rm -rf "$work/hit" && cp -r "$run" "$work/hit"
    newest=$work/hit/checkpoints/step-00000012
    zero "$newest/$file" "$part" 4096
    damaged "info, $case" "step-00000012/$file: is damaged" "$TANDEM" info --verify "$newest"
    damaged "resume from it, $case" "step-00000012/$file: is damaged" \
        ranks 2 "${train[@]}" --out "$work/elsewhere" --resume "$newest"
    ranks 2 "${train[@]}" --out "$work/hit" --resume auto 2>"$work/log" || fail "resume, $case: $(cat "$work/log")"
    grep -q "warning: .*step-00000012/$file: is damaged" "$work/log" || fail "resume, $case: not told: $(cat "$work/log")"
    grep -q "going on from step-00000008 instead of step-00000012: steps 9 to 12 have to be made again" "$work/log" ||
        fail "resume, $case: what is lost is not told: $(cat "$work/log")"
    same_weights "$run" "$work/hit"
    "$TANDEM" info --verify "$work/hit" >/dev/null || fail "resume, $case: the checkpoint was not made anew"
done

# every command that reads weights
bad=$work/bad && cp -r "$checkpoints/step-00000012" "$bad" && zero "$bad/model.h5" 0.6 4096
ranks 2 embed --model "$run" --data "$work/data" --split train --out "$work/embedded" 2>"$work/log" || fail "$(cat "$work/log")"
where='bad/model\.h5: is damaged: bytes [0-9]+ to [0-9]+ have changed since it was written \(/param/'
damaged eval "$where" ranks 2 eval --model "$bad" --data "$work/data" --split train
damaged embed "$where" ranks 2 embed --model "$bad" --data "$work/data" --split train --out "$work/none"
damaged search "$where" "$TANDEM" search --model "$bad" --gallery "$work/embedded" "a red square"
damaged export "$where" "$TANDEM" export --model "$bad" --to "$work/exported"
damaged "pretrained weights" "$where" ranks 2 train --config "$work/run.cfg" --set "model.pretrained=$bad" --out "$work/fresh"
[ ! -e "$work/exported" ] || fail "export left something"

# best and all
for step in 04 08 12; do zero "$checkpoints/step-000000$step/state.h5" 0.5 4096; done
damaged "all of them" 'no checkpoint is whole: step-00000012: state\.h5.*step-00000008.*step-00000004' \
    ranks 2 "${train[@]}" --out "$run" --resume auto
damaged "info of the run" '3 checkpoints are damaged' "$TANDEM" info --verify "$run"

# the other files
cp -r "$work/data" "$work/data-bad" && zero "$work/data-bad/dataset.h5" 0.5 64
damaged "index" 'dataset\.h5: is damaged' ranks 2 "${train[@]}" --set "data.dir=$work/data-bad" --out "$work/fresh"
cp "$work/data/dataset.h5" "$work/data-bad/" && zero "$work/data-bad/train-00001.h5" 0.3 4096
damaged "shard, info" 'train-00001\.h5: is damaged' "$TANDEM" info --verify "$work/data-bad"
damaged "shard, train" 'train-00001\.h5.*is damaged' ranks 2 "${train[@]}" --set "data.dir=$work/data-bad" --out "$work/fresh"
zero "$work/embedded/train-00001.h5" 0.5 64
damaged "embeddings" 'train-00001\.h5: is damaged' "$TANDEM" search --model "$work/hit" --gallery "$work/embedded" "a red square"
