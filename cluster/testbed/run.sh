#!/usr/bin/env bash
# Hosts with a network between them, and a Slurm, on one machine: runs scenarios, says how each came out, and leaves nothing
# behind. Needs Linux, root, namespaces, overlayfs and /dev/net/tun, and Debian's packages for what is not installed: these
# are unpacked into build-testbed/, not installed. README.md says more.
#   cluster/testbed/run.sh [OPTION]… [SCENARIO]…        all scenarios without a name
#     --tandem FILE    the program to run (default build/tandem)
#     --short          the scenarios of the short form only: seconds, no Slurm
#     --jobs N         so many scenarios at a time (default 3: they wait more than they compute)
#     --keep DIR       what each scenario printed, and the shared directories of those that failed
#     --list           the scenarios and what they show
#     --shell HOST     no scenario: four hosts and a shell in one of them
# Exit code: 0 all came out as they should, 1 not all, 2 wrong call, 77 this machine does not permit it.
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "$0")/../.." && pwd -P)
here=$root/cluster/testbed cache=$root/build-testbed
export root cache

die() {
    echo "run.sh: $*" >&2
    exit 2
}
skip() {
    echo "SKIPPED: the test bed cannot run here: $*"
    exit 77
}
# about FILE WORD: the rest of the line "# WORD: …" in a scenario's head
about() { sed -n "s/^# $2: //p" "$1"; }

