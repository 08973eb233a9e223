# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is for the scripts
# Shared by the scripts of this folder: what to make of the end of a try, and whether to start again. RUN/restarts.txt gets a
# line for each try: when, exit code, "moved" or "idle" (no newer checkpoint), where the run is, and the job.

# Open MPI's daemons notice a cut link within half a minute, not after eight; other launchers do not look at these.
export OMPI_MCA_oob_tcp_keepalive_time=10 OMPI_MCA_oob_tcp_keepalive_intvl=5 OMPI_MCA_oob_tcp_keepalive_probes=3

tell() { echo "$(basename "${script:-$0}"): $*" >&2; }

# place_of DIR: where a run, or the runs of a study, are: a word that changes with each checkpoint and each finished run
place_of() {
    if [ -e "$1/checkpoints/latest" ]; then
        head -1 "$1/checkpoints/latest"
    elif [ -d "$1/runs" ]; then
        echo "study-$(cat "$1"/runs/*/*/checkpoints/latest "$1"/runs/*/*/study-run.json 2>/dev/null | cksum | cut -d' ' -f1)"
    else
        echo nothing
    fi
}

# begin_try DIR: before the launcher is started. What it says on stderr has to come into $said as well.
begin_try() {
    mkdir -p "$1" && said=$(mktemp) || exit 1
    trap 'rm -f "$said"*' EXIT
    place=$(place_of "$1")
    stalled=$(note_of "$1")
}

# The note that a job leaves which its watchdog ended (docs/cluster.md), as it is told from another one. No clocks: hosts differ.
note_of() { stat -c '%i %Y %s' "$1/stalled.txt" 2>/dev/null || echo none; }

says() { grep -qiE "$1" "$said"; }

# launch COMMAND…: runs it; what it says on stderr comes into $said as well. Returns its exit code.
launch() {
    { "$@" 2>&1 >&3 3>&- | tee "$said" >&2; } 3>&1
    return "${PIPESTATUS[0]}"
}

# Of the tries of a job, by DIR/restarts.txt: the last exit code, and how many at the end were idle.
last_code() { awk -v job="$2" '$6 == job { code = $3 } END { print code }' "$1/restarts.txt" 2>/dev/null; }
idle_in_row() { awk -v job="$2" '$6 == job { n = $4 == "idle" ? n + 1 : 0 } END { print n + 0 }' "$1/restarts.txt"; }

# What the code means where several ranks end in several ways. srun returns the highest code of its tasks, of which those that
# it ended itself hide the first; it names each. A watchdog that ends a job leaves a note.
settle_code() {
    local run=$1 code=$2 first
    first=$(grep -m1 -oE '^srun: error: .*tasks? [^:]*: (Exited with exit code [0-9]+|Killed|Out Of Memory|User defined signal 1)' "$said")
    if [ "$code" -eq 0 ] || [ "$code" -eq 3 ]; then
        :
    elif [ -e "$run/stalled.txt" ] && [ "$(note_of "$run")" != "$stalled" ]; then
        code=4
    elif says 'execve\(\).*tandem|tandem: (command )?not found|find the specified executable'; then
        code=127
    elif [[ $first == *Killed || $first == *Memory ]] || says 'oom.?kill|cgroup out-of-memory'; then
        code=137
    elif [[ $first == *signal* ]]; then
        code=138
    elif [ -n "$first" ]; then
        code=${first##* }
    fi
    echo "$code"
}

# end_try DIR CODE JOB: JOB is one word, the same for all tries. Says how the try ended, and sets $code, $moved ("moved" or "idle")
# and $again ("yes" or "").
end_try() {
    local run=$1 job=$3 now idle before
    moved=idle
    code=$(settle_code "$run" "$2")
    now=$(place_of "$run")
    [ "$now" = "$place" ] || moved=moved
    before=$(last_code "$run" "$job")
    echo "$(date '+%F %T') $code $moved $now $job" >>"$run/restarts.txt"
    idle=$(idle_in_row "$run" "$job")
    again=
    case $code in
    0) tell "complete: $run" ;;
    3 | 138) # 138: SIGUSR1 before the program could take it
        if [ "$moved" = moved ]; then
            again=yes
            tell "stopped on request at $now"
        elif [ "$idle" -lt "${MOST_IDLE:-3}" ]; then
            again=yes
            tell "stopped on request before there was a newer checkpoint than $now, $idle of at most ${MOST_IDLE:-3} times in a row"
        else
            tell "stopped on request without a newer checkpoint than $now again and again: not started again. Is the time limit" \
                "too short for the start, or the signal too early?"
        fi
        ;;
    4)
        tell "a rank did not answer: $(head -1 "$run/stalled.txt" 2>/dev/null || echo see the log)"
        if [ "$moved" = moved ]; then again=yes; else tell "no newer checkpoint than $now since the start: not started again"; fi
        ;;
    137)
        tell "a rank was killed (137), most likely because memory ran out. Less memory is needed with a smaller train.chunk," \
            "train.recompute = \"block\", optim.shard = true, or more nodes; \`tandem train --dry-run\` says how much"
        if [ "$before" != 137 ]; then again=yes; else tell "the second time in a row: not started again"; fi
        ;;
    127)
        tell "tandem is not in the PATH of every host (here it is $(command -v tandem || echo nowhere)): say where it is, such as" \
            "export PATH=/where/bin:\$PATH"
        ;;
    *) tell "failed with exit code $code, see the log; not started again" ;;
    esac
}

# The program here, before a launch fails in many lines.
need_tandem() {
    command -v tandem >/dev/null && return
    tell "tandem is not in PATH: say where it is, such as export PATH=/where/bin:\$PATH"
    exit 127
}

# --- Slurm ---

# array_task [group.key=value]…: sets $task, by which Slurm knows this task alone (the job's number would mean the whole array),
# $settings, and %a in $run and in them.
array_task() {
    local assignment
    task=$SLURM_JOB_ID settings=()
    if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
        task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
        [[ $run == *%a* ]] || [ -n "${one_run:-}" ] || run=$run/%a
        run=${run//%a/$SLURM_ARRAY_TASK_ID}
    fi
    for assignment in "$@"; do settings+=(--set "${assignment//%a/${SLURM_ARRAY_TASK_ID:-%a}}"); done
}

# [DAYS-]HOURS:MINUTES:SECONDS in seconds; nothing when there is no such limit
seconds_of() {
    [[ $1 =~ ^(([0-9]+)-)?([0-9]+):([0-9]+):([0-9]+)$ ]] || return 0
    echo $((10#${BASH_REMATCH[2]:-0} * 86400 + 10#${BASH_REMATCH[3]} * 3600 + 10#${BASH_REMATCH[4]} * 60 + 10#${BASH_REMATCH[5]}))
}

# check_limit SCRIPT: a job whose signal comes as early as it starts would stop and start again for ever.
check_limit() {
    local limit signal
    limit=$(seconds_of "$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/.*TimeLimit=\([^ ]*\).*/\1/p' | head -1)")
    signal=${SBATCH_SIGNAL:-$(sed -n 's/^#SBATCH --signal=//p' "$1" | tail -1)}
    [[ $signal =~ @([0-9]+)$ ]] || return 0
    if [ -n "$limit" ] && [ "$limit" -le "${BASH_REMATCH[1]}" ]; then
        tell "the time limit is $limit s, but the signal to stop comes ${BASH_REMATCH[1]} s before it: the run would stop as soon as it" \
            "starts, and start again for ever. Give a longer --time, or a later signal: SBATCH_SIGNAL=USR1@$((limit / 3)) sbatch ..."
        exit 2
    fi
}
