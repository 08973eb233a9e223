#!/usr/bin/env bash
# Configures and builds in one directory so that nothing that lay there before has a say.
#   scripts/build.sh DIR [-DNAME=VALUE…] [--target NAME]…
# A recipe is kept in the directory: where the sources are, compiler, versions, options. A directory without one (made by
# hand, or the last call was killed in it) or with another one, or whose cache was changed since, is emptied first; the
# reason is printed. A second call at the same time waits.
set -euo pipefail
cd "$(CDPATH='' cd "$(dirname "$0")/.." && pwd -P)"
# shellcheck source=scripts/common.sh
source scripts/common.sh

dir=${1:?usage: build.sh DIR [-DNAME=VALUE…] [--target NAME]…}
shift
options=(-G "Unix Makefiles" -DCMAKE_BUILD_TYPE=Release) # a later -D of the same name counts
targets=()
while [ $# -gt 0 ]; do
    case $1 in
    --target) targets+=(--target "${2:?name a target}") && shift 2 ;;
    *) options+=("$1") && shift ;;
    esac
done
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CMAKE_BUILD_PARALLEL_LEVEL DESTDIR VERBOSE # `make -n` would build nothing

recipe=$dir/.recipe
log=$dir/configure.log
cache_sum() { sha256sum <"$dir/CMakeCache.txt"; }

# One line each: what decides the result and is not looked at again by make. Libraries are found once and remembered, so
# their versions count.
write_recipe() {
    echo "sources: $PWD"
    echo "directory: $(cd "$dir" && pwd -P)"
    echo "cmake: $(command -v cmake) $(cmake --version | head -1)"
    echo "compiler: $(command -v "${CC:-cc}" || true) $("${CC:-cc}" --version 2>&1 | head -1 || true)"
    echo "options: ${options[*]}"
    env | LC_ALL=C sort | sed -nE 's/^((CC|C|CPP|LD)FLAGS|CC|CMAKE_\w+|PKG_CONFIG\w*|CPATH|\w*INCLUDE_PATH|LIBRARY_PATH|MPI_HOME|\w+_ROOT)=/environment, \1: /p'
    # shellcheck disable=SC2046 # words
    dpkg-query -W -f 'package: ${Package} ${Version} ${db:Status-Abbrev}\n' $(sed 's/#.*//' scripts/packages.txt) 2>&1 || true
}

why_not_as_it_is() {
    local changes was now
    if [ ! -e "$recipe" ]; then
        echo "it was not made by this script, or the last call was killed in it"
    elif [ ! -e "$dir/CMakeCache.txt" ]; then
        echo "the last configuration failed"
    elif [ "$(sed -n 's/^cache: //p' "$recipe")" != "$(cache_sum)" ]; then
        echo "it was configured by hand since"
    else
        changes=$(diff <(grep -v '^cache: ' "$recipe") <(write_recipe) || true)
        was=$(sed -n '/^< /{s///p;q}' <<<"$changes")
        now=$(sed -n '/^> /{s///p;q}' <<<"$changes")
        [ -z "$changes" ] || echo "it was made otherwise (${was:-nothing}), now: ${now:-nothing}"
    fi
}

writable . "$dir"
mkdir -p "$dir"
exec 9>"$dir/.lock"
flock --nonblock 9 || { echo "waiting: another call builds in $dir" && flock 9; }

if [ -e "$dir/CMakeCache.txt" ] || [ -e "$dir/CMakeFiles" ]; then
    reason=$(why_not_as_it_is)
    if [ -n "$reason" ]; then
        echo "$dir/ is built anew: $reason"
        find "$dir/" -mindepth 1 ! -path "$dir/.lock" -delete
    fi
fi

# The recipe is away while make works and comes back when it ends by itself or is interrupted: make then removes what is
# half-written. Only a killed one may leave a broken object that looks new.
write_recipe >"$recipe.new"
rm -f "$recipe"
if ! cmake -S . -B "$dir" "${options[@]}" >"$log" 2>&1; then
    cat "$log" >&2
    fail "cannot configure $dir/, see above; scripts/install.sh build installs what it needs"
fi
keep_recipe() {
    echo "cache: $(cache_sum)" >>"$recipe.new"
    mv "$recipe.new" "$recipe"
}
trap keep_recipe EXIT
cmake --build "$dir" -j "$(cores)" "${targets[@]}" -- --quiet || fail "cannot build $dir/, see above"
