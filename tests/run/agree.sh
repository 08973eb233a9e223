#!/usr/bin/env bash
# Ranks that read different files under the same path end with one message that names the file and who differs. Rank 1
# gets another file by a bind mount in a mount namespace of its own, as on another host.
. "$(dirname "$0")/common.sh"
unshare -m true 2>/dev/null || {
    echo "skipped: this needs mount namespaces (unshare -m)"
    exit 0
}
# as_rank_1 FROM OVER COMMAND…: OVER is FROM for rank 1
cat >"$work/as_rank_1" <<'SH'
#!/bin/sh
from=$1 over=$2
shift 2
[ "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}" = 1 ] || exec "$@"
exec unshare -m sh -c 'mount --bind "$0" "$1" && shift && exec "$@"' "$from" "$over" "$@"
SH
chmod +x "$work/as_rank_1"
mpi=("$MPIEXEC" --oversubscribe -n 2)

# differs FROM OVER PATTERN ARG…: two ranks of tandem, of which rank 1 sees FROM in place of OVER, end with one message
differs() {
    local from=$1 over=$2 pattern=$3 code=0
    shift 3
    timeout 60 "${mpi[@]}" "$work/as_rank_1" "$from" "$over" "$TANDEM" "$@" >"$work/log" 2>&1 || code=$?
    [ $code = 1 ] || fail "$over: exit code $code: $(cat "$work/log")"
    grep -q "^tandem: rank 1/2 on .*$pattern" "$work/log" || fail "$over: not said: $pattern: $(cat "$work/log")"
    [ "$(grep -c '^tandem:' "$work/log")" = 1 ] || fail "$over: several messages: $(cat "$work/log")"
    echo "ok: $(grep '^tandem:' "$work/log" | sed "s|$work/||g")"
}

# arguments of its own for each rank
timeout 60 "$MPIEXEC" --oversubscribe -n 1 "$TANDEM" eval --data a : -n 1 "$TANDEM" eval --data b >"$work/log" 2>&1 &&
    fail "arguments: $(cat "$work/log")"
grep -q '^tandem: rank 1/2 on .*: argument [0-9]*: another argument (b) than that of rank 0 on .* (a)' "$work/log" ||
    fail "arguments: $(cat "$work/log")"

make_data
cd "$work"
small=(--set train.steps=4 --set train.log_every=4)
train=(train --config run.cfg "${small[@]}")

# another data set whose shards have the sizes of the first: the captions' letters are other ones
cp -r raw raw2
find raw2 -name '*.txt' -exec sed -i 'y/aeiou/eioua/' {} +
"$TANDEM" pack --format folder --out data2 --split train --shard-size 50 raw2 2>log || fail "$(cat log)"
cmp -s data/train-00001.h5 data2/train-00001.h5 && fail "the shards are the same"
sed 's/lr = 1e-3/lr = 2e-3/' run.cfg >run2.cfg
sed '1s/$/ /' bpe.txt >bpe2.txt
mkdir empty
cp -r data data3
cp run.cfg other.cfg
sed -i 's/seed = 5/seed = 6/' other.cfg
"$TANDEM" "${train[@]}" --out p1 2>log || fail "$(cat log)"
"$TANDEM" "${train[@]}" --config other.cfg --out p2 2>log || fail "$(cat log)"

# ---- train ----
differs run2.cfg run.cfg 'run.cfg: another optim.lr (0.002) than that of rank 0 on .* (0.001)' "${train[@]}" --out r1
differs data2 data 'data/dataset.h5: another data set (' "${train[@]}" --out r1
differs data2/train-00001.h5 data/train-00001.h5 'data/train-00001.h5: another shard (seal' "${train[@]}" --out r1
differs empty data 'data/dataset.h5: is missing' "${train[@]}" --out r1
differs data2 data 'data/dataset.h5: another data set to evaluate on (' "${train[@]}" --out r1 --set eval.dir=data \
    --set eval.split=train --set data.dir="$work/data3"
differs bpe2.txt bpe.txt 'bpe.txt: another tokenizer (' "${train[@]}" --out r1
differs p2 p1 'model.h5: another pretrained model (seal' "${train[@]}" --out r1 --set model.pretrained=p1
differs p2/checkpoints p1/checkpoints 'model.h5: another checkpoint (seal' "${train[@]}" --out p1 --resume auto \
    --set train.steps=6
mkdir r1
differs empty r1 'r1: is not the directory that rank 0 on .* writes into' "${train[@]}" --out r1
[ -z "$(ls -A r1)" ] || fail "left in r1: $(ls -A r1)"

# ---- the other commands ----
differs p2 p1 'model.h5: another model (seal' eval --model p1 --data data --split train
differs data2 data 'data/dataset.h5: another data set (' eval --model p1 --data data --split train
mkdir emb
differs empty emb 'emb: is not the directory that rank 0 on .* writes into' embed --model p1 --data data --split train \
    --out emb
for i in 1 2; do
    "$TANDEM" embed --model p$i --data data --split train --out e$i 2>log || fail "$(cat log)"
done
differs e2 e1 'e1: another matrix of features (' pack --format features --out new e1
pack=(pack --format folder --split train --shard-size 50)
differs raw2 raw 'raw: another list of samples (' "${pack[@]}" --out new raw
cp -r raw raw3
pictures=(raw3/*.png)
cp "${pictures[-1]}" "${pictures[0]}"
differs raw3 raw 'raw/.*: another image (' "${pack[@]}" --out new raw
[ ! -e new ] || fail "new was made"
cat >study.cfg <<'SH'
config = "run.cfg"; seeds = [1]; metrics = ["text_to_image.recall_at_1"];
axes = ( { name = "lr"; values = ( { label = "a"; set = ["optim.lr=1e-3"]; } ); } );
SH
sed 's/seeds = \[1\]/seeds = [1, 2]/' study.cfg >study2.cfg
differs study2.cfg study.cfg 'study.cfg: another study (' study --config study.cfg --out st
differs run2.cfg run.cfg 'run.cfg: another base configuration (' study --config study.cfg --out st
