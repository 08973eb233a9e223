# shows: the link of a host is cut for half a minute during a run with train.stall_end under cluster/resubmit.sh; the shared
#   directory is reached another way
# expected: the watchdog says what is the matter and ends the ranks with exit code 4; resubmit.sh ends the mpirun that waits
#   for the lost host and starts again; when the link is there again the run goes on and completes
# limit: 180
hosts 2
stall_settings
link delay h2 5
printf 'h1 slots=1\nh2 slots=1\n' >hosts
HOSTS=$shared/hosts MPIRUN_OPTIONS="-x OMP_NUM_THREADS -x PATH" on h1 "$bed/cluster/resubmit.sh" "$config" "$shared/run" train.steps=14 \
    checkpoint.every_steps=2 "${stall[@]}" >>run.log 2>&1 &
started_process=$!
wait_for 60 beyond run 3
link cut h2
stopwatch
wait_for 40 log_says run 'no progress for .* wait for .* The job ends with exit code 4'
wait_for 60 log_says run 'a rank did not answer'
link join h2
wait_for 60 log_says run '^resuming'
took
finish
[ "$code" -eq 0 ] || fail "it does not go on: exit code $code"
lost "$(made_twice run.log) steps"
outcome "ends with 4, goes on, complete"
