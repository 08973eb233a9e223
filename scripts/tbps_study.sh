#!/usr/bin/env bash
# The small study of text-based person search, from nothing: draws synthetic people, packs them, pretrains a small CLIP,
# then makes the rows of every table of TBPS-CLIP (conf/tbps/small) and prints the tables.
#   scripts/tbps_study.sh [STUDY]…      such as tricks losses; without names all of them
# RANKS in the environment is another number of ranks. A call that was stopped is taken up by the next one.
set -euo pipefail
cd "$(CDPATH='' cd "$(dirname "$0")/.." && pwd -P)"
# shellcheck source=scripts/common.sh
source scripts/common.sh
trap 'say_where_it_ended $?' EXIT

studies=("$@")
[ $# -gt 0 ] || studies=(headline tricks losses image_augment text_augment few_shot compression_frozen
    compression_dropped)
for study in "${studies[@]}"; do
    [ -f "conf/tbps/small/$study.cfg" ] || fail "no study $study: conf/tbps/small has no $study.cfg"
done
out=runs/tbps
ranks=${RANKS:-2}
[[ $ranks =~ ^[1-9][0-9]{0,3}$ ]] || fail "RANKS=$ranks: a number of ranks from 1"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # for containers, where root is the only user
tandem=build/tandem

step "packages"
scripts/install.sh build

step "build"
scripts/build.sh build --target tandem --target make_people

writable people people/* runs "$out" "$out"/*
mkdir -p people "$out"
exec 7>people/.lock
flock --nonblock 7 || fail "another tbps_study.sh is at work in this directory"

# draw NAME OPTION…: a set of people, packed as people/NAME
draw() {
    local name=$1
    [ ! -e "people/$name/dataset.h5" ] || return 0
    rm -rf "people/$name.raw"
    build/make_people --out "people/$name.raw" "${@:2}"
    "$tandem" pack --format cuhk_pedes --out "people/$name" "people/$name.raw"
    rm -rf "people/$name.raw"
}

step "people to pretrain on, and others for the study"
draw pretrain --identities 2000 --seed 100
draw shards --identities 1000 --held-out 300 --seed 1
[ -s people/bpe.txt ] || "$tandem" tokenizer --train --vocab-size 768 --out people/bpe.txt people/pretrain

step "pretrain a small CLIP"
mpirun -n "$ranks" --oversubscribe "$tandem" train --config conf/tbps/baseline.cfg --out people/clip --resume auto \
    --set data.dir=people/pretrain --set eval.dir=people/pretrain --set train.epochs=8 --set eval.every_epochs=0

failed=()
for study in "${studies[@]}"; do
    step "study: $study"
    code=0
    mpirun -n "$ranks" --oversubscribe "$tandem" study --config "conf/tbps/small/$study.cfg" --out "$out/$study" || code=$?
    [ $code -ne 3 ] || { echo "stopped on request; the next call goes on there" >&2 && exit 3; }
    [ $code -eq 0 ] || failed+=("$study")
done

step "done"
for study in "${studies[@]}"; do
    cat "$out/$study/study.txt"
    echo "with learning curves and plots: $out/$study/report.html"
    echo
done
[ ${#failed[@]} -eq 0 ] || fail "these studies have failed runs: ${failed[*]}"
