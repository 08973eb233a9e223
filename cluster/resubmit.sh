#!/bin/bash
# Without a batch system: starts the run again for as long as it stops on request (exit code 3) or because a rank did not answer
# (4), each time from its newest checkpoint, as long as it gets on.
#
#   RANKS=2 cluster/resubmit.sh conf/quickstart.cfg runs/quickstart [group.key=value]…
#   HOSTS=cluster/hosts.example cluster/resubmit.sh my.cfg runs/mine
#
# To end it: `touch RUN_DIR/stop`, Ctrl-C, or SIGTERM to this script, which mpirun itself does not survive with exit code 3. The
# run writes a checkpoint first; a second Ctrl-C ends it at once. Environment: RANKS (default 2, with HOSTS all slots), HOSTS (a
# host file), MPIRUN_OPTIONS (words, such as "--map-by ppr:2:node:PE=16 -x OMP_NUM_THREADS"), PAUSE (seconds before the next
# start, 5; twice as long after each try without a newer checkpoint), MOST_IDLE (so many of those in a row, 3).
set -uo pipefail
usage="usage: resubmit.sh CONFIG RUN_DIR [group.key=value]..."
config=${1:?$usage}
run=${2:?$usage}
shift 2
settings=()
for assignment in "$@"; do settings+=(--set "$assignment"); done
# shellcheck source=cluster/common.sh
. "$(dirname "$0")/common.sh" || exit 2
need_tandem

ranks=()
[ -z "${HOSTS:-}" ] || ranks=(--hostfile "$HOSTS")
[ -n "${HOSTS:-}" ] && [ -z "${RANKS:-}" ] || ranks+=(-n "${RANKS:-2}")

# Open MPI's mpirun kills its ranks two seconds after a SIGTERM or SIGINT, but passes SIGUSR1 on to them.
signals=0 pid=
on_signal() {
    signals=$((signals + 1))
    [ -z "$pid" ] || kill "$([ "$signals" -gt 1 ] && echo -TERM || echo -USR1)" "$pid" 2>/dev/null
}
trap on_signal TERM INT HUP USR1

# attend PID: passes a request to stop on to mpirun. One whose ranks the watchdog has ended may still wait for the daemon of a
# host that is lost, for a quarter of an hour: it gets half a minute.
attend() {
    while true; do
        sleep 1
        if [ -e "$run/stop" ]; then
            kill -USR1 "$1"
            break
        elif [ "$(note_of "$run")" != "$stalled" ]; then
            sleep 30
            pkill -KILL -P "$1" # the ssh to that host, which would keep the log open
            kill -KILL "$1"
            break
        fi
    done
}

# A group of its own, so that a terminal's Ctrl-C does not reach it
start_ranks() {
    local code=0 got seen watch
    mkfifo "$said.pipe"
    tee "$said" <"$said.pipe" >&2 &
    set -m
    "$@" 2>"$said.pipe" </dev/null &
    pid=$!
    set +m
    attend "$pid" 2>/dev/null &
    watch=$!
    while true; do # a signal ends `wait`
        seen=$signals
        wait "$pid"
        got=$?
        [ "$got" -eq 127 ] && [ "$code" -ne 0 ] || code=$got
        [ "$signals" -ne "$seen" ] || break
    done
    pid=
    kill "$watch" 2>/dev/null
    wait
    rm -f "$said.pipe"
    return "$code"
}

rm -f "$run/stop"
pause=${PAUSE:-5}
while true; do
    begin_try "$run"
    # shellcheck disable=SC2086 # words
    start_ranks mpirun "${ranks[@]}" ${MPIRUN_OPTIONS:-} tandem train --config "$config" --out "$run" --resume auto \
        --set train.stall_end=true "${settings[@]}"
    end_try "$run" $? "resubmit-$$"
    rm -f "$said"
    [ -n "$again" ] || exit "$code"
    [ ! -e "$run/stop" ] || signals=1
    [ "$moved" = idle ] && pause=$((pause * 2)) || pause=${PAUSE:-5}
    [ "$pause" -le 600 ] || pause=600
    for ((i = 0; i < pause && !signals; i++)); do
        sleep 1
        [ ! -e "$run/stop" ] || signals=1
    done
    if [ "$signals" -gt 0 ]; then
        rm -f "$run/stop"
        tell "ended on request; the same call goes on"
        exit "$code"
    fi
done
