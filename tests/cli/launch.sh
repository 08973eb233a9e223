#!/usr/bin/env bash
# Launchers that MPI does not understand: an error on every task that says what to check. Shells and scripts inside an
# allocation, and a single task, work. What a run is made of, without one: tandem info --system; ranks that differ.
. "$(dirname "$0")/common.sh"

# under "NAME=VALUE…" COMMAND…: the command with these variables
under() {
    local variables=$1
    shift
    # shellcheck disable=SC2086 # several words
    env $variables "$@"
}
# every_task PATTERN CODE TASK…: what may run on several ranks is refused under the variables of each task
every_task() {
    local pattern=$1 variables code
    shift
    for variables in "$@"; do
        for command in "train --out $work/none" "pack --out $work/none" "search red"; do
            read -ra words <<<"$command"
            code=0
            under "$variables" timeout 60 "$TANDEM" "${words[@]}" >"$work/out" 2>"$work/err" || code=$?
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
for command in info import export tokenize tokenizer; do
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

# what a run here is made of, alone and on two ranks
run 0 info --system "$work" "$work/absent" --json "$work/one.json"
has "$work/out" '^runs_on +1 node x 1 rank x 1 thread, '
has "$work/out" '^launcher +none$'
has "$work/out" ' threads +not started$'
[ ! -s "$work/err" ] || fail "a warning about one rank: $(cat "$work/err")"
code=0
under "SLURM_STEP_NUM_TASKS=3 SLURM_PROCID=1" "$TANDEM" info --system 2>"$work/err" || code=$?
[ "$code" -eq 1 ] || fail "info --system in a step of 3: exit code $code: $(cat "$work/err")"
has "$work/err" 'MPI sees only this one'
cat >"$work/rank" <<'EOF'
#!/bin/sh
# the second rank has narrower instructions
[ "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}" = 0 ] || export TANDEM_ISA=generic
exec "$@"
EOF
chmod +x "$work/rank"
timeout 60 "$MPIEXEC" --oversubscribe -n 2 "$work/rank" "$TANDEM" info --system "$work" --json "$work/two.json" \
    >"$work/out" 2>"$work/err" || fail "info --system on two ranks: $(cat "$work/err")"
has "$work/out" '^runs_on +1 node x 2 ranks x 1 thread, '
python3 - "$work" "$(cat "$work/err")" <<'EOF' || fail "info --system: $(cat "$work/err")"
import json, os, re, sys
work, err = sys.argv[1:]
one, two = (json.load(open(f"{work}/{name}.json")) for name in ("one", "two"))
for said, ranks in (one, 1), (two, 2):
    (host,) = said["hosts"]
    assert host["host"] == os.uname().nodename and host["cores"]["ranks"] == host["cores"]["threads"] == ranks
    assert 1 <= host["cores"]["allowed"] <= host["cores"]["online"] and host["cpu"]["model"]
    assert 0 < host["memory"]["available_mib"] <= host["memory"]["total_mib"]
    assert said["file_systems"][0]["directory"] == work and said["file_systems"][0]["hard_links"] == "work"
assert one["file_systems"][1]["type"] == "missing" and one["warnings"] == []
assert two["hosts"][0]["mpi"]["threads"] in ("multiple", "serialized", "funneled")
isa = one["hosts"][0]["cpu"]["used"]
if isa != "generic":
    host = re.escape(os.uname().nodename)
    pattern = rf"the ranks use different instruction sets: {isa.split('+')[0]}\S* on {host} \(rank 0\); generic on {host} \(rank 1\)\. .*TANDEM_ISA=generic on every rank"
    assert any(re.match(pattern, line) for line in two["warnings"]), two["warnings"]
    assert re.search("^tandem: warning: " + pattern, err, re.M), err
# a copy of the program with another build id
build = re.search("build ([0-9a-f]{16})", one["tandem"]).group(1)
data = open(os.environ["TANDEM"], "rb").read()
assert data.count(bytes.fromhex(build)) == 1
open(f"{work}/other", "wb").write(data.replace(bytes.fromhex(build), bytes.fromhex(build)[::-1]))
EOF
chmod +x "$work/other"
for mixed in 0 1; do
    code=0
    TANDEM_MIXED_BUILDS=$mixed timeout 60 "$MPIEXEC" --oversubscribe -n 1 "$TANDEM" info --system : -n 1 "$work/other" info --system \
        >"$work/out" 2>"$work/err" || code=$?
    [ $code -eq $((1 - mixed)) ] || fail "two builds, TANDEM_MIXED_BUILDS=$mixed: exit code $code: $(cat "$work/err")"
    has "$work/err" '^tandem: .*the ranks run different builds of tandem: [0-9.]+ [0-9a-f]{16} on .* \(rank 0\); [0-9.]+ [0-9a-f]{16} on .* \(rank 1\)'
done
