# shows: a job of a better partition takes the hosts of a run: SIGTERM, 10 s of grace, requeue by Slurm
# expected: the run writes a checkpoint within its grace, is queued again, goes on there and completes; no step is made twice
# limit: 120
slurm 2
link delay h2 10
submit "$bed/cluster/slurm.sbatch" "$config" "$shared/run" train.steps=60
wait_for 60 beyond run 10
stopwatch
on h1 sbatch --parsable --partition=high --exclusive --nodes=2 --output=/dev/null --wrap "sleep 3"
goes_on 60 60 0
outcome "requeued, complete"
