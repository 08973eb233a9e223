#!/usr/bin/env bash
# Installs what is missing, builds without warnings, runs every test, the unit tests and the fuzz corpora again under
# AddressSanitizer and UndefinedBehaviorSanitizer, and what computes once more on AVX2. Needs no network when the
# packages are there.
set -euo pipefail
cd "$(dirname "$0")"
jobs=$(nproc)

scripts/install.sh build check

echo "== layout of the sources"
if command -v clang-format-14 >/dev/null; then
    find bench data_prep examples include src tests \( -name '*.c' -o -name '*.h' \) -print0 |
        xargs -0 clang-format-14 --dry-run -Werror
else
    echo "no clang-format-14: not checked"
fi
find . \( -path './build*' -o -path ./runs -o -path ./demo -o -path ./.git \) -prune -o -type f -print0 |
    xargs -0 grep -lE --null '^#!.*[ /](ba)?sh$' | xargs -0 shellcheck

# build DIR OPTION…
build() {
    local dir=$1
    shift
    cmake -S . -B "$dir" -DTANDEM_TESTS=ON -DTANDEM_WERROR=ON "$@" >"$dir.log" 2>&1 || {
        cat "$dir.log"
        exit 1
    }
    rm -f "$dir.log"
    cmake --build "$dir" -j "$jobs" -- --quiet
}

echo "== build"
build build
cmake --build build -j "$jobs" --target benchmarks -- --quiet
echo "== build with sanitizers"
build build-sanitize -DTANDEM_ASAN=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo

echo "== unit tests and fuzz corpora with sanitizers"
ctest --test-dir build-sanitize -L 'unit|fuzz' -LE unsanitized -j "$jobs" \
    --no-tests=error --output-on-failure

if [ "$(uname -m)" = x86_64 ]; then
    echo "== computing tests as on a CPU without AVX-512"
    TANDEM_ISA=avx2 ctest --test-dir build \
        -R 'test_(clip_golden|resnet|gradients|heads|dense_tokens|losses|objectives|optim|trainer|scores|metrics|embed)' \
        -E '_(generic|avx2|avx512)$' -j "$jobs" --no-tests=error --output-on-failure
fi

echo "== all tests"
ctest --test-dir build -j "$jobs" --no-tests=error --output-on-failure
