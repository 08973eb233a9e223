#!/usr/bin/env bash
# scripts/install.sh with stand-ins for apt: it asks for what is missing only, waits, finishes what was interrupted, and
# shows why it failed.
source "$(dirname "$0")/common.sh"
cd "$clone"
# shellcheck disable=SC2016 # written as it stands
stub "$work/bin/dpkg-query" <<<'[ "${!#}" != cmake ] || echo "ii "'
# shellcheck disable=SC2016
stub "$work/bin/sudo" <<<'exec env -i PATH="$PATH" work="$work" "$@"'
# shellcheck disable=SC2016
stub "$work/bin/dpkg" <<<'echo "dpkg $*" >>"$work/calls" && rm "$work/interrupted"'
stub "$work/bin/apt-get" <<'END'
echo "apt-get $*" >>"$work/calls"
echo "proxy ${http_proxy:-none}" >>"$work/calls"
if [ -e "$work/interrupted" ]; then
    echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem."
    exit 100
fi
if [ -e "$work/held" ]; then
    rm "$work/held"
    echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 17 (aptitude)"
    exit 100
fi
[ -z "${APT_FAILS:-}" ] || { printf 'Reading\nE: %s\n' "$APT_FAILS"; exit 100; }
END
PATH=$work/bin:$PATH
export PATH work
install() {
    : >"$work/calls"
    run "$1" scripts/install.sh build check
}

install 0
says '^installing: build-essential pkg-config'
grep -q '^apt-get install .* build-essential pkg-config .* jq' "$work/calls" || fail_test "$(cat "$work/calls")"
! grep -q cmake "$work/calls" || fail_test "asks for what is there: $(cat "$work/calls")"

touch "$work/interrupted"
install 0
says 'an earlier installation was interrupted: finishing it'
grep -q '^dpkg --configure -a' "$work/calls" || fail_test "$(cat "$work/calls")"

touch "$work/held"
install 0
says '^waiting: process 17 \(aptitude\) holds /var/lib/dpkg/lock-frontend'

APT_FAILS='Failed to fetch: no network' install 1
says '^install.sh: apt-get update -qq failed \(exit code 100\):'
says '^E: Failed to fetch: no network'

# a user with sudo, which forgets the environment
if [ "$(id -u)" -eq 0 ]; then
    : >"$work/calls"
    chmod a+w "$work/calls"
    run 0 env http_proxy=http://proxy.example:3128 setpriv --reuid 65534 --regid 65534 --clear-groups scripts/install.sh build
    grep -q '^proxy http://proxy.example:3128' "$work/calls" || fail_test "the proxy is lost: $(cat "$work/calls")"
fi

stub "$work/bin/dpkg-query" <<<'echo "ii "'
install 0
silent .
[ ! -s "$work/calls" ] || fail_test "apt was called for nothing: $(cat "$work/calls")"
run 2 scripts/install.sh nonsense
says 'unknown group "nonsense"'
