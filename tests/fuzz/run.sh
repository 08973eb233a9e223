#!/bin/sh
# tests/fuzz/run.sh TARGET [SECONDS] [libFuzzer options]: builds fuzz_TARGET with -DTANDEM_FUZZ=ON and runs it (60 s by
# default). Build, grown corpus and findings are in $TANDEM_FUZZ_DIR.
set -eu
target=${1:?usage: run.sh TARGET [SECONDS] [libFuzzer options]}
seconds=${2:-60}
if [ $# -gt 1 ]; then shift 2; else shift 1; fi
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
build=${TANDEM_FUZZ_DIR:-${TMPDIR:-/tmp}/tandem-fuzz}
if [ "$target" = image ]; then set -- "$@" "$root/tests/golden/images"; fi
mkdir -p "$build"
build=$(cd "$build" && pwd)
CC=clang "$root/scripts/build.sh" "$build/build" -DTANDEM_FUZZ=ON --target "fuzz_$target"
mkdir -p "$build/$target/corpus"
cd "$build/$target"
export LSAN_OPTIONS="suppressions=$root/tests/lsan.supp:print_suppressions=0"
exec "$build/build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 corpus \
  "$here/corpus/$target" "$@"
