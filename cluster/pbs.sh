#!/bin/bash
# Tandem under PBS Professional or OpenPBS: a checkpoint before the wall time ends, and the next job until the run is complete,
# as long as it gets on.
#
#   CONFIG=conf/quickstart.cfg RUN=runs/quickstart qsub -v CONFIG,RUN cluster/pbs.sh
#   CONFIG=my.cfg RUN=runs/mine SET="train.batch=512 optim.lr=1e-4" qsub -v CONFIG,RUN,SET -q long -l walltime=24:00:00 cluster/pbs.sh
#
# Only names after -v: the values may hold commas. The next job gets this one's queue, chunks, wall time, account, project, name
# and priority; QSUB_OPTIONS in the environment adds to them. LEAD: minutes before the wall time at which the run stops (10).
#
#PBS -N tandem
#PBS -l select=2:ncpus=32:mpiprocs=2:ompthreads=16
#PBS -l walltime=12:00:00
#PBS -j oe
#PBS -r y
set -uo pipefail
cd "${PBS_O_WORKDIR:?run this with qsub}" || exit 1

usage='usage: CONFIG=FILE RUN=DIR [SET="group.key=value ..."] qsub -v CONFIG,RUN,SET cluster/pbs.sh'
config=${CONFIG:?$usage}
run=${RUN:?$usage}
settings=()
for assignment in ${SET:-}; do settings+=(--set "$assignment"); done

script=pbs.sh
for folder in "${TANDEM_HOME:-/nonexistent}/cluster" "$PBS_O_WORKDIR/cluster" "$(dirname "$0")"; do
    [ ! -e "$folder/common.sh" ] || break
done
# shellcheck source=cluster/common.sh
. "$folder/common.sh" || { echo "cluster/common.sh is not found: set TANDEM_HOME to the folder that holds cluster/" >&2 && exit 2; }
need_tandem

# PBS sends SIGTERM only seconds before SIGKILL: Tandem itself stops in time.
job=$(qstat -f "$PBS_JOBID") # long lines go on behind a tab
job=${job//$'\n\t'/}
of_job() { sed -n "s/^ *$1 = //p" <<<"$job" | head -1; }
seconds=$(seconds_of "$(of_job Resource_List.walltime)")
if [ -n "$seconds" ]; then
    minutes=$((seconds / 60 - ${LEAD:-10}))
    if [ "$minutes" -lt 1 ]; then
        tell "the wall time is $seconds s, and the run would stop ${LEAD:-10} minutes before its end, at once. Give more walltime, or a" \
            "smaller LEAD: LEAD=2 qsub -v CONFIG,RUN,LEAD ..."
        exit 2
    fi
    settings+=(--set "train.time_limit_minutes=$minutes")
fi

# As many ranks on a host as the chunks have mpiprocs
per_host=$(sort "$PBS_NODEFILE" | uniq -c | awk '{ print $1 }' | sort -u)
if [ "$(wc -w <<<"$per_host")" -eq 1 ]; then
    place_ranks=(--map-by "ppr:$per_host:node:PE=${OMP_NUM_THREADS:-1}")
else
    place_ranks=(--map-by slot --bind-to none)
fi

# A job after the first one may find the lock of a former one, on a host that was lost.
steal=()
if [ -n "${FIRST_JOB:-}" ] || [ "$(of_job run_count)" -gt 1 ] 2>/dev/null; then steal=(--steal-lock); fi

begin_try "$run"
launch mpirun --hostfile "$PBS_NODEFILE" "${place_ranks[@]}" -x OMP_NUM_THREADS -x PATH -x LD_LIBRARY_PATH \
    tandem train --config "$config" --out "$run" --resume auto "${steal[@]}" \
        --set train.stall_end=true "${settings[@]}"
end_try "$run" $? "${FIRST_JOB:=$PBS_JOBID}"
[ -n "$again" ] || exit "$code"

# The next job's script is this one with its variables in front, so that nothing of them has to pass through qsub.
options=()
option() { # FLAG NAME [PREFIX]
    local value
    value=$(of_job "$2")
    [ -z "$value" ] || options+=("$1" "${3:-}$value")
}
option -q queue
option -A Account_Name
option -P project
option -N Job_Name
option -p Priority
option -j Join_Path
option -l Resource_List.select select=
[ -n "$(of_job Resource_List.select)" ] || option -l Resource_List.nodes nodes= # Torque
option -l Resource_List.place place=
option -l Resource_List.walltime walltime=
{
    echo '#!/bin/bash'
    TANDEM_HOME=$(cd "$folder/.." && pwd)
    for name in CONFIG RUN SET LEAD MOST_IDLE QSUB_OPTIONS FIRST_JOB TANDEM_HOME PATH LD_LIBRARY_PATH; do
        [ -z "${!name+set}" ] || echo "export $name=${!name@Q}"
    done
    sed -n '/^set -uo pipefail$/,$p' "$0"
} >"$run/next.pbs"
# shellcheck disable=SC2086 # words
qsub "${options[@]}" ${QSUB_OPTIONS:-} "$run/next.pbs" || tell "cannot submit the next job: qsub $run/next.pbs"
exit "$code"
