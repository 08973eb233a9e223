#!/usr/bin/env bash
# SIGKILL of one rank at random instants, also while a checkpoint is written: the job ends with an error, --resume auto
# goes on, and the final weights are those of an undisturbed run. KILLS=10 for the long version.
. "$(dirname "$0")/common.sh"
make_data
kills=${KILLS:-3}
settings=(--config "$work/run.cfg" --set checkpoint.every_steps=2 --set train.steps=400 --set model.image.layers=4)

ranks 2 train "${settings[@]}" --out "$work/whole" 2>"$work/log" || fail "$(cat "$work/log")"
during=0
for i in $(seq "$kills"); do
    lines=$(lines_of "$work/killed")
    start 2 train "${settings[@]}" --out "$work/killed" --resume auto
    for _ in $(seq 600); do # until the run has gone on for a few steps
        [ "$(lines_of "$work/killed")" -ge $((lines + 4)) ] && break
        kill -0 "$pid" 2>/dev/null || fail "ended before it was killed: $(cat "$work/log")"
        sleep 0.02
    done
    sleep "0.0$((RANDOM % 100))"
    if [ $((i % 2)) -eq 0 ]; then # wait for the moment when a checkpoint is being written
        for _ in $(seq 2000); do
            compgen -G "$work/killed/checkpoints/*tmp*" >/dev/null && break
        done
    fi
    compgen -G "$work/killed/checkpoints/*tmp*" >/dev/null && during=$((during + 1))
    mapfile -t children < <(pgrep -P "$pid")
    kill -KILL "${children[$((RANDOM % ${#children[@]}))]}"
    code=0
    wait "$pid" || code=$?
    [ $code -ne 0 ] || fail "a killed job ended with 0"
    "$TANDEM" info --verify "$work/killed/checkpoints/$(cat "$work/killed/checkpoints/latest")" >/dev/null ||
        fail "the latest checkpoint is not whole"
done
ranks 2 train "${settings[@]}" --out "$work/killed" --resume auto 2>"$work/log" || fail "$(cat "$work/log")"
same_weights "$work/whole" "$work/killed"
echo "$kills kills, $during of them while a checkpoint was being written: same weights, $(compare_curves "$work/whole" "$work/killed" 0)"
