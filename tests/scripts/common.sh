# shellcheck shell=bash
# Shared by the tests of scripts: a scratch directory that is a small clone, and checks of exit code and output.
set -euo pipefail
: "${TANDEM_SOURCE_DIR:?path of the repository}"
unset CC CFLAGS MAKEFLAGS CMAKE_GENERATOR CMAKE_BUILD_TYPE RANKS

work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
clone=$work/clone
mkdir -p "$clone" "$work/bin"
cp -r "$TANDEM_SOURCE_DIR/scripts" "$clone/"

fail_test() {
    echo "FAILED: $*" >&2
    exit 1
}

# run WANTED_CODE COMMAND…: stdout and stderr together in $work/out
run() {
    local want=$1 code=0
    shift
    "$@" >"$work/out" 2>&1 </dev/null || code=$?
    [ "$code" -eq "$want" ] || fail_test "$*: exit code $code, not $want: $(cat "$work/out")"
}

# says PATTERN; silent PATTERN: about the last run
says() {
    grep -qE -- "$1" "$work/out" || fail_test "no /$1/ in: $(cat "$work/out")"
}
silent() {
    ! grep -E -- "$1" "$work/out" || fail_test "there is /$1/ in: $(cat "$work/out")"
}

# stub PATH: an executable from stdin
stub() {
    mkdir -p "$(dirname "$1")"
    {
        printf '#!/bin/bash\n'
        cat
    } >"$1"
    chmod +x "$1"
}
