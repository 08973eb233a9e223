# shows: a host of a job vanishes, and comes back later
# expected: Slurm notices, ends the job and puts it back into the queue; when the host is there again the job takes over
#   the lock, goes on at the newest checkpoint and completes. Lost: the steps since that checkpoint
# limit: 200
slurm 2
link delay h2 10
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=80 checkpoint.every_steps=10
wait_for 60 beyond run 25
stopwatch
host_down h2
wait_for 60 job_is PENDING COMPLETING FAILED NODE_FAIL
took
host_up h2
slurm_again h2
link delay h2 10
wait_for 120 job_is COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL
lost "$(made_twice "tandem-$job.log") steps"
job_is COMPLETED || fail "$(job_state)"
[ "$(made_twice "tandem-$job.log")" -le 20 ] || fail "more lost than since the last checkpoint"
outcome "requeued, complete"
