#!/usr/bin/env bash
# Installs what is missing, builds without warnings, runs every test, and the unit tests again under
# AddressSanitizer and UndefinedBehaviorSanitizer. Needs no network when the packages are there.
set -euo pipefail
cd "$(dirname "$0")"
jobs=$(nproc)

scripts/install.sh build check

echo "== layout of the sources"
if command -v clang-format-14 >/dev/null; then
    git ls-files '*.c' '*.h' | xargs clang-format-14 --dry-run -Werror
fi
git ls-files '*.sh' .ci/run cluster | while read -r file; do
    case $(head -c 32 "$file") in '#!'*sh*) echo "$file" ;; esac
done | xargs shellcheck

echo "== build"
cmake -S . -B build -DTANDEM_WERROR=ON >build-configure.log 2>&1 || { cat build-configure.log; exit 1; }
rm -f build-configure.log
cmake --build build -j "$jobs" -- --quiet

echo "== build with sanitizers"
cmake -S . -B build-sanitize -DTANDEM_WERROR=ON -DTANDEM_ASAN=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
cmake --build build-sanitize -j "$jobs" -- --quiet

echo "== unit tests with sanitizers"
ctest --test-dir build-sanitize -L unit -LE unsanitized -j "$jobs" --output-on-failure

echo "== all tests"
ctest --test-dir build -j "$jobs" --output-on-failure
