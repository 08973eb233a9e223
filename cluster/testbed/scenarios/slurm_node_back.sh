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
goes_on 60 60 12
outcome "requeued on the same hosts, complete"
