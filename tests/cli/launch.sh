#!/usr/bin/env bash
# Launchers that MPI does not understand: an error on every task that says what to check. Shells and scripts inside an
# allocation, and a single task, work.
. "$(dirname "$0")/common.sh"

# under "NAME=VALUE…" COMMAND…: the command with these variables
under() {
    local variables=$1
    shift
    # shellcheck disable=SC2086 # several words
    env $variables "$@"
}
# every_task PATTERN CODE TASK…: `train` and `info` are refused under the variables of each task
every_task() {
    local pattern=$1 variables code
    shift
    for variables in "$@"; do
        for command in train pack; do
            code=0
            under "$variables" timeout 60 "$TANDEM" "$command" --out "$work/none" >"$work/out" 2>"$work/err" || code=$?
            [ "$code" -eq 1 ] || fail "$variables: $command: exit code $code: $(cat "$work/err")"
            [ "$(grep -c "^tandem: the launcher started several tasks ($pattern), but MPI sees only this one" "$work/err")" -eq 1 ] ||
                fail "$variables: $command: $(cat "$work/err")"
            [ ! -s "$work/out" ] || fail "$variables: $command wrote to standard output"
        done
    done
}
every_task 'SLURM_STEP_NUM_TASKS=3' "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=3 SLURM_PROCID=0" \
    "SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=3 SLURM_PROCID=2"
every_task 'PMI_SIZE=2' "PMI_SIZE=2 PMI_RANK=0" "PMI_SIZE=2 PMI_RANK=1"
every_task 'PALS_RANKID=1' PALS_RANKID=1
[ ! -e "$work/none" ] || fail "a refused task wrote"

# what runs on one rank
for command in info search import export tokenize tokenizer; do
    code=0
    under "SLURM_STEP_NUM_TASKS=3 SLURM_PROCID=1" "$TANDEM" "$command" x 2>"$work/err" || code=$?
    [ "$code" -eq 2 ] || fail "$command in a step of 3: exit code $code: $(cat "$work/err")"
    has "$work/err" "^tandem: tandem $command runs on one rank, not on 3 \(SLURM_STEP_NUM_TASKS=3\)"
done

# Within an allocation: a batch script, srun -n 1, a shell of srun --pty, mpirun -n 1 and -n 2. The command fails later, at
# a file that is not there.
works() {
    local code=0
    under "$1" timeout 60 "${@:2}" >"$work/out" 2>"$work/err" || code=$?
    [ "$code" -eq 1 ] || fail "$1: exit code $code: $(cat "$work/err")"
    has "$work/err" 'absent'
}
for command in "info $work/absent" "train --config $work/absent --out $work/none"; do
    read -ra words <<<"$command"
    works "SLURM_JOB_ID=7 SLURM_NTASKS=8 SLURM_PROCID=0" "$TANDEM" "${words[@]}"
    works "SLURM_NTASKS=1 SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0" "$TANDEM" "${words[@]}"
    works "SLURM_STEP_NUM_TASKS=8 SLURM_PROCID=0 SLURM_PTY_PORT=40000" "$TANDEM" "${words[@]}"
    works "SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=3" "$MPIEXEC" -n 1 "$TANDEM" "${words[@]}"
done
works "SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=3" "$MPIEXEC" --oversubscribe -n 2 "$TANDEM" train --config "$work/absent" --out "$work/none"
