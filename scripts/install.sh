#!/usr/bin/env bash
# Installs the Debian packages that the named lists ask for, those that are missing only. A line of a list is a package,
# or a package and the only release that has it.
#   scripts/install.sh [build] [check] [demo] [fuzz] [bench]
# Works as root, or as a user with sudo. Does nothing, and needs no network, when everything is there.
set -euo pipefail
cd "$(dirname "$0")"

lists=()
for group in "${@:-build}"; do
    case $group in
    build) lists+=(packages.txt) ;;
    check | demo | fuzz | bench) lists+=("packages-$group.txt") ;;
    *)
        echo "install.sh: unknown group \"$group\" (build, check, demo, fuzz, bench)" >&2
        exit 2
        ;;
    esac
done

release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mapfile -t packages < <(sed 's/#.*//' "${lists[@]}" | awk -v release="$release" 'NF && (NF == 1 || $2 == release) { print $1 }')
missing=()
for package in "${packages[@]}"; do
    # a tool that came from elsewhere than its package (an own node, say) serves as well
    if [ "$package" = npm ] && command -v npm >/dev/null; then continue; fi
    if ! dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii'; then
        missing+=("$package")
    fi
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "install.sh: needs root or sudo to install: ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
echo "installing: ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
