#!/usr/bin/env bash
# Tries the commands of the README from a clean clone in a fresh Debian root, where nothing is installed. As root, with
# debootstrap; the bare root is kept for the next call, what was installed into it for a trial is not.
#   tests/fresh_root.sh RELEASE [--user] [--short] [--ccache] [--keep] [COMMAND…]
#     RELEASE     12 or 13
#     COMMAND…    in this order: quickstart, check, or tests (build by hand, tests labelled unit and mpi).
#                 Without any: quickstart, quickstart, check, check: each command twice, the README's order.
#     --user      as a user with sudo, in place of root
#     --short     every line of the scripts, with less to compute: one epoch, tests labelled unit only
#     --ccache    compiles with ccache, whose cache is kept: for repeated trials
#     --keep      leaves the trial's directory
# The clone is of the last commit. TANDEM_ROOTS is where roots lie (default /var/tmp/tandem-roots).
set -euo pipefail
source=$(CDPATH='' cd "$(dirname "$0")/.." && pwd -P)
script=$(basename "$0")
fail() {
    echo "$script: $*" >&2
    exit 1
}
[ "$(id -u)" -eq 0 ] || fail "needs root for chroot"
root='' # the trial's; known once this script has called itself in a namespace of its own
if [ "${1:-}" = --inside ]; then root=$2 && shift 2; fi

case ${1:-} in
12 | bookworm) release=bookworm ;;
13 | trixie) release=trixie ;;
*) fail "name a release: 12 or 13" ;;
esac
user=root short='' keep='' compiler_cache='' commands=()
for word in "${@:2}"; do
    case $word in
    --user) user=visitor ;;
    --short) short=1 ;;
    --ccache) compiler_cache=1 ;;
    --keep) keep=1 ;;
    quickstart | check | tests) commands+=("$word") ;;
    *) fail "unknown argument: $word" ;;
    esac
done
[ ${#commands[@]} -gt 0 ] || commands=(quickstart quickstart check check)

roots=${TANDEM_ROOTS:-/var/tmp/tandem-roots}
base=$roots/$release
archives=$roots/archives-$release compiled=$roots/ccache-$release

# The bare root, and a copy of it for the trial.
make_root() {
    mkdir -p "$archives/partial" "$compiled"
    exec 9>"$roots/$release.lock"
    flock 9 # two calls for one release: the second waits
    if [ ! -e "$base/.complete" ]; then
        command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap
        [ ! -e "$base" ] || rm -rf --one-file-system "$base"
        # Only the base system: debootstrap cannot resolve the virtual packages that Open MPI's dependencies name.
        debootstrap --variant=minbase "$release" "$base" >"$base.log" 2>&1 || {
            tail -n 20 "$base.log" >&2
            fail "debootstrap could not make $base; the whole log is $base.log"
        }
        touch "$base/.complete"
    fi
    root=$(mktemp -d "$roots/trial-$release.XXXXXX")
    cp -a --reflink=auto "$base/." "$root"
    exec 9>&-
}

# Never while something of this machine is mounted in it: that would be removed, too.
remove_root() {
    if grep -qF " $root/" /proc/self/mountinfo; then
        echo "$script: $root is not removed, something is mounted in it" >&2
    else
        rm -rf --one-file-system "$root"
    fi
}

# Whatever is mounted and started for the trial stays in namespaces of its own, and goes with them.
if [ -z "$root" ]; then
    make_root
    if [ -n "$keep" ]; then echo "the root is $root"; else trap remove_root EXIT; fi
    code=0
    unshare --mount --pid --fork --kill-child "$0" --inside "$root" "$@" || code=$?
    exit "$code"
fi

# How this machine reaches the network is the root's way, too: names, proxies, certificates, apt's own settings.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
passed=(http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}")
apt-config dump | grep -E '^Acquire::[a-zA-Z:]*Proxy' >"$root/etc/apt/apt.conf.d/90proxy" || true
if [ -n "${NODE_EXTRA_CA_CERTS:-}" ]; then
    cp -L "$NODE_EXTRA_CA_CERTS" "$root/etc/extra-certificates.pem"
    passed+=(NODE_EXTRA_CA_CERTS=/etc/extra-certificates.pem)
fi
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys" # where hwloc, and so MPI, finds the cores
mkdir -p "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
ln -sf pts/ptmx "$root/dev/ptmx"
mount --bind "$archives" "$root/var/cache/apt/archives" # packages are downloaded once

# inside USER COMMAND…: from the clone, once there is one
inside() {
    local who=$1 home=/home/visitor
    shift
    [ "$who" != root ] || home=/root
    # shellcheck disable=SC2016 # expanded inside the root
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=$home USER="$who" "${passed[@]}" \
        chroot --userspec="$who" --groups='' "$root" /bin/bash -euo pipefail -c 'cd "$HOME/tandem" 2>/dev/null || cd; "$@"' _ "$@"
}
extra=()
[ "$user" = root ] || extra+=(sudo)
if [ -n "$compiler_cache" ]; then
    extra+=(ccache)
    mkdir -p "$root/var/cache/ccache"
    mount --bind "$compiled" "$root/var/cache/ccache"
    passed+=(CMAKE_C_COMPILER_LAUNCHER=ccache CCACHE_DIR=/var/cache/ccache CCACHE_BASEDIR=/ CCACHE_NOHASHDIR=1 CCACHE_UMASK=000)
fi
if [ ${#extra[@]} -gt 0 ]; then
    inside root bash -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"' _ "${extra[@]}" \
        >"$root/var/log/extra.log" 2>&1 || { tail -n 20 "$root/var/log/extra.log" >&2 && fail "cannot install: ${extra[*]}"; }
fi
home=$root/root
if [ "$user" != root ]; then
    inside root useradd --create-home --shell /bin/bash visitor
    echo 'visitor ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/visitor"
    home=$root/home/visitor
fi
git -c safe.directory="$source" clone -q --no-hardlinks "$source" "$home/tandem"
git -c safe.directory="$source" -C "$source" diff --quiet HEAD || echo "$script: uncommitted changes are not in the clone" >&2
[ "$user" = root ] || inside root chown -R visitor: /home/visitor/tandem

# shellcheck disable=SC2016 # expanded inside the root
by_hand='scripts/install.sh build check
cmake -S . -B build -DTANDEM_WERROR=ON
cmake --build build -j "$(nproc)" -- --quiet
ctest --test-dir build -L "unit|mpi" --no-tests=error --output-on-failure'
for command in "${commands[@]}"; do
    case $command in
    quickstart) line=(./quickstart.sh ${short:+--set train.epochs=1}) ;;
    check) line=(./check.sh ${short:+--label unit}) ;;
    tests) line=(bash -euo pipefail -c "$by_hand") ;;
    esac
    begun=$SECONDS
    printf '\n==== Debian %s, %s: %s\n' "$release" "$user" "$command ${short:+(short)}"
    inside "$user" "${line[@]}" </dev/null || fail "Debian $release, $user: $command failed (exit code $?) after $((SECONDS - begun)) s"
    printf '==== Debian %s, %s: %s passed in %d s\n' "$release" "$user" "$command" $((SECONDS - begun))
done
printf '\n==== Debian %s, %s: %s passed\n' "$release" "$user" "${commands[*]}"
