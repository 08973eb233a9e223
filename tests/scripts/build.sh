#!/usr/bin/env bash
# scripts/build.sh on a project of one file: what an earlier build left decides nothing, and why it starts anew is said.
source "$(dirname "$0")/common.sh"
cd "$clone"
project() {
    cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.18)
project(stand_in C)
option(TANDEM_TESTS "" ON)
add_executable(program program.c)
add_custom_command(TARGET program PRE_LINK COMMAND sh ./link.sh
                   WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
add_custom_target(other COMMAND ${CMAKE_COMMAND} -E touch other)
END
}
project
echo 'int main(void) { return 0; }' >program.c
echo 'touch linking; [ ! -e slow ] || sleep 20' >link.sh
tests_on=-DTANDEM_TESTS=ON
cached() {
    grep -q "^$1=$2\$" build/CMakeCache.txt || fail_test "not $1=$2: $(grep "^$1" build/CMakeCache.txt)"
}
build() {
    run "$1" scripts/build.sh build "${@:2}"
}

build 0 $tests_on
silent anew
cached TANDEM_TESTS:BOOL ON
cached CMAKE_BUILD_TYPE:STRING Release

touch -r build/program before
build 0 $tests_on
silent anew
[ ! build/program -nt before ] || fail_test "built again without a reason"

build 0 $tests_on --target other
[ -e build/other ] || fail_test "--target was not built"

# other options, of either kind
build 0 -DTANDEM_TESTS=OFF
says 'build/ is built anew: it was made otherwise \(options: .*TESTS=ON\), now: options: .*TESTS=OFF'
cached TANDEM_TESTS:BOOL OFF
cmake -S . -B build -DCMAKE_C_FLAGS=-DBY_HAND >/dev/null
build 0 -DTANDEM_TESTS=OFF
says 'anew: it was configured by hand since'
cached CMAKE_C_FLAGS:STRING ''
rm -r build
cmake -S . -B build -DTANDEM_TESTS=OFF -DCMAKE_BUILD_TYPE=Debug >/dev/null
build 0 $tests_on
says 'anew: it was not made by this script'
cached TANDEM_TESTS:BOOL ON
cached CMAKE_BUILD_TYPE:STRING Release

# another compiler, other flags, a file that is not make's
stub "$work/bin/newer" <<'END'
if [ "$1" = --version ]; then echo "newer 99.1"; else exec cc "$@"; fi
END
CC=$work/bin/newer build 0 $tests_on
says 'otherwise \(compiler: .*\), now: compiler: .*newer 99\.1'
build 0 $tests_on
CFLAGS=-DFLAG build 0 $tests_on
says 'now: environment, CFLAGS: -DFLAG'
build 0 $tests_on
CMAKE_GENERATOR=Nonsense CMAKE_BUILD_TYPE=Debug MAKEFLAGS=-n build 0 $tests_on
[ -x build/program ] || fail_test "MAKEFLAGS=-n was heard"
cached CMAKE_BUILD_TYPE:STRING Release

# the clone is moved; CDPATH leads elsewhere
mkdir -p "$work/elsewhere/scripts"
mv "$clone" "$work/a moved one"
clone="$work/a moved one"
cd "$clone"
build 0 $tests_on
says 'otherwise \(sources: .*/clone\), now: sources: .*/a moved one'
cd "$clone/.."
CDPATH=$work/elsewhere run 0 "a moved one/scripts/build.sh" build $tests_on
silent anew
cd "$clone"

# the configuration fails: cmake's words and ours, and the next call is whole
echo 'message(FATAL_ERROR "no such library")' >>CMakeLists.txt
build 1 $tests_on
says 'no such library'
says '^build.sh: cannot configure build/, see above; scripts/install.sh build'
project
build 0 $tests_on

# the build fails, and goes on where it was
echo '#error no' >>program.c
build 1 $tests_on
says 'error no|#error'
says '^build.sh: cannot build build/, see above'
echo 'int main(void) { return 3; }' >program.c
build 0 $tests_on
silent anew

# a directory elsewhere; one that is a link
build 0 $tests_on
run 0 scripts/build.sh "$work/other place" $tests_on
[ -x "$work/other place/program" ] || fail_test "not built elsewhere"
mkdir "$work/scratch disk"
rm -r build
ln -s "$work/scratch disk" build
build 0 $tests_on
build 0 -DTANDEM_TESTS=OFF
says 'built anew'
[ -L build ] || fail_test "the link is gone"
[ -x "$work/scratch disk/program" ] || fail_test "not built where the link leads"
build 0 $tests_on

# interrupted, and killed, while make works. A second call waits for a first one.
start() {
    rm -f linking
    touch slow program.c
    setsid scripts/build.sh build $tests_on >"$work/background" 2>&1 &
    pid=$!
    for _ in {1..200}; do
        [ ! -e linking ] || return 0
        sleep 0.05
    done
    fail_test "the build did not begin: $(cat "$work/background")"
}
start
kill -TERM -- -$pid
wait $pid || true
rm slow
build 0 $tests_on
silent anew
start
kill -KILL -- -$pid
wait $pid 2>/dev/null || true
rm slow
build 0 $tests_on
says 'anew: it was not made by this script, or the last call was killed in it'

# two at once: the second waits
start
run 124 timeout 1 scripts/build.sh build $tests_on
says '^waiting: another call builds in build'
kill -TERM -- -$pid
wait $pid || true
rm slow

# files of another user, as a call with sudo leaves them
if [ "$(id -u)" -eq 0 ]; then
    run 1 setpriv --reuid 65534 --regid 65534 --clear-groups scripts/build.sh build $tests_on
    says '^build.sh: cannot write \., which belongs to root: remove it, or run as that user'
fi
