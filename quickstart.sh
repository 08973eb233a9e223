#!/usr/bin/env bash
# From a fresh Debian machine to a trained model and its pictures: installs what is missing, builds, fetches the emoji
# of four artists, packs them, trains on three artists with two ranks, evaluates on the fourth, runs one search.
# A second call skips what is done and, when the run is complete, only evaluates and searches again.
set -euo pipefail
cd "$(dirname "$0")"

run=runs/quickstart
ranks=${RANKS:-2}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # for containers, where root is the only user
tandem=build/tandem

step() { printf '\n== %s\n' "$*" >&2; }

step "packages"
scripts/install.sh build demo

step "build"
cmake -S . -B build -DTANDEM_TESTS=OFF >/dev/null
cmake --build build -j "$(nproc)" -- --quiet

step "demo data: emoji of four artists"
data_prep/fetch_emoji.sh demo/emoji

step "pack"
if [ ! -e demo/shards/dataset.h5 ]; then
    "$tandem" pack --format emoji --split train=google+twitter+openmoji,test=fluent --out demo/shards demo/emoji
fi
[ -e demo/emoji.bpe.txt ] || "$tandem" tokenizer --train --vocab-size 2048 --out demo/emoji.bpe.txt demo/shards

step "train on Noto, Twemoji and OpenMoji with $ranks ranks"
mpirun -n "$ranks" --oversubscribe "$tandem" train --config conf/quickstart.cfg --out "$run" --resume auto

step "evaluate on Fluent, an artist that the model has never seen"
mpirun -n "$ranks" --oversubscribe "$tandem" eval --model "$run" --data demo/shards --split test \
    --json "$run/eval.json" --html "$run/eval.html"

step "search the unseen artist's pictures for a text"
"$tandem" search --model "$run" --gallery demo/shards --split test -k 12 --html "$run/search.html" "grinning cat"

step "done"
cat "$run/eval.json"
cat <<EOF

metrics            $run/eval.json
training curves    $run/report.html
evaluation sheet   $run/eval.html
search result      $run/search.html
checkpoint         $run/checkpoints/latest
EOF
