#!/bin/sh
# tests/fuzz/run.sh TARGET [SECONDS] [libFuzzer options]: builds fuzz_TARGET.c with clang's libFuzzer, AddressSanitizer
# and UndefinedBehaviorSanitizer and runs it (60 s by default). Build and findings are in $TANDEM_FUZZ_DIR/TARGET.
set -eu
target=${1:?usage: run.sh TARGET [SECONDS] [libFuzzer options]}
seconds=${2:-60}
if [ $# -gt 1 ]; then shift 2; else shift 1; fi
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
build=${TANDEM_FUZZ_DIR:-${TMPDIR:-/tmp}/tandem-fuzz}/$target
case $target in
image) seeds=$root/tests/golden/images ;;
*) seeds=$here/corpus/$target ;;
esac
mkdir -p "$build/corpus"

clang="$(command -v ccache || true) clang"
hdf5=hdf5-serial
pkg-config --exists $hdf5 || hdf5=hdf5
cflags="-std=c11 -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -w
  -D_GNU_SOURCE -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION -I$root/include -isystem /usr/include/stb
  $(pkg-config --cflags $hdf5)"
objects=""
for folder in base data; do
  for source in "$root/src/$folder"/*.c; do
    object=$build/$folder-$(basename "$source" .c).o
    wrap=""
    [ "$(basename "$source")" = image_stb.c ] && wrap=-fwrapv
    # shellcheck disable=SC2086 # lists of options
    $clang $cflags -DTANDEM_CONF_DIR="\"$root/conf\"" -fsanitize=fuzzer-no-link $wrap -c "$source" -o "$object"
    objects="$objects $object"
  done
done
# shellcheck disable=SC2046,SC2086
$clang $cflags -fsanitize=fuzzer "$here/fuzz_$target.c" $objects -o "$build/fuzz_$target" -lpthread -lm \
  $(pkg-config --libs $hdf5 libwebp libutf8proc libpcre2-8 libconfig jansson zlib libcrypto)
cd "$build"
export LSAN_OPTIONS="suppressions=$here/lsan.supp:print_suppressions=0"
exec "./fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 "$@" \
  corpus "$seeds"
