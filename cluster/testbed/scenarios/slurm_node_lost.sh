# shows: a host of a job vanishes; there is a spare one
# expected: Slurm notices and puts the job back into the queue; on other hosts it takes over the lock, goes on at the newest
#   checkpoint and completes. Lost: the steps since that checkpoint
# limit: 150
slurm 3
for host in h1 h2 h3; do link delay $host 5; done
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=80 checkpoint.every_steps=10
wait_for 60 beyond run 25
stopwatch
host_down h2
wait_for 60 grep -q '^resuming' "tandem-$job.log"
took
wait_for 60 job_is COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL
lost "$(made_twice "tandem-$job.log") steps"
job_is COMPLETED || fail "$(job_state)"
[ "$(made_twice "tandem-$job.log")" -le 12 ] || fail "more lost than since the last checkpoint"
outcome "requeued on other hosts, complete"
