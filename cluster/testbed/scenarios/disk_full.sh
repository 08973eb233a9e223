# shows: the disk of the run directory is full when a checkpoint is written, and has room again later
# expected: the run ends with exit code 1 and says which file; the checkpoint before is whole, and the run goes on from it
mkdir run
mount -t tmpfs -o size=8m tmpfs run
hosts 2
start h1:1,h2:1 run --set checkpoint.every_steps=5 --set train.steps=40
wait_for 60 test -e run/checkpoints/latest
stopwatch
head -c 100m /dev/zero >run/filler 2>/dev/null || true
finish
took
[ "$code" -eq 1 ] || fail "exit code $code"
grep '^tandem: ' run.log
log_says run '^tandem: .*(No space left|full)' || fail "it does not say why"
[ -z "$(find run/checkpoints -name '*.tmp*')" ] || echo "left: $(find run/checkpoints -name '*.tmp*')"
rm run/filler
tandem info --verify "$shared/run" >/dev/null || fail "not whole"
train h1:1,h2:1 run --set checkpoint.every_steps=5 --set train.steps=40
[ "$code" -eq 0 ] || fail "it does not go on: exit code $code"
lost "$(made_twice run.log) steps"
outcome "ends with 1 and says why, goes on when there is room"
