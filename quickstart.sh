#!/usr/bin/env bash
# From a fresh Debian machine to a trained model and its pictures: installs what is missing, builds, fetches the emoji
# of four artists, packs them, trains on three artists with two ranks, evaluates on the fourth, runs one search.
#   ./quickstart.sh [OPTION of `tandem train`]…      such as --set train.epochs=5
# RANKS in the environment is another number of ranks. A second call skips what is done, goes on where a call was
# stopped, and when the run is complete only evaluates and searches again.
set -euo pipefail
cd "$(CDPATH='' cd "$(dirname "$0")" && pwd -P)"
# shellcheck source=scripts/common.sh
source scripts/common.sh
trap 'say_where_it_ended $?' EXIT

run=runs/quickstart
ranks=${RANKS:-2}
[[ $ranks =~ ^[1-9][0-9]{0,3}$ ]] || fail "RANKS=$ranks: a number of ranks from 1"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # for containers, where root is the only user
tandem=build/tandem

step "packages"
scripts/install.sh build demo

step "build"
scripts/build.sh build --target tandem

writable demo demo/* runs "$run" "$run/checkpoints"
mkdir -p demo runs
exec 7>demo/.lock
flock --nonblock 7 || fail "another quickstart.sh is at work in this directory"

step "demo data: emoji of four artists"
data_prep/fetch_emoji.sh demo/emoji

step "pack"
# The shards are made again when the pictures are newer, the tokenizer when the shards are; both come out the same.
index=demo/shards/dataset.h5 tokenizer=demo/emoji.bpe.txt
if [ ! -e "$index" ] || [ demo/emoji/emoji.json -nt "$index" ]; then
    "$tandem" pack --format emoji --split train=google+twitter+openmoji,test=fluent --out demo/shards demo/emoji
fi
if [ ! -s "$tokenizer" ] || [ "$index" -nt "$tokenizer" ]; then
    "$tandem" tokenizer --train --vocab-size 2048 --out "$tokenizer" demo/shards
fi

step "train on Noto, Twemoji and OpenMoji with $ranks ranks"
mpirun -n "$ranks" --oversubscribe "$tandem" train --config conf/quickstart.cfg --out "$run" --resume auto "$@" || case $? in
    3) echo "stopped on request; the next call goes on there" >&2 && exit 3 ;;
    *) fail "training failed (exit code $?). When an earlier version or other settings began $run: remove it, then call again" ;;
    esac

step "evaluate on Fluent, an artist that the model has never seen"
mpirun -n "$ranks" --oversubscribe "$tandem" eval --model "$run" --data demo/shards --split test \
    --json "$run/eval.json" --html "$run/eval.html"

step "search the unseen artist's pictures for a text"
"$tandem" search --model "$run" --gallery demo/shards --split test -k 12 --html "$run/search.html" "grinning cat"

step "done"
cat "$run/eval.json"
cat <<END

metrics            $run/eval.json
training curves    $run/report.html
evaluation sheet   $run/eval.html
search result      $run/search.html
checkpoint         $run/checkpoints/latest
search page        $tandem serve --model $run --gallery demo/shards --split test
END
