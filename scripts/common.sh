# shellcheck shell=bash
# Sourced by the scripts that a user calls. They go through steps; one that fails is named in the last line.
unset CDPATH # `cd` would go elsewhere, and say so on stdout
while read -r _ _ name; do unset -f "$name"; done < <(declare -F) # inherited ones, which would stand for programs
script=$(basename "$0")
step_now=''

# step NAME…: what comes next
step() {
    step_now=$*
    printf '\n== %s\n' "$*" >&2
}

# fail MESSAGE…: one line, and the end
fail() {
    echo "$script: $*" >&2
    exit 1
}

# Called at the end of a script by its EXIT trap.
say_where_it_ended() {
    local code=$1
    [ "$code" -eq 0 ] || [ -z "$step_now" ] ||
        printf '\n%s: ended in the step "%s" (exit code %d); the reason stands above\n' "$script" "$step_now" "$code" >&2
}

# The cores of this machine. OMP_NUM_THREADS is none of its business, though nproc listens to it.
cores() {
    env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc
}

# writable PATH…: those that exist belong to us. A call as root leaves files that a user's call cannot change.
writable() {
    local path
    for path in "$@"; do
        [ ! -e "$path" ] || [ -w "$path" ] ||
            fail "cannot write $path, which belongs to $(stat -c %U "$path"): remove it, or run as that user"
    done
}

# Forgets the environment but for what a caller may choose: where things are, how the network is reached, the compiler
# and its cache, and a Python for comparisons. The rest (CFLAGS, MAKEFLAGS, OMP_*, CTEST_*, PYTHONOPTIMIZE,
# SHELLCHECK_OPTS, TANDEM_ISA …) could let a check pass that has not checked.
own_environment() {
    local name dropped=()
    for name in $(compgen -e); do
        case $name in
        PATH | HOME | USER | LOGNAME | TERM | TMPDIR | CI | DEBIAN_FRONTEND) ;;
        *_proxy | *_PROXY | CC | CCACHE_* | CMAKE_C_COMPILER_LAUNCHER) ;;
        OPENBLAS_CORETYPE | OPENBLAS_L2_SIZE | TANDEM_PYTHON | TANDEM_CLIP | TANDEM_APT_WAIT_S) ;;
        *)
            case $name in *FLAGS | TANDEM_* | CTEST_* | CMAKE_* | OMP_* | OMPI_* | ONEDNN_* | DNNL_*) dropped+=("$name") ;; esac
            unset "$name" 2>/dev/null || export -n "${name?}" # read-only ones, such as SHELLOPTS
            ;;
        esac
    done
    [ ${#dropped[@]} -eq 0 ] || echo "not used here: ${dropped[*]}"
    export LC_ALL=C.UTF-8
}
