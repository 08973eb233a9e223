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
goes_on 60 60 12
outcome "requeued on other hosts, complete"
