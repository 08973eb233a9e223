#!/usr/bin/env bash
# Builds Tandem and runs its unit and MPI tests in a Debian 13 root (oneDNN 3.7, Open MPI 5.0, HDF5 1.14) made by
# debootstrap. As root, with the packages debootstrap and mount; the root takes a few minutes and is kept for the next call.
#   tests/debian13.sh [ROOT_DIR]
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
root=${1:-/var/tmp/tandem-debian13}
[ "$(id -u)" -eq 0 ] || { echo "debian13.sh: needs root for chroot" >&2; exit 1; }

if [ ! -e "$root/.complete" ]; then
    command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
    [ ! -e "$root" ] || rm -rf --one-file-system "$root"
    # Only the base system: debootstrap cannot resolve the virtual packages that Open MPI's dependencies name.
    debootstrap --variant=minbase trixie "$root" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    touch "$root/.complete"
fi

unmount() {
    for mounted in proc sys dev/shm src; do
        ! mountpoint -q "$root/$mounted" || umount -l "$root/$mounted"
    done
}
trap unmount EXIT
mkdir -p "$root/src" "$root/dev/shm" "$root/build"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys" # where hwloc, and so MPI, finds the cores
mount -t tmpfs tmpfs "$root/dev/shm"
mount --bind -o ro "$source" "$root/src"

# shellcheck disable=SC2016 # expanded inside the root
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" \
    chroot "$root" /bin/bash -euo pipefail -c '
    /src/scripts/install.sh build check
    cmake -S /src -B /build -DTANDEM_WERROR=ON
    cmake --build /build -j "$(nproc)" -- --quiet
    ctest --test-dir /build -L "unit|mpi" --output-on-failure'
