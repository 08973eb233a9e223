#!/usr/bin/env bash
# Every kind of bad input under mpirun: one line that names the cause, a non-zero exit, no hang.
. "$(dirname "$0")/common.sh"
make_data
export TIMEOUT=${TIMEOUT:-120}

# mpirun kills the other ranks when one ends with an error: told not to, each has to end by itself
go_on=(OMPI_MCA_orte_abort_on_non_zero_status=0 PRTE_MCA_prte_abort_on_non_zero_status=0)
cat >"$work/recorded" <<'EOF'
#!/bin/sh
"$TANDEM" "$@"
code=$?
echo $code >"$CODES/${OMPI_COMM_WORLD_RANK:-$PMIX_RANK}"
exit $code
EOF
chmod +x "$work/recorded"
export TANDEM CODES=$work/codes

# refuse NAME PATTERN RANKS COMMAND…: every rank must fail within the time limit, with one "tandem:" line that matches
refuse() {
    local name=$1 pattern=$2 n=$3 code=0
    shift 3
    rm -rf "$CODES" && mkdir "$CODES"
    env "${go_on[@]}" timeout "$TIMEOUT" "$MPIEXEC" --oversubscribe -n "$n" "$work/recorded" "$@" \
        >"$work/out" 2>"$work/err" || code=$?
    [ $code -ne 124 ] || fail "$name: hangs"
    cat "$CODES"/* 2>/dev/null | sort | uniq -c >"$work/counts"
    grep -qE "^ *$n [1-9][0-9]*\$" "$work/counts" || fail "$name: not one exit code on $n ranks: $(cat "$work/counts" "$work/err")"
    [ "$(grep -c '^tandem: ' "$work/err")" -eq 1 ] || fail "$name: not one line: $(cat "$work/err")"
    grep '^tandem: ' "$work/err" | grep -qE -- "$pattern" || fail "$name: message does not match /$pattern/: $(cat "$work/err")"
    echo "$name: $(grep '^tandem: ' "$work/err")"
}
train=(train --config "$work/run.cfg" --out "$work/run" --set train.steps=4)
copy() { rm -rf "$work/bad" && cp -r "$work/data" "$work/bad"; }
bad=(--set "data.dir=$work/bad")

refuse "unknown key" 'optim\.momentum.*|unknown' 2 "${train[@]}" --set optim.momentum=0.9
refuse "mistyped key" 'warmup_step.*did you mean.*warmup_steps' 2 "${train[@]}" --set optim.warmup_step=3
refuse "out of range" 'model\.dropout.*1\.5.*range' 2 "${train[@]}" --set model.dropout=1.5
refuse "wrong type" 'train\.batch' 2 "${train[@]}" --set train.batch=many
refuse "pattern of no parameter" 'optim\.freeze: "visual\.conv\.weight" matches no parameter; the nearest is visual\.conv1\.weight' \
    2 "${train[@]}" --set optim.freeze=visual.conv.weight
refuse "everything frozen" 'no parameter is left to train' 2 "${train[@]}" --set 'optim.freeze=*'
refuse "factor without a number" 'optim\.lr_scale: "visual\.\*": expected' 2 "${train[@]}" --set 'optim.lr_scale=visual.*'
printf 'train: { bach = 3; };\n' >"$work/typo.cfg"
refuse "mistyped key in a file" 'typo\.cfg:1.*bach.*did you mean.*batch' 2 train --config "$work/typo.cfg" --out "$work/run"
refuse "missing config" 'absent\.cfg' 2 train --config "$work/absent.cfg" --out "$work/run"
refuse "width not divisible by heads" 'heads' 2 "${train[@]}" --set model.image.heads=5
refuse "image not divisible by patch" 'patch' 2 "${train[@]}" --set model.image.patch_px=7
refuse "unknown tower" 'model\.image\.tower.*resnext' 2 "${train[@]}" --set model.image.tower=resnext
refuse "batch larger than the split" '500|batch' 2 "${train[@]}" --set train.batch=500
refuse "more ranks than pairs" 'batch of 2 pairs.*4 ranks' 4 "${train[@]}" --set train.batch=2
refuse "other vocabulary" 'vocab_size' 2 "${train[@]}" --set model.text.vocab_size=700
refuse "unknown split" 'valid' 2 "${train[@]}" --set data.split=valid
refuse "missing tokenizer" 'absent\.txt' 2 "${train[@]}" --set "model.tokenizer=$work/absent.txt"
refuse "missing data" 'nowhere' 2 "${train[@]}" --set "data.dir=$work/nowhere"
refuse "unknown option" 'did you mean --config' 1 train --confg x
refuse "unknown command" 'did you mean train' 1 trian

copy && rm "$work/bad/train-00001.h5"
refuse "missing shard" 'train-00001\.h5' 2 "${train[@]}" "${bad[@]}"
copy && truncate -s 5000 "$work/bad/train-00001.h5"
refuse "truncated shard" 'train-00001\.h5' 2 "${train[@]}" "${bad[@]}"
copy && cp "$work/bad/dataset.h5" "$work/bad/train-00001.h5"
refuse "wrong format attribute" 'train-00001\.h5' 2 "${train[@]}" "${bad[@]}"
copy && python3 - "$work/bad/train-00001.h5" <<'EOF'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
at = data.rfind(b"IDAT")
assert at > 0
data[at + 8] ^= 0xff
open(sys.argv[1], "wb").write(data)
EOF
refuse "flipped byte in a shard" 'train-00001\.h5' 2 "${train[@]}" "${bad[@]}" --set train.steps=20

# one bad image or caption in a folder to pack
pack=(pack --format folder --out "$work/packed" --split train "$work/raw-bad")
raw() { rm -rf "$work/raw-bad" "$work/packed" && cp -r "$work/raw" "$work/raw-bad"; }
# another size in the header of a PNG: bytes 16 to 23, and the checksum after them
resize_png() {
    python3 - "$work/raw-bad/0070.png" "$1" "$2" <<'EOF'
import struct, sys, zlib
path, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = bytearray(open(path, "rb").read())
data[16:24] = struct.pack(">II", width, height)
data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
open(path, "wb").write(data)
EOF
}
raw && : >"$work/raw-bad/0070.png"
refuse "image of zero bytes" '0070\.png.*empty' 2 "${pack[@]}"
raw && resize_png 0 0
refuse "image of zero pixels" '0070\.png' 2 "${pack[@]}"
raw && resize_png 50000 50000
refuse "image of 50,000 pixels a side" '0070\.png.*50000.*too large' 2 "${pack[@]}"
raw && truncate -s -60 "$work/raw-bad/0070.png"
refuse "truncated image" '0070\.png' 2 "${pack[@]}"
raw && : >"$work/raw-bad/0070.txt"
refuse "empty caption file" '0070.*caption' 2 "${pack[@]}"
raw && printf '  \t\n' >"$work/raw-bad/0070.txt"
refuse "blank caption" '0070.*caption' 2 "${pack[@]}"
raw && rm "$work/raw-bad/0070.txt"
refuse "missing caption" '0070.*caption' 2 "${pack[@]}"
ranks 2 "${pack[@]}" --skip-bad 2>"$work/err" || fail "--skip-bad: $(cat "$work/err")"
grep -q 0070 "$work/packed/pack-report.json" || fail "--skip-bad: $(cat "$work/packed/pack-report.json")"
# captions beyond the context are cut, which is no error
raw && python3 -c 'print("a red square " * 500)' >"$work/raw-bad/0070.txt"
ranks 2 "${pack[@]}" 2>"$work/err" || fail "long caption, pack: $(cat "$work/err")"
ranks 2 train --config "$work/run.cfg" --out "$work/long" --set "data.dir=$work/packed" --set train.steps=6 2>"$work/err" ||
    fail "long caption, train: $(cat "$work/err")"

"$TANDEM" pack --format folder --out "$work/other" --split train --tokenizer "$work/bpe.txt" "$work/raw" 2>"$work/log" || fail "pack: $(cat "$work/log")"
"$TANDEM" tokenizer --train --vocab-size 530 --out "$work/bpe2.txt" "$work/data" 2>"$work/log" || fail "tokenizer: $(cat "$work/log")"
refuse "shards packed with another tokenizer" 'another tokenizer' 2 "${train[@]}" --set "data.dir=$work/other" \
    --set "model.tokenizer=$work/bpe2.txt" --set "model.text.vocab_size=$(($(grep -vc '^#' "$work/bpe2.txt") + 514))"

ranks 2 "${train[@]}" 2>"$work/log" || fail "$(cat "$work/log")"
refuse "checkpoint of another model" 'parameter|shape|visual|model' 2 train --config "$work/run.cfg" --out "$work/run" \
    --resume auto --set model.image.width=64 --set train.steps=8
refuse "checkpoint beyond the end" 'step 4' 2 train --config "$work/run.cfg" --out "$work/run" --resume auto --set train.steps=3
refuse "no such checkpoint" 'nothing-here' 2 "${train[@]}" --resume "$work/nothing-here"
checkpoint=$work/run/checkpoints/$(cat "$work/run/checkpoints/latest")
truncate -s -4000 "$checkpoint/model.h5"
refuse "truncated checkpoint" 'model\.h5' 2 eval --model "$checkpoint" --data "$work/data" --split train

# ranks with different arguments; another configuration under the same name: agree.sh
# shellcheck disable=SC2016
printf '#!/bin/sh\n[ "${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-0}}" = 1 ] && set -- "$@" --set seed=99\nexec "%s" "$@"\n' "$TANDEM" >"$work/uneven"
chmod +x "$work/uneven"
TANDEM=$work/uneven refuse "ranks with different arguments" 'argument [0-9]+: this rank has this argument \(--set\), rank 0 on .* has not' 2 "${train[@]}" --set train.steps=5

# disk full while checkpointing: a limit on the size of files stands for it (MPI's own shared files are kept small); the old
# checkpoint stays
full=(train --config "$work/run.cfg" --out "$work/full" --set model.image.width=192)
ranks 2 "${full[@]}" --set train.steps=2 2>"$work/err" || fail "disk full, first run: $(cat "$work/err")"
before=$(cat "$work/full/checkpoints/latest")
code=0
(trap '' XFSZ && ulimit -f 2000 && OMPI_MCA_btl=tcp,self PMIX_MCA_gds=hash exec timeout "$TIMEOUT" "$MPIEXEC" --oversubscribe \
    -n 2 "$TANDEM" "${full[@]}" --resume auto --set train.steps=4) >"$work/out" 2>"$work/err" || code=$?
if [ $code -eq 0 ] || [ $code -eq 124 ]; then fail "disk full: exit code $code"; fi
grep -qE '^tandem: .*step-' "$work/err" || fail "disk full: no message: $(cat "$work/err")"
[ "$(cat "$work/full/checkpoints/latest")" = "$before" ] || fail "disk full: latest moved"
"$TANDEM" info --verify "$work/full/checkpoints/$before" >/dev/null || fail "disk full: the old checkpoint is damaged"
echo "disk full: $(grep '^tandem: ' "$work/err")"
