#!/usr/bin/env bash
# The watchdog: a rank that is stopped is named, with host, step and operation, and a job that may end does so with exit
# code 4. A rank that reads slowly or is under a debugger is named only, and a run that goes on gives the same bits.
. "$(dirname "$0")/common.sh"
make_data
host=$(hostname)
run=$work/run
minutes=${STALL_MINUTES:-0.03}
settings=(--config "$work/run.cfg" --out "$run" --resume auto --set train.steps=1000000 --set checkpoint.keep=1
    --set optim.schedule=constant     --set "train.stall_minutes=$minutes")

# begin: two ranks; waits until they step. pid_of holds the ranks' processes.
begin() {
    local child before
    before=$(lines_of "$run")
    start 2 train "${settings[@]}"
    until [ "$(lines_of "$run")" -gt $((before + 3)) ]; do
        kill -0 "$pid" || fail "ended at once: $(tail -5 "$work/log")"
        sleep 0.02
    done
    for child in $(pgrep -P "$pid"); do
        pid_of[$(tr '\0' '\n' <"/proc/$child/environ" | sed -n 's/^\(OMPI_COMM_WORLD_RANK\|PMI_RANK\)=//p' | head -1)]=$child
    done
}
# says TEXT: in the log, within the time that it takes three times over
says() {
    for _ in $(seq 300); do
        grep -q "$1" "$work/log" && return
        sleep 0.05
    done
    fail "\"$1\" is not said: $(tail -5 "$work/log")"
}
# ends CODE
ends() {
    local code=0
    wait "$pid" || code=$?
    [ "$code" -eq "$1" ] || fail "exit code $code, not $1: $(tail -5 "$work/log")"
}

# hold THREAD…: as a debugger does, until release
hold() {
    rm -f "$work/held" "$work/release"
    mkfifo "$work/release"
    "$HOLD" "$@" >"$work/held" <"$work/release" &
    exec 8>"$work/release"
    until grep -q held "$work/held"; do sleep 0.02; done
}
release() {
    exec 8>&-
}

# stopped, and on again: the same bits as an undisturbed run
begin
kill -STOP "${pid_of[1]}"
says "no progress for [1-3].[0-9] seconds: all wait for rank 1 of 2 on $host in step [0-9]*, [a-z ]*: [a-z ]*; it is stopped, by SIGSTOP"
kill -CONT "${pid_of[1]}"
says "the run goes on after [0-9.]* [sm]"
[ "$(grep -c 'no progress' "$work/log")" -eq 1 ] || fail "said twice: $(cat "$work/log")"
kill -USR1 "$pid"
ends 3
[ ! -e "$run/.tandem-stall" ] || fail "files are left: $(ls "$run/.tandem-stall")"
steps=$(sed 's/step-0*//' "$run/checkpoints/latest")
ranks 2 train "${settings[@]}" --out "$work/undisturbed" --set train.steps="$steps" 2>"$work/whole.log" ||
    fail "$(cat "$work/whole.log")"
same_weights "$run" "$work/undisturbed"
echo "stopped for a while: the same weights at step $steps; $(grep 'no progress' "$work/log")"

# all are suspended for longer than it takes; a debugger holds a rank; a rank's loader hangs, while its other threads
# live: no end
settings+=(--set train.stall_end=true)
begin
kill -STOP "${pid_of[@]}"
sleep 2.5
kill -CONT "${pid_of[@]}"
# shellcheck disable=SC2046 # numbers
hold $(ls "/proc/${pid_of[1]}/task")
says "all wait for rank 1 of 2 on $host in step .*; it is under a debugger. It waits: a debugger looks at a rank"
release
says "the run goes on"
mapfile -t threads < <(grep -Lx tandem-watch "/proc/${pid_of[1]}"/task/*/comm | cut -d / -f 5 | sort -n)
hold "${threads[@]: -3}" # the loader's are the last that were made
says "all wait for rank 1 of 2 on $host, which is at work in step [0-9]*, reading data$"
release
says "slow: all waited for rank 1 on $host, [1-9][0-9.]* s of [0-9.]* s, for its data"
python3 - "$run/metrics.jsonl" "$host" <<'END' || fail "slow_rank: $(tail -3 "$run/metrics.jsonl")"
import json, sys
rows = map(json.loads, open(sys.argv[1]))
slow = max((row["slow_rank"] for row in rows if "slow_rank" in row), key=lambda slow: slow["wait_data_s"])
sys.exit(not (slow["rank"] == 1 and slow["host"] == sys.argv[2] and slow["wait_data_s"] > 1 and slow["share"] > 0.5))
END
[ ! -e "$run/stalled.txt" ] || fail "ended: $(cat "$run/stalled.txt")"
! grep -q 'does not answer\|do not answer\|is stopped' "$work/log" || fail "suspended is not silent: $(grep 'no progress' "$work/log")"
echo "not ended: $(grep 'at work' "$work/log")"

# the lowest rank that answers speaks, and ends the job
kill -STOP "${pid_of[0]}"
says "all wait for rank 0 of 2 on $host in step .* The job ends with exit code 4 (train.stall_end)"
ends 4
last=$work/stalled.txt
cp "$run/stalled.txt" "$last"
grep -q "all wait for rank 0 of 2" "$last" || fail "no reason: $(cat "$run/stalled.txt")"
begin
for file in stalled.txt .tandem-stall; do
    [ ! -e "$run/$file" ] || fail "the next start leaves $file"
done
kill -USR1 "$pid"
ends 3
echo "ended with 4: $(head -1 "$last")"
