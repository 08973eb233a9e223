# shows: a host of a job vanishes and comes back, as after a power failure; there is no spare one
# expected: as in slurm_node_lost, on the same hosts
# limit: 150
slurm 2
link delay h2 10
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=80 checkpoint.every_steps=10
wait_for 60 beyond run 25
stopwatch
host_down h2
wait_for 60 job_is PENDING COMPLETING FAILED NODE_FAIL
host_up h2
slurm_again h2
link delay h2 10
wait_for 60 grep -q '^resuming' "tandem-$job.log"
took
wait_for 60 job_is COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL
lost "$(made_twice "tandem-$job.log") steps"
job_is COMPLETED || fail "$(job_state)"
[ "$(made_twice "tandem-$job.log")" -le 12 ] || fail "more lost than since the last checkpoint"
outcome "requeued on the same hosts, complete"
