#!/usr/bin/env bash
# The study of supervised cross-modal retrieval (docs/cmr.md) on data that anyone can get: Fluent's emoji in 9 groups and in
# 95 subgroups, and Tux Paint's stamps in 16 folders, with features of a CLIP that is trained here.
#   scripts/cmr_study.sh [--model RUN] [STUDY…]
# RUN is a finished run of conf/quickstart.cfg; without it, ./quickstart.sh makes runs/quickstart. STUDY is a file of
# conf/cmr/small (objectives, width, …); without any, all are made. JOBS in the environment is how many runs are made at a
# time, one core each (the cores). A second call makes only what is missing. The result is runs/cmr/report.html.
set -euo pipefail
cd "$(CDPATH='' cd "$(dirname "$0")/.." && pwd -P)"
# shellcheck source=scripts/common.sh
source scripts/common.sh
trap 'say_where_it_ended $?' EXIT

model='' studies=()
while [ $# -gt 0 ]; do
    case $1 in
    --model) [ $# -ge 2 ] || fail "--model needs a run" && model=$2 && shift ;;
    -*) fail "unknown option $1; usage: cmr_study.sh [--model RUN] [STUDY…]" ;;
    *) [ -e "conf/cmr/small/$1.cfg" ] || fail "there is no study conf/cmr/small/$1.cfg" && studies+=("$1") ;;
    esac
    shift
done
[ ${#studies[@]} -gt 0 ] || studies=(objectives imbalance width end_to_end hybrids temperature margin depth mid_width batch)
jobs=${JOBS:-$(cores)}
[[ $jobs =~ ^[1-9][0-9]{0,2}$ ]] || fail "JOBS=$jobs: a number of runs from 1"
tandem=build/tandem data=demo/cmr out=runs/cmr
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1

step "packages"
scripts/install.sh build demo cmr

step "the CLIP"
if [ -z "$model" ]; then
    model=runs/quickstart
    ./quickstart.sh
else
    scripts/build.sh build --target tandem
    data_prep/fetch_emoji.sh demo/emoji
fi
[ -e "$model/checkpoints/latest" ] || fail "$model has no checkpoint"

writable demo demo/* "$data" runs "$out"
mkdir -p "$data" "$out"
exec 8>"$data/.lock"
flock --nonblock 8 || fail "another cmr_study.sh is at work in this directory"
which=$(realpath "$model")/$(cat "$model/checkpoints/latest")
[ ! -e "$data/model" ] || [ "$(cat "$data/model")" = "$which" ] ||
    fail "$data holds features of $(cat "$data/model"): remove $data and $out to study another CLIP"
echo "$which" >"$data/model"

# set_of NAME SOURCE OPTION…: packs pictures and texts as NAME-raw, and their features as NAME
set_of() {
    local name=$1 source=$2 split
    shift 2
    [ -e "$data/$name-raw/dataset.h5" ] || "$tandem" pack "$@" --out "$data/$name-raw" "$source"
    [ ! -e "$data/$name/dataset.h5" ] || return 0
    for split in train val test; do
        "$tandem" embed --model "$model" --data "$data/$name-raw" --split "$split" --out "$data/$name-embedded"
    done
    "$tandem" pack --format features --out "$data/$name" "$data/$name-embedded"
    mkdir -p "$out/$name"
    # what the CLIP does by itself
    "$tandem" eval --model "$model" --data "$data/$name-raw" --split test --positives class --json "$out/$name/clip.json"
}
step "emoji, their groups and subgroups"
node data_prep/emoji_classes.js demo/emoji >"$data/emoji.csv.tmp"
mv "$data/emoji.csv.tmp" "$data/emoji.csv"
for name in group subgroup; do
    set_of "${name}s" "$data/emoji.csv" --format csv --class-column "$name" --split-column split
done
step "stamps"
[ -d "$data/stamps.png" ] || data_prep/stamps.sh "$data/stamps.png"
set_of stamps "$data/stamps.png" --format folder --class-level 1 --split train=0.6,val=0.15,test=0.25 --image-size 64

# study SET NAME OPTION…: the missing runs of conf/cmr/small/NAME.cfg on a set, $jobs at a time, and the table of all
failed=0
study() {
    local set=$1 name=$2 job pids=() code
    local call=("$tandem" study --config "conf/cmr/small/$name.cfg" --out "$out/$set/$name" "${@:3}")
    step "$name, $set"
    mkdir -p "$out/$set"
    for ((job = 1; job <= jobs; job++)); do
        "${call[@]}" --only "$job/$jobs" >>"$out/$set/$name.log" 2>&1 &
        pids+=($!)
    done
    for job in "${pids[@]}"; do
        code=0
        wait "$job" || code=$?
        [ "$code" -ne 3 ] || exit 3
        [ "$code" -eq 0 ] || failed=1
    done
    "${call[@]}" --report
    node scripts/cmr_report.js "$out"
}
for name in "${studies[@]}"; do
    case $name in
    objectives) # on all sets
        for set in stamps groups subgroups; do
            study "$set" "$name" --set "data.dir=$data/$set" --set "eval.dir=$data/$set"
            # one of the models in a picture, with the figures of each class
            [ -e "$out/$set/embedding.html" ] || "$tandem" eval --model "$out/$set/$name/runs/supcon/seed-1" \
                --data "$data/$set" --split test --positives class --per-class --curves --projection pca,tsne \
                --json "$out/$set/embedding.json" --html "$out/$set/embedding.html"
        done
        ;;
    end_to_end) # on pictures and words
        study stamps "$name" --set "model.pretrained=$model"
        ;;
    *) study groups "$name" ;;
    esac
done

step "done"
[ "$failed" -eq 0 ] || fail "some runs failed: $out/*/*.log names them; the next call tries them again"
echo "$out/report.html"
