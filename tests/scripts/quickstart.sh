#!/usr/bin/env bash
# quickstart.sh with stand-ins for what it calls: a second call does what is missing and nothing else, what fails is named.
source "$(dirname "$0")/common.sh"
cd "$clone"
cp "$TANDEM_SOURCE_DIR/quickstart.sh" .
stub scripts/install.sh <<<'echo "install $*" >>calls'
stub scripts/build.sh <<<'echo "build $*" >>calls'
stub data_prep/fetch_emoji.sh <<'END'
echo "fetch $*" >>calls
mkdir -p "$1" && [ -e "$1/emoji.json" ] || echo '{}' >"$1/emoji.json"
END
stub "$work/bin/mpirun" <<'END'
while [ "${1%tandem}" = "$1" ]; do shift; done
exec "$@"
END
stub build/tandem <<'END'
echo "$*" >>calls
[ "${FAILS:-}" != "$1" ] || { echo "tandem: $1: no good" >&2; exit "${CODE:-1}"; }
if [ "${FAILS:-}" = "half $1" ]; then half=1; fi
command=$1
while [ "$1" != --out ] && [ $# -gt 1 ]; do shift; done
out=$2
case $command in
pack)
    mkdir -p "$out"
    echo shard >"$out/train-00000.h5"
    [ -z "${half:-}" ] || kill -KILL $$
    echo index >"$out/dataset.h5"
    ;;
tokenizer)
    [ -z "${half:-}" ] || { : >"$out"; kill -KILL $$; }
    echo merges >"$out"
    ;;
train) mkdir -p "$out" ;;
eval) echo '{}' >runs/quickstart/eval.json ;;
esac
END
PATH=$work/bin:$PATH
export PATH
quickstart() {
    : >calls
    run "$1" ./quickstart.sh "${@:2}"
}
# called NAME…: the commands of the last call, in this order
called() {
    local got
    got=$(cut -d' ' -f1 calls | tr '\n' ' ')
    [ "$got" = "$* " ] || fail_test "called $got, not $*"
}

quickstart 0
called install build fetch pack tokenizer train eval search
says '^metrics +runs/quickstart/eval.json'
! grep -q 'TANDEM_TESTS' calls || fail_test "leaves a build without tests: $(cat calls)" # a later ctest would find none
quickstart 0 --set train.epochs=1
called install build fetch train eval search
grep -q '^train .*--resume auto --set train.epochs=1$' calls || fail_test "training: $(cat calls)"

# stopped while packing: shards, but no index; an empty tokenizer; newer pictures, newer shards
rm -r demo
FAILS='half pack' quickstart 137
called install build fetch pack
says '^quickstart.sh: ended in the step "pack" \(exit code 137\)'
FAILS='half tokenizer' quickstart 137
called install build fetch pack tokenizer
quickstart 0
called install build fetch tokenizer train eval search
touch -d '+1 minute' demo/emoji/emoji.json
quickstart 0
called install build fetch pack tokenizer train eval search
touch -d '-1 minute' demo/emoji/emoji.json
touch -d '+1 minute' demo/shards/dataset.h5
quickstart 0
called install build fetch tokenizer train eval search

# what fails says so
for command in pack tokenizer eval search; do
    touch -d '-1 hour' demo/shards/dataset.h5 demo/emoji.bpe.txt
    touch demo/emoji/emoji.json
    FAILS=$command quickstart 1
    says "^tandem: $command: no good"
    says '^quickstart.sh: ended in the step ".*" \(exit code 1\); the reason stands above'
done
FAILS=train quickstart 1
says 'training failed \(exit code 1\)\. When .* began runs/quickstart: remove it'
says 'ended in the step "train on'
FAILS=train CODE=3 quickstart 3
says 'stopped on request; the next call goes on there'
for ranks in 0 two -1 1.5; do
    RANKS=$ranks quickstart 1
    says "RANKS=$ranks: a number of ranks from 1"
done

# two at once
mkdir -p demo
(flock 7; sleep 30) 7>demo/.lock &
holder=$!
sleep 0.2
quickstart 1
says 'another quickstart.sh is at work'
called install build
kill $holder

# a user after root
if [ "$(id -u)" -eq 0 ]; then
    chown -R 65534 . && chown 0 demo/shards
    : >calls && chmod a+w calls
    run 1 setpriv --reuid 65534 --regid 65534 --clear-groups ./quickstart.sh
    says '^quickstart.sh: cannot write demo/shards, which belongs to root: remove it, or run as that user'
fi
