# shows: a rank is stopped (SIGSTOP) and stays so, in a run with train.stall_end
# expected: the watchdog names it, and ends the job with exit code 4; the run goes on at its newest checkpoint
hosts 2
stall_settings
link delay h2 5
start h1:1,h2:1 run --set train.steps=12 --set checkpoint.every_steps=2 "${stall[@]/#/--set=}"
wait_for 60 beyond run 3
on h2 pkill -STOP -x tandem # sees the processes of h2 only
stopwatch
wait_for 60 ended
took
finish
grep -E 'stalled|no progress|all wait' run.log || true
[ "$code" -eq 4 ] || fail "exit code $code"
log_says run 'rank 1 of 2 on h2' || fail "it does not say whom all wait for"
train h1:1,h2:1 run --set train.steps=12 --steal-lock
[ "$code" -eq 0 ] || fail "it does not go on: exit code $code"
lost "$(made_twice run.log) steps"
outcome "ends with 4, goes on"
