#!/usr/bin/env bash
# Two runs, two packs, two embeds into one directory: one of them writes, the other says who does. The lock of a killed
# process is taken over, every other way out removes it, and readers need none.
. "$(dirname "$0")/common.sh"
make_data
settings=(--config "$work/run.cfg" --set checkpoint.every_steps=10 --set checkpoint.keep=1000)

# wait_for FILE: until it is there
wait_for() {
    for _ in $(seq 1000); do
        [ -e "$1" ] && return
        sleep 0.02
    done
    fail "$1 does not come"
}

# in_use NAME DIR COMMAND PATTERN ARG…: the call is refused with one line, and DIR keeps its files
in_use() {
    local name=$1 dir=$2 pattern=$3 code=0
    shift 3
    "$TANDEM" "$@" >"$work/out" 2>"$work/err" || code=$?
    [ $code -eq 1 ] || fail "$name: exit code $code: $(cat "$work/err")"
    grep -qE "^tandem: $dir: in use by $pattern" "$work/err" || fail "$name: $(cat "$work/err")"
    [ "$(grep -c '^tandem: ' "$work/err")" -eq 1 ] || fail "$name: not one line: $(cat "$work/err")"
    [ ! -s "$work/out" ] || fail "$name: wrote to standard output"
    echo "$name: $(grep '^tandem: ' "$work/err")"
}

# nothing of the lock is left in DIR
unlocked() {
    [ -z "$(find "$1" -name '.tandem-lock*')" ] || fail "left in $1: $(find "$1" -name '.tandem-lock*')"
}

# a run without an end, on two ranks
endless=("${settings[@]}" --set train.steps=1000000 --out "$work/run" --resume auto)
start 2 train "${endless[@]}"
wait_for "$work/run/checkpoints/latest"
for words in command host process since start boot nonce; do
    grep -q "^$words ." "$work/run/.tandem-lock" || fail "no $words in $(cat "$work/run/.tandem-lock")"
done
owner=$(sed -n 's/^process //p' "$work/run/.tandem-lock")
in_use "second train" "$work/run" "\`tandem train\` on .*, process $owner, since .*; wait for it" train "${endless[@]}"
in_use "no stealing from the living" "$work/run" "\`tandem train\` on .*; wait for it" train "${endless[@]}" --steal-lock
# readers: evaluation and description of the run, and of what it will be
"$TANDEM" eval --model "$work/run" --data "$work/data" --split train --json "$work/eval.json" 2>"$work/err" ||
    fail "eval beside a run: $(cat "$work/err")"
"$TANDEM" info "$work/run" >"$work/out" || fail "info beside a run"
if grep -q tandem-lock "$work/out"; then fail "info lists the lock: $(cat "$work/out")"; fi
"$TANDEM" train "${endless[@]}" --dry-run 2>"$work/err" || fail "dry run: $(cat "$work/err")"

# stopped on request: released, and the first run is whole
kill -USR1 "$pid"
code=0
wait "$pid" || code=$?
[ "$code" -eq 3 ] || fail "stopped run: exit code $code: $(cat "$work/log")"
unlocked "$work/run"
[ "$(lines_of "$work/run")" -gt 0 ] || fail "metrics.jsonl is empty"

