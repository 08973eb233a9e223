# shows: a rank is killed (SIGKILL, as by the kernel when memory is short)
# expected: the job ends at once with 137; the run goes on at its newest checkpoint
hosts 2
link delay h2 5
start h1:1,h2:1 run --set train.steps=12 --set checkpoint.every_steps=2
wait_for 60 beyond run 3
on h2 pkill -KILL -x tandem # sees the processes of h2 only
stopwatch
wait_for 60 ended
took
finish
[ "$code" -eq 137 ] || fail "exit code $code"
train h1:1,h2:1 run --set train.steps=12
[ "$code" -eq 0 ] || fail "it does not go on: exit code $code"
lost "$(made_twice run.log) steps"
outcome "ends with 137, goes on"
