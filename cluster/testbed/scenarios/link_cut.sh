# shows: the link of a host is cut for good during a run with train.stall_end
# expected: the watchdog says where all wait (the ranks answer each other, through the shared directory), leaves stalled.txt and
#   ends them within half a minute; mpirun, which waits for its daemon on the lost host, is ended by hand; when the link is
#   there again the run goes on at its newest checkpoint
hosts 2
stall_settings
link delay h2 5
start h1:1,h2:1 run --set train.steps=12 --set checkpoint.every_steps=2 "${stall[@]/#/--set=}"
wait_for 60 beyond run 3
link cut h2
stopwatch
no_rank_left() { ! on h1 pgrep -x tandem && ! on h2 pgrep -x tandem; }
wait_for 30 no_rank_left
took
grep -E 'no progress' "$shared/run.log" || true
grep -q 'exit code 4' "$shared/run/stalled.txt" || fail "no stalled.txt"
log_says run 'all 2 ranks, on h1, h2, wait for each other|rank . of 2 on h.*a message may be lost' || fail "it does not say whom all wait for"
ended || on h1 pkill -KILL -x mpirun
finish
link join h2
train h1:1,h2:1 run --set train.steps=12 --steal-lock
[ "$code" -eq 0 ] || fail "it does not go on: exit code $code"
lost "$(made_twice run.log) steps"
outcome "ended by the watchdog, goes on"
