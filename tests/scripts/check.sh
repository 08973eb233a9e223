#!/usr/bin/env bash
# check.sh on a stand-in project: it cannot pass without testing, whatever the environment and earlier builds say, and it
# leaves nothing in the directory for temporary files.
source "$(dirname "$0")/common.sh"
cd "$clone"
cp "$TANDEM_SOURCE_DIR/check.sh" .
stub scripts/install.sh <<<'exit 0'
stub "$work/bin/clang-format-14" <<<'exit 0'
stub "$work/bin/shellcheck" <<<'exit 0'
mkdir bench data_prep examples include src tests "$work/tmp"
echo 'int main(void) { return 0; }' | tee src/program.c >bench/bench.c
# project LINE…: with these lines where Tandem's tests stand
project() {
    cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.18)
project(stand_in C)
option(TANDEM_ASAN "" OFF)
option(TANDEM_TSAN "" OFF)
option(TANDEM_FUZZ "" OFF)
option(TANDEM_WERROR "" OFF)
option(TANDEM_TESTS "" ON)
option(BUILD_SHARED_LIBS "" OFF)
add_executable(program src/program.c)
add_executable(bench EXCLUDE_FROM_ALL bench/bench.c)
add_custom_target(benchmarks DEPENDS bench)
add_custom_target(unit_tests DEPENDS program)
if(TANDEM_TESTS)
  enable_testing()
END
    printf '%s\n' "$@" 'endif()' >>CMakeLists.txt
}
test_of() { # NAME LABELS COMMAND
    echo "add_test(NAME $1 COMMAND $3)
set_tests_properties($1 PROPERTIES LABELS \"$2\")"
}
check() {
    run "$1" env PATH="$work/bin:$PATH" TMPDIR="$work/tmp" "${hostile[@]}" ./check.sh "${@:2}"
    [ -z "$(ls -A "$work/tmp")" ] || fail_test "left: $(ls -A "$work/tmp")"
}
# what could keep tests from running, or from failing
hostile=(CTEST_NO_TESTS_ACTION=ignore CTEST_PARALLEL_LEVEL=0 MAKEFLAGS=-n CFLAGS=-DNOT_HERE PYTHONOPTIMIZE=2 TANDEM_ISA=generic
    OMP_NUM_THREADS=64 SHELLCHECK_OPTS=-e2086 CMAKE_GENERATOR=Nonsense BASH_ENV=/dev/null LC_ALL=nowhere CDPATH=/
    'BASH_FUNC_ctest%%=() { echo inherited; }')
passing="$(test_of test_losses unit true)
$(test_of fuzz_one fuzz true)
$(test_of whole run true)"

# the same builds, configured by hand without tests
project "$passing"
for dir in build build-check build-sanitize; do cmake -S . -B $dir -DTANDEM_TESTS=OFF >/dev/null; done
check 0
says 'not used here:.* CFLAGS'
says 'build-check/ is built anew'
says 'build-sanitize/ is built anew'
[ "$(grep -c '100% tests passed' "$work/out")" -eq "$(if [ "$(uname -m)" = x86_64 ]; then echo 3; else echo 2; fi)" ] ||
    fail_test "not every run of ctest: $(cat "$work/out")"
for option in TANDEM_TESTS TANDEM_WERROR; do
    for dir in build-check build-sanitize; do
        grep -q "^$option:BOOL=ON" $dir/CMakeCache.txt || fail_test "$dir: $option is not on"
    done
done
grep -q '^TANDEM_ASAN:BOOL=OFF' build-check/CMakeCache.txt || fail_test "build-check has sanitizers"
grep -q '^TANDEM_ASAN:BOOL=ON' build-sanitize/CMakeCache.txt || fail_test "build-sanitize has none"
[ -e build-check/bench ] || fail_test "the benchmarks were not built"
check 0
silent anew

# a part of it says so, at both ends
check 0 --label unit
[ "$(grep -c 'ONLY A PART OF THE CHECK' "$work/out")" -eq 2 ] || fail_test "a part that does not say so: $(cat "$work/out")"
silent 'fuzz_one|whole'
check 8 --label nothing_has_it
says 'No tests were found'
check 1 --lable unit
says 'unknown argument: --lable unit'

# no tests; a test that fails, in each of the runs
project ''
check 8
says 'No tests were found'
says '^check.sh: ended in the step "unit tests'
project "$(test_of test_losses unit true)" "$(test_of whole run false)"
check 8
says 'ended in the step "all tests"'
project "$(test_of test_losses unit true)" "$(test_of fuzz_one fuzz false)"
check 8
says 'ended in the step "unit tests and fuzz corpora'

# the environment of a test is the script's own
stub print.sh <<'END'
env
declare -F
END
project "$(test_of test_losses unit "\${CMAKE_SOURCE_DIR}/print.sh")"
check 0
TANDEM_PYTHON=python3 run 0 env PATH="$work/bin:$PATH" TMPDIR="$work/tmp" "${hostile[@]}" bash -c './check.sh && cat build-check/Testing/Temporary/LastTest.log'
says '^TANDEM_PYTHON=python3'
says '^LC_ALL=C.UTF-8'
silent '^(CTEST_NO_TESTS_ACTION|MAKEFLAGS|CFLAGS|PYTHONOPTIMIZE|TANDEM_ISA|OMP_NUM_THREADS|CMAKE_GENERATOR|CDPATH)=|inherited'

# what a test leaves behind
stub leave.sh <<<'mktemp -d -t tandem-left-XXXXXX'
project "$(test_of test_losses unit "\${CMAKE_SOURCE_DIR}/leave.sh")"
check 1
says 'in the directory for temporary files: tandem-left-'

# killed while tests run: the next call removes what is left, but nothing of a living one
stub hang.sh <<'END'
touch "$TMPDIR/of-a-test"
sleep 30
END
project "$(test_of test_losses unit "\${CMAKE_SOURCE_DIR}/hang.sh")"
start() {
    setsid env PATH="$work/bin:$PATH" TMPDIR="$work/tmp" ./check.sh >"$work/background" 2>&1 &
    pid=$!
    for _ in {1..400}; do
        ! compgen -G "$work/tmp/*/of-a-test" >/dev/null || return 0
        sleep 0.05
    done
    fail_test "check.sh did not come to its tests: $(cat "$work/background")"
}
start
kill -KILL -- -$pid
wait $pid 2>/dev/null || true
compgen -G "$work/tmp/*/of-a-test" >/dev/null || fail_test "the killed call left nothing: the test tests nothing"
project "$passing"
check 0
project "$(test_of test_losses unit "\${CMAKE_SOURCE_DIR}/hang.sh")"
start
run 1 env PATH="$work/bin:$PATH" TMPDIR="$work/tmp" ./check.sh --nonsense
compgen -G "$work/tmp/*/of-a-test" >/dev/null || fail_test "a second call removed the directory of a living one"
kill -TERM -- -$pid
wait $pid 2>/dev/null || true
[ -z "$(ls -A "$work/tmp")" ] || fail_test "an ended call left: $(ls -A "$work/tmp")"

# Tandem itself, configured without tests: ctest alone, as one may call it by hand, fails
cmake -S "$TANDEM_SOURCE_DIR" -B "$work/off" -DTANDEM_TESTS=OFF >"$work/out" 2>&1 || fail_test "configure: $(cat "$work/out")"
run 8 ctest --test-dir "$work/off" --output-on-failure
says 'configured with -DTANDEM_TESTS=OFF: no test was built'