# killed: stays, and the next run takes it over with a line. A file that lives for a moment only goes with it.
start 2 train "${endless[@]}"
wait_for "$work/run/.tandem-lock"
owner=$(sed -n 's/^process //p' "$work/run/.tandem-lock")
kill -KILL "$owner"
wait "$pid" && fail "a killed run ended with 0"
[ -e "$work/run/.tandem-lock" ] || fail "the lock of a killed run is gone"
touch "$work/run/.tandem-lock-$(sed -n 's/^nonce //p' "$work/run/.tandem-lock")-seen.tmp"
step=$(($(tail -1 "$work/run/metrics.jsonl" | sed 's/.*"step":\([0-9]*\).*/\1/') + 40))
ranks 2 train "${settings[@]}" --set "train.steps=$step" --out "$work/run" --resume auto 2>"$work/log" || fail "$(cat "$work/log")"
[ "$(grep -c "took over the lock of \`tandem train\` on .*, process $owner, .*no longer runs" "$work/log")" -eq 1 ] ||
    fail "no line about the lock: $(cat "$work/log")"
unlocked "$work/run"

# a lock of another host: only with --steal-lock; the one it was taken from ends at its next checkpoint
steal=("${settings[@]}" --set train.steps=1000000 --out "$work/stolen" --resume auto)
start 1 train "${steal[@]}"
wait_for "$work/stolen/checkpoints/latest"
sed -i 's/^host .*/host cn07/' "$work/stolen/.tandem-lock"
in_use "other host" "$work/stolen" "\`tandem train\` on cn07, .*--steal-lock" train "${steal[@]}"
code=0
"$TANDEM" train "${settings[@]}" --set "train.time_limit_minutes=0.05" --set train.steps=1000000 --out "$work/stolen" \
    --resume auto --steal-lock 2>"$work/err" || code=$?
[ "$code" -eq 3 ] || fail "after stealing: exit code $code: $(cat "$work/err")"
grep -q "took over the lock of .* on cn07" "$work/err" || fail "$(cat "$work/err")"
code=0
wait "$pid" || code=$?
[ "$code" -eq 1 ] || fail "stolen from: exit code $code: $(cat "$work/log")"
grep -qE "^tandem: .*$work/stolen: was taken over by .tandem train" "$work/log" || fail "stolen from: $(cat "$work/log")"
unlocked "$work/stolen"
"$TANDEM" info --verify "$work/stolen" >/dev/null || fail "the stolen run is not whole"

# errors release, too, and leave no empty directory behind
code=0
"$TANDEM" train "${settings[@]}" --set "data.dir=$work/nowhere" --out "$work/none" 2>"$work/err" || code=$?
[ "$code" -eq 1 ] || fail "missing data: exit code $code"
[ ! -e "$work/none" ] || fail "an empty run directory stays"

# hold LOCK ARG…: starts tandem in the background ($pid) and stops it with SIGSTOP while it holds LOCK
hold() {
    local lock=$1
    shift
    for _ in 1 2 3 4 5; do
        "$TANDEM" "$@" 2>"$work/log" &
        pid=$!
        until [ -e "$lock" ] || ! kill -0 "$pid" 2>/dev/null; do :; done
        kill -STOP "$pid" 2>/dev/null && [ -e "$lock" ] && return
        kill -CONT "$pid" 2>/dev/null || true
        wait "$pid" || fail "tandem $*: $(cat "$work/log")"
    done
    fail "tandem $*: always too fast to be looked at"
}
go_on() {
    kill -CONT "$pid"
    wait "$pid" || fail "the first one: $(cat "$work/log")"
}

many=(pack --format folder --out "$work/packed" --split train --shard-size 1 "$work/raw")
hold "$work/packed/.tandem-lock" "${many[@]}"
in_use "second pack" "$work/packed" "\`tandem pack\` on .*, process $pid," "${many[@]}"
go_on
unlocked "$work/packed"
"$TANDEM" "${many[@]}" --shard-size 7 2>"$work/log" || fail "pack again: $(cat "$work/log")"
"$TANDEM" info --verify "$work/packed" >/dev/null || fail "the packed data are not whole"

# embed: one split at a time, but several splits into one directory
"$TANDEM" pack --format folder --out "$work/two" --split train=0.5,val=0.5 "$work/raw" 2>"$work/log" || fail "$(cat "$work/log")"
embed=(embed --model "$work/run" --data "$work/two" --out "$work/emb" --batch 1)
hold "$work/emb/.tandem-lock.train" "${embed[@]}" --split train
in_use "second embed" "$work/emb" "\`tandem embed\` on .*, process $pid," "${embed[@]}" --split train
"$TANDEM" "${embed[@]}" --split val 2>"$work/err" || fail "another split: $(cat "$work/err")"
go_on
unlocked "$work/emb"
"$TANDEM" search --model "$work/run" --gallery "$work/emb" --split val "red" >"$work/out" 2>"$work/err" || fail "$(cat "$work/err")"

# export and import: a lock that somebody left
mkdir "$work/exported" "$work/imported"
for dir in exported imported; do sed 's/^host .*/host cn07/' >"$work/$dir/.tandem-lock" <<'LOCK'
command pack
host here
process 1
since then
start 1
machine 0
boot 0
pid_space 0
nonce 00ff
LOCK
done
in_use "export" "$work/exported" "\`tandem pack\` on cn07, process 1, since then; .*--steal-lock" export --model "$work/run" --to "$work/exported"
"$TANDEM" export --model "$work/run" --to "$work/exported" --steal-lock 2>"$work/err" || fail "export: $(cat "$work/err")"
in_use "import" "$work/imported" "\`tandem pack\` on cn07, .*--steal-lock" import --from "$work/exported" --out "$work/imported"
"$TANDEM" import --from "$work/exported" --out "$work/imported" --steal-lock 2>"$work/err" || fail "import: $(cat "$work/err")"
unlocked "$work/exported"
unlocked "$work/imported"
echo "all locks are gone"
