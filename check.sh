#!/usr/bin/env bash
# Installs what is missing, builds without warnings, runs every test, the unit tests and the fuzz corpora again under
# AddressSanitizer and UndefinedBehaviorSanitizer, and what computes once more on AVX2. Needs no network when the
# packages are there.
#   ./check.sh                  the check
#   ./check.sh --browser        the same, and installs Chromium first; the tests in it are left out where there is none
#   ./check.sh --label REGEX    only the tests that have such a label: a part, for trying the script itself
# Neither the environment nor an earlier build changes what is checked. Builds lie in build-check/ and build-sanitize/.
set -euo pipefail
cd "$(CDPATH='' cd "$(dirname "$0")" && pwd -P)"
# shellcheck source=scripts/common.sh
source scripts/common.sh
own_environment

part=()
groups=(build check)
if [ "${1:-}" = --browser ]; then
    groups+=(browser)
    shift
fi
if [ "${1:-}" = --label ] && [ $# -eq 2 ]; then
    part=(-L "$2")
    echo "ONLY A PART OF THE CHECK: tests with a label like \"$2\""
elif [ $# -gt 0 ]; then
    fail "unknown argument: $* (--browser, --label REGEX)"
fi

# Is there room in memory, the machine's and what a container may take of it, and may programs run there?
memory_has_room() {
    local group=/sys/fs/cgroup probe code=0
    [ "$(df --output=avail -B1G /dev/shm | tail -1)" -ge 6 ] || return 1
    [ "$(awk '/^MemAvailable:/ { print int($2 / 2^20) }' /proc/meminfo)" -ge 10 ] || return 1
    if [ "$(cat $group/memory.max || echo max)" != max ]; then
        [ $((($(<$group/memory.max) - $(<$group/memory.current)) >> 30)) -ge 10 ] || return 1
    fi
    probe=$(mktemp /dev/shm/tandem-check.XXXXXX) || return 1
    printf '#!/bin/sh\n' >"$probe"
    chmod +x "$probe"
    "$probe" || code=1
    rm -f "$probe"
    return "$code"
}

# What tests leave behind when they are stopped goes with this directory; of earlier calls that were killed, the
# directories that nobody holds. What a test leaves behind when it passes is a fault.
# It lies in memory where there is room: tests write many small files, each of which waits for a disk otherwise.
places=("${TMPDIR:-/tmp}")
[ -n "${TMPDIR:-}" ] || places+=(/dev/shm)
for place in "${places[@]}"; do
    for left in "$place"/tandem-check.*; do
        if [ -O "$left" ] && flock --nonblock "$left" true; then rm -rf "$left"; fi
    done
done
if [ -z "${TMPDIR:-}" ] && memory_has_room 2>/dev/null; then TMPDIR=/dev/shm; fi
scratch=$(mktemp -d "${TMPDIR:-/tmp}/tandem-check.XXXXXX")
chmod 1777 "$scratch" # as /tmp: some tests give up the rights of root
exec 8<"$scratch"
flock 8
trap 'code=$?; rm -rf "$scratch"; say_where_it_ended "$code"' EXIT
export TMPDIR=$scratch

step "packages"
scripts/install.sh "${groups[@]}"

step "layout of the sources"
if command -v clang-format-14 >/dev/null; then
    find bench data_prep examples include src tests \( -name '*.c' -o -name '*.h' \) -print0 |
        xargs -0 -n 99 -P "$(cores)" clang-format-14 --dry-run -Werror
else
    echo "no clang-format-14: not checked"
fi
find . \( -path './build*' -o -path ./runs -o -path ./demo -o -path ./.git \) -prune -o -type f -print0 |
    xargs -0 grep -lE --null '^#!.*[ /](ba)?sh$' | xargs -0 -n 16 -P "$(cores)" shellcheck

# what both builds set; every option of CMakeLists.txt
options=(-DCMAKE_BUILD_TYPE=Check -DTANDEM_TESTS=ON -DTANDEM_WERROR=ON -DTANDEM_TSAN=OFF -DTANDEM_FUZZ=OFF -DBUILD_SHARED_LIBS=OFF)
step "build"
scripts/build.sh build-check "${options[@]}" -DTANDEM_ASAN=OFF --target all --target benchmarks
step "build with sanitizers"
scripts/build.sh build-sanitize "${options[@]}" -DTANDEM_ASAN=ON --target unit_tests

# tests DIR OPTION…: more than there are cores, since half of their time is launchers that start and end. The odd one of
# two cores is for a test of one process beside two that start ranks.
tests() {
    ctest --test-dir "$1" "${@:2}" "${part[@]}" -j "$((5 * $(cores) / 2))" --no-tests=error --output-on-failure
}

step "unit tests and fuzz corpora with sanitizers"
tests build-sanitize -L 'unit|fuzz' -LE unsanitized

if [ "$(uname -m)" = x86_64 ]; then
    step "computing tests as on a CPU without AVX-512"
    TANDEM_ISA=avx2 tests build-check \
        -R 'test_(clip_golden|resnet|gradients|heads|dense_tokens|losses|objectives|optim|trainer|scores|metrics|embed)' \
        -E '_(generic|avx2|avx512|4)$' # on one and on two ranks
fi

step "all tests"
tests build-check
grep -h '^SKIPPED: ' build-check/Testing/Temporary/LastTest.log || true # what this machine does not permit

step "what tests left behind"
left=$(find "$scratch" -mindepth 1 -maxdepth 1 ! -name 'ompi*' ! -name 'openmpi*' ! -name 'prte*' ! -name 'pmix*' -printf '%f ')
[ -z "$left" ] || fail "in the directory for temporary files: $left"
[ ${#part[@]} -eq 0 ] || printf '\nONLY A PART OF THE CHECK: tests with a label like "%s"\n' "${part[1]}"
