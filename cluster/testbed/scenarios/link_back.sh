# shows: the link of a host is cut for a second during a run, and comes back
# expected: the run waits and goes on; exit code 0, no work lost, the same bits as without it
# form: short
hosts 2
train h1:1,h2:1 quiet --set train.steps=10
link delay h2 5
start h1:1,h2:1 cut --set train.steps=10
wait_for 30 beyond cut 3
link cut h2
stopwatch
sleep 1
link join h2
done_before=$(steps cut)
wait_for 30 beyond cut "$((done_before + 1))"
took
finish
[ "$code" -eq 0 ] || fail "exit code $code"
same_bits quiet cut || fail "other bits than without the cut"
lost "0 steps"
outcome "goes on"
