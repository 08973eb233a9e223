#!/usr/bin/env bash
# Requests to stop: SIGINT, SIGHUP and SIGUSR1 write a checkpoint as SIGTERM does; before the first step, and in the other
# commands, nothing is left behind. What was ignored at the start (nohup) stays ignored.
. "$(dirname "$0")/common.sh"
make_data
settings=(--config "$work/run.cfg" --set train.steps=1000000 --resume auto)

# begin ARG…: tandem in the background ($pid), with the signals that a shell's background job ignores. Waits until it
# catches SIGHUP, SIGINT and SIGTERM.
begin() {
    local key value
    env --default-signal=INT,HUP "$TANDEM" "$@" >"$work/out" 2>"$work/log" &
    pid=$!
    while true; do
        [ "/proc/$pid/exe" -ef "$TANDEM" ] && while read -r key value; do
            if [ "$key" = SigCgt: ] && (((16#$value & 0x4003) == 0x4003)); then return; fi
        done <"/proc/$pid/status"
    done
}
# ends CODE NAME: the process ends with this code
ends() {
    local code=0
    wait "$pid" || code=$?
    [ "$code" -eq "$1" ] || fail "$2: exit code $code, not $1: $(cat "$work/log")"
    echo "$2: $(tail -1 "$work/log")"
}

# held PATH SIGNAL NAME COMMAND ARG…: tandem is held where it opens a file whose path ends so, gets the signal there, and
# ends with 3 without having begun
held() {
    local path=$1 signal=$2 name=$3
    shift 3
    env --default-signal=INT,HUP LD_PRELOAD="$HOLD_OPEN" HOLD_PATH="$path" HOLD_MARK="$work/mark" "$TANDEM" "$@" \
        >"$work/out" 2>"$work/log" &
    pid=$!
    until [ -e "$work/mark" ]; do
        kill -0 "$pid" 2>/dev/null || fail "$name: never opened $path: $(cat "$work/log")"
        sleep 0.01
    done
    kill "-$signal" "$pid"
    rm "$work/mark"
    ends 3 "$name, SIG$signal at $path"
    [ -z "$(find "$work" -name '.tandem-lock*')" ] || fail "$name, SIG$signal at $path: the lock stays"
}

# before the first step nothing is lost: in MPI's own start, while configuration, data and weights are read
early=(train "${settings[@]}" --set train.steps=2 --out "$work/early")
held openmpi-mca-params.conf USR1 train "${early[@]}"
held run.cfg TERM train "${early[@]}"
held train-00001.h5 INT train "${early[@]}"
held bpe.txt HUP train "${early[@]}"
[ ! -e "$work/early" ] || fail "a run that did not begin left $(ls -A "$work/early")"
"$TANDEM" "${early[@]}" 2>"$work/log" || fail "after the signals: $(cat "$work/log")"
early+=(--set train.steps=4)
held model.h5 USR1 resume "${early[@]}"
held state.h5 TERM resume "${early[@]}"
tuned=(train "${settings[@]}" --set "model.pretrained=$work/early" --out "$work/tuned")
held train-00000.h5 INT pretrained "${tuned[@]}"
held model.h5 HUP pretrained "${tuned[@]}"
[ ! -e "$work/tuned" ] || fail "a run that did not begin left $(ls -A "$work/tuned")"
[ "$(lines_of "$work/early")" -eq 2 ] || fail "a run that was not resumed wrote lines"
"$TANDEM" "${early[@]}" 2>"$work/log" || fail "resume after the signals: $(cat "$work/log")"
[ "$(grep -c '"loss"' "$work/early/metrics.jsonl")" -eq 4 ] || fail "not resumed: $(cat "$work/log")"

# one rank of two is enough, here one that waits for the other
HOLD_RANK=0 HOLD_PATH=train-00001.h5 HOLD_MARK=$work/mark LD_PRELOAD=$HOLD_OPEN \
    "$MPIEXEC" --oversubscribe -n 2 "$TANDEM" train "${settings[@]}" --out "$work/two" >"$work/out" 2>"$work/log" &
pid=$!
until [ -e "$work/mark" ]; do
    kill -0 "$pid" || fail "one rank of two: $(cat "$work/log")"
    sleep 0.01
done
mapfile -d ' ' -t ranks_of < <(cat "/proc/$pid/task/"*/children)
for rank in "${ranks_of[@]}"; do
    ! grep -qz '^OMPI_COMM_WORLD_RANK=1$' "/proc/$rank/environ" || kill -USR1 "$rank"
done
rm "$work/mark"
ends 3 "one rank of two"
[ ! -e "$work/two" ] || fail "a run that did not begin left $(ls -A "$work/two")"

# the others: nothing half written, and the same command again is complete
model=(--model "$work/early" --data "$work/data" --split train)
eval=(eval "${model[@]}" --json "$work/eval")
held model.h5 TERM eval "${eval[@]}"
held train-00002.h5 INT eval "${eval[@]}"
embed=(embed "${model[@]}" --out "$work/embed")
held model.h5 USR1 embed "${embed[@]}"
held train-00000.h5 HUP embed "${embed[@]}"
probe=(probe "${model[@]}" --out "$work/probe" --grid 0.5)
held model.h5 INT probe "${probe[@]}"
held train-00001.h5 USR1 probe "${probe[@]}"
pack=(pack --format folder --split train --shard-size 50 --out "$work/pack" "$work/raw")
held 0000.txt TERM pack "${pack[@]}"
held 0010.png USR1 pack "${pack[@]}"
search=(search --model "$work/early" --data "$work/data" --json "$work/search" "a red disc")
held model.h5 HUP search "${search[@]}"
held train-00001.h5 USR1 search "${search[@]}"
cat >"$work/study.cfg" <<EOF
title = "Study"; config = "run.cfg"; seeds = [1]; metrics = ["text_to_image.recall_at_1"];
set = ["train.steps=2", "eval.dir=$work/data", "eval.split=train", "eval.every_epochs=1"];
axes = ({ name = "rate"; values = ({ label = "low"; set = ["optim.lr=1e-3"]; }); });
EOF
study=(study --config "$work/study.cfg" --out "$work/study")
held study.cfg TERM study "${study[@]}"
for name in eval embed probe pack search study; do
    [ ! -e "$work/$name" ] || fail "a stopped $name left $work/$name"
done
held train-00001.h5 USR1 study "${study[@]}"
for name in eval embed probe pack search study; do
    declare -n again=$name
    "$TANDEM" "${again[@]}" >"$work/out" 2>"$work/log" || fail "$name after the signals: $(cat "$work/log")"
    [ -e "$work/$name" ] || fail "$name made no $work/$name"
done
[ "$(lines_of "$work/study/runs/low/seed-1")" -ge 2 ] || fail "the study's run is not complete"

# between steps: a checkpoint, and --resume goes on from it
step=0
for name in INT HUP USR1 TERM; do
    begin train "${settings[@]}" --out "$work/run"
    until [ "$(lines_of "$work/run")" -gt $((step + 3)) ]; do sleep 0.02; done
    kill "-$name" "$pid"
    ends 3 "SIG$name"
    next=$(sed 's/step-0*//' "$work/run/checkpoints/latest")
    [ "$next" -gt "$step" ] || fail "SIG$name: no newer checkpoint than step $step"
    step=$next
    [ "$(lines_of "$work/run")" -eq "$step" ] || fail "SIG$name: $(lines_of "$work/run") lines at step $step"
done

# mpirun answers a SIGTERM to itself by killing its ranks; cluster/resubmit.sh passes it on as SIGUSR1
PATH=$(dirname "$TANDEM"):$PATH MPIRUN_OPTIONS=--oversubscribe RANKS=2 "$here/../../cluster/resubmit.sh" "$work/run.cfg" "$work/again" \
    train.steps=1000000 2>"$work/log" &
pid=$!
until [ "$(lines_of "$work/again")" -gt 3 ]; do
    kill -0 "$pid" || fail "resubmit.sh: $(cat "$work/log")"
    sleep 0.02
done
kill -TERM "$pid"
ends 3 "SIGTERM to resubmit.sh"
"$TANDEM" info --verify "$work/again" >/dev/null || fail "resubmit.sh: no whole checkpoint"

# in an evaluation: it is given up for the checkpoint
begin train "${settings[@]}" --set "eval.dir=$work/data" --set eval.split=train --set eval.every_epochs=1 --out "$work/evaluated"
until grep -q recall "$work/evaluated/metrics.jsonl" 2>/dev/null; do sleep 0.02; done
kill -HUP "$pid"
ends 3 "SIGHUP beside evaluations"
"$TANDEM" info --verify "$work/evaluated" >/dev/null || fail "no whole checkpoint"

# nohup
nohup "$TANDEM" train "${settings[@]}" --out "$work/nohup" >"$work/log" 2>&1 &
pid=$!
until [ "$(lines_of "$work/nohup")" -gt 3 ]; do sleep 0.02; done
kill -HUP "$pid"
lines=$(lines_of "$work/nohup")
until [ "$(lines_of "$work/nohup")" -gt $((lines + 3)) ]; do
    kill -0 "$pid" || fail "nohup: ended: $(cat "$work/log")"
    sleep 0.02
done
kill -TERM "$pid"
ends 3 "nohup, then SIGTERM"

# what keeps no promise ends at once, by the signal
mkfifo "$work/silence"
exec 9<>"$work/silence" # a writer that writes nothing
env --default-signal=INT "$TANDEM" tokenize --tokenizer "$work/bpe.txt" <"$work/silence" >"$work/out" 2>"$work/log" 9>&- &
pid=$!
until [ "/proc/$pid/exe" -ef "$TANDEM" ] && grep -q '^State:.S' "/proc/$pid/status"; do sleep 0.02; done
kill -INT "$pid"
ends 130 "tokenize"
