#!/usr/bin/env bash
# Installs the Debian packages that the named lists ask for, those that are missing only. A line of a list is a package,
# or a package and the only release that has it.
#   scripts/install.sh [build] [check] [demo] [fuzz] [bench] [cmr] [browser]
# Works as root, or as a user with sudo. Does nothing, and needs no network, when everything is there. Waits while another
# apt or dpkg is at work, at most TANDEM_APT_WAIT_S seconds (default 900).
# One that was interrupted is finished first.
set -euo pipefail
cd "$(CDPATH='' cd "$(dirname "$0")" && pwd)"
command -v dpkg-query >/dev/null || {
    echo "install.sh: this is no Debian; what is needed stands in scripts/packages*.txt, as Debian names it" >&2
    exit 1
}

lists=()
for group in "${@:-build}"; do
    case $group in
    build) lists+=(packages.txt) ;;
    check | demo | fuzz | bench | cmr | browser) lists+=("packages-$group.txt") ;;
    *)
        echo "install.sh: unknown group \"$group\" (build, check, demo, fuzz, bench, cmr, browser)" >&2
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
    if [ "$package" = chromium-headless-shell ] && command -v chromium >/dev/null; then continue; fi
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

settings=(DEBIAN_FRONTEND=noninteractive LC_ALL=C) # sudo forgets the way to the network
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || settings+=("$name=${!name}")
done

# One package manager works at a time; what another one does ends sooner or later.
patience_s=${TANDEM_APT_WAIT_S:-900}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# apt ARG…: apt-get, again and again while another process holds a lock; its complaints are printed when it fails
apt() {
    local code held waited_for='' finished='' until=$((SECONDS + patience_s))
    while true; do
        code=0
        "${as_root[@]}" env "${settings[@]}" apt-get "$@" >"$log" 2>&1 || code=$?
        [ "$code" -eq 0 ] && return 0
        held=$(sed -n 's/^E: Could not get lock \([^ ]*\)\. It is held by \(.*\)$/\2 holds \1/p; s/^E: Could not get lock \([^ ]*\) - open.*/another process holds \1/p' "$log" | head -1)
        if [ -z "$held" ] && [ -z "$finished" ] && grep -q '^E: dpkg was interrupted' "$log"; then
            echo "an earlier installation was interrupted: finishing it"
            finished=1
            "${as_root[@]}" env "${settings[@]}" dpkg --configure -a >"$log" 2>&1 && continue
        fi
        [ -n "$held" ] || break
        if [ "$SECONDS" -ge "$until" ]; then
            echo "install.sh: $held, still after $patience_s s (TANDEM_APT_WAIT_S)" >&2
            exit 1
        fi
        [ "$held" = "$waited_for" ] || echo "waiting: $held"
        waited_for=$held
        sleep 2
    done
    echo "install.sh: apt-get $* failed (exit code $code):" >&2
    if grep -qE '^[EW]: ' "$log"; then grep -E '^[EW]: ' "$log" >&2; else tail -20 "$log" >&2; fi
    exit 1
}

echo "installing: ${missing[*]}"
apt update -qq
grep -E '^[EW]: ' "$log" >&2 || true # an index that cannot be fetched is a warning; what it leaves out is missing below
apt install -y -qq --no-install-recommends "${missing[@]}"
