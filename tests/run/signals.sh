#!/usr/bin/env bash
# Requests to stop one process: SIGINT and SIGHUP write a checkpoint as SIGTERM does, from the first moment on, and in
# pack, embed and eval, too. What was ignored at the start (nohup) stays ignored.
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

# before the first step: there is nothing to keep
begin train "${settings[@]}" --out "$work/early"
kill -TERM "$pid"
ends 3 "SIGTERM at the start"
[ ! -e "$work/early/checkpoints" ] || fail "a checkpoint before the first step"
[ ! -e "$work/early/.tandem-lock" ] || fail "the lock stays"

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

# pack: no index, and the same command again
begin pack --format folder --out "$work/packed" --split train --shard-size 1 "$work/raw"
kill -INT "$pid"
ends 3 "pack"
[ ! -e "$work/packed/dataset.h5" ] || fail "a stopped pack wrote the index"
"$TANDEM" pack --format folder --out "$work/packed" --split train "$work/raw" 2>"$work/log" || fail "$(cat "$work/log")"

begin embed --model "$work/run" --data "$work/data" --split train --out "$work/emb"
kill -HUP "$pid"
ends 3 "embed"
[ -z "$(find "$work/emb" -name '*.h5' 2>/dev/null)" ] || fail "a stopped embed wrote a file"
begin eval --model "$work/run" --data "$work/data" --split train --json "$work/eval.json"
kill -TERM "$pid"
ends 3 "eval"
[ ! -e "$work/eval.json" ] || fail "a stopped eval wrote its result"

# what keeps no promise ends at once, by the signal
mkfifo "$work/silence"
exec 9<>"$work/silence" # a writer that writes nothing
env --default-signal=INT "$TANDEM" tokenize --tokenizer "$work/bpe.txt" <"$work/silence" >"$work/out" 2>"$work/log" 9>&- &
pid=$!
until [ "/proc/$pid/exe" -ef "$TANDEM" ] && grep -q '^State:.S' "/proc/$pid/status"; do sleep 0.02; done
kill -INT "$pid"
ends 130 "tokenize"