tandem=$root/build/tandem short='' jobs=3 keep='' shell_on='' names=()
while [ $# -gt 0 ]; do
    case $1 in
    --tandem | --jobs | --keep | --shell)
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in
        --tandem) tandem=$(realpath "$2") ;;
        --jobs) jobs=$2 ;;
        --keep) keep=$(realpath -m "$2") ;;
        --shell) shell_on=$2 ;;
        esac
        shift
        ;;
    --short) short=1 ;;
    --list)
        for file in "$here"/scenarios/*.sh; do printf '%-20s %s\n' "$(basename "$file" .sh)" "$(about "$file" shows)"; done
        exit 0
        ;;
    -*) die "unknown option $1" ;;
    *)
        [ -e "$here/scenarios/$1.sh" ] || die "no scenario $1; --list lists them"
        names+=("$1")
        ;;
    esac
    shift
done
[[ $jobs =~ ^[1-9][0-9]?$ ]] || die "--jobs $jobs: a number from 1"
if [ ${#names[@]} -eq 0 ]; then
    for file in "$here"/scenarios/*.sh; do
        [ -n "$short" ] && [ "$(about "$file" form)" != short ] || names+=("$(basename "$file" .sh)")
    done
fi

# --- whether, and with what -----------------------------------------------------------------------------------------

[ "$(uname -s)" = Linux ] || skip "not Linux"
[ "$(id -u)" -eq 0 ] || skip "not root"
[ -c /dev/net/tun ] || skip "no /dev/net/tun"
for tool in unshare nsenter setpriv pivot_root ip ssh-keygen mpirun cc h5diff jq python3; do
    command -v "$tool" >/dev/null || skip "no $tool"
done
unshare --mount --net --uts --ipc --pid --fork --kill-child true 2>/dev/null || skip "namespaces are not permitted"
[ -x "$tandem" ] || die "no program $tandem"
export tandem

work=$(mktemp -d -t tandem-testbed.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$cache/bed"
exec 8>"$cache/.lock"
flock 8 # another bed may prepare the same things

# unpack LAYER PACKAGE…: the packages, and those they need beside what is installed, under $cache/LAYER. Nothing is installed:
# no daemon starts, and dpkg knows of nothing.
unpack() {
    local layer=$cache/$1 download=$cache/$1.debs dir package
    shift
    [ ! -e "$layer/.complete" ] || return 0
    command -v apt-get dpkg-deb >/dev/null || skip "no Debian, and no $1"
    rm -rf "$layer" "$download"
    mkdir -p "$layer/usr" "$download/partial"
    local fetch=(apt-get install -y -qq --download-only --no-install-recommends -o "Dir::Cache::archives=$download" -o Debug::NoLocking=1)
    "${fetch[@]}" "$@" >"$work/apt" 2>&1 || { apt-get update -qq && "${fetch[@]}" "$@"; } >"$work/apt" 2>&1 ||
        skip "cannot fetch $*: $(grep -m1 '^E: ' "$work/apt" || tail -1 "$work/apt")"
    # where /lib is a link to /usr/lib, it stays one
    for dir in bin sbin lib lib64; do
        if [ -L "/$dir" ]; then
            mkdir -p "$layer/usr/$dir"
            ln -s "usr/$dir" "$layer/$dir"
        fi
    done
    for package in "$download"/*.deb; do
        [ ! -e "$package" ] || dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$layer"
    done
    rm -rf "$download"
    touch "$layer/.complete"
}

layers=$cache/ssh
if [ -x /usr/sbin/sshd ]; then mkdir -p "$cache/ssh"; else unpack ssh openssh-server; fi
if [ -z "$short" ]; then
    unpack slurm slurm-wlm-basic-plugins slurmctld slurmd slurm-client munge
    layers="$layers $cache/slurm"
fi
if [ ! -x "$cache/switch" ] || [ "$here/switch.c" -nt "$cache/switch" ]; then
    cc -O2 -std=gnu11 -o "$cache/switch" "$here/switch.c"
fi

# A tiny data set, its tokenizer, and a configuration, in which the place of the bed is still called DATA
data=$work/data
python3 -B "$root/tests/run/make_pairs.py" "$work/raw" 120
{
    "$tandem" pack --format folder --out "$data/data" --split train --shard-size 50 "$work/raw"
    "$tandem" tokenizer --train --vocab-size 560 --out "$data/bpe.txt" "$data/data"
    # the same pictures with other captions: as many shards and rows
    sed -i s/square/circle/ "$work"/raw/*.txt
    "$tandem" pack --format folder --out "$data/other" --split train --shard-size 50 "$work/raw"
    "$tandem" tokenizer --train --vocab-size 560 --out "$data/other.txt" "$data/other"
} >"$work/pack.log" 2>&1 || die "cannot pack: $(tail -1 "$work/pack.log")"
cat >"$data/run.cfg" <<END
seed = 5;
data: { dir = "DATA/data"; split = "train"; workers = 1; };
model: {
  name = "tiny"; embed_dim = 32; activation = "gelu"; tokenizer = "DATA/bpe.txt"; dropout = 0.1;
  image: { height_px = 24; width_px = 24; patch_px = 8; width = 32; layers = 2; heads = 2; };
  text: { context_length = 24; vocab_size = $(($(grep -vc '^#' "$data/bpe.txt") + 514)); width = 32; layers = 2; heads = 2; };
};
augment: { crop: { min_scale = 0.6; }; flip: { p = 0.5; }; };
train: { batch = 24; steps = 15; precision = "f32"; log_every = 1; };
optim: { lr = 1e-3; warmup_steps = 5; clip_norm = 1.0; };
checkpoint: { every_minutes = 0.0; keep = 2; };
END
flock --unlock 8
export bed=$cache/bed layers data shell_on keep short

# enclosed COMMAND…: in namespaces of its own, in which everything ends with the command, and the command with its caller
enclosed() {
    exec setpriv --pdeathsig KILL unshare --mount --net --uts --ipc --pid --fork --kill-child --mount-proc \
        --propagation private "$@" 8>&-
}

if [ -n "$shell_on" ]; then
    export result=$work limit=0
    (enclosed "$here/bed.sh" shell)
    exit
fi

# --- scenarios ------------------------------------------------------------------------------------------------------

# run_one NAME: one bed, and a line about it in $work/NAME.line
run_one() {
    local name=$1 file=$here/scenarios/$1.sh began=$EPOCHREALTIME code=0 verdict=ok
    export result=$work/$name
    mkdir -p "$result"
    limit=$(about "$file" limit)
    export limit=${limit:-120}
    (enclosed "$here/bed.sh" "$file") </dev/null >"$result/log" 2>&1 || code=$?
    if [ "$code" -ne 0 ]; then
        verdict=FAILED
        mv "$result/fault" "$result/outcome" 2>/dev/null || echo "ended with exit code $code" >"$result/outcome"
    fi
    printf '%-7s %-20s %6.1f s   %-9s %-14s %s\n' "$verdict" "$name" \
        "$(awk "BEGIN { print $EPOCHREALTIME - $began }")" "$(cat "$result/took" 2>/dev/null || echo -)" \
        "$(cat "$result/lost" 2>/dev/null || echo -)" "$(cat "$result/outcome" 2>/dev/null)"
    if [ "$code" -ne 0 ]; then grep -v '^step ' "$result/log" | tail -25 | cut -c1-200 | sed 's/^/    | /'; fi
    if [ -n "$keep" ]; then rm -rf "${keep:?}/$name" && cp -r "$result" "$keep/"; fi
    return "$code"
}

# run_all NAME…
run_all() {
    local name running=0 failed=0 began=$EPOCHREALTIME
    printf '%-7s %-20s %8s   %-9s %-14s %s\n' '' scenario all fault lost outcome
    for name in "$@"; do
        if [ "$running" -ge "$jobs" ]; then
            wait -n || failed=$((failed + 1))
            running=$((running - 1))
        fi
        run_one "$name" &
        running=$((running + 1))
    done
    while [ "$running" -gt 0 ]; do
        wait -n || failed=$((failed + 1))
        running=$((running - 1))
    done
    printf '%d scenarios, %d failed, %.0f s\n' $# "$failed" "$(awk "BEGIN { print $EPOCHREALTIME - $began }")"
    [ "$failed" -eq 0 ]
}

# All of them in namespaces of their own, which end with this process however it ends. In the background, so that a signal
# ends the waiting.
[ -z "$keep" ] || mkdir -p "$keep"
export here work jobs
export -f about enclosed run_one run_all
(enclosed bash -c 'set -euo pipefail; run_all "$@"' run_all "${names[@]}") &
wait $!
