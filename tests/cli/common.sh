# shellcheck shell=bash
# Shared by the command-line tests: a scratch directory and checks of exit code, stdout and stderr.
set -euo pipefail
: "${TANDEM:?path of the tandem binary}"
: "${TANDEM_SOURCE_DIR:?path of the repository}"
: "${MPIEXEC:=mpirun}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# run WANTED_CODE ARG…: runs tandem; leaves $work/out and $work/err; fails on another exit code
run() {
    local want=$1 code=0
    shift
    timeout 60 "$TANDEM" "$@" >"$work/out" 2>"$work/err" || code=$?
    [ "$code" -eq "$want" ] || fail "tandem $*: exit code $code, not $want: $(cat "$work/err")"
}

# refuse WANTED_CODE PATTERN ARG…: must fail with exactly one line on stderr, matching, and nothing on stdout
refuse() {
    local want=$1 pattern=$2
    shift 2
    run "$want" "$@"
    [ "$(wc -l <"$work/err")" -eq 1 ] || fail "tandem $*: not one line: $(cat "$work/err")"
    grep -qE -- "^tandem: .*$pattern" "$work/err" || fail "tandem $*: no /$pattern/ in: $(cat "$work/err")"
    [ ! -s "$work/out" ] || fail "tandem $*: wrote to standard output: $(head -3 "$work/out")"
}

# has FILE PATTERN
has() {
    grep -qE -- "$2" "$1" || fail "no /$2/ in: $(cat "$1")"
}
